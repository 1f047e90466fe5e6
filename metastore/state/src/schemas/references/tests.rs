//! What Confluent's registry does with references: `KafkaSchemaRegistry.deleteSchemaVersion`, `InMemoryCache`
//! and `AbstractSchemaProvider.resolveReferences`, version 8.

use tarn_model::SchemaFormat;

use super::*;
use crate::commands::{DeleteSchemaVersions, DeleteTopic, RegisterSchema};
use crate::harness::{Cluster, topic};
use crate::{Command, Outcome};

fn to(subject: &str, version: u32) -> SchemaReference {
    SchemaReference {
        name: format!("{subject}.avsc"),
        subject: subject.to_owned(),
        version,
    }
}

fn schema(subject: &str, guid: u16, references: &[SchemaReference]) -> RegisterSchema {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&guid.to_be_bytes());
    RegisterSchema {
        subject: subject.to_owned(),
        guid: bytes,
        format: SchemaFormat::Avro,
        text: guid.to_string(),
        columns: Vec::new(),
        references: references.to_vec(),
    }
}

fn run(cluster: &mut Cluster, command: Command) -> Result<Outcome, Refusal> {
    let outcome = cluster.run(command);
    cluster.state.check_invariants().unwrap();
    let again = State::from_snapshot(&cluster.state.to_snapshot(), cluster.state.cluster).unwrap();
    assert_eq!(again, cluster.state);
    outcome
}

fn register(
    cluster: &mut Cluster,
    subject: &str,
    guid: u16,
    references: &[SchemaReference],
) -> Result<u32, Refusal> {
    let command = Command::RegisterSchema(schema(subject, guid, references));
    match run(cluster, command)? {
        Outcome::SchemaRegistered { id, .. } => Ok(id.0),
        other => unreachable!("{other:?}"),
    }
}

fn delete(
    cluster: &mut Cluster,
    subject: &str,
    version: Option<u32>,
    permanent: bool,
) -> Result<(), Refusal> {
    let subject = subject.to_owned();
    let command = DeleteSchemaVersions {
        subject,
        version,
        permanent,
    };
    run(cluster, Command::DeleteSchemaVersions(command)).map(|_| ())
}

fn referenced<T>(subject: &str, version: u32) -> Result<T, Refusal> {
    let subject = subject.to_owned();
    Err(SchemaRefusal::SchemaReferenced { subject, version }.into())
}

fn texts(cluster: &Cluster, id: u32) -> Vec<String> {
    let schema = &cluster.state.schemas[&SchemaId(id)];
    let needed = referenced_schemas(&cluster.state.schemas, schema);
    needed.iter().map(|schema| schema.text.clone()).collect()
}

#[test]
fn what_is_referred_to_has_to_be_there_and_comes_before_who_refers() {
    let mut cluster = Cluster::one();
    let subject = || "line".to_owned();
    for version in [0, 1, 2] {
        let missing = SchemaRefusal::NoSuchReference {
            subject: subject(),
            version,
        };
        let refused = register(&mut cluster, "order", 2, &[to("line", version)]);
        assert_eq!(refused, Err(missing.into()));
        if version == 0 {
            register(&mut cluster, "unit", 8, &[]).unwrap();
        }
    }
    assert_eq!(register(&mut cluster, "line", 1, &[to("unit", 1)]), Ok(2));
    assert_eq!(register(&mut cluster, "note", 3, &[to("unit", 1)]), Ok(3));
    let both = [to("note", 1), to("line", 1), to("unit", 1)];
    assert_eq!(register(&mut cluster, "order", 2, &both), Ok(4));
    assert_eq!(texts(&cluster, 4), ["8", "3", "1"]);
    // The same again is the same, under another subject too.
    assert_eq!(register(&mut cluster, "order", 2, &both), Ok(4));
    assert_eq!(register(&mut cluster, "orders", 2, &both), Ok(4));
    // A deleted version is still found.
    delete(&mut cluster, "orders", None, false).unwrap();
    assert_eq!(register(&mut cluster, "all", 5, &[to("orders", 1)]), Ok(5));
}

#[test]
fn a_guid_is_of_one_text_with_one_format_and_one_list_of_references() {
    let mut cluster = Cluster::one();
    register(&mut cluster, "line", 1, &[]).unwrap();
    register(&mut cluster, "order", 2, &[to("line", 1)]).unwrap();
    let same = schema("order", 2, &[to("line", 1)]);
    let others = [
        RegisterSchema {
            format: SchemaFormat::Json,
            ..same.clone()
        },
        RegisterSchema {
            text: "3".into(),
            ..same.clone()
        },
        RegisterSchema {
            references: Vec::new(),
            ..same.clone()
        },
    ];
    for other in others {
        let refused = run(&mut cluster, Command::RegisterSchema(other));
        assert_eq!(refused, Err(SchemaRefusal::GuidOfAnother.into()));
    }
    run(&mut cluster, Command::RegisterSchema(same)).unwrap();
}

