//! A statement as DataFusion takes it, from one as PostgreSQL takes it.
//!
//! | as written | as planned |
//! | --- | --- |
//! | `FETCH FIRST n ROWS ONLY` | `LIMIT n` |
//! | `t AT TIME ZONE z` | `timezone(z, t)` |
//! | `a->-1`, `a=-1` | the operator, and a negative number |
//! | `1e300` | a double: no decimal holds it |
//! | `SELECT EXISTS (…)` | whether there is more than nothing to count |
//! | `unnest(items) AS item` in `FROM` | a table and its only column of this name |
//! | `to_timestamp(text, format)`, `make_date(…)` | casts of the timestamps that `functions::moments` makes |
//! | `CURRENT_DATE`, `LOCALTIMESTAMP` | casts of `now()`, by the session's time zone |
//! | `'abc'::varchar(2)`, `'abc'::char` | the first characters of the text |
//! | `$1` | its value (`parameters`) |
//! | `WHERE 'on'` | `WHERE true` (`conditions`) |
//! | a column of the answer without a name | one with the name that PostgreSQL gives it (`titles`) |

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CharacterLength, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, LimitClause, ObjectName,
    Query, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TimezoneInfo, TypedString,
    UnaryOperator, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::parameters::Values;
use super::{conditions, titles};
use crate::QueryError;

/// Rewrites the statement, after its names are known, with the values of its parameters.
pub(crate) fn rewrite(
    statement: &mut Statement,
    parameters: Values<'_>,
) -> Result<(), DataFusionError> {
    match statement {
        Statement::Statement(statement) => match statement.visit(&mut Rewriter { parameters }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error.into()),
        },
        Statement::Explain(explain) => rewrite(&mut explain.statement, parameters),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => Ok(()),
    }
}

struct Rewriter<'a> {
    parameters: Values<'a>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        if let Err(error) = fetch(query) {
            return ControlFlow::Break(error);
        }
        // SUBTLE: names before values: a parameter gives a column no name, whatever it is.
        titled(&mut query.body);
        match self.parameters.place_in_query(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<QueryError> {
        match self.parameters.place(expression) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<QueryError> {
        unnest(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryError> {
        match conditions::of_query(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<QueryError> {
        operators(expression);
        if let Err(error) =
            conditions::of_expression(expression).and_then(|()| shortened(expression))
        {
            return ControlFlow::Break(error);
        }
        let replaced = match expression {
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let mut arguments = vec![take(expr), take(overlay_what), take(overlay_from)];
                arguments.extend(overlay_for.as_mut().map(|count| take(count)));
                call("overlay", arguments)
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => call("timezone", vec![take(time_zone), take(timestamp)]),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::PGExp,
                right,
            } => call("power", vec![take(left), take(right)]),
            Expr::Extract { field, expr, .. } => {
                let field = Expr::value(Value::SingleQuotedString(field.to_string()));
                call("date_part", vec![field, take(expr)])
            }
            Expr::Value(value) => match wide_number(&value.value) {
                Some(number) => number,
                None => return ControlFlow::Continue(()),
            },
            Expr::Function(function) => match moment(function)
                .or_else(|| constant(function))
                .or_else(|| modulo(function))
                .or_else(|| made(function))
            {
                Some(other) => other,
                None => {
                    renamed(function);
                    return ControlFlow::Continue(());
                }
            },
            Expr::Identifier(name) if name.quote_style.is_none() => {
                match named_moment(&name.value) {
                    Some(moment) => moment,
                    None => return ControlFlow::Continue(()),
                }
            }
            _ => return ControlFlow::Continue(()),
        };
        *expression = replaced;
        ControlFlow::Continue(())
    }
}

/// A cast to a text of so many characters keeps the first ones.
fn shortened(expression: &mut Expr) -> Result<(), QueryError> {
    let (Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. })) =
        expression
    else {
        return Ok(());
    };
    let length = match data_type {
        DataType::Varchar(length)
        | DataType::CharVarying(length)
        | DataType::CharacterVarying(length)
        | DataType::Nvarchar(length) => length.take(),
        // Without a length it is one character, which a name of PostgreSQL's own means not.
        DataType::Char(length) | DataType::Character(length) => {
            let one = CharacterLength::IntegerLength {
                length: 1,
                unit: None,
            };
            Some(length.take().unwrap_or(one))
        }
        DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("bpchar") => None,
        _ => return Ok(()),
    };
    *data_type = DataType::Varchar(None);
    let Some(CharacterLength::IntegerLength { length, .. }) = length else {
        return Ok(());
    };
    if length == 0 {
        return Err(QueryError::Invalid {
            message: "the length of a text's type must be at least 1".to_owned(),
            position: None,
        });
    }
    let length = Expr::value(Value::Number(length.to_string(), false));
    *expression = call("left", vec![take(expression), length]);
    Ok(())
}

/// A number that no decimal holds is a double; of a large one that a decimal holds, all digits are written out,
/// since casts make zero of a decimal that keeps fewer.
fn wide_number(value: &Value) -> Option<Expr> {
    let Value::Number(text, _) = value else {
        return None;
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    // More than can be counted is more than any number has.
    let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
    let shown = exponent.unsigned_abs().saturating_add(digits as u64);
    if digits > 76 || (exponent != 0 && shown > 38) {
        let text = Expr::value(Value::SingleQuotedString(text.clone()));
        return Some(cast(text, DataType::DoublePrecision));
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = usize::try_from(exponent)
        .ok()?
        .checked_sub(fraction.len())?;
    // With its point: without, it would be an integer.
    (exponent > 0).then(|| {
        let all = format!("{whole}{fraction}{}.", "0".repeat(zeros));
        Expr::value(Value::Number(all, false))
    })
}

/// PostgreSQL's names of functions that have other ones.
fn renamed(function: &mut Function) {
    let plain = match function.name.to_string().to_ascii_lowercase().as_str() {
        "sign" => "signum",
        "ceiling" => "ceil",
        "stddev" => "stddev_samp",
        "variance" => "var_samp",
        "every" => "bool_and",
        _ => return,
    };
    function.name = ObjectName::from(Ident::new(plain));
}

/// `mod(a, b)` is an operator here.
fn modulo(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let is_mod = function.name.to_string().eq_ignore_ascii_case("mod");
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
        ] if is_mod => Some(Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(left.clone()))),
            op: BinaryOperator::Modulo,
            right: Box::new(Expr::Nested(Box::new(right.clone()))),
        }))),
        _ => None,
    }
}

