//! Rows as JSON.
//!
//! | SQL | JSON |
//! | --- | --- |
//! | int, bigint, decimal | a number with all its digits, beyond 2^53 too |
//! | float, double | a number; NaN and the infinities as `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | timestamp, timestamptz | `"2026-11-22T10:00:00.000001"`, with `Z` if it is zoned |
//! | date, time | `"2026-11-22"`, `"10:00:00.000001"` |
//! | binary | base64 |
//! | uuid | its text |
//! | array, struct, map | array, object, object with its keys as text |
//!
//! Beyond the calendar (years past 262,000) a date or time is the number that it is kept as, as text.

use std::fmt::Display;
use std::io::Write as _;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericListArray, OffsetSizeTrait,
    PrimitiveArray, RecordBatch,
};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Schema, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Timelike};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tarn_engine::{QueryCut, QueryError, type_name};
use tarn_hot::TableCut;
use tarn_model::ByteSize;
use tarn_state::Table;

/// `{"columns": […], "rows": [`
pub(super) fn write_head(out: &mut Vec<u8>, schema: &Schema) {
    let columns: Vec<Value> = schema
        .fields()
        .iter()
        .map(|field| json!({ "name": field.name(), "type": type_name(field.data_type()) }))
        .collect();
    push(
        out,
        format_args!("{{\"columns\":{},\"rows\":[", Value::Array(columns)),
    );
}

/// `], "cut": {…}}`
pub(super) fn write_tail(out: &mut Vec<u8>, cut: &QueryCut) {
    let topics: Map<String, Value> = cut
        .tables
        .iter()
        .map(|cut| (named(&cut.table), topic(cut)))
        .collect();
    let cut = json!({ "lsn": cut.lsn.to_string(), "topics": topics });
    push(out, format_args!("],\"cut\":{cut}}}"));
}

/// Topics by their names, and what no topic has with its namespace before it.
fn named(table: &Table) -> String {
    match table.topic() {
        Some(_) => table.name.clone(),
        None => format!("{}.{}", table.namespace, table.name),
    }
}

/// Partitions of a topic whose place in the cut is told; of a topic that has more only how many it has.
const PARTITIONS_TOLD: usize = 100;

fn topic(cut: &TableCut) -> Value {
    let told = match cut.partitions.len() {
        count @ ..=PARTITIONS_TOLD => count,
        _ => 0,
    };
    let partitions: Vec<Value> = cut
        .partitions
        .iter()
        .take(told)
        .map(|(partition, at)| json!({ "partition": partition.0, "m": at.m.0, "h": at.h.0 }))
        .collect();
    // As text: a snapshot id has 63 bits, and JavaScript's numbers 53.
    let snapshot = cut
        .table
        .table_snapshot
        .map(|snapshot| snapshot.to_string());
    json!({
        "snapshot": snapshot,
        "partition_count": cut.partitions.len(),
        "partitions": partitions,
    })
}

/// Writes rows from `row` on until `out` holds `bytes`; at least one. Gives the row to go on with.
///
/// A row of more than `row_bytes_max` is an error: many columns can show one large value.
pub(super) fn write_rows(
    out: &mut Vec<u8>,
    batch: &RecordBatch,
    row: usize,
    is_first: bool,
    bytes: usize,
    row_bytes_max: ByteSize,
) -> Result<usize, QueryError> {
    let writers: Vec<Writer<'_>> = batch
        .columns()
        .iter()
        .map(|column| writer(column))
        .collect::<Result<_, _>>()?;
    let mut row = row;
    let mut is_first = is_first;
    while row < batch.num_rows() {
        let start = out.len();
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.push(b'[');
        for (place, write) in writers.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write(row, out);
            if out.len() - start > row_bytes_max.as_usize() {
                return Err(QueryError::MemoryLimit {
                    limit: row_bytes_max,
                    detail: "a row of the answer is larger".to_owned(),
                });
            }
        }
        out.push(b']');
        row += 1;
        if out.len() >= bytes {
            break;
        }
    }
    Ok(row)
}

/// Each value of a column as JSON, as an answer's rows have it; the members of a struct by their names.
pub fn json_values(column: &ArrayRef) -> Result<Vec<Vec<u8>>, QueryError> {
    let write = writer(column)?;
    let values = (0..column.len()).map(|row| {
        let mut value = Vec::new();
        write(row, &mut value);
        value
    });
    Ok(values.collect())
}

/// Writes the value of one row.
type Writer<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a vector takes what is written to it");
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes what is written to it");
}

/// The writer of a column, chosen once for all its rows.
fn writer(array: &ArrayRef) -> Result<Writer<'_>, QueryError> {
    let write = value_writer(array)?;
    let Some(nulls) = array.nulls() else {
        return Ok(write);
    };
    Ok(Box::new(move |row, out| match nulls.is_null(row) {
        true => out.extend_from_slice(b"null"),
        false => write(row, out),
    }))
}

