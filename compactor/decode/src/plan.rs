//! How a writer schema's values go into a table's columns, compiled once and run per record.
//!
//! Fields find their columns by name, at every level. What the writer lacks is null. What no column
//! takes is read all the same, so that whether a record is decodable does not depend on which
//! columns the table has by now. Promotions are Iceberg's: int to long, float to double, a decimal
//! to a longer one of the same scale.
//!
//! A value that is sound as Avro encodes it but none of its logical type is null, and counted: a time
//! beyond the years 1 to 9999, 24:00:00, a decimal with too many digits, a text that is no UUID. Only
//! what breaks the encoding costs the record.

use tarn_model::{ColumnType, Field};
use tarn_schema::{
    AvroSchema, FIXED_BYTES_MAX, FixedLogical, NamedType, Type, VALUE_COLUMN, branch_names,
    column_name, column_type,
};

use crate::column::{Column, Values, last, length, mispaired, offset, row_width};
use crate::cursor::Cursor;
use crate::event_time::{date, time_of_day, timestamp};
use crate::reason::{Reason, UnusableSchema};

const MICROS_PER_MILLI: i64 = 1_000;

/// Reads one value and appends one row.
#[derive(Debug)]
pub(crate) enum Plan {
    Null,
    Boolean,
    Int,
    IntToLong,
    Long,
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    Float,
    FloatToDouble,
    Double,
    Bytes,
    String,
    Enum(Vec<String>),
    UuidText,
    Fixed(usize),
    FixedToBinary(usize),
    /// Of `size` bytes, or with a length before it; below `limit` either way from zero.
    Decimal {
        size: Option<usize>,
        limit: u128,
    },
    Record(RecordPlan),
    List {
        element: Box<Plan>,
        width: usize,
    },
    Map {
        value: Box<Plan>,
        width: usize,
    },
    /// At most one branch is not null: all go into the same column.
    Union(Vec<Plan>),
    /// Each branch has its field in a struct; the others are null.
    Variant(Vec<Branch>),
}

#[derive(Debug)]
pub(crate) enum Branch {
    Null,
    Value(Plan, Target),
}

/// A record's fields in the writer's order, and the columns that it does not fill.
#[derive(Debug)]
pub(crate) struct RecordPlan {
    fields: Vec<(Plan, Target)>,
    missing: Vec<usize>,
}

#[derive(Debug)]
pub(crate) enum Target {
    /// Index among the sibling columns.
    Column(usize),
    /// No column takes it: it is read into one of its own type and forgotten.
    Nowhere(ColumnType),
}

/// The plan for the whole payload against a table's payload columns.
pub(crate) fn compile(
    schema: &AvroSchema,
    columns: &[Field],
) -> Result<RecordPlan, UnusableSchema> {
    // Refuses what no table holds: types that contain themselves, and items without a byte.
    tarn_schema::columns(schema)?;
    let compiler = Compiler { schema };
    match schema.root() {
        Type::Named(id) => {
            if let NamedType::Record(record) = schema.named(*id) {
                let named: Vec<(String, &Type)> = record
                    .fields
                    .iter()
                    .map(|field| (column_name(&field.name), &field.kind))
                    .collect();
                let fields = named.iter().map(|(name, kind)| (name.as_str(), *kind));
                return compiler.fields(fields, columns);
            }
            compiler.fields([(VALUE_COLUMN, schema.root())].into_iter(), columns)
        }
        root => compiler.fields([(VALUE_COLUMN, root)].into_iter(), columns),
    }
}

struct Compiler<'a> {
    schema: &'a AvroSchema,
}

