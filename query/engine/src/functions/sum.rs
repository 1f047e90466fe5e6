//! `sum` that never wraps around: of int it is a bigint, of bigint and of decimals a decimal of 38
//! digits, as near to PostgreSQL's numeric as there is. A sum that has more is an error.
//!
//! Sums are kept in 128 bits. One that does not fit stays at the largest number, which is no sum of 38
//! digits, and is told when somebody asks for it. Floats are DataFusion's.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, Int64Array,
    ListArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, not, nullif, prep_null_mask_filter};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Field, FieldRef, Int32Type,
    Int64Type,
};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature, Volatility,
};
use datafusion::physical_expr::NullState;
use datafusion::scalar::ScalarValue;

use super::arithmetic::out_of_range;

/// What a sum is that does not fit.
const TOO_LARGE: i128 = i128::MAX;

pub(crate) fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(Sum {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    signature: Signature,
}

/// Is it one of the types that are summed here?
fn is_own(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Int32 | DataType::Int64 | DataType::Decimal128(..)
    )
}

/// Of the decimals that sums are kept as.
fn scale(kind: &DataType) -> i8 {
    match kind {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn state_type(kind: &DataType) -> DataType {
    DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale(kind))
}

fn only<T: Clone>(of: &[T]) -> Result<T, DataFusionError> {
    match of {
        [only] => Ok(only.clone()),
        _ => Err(DataFusionError::Plan("sum() takes one argument".to_owned())),
    }
}

fn input(arguments: &AccumulatorArgs<'_>) -> Result<DataType, DataFusionError> {
    Ok(only(arguments.expr_fields)?.data_type().clone())
}

impl AggregateUDFImpl for Sum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let kind = match only(kinds)? {
            DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => {
                DataType::Int32
            }
            DataType::UInt32 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Float16 | DataType::Float32 => DataType::Float64,
            DataType::Null => DataType::Int64,
            kind if kind.is_numeric() || matches!(kind, DataType::Duration(_)) => kind,
            other => {
                let why = format!("function sum({}) does not exist", crate::type_name(&other));
                return Err(DataFusionError::Plan(why));
            }
        };
        Ok(vec![kind])
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType, DataFusionError> {
        match only(kinds)? {
            DataType::Int32 => Ok(DataType::Int64),
            kind @ (DataType::Int64 | DataType::Decimal128(..)) => Ok(state_type(&kind)),
            kind => sum_udaf().return_type(&[kind]),
        }
    }

    fn state_fields(
        &self,
        arguments: StateFieldsArgs<'_>,
    ) -> Result<Vec<FieldRef>, DataFusionError> {
        let kind = only(arguments.input_fields)?.data_type().clone();
        if !is_own(&kind) {
            return sum_udaf().state_fields(arguments);
        }
        let state = state_type(&kind);
        let field = match arguments.is_distinct {
            true => Field::new_list(
                format_state_name(arguments.name, "sum distinct"),
                Field::new_list_field(state, true),
                true,
            ),
            false => Field::new(format_state_name(arguments.name, "sum"), state, true),
        };
        Ok(vec![Arc::new(field)])
    }

    fn accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>, DataFusionError> {
        let kind = input(&arguments)?;
        if !is_own(&kind) {
            return sum_udaf().accumulator(arguments);
        }
        let shape = Shape {
            output: arguments.return_field.data_type().clone(),
            state: state_type(&kind),
        };
        Ok(match arguments.is_distinct {
            true => Box::new(Distinct {
                shape,
                values: HashSet::new(),
            }),
            false => Box::new(Running {
                shape,
                sum: 0,
                count: 0,
            }),
        })
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>, DataFusionError> {
        match is_own(&input(&arguments)?) {
            true => self.accumulator(arguments),
            false => sum_udaf().create_sliding_accumulator(arguments),
        }
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
        let kind = input(&arguments)?;
        if !is_own(&kind) {
            return sum_udaf().create_groups_accumulator(arguments);
        }
        Ok(Box::new(Groups {
            shape: Shape {
                output: arguments.return_field.data_type().clone(),
                state: state_type(&kind),
            },
            sums: Vec::new(),
            nulls: NullState::new(),
        }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The types of what comes out.
#[derive(Debug)]
struct Shape {
    output: DataType,
    state: DataType,
}

impl Shape {
    fn fits(&self, sum: i128) -> Result<i128, DataFusionError> {
        match Decimal128Type::is_valid_decimal_precision(sum, DECIMAL128_MAX_PRECISION) {
            true => Ok(sum),
            false => Err(out_of_range(&self.state)),
        }
    }

    fn answer(&self, sum: Option<i128>) -> Result<ScalarValue, DataFusionError> {
        let sum = sum.map(|sum| self.fits(sum)).transpose()?;
        if self.output == DataType::Int64 {
            let sum = sum.map(|sum| i64::try_from(sum).map_err(|_| out_of_range(&self.output)));
            return Ok(ScalarValue::Int64(sum.transpose()?));
        }
        Ok(self.state_value(sum))
    }

    fn state_value(&self, sum: Option<i128>) -> ScalarValue {
        ScalarValue::Decimal128(sum, DECIMAL128_MAX_PRECISION, scale(&self.state))
    }
}

fn add(sum: &mut i128, value: i128) {
    if *sum != TOO_LARGE {
        *sum = sum.checked_add(value).unwrap_or(TOO_LARGE);
    }
}

/// The values of an array that are not null.
fn each(array: &ArrayRef, mut see: impl FnMut(i128)) -> Result<(), DataFusionError> {
    fn values<T: ArrowPrimitiveType<Native: Into<i128>>>(
        array: &ArrayRef,
        see: &mut impl FnMut(i128),
    ) {
        let array = array.as_primitive::<T>();
        if array.null_count() == 0 {
            array.values().iter().for_each(|value| see((*value).into()));
        } else {
            array.iter().flatten().for_each(|value| see(value.into()));
        }
    }
    match array.data_type() {
        DataType::Int32 => values::<Int32Type>(array, &mut see),
        DataType::Int64 => values::<Int64Type>(array, &mut see),
        DataType::Decimal128(..) => values::<Decimal128Type>(array, &mut see),
        other => return Err(unplanned(other)),
    }
    Ok(())
}

fn unplanned(kind: &DataType) -> DataFusionError {
    DataFusionError::Internal(format!("sum() is not planned with {kind}"))
}

/// One sum; of a window's frame, too.
#[derive(Debug)]
struct Running {
    shape: Shape,
    sum: i128,
    count: u64,
}

impl Running {
    fn sum(&self) -> Option<i128> {
        (self.count > 0).then_some(self.sum)
    }
}

impl Accumulator for Running {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        let (mut sum, mut count) = (self.sum, self.count);
        each(&only(values)?, |value| {
            add(&mut sum, value);
            count += 1;
        })?;
        (self.sum, self.count) = (sum, count);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<(), DataFusionError> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        let (mut sum, mut count) = (self.sum, self.count);
        each(&only(values)?, |value| {
            add(&mut sum, value.checked_neg().unwrap_or(TOO_LARGE));
            count -= 1;
        })?;
        (self.sum, self.count) = (sum, count);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue, DataFusionError> {
        self.shape.answer(self.sum())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>, DataFusionError> {
        let sum = self.sum().map(|sum| self.shape.fits(sum)).transpose()?;
        Ok(vec![self.shape.state_value(sum)])
    }

    fn size(&self) -> usize {
        size_of::<Running>()
    }
}

/// `sum(DISTINCT …)`
#[derive(Debug)]
struct Distinct {
    shape: Shape,
    values: HashSet<i128>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        each(&only(values)?, |value| {
            self.values.insert(value);
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<(), DataFusionError> {
        for values in only(states)?.as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue, DataFusionError> {
        let mut sum = 0;
        for value in &self.values {
            add(&mut sum, *value);
        }
        self.shape.answer((!self.values.is_empty()).then_some(sum))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>, DataFusionError> {
        let values: Decimal128Array = self.values.iter().copied().map(Some).collect();
        let values = Arc::new(values.with_data_type(self.shape.state.clone()));
        let list = ListArray::try_new(
            Arc::new(Field::new_list_field(self.shape.state.clone(), true)),
            OffsetBuffer::from_lengths([values.len()]),
            values,
            None,
        )?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn size(&self) -> usize {
        size_of::<Distinct>() + self.values.capacity() * (size_of::<i128>() + 1)
    }
}

/// A sum per group.
#[derive(Debug)]
struct Groups {
    shape: Shape,
    sums: Vec<i128>,
    nulls: NullState,
}

impl Groups {
    fn take(&mut self, emit_to: EmitTo) -> Result<Decimal128Array, DataFusionError> {
        let sums = emit_to.take_needed(&mut self.sums);
        for sum in &sums {
            self.shape.fits(*sum)?;
        }
        let nulls = self.nulls.build(emit_to);
        let sums = Decimal128Array::try_new(sums.into(), nulls)?;
        Ok(sums.with_data_type(self.shape.state.clone()))
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<(), DataFusionError> {
        let values = only(values)?;
        self.sums.resize(count, 0);
        let (sums, nulls) = (&mut self.sums, &mut self.nulls);
        macro_rules! accumulate {
            ($kind:ty) => {
                nulls.accumulate(
                    groups,
                    values.as_primitive::<$kind>(),
                    filter,
                    count,
                    |group, value| add(&mut sums[group], value.into()),
                )
            };
        }
        match values.data_type() {
            DataType::Int32 => accumulate!(Int32Type),
            DataType::Int64 => accumulate!(Int64Type),
            DataType::Decimal128(..) => accumulate!(Decimal128Type),
            other => return Err(unplanned(other)),
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<(), DataFusionError> {
        self.update_batch(states, groups, filter, count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef, DataFusionError> {
        let sums = self.take(emit_to)?;
        if self.shape.output != DataType::Int64 {
            return Ok(Arc::new(sums));
        }
        let narrow = |sum: &i128| i64::try_from(*sum).map_err(|_| out_of_range(&DataType::Int64));
        let values: Vec<i64> = sums.values().iter().map(narrow).collect::<Result<_, _>>()?;
        Ok(Arc::new(Int64Array::try_new(
            values.into(),
            sums.nulls().cloned(),
        )?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>, DataFusionError> {
        Ok(vec![Arc::new(self.take(emit_to)?)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>, DataFusionError> {
        let values = cast(&only(values)?, &self.shape.state)?;
        Ok(vec![match filter {
            Some(filter) => nullif(&values, &not(&prep_null_mask_filter(filter))?)?,
            None => values,
        }])
    }

    fn supports_convert_to_state(&self) -> bool {
        true
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.nulls.size()
    }
}
