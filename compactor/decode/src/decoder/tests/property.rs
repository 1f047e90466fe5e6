//! Random schemas and values: the reference encoder writes them, the decoder reads them back, with
//! broken records between them and fields left out by an older version.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Kind {
    /// Index into [`LEAVES`].
    Leaf(usize),
    Array(Box<Kind>),
    Map(Box<Kind>),
    Record(Vec<Kind>),
    Nullable(Box<Kind>, bool),
    OneOf(Vec<Kind>),
}

const LEAVES: [&str; 15] = [
    r#""boolean""#,
    r#""int""#,
    r#""long""#,
    r#""float""#,
    r#""double""#,
    r#""bytes""#,
    r#""string""#,
    r#"{"type":"int","logicalType":"date"}"#,
    r#"{"type":"int","logicalType":"time-millis"}"#,
    r#"{"type":"long","logicalType":"timestamp-millis"}"#,
    r#"{"type":"long","logicalType":"local-timestamp-micros"}"#,
    r#"{"type":"string","logicalType":"uuid"}"#,
    r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":3}"#,
    r#"{"type":"fixed","name":"NAME","size":5}"#,
    r#"{"type":"enum","name":"NAME","symbols":["A","B","C"]}"#,
];

fn kinds() -> impl Strategy<Value = Kind> {
    let leaf = (0..LEAVES.len()).prop_map(Kind::Leaf);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let not_union = inner.clone().prop_map(|kind| match kind {
            Kind::Nullable(..) | Kind::OneOf(_) => Kind::Array(Box::new(kind)),
            other => other,
        });
        prop_oneof![
            inner.clone().prop_map(|kind| Kind::Array(Box::new(kind))),
            inner.clone().prop_map(|kind| Kind::Map(Box::new(kind))),
            prop::collection::vec(inner, 1..4).prop_map(Kind::Record),
            (not_union.clone(), any::<bool>())
                .prop_map(|(kind, first)| Kind::Nullable(Box::new(kind), first)),
            // Branches must differ: each in a record of its own.
            prop::collection::vec(not_union, 2..4).prop_map(|kinds| Kind::OneOf(
                kinds
                    .into_iter()
                    .map(|kind| Kind::Record(vec![kind]))
                    .collect()
            )),
        ]
    })
}

/// Schema text; `names` counts the named types.
fn schema_text(kind: &Kind, names: &mut usize) -> String {
    let mut name = || {
        *names += 1;
        format!("N{names}")
    };
    match kind {
        Kind::Leaf(index) => LEAVES[*index].replace("NAME", &name()),
        Kind::Array(items) => format!(
            r#"{{"type":"array","items":{}}}"#,
            schema_text(items, names)
        ),
        Kind::Map(values) => format!(
            r#"{{"type":"map","values":{}}}"#,
            schema_text(values, names)
        ),
        Kind::Record(kinds) => {
            let name = name();
            let fields: Vec<String> = kinds
                .iter()
                .enumerate()
                .map(|(i, kind)| {
                    format!(r#"{{"name":"f{i}","type":{}}}"#, schema_text(kind, names))
                })
                .collect();
            format!(
                r#"{{"type":"record","name":"{name}","fields":[{}]}}"#,
                fields.join(",")
            )
        }
        Kind::Nullable(kind, true) => format!(r#"["null",{}]"#, schema_text(kind, names)),
        Kind::Nullable(kind, false) => format!(r#"[{},"null"]"#, schema_text(kind, names)),
        Kind::OneOf(kinds) => {
            let branches: Vec<String> = kinds.iter().map(|kind| schema_text(kind, names)).collect();
            format!("[{}]", branches.join(","))
        }
    }
}

/// Splitmix64: values come from a number, so that proptest shrinks the schema alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn long(&mut self) -> i64 {
        let shift = self.below(64);
        self.roll().cast_signed() >> shift
    }

    fn int(&mut self) -> i32 {
        let shift = 32 + self.below(32);
        i32::try_from(self.roll().cast_signed() >> shift).expect("32 bits are left")
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.roll().to_le_bytes()[0]).collect()
    }
}

