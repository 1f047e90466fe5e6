//! Parses an Avro schema's text and finds it valid, or says where and why not.
//!
//! The parser is ours because a schema comes from outside: `apache-avro` 0.21 panics on a name that
//! is not one, and forgets that a UUID stands on a fixed type, which the decoder has to know. The
//! rules and the canonical text's key order are those of Avro's Java implementation, which
//! Confluent's registry compares with: [Avro 1.11](https://avro.apache.org/docs/1.11.1/specification/).
//!
//! Recursive types are valid here; that no table can hold them is said by `columns`.

mod default;
mod named;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tarn_model::caps;

use super::canonical::{push_member, push_string, sorted};
use super::error::{DEPTH_MAX, ParseError, Problem, Twice};
use super::kinds::{base_name, logical, primitive};
use super::names::{is_name, join, split};
use super::types::{AvroSchema, NamedId, NamedType, Type};
use crate::guid::{guid, hash_text};

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

#[derive(Default)]
pub(super) struct Parser {
    pub(super) named: Vec<NamedType>,
    names: HashMap<String, NamedId>,
    /// The canonical text, as far as it is written.
    out: String,
    path: Vec<String>,
    depth: usize,
}

impl Parser {
    pub(super) fn error(&self, problem: Problem) -> ParseError {
        let at = if self.path.is_empty() {
            "$".to_owned()
        } else {
            self.path.concat()
        };
        ParseError { at, problem }
    }

    pub(super) fn fail<T>(&self, problem: Problem) -> Result<T, ParseError> {
        Err(self.error(problem))
    }

    fn document(&mut self, text: &str) -> Result<(Type, String), ParseError> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| self.error(Problem::Json(error.to_string())))?;
        let root = self.parse_type(&json, "")?;
        Ok((root, std::mem::take(&mut self.out)))
    }

    pub(super) fn within<T>(
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
    pub(super) fn parse_type(&mut self, json: &Value, space: &str) -> Result<Type, ParseError> {
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
                    return parser.fail(Problem::Twice(Twice::Branch(name.to_owned())));
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

    /// A doc that is no text is ignored, as Java does.
    pub(super) fn doc(
        &mut self,
        object: &Map<String, Value>,
    ) -> Result<Option<String>, ParseError> {
        let doc = object.get("doc").and_then(Value::as_str);
        if let Some(doc) = doc {
            self.out.push_str(",\"doc\":");
            push_string(&mut self.out, doc);
        }
        Ok(doc.map(str::to_owned))
    }

    pub(super) fn aliases(&mut self, object: &Map<String, Value>) -> Result<(), ParseError> {
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

    pub(super) fn properties(&mut self, object: &Map<String, Value>, known: &[&str]) {
        for (key, value) in sorted(object) {
            if !known.contains(&key.as_str()) {
                self.out.push(',');
                push_member(&mut self.out, key, value);
            }
        }
    }

    pub(super) fn text<'o>(
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

    pub(super) fn check_name(&self, name: &str) -> Result<(), ParseError> {
        if is_name(name) {
            Ok(())
        } else {
            self.fail(Problem::BadName(name.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
