mod nesting;

use std::sync::Arc;

use super::*;
use crate::commands::{
    AllocateProducerId, Closes, CommitMode, CreateTopic, DeleteTopic, ExpireSession, RegisterSchema,
};
use crate::harness::{Cluster, NOON, at, batch, create_topic, open_command, session, topic};
use crate::{ClockTrust, Observed, TopicRefusal};
use tarn_model::{ClusterId, Generation, Monotonic, SchemaFormat, Timestamp, encode};

fn allocate() -> Command {
    Command::AllocateProducerId(AllocateProducerId {})
}

fn create(id: u128, name: &str) -> Command {
    Command::CreateTopic(CreateTopic {
        ..create_topic(id, name, 1)
    })
}

/// With one session, number 1, which has written nothing but its opening.
fn one() -> Cluster {
    let mut cluster = Cluster::empty();
    cluster.open_only(1, "node-1", Closes::Own(Vec::new()));
    cluster
}

/// Liveness time at which each of the sessions was seen.
fn seen(cluster: &Cluster, id: u128) -> u64 {
    cluster.state.sessions[&session(id)].seen.0
}

fn tick(cluster: &mut Cluster, id: u128) {
    let entry = cluster.entry(id, Vec::new());
    cluster.append(&entry).unwrap().outcomes.unwrap();
}

mod which_entries_count {
    use super::*;

    #[test]
    fn an_entry_of_another_cluster_generation_or_place_stops_the_replica() {
        let mut cluster = one();
        let before = cluster.state.clone();
        let foreign = Entry {
            cluster: ClusterId::from_u128(2),
            ..cluster.entry(1, vec![])
        };
        assert!(matches!(
            cluster.append(&foreign),
            Err(ApplyError::Foreign { .. })
        ));
        let late = Entry {
            generation: Generation(2),
            ..cluster.entry(1, vec![])
        };
        assert!(matches!(
            cluster.append(&late),
            Err(ApplyError::Foreign { .. })
        ));
        let bytes = encode(&cluster.entry(1, vec![]));
        let other_generation = Lsn::new(Generation(2), 2);
        assert!(matches!(
            cluster.state.apply(other_generation, &bytes),
            Err(ApplyError::Foreign { .. })
        ));
        for n in [0, 1, 3, u64::MAX] {
            let lsn = Lsn::new(Generation::FIRST, n);
            assert!(
                matches!(
                    cluster.state.apply(lsn, &bytes),
                    Err(ApplyError::Hole { .. })
                ),
                "{n}"
            );
        }
        assert_eq!(cluster.state, before);
        cluster
            .state
            .apply(Lsn::new(Generation::FIRST, 2), &bytes)
            .unwrap();
    }

    #[test]
    fn bytes_that_this_version_would_not_write_stop_the_replica() {
        let mut cluster = one();
        let lsn = cluster.state.lsn().next();
        let good = encode(&cluster.entry(1, vec![vec![allocate()]]));
        for end in 0..good.len() {
            assert!(
                matches!(
                    cluster.state.apply(lsn, &good[..end]),
                    Err(ApplyError::Unreadable { .. })
                ),
                "{end}"
            );
        }
        let trailing = [good.as_slice(), &[0]].concat();
        assert!(matches!(
            cluster.state.apply(lsn, &trailing),
            Err(ApplyError::Unreadable { .. })
        ));
        assert_eq!(cluster.state.n, 1);
    }

    #[test]
    fn an_entry_of_a_newer_level_says_which() {
        let mut cluster = one();
        let newer = Entry {
            level: FeatureLevel(9),
            ..cluster.entry(1, vec![vec![allocate()]])
        };
        assert!(matches!(
            cluster.append(&newer),
            Err(ApplyError::Level { needs: 9, .. })
        ));
        // Also when it holds a command with a number that is not known here.
        let mut bytes = encode(&newer);
        let command = bytes
            .windows(2)
            .rposition(|pair| pair == [0x82, 21].as_slice());
        let command = command.or_else(|| {
            bytes
                .windows(3)
                .rposition(|part| part == [0x82, 0x15, 0x81].as_slice())
        });
        bytes[command.unwrap() + 1] = 0x16;
        let lsn = cluster.state.lsn().next();
        assert!(matches!(
            cluster.state.apply(lsn, &bytes),
            Err(ApplyError::Level { needs: 9, .. })
        ));
    }

