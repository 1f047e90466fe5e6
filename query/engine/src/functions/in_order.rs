//! `AND` and `OR` that ask their sides in order, each for those rows only that are not decided yet.
//!
//! DataFusion's own ask all sides for all rows of a batch, and what fails in a row that another side has
//! refused already fails the query. To the planner this is a function of the columns that its sides read:
//! whatever moves it, moves all of it.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::array::{RecordBatchOptions, builder::BooleanBuilder};
use datafusion::arrow::compute::{and_kleene, or_kleene};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::guard::inner;
use super::infix_name;

/// What an `AND` of conditions does with a row of which one is neither true nor false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unknown {
    /// A value of its own: the sides that follow may still make it false.
    IsAsked,
    /// The row is refused, as by a filter, whatever follows.
    IsRefused,
}

const IN_ORDER: &str = "in_order";

pub(crate) fn is_one(function: &ScalarUDF) -> bool {
    inner(function).as_any().is::<InOrder>()
}

/// `sides`, joined by `op`; `schema` has their columns.
pub(crate) fn in_order(
    op: Operator,
    sides: Vec<Expr>,
    unknown: Unknown,
    schema: &DFSchema,
    props: &ExecutionProps,
) -> Result<Expr, DataFusionError> {
    let mut columns: Vec<Column> = Vec::new();
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut nullable = false;
    let text = format!("({})", infix_name(&sides, op));
    let mut numbered = Vec::new();
    let mut is_volatile = false;
    for side in sides {
        nullable |= side.nullable(schema)?;
        is_volatile |= side.is_volatile();
        let side = side.transform(|part| match part {
            Expr::Column(column) => {
                let place = match columns.iter().position(|known| *known == column) {
                    Some(place) => place,
                    None => {
                        let field = schema.field_from_column(&column)?;
                        let field = Field::new(
                            place_name(columns.len()),
                            field.data_type().clone(),
                            field.is_nullable(),
                        );
                        fields.push(Arc::new(field));
                        columns.push(column);
                        columns.len() - 1
                    }
                };
                let numbered = Column::new_unqualified(place_name(place));
                Ok(Transformed::yes(Expr::Column(numbered)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        numbered.push(side.data);
    }
    let fields: Schema = Schema::new(fields);
    let own = DFSchema::try_from(fields)?;
    let sides: Result<Vec<_>, DataFusionError> = numbered
        .iter()
        .map(|side| create_physical_expr(side, &own, props))
        .collect();
    let volatility = match is_volatile {
        true => Volatility::Volatile,
        false => Volatility::Immutable,
    };
    let function = ScalarUDF::new_from_impl(InOrder {
        op,
        sides: sides?,
        unknown,
        text,
        nullable,
        signature: match columns.len() {
            0 => Signature::nullary(volatility),
            count => Signature::any(count, volatility),
        },
    });
    let columns = columns.into_iter().map(Expr::Column).collect();
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::new(function),
        columns,
    )))
}

fn place_name(place: usize) -> String {
    format!("c{place}")
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    op: Operator,
    /// Of the arguments, by their places.
    sides: Vec<Arc<dyn PhysicalExpr>>,
    unknown: Unknown,
    /// The sides as they were written.
    text: String,
    nullable: bool,
    signature: Signature,
}

impl InOrder {
    /// The rows for which the next side is asked.
    fn undecided(&self, known: &BooleanArray) -> BooleanArray {
        let mut rows = BooleanBuilder::with_capacity(known.len());
        for value in known {
            rows.append_value(match value {
                Some(value) => value == (self.op == Operator::And),
                None => self.unknown == Unknown::IsAsked,
            });
        }
        rows.finish()
    }
}

impl ScalarUDFImpl for InOrder {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        &self.text
    }

    fn display_name(&self, _: &[Expr]) -> Result<String, DataFusionError> {
        Ok(self.text.clone())
    }

    fn schema_name(&self, _: &[Expr]) -> Result<String, DataFusionError> {
        Ok(self.text.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef, DataFusionError> {
        Ok(Arc::new(Field::new(
            IN_ORDER,
            DataType::Boolean,
            self.nullable,
        )))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let rows = call.number_rows;
        let columns: Result<Vec<ArrayRef>, DataFusionError> = call
            .args
            .into_iter()
            .map(|column| column.into_array(rows))
            .collect();
        let fields: Vec<FieldRef> = call.arg_fields;
        let batch = RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            columns?,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )?;
        let mut known: Option<BooleanArray> = None;
        for side in &self.sides {
            known = Some(match known {
                None => boolean(side.evaluate(&batch)?, rows)?,
                Some(known) => {
                    let undecided = self.undecided(&known);
                    if !undecided.has_true() {
                        return Ok(ColumnarValue::Array(Arc::new(known)));
                    }
                    let next = boolean(side.evaluate_selection(&batch, &undecided)?, rows)?;
                    match self.op {
                        Operator::And => and_kleene(&known, &next)?,
                        _ => or_kleene(&known, &next)?,
                    }
                }
            });
        }
        let known = known.ok_or_else(|| {
            DataFusionError::Internal(format!("{} is planned with sides", self.op))
        })?;
        Ok(ColumnarValue::Array(Arc::new(known)))
    }
}

fn boolean(value: ColumnarValue, rows: usize) -> Result<BooleanArray, DataFusionError> {
    let array = value.into_array(rows)?;
    match array.data_type() {
        DataType::Null => Ok(BooleanArray::new_null(rows)),
        _ => Ok(array.as_boolean().clone()),
    }
}
