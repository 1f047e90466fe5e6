//! What somebody types who has just started `tarn dev`: the lines that it prints, and the first mistakes.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tarn_system_tests::{Tarn, output, run, tarn_binary};

/// Runs a command with this on its standard input.
fn fed(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("it is piped")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

#[test]
fn the_printed_lines_work_as_they_stand() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let banner = tarn.log();
    for line in ["tarn produce clicks", "FROM events.clicks", &tarn.http()] {
        ensure!(banner.contains(line), "{banner}");
    }
    fed(&mut tarn.cli(&["produce", "clicks"]), "{\"page\": \"/\"}\n")?;
    let rows = run(&mut tarn.cli(&["sql", "SELECT _offset, _value::text FROM events.clicks"]))?;
    ensure!(rows.contains("{\"page\": \"/\"}"), "{rows}");
    let read = run(&mut tarn.cli(&["consume", "clicks", "--offset", "start", "--count", "1"]))?;
    ensure!(read == "{\"page\": \"/\"}\n", "{read}");
    Ok(())
}

#[test]
fn a_mistake_is_answered_with_its_cause_and_the_next_step() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    let nowhere = "127.0.0.1:1";
    for (arguments, code, said) in [
        (vec!["consume", "nope"], 3, ["nope", "tarn topic list"]),
        (
            vec!["topic", "describe", "nope"],
            3,
            ["nope", "tarn topic list"],
        ),
        (
            vec!["group", "describe", "nope"],
            3,
            ["nope", "tarn group list"],
        ),
        (
            vec!["topic", "list", "--bootstrap", nowhere],
            5,
            [nowhere, "--bootstrap"],
        ),
        (
            vec!["sql", "SELECT 1", "--url", "http://127.0.0.1:1"],
            5,
            ["refused", "--url"],
        ),
        (
            vec!["sql", "SELECT 1", "--url", "nonsense"],
            2,
            ["nonsense", "--url"],
        ),
        (
            vec!["sql", "SELECT 1 FROM nope"],
            3,
            ["TARN-1203", "SHOW TABLES"],
        ),
        (
            vec!["sql", "SELECT\n  nope"],
            2,
            ["TARN-1202", "line 2, column 3"],
        ),
    ] {
        let output = output(&mut tarn.cli(&arguments))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {output:?}"
        );
        ensure!(
            said.iter().all(|text| stderr.contains(text)),
            "{arguments:?}: {stderr}"
        );
    }
    Ok(())
}

#[test]
fn codes_settings_and_topic_configs_are_explained() -> Result<()> {
    let explain = |name: &str| output(Command::new(tarn_binary()).args(["explain", name]));
    for (name, words) in [
        (
            "TARN-1203",
            ["No such table", "Cause:", "What to do:", "SHOW TABLES"],
        ),
        (
            "tarn-1203",
            ["TARN-1203", "Cause:", "What to do:", "HTTP 404"],
        ),
        (
            "1114",
            ["TARN-1114", "Cause:", "What to do:", "permanent=true"],
        ),
        (
            "sql.row_limit",
            ["sql.row_limit", "1000000", "by default", "Most rows"],
        ),
        (
            "retention.ms",
            ["retention.ms", "604800000", "by default", "Age"],
        ),
    ] {
        let output = explain(name)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{name}: {output:?}");
        ensure!(
            words.iter().all(|word| said.contains(word)),
            "{name}: {said}"
        );
    }
    let unknown = explain("TARN-9999")?;
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    ensure!(
        unknown.status.code() == Some(3)
            && said.contains("TARN-9999")
            && said.contains("tarn explain"),
        "{unknown:?}"
    );
    let all = run(Command::new(tarn_binary()).args(["explain"]))?;
    ensure!(
        all.contains("TARN-1001") && all.contains("TARN-1299"),
        "{all}"
    );
    Ok(())
}
