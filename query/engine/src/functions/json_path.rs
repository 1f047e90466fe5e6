//! Parts of a JSON document, as PostgreSQL takes them.
//!
//! The last of equal keys counts, a negative place counts from the end, and what follows the document
//! makes it none. A text that is no JSON gives null, unlike in PostgreSQL: a payload can be anything.
//! Parts are text and never a type of their own, so that every client can show them.
//!
//! | function | operator | gives |
//! | --- | --- | --- |
//! | `json_extract_path(doc, step, …)` | `->`, `#>` | the part as JSON |
//! | `json_extract_path_text(doc, step, …)` | `->>`, `#>>` | the same, a string without its quotes, null for null |
//! | `json_exists(doc, key)` | `?` | is it a key of the object, or a string of the array? |
//! | `json_typeof(doc)`, `json_array_length(doc)` | | |

use std::any::Any;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, LargeStringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use jiter::{Jiter, JiterResult, Peek};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Which {
    /// `#>`: a text is a key of an object or a place in an array.
    Path {
        as_text: bool,
    },
    /// `->`: a text is a key and a number is a place.
    Part {
        as_text: bool,
    },
    Exists,
    TypeOf,
    Length,
}

pub(super) fn function(which: Which) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(JsonFunction {
        which,
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

/// Those that have names.
pub(super) fn functions() -> [Arc<ScalarUDF>; 5] {
    [
        Which::Path { as_text: false },
        Which::Path { as_text: true },
        Which::Exists,
        Which::TypeOf,
        Which::Length,
    ]
    .map(function)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    which: Which,
    signature: Signature,
}

static PATH: LazyLock<Vec<String>> = LazyLock::new(|| vec!["jsonb_extract_path".to_owned()]);
static PATH_TEXT: LazyLock<Vec<String>> =
    LazyLock::new(|| vec!["jsonb_extract_path_text".to_owned()]);
static EXISTS: LazyLock<Vec<String>> = LazyLock::new(|| vec!["jsonb_exists".to_owned()]);
static TYPE_OF: LazyLock<Vec<String>> = LazyLock::new(|| vec!["jsonb_typeof".to_owned()]);
static LENGTH: LazyLock<Vec<String>> = LazyLock::new(|| vec!["jsonb_array_length".to_owned()]);

impl ScalarUDFImpl for JsonFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        match self.which {
            Which::Path { as_text: false } => "json_extract_path",
            Which::Path { as_text: true } => "json_extract_path_text",
            Which::Part { as_text: false } => "json_part",
            Which::Part { as_text: true } => "json_part_text",
            Which::Exists => "json_exists",
            Which::TypeOf => "json_typeof",
            Which::Length => "json_array_length",
        }
    }

    fn aliases(&self) -> &[String] {
        match self.which {
            Which::Path { as_text: false } => &PATH,
            Which::Path { as_text: true } => &PATH_TEXT,
            Which::Part { .. } => &[],
            Which::Exists => &EXISTS,
            Which::TypeOf => &TYPE_OF,
            Which::Length => &LENGTH,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let wrong = || {
            DataFusionError::Plan(format!(
                "{}() takes a document and steps in it",
                self.name()
            ))
        };
        let text = |kind: &DataType| {
            let is_text = kind.is_string()
                || matches!(
                    kind,
                    DataType::Binary
                        | DataType::LargeBinary
                        | DataType::BinaryView
                        | DataType::Null
                );
            is_text.then_some(DataType::LargeUtf8).ok_or_else(wrong)
        };
        let (document, steps) = kinds.split_first().ok_or_else(wrong)?;
        let count = match self.which {
            Which::TypeOf | Which::Length => 0..=0,
            Which::Exists => 1..=1,
            Which::Path { .. } | Which::Part { .. } => 0..=usize::MAX,
        };
        if !count.contains(&steps.len()) {
            return Err(wrong());
        }
        let step = |kind: &DataType| match (self.which, kind) {
            (Which::Part { .. }, kind) if kind.is_integer() => Ok(DataType::Int64),
            (_, kind) => text(kind),
        };
        let steps = steps.iter().map(step).collect::<Result<Vec<_>, _>>()?;
        Ok([vec![text(document)?], steps].concat())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(match self.which {
            Which::Path { .. } | Which::Part { .. } | Which::TypeOf => DataType::LargeUtf8,
            Which::Exists => DataType::Boolean,
            Which::Length => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let is_constant = call.args.iter().all(is_scalar);
        let rows = if is_constant { 1 } else { call.number_rows };
        let mut arguments = call.args.into_iter();
        let Some(document) = arguments.next() else {
            return Err(DataFusionError::Internal(format!(
                "{}() is planned with a document",
                self.name()
            )));
        };
        let documents = cast(&document.into_array(rows)?, &DataType::LargeUtf8)?;
        let steps = arguments.map(Steps::of).collect::<Result<Vec<_>, _>>()?;
        let answer = self.answer(&documents, &steps)?;
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?),
            false => ColumnarValue::Array(answer),
        })
    }
}

