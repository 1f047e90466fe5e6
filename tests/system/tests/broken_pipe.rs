//! Commands whose output nobody reads to its end: `tarn … | head`.

use std::fs::File;
use std::io::pipe;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tarn_system_tests::{Tarn, eventually, run, tarn_binary};

/// Output whose reader is gone already: the first write finds it so.
fn unread() -> Result<Stdio> {
    let (_, writer) = pipe()?;
    Ok(writer.into())
}

fn said(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}

/// One command for each way to print data.
const PRINTING: [&[&str]; 14] = [
    &["topic", "list"],
    &["topic", "list", "--output", "json"],
    &["topic", "describe", "clicks"],
    &["group", "list"],
    &["consume", "clicks", "--offset", "start"],
    &["sql", "SELECT 1"],
    &["sql", "SELECT 1", "--output", "json"],
    &["config", "show"],
    &["config", "show", "--output", "json"],
    &["explain"],
    &["explain", "TARN-1203"],
    &["bench", "produce", "clicks", "--records", "10"],
    &["bench", "consume", "clicks"],
    &["--help"],
];

#[test]
fn a_command_ends_quietly_when_its_reader_leaves() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    run(&mut tarn.cli(&["topic", "create", "clicks"]))?;
    run(&mut tarn.cli(&["bench", "produce", "clicks", "--records", "10"]))?;
    for arguments in PRINTING {
        let mut command = tarn.cli(arguments);
        let output = command.stdout(unread()?).stderr(Stdio::piped()).output()?;
        let said = said(&output).with_context(|| arguments.join(" "))?;
        ensure!(output.status.success(), "{arguments:?}: {said}");
        ensure!(!said.contains("standard output"), "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_command_fails_with_its_reason_when_its_output_cannot_be_written() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    run(&mut tarn.cli(&["topic", "create", "clicks"]))?;
    run(&mut tarn.cli(&["bench", "produce", "clicks", "--records", "10"]))?;
    for arguments in PRINTING {
        if arguments == ["--help"] {
            continue;
        }
        let full = File::options().write(true).open("/dev/full")?;
        let mut command = tarn.cli(arguments);
        let output = command.stdout(full).stderr(Stdio::piped()).output()?;
        let said = said(&output).with_context(|| arguments.join(" "))?;
        ensure!(output.status.code() == Some(1), "{arguments:?}: {said}");
        ensure!(
            said.contains("standard output: No space"),
            "{arguments:?}: {said}"
        );
    }
    Ok(())
}

#[test]
fn nobody_has_to_listen_to_talk() -> Result<()> {
    let tarn = Tarn::start(&[])?;
    for (arguments, code) in [
        (vec!["topic", "create", "clicks"], 0),
        (vec!["topic", "describe", "clicks"], 0),
        (vec!["produce", "clicks"], 0),
        (vec!["sql", "SELECT 1"], 0),
        (vec!["topic", "describe", "nope"], 3),
        (vec!["topic", "delete", "clicks"], 0),
    ] {
        let mut command = tarn.cli(&arguments);
        let output = command.stdin(Stdio::null()).stderr(unread()?).output()?;
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {output:?}"
        );
    }
    Ok(())
}

#[test]
fn a_process_serves_on_when_nobody_reads_its_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ready_file = folder.path().join("ready.json");
    let mut dev = Command::new(tarn_binary());
    dev.args([
        "dev",
        "--ephemeral",
        "--kafka-port",
        "0",
        "--registry-port",
        "0",
        "--http-port",
        "0",
    ]);
    dev.args(["--log-level", "debug", "--ready-file"])
        .arg(&ready_file);
    let mut dev = dev.stdout(unread()?).stderr(unread()?).spawn()?;
    let served = serves(&mut dev, &ready_file);
    if served.is_err() {
        dev.kill()?;
    }
    let status = dev.wait()?;
    served?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Asks it, and tells it to end.
fn serves(dev: &mut Child, ready_file: &Path) -> Result<()> {
    let http = eventually("the process is ready", || {
        if let Some(status) = dev.try_wait()? {
            bail!("it ended: {status}");
        }
        let Ok(text) = std::fs::read_to_string(ready_file) else {
            return Ok(None);
        };
        let ready: serde_json::Value = serde_json::from_str(&text)?;
        Ok(ready["http"].as_str().map(str::to_owned))
    })?;
    for _ in 0..3 {
        run(Command::new(tarn_binary()).args(["sql", "SELECT 1", "--url", &http]))?;
    }
    ensure!(dev.try_wait()?.is_none(), "it ended");
    run(Command::new("kill").args(["-TERM", &dev.id().to_string()]))?;
    Ok(())
}
