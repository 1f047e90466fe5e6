//! Creates a topic with its partitions and, unless `tarn.table = off`, its table. A schema that is
//! registered already under `<name>-value` types the table from the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{ClusterTime, PartitionId, TableUuid, TopicId, TopicPartition, caps};

use crate::columns::Columns;
use crate::tables::EVENTS_NAMESPACE;
use crate::topics::{check_configs, check_topic_name, wants_table};
use crate::{Context, FeatureLevel, Outcome, Partition, Refusal, State, Table, Topic};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateTopic {
    #[n(0)]
    pub id: TopicId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub partitions: i32,
    #[n(3)]
    pub configs: BTreeMap<String, String>,
    #[n(4)]
    pub table: TableUuid,
}

impl CreateTopic {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let invalid = |why: &str| Refusal::InvalidTopicName {
            name: self.name.clone(),
            why: why.to_owned(),
        };
        check_topic_name(&self.name).map_err(invalid)?;
        // An id that is known may be that of a late copy: its topic was made, and deleted.
        if state.topic_names.contains_key(&self.name) || state.is_topic_known(self.id) {
            return Err(Refusal::TopicExists(self.name.clone()));
        }
        if let Some(other) = state.colliding_topic(&self.name) {
            return Err(invalid(&format!(
                "it differs from {other} in '.' and '_' only"
            )));
        }
        if self.partitions < 1 || self.partitions > caps::PARTITIONS_PER_TOPIC_MAX {
            return Err(Refusal::InvalidPartitions {
                max: caps::PARTITIONS_PER_TOPIC_MAX,
            });
        }
        check_configs(&self.configs)?;
        if state.topics.len() >= caps::TOPICS_MAX {
            return Err(Refusal::Full {
                what: "topics".into(),
                max: caps::TOPICS_MAX as u64,
            });
        }
        state.check_partition_room(self.partitions)?;

