//! What a table snapshot says about the topic: M and the counters, as summary properties, so that the
//! table alone tells what is in it (and a foreign catalog can be trusted with exactly-once).
//!
//! Our maintenance copies the properties; foreign commits do not, and then M stays.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{DataFile, Snapshot};
use serde::{Deserialize, Serialize};
use tarn_model::{Offset, PartitionId, TopicId};
use tarn_state::commands::MaterializedStep;
use tarn_state::{Counters, Table};

/// JSON: the topic's id, and per partition the offset below which the table is complete.
pub const MATERIALIZED_OFFSETS: &str = "tarn.materialized-offsets";
/// JSON: per partition, what became of the offsets below M.
pub const COUNTERS: &str = "tarn.counters";

/// What [`MATERIALIZED_OFFSETS`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Materialized {
    /// As `tp-…`: an offset means nothing for another life of the topic.
    pub topic: String,
    pub offsets: BTreeMap<i32, u64>,
}

#[derive(Debug, Default, Serialize)]
struct Counted {
    rows: u64,
    undecodable: u64,
    deleted: u64,
}

/// M as the snapshot has it, if it speaks of this topic.
pub fn materialized_of(
    snapshot: &Snapshot,
    topic: TopicId,
) -> Option<BTreeMap<PartitionId, Offset>> {
    let text = snapshot
        .summary()
        .additional_properties
        .get(MATERIALIZED_OFFSETS)?;
    let materialized: Materialized = serde_json::from_str(text).ok()?;
    (materialized.topic == topic.to_string()).then(|| {
        materialized
            .offsets
            .into_iter()
            .map(|(at, offset)| (PartitionId(at), Offset(offset)))
            .collect()
    })
}

/// The properties of an append: ours, and the totals that every engine shows.
pub(crate) fn of_append(
    table: &Table,
    steps: &[MaterializedStep],
    parent: Option<&Snapshot>,
    files: &[DataFile],
) -> HashMap<String, String> {
    let mut offsets: BTreeMap<i32, u64> = table
        .materialized
        .iter()
        .map(|(at, offset)| (at.0, offset.0))
        .collect();
    let mut counters: BTreeMap<i32, Counted> = BTreeMap::new();
    let mut count = |at: PartitionId, counted: &Counters| {
        let sum = counters.entry(at.0).or_default();
        sum.rows += counted.rows;
        sum.undecodable += counted.undecodable;
        sum.deleted += counted.deleted;
    };
    for (at, counted) in &table.counters {
        count(*at, counted);
    }
    for step in steps {
        offsets.insert(step.partition.0, step.to.0);
        count(step.partition, &step.counted);
    }
    let materialized = Materialized {
        topic: table.topic.to_string(),
        offsets,
    };

    let rows: u64 = files.iter().map(DataFile::record_count).sum();
    let bytes: u64 = files.iter().map(DataFile::file_size_in_bytes).sum();
    let count = files.len() as u64;
    let mut properties = HashMap::from([
        (MATERIALIZED_OFFSETS.to_owned(), to_json(&materialized)),
        (COUNTERS.to_owned(), to_json(&counters)),
        ("added-data-files".to_owned(), count.to_string()),
        ("added-records".to_owned(), rows.to_string()),
        ("added-files-size".to_owned(), bytes.to_string()),
    ]);
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

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps with number keys and numbers are JSON")
}
