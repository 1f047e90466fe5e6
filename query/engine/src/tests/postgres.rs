//! What people type at PostgreSQL gives here what it gives there. The statements and PostgreSQL's own
//! answers are in `postgres/*.txt`; its README says how they are written and asked for again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use apache_avro::types::Value;
use apache_avro::{Decimal, Schema, to_avro_datum};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;
use tarn_model::TopicId;
use tarn_schema::frame_by_id;

use super::harness::Fixture;
use crate::functions::{calendar, literals};
use crate::{Number, Parameter, QueryError};

const SCHEMA: &str = r#"{"type": "record", "name": "T", "fields": [
    {"name": "id", "type": ["null", "long"]},
    {"name": "n", "type": ["null", "int"]},
    {"name": "r", "type": ["null", "float"]},
    {"name": "d", "type": ["null", "double"]},
    {"name": "s", "type": ["null", "string"]},
    {"name": "flag", "type": ["null", "boolean"]},
    {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
    {"name": "ts", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
    {"name": "tm", "type": ["null", {"type": "long", "logicalType": "time-micros"}]},
    {"name": "u", "type": ["null", {"type": "string", "logicalType": "uuid"}]},
    {"name": "amount", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}]},
    {"name": "bin", "type": ["null", "bytes"]},
    {"name": "tags", "type": ["null", {"type": "array", "items": "string"}]},
    {"name": "nums", "type": ["null", {"type": "array", "items": "long"}]},
    {"name": "js", "type": ["null", "string"]}
]}"#;

const T: TopicId = TopicId([3; 16]);

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

struct Row {
    id: i64,
    n: i32,
    d: f64,
    r: f32,
    s: &'static str,
    flag: Option<bool>,
    moment: &'static str,
    id_text: Option<&'static str>,
    cents: i64,
    bin: &'static [u8],
    tags: &'static [&'static str],
    nums: &'static [i64],
    js: &'static str,
}

