//! What always holds of tables.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;
use tarn_model::{ColumnType, Field, TopicPartition, caps};

use super::types::{Counters, FIRST_PAYLOAD_FIELD_ID, Table};
use crate::State;
use crate::invariants::{Check, ensure};

impl State {
    pub(crate) fn check_tables(&self) -> Check {
        let mut names = BTreeSet::new();
        for (id, table) in &self.tables {
            ensure("tables-belong-to-topics", table.topic == *id, || {
                table.name.clone()
            })?;
            let unique = names.insert((table.namespace.as_str(), table.name.as_str()));
            ensure("table-names-are-unique", unique, || table.name.clone())?;
            self.check_table(table)?;
        }
        let detached = self.tables.values().filter(|table| table.detached).count();
        ensure(
            "detached-tables-are-counted",
            detached == self.detached_tables.len() && detached <= caps::DETACHED_TABLES_MAX,
            || format!("{detached} are there"),
        )
    }

    /// What changed from `before` to `after`.
    pub(crate) fn check_tables_step(before: &State, after: &State) -> Check {
        for change in before.tables.diff(&after.tables) {
            if let DiffItem::Add(_, table)
            | DiffItem::Update {
                new: (_, table), ..
            } = change
            {
                after.check_table(table)?;
            }
        }
        Ok(())
    }

    fn check_table(&self, table: &Table) -> Check {
        let lives = self
            .topics
            .get(&table.topic)
            .is_some_and(|topic| topic.name == table.name);
        ensure("tables-belong-to-topics", lives != table.detached, || {
            table.name.clone()
        })?;
        for (partition, materialized) in &table.materialized {
            let counted = table
                .counters
                .get(partition)
                .copied()
                .and_then(Counters::sum);
            ensure(
                "counters-account-for-m",
                counted == Some(materialized.0),
                || {
                    format!(
                        "{} partition {partition}: {counted:?} of {materialized}",
                        table.name
                    )
                },
            )?;
            let at = TopicPartition::new(table.topic, *partition);
            let stable = self.readable(at).map(|partition| partition.last_stable());
            if !table.detached || stable.is_some() {
                ensure(
                    "m-is-stable",
                    stable.is_some_and(|stable| *materialized <= stable),
                    || {
                        format!(
                            "{} partition {partition}: {materialized} of {stable:?}",
                            table.name
                        )
                    },
                )?;
            }
        }
        let mut ids = BTreeSet::new();
        let fresh = table
            .columns
            .iter()
            .all(|field| collect_ids(field, &mut ids));
        let highest = ids.last().copied().unwrap_or(FIRST_PAYLOAD_FIELD_ID - 1);
        ensure(
            "field-ids-are-unique",
            fresh && highest <= table.last_field_id,
            || table.name.clone(),
        )
    }
}

/// False if an id stands twice.
fn collect_ids(field: &Field, ids: &mut BTreeSet<i32>) -> bool {
    ids.insert(field.id.0)
        && match &field.kind {
            ColumnType::Struct(fields) => fields.iter().all(|field| collect_ids(field, ids)),
            ColumnType::List(element) => collect_ids(element, ids),
            ColumnType::Map(key, value) => collect_ids(key, ids) && collect_ids(value, ids),
            _ => true,
        }
}
