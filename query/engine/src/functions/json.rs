//! `json(value)`: a payload as text, null where its bytes are not UTF-8.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeStringBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Json {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Json {
    signature: Signature,
}

impl ScalarUDFImpl for Json {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        match arguments {
            [DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null] => {
                Ok(DataType::LargeUtf8)
            }
            [text @ (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)] => {
                Ok(text.clone())
            }
            _ => Err(DataFusionError::Plan(
                "json() takes one value, text or binary".to_owned(),
            )),
        }
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let Some(argument) = arguments.args.into_iter().next() else {
            return Err(DataFusionError::Internal(
                "json() is planned with one argument".to_owned(),
            ));
        };
        if argument.data_type().is_string() {
            return Ok(argument);
        }
        let is_scalar = matches!(argument, ColumnarValue::Scalar(_));
        let array = argument.into_array(if is_scalar { 1 } else { arguments.number_rows })?;
        let text = text(&array);
        if is_scalar {
            return Ok(ColumnarValue::Scalar(
                datafusion::scalar::ScalarValue::try_from_array(&text, 0)?,
            ));
        }
        Ok(ColumnarValue::Array(text))
    }
}

fn text(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Binary => decoded(array.as_binary::<i32>().iter(), array.len()),
        DataType::LargeBinary => decoded(array.as_binary::<i64>().iter(), array.len()),
        DataType::BinaryView => decoded(array.as_binary_view().iter(), array.len()),
        _ => decoded(std::iter::repeat_n(None, array.len()), array.len()),
    }
}

fn decoded<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, rows: usize) -> ArrayRef {
    let mut text = LargeStringBuilder::with_capacity(rows, 0);
    for value in values {
        text.append_option(value.and_then(|bytes| std::str::from_utf8(bytes).ok()));
    }
    Arc::new(text.finish())
}
