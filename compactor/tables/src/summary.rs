//! What a table snapshot says about the topic: M, as a summary property, so that the table alone tells
//! what is in it (and a foreign catalog can be trusted with exactly-once).
//!
//! A snapshot names the partitions that its commit moved; each 32nd, and the first, names them all. So
//! the M of a snapshot is in it and in its parents down to the nearest whole one, and an expiry keeps
//! that one ([`is_whole`]). Counters are in the state alone. Our maintenance copies M; foreign commits
//! do not, and then M stays.
//!
//! ```text
//! {"topic": "tp-…", "whole": false, "offsets": "base64"}
//! offsets: runs of neighboring partitions, each  gap since the last run · length · that many offsets
//! ```
//!
//! Every number is a LEB128 varint: of a thousand partitions it takes five or six kilobytes.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use iceberg::spec::{DataFile, Snapshot, SnapshotRef, TableMetadata};
use serde::{Deserialize, Serialize};
use tarn_model::{Offset, PartitionId, TopicId};
use tarn_state::commands::MaterializedStep;
use tarn_state::{Table, TopicTable};

/// JSON: the topic's id, and per partition the offset below which the table is complete.
pub const MATERIALIZED_OFFSETS: &str = "tarn.materialized-offsets";
/// From one snapshot that names every partition to the next.
pub(crate) const WHOLE_EVERY: usize = 32;

/// What [`MATERIALIZED_OFFSETS`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Materialized {
    /// As `tp-…`: an offset means nothing for another life of the topic.
    topic: String,
    whole: bool,
    offsets: String,
}

type Offsets = BTreeMap<PartitionId, Offset>;

fn property(snapshot: &Snapshot, topic: TopicId) -> Option<Materialized> {
    let properties = &snapshot.summary().additional_properties;
    let said: Materialized = serde_json::from_str(properties.get(MATERIALIZED_OFFSETS)?).ok()?;
    (said.topic == topic.to_string()).then_some(said)
}

/// Does the snapshot name M of every partition?
pub(crate) fn is_whole(snapshot: &Snapshot, topic: TopicId) -> bool {
    property(snapshot, topic).is_some_and(|said| said.whole)
}

/// A snapshot and its parents, as far as they are there.
pub(crate) fn ancestry<'m>(
    metadata: &'m TableMetadata,
    head: Option<&'m SnapshotRef>,
) -> impl Iterator<Item = &'m SnapshotRef> {
    let mut at = head;
    // A parent is older, so this ends; no damaged file may make it a circle.
    (0..metadata.snapshots().len()).map_while(move |_| {
        let snapshot = at?;
        at = snapshot
            .parent_snapshot_id()
            .and_then(|parent| metadata.snapshot_by_id(parent));
        Some(snapshot)
    })
}

/// M as the table had it at `snapshot`, if it speaks of this topic.
pub fn materialized_of(metadata: &TableMetadata, snapshot: i64, topic: TopicId) -> Option<Offsets> {
    let mut found = Offsets::new();
    for snapshot in ancestry(metadata, metadata.snapshot_by_id(snapshot)) {
        let Some(said) = property(snapshot, topic) else {
            continue;
        };
        for (partition, offset) in decode(&said.offsets)? {
            // What a younger snapshot says goes first.
            found.entry(partition).or_insert(offset);
        }
        if said.whole {
            return Some(found);
        }
    }
    None
}

/// The properties of an append: ours, of a topic's table, and the totals that every engine shows.
pub(crate) fn of_append(
    table: &Table,
    steps: &[MaterializedStep],
    metadata: &TableMetadata,
    files: &[DataFile],
) -> HashMap<String, String> {
    let parent = metadata.current_snapshot();
    let rows: u64 = files.iter().map(DataFile::record_count).sum();
    let bytes: u64 = files.iter().map(DataFile::file_size_in_bytes).sum();
    let count = files.len() as u64;
    let mut properties = HashMap::from([
        ("added-data-files".to_owned(), count.to_string()),
        ("added-records".to_owned(), rows.to_string()),
        ("added-files-size".to_owned(), bytes.to_string()),
    ]);
    if let Some(of) = table.of_topic() {
        let said = materialized(of, steps, metadata);
        properties.insert(MATERIALIZED_OFFSETS.to_owned(), said);
    }
    let before = |key: &str| -> u64 {
        let text = parent.and_then(|parent| parent.summary().additional_properties.get(key));
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let totals = [
        ("total-data-files", count),
        ("total-records", rows),
        ("total-files-size", bytes),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ];
    for (key, added) in totals {
        properties.insert(key.to_owned(), (before(key) + added).to_string());
    }
    properties
}

/// What [`MATERIALIZED_OFFSETS`] says of the next snapshot.
fn materialized(of: &TopicTable, steps: &[MaterializedStep], metadata: &TableMetadata) -> String {
    let older = || ancestry(metadata, metadata.current_snapshot());
    let since_whole = older()
        .take_while(|older| !is_whole(older, of.topic))
        .count();
    let reaches_whole = older().nth(since_whole).is_some();
    let whole = !reaches_whole || since_whole + 1 >= WHOLE_EVERY;
    let mut offsets = match whole {
        true => of.materialized.clone(),
        false => Offsets::new(),
    };
    offsets.extend(steps.iter().map(|step| (step.partition, step.to)));
    let materialized = Materialized {
        topic: of.topic.to_string(),
        whole,
        offsets: encode(&offsets),
    };
    serde_json::to_string(&materialized).expect("two texts and a bool are JSON")
}

fn encode(offsets: &Offsets) -> String {
    let mut runs: Vec<(u64, Vec<u64>)> = Vec::new();
    for (partition, offset) in offsets {
        let at = u64::from(partition.0.unsigned_abs());
        match runs.last_mut() {
            Some((start, run)) if *start + run.len() as u64 == at => run.push(offset.0),
            _ => runs.push((at, vec![offset.0])),
        }
    }
    let mut bytes = Vec::new();
    let mut end = 0;
    for (start, run) in runs {
        put(&mut bytes, start - end);
        put(&mut bytes, run.len() as u64);
        end = start + run.len() as u64;
        for offset in run {
            put(&mut bytes, offset);
        }
    }
    BASE64.encode(bytes)
}

/// `None` for what no [`encode`] wrote.
fn decode(text: &str) -> Option<Offsets> {
    let bytes = BASE64.decode(text).ok()?;
    let mut left = bytes.as_slice();
    let mut offsets = Offsets::new();
    let mut at: u64 = 0;
    while !left.is_empty() {
        at = at.checked_add(take(&mut left)?)?;
        for _ in 0..take(&mut left)? {
            let partition = PartitionId(i32::try_from(at).ok()?);
            offsets.insert(partition, Offset(take(&mut left)?));
            at += 1;
        }
    }
    Some(offsets)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_being_written() {
        let of = |pairs: &[(i32, u64)]| -> Offsets {
            pairs
                .iter()
                .map(|(at, offset)| (PartitionId(*at), Offset(*offset)))
                .collect()
        };
        for offsets in [
            of(&[]),
            of(&[(0, 0)]),
            of(&[
                (0, 127),
                (1, 128),
                (2, u64::MAX),
                (7, 5),
                (8, 6),
                (i32::MAX, 1),
            ]),
        ] {
            assert_eq!(decode(&encode(&offsets)), Some(offsets));
        }
        // A run that is longer than its bytes, a number without an end, no base64.
        for wrong in ["AAU", "gICAgICAgICAgIA", "*"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