impl JsonFunction {
    fn answer(&self, documents: &ArrayRef, steps: &[Steps]) -> Result<ArrayRef, DataFusionError> {
        let documents = documents.as_string::<i64>();
        let is_path = matches!(self.which, Which::Path { .. });
        // `None` if a step is null.
        let at = |row: usize| -> Option<Vec<Step<'_>>> {
            steps.iter().map(|step| step.at(row, is_path)).collect()
        };
        let each = || {
            (0..documents.len()).map(|row| documents.is_valid(row).then(|| documents.value(row)))
        };
        Ok(match self.which {
            Which::Path { as_text } | Which::Part { as_text } => {
                let mut parts = LargeStringBuilder::with_capacity(documents.len(), 0);
                for (row, document) in each().enumerate() {
                    let part = document
                        .zip(at(row))
                        .and_then(|(document, steps)| part(document, &steps));
                    match part {
                        Some(part) if !as_text => parts.append_value(part),
                        Some(part) if part.starts_with('"') => {
                            let mut string = Jiter::new(part.as_bytes());
                            parts.append_option(string.next_str().ok());
                        }
                        Some("null") | None => parts.append_null(),
                        Some(part) => parts.append_value(part),
                    }
                }
                Arc::new(parts.finish())
            }
            Which::Exists => {
                let has = |(row, document): (usize, Option<&str>)| {
                    let steps = at(row)?;
                    let [Step::Key(key)] = steps.as_slice() else {
                        return None;
                    };
                    exists(document?, key)
                };
                Arc::new(each().enumerate().map(has).collect::<BooleanArray>())
            }
            Which::TypeOf => {
                let mut kinds = LargeStringBuilder::with_capacity(documents.len(), 0);
                for document in each() {
                    kinds.append_option(document.and_then(type_of));
                }
                Arc::new(kinds.finish())
            }
            Which::Length => {
                let length = |document: Option<&str>| length(document?);
                Arc::new(each().map(length).collect::<Int64Array>())
            }
        })
    }
}

/// A step of each row, or the same for all.
struct Steps {
    values: ArrayRef,
    is_constant: bool,
}

impl Steps {
    fn of(value: ColumnarValue) -> Result<Steps, DataFusionError> {
        Ok(match value {
            ColumnarValue::Array(values) => Steps {
                values,
                is_constant: false,
            },
            ColumnarValue::Scalar(value) => Steps {
                values: value.to_array()?,
                is_constant: true,
            },
        })
    }

