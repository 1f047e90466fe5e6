//! Starts the real binary on a folder of its own and on free ports, and stops it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::Common;
use crate::usage::{self, Usage};

/// Longer than this only a hang takes.
const HANG: Duration = Duration::from_secs(120);

/// The budget that every measurement runs under, as `--memory-budget` takes it and in bytes.
pub(crate) const BUDGET: &str = "1GiB";
pub(crate) const BUDGET_BYTES: u64 = 1 << 30;

/// A running `tarn dev`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: u32,
    folder: TempDir,
    pub(crate) kafka: String,
    pub(crate) http: String,
    pub(crate) registry: String,
}

impl Server {
    pub(crate) async fn start(common: &Common, extra: &[&str]) -> Result<Server> {
        let folder = match &common.folder {
            Some(parent) => TempDir::new_in(parent)?,
            None => TempDir::new()?,
        };
        let log = std::fs::File::create(folder.path().join("log"))?;
        let ready_file = folder.path().join("ready.json");
        let mut command = Command::new(&common.tarn);
        command.arg("dev");
        for flag in [
            "--kafka-port",
            "--registry-port",
            "--http-port",
            "--pg-port",
        ] {
            command.args([flag, "0"]);
        }
        command
            .args(["--memory-budget", BUDGET, "--log-level", "warn"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| {
            format!(
                "starting {}: build it with `make release`, or name another with --tarn",
                common.tarn.display()
            )
        })?;
        let started = Instant::now();
        let ready: Value = loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file)
                && let Ok(ready) = serde_json::from_str(&text)
            {
                break ready;
            }
            if let Some(status) = child.try_wait()? {
                bail!("tarn ended with {status}:\n{}", log_of(folder.path()));
            }
            if started.elapsed() > HANG {
                bail!("tarn was not ready in time:\n{}", log_of(folder.path()));
            }
            sleep(Duration::from_millis(20)).await;
        };
        let address = |key: &str| {
            let address = ready[key].as_str().map(str::to_owned);
            address.with_context(|| format!("the ready file names no {key}"))
        };
        Ok(Server {
            pid: child.id().context("tarn ended")?,
            kafka: address("kafka")?,
            http: address("http")?,
            registry: address("registry")?,
            child,
            folder,
        })
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        usage::of(self.pid).context("no usage of the server's process")
    }

    /// Bytes of its folder.
    pub(crate) fn disk_bytes(&self) -> u64 {
        usage::folder_bytes(self.folder.path())
    }

    /// The lines of its log that are warnings or worse.
    pub(crate) fn warnings(&self) -> String {
        let log = log_of(self.folder.path());
        let bad = |line: &&str| {
            ["WARN", "ERROR", "panicked"]
                .iter()
                .any(|word| line.contains(word))
        };
        log.lines().filter(bad).collect::<Vec<_>>().join("\n")
    }

    /// An error of a client, with what the server has to say about it.
    pub(crate) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("tarn ended with {status}"),
            _ => "tarn runs on".to_owned(),
        };
        error.context(format!(
            "{state}; the end of its log:\n{}",
            log_of(self.folder.path())
        ))
    }

    /// Waits until the process has done next to nothing for so long; gives up after two minutes,
    /// because some background work never ends.
    pub(crate) async fn quiet(&self, quiet_for: Duration) -> Result<Usage> {
        const NEXT_TO_NOTHING: Duration = Duration::from_millis(20);
        let step = Duration::from_secs(1);
        let started = Instant::now();
        let mut before = self.usage()?;
        let mut quiet_since = Instant::now();
        loop {
            sleep(step).await;
            let now = self.usage()?;
            if now.cpu.saturating_sub(before.cpu) > NEXT_TO_NOTHING {
                quiet_since = Instant::now();
            }
            if quiet_since.elapsed() >= quiet_for || started.elapsed() > HANG {
                return Ok(now);
            }
            before = now;
        }
    }

    /// SIGTERM, and its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let kill = Command::new("kill")
            .args(["-TERM", &self.pid.to_string()])
            .status();
        kill.await?;
        let ended = tokio::time::timeout(HANG, self.child.wait()).await;
        let status = ended.context("tarn did not stop on SIGTERM")??;
        if !status.success() {
            bail!("tarn ended with {status}:\n{}", log_of(self.folder.path()));
        }
        Ok(())
    }
}

fn log_of(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
