//! What the compactor counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
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

tarn_runtime::metrics! {
    pub(crate) struct CompactorMetrics {
        /// Cluster time since the oldest record was committed that is in no table file yet
        lag: Family<TopicLabel, Gauge> = "materialize_lag_seconds";
        /// Records that became rows of table files
        records: Family<TopicLabel, Counter> = "materialized_records";
        /// Offsets below M without a row, because their record could not be decoded
        undecodable: Family<ReasonLabels, Counter> = "undecodable_records";
        /// Offsets that retention deleted before they were in a table file
        deleted: Family<TopicLabel, Counter> = "unmaterialized_deleted_records";
        /// Rows of table files whose event time is that of their append: they claim none, or an absurd one
        append_timed: Family<TopicLabel, Counter> = "append_timed_records";
        /// Values in rows of table files that are null because their column's type does not have them
        nulled: Family<TopicLabel, Counter> = "nulled_values";
        /// Records later than the largest timestamp that the header of their batch names
        hidden_timestamps: Family<TopicLabel, Counter> = "hidden_timestamps";
        /// Rounds of the materializer, by how they ended
        rounds: Family<OutcomeLabel, Counter> = "materialize_rounds";
        /// Table files that nothing refers to any more and that were not deleted
        garbage: Family<GarbageLabel, Counter> = "table_garbage_files";
    }
}

impl CompactorMetrics {
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