    #[test]
    fn an_entry_written_on_another_history_stops_the_replica() {
        let mut cluster = one();
        tick(&mut cluster, 1);
        let before = cluster.state.clone();
        let entry = cluster.entry(1, vec![]);
        let forked = Entry {
            applied_hash: Hash([9; 32]),
            ..entry.clone()
        };
        assert!(matches!(
            cluster.append(&forked),
            Err(ApplyError::OtherHistory { at: 2, .. })
        ));
        let forked = Entry {
            applied: 0,
            applied_hash: Hash([9; 32]),
            ..entry.clone()
        };
        assert!(matches!(
            cluster.append(&forked),
            Err(ApplyError::OtherHistory { at: 0, .. })
        ));
        let ahead = Entry {
            applied: 3,
            ..entry.clone()
        };
        assert!(matches!(
            cluster.append(&ahead),
            Err(ApplyError::FromTheFuture { applied: 3, .. })
        ));
        let forked = Entry {
            previous: Hash([9; 32]),
            ..entry.clone()
        };
        assert!(matches!(
            cluster.append(&forked),
            Err(ApplyError::OtherPrevious { .. })
        ));
        assert_eq!(cluster.state, before);
        cluster.append(&entry).unwrap().outcomes.unwrap();
    }

    #[test]
    fn a_session_counts_its_entries() {
        let mut cluster = one();
        let entry = cluster.entry(1, vec![vec![allocate()]]);
        cluster.append(&entry).unwrap().outcomes.unwrap();
        let after = cluster.state.clone();
        // The same entry may stand in the log twice.
        assert_eq!(
            cluster.append(&entry).unwrap().outcomes,
            Err(Ignored::Sequence)
        );
        let skipped = Entry {
            sequence: 4,
            ..cluster.entry(1, vec![vec![allocate()]])
        };
        assert_eq!(
            cluster.append(&skipped).unwrap().outcomes,
            Err(Ignored::Sequence)
        );
        let unknown = Entry {
            sequence: 2,
            ..cluster.entry(9, vec![])
        };
        assert_eq!(
            cluster.append(&unknown).unwrap().outcomes,
            Err(Ignored::NoSession)
        );
        assert_eq!(cluster.state.next_producer, after.next_producer);
        assert_eq!(cluster.state.sessions, after.sessions);
        assert_eq!(cluster.state.n, after.n + 3);
        assert_ne!(cluster.state.log_hash, after.log_hash);
        assert_ne!(cluster.state.outcome_hash, after.outcome_hash);
    }

    #[test]
    fn a_proposer_that_is_too_far_behind_does_not_count() {
        let mut cluster = one();
        let late = cluster.entry(1, vec![]);
        // So many entries that nobody wants: only their number matters.
        let (n, hashes) = (
            cluster.state.n + caps::PROPOSER_LAG_MAX - 1,
            cluster.state.recent_hashes[0],
        );
        cluster.state.n = n;
        cluster.state.recent_hashes = (0..caps::LOG_HASHES_KEPT).map(|_| hashes).collect();
        let mut further = cluster.clone();
        cluster.append(&late).unwrap().outcomes.unwrap();
        assert_eq!(
            cluster.state.recent_hashes.len() as u64,
            caps::LOG_HASHES_KEPT
        );
        further.state.n += 1;
        assert_eq!(further.append(&late).unwrap().outcomes, Err(Ignored::Lag));
    }

    #[test]
    fn a_tombstone_stays_as_long_as_a_copy_of_its_opening_could_count() {
        let mut cluster = one();
        cluster.open_only(2, "node-1", Closes::Own(vec![session(1)]));
        let closed_at = cluster.state.n;
        let sweep_at = |n: u64| {
            let mut cluster = cluster.clone();
            cluster.state.n = n;
            cluster.state.sweep_tombstones();
            cluster.state.tombstones.len()
        };
        assert_eq!(sweep_at(closed_at + caps::TOMBSTONE_ENTRIES), 1);
        assert_eq!(sweep_at(closed_at + caps::TOMBSTONE_ENTRIES + 1), 0);
    }

