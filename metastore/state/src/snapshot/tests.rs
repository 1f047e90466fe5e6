use super::*;
use crate::Command;
use crate::commands::{Closes, CommitGroupOffsets, GroupOffset, RegisterSchema};
use crate::harness::{Cluster, at, batch, idempotent, session};
use tarn_model::{ColumnType, Field, encode};

/// Something of every kind.
fn cluster() -> Cluster {
    cluster_at(FeatureLevel::NEWEST)
}

fn cluster_at(level: FeatureLevel) -> Cluster {
    let mut cluster = Cluster::at_level(level);
    cluster.create_topic(7, "orders", 2);
    cluster.open(2);
    cluster.open_closing(3, Closes::Own(vec![session(2)]));
    cluster.produce(at(7, 0), vec![batch(2), idempotent(2, 5, 0, 0)]);
    cluster.produce(at(7, 1), vec![batch(1)]);
    let columns = vec![Field::new("id", ColumnType::Long)];
    let (subject, format, text) = ("orders-value".into(), "AVRO".into(), "\"long\"".into());
    cluster
        .run(Command::RegisterSchema(RegisterSchema {
            subject,
            guid: [3; 16],
            format,
            text,
            columns,
        }))
        .unwrap();
    let node = crate::advice::coordinator(&cluster.state, "g")
        .unwrap()
        .node;
    let offsets = vec![GroupOffset {
        at: at(7, 0),
        offset: 1,
        leader_epoch: 1,
        metadata: String::new(),
    }];
    let (group, member) = ("g".into(), String::new());
    let commit = CommitGroupOffsets {
        group,
        node,
        generation: -1,
        member,
        instance: None,
        offsets,
    };
    let by = if node == NodeId(1) { 1 } else { 3 };
    cluster.propose(by, vec![Command::CommitGroupOffsets(commit)]);
    cluster.state.check_invariants().unwrap();
    assert!(!cluster.state.groups.is_empty() && !cluster.state.tombstones.is_empty());
    cluster
}

/// Bytes with a hash that fits.
fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &Sha256::digest(content)].concat()
}

fn content(state: &State) -> Vec<u8> {
    let mut bytes = state.to_snapshot();
    bytes.truncate(bytes.len() - HASH_BYTES);
    bytes
}

#[test]
fn a_state_reads_back_what_it_wrote() {
    for state in [cluster().state, Cluster::empty().state] {
        let bytes = state.to_snapshot();
        let read = State::from_snapshot(&bytes, state.cluster).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.to_snapshot(), bytes);
        assert_eq!(&bytes[bytes.len() - HASH_BYTES..], state.hash().0);
    }
}

#[test]
fn a_snapshot_and_the_rest_of_the_log_give_the_whole() {
    let whole = cluster();
    for cut in 0..=whole.log.len() {
        let mut state = State::new(whole.state.cluster);
        for bytes in &whole.log[..cut] {
            state.apply(state.lsn().next(), bytes).unwrap();
        }
        let mut state = State::from_snapshot(&state.to_snapshot(), whole.state.cluster).unwrap();
        for bytes in &whole.log[cut..] {
            state.apply(state.lsn().next(), bytes).unwrap();
        }
        assert_eq!(state.hash(), whole.state.hash(), "cut at {cut}");
    }
}

#[test]
fn a_truncated_or_torn_snapshot_is_refused() {
    let state = cluster().state;
    let bytes = state.to_snapshot();
    for end in 0..bytes.len() {
        assert!(
            State::from_snapshot(&bytes[..end], state.cluster).is_err(),
            "{end}"
        );
    }
    for place in 0..bytes.len() {
        let mut torn = bytes.clone();
        torn[place] ^= 1;
        assert!(
            State::from_snapshot(&torn, state.cluster).is_err(),
            "{place}"
        );
    }
}

