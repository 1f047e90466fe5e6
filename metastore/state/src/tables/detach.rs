//! How the table of a topic goes on when the topic is deleted, and how it ends.

use std::sync::Arc;

use tarn_model::{ClusterTime, TableUuid, TopicId, caps};

use crate::State;

impl State {
    /// The table of the living topic whose values a subject describes: `<topic>-value`.
    pub(crate) fn table_of_subject(&self, subject: &str) -> Option<TableUuid> {
        let topic = self.topic_named(subject.strip_suffix("-value")?)?.id;
        self.table(topic).map(|table| table.uuid)
    }

    /// The topic was deleted: its table goes on under a name that no other table has.
    pub(crate) fn detach_table(&mut self, topic: TopicId, now: ClusterTime) {
        let Some(table) = self.table_of(topic) else {
            return;
        };
        let digits = format!("{:032x}", u128::from_be_bytes(table.uuid.0));
        let short: String = digits.chars().take(8).collect();
        let mut name = format!("{}__{short}", table.name);
        if self.table_named(&table.namespace, &name).is_some() {
            name = format!("{}__{digits}", table.name);
        }
        let mut table = table.as_ref().clone();
        self.remove_table(table.uuid);
        table.name = name;
        if let Some(of) = table.of_topic_mut() {
            of.detached = Some(now);
        }
        self.insert_table(Arc::new(table));
        if !self.has_leftovers(topic) {
            self.release_schemas_of_table(topic);
        }
        while self.detached_tables.len() > caps::DETACHED_TABLES_MAX
            && let Some((_, oldest)) = self.detached_tables.get_min().copied()
        {
            self.forget_table(oldest);
        }
    }

    /// Nothing tells of the table of a deleted topic any more.
    pub(crate) fn forget_table(&mut self, topic: TopicId) {
        self.leave_all(topic);
        if let Some(table) = self.topic_tables.get(&topic).copied() {
            self.remove_table(table);
        }
    }
}