/// A value, and how its cell should look. `names` runs as in [`schema_text`].
fn value(kind: &Kind, dice: &mut Dice, names: &mut usize) -> (Value, String) {
    let mut name = || *names += 1;
    match kind {
        Kind::Leaf(index) => {
            name();
            leaf(*index, dice)
        }
        Kind::Array(items) => {
            let (mut values, mut cells) = (Vec::new(), Vec::new());
            let before = *names;
            for _ in 0..dice.below(4) {
                *names = before;
                let (value, cell) = value(items, dice, names);
                values.push(value);
                cells.push(cell);
            }
            *names = before;
            schema_text(items, names);
            (Value::Array(values), format!("[{}]", cells.join(", ")))
        }
        Kind::Map(inner) => {
            let (mut values, mut cells) = (HashMap::new(), Vec::new());
            let before = *names;
            for i in 0..dice.below(4) {
                *names = before;
                let (value, cell) = value(inner, dice, names);
                let key = format!("k{i}");
                cells.push(format!("{key:?}: {cell}"));
                values.insert(key, value);
            }
            *names = before;
            schema_text(inner, names);
            (Value::Map(values), format!("<{}>", cells.join(", ")))
        }
        Kind::Record(kinds) => {
            name();
            let (mut values, mut cells) = (Vec::new(), Vec::new());
            for (i, kind) in kinds.iter().enumerate() {
                let (value, cell) = value(kind, dice, names);
                values.push((format!("f{i}"), value));
                cells.push(format!("f{i}: {cell}"));
            }
            (Value::Record(values), format!("{{{}}}", cells.join(", ")))
        }
        Kind::Nullable(inner, null_first) => {
            let (value, cell) = value(inner, dice, names);
            let null = u32::from(!null_first);
            if dice.below(2) == 0 {
                (union(null, Value::Null), "null".to_owned())
            } else {
                (union(1 - null, value), cell)
            }
        }
        Kind::OneOf(kinds) => {
            let chosen = dice.below(kinds.len() as u64);
            let mut result = None;
            let mut cells = Vec::new();
            for (i, kind) in (0_u32..).zip(kinds) {
                let branch = format!("N{}", *names + 1);
                let (value, cell) = value(kind, dice, names);
                if u64::from(i) == chosen {
                    result = Some(union(i, value));
                    cells.push(format!("{branch}: {cell}"));
                } else {
                    cells.push(format!("{branch}: null"));
                }
            }
            (
                result.expect("one is chosen"),
                format!("{{{}}}", cells.join(", ")),
            )
        }
    }
}

/// Null beyond the years 1 to 9999.
fn calendar(micros: i64, zone: &str) -> String {
    match micros {
        -62_135_596_800_000_000..=253_402_300_799_999_999 => format!("{micros} {zone}"),
        _ => "null".to_owned(),
    }
}

