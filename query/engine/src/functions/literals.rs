//! Texts as PostgreSQL reads them into another type: the constants of a statement, and casts.
//!
//! Leaves to others: which text stands where another type is wanted (`semantics`), and types that DataFusion
//! reads as PostgreSQL does.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use super::arithmetic::out_of_range;
use super::calendar::{self, Zone};
use super::floats;
use crate::QueryError;

/// A constant text as a value of the type; `None` if it is none, or of a type that DataFusion reads.
pub(crate) fn read(
    expression: &Expr,
    kind: &DataType,
    zone: &Zone,
) -> Result<Option<ScalarValue>, DataFusionError> {
    let Expr::Literal(value, _) = expression else {
        return Ok(None);
    };
    let Some(Some(text)) = value.try_as_str() else {
        return Ok(None);
    };
    Ok(Some(match kind {
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(text)?)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            ScalarValue::Int64(Some(integer(text, kind)?)).cast_to(kind)?
        }
        DataType::Float32 => ScalarValue::Float32(Some(real(text)?)),
        DataType::Float64 => ScalarValue::Float64(Some(double(text)?)),
        DataType::Decimal128(..) => decimal(text)?,
        DataType::FixedSizeBinary(16) => {
            ScalarValue::FixedSizeBinary(16, Some(uuid(text)?.to_vec()))
        }
        DataType::FixedSizeBinary(width) => {
            let bytes = bytea(text)?;
            match i32::try_from(bytes.len()) == Ok(*width) {
                true => ScalarValue::FixedSizeBinary(*width, Some(bytes)),
                // Of another length it is equal to none, and still more or less than all.
                false => ScalarValue::LargeBinary(Some(bytes)),
            }
        }
        DataType::Binary => ScalarValue::Binary(Some(bytea(text)?)),
        DataType::LargeBinary => ScalarValue::LargeBinary(Some(bytea(text)?)),
        DataType::BinaryView => ScalarValue::BinaryView(Some(bytea(text)?)),
        DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => {
            moment(text, kind, zone)?
        }
        _ => return Ok(None),
    }))
}

fn moment(text: &str, kind: &DataType, zone: &Zone) -> Result<ScalarValue, DataFusionError> {
    let (local, own) = calendar::read_timestamp(text).ok_or_else(|| invalid("timestamp", text))?;
    Ok(match kind {
        DataType::Timestamp(_, Some(name)) => {
            let moment = own.as_ref().unwrap_or(zone).moment(local);
            ScalarValue::TimestampMicrosecond(Some(moment), Some(Arc::clone(name)))
        }
        DataType::Timestamp(_, None) => ScalarValue::TimestampMicrosecond(Some(local), None),
        _ => {
            let days = i32::try_from(local.div_euclid(calendar::DAY));
            ScalarValue::Date32(Some(days.map_err(|_| invalid("date", text))?))
        }
    })
}

pub(crate) fn invalid(kind: &str, text: &str) -> DataFusionError {
    let text: String = text.chars().take(200).collect();
    QueryError::Invalid {
        message: format!("invalid input syntax for type {kind}: \"{text}\""),
        position: None,
    }
    .into()
}

/// Any beginning of a word that can only be that word.
pub(crate) fn boolean(text: &str) -> Result<bool, DataFusionError> {
    let word = text.trim().to_ascii_lowercase();
    let is = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if word == "1" || is("true", 1) || is("yes", 1) || is("on", 2) {
        Ok(true)
    } else if word == "0" || is("false", 1) || is("no", 1) || is("off", 2) {
        Ok(false)
    } else {
        Err(invalid("boolean", text))
    }
}

pub(crate) fn integer(text: &str, kind: &DataType) -> Result<i64, DataFusionError> {
    let (name, max) = match kind {
        DataType::Int8 | DataType::Int16 => ("smallint", i64::from(i16::MAX)),
        DataType::Int32 => ("integer", i64::from(i32::MAX)),
        _ => ("bigint", i64::MAX),
    };
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(invalid(name, text));
    }
    let number = trimmed.parse::<i64>().ok();
    let fits = |number: &i64| (-max - 1..=max).contains(number);
    number.filter(fits).ok_or_else(|| out_of_range(kind))
}

pub(crate) fn double(text: &str) -> Result<f64, DataFusionError> {
    let trimmed = text.trim();
    let signed = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    // Rust reads the same words; PostgreSQL's NaN has no sign.
    let is_word = ["inf", "infinity", "nan"]
        .iter()
        .any(|word| signed.eq_ignore_ascii_case(word));
    let is_number = signed.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let number = trimmed.parse::<f64>().ok().filter(|_| is_word || is_number);
    let number = number.ok_or_else(|| invalid("double precision", text))?;
    if number.is_infinite() && is_number {
        return Err(out_of_range(&DataType::Float64));
    }
    Ok(floats::canonical(number))
}

