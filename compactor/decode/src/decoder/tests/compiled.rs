//! What a decoder prepares, and when.

use super::*;

fn version(n: usize) -> String {
    format!(
        r#"{{"type": "record", "name": "R", "doc": "version {n}", "fields": [{{"name": "id", "type": "long"}}]}}"#
    )
}

fn a_table() -> tarn_state::Table {
    tarn_state::Table {
        uuid: tarn_model::TableUuid::from_u128(1),
        topic: tarn_model::TopicId::from_u128(7),
        namespace: "events".to_owned(),
        name: "orders".to_owned(),
        last_field_id: 100,
        columns: Vec::new(),
        typed: false,
        schemas: Default::default(),
        unfit: Default::default(),
        pointer: None,
        table_snapshot: None,
        materialized: Default::default(),
        counters: Default::default(),
        committed: None,
        detached: false,
        with_value: true,
        detached_at: ClusterTime::default(),
        event_times: Vec::new(),
        problem: None,
    }
}

/// A commit moves a table's pointer and offsets, which are nothing to a decoder.
#[test]
fn a_decoder_is_kept_while_its_table_has_the_same_shape() {
    let state = tarn_state::State::new(tarn_model::ClusterId::from_u128(1));
    let decoders = crate::Decoders::default();
    let table = Arc::new(a_table());
    let first = decoders.of(&state, &table);
    assert!(Arc::ptr_eq(&first, &decoders.of(&state, &table)));
    let moved = tarn_state::Table {
        pointer: Some("file:/v1".to_owned()),
        table_snapshot: Some(1),
        ..a_table()
    };
    let moved = Arc::new(moved);
    assert!(Arc::ptr_eq(&first, &decoders.of(&state, &moved)));
    let other = Arc::new(tarn_state::Table {
        with_value: false,
        ..a_table()
    });
    assert!(!Arc::ptr_eq(&first, &decoders.of(&state, &other)));
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