#[test]
fn a_forged_hash_helps_nobody() {
    let state = cluster().state;
    let content = content(&state);
    for end in 0..content.len() {
        assert!(
            State::from_snapshot(&sealed(&content[..end]), state.cluster).is_err(),
            "{end}"
        );
    }
    // No byte has two meanings: what is still read is another state, and writes the same bytes.
    for place in 0..content.len() {
        let mut forged = content.clone();
        forged[place] ^= 1;
        if let Ok(read) = State::from_snapshot(&sealed(&forged), state.cluster) {
            assert_eq!(read.to_snapshot(), sealed(&forged), "{place}");
        }
    }
    let longer = [content.as_slice(), &[0]].concat();
    let refused = State::from_snapshot(&sealed(&longer), state.cluster);
    assert!(matches!(
        refused,
        Err(SnapshotError::Torn("something follows its end"))
    ));
}

#[test]
fn a_foreign_or_newer_snapshot_says_so() {
    let state = cluster().state;
    let refused = State::from_snapshot(&state.to_snapshot(), ClusterId::from_u128(99));
    assert!(matches!(refused, Err(SnapshotError::Foreign { found }) if found == state.cluster));
    let newer = State {
        level: FeatureLevel(7),
        ..state.clone()
    };
    let refused = State::from_snapshot(&newer.to_snapshot(), state.cluster);
    assert!(matches!(
        refused,
        Err(SnapshotError::Level {
            needs: 7,
            newest
        }) if newest == FeatureLevel::NEWEST.0
    ));
    // The level is not what is in the way of this one.
    let mut format = content(&state);
    format[9] = 2;
    assert!(matches!(
        State::from_snapshot(&sealed(&format), state.cluster),
        Err(SnapshotError::Format { found: 2 })
    ));
}

#[test]
fn keys_out_of_order_are_refused() {
    let state = cluster().state;
    let content = content(&state);
    let [first, second] = [at(7, 0), at(7, 1)].map(|at| {
        let at = encode(&at);
        content
            .windows(at.len())
            .position(|window| window == at)
            .unwrap()
    });
    // The partition heads: the first becomes a second one of the second's key.
    let mut forged = content.clone();
    let length = encode(&at(7, 0)).len();
    forged.copy_within(second..second + length, first);
    assert!(State::from_snapshot(&sealed(&forged), state.cluster).is_err());
}

#[test]
fn a_count_is_believed_as_far_as_there_are_frames() {
    let state = Cluster::empty().state;
    let numbers_end = content(&state).len();
    let mut forged = content(&state);
    // The last frame is the number of tables.
    forged.truncate(numbers_end - 5);
    let many = encode(&u64::MAX);
    forged.extend_from_slice(&u32::try_from(many.len()).unwrap().to_be_bytes());
    forged.extend_from_slice(&many);
    let refused = State::from_snapshot(&sealed(&forged), state.cluster);
    assert!(matches!(
        refused,
        Err(SnapshotError::Torn("it ends in the middle"))
    ));
}

/// What was once written keeps its meaning. A change here is a change of what replicas agree on: it
/// stands behind a feature level, and the old bytes still read as they did.
#[test]
fn the_hashes_of_a_story_never_change() {
    for (level, expected) in [
        (
            FeatureLevel::ONE,
            expect_test::expect![[r#"
                [
                    "72955e64117bf39c421f48b1a4bb3173ae5610ace8e99e8ded1b24c21166f584",
                    "156398db1397b447a07163e0909c6235b560764e4ebfda4c8cb45b061ce49039",
                    "f5b63a3e762478f326197debbc9d9b941b6123c78790c0c3daa67d58337c454b",
                ]
            "#]],
        ),
        (
            FeatureLevel::TWO,
            expect_test::expect![[r#"
                [
                    "5218a72031f2477758a39c48dd8c3204eeed6156e5a3e1827e0c8ca62b38d937",
                    "156398db1397b447a07163e0909c6235b560764e4ebfda4c8cb45b061ce49039",
                    "9a9f2e66c6b681db2f00a036ef554c5c184fdf4e7f129fc0c7b8ebc1d2e20c92",
                ]
            "#]],
        ),
    ] {
        let state = cluster_at(level).state;
        let hashes =
            [state.log_hash, state.outcome_hash, state.hash()].map(|hash| hash.to_string());
        expected.assert_debug_eq(&hashes);
    }
}
