//! Parses an Avro schema's text and finds it valid, or says where and why not.
//!
//! The parser is ours because a schema comes from outside: `apache-avro` 0.21 panics on a name that
//! is not one, and forgets that a UUID stands on a fixed type, which the decoder has to know. The
//! rules and the canonical text's key order are those of Avro's Java implementation, which
//! Confluent's registry compares with: [Avro 1.11](https://avro.apache.org/docs/1.11.1/specification/).
//!
//! Recursive types are valid here; that no table can hold them is said by `columns`.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tarn_model::{Kind, caps};

use crate::avro::{
    AvroSchema, EnumType, FixedLogical, FixedType, NamedId, NamedType, RecordField, RecordType,
    Type,
};
use crate::canonical::{push_member, push_string, push_value, sorted};

/// Types within types, and columns within columns, counted from the root: deeper schemas are refused.
/// It is what the cluster's state takes, where decoding and walking a level costs stack on every
/// replica.
pub const DEPTH_MAX: usize = 32;

/// Keys that mean something to Avro in a schema's object; the others are kept as properties.
const SCHEMA_KEYS: [&str; 10] = [
    "doc",
    "fields",
    "items",
    "name",
    "namespace",
    "size",
    "symbols",
    "values",
    "type",
    "aliases",
];
const ENUM_KEYS: [&str; 11] = [
    "doc",
    "fields",
    "items",
    "name",
    "namespace",
    "size",
    "symbols",
    "values",
    "type",
    "aliases",
    "default",
];
const FIELD_KEYS: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];

/// The text is no valid Avro schema.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("at {at}: {problem}")]
pub struct ParseError {
    /// As in `$.fields[2].type`.
    pub at: String,
    pub problem: Problem,
}

impl ParseError {
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    #[error(
        "the schema and its references have {bytes} bytes, more than {}",
        caps::SCHEMA_BYTES_MAX
    )]
    TooLong { bytes: usize },
    #[error("this is not JSON: {0}")]
    Json(String),
    #[error("types are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("a type is a name, an object or an array of types")]
    NotAType,
    #[error("{key:?} is missing")]
    Missing { key: &'static str },
    #[error("{key:?} is not {expected}")]
    Wrong {
        key: &'static str,
        expected: &'static str,
    },
    #[error("{0:?} is not a name: a letter or an underscore, then letters, digits and underscores")]
    BadName(String),
    #[error("{0:?} is not a namespace: names with dots between them")]
    BadNamespace(String),
    #[error("no type is called {0:?}")]
    UnknownType(String),
    #[error("the type {0:?} is defined twice")]
    DefinedTwice(String),
    #[error("{0:?} is the name of a primitive type")]
    PrimitiveName(String),
    #[error("two fields are called {0:?}")]
    FieldTwice(String),
    #[error("the symbol {0:?} is there twice")]
    SymbolTwice(String),
    #[error("the default {0:?} is none of the symbols")]
    DefaultIsNoSymbol(String),
    #[error("a union needs a branch")]
    EmptyUnion,
    #[error("a union may not stand directly in a union")]
    UnionInUnion,
    #[error("two branches of the union are {0:?}")]
    BranchTwice(String),
    #[error("the default {0} does not fit the field's type")]
    BadDefault(String),
}

/// Parses `text`, whose names may be defined in `references`, each of which may use those before it.
pub fn parse(text: &str, references: &[&str]) -> Result<AvroSchema, ParseError> {
    let mut parser = Parser::default();
    let bytes = references.iter().fold(text.len(), |sum, reference| {
        sum.saturating_add(reference.len())
    });
    if bytes > caps::SCHEMA_BYTES_MAX {
        return Err(parser.error(Problem::TooLong { bytes }));
    }
    let mut hash = Sha256::new();
    hash.update(b"AVRO");
    for (i, reference) in references.iter().enumerate() {
        parser.path = vec![format!("references[{i}]")];
        let (_, canonical) = parser.document(reference)?;
        hash_text(&mut hash, &canonical);
    }
    parser.path = vec!["$".to_owned()];
    let (root, canonical) = parser.document(text)?;
    hash_text(&mut hash, &canonical);
    Ok(AvroSchema {
        root,
        named: parser.named,
        canonical,
        guid: guid(&hash.finalize().into()),
    })
}