    #[test]
    fn planted_defects_do_what_they_say() {
        let mut cluster = one();
        let entry = cluster.entry(1, vec![vec![allocate()]]);
        cluster.append(&entry).unwrap().outcomes.unwrap();
        tarn_model::plant_defect(Some("ignore-session-sequence"));
        let twice = cluster.append(&entry).unwrap().outcomes;
        tarn_model::plant_defect(Some("no-tombstones"));
        cluster.open_closing(2, Closes::Own(vec![session(1)]));
        let tombstones = cluster.state.tombstones.len();
        tarn_model::plant_defect(Some("close-only-last-session"));
        cluster.open(3);
        cluster.open_named(4, "node-4", Closes::Own(vec![session(2), session(3)]));
        tarn_model::plant_defect(None);
        assert!(twice.is_ok());
        assert_eq!(tombstones, 0);
        assert!(cluster.state.sessions.contains_key(&session(2)));
    }
}

mod proposals {
    use super::*;

    #[test]
    fn a_proposal_is_applied_whole_or_not_at_all() {
        let mut cluster = one();
        let before = cluster.state.clone();
        let absent = Command::DeleteTopic(DeleteTopic { id: topic(9) });
        let proposals = vec![
            vec![create(7, "a"), allocate(), absent],
            vec![create(8, "b")],
        ];
        let entry = cluster.entry(1, proposals);
        let outcomes = cluster.append(&entry).unwrap().outcomes.unwrap();
        let refusal = Refusal::Topic(TopicRefusal::NoSuchTopic(topic(9)));
        assert_eq!(
            outcomes[0],
            ProposalOutcome::Refused {
                command: 2,
                refusal
            }
        );
        assert_eq!(
            outcomes[1],
            ProposalOutcome::Applied(vec![Outcome::TopicCreated(topic(8))])
        );
        assert!(cluster.state.topic_named("a").is_none());
        assert_eq!(cluster.state.next_producer, before.next_producer);
    }

    #[test]
    fn a_later_command_sees_what_an_earlier_one_did() {
        let mut cluster = one();
        let segment = cluster.segment(CommitMode::All, vec![(at(7, 0), vec![batch(2)])]);
        let outcome = cluster.propose(1, vec![create(7, "a"), Command::CommitSegment(segment)]);
        assert!(
            matches!(outcome, ProposalOutcome::Applied(_)),
            "{outcome:?}"
        );
        assert_eq!(cluster.high_watermark(at(7, 0)).0, 2);
    }

    #[test]
    fn a_command_that_panics_is_refused_and_leaves_nothing() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let register = RegisterSchema {
            subject: "typed-value".into(),
            guid: [1; 16],
            format: SchemaFormat::Avro,
            text: "1".into(),
            columns: Vec::new(),
            references: Vec::new(),
        };
        cluster.run(Command::RegisterSchema(register)).unwrap();
        cluster.state.schemas.clear();
        let before = cluster.state.clone();
        let create = Command::CreateTopic(create_topic(8, "typed", 1));
        let entry = cluster.entry(1, vec![vec![allocate(), create.clone()], vec![allocate()]]);
        let outcomes = cluster.append(&entry).unwrap().outcomes.unwrap();
        let refusal = Refusal::Panicked("it panicked".into());
        assert_eq!(
            outcomes[0],
            ProposalOutcome::Refused {
                command: 1,
                refusal: refusal.clone()
            }
        );
        assert_eq!(
            outcomes[1],
            ProposalOutcome::Applied(vec![Outcome::ProducerId(before.next_producer)])
        );
        assert_eq!(cluster.state.topics, before.topics);
        assert_eq!(cluster.state.partitions, before.partitions);

        let by = SessionContext {
            session: session(1),
            node: NodeId(1),
        };
        let tried = cluster.state.try_proposal(&Proposal::of(vec![create]), by);
        assert_eq!(
            tried,
            ProposalOutcome::Refused {
                command: 0,
                refusal: refusal.clone()
            }
        );
        assert!(refusal.is_defect());
    }

    #[test]
    fn a_trial_answers_as_the_log_would_and_changes_nothing() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let by = SessionContext {
            session: session(1),
            node: NodeId(1),
        };
        let segment = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(2)])]);
        let before = cluster.state.clone();
        for commands in [
            vec![create(7, "a")],
            vec![create(8, "a")],
            vec![Command::CommitSegment(segment)],
        ] {
            let tried = cluster
                .state
                .try_proposal(&Proposal::of(commands.clone()), by);
            assert_eq!(cluster.state, before);
            let mut copy = cluster.clone();
            assert_eq!(copy.propose(1, commands), tried);
        }
    }
}

mod time {
    use super::*;

