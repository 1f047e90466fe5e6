//! The type that two operands meet in, where it is another one than DataFusion's.
//!
//! | operands | meet in |
//! | --- | --- |
//! | a float and any other number | double: a decimal has no NaN and no 1e300, a real not all integers |
//! | a constant text and anything; to calculate with, a number | the other one's type, as PostgreSQL reads it |
//! | uuid and text | text |
//! | date and timestamp | timestamp of microseconds |
//!
//! For operators this happens as they are planned (`operators`); lists, `BETWEEN`, `CASE` and some functions
//! follow in a rule of the analyzer, and operators once more.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::functions::core::nullif;
use datafusion::logical_expr::expr::{
    Between, Case, Cast, Exists, InList, InSubquery, Like, ScalarFunction, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, WindowFrameBound,
    WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use super::operators::{is_arithmetic, is_comparison, met};
use super::rule::input_schema;
use super::sets;
use crate::error::no_condition;
use crate::functions::calendar::Zone;
use crate::functions::floats::is_float;
use crate::functions::{arithmetic, casts, literals};

pub(super) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Brings the operands of a plan to their types.
#[derive(Debug)]
pub(crate) struct MatchOperands {
    /// Of the SQL session.
    pub(crate) zone: Zone,
}

impl AnalyzerRule for MatchOperands {
    fn name(&self) -> &'static str {
        "match_operands"
    }

    fn analyze(
        &self,
        plan: LogicalPlan,
        _: &ConfigOptions,
    ) -> Result<LogicalPlan, DataFusionError> {
        // Operators were planned by the types of before.
        let is_retyped = Cell::new(false);
        let matched = plan.transform_up_with_subqueries(|plan| {
            let schema = input_schema(&plan)?;
            let names = NamePreserver::new(&plan);
            let is_filter = matches!(plan, LogicalPlan::Filter(_));
            let before = Arc::clone(plan.schema());
            plan.map_expressions(|expression| {
                let name = names.save(&expression);
                let matched = expression.transform_up(|part| {
                    matched(part, &schema, &self.zone, is_filter, is_retyped.get())
                })?;
                Ok(matched.update_data(|expression| name.restore(expression)))
            })?
            .map_data(|plan| {
                let plan = sets::of_one_type(plan)?.recompute_schema()?;
                let kinds = |schema: &DFSchema| -> Vec<DataType> {
                    let fields = schema.fields().iter();
                    fields.map(|field| field.data_type().clone()).collect()
                };
                if kinds(&before) != kinds(plan.schema()) {
                    is_retyped.set(true);
                }
                Ok(plan)
            })
        })?;
        Ok(matched.data)
    }
}