/// The length goes first, so that no two lists of texts hash alike.
fn hash_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// The hash's first half with the version and variant bits of a UUIDv8, RFC 9562 §5.8.
fn guid(hash: &[u8; 32]) -> [u8; 16] {
    let mut guid = [0; 16];
    guid.copy_from_slice(hash.split_at(16).0);
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut guid;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    guid
}

#[derive(Default)]
struct Parser {
    named: Vec<NamedType>,
    names: HashMap<String, NamedId>,
    /// The canonical text, as far as it is written.
    out: String,
    path: Vec<String>,
    depth: usize,
}

impl Parser {
    fn error(&self, problem: Problem) -> ParseError {
        let at = if self.path.is_empty() {
            "$".to_owned()
        } else {
            self.path.concat()
        };
        ParseError { at, problem }
    }

    fn fail<T>(&self, problem: Problem) -> Result<T, ParseError> {
        Err(self.error(problem))
    }

    fn document(&mut self, text: &str) -> Result<(Type, String), ParseError> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| self.error(Problem::Json(error.to_string())))?;
        let root = self.parse_type(&json, "")?;
        Ok((root, std::mem::take(&mut self.out)))
    }

    fn within<T>(
        &mut self,
        step: String,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.path.push(step);
        let result = inner(self)?;
        self.path.pop();
        Ok(result)
    }

    /// `space` is the namespace of the type around; empty is none.
    fn parse_type(&mut self, json: &Value, space: &str) -> Result<Type, ParseError> {
        if self.depth == DEPTH_MAX {
            return self.fail(Problem::TooDeep);
        }
        self.depth += 1;
        let parsed = match json {
            Value::String(name) => self.type_by_name(name, space),
            Value::Array(branches) => self.union(branches, space),
            Value::Object(object) => self.object(object, space),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.fail(Problem::NotAType),
        }?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn type_by_name(&mut self, name: &str, space: &str) -> Result<Type, ParseError> {
        if let Some(primitive) = primitive(name) {
            push_string(&mut self.out, name);
            return Ok(primitive);
        }
        // A name without a dot is looked for in the namespace around it, then in none.
        let qualified = if name.contains('.') {
            name.to_owned()
        } else {
            join(space, name)
        };
        let Some((full, id)) = self
            .names
            .get_key_value(&qualified)
            .or_else(|| self.names.get_key_value(name))
        else {
            return self.fail(Problem::UnknownType(name.to_owned()));
        };
        let (its_space, its_name) = split(full);
        push_string(
            &mut self.out,
            if its_space == space { its_name } else { full },
        );
        Ok(Type::Named(*id))
    }

    fn union(&mut self, branches: &[Value], space: &str) -> Result<Type, ParseError> {
        if branches.is_empty() {
            return self.fail(Problem::EmptyUnion);
        }
        let mut types = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        self.out.push('[');
        for (i, branch) in branches.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            let parsed = self.within(format!("[{i}]"), |parser| {
                let parsed = parser.parse_type(branch, space)?;
                if matches!(parsed, Type::Union(_)) {
                    return parser.fail(Problem::UnionInUnion);
                }
                let name = parser.branch_name(&parsed);
                if seen.contains(name) {
                    return parser.fail(Problem::BranchTwice(name.to_owned()));
                }
                seen.insert(name.to_owned());
                Ok(parsed)
            })?;
            types.push(parsed);
        }
        self.out.push(']');
        Ok(Type::Union(types))
    }

    /// What tells a union's branches apart: a named type's full name, else the base type.
    fn branch_name(&self, branch: &Type) -> &str {
        match branch {
            Type::Named(NamedId(id)) => self.named.get(*id).map_or("", NamedType::full_name),
            other => base_name(other),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str) -> Result<Type, ParseError> {
        let kind = self
            .text(object, "type")?
            .ok_or_else(|| self.error(Problem::Missing { key: "type" }))?;
        match kind {
            "record" | "error" => self.record(kind, object, space),
            "enum" => self.symbols(object, space),
            "fixed" => self.fixed(object, space),
            "array" => {
                let items = self.inner("array", "items", object, space)?;
                Ok(Type::Array(Box::new(items)))
            }
            "map" => {
                let values = self.inner("map", "values", object, space)?;
                Ok(Type::Map(Box::new(values)))
            }
            name => match primitive(name) {
                Some(base) => Ok(self.primitive(name, base, object)),
                None => self.within(".type".to_owned(), |parser| {
                    parser.type_by_name(name, space)
                }),
            },
        }
    }

    fn primitive(&mut self, name: &str, base: Type, object: &Map<String, Value>) -> Type {
        if object.keys().all(|key| SCHEMA_KEYS.contains(&key.as_str())) {
            push_string(&mut self.out, name);
            return base;
        }
        self.out.push_str("{\"type\":");
        push_string(&mut self.out, name);
        self.properties(object, &SCHEMA_KEYS);
        self.out.push('}');
        logical(base, object)
    }

    fn inner(
        &mut self,
        kind: &str,
        key: &'static str,
        object: &Map<String, Value>,
        space: &str,
    ) -> Result<Type, ParseError> {
        let Some(inner) = object.get(key) else {
            return self.fail(Problem::Missing { key });
        };
        self.out.push_str("{\"type\":");
        push_string(&mut self.out, kind);
        self.out.push(',');
        push_string(&mut self.out, key);
        self.out.push(':');
        let inner = self.within(format!(".{key}"), |parser| parser.parse_type(inner, space))?;
        self.properties(object, &SCHEMA_KEYS);
        self.out.push('}');
        Ok(inner)
    }

    fn record(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        space: &str,
    ) -> Result<Type, ParseError> {
        let full_name = self.open_named(kind, object, space)?;
        // The name exists from here on: the fields may use it.
        let id = self.define(&full_name, |full_name| {
            NamedType::Record(RecordType {
                full_name,
                fields: Vec::new(),
            })
        })?;
        self.doc(object)?;
        let Some(Value::Array(items)) = object.get("fields") else {
            return self.fail(Problem::Wrong {
                key: "fields",
                expected: "an array of fields",
            });
        };
        self.out.push_str(",\"fields\":[");
        let own_space = split(&full_name).0;
        let mut fields = Vec::with_capacity(items.len());
        let mut seen = HashSet::new();
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            let field = self.within(format!(".fields[{i}]"), |parser| {
                let field = parser.field(item, own_space)?;
                if !seen.insert(field.name.clone()) {
                    return parser.fail(Problem::FieldTwice(field.name));
                }
                Ok(field)
            })?;
            fields.push(field);
        }
        self.out.push(']');
        self.close_named(object, &SCHEMA_KEYS)?;
        if let Some(NamedType::Record(record)) = self.named.get_mut(id.0) {
            record.fields = fields;
        }
        Ok(Type::Named(id))
    }

    fn field(&mut self, item: &Value, space: &str) -> Result<RecordField, ParseError> {
        let Value::Object(object) = item else {
            return self.fail(Problem::Wrong {
                key: "fields",
                expected: "an array of objects",
            });
        };
        let name = self
            .text(object, "name")?
            .ok_or_else(|| self.error(Problem::Missing { key: "name" }))?;
        self.check_name(name)?;
        let Some(kind) = object.get("type") else {
            return self.fail(Problem::Missing { key: "type" });
        };
        self.out.push_str("{\"name\":");
        push_string(&mut self.out, name);
        self.out.push_str(",\"type\":");
        let kind = self.within(".type".to_owned(), |parser| parser.parse_type(kind, space))?;
        let doc = self.doc(object)?;
        let default = object.get("default");
        if let Some(default) = default {
            if !self.fits(default, &kind) {
                return self.fail(Problem::BadDefault(default.to_string()));
            }
            self.out.push(',');
            push_member(&mut self.out, "default", default);
        }
        match self.text(object, "order")? {
            None | Some("ascending") => {}
            Some(order @ ("descending" | "ignore")) => {
                self.out.push_str(",\"order\":");
                push_string(&mut self.out, order);
            }
            Some(_) => {
                let expected = "ascending, descending or ignore";
                return self.fail(Problem::Wrong {
                    key: "order",
                    expected,
                });
            }
        }
        self.aliases(object)?;
        self.properties(object, &FIELD_KEYS);
        self.out.push('}');
        Ok(RecordField {
            name: name.to_owned(),
            doc,
            kind,
            has_default: default.is_some(),
        })
    }

    fn symbols(&mut self, object: &Map<String, Value>, space: &str) -> Result<Type, ParseError> {
        let full_name = self.open_named("enum", object, space)?;
        self.doc(object)?;
        let Some(Value::Array(items)) = object.get("symbols") else {
            return self.fail(Problem::Wrong {
                key: "symbols",
                expected: "an array of names",
            });
        };
        let mut symbols = Vec::with_capacity(items.len());
        let mut seen = HashSet::new();
        for item in items {
            let Value::String(symbol) = item else {
                return self.fail(Problem::Wrong {
                    key: "symbols",
                    expected: "an array of names",
                });
            };
            self.check_name(symbol)?;
            if !seen.insert(symbol) {
                return self.fail(Problem::SymbolTwice(symbol.clone()));
            }
            symbols.push(symbol.clone());
        }
        self.out.push_str(",\"symbols\":");
        push_value(&mut self.out, &Value::Array(items.clone()));
        if let Some(default) = self.text(object, "default")? {
            if !symbols.iter().any(|symbol| symbol == default) {
                return self.fail(Problem::DefaultIsNoSymbol(default.to_owned()));
            }
            self.out.push_str(",\"default\":");
            push_string(&mut self.out, default);
        }
        self.close_named(object, &ENUM_KEYS)?;
        let id = self.define(&full_name, |full_name| {
            NamedType::Enum(EnumType { full_name, symbols })
        })?;
        Ok(Type::Named(id))
    }

    fn fixed(&mut self, object: &Map<String, Value>, space: &str) -> Result<Type, ParseError> {
        let full_name = self.open_named("fixed", object, space)?;
        self.doc(object)?;
        let size = object
            .get("size")
            .and_then(Value::as_u64)
            .and_then(|size| i32::try_from(size).ok())
            .map(i32::unsigned_abs);
        let Some(size) = size else {
            return self.fail(Problem::Wrong {
                key: "size",
                expected: "a number of bytes",
            });
        };
        self.out.push_str(&format!(",\"size\":{size}"));
        self.close_named(object, &SCHEMA_KEYS)?;
        let logical = match object.get("logicalType").and_then(Value::as_str) {
            Some("uuid") if size == 16 => FixedLogical::Uuid,
            Some("decimal") => match decimal(object) {
                Some((precision, scale)) if precision <= decimal_digits(size) => {
                    FixedLogical::Decimal { precision, scale }
                }
                _ => FixedLogical::None,
            },
            _ => FixedLogical::None,
        };
        let id = self.define(&full_name, |full_name| {
            NamedType::Fixed(FixedType {
                full_name,
                size,
                logical,
            })
        })?;
        Ok(Type::Named(id))
    }

    /// Writes a named type's beginning, up to its namespace, and gives its full name.
    fn open_named(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        space: &str,
    ) -> Result<String, ParseError> {
        let name = self
            .text(object, "name")?
            .ok_or_else(|| self.error(Problem::Missing { key: "name" }))?;
        let namespace = self.text(object, "namespace")?;
        // A dot in the name is the namespace's end, and `namespace` is not looked at.
        let (own_space, own_name) = match name.rsplit_once('.') {
            Some((own_space, own_name)) => (own_space, own_name),
            None => (namespace.unwrap_or(space), name),
        };
        self.check_name(own_name)?;
        if !own_space.is_empty() && !own_space.split('.').all(is_name) {
            return self.fail(Problem::BadNamespace(own_space.to_owned()));
        }
        if own_space.is_empty() && primitive(own_name).is_some() {
            return self.fail(Problem::PrimitiveName(own_name.to_owned()));
        }
        self.out.push_str("{\"type\":");
        push_string(&mut self.out, kind);
        self.out.push_str(",\"name\":");
        push_string(&mut self.out, own_name);
        if own_space != space {
            self.out.push_str(",\"namespace\":");
            push_string(&mut self.out, own_space);
        }
        Ok(join(own_space, own_name))
    }

    fn close_named(
        &mut self,
        object: &Map<String, Value>,
        known: &[&str],
    ) -> Result<(), ParseError> {
        self.properties(object, known);
        self.aliases(object)?;
        self.out.push('}');
        Ok(())
    }

    fn define(
        &mut self,
        full_name: &str,
        build: impl FnOnce(String) -> NamedType,
    ) -> Result<NamedId, ParseError> {
        let id = NamedId(self.named.len());
        if self.names.insert(full_name.to_owned(), id).is_some() {
            return self.fail(Problem::DefinedTwice(full_name.to_owned()));
        }
        self.named.push(build(full_name.to_owned()));
        Ok(id)
    }

    /// A doc that is no text is ignored, as Java does.
    fn doc(&mut self, object: &Map<String, Value>) -> Result<Option<String>, ParseError> {
        let doc = object.get("doc").and_then(Value::as_str);
        if let Some(doc) = doc {
            self.out.push_str(",\"doc\":");
            push_string(&mut self.out, doc);
        }
        Ok(doc.map(str::to_owned))
    }

    fn aliases(&mut self, object: &Map<String, Value>) -> Result<(), ParseError> {
        let Some(aliases) = object.get("aliases") else {
            return Ok(());
        };
        let expected = "an array of names";
        let Value::Array(items) = aliases else {
            return self.fail(Problem::Wrong {
                key: "aliases",
                expected,
            });
        };
        for item in items {
            let Value::String(alias) = item else {
                return self.fail(Problem::Wrong {
                    key: "aliases",
                    expected,
                });
            };
            if !alias.split('.').all(is_name) {
                return self.fail(Problem::BadName(alias.clone()));
            }
        }
        if !items.is_empty() {
            self.out.push(',');
            push_member(&mut self.out, "aliases", aliases);
        }
        Ok(())
    }

    fn properties(&mut self, object: &Map<String, Value>, known: &[&str]) {
        for (key, value) in sorted(object) {
            if !known.contains(&key.as_str()) {
                self.out.push(',');
                push_member(&mut self.out, key, value);
            }
        }
    }

    fn text<'o>(
        &self,
        object: &'o Map<String, Value>,
        key: &'static str,
    ) -> Result<Option<&'o str>, ParseError> {
        match object.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.fail(Problem::Wrong {
                key,
                expected: "a string",
            }),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), ParseError> {
        if is_name(name) {
            Ok(())
        } else {
            self.fail(Problem::BadName(name.to_owned()))
        }
    }

    /// Is the JSON a default for the type? Any branch of a union will do. The recursion is over the
    /// JSON, whose depth its parser bounds, and over unions, which do not stand in each other.
    fn fits(&self, default: &Value, kind: &Type) -> bool {
        match kind {
            Type::Null => default.is_null(),
            Type::Boolean => default.is_boolean(),
            Type::Int | Type::Date | Type::TimeMillis => default
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()),
            Type::Long
            | Type::TimeMicros
            | Type::TimestampMillis
            | Type::TimestampMicros
            | Type::LocalTimestampMillis
            | Type::LocalTimestampMicros
            | Type::TimestampNanos => default.as_i64().is_some(),
            Type::Float | Type::Double => default.is_number(),
            Type::Bytes | Type::String | Type::Uuid | Type::Decimal { .. } => default.is_string(),
            Type::Array(items) => default
                .as_array()
                .is_some_and(|all| all.iter().all(|item| self.fits(item, items))),
            Type::Map(values) => default
                .as_object()
                .is_some_and(|all| all.values().all(|value| self.fits(value, values))),
            Type::Union(branches) => branches.iter().any(|branch| self.fits(default, branch)),
            Type::Named(NamedId(id)) => match self.named.get(*id) {
                Some(NamedType::Record(record)) => default.as_object().is_some_and(|object| {
                    record
                        .fields
                        .iter()
                        .all(|field| match object.get(&field.name) {
                            Some(value) => self.fits(value, &field.kind),
                            None => field.has_default,
                        })
                }),
                Some(NamedType::Enum(_) | NamedType::Fixed(_)) => default.is_string(),
                None => false,
            },
        }
    }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

