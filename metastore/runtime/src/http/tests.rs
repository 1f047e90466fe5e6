//! A listener on a real socket, and clients that do what clients should not.

use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::*;
use crate::Runtime;

/// Longer than anything takes here; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);
/// What the test is not about has no limit that it could reach.
const PATIENT: Limits = Limits {
    connections: 100,
    head: NEVER,
    stall: NEVER,
    grace: NEVER,
};
/// More than the buffers of two sockets take.
const LARGE: usize = 64 << 20;

/// What the handlers share with the test.
#[derive(Debug, Clone)]
struct Handlers {
    begun: mpsc::Sender<()>,
    release: Arc<Notify>,
    dropped: mpsc::Sender<()>,
}

/// The bytes of a large answer, which tell when they are let go of.
struct Large {
    bytes: Vec<u8>,
    dropped: mpsc::Sender<()>,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.dropped.try_send(());
    }
}

struct Fixture {
    runtime: Runtime,
    scope: Scope,
    address: String,
    begun: mpsc::Receiver<()>,
    release: Arc<Notify>,
    dropped: mpsc::Receiver<()>,
}

impl Fixture {
    async fn new(limits: Limits) -> Fixture {
        let runtime = Runtime::real();
        let scope = runtime.root_scope("test");
        let listener = runtime.net().listen("127.0.0.1:0").await.expect("a port");
        let address = listener.local_address().expect("it is bound").to_string();
        let (begin, begun) = mpsc::channel(16);
        let (drop, dropped) = mpsc::channel(16);
        let release = Arc::new(Notify::new());
        let handlers = Handlers {
            begun: begin,
            release: Arc::clone(&release),
            dropped: drop,
        };
        let router = Router::new()
            .route("/", get(async || "ok\n"))
            .route("/waits", get(waits))
            .route("/large", get(large))
            .with_state(handlers);
        let mut server = Server::new(runtime.metrics());
        server.limits = limits;
        server.serve(&scope, listener, router);
        Fixture {
            runtime,
            scope,
            address,
            begun,
            release,
            dropped,
        }
    }

    async fn connect(&self) -> Stream {
        let connecting = self.runtime.net().connect(&self.address);
        connecting.await.expect("it listens")
    }

    async fn send(&self, text: &str) -> Stream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.expect("it is read");
        stream
    }

    async fn drained(&self) {
        timeout(HANG, self.scope.drain())
            .await
            .expect("it drains whatever the clients do");
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.runtime.metrics().encode();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0, |value| value.trim().parse().expect("a number"))
    }

    fn closed(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "tarn_http_connections_closed_total{{reason=\"{reason}\"}}"
        ))
    }
}

async fn waits(State(handlers): State<Handlers>) -> &'static str {
    handlers.begun.send(()).await.expect("the test goes on");
    handlers.release.notified().await;
    "waited\n"
}

async fn large(State(handlers): State<Handlers>) -> Body {
    let large = Large {
        bytes: vec![b'x'; LARGE],
        dropped: handlers.dropped.clone(),
    };
    handlers.begun.send(()).await.expect("the test goes on");
    Body::from(Bytes::from_owner(large))
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

/// Reads up to the end of an answer whose body ends so.
async fn read_to(stream: &mut Stream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let bytes = timeout(HANG, stream.read_buf(&mut read)).await;
        let bytes = bytes.expect("it answers").expect("it is connected");
        assert!(
            bytes > 0,
            "it ended early: {:?}",
            String::from_utf8_lossy(&read)
        );
    }
    String::from_utf8(read).expect("text")
}

