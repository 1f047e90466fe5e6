//! The names of an answer's columns, as PostgreSQL gives them: a column keeps its name, and so does a
//! cast of it; a function's call is named after the function; the rest is `?column?`.
//!
//! PostgreSQL lets several columns have one name, DataFusion does not. So all but the first get a mark and
//! a number behind it, which `shown` takes off again.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, Ident, Query, Select, SelectItem, SetExpr, TrimWhereField,
};

/// Stands in no name that anybody types.
const MARK: char = '\u{2063}';

/// The name without its mark.
pub(crate) fn shown(name: &str) -> &str {
    match name.split_once(MARK) {
        Some((shown, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => shown,
        _ => name,
    }
}

/// Names the columns of a `SELECT` that have no name, and those whose name another one has.
pub(super) fn give(select: &mut Select) {
    let is_wild = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    // Which names the columns of `*` have is not known yet.
    let has_wildcard = select.projection.iter().any(is_wild);
    let mut taken = BTreeSet::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let mut name_of = |name: String| match taken.insert(name.clone()) && !has_wildcard {
            true => Ident::with_quote('"', name),
            false => Ident::with_quote('"', format!("{name}{MARK}{place}")),
        };
        match item {
            SelectItem::UnnamedExpr(expression) => {
                let name = of(expression);
                let is_column = matches!(
                    expression,
                    Expr::Identifier(_) | Expr::CompoundIdentifier(_)
                );
                let alias = name_of(name);
                // The first one stays the column that it is, with its table.
                if is_column && !alias.value.contains(MARK) {
                    continue;
                }
                let expr = std::mem::replace(expression, Expr::Identifier(Ident::new("")));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = match alias.quote_style {
                    Some(_) => alias.value.clone(),
                    None => alias.value.to_lowercase(),
                };
                // With `*` it may have the name of a column and hide it, as it always could.
                if taken.insert(name.clone()) {
                    continue;
                }
                *alias = Ident::with_quote('"', format!("{name}{MARK}{place}"));
            }
            _ => {}
        }
    }
}

const UNNAMED: &str = "?column?";

fn of(expression: &Expr) -> String {
    named(expression).map_or_else(|| UNNAMED.to_owned(), |(name, _)| name)
}

/// How much a name is worth: a cast's own is there only if what it casts has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Weak,
    Strong,
}

fn named(expression: &Expr) -> Option<(String, Worth)> {
    let strong = |name: &str| Some((name.to_owned(), Worth::Strong));
    match expression {
        Expr::Identifier(name) => strong(&folded(name)),
        Expr::CompoundIdentifier(parts) => strong(&folded(parts.last()?)),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(name)) => Some(folded(name)),
                _ => None,
            });
            match field {
                Some(field) => strong(&field),
                None => named(root),
            }
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => named(inner),
        Expr::Cast {
            expr, data_type, ..
        } => match named(expr) {
            Some((name, Worth::Strong)) => Some((name, Worth::Strong)),
            _ => Some((type_title(data_type), Worth::Weak)),
        },
        Expr::TypedString(typed) => Some((type_title(&typed.data_type), Worth::Weak)),
        Expr::Interval(_) => Some(("interval".to_owned(), Worth::Weak)),
        Expr::Function(function) => strong(&folded(function.name.0.last()?.as_ident()?)),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand, .. } => {
            strong(if *shorthand { "substr" } else { "substring" })
        }
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Case { else_result, .. } => {
            match else_result.as_ref().and_then(|otherwise| named(otherwise)) {
                Some((name, Worth::Strong)) => Some((name, Worth::Strong)),
                _ => Some(("case".to_owned(), Worth::Weak)),
            }
        }
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Subquery(query) => only_column(query),
        _ => None,
    }
}

/// The name of a subquery's only column.
fn only_column(query: &Query) -> Option<(String, Worth)> {
    let mut body = &*query.body;
    loop {
        match body {
            SetExpr::Select(select) => {
                return match select.projection.as_slice() {
                    [SelectItem::UnnamedExpr(expression)] => named(expression),
                    [SelectItem::ExprWithAlias { alias, .. }] => {
                        Some((folded(alias), Worth::Strong))
                    }
                    _ => None,
                };
            }
            SetExpr::Query(query) => body = &query.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return None,
        }
    }
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// PostgreSQL's own name of a type.
pub(super) fn type_title(kind: &DataType) -> String {
    let text = kind.to_string().to_ascii_lowercase();
    // Without a length or precision, which may stand within it: `timestamp(3) with time zone`.
    let plain = match (text.split_once('('), text.rsplit_once(')')) {
        (Some((before, _)), Some((_, after))) => format!("{}{after}", before.trim()),
        _ => text,
    };
    match plain.trim() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "double precision" | "double" | "float" => "float8",
        "real" => "float4",
        "decimal" | "dec" => "numeric",
        "boolean" => "bool",
        "character varying" | "char varying" => "varchar",
        "char" | "character" => "bpchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "time without time zone" => "time",
        other => other.trim_end_matches("[]"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off_and_nothing_else() {
        assert_eq!(shown("id\u{2063}12"), "id");
        assert_eq!(shown("id"), "id");
        assert_eq!(shown("a\u{2063}b"), "a\u{2063}b");
    }
}
