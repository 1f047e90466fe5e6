//! Functions of SQL that ask before they take memory, and end when the query's time is over.
//!
//! ```text
//! rows of arguments ─▶ pieces, by what each row can need ─▶ reserve, call ─▶ answer with its reservation
//! ```
//!
//! Holds, for every function that `growth` does not call bounded: what a call can need is reserved in
//! the memory of queries before the function runs, and what it gave stays reserved until nobody has it
//! any more. A call with many rows is divided, so that its worst case counts for a part of them. A
//! query whose time is over calls no function.
//! Holds for constants: while a plan is made, no expression is replaced by a wide value, for a plan is
//! copied often, and its constants with it. Such a value is computed with the rows, and batches are so
//! short that each row may have it.
//! Leaves to others: `CASE`, casts and comparisons, which give no more than they get, and the plan's
//! operators, which ask for memory themselves. Not for all: what a join or `unnest` repeats is as wide
//! as the values are, for a whole batch, before anybody asks.

mod growth;
mod rule;
mod size;

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, BooleanBufferBuilder, make_array};
use datafusion::arrow::buffer::{Buffer, NullBuffer};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::udf_eq::UdfEq;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::scalar::ScalarValue;

use self::growth::{Argument, Cost, Growth, Row};
pub(crate) use self::rule::{GuardFunctions, no_fixed_width, note_constants};
use crate::limits::QueryLimits;

/// A constant of a plan is no wider, unless the statement itself holds it.
const CONSTANT_BYTES_MAX: u64 = 4 << 10;
/// What a row of an answer takes at least.
const ROW_BYTES: u64 = 32;
/// Steps of a call after which the clock is looked at: some tenths of a second.
const STEPS_AT_ONCE: u64 = 1 << 28;
/// Steps for one row, which nothing can interrupt: some tens of seconds.
const STEPS_MAX: u64 = 1 << 34;

/// The function, guarded for one query; itself if it needs no guard.
pub(crate) fn guard(function: &Arc<ScalarUDF>, limits: &Arc<QueryLimits>) -> Arc<ScalarUDF> {
    if function.inner().as_any().is::<Guarded>() {
        return Arc::clone(function);
    }
    let growth = match growth::of(function.name()) {
        Some(Growth::Bounded) => return Arc::clone(function),
        Some(growth) => growth,
        // A test keeps this from happening; most functions need less.
        None => Growth::Linear(4),
    };
    Arc::new(ScalarUDF::new_from_impl(Guarded {
        inner: Arc::clone(function.inner()).into(),
        growth,
        limits: Arc::clone(limits),
    }))
}

/// The expression without a guard on the function that it is a call of.
fn plain(expression: Expr) -> Expr {
    match expression {
        Expr::ScalarFunction(mut call) => {
            if let Some(guarded) = call.func.inner().as_any().downcast_ref::<Guarded>() {
                let inner = Arc::clone(&guarded.inner);
                call.func = Arc::new(ScalarUDF::new_from_shared_impl(inner));
            }
            Expr::ScalarFunction(call)
        }
        other => other,
    }
}

/// A function that asks. In everything but its calls it is the function that it guards.
#[derive(Debug)]
struct Guarded {
    inner: UdfEq<Arc<dyn ScalarUDFImpl>>,
    growth: Growth,
    limits: Arc<QueryLimits>,
}

