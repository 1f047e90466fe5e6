//! Registered schemas, the subjects that name their versions, and what a new version must keep.

mod delete_schema_versions;
mod refusal;
mod register_schema;
mod set_compatibility;
mod types;

pub use delete_schema_versions::DeleteSchemaVersions;
pub use refusal::SchemaRefusal;
pub use register_schema::RegisterSchema;
pub use set_compatibility::SetCompatibility;
pub use types::{Compatibility, Schema, Subject};
