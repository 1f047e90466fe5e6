//! What can happen in a sweep over one log, and how often it did: every operation of store and log with
//! every fault that it can suffer, every event that seeds draw, a crash at every step.
//!
//! The faults are what the fault wrappers say of themselves; a sweep that is long enough has to have met
//! all of it, else the invariants were not put to that test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tarn_commit_log::FaultyLog;
use tarn_store::FaultyStore;

use crate::{Event, LogKind, Plan, Report};

/// What no process of a cluster asks for. Who begins to takes it off this list.
const UNASKED: &[&str] = &[
    "store.copy",
    "store.rename",
    "store.multipart_begin",
    "store.multipart_part",
    "store.multipart_complete",
];

pub(crate) fn is_asked_for(op: &str) -> bool {
    !UNASKED.contains(&op)
}

/// How often each thing that can happen did: `store.get.truncated`, `event.pause`,
/// `crash.produce.uploaded`.
#[derive(Debug, Clone)]
pub struct Coverage {
    log: LogKind,
    runs: u64,
    happened: BTreeMap<String, u64>,
    asked: BTreeMap<String, u64>,
}

impl Coverage {
    pub fn new(log: LogKind) -> Coverage {
        Coverage {
            log,
            runs: 0,
            happened: possible(log).into_iter().map(|name| (name, 0)).collect(),
            asked: BTreeMap::new(),
        }
    }

    /// Takes note of a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        let events = report
            .events
            .iter()
            .map(|(name, count)| (format!("event.{name}"), *count));
        let steps = report.crashes.iter().filter(|step| !step.is_empty());
        let crashes = steps.map(|step| (format!("crash.{step}"), 1));
        let faults = report
            .faults
            .iter()
            .map(|(name, count)| (name.clone(), *count));
        for (name, count) in events.chain(crashes).chain(faults) {
            *self.happened.entry(name).or_default() += count;
        }
        for (op, count) in &report.asked {
            *self.asked.entry(op.clone()).or_default() += count;
        }
    }

    /// What should have happened in so many runs and did not, and what happened but is on no list.
    pub fn gaps(&self) -> Vec<String> {
        let possible = possible(self.log);
        let mut gaps: Vec<String> = self
            .happened
            .keys()
            .filter(|name| !possible.contains(*name))
            .map(|name| format!("{name} is on no list"))
            .collect();
        let surprising = self.asked.keys().filter(|op| !is_asked_for(op));
        gaps.extend(surprising.map(|op| format!("{op} was said not to be asked for")));
        if self.runs >= LONG {
            let never = self.happened.iter().filter(|(_, count)| **count == 0);
            gaps.extend(never.map(|(name, _)| format!("{name} never happened")));
        } else if self.runs >= SHORT {
            let mut faults: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            for (name, count) in &self.happened {
                if let Some((world, fault)) = fault_of(name) {
                    *faults.entry((world, fault)).or_default() += count;
                }
            }
            let never = faults.into_iter().filter(|(_, count)| *count == 0);
            gaps.extend(
                never.map(|((world, fault), _)| format!("{world}.*.{fault} never happened")),
            );
        }
        gaps
    }
}

/// Runs after which everything must have happened.
const LONG: u64 = 100;
/// Runs after which every fault must have struck something.
const SHORT: u64 = 10;

/// A line for each operation and its faults, for events, and for steps of a kind.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.happened.len();
        let met = self.happened.values().filter(|count| **count > 0).count();
        let (runs, log) = (self.runs, self.log);
        write!(f, "{met} of {all} happened in {runs} runs over {log:?}:")?;
        let mut line = "";
        for (name, count) in &self.happened {
            let (what, last) = name.rsplit_once('.').expect("names have two parts");
            if line != what {
                line = what;
                write!(f, "\n  {what}")?;
                if let Some(asked) = self.asked.get(what) {
                    write!(f, " (asked {asked} times)")?;
                }
            }
            write!(f, " {last}: {count}")?;
        }
        Ok(())
    }
}

/// World and fault of a pair of an operation and a fault.
fn fault_of(name: &str) -> Option<(&str, &str)> {
    let (world, rest) = name.split_once('.')?;
    let (_, fault) = rest.split_once('.')?;
    matches!(world, "store" | "log").then_some((world, fault))
}

/// Everything that can happen in a run over this log.
fn possible(log: LogKind) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut pairs = |world: &str, pairs: Vec<(&str, &str)>| {
        for (op, fault) in pairs {
            if is_asked_for(&format!("{world}.{op}")) {
                names.insert(format!("{world}.{op}.{fault}"));
            }
        }
    };
    pairs("store", FaultyStore::pairs());
    // A log over objects suffers what the store does.
    if log == LogKind::Memory {
        pairs("log", FaultyLog::pairs());
    }
    let events = Event::DRAWN
        .iter()
        .filter(|name| log == LogKind::Memory || **name != "stall_log");
    names.extend(events.map(|name| format!("event.{name}")));
    names.extend(Plan::STEPS.iter().map(|step| format!("crash.{step}")));
    names
}
