//! No row is lost by what a file says of itself: every type, with every value that is odd for its
//! bounds, over several row groups, found again by every comparison that can skip files.
//!
//! What is right comes from comparing the values themselves, as Rust orders them; what is said comes
//! from the finished file, so that neither knows the other.

use std::cmp::Ordering;

use ::arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    StringArray, StructArray, Time64MicrosecondArray,
};
use ::arrow::buffer::NullBuffer;
use ::arrow::datatypes::Fields;
use bytes::Bytes;
use iceberg::spec::{DataFile, Datum, PrimitiveType, Schema as TableSchema, Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::LogicalType;
use parquet::file::metadata::ParquetMetaData;

use super::*;
use crate::ParquetFile;
use crate::parquet_file::Limits;

/// One value of a column.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Bool(bool),
    Number(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// A column type, and values that are odd for it.
fn kinds() -> Vec<(ColumnType, Vec<Value>)> {
    let numbers = |min: i128, max: i128| -> Vec<Value> {
        [min, min + 1, -1, 0, 1, max - 1, max]
            .map(Value::Number)
            .to_vec()
    };
    let longs = || numbers(i64::MIN.into(), i64::MAX.into());
    let ints = || numbers(i32::MIN.into(), i32::MAX.into());
    let decimals = |digits: u32| numbers(1 - 10_i128.pow(digits), 10_i128.pow(digits) - 1);
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    let floats = || -> Vec<Value> {
        [
            f64::NAN,
            f64::NEG_INFINITY,
            f64::INFINITY,
            -0.0,
            0.0,
            -1.5,
            1.5,
        ]
        .map(Value::Float)
        .to_vec()
    };
    let fixed = |length: usize| -> Vec<Value> {
        [0_u8, 1, 127, 128, 254, 255]
            .map(|byte| Value::Bytes(vec![byte; length]))
            .to_vec()
    };
    vec![
        (
            ColumnType::Boolean,
            vec![Value::Bool(false), Value::Bool(true)],
        ),
        (ColumnType::Int, ints()),
        (ColumnType::Long, longs()),
        (ColumnType::Float, floats()),
        (ColumnType::Double, floats()),
        (decimal(1, 0), decimals(1)),
        (decimal(9, 2), decimals(9)),
        (decimal(18, 3), decimals(18)),
        (decimal(38, 10), decimals(38)),
        (ColumnType::Date, ints()),
        (ColumnType::Time, numbers(0, 86_399_999_999)),
        (ColumnType::Timestamp, longs()),
        (ColumnType::TimestampTz, longs()),
        (ColumnType::Uuid, fixed(16)),
        (ColumnType::Fixed(5), fixed(5)),
        (ColumnType::Fixed(200), fixed(200)),
        (ColumnType::String, texts()),
        (ColumnType::Binary, byte_strings()),
    ]
}

/// Around Iceberg's cut (16 code points) and Parquet's (64 bytes).
fn texts() -> Vec<Value> {
    let mut texts = vec![
        text(""),
        text("\0"),
        text("a"),
        text("~"),
        text("\u{10ffff}".repeat(40)),
    ];
    for last in [
        "a",
        "\u{7f}",
        "é",
        "\u{7ff}",
        "\u{d7ff}",
        "\u{ffff}",
        "🦊",
        "\u{10ffff}",
    ] {
        for before in [14, 15, 16, 61, 62, 63, 64] {
            texts.push(text(format!("{}{last}", "m".repeat(before))));
            texts.push(text(format!("{}{last}tail", "m".repeat(before))));
        }
        texts.push(text(last.repeat(17)));
        texts.push(text(last.repeat(70)));
    }
    texts
}

fn byte_strings() -> Vec<Value> {
    let mut strings = Vec::new();
    for byte in [0_u8, b'm', 127, 128, 254, 255] {
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 300] {
            strings.push(Value::Bytes(vec![byte; length]));
            // The first byte of a character of three, cut off.
            let mut odd = vec![byte; length];
            odd.push(0xe2);
            odd.extend([0xff; 3]);
            strings.push(Value::Bytes(odd));
        }
    }
    strings
}

fn array(kind: &DataType, values: &[Option<Value>]) -> ArrayRef {
    let numbers = || {
        values.iter().map(|value| match value {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        })
    };
    let longs = || numbers().map(|number| number.map(|number| number as i64));
    let ints = || numbers().map(|number| number.map(|number| number as i32));
    let floats = || {
        values.iter().map(|value| match value {
            Some(Value::Float(float)) => Some(*float),
            _ => None,
        })
    };
    let bytes = || {
        values.iter().map(|value| match value {
            Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
            _ => None,
        })
    };
    match kind {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(
            |value| match value {
                Some(Value::Bool(bool)) => Some(*bool),
                _ => None,
            },
        ))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(ints())),
        DataType::Int64 => Arc::new(Int64Array::from_iter(longs())),
        DataType::Float32 => Arc::new(Float32Array::from_iter(
            floats().map(|float| float.map(|float| float as f32)),
        )),
        DataType::Float64 => Arc::new(Float64Array::from_iter(floats())),
        DataType::Decimal128(precision, scale) => Arc::new(
            Decimal128Array::from_iter(numbers())
                .with_precision_and_scale(*precision, *scale)
                .expect("a decimal"),
        ),
        DataType::Date32 => Arc::new(Date32Array::from_iter(ints())),
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from_iter(longs())),
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampMicrosecondArray::from_iter(longs()).with_timezone_opt(zone.clone()))
        }
        DataType::Utf8 => Arc::new(StringArray::from_iter(values.iter().map(
            |value| match value {
                Some(Value::Text(text)) => Some(text.as_str()),
                _ => None,
            },
        ))),
        DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(bytes())),
        DataType::FixedSizeBinary(length) => Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes(), *length)
                .expect("equal lengths"),
        ),
        other => panic!("no sample has {other}"),
    }
}

