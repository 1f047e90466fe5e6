//! Parameters: `$1`, `$2`, … in a statement, and the values that take their places.
//!
//! ```text
//! prepare ─▶ which there are, and the types that they are cast to
//! execute ─▶ their values, as literals of the statement's tree, before it is planned
//! ```
//!
//! Holds: a value goes into the tree and never into a text, so there is nothing that it can be but a value. It
//! means what its literal would mean in its place, with two differences, both PostgreSQL's: a number in
//! `ORDER BY` or `GROUP BY` is no column of the answer, and a parameter that is cast to a type in one place
//! has this type in all.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Distinct, Expr, GroupByExpr, LimitClause, OrderByKind, Query, SetExpr,
    UnaryOperator, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tarn_model::ByteSize;

use super::titles::type_title;
use crate::functions::literals;
use crate::{Position, QueryError};

/// Parameters of a statement, as many as PostgreSQL's protocol can count.
const PARAMETERS_MAX: usize = 65_535;
/// Bytes of values in a statement, counted in each place where they stand.
const PLACED_BYTES_MAX: usize = 16 << 20;

/// A value for a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    Null,
    Bool(bool),
    Number(Number),
    /// A text whose place decides its type, as it does for `'…'` in a statement: beside a date it is a date.
    Text(String),
}

/// A number with all its digits: `-12345678901234567890.12` or `1e300`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// A number as JSON writes it.
    pub fn parse(text: &str) -> Option<Number> {
        let is_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let exponent =
            exponent.map(|exponent| exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
        let is_number = match mantissa.split_once('.') {
            Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
            None => is_digits(mantissa),
        };
        (is_number && exponent.is_none_or(is_digits)).then(|| Number(text.to_owned()))
    }
}

impl Parameter {
    fn bytes(&self) -> usize {
        match self {
            Parameter::Null | Parameter::Bool(_) => 0,
            Parameter::Number(Number(text)) | Parameter::Text(text) => text.len(),
        }
    }

    fn literal(&self) -> Expr {
        match self {
            Parameter::Null => Expr::value(Value::Null),
            Parameter::Bool(value) => Expr::value(Value::Boolean(*value)),
            Parameter::Text(text) => Expr::value(Value::SingleQuotedString(text.clone())),
            Parameter::Number(Number(text)) => {
                let number = |digits: &str| Expr::value(Value::Number(digits.to_owned(), false));
                match text.strip_prefix('-') {
                    Some(digits) => Expr::UnaryOp {
                        op: UnaryOperator::Minus,
                        expr: Box::new(number(digits)),
                    },
                    None => number(text),
                }
            }
        }
    }
}

/// The type of a parameter that a statement itself casts to it.
#[derive(Debug, Clone, PartialEq)]
struct Kind {
    /// PostgreSQL's own: `int4`, `timestamptz`, `text[]`.
    name: String,
    data_type: DataType,
}

impl Kind {
    /// Without a length or precision: that is of the cast, and not of what is cast.
    fn of(data_type: &DataType) -> Kind {
        let name = type_title(data_type);
        if matches!(data_type, DataType::Array(_)) {
            return Kind {
                name: name + "[]",
                data_type: data_type.clone(),
            };
        }
        let plain = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(&name)
            .and_then(|mut parser| parser.parse_data_type());
        let data_type = match plain {
            Ok(DataType::Custom(..)) | Err(_) => data_type.clone(),
            Ok(plain) => plain,
        };
        Kind { name, data_type }
    }
}

/// The parameters of a statement: `$1` is the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<Option<Kind>>);

impl Parameters {
    /// The type of each, if the statement itself says it.
    pub(crate) fn types(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        let kinds = self.0.iter();
        kinds.map(|kind| kind.as_ref().map(|kind| kind.name.as_str()))
    }

    /// The values for them; as many have to come as there are.
    pub(crate) fn bind<'a>(&'a self, values: &'a [Parameter]) -> Result<Values<'a>, QueryError> {
        if values.len() != self.0.len() {
            return Err(QueryError::Parameters {
                wanted: self.0.len(),
                given: values.len(),
            });
        }
        Ok(Values {
            kinds: &self.0,
            values,
            placed: 0,
        })
    }
}

