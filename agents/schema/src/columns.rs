//! From a schema to the columns that a table needs for it.
//!
//! - Fields carry no ids yet: `apply` assigns them, as it assigns offsets. All are nullable but map
//!   keys: another version of the schema may lack them.
//! - A record's fields are the columns, under the names that [`column_name`] gives them; any other
//!   schema is one column, `value`.
//! - A union of null and one type is that type. A union of several is a struct with a field per
//!   branch, of which at most one is not null, each named after its type.
//! - `timestamp-nanos` stays a bigint, since tables count in microseconds and must not lose digits.
//!   A fixed type of more than [`FIXED_BYTES_MAX`] bytes is binary, since a null of it takes its
//!   full length in memory.
//! - A field whose type has only null gets no column until a later version gives it a type.
//!
//! What a table cannot hold is refused with the reason: types that contain themselves, lists and
//! structs that hold nothing but null, decimals beyond 38 digits, names that another column has.

use std::collections::HashSet;

use tarn_model::{ColumnType, Field, Kind, caps};

use crate::avro::{AvroSchema, DEPTH_MAX, FixedLogical, NamedId, NamedType, Type, base_name};
use crate::meta_columns::column_name;

/// The one column of a schema that is not a record.
pub const VALUE_COLUMN: &str = "value";

/// Longest fixed type that stays one; longer ones are binary.
pub const FIXED_BYTES_MAX: u32 = 64;

/// Iceberg's limit, and that of a 128-bit decimal.
const DECIMAL_PRECISION_MAX: u32 = 38;

/// No table can hold what this schema describes.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("column {at}: {problem}")]
pub struct ColumnsError {
    /// The path of names, as in `order.lines.element`.
    pub at: String,
    pub problem: ColumnsProblem,
}

impl ColumnsError {
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ColumnsProblem {
    #[error("the type {0:?} contains itself, which no table can hold")]
    Recursive(String),
    #[error(
        "the schema has more than {} columns, nested ones counted",
        caps::SCHEMA_COLUMNS_MAX
    )]
    TooMany,
    #[error("types are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error(
        "another field here has this name in upper or lower case, and SQL does not tell them apart"
    )]
    DuplicateName,
    #[error("its values hold nothing but null, and a table has no type for that")]
    Nothing,
    #[error("a decimal has at most {DECIMAL_PRECISION_MAX} digits, this one has {0}")]
    DecimalTooLong(u32),
    #[error("a fixed type needs at least one byte")]
    EmptyFixed,
}

/// The columns of a table for records of this schema, in the schema's order.
pub fn columns(schema: &AvroSchema) -> Result<Vec<Field>, ColumnsError> {
    let mut walk = Walk::new(schema);
    match schema.root() {
        Type::Named(id) if matches!(schema.named(*id), NamedType::Record(_)) => {
            walk.record(*id, true)
        }
        root => {
            let kind = walk.column(VALUE_COLUMN, root)?;
            Ok(kind
                .map(|kind| Field::new(VALUE_COLUMN, kind))
                .into_iter()
                .collect())
        }
    }
}

/// The column type for one type of the schema; `None` if its only value is null.
pub fn column_type(schema: &AvroSchema, kind: &Type) -> Result<Option<ColumnType>, ColumnsError> {
    Walk::new(schema).kind(kind)
}

/// The struct field for each branch of a union of several types; `None` for null. Named types give
/// their name, with their namespace if the name alone is not unique; others their base type.
pub fn branch_names(schema: &AvroSchema, branches: &[Type]) -> Vec<Option<String>> {
    let short = |branch: &Type| match branch {
        Type::Null => None,
        Type::Named(id) => Some(schema.named(*id).name()),
        other => Some(base_name(other)),
    };
    let mut seen: HashSet<String> = HashSet::new();
    let mut twice: HashSet<String> = HashSet::new();
    for name in branches.iter().filter_map(short) {
        if !seen.insert(name.to_ascii_lowercase()) {
            twice.insert(name.to_ascii_lowercase());
        }
    }
    let mut names = Vec::with_capacity(branches.len());
    for branch in branches {
        names.push(short(branch).map(|name| match branch {
            Type::Named(id) if twice.contains(&name.to_ascii_lowercase()) => {
                schema.named(*id).full_name().replace('.', "_")
            }
            _ => name.to_owned(),
        }));
    }
    names
}

struct Walk<'a> {
    schema: &'a AvroSchema,
    /// Named types that we are inside of.
    open: Vec<NamedId>,
    path: Vec<String>,
    columns: usize,
}

