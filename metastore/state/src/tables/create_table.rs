//! Makes a table that no topic has, or a view, and gives its columns their field ids. Tables of topics are
//! made by `CreateTopic`.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{ByteSize, Field, TableUuid, caps};

use super::refusal::TableRefusal;
use super::types::{PlainTable, SqlView, Table, TableKind};
use crate::{Context, Outcome, Refusal, State};
use tarn_model::Columns;
use tarn_model::names::{self, TableNameProblem};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateTable {
    #[n(0)]
    pub uuid: TableUuid,
    /// It is there as soon as it has a table.
    #[n(1)]
    pub namespace: String,
    #[n(2)]
    pub name: String,
    /// Without ids.
    #[n(3)]
    pub columns: Vec<Field>,
    #[n(4)]
    pub kind: NewTable,
}

/// What may be made so.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NewTable {
    #[n(0)]
    Plain(#[n(0)] PlainTable),
    #[n(1)]
    View(#[n(0)] SqlView),
}

impl CreateTable {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        self.check_names()?;
        self.check_sizes()?;
        let columns = Columns::of_new_table(&self.columns)
            .map_err(|error| TableRefusal::InvalidColumns(error.to_string()))?;
        // One that is known may be that of a late copy.
        if state.tables.contains_key(&self.uuid)
            || state.table_named(&self.namespace, &self.name).is_some()
        {
            return Err(TableRefusal::TableExists {
                namespace: self.namespace.clone(),
                name: self.name.clone(),
            }
            .into());
        }
        self.check_room(state)?;
        let kind = match &self.kind {
            NewTable::Plain(plain) => TableKind::Plain(plain.clone()),
            NewTable::View(view) => TableKind::View(view.clone()),
        };
        let mut table = Table::new(self.uuid, &self.namespace, &self.name, kind);
        table.columns = columns.fields;
        table.last_field_id = columns.last_id;
        table.created = ctx.cluster_time;
        state.insert_table(Arc::new(table));
        Ok(Outcome::Done)
    }

    fn check_names(&self) -> Result<(), Refusal> {
        let refused = |name: &str, problem: TableNameProblem| TableRefusal::InvalidTableName {
            name: name.to_owned(),
            why: problem.to_string(),
        };
        names::check_new_namespace(&self.namespace)
            .map_err(|problem| refused(&self.namespace, problem))?;
        names::check_table(&self.name).map_err(|problem| refused(&self.name, problem))?;
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), Refusal> {
        let (text, properties, max) = match &self.kind {
            NewTable::Plain(plain) => {
                let location = plain.location.as_deref().unwrap_or_default();
                (location, &plain.properties, caps::NAME_BYTES_MAX)
            }
            NewTable::View(view) => (view.sql.as_str(), &view.properties, caps::VIEW_BYTES_MAX),
        };
        let bytes = properties
            .iter()
            .map(|(key, value)| key.len() + value.len());
        let columns = tarn_model::encode(&self.columns).len();
        for (bytes, max) in [
            (text.len(), max),
            (bytes.sum(), caps::TABLE_PROPERTIES_BYTES_MAX),
            (columns, caps::SCHEMA_BYTES_MAX),
        ] {
            if bytes > max {
                let max = ByteSize::bytes(max as u64);
                return Err(Refusal::TooLong { max });
            }
        }
        Ok(())
    }

    fn check_room(&self, state: &State) -> Result<(), Refusal> {
        let full = |what: &str, max: usize| Refusal::Full {
            what: what.to_owned(),
            max: max as u64,
        };
        let own = state.tables.len() - state.topic_tables.len();
        if own >= caps::TABLES_MAX {
            return Err(full("tables and views", caps::TABLES_MAX));
        }
        let is_new = state.tables_in(&self.namespace).next().is_none();
        if is_new && state.table_namespaces().count() >= caps::NAMESPACES_MAX {
            return Err(full("namespaces", caps::NAMESPACES_MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
