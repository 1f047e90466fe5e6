//! Tables that another engine has changed: their partition spec, their columns.

use ::arrow::array::StringArray;
use iceberg::spec::{Literal, PrimitiveLiteral, Struct};
use serde_json::{Value, json};

use super::*;

impl Fixture {
    /// Another engine rewrites the metadata file; the state follows its pointer.
    async fn changed_elsewhere(&mut self, change: impl FnOnce(&mut Value)) {
        let loaded = self.load().await;
        let mut json = loaded.metadata_json(true);
        change(&mut json);
        json["last-updated-ms"] = json!(loaded.metadata().last_updated_ms() + 1);
        let pointer = format!(
            "{}/metadata/elsewhere-{}.metadata.json",
            loaded.location(),
            self.runtime.random().u64()
        );
        let output = self.catalog.file_io().new_output(&pointer).expect("a path");
        let bytes = serde_json::to_vec(&json).expect("JSON");
        output.write(bytes.into()).await.expect("it is written");
        self.table.pointer = Some(pointer);
    }

    async fn partition_values(&self) -> Vec<Struct> {
        let loaded = self.load().await;
        let head = self.table.table_snapshot.expect("a snapshot");
        let plan = loaded.plan(head, None).await.expect("a plan");
        plan.files
            .iter()
            .map(|file| file.data_file().partition().clone())
            .collect()
    }
}

fn int(value: i32) -> Option<Literal> {
    Some(Literal::Primitive(PrimitiveLiteral::Int(value)))
}

#[tokio::test]
async fn rows_are_written_by_the_spec_that_the_table_has() {
    let columns = vec![
        column(101, "s", ColumnType::String),
        column(102, "n", ColumnType::Long),
    ];
    let text = |text: &str| {
        Some(Literal::Primitive(PrimitiveLiteral::String(
            text.to_owned(),
        )))
    };
    let long = |value| Some(Literal::Primitive(PrimitiveLiteral::Long(value)));
    // 2100-01-01T00:00Z is day 47,482, month 1,560, hour 1,139,568. The buckets are those that
    // Iceberg's specification gives: of 34 its hash is 2,017,239,379, of "iceberg" 1,210,000,089.
    let cases = [
        (101, "identity", text("iceberg")),
        (102, "identity", long(34)),
        (3, "day", int(47_482)),
        (3, "month", int(1_560)),
        (3, "year", int(130)),
        (3, "hour", int(1_139_568)),
        (102, "bucket[100]", int(2_017_239_379 % 100)),
        (101, "bucket[100]", int(1_210_000_089 % 100)),
        (101, "truncate[3]", text("ice")),
        (102, "truncate[10]", long(30)),
        (101, "void", None),
    ];
    for (source, transform, expected) in cases {
        let mut fixture = Fixture::new(a_table(columns.clone(), true));
        fixture.commit(&[EPOCH_MS], &[]).await;
        let field =
            json!({ "source-id": source, "field-id": 1001, "name": "p", "transform": transform });
        fixture
            .changed_elsewhere(|metadata| {
                let specs = metadata["partition-specs"].as_array_mut().expect("specs");
                specs.push(json!({ "spec-id": 1, "fields": [field] }));
                metadata["default-spec-id"] = json!(1);
                metadata["last-partition-id"] = json!(1001);
            })
            .await;
        let payload: [(&str, ArrayRef); 2] = [
            ("s", Arc::new(StringArray::from(vec!["iceberg", "iceberg"]))),
            ("n", Arc::new(Int64Array::from(vec![34, 34]))),
        ];
        fixture.commit(&[EPOCH_MS, EPOCH_MS], &payload).await;
        assert_eq!(
            fixture.offsets().await,
            [0, 1, 2],
            "{transform} of {source}"
        );
        let values = fixture.partition_values().await;
        assert!(
            values.contains(&Struct::from_iter([expected])),
            "{transform}: {values:?}"
        );
        assert_eq!(values.len(), 2, "{transform} of {source}");
    }
}