/// As SQL orders them: NaN is the greatest float, and −0.0 is 0.0.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => one.cmp(other),
        (Value::Float(one), Value::Float(other)) => one
            .partial_cmp(other)
            .unwrap_or_else(|| one.is_nan().cmp(&other.is_nan())),
        (Value::Text(one), Value::Text(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        (one, other) => panic!("{one:?} and {other:?} are of two types"),
    }
}

/// A bound as it is read from a manifest.
fn value_of(bound: &Datum, kind: &PrimitiveType) -> Value {
    let bytes = bound.to_bytes().expect("a bound is bytes");
    let float = |bytes: &[u8]| match bytes.len() {
        4 => f64::from(f32::from_le_bytes(bytes.try_into().expect("four"))),
        _ => f64::from_le_bytes(bytes.try_into().expect("eight")),
    };
    match kind {
        PrimitiveType::Boolean => Value::Bool(bytes[0] != 0),
        PrimitiveType::Int | PrimitiveType::Date => {
            Value::Number(i32::from_le_bytes(bytes.as_slice().try_into().expect("four")).into())
        }
        PrimitiveType::Float | PrimitiveType::Double => Value::Float(float(&bytes)),
        PrimitiveType::Decimal { .. } => {
            let sign = if bytes[0] < 128 { 0 } else { 255 };
            let mut wide = [sign; 16];
            wide[16 - bytes.len()..].copy_from_slice(&bytes);
            Value::Number(i128::from_be_bytes(wide))
        }
        PrimitiveType::String => text(String::from_utf8(bytes.to_vec()).expect("valid UTF-8")),
        PrimitiveType::Uuid | PrimitiveType::Fixed(_) | PrimitiveType::Binary => {
            Value::Bytes(bytes.to_vec())
        }
        _ => Value::Number(i64::from_le_bytes(bytes.as_slice().try_into().expect("eight")).into()),
    }
}

