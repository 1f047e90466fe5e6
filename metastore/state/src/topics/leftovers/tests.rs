use std::time::Duration;

use tarn_model::{NodeId, Offset};

use super::*;
use crate::commands::{
    CommitGroupOffsets, CommitMode, CompleteGroup, DeleteGroup, DeleteTopic, GroupOffset,
    MaterializedStep, RemoveGroupMembers,
};
use crate::harness::{Cluster, at, batch, commit as table_commit, idempotent, table, topic};
use crate::{Command, Counters, GroupMember, Outcome, Refusal, TableRefusal};

fn delete(cluster: &mut Cluster, id: u128) {
    cluster
        .run(Command::DeleteTopic(DeleteTopic { id: topic(id) }))
        .unwrap();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// So long passes, in two steps: everybody else would be silent in between.
fn pass(cluster: &mut Cluster, duration: Duration) {
    cluster.pass(millis(duration));
    cluster.live(&[1], 3_000);
}

/// Entries that do nothing themselves.
fn entries(cluster: &mut Cluster, count: usize) {
    for _ in 0..count {
        let entry = cluster.entry(1, Vec::new());
        cluster.append(&entry).unwrap().outcomes.unwrap();
    }
}

fn untabled(cluster: &mut Cluster, id: u128, name: &str) {
    let mut create = crate::harness::create_topic(id, name, 1);
    create.configs.insert("tarn.table".into(), "off".into());
    cluster.run(Command::CreateTopic(create)).unwrap();
}

fn commit_offset(group: &str, at: TopicPartition) -> Command {
    Command::CommitGroupOffsets(CommitGroupOffsets {
        group: group.into(),
        node: NodeId(1),
        generation: -1,
        member: String::new(),
        instance: None,
        offsets: vec![GroupOffset {
            at,
            offset: 1,
            leader_epoch: -1,
            metadata: String::new(),
        }],
        seen: u64::MAX,
    })
}

#[test]
fn a_deleted_topic_goes_at_once_and_what_it_held_bit_by_bit() {
    let mut cluster = Cluster::one();
    untabled(&mut cluster, 7, "large");
    let extents = EXTENTS_PER_ENTRY * 2 + 10;
    for _ in 0..extents {
        let commit = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(1)])]);
        cluster.run(Command::CommitSegment(commit)).unwrap();
    }
    let held = |cluster: &Cluster| -> u64 {
        cluster
            .state
            .segments
            .values()
            .map(|segment| segment.extents)
            .sum()
    };
    assert_eq!(held(&cluster), extents as u64);
    delete(&mut cluster, 7);
    assert!(cluster.state.partitions.is_empty());
    // The entry that deletes it works off a part already, and no entry more than that.
    for left in [EXTENTS_PER_ENTRY + 10, 10, 0] {
        assert_eq!(held(&cluster), left as u64);
        cluster.state.check_invariants().unwrap();
        entries(&mut cluster, 1);
    }
    assert!(cluster.state.leaving.is_empty());
}

#[test]
fn producers_and_committed_offsets_of_a_deleted_topic_go_too() {
    let mut cluster = Cluster::with_topic("other", 1);
    untabled(&mut cluster, 8, "orders");
    let producers = i64::try_from(PRODUCERS_PER_ENTRY).unwrap() + 1;
    for id in 0..producers {
        let of_producer = vec![(at(8, 0), vec![idempotent(1, id, 0, 0)])];
        let commit = cluster.segment(CommitMode::Each, of_producer);
        cluster.run(Command::CommitSegment(commit)).unwrap();
    }
    for group in 0..GROUPS_PER_ENTRY * 3 {
        let name = format!("g{group}");
        cluster.run(commit_offset(&name, at(8, 0))).unwrap();
        cluster.run(commit_offset(&name, at(7, 0))).unwrap();
    }
    delete(&mut cluster, 8);
    entries(&mut cluster, 6);
    let state = &cluster.state;
    assert!(state.leaving.is_empty() && state.producers.is_empty());
    assert!(state.producer_counts.is_empty());
    for group in state.groups.values() {
        assert_eq!(
            group.offsets.keys().copied().collect::<Vec<_>>(),
            [at(7, 0)]
        );
    }
    state.check_invariants().unwrap();
}

#[test]
fn a_group_of_many_offsets_is_looked_through_in_parts() {
    let mut cluster = Cluster::one();
    let partitions = i32::try_from(OFFSETS_PER_ENTRY * 2).unwrap() + 3;
    cluster.create_topic(7, "wide", partitions);
    for partition in 0..partitions {
        cluster.run(commit_offset("g", at(7, partition))).unwrap();
    }
    delete(&mut cluster, 7);
    let left = |cluster: &Cluster| cluster.state.groups["g"].offsets.len();
    let mut before = left(&cluster);
    for _ in 0..8 {
        entries(&mut cluster, 1);
        assert!(before - left(&cluster) <= OFFSETS_PER_ENTRY);
        before = left(&cluster);
    }
    assert_eq!(before, 0);
}