/// Reads until the other side closes. A reset is an end, too.
async fn read_all(stream: &mut Stream) -> String {
    let mut read = Vec::new();
    let end = timeout(HANG, stream.read_to_end(&mut read)).await;
    if let Err(error) = end.expect("it is closed") {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(read).expect("text")
}

#[tokio::test]
async fn a_connection_is_kept_alive() {
    let fixture = Fixture::new(PATIENT).await;
    let mut stream = fixture.connect().await;
    for _ in 0..3 {
        let asked = stream.write_all(request("/").as_bytes()).await;
        asked.expect("it is open");
        let answer = read_to(&mut stream, "ok\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(fixture.metric("tarn_http_connections "), 1);
    // It is idle, and closed without waiting for anybody.
    fixture.drained().await;
    assert_eq!(read_all(&mut stream).await, "");
    assert_eq!(fixture.metric("tarn_http_connections "), 0);
}

#[tokio::test]
async fn half_a_head_is_cut_off() {
    let fixture = Fixture::new(Limits {
        head: SHORT,
        ..PATIENT
    })
    .await;
    let mut nothing = fixture.connect().await;
    let mut half = fixture.send("GET / HT").await;
    let mut second = fixture
        .send(&format!("{}GET / HTTP/1.1\r\n", request("/")))
        .await;
    assert_eq!(read_all(&mut nothing).await, "");
    assert_eq!(read_all(&mut half).await, "");
    assert!(read_all(&mut second).await.ends_with("\r\n\r\nok\n"));
    fixture.drained().await;
    assert_eq!(fixture.closed("no request in time"), 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_nothing_after_the_stall() {
    let mut fixture = Fixture::new(Limits {
        stall: SHORT,
        ..PATIENT
    })
    .await;
    let stream = fixture.send(&request("/large")).await;
    let dropped = timeout(HANG, fixture.dropped.recv()).await;
    dropped.expect("the answer is let go of");
    fixture.drained().await;
    assert_eq!(fixture.closed("the client does not read"), 1);
    drop(stream);
}

#[tokio::test]
async fn a_client_that_reads_gets_all_of_a_large_answer() {
    let fixture = Fixture::new(PATIENT).await;
    let mut stream = fixture
        .send("GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await;
    let answer = read_all(&mut stream).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body.len(), LARGE);
    fixture.drained().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let fixture = Fixture::new(Limits {
        connections: 1,
        ..PATIENT
    })
    .await;
    let mut first = fixture.send(&request("/")).await;
    read_to(&mut first, "ok\n").await;
    let mut second = fixture.connect().await;
    let refused = read_all(&mut second).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("\r\n\r\ntoo many connections\n"),
        "{refused}"
    );
    assert_eq!(fixture.closed("too many connections"), 1);
    drop(first);
    let served = async {
        loop {
            let mut third = fixture.connect().await;
            // It may be refused and closed before this is written.
            let _ = third.write_all(request("/").as_bytes()).await;
            let mut answer = [0; 12];
            if third.read_exact(&mut answer).await.is_ok() && &answer == b"HTTP/1.1 200" {
                return;
            }
        }
    };
    timeout(HANG, served)
        .await
        .expect("the place is free again");
    fixture.drained().await;
}

#[tokio::test]
async fn what_is_in_flight_is_answered_and_who_comes_late_hears_something() {
    let mut fixture = Fixture::new(PATIENT).await;
    let mut waiting = fixture.send(&request("/waits")).await;
    let begun = timeout(HANG, fixture.begun.recv()).await;
    begun.expect("the handler is asked");
    {
        let mut draining = pin!(fixture.scope.drain());
        let probe = async {
            fixture.scope.stopped().await;
            let mut late = fixture.send(&request("/")).await;
            read_all(&mut late).await
        };
        tokio::select! {
            () = &mut draining => panic!("it does not wait for what is in flight"),
            answer = probe => assert!(
                answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\nok\n"),
                "{answer}"
            ),
        }
        // Who only came late is not waited for.
        let _late = fixture.send("GET / HT").await;
        fixture.release.notify_one();
        timeout(HANG, draining).await.expect("all is answered");
    }
    let answer = read_all(&mut waiting).await;
    assert!(answer.ends_with("\r\n\r\nwaited\n"), "{answer}");
    let refused = fixture.runtime.net().connect(&fixture.address).await;
    assert_eq!(
        refused.expect_err("nobody listens").kind(),
        io::ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn draining_waits_no_longer_than_the_grace() {
    let mut fixture = Fixture::new(Limits {
        grace: SHORT,
        ..PATIENT
    })
    .await;
    let mut half = fixture.send("GET / HT").await;
    let deaf = fixture.send(&request("/large")).await;
    let hangs = fixture.send(&request("/waits")).await;
    for _ in 0..2 {
        let begun = timeout(HANG, fixture.begun.recv()).await;
        begun.expect("the handlers are asked");
    }
    fixture.drained().await;
    let dropped = fixture.dropped.try_recv();
    dropped.expect("the answer is let go of");
    assert_eq!(read_all(&mut half).await, "");
    assert!(fixture.closed("stopping") >= 2);
    drop((deaf, hangs));
}
