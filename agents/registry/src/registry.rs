//! What the registry's handlers share.

use std::sync::Arc;

use tarn_replica::{Metastore, Node};
use tarn_runtime::Budget;
use tokio::time::Instant;

use crate::metrics::RegistryMetrics;
use crate::settings::RegistrySettings;

/// The registry of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    metastore: Metastore,
    pub(crate) budget: Budget,
    pub(crate) settings: RegistrySettings,
    metrics: RegistryMetrics,
}

impl Registry {
    pub fn new(node: &Node, settings: RegistrySettings) -> Registry {
        Registry {
            inner: Arc::new(Inner {
                metastore: node.metastore.clone(),
                budget: node.budget.clone(),
                settings,
                metrics: node.runtime.metrics().register(RegistryMetrics::register),
            }),
        }
    }

    pub(crate) fn metastore(&self) -> &Metastore {
        &self.inner.metastore
    }

    /// When a request that begins now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        self.inner.metrics.requests.inc();
        Instant::now() + self.inner.settings.request_deadline
    }
}
