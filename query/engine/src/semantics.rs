//! PostgreSQL's meaning of what DataFusion takes otherwise.
//!
//! | step | when | what |
//! | --- | --- | --- |
//! | `lateral` | first | `FROM t, unnest(t.items)` |
//! | `operators`, `operands` | before types are matched | which type two operands meet in |
//! | `sets` | beside it | the types of `UNION`, `INTERSECT` and `EXCEPT` |
//! | `rule` | after | checked arithmetic, casts, one zero and one NaN |
//! | `aggregates` | beside it | values that follow from other aggregates |
//! | `conditions` | while and after the plan is optimized | which rows are asked what |
//!
//! What is not named here is DataFusion's own.

mod aggregates;
mod conditions;
mod distinct;
mod lateral;
mod operands;
mod operators;
mod rule;
mod sets;

pub(crate) use conditions::{OrderConditions, can_fail, in_order};
pub(crate) use distinct::GroupDistinct;
pub(crate) use lateral::LateralUnnest;
pub(crate) use operands::MatchOperands;
pub(crate) use operators::PostgresOperators;
pub(crate) use rule::CheckedValues;
