//! `overlay(text placing new from start for count)`: the text with a part replaced, by characters.
//!
//! DataFusion's own counts characters and cuts bytes, and loses the text before a place behind its end.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::arithmetic::out_of_range;

pub(super) fn function() -> Arc<ScalarUDF> {
    let mut kinds = vec![DataType::Utf8, DataType::Utf8, DataType::Int64];
    let to_its_end = TypeSignature::Exact(kinds.clone());
    kinds.push(DataType::Int64);
    let signatures = vec![to_its_end, TypeSignature::Exact(kinds)];
    Arc::new(ScalarUDF::new_from_impl(Overlay {
        signature: Signature::one_of(signatures, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Overlay {
    signature: Signature,
}

impl ScalarUDFImpl for Overlay {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "overlay"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let arguments = ColumnarValue::values_to_arrays(&call.args)?;
        let (texts, news) = (
            arguments[0].as_string::<i32>(),
            arguments[1].as_string::<i32>(),
        );
        let starts = arguments[2].as_primitive::<Int64Type>();
        let counts = arguments.get(3).map(|it| it.as_primitive::<Int64Type>());
        let mut answers = StringBuilder::new();
        for row in 0..texts.len() {
            if arguments.iter().any(|it| it.is_null(row)) {
                answers.append_null();
                continue;
            }
            let (text, new) = (texts.value(row), news.value(row));
            let count = match counts {
                Some(counts) => counts.value(row),
                None => new.chars().count() as i64,
            };
            answers.append_value(overlaid(text, new, starts.value(row), count)?);
        }
        Ok(ColumnarValue::Array(Arc::new(answers.finish())))
    }
}

fn overlaid(text: &str, new: &str, start: i64, count: i64) -> Result<String, DataFusionError> {
    if start <= 0 {
        let why = "overlay() begins at a character, and the first one is 1";
        return Err(DataFusionError::Execution(why.to_owned()));
    }
    let next = start.checked_add(count);
    let next = next.ok_or_else(|| out_of_range(&DataType::Int32))?;
    // Where a character begins, or the end of the text.
    let place = |number: i64| {
        let before = usize::try_from(number - 1).unwrap_or(0);
        let place = text.char_indices().nth(before);
        place.map_or(text.len(), |(place, _)| place)
    };
    let (before, _) = text.split_at(place(start));
    let (_, after) = text.split_at(place(next.max(1)));
    Ok([before, new, after].concat())
}