/// Rows of a call that are worked on at once, and what they can need.
struct Piece {
    rows: Range<usize>,
    bytes: u64,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Guarded) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Guarded {
    /// A call with constants only, so the same for all rows.
    fn constant(&self, mut call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let rows = std::mem::replace(&mut call.number_rows, 1);
        let (array, reservation) = self.array(&call)?;
        let bytes = size::bytes(&array, 0..array.len());
        if bytes <= CONSTANT_BYTES_MAX {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &array, 0,
            )?));
        }
        self.limits.has_constant(bytes);
        if !self.limits.runs() {
            // The expression then stays as it is: an error may be one that never happens.
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{}() gives {bytes} bytes, too many for a constant of a plan",
                self.name()
            )));
        }
        if rows == 1 {
            return Ok(ColumnarValue::Array(held(&array, reservation)?));
        }
        let all = bytes.saturating_mul(rows as u64);
        let reservation = self.limits.reserve(self.name(), all)?;
        let array = ScalarValue::try_from_array(&array, 0)?.to_array_of_size(rows)?;
        Ok(ColumnarValue::Array(held(&array, reservation)?))
    }

    /// The answer for all rows of a call, and what is reserved for it.
    fn array(
        &self,
        call: &ScalarFunctionArgs,
    ) -> Result<(ArrayRef, MemoryReservation), DataFusionError> {
        let arguments = arguments(&call.args)?;
        let kept = self.limits.reserve(self.name(), 0)?;
        let mut answers: Vec<ArrayRef> = Vec::new();
        let mut done = 0;
        loop {
            self.limits.check()?;
            let piece = self.piece(&arguments, done..call.number_rows)?;
            let needed = self.limits.reserve(self.name(), piece.bytes)?;
            let answer = self.inner.invoke_with_args(part(call, &piece.rows))?;
            let answer = answer.into_array(piece.rows.len())?;
            // What was needed is in the answer, or free again.
            drop(needed);
            self.limits
                .grow(&kept, size::bytes(&answer, 0..answer.len()))?;
            answers.push(answer);
            done = piece.rows.end;
            if done >= call.number_rows {
                break;
            }
        }
        match <[ArrayRef; 1]>::try_from(answers) {
            Ok([answer]) => Ok((answer, kept)),
            Err(answers) => {
                let whole = self.limits.reserve(self.name(), kept.size() as u64)?;
                let answers: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
                Ok((concat(&answers)?, whole))
            }
        }
    }

    /// All rows that are left if that is not much; else some, and at least one if there is one.
    fn piece(&self, arguments: &[Argument], rows: Range<usize>) -> Result<Piece, DataFusionError> {
        let whole_max = self.limits.whole();
        if let Growth::Linear(times) = self.growth {
            let cost = |argument: &Argument| {
                let repeated = u64::from(argument.is_constant);
                argument.bytes(&rows).saturating_mul(times + repeated)
            };
            let bytes = arguments.iter().map(cost).fold(0, u64::saturating_add);
            let bytes = bytes.saturating_add(rows.len() as u64 * ROW_BYTES);
            if bytes <= whole_max {
                return Ok(Piece { rows, bytes });
            }
        }
        let mut piece = Piece {
            rows: rows.start..rows.start,
            bytes: 0,
        };
        let (mut bytes, mut steps) = (0_u64, 0_u64);
        for row in rows.clone() {
            let cost = self.cost(&Row { arguments, row })?;
            bytes = bytes.saturating_add(cost.bytes);
            steps = steps.saturating_add(cost.steps);
            let is_first = row == rows.start;
            if is_first || (bytes <= self.limits.piece() && steps <= STEPS_AT_ONCE) {
                piece.bytes = bytes;
                piece.rows.end = row + 1;
            } else if rows.start > 0 || bytes > whole_max || steps > STEPS_AT_ONCE {
                // Of what does not go as a whole, each row is looked at in its piece only.
                return Ok(piece);
            }
        }
        Ok(Piece { rows, bytes })
    }

    fn cost(&self, row: &Row<'_>) -> Result<Cost, DataFusionError> {
        let cost = match self.growth {
            Growth::Bounded => Cost::default(),
            Growth::Linear(times) => Cost {
                bytes: row.all_bytes().saturating_mul(times),
                steps: 0,
            },
            Growth::Computed(cost) => cost(row),
        };
        if cost.steps > STEPS_MAX {
            return Err(DataFusionError::Execution(format!(
                "{}() would take too long for values of {} bytes, and nothing could end it",
                self.name(),
                row.all_bytes()
            )));
        }
        let bytes = cost.bytes.saturating_add(row.constant_bytes());
        Ok(Cost {
            bytes: bytes.saturating_add(ROW_BYTES),
            steps: cost.steps,
        })
    }
}

