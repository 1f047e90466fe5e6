//! How deep a statement may be.
//!
//! Two bounds: one on what may make it deep, before it is parsed, so that its tree can be walked at
//! all (on a large stack); one on the depth itself, because expressions are evaluated by recursion on
//! the ordinary stacks of worker threads. Lists may be as long as the text: `IN (…)` is flat.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, ObjectName, Query, SetExpr, Statement as SqlStatement, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::{QueryError, error};

/// Operators and keywords in one statement.
const LINKS_MAX: usize = 10_000;
/// Expressions in expressions, queries in set operations, elements of an array's type.
const DEPTH_MAX: usize = 200;
/// Tables, counted as often as they are named: joins nest, too.
const RELATIONS_MAX: usize = 100;

/// Refuses a text that could be deeper than any stack.
pub(super) fn check_text(sql: &str) -> Result<(), QueryError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize();
    let tokens =
        tokens.map_err(|error| error::syntax(&ParserError::TokenizerError(error.to_string())))?;
    let links = tokens.iter().filter(|token| makes_deeper(token)).count();
    match links > LINKS_MAX {
        true => Err(refused("operators and keywords", links, LINKS_MAX)),
        false => Ok(()),
    }
}

/// Everything but what lists are made of. Brackets nest only as far as the parser lets them.
fn makes_deeper(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::EOF
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::SemiColon => false,
        _ => true,
    }
}

/// Refuses a statement that is too deep to be planned or evaluated.
pub(super) fn check(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(statement) => check_sql(statement),
        Statement::Explain(explain) => check(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => Ok(()),
    }
}

fn check_sql(statement: &SqlStatement) -> Result<(), QueryError> {
    let mut measure = Measure::default();
    let _ = statement.visit(&mut measure);
    if measure.deepest > DEPTH_MAX {
        return Err(refused(
            "expressions or queries within each other",
            measure.deepest,
            DEPTH_MAX,
        ));
    }
    if measure.relations > RELATIONS_MAX {
        return Err(refused("tables", measure.relations, RELATIONS_MAX));
    }
    Ok(())
}

fn refused(what: &str, have: usize, max: usize) -> QueryError {
    QueryError::NotSupported {
        what: format!(
            "the statement has {have} {what}, at most {max} are possible; lists, as in IN (…), may be long"
        ),
    }
}

#[derive(Default)]
struct Measure {
    depth: usize,
    deepest: usize,
    relations: usize,
}

impl Visitor for Measure {
    type Break = ();

    fn pre_visit_relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
        self.relations += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.depth += set_operations(&query.body);
        self.deepest = self.deepest.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.depth -= set_operations(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        self.depth += weight(expression);
        self.deepest = self.deepest.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        self.depth -= weight(expression);
        ControlFlow::Continue(())
    }
}

/// Levels that one expression is planned as.
fn weight(expression: &Expr) -> usize {
    match expression {
        Expr::CompoundIdentifier(parts) => parts.len(),
        Expr::CompoundFieldAccess { access_chain, .. } => 1 + access_chain.len(),
        Expr::Cast { data_type, .. } => 1 + type_depth(data_type),
        _ => 1,
    }
}

fn type_depth(mut kind: &DataType) -> usize {
    let mut depth = 0;
    while let DataType::Array(
        ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::Parenthesis(element),
    ) = kind
    {
        depth += 1;
        kind = element;
    }
    depth
}

/// `UNION`s and their like, one in the other.
fn set_operations(body: &SetExpr) -> usize {
    let mut deepest = 0;
    let mut open = vec![(body, 0)];
    while let Some((body, depth)) = open.pop() {
        deepest = deepest.max(depth);
        if let SetExpr::SetOperation { left, right, .. } = body {
            open.push((left, depth + 1));
            open.push((right, depth + 1));
        }
    }
    deepest
}