impl Compiler<'_> {
    fn fields<'f>(
        &self,
        writer: impl Iterator<Item = (&'f str, &'f Type)>,
        columns: &[Field],
    ) -> Result<RecordPlan, UnusableSchema> {
        let mut fields = Vec::new();
        let mut filled = vec![false; columns.len()];
        for (name, kind) in writer {
            let (plan, target) = self.field(name, kind, columns)?;
            if let Target::Column(index) = target
                && let Some(filled) = filled.get_mut(index)
            {
                *filled = true;
            }
            fields.push((plan, target));
        }
        let missing = filled
            .iter()
            .enumerate()
            .filter(|(_, filled)| !**filled)
            .map(|(i, _)| i)
            .collect();
        Ok(RecordPlan { fields, missing })
    }

    fn field(
        &self,
        name: &str,
        kind: &Type,
        columns: &[Field],
    ) -> Result<(Plan, Target), UnusableSchema> {
        let found = columns
            .iter()
            .enumerate()
            .find(|(_, column)| column.name == name);
        match found {
            Some((index, column)) => {
                Ok((self.plan(name, kind, &column.kind)?, Target::Column(index)))
            }
            None => {
                // A type with nothing but null can be read into any column.
                let own = column_type(self.schema, kind)?.unwrap_or(ColumnType::Boolean);
                Ok((self.plan(name, kind, &own)?, Target::Nowhere(own)))
            }
        }
    }

    fn plan(&self, name: &str, kind: &Type, column: &ColumnType) -> Result<Plan, UnusableSchema> {
        Ok(match (kind, column) {
            (Type::Null, _) => Plan::Null,
            (Type::Boolean, ColumnType::Boolean) => Plan::Boolean,
            (Type::Int, ColumnType::Int) => Plan::Int,
            (Type::Date, ColumnType::Date) => Plan::Date,
            (Type::Int, ColumnType::Long) => Plan::IntToLong,
            (Type::Long | Type::TimestampNanos, ColumnType::Long) => Plan::Long,
            (Type::TimestampMicros, ColumnType::TimestampTz)
            | (Type::LocalTimestampMicros, ColumnType::Timestamp) => Plan::TimestampMicros,
            (Type::TimestampMillis, ColumnType::TimestampTz)
            | (Type::LocalTimestampMillis, ColumnType::Timestamp) => Plan::TimestampMillis,
            (Type::TimeMillis, ColumnType::Time) => Plan::TimeMillis,
            (Type::TimeMicros, ColumnType::Time) => Plan::TimeMicros,
            (Type::Float, ColumnType::Float) => Plan::Float,
            (Type::Float, ColumnType::Double) => Plan::FloatToDouble,
            (Type::Double, ColumnType::Double) => Plan::Double,
            (Type::Bytes, ColumnType::Binary) => Plan::Bytes,
            (Type::String, ColumnType::String) => Plan::String,
            (Type::Uuid, ColumnType::Uuid) => Plan::UuidText,
            (Type::Decimal { precision, scale }, _) => {
                decimal(name, None, *precision, *scale, column)?
            }
            (Type::Array(items), ColumnType::List(element)) => Plan::List {
                element: Box::new(self.plan(name, items, &element.kind)?),
                width: row_width(&element.kind),
            },
            (Type::Map(values), ColumnType::Map(key, value)) if key.kind == ColumnType::String => {
                Plan::Map {
                    value: Box::new(self.plan(name, values, &value.kind)?),
                    width: row_width(&key.kind).saturating_add(row_width(&value.kind)),
                }
            }
            (Type::Union(branches), column) => self.union(name, branches, column)?,
            (Type::Named(id), column) => match (self.schema.named(*id), column) {
                (NamedType::Record(record), ColumnType::Struct(columns)) => {
                    let fields = record
                        .fields
                        .iter()
                        .map(|field| (field.name.as_str(), &field.kind));
                    Plan::Record(self.fields(fields, columns)?)
                }
                (NamedType::Enum(symbols), ColumnType::String) => {
                    Plan::Enum(symbols.symbols.clone())
                }
                (NamedType::Fixed(fixed), column) => {
                    let size = usize::try_from(fixed.size).map_err(|_| mismatch(name, column))?;
                    match (fixed.logical, column) {
                        (FixedLogical::Decimal { precision, scale }, _) => {
                            decimal(name, Some(size), precision, scale, column)?
                        }
                        (FixedLogical::Uuid, ColumnType::Uuid) => Plan::Fixed(16),
                        (FixedLogical::None, ColumnType::Fixed(length))
                            if *length == fixed.size =>
                        {
                            Plan::Fixed(size)
                        }
                        (FixedLogical::None, ColumnType::Binary)
                            if fixed.size > FIXED_BYTES_MAX =>
                        {
                            Plan::FixedToBinary(size)
                        }
                        _ => return Err(mismatch(name, column)),
                    }
                }
                _ => return Err(mismatch(name, column)),
            },
            _ => return Err(mismatch(name, column)),
        })
    }

    fn union(
        &self,
        name: &str,
        branches: &[Type],
        column: &ColumnType,
    ) -> Result<Plan, UnusableSchema> {
        if branches
            .iter()
            .filter(|branch| **branch != Type::Null)
            .count()
            <= 1
        {
            let mut plans = Vec::with_capacity(branches.len());
            for branch in branches {
                plans.push(self.plan(name, branch, column)?);
            }
            return Ok(Plan::Union(plans));
        }
        let ColumnType::Struct(columns) = column else {
            return Err(mismatch(name, column));
        };
        let mut plans = Vec::with_capacity(branches.len());
        for (branch, name) in branches.iter().zip(branch_names(self.schema, branches)) {
            plans.push(match name {
                None => Branch::Null,
                Some(name) => {
                    let (plan, target) = self.field(&name, branch, columns)?;
                    Branch::Value(plan, target)
                }
            });
        }
        Ok(Plan::Variant(plans))
    }
}

