//! Tables by name and by topic, which follow from the tables themselves.
//!
//! Holds: names that SQL cannot tell apart, since it folds what is not quoted, stand next to each other, so
//! that no look at a name walks over all tables.

use std::ops::Bound;
use std::sync::Arc;

use tarn_model::{TableUuid, TopicId};

use super::types::{Table, TableKind};
use crate::State;

/// Orders the tables of a namespace by their folded names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    namespace: String,
    folded: String,
    name: String,
}

impl TableName {
    fn new(namespace: &str, name: &str) -> TableName {
        TableName {
            namespace: namespace.to_owned(),
            folded: name.to_ascii_lowercase(),
            name: name.to_owned(),
        }
    }

    /// Before all names of a namespace that fold to this one.
    fn before(namespace: &str, folded: &str) -> TableName {
        TableName {
            namespace: namespace.to_owned(),
            folded: folded.to_owned(),
            name: String::new(),
        }
    }
}

impl State {
    pub fn table_named(&self, namespace: &str, name: &str) -> Option<&Arc<Table>> {
        let uuid = self.table_names.get(&TableName::new(namespace, name))?;
        self.tables.get(uuid)
    }

    /// Tables of a namespace whose names differ from this one in upper and lower case at most.
    pub fn tables_alike<'s>(
        &'s self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'s Arc<Table>> + use<'s> {
        let folded = name.to_ascii_lowercase();
        let (namespace, first) = (namespace.to_owned(), TableName::before(namespace, &folded));
        self.table_names
            .range(first..)
            .take_while(move |(name, _)| name.namespace == namespace && name.folded == folded)
            .filter_map(|(_, uuid)| self.tables.get(uuid))
    }

    /// In the order of their folded names.
    pub fn tables_in<'s>(
        &'s self,
        namespace: &str,
    ) -> impl Iterator<Item = &'s Arc<Table>> + use<'s> {
        let (first, namespace) = (TableName::before(namespace, ""), namespace.to_owned());
        self.table_names
            .range(first..)
            .take_while(move |(name, _)| name.namespace == namespace)
            .filter_map(|(_, uuid)| self.tables.get(uuid))
    }

    /// Those that have a table, in their order; a step for each, however many tables it has.
    pub fn table_namespaces(&self) -> impl Iterator<Item = &str> {
        let mut after = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (next, _) = self
                .table_names
                .range((after.clone(), Bound::Unbounded))
                .next()?;
            // No namespace has such a character.
            let end = format!("{}\0", next.namespace);
            after = Bound::Included(TableName::before(&end, ""));
            Some(next.namespace.as_str())
        })
    }

    /// The table of a topic that lives.
    pub fn table(&self, topic: TopicId) -> Option<&Arc<Table>> {
        self.table_of(topic).filter(|table| !table.is_detached())
    }

    /// The table of a topic, be it deleted or not.
    pub fn table_of(&self, topic: TopicId) -> Option<&Arc<Table>> {
        self.tables.get(self.topic_tables.get(&topic)?)
    }

    /// Puts a new table in, or one that has its name and its topic still.
    pub(crate) fn insert_table(&mut self, table: Arc<Table>) {
        self.index_table(&table);
        self.tables.insert(table.uuid, table);
    }

    pub(crate) fn remove_table(&mut self, uuid: TableUuid) {
        let Some(table) = self.tables.remove(&uuid) else {
            return;
        };
        self.table_names
            .remove(&TableName::new(&table.namespace, &table.name));
        if let TableKind::Topic(of) = &table.kind {
            self.topic_tables.remove(&of.topic);
            if let Some(since) = of.detached {
                self.detached_tables.remove(&(since, of.topic));
            }
        }
    }

    fn index_table(&mut self, table: &Table) {
        let name = TableName::new(&table.namespace, &table.name);
        self.table_names.insert(name, table.uuid);
        if let TableKind::Topic(of) = &table.kind {
            self.topic_tables.insert(of.topic, table.uuid);
            if let Some(since) = of.detached {
                self.detached_tables.insert((since, of.topic));
            }
        }
    }

    /// What follows from the tables.
    pub(crate) fn derive_tables(&mut self) {
        let tables = self.tables.clone();
        tables.values().for_each(|table| self.index_table(table));
    }
}