fn value_writer(array: &ArrayRef) -> Result<Writer<'_>, QueryError> {
    let writer: Writer<'_> = match array.data_type() {
        DataType::Null => Box::new(|_, out| out.extend_from_slice(b"null")),
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(|row, out| push(out, format_args!("{}", values.value(row))))
        }
        DataType::Int8 => numbers::<Int8Type>(array),
        DataType::Int16 => numbers::<Int16Type>(array),
        DataType::Int32 => numbers::<Int32Type>(array),
        DataType::Int64 => numbers::<Int64Type>(array),
        DataType::UInt8 => numbers::<UInt8Type>(array),
        DataType::UInt16 => numbers::<UInt16Type>(array),
        DataType::UInt32 => numbers::<UInt32Type>(array),
        DataType::UInt64 => numbers::<UInt64Type>(array),
        DataType::Float16 => {
            let values = array.as_primitive::<Float16Type>();
            Box::new(|row, out| float(out, values.value(row).to_f64(), double))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            Box::new(|row, out| {
                let value = values.value(row);
                // With its own digits, not those of the double that it also is.
                float(out, f64::from(value), |out, _| {
                    serde_json::to_writer(out, &value).expect("it is finite")
                });
            })
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            Box::new(|row, out| float(out, values.value(row), double))
        }
        DataType::Decimal32(..) => decimals::<Decimal32Type>(array),
        DataType::Decimal64(..) => decimals::<Decimal64Type>(array),
        DataType::Decimal128(..) => decimals::<Decimal128Type>(array),
        DataType::Decimal256(..) => decimals::<Decimal256Type>(array),
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Box::new(|row, out| string(out, values.value(row)))
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            Box::new(|row, out| string(out, values.value(row)))
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            Box::new(|row, out| string(out, values.value(row)))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(|row, out| base64(out, values.value(row)))
        }
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            Box::new(|row, out| base64(out, values.value(row)))
        }
        DataType::BinaryView => {
            let values = array.as_binary_view();
            Box::new(|row, out| base64(out, values.value(row)))
        }
        DataType::FixedSizeBinary(length) => {
            let values = array.as_fixed_size_binary();
            match length {
                16 => Box::new(|row, out| uuid(out, values.value(row))),
                _ => Box::new(|row, out| base64(out, values.value(row))),
            }
        }
        DataType::Date32 => times::<Date32Type>(array, |out, days| date(out, i64::from(days))),
        DataType::Date64 => times::<Date64Type>(array, |out, millis| {
            date(out, millis.div_euclid(86_400_000))
        }),
        DataType::Time32(TimeUnit::Second) => times::<Time32SecondType>(array, |out, seconds| {
            time(out, i64::from(seconds) * 1_000_000)
        }),
        DataType::Time32(_) => {
            times::<Time32MillisecondType>(array, |out, millis| time(out, i64::from(millis) * 1000))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            times::<Time64NanosecondType>(array, |out, nanos| time(out, nanos / 1000))
        }
        DataType::Time64(_) => times::<Time64MicrosecondType>(array, time),
        DataType::Timestamp(unit, zone) => {
            let is_zoned = zone.is_some();
            match unit {
                TimeUnit::Second => times::<TimestampSecondType>(array, move |out, seconds| {
                    timestamp(out, seconds.checked_mul(1_000_000)?, is_zoned)
                }),
                TimeUnit::Millisecond => {
                    times::<TimestampMillisecondType>(array, move |out, millis| {
                        timestamp(out, millis.checked_mul(1000)?, is_zoned)
                    })
                }
                TimeUnit::Microsecond => {
                    times::<TimestampMicrosecondType>(array, move |out, micros| {
                        timestamp(out, micros, is_zoned)
                    })
                }
                TimeUnit::Nanosecond => {
                    times::<TimestampNanosecondType>(array, move |out, nanos| {
                        timestamp(out, nanos.div_euclid(1000), is_zoned)
                    })
                }
            }
        }
        DataType::List(_) => list(array.as_list::<i32>())?,
        DataType::LargeList(_) => list(array.as_list::<i64>())?,
        DataType::FixedSizeList(_, length) => {
            let values = writer(array.as_fixed_size_list().values())?;
            let length = usize::try_from(*length).unwrap_or(0);
            Box::new(move |row, out| elements(out, row * length..(row + 1) * length, &values))
        }
        DataType::Struct(fields) => {
            let mut members = Vec::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                members.push((field.name().as_str(), writer(column)?));
            }
            Box::new(move |row, out| {
                out.push(b'{');
                for (place, (name, write)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    string(out, name);
                    out.push(b':');
                    write(row, out);
                }
                out.push(b'}');
            })
        }
        DataType::Map(..) => map(array)?,
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let keys = dictionary.normalized_keys();
            let values = writer(dictionary.values())?;
            Box::new(move |row, out| values(keys[row], out))
        }
        DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..) => displayed(array)?,
    };
    Ok(writer)
}

fn numbers<T: ArrowPrimitiveType<Native: Serialize>>(array: &ArrayRef) -> Writer<'_> {
    let values: &PrimitiveArray<T> = array.as_primitive();
    Box::new(|row, out| {
        serde_json::to_writer(out, &values.value(row))
            .expect("a vector takes what is written to it");
    })
}

