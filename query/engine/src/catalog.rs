//! Names in SQL, resolved at one cut: a namespace holds tables, `events` one per topic, with its halves as
//! `"<topic>$hot"` and `"<topic>$cold"`; `system` tells of the cluster.
//!
//! Nothing is built before it is named: 20,000 topics cost a query nothing. Names keep their case, dots and
//! dashes; what SQL has folded to lower case finds a name of another case if there is only one.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use tarn_state::topic_names::EVENTS_NAMESPACE;
use tarn_state::{State, Table, TableKind};

use crate::QueryError;
use crate::context::QueryContext;
use crate::system::{self, SystemTable, UNDECODABLE, UndecodableTable};
use crate::table::{CutTable, Part};

pub(crate) const CATALOG: &str = "tarn";
pub(crate) const SYSTEM: &str = "system";
const HOT_SUFFIX: &str = "$hot";
const COLD_SUFFIX: &str = "$cold";

/// The schemas.
#[derive(Debug)]
pub(crate) struct CutCatalog {
    context: Arc<QueryContext>,
}

/// The tables of a namespace.
#[derive(Debug)]
struct NamespaceSchema {
    context: Arc<QueryContext>,
    namespace: String,
}

#[derive(Debug)]
struct SystemSchema {
    context: Arc<QueryContext>,
}

impl CutCatalog {
    pub(crate) fn new(context: &Arc<QueryContext>) -> CutCatalog {
        CutCatalog {
            context: Arc::clone(context),
        }
    }

    /// The namespace of this name, or the only one that differs from it in upper and lower case.
    fn namespace(&self, name: &str) -> Option<String> {
        let all = || namespaces(&self.context.cut.view);
        let exact = all().find(|namespace| *namespace == name);
        let mut alike = all().filter(|namespace| namespace.eq_ignore_ascii_case(name));
        let found = exact.or_else(|| match (alike.next(), alike.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        });
        found.map(str::to_owned)
    }
}

/// Those that have tables, and the one of topics.
fn namespaces(state: &State) -> impl Iterator<Item = &str> {
    let others = state.table_namespaces();
    [EVENTS_NAMESPACE]
        .into_iter()
        .chain(others.filter(|namespace| *namespace != EVENTS_NAMESPACE))
}

impl CatalogProvider for CutCatalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        let all = namespaces(&self.context.cut.view);
        all.chain([SYSTEM]).map(str::to_owned).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let context = Arc::clone(&self.context);
        if name == SYSTEM {
            return Some(Arc::new(SystemSchema { context }));
        }
        let namespace = self.namespace(name)?;
        Some(Arc::new(NamespaceSchema { context, namespace }))
    }
}

/// The table that a name means, and which part of it.
fn split(name: &str) -> (&str, Part) {
    if let Some(base) = name.strip_suffix(HOT_SUFFIX) {
        (base, Part::Hot)
    } else if let Some(base) = name.strip_suffix(COLD_SUFFIX) {
        (base, Part::Cold)
    } else {
        (name, Part::Both)
    }
}

/// The table of this name.
fn find<'s>(
    state: &'s State,
    namespace: &str,
    name: &str,
) -> Result<Option<&'s Arc<Table>>, QueryError> {
    if let Some(table) = state.table_named(namespace, name) {
        return Ok(Some(table));
    }
    // SQL folds what is not quoted.
    if name.chars().any(char::is_uppercase) {
        return Ok(None);
    }
    let mut alike = state.tables_alike(namespace, name);
    match (alike.next(), alike.next()) {
        (Some(first), Some(second)) => Err(QueryError::Invalid {
            message: format!(
                "the name {name} could be {:?} or {:?}: write it in double quotes",
                first.name, second.name
            ),
            position: None,
        }),
        (only, _) => Ok(only),
    }
}

impl NamespaceSchema {
    /// Without a cut of it, which would cost what its partitions cost.
    fn find(&self, name: &str) -> Result<Option<(&Arc<Table>, Part)>, QueryError> {
        let (base, part) = split(name);
        let found = find(&self.context.cut.view, &self.namespace, base)?;
        let has_part = |table: &Table| part == Part::Both || table.topic().is_some();
        Ok(found
            .filter(|table| has_part(table))
            .map(|table| (table, part)))
    }
}

#[async_trait]
impl SchemaProvider for NamespaceSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let tables = self.context.cut.view.tables_in(&self.namespace);
        let mut names: Vec<String> = tables.map(|table| table.name.clone()).collect();
        names.sort_unstable();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some((table, part)) = self.find(name)? else {
            return Ok(None);
        };
        if matches!(table.kind, TableKind::View(_)) {
            // Its text says neither its dialect nor in which namespace its names are.
            let what = format!(
                "{}.{} is a view: views cannot be queried yet, the tables that they are of can",
                table.namespace, table.name
            );
            return Err(QueryError::NotSupported { what }.into());
        }
        let cut = self.context.cut.table(table.uuid);
        Ok(cut
            .map(|cut| Arc::new(CutTable::new(&self.context, cut, part)) as Arc<dyn TableProvider>))
    }

    /// Without making each table for a listing.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.find(name)?.map(|(table, _)| match table.kind {
            TableKind::View(_) => TableType::View,
            TableKind::Topic(_) | TableKind::Plain(_) => TableType::Base,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        matches!(self.find(name), Ok(Some(_)))
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let names = system::TABLES.iter().map(|table| table.name);
        names.chain([UNDECODABLE]).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if name == UNDECODABLE {
            return Ok(Some(Arc::new(UndecodableTable::new(&self.context))));
        }
        let described = system::TABLES.iter().find(|table| table.name == name);
        Ok(described.map(|described| {
            Arc::new(SystemTable::new(described, &self.context.cut.view)) as Arc<dyn TableProvider>
        }))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == UNDECODABLE || system::TABLES.iter().any(|table| table.name == name)
    }
}
