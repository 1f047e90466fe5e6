//! What the tasks of a writer share.

use tarn_replica::{Metastore, Node};
use tarn_runtime::{Runtime, Scope};
use tarn_store::{ChunkCache, Store};

use crate::WriterSettings;
use crate::metrics::WriterMetrics;

#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) runtime: Runtime,
    pub(super) scope: Scope,
    pub(super) store: Store,
    pub(super) cache: ChunkCache,
    pub(super) metastore: Metastore,
    pub(super) settings: WriterSettings,
    pub(super) metrics: WriterMetrics,
}

impl Parts {
    pub(super) fn new(node: &Node, settings: WriterSettings) -> Parts {
        Parts {
            runtime: node.runtime.clone(),
            scope: node.scope.child("writer"),
            store: node.store.with_deadline(settings.give_up_after),
            cache: node.cache.clone(),
            metastore: node.metastore.clone(),
            settings,
            metrics: node.runtime.metrics().register(WriterMetrics::register),
        }
    }
}
