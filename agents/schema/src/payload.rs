//! A registered schema in whatever format it is written. Another format is a variant here, and one where
//! payloads are read (`tarn-decode`).

use sha2::{Digest, Sha256};
use tarn_model::{Field, SchemaFormat, SchemaReference};

use crate::avro::{AvroSchema, ParseError, parse};
use crate::columns::{ColumnsError, columns};
use crate::guid::{guid, hash_text};

/// A schema that was parsed and found valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSchema {
    Avro(AvroSchema),
}

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadSchemaError {
    #[error("schemas of type {0} are not served, only AVRO")]
    Format(SchemaFormat),
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl PayloadSchema {
    /// `needed`: the texts of all schemas that this one refers to, each after those that it refers to
    /// itself.
    pub fn parse(
        format: SchemaFormat,
        text: &str,
        needed: &[&str],
    ) -> Result<PayloadSchema, PayloadSchemaError> {
        match format {
            SchemaFormat::Avro => Ok(PayloadSchema::Avro(parse(text, needed)?)),
            SchemaFormat::Json | SchemaFormat::Protobuf => Err(PayloadSchemaError::Format(format)),
        }
    }

    pub fn format(&self) -> SchemaFormat {
        match self {
            PayloadSchema::Avro(_) => SchemaFormat::Avro,
        }
    }

    /// The text that is registered.
    pub fn canonical(&self) -> &str {
        match self {
            PayloadSchema::Avro(schema) => schema.canonical(),
        }
    }

    /// What the schema is known by, everywhere: format, text, what it refers to by which names, and the
    /// texts of that. As in Confluent's registry the same text with other references is another schema.
    pub fn guid(&self, references: &[SchemaReference]) -> [u8; 16] {
        let texts = match self {
            PayloadSchema::Avro(schema) => schema.guid(),
        };
        if references.is_empty() {
            return texts;
        }
        let mut hash = Sha256::new();
        hash.update(texts);
        for reference in references {
            hash_text(&mut hash, &reference.name);
            hash_text(&mut hash, &reference.subject);
            hash.update(reference.version.to_be_bytes());
        }
        guid(&hash.finalize().into())
    }

    /// The columns that a table needs for it, without ids.
    pub fn columns(&self) -> Result<Vec<Field>, ColumnsError> {
        match self {
            PayloadSchema::Avro(schema) => columns(schema),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str, subject: &str, version: u32) -> SchemaReference {
        let (name, subject) = (name.to_owned(), subject.to_owned());
        SchemaReference {
            name,
            subject,
            version,
        }
    }

    #[test]
    fn a_schema_is_another_with_other_references() {
        let schema = PayloadSchema::parse(SchemaFormat::Avro, "\"long\"", &[]).expect("a schema");
        let PayloadSchema::Avro(avro) = &schema;
        assert_eq!(schema.guid(&[]), avro.guid(), "handed out before");
        let lists = [
            vec![],
            vec![reference("a", "s", 1)],
            vec![reference("a", "s", 2)],
            vec![reference("a", "t", 1)],
            vec![reference("b", "s", 1)],
            // No two lists read alike.
            vec![reference("as", "", 1)],
            vec![reference("a", "s", 1), reference("b", "s", 1)],
            vec![reference("b", "s", 1), reference("a", "s", 1)],
        ];
        let guids: std::collections::BTreeSet<_> =
            lists.iter().map(|list| schema.guid(list)).collect();
        assert_eq!(guids.len(), lists.len());
    }

    #[test]
    fn a_format_is_a_variant_or_refused() {
        for format in SchemaFormat::ALL {
            assert_eq!(SchemaFormat::named(format.name()), Some(format));
            match PayloadSchema::parse(format, "\"long\"", &[]) {
                Ok(schema) => assert_eq!(schema.format(), format),
                Err(error) => assert_eq!(error, PayloadSchemaError::Format(format)),
            }
        }
        assert_eq!(SchemaFormat::named("avro"), None);
    }
}
