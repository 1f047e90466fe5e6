//! What a registered schema is written in, and what it refers to.

use std::fmt;

use minicbor::{Decode, Encode};

/// What a schema's text is written in, and so what its payloads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SchemaFormat {
    #[n(0)]
    Avro,
    #[n(1)]
    Json,
    #[n(2)]
    Protobuf,
}

impl SchemaFormat {
    pub const ALL: [SchemaFormat; 3] = [
        SchemaFormat::Avro,
        SchemaFormat::Json,
        SchemaFormat::Protobuf,
    ];

    /// As Confluent's registry writes it.
    pub fn name(self) -> &'static str {
        match self {
            SchemaFormat::Avro => "AVRO",
            SchemaFormat::Json => "JSON",
            SchemaFormat::Protobuf => "PROTOBUF",
        }
    }

    pub fn named(name: &str) -> Option<SchemaFormat> {
        let mut all = SchemaFormat::ALL.into_iter();
        all.find(|format| format.name() == name)
    }
}

impl fmt::Display for SchemaFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A schema's text takes what it does not define itself from this version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SchemaReference {
    /// What the text calls it: a full name in Avro, an import in Protobuf, a URL in JSON Schema.
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub subject: String,
    #[n(2)]
    pub version: u32,
}

impl SchemaReference {
    /// Of its names.
    pub fn size(&self) -> usize {
        self.name.len().saturating_add(self.subject.len())
    }
}