fn decimal(
    name: &str,
    size: Option<usize>,
    precision: u32,
    scale: u32,
    column: &ColumnType,
) -> Result<Plan, UnusableSchema> {
    match column {
        ColumnType::Decimal {
            precision: wider,
            scale: same,
        } if precision <= *wider && scale == *same => {
            // The writer's precision is the limit, not the column's, which may grow later.
            let limit = 10_u128
                .checked_pow(precision)
                .ok_or_else(|| mismatch(name, column))?;
            Ok(Plan::Decimal { size, limit })
        }
        _ => Err(mismatch(name, column)),
    }
}

fn mismatch(name: &str, column: &ColumnType) -> UnusableSchema {
    UnusableSchema::Mismatch {
        field: name.to_owned(),
        column: column.to_string(),
    }
}

impl RecordPlan {
    /// Appends one row to every column, unless it fails: then the caller cuts the columns back.
    pub(crate) fn read(
        &self,
        cursor: &mut Cursor<'_>,
        columns: &mut [Column],
    ) -> Result<(), Reason> {
        for (plan, target) in &self.fields {
            target.read(plan, cursor, columns)?;
        }
        for index in &self.missing {
            if let Some(column) = columns.get_mut(*index) {
                column.append_null();
            }
        }
        Ok(())
    }
}

impl Target {
    fn read(
        &self,
        plan: &Plan,
        cursor: &mut Cursor<'_>,
        columns: &mut [Column],
    ) -> Result<(), Reason> {
        match self {
            Target::Column(index) => match columns.get_mut(*index) {
                Some(column) => plan.read(cursor, column),
                None => mispaired("a field"),
            },
            Target::Nowhere(kind) => plan.read(cursor, &mut Column::new(kind)),
        }
    }
}

/// `None` if it has more digits than its column.
fn read_decimal(
    cursor: &mut Cursor<'_>,
    size: Option<usize>,
    limit: u128,
) -> Result<Option<i128>, Reason> {
    let bytes = match size {
        Some(size) => cursor.take(size)?,
        None => cursor.bytes()?,
    };
    Ok(two_s_complement(bytes).filter(|value| value.unsigned_abs() < limit))
}

