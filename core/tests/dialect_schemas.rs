//! Schemas of tools and answers that callers do send, as each provider gets them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{Dialect, RequestError, Target};
use bowsprit_core::fault::Code;
use bowsprit_crds::model_route::OnUnsupported;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi};
use asking::{ask, model, target};

#[path = "shared/asking.rs"]
mod asking;

fn send(from: Dialect, to: Dialect, body: &Value, drop: bool) -> Result<(Value, Vec<String>), RequestError> {
    let on_unsupported = drop.then_some(OnUnsupported::Drop);
    let target = Target {
        on_unsupported,
        ..target(model(to))
    };
    ask(from, to, body, &target)
}

fn with_tools(parameters: &[Value]) -> Value {
    let tools: Vec<Value> = parameters
        .iter()
        .enumerate()
        .map(|(n, parameters)| json!({"type": "function", "function": {"name": format!("t{n}"), "parameters": parameters}}))
        .collect();
    json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools})
}

fn tool(to: Dialect, parameters: Value) -> (Value, Vec<String>) {
    let (body, dropped) = match to {
        OpenAi => {
            let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
                "tools": [{"name": "t", "input_schema": parameters}]});
            send(Anthropic, OpenAi, &body, false).unwrap()
        }
        to => send(OpenAi, to, &with_tools(&[parameters]), false).unwrap(),
    };
    let place = match to {
        Anthropic => "/tools/0/input_schema",
        Gemini => "/tools/0/functionDeclarations/0/parametersJsonSchema",
        _ => "/tools/0/function/parameters",
    };
    (body.pointer(place).unwrap().clone(), dropped)
}

fn answer(to: Dialect, schema: &Value) -> Result<(Value, Vec<String>), RequestError> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}});
    let (body, dropped) = send(OpenAi, to, &body, false)?;
    let place = match to {
        Anthropic => "/output_config/format/schema",
        _ => "/generationConfig/responseJsonSchema",
    };
    Ok((body.pointer(place).unwrap().clone(), dropped))
}

#[test]
fn a_tool_that_says_nothing_of_its_arguments_takes_an_object() {
    let said = [
        json!({}),
        json!(null),
        json!(true),
        json!([]),
        json!({"type": null}),
        json!({"properties": []}),
    ];
    let (body, dropped) = send(OpenAi, Anthropic, &with_tools(&said), false).unwrap();
    for tool in body["tools"].as_array().unwrap() {
        assert_eq!(tool["input_schema"], json!({"type": "object", "properties": {}}));
    }
    assert_eq!(dropped, Vec::<String>::new());
    let (schema, _) = tool(Anthropic, json!({"properties": {"zone": {"type": "string"}}}));
    assert_eq!(
        schema,
        json!({"properties": {"zone": {"type": "string"}}, "type": "object"})
    );
    let (schema, dropped) = tool(OpenAi, json!({"type": ["object", "null"]}));
    assert_eq!(schema, json!({"type": "object", "properties": {}}));
    assert_eq!(dropped, ["tools[0].input_schema"]);
}

#[test]
fn arguments_that_are_no_object_are_refused_by_their_path_or_the_tool_left_out() {
    for parameters in [
        json!({"type": "array", "items": {}}),
        json!({"type": "string"}),
        json!({"anyOf": [{"type": "null"}]}),
    ] {
        let body = with_tools(&[json!({}), parameters]);
        let error = send(OpenAi, Anthropic, &body, false).unwrap_err();
        assert_eq!(error.code, Code::ValUnsupported);
        assert_eq!(error.path, "tools[1].function.parameters");
        let (body, dropped) = send(OpenAi, Anthropic, &body, true).unwrap();
        assert_eq!(
            (body["tools"].as_array().unwrap().len(), dropped),
            (1, vec![error.path])
        );
    }
    let error = send(OpenAi, Gemini, &with_tools(&[json!("x")]), false).unwrap_err();
    assert_eq!(
        (error.code, error.path.as_str()),
        (Code::ValField, "tools[0].function.parameters")
    );
}

#[test]
fn a_property_name_that_anthropic_refuses_is_refused_by_its_path() {
    let body = with_tools(&[json!({"type": "object", "properties": {"user:id": {}}})]);
    let error = send(OpenAi, Anthropic, &body, false).unwrap_err();
    assert_eq!(error.path, "tools[0].function.parameters.properties.user:id");
    assert!(send(OpenAi, Gemini, &body, false).is_ok());
}