/// The arguments of a call as arrays.
fn arguments(values: &[ColumnarValue]) -> Result<Vec<Argument>, DataFusionError> {
    let argument = |value: &ColumnarValue| {
        Ok(match value {
            ColumnarValue::Array(array) => Argument {
                array: Arc::clone(array),
                is_constant: false,
            },
            ColumnarValue::Scalar(value) => Argument {
                array: value.to_array()?,
                is_constant: true,
            },
        })
    };
    values.iter().map(argument).collect()
}

/// A call for some of its rows.
fn part(call: &ScalarFunctionArgs, rows: &Range<usize>) -> ScalarFunctionArgs {
    let mut part = call.clone();
    if rows.len() < call.number_rows {
        part.number_rows = rows.len();
        for value in &mut part.args {
            if let ColumnarValue::Array(array) = value {
                *array = array.slice(rows.start, rows.len());
            }
        }
    }
    part
}

/// The array, whose reservation ends with the largest of its buffers.
fn held(array: &ArrayRef, reservation: MemoryReservation) -> Result<ArrayRef, DataFusionError> {
    Ok(make_array(held_data(array.to_data(), reservation)?))
}

fn held_data(
    data: ArrayData,
    reservation: MemoryReservation,
) -> Result<ArrayData, DataFusionError> {
    let nulls = data.nulls().map(|nulls| nulls_at(data.offset(), nulls));
    let sizes = data.buffers().iter().map(Buffer::len).enumerate();
    let own = sizes.max_by_key(|(_, bytes)| *bytes);
    let sizes = data
        .child_data()
        .iter()
        .map(ArrayData::get_buffer_memory_size);
    let child = sizes.enumerate().max_by_key(|(_, bytes)| *bytes);
    let bytes = |largest: Option<(usize, usize)>| largest.map_or(0, |(_, bytes)| bytes);
    let built = match (own, child) {
        (_, Some((place, _))) if bytes(child) > bytes(own) => {
            let mut children = data.child_data().to_vec();
            let child = children.swap_remove(place);
            children.push(held_data(child, reservation)?);
            let last = children.len() - 1;
            children.swap(place, last);
            data.into_builder()
                .nulls(nulls)
                .child_data(children)
                .build()
        }
        (Some((place, _)), _) if bytes(own) > 0 => {
            let mut buffers = data.buffers().to_vec();
            let buffer = std::mem::replace(&mut buffers[place], Buffer::from(&[] as &[u8]));
            buffers[place] = Buffer::from(Bytes::from_owner(Held {
                buffer,
                _reservation: reservation,
            }));
            data.into_builder().nulls(nulls).buffers(buffers).build()
        }
        _ => Ok(data),
    };
    Ok(built?)
}

/// The nulls of an array that begins at this place of its buffers, in a buffer that has those before it, too.
///
/// SUBTLE: arrow 58 takes them from where they are when it works with them, and from that place when it checks
/// how long they are; its own `nullif` makes a buffer without the ones before.
fn nulls_at(offset: usize, nulls: &NullBuffer) -> NullBuffer {
    let mut bits = BooleanBufferBuilder::new(offset + nulls.len());
    bits.append_n(offset, false);
    bits.append_buffer(nulls.inner());
    NullBuffer::new(bits.finish().slice(offset, nulls.len()))
}

/// A buffer that was asked for.
struct Held {
    buffer: Buffer,
    _reservation: MemoryReservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

impl ScalarUDFImpl for Guarded {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String, DataFusionError> {
        self.inner.schema_name(arguments)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        self.inner.return_type(arguments)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let updated = Arc::new(self.inner.with_updated_config(config)?);
        Some(ScalarUDF::clone(&guard(&updated, &self.limits)))
    }