/// Moments and dates that are made of something: casts of the timestamp that is made of it.
fn made(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
        _ => None,
    };
    let mut arguments: Vec<Expr> = list.args.iter().map(argument).collect::<Option<_>>()?;
    let name = function.name.to_string().to_ascii_lowercase();
    let timestamptz = DataType::Timestamp(None, TimezoneInfo::Tz);
    Some(match (name.as_str(), arguments.len()) {
        ("to_timestamp", 2) => cast(call("timestamp_of_text", arguments), timestamptz),
        ("to_date", 2) => cast(call("timestamp_of_text", arguments), DataType::Date),
        ("make_timestamptz", 6) => cast(call("make_timestamp", arguments), timestamptz),
        ("make_timestamptz", 7) => {
            let zone = arguments.remove(6);
            call("timezone", vec![zone, call("make_timestamp", arguments)])
        }
        ("make_date", 3) => {
            let zero = || Expr::value(Value::Number("0".to_owned(), false));
            arguments.extend([zero(), zero(), zero()]);
            cast(call("make_timestamp", arguments), DataType::Date)
        }
        ("age", 1) => {
            let timestamp = DataType::Timestamp(None, TimezoneInfo::None);
            let today = cast(cast(call("now", Vec::new()), DataType::Date), timestamp);
            call("age", vec![today, arguments.remove(0)])
        }
        _ => return None,
    })
}

/// Constants that are called.
fn constant(function: &Function) -> Option<Expr> {
    let text = match function.name.to_string().to_ascii_lowercase().as_str() {
        "current_schema" => tarn_state::topic_names::EVENTS_NAMESPACE,
        "current_database" | "current_catalog" => crate::catalog::CATALOG,
        _ => return None,
    };
    Some(Expr::value(Value::SingleQuotedString(text.to_owned())))
}

/// `EXISTS` as a value, which DataFusion has only as a filter: is there more than nothing to count?
struct ExistsAsValue;