#[tokio::test]
async fn rows_of_several_partitions_and_fields_are_told_apart() {
    let columns = vec![column(101, "s", ColumnType::String)];
    let mut fixture = Fixture::new(a_table(columns, true));
    fixture.commit(&[EPOCH_MS], &[]).await;
    fixture
        .changed_elsewhere(|metadata| {
            let specs = metadata["partition-specs"].as_array_mut().expect("specs");
            specs.push(json!({ "spec-id": 1, "fields": [
                { "source-id": 3, "field-id": 1000, "name": "event_date", "transform": "day" },
                { "source-id": 101, "field-id": 1001, "name": "s", "transform": "identity" },
            ]}));
            metadata["default-spec-id"] = json!(1);
            metadata["last-partition-id"] = json!(1001);
        })
        .await;
    let odd = "/../é".repeat(100);
    let texts = vec![Some("a"), None, Some("b"), Some("a"), Some(odd.as_str())];
    let payload: [(&str, ArrayRef); 1] = [("s", Arc::new(StringArray::from(texts)))];
    let times = [EPOCH_MS, EPOCH_MS, EPOCH_MS + DAY_MS, EPOCH_MS, EPOCH_MS];
    fixture.commit(&times, &payload).await;
    assert_eq!(fixture.offsets().await, (0..6).collect::<Vec<_>>());
    assert_eq!(fixture.partition_values().await.len(), 1 + 4);
    // And no partition at all.
    fixture
        .changed_elsewhere(|metadata| {
            let specs = metadata["partition-specs"].as_array_mut().expect("specs");
            specs.push(json!({ "spec-id": 2, "fields": [] }));
            metadata["default-spec-id"] = json!(2);
        })
        .await;
    fixture.commit(&times, &[]).await;
    assert_eq!(fixture.offsets().await, (0..11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_spec_that_cannot_be_written_is_wrong_for_good() {
    let mut fixture = Fixture::new(untyped());
    fixture.commit(&[EPOCH_MS], &[]).await;
    fixture
        .changed_elsewhere(|metadata| {
            let specs = metadata["partition-specs"].as_array_mut().expect("specs");
            let field =
                json!({ "source-id": 3, "field-id": 1001, "name": "p", "transform": "unknown" });
            specs.push(json!({ "spec-id": 1, "fields": [field] }));
            metadata["default-spec-id"] = json!(1);
            metadata["last-partition-id"] = json!(1001);
        })
        .await;
    let loaded = fixture.load().await;
    let rows = fixture.rows(&loaded, &[EPOCH_MS], &[]);
    let uuid = fixture.runtime.random().uuid();
    let error = write(&loaded, "memory://", uuid, vec![rows]).expect_err("nobody knows it");
    assert_eq!(error.kind(), tarn_model::Kind::Invalid, "{error}");
}

#[tokio::test]
async fn what_another_engine_did_to_the_columns_stays() {
    let columns = vec![
        column(101, "n", ColumnType::Int),
        column(102, "s", ColumnType::String),
    ];
    let mut fixture = Fixture::new(a_table(columns, true));
    fixture.commit(&[EPOCH_MS], &[]).await;
    fixture
        .changed_elsewhere(|metadata| {
            let mut schema = metadata["schemas"][0].clone();
            let fields = schema["fields"].as_array_mut().expect("fields");
            // Wider, with a comment, in another order, and a column of their own.
            fields[0]["type"] = json!("long");
            fields[1]["doc"] = json!("said elsewhere");
            fields.swap(0, 1);
            fields
                .push(json!({ "id": 200, "name": "theirs", "required": false, "type": "string" }));
            fields.push(json!({ "id": 201, "name": "taken", "required": false, "type": "string" }));
            schema["schema-id"] = json!(1);
            metadata["schemas"]
                .as_array_mut()
                .expect("schemas")
                .push(schema);
            metadata["current-schema-id"] = json!(1);
            metadata["last-column-id"] = json!(201);
        })
        .await;
    // The commit told the ids that they gave, so that `apply` goes on behind them: the topic's schema
    // grows, and takes a name.
    fixture
        .table
        .columns
        .push(column(202, "taken", ColumnType::Boolean));
    fixture.table.schema_id = 3;
    let payload: [(&str, ArrayRef); 1] = [("n", Arc::new(Int32Array::from(vec![7])))];
    let loaded = fixture.load().await;
    let rows = {
        // As the decoder makes them: without the other engine's columns, n as it is registered.
        let all = fixture.rows(&loaded, &[EPOCH_MS], &[]);
        let kept: Vec<usize> = (0..all.num_columns())
            .filter(|at| {
                !matches!(
                    all.schema_ref().field(*at).name().as_str(),
                    "n" | "theirs" | "taken_201"
                )
            })
            .collect();
        let all = all.project(&kept).expect("columns");
        let mut fields: Vec<_> = all.schema_ref().fields().iter().cloned().collect();
        fields.push(Arc::new(::arrow::datatypes::Field::new(
            "n",
            DataType::Int32,
            true,
        )));
        let mut columns = all.columns().to_vec();
        columns.push(Arc::clone(&payload[0].1));
        RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).expect("rows")
    };
    let uuid = fixture.runtime.random().uuid();
    let files = write(&loaded, "memory://", uuid, vec![rows]).expect("rows become a file");
    let n = &files[0].file.upper_bounds()[&101];
    assert_eq!(n, &iceberg::spec::Datum::long(7));

    let schema = loaded.metadata().current_schema();
    let names: Vec<&str> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names[..2], ["s", "n"]);
    assert_eq!(
        schema
            .field_by_id(102)
            .and_then(|field| field.doc.as_deref()),
        Some("said elsewhere")
    );
    assert_eq!(
        schema
            .field_by_id(101)
            .map(|field| field.field_type.to_string())
            .as_deref(),
        Some("long")
    );
    assert_eq!(schema.name_by_field_id(200), Some("theirs"));
    assert_eq!(schema.name_by_field_id(201), Some("taken_201"));
    assert_eq!(schema.name_by_field_id(202), Some("taken"));
    assert_eq!(schema.schema_id(), 3, "1 is theirs");
    assert_eq!(loaded.metadata().last_column_id(), 202);
}
