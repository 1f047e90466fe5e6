use expect_test::{Expect, expect};

use super::*;
use crate::avro::parse;

fn describe(text: &str) -> String {
    let schema = parse(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
    match columns(&schema) {
        Ok(fields) => {
            let lines: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name, field.kind))
                .collect();
            lines.join("\n")
        }
        Err(error) => format!("refused: {error}"),
    }
}

#[track_caller]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&describe(text));
}

fn record(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, kind)| format!(r#"{{"name":"{name}","type":{kind}}}"#))
        .collect();
    format!(
        r#"{{"type":"record","name":"R","namespace":"n.s","fields":[{}]}}"#,
        fields.join(",")
    )
}

#[test]
fn every_type_has_its_column() {
    check(
        &record(&[
            ("a", r#""boolean""#),
            ("b", r#""int""#),
            ("c", r#""long""#),
            ("d", r#""float""#),
            ("e", r#""double""#),
            ("f", r#""bytes""#),
            ("g", r#""string""#),
            ("h", r#"{"type":"int","logicalType":"date"}"#),
            ("i", r#"{"type":"int","logicalType":"time-millis"}"#),
            ("j", r#"{"type":"long","logicalType":"time-micros"}"#),
            ("k", r#"{"type":"long","logicalType":"timestamp-millis"}"#),
            ("l", r#"{"type":"long","logicalType":"timestamp-micros"}"#),
            (
                "m",
                r#"{"type":"long","logicalType":"local-timestamp-millis"}"#,
            ),
            (
                "n",
                r#"{"type":"long","logicalType":"local-timestamp-micros"}"#,
            ),
            ("o", r#"{"type":"long","logicalType":"timestamp-nanos"}"#),
            ("p", r#"{"type":"string","logicalType":"uuid"}"#),
            (
                "q",
                r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
            ),
            (
                "r",
                r#"{"type":"bytes","logicalType":"decimal","precision":38,"scale":2}"#,
            ),
            (
                "s",
                r#"{"type":"fixed","name":"D","size":8,"logicalType":"decimal","precision":18,"scale":4}"#,
            ),
            (
                "t",
                r#"{"type":"fixed","name":"Du","size":12,"logicalType":"duration"}"#,
            ),
            ("u", r#"{"type":"fixed","name":"Big","size":65}"#),
            ("v", r#"{"type":"enum","name":"E","symbols":["A"]}"#),
            ("w", r#"{"type":"array","items":["null","int"]}"#),
            (
                "x",
                r#"{"type":"map","values":{"type":"array","items":"E"}}"#,
            ),
            (
                "y",
                r#"{"type":"record","name":"In","fields":[{"name":"_offset","type":"U"},{"name":"z","type":"null"}]}"#,
            ),
            ("z", r#"["null","In"]"#),
            ("nothing", r#""null""#),
            ("nothing2", r#"["null"]"#),
        ]),
        expect![[r#"
            a: boolean
            b: int
            c: bigint
            d: float
            e: double
            f: binary
            g: varchar
            h: date
            i: time
            j: time
            k: timestamptz
            l: timestamptz
            m: timestamp
            n: timestamp
            o: bigint
            p: uuid
            q: uuid
            r: decimal(38,2)
            s: decimal(18,4)
            t: fixed(12)
            u: binary
            v: varchar
            w: array<int>
            x: map<varchar,array<varchar>>
            y: struct<_offset:uuid>
            z: struct<_offset:uuid>"#]],
    );
}

#[test]
fn a_union_of_several_types_is_a_struct_of_its_branches() {
    check(
        &record(&[
            ("a", r#"["null","string"]"#),
            ("b", r#"["int"]"#),
            (
                "c",
                r#"["int","null","string",{"type":"long","logicalType":"timestamp-millis"}]"#,
            ),
            (
                "d",
                r#"[{"type":"record","name":"x.P","fields":[{"name":"i","type":"int"}]},{"type":"record","name":"y.P","fields":[{"name":"j","type":"int"}]},{"type":"array","items":"x.P"}]"#,
            ),
        ]),
        expect![[r#"
            a: varchar
            b: int
            c: struct<int:int,string:varchar,long:timestamptz>
            d: struct<x_P:struct<i:int>,y_P:struct<j:int>,array:array<struct<i:int>>>"#]],
    );
}

#[test]
fn what_is_not_a_record_is_one_column() {
    check(r#""string""#, expect!["value: varchar"]);
    check(r#"["null","long"]"#, expect!["value: bigint"]);
    check(
        r#"{"type":"map","values":"double"}"#,
        expect!["value: map<varchar,double>"],
    );
    check(r#""null""#, expect![""]);
}

#[test]
fn what_no_table_can_hold_is_refused_with_the_reason() {
    check(
        &record(&[("next", r#"["null","R"]"#)]),
        expect![[
            r#"refused: column next: the type "n.s.R" contains itself, which no table can hold"#
        ]],
    );
    check(
        &record(&[("_OFFSET", r#""int""#)]),
        expect!["_OFFSET_: int"],
    );
    check(
        &record(&[("id", r#""int""#), ("ID", r#""int""#)]),
        expect![
            "refused: column ID: another field here has this name in upper or lower case, and SQL does not tell them apart"
        ],
    );
    check(
        &record(&[("a", r#"{"type":"array","items":"null"}"#)]),
        expect![
            "refused: column a: its values hold nothing but null, and a table has no type for that"
        ],
    );
    check(
        &record(&[("a", r#"{"type":"record","name":"Empty","fields":[]}"#)]),
        expect![
            "refused: column a: its values hold nothing but null, and a table has no type for that"
        ],
    );
    check(
        &record(&[(
            "a",
            r#"{"type":"bytes","logicalType":"decimal","precision":39}"#,
        )]),
        expect!["refused: column a: a decimal has at most 38 digits, this one has 39"],
    );
    check(
        &record(&[("a", r#"{"type":"fixed","name":"F","size":0}"#)]),
        expect!["refused: column a: a fixed type needs at least one byte"],
    );
}

#[test]
fn a_small_text_cannot_become_a_huge_table() {
    // Each type has the one before it twice: 2^30 columns in 2 kB of text.
    let mut kind =
        r#"{"type":"record","name":"T0","fields":[{"name":"n","type":"int"}]}"#.to_owned();
    for i in 1..30 {
        kind = format!(
            r#"{{"type":"record","name":"T{i}","fields":[{{"name":"a","type":{kind}}},{{"name":"b","type":"T{}"}}]}}"#,
            i - 1
        );
    }
    let said = describe(&kind);
    assert!(
        said.ends_with("the schema has more than 2000 columns, nested ones counted"),
        "{said}"
    );
}

#[test]
fn docs_stay_and_nothing_has_an_id() {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"map","values":"int"},"doc":"why"}]}"#;
    let fields = columns(&parse(text, &[]).expect("a schema")).expect("columns");
    let field = fields.first().expect("one column");
    assert_eq!(
        (field.doc.as_deref(), field.nullable, field.id),
        (Some("why"), true, tarn_model::FieldId::NONE)
    );
    assert_eq!(
        field.kind,
        ColumnType::map(ColumnType::String, ColumnType::Int)
    );
}
