//! What always holds of tables.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;
use tarn_model::{TopicPartition, caps};

use super::of_topic::{Counters, TopicTable};
use super::types::Table;
use crate::State;
use crate::invariants::{Check, ensure};
use tarn_model::collect_ids;

impl State {
    pub(crate) fn check_tables(&self) -> Check {
        for (id, table) in &self.tables {
            ensure("tables-have-their-uuid", table.uuid == *id, || {
                table.name.clone()
            })?;
            self.check_table(table)?;
        }
        let topics = self.tables.values().filter_map(|table| table.of_topic());
        let (of_topics, detached) = topics.fold((0, 0), |(all, detached), of| {
            (all + 1, detached + usize::from(of.detached.is_some()))
        });
        ensure(
            "tables-are-indexed",
            self.table_names.len() == self.tables.len() && self.topic_tables.len() == of_topics,
            || format!("{} tables", self.tables.len()),
        )?;
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
        let named = self.table_named(&table.namespace, &table.name);
        let is_found = |found: Option<&std::sync::Arc<Table>>| {
            found.is_some_and(|found| found.uuid == table.uuid)
        };
        ensure("tables-are-indexed", is_found(named), || table.name.clone())?;
        if let Some(of) = table.of_topic() {
            let found = self.table_of(of.topic);
            ensure("tables-are-indexed", is_found(found), || table.name.clone())?;
            self.check_table_of_topic(table, of)?;
        }
        let mut ids = BTreeSet::new();
        let fresh = table
            .columns
            .iter()
            .all(|field| collect_ids(field, &mut ids));
        let highest = ids.last().copied().unwrap_or(0);
        ensure(
            "field-ids-are-unique",
            fresh && highest <= table.last_field_id,
            || table.name.clone(),
        )
    }

    fn check_table_of_topic(&self, table: &Table, of: &TopicTable) -> Check {
        let lives = self
            .topics
            .get(&of.topic)
            .is_some_and(|topic| topic.name == table.name);
        let is_detached = of.detached.is_some();
        ensure("tables-belong-to-topics", lives != is_detached, || {
            table.name.clone()
        })?;
        for (partition, materialized) in &of.materialized {
            let counted = of.counters.get(partition).copied().and_then(Counters::sum);
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
            let at = TopicPartition::new(of.topic, *partition);
            let stable = self.readable(at).map(|partition| partition.last_stable());
            if !is_detached || stable.is_some() {
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
        Ok(())
    }
}
