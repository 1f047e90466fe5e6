//! Clients on real sockets that ask for much and go away.

use std::time::Duration;

use futures::future::join_all;
use tarn_engine::EngineSettings;
use tarn_runtime::{Stream, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::Fixture;

/// Longer than anything takes here; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// Statements that run for ever, each busy in another way.
const ENDLESS: [&str; 8] = [
    // A scan that says now and then that there is nothing yet.
    "SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value < 0",
    // Joins that make more of one batch of a scan than anybody waits for, …
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "SELECT max(a.value + b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "SELECT count(*) FROM (SELECT value % 2 AS k FROM generate_series(1, 1000000)) a \
     JOIN (SELECT value % 2 AS k FROM generate_series(1, 1000000)) b ON a.k = b.k",
    // … and those that make nothing of it.
    "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value < b.value - 1000000",
    "SELECT count(*) FROM (SELECT value % 2 AS k, value AS v FROM generate_series(1, 1000000)) a \
     JOIN (SELECT value % 2 AS k, value AS v FROM generate_series(1, 1000000)) b \
     ON a.k = b.k AND a.v + b.v < 0",
    // Rows that make rows.
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM (SELECT unnest(range(0, 1000000)) FROM generate_series(1, 1000000))",
];

/// One whose answer has begun, with more than a client's socket takes, and then says nothing more.
const BEGUN: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 4300) \
    UNION ALL SELECT '' FROM generate_series(1, 1000000000000) WHERE value < 0";

impl Fixture {
    async fn listen(&self) -> String {
        let runtime = &self.node.runtime;
        let listener = runtime.net().listen("127.0.0.1:0").await.expect("a port");
        let address = listener.local_address().expect("it is bound").to_string();
        let server = http::Server::new(runtime.metrics());
        let scope = self.node.scope.child("http");
        server.serve(&scope, listener, self.router.clone());
        address
    }

    /// Sends a statement and reads nothing.
    async fn post(&self, address: &str, sql: &str) -> Stream {
        let body = serde_json::json!({ "query": sql }).to_string();
        let connecting = self.node.runtime.net().connect(address);
        let mut stream = connecting.await.expect("it listens");
        let length = body.len();
        let request = format!(
            "POST /v1/sql HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("it is read");
        stream
    }

    /// Waits until so many queries have begun and not ended.
    async fn running(&self, count: usize, within: Duration) {
        let line = format!("tarn_queries_running {count}\n");
        let counted = async {
            while !self.node.runtime.metrics().encode().contains(&line) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let metrics = || self.node.runtime.metrics().encode();
        if timeout(within, counted).await.is_err() {
            let text = metrics();
            let now = text
                .lines()
                .find(|line| line.starts_with("tarn_queries_running"));
            panic!("not {count} after {within:?}, but {now:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_whose_clients_vanish_free_their_places() {
    let fixture = Fixture::with(EngineSettings {
        time_limit: Duration::from_secs(3600),
        ..EngineSettings::default()
    })
    .await;
    let address = fixture.listen().await;
    for wave in ["those that run", "those that wait for a place, too"] {
        let count = match wave {
            "those that run" => 16,
            _ => 48,
        };
        let asked = ENDLESS.into_iter().chain([BEGUN]).cycle().take(count);
        let clients = join_all(asked.map(|sql| fixture.post(&address, sql))).await;
        fixture.running(count, HANG).await;
        drop(clients);
        let gone = Instant::now();
        // Left to themselves they would hold them for ever; how soon it is, is said, not judged.
        fixture.running(0, HANG).await;
        println!("{wave}: free after {:?}", gone.elapsed());
        let next = (0..16).map(|_| async {
            let mut client = fixture.post(&address, "SELECT 1").await;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("text");
            answer
        });
        let answers = timeout(HANG, join_all(next)).await;
        for answer in answers.expect("each has a place") {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    fixture.node.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_never_steps_aside_ends_at_its_time_limit() {
    let fixture = Fixture::with(EngineSettings {
        time_limit: Duration::from_secs(1),
        queries_at_once: 1,
        ..EngineSettings::default()
    })
    .await;
    for sql in ENDLESS {
        let answer = timeout(HANG, fixture.query(sql)).await.expect("it ends");
        assert!(answer.starts_with("408 "), "{sql}\n{answer}");
        fixture.running(0, HANG).await;
    }
    fixture.node.drain().await;
}