/// The rows of `setup.sql`, with the zeros and NaNs that floats have several of.
fn rows() -> [Row; 4] {
    [
        Row {
            id: 1,
            n: 10,
            r: 1.5,
            d: 1.5,
            s: "Oslo",
            flag: Some(true),
            moment: "2024-02-29 12:30:15.123456",
            id_text: Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            cents: 1234,
            bin: b"key",
            tags: &["a", "b"],
            nums: &[1, 2, 3],
            js: r#"{"a": 1, "b": {"c": [10, 20, 30]}, "t": true, "s": "x"}"#,
        },
        Row {
            id: 2,
            n: -7,
            r: f32::NAN,
            d: -f64::NAN,
            s: "Rome",
            flag: Some(false),
            moment: "1600-01-01 00:00:00",
            id_text: Some("b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            cents: -1,
            bin: b"",
            tags: &[],
            nums: &[],
            js: r#"{"a": null, "s": "quote \" here"}"#,
        },
        Row {
            id: 3,
            n: i32::MAX,
            r: -0.0,
            d: -0.0,
            s: "",
            flag: None,
            moment: "9999-12-31 23:59:59.999999",
            id_text: None,
            cents: 999_999_999_999,
            bin: &[0, 255],
            tags: &["c"],
            nums: &[-1],
            js: r#"[1, 2, {"k": "v"}]"#,
        },
        Row {
            id: i64::MAX,
            n: i32::MIN,
            r: -2.25,
            d: 1e300,
            s: "a%b_c",
            flag: Some(true),
            moment: "0001-01-01 00:00:00",
            id_text: Some("c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            cents: 0,
            bin: b"\\",
            tags: &["d e", "f"],
            nums: &[5, 5],
            js: r#""text""#,
        },
    ]
}

impl Row {
    fn value(&self) -> Value {
        let (micros, _) = calendar::read_timestamp(self.moment).expect("a timestamp");
        let day = i32::try_from(micros.div_euclid(calendar::DAY)).expect("a day");
        let time = match self.id {
            i64::MAX => 6 * calendar::HOUR,
            _ => micros.rem_euclid(calendar::DAY),
        };
        let text = |text: &&str| Value::String((*text).to_owned());
        let null = Value::Union(0, Box::new(Value::Null));
        let decimal = Decimal::from(self.cents.to_be_bytes());
        let fields = [
            ("id", some(Value::Long(self.id))),
            ("n", some(Value::Int(self.n))),
            ("r", some(Value::Float(self.r))),
            ("d", some(Value::Double(self.d))),
            ("s", some(text(&self.s))),
            (
                "flag",
                self.flag
                    .map_or(null.clone(), |flag| some(Value::Boolean(flag))),
            ),
            ("day", some(Value::Date(day))),
            ("at", some(Value::TimestampMicros(micros))),
            ("ts", some(Value::LocalTimestampMicros(micros))),
            ("tm", some(Value::TimeMicros(time))),
            (
                "u",
                self.id_text
                    .map_or(null, |id| some(Value::Uuid(id.parse().expect("a uuid")))),
            ),
            ("amount", some(Value::Decimal(decimal))),
            ("bin", some(Value::Bytes(self.bin.to_vec()))),
            (
                "tags",
                some(Value::Array(self.tags.iter().map(text).collect())),
            ),
            (
                "nums",
                some(Value::Array(
                    self.nums.iter().map(|n| Value::Long(*n)).collect(),
                )),
            ),
            ("js", some(text(&self.js))),
        ];
        Value::Record(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        )
    }
}

async fn table(fixture: &Fixture) {
    fixture.create(T, "t", 1).await;
    let id = fixture.register("t", 1, SCHEMA).await;
    let schema = Schema::parse_str(SCHEMA).expect("a schema");
    let encoded = |value: Value| {
        let bytes = to_avro_datum(&schema, value).expect("it fits the schema");
        frame_by_id(id, &bytes)
    };
    let mut records: Vec<Vec<u8>> = rows().iter().map(|row| encoded(row.value())).collect();
    // A row of nulls.
    records.push(frame_by_id(id, &[0; 16]));
    fixture.produce_bytes(T, 0, &records).await;
}

/// A statement and what is expected of it.
struct Case {
    file: PathBuf,
    statement: String,
    parameters: Vec<Parameter>,
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/postgres");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "txt"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it is text");
        for block in text.split("\n\n") {
            let is_answer = |line: &&str| line.starts_with(['>', '!']);
            let lines = || block.lines().filter(|line| !line.starts_with(['#', '~']));
            let given = lines().find_map(|line| line.strip_prefix("$ "));
            let is_statement = |line: &&str| !is_answer(line) && !line.starts_with("$ ");
            let statement: Vec<&str> = lines().filter(is_statement).collect();
            if !statement.is_empty() {
                cases.push(Case {
                    file: file.clone(),
                    statement: statement.join("\n"),
                    parameters: given.map(parameters).unwrap_or_default(),
                    expected: lines().filter(is_answer).map(str::to_owned).collect(),
                });
            }
        }
    }
    cases
}

fn parameters(json: &str) -> Vec<Parameter> {
    let values: Vec<serde_json::Value> = serde_json::from_str(json).expect("a list of values");
    let parameter = |value| match value {
        serde_json::Value::Null => Parameter::Null,
        serde_json::Value::Bool(value) => Parameter::Bool(value),
        serde_json::Value::Number(number) => {
            let number = Number::parse(&number.to_string());
            Parameter::Number(number.expect("a number of JSON is one"))
        }
        serde_json::Value::String(text) => Parameter::Text(text),
        other => panic!("{other} is no parameter"),
    };
    values.into_iter().map(parameter).collect()
}

