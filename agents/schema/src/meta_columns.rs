//! The columns that every table has besides its payload's: where a row came from.
//!
//! Their field ids are fixed: 1 to 20 are theirs, payload columns begin at
//! [`FIRST_PAYLOAD_FIELD_ID`]. The state stores payload columns only.

use tarn_model::{ColumnType, Field, FieldId};

/// The first field id that `apply` gives to a payload's column.
pub const FIRST_PAYLOAD_FIELD_ID: i32 = 100;

pub const PARTITION: &str = "_partition";
pub const OFFSET: &str = "_offset";
pub const TIMESTAMP: &str = "_timestamp";
pub const KEY: &str = "_key";
pub const HEADERS: &str = "_headers";
pub const SCHEMA_ID: &str = "_schema_id";
/// The record's value as it is, for records that no schema describes.
pub const VALUE: &str = "_value";

/// Names that no payload column may take, in any case: SQL engines fold it.
pub const META_NAMES: [&str; 7] = [PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS, SCHEMA_ID, VALUE];

fn field(id: i32, name: &str, kind: ColumnType) -> Field {
    Field {
        id: FieldId(id),
        ..Field::new(name, kind)
    }
}

/// The metadata columns in table order; `_value` only for a table that has, or once had, records
/// without a schema.
pub fn meta_columns(with_value: bool) -> Vec<Field> {
    let header = ColumnType::Struct(vec![
        field(7, "key", ColumnType::String).required(),
        field(8, "value", ColumnType::Binary),
    ]);
    let headers = ColumnType::List(Box::new(field(6, "element", header).required()));
    let mut columns = vec![
        field(1, PARTITION, ColumnType::Int).required(),
        field(2, OFFSET, ColumnType::Long).required(),
        field(3, TIMESTAMP, ColumnType::TimestampTz).required(),
        field(4, KEY, ColumnType::Binary),
        field(5, HEADERS, headers),
        field(9, SCHEMA_ID, ColumnType::Int),
    ];
    if with_value {
        columns.push(field(10, VALUE, ColumnType::Binary));
    }
    columns
}

/// All columns of a table: its payload's, then the metadata columns.
pub fn table_columns(payload: &[Field], with_value: bool) -> Vec<Field> {
    let mut columns = payload.to_vec();
    columns.extend(meta_columns(with_value));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(fields: &[Field], into: &mut Vec<i32>) {
        for field in fields {
            into.push(field.id.0);
            match &field.kind {
                ColumnType::Struct(fields) => ids(fields, into),
                ColumnType::List(element) => ids(std::slice::from_ref(element), into),
                _ => {}
            }
        }
    }

    #[test]
    fn metadata_columns_have_ids_of_their_own_below_the_payloads() {
        let columns = meta_columns(true);
        let names: Vec<&str> = columns.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, META_NAMES);
        let mut all = Vec::new();
        ids(&columns, &mut all);
        let mut unique = all.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), all.len());
        assert!(
            all.iter()
                .all(|id| (1..FIRST_PAYLOAD_FIELD_ID).contains(id))
        );
    }
}