    /// The entries of a session whose clocks moved by these milliseconds since its last one.
    fn tick_by(cluster: &mut Cluster, id: u128, wall: i64, monotonic: i64) {
        let last = cluster.state.sessions[&session(id)].clone();
        let mut entry = cluster.entry(id, Vec::new());
        entry.wall = Timestamp(last.wall.0 + wall);
        entry.monotonic = Monotonic(last.monotonic.0.checked_add_signed(monotonic).unwrap());
        cluster.append(&entry).unwrap().outcomes.unwrap();
    }

    #[test]
    fn liveness_time_takes_the_smaller_clock_up_to_five_seconds() {
        let mut cluster = one();
        for (wall, monotonic, lived) in [
            (3_000, 3_000, 3_000),
            (3_000, 2_000, 2_000),
            (1_000, 3_000, 1_000),
            (-600_000, 3_000, 0),
            (3_000, -500, 0),
            (28_800_000, 28_800_000, 5_000),
        ] {
            let before = cluster.state.liveness_time.0;
            tick_by(&mut cluster, 1, wall, monotonic);
            assert_eq!(
                cluster.state.liveness_time.0 - before,
                lived,
                "{wall} {monotonic}"
            );
        }
    }

    #[test]
    fn liveness_time_is_anchored_at_the_common_time_so_that_it_goes_on_when_the_leader_dies() {
        let mut cluster = one();
        cluster.open(2);
        // Session 1 is ahead of session 2 by ten steps that session 2 did not see.
        for _ in 0..10 {
            cluster.pass(100);
            tick(&mut cluster, 1);
        }
        tick(&mut cluster, 2);
        assert_eq!(seen(&cluster, 2), 1_000);
        cluster.pass(3_000);
        tick(&mut cluster, 2);
        assert_eq!(cluster.state.liveness_time.0, 4_000);
    }

    #[test]
    fn a_stalled_log_ages_nobody() {
        let mut cluster = one();
        cluster.open(2);
        cluster.live(&[1, 2], 6_000);
        cluster.pass(60_000);
        tick(&mut cluster, 1);
        assert!(cluster.state.silent_sessions().next().is_none());
        tick(&mut cluster, 2);
        assert!(cluster.state.liveness_time.0 <= 11_000);
    }

    #[test]
    fn cluster_time_is_the_lower_median_and_never_goes_back() {
        let mut cluster = one();
        assert_eq!(cluster.now(), ClusterTime(NOON));
        cluster.open(2);
        const TEN_YEARS: i64 = 315_360_000_000;
        tick_by(&mut cluster, 2, TEN_YEARS, 1_000);
        assert_eq!(cluster.now(), ClusterTime(NOON));
        cluster.open(3);
        tick_by(&mut cluster, 3, 5_000, 5_000);
        tick_by(&mut cluster, 1, 6_000, 6_000);
        assert_eq!(cluster.now(), ClusterTime(NOON + 6_000));
        tick_by(&mut cluster, 1, -TEN_YEARS, 1_000);
        assert_eq!(cluster.now(), ClusterTime(NOON + 6_000));
    }

    #[test]
    fn who_found_its_clock_wrong_does_not_vote_unless_nobody_does() {
        let mut cluster = one();
        cluster.open(2);
        cluster.pass(1_000);
        tick(&mut cluster, 1);
        assert_eq!(cluster.now(), ClusterTime(NOON));
        let silent = Entry {
            votes: false,
            ..cluster.entry(2, Vec::new())
        };
        cluster
            .append(&Entry {
                wall: Timestamp(0),
                ..silent
            })
            .unwrap()
            .outcomes
            .unwrap();
        assert_eq!(cluster.now(), ClusterTime(NOON + 1_000));
        cluster.pass(1_000);
        let entry = Entry {
            votes: false,
            ..cluster.entry(1, Vec::new())
        };
        cluster.append(&entry).unwrap().outcomes.unwrap();
        assert_eq!(
            cluster.now(),
            ClusterTime(NOON + 1_000),
            "of the two walls the lower counts"
        );
    }