#[test]
fn what_stands_beside_a_reference_goes_on_beside_a_choice_of_one() {
    let mast = json!({"type": "object", "properties": {"height": {"type": "number"}}});
    let parameters = json!({"type": "object", "$defs": {"Mast": mast}, "properties": {
        "told": {"$ref": "#/$defs/Mast", "description": "The main mast", "default": null},
        "titled": {"$ref": "#/$defs/Mast", "title": "Main", "description": "The main mast"},
    }});
    let (schema, dropped) = tool(Gemini, parameters.clone());
    assert_eq!(schema["properties"]["told"], parameters["properties"]["told"]);
    assert_eq!(
        schema["properties"]["titled"],
        json!({"title": "Main", "description": "The main mast", "anyOf": [{"$ref": "#/$defs/Mast"}]})
    );
    assert_eq!(dropped, Vec::<String>::new());
    let (schema, dropped) = answer(Gemini, &parameters).unwrap();
    assert_eq!(schema["properties"]["told"]["anyOf"], json!([{"$ref": "#/$defs/Mast"}]));
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn words_of_older_drafts_and_of_openapi_are_said_as_today() {
    let (schema, dropped) = tool(
        Gemini,
        json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "OBJECT",
            "definitions": {"A": {"type": "string"}},
            "properties": {
                "a": {"$ref": "#/definitions/A"},
                "b": {"type": "integer", "minimum": 0, "exclusiveMinimum": true, "required": true},
                "c": {"type": "array", "items": [{"type": "string"}], "additionalItems": false},
                "d": {"type": "string", "nullable": true, "enum": ["x"]},
                "e": {"const": "only"},
                "f": {"type": "array"},
            },
        }),
    );
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "$defs": {"A": {"type": "string"}},
            "properties": {
                "a": {"$ref": "#/$defs/A"},
                "b": {"type": "integer", "exclusiveMinimum": 0},
                "c": {"type": "array", "maxItems": 1, "prefixItems": [{"type": "string"}]},
                "d": {"type": ["string", "null"], "enum": ["x", null]},
                "e": {"enum": ["only"]},
                "f": {"type": "array", "items": {}},
            },
            "required": ["b"],
        })
    );
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn alternatives_at_the_top_become_one_object_that_allows_more() {
    let by_name = json!({"type": "object", "properties": {"name": {"type": "string"}, "deep": {"type": "boolean"}}, "required": ["name", "deep"]});
    let by_id = json!({"type": "object", "properties": {"id": {"type": "integer"}, "deep": {"type": "boolean"}}, "required": ["id", "deep"]});
    for to in [Anthropic, OpenAi] {
        let (schema, dropped) = tool(to, json!({"anyOf": [by_name, by_id]}));
        assert_eq!(
            schema,
            json!({"properties": {"name": {"type": "string"}, "deep": {"type": "boolean"}, "id": {"type": "integer"}},
                "required": ["deep"], "type": "object"})
        );
        assert_eq!(dropped.len(), 1);
    }
    let (schema, dropped) = tool(
        Anthropic,
        json!({"$defs": {"A": by_name}, "allOf": [{"$ref": "#/$defs/A"}, by_id]}),
    );
    assert_eq!(schema["required"], json!(["name", "deep", "id"]));
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn a_reference_that_leads_nowhere_is_left_out_and_named() {
    let (schema, dropped) = tool(
        Anthropic,
        json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}, "b": {"$ref": "#/$defs/None"}}}),
    );
    assert_eq!(schema["properties"], json!({"a": {}, "b": {}}));
    assert_eq!(
        dropped,
        [
            "tools[0].function.parameters.properties.a.$ref",
            "tools[0].function.parameters.properties.b.$ref"
        ]
    );
}

#[test]
fn what_anthropic_does_not_enforce_in_an_answer_is_told_to_the_model_instead() {
    let (schema, dropped) = answer(
        Anthropic,
        &json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many"}}, "required": ["n"]}),
    )
    .unwrap();
    assert_eq!(
        schema["properties"]["n"],
        json!({"type": "integer", "description": "How many\n\n{minimum: 1}"})
    );
    assert_eq!(dropped, ["response_format.json_schema.schema.properties.n.minimum"]);
}

#[test]
fn a_schema_that_holds_itself_is_refused_where_it_cannot_be_said() {
    let node = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "name": {"type": "string"}}, "required": ["next", "name"]});
    let schema = json!({"type": "object", "properties": {"first": {"$ref": "#/$defs/Node"}}, "required": ["first"], "$defs": {"Node": node}});
    let error = answer(Anthropic, &schema).unwrap_err();
    assert_eq!(
        (error.code, error.path.as_str()),
        (Code::ValUnsupported, "response_format.json_schema.schema")
    );
    let (schema, dropped) = answer(Gemini, &schema).unwrap();
    assert_eq!(
        (&schema["$defs"]["Node"]["required"], &schema["required"]),
        (&json!(["name"]), &json!(["first"]))
    );
    assert_eq!(dropped, ["response_format.json_schema.schema.$defs.Node.required"]);
}

#[test]
fn a_strict_schema_that_openai_would_refuse_is_not_called_strict() {
    let ask = |schema: Value| {
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}}});
        let (body, dropped) = send(Anthropic, OpenAi, &body, false).unwrap();
        (body["response_format"]["json_schema"]["strict"].clone(), dropped)
    };
    let closed = |required: Value| json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": required, "additionalProperties": false});
    assert_eq!(ask(closed(json!(["a"]))), (json!(true), vec![]));
    let path = "output_config.format.schema".to_owned();
    assert_eq!(ask(closed(json!([]))), (json!(null), vec![path.clone()]));
    assert_eq!(
        ask(json!({"type": "object", "properties": {}})),
        (json!(null), vec![path])
    );
    let list = json!({"contents": [{"parts": [{"text": "x"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}}});
    let error = send(Gemini, OpenAi, &list, false).unwrap_err();
    assert_eq!(
        (error.code, error.path.as_str()),
        (Code::ValUnsupported, "generationConfig.responseSchema")
    );
}