impl<'a> Walk<'a> {
    fn new(schema: &'a AvroSchema) -> Walk<'a> {
        Walk {
            schema,
            open: Vec::new(),
            path: Vec::new(),
            columns: 0,
        }
    }

    fn fail<T>(&self, problem: ColumnsProblem) -> Result<T, ColumnsError> {
        Err(ColumnsError {
            at: self.path.join("."),
            problem,
        })
    }

    /// A field, an element, a key or a value: whatever gets an id.
    fn column(&mut self, name: &str, kind: &Type) -> Result<Option<ColumnType>, ColumnsError> {
        self.path.push(name.to_owned());
        // Null-only fields count too: the cap also bounds this walk's time.
        self.columns += 1;
        if self.columns > caps::SCHEMA_COLUMNS_MAX {
            return self.fail(ColumnsProblem::TooMany);
        }
        if self.path.len() > DEPTH_MAX {
            return self.fail(ColumnsProblem::TooDeep);
        }
        let kind = self.kind(kind)?;
        self.path.pop();
        Ok(kind)
    }

    fn record(&mut self, id: NamedId, top: bool) -> Result<Vec<Field>, ColumnsError> {
        let NamedType::Record(record) = self.schema.named(id) else {
            return Ok(Vec::new());
        };
        if self.open.contains(&id) {
            return self.fail(ColumnsProblem::Recursive(record.full_name.clone()));
        }
        self.open.push(id);
        let mut fields = Vec::new();
        let mut seen = HashSet::new();
        for field in &record.fields {
            if !seen.insert(field.name.to_ascii_lowercase()) {
                self.path.push(field.name.clone());
                return self.fail(ColumnsProblem::DuplicateName);
            }
            if let Some(kind) = self.column(&field.name, &field.kind)? {
                let name = if top {
                    column_name(&field.name)
                } else {
                    field.name.clone()
                };
                fields.push(Field {
                    doc: field.doc.clone(),
                    ..Field::new(name, kind)
                });
            }
        }
        self.open.pop();
        Ok(fields)
    }

    fn nested(&self, fields: Vec<Field>) -> Result<Option<ColumnType>, ColumnsError> {
        if fields.is_empty() {
            return self.fail(ColumnsProblem::Nothing);
        }
        Ok(Some(ColumnType::Struct(fields)))
    }

    fn inner(&mut self, name: &str, kind: &Type) -> Result<ColumnType, ColumnsError> {
        match self.column(name, kind)? {
            Some(kind) => Ok(kind),
            None => self.fail(ColumnsProblem::Nothing),
        }
    }

    fn kind(&mut self, kind: &Type) -> Result<Option<ColumnType>, ColumnsError> {
        Ok(Some(match kind {
            Type::Null => return Ok(None),
            Type::Boolean => ColumnType::Boolean,
            Type::Int => ColumnType::Int,
            Type::Long | Type::TimestampNanos => ColumnType::Long,
            Type::Float => ColumnType::Float,
            Type::Double => ColumnType::Double,
            Type::Bytes => ColumnType::Binary,
            Type::String => ColumnType::String,
            Type::Date => ColumnType::Date,
            Type::TimeMillis | Type::TimeMicros => ColumnType::Time,
            Type::TimestampMillis | Type::TimestampMicros => ColumnType::TimestampTz,
            Type::LocalTimestampMillis | Type::LocalTimestampMicros => ColumnType::Timestamp,
            Type::Uuid => ColumnType::Uuid,
            Type::Decimal { precision, scale } => self.decimal(*precision, *scale)?,
            Type::Array(items) => ColumnType::list(self.inner("element", items)?),
            Type::Map(values) => {
                self.columns += 1; // The key has an id too.
                ColumnType::map(ColumnType::String, self.inner("value", values)?)
            }
            Type::Union(branches) => return self.union(branches),
            Type::Named(id) => match self.schema.named(*id) {
                NamedType::Record(_) => {
                    let fields = self.record(*id, false)?;
                    return self.nested(fields);
                }
                NamedType::Enum(_) => ColumnType::String,
                NamedType::Fixed(fixed) => match fixed.logical {
                    FixedLogical::Uuid => ColumnType::Uuid,
                    FixedLogical::Decimal { precision, scale } => self.decimal(precision, scale)?,
                    FixedLogical::None if fixed.size == 0 => {
                        return self.fail(ColumnsProblem::EmptyFixed);
                    }
                    FixedLogical::None if fixed.size > FIXED_BYTES_MAX => ColumnType::Binary,
                    FixedLogical::None => ColumnType::Fixed(fixed.size),
                },
            },
        }))
    }

    fn decimal(&self, precision: u32, scale: u32) -> Result<ColumnType, ColumnsError> {
        if precision > DECIMAL_PRECISION_MAX {
            return self.fail(ColumnsProblem::DecimalTooLong(precision));
        }
        Ok(ColumnType::Decimal { precision, scale })
    }

    fn union(&mut self, branches: &[Type]) -> Result<Option<ColumnType>, ColumnsError> {
        let values: Vec<&Type> = branches
            .iter()
            .filter(|branch| **branch != Type::Null)
            .collect();
        if let [] | [_] = values.as_slice() {
            return match values.first() {
                Some(only) => self.kind(only),
                None => Ok(None),
            };
        }
        let mut fields = Vec::with_capacity(values.len());
        let mut seen = HashSet::new();
        for (branch, name) in branches.iter().zip(branch_names(self.schema, branches)) {
            let Some(name) = name else { continue };
            if !seen.insert(name.to_ascii_lowercase()) {
                self.path.push(name);
                return self.fail(ColumnsProblem::DuplicateName);
            }
            let kind = self.inner(&name, branch)?;
            fields.push(Field::new(name, kind));
        }
        self.nested(fields)
    }
}

#[cfg(test)]
mod tests;
