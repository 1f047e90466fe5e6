//! What happens in a run: everything is drawn from the seed before it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use tarn_commit_log::{FaultyLog, LogFaults};
use tarn_runtime::Random;
use tarn_runtime::faults::FaultPair;
use tarn_store::FaultyStore;

use crate::coverage::is_asked_for;
use crate::newer::Newer;

/// How often the pair of a run strikes, in permille of the requests of its operation.
const OFTEN: u64 = 250;

/// Which commit log orders the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Appends like etcd, uncontended, behind `FaultyLog`.
    Memory,
    /// Entries are objects on the faulty store.
    Object,
}

/// Fault rates while the load runs, in permille of requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    pub store_lost: u64,
    pub store_late: u64,
    pub store_unavailable: u64,
    pub store_conflict: u64,
    pub store_twice: u64,
    pub store_truncated: u64,
    /// An operation of the store with one of its faults, and how often that strikes besides.
    pub store_often: Option<(FaultPair, u64)>,
    pub log: LogFaults,
}

/// Something that happens to the cluster at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Kill a process now.
    Kill {
        node: usize,
    },
    /// Tell a process to stop; its supervisor starts it again when it has drained.
    Restart {
        node: usize,
    },
    /// Kill it when it passes a crash step, named by its place in [`Plan::STEPS`].
    KillAtStep {
        node: usize,
        step: usize,
        nth: u64,
    },
    /// Nobody reaches it over the network for so long.
    CutOff {
        node: usize,
        millis: u64,
    },
    /// It stands still for so long: neither network nor services hear of it, and what it was about to
    /// do it does afterwards.
    Pause {
        node: usize,
        millis: u64,
    },
    /// It reaches neither log nor store for so long, but clients reach it: a replica that lags.
    Lag {
        node: usize,
        millis: u64,
    },
    StepClock {
        node: usize,
        millis: i64,
    },
    RaceClock {
        node: usize,
        millis_per_second: i64,
    },
    /// Kill it, and set its clock wrong by so many years before it comes back.
    WrongClock {
        node: usize,
        years: i64,
    },
    /// The commit log answers nobody for so long.
    StallLog {
        millis: u64,
    },
    /// The object store answers nobody for so long.
    StoreDown {
        millis: u64,
    },
    /// Whoever archives and trims the log reads and lists the object store for so long, and cannot write to it.
    KeeperOnlyReads {
        millis: u64,
    },
    /// Kill all, then start all.
    KillAll,
    /// The older process of a mixed cluster is stopped, and comes back new.
    Upgrade,
    /// A newer version leaves what this one cannot read: from then on every process that comes by has
    /// to stop (I12), and the run ends when all have. No seed draws it.
    NewerVersion {
        leaves: Newer,
    },
}