    fn at(&self, row: usize, is_path: bool) -> Option<Step<'_>> {
        let row = if self.is_constant { 0 } else { row };
        if self.values.is_null(row) {
            return None;
        }
        Some(match self.values.data_type() {
            DataType::Int64 => Step::Place(self.values.as_primitive::<Int64Type>().value(row)),
            _ => {
                let text = self.values.as_string::<i64>().value(row);
                if is_path {
                    Step::Either(text)
                } else {
                    Step::Key(text)
                }
            }
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Place(i64),
    Either(&'a str),
}

impl Step<'_> {
    fn key(&self) -> Option<&str> {
        match self {
            Step::Key(key) | Step::Either(key) => Some(key),
            Step::Place(_) => None,
        }
    }

    fn place(&self) -> Option<i64> {
        match self {
            Step::Place(place) => Some(*place),
            Step::Either(text) => text.trim().parse().ok(),
            Step::Key(_) => None,
        }
    }
}

/// The part of a document, as its text; `None` if it is not there, or the document is none.
fn part<'a>(document: &'a str, steps: &[Step<'_>]) -> Option<&'a str> {
    let mut parser = Jiter::new(document.as_bytes());
    let found = find(&mut parser, steps).ok()?;
    parser.finish().ok()?;
    document.get(found?)
}

type Span = std::ops::Range<usize>;

/// Where the part is, in one walk over the whole document: a later key may be equal to an earlier one.
fn find(parser: &mut Jiter<'_>, steps: &[Step<'_>]) -> JiterResult<Option<Span>> {
    let peek = parser.peek()?;
    let start = parser.current_index();
    let Some((step, rest)) = steps.split_first() else {
        parser.known_skip(peek)?;
        return Ok(Some(start..parser.current_index()));
    };
    let mut found = None;
    match peek {
        Peek::Object => {
            let mut key = parser.known_object()?.map(|key| step.key() == Some(key));
            while let Some(is_it) = key {
                if is_it {
                    found = find(parser, rest)?;
                } else {
                    parser.next_skip()?;
                }
                key = parser.next_key()?.map(|key| step.key() == Some(key));
            }
        }
        Peek::Array => {
            let wanted = step.place();
            let mut last = Vec::new();
            let mut place = 0;
            let mut element = parser.known_array()?;
            while element.is_some() {
                if wanted == Some(place) {
                    found = find(parser, rest)?;
                } else {
                    let start = {
                        parser.peek()?;
                        parser.current_index()
                    };
                    parser.next_skip()?;
                    if wanted.is_some_and(|wanted| wanted < 0) {
                        last.push(start);
                    }
                }
                place += 1;
                element = parser.array_step()?;
            }
            let from_end = wanted.filter(|wanted| *wanted < 0).and_then(|wanted| {
                let place = usize::try_from(place + wanted).ok()?;
                last.get(place).copied()
            });
            if let Some(begin) = from_end {
                // Once more over one element, of which the text is known to be right.
                let text = parser.slice_to_current(begin);
                let inner = find(&mut Jiter::new(text), rest)?;
                found = inner.map(|inner| begin + inner.start..begin + inner.end);
            }
        }
        peek => parser.known_skip(peek)?,
    }
    Ok(found)
}

fn exists(document: &str, key: &str) -> Option<bool> {
    fn look(parser: &mut Jiter<'_>, wanted: &str) -> JiterResult<bool> {
        let mut is_there = false;
        match parser.peek()? {
            Peek::Object => {
                let mut key = parser.known_object()?.map(|key| key == wanted);
                while let Some(is_it) = key {
                    is_there |= is_it;
                    parser.next_skip()?;
                    key = parser.next_key()?.map(|key| key == wanted);
                }
            }
            Peek::Array => {
                let mut element = parser.known_array()?;
                while let Some(peek) = element {
                    if peek == Peek::String {
                        is_there |= parser.known_str()? == wanted;
                    } else {
                        parser.known_skip(peek)?;
                    }
                    element = parser.array_step()?;
                }
            }
            Peek::String => is_there = parser.known_str()? == wanted,
            peek => parser.known_skip(peek)?,
        }
        parser.finish()?;
        Ok(is_there)
    }
    look(&mut Jiter::new(document.as_bytes()), key).ok()
}

fn type_of(document: &str) -> Option<&'static str> {
    let whole = part(document, &[])?;
    Some(match whole.as_bytes().first()? {
        b'{' => "object",
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "boolean",
        b'n' => "null",
        _ => "number",
    })
}

/// Of an array; null of anything else.
fn length(document: &str) -> Option<i64> {
    fn count(parser: &mut Jiter<'_>) -> JiterResult<i64> {
        let mut count = 0;
        let mut element = parser.next_array()?;
        while let Some(peek) = element {
            parser.known_skip(peek)?;
            count += 1;
            element = parser.array_step()?;
        }
        parser.finish()?;
        Ok(count)
    }
    count(&mut Jiter::new(document.as_bytes())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_in_what_is_json_and_in_nothing_else() {
        use Step::{Either, Key, Place};
        for (document, steps, expected) in [
            (
                r#"{"a": 1, "a": {"b": 2}}"#,
                &[Key("a"), Key("b")][..],
                Some("2"),
            ),
            (r#"{"a": {"b": 2}, "a": 1}"#, &[Key("a"), Key("b")], None),
            ("[1, [2, 3]]", &[Place(-1), Place(-2)], Some("2")),
            ("[1, [2, 3]]", &[Either("-1"), Either("1")], Some("3")),
            ("[1, 2]", &[Place(-3)], None),
            ("[1, 2]", &[Key("0")], None),
            (r#"{"0": 1}"#, &[Place(0)], None),
            (r#"{"a": 1} x"#, &[Key("a")], None),
            (r#"{"a": 1"#, &[Key("a")], None),
            (r#"{"a": 1, }"#, &[Key("a")], None),
            ("[1, tru]", &[Place(0)], None),
            ("NaN", &[], None),
            ("", &[], None),
            (" 7 ", &[], Some("7")),
        ] {
            assert_eq!(part(document, steps), expected, "{document} {steps:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(part(&deep, &[Place(0)]), None);
    }
}