#[test]
fn offsets_expire_a_week_after_the_last_member_left() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let member = GroupMember {
        id: "m".into(),
        instance: None,
        client_id: String::new(),
        client_host: String::new(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
    };
    let complete = |group: &str| {
        Command::CompleteGroup(CompleteGroup {
            group: group.into(),
            node: NodeId(1),
            previous: 0,
            generation: 1,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "m".into(),
            members: vec![member.clone()],
            brought: Vec::new().into(),
        })
    };
    for group in ["left", "simple", "stable"] {
        cluster.run(commit_offset(group, at(7, 0))).unwrap();
    }
    cluster.run(complete("left")).unwrap();
    cluster.run(complete("stable")).unwrap();
    pass(&mut cluster, caps::OFFSETS_RETENTION / 2);
    let leave = RemoveGroupMembers {
        group: "left".into(),
        node: NodeId(1),
        members: vec!["m".into()],
    };
    cluster.run(Command::RemoveGroupMembers(leave)).unwrap();

    let groups = |cluster: &Cluster| cluster.state.groups.keys().cloned().collect::<Vec<_>>();
    pass(&mut cluster, caps::OFFSETS_RETENTION * 3 / 4);
    entries(&mut cluster, 2);
    assert_eq!(groups(&cluster), ["left", "stable"]);
    pass(&mut cluster, caps::OFFSETS_RETENTION / 2);
    entries(&mut cluster, 2);
    assert_eq!(groups(&cluster), ["stable"]);
    assert_eq!(cluster.state.groups["stable"].offsets.len(), 1);
}

#[test]
fn nothing_expires_while_a_process_is_unsure_about_its_clock() {
    let mut cluster = Cluster::with_topic("orders", 1);
    cluster.run(commit_offset("g", at(7, 0))).unwrap();
    let id = crate::harness::session(1);
    cluster.state.sessions.get_mut(&id).unwrap().clock = crate::ClockTrust::Ahead;
    pass(&mut cluster, caps::OFFSETS_RETENTION * 2);
    entries(&mut cluster, 3);
    assert_eq!(cluster.state.groups["g"].offsets.len(), 1);
    // But time goes on.
    assert_eq!(cluster.state.cluster_time.0, cluster.wall);
    cluster.state.sessions.get_mut(&id).unwrap().clock = crate::ClockTrust::Trusted;
    entries(&mut cluster, 3);
    assert!(cluster.state.groups.is_empty());
}

#[test]
fn a_group_with_neither_members_nor_offsets_goes_after_some_minutes() {
    let mut cluster = Cluster::with_topic("orders", 1);
    cluster.run(commit_offset("g", at(7, 0))).unwrap();
    delete(&mut cluster, 7);
    entries(&mut cluster, 2);
    assert!(cluster.state.groups["g"].offsets.is_empty());
    pass(&mut cluster, caps::EMPTY_GROUP_KEPT);
    entries(&mut cluster, 2);
    assert!(cluster.state.groups.is_empty());
}

fn rows(partition: i32, to: u64) -> MaterializedStep {
    MaterializedStep {
        partition: PartitionId(partition),
        from: Offset(0),
        to: Offset(to),
        counted: Counters {
            rows: to,
            undecodable: 0,
            deleted: 0,
            ..Counters::default()
        },
    }
}

fn take(cluster: &mut Cluster, id: u128, steps: Vec<MaterializedStep>) -> Result<Outcome, Refusal> {
    let expected = cluster.state.tables[&table(id)].pointer.clone();
    let pointer = format!("file:/{}", cluster.state.n);
    cluster.run(table_commit(id, expected.as_deref(), &pointer, steps))
}

#[test]
fn the_records_of_a_deleted_topic_wait_for_its_table() {
    let mut cluster = Cluster::with_topic("orders", 2);
    let extents = vec![(at(7, 0), vec![batch(2)]), (at(7, 1), vec![batch(3)])];
    let commit = cluster.segment(CommitMode::Each, extents);
    cluster.run(Command::CommitSegment(commit.clone())).unwrap();
    delete(&mut cluster, 7);
    entries(&mut cluster, 5);
    assert!(cluster.state.partition(topic(7), PartitionId(0)).is_none());
    assert_eq!(cluster.state.segments[&commit.segment].extents, 2);
    let waiting: Vec<_> = cluster
        .state
        .detached_of(topic(7))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(waiting, [at(7, 0), at(7, 1)]);

    take(&mut cluster, 7, vec![rows(0, 2)]).unwrap();
    entries(&mut cluster, 1);
    assert_eq!(cluster.state.segments[&commit.segment].extents, 1);
    take(&mut cluster, 7, vec![rows(1, 3)]).unwrap();
    entries(&mut cluster, 1);
    assert_eq!(cluster.state.segments[&commit.segment].extents, 0);
    assert!(cluster.state.leftovers.is_empty());
    cluster.state.check_invariants().unwrap();
    // It has all there was.
    assert_eq!(
        take(&mut cluster, 7, Vec::new()),
        Err(Refusal::Table(TableRefusal::NoSuchTable(table(7))))
    );
    assert!(cluster.state.tables.contains_key(&table(7)));
}

