//! A nested column of a file as an expression. DataFusion adapts structs by name, and nothing inside
//! lists and maps.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use crate::conform::conform;

/// A column of a file in the form that the table gives it.
#[derive(Debug, Eq)]
pub(super) struct Conformed {
    column: Arc<dyn PhysicalExpr>,
    /// With ids, to find its fields.
    wanted: FieldRef,
    /// Without, as the query sees it.
    shown: FieldRef,
}

impl Conformed {
    pub(super) fn new(
        column: Arc<dyn PhysicalExpr>,
        wanted: FieldRef,
        shown: FieldRef,
    ) -> Conformed {
        Conformed {
            column,
            wanted,
            shown,
        }
    }
}

// By hand: the derived one would move the trait object.
impl PartialEq for Conformed {
    fn eq(&self, other: &Conformed) -> bool {
        self.column.as_ref() == other.column.as_ref() && self.wanted == other.wanted
    }
}

impl Hash for Conformed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.wanted.hash(state);
    }
}

impl fmt::Display for Conformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CONFORMED({})", self.column)
    }
}

impl PhysicalExpr for Conformed {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, _: &Schema) -> Result<DataType, DataFusionError> {
        Ok(self.shown.data_type().clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool, DataFusionError> {
        Ok(self.shown.is_nullable())
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef, DataFusionError> {
        Ok(Arc::clone(&self.shown))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue, DataFusionError> {
        let array = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let conformed = conform(&array, self.wanted.data_type())?;
        Ok(ColumnarValue::Array(conform(
            &conformed,
            self.shown.data_type(),
        )?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let column = children
            .into_iter()
            .next()
            .unwrap_or_else(|| Arc::clone(&self.column));
        Ok(Arc::new(Conformed::new(
            column,
            Arc::clone(&self.wanted),
            Arc::clone(&self.shown),
        )))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}
