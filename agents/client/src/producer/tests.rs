use super::*;
use crate::fake::{Fake, Fault};
use tarn_kafka::{ApiKey, ErrorCode};
use tarn_model::Fate;

fn quick() -> ProducerSettings {
    ProducerSettings {
        linger: Duration::ZERO,
        delivery_timeout: Duration::from_secs(10),
        ..ProducerSettings::default()
    }
}

fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("v{n}")).collect()
}

/// Sends numbered values to partition 0 and gives what became of each.
async fn send_all(
    producer: &Producer,
    from: usize,
    to: usize,
) -> Vec<Result<Option<u64>, ProduceError>> {
    let mut deliveries = Vec::new();
    for value in numbered(from, to) {
        deliveries.push(
            producer
                .send(ProducerRecord::new("t", value).partition(0))
                .await
                .expect("accepted"),
        );
        // Several batches, so that several requests are in flight.
        tokio::task::yield_now().await;
    }
    let mut fates = Vec::new();
    for delivery in deliveries {
        fates.push(
            delivery
                .await
                .map(|delivered| delivered.offset.map(|offset| offset.0)),
        );
    }
    fates
}

fn offsets(from: u64, to: u64) -> Vec<Result<Option<u64>, ProduceError>> {
    (from..to).map(|offset| Ok(Some(offset))).collect()
}

#[tokio::test]
async fn records_keep_their_order_and_learn_their_offsets() {
    for linger in [Duration::ZERO, Duration::from_millis(5)] {
        let fake = Fake::start(&[("t", 1)]).await;
        let producer = Producer::new(&fake.client, ProducerSettings { linger, ..quick() });
        assert_eq!(send_all(&producer, 0, 500).await, offsets(0, 500));
        assert_eq!(fake.values("t", 0), numbered(0, 500));
        producer.close().await;
        fake.scope.drain().await;
    }
}

#[tokio::test]
async fn lost_requests_and_lost_answers_neither_lose_nor_repeat_records() {
    use Fault::{LostAnswer, LostRequest};
    for faults in [
        vec![LostAnswer],
        vec![LostRequest],
        vec![LostRequest, LostAnswer, LostAnswer, LostRequest],
    ] {
        let fake = Fake::start(&[("t", 1)]).await;
        fake.plan(ApiKey::Produce, faults);
        let producer = Producer::new(&fake.client, quick());
        assert_eq!(send_all(&producer, 0, 100).await, offsets(0, 100));
        assert_eq!(fake.values("t", 0), numbered(0, 100));
        producer.close().await;
        fake.scope.drain().await;
    }
}