#[test]
fn what_a_living_version_refers_to_cannot_be_deleted() {
    let mut cluster = Cluster::one();
    register(&mut cluster, "line", 1, &[]).unwrap();
    register(&mut cluster, "line", 9, &[]).unwrap();
    register(&mut cluster, "order", 2, &[to("line", 1)]).unwrap();
    register(&mut cluster, "orders", 2, &[to("line", 1)]).unwrap();
    for version in [Some(1), None] {
        let refused = delete(&mut cluster, "line", version, false);
        assert_eq!(refused, referenced("line", 1));
        let refused = delete(&mut cluster, "line", version, true);
        assert_eq!(refused, referenced("line", 1));
    }
    delete(&mut cluster, "line", Some(2), false).unwrap();
    delete(&mut cluster, "order", None, false).unwrap();
    let refused = delete(&mut cluster, "line", Some(1), false);
    assert_eq!(refused, referenced("line", 1), "another refers to it too");
    delete(&mut cluster, "orders", None, false).unwrap();
    delete(&mut cluster, "line", None, false).unwrap();
    // It is referred to again, by one that is registered anew.
    register(&mut cluster, "order", 2, &[to("line", 1)]).unwrap();
    let refused = delete(&mut cluster, "line", Some(1), true);
    assert_eq!(refused, referenced("line", 1));
    delete(&mut cluster, "line", Some(2), true).unwrap();
    delete(&mut cluster, "order", None, false).unwrap();
    delete(&mut cluster, "line", None, true).unwrap();
    // Who refers to it still means what it meant, as long as it is there.
    assert_eq!(texts(&cluster, 3), ["1"]);
    for subject in ["order", "orders"] {
        delete(&mut cluster, subject, None, true).unwrap();
    }
    let state = &cluster.state;
    assert!(state.schemas.is_empty() && state.schema_uses.is_empty());
    assert!(state.schema_references.is_empty() && state.schema_bytes == 0);
}

#[test]
fn a_table_keeps_what_its_schemas_need_until_it_has_read() {
    let mut cluster = Cluster::with_topic("orders", 1);
    register(&mut cluster, "line", 1, &[]).unwrap();
    register(&mut cluster, "orders-value", 2, &[to("line", 1)]).unwrap();
    for permanent in [false, true] {
        delete(&mut cluster, "orders-value", None, permanent).unwrap();
        delete(&mut cluster, "line", None, permanent).unwrap();
    }
    assert!(cluster.state.subjects.is_empty());
    assert_eq!(texts(&cluster, 2), ["1"]);
    let gone = Command::DeleteTopic(DeleteTopic { id: topic(7) });
    run(&mut cluster, gone).unwrap();
    assert!(cluster.state.schemas.is_empty());
}

#[test]
fn references_are_bounded_in_number_bytes_and_depth() {
    let mut cluster = Cluster::one();
    let max = caps::SCHEMA_REFERENCES_MAX as u64;
    register(&mut cluster, "s", 0, &[]).unwrap();
    let many: Vec<_> = (0..=max).map(|_| to("s", 1)).collect();
    let full = register(&mut cluster, "t", 5000, &many).unwrap_err();
    assert!(matches!(full, Refusal::Full { .. }), "{full}");
    // A chain: each needs all before it.
    let mut chain = 0;
    let refused = loop {
        let guid = u16::try_from(chain + 1).unwrap();
        let version = u32::try_from(chain + 1).unwrap();
        match register(&mut cluster, "s", guid, &[to("s", version)]) {
            Ok(_) => chain += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Refusal::Full { .. }), "{refused}");
    assert_eq!(chain, max);
    let mut long = schema("long", 6000, &[to("s", 1)]);
    // The name of what it refers to counts, or its text, whichever is more.
    let most = caps::SCHEMA_BYTES_MAX - to("s", 1).size();
    long.text = "x".repeat(most + 1);
    let refused = run(&mut cluster, Command::RegisterSchema(long.clone())).unwrap_err();
    assert!(matches!(refused, Refusal::TooLong { .. }), "{refused}");
    long.text = "x".repeat(most);
    run(&mut cluster, Command::RegisterSchema(long.clone())).unwrap();
    let mut refers = schema("refers", 6001, &[to("long", 1)]);
    refers.text = "x".repeat(100);
    let refused = run(&mut cluster, Command::RegisterSchema(refers)).unwrap_err();
    assert!(matches!(refused, Refusal::TooLong { .. }), "{refused}");
}
