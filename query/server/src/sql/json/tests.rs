//! Every type in its JSON form.

use std::sync::Arc;

use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, IntervalYearMonthArray, LargeBinaryArray,
    ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Int32Type};
use expect_test::{Expect, expect};
use tarn_model::{Generation, Lsn};

use super::*;

/// More than the rows of these tests.
const LARGE: ByteSize = ByteSize::kib(64);

/// Type, and the JSON of the column.
fn check(array: ArrayRef, expected: Expect) {
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).expect("one column");
    let kind = type_name(batch.schema_ref().field(0).data_type());
    let mut out = Vec::new();
    let next = write_rows(&mut out, &batch, 0, true, usize::MAX, LARGE).expect("it is written");
    assert_eq!(next, batch.num_rows());
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    serde_json::from_str::<Value>(&format!("[{text}]")).expect("it is JSON");
    expected.assert_eq(&format!("{kind} {text}"));
}

#[test]
fn numbers_keep_all_their_digits() {
    check(
        Arc::new(Int32Array::from(vec![Some(-1), None])),
        expect!["int [-1],[null]"],
    );
    check(
        Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])),
        expect!["bigint [-9223372036854775808],[9223372036854775807]"],
    );
    check(
        Arc::new(UInt64Array::from(vec![u64::MAX])),
        expect!["bigint [18446744073709551615]"],
    );
    let decimals = Decimal128Array::from(vec![-1, 123_456_789_012_345_678_901_234_567_890, 0])
        .with_precision_and_scale(38, 10)
        .expect("it fits");
    check(
        Arc::new(decimals),
        expect!["decimal(38,10) [-0.0000000001],[12345678901234567890.1234567890],[0.0000000000]"],
    );
    check(
        Arc::new(Float64Array::from(vec![
            0.1,
            1e300,
            -0.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ])),
        expect![[r#"double [0.1],[1e+300],[-0.0],["NaN"],["Infinity"],["-Infinity"]"#]],
    );
    check(
        Arc::new(Float32Array::from(vec![0.1, f32::NAN])),
        expect![[r#"float [0.1],["NaN"]"#]],
    );
}

#[test]
fn times_are_rfc_3339_with_microseconds() {
    let moments = vec![0, -1, 1_763_805_600_000_001, i64::MAX];
    check(
        Arc::new(TimestampMicrosecondArray::from(moments.clone()).with_timezone("+00:00")),
        expect![[
            r#"timestamptz ["1970-01-01T00:00:00.000000Z"],["1969-12-31T23:59:59.999999Z"],["2025-11-22T10:00:00.000001Z"],["9223372036854775807"]"#
        ]],
    );
    check(
        Arc::new(TimestampMicrosecondArray::from(moments)),
        expect![[
            r#"timestamp ["1970-01-01T00:00:00.000000"],["1969-12-31T23:59:59.999999"],["2025-11-22T10:00:00.000001"],["9223372036854775807"]"#
        ]],
    );
    check(
        Arc::new(Date32Array::from(vec![
            Some(0),
            Some(-1),
            Some(i32::MAX),
            None,
        ])),
        expect![[r#"date ["1970-01-01"],["1969-12-31"],["2147483647"],[null]"#]],
    );
    check(
        Arc::new(Time64MicrosecondArray::from(vec![0, 86_399_999_999])),
        expect![[r#"time ["00:00:00.000000"],["23:59:59.999999"]"#]],
    );
}

/// Digit by digit what `chrono` formats.
#[test]
fn moments_are_written_as_the_calendar_has_them() {
    let moments = (0..4_000_i64).map(|n| (n - 2_000) * 81_234_567_891_234);
    let moments: Vec<i64> = moments
        .filter(|n| n.abs() < 200_000_000_000_000_000)
        .collect();
    let text = |format: &str| -> Vec<String> {
        let moment = |micros: &i64| DateTime::from_timestamp_micros(*micros).expect("a moment");
        let text = moments
            .iter()
            .map(moment)
            .map(|moment| moment.format(format).to_string());
        text.map(|text| format!("\"{text}\"")).collect()
    };
    let written = |array: ArrayRef| -> Vec<String> {
        let values = json_values(&array).expect("it is written").into_iter();
        values
            .map(|value| String::from_utf8(value).expect("text"))
            .collect()
    };
    let zoned = TimestampMicrosecondArray::from(moments.clone()).with_timezone("+00:00");
    assert_eq!(written(Arc::new(zoned)), text("%Y-%m-%dT%H:%M:%S%.6fZ"));
    let days = moments
        .iter()
        .map(|micros| micros.div_euclid(86_400_000_000));
    let days: Vec<i32> = days.map(|day| i32::try_from(day).expect("small")).collect();
    assert_eq!(written(Arc::new(Date32Array::from(days))), text("%Y-%m-%d"));
    let times = moments
        .iter()
        .map(|micros| micros.rem_euclid(86_400_000_000));
    let times: Vec<i64> = times.collect();
    assert_eq!(
        written(Arc::new(Time64MicrosecondArray::from(times))),
        text("%H:%M:%S%.6f")
    );
}

#[test]
fn text_and_bytes_are_strings() {
    check(
        Arc::new(StringArray::from(vec!["a\"\\\n\u{1}é", ""])),
        expect![[r#"varchar ["a\"\\\n\u0001é"],[""]"#]],
    );
    check(
        Arc::new(LargeBinaryArray::from(vec![&b"\xff\x00"[..], b""])),
        expect![[r#"binary ["/wA="],[""]"#]],
    );
    let uuid = FixedSizeBinaryArray::try_from_iter([[0x0f; 16]].into_iter()).expect("16 bytes");
    check(
        Arc::new(uuid),
        expect![[r#"uuid ["0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f"]"#]],
    );
    let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    check(Arc::new(words), expect![[r#"varchar ["a"],[null],["a"]"#]]);
    check(
        Arc::new(BooleanArray::from(vec![true, false])),
        expect!["boolean [true],[false]"],
    );
    check(Arc::new(NullArray::new(1)), expect!["varchar [null]"]);
    let months = IntervalYearMonthArray::from(vec![Some(14), None]);
    check(
        Arc::new(months),
        expect![[r#"varchar ["1 years 2 mons"],[null]"#]],
    );
}

#[test]
fn nested_values_are_arrays_and_objects() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    check(Arc::new(list), expect!["array<int> [[1,null]],[null],[[]]"]);
    let name: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("a b", name.data_type().clone(), true)),
        name,
    )]);
    check(
        Arc::new(inner),
        expect![[r#"struct<a b:varchar> [{"a b":"x"}]"#]],
    );
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k\"");
    map.values().append_value("v");
    map.append(true).expect("equal lengths");
    map.append(false).expect("equal lengths");
    check(
        Arc::new(map.finish()),
        expect![[r#"map<varchar,varchar> [{"k\"":"v"}],[null]"#]],
    );
}

#[test]
fn an_answer_is_written_in_pieces_that_fit_together() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).expect("one column");
    let mut out = Vec::new();
    write_head(&mut out, batch.schema_ref());
    let mut row = 0;
    while row < batch.num_rows() {
        let bytes = out.len() + 1;
        row = write_rows(&mut out, &batch, row, row == 0, bytes, LARGE).expect("it is written");
    }
    write_tail(
        &mut out,
        &QueryCut {
            lsn: Lsn::new(Generation::FIRST, 42),
            tables: Vec::new(),
        },
    );
    expect![[r#"{"columns":[{"name":"n","type":"bigint"}],"rows":[[0],[1],[2],[3],[4]],"cut":{"lsn":"1-42","topics":{}}}"#]].assert_eq(&String::from_utf8(out).expect("JSON is UTF-8"));
}