/// A table with one column `c`, and the same in a struct, in a list and as a map's value.
fn table_of(kind: &ColumnType) -> Table {
    let inner = vec![column(105, "c", kind.clone())];
    let element = column(106, "element", kind.clone());
    let key = column(107, "key", ColumnType::String).required();
    let value = column(108, "value", kind.clone());
    let columns = vec![
        column(101, "c", kind.clone()),
        column(102, "s", ColumnType::Struct(inner)),
        column(103, "l", ColumnType::List(Box::new(element))),
        column(104, "m", ColumnType::Map(Box::new(key), Box::new(value))),
    ];
    let mut table = a_table(columns, true);
    table.last_field_id = 108;
    table
}

/// One file with a row group for each of `groups`, which are equally long.
async fn file_of(kind: &ColumnType, groups: &[Vec<Option<Value>>]) -> (ParquetFile, Loaded) {
    let fixture = Fixture::new(table_of(kind));
    let loaded = fixture.load().await;
    let schema = schema_to_arrow_schema(loaded.metadata().current_schema()).expect("a schema");
    let type_of = |name: &str| {
        schema
            .field_with_name(name)
            .expect("there")
            .data_type()
            .clone()
    };
    let values: Vec<Option<Value>> = groups.concat();
    let column = array(&type_of("c"), &values);
    let DataType::Struct(inner) = type_of("s") else {
        panic!("s is a struct")
    };
    // A struct that is null hides a value that is not: its extremes are not the column's.
    let extremes: Vec<bool> = (0..values.len()).map(|row| row % 3 != 0).collect();
    let inner: Fields = inner;
    let structs = StructArray::new(
        inner,
        vec![Arc::clone(&column)],
        Some(NullBuffer::from(extremes)),
    );
    let payload: Vec<(&str, ArrayRef)> = vec![("c", column), ("s", Arc::new(structs))];
    let rows = fixture.rows(&loaded, &vec![EPOCH_MS; values.len()], &payload);
    let limits = Limits {
        row_group_rows: groups[0].len(),
        ..Limits::default()
    };
    let uuid = fixture.runtime.random().uuid();
    let mut files =
        write_within(limits, &loaded, "memory://", uuid, vec![rows]).expect("rows become a file");
    assert_eq!(files.len(), 1);
    (files.pop().expect("one"), loaded)
}

fn footer(bytes: &Bytes) -> Arc<ParquetMetaData> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("a Parquet file");
    Arc::clone(reader.metadata())
}

/// Checks what the file says of field `id` against the values that are really there.
fn check(file: &DataFile, id: i32, schema: &TableSchema, values: &[Option<Value>]) {
    let field = schema.field_by_id(id).expect("the column");
    let Type::Primitive(kind) = field.field_type.as_ref() else {
        panic!("a leaf")
    };
    let what = format!("{kind} over {values:?}");
    let nulls = values.iter().filter(|value| value.is_none()).count() as u64;
    let is_nan = |value: &&Value| matches!(value, Value::Float(float) if float.is_nan());
    let present: Vec<&Value> = values.iter().flatten().collect();
    let nans = present.iter().filter(|value| is_nan(value)).count() as u64;
    assert_eq!(file.value_counts()[&id], values.len() as u64, "{what}");
    assert_eq!(file.null_value_counts()[&id], nulls, "{what}");
    if matches!(kind, PrimitiveType::Float | PrimitiveType::Double) {
        let told = file.nan_value_counts().get(&id).copied();
        let expected = (nans < values.len() as u64).then_some(nans);
        assert_eq!(told, expected, "{what}");
    }
    let numbers: Vec<&Value> = present
        .iter()
        .copied()
        .filter(|value| !is_nan(value))
        .collect();
    let lower = file
        .lower_bounds()
        .get(&id)
        .map(|bound| value_of(bound, kind));
    let upper = file
        .upper_bounds()
        .get(&id)
        .map(|bound| value_of(bound, kind));
    // Engines do not order uuids alike.
    if *kind == PrimitiveType::Uuid {
        assert_eq!((lower, upper), (None, None), "{what}");
        return;
    }
    assert_eq!(
        lower.is_some(),
        !numbers.is_empty(),
        "a lower bound for {what}"
    );
    if let Some(lower) = &lower {
        for value in &numbers {
            assert!(
                order(lower, value).is_le(),
                "{lower:?} is above {value:?}: {what}"
            );
        }
        if let Value::Float(lower) = lower {
            assert!(
                !lower.is_nan() && (*lower != 0.0 || lower.is_sign_negative()),
                "{what}"
            );
        }
    }
    if let Some(upper) = &upper {
        for value in &present {
            assert!(
                order(upper, value).is_ge(),
                "{upper:?} is below {value:?}: {what}"
            );
        }
        if let Value::Float(upper) = upper {
            assert!(
                !upper.is_nan() && (*upper != 0.0 || upper.is_sign_positive()),
                "{what}"
            );
        }
    }
    // Bounds are as tight as the cut allows.
    let greatest = present
        .iter()
        .copied()
        .max_by(|one, other| order(one, other));
    match greatest {
        None => assert_eq!(upper, None, "{what}"),
        Some(Value::Text(greatest)) => {
            let cut: String = greatest.chars().take(16).collect();
            let is_last = cut.chars().all(|char| char == '\u{10ffff}') && cut != *greatest;
            assert_eq!(upper.is_none(), is_last, "{what}");
            if let Some(Value::Text(upper)) = upper {
                assert!(upper.chars().count() <= 16, "{what}");
                assert!(upper >= cut, "{what}");
            }
        }
        Some(Value::Bytes(greatest)) => {
            let is_last = greatest.len() > 16 && greatest[..16] == [255; 16];
            assert_eq!(upper.is_none(), is_last, "{what}");
        }
        Some(Value::Float(float)) if float.is_nan() => assert_eq!(upper, None, "{what}"),
        Some(greatest) => {
            let upper = upper.expect("an upper bound");
            assert_eq!(order(&upper, greatest), Ordering::Equal, "{what}");
        }
    }
}

