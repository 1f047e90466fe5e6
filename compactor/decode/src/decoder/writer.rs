//! A writer schema's way into a table's columns, in whatever format the schema is written.

use std::sync::OnceLock;

use tarn_model::Field;
use tarn_schema::PayloadSchema;

use super::WriterSchema;
use crate::column::Column;
use crate::cursor::Cursor;
use crate::plan::{RecordPlan, compile};
use crate::reason::{Reason, UnusableSchema};

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) schema: WriterSchema,
    /// Compiled when a record first names the schema: a table may have hundreds, and its new records
    /// name the newest.
    pub(super) plan: OnceLock<Result<WriterPlan, UnusableSchema>>,
}

/// How payloads of one format are read. Each reads a payload to its last byte or not at all.
#[derive(Debug)]
pub(super) enum WriterPlan {
    Avro(RecordPlan),
}

/// What reading one payload took.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) bytes: usize,
    pub(super) nulled: u64,
}

impl Writer {
    pub(super) fn new(schema: &WriterSchema) -> Writer {
        Writer {
            schema: schema.clone(),
            plan: OnceLock::new(),
        }
    }

    pub(super) fn plan(&self, columns: &[Field]) -> &Result<WriterPlan, UnusableSchema> {
        self.plan.get_or_init(|| {
            if let Some(why) = &self.schema.unfit {
                return Err(UnusableSchema::Unfit(why.clone()));
            }
            WriterPlan::compile(&self.schema, columns)
        })
    }
}

impl WriterPlan {
    fn compile(writer: &WriterSchema, columns: &[Field]) -> Result<WriterPlan, UnusableSchema> {
        let needed: Vec<&str> = writer.needed.iter().map(|schema| &*schema.text).collect();
        let schema = &writer.schema;
        match PayloadSchema::parse(schema.format, &schema.text, &needed)? {
            PayloadSchema::Avro(schema) => Ok(WriterPlan::Avro(compile(&schema, columns)?)),
        }
    }

    /// Appends one row to every column, unless it fails: then the caller cuts the columns back.
    pub(super) fn read(&self, payload: &[u8], columns: &mut [Column]) -> Result<Spent, Reason> {
        match self {
            WriterPlan::Avro(plan) => {
                let mut cursor = Cursor::new(payload);
                plan.read(&mut cursor, columns)?;
                if cursor.remaining() > 0 {
                    return Err(Reason::TrailingBytes);
                }
                Ok(Spent {
                    bytes: cursor.spent(),
                    nulled: cursor.nulled(),
                })
            }
        }
    }
}