/// A value as PostgreSQL shows it.
fn shown(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Null => "NULL".to_owned(),
        DataType::Boolean => if array.as_boolean().value(row) {
            "t"
        } else {
            "f"
        }
        .to_owned(),
        DataType::Float32 => literals::real_text(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => literals::double_text(array.as_primitive::<Float64Type>().value(row)),
        DataType::FixedSizeBinary(16) => {
            literals::uuid_text(array.as_fixed_size_binary().value(row))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            format!(
                "\\x{}",
                array_value_to_string(array, row).expect("it prints")
            )
        }
        DataType::Date32 => {
            calendar::date_text(array.as_primitive::<Date32Type>().value(row).into())
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            calendar::time_text(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(_, zone) => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let micros = cast(array, &kind).expect("it fits");
            let micros = micros.as_primitive::<TimestampMicrosecondType>().value(row);
            let utc = calendar::Zone::utc();
            calendar::timestamp_text(micros, zone.as_ref().map(|_| &utc))
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        _ => array_value_to_string(array, row).expect("it prints"),
    }
}

fn list(elements: &ArrayRef) -> String {
    let texts: Vec<String> = (0..elements.len())
        .map(|row| shown(elements, row))
        .collect();
    format!("{{{}}}", texts.join(","))
}

fn answer(result: Result<(Vec<String>, Vec<RecordBatch>), QueryError>) -> Vec<String> {
    let (names, batches) = match result {
        Ok(answered) => answered,
        Err(error) => return vec![format!("! {}: {error}", error.label())],
    };
    let mut lines = vec![format!("> {}", names.join(" | "))];
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values: Vec<String> = batch
                .columns()
                .iter()
                .map(|column| shown(column, row))
                .collect();
            lines.push(format!("> {}", values.join(" | ")));
        }
    }
    lines
}

/// Equal texts, or decimals that differ only in how many digits of a fraction are shown.
fn is_alike(one: &str, other: &str) -> bool {
    let fraction = |text: &str| {
        let number: f64 = text.parse().ok()?;
        text.bytes()
            .any(|byte| byte.is_ascii_digit())
            .then_some(number)
    };
    one == other
        || match (fraction(one), fraction(other)) {
            (Some(a), Some(b)) if one.contains('.') || other.contains('.') => {
                (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
            }
            _ => false,
        }
}

fn is_expected(case: &Case, given: &[String]) -> bool {
    let sorted = |lines: &[String]| {
        let mut lines = lines.to_vec();
        if !case.statement.to_uppercase().contains("ORDER BY") {
            lines.get_mut(1..).unwrap_or_default().sort_unstable();
        }
        lines
    };
    let (given, expected) = (sorted(given), sorted(&case.expected));
    let error = |line: &String| match line.as_str().split_whitespace().nth(1) {
        Some("22003" | "out-of-range:") => Some("out-of-range"),
        _ => line.starts_with('!').then_some("wrong"),
    };
    given.len() == expected.len()
        && given.iter().zip(&expected).all(|(given, expected)| {
            if given.starts_with('!') || expected.starts_with('!') {
                return error(given) == error(expected) && !given.contains("internal:");
            }
            let values = |line: &str| -> Vec<String> {
                let values = line.strip_prefix("> ").unwrap_or_default();
                values.split(" | ").map(str::to_owned).collect()
            };
            let (given, expected) = (values(given), values(expected));
            given.len() == expected.len()
                && given
                    .iter()
                    .zip(&expected)
                    .all(|(given, expected)| is_alike(given, expected))
        })
}

async fn differences(fixture: &Fixture, state: &str) -> String {
    let mut said = String::new();
    for case in cases() {
        let parameters = case.parameters.clone();
        let given = answer(fixture.named_rows(&case.statement, parameters).await);
        if !is_expected(&case, &given) {
            let file = case
                .file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let expected = case.expected.join("\n    ");
            let given = given.join("\n    ");
            let _ = writeln!(
                said,
                "{state}, {file}: {} {:?}\n  PostgreSQL\n    {expected}\n  Tarn\n    {given}",
                case.statement, case.parameters
            );
        }
    }
    said
}

#[tokio::test]
async fn statements_give_what_they_give_in_postgresql() {
    let fixture = Fixture::new().await;
    table(&fixture).await;
    let mut said = differences(&fixture, "hot").await;
    fixture.materialize(T).await;
    said += &differences(&fixture, "cold").await;
    assert!(said.is_empty(), "{said}");
    fixture.node.drain().await;
}