pub(crate) fn real(text: &str) -> Result<f32, DataFusionError> {
    let number = double(text)?;
    narrow(number)
}

/// A double as a real, which has fewer exponents.
pub(crate) fn narrow(number: f64) -> Result<f32, DataFusionError> {
    let real = number as f32;
    let is_lost = real.is_infinite() != number.is_infinite() || (real == 0.0) != (number == 0.0);
    match is_lost {
        true => Err(out_of_range(&DataType::Float32)),
        false => Ok(real),
    }
}

/// With as many digits behind the point as there are.
pub(crate) fn decimal(text: &str) -> Result<ScalarValue, DataFusionError> {
    let trimmed = text.trim();
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let figures = format!("{whole}{fraction}");
    if figures.is_empty() || !figures.bytes().all(|digit| digit.is_ascii_digit()) {
        // With an exponent: a double is near enough to look for.
        return Ok(ScalarValue::Float64(Some(double(text)?)));
    }
    let scale = i8::try_from(fraction.len())
        .ok()
        .filter(|scale| *scale <= 38);
    let significant = figures.trim_start_matches('0');
    let number = (significant.len() <= 38).then(|| format!("0{significant}").parse::<i128>().ok());
    match (number.flatten(), scale) {
        (Some(number), Some(scale)) => {
            let sign = if trimmed.starts_with('-') { -1 } else { 1 };
            Ok(ScalarValue::Decimal128(Some(number * sign), 38, scale))
        }
        _ => Err(out_of_range(&DataType::Decimal128(38, 0))),
    }
}

/// 32 digits, with dashes after each four of them or not, in braces or not.
pub(crate) fn uuid(text: &str) -> Result<[u8; 16], DataFusionError> {
    let wrong = || invalid("uuid", text);
    let inner = text.trim();
    let inner = match inner.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(wrong)?,
        None => inner,
    };
    let mut figures = Vec::with_capacity(32);
    for letter in inner.chars() {
        match letter.to_digit(16) {
            Some(figure) => figures.push(figure as u8),
            None if letter == '-' && figures.len() % 4 == 0 && !figures.is_empty() => {}
            None => return Err(wrong()),
        }
    }
    if figures.len() != 32 || inner.ends_with('-') {
        return Err(wrong());
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(figures.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(bytes)
}

pub(crate) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for figure in [byte >> 4, byte & 15] {
            text.push(char::from_digit(figure.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// `\x` and hexadecimal digits, or a text whose bytes may be written `\000` in octal and `\\`.
pub(crate) fn bytea(text: &str) -> Result<Vec<u8>, DataFusionError> {
    let wrong = || invalid("bytea", text);
    if let Some(digits) = text.strip_prefix("\\x") {
        let mut figures = Vec::new();
        for letter in digits.chars().filter(|letter| !letter.is_whitespace()) {
            figures.push(letter.to_digit(16).ok_or_else(wrong)? as u8);
        }
        if figures.len() % 2 != 0 {
            return Err(wrong());
        }
        return Ok(figures
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        match rest {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => return Err(wrong()),
        }
    }
    Ok(bytes)
}

/// A double as PostgreSQL writes it: the fewest digits that read back as the same.
pub(crate) fn double_text(value: f64) -> String {
    float_text(value, format!("{value:e}"), 15)
}

pub(crate) fn real_text(value: f32) -> String {
    float_text(f64::from(value), format!("{value:e}"), 6)
}

fn float_text(value: f64, shortest: String, exponents: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponents).contains(&exponent) {
        return match exponents {
            6 => format!("{}", value as f32),
            _ => format!("{value}"),
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_postgresql_writes_them() {
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.2345678901234568e17, "1.2345678901234568e+17"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-2.5, "-2.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double_text(value), text);
        }
        assert_eq!(real_text(1e6), "1e+06");
        assert_eq!(real_text(0.1), "0.1");
    }

    #[test]
    fn bytes_are_read_as_postgresql_reads_them() {
        let read = |text: &str| bytea(text).ok();
        assert_eq!(read("\\x6b65 79"), Some(b"key".to_vec()));
        assert_eq!(read("a\\\\b\\001"), Some(b"a\\b\x01".to_vec()));
        assert_eq!(read("\\x6b6"), None);
        assert_eq!(read("\\8"), None);
    }
}
