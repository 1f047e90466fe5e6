//! SIGTERM, whatever clients do: what is in flight is answered, nobody new is let in, and nobody holds the
//! process up for longer than the grace.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of real processes waits on real time, outside of any runtime"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tarn_system_tests::{HANG, Tarn, eventually, output, run, tarn_binary};

/// The grace of HTTP and that of Kafka are 10 s each, and the rest takes moments. Without them, these
/// clients would hold the process for a minute and more.
const DRAINS_WITHIN: Duration = Duration::from_secs(40);

fn send(url: &str, text: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(HANG))?;
    stream.write_all(text.as_bytes())?;
    Ok(stream)
}

/// A whole answer, or nothing if nobody listens any more.
fn get(url: &str, path: &str) -> Result<String> {
    let mut answer = String::new();
    if let Ok(mut stream) = send(url, &format!("GET {path} HTTP/1.0\r\n\r\n")) {
        stream.read_to_string(&mut answer)?;
    }
    Ok(answer)
}

#[test]
fn no_http_client_holds_the_process_up() -> Result<()> {
    let mut tarn = Tarn::start(&[])?;
    let (http, kafka) = (tarn.http(), tarn.kafka());
    let registry = tarn.ready["registry"].as_str().unwrap_or_default();
    ensure!(get(&http, "/readyz")?.ends_with("ready\n"));
    // Half a head, and a large answer that nobody reads.
    let _half = send(&http, "GET / HT")?;
    let _other = send(registry, "GET /subjects HTTP/1.1\r\n")?;
    let query = r#"{"query": "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"}"#;
    let length = query.len();
    let mut deaf = send(
        &http,
        &format!("POST /v1/sql HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{query}"),
    )?;
    let mut status = [0; 12];
    deaf.read_exact(&mut status)?;
    ensure!(&status == b"HTTP/1.1 200", "{status:?}");

    let began = Instant::now();
    tarn.begin_drain()?;
    // As long as it still listens: probes hear that it drains, Kafka's clients find another agent.
    eventually("Kafka to accept nobody", || {
        match TcpStream::connect(&kafka) {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Some(())),
            Err(error) => Err(error.into()),
        }
    })?;
    let answer = get(&http, "/readyz")?;
    ensure!(answer.starts_with("HTTP/1.0 503 "), "{answer}");
    let answer = get(&http, "/healthz")?;
    ensure!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    let code = tarn.ended()?;
    let took = began.elapsed();
    ensure!(code == Some(0), "exit code {code:?}:\n{}", tarn.log());
    ensure!(took < DRAINS_WITHIN, "it took {took:?}");
    Ok(())
}

#[test]
fn a_ready_file_that_cannot_be_written_ends_what_was_started() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let missing = folder.path().join("missing/ready.json");
    let output = output(
        Command::new(tarn_binary())
            .args(["dev", "--kafka-port", "0", "--registry-port", "0"])
            .args(["--http-port", "0", "--log-level", "info"])
            .arg("--ready-file")
            .arg(&missing)
            .current_dir(folder.path()),
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2)
            && said.contains("--ready-file")
            && said.contains("drained"),
        "{}: {said}",
        output.status
    );
    Ok(())
}

#[test]
fn who_listens_everywhere_tells_clients_a_host() -> Result<()> {
    let tarn = Tarn::start(&["--host", "0.0.0.0", "--advertised-host", "localhost"])?;
    let kafka = tarn.kafka();
    ensure!(kafka.starts_with("localhost:"), "{kafka}");
    ensure!(
        tarn.http().starts_with("http://localhost:"),
        "{}",
        tarn.http()
    );
    run(&mut tarn.cli(&["topic", "create", "here"]))?;
    ensure!(tarn.value("SELECT count(*) FROM events.here")? == 0);
    Ok(())
}