/// The type as it is without its logical type. Named types have names of their own.
pub(crate) fn base_name(kind: &Type) -> &'static str {
    match kind {
        Type::Null => "null",
        Type::Boolean => "boolean",
        Type::Int | Type::Date | Type::TimeMillis => "int",
        Type::Long
        | Type::TimeMicros
        | Type::TimestampMillis
        | Type::TimestampMicros
        | Type::LocalTimestampMillis
        | Type::LocalTimestampMicros
        | Type::TimestampNanos => "long",
        Type::Float => "float",
        Type::Double => "double",
        Type::Bytes | Type::Decimal { .. } => "bytes",
        Type::String | Type::Uuid => "string",
        Type::Array(_) => "array",
        Type::Map(_) => "map",
        Type::Union(_) => "union",
        Type::Named(_) => "named",
    }
}

/// The base with its logical type, or as it is if the two do not fit.
fn logical(base: Type, object: &Map<String, Value>) -> Type {
    let Some(name) = object.get("logicalType").and_then(Value::as_str) else {
        return base;
    };
    match (name, base) {
        ("date", Type::Int) => Type::Date,
        ("time-millis", Type::Int) => Type::TimeMillis,
        ("time-micros", Type::Long) => Type::TimeMicros,
        ("timestamp-millis", Type::Long) => Type::TimestampMillis,
        ("timestamp-micros", Type::Long) => Type::TimestampMicros,
        ("local-timestamp-millis", Type::Long) => Type::LocalTimestampMillis,
        ("local-timestamp-micros", Type::Long) => Type::LocalTimestampMicros,
        ("timestamp-nanos" | "local-timestamp-nanos", Type::Long) => Type::TimestampNanos,
        ("uuid", Type::String) => Type::Uuid,
        ("decimal", Type::Bytes) => match decimal(object) {
            Some((precision, scale)) => Type::Decimal { precision, scale },
            None => Type::Bytes,
        },
        (_, base) => base,
    }
}

/// Precision and scale, if they make sense.
fn decimal(object: &Map<String, Value>) -> Option<(u32, u32)> {
    let number = |key| {
        object
            .get(key)
            .map(|value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    };
    let precision = number("precision")??;
    let scale = number("scale").unwrap_or(Some(0))?;
    (precision > 0 && scale <= precision).then_some((precision, scale))
}

/// Decimal digits that always fit into a two's complement of this many bytes: the whole part of
/// (8 × bytes − 1) × log10(2).
fn decimal_digits(bytes: u32) -> u32 {
    let bits = (u64::from(bytes) * 8).saturating_sub(1);
    u32::try_from(bits.saturating_mul(30_103) / 100_000).unwrap_or(u32::MAX)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Namespace and name; an empty namespace is none.
fn split(full: &str) -> (&str, &str) {
    full.rsplit_once('.').unwrap_or(("", full))
}

fn join(space: &str, name: &str) -> String {
    if space.is_empty() {
        name.to_owned()
    } else {
        format!("{space}.{name}")
    }
}

#[cfg(test)]
mod tests;
