//! Wrong input from every side, against the real binary: each gets a clear error by the protocol's own
//! code, and none a panic, a hang or a lost acknowledged record.
//!
//! Every story ends with [`still_serves`]: a record goes in over Kafka, SQL counts it together with all
//! that were acknowledged before, and the log knows of no panic.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes waits on real time, outside of any runtime"
)]

#[path = "wrong_input/disk.rs"]
mod disk;
#[path = "wrong_input/http.rs"]
mod http;
#[path = "wrong_input/kafka.rs"]
mod kafka;
#[path = "wrong_input/registry.rs"]
mod registry;
#[path = "wrong_input/settings.rs"]
mod settings;
#[path = "wrong_input/wire.rs"]
mod wire;

use anyhow::{Result, ensure};
use tarn_system_tests::Tarn;

/// A record in, and SQL holds every record that was ever acknowledged in this topic.
fn still_serves(tarn: &Tarn) -> Result<()> {
    let mut kafka = wire::Kafka::connect(&tarn.kafka())?;
    kafka.create_topic("alive", &[])?;
    let offset = kafka.produce("alive", &wire::batch(&[b"still here"])?)?;
    let count = wire::sql_value(&tarn.ready, "SELECT count(*) FROM events.alive")?;
    ensure!(
        count == offset + 1,
        "{count} rows, and the last offset is {offset}"
    );
    no_panic(&tarn.log())
}

fn no_panic(log: &str) -> Result<()> {
    for line in log.lines() {
        ensure!(!line.contains("panicked"), "{line}");
    }
    Ok(())
}