/// The parameters that a statement has.
pub(super) fn find(statement: &Statement) -> Result<Parameters, QueryError> {
    let statement = match statement {
        Statement::Statement(statement) => statement,
        Statement::Explain(explain) => return find(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {
            return Ok(Parameters::default());
        }
    };
    let mut finder = Finder::default();
    if let ControlFlow::Break(error) = statement.visit(&mut finder) {
        return Err(error);
    }
    if finder.expressions < finder.values {
        return Err(invalid(
            "a parameter stands for a value, and there is none here",
            None,
        ));
    }
    let mut kinds = Vec::with_capacity(finder.found.len());
    for (index, (number, found)) in finder.found.into_iter().enumerate() {
        let next = index + 1;
        if number != next {
            let message = format!(
                "could not determine the type of parameter ${next}: the statement has ${number} and no ${next}"
            );
            return Err(invalid(message, None));
        }
        kinds.push(match found {
            Found::Cast(kind) => Some(kind),
            Found::Untyped | Found::Several => None,
        });
    }
    Ok(Parameters(kinds))
}

fn invalid(message: impl Into<String>, position: Option<Position>) -> QueryError {
    QueryError::Invalid {
        message: message.into(),
        position,
    }
}

/// What the places of a parameter say of its type.
#[derive(Debug)]
enum Found {
    Untyped,
    Cast(Kind),
    Several,
}

#[derive(Default)]
struct Finder {
    found: BTreeMap<usize, Found>,
    /// Places of parameters that are expressions, …
    expressions: usize,
    /// … and all.
    values: usize,
}

impl Finder {
    fn note(&mut self, number: usize, kind: Kind) {
        let found = self.found.entry(number).or_insert(Found::Untyped);
        match found {
            Found::Untyped => *found = Found::Cast(kind),
            Found::Cast(other) if other.name == kind.name => {}
            Found::Cast(_) | Found::Several => *found = Found::Several,
        }
    }
}

impl Visitor for Finder {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let quantity = query
            .fetch
            .as_ref()
            .and_then(|fetch| fetch.quantity.as_ref());
        for count in counts(query.limit_clause.as_ref()).chain(quantity) {
            if let Some(number) = placed(count) {
                self.note(number, Kind::of(&DataType::BigInt(None)));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<QueryError> {
        match expression {
            Expr::Cast {
                expr, data_type, ..
            } => {
                if let Some(number) = placed(expr) {
                    self.note(number, Kind::of(data_type));
                }
            }
            Expr::Value(ValueWithSpan {
                value: Value::Placeholder(name),
                span,
            }) => {
                self.expressions += 1;
                let position = (span.start.line > 0).then_some(Position {
                    line: span.start.line,
                    column: span.start.column,
                });
                match number_of(name, position) {
                    Ok(number) => self.found.entry(number).or_insert(Found::Untyped),
                    Err(error) => return ControlFlow::Break(error),
                };
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &Value) -> ControlFlow<QueryError> {
        self.values += usize::from(matches!(value, Value::Placeholder(_)));
        ControlFlow::Continue(())
    }
}

fn number_of(name: &str, position: Option<Position>) -> Result<usize, QueryError> {
    let digits = name.strip_prefix('$').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        let message = format!("{name} is no parameter: they are $1, $2 and so on");
        return Err(QueryError::Syntax { message, position });
    }
    match digits.parse() {
        Ok(number @ 1..=PARAMETERS_MAX) => Ok(number),
        Ok(0) => Err(invalid(format!("there is no parameter {name}"), position)),
        _ => {
            let message =
                format!("there is no parameter {name}: a statement has at most {PARAMETERS_MAX}");
            Err(invalid(message, position))
        }
    }
}

/// The number of the parameter that an expression is.
fn placed(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Nested(inner) => placed(inner),
        Expr::Value(ValueWithSpan {
            value: Value::Placeholder(name),
            ..
        }) => number_of(name, None).ok(),
        _ => None,
    }
}

fn counts(clause: Option<&LimitClause>) -> impl Iterator<Item = &Expr> {
    let (limit, offset) = match clause {
        Some(LimitClause::LimitOffset { limit, offset, .. }) => {
            (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
        }
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        None => (None, None),
    };
    limit.into_iter().chain(offset)
}

/// The values of a statement's parameters, on their way into its tree.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    kinds: &'a [Option<Kind>],
    values: &'a [Parameter],
    placed: usize,
}

impl Values<'_> {
    /// Places parameters by what only their places in a query say, before the query's expressions are visited.
    pub(super) fn place_in_query(&mut self, query: &mut Query) -> Result<(), QueryError> {
        if self.values.is_empty() {
            return Ok(());
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                let offset = offset.as_mut().map(|offset| &mut offset.value);
                for count in limit.iter_mut().chain(offset) {
                    self.place_count(count)?;
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.place_count(offset)?;
                self.place_count(limit)?;
            }
            None => {}
        }
        if let Some(OrderByKind::Expressions(order)) =
            query.order_by.as_mut().map(|order| &mut order.kind)
        {
            for order in order {
                cast_parameter(&mut order.expr, DataType::Text);
            }
        }
        constants(&mut query.body);
        Ok(())
    }

    /// A number of rows. It is a constant of the plan, so what is wrong with it has to be found here.
    fn place_count(&mut self, expression: &mut Expr) -> Result<(), QueryError> {
        let Some(number) = placed(expression) else {
            return Ok(());
        };
        let count = match self.value(number)? {
            Parameter::Text(text) => literals::integer(text, &ArrowType::Int64)
                .map(|count| Parameter::Number(Number(count.to_string())).literal())
                .map_err(|error| QueryError::of(&error, ByteSize(0)))?,
            Parameter::Bool(_) => {
                let why = "a number of rows is of type bigint, not of type boolean";
                return Err(invalid(why, None));
            }
            value @ (Parameter::Null | Parameter::Number(_)) => {
                cast(value.literal(), DataType::BigInt(None))
            }
        };
        *expression = count;
        Ok(())
    }

    /// Puts a value into the place of its parameter, if the expression is one or casts one.
    pub(super) fn place(&mut self, expression: &mut Expr) -> Result<(), QueryError> {
        if let Expr::Cast { expr, .. } = expression {
            if let Some(number) = placed(expr) {
                **expr = self.literal(number)?;
            }
            return Ok(());
        }
        let Some(number) = placed(expression) else {
            return Ok(());
        };
        let literal = self.literal(number)?;
        *expression = match self.kinds.get(number - 1) {
            Some(Some(kind)) => cast(literal, kind.data_type.clone()),
            _ => literal,
        };
        Ok(())
    }

    fn literal(&mut self, number: usize) -> Result<Expr, QueryError> {
        Ok(self.value(number)?.literal())
    }

    fn value(&mut self, number: usize) -> Result<&Parameter, QueryError> {
        let value = self.values.get(number - 1).ok_or_else(QueryError::defect)?;
        self.placed = self.placed.saturating_add(value.bytes());
        if self.placed > PLACED_BYTES_MAX {
            return Err(QueryError::NotSupported {
                what: format!(
                    "the values of the statement's parameters have more than {PLACED_BYTES_MAX} bytes, counted in each place"
                ),
            });
        }
        Ok(value)
    }
}

/// What is grouped by, or told apart: a number there would be a place in the answer.
fn constants(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            if let Some(Distinct::On(keys)) = &mut select.distinct {
                for key in keys {
                    cast_parameter(key, DataType::Text);
                }
            }
            if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
                for key in keys {
                    cast_parameter(key, DataType::Text);
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            constants(left);
            constants(right);
        }
        // A query in brackets is visited by itself.
        _ => {}
    }
}

fn cast_parameter(expression: &mut Expr, data_type: DataType) {
    if placed(expression).is_some() {
        let parameter = std::mem::replace(expression, Expr::value(Value::Null));
        *expression = cast(parameter, data_type);
    }
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
