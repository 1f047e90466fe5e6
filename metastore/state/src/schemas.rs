//! Registered schemas, the subjects that name their versions, and what a new version must keep.

mod delete_schema_versions;
mod invariants;
mod references;
mod refusal;
mod register_schema;
mod section;
mod set_compatibility;
mod types;

pub(crate) use references::SubjectVersion;
pub use references::referenced_schemas;
pub use refusal::SchemaRefusal;
pub(crate) use section::SECTIONS;
pub use types::{Compatibility, ResolvedReference, Schema, Subject};

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::delete_schema_versions::DeleteSchemaVersions;
    pub use super::register_schema::RegisterSchema;
    pub use super::set_compatibility::SetCompatibility;
}
