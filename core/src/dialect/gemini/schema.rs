//! `Gemini`'s own schema objects (a subset of `OpenAPI` 3.0) as JSON Schema, which the other dialects want.

use crate::json::{Map, Value, json};

/// Depth of a schema that is followed; serde's own limit on nesting lies not far above.
const MAX_DEPTH: u32 = 64;

/// Lower-case types, `nullable` as a type of its own, numbers as numbers.
pub(super) fn to_json_schema(schema: &Value) -> Value {
    convert(schema, MAX_DEPTH)
}

fn convert(schema: &Value, depth: u32) -> Value {
    let Some(object) = schema.as_object().filter(|_| depth > 0) else {
        return schema.clone();
    };
    let nullable = object.get("nullable").and_then(Value::as_bool).unwrap_or(false);
    let mut out = Map::new();
    for (name, value) in object {
        let value = match (name.as_str(), value) {
            ("nullable" | "propertyOrdering" | "property_ordering", _) => continue,
            ("type", Value::String(kind)) => {
                let kind = kind.to_ascii_lowercase();
                if nullable { json!([kind, "null"]) } else { kind.into() }
            }
            ("properties" | "$defs" | "defs", Value::Object(map)) => map
                .iter()
                .map(|(key, value)| (key.clone(), convert(value, depth - 1)))
                .collect::<Map>()
                .into(),
            ("anyOf" | "any_of" | "prefixItems", Value::Array(list)) => list
                .iter()
                .map(|value| convert(value, depth - 1))
                .collect::<Vec<_>>()
                .into(),
            ("items" | "additionalProperties", value) => convert(value, depth - 1),
            // Protocol buffers print 64-bit integers as strings.
            (
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties",
                Value::String(n),
            ) => n.parse::<u64>().map_or_else(|_| value.clone(), Value::from),
            (_, value) => value.clone(),
        };
        out.insert(
            if name == "any_of" {
                "anyOf".to_owned()
            } else {
                name.clone()
            },
            value,
        );
    }
    Value::Object(out)
}
