//! The reference encoder is `apache-avro`: what it writes, the decoder reads.

use apache_avro::types::Value;
use apache_avro::{Schema as ReferenceSchema, to_avro_datum};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use expect_test::expect;
use tarn_model::{ColumnType, FieldId, Generation, SchemaFormat};
use tarn_schema::{VALUE_SCHEMA_ID_HEADER, columns, frame_by_id, header_by_guid, parse};

use super::*;

mod compiled;
mod property;

/// Ids from 100 on, in the order of a walk.
fn assign_ids(fields: &mut [Field], next: &mut i32) {
    for field in fields {
        field.id = FieldId(*next);
        *next += 1;
        match &mut field.kind {
            ColumnType::Struct(fields) => assign_ids(fields, next),
            ColumnType::List(element) => assign_ids(std::slice::from_mut(element), next),
            ColumnType::Map(key, value) => {
                assign_ids(std::slice::from_mut(key), next);
                assign_ids(std::slice::from_mut(value), next);
            }
            _ => {}
        }
    }
}

fn payload_columns(text: &str) -> Vec<Field> {
    let mut fields = columns(&parse(text, &[]).expect("a schema")).expect("columns");
    assign_ids(&mut fields, &mut 100);
    fields
}

/// Columns as the last schema says; schema ids 1, 2, 3 … registered at Lsn 10, 20, 30 ….
fn shape(texts: &[&str]) -> TableShape {
    let schemas = texts.iter().zip(1_u32..).map(|(text, id)| WriterSchema {
        schema: registered(id, parse(text, &[]).expect("a schema").guid(), text),
        needed: Vec::new(),
        registered: lsn(u64::from(id) * 10),
        unfit: None,
    });
    TableShape {
        columns: payload_columns(texts.last().expect("a schema")),
        with_value: false,
        typed_since: Some(lsn(10)),
        event_times: Vec::new(),
        schemas: schemas.collect(),
    }
}

/// As the state keeps it; what the decoder does not look at is empty.
fn registered(id: u32, guid: [u8; 16], text: &str) -> Arc<Schema> {
    Arc::new(Schema {
        id: SchemaId(id),
        guid,
        format: SchemaFormat::Avro,
        text: text.to_owned(),
        columns: Vec::new(),
        registered_at: lsn(0),
        registered_time: ClusterTime(0),
        references: Vec::new(),
    })
}

fn lsn(n: u64) -> Lsn {
    Lsn::new(Generation::FIRST, n)
}

fn datum(text: &str, value: Value) -> Vec<u8> {
    let schema = ReferenceSchema::parse_str(text).expect("a schema");
    to_avro_datum(&schema, value).expect("a value of the schema")
}

fn framed(id: u32, payload: &[u8]) -> Option<Bytes> {
    Some(frame_by_id(SchemaId(id), payload).into())
}

/// Offsets count from 0; committed long after all schemas.
fn records(values: impl IntoIterator<Item = Option<Bytes>>) -> Vec<DecodeRecord> {
    let record = |(offset, value)| DecodeRecord {
        partition: PartitionId(3),
        offset: Offset(offset),
        timestamp_ms: 1_700_000_000_000,
        key: None,
        value,
        headers: Vec::new(),
        lsn: lsn(1_000),
        committed: ClusterTime(1_700_000_000_000),
    };
    (0..).zip(values).map(record).collect()
}

