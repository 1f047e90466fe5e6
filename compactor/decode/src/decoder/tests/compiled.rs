//! What a decoder prepares, and when.

use super::*;

fn version(n: usize) -> String {
    format!(
        r#"{{"type": "record", "name": "R", "doc": "version {n}", "fields": [{{"name": "id", "type": "long"}}]}}"#
    )
}

fn a_table(with_value: bool) -> Arc<tarn_state::Table> {
    let mut of = tarn_state::TopicTable::new(tarn_model::TopicId::from_u128(7));
    of.with_value = with_value;
    let (uuid, kind) = (
        tarn_model::TableUuid::from_u128(1),
        tarn_state::TableKind::Topic(of),
    );
    Arc::new(tarn_state::Table::new(uuid, "events", "orders", kind))
}

/// A commit moves a table's pointer and offsets, which are nothing to a decoder.
#[test]
fn a_decoder_is_kept_while_its_table_has_the_same_shape() {
    let state = tarn_state::State::new(tarn_model::ClusterId::from_u128(1));
    let decoders = crate::Decoders::default();
    let decoder_of = |table: &Arc<tarn_state::Table>| {
        let of = table.of_topic().expect("it is a topic's");
        decoders.of(&state.schemas, table, of)
    };
    let mut table = a_table(true);
    let first = decoder_of(&table);
    assert!(Arc::ptr_eq(&first, &decoder_of(&table)));
    let moved = Arc::make_mut(&mut table);
    moved.pointer = Some("file:/v1".to_owned());
    moved.table_snapshot = Some(1);
    assert!(Arc::ptr_eq(&first, &decoder_of(&table)));
    assert!(!Arc::ptr_eq(&first, &decoder_of(&a_table(false))));
}

#[test]
fn a_table_knows_the_format_and_the_references_of_its_schemas() {
    let refers = |schema: Schema, to: &[u32]| {
        let references = to.iter().map(|id| tarn_state::ResolvedReference {
            reference: tarn_model::SchemaReference {
                name: format!("import {id}"),
                subject: format!("subject {id}"),
                version: 1,
            },
            schema: SchemaId(*id),
        });
        Arc::new(Schema {
            references: references.collect(),
            ..schema
        })
    };
    let unit = r#"{"type":"enum","name":"Unit","symbols":["g","kg"]}"#;
    let line = r#"{"type":"record","name":"Line","fields":[{"name":"unit","type":"Unit"}]}"#;
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"line","type":"Line"},{"name":"unit","type":"Unit"}]}"#;
    let mut state = tarn_state::State::new(tarn_model::ClusterId::from_u128(1));
    let texts = [(unit, vec![]), (line, vec![1]), (order, vec![2, 1])];
    for (id, (text, to)) in (1..).zip(texts) {
        let schema = Arc::unwrap_or_clone(registered(id, [0; 16], text));
        state.schemas.insert(SchemaId(id), refers(schema, &to));
    }
    let schema = parse(order, &[unit, line]).expect("a schema");
    let mut table = Arc::unwrap_or_clone(a_table(true));
    table.columns = columns(&schema).expect("columns");
    assign_ids(&mut table.columns, &mut 100);
    let mut of = table.of_topic().expect("it is a topic's").clone();
    of.schemas.insert(SchemaId(3), lsn(1));
    let shape = TableShape::of(&state.schemas, &table, &of);
    let decoded = decode(&shape, &records([framed(3, &[2, 0])]));
    expect![[r#"line: {unit: "kg"}, unit: "g", _offset: 0, _schema_id: 3, _value: null"#]]
        .assert_eq(&show(&decoded, &PLAIN));

    let schema = state.schemas.get_mut(&SchemaId(3)).expect("it is there");
    Arc::make_mut(schema).format = SchemaFormat::Protobuf;
    let shape = TableShape::of(&state.schemas, &table, &of);
    assert_eq!(shape.schemas[0].schema.format, SchemaFormat::Protobuf);
}

fn compiled(decoder: &Decoder) -> usize {
    let writers = decoder.writers.values();
    writers.filter(|writer| writer.plan.get().is_some()).count()
}

/// Records of two of many versions compile those, and a version that adds no column leaves what was
/// compiled.
#[test]
fn only_the_schemas_that_records_name_are_compiled() {
    let texts: Vec<String> = (0..90).map(version).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let decoder = Decoder::new(&shape(&texts[..89]));
    assert_eq!(compiled(&decoder), 0);
    let decoded = decoder.decode(&records([7, 89, 7].map(|id| framed(id, &[2]))));
    assert_eq!(decoded.expect("rows").batch.num_rows(), 3);
    assert_eq!(compiled(&decoder), 2);

    let grown = Decoder::grown(&shape(&texts), Some(&decoder));
    assert_eq!((grown.writers.len(), compiled(&grown)), (90, 2));
    let decoded = grown.decode(&records([framed(90, &[2])])).expect("rows");
    assert_eq!((decoded.batch.num_rows(), compiled(&grown)), (1, 3));

    let other = Decoder::grown(&shape(&[r#""long""#]), Some(&grown));
    assert_eq!(compiled(&other), 0, "its columns are others");
}
