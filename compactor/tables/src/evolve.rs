//! The metadata of a table as its columns want it: of a new table, and of one whose columns grew.
//!
//! Holds: a column is known by its field id. What another engine did to a table's schema stays (its
//! columns, its order, its wider types, its identifier fields); what the state says is added to it.
//! A schema id stands for one schema: `apply` gives one for each version of the columns, so that two readers
//! between two commits never see one id for two schemas, and two committers write the same.
//!
//! Metadata is built and changed as its JSON: Iceberg's specification of it is stable, while the
//! crate's builder would give new tables other field ids and take times and uuids of its own.

use std::sync::Arc;

use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType,
    TableMetadata, Type,
};
use serde_json::{Value, json};
use tarn_model::TopicId;
use tarn_state::{PlainTable, SqlView, Table, TableKind};

use crate::columns::{FIRST_PARTITION_FIELD_ID, event_time_column, free_partition_name};

/// Metadata of a table that has no file yet.
pub(crate) fn fresh(
    table: &Table,
    schema: &Schema,
    location: &str,
) -> Result<TableMetadata, serde_json::Error> {
    let id = table.schema_id;
    let (partition, properties) = match &table.kind {
        TableKind::Topic(of) => (by_day(schema), topic_properties(of.topic)),
        TableKind::Plain(PlainTable { properties, .. })
        | TableKind::View(SqlView { properties, .. }) => (Vec::new(), json!(properties)),
    };
    let last_partition = match partition.is_empty() {
        true => FIRST_PARTITION_FIELD_ID - 1,
        false => FIRST_PARTITION_FIELD_ID,
    };
    let metadata = json!({
        "format-version": 2,
        "table-uuid": table.uuid.uuid(),
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": schema.highest_field_id().max(table.last_field_id),
        "current-schema-id": id,
        "schemas": [with_id(schema, id)?],
        "default-spec-id": 0,
        "partition-specs": [{
            "spec-id": 0,
            "fields": partition,
        }],
        "last-partition-id": last_partition,
        "default-sort-order-id": 0,
        "sort-orders": [{ "order-id": 0, "fields": [] }],
        "properties": properties,
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "refs": {},
    });
    reread(&metadata)
}

fn topic_properties(topic: TopicId) -> Value {
    json!({
        "tarn.topic": topic.to_string(),
        "write.format.default": "parquet",
        "write.parquet.compression-codec": "zstd",
    })
}

/// Rows of topics are partitioned by the day of their event time.
fn by_day(schema: &Schema) -> Vec<Value> {
    let name = free_partition_name(|name| schema.field_id_by_name(name).is_some());
    vec![json!({
        "source-id": event_time_column(schema).id,
        "field-id": FIRST_PARTITION_FIELD_ID,
        "name": name,
        "transform": "day",
    })]
}

/// The metadata with the columns of `wanted` in its current schema; `None` if it has them already.
pub(crate) fn evolved(
    table: &Table,
    metadata: &TableMetadata,
    wanted: &Schema,
) -> Result<Option<TableMetadata>, serde_json::Error> {
    let current = metadata.current_schema();
    let merged = merged(current.as_struct(), wanted.as_struct());
    if *current.as_struct() == merged {
        return Ok(None);
    }
    let mut json = serde_json::to_value(metadata)?;
    let known = metadata.schemas_iter().find(|schema| {
        *schema.as_struct() == merged
            && schema
                .identifier_field_ids()
                .eq(current.identifier_field_ids())
    });
    let id = match known {
        Some(schema) => schema.schema_id(),
        None => {
            let id = free_schema_id(metadata, table.schema_id);
            let mut schema = serde_json::to_value(current.as_ref())?;
            schema["fields"] = serde_json::to_value(&merged)?["fields"].take();
            schema["schema-id"] = json!(id);
            if let Some(schemas) = json["schemas"].as_array_mut() {
                schemas.push(schema);
            }
            id
        }
    };
    json["current-schema-id"] = json!(id);
    json["last-column-id"] = json!(metadata.last_column_id().max(wanted.highest_field_id()));
    make_way_for_columns(&mut json, metadata, &merged);
    reread(&json).map(Some)
}

/// `wanted`, unless another engine gave a schema of its own this id.
fn free_schema_id(metadata: &TableMetadata, wanted: i32) -> i32 {
    let ids = || metadata.schemas_iter().map(|schema| schema.schema_id());
    match ids().any(|id| id == wanted) {
        false => wanted,
        true => ids().max().unwrap_or(wanted) + 1,
    }
}

