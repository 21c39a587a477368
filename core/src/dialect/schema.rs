//! JSON Schemas of tools and answers, said so that the target takes them.
//!
//! Callers' schemas come from every draft and from generators of every kind. [`for_tool`] and [`for_answer`] first write
//! them as JSON Schema 2020-12 says ([`tidy`]): only schemas where schemas stand, only numbers where numbers stand, every
//! reference one that leads somewhere. Then each target has its own rules (`anthropic`, `gemini`, `openai`). Names of
//! properties always survive. What is only spelled another way goes without a word; what says less than before is listed
//! by its path; what cannot be said is refused by its path.

mod anthropic;
mod gemini;
mod openai;
mod root;
mod walk;

use crate::json::{Map, Value, json};

use super::RequestError;
use super::cursor::Cursor;
use super::dropped::Dropped;
use walk::{Holds, Path, each_once, holds, target, visit};

/// Depth of a schema that is followed; serde's own limit on nesting lies not far above.
const MAX_DEPTH: u32 = 64;

/// A schema as the caller gave it; `None` where it says nothing.
///
/// # Errors
/// `VAL_FIELD` where it is no schema at all.
pub(super) fn read(at: Option<Cursor<'_>>) -> Result<Option<Value>, RequestError> {
    let Some(at) = at else { return Ok(None) };
    match at.value {
        Value::Object(_) | Value::Bool(_) => Ok(Some(at.value.clone())),
        // What PHP writes for an object without fields.
        Value::Array(items) if items.is_empty() => Ok(None),
        _ => Err(at.wrong("must be an object")),
    }
}

