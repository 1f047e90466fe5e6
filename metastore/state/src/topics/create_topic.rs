//! Creates a topic with its partitions and, unless `tarn.table = off`, its table. A schema that is
//! registered already under `<name>-value` types the table from the start. Versions that do not fit
//! beside newer ones are left out of its columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::{Lsn, PartitionId, SchemaId, TableUuid, TopicId, TopicPartition, caps};

use super::alter_topic_configs::check_configs;
use super::refusal::TopicRefusal;
use super::types::{Partition, Topic};
use crate::tables::{Table, TableKind, TopicTable, check_event_time, short_reason};
use crate::{Context, Outcome, Refusal, State};
use tarn_model::Columns;
use tarn_model::names::{self, EVENTS_NAMESPACE};
use tarn_model::topic_configs::wants_table;

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
        let invalid = |why: &str| {
            Refusal::Topic(TopicRefusal::InvalidTopicName {
                name: self.name.clone(),
                why: why.to_owned(),
            })
        };
        names::check(&self.name).map_err(|problem| invalid(&problem.to_string()))?;
        // An id that is known may be that of a late copy: its topic was made, and deleted.
        if state.topic_names.contains_key(&self.name)
            || state.is_topic_known(self.id)
            || state.tables.contains_key(&self.table)
        {
            return Err(TopicRefusal::TopicExists(self.name.clone()).into());
        }
        if let Some(other) = state.colliding_topic(&self.name) {
            return Err(invalid(&format!(
                "it differs from {other} in '.' and '_' only"
            )));
        }
        if self.partitions < 1 || self.partitions > caps::PARTITIONS_PER_TOPIC_MAX {
            return Err(TopicRefusal::InvalidPartitions {
                max: caps::PARTITIONS_PER_TOPIC_MAX,
            }
            .into());
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
            let table = self.table(state, ctx)?;
            check_event_time(&table)?;
            let schemas = table.of_topic().into_iter();
            let schemas = schemas.flat_map(|of| of.schemas.keys());
            schemas.for_each(|id| state.use_schema(*id));
            state.insert_table(Arc::new(table));
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
            first_producer: state.next_producer,
        };
        state.topics.insert(self.id, Arc::new(topic));
        Ok(Outcome::TopicCreated(self.id))
    }

    fn table(&self, state: &State, ctx: &Context) -> Result<Table, Refusal> {
        // Tables of living topics have the topics' names; only a detached one can be in the way.
        if state.table_named(EVENTS_NAMESPACE, &self.name).is_some() {
            let why = "the table of a deleted topic has it".into();
            return Err(TopicRefusal::InvalidTopicName {
                name: self.name.clone(),
                why,
            }
            .into());
        }
        let subject = state.subjects.get(&format!("{}-value", self.name));
        let versions = subject
            .map(|subject| &subject.versions)
            .filter(|versions| !versions.is_empty());
        let given = versions.into_iter().flat_map(BTreeMap::values);
        let schemas: BTreeMap<SchemaId, Lsn> = given.clone().copied().collect();
        // The newest is what producers write by now, so it counts first; what does not fit it is told,
        // and makes no name of a topic useless.
        let mut columns = Columns::empty();
        let mut unfit = BTreeMap::new();
        for (id, _) in given.rev() {
            let known = state.schemas.get(id);
            let known = known.expect("a version's schema is registered");
            let mut merged = columns.clone();
            match merged.merge(&known.columns) {
                Ok(()) => columns = merged,
                Err(error) => {
                    unfit.insert(*id, short_reason(&error.to_string()));
                }
            }
        }
        let mut of = TopicTable::new(self.id);
        of.typed = versions.is_some();
        of.with_value = versions.is_none();
        of.schemas = schemas;
        of.unfit = unfit;
        of.name_event_time(&self.configs, ctx);
        let kind = TableKind::Topic(of);
        let mut table = Table::new(self.table, EVENTS_NAMESPACE, &self.name, kind);
        table.columns = columns.fields;
        table.last_field_id = columns.last_id;
        table.created = ctx.cluster_time;
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::commands::{DeleteTopic, RegisterSchema};
    use crate::harness::{Cluster, at, create_topic, table, topic};
    use tarn_model::{ColumnType, Field, FieldId, SchemaFormat};

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
        let of = table.of_topic().unwrap();
        assert_eq!(
            (table.namespace.as_str(), table.name.as_str(), of.typed),
            ("events", "orders", false)
        );
        assert!(table.columns.is_empty() && of.with_value);
        assert_eq!(table.last_field_id, 99);
        assert_eq!(
            create(&mut cluster, "orders"),
            Err(Refusal::Topic(TopicRefusal::TopicExists("orders".into())))
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
                    Err(Refusal::Topic(TopicRefusal::InvalidTopicName { .. }))
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
            Err(Refusal::Topic(TopicRefusal::InvalidTopicName { .. }))
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
            assert!(matches!(
                refused,
                Err(Refusal::Topic(TopicRefusal::InvalidPartitions { .. }))
            ));
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
            let (subject, format, text) =
                ("orders-value".into(), SchemaFormat::Avro, format!("{guid}"));
            let register = RegisterSchema {
                subject,
                guid: [guid; 16],
                format,
                text,
                columns,
                references: Vec::new(),
            };
            cluster.run(Command::RegisterSchema(register)).unwrap();
        }
        cluster.create_topic(7, "orders", 1);
        let table = cluster.state.table(topic(7)).unwrap();
        let of = table.of_topic().unwrap();
        assert!(of.typed && !of.with_value);
        assert_eq!(
            table.columns,
            [Field {
                id: FieldId(100),
                ..Field::new("id", ColumnType::Long)
            }]
        );
        assert_eq!((of.schemas.len(), table.schema_id), (2, 0));
    }

    /// Versions that no table holds together: the newest decides, and what fits it stays.
    #[test]
    fn schemas_that_do_not_fit_together_make_no_name_useless() {
        let mut cluster = Cluster::one();
        let field = |name: &str, kind| Field::new(name, kind);
        let versions = [
            vec![field("id", ColumnType::String)],
            vec![field("id", ColumnType::Int), field("old", ColumnType::Date)],
            vec![field("ID", ColumnType::Long)],
            vec![
                field("id", ColumnType::Long),
                field("new", ColumnType::Date),
            ],
        ];
        for (guid, columns) in (1..).zip(versions) {
            let register = RegisterSchema {
                subject: "orders-value".into(),
                guid: [guid; 16],
                format: SchemaFormat::Avro,
                text: guid.to_string(),
                columns,
                references: Vec::new(),
            };
            cluster.run(Command::RegisterSchema(register)).unwrap();
        }
        for _ in 0..2 {
            let Ok(Outcome::TopicCreated(id)) = create(&mut cluster, "orders") else {
                panic!("the name is free");
            };
            let table = cluster.state.table(id).unwrap();
            let names = table.columns.iter().map(|column| column.name.as_str());
            assert_eq!(names.collect::<Vec<_>>(), ["id", "new", "old"]);
            assert_eq!(table.columns[0].kind, ColumnType::Long);
            let of = table.of_topic().unwrap();
            assert_eq!(of.schemas.len(), 4);
            let told = of.unfit.iter().map(|(id, why)| (id.0, why.as_str()));
            let cannot = "Iceberg cannot turn one into the other";
            assert_eq!(
                told.collect::<Vec<_>>(),
                [
                    (
                        1,
                        format!(
                            "column id is bigint in the table and varchar in the schema; {cannot}"
                        )
                        .as_str()
                    ),
                    (
                        3,
                        "column id is named id in the table and ID in the schema, and SQL does not tell upper from lower case"
                    ),
                ]
            );
            cluster
                .run(Command::DeleteTopic(DeleteTopic { id }))
                .unwrap();
        }
    }

    #[test]
    fn the_column_of_event_time_must_be_a_timestamp_or_not_there_yet() {
        let mut cluster = Cluster::one();
        let register = RegisterSchema {
            subject: "orders-value".into(),
            guid: [1; 16],
            format: SchemaFormat::Avro,
            text: "1".into(),
            columns: vec![
                Field::new("id", ColumnType::Long),
                Field::new("at", ColumnType::TimestampTz),
            ],
            references: Vec::new(),
        };
        cluster.run(Command::RegisterSchema(register)).unwrap();
        let mut with = |named: &str| {
            let mut create = create_topic(9, "orders", 1);
            create.configs = BTreeMap::from([("tarn.event.time".into(), named.into())]);
            let created = cluster.run(Command::CreateTopic(create));
            let table = cluster.state.table(topic(9)).cloned();
            let lsn = cluster.state.lsn();
            (created.map_err(|why| why.to_string()), table, lsn)
        };
        let (refused, ..) = with("id");
        let refused = refused.unwrap_err();
        assert!(
            refused.contains("column id is bigint and no timestamp"),
            "{refused}"
        );
        let (_, table, lsn) = with("later");
        let table = table.unwrap();
        let named = table.event_time().unwrap();
        assert_eq!((named.since, named.column.as_deref()), (lsn, Some("later")));
        let problem = table.event_time_problem();
        assert_eq!(problem.as_deref(), Some("the table has no column later"));
    }

    #[test]
    fn a_late_copy_makes_no_deleted_topic_again() {
        let mut cluster = Cluster::with_topic("orders", 1);
        cluster
            .run(Command::DeleteTopic(DeleteTopic { id: topic(7) }))
            .unwrap();
        let again = cluster.run(Command::CreateTopic(create_topic(7, "orders", 1)));
        assert_eq!(
            again,
            Err(Refusal::Topic(TopicRefusal::TopicExists("orders".into())))
        );
        let detached = cluster.state.tables[&table(7)].name.clone();
        assert!(matches!(
            create(&mut cluster, &detached),
            Err(Refusal::Topic(TopicRefusal::InvalidTopicName { .. }))
        ));
        create(&mut cluster, "orders").unwrap();
    }
}