fn with_id(schema: &Schema, id: i32) -> Result<Value, serde_json::Error> {
    let mut schema = serde_json::to_value(schema)?;
    schema["schema-id"] = json!(id);
    Ok(schema)
}

/// The fields that are there, each with what `wanted` says of it, and then those that are new.
fn merged(there: &StructType, wanted: &StructType) -> StructType {
    let named = |name: &str| wanted.fields().iter().find(|field| field.name == name);
    let mut fields: Vec<NestedFieldRef> = Vec::new();
    for field in there.fields() {
        fields.push(match wanted.field_by_id(field.id) {
            Some(ours) => merged_field(field, ours),
            // Two columns of one name cannot be: the topic's keeps it.
            None if named(&field.name).is_some() => {
                let mut renamed = field.as_ref().clone();
                renamed.name = format!("{}_{}", field.name, field.id);
                Arc::new(renamed)
            }
            None => Arc::clone(field),
        });
    }
    let new = wanted
        .fields()
        .iter()
        .filter(|field| there.field_by_id(field.id).is_none());
    fields.extend(new.cloned());
    StructType::new(fields)
}

fn merged_field(there: &NestedFieldRef, wanted: &NestedFieldRef) -> NestedFieldRef {
    let mut field: NestedField = there.as_ref().clone();
    field.name.clone_from(&wanted.name);
    field.required = there.required && wanted.required;
    if wanted.doc.is_some() {
        field.doc.clone_from(&wanted.doc);
    }
    *field.field_type = match (there.field_type.as_ref(), wanted.field_type.as_ref()) {
        (Type::Struct(there), Type::Struct(wanted)) => Type::Struct(merged(there, wanted)),
        (Type::List(there), Type::List(wanted)) => Type::List(ListType::new(merged_field(
            &there.element_field,
            &wanted.element_field,
        ))),
        (Type::Map(there), Type::Map(wanted)) => Type::Map(MapType::new(
            merged_field(&there.key_field, &wanted.key_field),
            merged_field(&there.value_field, &wanted.value_field),
        )),
        (Type::Primitive(there), Type::Primitive(wanted)) if is_wider(there, wanted) => {
            Type::Primitive(there.clone())
        }
        (_, wanted) => wanted.clone(),
    };
    Arc::new(field)
}

/// Does a column of type `one` take every value of type `other`?
fn is_wider(one: &PrimitiveType, other: &PrimitiveType) -> bool {
    match (one, other) {
        (PrimitiveType::Long, PrimitiveType::Int)
        | (PrimitiveType::Double, PrimitiveType::Float) => true,
        (
            PrimitiveType::Decimal {
                precision: one,
                scale,
            },
            PrimitiveType::Decimal {
                precision: other,
                scale: same,
            },
        ) => scale == same && one >= other,
        _ => false,
    }
}

/// Renames partition fields whose name a column now has. Iceberg knows a partition field by its id,
/// so files and manifests that were written under the old name stay as they are.
fn make_way_for_columns(json: &mut Value, metadata: &TableMetadata, wanted: &StructType) {
    let is_column = |name: &str| {
        wanted.fields().iter().any(|field| field.name == name)
            || metadata
                .schemas_iter()
                .any(|schema| schema.field_id_by_name(name).is_some())
    };
    let specs = json["partition-specs"].as_array_mut().into_iter().flatten();
    for field in specs
        .filter_map(|spec| spec["fields"].as_array_mut())
        .flatten()
    {
        // An identity partition has its column's name, and may.
        let is_identity = field["transform"] == "identity";
        if !is_identity && field["name"].as_str().is_some_and(is_column) {
            field["name"] = json!(free_partition_name(is_column));
        }
    }
}

/// Through text, as a file would be read: the crate checks and normalizes what it reads.
fn reread(json: &Value) -> Result<TableMetadata, serde_json::Error> {
    serde_json::from_slice(&serde_json::to_vec(json)?)
}

/// The metadata as a file or a client gets it: snapshots in the order of their commits, and whatever
/// the crate keeps by hash in the order of its ids.
pub(crate) fn to_json(metadata: &TableMetadata) -> Result<Value, serde_json::Error> {
    let mut json = serde_json::to_value(metadata)?;
    for (list, key) in [
        ("snapshots", "sequence-number"),
        ("schemas", "schema-id"),
        ("partition-specs", "spec-id"),
        ("sort-orders", "order-id"),
    ] {
        // Indexing would add a list that is missing, as null.
        if let Some(list) = json.get_mut(list).and_then(Value::as_array_mut) {
            list.sort_by_key(|item| item[key].as_i64());
        }
    }
    Ok(json)
}
