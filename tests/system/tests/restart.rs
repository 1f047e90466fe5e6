//! `kill -9`, over and over: nothing acknowledged is lost, nothing doubled, and SQL equals the topic.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tarn_system_tests::{Tarn, eventually, run};

#[test]
fn an_idempotent_producer_keeps_order_over_restarts() -> Result<()> {
    let mut tarn = Tarn::start(&["--table-interval", "1s"])?;
    let stop = tarn.folder().join("stop");
    let mut client = tarn.client(
        "tests/clients/restart.py",
        &["--stop", &stop.display().to_string()],
    )?;
    let mut child = client
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    for round in 1..=3_i64 {
        // Each life takes records before it ends.
        let wanted = round * 300;
        eventually("records of this life", || {
            ensure!(child.try_wait()?.is_none(), "the producer ended early");
            let topics =
                tarn.value("SELECT count(*) FROM system.topics WHERE name = 'restarts'")?;
            if topics == 0 {
                return Ok(None);
            }
            let count = tarn
                .value("SELECT count(*) FROM events.restarts")?
                .as_i64()
                .context("a count")?;
            Ok((count >= wanted).then_some(()))
        })?;
        tarn.kill_and_restart()?;
    }
    std::fs::write(&stop, "")?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    // SQL holds the topic, each record once, when all of it is cold, too.
    let ends = "SELECT sum(high_watermark) FROM system.partitions WHERE topic = 'restarts'";
    let total = tarn.value(ends)?;
    let row = tarn
        .sql("SELECT count(*), count(distinct (_topic_partition, _offset)) FROM events.restarts")?;
    ensure!(
        row["rows"][0][0] == total && row["rows"][0][1] == total,
        "{row} against {total}"
    );
    eventually("the whole table", || {
        Ok((tarn.value("SELECT count(*) FROM events.\"restarts$cold\"")? == total).then_some(()))
    })?;
    Ok(())
}

#[test]
fn sigterm_drains_and_a_second_process_is_refused() -> Result<()> {
    let mut tarn = Tarn::start(&[])?;
    let data = tarn.data_dir().display().to_string();
    let second = tarn_system_tests::output(
        tarn.cli(&["dev", "--data-dir", &data, "--kafka-port", "0"])
            .env_remove("RUST_LOG"),
    )?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(!second.status.success(), "a second process was let in");
    ensure!(
        said.contains("in use") && said.contains(&tarn.pid().to_string()),
        "{said}"
    );

    run(tarn
        .cli(&["topic", "create", "kept"])
        .env_remove("RUST_LOG"))?;
    let code = tarn.terminate()?;
    ensure!(code == Some(0), "exit code {code:?}:\n{}", tarn.log());
    ensure!(
        !tarn.ready_file().exists(),
        "the ready file outlived the process"
    );
    Ok(())
}

/// The broker that a client is told of as soon as the ready file is there: its id and its address. Also who
/// coordinates a group, and who controls.
fn broker(tarn: &Tarn) -> Result<(Value, String)> {
    let said = run(&mut tarn.client("tests/clients/brokers.py", &[])?)?;
    let told: Value = serde_json::from_str(&said)?;
    let brokers = told["brokers"].as_array().context("brokers")?;
    ensure!(brokers.len() == 1, "{told}");
    let id = brokers[0]["id"].clone();
    ensure!(
        told["controller"] == id && told["coordinator"] == id,
        "{told}"
    );
    Ok((
        id,
        brokers[0]["address"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    ))
}

#[test]
fn a_broker_keeps_its_id_however_it_ends_and_wherever_it_is() -> Result<()> {
    for extra in [&[][..], &["--config", "named.toml"][..]] {
        let named = tempfile::tempdir()?;
        let file = named.path().join("named.toml");
        std::fs::write(&file, "[node]\nname = \"agent-7\"\n")?;
        let file = file.display().to_string();
        let extra: Vec<&str> = extra
            .iter()
            .map(|flag| {
                if *flag == "named.toml" {
                    file.as_str()
                } else {
                    flag
                }
            })
            .collect();
        let mut tarn = Tarn::start(&extra)?;
        let (id, address) = broker(&tarn)?;
        ensure!(tarn.kafka() == address, "{address}");
        tarn.kill_and_restart()?;
        ensure!(broker(&tarn)? == (id.clone(), address.clone()), "killed");
        for _ in 0..2 {
            ensure!(tarn.terminate()? == Some(0), "{}", tarn.log());
            tarn.restart()?;
            ensure!(broker(&tarn)? == (id.clone(), address.clone()), "drained");
        }
        ensure!(tarn.terminate()? == Some(0), "{}", tarn.log());
        tarn.restart_elsewhere()?;
        let (again, elsewhere) = broker(&tarn)?;
        ensure!(
            again == id && elsewhere == tarn.kafka(),
            "{again} at {elsewhere}"
        );
    }
    Ok(())
}

#[test]
fn a_taken_port_is_an_error_that_names_the_flag() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let folder = tempfile::tempdir()?;
    let port = tarn
        .kafka()
        .rsplit(':')
        .next()
        .context("a port")?
        .to_owned();
    let data = folder.path().display().to_string();
    let second = tarn_system_tests::output(&mut tarn.cli(&[
        "dev",
        "--data-dir",
        &data,
        "--kafka-port",
        &port,
    ]))?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(
        !second.status.success() && said.contains("--kafka-port"),
        "{said}"
    );
    Ok(())
}

#[test]
fn command_line_round_trip() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    run(&mut tarn.cli(&["topic", "create", "greetings", "--partitions", "2"]))?;
    let mut produce = tarn.cli(&["produce", "greetings", "-K", ":"]);
    let mut child = produce
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    {
        use std::io::Write;
        let mut stdin = child.stdin.take().context("piped")?;
        for n in 0..100 {
            writeln!(stdin, "key-{}:{{\"n\": {n}}}", n % 7)?;
        }
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let consumed = run(&mut tarn.cli(&[
        "consume",
        "greetings",
        "--offset",
        "start",
        "--exit-at-end",
        "-f",
        "%p %o %k %v\\n",
    ]))?;
    ensure!(consumed.lines().count() == 100, "{consumed}");
    let sum = tarn.value("SELECT sum((_value->>'n')::int) FROM events.greetings")?;
    ensure!(sum == 4950, "{sum}");
    let listed: Value =
        serde_json::from_str(&run(&mut tarn.cli(&["topic", "list", "-o", "json"]))?)?;
    ensure!(
        listed[0]["name"] == "greetings" && listed[0]["partitions"] == 2,
        "{listed}"
    );
    let missing = tarn_system_tests::output(&mut tarn.cli(&["topic", "describe", "nowhere"]))?;
    ensure!(missing.status.code() == Some(3), "{missing:?}");
    let wrong = tarn_system_tests::output(&mut tarn.cli(&["sql", "SELEC 1"]))?;
    ensure!(wrong.status.code() == Some(2), "{wrong:?}");
    Ok(())
}

#[test]
fn metrics_and_health_answer() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    for (path, wanted) in [("/healthz", ""), ("/readyz", ""), ("/metrics", "tarn_")] {
        let body = run(std::process::Command::new("python3").args([
            "-c",
            "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode())",
            &format!("{}{path}", tarn.http()),
        ]))?;
        ensure!(body.contains(wanted), "{path}: {body}");
    }
    Ok(())
}
