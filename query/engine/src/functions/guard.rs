//! Functions of SQL that ask before they take memory, and end when the query's time is over.
//!
//! ```text
//! rows of arguments ─▶ pieces, by what each row can need ─▶ reserve, call ─▶ answer with its reservation
//! ```
//!
//! Holds for every function whose values have no fixed width, or for whose work a limit is known (`growth`):
//! what a call can need is reserved in the memory of queries before the function runs, and what it gave stays
//! reserved until nobody has it any more. A call with many rows is divided, so that its worst case counts for
//! a part of them. A query whose time is over calls none.
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
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, make_array};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::udf_eq::UdfEq;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use self::growth::{Argument, Growth};
pub(crate) use self::rule::{GuardFunctions, note_constants};
use crate::limits::QueryLimits;

/// A constant of a plan is no wider, unless the statement itself holds it.
const CONSTANT_BYTES_MAX: u64 = 4 << 10;
/// Steps of a call after which the clock is looked at: some tenths of a second.
const STEPS_AT_ONCE: u128 = 1 << 28;
/// Steps for one row, which nothing can interrupt: some tens of seconds.
const STEPS_MAX: u128 = 1 << 34;

/// The function, guarded for one query.
pub(crate) fn guard(function: &Arc<ScalarUDF>, limits: &Arc<QueryLimits>) -> Arc<ScalarUDF> {
    // A field is a part of its row that is not copied, and scans look for this function by its type.
    if function.inner().as_any().is::<Guarded>() || function.name() == "get_field" {
        return Arc::clone(function);
    }
    Arc::new(ScalarUDF::new_from_impl(Guarded {
        inner: Arc::clone(function.inner()).into(),
        growth: growth::of(function.name()),
        limits: Arc::clone(limits),
    }))
}

/// What a function is under its guard.
pub(crate) fn inner(function: &ScalarUDF) -> &Arc<dyn ScalarUDFImpl> {
    match function.inner().as_any().downcast_ref::<Guarded>() {
        Some(guarded) => &guarded.inner,
        None => function.inner(),
    }
}

/// The expression without a guard on the function that it is a call of.
fn plain(expression: Expr) -> Expr {
    match expression {
        Expr::ScalarFunction(mut call) => {
            let inner = Arc::clone(inner(&call.func));
            call.func = Arc::new(ScalarUDF::new_from_shared_impl(inner));
            Expr::ScalarFunction(call)
        }
        other => other,
    }
}

/// A function that asks. In everything but its calls it is the function that it guards.
#[derive(Debug)]
struct Guarded {
    inner: UdfEq<Arc<dyn ScalarUDFImpl>>,
    growth: Option<Growth>,
    limits: Arc<QueryLimits>,
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
    /// The answer for some of a call's rows, which are divided if they can need much.
    fn answer(
        &self,
        call: &ScalarFunctionArgs,
        arguments: &[Argument],
        rows: Range<usize>,
    ) -> Result<ArrayRef, DataFusionError> {
        self.limits.check()?;
        let cost = growth::cost(self.growth, arguments, &rows);
        let is_much = cost.bytes > self.limits.piece().into() || cost.steps > STEPS_AT_ONCE;
        if is_much && rows.len() > 1 {
            let middle = rows.start + rows.len() / 2;
            let first = self.answer(call, arguments, rows.start..middle)?;
            let second = self.answer(call, arguments, middle..rows.end)?;
            let bytes = size_of(&first) + size_of(&second);
            let reservation = self.limits.reserve(self.name(), bytes)?;
            return Ok(held(&concat(&[&first, &second])?, reservation)?);
        }
        if cost.steps > STEPS_MAX {
            return Err(DataFusionError::Execution(format!(
                "{}() would take too long for one row, and nothing could end it",
                self.name()
            )));
        }
        let bytes = u64::try_from(cost.bytes).unwrap_or(u64::MAX);
        let reservation = self.limits.reserve(self.name(), bytes)?;
        let answer = self.inner.invoke_with_args(part(call, &rows))?;
        let answer = answer.into_array(rows.len())?;
        // What was needed is in the answer, or free again.
        reservation.free();
        self.limits.grow(&reservation, size_of(&answer))?;
        Ok(held(&answer, reservation)?)
    }
}

fn size_of(array: &ArrayRef) -> u64 {
    size::bytes(array, 0..array.len())
}

