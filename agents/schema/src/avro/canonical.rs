//! Writes JSON without whitespace and with sorted keys.
//!
//! SUBTLE: `serde_json` keeps an object's keys sorted or in the order of the text, depending on a
//! feature that any crate in the build may switch on. A schema's identity must not, so we sort.

use serde_json::{Map, Value};

pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push_str(&Value::String(text.to_owned()).to_string());
}

/// The JSON's depth is bounded by its parser.
pub(crate) fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Object(object) => {
            out.push('{');
            for (i, (key, value)) in sorted(object).into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_member(out, key, value);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_value(out, item);
            }
            out.push(']');
        }
        Value::String(text) => push_string(out, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

pub(crate) fn push_member(out: &mut String, key: &str, value: &Value) {
    push_string(out, key);
    out.push(':');
    push_value(out, value);
}

pub(crate) fn sorted(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    members
}