/// One value as text. Written for the tests, apart from Arrow's own formatting, so that every Arrow
/// type is looked at as what it should be.
fn cell(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    let list =
        |open: &str, items: Vec<String>, close: &str| format!("{open}{}{close}", items.join(", "));
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => format!("day {}", array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            format!(
                "time {}",
                array.as_primitive::<Time64MicrosecondType>().value(row)
            )
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let zone = zone.as_deref().unwrap_or("local");
            format!(
                "{} {zone}",
                array.as_primitive::<TimestampMicrosecondType>().value(row)
            )
        }
        DataType::Decimal128(_, scale) => {
            format!(
                "{}e-{scale}",
                array.as_primitive::<Decimal128Type>().value(row)
            )
        }
        DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(row)),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row)),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let members = fields.iter().zip(columns);
            let members =
                members.map(|(field, column)| format!("{}: {}", field.name(), cell(column, row)));
            list("{", members.collect(), "}")
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            list(
                "[",
                (0..items.len()).map(|i| cell(&items, i)).collect(),
                "]",
            )
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let mut entries: Vec<String> = (0..entries.len())
                .map(|i| format!("{}: {}", cell(keys, i), cell(values, i)))
                .collect();
            entries.sort_unstable(); // The encoder's hash map has no order.
            list("<", entries, ">")
        }
        other => panic!("no column has the type {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The rows, one a line, and the records without one.
fn show(decoded: &Decoded, skip: &[&str]) -> String {
    let mut lines = Vec::new();
    let schema = decoded.batch.schema();
    for row in 0..decoded.batch.num_rows() {
        let cells = schema.fields().iter().zip(decoded.batch.columns());
        let cells = cells.filter(|(field, _)| !skip.contains(&field.name().as_str()));
        let cells: Vec<String> = cells
            .map(|(field, column)| format!("{}: {}", field.name(), cell(column, row)))
            .collect();
        lines.push(cells.join(", "));
    }
    for lost in &decoded.undecodable {
        lines.push(format!(
            "{}/{} at {}: {}",
            lost.partition, lost.offset, lost.index, lost.reason
        ));
    }
    lines.join("\n")
}

/// Metadata columns that say nothing in most tests.
const PLAIN: [&str; 7] = [
    "_topic_partition",
    "_timestamp",
    "_key",
    "_headers",
    "_event_time",
    "_lsn",
    "_committed",
];

fn decode(shape: &TableShape, records: &[DecodeRecord]) -> Decoded {
    let decoder = Decoder::new(shape);
    assert_eq!(decoder.unusable(), [], "all schemas fit the table");
    let decoded = decoder.decode(records).expect("a batch");
    for column in decoded.batch.columns() {
        column.to_data().validate_full().expect("valid Arrow data");
    }
    decoded
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn fields(values: Vec<(&str, Value)>) -> Value {
    Value::Record(
        values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn union(branch: u32, value: Value) -> Value {
    Value::Union(branch, Box::new(value))
}

const ALL_TYPES: &str = r#"{"type":"record","name":"All","namespace":"n.s","fields":[
    {"name":"boolean","type":"boolean"},
    {"name":"int","type":"int"},
    {"name":"long","type":"long"},
    {"name":"float","type":"float"},
    {"name":"double","type":"double"},
    {"name":"bytes","type":"bytes"},
    {"name":"string","type":"string"},
    {"name":"date","type":{"type":"int","logicalType":"date"}},
    {"name":"time_millis","type":{"type":"int","logicalType":"time-millis"}},
    {"name":"time_micros","type":{"type":"long","logicalType":"time-micros"}},
    {"name":"millis","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"local_millis","type":{"type":"long","logicalType":"local-timestamp-millis"}},
    {"name":"local_micros","type":{"type":"long","logicalType":"local-timestamp-micros"}},
    {"name":"nanos","type":{"type":"long","logicalType":"timestamp-nanos"}},
    {"name":"uuid","type":{"type":"string","logicalType":"uuid"}},
    {"name":"decimal","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"short","type":{"type":"fixed","name":"Short","size":4,"logicalType":"decimal","precision":9}},
    {"name":"fixed","type":{"type":"fixed","name":"Three","size":3}},
    {"name":"long_fixed","type":{"type":"fixed","name":"Long","size":65}},
    {"name":"enum","type":{"type":"enum","name":"Color","symbols":["RED","GREEN"]}},
    {"name":"nothing","type":"null"},
    {"name":"optional","type":["null","string"]},
    {"name":"optional2","type":["long","null"]},
    {"name":"list","type":{"type":"array","items":["null","int"]}},
    {"name":"map","type":{"type":"map","values":{"type":"array","items":"Color"}}},
    {"name":"nested","type":["null",{"type":"record","name":"In","fields":[
        {"name":"a","type":"int"},
        {"name":"b","type":{"type":"array","items":{"type":"record","name":"Deep","fields":[{"name":"c","type":["null","Three"]}]}}}
    ]}]},
    {"name":"one_of","type":["null","int","string","Deep",{"type":"map","values":"double"}]}
]}"#;

fn all_types(full: bool) -> Value {
    let either = |branch: u32, value: Value, null: u32| {
        if full {
            union(branch, value)
        } else {
            union(null, Value::Null)
        }
    };
    let deep = |three: Option<[u8; 3]>| {
        let three = match three {
            Some(three) => union(1, Value::Fixed(3, three.to_vec())),
            None => union(0, Value::Null),
        };
        fields(vec![("c", three)])
    };
    let items = if full {
        vec![
            union(1, Value::Int(-1)),
            union(0, Value::Null),
            union(1, Value::Int(i32::MAX)),
        ]
    } else {
        vec![]
    };
    let entries = [(
        "k".to_owned(),
        Value::Array(vec![
            Value::Enum(1, "GREEN".to_owned()),
            Value::Enum(0, "RED".to_owned()),
        ]),
    )];
    let nested = fields(vec![
        ("a", Value::Int(7)),
        ("b", Value::Array(vec![deep(Some([1, 2, 3])), deep(None)])),
    ]);
    fields(vec![
        ("boolean", Value::Boolean(full)),
        ("int", Value::Int(i32::MIN)),
        ("long", Value::Long(i64::MIN)),
        ("float", Value::Float(-1.5)),
        ("double", Value::Double(f64::NAN)),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("string", text("a\"ü\u{0}")),
        ("date", Value::Date(-1)),
        ("time_millis", Value::TimeMillis(86_399_999)),
        ("time_micros", Value::TimeMicros(1)),
        ("millis", Value::TimestampMillis(-1)),
        ("micros", Value::TimestampMicros(1_700_000_000_000_001)),
        ("local_millis", Value::LocalTimestampMillis(5)),
        ("local_micros", Value::LocalTimestampMicros(5)),
        ("nanos", Value::TimestampNanos(5)),
        (
            "uuid",
            Value::Uuid(uuid::Uuid::from_u128(
                0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
            )),
        ),
        ("decimal", Value::Decimal(vec![0xfe, 0xd4].into())),
        ("short", Value::Decimal(vec![0x00, 0x00, 0x04, 0xd2].into())),
        ("fixed", Value::Fixed(3, vec![7, 8, 9])),
        ("long_fixed", Value::Fixed(65, vec![1; 65])),
        ("enum", Value::Enum(1, "GREEN".to_owned())),
        ("nothing", Value::Null),
        ("optional", either(1, text("there"), 0)),
        ("optional2", either(0, Value::Long(9), 1)),
        ("list", Value::Array(items)),
        (
            "map",
            Value::Map(if full { entries.into() } else { [].into() }),
        ),
        ("nested", either(1, nested, 0)),
        ("one_of", either(3, deep(None), 0)),
    ])
}

#[test]
fn every_type_becomes_its_column() {
    let shape = shape(&[ALL_TYPES]);
    let payloads = [
        datum(ALL_TYPES, all_types(true)),
        datum(ALL_TYPES, all_types(false)),
    ];
    let decoded = decode(
        &shape,
        &records(payloads.iter().map(|payload| framed(1, payload))),
    );
    let shown = show(&decoded, &PLAIN).replace(", ", ",\n  ");
    expect![[r#"
        boolean: true,
          int: -2147483648,
          long: -9223372036854775808,
          float: -1.5,
          double: NaN,
          bytes: x00ff,
          string: "a\"ü\0",
          date: day -1,
          time_millis: time 86399999000,
          time_micros: time 1,
          millis: -1000 +00:00,
          micros: 1700000000000001 +00:00,
          local_millis: 5000 local,
          local_micros: 5 local,
          nanos: 5,
          uuid: x0123456789abcdef0123456789abcdef,
          decimal: -300e-2,
          short: 1234e-0,
          fixed: x070809,
          long_fixed: x0101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101,
          enum: "GREEN",
          optional: "there",
          optional2: 9,
          list: [-1,
          null,
          2147483647],
          map: <"k": ["GREEN",
          "RED"]>,
          nested: {a: 7,
          b: [{c: x010203},
          {c: null}]},
          one_of: {int: null,
          string: null,
          Deep: {c: null},
          map: null},
          _offset: 0,
          _schema_id: 1
        boolean: false,
          int: -2147483648,
          long: -9223372036854775808,
          float: -1.5,
          double: NaN,
          bytes: x00ff,
          string: "a\"ü\0",
          date: day -1,
          time_millis: time 86399999000,
          time_micros: time 1,
          millis: -1000 +00:00,
          micros: 1700000000000001 +00:00,
          local_millis: 5000 local,
          local_micros: 5 local,
          nanos: 5,
          uuid: x0123456789abcdef0123456789abcdef,
          decimal: -300e-2,
          short: 1234e-0,
          fixed: x070809,
          long_fixed: x0101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101,
          enum: "GREEN",
          optional: null,
          optional2: null,
          list: [],
          map: <>,
          nested: null,
          one_of: null,
          _offset: 1,
          _schema_id: 1"#]].assert_eq(&shown);
}

#[test]
fn a_uuid_on_fixed_is_read_as_bytes() {
    let schema = r#"{"type":"record","name":"R","fields":[
        {"name":"u","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}]}"#;
    let decoded = decode(&shape(&[schema]), &records([framed(1, &[0xab; 16])]));
    expect!["u: xabababababababababababababababab, _offset: 0, _schema_id: 1"]
        .assert_eq(&show(&decoded, &PLAIN));
}

#[test]
fn what_is_not_a_record_is_one_column() {
    let text_schema = r#"["null","string"]"#;
    let payloads = [
        datum(text_schema, union(1, text("a"))),
        datum(text_schema, union(0, Value::Null)),
    ];
    let decoded = decode(
        &shape(&[text_schema]),
        &records(payloads.iter().map(|payload| framed(1, payload))),
    );
    expect![[r#"
        value: "a", _offset: 0, _schema_id: 1
        value: null, _offset: 1, _schema_id: 1"#]]
    .assert_eq(&show(&decoded, &PLAIN));
}

const V1: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"gone","type":"string"},
    {"name":"id","type":"int"},
    {"name":"weight","type":"float"},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"sku","type":"string"}]}}},
    {"name":"by","type":["int","string"]},
    {"name":"later","type":"null"}]}"#;
const V2: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"later","type":["null","string"]},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
        {"name":"count","type":"long"},{"name":"sku","type":{"type":"enum","name":"Sku","symbols":["X","Y"]}}]}}},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
    {"name":"weight","type":"double"},
    {"name":"id","type":"long"},
    {"name":"by","type":["null","string","int","boolean"]},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

