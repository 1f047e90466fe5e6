//! Clients that nobody here wrote, against the real binary.

use anyhow::Result;
use tarn_system_tests::{Tarn, run};

fn client(name: &str) -> Result<()> {
    let tarn = Tarn::start(&[])?;
    run(&mut tarn.client("tests/clients/clients.py", &[name])?)?;
    Ok(())
}

#[test]
fn confluent_kafka_produces_and_consumes_in_a_cooperative_group() -> Result<()> {
    client("confluent")
}

#[test]
fn kafka_python_produces_and_consumes_in_a_group() -> Result<()> {
    client("kafka-python")
}

#[test]
fn aiokafka_produces_and_consumes_in_a_group() -> Result<()> {
    client("aiokafka")
}

#[test]
fn kcat_produces_and_consumes() -> Result<()> {
    client("kcat")
}

/// Every call of these clients, held against `tests/clients/table/expected.tsv`.
fn table(clients: &[&str]) -> Result<String> {
    let tarn = Tarn::start(&[])?;
    run(&mut tarn.client("tests/clients/table/table.py", clients)?)
}

#[test]
fn table_of_the_python_clients() -> Result<()> {
    println!("{}", table(&["confluent", "kafka-python", "aiokafka"])?);
    Ok(())
}

#[cfg(feature = "all-clients")]
#[test]
fn table_of_the_other_clients() -> Result<()> {
    let clients = [
        "franz-go",
        "sarama",
        "kafka-go",
        "kafkajs",
        "confluent-js",
        "java",
        "java-tools",
    ];
    println!("{}", table(&clients)?);
    Ok(())
}
