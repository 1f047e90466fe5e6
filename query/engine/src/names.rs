//! Column names of any case without quotes.
//!
//! SQL folds what is not quoted to lower case, while payloads like to say `userId`. An unquoted name
//! that no column and no alias has once folded, and that exactly one column of the tables in the
//! statement has in another case, is taken for that column. Everything else is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Statement as SqlStatement, TableAlias, TableFactor, VisitMut, VisitorMut,
};

/// Columns looked at; statements over wider tables are left as they are.
const COLUMNS_MAX: usize = 20_000;

/// Puts the names of columns into the statement as the tables have them.
pub(crate) async fn unfold(
    session: &SessionState,
    statement: &mut Statement,
) -> Result<(), DataFusionError> {
    let inner = match statement {
        Statement::Statement(inner) => inner,
        Statement::Explain(explain) => {
            return Box::pin(unfold(session, &mut explain.statement)).await;
        }
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {
            return Ok(());
        }
    };
    if !matches!(
        inner.as_ref(),
        SqlStatement::Query(_) | SqlStatement::Explain { .. }
    ) {
        return Ok(());
    }
    let columns = columns(session, &Statement::Statement(inner.clone())).await?;
    if columns.is_empty() {
        return Ok(());
    }
    let mut taken = Taken::default();
    let _ = inner.visit(&mut taken);
    let mut unfolder = Unfolder {
        columns: &columns,
        taken: &taken,
    };
    let _ = inner.visit(&mut unfolder);
    Ok(())
}

/// Names with upper-case letters by what SQL folds them to; `None` where that is ambiguous or is
/// itself a column.
type Unfolded = BTreeMap<String, Option<String>>;

async fn columns(
    session: &SessionState,
    statement: &Statement,
) -> Result<Unfolded, DataFusionError> {
    let mut plain = BTreeSet::new();
    let mut unfolded = Unfolded::new();
    let mut count = 0;
    for reference in session.resolve_table_references(statement)? {
        let Ok(schema) = session.schema_for_ref(reference.clone()) else {
            continue;
        };
        let Some(table) = schema.table(reference.table()).await? else {
            continue;
        };
        let table = table.schema();
        count += table.fields().len();
        if count > COLUMNS_MAX {
            return Ok(Unfolded::new());
        }
        for field in table.fields() {
            let folded = field.name().to_lowercase();
            if folded == *field.name() {
                plain.insert(folded);
                continue;
            }
            let known = unfolded
                .entry(folded)
                .or_insert_with(|| Some(field.name().clone()));
            if known.as_ref() != Some(field.name()) {
                *known = None;
            }
        }
    }
    unfolded.retain(|folded, name| name.is_some() && !plain.contains(folded));
    Ok(unfolded)
}

/// Names that the statement itself gives to columns, and those of its tables.
#[derive(Default)]
struct Taken {
    names: BTreeSet<String>,
    tables: BTreeSet<String>,
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

impl Taken {
    fn take(&mut self, name: &Ident) {
        self.names.insert(folded(name));
    }

    fn take_columns(&mut self, alias: &TableAlias) {
        self.tables.insert(folded(&alias.name));
        for column in &alias.columns {
            self.take(&column.name);
        }
    }

    fn take_select(&mut self, select: &Select) {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.take(alias);
            }
        }
    }

    fn take_body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => self.take_select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.take_body(left);
                self.take_body(right);
            }
            // A query in brackets is visited by itself.
            _ => {}
        }
    }
}

impl VisitorMut for Taken {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.take_columns(&table.alias);
        }
        self.take_body(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if let Some(name) = relation.0.last().and_then(ObjectNamePart::as_ident) {
            self.tables.insert(folded(name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                alias: Some(alias), ..
            }
            | TableFactor::Derived {
                alias: Some(alias), ..
            }
            | TableFactor::TableFunction {
                alias: Some(alias), ..
            }
            | TableFactor::UNNEST {
                alias: Some(alias), ..
            }
            | TableFactor::NestedJoin {
                alias: Some(alias), ..
            } => self.take_columns(alias),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct Unfolder<'a> {
    columns: &'a Unfolded,
    taken: &'a Taken,
}

impl Unfolder<'_> {
    fn unfold(&self, name: &mut Ident) {
        if name.quote_style.is_some() {
            return;
        }
        let folded = name.value.to_lowercase();
        if self.taken.names.contains(&folded) {
            return;
        }
        if let Some(Some(column)) = self.columns.get(&folded) {
            name.value.clone_from(column);
            name.quote_style = Some('"');
        }
    }
}

impl VisitorMut for Unfolder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        match expression {
            Expr::Identifier(name) => self.unfold(name),
            Expr::CompoundIdentifier(parts) => {
                // A table and its column, or a column and its field.
                let is_table = parts
                    .first()
                    .is_some_and(|first| self.taken.tables.contains(&folded(first)));
                if let Some(name) = parts.get_mut(usize::from(is_table)) {
                    self.unfold(name);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