impl Event {
    /// What seeds draw, by name.
    pub const DRAWN: &'static [&'static str] = &[
        "kill",
        "restart",
        "kill_at_step",
        "cut_off",
        "pause",
        "lag",
        "step_clock",
        "race_clock",
        "wrong_clock",
        "stall_log",
        "store_down",
        "keeper_only_reads",
        "kill_all",
        "upgrade",
    ];

    pub fn name(self) -> &'static str {
        match self {
            Event::Kill { .. } => "kill",
            Event::Restart { .. } => "restart",
            Event::KillAtStep { .. } => "kill_at_step",
            Event::CutOff { .. } => "cut_off",
            Event::Pause { .. } => "pause",
            Event::Lag { .. } => "lag",
            Event::StepClock { .. } => "step_clock",
            Event::RaceClock { .. } => "race_clock",
            Event::WrongClock { .. } => "wrong_clock",
            Event::StallLog { .. } => "stall_log",
            Event::StoreDown { .. } => "store_down",
            Event::KeeperOnlyReads { .. } => "keeper_only_reads",
            Event::KillAll => "kill_all",
            Event::Upgrade => "upgrade",
            Event::NewerVersion { .. } => "newer_version",
        }
    }

    /// How long it lasts, if it ends by itself.
    fn lasts(self) -> Duration {
        match self {
            Event::CutOff { millis, .. }
            | Event::Pause { millis, .. }
            | Event::Lag { millis, .. }
            | Event::StallLog { millis }
            | Event::StoreDown { millis }
            | Event::KeeperOnlyReads { millis } => Duration::from_millis(millis),
            Event::Kill { .. }
            | Event::Restart { .. }
            | Event::KillAtStep { .. }
            | Event::StepClock { .. }
            | Event::RaceClock { .. }
            | Event::WrongClock { .. }
            | Event::KillAll
            | Event::Upgrade
            | Event::NewerVersion { .. } => Duration::ZERO,
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    pub log: LogKind,
    pub nodes: usize,
    pub partitions: i32,
    pub writers: usize,
    /// Members of the consumer group.
    pub members: usize,
    /// Records that each writer sends.
    pub records: u64,
    /// Every second writer is idempotent; with this all are.
    pub all_idempotent: bool,
    /// A snapshot and a trim after so many entries.
    pub snapshot_entries: u64,
    pub table_interval: Duration,
    /// How long clients wait for an answer: impatient ones repeat what is still under way.
    pub request_timeout: Duration,
    pub faults: Faults,
    /// One process is a version older than the others, until it is upgraded.
    pub is_mixed: bool,
    /// Virtual time at which faults stop.
    pub heal_at: Duration,
    /// In order of time.
    pub events: Vec<(Duration, Event)>,
}

impl Plan {
    /// Every numbered step of produce, propose, snapshot, trim, archive and materialize.
    pub const STEPS: &'static [&'static str] = &[
        "open.cluster-id",
        "open.session",
        "produce.accepted",
        "produce.uploaded",
        "produce.committed",
        "propose.sent",
        "propose.appended",
        "archive.written",
        "snapshot.written",
        "snapshot.verified",
        "snapshot.trimmed",
        "materialize.read",
        "materialize.uploaded",
        "materialize.written",
        "materialize.manifested",
        "materialize.committed",
    ];

    /// A swarm: each seed draws its own rates and its own events.
    pub fn from_seed(seed: u64) -> Plan {
        let random = Random::seeded(seed ^ 0x7461_726e);
        let log = if seed.is_multiple_of(2) {
            LogKind::Memory
        } else {
            LogKind::Object
        };
        let rate = |max: u64| {
            if random.happens(500) {
                random.below(max + 1)
            } else {
                0
            }
        };
        let nodes = 1 + usize::try_from(random.below(3)).expect("small");
        let heal_at = Duration::from_secs(20 + random.below(20));
        let faults = Faults {
            store_lost: rate(30),
            store_late: rate(20),
            store_unavailable: rate(40),
            store_conflict: rate(20),
            store_twice: rate(20),
            store_truncated: rate(10),
            store_often: nth_pair("store", FaultyStore::pairs(), seed / 2),
            log: LogFaults {
                latency_min: Duration::from_millis(1),
                latency_max: Duration::from_millis(5 + random.below(40)),
                request_lost: rate(40),
                reply_lost: rate(60),
                late: rate(40),
                late_max: Duration::from_millis(500 + random.below(8000)),
                twice: rate(40),
                often: nth_pair("log", FaultyLog::pairs(), seed / 2),
            },
        };
        let mut plan = Plan {
            seed,
            log,
            nodes,
            partitions: 1 + i32::try_from(random.below(3)).expect("small"),
            writers: 1 + usize::try_from(random.below(3)).expect("small"),
            members: 1 + usize::try_from(random.below(2)).expect("small"),
            records: 30 + random.below(130),
            all_idempotent: random.happens(500),
            snapshot_entries: 5 + random.below(60),
            table_interval: Duration::from_millis(500 + random.below(4000)),
            request_timeout: Duration::from_secs(if seed.is_multiple_of(3) { 2 } else { 5 }),
            faults,
            is_mixed: matches!(seed % 8, 3 | 4),
            heal_at,
            events: Vec::new(),
        };
        if plan.is_mixed {
            plan.nodes = plan.nodes.max(2);
        }
        let mut events: Vec<(Duration, Event)> = Vec::new();
        let hard = seed % 8 >= 6;
        if hard {
            plan.harden(&random);
        }
        for _ in 0..if hard {
            3 + random.below(6)
        } else {
            random.below(6)
        } {
            let span = u64::try_from(plan.heal_at.as_millis()).expect("seconds");
            let at = Duration::from_millis(1000 + random.below(span - 1000));
            let event = if hard && random.happens(600) {
                plan.draw_absence(&random)
            } else {
                plan.draw(&random)
            };
            match event {
                Event::KillAtStep { node, step, nth } => {
                    events.extend(plan.deaths_at_step(at, node, step, nth));
                }
                _ => events.push((at, event)),
            }
        }
        if let Some(step) = nth_step(seed / 2) {
            let at = Duration::from_millis(1000 + random.below(9_000));
            let node = usize::try_from(random.below(plan.nodes as u64)).expect("small");
            events.extend(plan.deaths_at_step(at, node, step, 1));
        }
        let some_time = || Duration::from_millis(4_000 + random.below(15_000));
        if random.happens(400) {
            let node = usize::try_from(random.below(plan.nodes as u64)).expect("small");
            events.push((some_time(), Event::Restart { node }));
        }
        if random.happens(250) {
            let millis = 2_000 + random.below(25_000);
            events.push((some_time(), Event::KeeperOnlyReads { millis }));
        }
        if plan.is_mixed {
            events.push((plan.heal_at * 2 / 3, Event::Upgrade));
        }
        events.sort_by_key(|(at, _)| *at);
        plan.events = events;
        plan
    }

    /// Every fourth seed is about processes that are away while the log goes on: many trims, appends
    /// that land much later and twice, pauses longer than a session lives.
    fn harden(&mut self, random: &Random) {
        self.nodes = 2 + usize::try_from(random.below(2)).expect("small");
        self.snapshot_entries = 3 + random.below(8);
        self.heal_at = Duration::from_secs(40 + random.below(20));
        self.records += 60;
        self.faults.log.late = 60 + random.below(100);
        self.faults.log.late_max = Duration::from_secs(1 + random.below(25));
        self.faults.log.twice = random.below(150);
        self.faults.log.reply_lost = random.below(150);
        self.faults.store_late = 20 + random.below(40);
    }

    /// A node that does not hear of the log for a while, often for longer than its session lives.
    fn draw_absence(&self, random: &Random) -> Event {
        let node = usize::try_from(random.below(self.nodes as u64)).expect("small");
        let millis = 2_000 + random.below(28_000);
        if random.happens(500) {
            Event::Pause { node, millis }
        } else {
            Event::Lag { node, millis }
        }
    }

    fn draw(&self, random: &Random) -> Event {
        let node = usize::try_from(random.below(self.nodes as u64)).expect("small");
        match random.below(15) {
            0 | 1 => Event::Kill { node },
            2..=4 => Event::KillAtStep {
                node,
                step: usize::try_from(random.below(Plan::STEPS.len() as u64)).expect("small"),
                nth: 1 + random.below(4),
            },
            5 => Event::CutOff {
                node,
                millis: 500 + random.below(20_000),
            },
            6 => Event::StepClock {
                node,
                millis: i64::try_from(random.below(600_000)).expect("small") - 300_000,
            },
            7 => Event::RaceClock {
                node,
                millis_per_second: i64::try_from(random.below(2_000)).expect("small"),
            },
            8 => Event::WrongClock {
                node,
                years: if random.happens(500) { 10 } else { -10 },
            },
            9 => Event::StallLog {
                millis: 1_000 + random.below(30_000),
            },
            10 => Event::StoreDown {
                millis: 500 + random.below(20_000),
            },
            11 | 12 => Event::Pause {
                node,
                millis: 1_000 + random.below(25_000),
            },
            13 => Event::Lag {
                node,
                millis: 500 + random.below(12_000),
            },
            _ => Event::KillAll,
        }
    }

    /// Whoever passes the step is to die there, for which nodes come by it is their own affair. Steps of
    /// a start are passed by one that is killed.
    fn deaths_at_step(
        &self,
        at: Duration,
        node: usize,
        step: usize,
        nth: u64,
    ) -> Vec<(Duration, Event)> {
        if Plan::STEPS[step].starts_with("open.") {
            let death = Event::KillAtStep { node, step, nth: 1 };
            return vec![(at, death), (at, Event::Kill { node })];
        }
        let death = |node| (at, Event::KillAtStep { node, step, nth });
        (0..self.nodes).map(death).collect()
    }

    /// When the last fault has passed.
    pub fn quiet_at(&self) -> Duration {
        let ends = self.events.iter().map(|(at, event)| *at + event.lasts());
        ends.max().unwrap_or_default().max(self.heal_at)
    }

    /// Nothing is lost or late, so that what a process says is in the log when it was said.
    pub fn is_quiet(&self) -> bool {
        let is_harmless = |event: Event| {
            matches!(
                event,
                Event::Kill { .. }
                    | Event::KillAtStep { .. }
                    | Event::KillAll
                    | Event::Restart { .. }
            )
        };
        self.faults == Faults::default() && self.events.iter().all(|(_, event)| is_harmless(*event))
    }

    /// A quiet plan of two nodes to build a scenario on: no faults, small numbers, much housekeeping.
    pub fn quiet(seed: u64, log: LogKind) -> Plan {
        Plan {
            seed,
            log,
            nodes: 2,
            partitions: 2,
            writers: 2,
            members: 1,
            records: 25,
            all_idempotent: true,
            snapshot_entries: 8,
            table_interval: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            faults: Faults::default(),
            is_mixed: false,
            heal_at: Duration::from_secs(10),
            events: Vec::new(),
        }
    }
}