/// Row groups that each hold one odd value among plain ones: every pair of values in either order,
/// with a row group of nothing but nulls between.
#[tokio::test]
async fn no_row_lies_outside_of_its_files_bounds() {
    for (kind, values) in kinds() {
        let step = if values.len() > 20 { 29 } else { 1 };
        for (n, one) in values.iter().enumerate() {
            for other in values.iter().skip(n % step).step_by(step) {
                let (one, other) = (Some(one.clone()), Some(other.clone()));
                let groups = [
                    vec![one.clone(), None, one],
                    vec![None, None, None],
                    vec![other.clone(), other, None],
                ];
                let (file, loaded) = file_of(&kind, &groups).await;
                let schema = loaded.metadata().current_schema();
                let values = groups.concat();
                check(&file.file, 101, schema, &values);
                let inner = values.iter().enumerate();
                let inner: Vec<Option<Value>> = inner
                    .map(|(row, value)| value.clone().filter(|_| row % 3 != 0))
                    .collect();
                check(&file.file, 105, schema, &inner);
            }
        }
        let nothing = [vec![None, None], vec![None, None]];
        let (file, loaded) = file_of(&kind, &nothing).await;
        check(
            &file.file,
            101,
            loaded.metadata().current_schema(),
            &nothing.concat(),
        );
    }
}

