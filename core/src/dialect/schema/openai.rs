//! `OpenAI`'s schemas of functions and answers (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).

use crate::json::{Map, Value, json};

use super::walk::{Path, visit};

/// Says what this API wants said: properties of objects and items of arrays, and be it that there is nothing to say.
pub(super) fn complete(schema: &mut Map, start: &Path<'_>) {
    visit(schema, start, &mut |node, _| {
        tell_items(node);
        if node.get("type").is_some_and(|kind| kind == "object") && !node.contains_key("properties") {
            node.insert("properties".to_owned(), json!({}));
        }
    });
}

/// An array of anything.
pub(super) fn tell_items(node: &mut Map) {
    let array = match node.get("type") {
        Some(Value::Array(kinds)) => kinds.contains(&json!("array")),
        Some(kind) => kind == "array",
        None => false,
    };
    if array && !node.contains_key("items") && !node.contains_key("prefixItems") {
        node.insert("items".to_owned(), json!({}));
    }
}

/// Keywords of a strict schema.
const STRICT: &[&str] = &[
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "$ref",
    "$defs",
    "title",
    "description",
    "pattern",
    "format",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
];

/// Formats of a strict schema's strings.
const STRICT_FORMATS: &[&str] = &[
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
];

/// Whether it says all that this API asks of a strict schema: every object closed, every property required, and only
/// keywords that it knows.
pub(super) fn is_strict(schema: &mut Map, start: &Path<'_>) -> bool {
    let mut strict = true;
    visit(schema, start, &mut |node, _| {
        strict &= node.keys().all(|keyword| STRICT.contains(&keyword.as_str()));
        strict &= !node.is_empty();
        if let Some(format) = node.get("format").and_then(Value::as_str) {
            strict &= STRICT_FORMATS.contains(&format);
        }
        if let Some(Value::Object(properties)) = node.get("properties") {
            let required = node.get("required").and_then(Value::as_array);
            let asked = |name: &String| required.is_some_and(|names| names.contains(&name.as_str().into()));
            strict &= properties.keys().all(asked);
            strict &= node.get("additionalProperties").is_some_and(|more| *more == false);
        }
    });
    strict
}
