//! What one provider takes and another would refuse.

use serde_json::{Value, json};

use super::{Case, Chat, Gemini, Group, Messages, Responses};
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
        cases: schemas().into_iter().chain(texts()).chain(media()).collect(),
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

fn texts() -> Vec<Case> {
    let user = |text: &str| json!({"role": "user", "content": text});
    let model = |text: &str| json!({"role": "assistant", "content": text});
    let messages = |messages: Value| json!({ "messages": messages });
    vec![
        Case {
            is_default: true,
            ..case(
                Chat,
                "an empty system message",
                messages(json!([{"role": "system", "content": ""}, user("x")])),
            )
        },
        case(
            Chat,
            "text of white space beside another",
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": "\n"}, {"type": "text", "text": "x"}]}]),
            ),
        ),
        case(
            Chat,
            "a last message of white space",
            messages(json!([user("x"), model("y"), user("\n")])),
        ),
        case(
            Chat,
            "a first message of the assistant",
            messages(json!([model("y"), user("x")])),
        ),
        case(
            Chat,
            "a system message alone",
            messages(json!([{"role": "system", "content": "Sing."}])),
        ),
        case(
            Responses,
            "a developer message alone",
            json!({"input": [{"role": "developer", "content": "Sing."}]}),
        ),
        case(
            Chat,
            "a begun answer that ends in white space",
            messages(json!([user("x"), model("y ")])),
        ),
    ]
}

fn media() -> Vec<Case> {
    let image = |url: &str| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]}]});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = |text: &str| json!({"messages": [{"role": "user", "content": "x"}, call, {"role": "tool", "tool_call_id": "c", "content": text}]});
    vec![
        case(Chat, "`image/jpg`", image("data:image/jpg;base64,/9j/4AAQ")),
        case(
            Chat,
            "a PNG that is called `image/jpeg`",
            image("data:image/jpeg;base64,iVBORw0KGgo="),
        ),
        case(
            Chat,
            "base64 with URL-safe letters and no padding",
            image("data:image/jpeg;base64,_9j_4A"),
        ),
        case(Chat, "a data URL without base64", image("data:image/jpeg,%FF%D8%FF%E0")),
        case(Chat, "GIF", image("data:image/gif;base64,R0lGODlh")),
        case(Chat, "HEIC", image("data:image/heic;base64,AAAAGGZ0eXBoZWlj")),
        case(
            Chat,
            "SVG, BMP, TIFF, AVIF",
            image("data:image/svg+xml;base64,PHN2Zy8+"),
        ),
        case(
            Chat,
            "a result that is a schema with `$ref`",
            result("{\"$ref\":\"#/$defs/A\"}"),
        ),
        case(Chat, "a result with a key `error`", result("{\"error\":null,\"n\":1}")),
    ]
}
