//! Any JSON Schema, of a tool's arguments and of an answer, from every caller to every provider: what is sent satisfies
//! the provider's rules, and names of properties survive. The rules are written here a second time, on purpose.

use bowsprit_core::dialect::{Dialect, translate_request};
use bowsprit_core::fault::Code;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi, OpenAiResponses as Responses};

use super::asking::{model, target};
use super::seeded::holds;

const CALLERS: [Dialect; 4] = [OpenAi, Anthropic, Gemini, Responses];

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!(3)),
        Just(json!("text")),
        Just(json!([])),
        Just(json!({})),
        Just(json!(-1.5)),
    ]
}

fn name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        4 => "[a-z]{1,6}",
        1 => Just("type".to_owned()),
        1 => Just("$ref".to_owned()),
        1 => Just("properties".to_owned()),
        1 => Just("required".to_owned()),
        1 => Just("oneOf".to_owned()),
    ]
}

fn kind() -> impl Strategy<Value = Value> {
    let one = || {
        prop_oneof![
            Just("object"),
            Just("array"),
            Just("string"),
            Just("integer"),
            Just("number"),
            Just("boolean"),
            Just("null"),
            Just("STRING"),
            Just("any"),
            Just("float")
        ]
    };
    prop_oneof![
        3 => one().prop_map(Value::from),
        1 => prop::collection::vec(one(), 0..3).prop_map(Value::from),
    ]
}

/// Words about a value, some of them where they do not belong.
fn words() -> impl Strategy<Value = Map<String, Value>> {
    let word = prop_oneof![
        kind().prop_map(|kind| ("type", kind)),
        Just(("title", json!("T"))),
        Just(("description", json!("D"))),
        Just(("default", json!(null))),
        Just(("format", json!("uri"))),
        Just(("format", json!("odd"))),
        Just(("pattern", json!("^(?=a)b"))),
        Just(("pattern", json!("^[a-z]+$"))),
        Just(("const", json!("c"))),
        Just(("const", json!(false))),
        Just(("enum", json!(["a", 7, null, "a"]))),
        Just(("enum", json!([]))),
        Just(("minLength", json!(2))),
        Just(("maxLength", json!("9"))),
        Just(("minItems", json!(3))),
        Just(("minimum", json!(0))),
        Just(("exclusiveMinimum", json!(true))),
        Just(("exclusiveMaximum", json!(9))),
        Just(("multipleOf", json!(0))),
        Just(("uniqueItems", json!(true))),
        Just(("nullable", json!(true))),
        Just(("required", json!(["a", "b", "a"]))),
        Just(("required", json!(true))),
        Just(("additionalProperties", json!(true))),
        Just(("additionalProperties", json!(false))),
        Just(("$schema", json!("http://json-schema.org/draft-07/schema#"))),
        Just(("$id", json!("#here"))),
        Just(("$comment", json!("x"))),
        Just(("examples", json!(["e"]))),
        Just(("deprecated", json!(true))),
        Just(("x-own", json!({"a": 1}))),
        prop_oneof![
            Just("#/$defs/A"),
            Just("#/$defs/B"),
            Just("#/definitions/A"),
            Just("#"),
            Just("#/$defs/Missing"),
            Just("https://example.com/schema.json")
        ]
        .prop_map(|to| ("$ref", json!(to))),
        (
            prop_oneof![
                Just("properties"),
                Just("items"),
                Just("anyOf"),
                Just("required"),
                Just("enum"),
                Just("type"),
                Just("minLength"),
                Just("title"),
                Just("$ref"),
                Just("not"),
                Just("uniqueItems"),
                Just("minimum")
            ],
            odd()
        ),
    ];
    prop::collection::vec(word, 0..5).prop_map(|words| words.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![6 => words().prop_map(Value::Object), 1 => odd()];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let named = prop::collection::vec((name(), inner.clone()), 0..4)
            .prop_map(|named| Value::Object(named.into_iter().collect()));
        let list = prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array);
        let more = prop_oneof![
            3 => named.clone().prop_map(|named| ("properties", named)),
            1 => named.prop_map(|named| ("patternProperties", named)),
            1 => inner.clone().prop_map(|inner| ("items", inner)),
            1 => list.clone().prop_map(|list| ("items", list)),
            1 => list.clone().prop_map(|list| ("anyOf", list)),
            1 => list.clone().prop_map(|list| ("oneOf", list)),
            1 => list.clone().prop_map(|list| ("allOf", list)),
            1 => list.prop_map(|list| ("prefixItems", list)),
            1 => inner.clone().prop_map(|inner| ("additionalProperties", inner)),
            1 => inner.clone().prop_map(|inner| ("not", inner)),
            1 => inner.prop_map(|inner| ("if", inner)),
        ];
        (words(), prop::collection::vec(more, 1..3)).prop_map(|(mut words, more)| {
            words.extend(more.into_iter().map(|(keyword, value)| (keyword.to_owned(), value)));
            Value::Object(words)
        })
    })
}

