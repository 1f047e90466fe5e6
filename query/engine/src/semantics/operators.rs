//! Operators between types that meet otherwise than in DataFusion.
//!
//! They are planned so, since a plan has no type for some of them, and looked at once more in
//! `operands::MatchOperands`, when all types are known: until a plan is analyzed, a `CASE` of a subquery
//! says that it has the type of its first value.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::functions::core::arrow_cast;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawWindowExpr,
};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::operands::{TIMESTAMP, cast_to, match_all, matched, text_of_uuid};
use crate::functions::arithmetic;
use crate::functions::calendar::Zone;

/// Plans them.
#[derive(Debug)]
pub(crate) struct PostgresOperators {
    /// Of the SQL session.
    pub(crate) zone: Zone,
}

impl ExprPlanner for PostgresOperators {
    fn plan_binary_op(
        &self,
        operation: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>, DataFusionError> {
        let RawBinaryExpr {
            op,
            mut left,
            mut right,
        } = operation;
        let original = |left, right| {
            Ok(PlannerResult::Original(RawBinaryExpr {
                op: op.clone(),
                left,
                right,
            }))
        };
        let (Ok(mut left_type), Ok(mut right_type)) = (
            kind_of(&left, schema, &self.zone),
            kind_of(&right, schema, &self.zone),
        ) else {
            return original(left, right);
        };
        if is_of_text(&op) {
            return original(
                text_of_uuid(left, &left_type),
                text_of_uuid(right, &right_type),
            );
        }
        let Some(own) = met_in_one_type(&op) else {
            return original(left, right);
        };
        if is_arithmetic(own) {
            narrow((&mut left, &mut left_type), (&mut right, &mut right_type));
        }
        let whole = BinaryExpr::new(Box::new(left.clone()), own, Box::new(right.clone()));
        let kinds = [left_type, right_type];
        match met([left, right], own, &kinds, &self.zone) {
            // A number of a subquery may have another type when all are known: the text is read then.
            Err(_)
                if kinds.iter().any(DataType::is_numeric)
                    && whole.left.any_column_refs() | whole.right.any_column_refs()
                    && Expr::BinaryExpr(whole.clone()).get_type(schema).is_ok() =>
            {
                Ok(PlannerResult::Planned(Expr::BinaryExpr(whole)))
            }
            met => Ok(PlannerResult::Planned(met?)),
        }
    }

    /// SUBTLE: DataFusion 53 leaves casts out of names, and has no two aggregates of one name.
    fn plan_aggregate(
        &self,
        mut aggregate: RawAggregateExpr,
    ) -> Result<PlannerResult<RawAggregateExpr>, DataFusionError> {
        name_casts(&mut aggregate.args)?;
        Ok(PlannerResult::Original(aggregate))
    }

    fn plan_window(
        &self,
        mut window: RawWindowExpr,
    ) -> Result<PlannerResult<RawWindowExpr>, DataFusionError> {
        name_casts(&mut window.args)?;
        Ok(PlannerResult::Original(window))
    }
}

fn name_casts(arguments: &mut [Expr]) -> Result<(), DataFusionError> {
    for argument in arguments {
        *argument = std::mem::take(argument)
            .transform_up(|part| Ok(named_cast(part)))?
            .data;
    }
    Ok(())
}

/// A cast, as a function that says so in its name. The optimizer takes the function away again.
fn named_cast(part: Expr) -> Transformed<Expr> {
    match part {
        Expr::Cast(Cast { ref data_type, .. })
            if data_type.to_string().parse().ok().as_ref() == Some(data_type) =>
        {
            let kind = lit(data_type.to_string());
            let call = ScalarFunction::new_udf(arrow_cast(), vec![part, kind]);
            Transformed::yes(Expr::ScalarFunction(call))
        }
        other => Transformed::no(other),
    }
}

/// Constants that fit are integers of 32 bits beside others, as PostgreSQL's are, and so is what they give.
fn narrow(left: (&mut Expr, &mut DataType), right: (&mut Expr, &mut DataType)) {
    let value = |side: &Expr| match side {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => i32::try_from(*value).ok(),
        _ => None,
    };
    let is_short =
        |kind: &DataType| matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32);
    let values = [value(left.0), value(right.0)];
    if (values[0].is_some() || is_short(left.1)) && (values[1].is_some() || is_short(right.1)) {
        for ((side, kind), value) in [left, right].into_iter().zip(values) {
            if let Some(value) = value {
                *side = Expr::Literal(ScalarValue::Int32(Some(value)), None);
                *kind = DataType::Int32;
            }
        }
    }
}

/// The operators whose sides meet in one type.
fn met_in_one_type(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        _ => return None,
    })
}

pub(super) fn is_arithmetic(op: Operator) -> bool {
    matches!(
        op,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
    )
}

pub(super) fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
    )
}

/// A comparison or a calculation whose sides are of these types.
pub(super) fn met(
    mut sides: [Expr; 2],
    op: Operator,
    kinds: &[DataType; 2],
    zone: &Zone,
) -> Result<Expr, DataFusionError> {
    let reads_texts =
        is_comparison(op) || is_arithmetic(op) && kinds.iter().any(DataType::is_numeric);
    let kinds = match_all(&mut sides, kinds, reads_texts.then_some(zone))?;
    let [mut left, mut right] = sides;
    let with_date = |one: &DataType, other: &DataType| {
        matches!((one, other), (DataType::Date32, DataType::Interval(_)))
    };
    // A day has no hours to add to: it is a timestamp from here on.
    if is_arithmetic(op) && with_date(&kinds[0], &kinds[1]) {
        left = cast_to(left, &TIMESTAMP)?;
    } else if op == Operator::Plus && with_date(&kinds[1], &kinds[0]) {
        right = cast_to(right, &TIMESTAMP)?;
    }
    let is_exact = kinds.iter().all(arithmetic::is_exact);
    let is_decimal = |kind: &DataType| matches!(kind, DataType::Decimal128(..));
    Ok(match op {
        Operator::Divide if is_exact && kinds.iter().any(is_decimal) => {
            arithmetic::quotient(left, right)
        }
        Operator::Multiply if is_exact && arithmetic::is_long(&kinds[0], &kinds[1]) => {
            arithmetic::product(left, right)
        }
        op => Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))),
    })
}

/// The type that an operand has as soon as the plan is analyzed: until then, a `CASE` says that it has the
/// type of its first value.
fn kind_of(operand: &Expr, schema: &DFSchema, zone: &Zone) -> Result<DataType, DataFusionError> {
    if !operand.exists(|part| Ok(matches!(part, Expr::Case(_))))? {
        return operand.get_type(schema);
    }
    let matched = operand
        .clone()
        .transform_up(|part| matched(part, schema, zone, false, true))?;
    matched.data.get_type(schema)
}

fn is_of_text(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::StringConcat
            | BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
    )
}
