//! Names in SQL, resolved at one cut: `events` holds a table per topic, and its halves as
//! `"<topic>$hot"` and `"<topic>$cold"`; `system` tells of the cluster.
//!
//! Nothing is built before it is named: 20,000 topics cost a query nothing. Topic names keep their
//! case, dots and dashes; what SQL has folded to lower case finds a topic of another case if there is
//! only one.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use tarn_hot::TableCut;
use tarn_model::TopicId;
use tarn_state::State;
use tarn_state::topic_names::EVENTS_NAMESPACE;

use crate::QueryError;
use crate::context::QueryContext;
use crate::system::{self, SystemTable, UNDECODABLE, UndecodableTable};
use crate::table::{Part, TopicTable};

pub(crate) const CATALOG: &str = "tarn";
pub(crate) const SYSTEM: &str = "system";
const HOT_SUFFIX: &str = "$hot";
const COLD_SUFFIX: &str = "$cold";

/// The schemas.
#[derive(Debug)]
pub(crate) struct CutCatalog {
    events: Arc<EventsSchema>,
    system: Arc<SystemSchema>,
}

#[derive(Debug)]
struct EventsSchema {
    context: Arc<QueryContext>,
}

#[derive(Debug)]
struct SystemSchema {
    context: Arc<QueryContext>,
}

impl CutCatalog {
    pub(crate) fn new(context: &Arc<QueryContext>) -> CutCatalog {
        CutCatalog {
            events: Arc::new(EventsSchema {
                context: Arc::clone(context),
            }),
            system: Arc::new(SystemSchema {
                context: Arc::clone(context),
            }),
        }
    }
}

impl CatalogProvider for CutCatalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        vec![EVENTS_NAMESPACE.to_owned(), SYSTEM.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            EVENTS_NAMESPACE => Some(Arc::clone(&self.events) as Arc<dyn SchemaProvider>),
            SYSTEM => Some(Arc::clone(&self.system) as Arc<dyn SchemaProvider>),
            _ => None,
        }
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

/// The topic whose table has this name.
fn find(state: &State, name: &str) -> Result<Option<TopicId>, QueryError> {
    if let Some(topic) = state.topic_named(name)
        && state.table(topic.id).is_some()
    {
        return Ok(Some(topic.id));
    }
    if let Some(table) = state.table_named(EVENTS_NAMESPACE, name) {
        return Ok(Some(table.topic));
    }
    // SQL folds what is not quoted.
    if name.chars().any(char::is_uppercase) {
        return Ok(None);
    }
    let mut alike = state
        .tables
        .values()
        .filter(|table| table.name.eq_ignore_ascii_case(name));
    match (alike.next(), alike.next()) {
        (Some(first), Some(second)) => Err(QueryError::Invalid {
            message: format!(
                "the name {name} could be {:?} or {:?}: write it in double quotes",
                first.name, second.name
            ),
            position: None,
        }),
        (only, _) => Ok(only.map(|table| table.topic)),
    }
}

impl EventsSchema {
    /// Whose table it is. A cut of it would cost what its partitions cost.
    fn topic(&self, name: &str) -> Result<Option<TopicId>, QueryError> {
        find(&self.context.cut.view, split(name).0)
    }

    fn cut(&self, name: &str) -> Result<Option<(TableCut, Part)>, QueryError> {
        let (base, part) = split(name);
        let Some(topic) = find(&self.context.cut.view, base)? else {
            return Ok(None);
        };
        Ok(self.context.cut.table(topic).map(|cut| (cut, part)))
    }
}

#[async_trait]
impl SchemaProvider for EventsSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .context
            .cut
            .view
            .tables
            .values()
            .map(|table| table.name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some((cut, part)) = self.cut(name)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(TopicTable::new(&self.context, cut, part))))
    }

    /// Without making each table for a listing.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.topic(name)?.map(|_| TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        matches!(self.topic(name), Ok(Some(_)))
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