/// One fault after the other, and for each of them one operation after the other, so that every pair is
/// frequent in some run and every fault in any ten. Rates that are drawn alone leave out most faults of
/// the operations that are rare.
fn nth_pair(world: &str, pairs: Vec<FaultPair>, n: u64) -> Option<(FaultPair, u64)> {
    let mut by_fault: BTreeMap<&str, Vec<FaultPair>> = BTreeMap::new();
    for (op, fault) in pairs {
        if is_asked_for(&format!("{world}.{op}")) {
            by_fault.entry(fault).or_default().push((op, fault));
        }
    }
    let nth = |n: u64, of: usize| usize::try_from(n % of as u64).expect("it is less than a length");
    let pairs = by_fault.values().nth(nth(n, by_fault.len()))?;
    let pair = pairs[nth(n / by_fault.len() as u64, pairs.len())];
    Some((pair, OFTEN))
}

/// Two seeds of three have a step at which somebody dies early, one step after the other.
fn nth_step(n: u64) -> Option<usize> {
    let turn = (n / 3 * 2).checked_add((n % 3).checked_sub(1)?)?;
    Some(usize::try_from(turn % Plan::STEPS.len() as u64).expect("it is less than a length"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_draw_the_events_that_are_named_and_no_other() {
        let drawn: BTreeSet<&str> = (0..1000)
            .flat_map(|seed| Plan::from_seed(seed).events)
            .map(|(_, event)| event.name())
            .collect();
        assert_eq!(drawn, Event::DRAWN.iter().copied().collect());
    }

    #[test]
    fn a_hundred_seeds_of_a_log_take_every_pair_and_every_step_in_turn() {
        let steps: BTreeSet<usize> = (0..Plan::STEPS.len() as u64 * 2)
            .filter_map(nth_step)
            .collect();
        assert!(steps.into_iter().eq(0..Plan::STEPS.len()));
        for odd in 0..2 {
            let plans = (0..100).map(|n| Plan::from_seed(2 * n + odd).faults);
            let often = |faults: Faults| [faults.store_often, faults.log.often];
            let taken: BTreeSet<_> = plans
                .flat_map(often)
                .flatten()
                .map(|(pair, _)| pair)
                .collect();
            for (world, pairs) in [("store", FaultyStore::pairs()), ("log", FaultyLog::pairs())] {
                for (op, fault) in pairs {
                    assert_eq!(
                        taken.contains(&(op, fault)),
                        is_asked_for(&format!("{world}.{op}")),
                        "{world}.{op}.{fault}"
                    );
                }
            }
        }
    }
}
