//! What another engine did to a table's columns, over commits of ours.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Fixture, TOPIC, catalog, values};
use crate::CompactorSettings;

/// As Spark's `ALTER TABLE … ADD COLUMN` does it: the next field id, a new schema, the same snapshot.
fn add_column(metadata: &mut serde_json::Value, name: &str) {
    let id = metadata["last-column-id"].as_i64().expect("a number") + 1;
    let current = metadata["current-schema-id"].clone();
    let schemas = metadata["schemas"].as_array_mut().expect("schemas");
    let ids = schemas
        .iter()
        .filter_map(|schema| schema["schema-id"].as_i64());
    let next = ids.max().expect("one at least") + 1;
    let schema = schemas.iter().find(|schema| schema["schema-id"] == current);
    let mut schema = schema.expect("the current one").clone();
    schema["schema-id"] = json!(next);
    let fields = schema["fields"].as_array_mut().expect("fields");
    fields.push(json!({ "id": id, "name": name, "required": false, "type": "string" }));
    schemas.push(schema);
    metadata["last-column-id"] = json!(id);
    metadata["current-schema-id"] = json!(next);
}

#[tokio::test]
async fn a_column_that_another_engine_added_survives_and_no_id_is_given_twice() {
    let fixture = Fixture::new(CompactorSettings::default()).await;
    fixture.produce(0, &values("a", 2)).await;
    fixture.materialize().await;
    fixture
        .change_elsewhere("first", |metadata| add_column(metadata, "theirs"))
        .await;
    let record = |field: &str| {
        format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "{field}", "type": "long"}}]}}"#
        )
    };
    let schema = fixture.register(&record("id")).await;
    fixture
        .change_elsewhere("second", |metadata| add_column(metadata, "more"))
        .await;
    let mut framed = vec![0];
    framed.extend(schema.0.to_be_bytes());
    framed.push(84);
    fixture.produce_bytes(&[framed]).await;
    let view = fixture.materialize().await;

    let table = view.table(TOPIC).expect("a table");
    let loaded = catalog(&fixture.node).load(table).await;
    let loaded = loaded.expect("it loads");
    let metadata = loaded.metadata();
    let fields = metadata.current_schema().as_struct().fields();
    let named = |name: &str| fields.iter().find(|field| field.name == name);
    let ids = ["theirs", "id", "more"].map(|name| named(name).expect(name).id);
    let distinct: BTreeSet<i32> = fields.iter().map(|field| field.id).collect();
    assert_eq!(distinct.len(), fields.len());
    assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
    assert_eq!(metadata.last_column_id(), table.last_field_id);
    // The file says it, not only what was loaded.
    let bytes = loaded
        .file_io()
        .new_input(table.pointer.as_ref().expect("a file"));
    let bytes = bytes.expect("a path").read().await.expect("it is there");
    let file: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let text = file["schemas"].to_string();
    assert!(text.contains("theirs") && text.contains("more"), "{text}");
    let mut seen = BTreeSet::new();
    for schema in metadata.schemas_iter() {
        assert!(seen.insert(schema.schema_id()));
    }
    fixture.node.drain().await;
}
