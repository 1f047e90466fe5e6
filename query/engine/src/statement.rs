//! From text to one statement that may run: SQL reads, and nothing else, and not so deep that a
//! stack might not hold it.
//!
//! Leaves to others: what its names mean, which is looked up when it is executed.

mod conditions;
mod depth;
mod parameters;
mod rewrite;
mod signs;
mod titles;

pub use parameters::{Number, Parameter};
pub(crate) use parameters::{Parameters, Values};
pub(crate) use rewrite::rewrite;
pub(crate) use titles::shown;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use crate::QueryError;
use crate::error;
use crate::stack;

/// Expressions and subqueries nest no deeper.
const NESTING_MAX: usize = 50;

/// What kind of statement it is, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Select,
    Explain,
    Show,
}

impl Class {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Class::Select => "select",
            Class::Explain => "explain",
            Class::Show => "show",
        }
    }
}

/// A statement that may run.
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    pub(crate) class: Class,
    pub(crate) parameters: Parameters,
}

/// The one statement of a text, in PostgreSQL's dialect.
pub(crate) fn parse(sql: &str) -> Result<Parsed, QueryError> {
    let sql = &*signs::apart(sql);
    depth::check_text(sql)?;
    // What is too deep is taken apart again before this returns.
    stack::on_large_stack(|| parse_short(sql))
}

fn parse_short(sql: &str) -> Result<Parsed, QueryError> {
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&PostgreSqlDialect {})
        .with_recursion_limit(NESTING_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| match error.find_root() {
        datafusion::error::DataFusionError::SQL(parser, _) => error::syntax(parser),
        other => QueryError::Syntax {
            message: other.strip_backtrace(),
            position: None,
        },
    })?;
    if statements.len() > 1 {
        let what = "one statement at a time: the text holds several".to_owned();
        return Err(QueryError::NotSupported { what });
    }
    let Some(statement) = statements.pop_front() else {
        return Err(QueryError::Syntax {
            message: "the text holds no statement".to_owned(),
            position: None,
        });
    };
    let class = class(&statement)?;
    depth::check(&statement)?;
    let parameters = parameters::find(&statement)?;
    Ok(Parsed {
        statement,
        class,
        parameters,
    })
}

fn class(statement: &Statement) -> Result<Class, QueryError> {
    match statement {
        Statement::Statement(statement) => sql_class(statement),
        Statement::Explain(explain) => class(&explain.statement).map(|_| Class::Explain),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {
            Err(refused(statement))
        }
    }
}

fn sql_class(statement: &SqlStatement) -> Result<Class, QueryError> {
    match statement {
        SqlStatement::Query(_) => Ok(Class::Select),
        SqlStatement::Explain { statement, .. } => sql_class(statement).map(|_| Class::Explain),
        SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowVariable { .. } => Ok(Class::Show),
        SqlStatement::Set(_) => Err(QueryError::NotSupported {
            what: "SET is not possible: a statement comes without a session; the time zone goes with the request, as in {\"query\": \"…\", \"time_zone\": \"Europe/Oslo\"}".to_owned(),
        }),
        // A long list, and every one of it writes, or sets what a query does not have.
        other => Err(refused(other)),
    }
}

fn refused(statement: &impl std::fmt::Display) -> QueryError {
    let text = statement.to_string();
    let verb = text
        .split_whitespace()
        .next()
        .unwrap_or("this")
        .to_uppercase();
    QueryError::NotSupported {
        what: format!(
            "{verb} is not possible: SQL reads here; SELECT, EXPLAIN, SHOW TABLES and DESCRIBE are"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let said = match parse(sql) {
            Ok(parsed) => parsed.class.label().to_owned(),
            Err(error) => format!("{}: {error}", error.label()),
        };
        assert!(said.starts_with(expected), "{sql}\n{said}");
    }

    #[test]
    fn statements_that_read_are_let_through() {
        check("SELECT 1", "select");
        check("select 1;", "select");
        check(
            "WITH a AS (SELECT 1) SELECT * FROM a UNION ALL SELECT 2",
            "select",
        );
        check("VALUES (1), (2)", "select");
        check("EXPLAIN SELECT 1", "explain");
        check("EXPLAIN ANALYZE SELECT 1", "explain");
        check("SHOW TABLES", "show");
        check("DESCRIBE events.orders", "show");
    }

    #[test]
    fn statements_that_write_are_refused() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "CREATE TABLE t (a int)",
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "DROP TABLE t",
            "DELETE FROM t",
            "SET a = 1",
            "EXPLAIN INSERT INTO t VALUES (1)",
            "BEGIN",
            "PREPARE a AS SELECT 1",
        ] {
            check(sql, "not-supported: ");
        }
        check("SELECT 1; SELECT 2", "not-supported: one statement");
        for sql in [
            "SET TIME ZONE 'Europe/Oslo'",
            "SET timezone = 'UTC'",
            "SET TIMEZONE TO LOCAL",
        ] {
            let Err(error) = parse(sql) else {
                panic!("{sql} is refused")
            };
            assert!(
                error.to_string().contains("\"time_zone\""),
                "{sql}\n{error}"
            );
        }
    }

    #[test]
    fn what_is_no_sql_is_said_with_its_place() {
        let Err(error) = parse("SELECT *\nFORM orders") else {
            panic!("it is wrong")
        };
        assert_eq!(
            error.position().map(|position| position.line),
            Some(2),
            "{error:?}"
        );
        check("", "syntax");
        check(" -- nothing\n", "syntax");
        check("SELECT 'a", "syntax");
        check(
            &format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000)),
            "syntax",
        );
    }
}
