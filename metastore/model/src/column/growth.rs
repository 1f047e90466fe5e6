//! How a table's columns grow: a schema's columns are merged into those that are there, and what is
//! new gets the next field ids.
//!
//! Holds: an id, once given, keeps its column; no column goes or becomes required; types change only
//! where Iceberg allows it, and always towards the wider one, in whatever order schemas come; no
//! later schema brings a name that differs from one beside it in upper and lower case only.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ColumnType, Field, FieldId, caps};

/// Ids of a topic's payload columns start here; the metadata columns have the ones below.
pub const FIRST_PAYLOAD_FIELD_ID: i32 = 100;

/// Deepest nesting of a column: walking and decoding one takes stack for each level.
pub const COLUMN_DEPTH_MAX: usize = 32;

/// Columns with ids, and the last id that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    pub fields: Vec<Field>,
    pub last_id: i32,
}

/// Why a schema's columns do not fit the table that is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableColumnsError {
    #[error(
        "column {path} is {have} in the table and {want} in the schema; Iceberg cannot turn one into the other"
    )]
    TypeChanged {
        path: String,
        have: String,
        want: String,
    },
    #[error(
        "column {path} is named {have} in the table and {want} in the schema, and SQL does not tell upper from lower case"
    )]
    CaseChanged {
        path: String,
        have: String,
        want: String,
    },
    #[error("column {path} is there twice, and SQL does not tell upper from lower case")]
    Twice { path: String },
    #[error("column {path} has no name, or one that is too long")]
    Name { path: String },
    #[error("its field ids are not each one of its own, up to {last_id}")]
    Ids { last_id: i32 },
    #[error("columns nest deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("the table would have more than {max} columns, nested ones counted")]
    TooMany { max: usize },
}

impl Columns {
    pub fn empty() -> Columns {
        Columns {
            fields: Vec::new(),
            last_id: FIRST_PAYLOAD_FIELD_ID - 1,
        }
    }

    /// Of a table that no topic has: what must have a value must, and ids begin at 1.
    pub fn of_new_table(want: &[Field]) -> Result<Columns, TableColumnsError> {
        check_columns(want)?;
        check_names(want, "")?;
        let mut last_id = 0;
        let fields = want.iter().map(|field| given_ids(field, &mut last_id));
        Ok(Columns {
            fields: fields.collect(),
            last_id,
        })
    }

    /// Takes in a schema's columns. On an error `self` is of no use any more.
    pub fn merge(&mut self, want: &[Field]) -> Result<(), TableColumnsError> {
        check_columns(want)?;
        let Columns { fields, last_id } = self;
        merge_fields(fields, want, last_id, "")?;
        check_columns(&self.fields)
    }
}

/// Checks the caps on a list of columns.
pub fn check_columns(fields: &[Field]) -> Result<(), TableColumnsError> {
    if fields
        .iter()
        .any(|field| is_deeper_than(field, COLUMN_DEPTH_MAX))
    {
        return Err(TableColumnsError::TooDeep {
            max: COLUMN_DEPTH_MAX,
        });
    }
    if fields.iter().map(Field::count).sum::<usize>() > caps::SCHEMA_COLUMNS_MAX {
        return Err(TableColumnsError::TooMany {
            max: caps::SCHEMA_COLUMNS_MAX,
        });
    }
    Ok(())
}

/// Columns with ids, each once and none above the last that was given.
pub fn check_ids(fields: &[Field], last_id: i32) -> Result<(), TableColumnsError> {
    check_columns(fields)?;
    check_names(fields, "")?;
    let mut ids = BTreeSet::new();
    let fresh = fields.iter().all(|field| collect_ids(field, &mut ids));
    let first = ids.first().copied().unwrap_or(1);
    let last = ids.last().copied().unwrap_or(0);
    match fresh && first > 0 && last <= last_id {
        true => Ok(()),
        false => Err(TableColumnsError::Ids { last_id }),
    }
}

