//! What one provider takes and another would refuse.

use serde_json::{Value, json};

use super::{Case, Chat, Gemini, Group, Messages};
use bowsprit_core::dialect::Dialect;

fn case(from: Dialect, field: &'static str, patch: Value) -> Case {
    Case {
        from,
        field,
        patch,
        is_default: false,
    }
}

pub(super) fn group() -> Group {
    Group {
        title: "What one provider takes and another would refuse",
        note: "Said so that it is taken, before it costs a request, or refused by its path.\n",
        models: ["gpt-4.1", "claude-sonnet-4-5", "gemini-2.5-flash"],
        cases: schemas(),
    }
}

fn schemas() -> Vec<Case> {
    let tool = |parameters: Value| json!({"tools": [{"type": "function", "function": {"name": "tide", "parameters": parameters}}]});
    let own = |schema: Value| json!({"tools": [{"name": "tide", "input_schema": schema}]});
    let format = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "sky", "schema": schema}}});
    let object = |name: &str, schema: Value| json!({"type": "object", "properties": {name: schema}});
    let one = object("a", json!({"type": "string"}));
    let other = object("b", json!({"type": "string"}));
    vec![
        case(Chat, "a tool without a schema, or `{}`", tool(json!({}))),
        case(
            Chat,
            "a tool's schema without `type`",
            tool(json!({"properties": {"port": {}}})),
        ),
        case(Chat, "a tool's schema of no object", tool(json!({"type": "string"}))),
        case(
            Chat,
            "alternatives at the top of a tool's schema",
            tool(json!({"anyOf": [one, other]})),
        ),
        case(
            Messages,
            "alternatives at the top of a tool's schema",
            own(json!({"anyOf": [one, other]})),
        ),
        case(Chat, "a property named `user:id`", tool(object("user:id", json!({})))),
        case(
            Chat,
            "`title` beside `$ref`",
            tool(
                json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "title": "A"}}, "$defs": {"A": {}}}),
            ),
        ),
        case(
            Chat,
            "a `$ref` that leads nowhere",
            tool(object("a", json!({"$ref": "https://example.com/a.json"}))),
        ),
        case(Chat, "an answer's schema that says nothing", format(json!({}))),
        case(
            Chat,
            "an answer's schema with limits",
            format(object("n", json!({"type": "integer", "minimum": 1}))),
        ),
        case(
            Chat,
            "an answer's schema that holds itself",
            format(object("a", json!({"$ref": "#"}))),
        ),
        case(
            Gemini,
            "an answer that is a list",
            json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}}}),
        ),
    ]
}
