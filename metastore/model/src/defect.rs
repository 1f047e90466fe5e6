//! Planted defects: a test switches one on and shows that the checks find it.
//!
//! In a build without debug assertions [`defect`] is a constant `false`, so that no shipped binary
//! can misbehave on purpose, and no feature flag doubles the build.

/// Every defect that can be planted, with what it does. Names are used as they stand.
pub const DEFECTS: &[(&str, &str)] = &[
    (
        "ack-before-commit",
        "the agent acknowledges a batch when its segment is uploaded, before the commit",
    ),
    (
        "skip-duplicate-check",
        "apply takes a producer's batch again when it is sent again",
    ),
    (
        "skip-floor-after-put",
        "the object log trusts a successful put without reading the floor",
    ),
    (
        "skip-floor-after-read",
        "the object log trusts a slot it read without reading the floor",
    ),
    (
        "skip-floor-after-absent",
        "the object log trusts an absent slot without reading the floor",
    ),
    (
        "floor-off-by-one",
        "the object log trusts a put of the slot that is the floor itself",
    ),
    (
        "close-only-last-session",
        "a process closes only the newest of its earlier sessions",
    ),
    (
        "no-tombstones",
        "apply forgets a session as soon as it is closed",
    ),
    (
        "not-done-after-jump",
        "a proposer calls its append not done when it jumped to a snapshot",
    ),
    (
        "barrier-joins-sent-call",
        "a read barrier shares an end() call that was already sent",
    ),
    (
        "dead-session-votes",
        "a silent session still votes on cluster time",
    ),
    (
        "materialized-off-by-one",
        "the materializer commits an offset one below what it wrote",
    ),
    (
        "hot-from-below-m",
        "the cut takes one hot row more than it should, below M",
    ),
    (
        "hot-from-newest-m",
        "the hot half of a cut begins at the newest materialized offset, not at the cut's",
    ),
    (
        "cut-without-an-extent",
        "the bytes of a cut leave out an extent of its hot rows",
    ),
    (
        "joint-proposes-apart",
        "the parts of a joint proposal are proposed one by one",
    ),
    (
        "skip-unknown-command",
        "apply passes over an entry that this version cannot read",
    ),
    (
        "ignore-session-sequence",
        "apply takes an entry whatever its sequence number",
    ),
    (
        "negative-from-lagging-view",
        "an offset above a lagging high watermark is refused without a barrier",
    ),
    (
        "node-id-of-the-session",
        "apply gives each session a node id of its own, whatever the name",
    ),
    (
        "advertise-before-serving",
        "an agent is advertised before its listener accepts",
    ),
    (
        "drain-without-withdraw",
        "an agent drains without being withdrawn first",
    ),
    (
        "propose-above-level",
        "a proposer writes a command that is above the level of the cluster",
    ),
    (
        "claim-without-fence",
        "apply takes a step of progress of a claim that is over",
    ),
    (
        "claim-never-taken-over",
        "a task stays with whoever claimed it, be it gone",
    ),
    (
        "claim-progress-not-asked",
        "a holder that lives keeps its task without making progress",
    ),
];

#[cfg(debug_assertions)]
mod planted {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Is this defect planted on this thread?
    pub fn defect(name: &str) -> bool {
        debug_assert!(
            super::DEFECTS.iter().any(|(known, _)| *known == name),
            "{name} is not in the list of defects"
        );
        PLANTED.with(|planted| planted.get() == Some(name))
    }

    /// Plants a defect on this thread, or none. The simulator runs a whole cluster on one thread.
    pub fn plant_defect(name: Option<&str>) {
        let known = name.map(|name| {
            super::DEFECTS
                .iter()
                .find(|(known, _)| *known == name)
                .unwrap_or_else(|| panic!("{name} is not in the list of defects"))
                .0
        });
        PLANTED.with(|planted| planted.set(known));
    }
}

#[cfg(debug_assertions)]
pub use planted::{defect, plant_defect};

/// Always false: this build cannot misbehave on purpose.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn defect(_name: &str) -> bool {
    false
}
