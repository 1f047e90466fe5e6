use kafka_protocol::messages::{MetadataRequest, ProduceRequest};
use tarn_model::Fate;

use super::*;
use crate::fake::{Fake, Fault};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn open(fake: &Fake) -> Result<Connection, RequestError> {
    Connection::open(
        &fake.runtime,
        &fake.scope,
        fake.client.settings(),
        &fake.address,
    )
    .await
}

#[tokio::test]
async fn many_requests_may_wait_for_answers_at_once() {
    let fake = Fake::start(&[("t", 1)]).await;
    let connection = open(&fake).await.expect("connects");
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(
            connection
                .start(&MetadataRequest::default(), soon())
                .await
                .expect("starts"),
        );
    }
    for answer in answers {
        assert_eq!(answer.wait().await.expect("answered").topics.len(), 0);
    }
    fake.scope.drain().await;
}

#[tokio::test]
async fn a_server_that_knows_only_version_0_of_api_versions_is_understood() {
    let fake = Fake::start(&[]).await;
    fake.with(|state| state.old = true);
    let connection = open(&fake).await.expect("connects");
    assert_eq!(connection.version_of::<ProduceRequest>(), Ok(12));
    fake.scope.drain().await;
}

#[tokio::test]
async fn a_request_without_an_answer_in_time_closes_the_connection() {
    let fake = Fake::start(&[]).await;
    let connection = open(&fake).await.expect("connects");
    fake.plan(ApiKey::Metadata, [Fault::Silence]);
    let deadline = Instant::now() + Duration::from_millis(50);
    let silent = connection
        .start(&MetadataRequest::default(), deadline)
        .await
        .expect("starts");
    let error = silent.wait().await.expect_err("nobody answers");
    assert!(
        matches!(error, RequestError::Timeout { sent: true, .. }),
        "{error}"
    );
    assert_eq!(error.fate(), Fate::Unknown);
    assert!(connection.is_closed());
    let error = connection
        .ask(&MetadataRequest::default(), soon())
        .await
        .expect_err("closed");
    assert_eq!(error.fate(), Fate::NotDone);
    fake.scope.drain().await;
}

#[tokio::test]
async fn whoever_waits_learns_that_the_connection_broke() {
    let fake = Fake::start(&[]).await;
    let connection = open(&fake).await.expect("connects");
    fake.plan(ApiKey::Metadata, [Fault::LostAnswer]);
    let first = connection
        .start(&MetadataRequest::default(), soon())
        .await
        .expect("starts");
    let error = first.wait().await.expect_err("lost");
    assert!(
        matches!(error, RequestError::Lost { sent: true, .. }),
        "{error}"
    );
    fake.scope.drain().await;
}

#[tokio::test]
async fn nobody_there_is_an_error_and_nothing_was_done() {
    let fake = Fake::start(&[]).await;
    let error = fake
        .client
        .connection_to("127.0.0.1:1")
        .await
        .expect_err("no server listens there");
    assert_eq!(error.fate(), Fate::NotDone);
    fake.scope.drain().await;
}
