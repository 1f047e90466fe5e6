//! A time of day in a table: a long, whatever it is to us. Spark reads no table with Iceberg's type.

use ::arrow::datatypes::{Field as ArrowField, FieldRef, TimeUnit};
use iceberg::spec::{PrimitiveType, Type};

use super::*;

#[tokio::test]
async fn a_time_of_day_is_a_long_at_every_depth() {
    let time = |id, name: &str| column(id, name, ColumnType::Time);
    let mut documented = time(100, "at");
    documented.doc = Some("When it rang".to_owned());
    let inner = ColumnType::Struct(vec![time(102, "at")]);
    let key = column(106, "key", ColumnType::String).required();
    let map = ColumnType::Map(Box::new(key), Box::new(time(107, "value")));
    let columns = vec![
        documented,
        column(101, "s", inner),
        column(103, "l", ColumnType::List(Box::new(time(104, "element")))),
        column(105, "m", map),
    ];
    let mut fixture = Fixture::new(a_table(columns, false));
    let loaded = fixture.load().await;
    let schema = loaded.metadata().current_schema();
    for (id, doc) in [
        (
            100,
            "When it rang (time of day: microseconds since midnight)",
        ),
        (102, "time of day: microseconds since midnight"),
        // Of these Iceberg keeps no doc.
        (104, ""),
        (107, ""),
    ] {
        let field = schema.field_by_id(id).expect("the field");
        assert_eq!(*field.field_type, Type::Primitive(PrimitiveType::Long));
        assert_eq!(field.doc.as_deref().unwrap_or_default(), doc);
    }
    let longs = schema_to_arrow_schema(schema).expect("an Arrow schema");
    let longs = longs.fields().iter().filter(|f| !f.name().starts_with('_'));
    let payload: Vec<(String, ArrayRef)> = longs
        .map(|field| {
            (
                field.name().clone(),
                samples::of(&with_times(field.data_type())),
            )
        })
        .collect();
    let payload: Vec<(&str, ArrayRef)> = payload
        .iter()
        .map(|(name, array)| (name.as_str(), Arc::clone(array)))
        .collect();
    fixture.commit(&[EPOCH_MS, EPOCH_MS], &payload).await;
    assert_eq!(
        fixture.load().await.metadata().schemas_iter().count(),
        1,
        "what was written is what is wanted"
    );
    let batches = fixture.read().await;
    let read = |name: &str| Arc::clone(batches[0].column_by_name(name).expect("the column"));
    let micros = |array: &ArrayRef| -> Vec<Option<i64>> {
        array.as_primitive::<Int64Type>().iter().collect()
    };
    let written = vec![Some(86_399_999_999), None];
    assert_eq!(micros(&read("at")), written);
    assert_eq!(micros(read("s").as_struct().column(0)), written);
    assert_eq!(micros(read("l").as_list::<i32>().values()), written);
    assert_eq!(micros(read("m").as_map().values()), written);
}

/// As the decoder makes it: a time for each long, and no docs in nested fields.
fn with_times(kind: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let kind = with_times(field.data_type());
        Arc::new(ArrowField::new(field.name(), kind, field.is_nullable()))
    };
    match kind {
        DataType::Int64 => DataType::Time64(TimeUnit::Microsecond),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(element) => DataType::List(field(element)),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}