    #[test]
    fn a_clock_in_doubt_moves_no_time_even_alone() {
        let mut cluster = one();
        cluster.pass(400 * 86_400_000);
        let open = |clock| {
            let Command::OpenSession(open) = open_command("node-1", Closes::All(vec![])) else {
                unreachable!("it opens");
            };
            Command::OpenSession(OpenSession { clock, ..open })
        };
        let entry = Entry {
            votes: false,
            ..cluster.entry(2, vec![vec![open(ClockTrust::Doubtful)]])
        };
        cluster.append(&entry).unwrap().outcomes.unwrap();
        // Its entries may say what they like.
        cluster.live(&[2], 60_000);
        assert_eq!(cluster.now(), ClusterTime(NOON));
        assert_eq!(
            cluster.state.liveness_time.0, 60_000,
            "it lives all the same"
        );
        let entry = cluster.entry(3, vec![vec![open(ClockTrust::Trusted)]]);
        cluster.append(&entry).unwrap().outcomes.unwrap();
        assert_eq!(cluster.now(), ClusterTime(cluster.wall), "it was accepted");
    }

    #[test]
    fn a_dead_process_does_not_hold_time_back() {
        let stuck = |defect: Option<&str>| {
            tarn_model::plant_defect(defect);
            let mut cluster = one();
            cluster.open(2);
            cluster.live(&[2], 18_000);
            tarn_model::plant_defect(None);
            cluster.now() == ClusterTime(NOON)
        };
        assert!(!stuck(None));
        assert!(stuck(Some("dead-session-votes")));
    }

    #[test]
    fn killed_and_restarted_processes_lose_neither_time_nor_node_ids() {
        let mut cluster = one();
        cluster.live(&[1], 30_000);
        cluster.pass(8 * 3_600_000);
        cluster.open_named(2, "node-1", Closes::All(vec![]));
        assert_eq!(cluster.now(), ClusterTime(cluster.wall));
        assert_eq!(cluster.state.sessions[&session(2)].node, NodeId(1));
        assert_eq!(cluster.state.liveness_time.0, 30_000);
    }

    #[test]
    fn the_dead_expire_within_a_minute_and_the_living_never() {
        for processes in [2u128, 5, 12] {
            let mut cluster = Cluster::empty();
            (1..=processes).for_each(|id| {
                cluster.open(id);
            });
            let living: Vec<u128> = (1..=processes / 2).collect();
            cluster.live(&living, 24_000);
            let expired: Vec<_> = cluster.state.silent_sessions().collect();
            assert_eq!(expired.len() as u128, processes - processes / 2);
            for id in expired {
                cluster
                    .run(Command::ExpireSession(ExpireSession { session: id }))
                    .unwrap();
            }
            cluster.live(&living, 60_000);
            assert_eq!(cluster.state.sessions.len(), living.len());
        }
    }

    #[test]
    fn impossible_clocks_do_no_harm() {
        let mut cluster = Cluster::with_topic("orders", 1);
        cluster.produce(at(7, 0), vec![batch(1)]);
        for (wall, monotonic) in [(i64::MAX, u64::MAX), (i64::MIN, 0), (0, 0), (i64::MAX, 1)] {
            let mut entry = cluster.entry(1, Vec::new());
            entry.wall = Timestamp(wall);
            entry.monotonic = Monotonic(monotonic);
            cluster.append(&entry).unwrap().outcomes.unwrap();
        }
        assert_eq!(cluster.now(), ClusterTime(i64::MAX));
        cluster.state.check_invariants().unwrap();
    }
}

mod hashes {
    use super::*;

    #[test]
    fn the_log_hash_rolls_over_the_bytes() {
        let mut cluster = Cluster::empty();
        let bytes =
            encode(&cluster.entry(1, vec![vec![open_command("node-1", Closes::All(vec![]))]]));
        cluster
            .state
            .apply(cluster.state.lsn().next(), &bytes)
            .unwrap();
        let mut hasher = Sha256::new();
        hasher.update([0; 32]);
        hasher.update(&bytes);
        assert_eq!(cluster.state.log_hash, Hash(hasher.finalize().into()));
        assert_eq!(
            cluster.state.sessions[&session(1)].entry_hash,
            Hash(Sha256::digest(&bytes).into())
        );
    }

    #[test]
    fn hashes_are_found_while_they_are_kept() {
        let mut cluster = one();
        let first = cluster.state.log_hash;
        tick(&mut cluster, 1);
        assert_eq!(cluster.state.hashes_at(0), Some((Hash::ZERO, Hash::ZERO)));
        assert_eq!(cluster.state.hashes_at(1).unwrap().0, first);
        assert_eq!(
            cluster.state.hashes_at(2).unwrap().0,
            cluster.state.log_hash
        );
        assert_eq!(cluster.state.hashes_at(3), None);
        cluster.state.recent_hashes.pop_front();
        assert_eq!(cluster.state.hashes_at(1), None);
    }