#[test]
fn a_table_that_takes_nothing_does_not_hold_the_records_for_ever() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let commit = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(2)])]);
    cluster.run(Command::CommitSegment(commit)).unwrap();
    delete(&mut cluster, 7);
    pass(&mut cluster, caps::DETACHED_PARTITIONS_KEPT);
    entries(&mut cluster, 4);
    assert!(cluster.state.leftovers.is_empty() && cluster.state.segments.is_empty());
    // There is not one row of it to be read.
    entries(&mut cluster, 2);
    assert!(cluster.state.tables.is_empty());
    cluster.state.check_invariants().unwrap();
}

#[test]
fn topics_can_be_made_and_deleted_for_ever() {
    let mut cluster = Cluster::one();
    for id in 0..20 {
        cluster.create_topic(id, "ci", 1);
        delete(&mut cluster, id);
    }
    // A table without a row is known for a while, so that its topic is not made again by a late copy.
    assert_eq!(cluster.state.tables.len(), 20);
    pass(&mut cluster, caps::EMPTY_TABLE_KEPT);
    entries(&mut cluster, 25);
    assert!(cluster.state.tables.is_empty());
    // Tables with rows are kept, but not without end: the oldest goes.
    for id in 0..3 {
        cluster.create_topic(100 + id, "ci", 1);
        take(&mut cluster, 100 + id, Vec::new()).unwrap();
        delete(&mut cluster, 100 + id);
    }
    assert_eq!(cluster.state.tables.len(), 3);
    for id in 1_000..1_000 + caps::DETACHED_TABLES_MAX as u128 {
        let mut other = cluster.state.tables[&table(102)].as_ref().clone();
        other.uuid = table(id);
        other.name = format!("other__{id}");
        other.of_topic_mut().unwrap().topic = topic(id);
        cluster.state.insert_table(Arc::new(other));
    }
    cluster.create_topic(104, "ci", 1);
    take(&mut cluster, 104, Vec::new()).unwrap();
    cluster.pass(1_000);
    delete(&mut cluster, 104);
    let state = &cluster.state;
    assert_eq!(state.detached_tables.len(), caps::DETACHED_TABLES_MAX);
    assert!(state.tables.contains_key(&table(104)) && !state.tables.contains_key(&table(100)));
    state.check_invariants().unwrap();
}

#[test]
fn a_leap_of_the_clock_forgets_segments_bit_by_bit() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let count = SEGMENTS_PER_ENTRY * 2;
    for number in 0..count {
        let id = SegmentId::new(cluster.state.cluster_time, (number as u128 + 1) << 48);
        cluster.state.segments.insert(
            id,
            crate::Segment {
                extents: 0,
                bytes: 0,
                committed_at: 0,
            },
        );
    }
    cluster.pass(millis(Duration::from_secs(3_600)));
    let mut before = count;
    for _ in 0..4 {
        entries(&mut cluster, 1);
        let left = cluster.state.segments.len();
        assert!(before - left <= SEGMENTS_PER_ENTRY);
        before = left;
    }
    assert_eq!(before, 0);
}