/// A schema with definitions, most often of an object.
fn whole() -> impl Strategy<Value = Value> {
    let definitions = prop::option::of((schema(), schema(), any::<bool>()));
    (schema(), definitions, 0..4).prop_map(|(mut schema, definitions, object)| {
        if let (Some(schema), true) = (schema.as_object_mut(), object > 0) {
            schema.insert("type".to_owned(), "object".into());
        }
        if let (Some((a, b, old)), Some(schema)) = (definitions, schema.as_object_mut()) {
            let place = if old { "definitions" } else { "$defs" };
            schema.insert(place.to_owned(), json!({"A": a, "B": b}));
        }
        schema
    })
}

/// A request with the schema for a tool or for the answer; none where the caller has no place for it.
fn request(from: Dialect, schema: &Value, answer: bool) -> Value {
    match (from, answer) {
        (OpenAi, false) => json!({"messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "t", "parameters": schema}}]}),
        (OpenAi, true) => json!({"messages": [{"role": "user", "content": "x"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": schema}}}),
        (Anthropic, false) => json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
            "tools": [{"name": "t", "input_schema": schema}]}),
        (Anthropic, true) => json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        (Gemini, false) => json!({"contents": [{"parts": [{"text": "x"}]}],
            "tools": [{"functionDeclarations": [{"name": "t", "parametersJsonSchema": schema}]}]}),
        (Gemini, true) => json!({"contents": [{"parts": [{"text": "x"}]}],
            "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}),
        (Responses, false) => json!({"input": "x",
            "tools": [{"type": "function", "name": "t", "parameters": schema}]}),
        (Responses, true) => json!({"input": "x",
            "text": {"format": {"type": "json_schema", "name": "s", "schema": schema}}}),
    }
}

fn sent(to: Dialect, body: &Value, answer: bool) -> Option<&Value> {
    body.pointer(match (to, answer) {
        (Anthropic, false) => "/tools/0/input_schema",
        (Anthropic, true) => "/output_config/format/schema",
        (Gemini, false) => "/tools/0/functionDeclarations/0/parametersJsonSchema",
        (Gemini, true) => "/generationConfig/responseJsonSchema",
        (_, false) => "/tools/0/function/parameters",
        (_, true) => "/response_format/json_schema/schema",
    })
}

/// Every schema within a schema.
fn nodes<'s>(schema: &'s Value, found: &mut Vec<&'s Map<String, Value>>) {
    let Some(object) = schema.as_object() else { return };
    found.push(object);
    for (keyword, value) in object {
        match keyword.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" => {
                for schema in value.as_object().into_iter().flat_map(Map::values) {
                    nodes(schema, found);
                }
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                for schema in value.as_array().into_iter().flatten() {
                    nodes(schema, found);
                }
            }
            "items" | "additionalProperties" | "not" | "if" => nodes(value, found),
            _ => {}
        }
    }
}

fn property_names(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    nodes(schema, &mut found);
    let mut names: Vec<String> = found
        .iter()
        .filter_map(|node| node.get("properties")?.as_object())
        .flat_map(|properties| properties.keys().cloned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What JSON Schema itself says of its words.
fn well_formed(whole: &Value, node: &Map<String, Value>) -> Result<(), TestCaseError> {
    const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];
    for (keyword, value) in node {
        let right = match keyword.as_str() {
            "type" => {
                let names: Vec<&Value> = value
                    .as_array()
                    .map_or_else(|| vec![value], |names| names.iter().collect());
                !names.is_empty() && names.iter().all(|name| TYPES.contains(&name.as_str().unwrap_or("")))
            }
            "properties" | "patternProperties" | "$defs" => value
                .as_object()
                .is_some_and(|named| named.values().all(Value::is_object)),
            "items" | "not" | "if" => value.is_object(),
            "additionalProperties" => value.is_object() || value.is_boolean(),
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => value
                .as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_object)),
            "required" => value.as_array().is_some_and(|names| {
                let mut seen: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                seen.sort_unstable();
                seen.dedup();
                seen.len() == names.len()
            }),
            "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
            "minLength" | "maxLength" | "minItems" | "maxItems" => value.is_u64(),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
            "multipleOf" => value.as_f64().is_some_and(|n| n > 0.0),
            "title" | "description" | "pattern" | "format" | "$id" | "$comment" => value.is_string(),
            "uniqueItems" => value.is_boolean(),
            "$ref" => value
                .as_str()
                .and_then(|to| to.strip_prefix('#'))
                .is_some_and(|pointer| whole.pointer(pointer).is_some_and(Value::is_object)),
            _ => true,
        };
        prop_assert!(right, "{keyword}: {value}");
    }
    Ok(())
}

fn is_object(node: &Map<String, Value>) -> bool {
    node.get("type")
        .is_some_and(|kind| kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("object"))))
}