fn leaf(index: usize, dice: &mut Dice) -> (Value, String) {
    match index {
        0 => {
            let value = dice.below(2) == 0;
            (Value::Boolean(value), value.to_string())
        }
        1 => {
            let value = dice.int();
            (Value::Int(value), value.to_string())
        }
        2 => {
            let value = dice.long();
            (Value::Long(value), value.to_string())
        }
        3 => {
            let value = f32::from_bits(u32::from_le_bytes(dice.bytes(4).try_into().expect("four")));
            (Value::Float(value), format!("{value:?}"))
        }
        4 => {
            let value = f64::from_bits(dice.roll());
            (Value::Double(value), format!("{value:?}"))
        }
        5 => {
            let length = dice.below(20);
            let value = dice.bytes(length);
            (Value::Bytes(value.clone()), hex(&value))
        }
        6 => {
            let length = dice.below(20);
            let value = String::from_utf8_lossy(&dice.bytes(length)).into_owned();
            let cell = format!("{value:?}");
            (Value::String(value), cell)
        }
        7 => {
            let value = dice.int();
            let shown = match value {
                -719_162..=2_932_896 => format!("day {value}"),
                _ => "null".to_owned(),
            };
            (Value::Date(value), shown)
        }
        8 => {
            let value = i32::try_from(dice.below(86_400_000)).expect("a day");
            (
                Value::TimeMillis(value),
                format!("time {}", i64::from(value) * 1_000),
            )
        }
        9 => {
            let value = dice.long() / 1_000;
            (
                Value::TimestampMillis(value),
                calendar(value * 1_000, "+00:00"),
            )
        }
        10 => {
            let value = dice.long();
            let shown = calendar(value, "local");
            (Value::LocalTimestampMicros(value), shown)
        }
        11 => {
            let bytes: [u8; 16] = dice.bytes(16).try_into().expect("sixteen");
            (Value::Uuid(uuid::Uuid::from_bytes(bytes)), hex(&bytes))
        }
        12 => {
            let value = dice.long();
            (
                Value::Decimal(value.to_be_bytes().to_vec().into()),
                format!("{value}e-3"),
            )
        }
        13 => {
            let value = dice.bytes(5);
            (Value::Fixed(5, value.clone()), hex(&value))
        }
        _ => {
            let value = dice.below(3);
            let symbol = ["A", "B", "C"][usize::try_from(value).expect("small")];
            (
                Value::Enum(u32::try_from(value).expect("small"), symbol.to_owned()),
                format!("{symbol:?}"),
            )
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_reference_writes_is_read(kinds in prop::collection::vec(kinds(), 1..5), seed: u64) {
        // The table is the new version's; the old one has the first field only.
        let (new, old) = (Kind::Record(kinds.clone()), Kind::Record(kinds[..1].to_vec()));
        let (new_text, old_text) = (schema_text(&new, &mut 0), schema_text(&old, &mut 0));
        let shape = shape(&[&old_text, &new_text]);
        let mut dice = Dice(seed);
        let (mut values, mut expected) = (Vec::new(), Vec::new());
        for offset in 0..20 {
            let (id, kind, schema) =
                if dice.below(3) == 0 { (1, &old, &old_text) } else { (2, &new, &new_text) };
            let (value, cells) = value(kind, &mut dice, &mut 0);
            let mut payload = datum(schema, value);
            match dice.below(4) {
                0 => payload.truncate(usize::try_from(dice.below(payload.len() as u64)).expect("short")),
                1 => payload.push(0),
                _ => {
                    let cells = cells.trim_start_matches('{').strip_suffix('}').expect("a record").to_owned();
                    let missing = if id == 1 { kinds.len() } else { 1 };
                    let missing: String = (1..missing).map(|i| format!(", f{i}: null")).collect();
                    expected.push(format!("{cells}{missing}, _offset: {offset}, _schema_id: {id}"));
                }
            }
            values.push(framed(id, &payload));
        }
        let decoded = decode(&shape, &records(values));
        let shown = show(&decoded, &PLAIN);
        let rows: Vec<&str> = shown.lines().take(decoded.batch.num_rows()).collect();
        prop_assert_eq!(rows, expected);
        for lost in &decoded.undecodable {
            prop_assert!(matches!(lost.reason, Reason::Truncated | Reason::TrailingBytes));
        }
    }

    #[test]
    fn no_bytes_can_harm_it(kinds in prop::collection::vec(kinds(), 1..5), seed: u64) {
        let schema = schema_text(&Kind::Record(kinds), &mut 0);
        let mut dice = Dice(seed);
        let garbage = (0..50).map(|_| {
            let length = dice.below(40);
            // Small numbers are what lists, unions and lengths take for real.
            let bytes: Vec<u8> = dice.bytes(length).into_iter().map(|byte| if byte & 3 == 0 { byte } else { byte & 7 }).collect();
            framed(1, &bytes)
        });
        decode(&shape(&[&schema]), &records(garbage));
    }
}
