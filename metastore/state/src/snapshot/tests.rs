use super::*;
use crate::Command;
use crate::commands::{Closes, CommitGroupOffsets, GroupOffset, RegisterSchema};
use crate::harness::{Cluster, at, batch, idempotent, session};
use tarn_model::{ColumnType, Field, NodeId, SchemaFormat, encode};

/// Something of every kind.
fn cluster() -> Cluster {
    let mut cluster = Cluster::one();
    cluster.create_topic(7, "orders", 2);
    cluster.open(2);
    cluster.open_closing(3, Closes::Own(vec![session(2)]));
    cluster.produce(at(7, 0), vec![batch(2), idempotent(2, 5, 0, 0)]);
    cluster.produce(at(7, 1), vec![batch(1)]);
    let columns = vec![Field::new("id", ColumnType::Long)];
    let (subject, format, text) = ("orders-value".into(), SchemaFormat::Avro, "\"long\"".into());
    cluster
        .run(Command::RegisterSchema(RegisterSchema {
            subject,
            guid: [3; 16],
            format,
            text,
            columns,
            references: Vec::new(),
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
        seen: cluster.state.n,
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
        Err(SnapshotError::Torn("it ends in the middle"))
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
        Err(SnapshotError::Format { found: 2, reads: 1 })
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
fn sections_have_numbers_in_order() {
    let all: Vec<&Section> = SECTIONS.iter().copied().flatten().collect();
    assert!(all.windows(2).all(|pair| pair[0].number < pair[1].number));
    assert!(
        all.iter()
            .all(|section| section.since <= FeatureLevel::NEWEST)
    );
}

#[test]
fn a_section_that_is_missing_or_out_of_its_place_is_refused() {
    let state = cluster().state;
    let refused = |sections| {
        let bytes = state.to_snapshot_with(sections);
        match State::from_snapshot(&bytes, state.cluster) {
            Err(SnapshotError::Torn(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    const WITHOUT_TABLES: &[&[Section]] = &[
        LOG_SECTIONS,
        sessions::SECTIONS,
        topics::SECTIONS,
        groups::SECTIONS,
        schemas::SECTIONS,
    ];
    assert_eq!(refused(WITHOUT_TABLES), "a section of its level is missing");
    const TWICE: &[&[Section]] = &[LOG_SECTIONS, LOG_SECTIONS];
    assert_eq!(refused(TWICE), "its sections are not those of its level");
    // The frame after the last one is the empty one.
    let open = content(&state);
    let cut = State::from_snapshot(&sealed(&open[..open.len() - 4]), state.cluster);
    assert!(matches!(
        cut,
        Err(SnapshotError::Torn("it ends in the middle"))
    ));
}

/// This binary's, and one that a later level brings.
#[cfg(debug_assertions)]
const LATER: &[&[Section]] = &[
    LOG_SECTIONS,
    sessions::SECTIONS,
    topics::SECTIONS,
    groups::SECTIONS,
    schemas::SECTIONS,
    tables::SECTIONS,
    tasks::SECTIONS,
    &[Section {
        number: 60_000,
        since: FeatureLevel::REHEARSAL,
        write: |_, frames| frames.put(&7_u64),
        read: |_, reader| reader.frame::<u64>().map(|_| ()),
    }],
];

#[cfg(debug_assertions)]
#[test]
fn a_section_is_written_at_and_above_its_level() {
    let mut state = cluster().state;
    let older = state.to_snapshot();
    assert_eq!(
        state.to_snapshot_with(LATER),
        older,
        "older binaries read it"
    );
    state.level = FeatureLevel::REHEARSAL;
    let newer = state.to_snapshot_with(LATER);
    assert!(newer.len() > older.len());
    assert!(matches!(
        State::from_snapshot(&newer, state.cluster),
        Err(SnapshotError::Level {
            needs: 2,
            newest: 1
        })
    ));
    // A binary that claims the level and lacks the section says which one, and where it came from.
    let refused = State::from_snapshot_up_to(FeatureLevel::REHEARSAL, &newer, state.cluster);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the snapshot holds section 60000, which came with level 2; this version applies up to 2 and does not know it"
    );
}

/// What was once written keeps its meaning. A change here is a change of what replicas agree on: it
/// stands behind a feature level, and the old bytes still read as they did.
#[test]
fn the_hashes_of_a_story_never_change() {
    let state = cluster().state;
    let hashes = [state.log_hash, state.outcome_hash, state.hash()].map(|hash| hash.to_string());
    expect_test::expect![[r#"
        [
            "3cde73d25e1f9f140ee786008ff995de8854249f0ab7ed06f46afdb5be0ad898",
            "8375879eea60fbb016f82571695a8c759949ecdf21e00373991523bcff0747e9",
            "1efad09678147223c2cdb62563c751c88d29c109e18e4aff2fdd82b74db33d77",
        ]
    "#]]
    .assert_debug_eq(&hashes);
}
