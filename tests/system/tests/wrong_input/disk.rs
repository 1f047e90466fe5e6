//! A full disk: a small tmpfs in a mount namespace of its own, which needs no root where the system
//! allows user namespaces.
//!
//! The producer gets a code that it retries, reading goes on as long as the log can be written, and when
//! there is room again the same process goes on. Nothing that was acknowledged is lost, also after
//! `kill -9`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tarn_kafka::ErrorCode;
use tarn_system_tests::{eventually, tarn_binary};
use tempfile::TempDir;

use super::wire::{Kafka, batch, http, sql, sql_value, url};

/// The start of a command that runs where it may mount.
pub(crate) fn namespace() -> Result<Command> {
    let mut said = String::new();
    // Root mounts in a mount namespace; others need a user namespace around it.
    for flags in [["-m", "-r"].as_slice(), &["-m"]] {
        let probe = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", "mount -t tmpfs -o size=64k none /mnt"])
            .output()
            .context("unshare of util-linux is needed for a disk that is full")?;
        if probe.status.success() {
            let mut command = Command::new("unshare");
            command.args(flags);
            return Ok(command);
        }
        said = String::from_utf8_lossy(&probe.stderr).into_owned();
    }
    bail!(
        "no tmpfs can be mounted, so a full disk cannot be tested: allow user namespaces, or run as root \
         with CAP_SYS_ADMIN. {said}"
    )
}

/// A shell that holds a small disk, and the tarn on it.
struct Disk {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: TempDir,
    ready: Value,
}