#[tokio::test]
async fn retriable_codes_are_retried() {
    let fake = Fake::start(&[("t", 1)]).await;
    let codes = [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::RequestTimedOut,
        ErrorCode::NotLeaderOrFollower,
    ];
    fake.plan(ApiKey::Produce, codes.map(Fault::Refused));
    let producer = Producer::new(&fake.client, quick());
    assert_eq!(send_all(&producer, 0, 50).await, offsets(0, 50));
    assert_eq!(fake.values("t", 0), numbered(0, 50));
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(&fake.client, quick());
    assert_eq!(send_all(&producer, 0, 1).await, offsets(0, 1));
    fake.plan(
        ApiKey::Produce,
        [Fault::Refused(ErrorCode::TopicAuthorizationFailed)],
    );
    let mut deliveries = Vec::new();
    deliveries.push(
        producer
            .send(ProducerRecord::new("t", "refused").partition(0))
            .await
            .expect("accepted"),
    );
    // Long enough for the first to be a batch of its own.
    tokio::time::sleep(Duration::from_millis(20)).await;
    deliveries.push(
        producer
            .send(ProducerRecord::new("t", "v1").partition(0))
            .await
            .expect("accepted"),
    );
    let mut fates = Vec::new();
    for delivery in deliveries {
        fates.push(delivery.await);
    }
    let error = fates[0].clone().expect_err("refused");
    assert_eq!(error.fate(), Fate::NotDone);
    assert_eq!(
        fates[1].clone().expect("the next one is fine").offset,
        Some(Offset(1))
    );
    assert_eq!(fake.values("t", 0), ["v0", "v1"]);
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn without_sequences_an_unknown_fate_is_reported_and_not_retried() {
    let fake = Fake::start(&[("t", 1)]).await;
    fake.plan(ApiKey::Produce, [Fault::LostAnswer]);
    let producer = Producer::new(
        &fake.client,
        ProducerSettings {
            idempotent: false,
            ..quick()
        },
    );
    let error = producer
        .produce(ProducerRecord::new("t", "v0").partition(0))
        .await
        .expect_err("lost");
    assert_eq!(error.fate(), Fate::Unknown);
    // It was written, once.
    assert_eq!(fake.values("t", 0), ["v0"]);
    fake.plan(
        ApiKey::Produce,
        [Fault::Refused(ErrorCode::NotLeaderOrFollower)],
    );
    let delivered = producer
        .produce(ProducerRecord::new("t", "v1").partition(0))
        .await;
    assert_eq!(
        delivered.expect("not done is retried").offset,
        Some(Offset(1))
    );
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn what_is_not_delivered_in_time_says_whether_it_may_be_there() {
    for (fault, fate) in [
        (
            Fault::Refused(ErrorCode::NotLeaderOrFollower),
            Fate::NotDone,
        ),
        (Fault::LostAnswer, Fate::Unknown),
    ] {
        let fake = Fake::start(&[("t", 1)]).await;
        fake.plan(ApiKey::Produce, vec![fault; 10_000]);
        let settings = ProducerSettings {
            delivery_timeout: Duration::from_millis(200),
            ..quick()
        };
        let producer = Producer::new(&fake.client, settings);
        let error = producer
            .produce(ProducerRecord::new("t", "v").partition(0))
            .await
            .expect_err("never");
        assert_eq!(error.fate(), fate, "{error}");
        producer.close().await;
        fake.scope.drain().await;
    }
}

#[tokio::test]
async fn an_unknown_topic_is_an_error() {
    let fake = Fake::start(&[]).await;
    let producer = Producer::new(&fake.client, quick());
    let error = producer
        .produce(ProducerRecord::new("nowhere", "v"))
        .await
        .expect_err("no such topic");
    assert_eq!(error.kind(), tarn_model::Kind::NotFound);
    assert_eq!(error.fate(), Fate::NotDone);
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn keys_choose_partitions_as_in_kafka() {
    let fake = Fake::start(&[("t", 4)]).await;
    let producer = Producer::new(&fake.client, quick());
    for n in 0..40 {
        let key = format!("k{}", n % 8);
        let expected = partition_of_key(key.as_bytes(), 4);
        let delivered = producer
            .produce(ProducerRecord::new("t", "v").key(key))
            .await
            .expect("delivered");
        assert_eq!(delivered.partition, expected);
    }
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn acks_0_delivers_without_offsets() {
    let fake = Fake::start(&[("t", 1)]).await;
    let settings = ProducerSettings {
        idempotent: false,
        acks: Acks::None,
        ..quick()
    };
    let producer = Producer::new(&fake.client, settings);
    for value in numbered(0, 10) {
        let delivered = producer
            .produce(ProducerRecord::new("t", value).partition(0))
            .await
            .expect("sent");
        assert_eq!(delivered.offset, None);
    }
    for _ in 0..500 {
        if fake.values("t", 0).len() == 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fake.values("t", 0), numbered(0, 10));
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn the_buffer_is_a_bound() {
    let fake = Fake::start(&[("t", 1)]).await;
    let settings = ProducerSettings {
        buffer_bytes: ByteSize::kib(8),
        linger: Duration::from_secs(60),
        ..quick()
    };
    let producer = Producer::new(&fake.client, settings);
    let large = ProducerRecord::new("t", vec![0; 9000]).partition(0);
    assert!(matches!(
        producer.send(large).await,
        Err(ProduceError::TooLarge { .. })
    ));
    let half = || ProducerRecord::new("t", vec![0; 3500]).partition(0);
    let first = producer.send(half()).await.expect("accepted");
    let second = producer.send(half()).await.expect("accepted");
    let third = tokio::time::timeout(Duration::from_millis(50), producer.send(half())).await;
    assert!(third.is_err(), "it waits for room");
    producer.flush().await;
    assert!(first.await.is_ok() && second.await.is_ok());
    assert!(producer.send(half()).await.is_ok());
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn full_batches_stay_within_the_limit_that_a_topic_has_by_default() {
    let fake = Fake::start(&[("t", 1)]).await;
    let settings = ProducerSettings {
        linger: Duration::from_secs(60),
        ..quick()
    };
    let producer = Producer::new(&fake.client, settings);
    let mut deliveries = Vec::new();
    for _ in 0..3000 {
        let record = ProducerRecord::new("t", vec![0; 1000]).partition(0);
        deliveries.push(producer.send(record).await.expect("accepted"));
    }
    producer.flush().await;
    for delivery in deliveries {
        delivery.await.expect("delivered");
    }
    producer.close().await;
    fake.scope.drain().await;
}

#[tokio::test]
async fn a_closed_producer_refuses_records_and_has_sent_the_others() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(
        &fake.client,
        ProducerSettings {
            linger: Duration::from_secs(60),
            ..quick()
        },
    );
    let delivery = producer
        .send(ProducerRecord::new("t", "v0").partition(0))
        .await
        .expect("accepted");
    producer.close().await;
    assert_eq!(delivery.await.expect("delivered").offset, Some(Offset(0)));
    assert_eq!(
        producer
            .produce(ProducerRecord::new("t", "v1").partition(0))
            .await,
        Err(ProduceError::Closed)
    );
    fake.scope.drain().await;
}

#[tokio::test]
async fn draining_the_scope_delivers_what_was_accepted() {
    let fake = Fake::start(&[("t", 1)]).await;
    let producer = Producer::new(
        &fake.client,
        ProducerSettings {
            linger: Duration::from_secs(60),
            ..quick()
        },
    );
    let delivery = producer
        .send(ProducerRecord::new("t", "v0").partition(0))
        .await
        .expect("accepted");
    fake.client.scope().drain().await;
    assert_eq!(delivery.await.expect("delivered").offset, Some(Offset(0)));
    fake.scope.drain().await;
}

/// The first batch is written but its answer lost, and its repetition refused; the second is written
/// behind it and its answer lost. Under new sequence numbers it would be there twice.
#[tokio::test]
async fn a_batch_that_may_be_there_never_gets_new_sequence_numbers() {
    let fake = Fake::start(&[("t", 1)]).await;
    let refused = Fault::Refused(ErrorCode::TopicAuthorizationFailed);
    fake.plan(
        ApiKey::Produce,
        [Fault::LostAnswer, refused, Fault::LostAnswer],
    );
    // Every record is a batch.
    let producer = Producer::new(
        &fake.client,
        ProducerSettings {
            batch_bytes: ByteSize(1),
            ..quick()
        },
    );
    let mut deliveries = Vec::new();
    for value in ["v0", "v1"] {
        deliveries.push(
            producer
                .send(ProducerRecord::new("t", value).partition(0))
                .await
                .expect("accepted"),
        );
    }
    for delivery in deliveries {
        assert_eq!(
            delivery.await.expect_err("nobody knows").fate(),
            Fate::Unknown
        );
    }
    producer
        .produce(ProducerRecord::new("t", "v2").partition(0))
        .await
        .expect("goes on");
    assert_eq!(fake.values("t", 0), ["v0", "v1", "v2"]);
    producer.close().await;
    fake.scope.drain().await;
}

/// Random faults over many small batches in flight; then every promise is checked against what
/// lies in the partitions.
#[tokio::test]
async fn answers_agree_with_the_log_whatever_goes_wrong() {
    const FAULTS: [Fault; 6] = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::Refused(ErrorCode::NotLeaderOrFollower),
        Fault::Refused(ErrorCode::RequestTimedOut),
        Fault::Refused(ErrorCode::TopicAuthorizationFailed),
        Fault::Refused(ErrorCode::KafkaStorageError),
    ];
    let (mut done, mut not_done) = (0, 0);
    for seed in 0..30 {
        let random = tarn_runtime::Random::seeded(seed);
        let idempotent = seed % 3 != 0;
        let fake = Fake::start(&[("t", 2)]).await;
        let settings = ProducerSettings {
            idempotent,
            batch_bytes: ByteSize(200),
            ..quick()
        };
        let producer = Producer::new(&fake.client, settings);
        let mut deliveries = Vec::new();
        for n in 0..200 {
            if random.happens(60) {
                let chosen = usize::try_from(random.below(6)).expect("small");
                fake.plan(ApiKey::Produce, [FAULTS[chosen]]);
            }
            if random.happens(100) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let partition = n % 2;
            let value = format!("v{n}");
            let record = ProducerRecord::new("t", value.clone()).partition(partition);
            deliveries.push((
                partition,
                value,
                producer.send(record).await.expect("accepted"),
            ));
        }
        let mut fates = Vec::new();
        for (partition, value, delivery) in deliveries {
            fates.push((partition, value, delivery.await));
        }
        producer.close().await;

        let logs = [fake.values("t", 0), fake.values("t", 1)];
        for (partition, value, fate) in fates {
            let log = &logs[usize::try_from(partition).expect("small")];
            let places: Vec<usize> = (0..log.len()).filter(|at| log[*at] == value).collect();
            assert!(places.len() <= 1, "seed {seed}: {value} is there twice");
            match fate {
                Ok(delivered) => {
                    let offset = delivered.offset.expect("the fake remembers all offsets").0;
                    assert_eq!(
                        places,
                        [usize::try_from(offset).expect("small")],
                        "seed {seed}: {value}"
                    );
                    done += 1;
                }
                Err(error) if error.fate() == Fate::NotDone => {
                    assert!(
                        places.is_empty(),
                        "seed {seed}: {value} is there after {error}"
                    );
                    not_done += 1;
                }
                Err(_) => {}
            }
        }
        if idempotent {
            // What one sender sent keeps its order, whatever was repeated in between.
            for log in &logs {
                let numbers: Vec<u32> = log
                    .iter()
                    .map(|value| value.trim_start_matches('v').parse().expect("a number"))
                    .collect();
                assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
            }
        }
        fake.scope.drain().await;
    }
    assert!(
        done > 3_000 && not_done > 50,
        "{done} done, {not_done} not done"
    );
}

/// Two hundred records for as many partitions of a topic that is not known yet: who leads them is asked
/// once, since each answer names them all.
#[tokio::test]
async fn many_who_want_to_know_ask_once() {
    let fake = Fake::start(&[("t", 200)]).await;
    let producer = Producer::new(&fake.client, quick());
    let produced = (0..200)
        .map(|partition| producer.produce(ProducerRecord::new("t", "v").partition(partition)));
    for produced in futures::future::join_all(produced).await {
        produced.expect("it is delivered");
    }
    let asked = fake.with(|state| {
        let seen = state.seen.iter();
        seen.filter(|(api, _)| *api == ApiKey::Metadata).count()
    });
    assert_eq!(asked, 1);
    producer.close().await;
    fake.scope.drain().await;
}
