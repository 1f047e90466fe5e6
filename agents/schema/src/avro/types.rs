//! A parsed Avro schema: a tree whose named types stand in one table, so that a type that names
//! itself is a cycle of numbers, not of memory.

/// Index of a named type in its [`AvroSchema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedId(pub(crate) usize);

/// Avro's types, with the logical types that we know as types of their own. A logical type that we
/// do not know, or that does not fit its base, is the base, as the specification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    LocalTimestampMillis,
    LocalTimestampMicros,
    /// `timestamp-nanos` and `local-timestamp-nanos`: a long.
    TimestampNanos,
    /// A UUID as text.
    Uuid,
    /// On bytes; on fixed it is a [`FixedType`].
    Decimal {
        precision: u32,
        scale: u32,
    },
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Named(NamedId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedType {
    Record(RecordType),
    Enum(EnumType),
    Fixed(FixedType),
}

impl NamedType {
    pub fn full_name(&self) -> &str {
        match self {
            NamedType::Record(record) => &record.full_name,
            NamedType::Enum(symbols) => &symbols.full_name,
            NamedType::Fixed(fixed) => &fixed.full_name,
        }
    }

    /// Without its namespace.
    pub fn name(&self) -> &str {
        let full = self.full_name();
        full.rsplit_once('.').map_or(full, |(_, name)| name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordType {
    pub full_name: String,
    pub fields: Vec<RecordField>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordField {
    pub name: String,
    pub doc: Option<String>,
    pub kind: Type,
    /// Has a default: a reader may use it where the writer lacks the field.
    pub has_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumType {
    pub full_name: String,
    pub symbols: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedType {
    pub full_name: String,
    pub size: u32,
    pub logical: FixedLogical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixedLogical {
    /// Bytes; Avro's `duration` too, which no table type can hold.
    None,
    Decimal {
        precision: u32,
        scale: u32,
    },
    /// Sixteen bytes.
    Uuid,
}

/// A schema that was parsed and found valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroSchema {
    pub(crate) root: Type,
    pub(crate) named: Vec<NamedType>,
    pub(crate) canonical: String,
    pub(crate) guid: [u8; 16],
}

impl AvroSchema {
    pub fn root(&self) -> &Type {
        &self.root
    }

    pub fn named(&self, id: NamedId) -> &NamedType {
        self.named
            .get(id.0)
            .expect("the parser hands out only ids of its own named types")
    }

    /// The text without whitespace and with keys in a fixed order, docs and defaults included: two
    /// texts are the same schema if this is the same.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// A UUID (version 8) made of a hash of the canonical text and of the references' texts: the
    /// same schema has the same in every process and every cluster.
    pub fn guid(&self) -> [u8; 16] {
        self.guid
    }

    /// Full name of the schema's named type, if it is one.
    pub fn full_name(&self) -> Option<&str> {
        match self.root {
            Type::Named(id) => Some(self.named(id).full_name()),
            _ => None,
        }
    }
}