impl Plan {
    fn read(&self, cursor: &mut Cursor<'_>, column: &mut Column) -> Result<(), Reason> {
        match self {
            Plan::Null => column.append_null(),
            Plan::Boolean => column.push_boolean(cursor.boolean()?),
            Plan::Int => column.push_int(cursor.int()?),
            Plan::IntToLong => column.push_long(i64::from(cursor.int()?)),
            Plan::Long => column.push_long(cursor.long()?),
            Plan::Date => match date(cursor.int()?) {
                Some(days) => column.push_int(days),
                None => nulled(cursor, column),
            },
            Plan::TimeMillis => {
                let micros = i64::from(cursor.int()?) * MICROS_PER_MILLI;
                push_or_null(time_of_day(micros), cursor, column);
            }
            Plan::TimeMicros => push_or_null(time_of_day(cursor.long()?), cursor, column),
            Plan::TimestampMillis => {
                let micros = cursor.long()?.checked_mul(MICROS_PER_MILLI);
                push_or_null(micros.and_then(timestamp), cursor, column);
            }
            Plan::TimestampMicros => push_or_null(timestamp(cursor.long()?), cursor, column),
            Plan::Float => column.push_float(f32::from_le_bytes(cursor.array()?)),
            Plan::FloatToDouble => {
                column.push_double(f64::from(f32::from_le_bytes(cursor.array()?)))
            }
            Plan::Double => column.push_double(f64::from_le_bytes(cursor.array()?)),
            Plan::Bytes => column.push_binary(cursor.bytes()?)?,
            Plan::String => column.push_string(cursor.text()?)?,
            Plan::Enum(symbols) => {
                let symbol = usize::try_from(cursor.int()?)
                    .ok()
                    .and_then(|index| symbols.get(index));
                let symbol = symbol.ok_or(Reason::InvalidValue)?;
                cursor.spend(symbol.len())?;
                column.push_string(symbol)?;
            }
            Plan::UuidText => match uuid::Uuid::try_parse_ascii(cursor.text()?.as_bytes()) {
                Ok(uuid) => column.push_fixed(uuid.as_bytes()),
                Err(_) => nulled(cursor, column),
            },
            Plan::Fixed(size) => column.push_fixed(cursor.take(*size)?),
            Plan::FixedToBinary(size) => column.push_binary(cursor.take(*size)?)?,
            Plan::Decimal { size, limit } => match read_decimal(cursor, *size, *limit)? {
                Some(value) => column.push_decimal(value),
                None => nulled(cursor, column),
            },
            Plan::Record(plan) => {
                let Values::Struct(children) = &mut column.values else {
                    mispaired("a record")
                };
                plan.read(cursor, children)?;
                column.mark_valid();
            }
            Plan::List {
                element: plan,
                width,
            } => {
                let Values::List { offsets, element } = &mut column.values else {
                    mispaired("a list")
                };
                let items = cursor.blocks(*width, |cursor| plan.read(cursor, element))?;
                offsets.push(offset(length(last(offsets)) + items)?);
                column.mark_valid();
            }
            Plan::Map { value: plan, width } => {
                let Values::Map {
                    offsets,
                    key,
                    value,
                } = &mut column.values
                else {
                    mispaired("a map")
                };
                let entries = cursor.blocks(*width, |cursor| {
                    key.push_string(cursor.text()?)?;
                    plan.read(cursor, value)
                })?;
                offsets.push(offset(length(last(offsets)) + entries)?);
                column.mark_valid();
            }
            Plan::Union(branches) => branch(cursor, branches)?.read(cursor, column)?,
            Plan::Variant(branches) => match branch(cursor, branches)? {
                Branch::Null => column.append_null(),
                Branch::Value(plan, target) => {
                    let Values::Struct(children) = &mut column.values else {
                        mispaired("a union")
                    };
                    target.read(plan, cursor, children)?;
                    for (i, child) in children.iter_mut().enumerate() {
                        if !matches!(target, Target::Column(index) if *index == i) {
                            child.append_null();
                        }
                    }
                    column.mark_valid();
                }
            },
        }
        Ok(())
    }
}

fn branch<'p, T>(cursor: &mut Cursor<'_>, branches: &'p [T]) -> Result<&'p T, Reason> {
    usize::try_from(cursor.long()?)
        .ok()
        .and_then(|index| branches.get(index))
        .ok_or(Reason::InvalidValue)
}

/// The value that was read is none of its logical type: a sentinel, or a mistake of one field that is
/// to cost neither the record nor a query over it.
fn nulled(cursor: &mut Cursor<'_>, column: &mut Column) {
    cursor.count_nulled();
    column.append_null();
}

fn push_or_null(value: Option<i64>, cursor: &mut Cursor<'_>, column: &mut Column) {
    match value {
        Some(value) => column.push_long(value),
        None => nulled(cursor, column),
    }
}

/// Big endian. Longer than 16 bytes is fine as long as the bytes in front only repeat the sign; no
/// byte at all is no number.
fn two_s_complement(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first()? & 0x80 == 0 {
        0x00
    } else {
        0xff
    };
    let (front, kept) = bytes.split_at(bytes.len().saturating_sub(16));
    let first_kept = kept.first()?;
    if front.iter().any(|byte| *byte != fill) || (first_kept ^ fill) & 0x80 != 0 {
        return None;
    }
    let mut value = [fill; 16];
    for (to, from) in value.iter_mut().rev().zip(kept.iter().rev()) {
        *to = *from;
    }
    Some(i128::from_be_bytes(value))
}