/// What the provider says of schemas beyond that.
fn taken(to: Dialect, schema: &Value, answer: bool) -> Result<(), TestCaseError> {
    let mut all = Vec::new();
    nodes(schema, &mut all);
    let top = all[0];
    for node in &all {
        well_formed(schema, node)?;
        if to == Gemini && node.contains_key("$ref") {
            let beside = |name: &&String| {
                !name.starts_with('$') && (answer || !["description", "default"].contains(&name.as_str()))
            };
            prop_assert_eq!(node.keys().find(beside), None, "beside $ref");
        }
        if to == OpenAi && node.get("type").is_some_and(|kind| kind == "array") {
            prop_assert!(
                node.contains_key("items") || node.contains_key("prefixItems"),
                "no items"
            );
        }
        if to == Anthropic && answer {
            let known = ["type", "enum", "const", "anyOf", "allOf", "$ref"];
            prop_assert!(known.iter().any(|name| node.contains_key(*name)), "of no kind");
            for unknown in [
                "oneOf",
                "not",
                "if",
                "minLength",
                "minimum",
                "patternProperties",
                "uniqueItems",
                "x-own",
            ] {
                prop_assert!(!node.contains_key(unknown), "{}", unknown);
            }
            if is_object(node) {
                prop_assert_eq!(&node["additionalProperties"], false);
            }
            if node.contains_key("$ref") {
                prop_assert!(node.keys().all(|name| name.starts_with('$')), "beside $ref");
            }
        }
    }
    if !answer || to == OpenAi {
        prop_assert_eq!(&top["type"], "object");
        if to != Gemini {
            for word in ["anyOf", "oneOf", "allOf", "not", "enum"] {
                prop_assert!(
                    !top.contains_key(word) || (to == Anthropic && word == "not"),
                    "{} at the top",
                    word
                );
            }
            prop_assert!(top["properties"].is_object());
        }
    }
    Ok(())
}

fn survives(from: Dialect, to: Dialect, schema: &Value, answer: bool) -> Result<(), TestCaseError> {
    let target = target(model(to));
    let body = request(from, schema, answer);
    let translated = match translate_request(from, to, body.to_string().as_bytes(), &target) {
        Ok(translated) => translated,
        Err(error) => {
            prop_assert!(!error.path.is_empty(), "no path: {error}");
            prop_assert!(matches!(error.code, Code::ValField | Code::ValUnsupported), "{error}");
            return Ok(());
        }
    };
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    let Some(sent) = sent(to, &body, answer) else {
        let nothing = schema.as_object().is_none_or(Map::is_empty) || (answer && translated.dropped.len() == 1);
        prop_assert!(nothing, "the schema was lost: {body}");
        return Ok(());
    };
    taken(to, sent, answer).map_err(|error| {
        let reason = format!("{from} -> {to}, answer {answer}: {error}\n{schema}\n{sent}");
        TestCaseError::fail(reason)
    })?;
    if to == OpenAi && body.pointer("/response_format/json_schema/strict") == Some(&json!(true)) {
        let mut all = Vec::new();
        nodes(sent, &mut all);
        for node in all {
            let properties = node.get("properties").and_then(Value::as_object);
            for name in properties.into_iter().flat_map(Map::keys) {
                prop_assert!(
                    node["required"].as_array().unwrap().contains(&json!(name)),
                    "strict, and {} is not required",
                    name
                );
            }
        }
    }
    if translated.dropped.is_empty() {
        let (before, after) = (property_names(schema), property_names(sent));
        let lost: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
        prop_assert!(lost.is_empty(), "{from} -> {to}: lost {lost:?}\n{schema}\n{sent}");
    }
    Ok(())
}

fn pairs(schema: &Value, answer: bool) -> Result<(), TestCaseError> {
    for from in CALLERS {
        for to in Dialect::PROVIDERS {
            if from != to {
                survives(from, to, schema, answer)?;
            }
        }
    }
    Ok(())
}

#[test]
fn any_schema_of_a_tool_is_one_that_the_provider_takes() {
    holds("tool schemas", whole(), |schema| pairs(&schema, false));
}

#[test]
fn any_schema_of_an_answer_is_one_that_the_provider_takes() {
    holds("answer schemas", whole(), |schema| pairs(&schema, true));
}