#[tokio::test]
async fn a_file_tells_what_readers_need_to_skip_rightly() {
    for (kind, values) in kinds() {
        let group = |at: usize| vec![Some(values[at % values.len()].clone()), None];
        let (file, loaded) = file_of(&kind, &[group(0), group(1), group(2)]).await;
        let footer = footer(&file.bytes);
        let starts: Vec<i64> = footer
            .row_groups()
            .iter()
            .filter_map(|group| group.file_offset())
            .collect();
        assert_eq!(file.file.split_offsets(), Some(starts.as_slice()));
        assert_eq!(starts.len(), 3);
        let is_unordered = matches!(
            kind,
            ColumnType::Float | ColumnType::Double | ColumnType::Uuid
        );
        let mut leaves = 0;
        for group in footer.row_groups() {
            for chunk in group.columns() {
                let descriptor = chunk.column_descr();
                let id = descriptor.self_type().get_basic_info().id();
                let field = loaded
                    .metadata()
                    .current_schema()
                    .field_by_id(id)
                    .expect("ids are the table's");
                let bytes = file.file.column_sizes()[&id];
                assert!(bytes >= chunk.compressed_size() as u64);
                if matches!(id, 101 | 105 | 106 | 108) {
                    leaves += 1;
                    assert_eq!(chunk.statistics().is_none(), is_unordered, "{kind:?}");
                    let has_dictionary = chunk.dictionary_page_offset().is_some();
                    assert!(!(has_dictionary && is_unordered), "{kind:?}");
                    let is_uuid = descriptor.logical_type_ref() == Some(&LogicalType::Uuid);
                    assert_eq!(is_uuid, kind == ColumnType::Uuid, "{}", field.name);
                }
                // Nothing can filter by what is in a list or a map.
                if descriptor.max_rep_level() > 0 {
                    assert_eq!(file.file.lower_bounds().get(&id), None);
                    assert_eq!(file.file.value_counts()[&id], 6);
                }
            }
        }
        assert_eq!(leaves, 3 * 4);
    }
}

/// The rows that found this: as many as fill a row group, and one that is longer than Parquet's
/// statistics, on either side.
#[tokio::test]
async fn a_long_value_in_another_row_group_is_found() {
    const FULL: usize = 256 << 10;
    for (many, one) in [
        ("a".to_owned(), "z".repeat(65)),
        ("z".repeat(65), "a".to_owned()),
    ] {
        let columns = vec![
            column(101, "s", ColumnType::String),
            column(102, "b", ColumnType::Binary),
        ];
        let mut fixture = Fixture::new(a_table(columns, true));
        let values = || std::iter::repeat_n(many.as_str(), FULL).chain([one.as_str()]);
        let strings: ArrayRef = Arc::new(StringArray::from_iter_values(values()));
        let bytes = || -> ArrayRef { Arc::new(LargeBinaryArray::from_iter_values(values())) };
        let payload = [("s", strings), ("b", bytes()), ("_key", bytes())];
        fixture.commit(&vec![EPOCH_MS; FULL + 1], &payload).await;
        let loaded = fixture.load().await;
        for (value, rows) in [(&many, FULL), (&one, 1)] {
            for (name, datum) in [
                ("s", Datum::string(value)),
                ("b", Datum::binary(value.bytes())),
                ("_key", Datum::binary(value.bytes())),
            ] {
                let filter = iceberg::expr::Reference::new(name).equal_to(datum);
                let scan = loaded
                    .table()
                    .scan()
                    .select(["_offset"])
                    .with_filter(filter);
                let batches: Vec<RecordBatch> = scan
                    .build()
                    .expect("a scan")
                    .to_arrow()
                    .await
                    .expect("a stream")
                    .try_collect()
                    .await
                    .expect("batches");
                let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
                assert_eq!(found, rows, "{name} = {value}");
            }
        }
    }
}

/// A row group ends where its bytes do, too.
#[tokio::test]
async fn row_groups_end_by_bytes() {
    let fixture = Fixture::new(a_table(vec![column(101, "b", ColumnType::Binary)], true));
    let loaded = fixture.load().await;
    let random = fixture.runtime.random();
    let noise: Vec<Vec<u8>> = (0..40)
        .map(|_| (0..8192).flat_map(|_| random.u64().to_le_bytes()).collect())
        .collect();
    let batches = noise
        .iter()
        .map(|noise| {
            let one: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values([noise]));
            fixture.rows(&loaded, &[EPOCH_MS], &[("b", one)])
        })
        .collect();
    let limits = Limits {
        row_group_bytes: 512 << 10,
        file_bytes: 1536 << 10,
        ..Limits::default()
    };
    let files = write_within(limits, &loaded, "memory://", random.uuid(), batches).expect("files");
    assert_eq!(files.len(), 2, "40 × 64 KiB");
    for file in files {
        for group in footer(&file.bytes).row_groups() {
            assert!(
                group.compressed_size() < 700 << 10,
                "{}",
                group.compressed_size()
            );
        }
    }
}
