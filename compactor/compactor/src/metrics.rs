//! What the compactor counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tarn_state::Counters;
use tarn_tables::Garbage;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TopicLabel {
    pub(crate) topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    topic: String,
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RoundOutcome {
    Committed,
    /// Another process was first.
    Moved,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: RoundOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum GarbageKind {
    Metadata,
    ManifestList,
    Manifest,
    /// Files of a commit that did not happen.
    Orphan,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GarbageLabel {
    kind: GarbageKind,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CompactorMetrics {
    lag: Family<TopicLabel, Gauge>,
    records: Family<TopicLabel, Counter>,
    undecodable: Family<ReasonLabels, Counter>,
    deleted: Family<TopicLabel, Counter>,
    append_timed: Family<TopicLabel, Counter>,
    nulled: Family<TopicLabel, Counter>,
    hidden_timestamps: Family<TopicLabel, Counter>,
    rounds: Family<OutcomeLabel, Counter>,
    garbage: Family<GarbageLabel, Counter>,
}

impl CompactorMetrics {
    pub(crate) fn register(registry: &mut Registry) -> CompactorMetrics {
        let metrics = CompactorMetrics::default();
        registry.register(
            "materialize_lag_seconds",
            "Cluster time since the oldest record was committed that is in no table file yet",
            metrics.lag.clone(),
        );
        registry.register(
            "materialized_records",
            "Records that became rows of table files",
            metrics.records.clone(),
        );
        registry.register(
            "undecodable_records",
            "Offsets below M without a row, because their record could not be decoded",
            metrics.undecodable.clone(),
        );
        registry.register(
            "unmaterialized_deleted_records",
            "Offsets that retention deleted before they were in a table file",
            metrics.deleted.clone(),
        );
        registry.register(
            "hidden_timestamps",
            "Records later than the largest timestamp that the header of their batch names",
            metrics.hidden_timestamps.clone(),
        );
        registry.register(
            "append_timed_records",
            "Rows of table files whose event time is that of their append: they claim none, or an absurd one",
            metrics.append_timed.clone(),
        );
        registry.register(
            "nulled_values",
            "Values in rows of table files that are null because their column's type does not have them",
            metrics.nulled.clone(),
        );
        registry.register(
            "materialize_rounds",
            "Rounds of the materializer, by how they ended",
            metrics.rounds.clone(),
        );
        registry.register(
            "table_garbage_files",
            "Table files that nothing refers to any more and that were not deleted",
            metrics.garbage.clone(),
        );
        metrics
    }

    pub(crate) fn set_lag(&self, topic: &str, seconds: i64) {
        self.lag
            .get_or_create(&TopicLabel {
                topic: topic.to_owned(),
            })
            .set(seconds);
    }

    /// The topic is gone.
    pub(crate) fn forget(&self, topic: &str) {
        self.lag.remove(&TopicLabel {
            topic: topic.to_owned(),
        });
    }

    pub(crate) fn count_records(&self, topic: &str, rows: u64, deleted: u64) {
        let label = TopicLabel {
            topic: topic.to_owned(),
        };
        self.records.get_or_create(&label).inc_by(rows);
        if deleted > 0 {
            self.deleted.get_or_create(&label).inc_by(deleted);
        }
    }

    pub(crate) fn count_hidden_timestamps(&self, topic: &str, records: u64) {
        if records > 0 {
            let topic = topic.to_owned();
            self.hidden_timestamps
                .get_or_create(&TopicLabel { topic })
                .inc_by(records);
        }
    }

    /// What was found in rows that records should not have.
    pub(crate) fn count_odd(&self, topic: &str, counted: Counters) {
        let label = TopicLabel {
            topic: topic.to_owned(),
        };
        if counted.append_timed > 0 {
            self.append_timed
                .get_or_create(&label)
                .inc_by(counted.append_timed);
        }
        if counted.nulled > 0 {
            self.nulled.get_or_create(&label).inc_by(counted.nulled);
        }
    }

    pub(crate) fn count_undecodable(&self, topic: &str, reason: &'static str, records: u64) {
        self.undecodable
            .get_or_create(&ReasonLabels {
                topic: topic.to_owned(),
                reason,
            })
            .inc_by(records);
    }

    pub(crate) fn count_round(&self, outcome: RoundOutcome) {
        self.rounds.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn count_garbage(&self, garbage: Garbage) {
        let kinds = [
            (GarbageKind::Metadata, garbage.metadata_files),
            (GarbageKind::ManifestList, garbage.manifest_lists),
            (GarbageKind::Manifest, garbage.manifests),
        ];
        for (kind, files) in kinds {
            self.garbage
                .get_or_create(&GarbageLabel { kind })
                .inc_by(files);
        }
    }

    pub(crate) fn count_orphans(&self, files: u64) {
        self.garbage
            .get_or_create(&GarbageLabel {
                kind: GarbageKind::Orphan,
            })
            .inc_by(files);
    }
}