    fn return_field_from_args(
        &self,
        arguments: ReturnFieldArgs<'_>,
    ) -> Result<FieldRef, DataFusionError> {
        self.inner.return_field_from_args(arguments)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        if !call.args.is_empty() && call.args.iter().all(is_scalar) {
            return self.constant(call);
        }
        let (array, reservation) = self.array(&call)?;
        Ok(ColumnarValue::Array(held(&array, reservation)?))
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult, DataFusionError> {
        // What joins constants while a plan is made asks nobody.
        if rule::constant_bytes(&arguments) > CONSTANT_BYTES_MAX {
            return Ok(ExprSimplifyResult::Original(arguments));
        }
        // A function can look for another one among its arguments: `array_has` for `make_array`.
        let plain = arguments.into_iter().map(plain).collect();
        let guarded = |expression| Ok(rule::guarded(expression, &self.limits)?.data);
        Ok(match self.inner.simplify(plain, context)? {
            ExprSimplifyResult::Simplified(simple) => {
                ExprSimplifyResult::Simplified(guarded(simple)?)
            }
            ExprSimplifyResult::Original(arguments) => {
                let arguments: Result<Vec<Expr>, DataFusionError> =
                    arguments.into_iter().map(guarded).collect();
                ExprSimplifyResult::Original(arguments?)
            }
        })
    }

    fn preimage(
        &self,
        arguments: &[Expr],
        literal: &Expr,
        context: &SimplifyContext,
    ) -> Result<PreimageResult, DataFusionError> {
        self.inner.preimage(arguments, literal, context)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        arguments: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(arguments)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval, DataFusionError> {
        self.inner.evaluate_bounds(inputs)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>, DataFusionError> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(
        &self,
        inputs: &[ExprProperties],
    ) -> Result<SortProperties, DataFusionError> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool, DataFusionError> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        self.inner.coerce_types(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(arguments)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        BinaryArray, BooleanArray, FixedSizeBinaryArray, Int64Array, ListArray, StringArray,
        StringViewArray, StructArray,
    };
    use datafusion::arrow::compute::nullif;
    use datafusion::arrow::datatypes::{Field, Int64Type};

    use std::time::Duration;

    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::EngineSettings;
    use crate::limits::QueryMemory;

    /// Parts of arrays of each layout, all of whose values are null by `nullif` but the first.
    fn parts() -> Vec<ArrayRef> {
        let texts: Vec<String> = (0..400)
            .map(|n| format!("a text longer than a view {n}"))
            .collect();
        let bytes: Vec<&[u8]> = texts.iter().map(|text| &text.as_bytes()[..16]).collect();
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..400));
        let lists = (0..400).map(|n| Some(vec![Some(n), None]));
        let field = Arc::new(Field::new("n", DataType::Int64, true));
        let all: Vec<ArrayRef> = vec![
            Arc::clone(&numbers),
            Arc::new(BooleanArray::from(vec![true; 400])),
            Arc::new(StringArray::from_iter_values(&texts)),
            Arc::new(StringViewArray::from_iter_values(&texts)),
            Arc::new(BinaryArray::from_iter_values(&bytes)),
            Arc::new(
                FixedSizeBinaryArray::try_from_iter(bytes.iter()).expect("all are of one length"),
            ),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
            Arc::new(StructArray::from(vec![(field, numbers)])),
        ];
        let are_null = BooleanArray::from((0..200).map(|n| n > 0).collect::<Vec<bool>>());
        all.iter()
            .map(|array| nullif(&array.slice(200, 200), &are_null).expect("as many as values"))
            .collect()
    }

    #[test]
    fn a_part_of_an_array_whose_nulls_are_new_is_held_as_it_is() {
        let memory = QueryMemory::new(EngineSettings::default().memory_limit);
        let limits = QueryLimits::new(
            &memory,
            Duration::from_secs(60),
            Instant::now(),
            CancellationToken::new(),
        );
        for array in parts() {
            let bytes = size::bytes(&array, 0..array.len());
            let reservation = limits.reserve("nullif", bytes).expect("there is much");
            let kept = held(&array, reservation).expect("it is an array");
            assert_eq!(&kept, &array);
            assert_eq!(kept.null_count(), 199, "{}", array.data_type());
            assert!(memory.reserved() as u64 >= bytes, "{}", array.data_type());
            drop(kept);
            assert_eq!(memory.reserved(), 0);
        }
    }
}