    #[test]
    fn a_replica_that_most_others_contradict_stops() {
        let mut cluster = Cluster::empty();
        (1..=4).for_each(|id| {
            cluster.open(id);
        });
        let n = cluster.state.n;
        let ours = cluster.state.outcome_hash;
        let publish = |cluster: &mut Cluster, id, outcome_hash| {
            let mut entry = cluster.entry(id, Vec::new());
            entry.observed = Some(Observed { n, outcome_hash });
            cluster
                .append(&entry)
                .map(|applied| applied.outcomes.unwrap())
        };
        publish(&mut cluster, 1, ours).unwrap();
        publish(&mut cluster, 2, Hash([1; 32])).unwrap();
        assert_eq!(
            cluster.state.agreement(),
            Agreement {
                agree: 1,
                differ: 1
            }
        );
        let before = cluster.state.clone();
        let stopped = publish(&mut cluster, 3, Hash([1; 32]));
        assert!(matches!(
            stopped,
            Err(ApplyError::Diverged {
                differ: 2,
                agree: 1
            })
        ));
        assert_eq!(cluster.state, before);
        publish(&mut cluster, 4, ours).unwrap();
        publish(&mut cluster, 3, Hash([1; 32])).unwrap();
        // The silent ones do not count.
        cluster.live(&[1, 2], 24_000);
        assert_eq!(
            cluster.state.agreement(),
            Agreement {
                agree: 1,
                differ: 1
            }
        );
    }
}

#[test]
fn entries_between_two_views_copy_what_they_touch_once() {
    let mut cluster = Cluster::with_topic("orders", 1);
    let mut replica = cluster.state.clone();
    let _view = replica.clone();
    let mut places = Vec::new();
    for _ in 0..3 {
        let commit = cluster.segment(CommitMode::Each, vec![(at(7, 0), vec![batch(1)])]);
        cluster.run(Command::CommitSegment(commit)).unwrap();
        let bytes = cluster.log.last().unwrap();
        let lsn = replica.lsn().next();
        replica
            .apply_in_place(FeatureLevel::NEWEST, lsn, bytes)
            .unwrap();
        places.push(Arc::as_ptr(&replica.partitions[&at(7, 0)]));
    }
    assert_eq!(replica, cluster.state);
    assert_eq!(places[0], places[1]);
    assert_eq!(places[1], places[2]);
}

#[cfg(debug_assertions)]
#[test]
fn a_command_above_the_level_is_refused_by_every_replica_that_can_read_it() {
    let mut cluster = one();
    let rehearse = Command::Rehearse(crate::Rehearse {});
    let by = SessionContext {
        session: session(1),
        node: NodeId(1),
    };
    let proposal = Proposal::of(vec![rehearse.clone()]);
    let above = Refusal::AboveLevel {
        command: "Rehearse".into(),
        needs: FeatureLevel::REHEARSAL,
        level: FeatureLevel::ONE,
    };
    let refused = ProposalOutcome::Refused {
        command: 0,
        refusal: above.clone(),
    };
    assert_eq!(cluster.state.try_proposal(&proposal, by), refused);
    // Had a proposer written it all the same: this version's binary knows no such number, a newer one
    // refuses it.
    let bytes = encode(&cluster.entry(1, vec![vec![rehearse]]));
    let lsn = cluster.state.lsn().next();
    let unreadable = cluster.state.apply(lsn, &bytes);
    assert!(
        matches!(&unreadable, Err(ApplyError::Unreadable { .. })),
        "{unreadable:?}"
    );
    let mut newer = cluster.state.clone();
    let applied = newer
        .apply_up_to(FeatureLevel::REHEARSAL, lsn, &bytes)
        .unwrap();
    assert_eq!(applied.outcomes, Ok(vec![refused.clone()]));
    // And the level that one command raises is not that of the next in the same proposal.
    let raise = Command::RaiseLevel(crate::commands::RaiseLevel {
        level: FeatureLevel::REHEARSAL,
    });
    let mut able = cluster.state.clone();
    able.sessions.get_mut(&session(1)).unwrap().level_max = FeatureLevel::REHEARSAL;
    let both = Proposal::of(vec![raise, Command::Rehearse(crate::Rehearse {})]);
    assert_eq!(
        able.try_proposal(&both, by),
        ProposalOutcome::Refused {
            command: 1,
            refusal: above
        }
    );
}