fn decimals<T: DecimalType>(array: &ArrayRef) -> Writer<'_> {
    let values: &PrimitiveArray<T> = array.as_primitive();
    // A JSON number: what we print has digits, a sign and a point.
    Box::new(|row, out| out.extend_from_slice(values.value_as_string(row).as_bytes()))
}

fn times<'a, T: ArrowPrimitiveType<Native: Display>>(
    array: &'a ArrayRef,
    write: impl Fn(&mut Vec<u8>, T::Native) -> Option<()> + 'a,
) -> Writer<'a> {
    let values: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| {
        let value = values.value(row);
        out.push(b'"');
        if write(out, value).is_none() {
            push(out, format_args!("{value}"));
        }
        out.push(b'"');
    })
}

fn float(out: &mut Vec<u8>, value: f64, finite: impl Fn(&mut Vec<u8>, f64)) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        });
    } else {
        finite(out, value);
    }
}

fn double(out: &mut Vec<u8>, value: f64) {
    serde_json::to_writer(out, &value).expect("a vector takes what is written to it");
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    push(out, format_args!("\"{}\"", STANDARD.encode(bytes)));
}

fn uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        push(out, format_args!("{byte:02x}"));
    }
    out.push(b'"');
}

// Each writes all of its text or nothing.

fn date(out: &mut Vec<u8>, days: i64) -> Option<()> {
    let moment = DateTime::UNIX_EPOCH.checked_add_signed(TimeDelta::try_days(days)?)?;
    day(out, moment.date_naive());
    Some(())
}

fn time(out: &mut Vec<u8>, micros: i64) -> Option<()> {
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).ok()?;
    let nanos = u32::try_from(micros.rem_euclid(1_000_000)).ok()? * 1000;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)?;
    clock(out, time);
    Some(())
}

fn timestamp(out: &mut Vec<u8>, micros: i64, is_zoned: bool) -> Option<()> {
    let moment = DateTime::from_timestamp_micros(micros)?;
    day(out, moment.date_naive());
    out.push(b'T');
    clock(out, moment.time());
    if is_zoned {
        out.push(b'Z');
    }
    Some(())
}

fn day(out: &mut Vec<u8>, date: NaiveDate) {
    match u32::try_from(date.year()) {
        Ok(year @ ..=9999) => digits(out, 4, year),
        // With its sign.
        _ => push(out, format_args!("{}", date.format("%Y"))),
    }
    out.push(b'-');
    digits(out, 2, date.month());
    out.push(b'-');
    digits(out, 2, date.day());
}

fn clock(out: &mut Vec<u8>, time: NaiveTime) {
    digits(out, 2, time.hour());
    out.push(b':');
    digits(out, 2, time.minute());
    out.push(b':');
    digits(out, 2, time.second());
    out.push(b'.');
    digits(out, 6, time.nanosecond() / 1000);
}

/// The last digits of a number, so many of them.
fn digits(out: &mut Vec<u8>, count: u32, number: u32) {
    for place in (0..count).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        out.extend(char::from_digit(digit, 10).map(|digit| digit as u8));
    }
}

fn elements(out: &mut Vec<u8>, range: std::ops::Range<usize>, write: &Writer<'_>) {
    out.push(b'[');
    for row in range.clone() {
        if row > range.start {
            out.push(b',');
        }
        write(row, out);
    }
    out.push(b']');
}

fn list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<Writer<'_>, QueryError> {
    let values = writer(list.values())?;
    let offsets = list.value_offsets();
    Ok(Box::new(move |row, out| {
        elements(
            out,
            offsets[row].as_usize()..offsets[row + 1].as_usize(),
            &values,
        )
    }))
}

fn map(array: &ArrayRef) -> Result<Writer<'_>, QueryError> {
    let map = array.as_map();
    let (keys, values) = (writer(map.keys())?, writer(map.values())?);
    let offsets = map.value_offsets();
    let place =
        |row: usize| usize::try_from(offsets[row]).expect("offsets of a map are not negative");
    Ok(Box::new(move |row, out| {
        out.push(b'{');
        for entry in place(row)..place(row + 1) {
            if entry > place(row) {
                out.push(b',');
            }
            let mut key = Vec::new();
            keys(entry, &mut key);
            if key.first() == Some(&b'"') {
                out.extend_from_slice(&key);
            } else {
                string(out, &String::from_utf8_lossy(&key));
            }
            out.push(b':');
            values(entry, out);
        }
        out.push(b'}');
    }))
}

/// What JSON has no form for, as Arrow prints it.
fn displayed(array: &ArrayRef) -> Result<Writer<'_>, QueryError> {
    let internal = |error: arrow::error::ArrowError| QueryError::Internal {
        why: error.to_string(),
    };
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS).map_err(internal)?;
    Ok(Box::new(move |row, out| {
        string(out, &formatter.value(row).to_string());
    }))
}

#[cfg(test)]
mod tests;