impl Disk {
    fn mount(size: &str) -> Result<Disk> {
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("disk"))?;
        let mut shell = namespace()?
            .arg("sh")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = shell.stdin.take().context("piped")?;
        let output = BufReader::new(shell.stdout.take().context("piped")?);
        let mut disk = Disk {
            shell,
            input,
            output,
            folder,
            ready: Value::Null,
        };
        // However the test ends, tarn ends with the shell.
        disk.run("trap 'test -z \"$tarn\" || kill -9 $tarn' EXIT")?;
        disk.run(&format!("mount -t tmpfs -o size={size} none disk"))?;
        Ok(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a line in the shell to its end; gives its exit code.
    fn status(&mut self, line: &str) -> Result<i32> {
        writeln!(self.input, "{line} >/dev/null 2>>shell.log; echo $?")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        answer
            .trim()
            .parse()
            .with_context(|| format!("the shell is gone: {line}"))
    }

    fn run(&mut self, line: &str) -> Result<()> {
        let status = self.status(line)?;
        ensure!(
            status == 0,
            "{line} ended with {status}: {}",
            fs::read_to_string(self.path("shell.log")).unwrap_or_default()
        );
        Ok(())
    }

    fn start_tarn(&mut self) -> Result<()> {
        let binary = tarn_binary();
        let line = format!(
            "{} dev --data-dir disk/data --ready-file ready.json --table-interval 1s --kafka-port 0 \
             --registry-port 0 --http-port 0 >>log 2>&1 & tarn=$!; echo $tarn >pid",
            binary.display()
        );
        writeln!(self.input, "{line}")?;
        let ready = self.path("ready.json");
        self.ready = eventually("tarn on the small disk", || {
            let text = fs::read_to_string(&ready).unwrap_or_default();
            Ok(serde_json::from_str(&text).ok())
        })?;
        Ok(())
    }

    fn kill_tarn(&mut self) -> Result<()> {
        self.run("kill -9 $tarn")?;
        // The shell collects it, and says 137.
        self.status("wait $tarn")?;
        fs::remove_file(self.path("ready.json"))?;
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn kafka(&self) -> Result<Kafka> {
        Kafka::connect(self.ready["kafka"].as_str().context("an address")?)
    }

    /// Takes what room is left, to the last byte.
    fn fill(&mut self, name: &str) -> Result<()> {
        let status = self.status(&format!("dd if=/dev/zero of=disk/{name} bs=4k"))?;
        ensure!(status != 0, "the disk has no end");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The trap ends tarn. Dead already if a command failed badly.
        let _ = writeln!(self.input, "exit");
        let _ = self.shell.wait();
    }
}

/// Every number in the topic.
fn numbers(ready: &Value) -> Result<BTreeSet<i64>> {
    let answer = sql(
        ready,
        "SELECT substr(_value::text, 1, 8)::bigint FROM events.numbers",
    )?;
    ensure!(answer.status == 200, "{answer:?}");
    let answer = answer.json()?;
    let rows = answer["rows"].as_array().context("rows")?;
    let numbers: BTreeSet<i64> = rows.iter().filter_map(|row| row[0].as_i64()).collect();
    ensure!(numbers.len() == rows.len(), "a number is there twice");
    Ok(numbers)
}

fn record(number: i64) -> Vec<u8> {
    let mut value = format!("{number:08}").into_bytes();
    value.resize(200_000, b'.');
    value
}

#[test]
fn a_full_disk_loses_nothing_and_is_over_when_there_is_room() -> Result<()> {
    let mut disk = Disk::mount("16m")?;
    disk.start_tarn()?;
    let story = full_disk(&mut disk);
    let log = disk.log();
    story.with_context(|| tail(&log))?;
    super::no_panic(&log)
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn full_disk(disk: &mut Disk) -> Result<()> {
    let mut kafka = disk.kafka()?;
    kafka.create_topic("numbers", &[])?;
    // Room for a table and the log beside the records.
    disk.run("dd if=/dev/zero of=disk/ballast bs=1M count=8")?;
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    let refused = loop {
        ensure!(next < 200, "the disk is never full");
        let answer = kafka.try_produce("numbers", 0, &batch(&[&record(next)])?)?;
        next += 1;
        if answer.error_code != 0 {
            break answer;
        }
        acknowledged.insert(next - 1);
    };
    ensure!(acknowledged.len() > 4, "{} were taken", acknowledged.len());
    check_retriable(refused.error_code)?;
    let said = disk.log();
    ensure!(
        said.contains("no space is left"),
        "the log says why:\n{}",
        tail(&said)
    );

    // Not a byte for the log either: writes are refused, the process lives, and says so.
    disk.fill("ballast2")?;
    let mut kafka = disk.kafka()?;
    for _ in 0..2 {
        let answer = kafka.try_produce("numbers", 0, &batch(&[&record(next)])?)?;
        next += 1;
        check_retriable(answer.error_code)?;
    }
    let health = http(&url(&disk.ready, "http"), "GET", "/healthz", b"")?;
    ensure!(health.status == 200, "{health:?}");
    let present = numbers(&disk.ready)?;
    ensure!(
        acknowledged.is_subset(&present),
        "lost while full: {:?}",
        acknowledged.difference(&present)
    );

    // Room again: the same process goes on by itself.
    disk.run("rm disk/ballast disk/ballast2")?;
    eventually("a record after there is room", || {
        let answer = kafka.try_produce("numbers", 0, &batch(&[&record(next)])?)?;
        next += 1;
        if answer.error_code != 0 {
            check_retriable(answer.error_code)?;
            return Ok(None);
        }
        acknowledged.insert(next - 1);
        Ok(Some(()))
    })?;
    let present = numbers(&disk.ready)?;
    ensure!(
        acknowledged.is_subset(&present),
        "lost: {:?}",
        acknowledged.difference(&present)
    );

    disk.kill_tarn()?;
    disk.start_tarn()?;
    let after = numbers(&disk.ready)?;
    ensure!(
        after == present,
        "{after:?} after the restart, not {present:?}"
    );
    let count = Value::from(after.len());
    eventually("the table", || {
        let cold = "SELECT count(*) FROM events.\"numbers$cold\"";
        Ok((sql_value(&disk.ready, cold)? == count).then_some(()))
    })
}

fn check_retriable(code: i16) -> Result<()> {
    let retriable = [
        ErrorCode::NotEnoughReplicas,
        ErrorCode::RequestTimedOut,
        ErrorCode::KafkaStorageError,
    ];
    ensure!(
        retriable.iter().any(|one| one.code() == code),
        "{code} is none that a producer retries"
    );
    Ok(())
}
