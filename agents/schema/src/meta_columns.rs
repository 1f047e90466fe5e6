//! The columns that every table of a topic has besides its payload's: where a row came from and when
//! it became visible.
//!
//! Their field ids are fixed: 1 to 20 are theirs, payload columns begin at
//! [`FIRST_PAYLOAD_FIELD_ID`]. The state stores payload columns only.
//!
//! # Names
//! Some names no payload column can have: ours, and those that Iceberg keeps for its metadata
//! columns (Spark refuses every table that has one). A payload's field of such a name, in upper or
//! lower case and with any number of underscores behind it, has one underscore more as a column:
//! `_offset` becomes `_offset_`, and a field that is named `_offset_` becomes `_offset__`. So no two
//! fields ever meet in one column, whichever schema version brings them, and the name alone says what
//! the field was ([`field_name`]).

use tarn_model::{ColumnType, Field, FieldId};

/// The first field id that `apply` gives to a payload's column.
pub const FIRST_PAYLOAD_FIELD_ID: i32 = 100;

pub const PARTITION: &str = "_topic_partition";
pub const OFFSET: &str = "_offset";
pub const TIMESTAMP: &str = "_timestamp";
pub const KEY: &str = "_key";
pub const HEADERS: &str = "_headers";
pub const SCHEMA_ID: &str = "_schema_id";
/// When it happened: always a time that makes sense beside the one of its append.
pub const EVENT_TIME: &str = "_event_time";
/// The entry at which the row became visible, as `Lsn::packed` writes it.
pub const LSN: &str = "_lsn";
/// Cluster time of that entry.
pub const COMMITTED: &str = "_committed";
/// The record's value as it is, for records that no schema describes.
pub const VALUE: &str = "_value";

/// Our names, in table order.
pub const META_NAMES: [&str; 10] = [
    PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS, SCHEMA_ID, EVENT_TIME, LSN, COMMITTED, VALUE,
];

/// Iceberg's (`org.apache.iceberg.MetadataColumns`).
const ICEBERG_NAMES: [&str; 10] = [
    "_file",
    "_pos",
    "_deleted",
    "_spec_id",
    "_partition",
    "_row_id",
    "_last_updated_sequence_number",
    "_change_type",
    "_change_ordinal",
    "_commit_snapshot_id",
];

/// Is it one of the names that no payload column can have, with underscores behind it or not?
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = name.trim_end_matches('_');
    META_NAMES.contains(&bare) || ICEBERG_NAMES.contains(&bare)
}

/// The column that a payload's field goes into.
pub fn column_name(field: &str) -> String {
    if is_reserved(field) {
        format!("{field}_")
    } else {
        field.to_owned()
    }
}

/// The payload's field that a column comes from: the inverse of [`column_name`].
pub fn field_name(column: &str) -> &str {
    match column.strip_suffix('_') {
        Some(field) if is_reserved(column) => field,
        _ => column,
    }
}

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
        field(11, EVENT_TIME, ColumnType::TimestampTz).required(),
        field(12, LSN, ColumnType::Long).required(),
        field(13, COMMITTED, ColumnType::TimestampTz).required(),
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

    /// Every reserved name in every case, and what one might take for an escaped one.
    #[test]
    fn no_field_becomes_a_reserved_column_and_no_two_become_one() {
        let reserved = META_NAMES.iter().chain(&ICEBERG_NAMES);
        let mut columns = std::collections::BTreeSet::new();
        let mut fields = 0;
        for name in reserved.clone() {
            for underscores in 0..3 {
                let lower = format!("{name}{}", "_".repeat(underscores));
                for field in [lower.to_ascii_uppercase(), lower] {
                    let column = column_name(&field);
                    let folded = column.to_ascii_lowercase();
                    assert!(!reserved.clone().any(|name| *name == folded), "{column}");
                    assert_eq!(field_name(&column), field);
                    columns.insert(column);
                    fields += 1;
                }
            }
        }
        assert_eq!(columns.len(), fields);
        for free in [
            "offset",
            "_offsets",
            "__offset",
            "id_",
            "_",
            "",
            "_change",
            "_файл",
        ] {
            assert_eq!((column_name(free).as_str(), field_name(free)), (free, free));
        }
        assert_eq!(column_name("_Offset"), "_Offset_");
        assert_eq!(column_name("_file"), "_file_");
    }
}
