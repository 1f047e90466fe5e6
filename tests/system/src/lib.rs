//! Starts the real `tarn` binary and real clients for a test, and stops them with it.
//!
//! Needs the binary built in the same target folder (`make system` sees to it). Waiting is always
//! for a condition, with a deadline that only a hang reaches.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes waits on real time, outside of any runtime"
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test calls it a hang.
pub const HANG: Duration = Duration::from_secs(120);

/// The binary under test: the one in this test's target folder, or the one that `TARN_BINARY` names.
pub fn tarn_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TARN_BINARY") {
        return PathBuf::from(path);
    }
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop(); // deps
    path.pop();
    path.push("tarn");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/system lies two folders below the root")
        .to_owned()
}

/// A Python that has the clients, see `scripts/python-env`.
pub fn python() -> Result<PathBuf> {
    let output = Command::new(root().join("scripts/python-env"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "scripts/python-env failed");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Runs a command to its end and gives its output; an exit code other than 0 is an error that
/// shows what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{command:?} ended with {}:\n{stdout}\n{stderr}",
            output.status
        );
    }
    Ok(stdout)
}

/// Runs a command to its end, or kills it after [`HANG`].
pub fn output(command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    // Both pipes are read while the child runs, so that a talkative one does not block.
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("piped")));
    let stderr = read(Box::new(child.stderr.take().expect("piped")));
    let status = wait(&mut child, HANG * 3)?.with_context(|| format!("{command:?} hangs"))?;
    Ok(Output {
        status,
        stdout: stdout.join().expect("reading does not panic")?,
        stderr: stderr.join().expect("reading does not panic")?,
    })
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `probe` gives a value.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        ensure!(started.elapsed() < HANG, "waited {HANG:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running `tarn dev` on a folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct Tarn {
    child: Child,
    folder: TempDir,
    extra: Vec<String>,
    /// What the ready file says.
    pub ready: Value,
}

impl Tarn {
    /// Starts on free ports.
    pub fn start(extra: &[&str]) -> Result<Tarn> {
        let folder = TempDir::new()?;
        let extra: Vec<String> = extra.iter().map(|text| (*text).to_owned()).collect();
        let ports = [
            "--kafka-port",
            "0",
            "--registry-port",
            "0",
            "--http-port",
            "0",
            "--pg-port",
            "0",
        ];
        let ports: Vec<String> = ports.iter().map(|text| (*text).to_owned()).collect();
        let (child, ready) = spawn(folder.path(), &ports, &extra)?;
        Ok(Tarn {
            child,
            folder,
            extra,
            ready,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn ready_file(&self) -> PathBuf {
        self.folder.path().join("ready.json")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn address(&self, key: &str) -> String {
        self.ready[key]
            .as_str()
            .expect("the ready file names every service")
            .to_owned()
    }

    pub fn kafka(&self) -> String {
        self.address("kafka")
    }

    pub fn http(&self) -> String {
        self.address("http")
    }

    /// `kill -9`, then a new process on the same folder and the same ports.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        std::fs::remove_file(self.ready_file())?;
        self.restart()
    }

    /// A new process on the same folder and the same ports, after the last one has ended.
    pub fn restart(&mut self) -> Result<()> {
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let mut ports = Vec::new();
        for (flag, key) in [
            ("--kafka-port", "kafka"),
            ("--registry-port", "registry"),
            ("--http-port", "http"),
        ] {
            ports.extend([flag.to_owned(), port(&self.address(key))]);
        }
        ports.extend(["--pg-port".to_owned(), "0".to_owned()]);
        let (child, ready) = spawn(self.folder.path(), &ports, &self.extra)?;
        self.child = child;
        self.ready = ready;
        Ok(())
    }

    /// The same on other ports, which are free.
    pub fn restart_elsewhere(&mut self) -> Result<()> {
        let mut ports = Vec::new();
        for flag in [
            "--kafka-port",
            "--registry-port",
            "--http-port",
            "--pg-port",
        ] {
            ports.extend([flag.to_owned(), "0".to_owned()]);
        }
        let (child, ready) = spawn(self.folder.path(), &ports, &self.extra)?;
        self.child = child;
        self.ready = ready;
        Ok(())
    }

    /// SIGTERM; gives the exit code once it has drained.
    pub fn terminate(&mut self) -> Result<Option<i32>> {
        self.begin_drain()?;
        self.ended()
    }

    /// SIGTERM.
    pub fn begin_drain(&self) -> Result<()> {
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()])).map(drop)
    }

    /// Waits for its end; gives the exit code.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let status = wait(&mut self.child, HANG)?.context("tarn did not stop on SIGTERM")?;
        Ok(status.code())
    }

    /// The command-line client, pointed at this process.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tarn_binary());
        command
            .args(arguments)
            .env("TARN_BOOTSTRAP", self.kafka())
            .env("TARN_REGISTRY", self.address("registry"))
            .env("TARN_URL", self.http());
        command
    }

    /// Runs one SQL statement; gives the answer's JSON.
    pub fn sql(&self, query: &str) -> Result<Value> {
        let text = run(self
            .cli(&["sql", "-o", "json", query])
            .env_remove("RUST_LOG"))?;
        serde_json::from_str(&text)
            .with_context(|| format!("the answer to {query:?} is not JSON: {text}"))
    }

    /// The single value that a query answers.
    pub fn value(&self, query: &str) -> Result<Value> {
        let answer = self.sql(query)?;
        Ok(answer["rows"][0][0].clone())
    }

    /// A client program in Python from `tests/clients`, told where everything is.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(python()?);
        command
            .arg(root().join(program))
            .args(arguments)
            .arg("--ready")
            .arg(self.ready_file())
            .env("PYTHONUNBUFFERED", "1");
        Ok(command)
    }

    /// What the process logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Tarn {
    fn drop(&mut self) {
        // Dead already if the test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprint_log(&self.log());
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a failed test shows the log of what it tested"
)]
fn eprint_log(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    eprintln!(
        "--- the end of tarn's log\n{}",
        lines[lines.len().saturating_sub(60)..].join("\n")
    );
}

fn spawn(folder: &Path, ports: &[String], extra: &[String]) -> Result<(Child, Value)> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    let ready_file = folder.join("ready.json");
    let mut child = Command::new(tarn_binary())
        .arg("dev")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--ready-file")
        .arg(&ready_file)
        .args(ports)
        .args(extra)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let started = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready_file)
            && let Ok(ready) = serde_json::from_str(&text)
        {
            return Ok((child, ready));
        }
        if let Some(status) = child.try_wait()? {
            bail!(
                "tarn ended with {status}:\n{}",
                std::fs::read_to_string(folder.join("log"))?
            );
        }
        if started.elapsed() > HANG {
            child.kill()?;
            bail!(
                "tarn was not ready in time:\n{}",
                std::fs::read_to_string(folder.join("log"))?
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
