//! `Anthropic`'s `input_schema` of tools, and the schemas of its structured outputs
//! (<https://docs.claude.com/en/docs/build-with-claude/structured-outputs#json-schema-limitations>).

use crate::json::{Map, Value, json};

use super::super::RequestError;
use super::super::dropped::Dropped;
use super::root;
use super::walk::{Path, visit};
use super::walk::{leads_back, lone_reference, references};

/// Letters of a property's name at the top of a tool's schema, and how many.
const MAX_NAME: usize = 64;

/// # Errors
/// Where a property at the top has a name that this API refuses.
pub(super) fn tool(schema: &Map, start: &Path<'_>) -> Result<(), RequestError> {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return Ok(());
    };
    let there = start.name("properties");
    let taken = |name: &str| {
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(letters)
    };
    match properties.keys().find(|name| !taken(name)) {
        None => Ok(()),
        Some(name) => Err(RequestError::unsupported(
            there.child(name),
            "the chosen provider takes names of properties of 1 to 64 letters, digits, _, . and - only",
        )),
    }
}

/// What stands in a schema of an answer.
const KNOWN: &[&str] = &[
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "title",
    "description",
    "default",
];

const FORMATS: &[&str] = &[
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "uri",
    "ipv4",
    "ipv6",
    "uuid",
];

/// What is not known here is told to the model in the description instead, as this provider's own SDKs do, and listed.
///
/// # Errors
/// A schema that holds itself cannot be said.
pub(super) fn answer(schema: &mut Map, start: &Path<'_>, dropped: &mut Dropped) -> Result<(), RequestError> {
    let whole = Value::Object(schema.clone());
    let mut all = references(schema);
    all.dedup();
    let own = |to: &String| {
        let named = super::walk::target(&whole, to).and_then(Value::as_object).cloned();
        let mut named = named.unwrap_or_default();
        to == "#" || references(&mut named).iter().any(|next| leads_back(&whole, next, to))
    };
    if all.iter().any(own) {
        let problem = "a schema that refers to itself is not supported by the chosen provider";
        return Err(RequestError::unsupported(start.spell(), problem));
    }
    without_references_in_all_of(schema, &whole, start, dropped);
    visit(schema, start, &mut |node, here| {
        // Nothing to a model, and unknown here.
        for keyword in ["$id", "$anchor", "$comment"] {
            node.remove(keyword);
        }
        if let Some(choice) = node.remove("oneOf") {
            match node.remove("anyOf") {
                None => node.insert("anyOf".to_owned(), choice),
                Some(before) => node.insert("allOf".to_owned(), json!([{ "anyOf": before }, { "anyOf": choice }])),
            };
        }
        tell_instead(node, here, dropped);
        lone_reference(node, &[]);
        give_type(node, here, dropped);
        if node.get("type").is_some_and(is_object) {
            let more = node.insert("additionalProperties".to_owned(), false.into());
            dropped.note_if(
                more.is_some_and(|more| more != false),
                &here.child("additionalProperties"),
            );
        }
    });
    Ok(())
}

/// References are refused within `allOf`: alone they say the same in `anyOf`, and those of objects are put together.
fn without_references_in_all_of(schema: &mut Map, whole: &Value, start: &Path<'_>, dropped: &mut Dropped) {
    visit(schema, start, &mut |node, here| {
        let all = node.get("allOf").and_then(Value::as_array);
        if !all.is_some_and(|all| all.iter().any(|part| part.get("$ref").is_some())) {
            return;
        }
        if all.is_some_and(|all| all.len() == 1) && !node.contains_key("anyOf") {
            let only = node.remove("allOf").unwrap_or_default();
            node.insert("anyOf".to_owned(), only);
        } else if let Ok(flat) = root::merged(node.clone(), whole, here, dropped) {
            *node = flat;
        }
    });
}

fn is_object(kind: &Value) -> bool {
    kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("object")))
}

fn is_known(keyword: &str, value: &Value) -> bool {
    match keyword {
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "minItems" => matches!(value.as_f64(), Some(n) if n <= 1.0),
        // Neither looking around nor back, nor words' ends.
        "pattern" => value.as_str().is_some_and(|pattern| {
            let back = |pair: &[u8]| matches!(pair, [b'\\', b'b' | b'B' | b'1'..=b'9'] | [b'(', b'?']);
            !pattern.as_bytes().windows(2).any(back)
        }),
        "enum" => value
            .as_array()
            .is_some_and(|values| values.iter().all(|value| !value.is_object() && !value.is_array())),
        "const" => !value.is_object() && !value.is_array(),
        _ => KNOWN.contains(&keyword),
    }
}

fn tell_instead(node: &mut Map, here: &Path<'_>, dropped: &mut Dropped) {
    let unknown: Vec<String> = node
        .iter()
        .filter(|(keyword, value)| !is_known(keyword, value))
        .map(|(keyword, _)| keyword.clone())
        .collect();
    let mut told = Vec::new();
    for keyword in unknown {
        let Some(value) = node.remove(&keyword) else { continue };
        dropped.note(here.child(&keyword));
        told.push(format!("{keyword}: {value}"));
    }
    if told.is_empty() {
        return;
    }
    let told = format!("{{{}}}", told.join(", "));
    let description = match node.get("description").and_then(Value::as_str) {
        Some(before) => format!("{before}\n\n{told}"),
        None => told,
    };
    node.insert("description".to_owned(), description.into());
}

/// Each schema must say of what kind it is. What may be anything can still be any one value.
fn give_type(node: &mut Map, here: &Path<'_>, dropped: &mut Dropped) {
    if ["type", "$ref", "anyOf", "allOf", "enum", "const"]
        .iter()
        .any(|name| node.contains_key(name))
    {
        return;
    }
    let kind = if node.contains_key("properties") {
        json!("object")
    } else if node.contains_key("items") {
        json!("array")
    } else {
        dropped.note(here.spell());
        json!(["string", "number", "boolean", "null"])
    };
    node.insert("type".to_owned(), kind);
}
