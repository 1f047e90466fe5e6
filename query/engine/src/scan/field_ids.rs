//! Columns of a file by field id: a file that was written under other names answers under today's,
//! and a column that it lacks is null.

use std::collections::HashMap;
use std::sync::Arc;

use super::conformed::Conformed;
use crate::conform::{id, is_nested, plain};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

/// Makes an adapter for each file.
#[derive(Debug)]
pub(super) struct AdapterFactory {
    /// The table's columns with their ids; the plan's have none.
    pub(super) columns: SchemaRef,
}

/// Rewrites expressions over the table's columns to ones over the file's.
#[derive(Debug)]
struct Adapter {
    /// DataFusion's, which maps names to names, fills in nulls and casts; it sees the file with its
    /// columns named as in the table.
    by_name: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
    /// By place in the file: nested columns as the table has them, with ids and without.
    nested: HashMap<usize, (FieldRef, FieldRef)>,
}

impl PhysicalExprAdapterFactory for AdapterFactory {
    fn create(
        &self,
        table: SchemaRef,
        file: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>, DataFusionError> {
        let columns = self.columns.fields();
        let by_id: HashMap<&String, &FieldRef> = columns
            .iter()
            .filter_map(|field| Some((id(field)?, field)))
            .collect();
        let mut nested = HashMap::new();
        let mut seen = Vec::with_capacity(file.fields().len());
        for (index, field) in file.fields().iter().enumerate() {
            let wanted = match id(field) {
                Some(id) => by_id.get(id).copied(),
                // A file of a writer that knows no ids.
                None => columns.find(field.name()).map(|(_, wanted)| wanted),
            };
            let Some(wanted) = wanted else {
                // A column that the table has no more must not be taken for another of its name.
                seen.push(
                    field
                        .as_ref()
                        .clone()
                        .with_name(format!("\0dropped {index}")),
                );
                continue;
            };
            let mut field = field.as_ref().clone().with_name(wanted.name());
            if is_nested(field.data_type()) {
                field = field.with_data_type(plain(wanted.data_type()));
                nested.insert(index, (Arc::clone(wanted), Arc::new(field.clone())));
            }
            seen.push(field);
        }
        let by_name = DefaultPhysicalExprAdapterFactory
            .create(Arc::clone(&table), Arc::new(Schema::new(seen)))?;
        Ok(Arc::new(Adapter {
            by_name,
            file,
            nested,
        }))
    }
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(
        &self,
        expression: Arc<dyn PhysicalExpr>,
    ) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        // Columns are bound by their place already; their names, and the types of some, are the table's.
        let bound = |expression: Arc<dyn PhysicalExpr>| {
            let Some(column) = expression.as_any().downcast_ref::<Column>() else {
                return Ok(Transformed::no(expression));
            };
            let index = column.index();
            let name = self
                .file
                .fields()
                .get(index)
                .map(|field| field.name().clone());
            let name = name.ok_or_else(|| {
                DataFusionError::Internal(format!("the file has no column {index}"))
            })?;
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&name, index));
            Ok(Transformed::yes(match self.nested.get(&index) {
                Some((wanted, shown)) => Arc::new(Conformed::new(
                    column,
                    Arc::clone(wanted),
                    Arc::clone(shown),
                )),
                None => column,
            }))
        };
        self.by_name.rewrite(expression)?.transform_up(bound).data()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::physical_expr::expressions::Literal;

    use tarn_decode::FIELD_ID_KEY;

    use super::*;
    use crate::conform::plain_schema;

    fn field(name: &str, id: &str, kind: DataType) -> Field {
        Field::new(name, kind, true)
            .with_metadata(HashMap::from([(FIELD_ID_KEY.to_owned(), id.to_owned())]))
    }

    #[test]
    fn a_column_is_found_by_its_id_and_never_by_another_ones_name() {
        let table = Arc::new(Schema::new(vec![
            field("town", "2", DataType::Utf8),
            field("city", "3", DataType::Utf8),
            field("amount", "1", DataType::Int64),
        ]));
        let file = Arc::new(Schema::new(vec![
            field("amount", "1", DataType::Int32),
            field("city", "2", DataType::Utf8),
        ]));
        let factory = AdapterFactory {
            columns: Arc::clone(&table),
        };
        let adapter = factory
            .create(plain_schema(&table), file)
            .expect("an adapter");
        let rewrite = |name: &str, index| {
            adapter
                .rewrite(Arc::new(Column::new(name, index)))
                .expect("it is rewritten")
        };
        let town = rewrite("town", 0);
        let town = town
            .as_any()
            .downcast_ref::<Column>()
            .expect("a column of the file");
        assert_eq!((town.name(), town.index()), ("city", 1));
        assert!(
            rewrite("city", 1).as_any().is::<Literal>(),
            "the file does not have column 3"
        );
        assert!(
            rewrite("amount", 2).to_string().contains("amount@0"),
            "cast from the file's type"
        );
    }
}
