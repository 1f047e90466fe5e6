//! A constant text where a truth value has to stand is read as one: `WHERE 'on'`, `NOT $1`.
//!
//! PostgreSQL's literals have no type but the one that their place wants. Of the values beside others that is found
//! as they are planned (`semantics`); a condition stands beside nothing.
//! Leaves to others: which texts are true (`functions::literals`), and conditions of a wrong type.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Query, SetExpr, UnaryOperator, Value,
};
use tarn_model::ByteSize;

use crate::QueryError;
use crate::functions::literals;

/// Reads the conditions of a query, after its parameters have their values.
pub(super) fn of_query(query: &mut Query) -> Result<(), QueryError> {
    of_body(&mut query.body)
}

fn of_body(body: &mut SetExpr) -> Result<(), QueryError> {
    match body {
        SetExpr::Select(select) => {
            let joins = select.from.iter_mut().flat_map(|from| &mut from.joins);
            let on = joins.filter_map(|join| match &mut join.join_operator {
                JoinOperator::Join(JoinConstraint::On(on))
                | JoinOperator::Inner(JoinConstraint::On(on))
                | JoinOperator::Left(JoinConstraint::On(on))
                | JoinOperator::LeftOuter(JoinConstraint::On(on))
                | JoinOperator::Right(JoinConstraint::On(on))
                | JoinOperator::RightOuter(JoinConstraint::On(on))
                | JoinOperator::FullOuter(JoinConstraint::On(on)) => Some(on),
                _ => None,
            });
            let filters = select.selection.iter_mut().chain(&mut select.having);
            on.chain(filters).try_for_each(read)
        }
        SetExpr::SetOperation { left, right, .. } => {
            of_body(left)?;
            of_body(right)
        }
        // A query in brackets is visited by itself.
        _ => Ok(()),
    }
}

/// Reads the conditions that an expression has in it.
pub(super) fn of_expression(expression: &mut Expr) -> Result<(), QueryError> {
    match expression {
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        }
        | Expr::IsTrue(expr)
        | Expr::IsNotTrue(expr)
        | Expr::IsFalse(expr)
        | Expr::IsNotFalse(expr)
        | Expr::IsUnknown(expr)
        | Expr::IsNotUnknown(expr) => read(expr),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            read(left)?;
            read(right)
        }
        Expr::Case {
            operand: None,
            conditions,
            ..
        } => conditions
            .iter_mut()
            .try_for_each(|it| read(&mut it.condition)),
        Expr::Function(call) => call.filter.iter_mut().try_for_each(|it| read(it)),
        _ => Ok(()),
    }
}

fn read(condition: &mut Expr) -> Result<(), QueryError> {
    match condition {
        Expr::Nested(inner) => read(inner),
        Expr::Value(value) => {
            if let Value::SingleQuotedString(text) = &value.value {
                let is_true = literals::boolean(text);
                let is_true = is_true.map_err(|error| QueryError::of(&error, ByteSize(0)))?;
                value.value = Value::Boolean(is_true);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