        if wants_table(&self.name, &self.configs) {
            let table = self.table(state)?;
            state.tables.insert(self.id, Arc::new(table));
        }
        for partition in 0..self.partitions {
            let at = TopicPartition::new(self.id, PartitionId(partition));
            state.partitions.insert(at, Arc::new(Partition::empty()));
        }
        state.topic_names.insert(self.name.clone(), self.id);
        let topic = Topic {
            id: self.id,
            name: self.name.clone(),
            partitions: self.partitions,
            configs: self.configs.clone(),
            created_at: ctx.cluster_time,
            first_producer: (state.level >= FeatureLevel::TWO).then_some(state.next_producer),
        };
        state.topics.insert(self.id, Arc::new(topic));
        Ok(Outcome::TopicCreated(self.id))
    }

    fn table(&self, state: &State) -> Result<Table, Refusal> {
        // Tables of living topics have the topics' names; only a detached one can be in the way,
        // and those have two underscores.
        if self.name.contains("__") && state.table_named(EVENTS_NAMESPACE, &self.name).is_some() {
            let why = "the table of a deleted topic has it".into();
            return Err(Refusal::InvalidTopicName {
                name: self.name.clone(),
                why,
            });
        }
        let mut columns = Columns::empty();
        let mut schemas = BTreeMap::new();
        let subject = state.subjects.get(&format!("{}-value", self.name));
        let versions = subject
            .map(|subject| &subject.versions)
            .filter(|versions| !versions.is_empty());
        for (schema, registered_at) in versions.into_iter().flat_map(BTreeMap::values) {
            let known = state
                .schemas
                .get(schema)
                .expect("a version's schema is registered");
            columns.merge(&known.columns)?;
            schemas.insert(*schema, *registered_at);
        }
        Ok(Table {
            uuid: self.table,
            topic: self.id,
            namespace: EVENTS_NAMESPACE.into(),
            name: self.name.clone(),
            columns: columns.fields,
            last_field_id: columns.last_id,
            typed: versions.is_some(),
            schemas,
            pointer: None,
            table_snapshot: None,
            materialized: BTreeMap::new(),
            counters: BTreeMap::new(),
            committed: None,
            detached: false,
            with_value: versions.is_none(),
            detached_at: ClusterTime::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::{DeleteTopic, RegisterSchema};
    use crate::harness::{Cluster, at, create_topic, topic};
    use tarn_model::{ColumnType, Field, FieldId};

    fn create(cluster: &mut Cluster, name: &str) -> Result<Outcome, Refusal> {
        let id = 100 + cluster.state.n;
        cluster.run(Command::CreateTopic(create_topic(id.into(), name, 1)))
    }

    #[test]
    fn a_topic_has_its_partitions_and_an_untyped_table() {
        let mut cluster = Cluster::with_topic("orders", 3);
        assert_eq!(cluster.state.topic_named("orders").unwrap().partitions, 3);
        assert_eq!(cluster.state.partitions.len(), 3);
        assert!(cluster.state.partitions.contains_key(&at(7, 2)));
        let table = cluster.state.table(topic(7)).unwrap();
        assert_eq!(
            (table.namespace.as_str(), table.name.as_str(), table.typed),
            ("events", "orders", false)
        );
        assert!(table.columns.is_empty() && table.with_value);
        assert_eq!(table.last_field_id, 99);
        assert_eq!(
            create(&mut cluster, "orders"),
            Err(Refusal::TopicExists("orders".into()))
        );
    }

    #[test]
    fn names_follow_kafka() {
        let mut cluster = Cluster::with_topic("a.b", 1);
        let long = "x".repeat(250);
        for name in ["", ".", "..", "a b", "ä", "a/b", long.as_str(), "a_b"] {
            assert!(
                matches!(
                    create(&mut cluster, name),
                    Err(Refusal::InvalidTopicName { .. })
                ),
                "{name}"
            );
        }
        for name in ["a-b", "a.b.c", "_a", "A", "x".repeat(249).as_str()] {
            create(&mut cluster, name).unwrap();
        }
        create(&mut cluster, "_a_").unwrap();
        assert!(matches!(
            create(&mut cluster, ".a."),
            Err(Refusal::InvalidTopicName { .. })
        ));
    }

    #[test]
    fn internal_topics_and_those_that_do_not_want_one_have_no_table() {
        let mut cluster = Cluster::one();
        create(&mut cluster, "_tarn.runs").unwrap();
        for name in [
            "__consumer_offsets",
            "__transaction_state",
            "__share_group_state",
        ] {
            create(&mut cluster, name).unwrap();
        }
        let mut off = create_topic(9, "off", 1);
        off.configs.insert("tarn.table".into(), "off".into());
        cluster.run(Command::CreateTopic(off)).unwrap();
        assert!(cluster.state.tables.is_empty());
        // Names that only look like those are users'.
        create(&mut cluster, "__debezium-heartbeat.x").unwrap();
        assert_eq!(cluster.state.tables.len(), 1);
    }

    #[test]
    fn impossible_numbers_of_partitions_are_refused() {
        let mut cluster = Cluster::one();
        for partitions in [-1, 0, caps::PARTITIONS_PER_TOPIC_MAX + 1] {
            let refused = cluster.run(Command::CreateTopic(create_topic(9, "x", partitions)));
            assert!(matches!(refused, Err(Refusal::InvalidPartitions { .. })));
        }
        for id in 0..5 {
            cluster.create_topic(id, &format!("big-{id}"), caps::PARTITIONS_PER_TOPIC_MAX);
        }
        assert!(matches!(
            create(&mut cluster, "one-more"),
            Err(Refusal::Full { .. })
        ));
    }

    #[test]
    fn a_schema_that_is_there_types_the_table_from_the_start() {
        let mut cluster = Cluster::one();
        for (guid, kind) in [(1, ColumnType::Int), (2, ColumnType::Long)] {
            let columns = vec![Field::new("id", kind)];
            let (subject, format, text) = ("orders-value".into(), "AVRO".into(), format!("{guid}"));
            let register = RegisterSchema {
                subject,
                guid: [guid; 16],
                format,
                text,
                columns,
            };
            cluster.run(Command::RegisterSchema(register)).unwrap();
        }
        cluster.create_topic(7, "orders", 1);
        let table = cluster.state.table(topic(7)).unwrap();
        assert!(table.typed && !table.with_value);
        assert_eq!(
            table.columns,
            [Field {
                id: FieldId(100),
                ..Field::new("id", ColumnType::Long)
            }]
        );
        assert_eq!(table.schemas.len(), 2);
    }

    #[test]
    fn a_late_copy_makes_no_deleted_topic_again() {
        let mut cluster = Cluster::with_topic("orders", 1);
        cluster
            .run(Command::DeleteTopic(DeleteTopic { id: topic(7) }))
            .unwrap();
        let again = cluster.run(Command::CreateTopic(create_topic(7, "orders", 1)));
        assert_eq!(again, Err(Refusal::TopicExists("orders".into())));
        let detached = cluster.state.tables[&topic(7)].name.clone();
        assert!(matches!(
            create(&mut cluster, &detached),
            Err(Refusal::InvalidTopicName { .. })
        ));
        create(&mut cluster, "orders").unwrap();
    }
}