fn order_1(id: i32) -> Vec<u8> {
    let line = fields(vec![("sku", text("old"))]);
    datum(
        V1,
        fields(vec![
            ("gone", text("x")),
            ("id", Value::Int(id)),
            ("weight", Value::Float(0.5)),
            ("price", Value::Decimal(vec![0x04, 0xd2].into())),
            ("lines", Value::Array(vec![line.clone(), line])),
            ("by", union(0, Value::Int(id))),
            ("later", Value::Null),
        ]),
    )
}

fn order_2(id: i64) -> Vec<u8> {
    let line = fields(vec![
        ("count", Value::Long(2)),
        ("sku", Value::Enum(1, "Y".to_owned())),
    ]);
    datum(
        V2,
        fields(vec![
            ("later", union(1, text("now"))),
            ("lines", Value::Array(vec![line])),
            ("price", Value::Decimal(vec![0x00, 0xff, 0xff].into())),
            ("weight", Value::Double(0.25)),
            ("id", Value::Long(id)),
            ("by", union(3, Value::Boolean(true))),
            ("at", Value::TimestampMillis(1)),
        ]),
    )
}

#[test]
fn versions_may_alternate_record_by_record() {
    let values = [
        framed(1, &order_1(0)),
        framed(2, &order_2(1)),
        framed(1, &order_1(2)),
        framed(2, &order_2(3)),
    ];
    let decoded = decode(&shape(&[V1, V2]), &records(values));
    expect![[r#"
        later: null, lines: [{count: null, sku: "old"}, {count: null, sku: "old"}], price: 1234e-2, weight: 0.5, id: 0, by: {string: null, int: 0, boolean: null}, at: null, _offset: 0, _schema_id: 1
        later: "now", lines: [{count: 2, sku: "Y"}], price: 65535e-2, weight: 0.25, id: 1, by: {string: null, int: null, boolean: true}, at: 1000 +00:00, _offset: 1, _schema_id: 2
        later: null, lines: [{count: null, sku: "old"}, {count: null, sku: "old"}], price: 1234e-2, weight: 0.5, id: 2, by: {string: null, int: 2, boolean: null}, at: null, _offset: 2, _schema_id: 1
        later: "now", lines: [{count: 2, sku: "Y"}], price: 65535e-2, weight: 0.25, id: 3, by: {string: null, int: null, boolean: true}, at: 1000 +00:00, _offset: 3, _schema_id: 2"#]].assert_eq(&show(&decoded, &PLAIN));
}

#[test]
fn a_record_is_judged_by_the_schemas_below_its_own_commit() {
    let mut shape = shape(&[V2, V2]);
    shape.with_value = true;
    shape.schemas[1].schema = registered(2, [9; 16], V2);
    let order = order_2(1);
    let mut given = records([
        Some(Bytes::from_static(b"before any schema")),
        None,
        framed(1, &order),
        framed(1, &order),
        framed(2, &order),
        framed(2, &order),
        framed(2, &order),
        framed(3, &order),
        None,
        Some(Bytes::from_static(b"{}")),
        Some(Bytes::from(order.clone())),
        Some(Bytes::from(order)),
    ]);
    // The schemas come at 10 and 20; a record of that very entry does not know them yet.
    for (record, n) in given
        .iter_mut()
        .zip([5, 9, 10, 11, 12, 20, 21, 22, 23, 24, 25, 15])
    {
        record.lsn = lsn(n);
    }
    for record in given.iter_mut().skip(10) {
        let header = (
            VALUE_SCHEMA_ID_HEADER.into(),
            Some(header_by_guid([9; 16]).into()),
        );
        record.headers = vec![("before".into(), None), header];
    }
    let skip = [
        "_topic_partition",
        "_timestamp",
        "_key",
        "_headers",
        "_event_time",
        "_lsn",
        "_committed",
        "later",
        "lines",
        "price",
        "weight",
        "by",
        "at",
    ];
    expect![[r#"
        id: null, _offset: 0, _schema_id: null, _value: x6265666f726520616e7920736368656d61
        id: null, _offset: 1, _schema_id: null, _value: null
        id: null, _offset: 2, _schema_id: null, _value: x000000000102066e6f77020402000600ffff000000000000d03f02060102
        id: 1, _offset: 3, _schema_id: 1, _value: null
        id: 1, _offset: 6, _schema_id: 2, _value: null
        id: null, _offset: 8, _schema_id: null, _value: null
        id: 1, _offset: 10, _schema_id: 2, _value: null
        3/4 at 4: unknown_schema
        3/5 at 5: unknown_schema
        3/7 at 7: unknown_schema
        3/9 at 9: no_schema
        3/11 at 11: unknown_schema"#]].assert_eq(&show(&decode(&shape, &given), &skip));
}

/// After a recovery `n` counts from 1 again. What was registered before stays known, and what was
/// registered in the new generation is not known to the records of the old one.
#[test]
fn a_schema_of_an_earlier_generation_is_below_every_later_record() {
    let mut shape = shape(&[V2, V2]);
    shape.schemas[1].schema = registered(2, [9; 16], V2);
    shape.schemas[1].registered = Lsn::new(Generation(2), 4);
    let order = order_2(1);
    let mut given = records([1, 1, 2, 2].map(|id| framed(id, &order)));
    given[0].lsn = Lsn::new(Generation(2), 1);
    given[1].lsn = Lsn::new(Generation(1), 9);
    given[2].lsn = Lsn::new(Generation(1), 1_000);
    given[3].lsn = Lsn::new(Generation(2), 5);
    shape.with_value = true;
    let mut skip = PLAIN.to_vec();
    skip.extend(["later", "lines", "price", "weight", "by", "at"]);
    expect![[r#"
        id: 1, _offset: 0, _schema_id: 1, _value: null
        id: null, _offset: 1, _schema_id: null, _value: x000000000102066e6f77020402000600ffff000000000000d03f02060102
        id: 1, _offset: 3, _schema_id: 2, _value: null
        3/2 at 2: unknown_schema"#]].assert_eq(&show(&decode(&shape, &given), &skip));
}

#[test]
fn fields_of_reserved_names_are_columns_of_other_names() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"_offset","type":"long"},
        {"name":"_PARTITION","type":"string"},
        {"name":"_offset_","type":"int"},
        {"name":"in","type":{"type":"record","name":"In","fields":[{"name":"_file","type":"int"}]}}
    ]}"#;
    let inner = fields(vec![("_file", Value::Int(4))]);
    let values = fields(vec![
        ("_offset", Value::Long(-7)),
        ("_PARTITION", self::text("p")),
        ("_offset_", Value::Int(3)),
        ("in", inner),
    ]);
    let decoded = decode(&shape(&[text]), &records([framed(1, &datum(text, values))]));
    expect![[
        r#"_offset_: -7, _PARTITION_: "p", _offset__: 3, in: {_file: 4}, _offset: 0, _schema_id: 1"#
    ]]
    .assert_eq(&show(&decoded, &PLAIN));
}

#[test]
fn metadata_columns_say_where_a_row_came_from() {
    let mut shape = shape(&[V2]);
    shape.with_value = true;
    shape.typed_since = None;
    shape.columns.clear();
    let mut given = records([Some(Bytes::from_static(b"v")), None]);
    given[0].key = Some(Bytes::from_static(b"k"));
    given[0].headers = vec![
        ("h".into(), Some(Bytes::from_static(b"1"))),
        ("h".into(), None),
        (Bytes::from_static(b"\xff"), Some(Bytes::new())),
    ];
    given[1].timestamp_ms = i64::MAX;
    expect![[r#"
        _topic_partition: 3, _offset: 0, _timestamp: 1700000000000000 +00:00, _key: x6b, _headers: [{key: "h", value: x31}, {key: "h", value: null}, {key: "�", value: x}], _schema_id: null, _event_time: 1700000000000000 +00:00, _lsn: 17592186045416, _committed: 1700000000000000 +00:00, _value: x76
        _topic_partition: 3, _offset: 1, _timestamp: 253402300799999999 +00:00, _key: null, _headers: [], _schema_id: null, _event_time: 1700000000000000 +00:00, _lsn: 17592186045416, _committed: 1700000000000000 +00:00, _value: null"#]].assert_eq(&show(&decode(&shape, &given), &[]));
}

#[test]
fn every_arrow_field_carries_its_id() {
    fn check(field: &arrow::datatypes::Field, ids: &mut Vec<i32>) {
        match field.metadata().get(crate::FIELD_ID_KEY) {
            Some(id) => ids.push(id.parse().expect("a number")),
            None => assert_eq!(field.name(), "key_value", "only a map's entries have none"),
        }
        match field.data_type() {
            DataType::Struct(fields) => fields.iter().for_each(|field| check(field, ids)),
            DataType::List(inner) | DataType::Map(inner, _) => check(inner, ids),
            _ => {}
        }
    }
    let mut shape = shape(&[ALL_TYPES]);
    shape.with_value = true;
    let mut ids = Vec::new();
    Decoder::new(&shape)
        .schema()
        .fields()
        .iter()
        .for_each(|field| check(field, &mut ids));
    let count: usize = table_columns(&shape.columns, true)
        .iter()
        .map(Field::count)
        .sum();
    assert_eq!(ids.len(), count);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

/// Payload, number of the record and reason for each way to cut it short or to make it longer.
#[test]
fn a_broken_record_takes_nobody_with_it() {
    let shape = shape(&[ALL_TYPES]);
    let decoder = Decoder::new(&shape);
    let good = datum(ALL_TYPES, all_types(true));
    let expected = decode(&shape, &records([framed(1, &good), framed(1, &good)])).batch;
    let check = |broken: &[u8]| {
        let mut given = records([framed(1, &good), framed(1, broken), framed(1, &good)]);
        given[2].offset = Offset(1); // So that the rows equal those without the broken one.
        let decoded = decoder.decode(&given).expect("a batch");
        let [lost] = decoded.undecodable.as_slice() else {
            return None;
        };
        assert_eq!((lost.index, lost.offset), (1, Offset(1)));
        assert_eq!(decoded.batch.num_rows(), 2);
        assert_eq!(
            show(&decoded, &[]).lines().take(2).collect::<Vec<_>>(),
            show(
                &Decoded {
                    batch: expected.clone(),
                    undecodable: vec![],
                    taken: 2,
                    odd: Odd::default(),
                },
                &[]
            )
            .lines()
            .collect::<Vec<_>>()
        );
        for column in decoded.batch.columns() {
            column.to_data().validate_full().expect("valid Arrow data");
        }
        Some(lost.reason)
    };
    for length in 0..good.len() {
        assert_eq!(
            check(&good[..length]),
            Some(Reason::Truncated),
            "cut to {length} bytes"
        );
    }
    for extra in [&[0][..], &[0xff; 30]] {
        assert_eq!(
            check(&[good.as_slice(), extra].concat()),
            Some(Reason::TrailingBytes)
        );
    }
    // Whatever a byte is replaced by, the others stand.
    for at in 0..good.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff, good[at] ^ 0x10] {
            let mut broken = good.clone();
            broken[at] = byte;
            check(&broken);
        }
    }
}

#[test]
fn each_kind_of_garbage_has_its_reason() {
    let one = |kind: &str| {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{kind}}}]}}"#)
    };
    let reason = |kind: &str, payload: &[u8]| {
        let decoded = decode(&shape(&[&one(kind)]), &records([framed(1, payload)]));
        decoded.undecodable.first().map(|lost| lost.reason)
    };
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":3}"#;
    let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
    let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
    for (kind, payload, expected) in [
        (r#""boolean""#, &[2][..], Reason::InvalidValue),
        (
            r#""int""#,
            &[0x80, 0x80, 0x80, 0x80, 0x20],
            Reason::InvalidValue,
        ),
        (r#""long""#, &[0xff; 10], Reason::InvalidValue),
        (r#""string""#, &[2, 0xff], Reason::InvalidUtf8),
        (r#""string""#, &[1], Reason::InvalidValue),
        (r#""bytes""#, &most, Reason::Truncated),
        (
            r#"{"type":"enum","name":"E","symbols":["A"]}"#,
            &[2],
            Reason::InvalidValue,
        ),
        (r#"["null","int"]"#, &[4, 0], Reason::InvalidValue),
        (r#"["null","int"]"#, &[1], Reason::InvalidValue),
        (r#"["null","int","string"]"#, &[6, 0], Reason::InvalidValue),
        (
            r#"{"type":"array","items":"int"}"#,
            &least,
            Reason::InvalidValue,
        ),
        (
            r#"{"type":"array","items":"int"}"#,
            &most,
            Reason::Truncated,
        ),
        (
            r#"{"type":"map","values":"int"}"#,
            &[2, 2, 0xff, 0, 0],
            Reason::InvalidUtf8,
        ),
    ] {
        assert_eq!(reason(kind, payload), Some(expected), "{kind} {payload:?}");
    }
    assert_eq!(
        reason(decimal, &[4, 0x03, 0xe7]),
        None,
        "999 has three digits"
    );
    assert_eq!(
        reason(
            decimal,
            &[36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
        ),
        None,
        "with zeros before"
    );
}

#[test]
fn a_small_record_cannot_ask_for_much_memory() {
    let wide: Vec<String> = (0..200)
        .map(|i| format!(r#"{{"name":"f{i}","type":"long"}}"#))
        .collect();
    let list = format!(
        r#"{{"type":"array","items":["null",{{"type":"record","name":"Wide","fields":[{}]}}]}}"#,
        wide.join(",")
    );
    let count = 100_000_i64;
    let nulls = datum(
        r#"{"type":"array","items":["null","int"]}"#,
        Value::Array(vec![
            union(0, Value::Null);
            usize::try_from(count).expect("small")
        ]),
    );
    let decoded = decode(&shape(&[&list]), &records([framed(1, &nulls)]));
    assert_eq!(decoded.undecodable[0].reason, Reason::TooLarge);

    // A byte of payload, a long symbol.
    let symbol = "S".repeat(10_000);
    let enums = format!(
        r#"{{"type":"array","items":{{"type":"enum","name":"E","symbols":["{symbol}"]}}}}"#
    );
    let payload = datum(
        r#"{"type":"array","items":"int"}"#,
        Value::Array(vec![Value::Int(0); 1_000]),
    );
    let decoded = decode(&shape(&[&enums]), &records([framed(1, &payload)]));
    assert_eq!(decoded.undecodable[0].reason, Reason::TooLarge);
}

#[test]
fn a_schema_that_the_table_cannot_take_costs_only_its_own_records() {
    let mut shape = shape(&[V1, V2]);
    let node =
        r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;
    let other = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
    for (id, text) in [(7, node), (8, other), (9, "no schema")] {
        let guid = [u8::try_from(id).expect("small"); 16];
        shape.schemas.push(WriterSchema {
            schema: registered(id, guid, text),
            needed: vec![],
            registered: lsn(1),
            unfit: None,
        });
    }
    let decoder = Decoder::new(&shape);
    let said: Vec<String> = decoder
        .unusable()
        .iter()
        .map(|(id, error)| format!("{id}: {error}"))
        .collect();
    expect![[r#"
        7: column next: the type "Node" contains itself, which no table can hold
        8: field id does not fit its column of type bigint
        9: at $: this is not JSON: expected ident at line 1 column 2"#]]
    .assert_eq(&said.join("\n"));
    let values = [
        framed(7, &[0]),
        framed(2, &order_2(1)),
        framed(8, &[0]),
        framed(9, &[0]),
    ];
    let decoded = decoder.decode(&records(values)).expect("a batch");
    assert_eq!(decoded.batch.num_rows(), 1);
    let reasons: Vec<Reason> = decoded.undecodable.iter().map(|lost| lost.reason).collect();
    assert_eq!(reasons, [Reason::UnusableSchema; 3]);
}

#[test]
fn referenced_schemas_are_used() {
    let line = r#"{"type":"record","name":"shop.Line","fields":[{"name":"sku","type":"string"}]}"#;
    let order = r#"{"type":"record","name":"shop.Order","fields":[{"name":"line","type":"Line"}]}"#;
    let schema = parse(order, &[line]).expect("a schema");
    let shape = TableShape {
        columns: columns(&schema).expect("columns"),
        with_value: false,
        typed_since: Some(lsn(0)),
        event_times: Vec::new(),
        schemas: vec![WriterSchema {
            schema: registered(1, schema.guid(), order),
            needed: vec![registered(2, [2; 16], line)],
            registered: lsn(0),
            unfit: None,
        }],
    };
    let decoded = decode(&shape, &records([framed(1, &[2, b'a'])]));
    expect![[r#"line: {sku: "a"}, _offset: 0, _schema_id: 1"#]].assert_eq(&show(&decoded, &PLAIN));
}

#[test]
fn a_schema_of_a_format_that_is_not_served_is_never_read_as_avro() {
    for format in [SchemaFormat::Json, SchemaFormat::Protobuf] {
        let mut shape = shape(&[r#""string""#]);
        let schema = Arc::make_mut(&mut shape.schemas[0].schema);
        schema.format = format;
        let decoder = Decoder::new(&shape);
        let said = decoder.unusable()[0].1.to_string();
        assert_eq!(
            said,
            format!("schemas of type {format} are not served, only AVRO")
        );
        let decoded = decoder.decode(&records([framed(1, &[2, b'a'])]));
        let lost = decoded.expect("a batch").undecodable;
        assert_eq!(lost[0].reason, Reason::UnusableSchema);
    }
}

/// The whole batch, batch by batch: rows and what each took.
fn taken(shape: &TableShape, given: &[DecodeRecord]) -> Vec<usize> {
    let decoder = Decoder::new(shape);
    let mut taken = Vec::new();
    let mut rest = given;
    while !rest.is_empty() {
        let decoded = decoder.decode(rest).expect("a batch");
        let bytes = decoded.batch.get_array_memory_size();
        assert!(
            bytes < 4 * BATCH_BYTES_MAX || decoded.taken == 1,
            "{bytes} bytes of {} records",
            decoded.taken
        );
        taken.push(decoded.taken);
        rest = &rest[decoded.taken..];
    }
    taken
}

#[test]
fn too_much_for_a_batch_is_left_for_the_next() {
    let small = records((0..20_000).map(|_| Some(Bytes::new())));
    assert_eq!(taken(&shape(&[V2]), &small), [8_192, 8_192, 3_616]);
    let given = records((0..20_000).map(|_| Some(Bytes::from(vec![0; 3_000]))));
    let batches = taken(&shape(&[V2]), &given);
    assert_eq!(batches.iter().sum::<usize>(), given.len());
    assert_eq!(batches.len(), 4, "{batches:?}");
    let large = records([None, Some(Bytes::from(vec![0; BATCH_BYTES_MAX + 1])), None]);
    assert_eq!(taken(&shape(&[V2]), &large), [2, 1]);
}

/// A few bytes of payload may stand for much: nulls of wide columns that another version brought,
/// and long symbols.
#[test]
fn rows_that_are_wider_than_their_records_make_smaller_batches() {
    let wide: Vec<String> = (0..1_500)
        .map(|n| {
            let fixed = format!(r#"{{"type":"fixed","name":"F{n}","size":64}}"#);
            format!(r#"{{"name":"f{n}","type":["null",{fixed}],"default":null}}"#)
        })
        .collect();
    let wide = format!(
        r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":"int"}},{}]}}"#,
        wide.join(",")
    );
    let narrow = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    let given = records((0..1_000).map(|_| framed(1, &[2])));
    let batches = taken(&shape(&[narrow, &wide]), &given);
    assert!(batches.len() > 5, "{batches:?}");

    let symbol = "S".repeat(60_000);
    let symbols = format!(
        r#"{{"type":"record","name":"R","fields":[{{"name":"e","type":{{"type":"enum","name":"E","symbols":["{symbol}"]}}}}]}}"#
    );
    let given = records((0..2_000).map(|_| framed(1, &[0])));
    let batches = taken(&shape(&[&symbols]), &given);
    assert_eq!(batches.iter().sum::<usize>(), 2_000);
    assert!(batches.len() > 5, "{batches:?}");
}

const ODD: &str = r#"{"type":"record","name":"Odd","fields":[
    {"name":"millis","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"local","type":{"type":"long","logicalType":"local-timestamp-millis"}},
    {"name":"date","type":{"type":"int","logicalType":"date"}},
    {"name":"time","type":{"type":"int","logicalType":"time-millis"}},
    {"name":"time_micros","type":{"type":"long","logicalType":"time-micros"}},
    {"name":"decimal","type":{"type":"bytes","logicalType":"decimal","precision":3,"scale":1}},
    {"name":"uuid","type":{"type":"string","logicalType":"uuid"}},
    {"name":"list","type":{"type":"array","items":{"type":"int","logicalType":"date"}}},
    {"name":"map","type":{"type":"map","values":{"type":"int","logicalType":"time-millis"}}},
    {"name":"in","type":{"type":"record","name":"In","fields":[{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}}
]}"#;

/// The reference encoder knows the physical types alone: the same fields without their logical types.
fn odd(long: i64, days: i32, time: i64, decimal: &[u8], uuid: &str) -> Vec<u8> {
    let mut plain: serde_json::Value = serde_json::from_str(ODD).expect("JSON");
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(object) => {
                object.remove("logicalType");
                object.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut plain);
    let millis = i32::try_from(time / 1_000).expect("small");
    let entry = ("k".to_owned(), Value::Int(millis));
    let value = fields(vec![
        ("millis", Value::Long(long)),
        ("micros", Value::Long(long)),
        ("local", Value::Long(long)),
        ("date", Value::Int(days)),
        ("time", Value::Int(millis)),
        ("time_micros", Value::Long(time)),
        ("decimal", Value::Bytes(decimal.to_vec())),
        ("uuid", text(uuid)),
        ("list", Value::Array(vec![Value::Int(0), Value::Int(days)])),
        ("map", Value::Map([entry].into())),
        ("in", fields(vec![("at", Value::Long(long))])),
    ]);
    datum(&plain.to_string(), value)
}

#[test]
fn a_value_that_its_type_does_not_have_is_null_and_costs_nobody_the_record() {
    const UUID: &str = "00000000-0000-0000-0000-000000000001";
    let given = records([
        framed(1, &odd(0, 0, 86_399_999_000, &[3, 0xe7], UUID)),
        framed(1, &odd(i64::MAX, i32::MAX, 86_400_000_000, &[3, 0xe8], "")),
        framed(1, &odd(i64::MIN, i32::MIN, -1_000, &[], "no uuid")),
        // The ends of the years 1 to 9999, as days.
        framed(1, &odd(-62_135_596_800_000, -719_162, 0, &[0], UUID)),
        framed(1, &odd(253_402_300_799_999, 2_932_896, 0, &[0], UUID)),
        framed(1, &odd(-62_135_596_800_001, -719_163, 0, &[0], UUID)),
        framed(1, &odd(253_402_300_800_000, 2_932_897, 0, &[0], UUID)),
    ]);
    let decoded = decode(&shape(&[ODD]), &given);
    assert_eq!(decoded.odd.nulled, 2 * 11 + 2 * 4);
    expect![[r#"
        millis: 0 +00:00, micros: 0 +00:00, local: 0 local, date: day 0, time: time 86399999000, time_micros: time 86399999000, decimal: 999e-1, uuid: x00000000000000000000000000000001, list: [day 0, day 0], map: <"k": time 86399999000>, in: {at: 0 +00:00}, _offset: 0, _schema_id: 1
        millis: null, micros: null, local: null, date: null, time: null, time_micros: null, decimal: null, uuid: null, list: [day 0, null], map: <"k": null>, in: {at: null}, _offset: 1, _schema_id: 1
        millis: null, micros: null, local: null, date: null, time: null, time_micros: null, decimal: null, uuid: null, list: [day 0, null], map: <"k": null>, in: {at: null}, _offset: 2, _schema_id: 1
        millis: -62135596800000000 +00:00, micros: -62135596800000 +00:00, local: -62135596800000000 local, date: day -719162, time: time 0, time_micros: time 0, decimal: 0e-1, uuid: x00000000000000000000000000000001, list: [day 0, day -719162], map: <"k": time 0>, in: {at: -62135596800000 +00:00}, _offset: 3, _schema_id: 1
        millis: 253402300799999000 +00:00, micros: 253402300799999 +00:00, local: 253402300799999000 local, date: day 2932896, time: time 0, time_micros: time 0, decimal: 0e-1, uuid: x00000000000000000000000000000001, list: [day 0, day 2932896], map: <"k": time 0>, in: {at: 253402300799999 +00:00}, _offset: 4, _schema_id: 1
        millis: null, micros: -62135596800001 +00:00, local: null, date: null, time: time 0, time_micros: time 0, decimal: 0e-1, uuid: x00000000000000000000000000000001, list: [day 0, null], map: <"k": time 0>, in: {at: -62135596800001 +00:00}, _offset: 5, _schema_id: 1
        millis: null, micros: 253402300800000 +00:00, local: null, date: null, time: time 0, time_micros: time 0, decimal: 0e-1, uuid: x00000000000000000000000000000001, list: [day 0, null], map: <"k": time 0>, in: {at: 253402300800000 +00:00}, _offset: 6, _schema_id: 1"#]].assert_eq(&show(&decoded, &PLAIN));
}

/// `at` from Lsn 100 on, a column that is not there from 200 on, none of timestamps from 300 on, and
/// the record's timestamp again from 400 on.
#[test]
fn event_time_is_what_the_setting_of_the_records_time_names_if_that_makes_sense() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"at","type":["null",{"type":"long","logicalType":"timestamp-millis"}]},
        {"name":"id","type":"long"}
    ]}"#;
    let mut shape = shape(&[text]);
    let named = [Some("at"), Some("later"), Some("id"), None];
    shape.event_times = (1_u64..)
        .zip(named)
        .map(|(turn, name)| (lsn(turn * 100), name.map(str::to_owned)))
        .collect();
    const APPEND: i64 = 1_700_000_000_000;
    const DAY: i64 = 86_400_000;
    let at = |at: Option<i64>| {
        let at = match at {
            Some(ms) => union(1, Value::TimestampMillis(ms)),
            None => union(0, Value::Null),
        };
        framed(
            1,
            &datum(text, fields(vec![("at", at), ("id", Value::Long(1))])),
        )
    };
    let cases = [
        (50, Some(APPEND - 5)),
        (100, Some(APPEND - 5)),
        (101, Some(APPEND - 5)),
        (102, None),
        (103, Some(-1)),
        (104, Some(i64::MAX)),
        (105, Some(APPEND + DAY)),
        (106, Some(APPEND + DAY + 1)),
        (107, Some(APPEND - 400 * DAY)),
        (108, Some(APPEND - 400 * DAY - 1)),
        (201, Some(APPEND - 5)),
        (301, Some(APPEND - 5)),
        (401, Some(APPEND - 5)),
    ];
    let mut given = records(cases.map(|(_, time)| at(time)));
    for (record, (n, _)) in given.iter_mut().zip(cases) {
        record.lsn = lsn(n);
        record.timestamp_ms = APPEND + 7;
    }
    let decoded = decode(&shape, &given);
    let times = decoded.batch.column_by_name("_event_time").expect("there");
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let after: Vec<i64> = times
        .values()
        .iter()
        .map(|time| time / 1_000 - APPEND)
        .collect();
    assert_eq!(after, [7, 7, -5, 0, 0, 0, DAY, 0, -400 * DAY, 0, 0, 0, 7]);
    assert_eq!(decoded.odd.append_timed, 7);
    assert_eq!(decoded.odd.nulled, 1, "the largest number is no time");
}