/// How a target takes schemas.
pub(super) struct SchemaRules {
    /// Whether it reads alternatives at the top of a tool's arguments; the others refuse them there.
    alternatives: bool,
    /// Says a tool's arguments, which are an object.
    tool: fn(&mut Map, &Path<'_>) -> Result<(), RequestError>,
    /// Says an answer's schema. The flag is `strict`, taken back where the target asks more of a strict schema than this one
    /// says.
    answer: fn(&mut Map, &mut Option<bool>, &Path<'_>, &mut Dropped) -> Result<(), RequestError>,
}

/// As `Anthropic` takes them.
pub(super) static ANTHROPIC: SchemaRules = SchemaRules {
    alternatives: false,
    tool: |schema, start| {
        schema.entry("properties").or_insert_with(|| json!({}));
        anthropic::tool(schema, start)
    },
    answer: |schema, _, start, dropped| anthropic::answer(schema, start, dropped),
};

/// As `Gemini` takes them.
pub(super) static GEMINI: SchemaRules = SchemaRules {
    alternatives: true,
    tool: |schema, start| {
        gemini::tool(schema, start);
        Ok(())
    },
    answer: |schema, _, start, dropped| {
        gemini::answer(schema, start, dropped);
        Ok(())
    },
};

/// As `OpenAI` takes them.
pub(super) static OPENAI: SchemaRules = SchemaRules {
    alternatives: false,
    tool: |schema, start| {
        openai::complete(schema, start);
        Ok(())
    },
    answer: |schema, strict, start, dropped| {
        *schema = root::object(std::mem::take(schema), start, false, dropped)?;
        openai::complete(schema, start);
        if *strict == Some(true) && !openai::is_strict(schema, start) {
            *strict = None;
            dropped.note(start.spell());
        }
        Ok(())
    },
};

/// The schema of a tool's arguments, as `to` takes it: an object in every case.
///
/// # Errors
/// `VAL_UNSUPPORTED` with the path where arguments cannot be said to be an object, or a name is none that `to` takes.
pub(super) fn for_tool(
    to: &SchemaRules,
    schema: Option<&Value>,
    path: &str,
    dropped: &mut Dropped,
) -> Result<Value, RequestError> {
    let start = Path::start(path);
    let schema = clean(schema.unwrap_or(&Value::Null), &start, dropped);
    let mut schema = root::object(schema, &start, to.alternatives, dropped)?;
    (to.tool)(&mut schema, &start)?;
    Ok(Value::Object(schema))
}

/// The schema of an answer, as `to` takes it. `strict` is taken back where the target asks more of a strict schema than
/// this one says.
///
/// # Errors
/// `VAL_UNSUPPORTED` with the path where the target has no such schema.
pub(super) fn for_answer(
    to: &SchemaRules,
    schema: &Value,
    strict: &mut Option<bool>,
    path: &str,
    dropped: &mut Dropped,
) -> Result<Value, RequestError> {
    let start = Path::start(path);
    let mut schema = clean(schema, &start, dropped);
    (to.answer)(&mut schema, strict, &start, dropped)?;
    Ok(Value::Object(schema))
}

/// Whether any value would do.
pub(super) fn says_nothing(schema: &Value) -> bool {
    match schema {
        Value::Object(schema) => schema.keys().all(|keyword| keyword == "$schema"),
        other => other == &Value::Bool(true),
    }
}

/// As 2020-12 says it, with references that lead somewhere.
fn clean(schema: &Value, start: &Path<'_>, dropped: &mut Dropped) -> Map {
    let mut schema = tidy(schema, start, MAX_DEPTH, dropped);
    let renamed = schema.contains_key("definitions") && !schema.contains_key("$defs");
    if renamed && let Some(definitions) = schema.remove("definitions") {
        schema.insert("$defs".to_owned(), definitions);
        visit(&mut schema, start, &mut |node, _| {
            let moved = node.get("$ref").and_then(Value::as_str);
            if let Some(name) = moved.and_then(|to| to.strip_prefix("#/definitions/")) {
                let to = format!("#/$defs/{name}");
                node.insert("$ref".to_owned(), to.into());
            }
        });
    }
    let whole = Value::Object(schema.clone());
    visit(&mut schema, start, &mut |node, here| {
        let to = node.get("$ref").and_then(Value::as_str);
        if to.is_some_and(|to| target(&whole, to).is_none()) {
            node.remove("$ref");
            dropped.note(here.child("$ref"));
        }
    });
    schema
}

/// One schema, with only such values behind its keywords as belong there.
fn tidy(schema: &Value, here: &Path<'_>, depth: u32, dropped: &mut Dropped) -> Map {
    let object = match schema {
        Value::Object(object) if depth > 0 => object,
        Value::Null | Value::Bool(true) => return Map::new(),
        Value::Array(items) if items.is_empty() => return Map::new(),
        Value::Bool(false) => return [("not".to_owned(), json!({}))].into_iter().collect(),
        _ => {
            dropped.note(here.spell());
            return Map::new();
        }
    };
    let mut out = Map::new();
    for (keyword, value) in object {
        let there = here.name(keyword);
        let tidied = match (keyword.as_str(), value) {
            (keyword, value) if said_elsewhere(object, keyword, value) => continue,
            ("items", Value::Array(_)) => {
                tuple(object, here, depth, &mut out, dropped);
                continue;
            }
            ("items", Value::Bool(false)) => {
                let places = object.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                out.insert("maxItems".to_owned(), places.into());
                continue;
            }
            // Draft 4 said of a limit whether it is one of those allowed.
            ("minimum", Value::Number(_)) if is_true(object, "exclusiveMinimum") => {
                out.insert("exclusiveMinimum".to_owned(), value.clone());
                continue;
            }
            ("maximum", Value::Number(_)) if is_true(object, "exclusiveMaximum") => {
                out.insert("exclusiveMaximum".to_owned(), value.clone());
                continue;
            }
            ("multipleOf", value) if value.as_f64().is_none_or(|n| n <= 0.0) => None,
            (keyword, value) => tidied(holds(keyword), value, &there, depth, dropped),
        };
        match tidied {
            Some(value) => {
                out.insert(keyword.clone(), value);
            }
            None => dropped.note(there.spell()),
        }
    }
    require_marked(object, &mut out);
    if is_true(object, "nullable") {
        allow_null(&mut out);
    }
    out
}

/// What says nothing, or is told by another keyword's reader, or is no longer true of what is written.
fn said_elsewhere(object: &Map, keyword: &str, value: &Value) -> bool {
    let items = object.get("items");
    match keyword {
        "const" | "default" | "example" => false,
        "$schema" | "nullable" => true,
        "exclusiveMinimum" | "exclusiveMaximum" | "required" => value.is_null() || value.is_boolean(),
        "items" => value.is_null() || value == &Value::Bool(true),
        "additionalItems" => items.is_some_and(Value::is_array),
        "maxItems" => {
            let tuple =
                items.is_some_and(Value::is_array) && object.get("additionalItems") == Some(&Value::Bool(false));
            tuple || items == Some(&Value::Bool(false)) || value.is_null()
        }
        _ => value.is_null(),
    }
}

fn is_true(object: &Map, name: &str) -> bool {
    object.get(name).and_then(Value::as_bool) == Some(true)
}

/// A value that belongs behind a keyword; none if this one does not.
fn tidied(holds: Holds, value: &Value, here: &Path<'_>, depth: u32, dropped: &mut Dropped) -> Option<Value> {
    Some(match (holds, value) {
        (Holds::SchemaOrFlag | Holds::Flag, Value::Bool(_))
        | (Holds::Text, Value::String(_))
        | (Holds::Number, Value::Number(_))
        | (Holds::Anything, _) => value.clone(),
        (Holds::Schema | Holds::SchemaOrFlag, _) => tidy(value, here, depth - 1, dropped).into(),
        (Holds::Schemas, Value::Array(schemas)) if !schemas.is_empty() => schemas
            .iter()
            .enumerate()
            .map(|(index, schema)| Value::Object(tidy(schema, &here.index(index), depth - 1, dropped)))
            .collect::<Vec<_>>()
            .into(),
        (Holds::Schemas, Value::Object(_)) => {
            Value::Array(vec![tidy(value, &here.index(0), depth - 1, dropped).into()])
        }
        (Holds::Named, Value::Object(schemas)) => schemas
            .iter()
            .map(|(name, schema)| {
                let schema = tidy(schema, &here.name(name), depth - 1, dropped);
                (name.clone(), Value::Object(schema))
            })
            .collect::<Map>()
            .into(),
        (Holds::Named, Value::Array(schemas)) if schemas.is_empty() => json!({}),
        (Holds::Types, _) => types(value)?,
        (Holds::Count, Value::Number(number)) if number.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0) => {
            value.clone()
        }
        (Holds::Count, Value::String(text)) => text.parse::<u64>().ok()?.into(),
        (Holds::Names, Value::Array(names)) => each_once(names.iter().filter(|name| name.is_string())).into(),
        (Holds::Values, Value::Array(values)) if !values.is_empty() => each_once(values.iter()).into(),
        _ => return None,
    })
}

/// The names of types as JSON Schema has them. Generators also write those of their own language.
fn types(value: &Value) -> Option<Value> {
    let name = |value: &Value| {
        Some(match value.as_str()?.to_ascii_lowercase().as_str() {
            "object" | "dict" | "map" => "object",
            "array" | "list" | "tuple" => "array",
            "string" | "str" => "string",
            "integer" | "int" => "integer",
            "number" | "float" | "double" => "number",
            "boolean" | "bool" => "boolean",
            "null" | "none" => "null",
            _ => return None,
        })
    };
    match value {
        Value::Array(names) => {
            let known: Vec<Value> = names.iter().filter_map(name).map(Value::from).collect();
            (!known.is_empty() && known.len() == names.len()).then(|| each_once(known.iter()).into())
        }
        _ => name(value).map(Value::from),
    }
}

/// Up to 2019 a list behind `items` said the items one by one, and `additionalItems` what may follow.
fn tuple(object: &Map, here: &Path<'_>, depth: u32, out: &mut Map, dropped: &mut Dropped) {
    let Some(items) = object
        .get("items")
        .and_then(Value::as_array)
        .filter(|items| !items.is_empty())
    else {
        return;
    };
    let there = here.name("items");
    let places: Vec<Value> = items
        .iter()
        .enumerate()
        .map(|(index, item)| tidy(item, &there.index(index), depth - 1, dropped).into())
        .collect();
    match object.get("additionalItems") {
        None | Some(Value::Null | Value::Bool(true)) => {}
        Some(Value::Bool(false)) => {
            out.insert("maxItems".to_owned(), places.len().into());
        }
        Some(more) => {
            let more = tidy(more, &here.name("additionalItems"), depth - 1, dropped);
            out.insert("items".to_owned(), more.into());
        }
    }
    out.insert("prefixItems".to_owned(), places.into());
}

/// Draft 3 said `required: true` in the property itself.
fn require_marked(object: &Map, out: &mut Map) {
    let Some(properties) = object.get("properties").and_then(Value::as_object) else {
        return;
    };
    let marked = properties
        .iter()
        .filter(|(_, schema)| schema.as_object().is_some_and(|schema| is_true(schema, "required")))
        .map(|(name, _)| Value::from(name.as_str()));
    let mut names = out
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let before = names.len();
    for name in marked {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > before {
        out.insert("required".to_owned(), names.into());
    }
}

/// `OpenAPI`'s `nullable`, as JSON Schema says it.
fn allow_null(out: &mut Map) {
    if out.contains_key("$ref") {
        let schema = std::mem::take(out);
        out.insert("anyOf".to_owned(), json!([schema, { "type": "null" }]));
        return;
    }
    let types = match out.get("type") {
        Some(Value::String(kind)) if kind != "null" => json!([kind, "null"]),
        Some(Value::Array(kinds)) if !kinds.contains(&json!("null")) => {
            let mut kinds = kinds.clone();
            kinds.push("null".into());
            kinds.into()
        }
        _ => return,
    };
    out.insert("type".to_owned(), types);
    if let Some(values) = out.get_mut("enum").and_then(Value::as_array_mut)
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}