/// False if an id stands twice.
pub fn collect_ids(field: &Field, ids: &mut BTreeSet<i32>) -> bool {
    ids.insert(field.id.0)
        && match &field.kind {
            ColumnType::Struct(fields) => fields.iter().all(|field| collect_ids(field, ids)),
            ColumnType::List(element) => collect_ids(element, ids),
            ColumnType::Map(key, value) => collect_ids(key, ids) && collect_ids(value, ids),
            _ => true,
        }
}

/// No two names of a level differ in upper and lower case at most, and all are of some length.
fn check_names(fields: &[Field], path: &str) -> Result<(), TableColumnsError> {
    let mut names = BTreeSet::new();
    for field in fields {
        let path = below(path, &field.name);
        if field.name.is_empty() || field.name.len() > caps::NAME_BYTES_MAX {
            return Err(TableColumnsError::Name { path });
        }
        if !names.insert(folded(&field.name)) {
            return Err(TableColumnsError::Twice { path });
        }
        match &field.kind {
            ColumnType::Struct(fields) => check_names(fields, &path)?,
            ColumnType::List(element) => check_names(std::slice::from_ref(element), &path)?,
            ColumnType::Map(key, value) => {
                check_names(std::slice::from_ref(key), &path)?;
                check_names(std::slice::from_ref(value), &path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn is_deeper_than(field: &Field, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else {
        return true;
    };
    match &field.kind {
        ColumnType::Struct(fields) => fields.iter().any(|field| is_deeper_than(field, levels)),
        ColumnType::List(element) => is_deeper_than(element, levels),
        ColumnType::Map(key, value) => is_deeper_than(key, levels) || is_deeper_than(value, levels),
        _ => false,
    }
}

fn merge_fields(
    have: &mut Vec<Field>,
    want: &[Field],
    last_id: &mut i32,
    path: &str,
) -> Result<(), TableColumnsError> {
    let mut places: BTreeMap<String, usize> = have
        .iter()
        .enumerate()
        .map(|(place, field)| (folded(&field.name), place))
        .collect();
    for field in want {
        match places
            .get(&folded(&field.name))
            .and_then(|place| have.get_mut(*place))
        {
            Some(there) if there.name != field.name => {
                return Err(TableColumnsError::CaseChanged {
                    path: below(path, &there.name),
                    have: there.name.clone(),
                    want: field.name.clone(),
                });
            }
            Some(there) => merge_kind(
                &mut there.kind,
                &field.kind,
                last_id,
                &below(path, &field.name),
            )?,
            None => {
                places.insert(folded(&field.name), have.len());
                have.push(with_ids(field, last_id, true));
            }
        }
    }
    Ok(())
}

fn merge_kind(
    have: &mut ColumnType,
    want: &ColumnType,
    last_id: &mut i32,
    path: &str,
) -> Result<(), TableColumnsError> {
    match (&mut *have, want) {
        (ColumnType::Struct(have), ColumnType::Struct(want)) => {
            merge_fields(have, want, last_id, path)
        }
        (ColumnType::List(have), ColumnType::List(want)) => merge_kind(
            &mut have.kind,
            &want.kind,
            last_id,
            &below(path, &want.name),
        ),
        (ColumnType::Map(have_key, have), ColumnType::Map(want_key, want)) => {
            if !same_kind(&have_key.kind, &want_key.kind) {
                return Err(changed(&below(path, "key"), &have_key.kind, &want_key.kind));
            }
            merge_kind(
                &mut have.kind,
                &want.kind,
                last_id,
                &below(path, &want.name),
            )
        }
        (have, want) => {
            *have = wider(have, want).ok_or_else(|| changed(path, have, want))?;
            Ok(())
        }
    }
}

/// The type that holds the values of both, as far as Iceberg can turn one into the other.
fn wider(have: &ColumnType, want: &ColumnType) -> Option<ColumnType> {
    use ColumnType::{Decimal, Double, Float, Int, Long};
    match (have, want) {
        (Int, Long) | (Long, Int) => Some(Long),
        (Float, Double) | (Double, Float) => Some(Double),
        (
            Decimal {
                precision: one,
                scale,
            },
            Decimal {
                precision: other,
                scale: other_scale,
            },
        ) if scale == other_scale => Some(Decimal {
            precision: *one.max(other),
            scale: *scale,
        }),
        (have, want) if have == want => Some(have.clone()),
        _ => None,
    }
}

/// Are the types equal but for their ids and docs?
fn same_kind(one: &ColumnType, other: &ColumnType) -> bool {
    match (one, other) {
        (ColumnType::Struct(one), ColumnType::Struct(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_field(one, other))
        }
        (ColumnType::List(one), ColumnType::List(other)) => same_field(one, other),
        (ColumnType::Map(one_key, one), ColumnType::Map(other_key, other)) => {
            same_field(one_key, other_key) && same_field(one, other)
        }
        (one, other) => one == other,
    }
}

fn same_field(one: &Field, other: &Field) -> bool {
    one.name == other.name && same_kind(&one.kind, &other.kind)
}

/// A copy with the next ids. Everything may be null but map keys, for a record of another schema version
/// may lack it.
fn with_ids(field: &Field, last_id: &mut i32, nullable: bool) -> Field {
    let mut field = given_ids(field, last_id);
    make_nullable(&mut field, nullable);
    field
}

fn make_nullable(field: &mut Field, nullable: bool) {
    field.nullable = nullable;
    match &mut field.kind {
        ColumnType::Struct(fields) => fields
            .iter_mut()
            .for_each(|field| make_nullable(field, true)),
        ColumnType::List(element) => make_nullable(element, true),
        ColumnType::Map(key, value) => {
            make_nullable(key, false);
            make_nullable(value, true);
        }
        _ => {}
    }
}

/// A copy with the next ids, depth first: the field, then what is in it.
fn given_ids(field: &Field, last_id: &mut i32) -> Field {
    *last_id = last_id
        .checked_add(1)
        .expect("columns are capped far below the number of ids");
    let id = FieldId(*last_id);
    let kind = match &field.kind {
        ColumnType::Struct(fields) => ColumnType::Struct(
            fields
                .iter()
                .map(|field| given_ids(field, last_id))
                .collect(),
        ),
        ColumnType::List(element) => ColumnType::List(Box::new(given_ids(element, last_id))),
        ColumnType::Map(key, value) => {
            let mut key = given_ids(key, last_id);
            key.nullable = false;
            ColumnType::Map(Box::new(key), Box::new(given_ids(value, last_id)))
        }
        plain => plain.clone(),
    };
    Field {
        id,
        name: field.name.clone(),
        nullable: field.nullable,
        kind,
        doc: field.doc.clone(),
    }
}

/// A name as SQL compares it.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn changed(path: &str, have: &ColumnType, want: &ColumnType) -> TableColumnsError {
    TableColumnsError::TypeChanged {
        path: path.to_owned(),
        have: have.to_string(),
        want: want.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(schemas: &[Vec<Field>]) -> Result<Columns, TableColumnsError> {
        let mut columns = Columns::empty();
        for schema in schemas {
            columns.merge(schema)?;
        }
        Ok(columns)
    }

    fn ids(field: &Field, into: &mut Vec<i32>) {
        into.push(field.id.0);
        match &field.kind {
            ColumnType::Struct(fields) => fields.iter().for_each(|field| ids(field, into)),
            ColumnType::List(element) => ids(element, into),
            ColumnType::Map(key, value) => {
                ids(key, into);
                ids(value, into);
            }
            _ => {}
        }
    }

    #[test]
    fn ids_are_given_depth_first_and_kept() {
        let line = ColumnType::Struct(vec![
            Field::new("sku", ColumnType::String),
            Field::new("n", ColumnType::Int),
        ]);
        let first = vec![
            Field::new("id", ColumnType::Long).required(),
            Field::new("lines", ColumnType::list(line.clone())),
            Field::new("tags", ColumnType::map(ColumnType::String, ColumnType::Int)),
        ];
        let columns = merged(std::slice::from_ref(&first)).unwrap();
        let mut given = Vec::new();
        columns
            .fields
            .iter()
            .for_each(|field| ids(field, &mut given));
        assert_eq!(given, (100..=107).collect::<Vec<_>>());
        assert!(columns.fields[0].nullable);
        let ColumnType::Map(key, value) = &columns.fields[2].kind else {
            panic!("not a map")
        };
        assert!(!key.nullable && value.nullable);

        let wide = ColumnType::Struct(vec![
            Field::new("price", ColumnType::Double),
            Field::new("n", ColumnType::Long),
        ]);
        let second = vec![
            Field::new("lines", ColumnType::list(wide)),
            Field::new("at", ColumnType::TimestampTz),
        ];
        let grown = merged(&[first, second]).unwrap();
        assert_eq!(grown.fields.len(), 4);
        assert_eq!(
            grown.fields[1].kind.to_string(),
            "array<struct<sku:varchar,n:bigint,price:double>>"
        );
        assert_eq!(grown.last_id, 109);
        assert_eq!(grown.fields[3].id, FieldId(109));
    }

    #[test]
    fn types_widen_whatever_came_first() {
        let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
        for (one, other, wide) in [
            (ColumnType::Int, ColumnType::Long, ColumnType::Long),
            (ColumnType::Float, ColumnType::Double, ColumnType::Double),
            (decimal(9, 2), decimal(12, 2), decimal(12, 2)),
        ] {
            for pair in [[one.clone(), other.clone()], [other, one]] {
                let columns = merged(&pair.map(|kind| vec![Field::new("x", kind)])).unwrap();
                assert_eq!(columns.fields[0].kind, wide);
                assert_eq!(columns.last_id, 100);
            }
        }
    }

    #[test]
    fn what_iceberg_cannot_turn_is_refused_with_its_path() {
        let refused = |have: ColumnType, want: ColumnType| {
            merged(&[vec![Field::new("x", have)], vec![Field::new("x", want)]])
                .unwrap_err()
                .to_string()
        };
        let cannot = "in the schema; Iceberg cannot turn one into the other";
        assert_eq!(
            refused(ColumnType::String, ColumnType::Long),
            format!("column x is varchar in the table and bigint {cannot}")
        );
        assert_eq!(
            refused(
                ColumnType::list(ColumnType::Int),
                ColumnType::list(ColumnType::Date)
            ),
            format!("column x.element is int in the table and date {cannot}")
        );
        assert_eq!(
            refused(
                ColumnType::map(ColumnType::Int, ColumnType::Int),
                ColumnType::map(ColumnType::Long, ColumnType::Int)
            ),
            format!("column x.key is int in the table and bigint {cannot}")
        );
        refused(
            ColumnType::Decimal {
                precision: 9,
                scale: 2,
            },
            ColumnType::Decimal {
                precision: 9,
                scale: 3,
            },
        );
        refused(ColumnType::Struct(Vec::new()), ColumnType::String);
    }

    #[test]
    fn names_that_differ_in_case_only_are_refused_with_their_path() {
        let inner = |name: &str| ColumnType::Struct(vec![Field::new(name, ColumnType::Int)]);
        let refused = |schemas: &[Vec<Field>]| merged(schemas).unwrap_err().to_string();
        let versions = ["id", "ID"].map(|name| vec![Field::new(name, ColumnType::Int)]);
        assert_eq!(
            refused(&versions),
            "column id is named id in the table and ID in the schema, and SQL does not tell upper from lower case"
        );
        assert_eq!(refused(&[versions.concat()]), refused(&versions));
        let nested = ["sku", "Sku"].map(|name| vec![Field::new("line", inner(name))]);
        assert!(refused(&nested).starts_with("column line.sku is named sku"));
    }

    #[test]
    fn too_many_columns_and_too_deep_ones_are_refused() {
        let many: Vec<Field> = (0..=caps::SCHEMA_COLUMNS_MAX)
            .map(|i| Field::new(format!("c{i}"), ColumnType::Int))
            .collect();
        assert_eq!(
            merged(&[many]),
            Err(TableColumnsError::TooMany {
                max: caps::SCHEMA_COLUMNS_MAX
            })
        );
        let deep = (0..=COLUMN_DEPTH_MAX).fold(ColumnType::Int, |kind, _| ColumnType::list(kind));
        assert_eq!(
            merged(&[vec![Field::new("x", deep)]]),
            Err(TableColumnsError::TooDeep {
                max: COLUMN_DEPTH_MAX
            })
        );
    }
}
