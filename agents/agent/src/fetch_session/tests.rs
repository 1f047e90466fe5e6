use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};

use super::*;

fn request(session_id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| {
            FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(*offset)
        })
        .collect();
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(partitions);
    FetchRequest::default()
        .with_session_id(session_id)
        .with_session_epoch(epoch)
        .with_topics(vec![topic])
}

fn sessions(max: usize) -> (FetchSessions, Random) {
    (FetchSessions::new(max, Gauge::default()), Random::seeded(1))
}

fn offsets(begun: &Begun) -> Vec<(i32, i64)> {
    begun
        .wanted
        .iter()
        .map(|wanted| (wanted.partition, wanted.fetch_offset))
        .collect()
}

fn told(high_watermark: i64) -> Told {
    Told {
        high_watermark,
        last_stable: high_watermark,
        log_start: 0,
        failed: false,
    }
}

#[tokio::test]
async fn a_session_remembers_partitions_and_counts_epochs() {
    let (sessions, random) = sessions(10);
    let now = Instant::now();
    let first = sessions
        .begin(&request(0, 0, &[(0, 5), (1, 6)]), 12, &random, now)
        .expect("new session");
    assert_ne!(first.session_id, 0);
    let id = first.session_id;

    let second = sessions
        .begin(&request(id, 1, &[(1, 7)]), 12, &random, now)
        .expect("next epoch");
    assert_eq!(offsets(&second), [(0, 5), (1, 7)]);
    assert_eq!(
        sessions
            .begin(&request(id, 1, &[]), 12, &random, now)
            .map(|_| ()),
        Err(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(
        sessions
            .begin(&request(id, 2, &[]), 13, &random, now)
            .map(|_| ()),
        Err(ErrorCode::FetchSessionTopicIdError)
    );
    let forgets = request(id, 2, &[]).with_forgotten_topics_data(vec![
        ForgottenTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![0]),
    ]);
    let third = sessions
        .begin(&forgets, 12, &random, now)
        .expect("next epoch");
    assert_eq!(offsets(&third), [(1, 7)]);

    let last = sessions
        .begin(&request(id, -1, &[(0, 9)]), 12, &random, now)
        .expect("sessionless");
    assert_eq!((last.session_id, offsets(&last)), (0, vec![(0, 9)]));
    assert_eq!(
        sessions
            .begin(&request(id, 3, &[]), 12, &random, now)
            .map(|_| ()),
        Err(ErrorCode::FetchSessionIdNotFound)
    );
}

#[tokio::test]
async fn who_puts_an_answer_together_holds_up_no_other_session() {
    let (sessions, random) = sessions(10);
    let now = Instant::now();
    let begin = |id, epoch| sessions.begin(&request(id, epoch, &[(0, 0)]), 12, &random, now);
    let one = begin(0, 0).expect("new session");
    let other = begin(0, 0).expect("new session");
    let mut telling = one.telling();
    assert!(sessions.inner.try_lock().is_ok(), "all share this one");
    let again = begin(other.session_id, 1).expect("next epoch");
    assert!(again.telling().tell(0, told(3), false));
    assert!(telling.tell(0, told(3), false));
}

#[tokio::test]
async fn an_incremental_answer_names_only_news_and_rotates() {
    let (sessions, random) = sessions(10);
    let now = Instant::now();
    let first = sessions
        .begin(&request(0, 0, &[(0, 0), (1, 0)]), 12, &random, now)
        .expect("new session");
    for index in 0..first.wanted.len() {
        assert!(
            first.telling().tell(index, told(3), false),
            "a full answer names all"
        );
    }
    let id = first.session_id;
    let second = sessions
        .begin(&request(id, 1, &[]), 12, &random, now)
        .expect("next epoch");
    assert!(second.telling().tell(0, told(3), true), "records are news");
    assert!(!second.telling().tell(1, told(3), false));
    let third = sessions
        .begin(&request(id, 2, &[]), 12, &random, now)
        .expect("next epoch");
    assert_eq!(
        third.wanted[0].partition, 1,
        "what was served goes to the end"
    );
    assert!(
        third.telling().tell(0, told(4), false),
        "a moved high watermark is news"
    );
}

#[tokio::test]
async fn a_session_holds_nothing_of_its_requests_and_no_name_that_no_topic_has() {
    let (sessions, random) = sessions(10);
    let now = Instant::now();
    let named = |session_id, epoch, name: StrBytes| {
        let mut request = request(session_id, epoch, &[(0, 5)]);
        request.topics[0].topic = TopicName(name);
        request
    };
    let frame = bytes::Bytes::from(vec![b'n'; 100]);
    let name = StrBytes::from_utf8(frame.clone()).expect("text");
    let first = sessions
        .begin(&named(0, 0, name), 12, &random, now)
        .expect("new session");
    assert!(frame.is_unique(), "the request can be freed");
    let id = first.session_id;
    assert_ne!(id, 0);

    let long = || StrBytes::from_string("n".repeat(caps::TOPIC_NAME_MAX + 1));
    let refused = sessions.begin(&named(id, 1, long()), 12, &random, now);
    assert_eq!(refused.map(|_| ()), Err(ErrorCode::FetchSessionIdNotFound));
    let full = sessions
        .begin(&named(0, 0, long()), 12, &random, now)
        .expect("a full fetch");
    assert_eq!((full.session_id, offsets(&full)), (0, vec![(0, 5)]));
    let inner = sessions.inner.lock().expect("nobody panicked");
    assert_eq!((inner.sessions.len(), inner.partitions), (0, 0));
}

#[tokio::test]
async fn a_full_cache_evicts_only_what_is_idle() {
    let (sessions, random) = sessions(1);
    let now = Instant::now();
    let first = sessions
        .begin(&request(0, 0, &[(0, 0)]), 12, &random, now)
        .expect("new session");
    let refused = sessions
        .begin(&request(0, 0, &[(0, 0)]), 12, &random, now)
        .expect("full fetch");
    assert_eq!(refused.session_id, 0);
    let later = now + EVICTABLE_AFTER;
    let second = sessions
        .begin(&request(0, 0, &[(0, 0)]), 12, &random, later)
        .expect("new session");
    assert!(second.session_id != 0 && second.session_id != first.session_id);
}

#[tokio::test]
async fn who_was_used_longest_ago_goes_first() {
    let (sessions, random) = sessions(3);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let begin = |seconds| {
        let begun = sessions.begin(&request(0, 0, &[(0, 0)]), 12, &random, at(seconds));
        begun.expect("a full fetch").session_id
    };
    let ids: Vec<i32> = (1..=3).map(begin).collect();
    let go_on = |id, epoch, seconds| {
        let next = sessions.begin(&request(id, epoch, &[]), 12, &random, at(seconds));
        next.map(|_| ())
    };
    // Uses change their order: the third is oldest by now.
    assert_eq!(go_on(ids[0], 1, 60), Ok(()));
    assert_eq!(go_on(ids[1], 1, 50), Ok(()));
    assert_ne!(begin(124), 0);
    let gone = Err(ErrorCode::FetchSessionIdNotFound);
    assert_eq!(go_on(ids[2], 1, 125), gone);
    assert_eq!(begin(126), 0, "nobody else is idle for so long");
    assert_ne!(begin(171), 0);
    assert_eq!(go_on(ids[1], 2, 172), gone);
    assert_eq!(go_on(ids[0], 2, 172), Ok(()));
    let inner = sessions.inner.lock().expect("nobody panicked");
    assert_eq!(inner.by_use.len(), inner.sessions.len());
}