impl VisitorMut for ExistsAsValue {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let Expr::Exists { subquery, negated } = expression else {
            return ControlFlow::Continue(());
        };
        let sql = match negated {
            true => "SELECT count(*) = 0 FROM (SELECT 1) AS some_row",
            false => "SELECT count(*) > 0 FROM (SELECT 1) AS some_row",
        };
        let counting = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(sql)
            .and_then(|mut parser| parser.parse_query());
        let mut counting = counting.expect("it is SQL");
        // SUBTLE: as a tree: a text would be read again, and quotes in it otherwise.
        if let SetExpr::Select(select) = counting.body.as_mut()
            && let Some(table) = select.from.first_mut()
            && let TableFactor::Derived {
                subquery: nothing, ..
            } = &mut table.relation
        {
            std::mem::swap(nothing, subquery);
        }
        *expression = Expr::Subquery(counting);
        ControlFlow::Continue(())
    }
}

fn take(expression: &mut Expr) -> Expr {
    std::mem::replace(expression, Expr::Identifier(Ident::new("")))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let arguments = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
        .collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn titled(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            titles::give(select);
            let _ = select.projection.visit(&mut ExistsAsValue);
        }
        SetExpr::SetOperation { left, right, .. } => {
            titled(left);
            titled(right);
        }
        // A query in brackets is visited by itself.
        _ => {}
    }
}

fn fetch(query: &mut Query) -> Result<(), QueryError> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.with_ties || fetch.percent {
        return Err(QueryError::NotSupported {
            what: "FETCH takes a number of rows: FETCH FIRST 10 ROWS ONLY".to_owned(),
        });
    }
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    let quantity = fetch.quantity.unwrap_or_else(one);
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => *limit = Some(quantity),
        Some(_) => {
            return Err(QueryError::NotSupported {
                what: "LIMIT and FETCH stand in one query".to_owned(),
            });
        }
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: Vec::new(),
            });
        }
    }
    Ok(())
}

/// What stands in `FROM` is a table whose only column has its name.
fn unnest(factor: &mut TableFactor) {
    let is_unnest = |name: &ObjectName| name.to_string().eq_ignore_ascii_case("unnest");
    let list = |arguments: &[FunctionArg]| -> Option<Vec<Expr>> {
        let argument = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
            _ => None,
        };
        arguments.iter().map(argument).collect()
    };
    let called = match factor {
        TableFactor::Function {
            name, args, alias, ..
        } if is_unnest(name) => list(args).map(|lists| (lists, alias.take())),
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } if is_unnest(name) => list(&args.args).map(|lists| (lists, alias.take())),
        _ => None,
    };
    if let Some((array_exprs, alias)) = called {
        *factor = TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        };
    }
    if let TableFactor::UNNEST {
        alias, array_exprs, ..
    } = factor
        && array_exprs.len() == 1
    {
        let alias = alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::new("unnest"),
            columns: Vec::new(),
        });
        if alias.columns.is_empty() {
            alias.columns.push(TableAliasColumnDef {
                name: alias.name.clone(),
                data_type: None,
            });
        }
    }
}

/// A sign at the end of an operator belongs to what follows, as PostgreSQL reads it.
fn operators(expression: &mut Expr) {
    let Expr::BinaryOp { op, right, .. } = expression else {
        return;
    };
    let BinaryOperator::Custom(text) = &op else {
        return;
    };
    let plain = match text.trim_end_matches('-') {
        _ if !text.ends_with('-') => return,
        "->" if text == "->-" => BinaryOperator::Arrow,
        "->>" => BinaryOperator::LongArrow,
        "" | "-" => return,
        "=" => BinaryOperator::Eq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "+" => BinaryOperator::Plus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "%" => BinaryOperator::Modulo,
        _ => return,
    };
    *op = plain;
    let inner = take(right);
    **right = Expr::UnaryOp {
        op: UnaryOperator::Minus,
        expr: Box::new(inner),
    };
}

/// What has no brackets in SQL, or had them left out.
fn moment(function: &Function) -> Option<Expr> {
    let is_empty = match &function.args {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => false,
    };
    if !is_empty || function.over.is_some() {
        return None;
    }
    named_moment(&function.name.to_string())
}

fn named_moment(name: &str) -> Option<Expr> {
    let kind = match name.to_ascii_lowercase().as_str() {
        "current_date" => DataType::Date,
        "localtimestamp" => DataType::Timestamp(None, TimezoneInfo::None),
        "current_time" | "localtime" => DataType::Time(None, TimezoneInfo::None),
        _ => return None,
    };
    let now = call("now", Vec::new());
    let now = match kind {
        // Through the clock of the session's zone.
        DataType::Time(..) => cast(now, DataType::Timestamp(None, TimezoneInfo::None)),
        _ => now,
    };
    Some(cast(now, kind))
}

fn cast(expression: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expression),
        data_type,
        array: false,
        format: None,
    }
}