/// Groups with a member, which keeps them, that weigh so much together. They share what was brought.
fn heavy(cluster: &mut Cluster, name: &str, bytes: u64) {
    const EACH: u64 = 16 << 20;
    let member = GroupMember {
        id: "m".into(),
        instance: None,
        client_id: String::new(),
        client_host: String::new(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
    };
    let brought = |bytes: u64| -> Arc<[u8]> { vec![0; usize::try_from(bytes).unwrap()].into() };
    let block = brought(EACH);
    let mut left = bytes;
    while left > 0 {
        let name = format!("{name}-{left}");
        let mut group = Group::empty(cluster.now());
        group.set_members([member.clone()].into(), Arc::default());
        let rest = left - group.bytes(&name);
        // What is left fits into the last one.
        let brought = match rest >= 2 * EACH {
            true => Arc::clone(&block),
            false => brought(rest),
        };
        group.set_members(Arc::clone(&group.members), brought);
        left -= group.bytes(&name);
        cluster.state.group_bytes += group.bytes(&name);
        cluster.state.groups.insert(name, Arc::new(group));
    }
    cluster.state.check_invariants().unwrap();
}

#[test]
fn above_three_quarters_of_their_bytes_groups_without_members_expire_after_a_day() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let day = caps::OFFSETS_RETENTION_SHORT;
    // Enough to look at all of them.
    let round = 100 / GROUPS_PER_ENTRY;
    let names = |cluster: &Cluster| -> Vec<String> {
        let names = cluster.state.groups.keys().cloned();
        names.filter(|name| !name.starts_with("heavy")).collect()
    };
    cluster.run(commit_offset("old", at(7, 0))).unwrap();
    pass(&mut cluster, day / 2);
    cluster.run(commit_offset("young", at(7, 0))).unwrap();
    pass(&mut cluster, day * 3 / 4);
    // At three quarters exactly, nobody is in a hurry.
    let left = caps::GROUPS_BYTES_HIGH - cluster.state.group_bytes;
    heavy(&mut cluster, "heavy", left);
    entries(&mut cluster, round);
    assert_eq!(names(&cluster), ["old", "young"]);
    // A byte more, and a day is enough.
    heavy(&mut cluster, "heavy-2", 1_000);
    entries(&mut cluster, round);
    assert_eq!(names(&cluster), ["young"]);
    assert!(cluster.state.group_bytes > caps::GROUPS_BYTES_HIGH);
    pass(&mut cluster, day / 2);
    entries(&mut cluster, round);
    assert!(names(&cluster).is_empty());
    cluster.state.check_invariants().unwrap();
    // With room again it is a week.
    cluster.state.groups = imbl::OrdMap::new();
    cluster.state.group_bytes = 0;
    cluster.run(commit_offset("later", at(7, 0))).unwrap();
    pass(&mut cluster, day * 2);
    entries(&mut cluster, round);
    assert_eq!(names(&cluster), ["later"]);
}

#[test]
fn beyond_their_bytes_groups_take_nothing_more_and_lose_nothing() {
    let mut cluster = Cluster::with_topic("orders", 2);
    let with = |group: &str, partition: i32, metadata: &str| {
        let mut command = commit_offset(group, at(7, partition));
        if let Command::CommitGroupOffsets(commit) = &mut command {
            commit.offsets[0].metadata = metadata.into();
        }
        command
    };
    cluster.run(with("g", 0, "note")).unwrap();
    let left = caps::GROUPS_BYTES_MAX - cluster.state.group_bytes;
    heavy(&mut cluster, "heavy", left);
    let before = cluster.state.groups.clone();
    let full = |refused: Result<Outcome, Refusal>| match refused {
        Err(Refusal::Full { what, max }) => {
            assert_eq!((&*what, max), ("bytes of groups", caps::GROUPS_BYTES_MAX));
        }
        other => panic!("{other:?}"),
    };
    let complete = |group: &str, members: u64| {
        let member = |n: u64| GroupMember {
            id: format!("m{n}"),
            instance: None,
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
        };
        Command::CompleteGroup(CompleteGroup {
            group: group.into(),
            node: NodeId(1),
            previous: 0,
            generation: 1,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: "m0".into(),
            members: (0..members).map(member).collect(),
            brought: Vec::new().into(),
        })
    };
    // A group more, an offset more, a longer note, a member more.
    full(cluster.run(with("new", 0, "")));
    full(cluster.run(complete("new", 1)));
    full(cluster.run(with("g", 1, "")));
    full(cluster.run(with("g", 0, "notes")));
    full(cluster.run(complete("g", 1)));
    assert_eq!(cluster.state.groups, before);
    cluster.state.check_invariants().unwrap();
    // The same again adds nothing, and less makes room.
    cluster.run(with("g", 0, "NOTE")).unwrap();
    cluster.run(with("g", 0, "")).unwrap();
    cluster.run(with("g", 0, "not")).unwrap();
    full(cluster.run(with("g", 0, "notes")));
    let delete = |group: &str| {
        Command::DeleteGroup(DeleteGroup {
            group: group.into(),
            node: NodeId(1),
        })
    };
    cluster.run(delete("g")).unwrap();
    // What was given back is there for somebody else.
    full(cluster.run(with("another", 0, "")));
    cluster.run(with("n", 0, "")).unwrap();
    cluster.state.check_invariants().unwrap();
    // The bound is about what is added: who holds more than that may still give back.
    heavy(&mut cluster, "beyond", 10_000);
    cluster.run(with("n", 0, "")).unwrap();
    full(cluster.run(with("n", 0, "x")));
    cluster.run(delete("n")).unwrap();
    cluster.state.check_invariants().unwrap();
}
