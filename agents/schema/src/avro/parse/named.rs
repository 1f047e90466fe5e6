//! Types with names: records with their fields, enums and fixed types.
//!
//! Holds: a name is defined once, a record's before its fields are read, so that they may use it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::avro::canonical::{push_member, push_string, push_value};
use crate::avro::error::{ParseError, Problem, Twice};
use crate::avro::kinds::{decimal, decimal_digits, primitive};
use crate::avro::names::{is_name, join, split};
use crate::avro::types::{
    EnumType, FixedLogical, FixedType, NamedId, NamedType, RecordField, RecordType, Type,
};

use super::{Parser, SCHEMA_KEYS};

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

impl Parser {
    pub(super) fn record(
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
                    return parser.fail(Problem::Twice(Twice::Field(field.name)));
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

    pub(super) fn symbols(
        &mut self,
        object: &Map<String, Value>,
        space: &str,
    ) -> Result<Type, ParseError> {
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
                return self.fail(Problem::Twice(Twice::Symbol(symbol.clone())));
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

    pub(super) fn fixed(
        &mut self,
        object: &Map<String, Value>,
        space: &str,
    ) -> Result<Type, ParseError> {
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
            return self.fail(Problem::Twice(Twice::Type(full_name.to_owned())));
        }
        self.named.push(build(full_name.to_owned()));
        Ok(id)
    }
}