/// A call for some of its rows.
fn part(call: &ScalarFunctionArgs, rows: &Range<usize>) -> ScalarFunctionArgs {
    let mut part = call.clone();
    part.number_rows = rows.len();
    for value in &mut part.args {
        if let ColumnarValue::Array(array) = value {
            *array = array.slice(rows.start, rows.len());
        }
    }
    part
}

/// The array, whose reservation ends with the last of its buffers.
fn held(array: &ArrayRef, reservation: MemoryReservation) -> Result<ArrayRef, ArrowError> {
    Ok(make_array(held_data(
        array.to_data(),
        &Arc::new(reservation),
    )?))
}

fn held_data(
    data: ArrayData,
    reservation: &Arc<MemoryReservation>,
) -> Result<ArrayData, ArrowError> {
    // SUBTLE: arrow 58 looks for nulls behind the offset of an array, and its own `nullif` puts them at the start
    // of a buffer. Only bits have an offset, and they are few.
    if data.offset() > 0 {
        return Ok(data);
    }
    let buffer = |buffer: &Buffer| {
        let (buffer, reservation) = (buffer.clone(), Arc::clone(reservation));
        Buffer::from(Bytes::from_owner(Held(buffer, reservation)))
    };
    let buffers = data.buffers().iter().map(buffer).collect();
    let child = |child: &ArrayData| held_data(child.clone(), reservation);
    let children: Result<Vec<ArrayData>, ArrowError> =
        data.child_data().iter().map(child).collect();
    let built = data.into_builder().buffers(buffers);
    built.child_data(children?).build()
}

/// A buffer that was asked for.
struct Held(
    Buffer,
    #[expect(dead_code, reason = "it is there to be dropped")] Arc<MemoryReservation>,
);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Values that take a few bytes, of which a row has one.
fn has_width(kind: &DataType) -> bool {
    kind.is_primitive() || matches!(kind, DataType::Boolean | DataType::FixedSizeBinary(_))
}

/// Methods that answer as the function does that is guarded.
macro_rules! as_inner {
    ($(fn $name:ident$(<$life:lifetime>)?($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name$(<$life>)?(&self $(, $argument: $type)*) -> $answer {
            self.inner.$name($($argument),*)
        })*
    };
}

impl ScalarUDFImpl for Guarded {
    as_inner! {
        fn name() -> &str;
        fn aliases() -> &[String];
        fn documentation() -> Option<&Documentation>;
        fn signature() -> &Signature;
        fn short_circuits() -> bool;
        fn schema_name(arguments: &[Expr]) -> Result<String, DataFusionError>;
        fn coerce_types(arguments: &[DataType]) -> Result<Vec<DataType>, DataFusionError>;
        fn return_type(arguments: &[DataType]) -> Result<DataType, DataFusionError>;
        fn return_field_from_args(arguments: ReturnFieldArgs<'_>) -> Result<FieldRef, DataFusionError>;
        fn conditional_arguments<'a>(arguments: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)>;
        fn evaluate_bounds(inputs: &[&Interval]) -> Result<Interval, DataFusionError>;
        fn output_ordering(inputs: &[ExprProperties]) -> Result<SortProperties, DataFusionError>;
        fn preserves_lex_ordering(inputs: &[ExprProperties]) -> Result<bool, DataFusionError>;
        fn preimage(
            arguments: &[Expr],
            literal: &Expr,
            context: &SimplifyContext
        ) -> Result<PreimageResult, DataFusionError>;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let updated = Arc::new(self.inner.with_updated_config(config)?);
        Some(ScalarUDF::clone(&guard(&updated, &self.limits)))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        if self.growth.is_none() && has_width(call.return_field.data_type()) {
            return self.inner.invoke_with_args(call);
        }
        let arguments = Argument::of(&call.args)?;
        let answer = self.answer(&call, &arguments, 0..call.number_rows)?;
        let bytes = size_of(&answer);
        if !self.limits.runs() && bytes > CONSTANT_BYTES_MAX {
            self.limits.has_constant(bytes);
            // The expression then stays as it is: an error may be one that never happens.
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{}() gives {bytes} bytes, too many for a constant of a plan",
                self.name()
            )));
        }
        Ok(ColumnarValue::Array(answer))
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult, DataFusionError> {
        // What joins constants while a plan is made asks nobody.
        if constants(&arguments) > CONSTANT_BYTES_MAX {
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
}

/// Bytes of those expressions that are constants.
fn constants(expressions: &[Expr]) -> u64 {
    let bytes = |expression: &Expr| match expression {
        Expr::Literal(value, _) => value.size() as u64,
        _ => 0,
    };
    expressions.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests;