/// An expression with operands of one type. Numbers that are added and so on were planned with theirs, which may
/// be another if columns are `retyped` since.
pub(super) fn matched(
    part: Expr,
    schema: &DFSchema,
    zone: &Zone,
    is_filter: bool,
    retyped: bool,
) -> Result<Transformed<Expr>, DataFusionError> {
    let kinds = |expressions: &[Expr]| -> Option<Vec<DataType>> {
        let kinds = expressions
            .iter()
            .map(|expression| expression.get_type(schema));
        kinds.collect::<Result<_, _>>().ok()
    };
    let of = |mut expressions: Vec<Expr>| -> Result<Vec<Expr>, DataFusionError> {
        if let Some(kinds) = kinds(&expressions) {
            match_all(&mut expressions, &kinds, Some(zone))?;
        }
        Ok(expressions)
    };
    match part {
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let mut all = of(vec![*expr, *low, *high])?.into_iter();
            let mut next = || Box::new(all.next().expect("as many as went in"));
            let (expr, low, high) = (next(), next(), next());
            Ok(Transformed::yes(Expr::Between(Between::new(
                expr, negated, low, high,
            ))))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) => {
            let mut all = vec![*expr];
            all.extend(list);
            let mut all = of(all)?;
            let expr = Box::new(all.remove(0));
            Ok(Transformed::yes(Expr::InList(InList::new(
                expr, all, negated,
            ))))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(op) || (retyped && is_arithmetic(op)) =>
        {
            let sides = [*left, *right];
            let Some(kinds) = kinds(&sides).and_then(|kinds| kinds.try_into().ok()) else {
                let [left, right] = sides.map(Box::new);
                let same = Expr::BinaryExpr(BinaryExpr::new(left, op, right));
                return Ok(Transformed::no(same));
            };
            // What comes from a subquery has its type by now, in which a constant text can be read.
            met(sides, op, &kinds, zone).map(Transformed::yes)
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if retyped
                && kinds(&args).is_some_and(|kinds| kinds.iter().any(is_float))
                && let (Some(op), Ok(sides)) = (
                    arithmetic::operator(&func),
                    <[Expr; 2]>::try_from(args.clone()),
                ) =>
        {
            // It was planned for exact numbers.
            let [left, right] = sides.map(Box::new);
            let floats = Expr::BinaryExpr(BinaryExpr::new(left, op, right));
            matched(floats, schema, zone, is_filter, retyped)
        }
        Expr::Case(case) => case_of(case, of, schema).map(Transformed::yes),
        Expr::ScalarFunction(ScalarFunction { func, args })
            if ["coalesce", "nullif", "greatest", "least", "make_array"].contains(&func.name()) =>
        {
            // It is the first or null, and so has its type; the library takes one that holds both.
            let own = match (func.name(), kinds(&args).as_deref()) {
                ("nullif", Some([one, other])) if one != other && one.is_numeric() => {
                    Some(one.clone())
                }
                _ => None,
            };
            let call = Expr::ScalarFunction(ScalarFunction::new_udf(func, of(args)?));
            Ok(Transformed::yes(match own {
                Some(own) => Expr::Cast(Cast::new(Box::new(call), own)),
                None => call,
            }))
        }
        Expr::Cast(Cast { expr, data_type })
            if data_type == DataType::LargeBinary
                && expr.get_type(schema).is_ok_and(|kind| kind.is_string()) =>
        {
            Ok(Transformed::yes(casts::bytes_of_text(*expr)))
        }
        Expr::ScalarFunction(call) if call.func.name() == "array_length" => {
            // Of an empty array it is null.
            let length = Expr::ScalarFunction(call);
            let zero = Expr::Literal(ScalarValue::UInt64(Some(0)), None);
            let call = ScalarFunction::new_udf(nullif(), vec![length, zero]);
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        Expr::Not(ref inner)
        | Expr::IsTrue(ref inner)
        | Expr::IsNotTrue(ref inner)
        | Expr::IsFalse(ref inner)
        | Expr::IsNotFalse(ref inner)
        | Expr::IsUnknown(ref inner)
        | Expr::IsNotUnknown(ref inner) => {
            is_condition(inner, schema)?;
            Ok(Transformed::no(part))
        }
        Expr::AggregateFunction(call) => {
            if let Some(filter) = &call.params.filter {
                is_condition(filter, schema)?;
            }
            Ok(Transformed::no(Expr::AggregateFunction(call)))
        }
        Expr::WindowFunction(window) => {
            if let Some(filter) = &window.params.filter {
                is_condition(filter, schema)?;
            }
            Ok(Transformed::yes(framed(window, schema)))
        }
        // SUBTLE: DataFusion 53 minds the nulls of the other side only where a column is compared.
        Expr::InSubquery(inner) if inner.negated && is_filter && !inner.expr.any_column_refs() => {
            not_in(inner)
        }
        Expr::Like(like) => Ok(Transformed::yes(Expr::Like(like_of(like, schema)))),
        Expr::SimilarTo(like) => Ok(Transformed::yes(Expr::SimilarTo(like_of(like, schema)))),
        other => Ok(Transformed::no(other)),
    }
}

/// Rows that are equal in the order are a group: the same frame, of types that have no ranges.
fn framed(mut window: Box<WindowFunction>, schema: &DFSchema) -> Expr {
    let frame = &mut window.params.window_frame;
    let is_open = |bound: &WindowFrameBound| {
        bound.is_unbounded() || matches!(bound, WindowFrameBound::CurrentRow)
    };
    let order = window.params.order_by.first();
    let order = order.and_then(|order| order.expr.get_type(schema).ok());
    let has_no_range = order.is_some_and(|kind| {
        is_uuid(&kind)
            || kind.is_binary()
            || matches!(
                kind,
                DataType::Time64(_) | DataType::Struct(_) | DataType::Map(..)
            )
    });
    if frame.units == WindowFrameUnits::Range
        && has_no_range
        && is_open(&frame.start_bound)
        && is_open(&frame.end_bound)
    {
        frame.units = WindowFrameUnits::Groups;
    }
    Expr::WindowFunction(window)
}

/// A constant that is in no row of a subquery, as the rows that would be or that are null.
fn not_in(inner: InSubquery) -> Result<Transformed<Expr>, DataFusionError> {
    let plan = inner.subquery.subquery.as_ref().clone();
    let Some(column) = plan.schema().columns().into_iter().next() else {
        return Ok(Transformed::no(Expr::InSubquery(inner)));
    };
    let column = Expr::Column(column);
    let other = column
        .clone()
        .eq(inner.expr.as_ref().clone())
        .or(column.is_null())
        .or(inner.expr.is_null());
    let rows = LogicalPlanBuilder::from(plan).filter(other)?.build()?;
    let exists = Exists {
        subquery: inner.subquery.with_plan(Arc::new(rows)),
        negated: true,
    };
    Ok(Transformed::yes(Expr::Exists(exists)))
}

fn like_of(mut like: Like, schema: &DFSchema) -> Like {
    if let Ok(kind) = like.expr.get_type(schema) {
        like.expr = Box::new(text_of_uuid(*like.expr, &kind));
    }
    let is_escaped = matches!(
        like.pattern.as_ref(),
        Expr::Literal(pattern, _)
            if pattern.try_as_str().flatten().is_some_and(|pattern| pattern.contains('\\'))
    );
    if is_escaped {
        // SUBTLE: DataFusion 53 takes the backslash for a part of the prefix that all matches have, and
        // leaves out files and row groups that hold some. It does not look into an expression.
        let empty = Expr::Literal(ScalarValue::from(""), None);
        let text = BinaryExpr::new(like.expr, Operator::StringConcat, Box::new(empty));
        like.expr = Box::new(Expr::BinaryExpr(text));
    }
    like
}

/// What a `CASE` compares, and what it gives.
fn case_of(
    case: Case,
    of: impl Fn(Vec<Expr>) -> Result<Vec<Expr>, DataFusionError>,
    schema: &DFSchema,
) -> Result<Expr, DataFusionError> {
    if case.expr.is_none() {
        for (when, _) in &case.when_then_expr {
            is_condition(when, schema)?;
        }
    }
    let (mut whens, mut thens): (Vec<Expr>, Vec<Expr>) = case
        .when_then_expr
        .into_iter()
        .map(|(when, then)| (*when, *then))
        .unzip();
    let count = whens.len();
    let mut base = None;
    if let Some(expression) = case.expr {
        whens.insert(0, *expression);
        whens = of(whens)?;
        base = Some(Box::new(whens.remove(0)));
    }
    thens.extend(case.else_expr.map(|otherwise| *otherwise));
    thens = numbers_of_one_type(of(thens)?, schema)?;
    let otherwise = (thens.len() > count).then(|| Box::new(thens.remove(count)));
    let pairs = whens
        .into_iter()
        .zip(thens)
        .map(|(when, then)| (Box::new(when), Box::new(then)))
        .collect();
    Ok(Expr::Case(Case::new(base, pairs, otherwise)))
}

/// What DataFusion takes a number for, or finds out too late to say it well.
fn is_condition(expression: &Expr, schema: &DFSchema) -> Result<(), DataFusionError> {
    match expression.get_type(schema)? {
        DataType::Boolean | DataType::Null => Ok(()),
        other => Err(DataFusionError::Plan(no_condition(&other))),
    }
}

/// Until types are coerced, a `CASE` says that it has the type of its first value: what is decided by
/// that has to be right by then.
fn numbers_of_one_type(
    mut values: Vec<Expr>,
    schema: &DFSchema,
) -> Result<Vec<Expr>, DataFusionError> {
    let kinds: Result<Vec<DataType>, _> =
        values.iter().map(|value| value.get_type(schema)).collect();
    if let Ok(kinds) = kinds
        && kinds.iter().all(DataType::is_numeric)
        && let Some(all) = type_union_resolution(&kinds)
    {
        for (value, kind) in values.iter_mut().zip(&kinds) {
            if *kind != all {
                *value = cast_to(std::mem::take(value), &all)?;
            }
        }
    }
    Ok(values)
}

/// Brings operands to types that DataFusion matches as PostgreSQL does; gives their types by then.
///
/// Constant texts are read if `texts` is there, moments among them by this zone.
pub(super) fn match_all(
    operands: &mut [Expr],
    kinds: &[DataType],
    texts: Option<&Zone>,
) -> Result<Vec<DataType>, DataFusionError> {
    let mut kinds = kinds.to_vec();
    if let Some(zone) = texts {
        let typed = kinds
            .iter()
            .find(|kind| !kind.is_string() && !kind.is_null())
            .cloned();
        if let Some(typed) = typed {
            for (operand, kind) in operands.iter_mut().zip(&mut kinds) {
                if kind.is_string()
                    && let Some(read) = literals::read(operand, &typed, zone)?
                {
                    *kind = read.data_type();
                    *operand = Expr::Literal(read, None);
                }
            }
        }
    }
    let reads_texts = texts.is_some();
    let any = |wanted: fn(&DataType) -> bool, kinds: &[DataType]| kinds.iter().any(wanted);
    let wanted = if any(is_float, &kinds)
        && kinds
            .iter()
            .any(|kind| kind.is_numeric() && !is_float(kind))
    {
        Some(DataType::Float64)
    } else if reads_texts && any(is_uuid, &kinds) && any(DataType::is_string, &kinds) {
        Some(DataType::Utf8)
    } else if reads_texts && any(is_date, &kinds) && any(is_timestamp, &kinds) {
        Some(TIMESTAMP)
    } else if any(is_fixed, &kinds) && kinds.iter().any(|kind| *kind != kinds[0]) {
        Some(DataType::LargeBinary)
    } else {
        None
    };
    if let Some(wanted) = wanted {
        for (operand, kind) in operands.iter_mut().zip(&mut kinds) {
            let is_meant = match &wanted {
                DataType::Float64 => kind.is_numeric(),
                DataType::Utf8 => is_uuid(kind),
                DataType::LargeBinary => is_fixed(kind),
                _ => is_date(kind),
            };
            if is_meant && *kind != wanted {
                *operand = cast_to(std::mem::take(operand), &wanted)?;
                *kind = wanted.clone();
            }
        }
    }
    Ok(kinds)
}

/// A constant becomes one of the type, so that filters with it can be pushed into scans.
pub(super) fn cast_to(expression: Expr, kind: &DataType) -> Result<Expr, DataFusionError> {
    if let Expr::Literal(value, metadata) = &expression
        && kind != &DataType::Utf8
        && let Ok(value) = value.cast_to(kind)
    {
        return Ok(Expr::Literal(value, metadata.clone()));
    }
    Ok(Expr::Cast(Cast::new(Box::new(expression), kind.clone())))
}

pub(super) fn text_of_uuid(expression: Expr, kind: &DataType) -> Expr {
    match is_uuid(kind) {
        true => Expr::Cast(Cast::new(Box::new(expression), DataType::Utf8)),
        false => expression,
    }
}

fn is_uuid(kind: &DataType) -> bool {
    matches!(kind, DataType::FixedSizeBinary(16))
}

/// Bytes of one length, which meet bytes of any.
fn is_fixed(kind: &DataType) -> bool {
    matches!(kind, DataType::FixedSizeBinary(width) if *width != 16)
}

fn is_date(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32)
}

fn is_timestamp(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..))
}
