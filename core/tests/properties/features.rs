//! What one pass over a body says of its features is what reading all of it says; and of a body with members given twice, or in
//! two spellings, never less than whoever reads it may make of it.

use bowsprit_core::dialect::{Dialect, Features, features, peek};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::seeded::holds;

/// A piece of a request, and what it adds to the features.
#[derive(Clone, Debug)]
struct Piece {
    part: Value,
    adds: fn(&mut Features),
}

fn piece(part: Value, adds: fn(&mut Features)) -> Piece {
    Piece { part, adds }
}

fn nothing(_: &mut Features) {}

fn images(features: &mut Features) {
    features.images = true;
}

fn files(features: &mut Features) {
    features.files = true;
}

fn audio(features: &mut Features) {
    features.audio = true;
}

/// Parts of a conversation, some of which only look as if they held something.
fn parts(dialect: Dialect) -> Vec<Piece> {
    let data = "data:image/png;base64,iVBORw0KGgo=";
    match dialect {
        Dialect::OpenAiChat => vec![
            piece(
                json!({"type": "text", "text": "\"type\":\"image_url\", tools, n"}),
                nothing,
            ),
            piece(json!({"type": "image_url", "image_url": {"url": data}}), images),
            piece(
                json!({"input_audio": {"data": "AA==", "format": "wav"}, "type": "input_audio"}),
                audio,
            ),
            piece(
                json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}),
                files,
            ),
            piece(json!({"type": "file", "file": {"file_id": "file-1"}}), |features| {
                files(features);
                features.stored_input = true;
            }),
        ],
        Dialect::AnthropicMessages => vec![
            piece(
                json!({"type": "text", "text": "image", "cache_control": {"type": "ephemeral"}}),
                nothing,
            ),
            piece(
                json!({"type": "tool_use", "id": "t", "name": "n", "input": {"type": "image", "content": [{"type": "document"}]}}),
                nothing,
            ),
            piece(
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
                images,
            ),
            piece(
                json!({"source": {"type": "url", "url": "https://x.example/a"}, "type": "image"}),
                images,
            ),
            piece(
                json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}}),
                files,
            ),
            piece(
                json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "url", "url": "https://x.example"}}]}),
                images,
            ),
            piece(
                json!({"type": "document", "source": {"type": "file", "file_id": "f"}}),
                |features| {
                    files(features);
                    features.stored_input = true;
                },
            ),
        ],
        Dialect::Gemini => vec![
            piece(json!({"text": "inlineData mimeType image/png"}), nothing),
            piece(
                json!({"functionCall": {"name": "f", "args": {"inlineData": {"mimeType": "image/png"}}}}),
                nothing,
            ),
            piece(json!({"inlineData": {"data": "AA==", "mimeType": "image/png"}}), images),
            piece(
                json!({"inline_data": {"mime_type": "application/pdf", "data": "AA=="}}),
                files,
            ),
            piece(json!({"inlineData": {"mimeType": "AUDIO/wav", "data": "AA=="}}), audio),
            piece(
                json!({"inlineData": {"mimeType": "video/mp4", "data": "AA=="}}),
                |features| features.video = true,
            ),
            piece(
                json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x.example"}}),
                |features| {
                    images(features);
                    features.stored_input = true;
                },
            ),
            piece(
                json!({"functionResponse": {"name": "f", "response": {}, "parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}),
                images,
            ),
        ],
        Dialect::OpenAiResponses => vec![
            piece(json!({"type": "input_text", "text": "input_image"}), nothing),
            piece(json!({"type": "input_image", "image_url": data}), images),
            piece(
                json!({"type": "input_file", "file_url": "https://x.example/a.pdf"}),
                files,
            ),
            piece(json!({"file_id": "f", "type": "input_file"}), |features| {
                files(features);
                features.stored_input = true;
            }),
        ],
    }
}

/// Members of the request itself.
fn members(dialect: Dialect) -> Vec<Piece> {
    fn structured(features: &mut Features) {
        features.structured_output = true;
    }
    fn thinking(features: &mut Features) {
        features.thinking = true;
    }
    fn tools(features: &mut Features) {
        features.tools = true;
    }
    fn search(features: &mut Features) {
        features.provider_tools = true;
        features.web_search = true;
    }
    fn code(features: &mut Features) {
        features.provider_tools = true;
        features.code_execution = true;
    }
    let warm = |features: &mut Features| features.temperature = Some(0.5);
    match dialect {
        Dialect::OpenAiChat => vec![
            piece(
                json!({"tools": [], "response_format": {"type": "text"}, "reasoning_effort": null}),
                nothing,
            ),
            piece(
                json!({"tools": [{"type": "function", "function": {"name": "image_url", "parameters": {"type": "object"}}}]}),
                tools,
            ),
            piece(json!({"web_search_options": {}}), search),
            piece(json!({"search_parameters": {"mode": "off", "sources": []}}), nothing),
            piece(json!({"search_parameters": {"mode": "auto"}}), search),
            piece(json!({"plugins": [{"id": "web", "enabled": false}]}), nothing),
            piece(json!({"plugins": [{"id": "web", "max_results": 3}]}), search),
            piece(
                json!({"plugins": [{"id": "file-parser", "pdf": {"engine": "native"}}]}),
                |features| {
                    files(features);
                    features.provider_tools = true;
                },
            ),
            piece(
                json!({"plugins": [{"id": "response-healing"}, {"id": "moderation"}]}),
                |features| features.provider_tools = true,
            ),
            piece(json!({"response_format": {"type": "json_object"}}), structured),
            piece(json!({"reasoning_effort": "low"}), thinking),
            piece(json!({"n": 3}), |features| features.choices = 3),
            piece(json!({"temperature": 0.5}), warm),
            piece(
                json!({"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}),
                audio,
            ),
            piece(json!({"store": true}), |features| features.stored_output = true),
        ],
        Dialect::AnthropicMessages => vec![
            piece(
                json!({"tools": [], "thinking": {"type": "disabled"}, "container": null}),
                nothing,
            ),
            piece(
                json!({"tools": [{"name": "a", "input_schema": {"type": "object", "properties": {"type": {"const": "web_search"}}}}]}),
                tools,
            ),
            piece(
                json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
                search,
            ),
            piece(
                json!({"tools": [{"type": "code_execution_20250522", "name": "code_execution"}]}),
                code,
            ),
            piece(json!({"mcp_servers": [{"type": "url"}]}), |features| {
                features.provider_tools = true;
            }),
            piece(
                json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
                thinking,
            ),
            piece(
                json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
                structured,
            ),
            piece(json!({"temperature": 0.5}), warm),
        ],
        Dialect::Gemini => vec![
            piece(
                json!({"tools": [{"functionDeclarations": []}], "generationConfig": {"responseMimeType": "text/plain"}}),
                nothing,
            ),
            piece(json!({"tools": [{"function_declarations": [{"name": "f"}]}]}), tools),
            piece(json!({"tools": [{"googleSearch": {}}]}), search),
            piece(json!({"tools": [{"code_execution": {}}]}), code),
            piece(
                json!({"generationConfig": {"responseMimeType": "application/json", "temperature": 0.5}}),
                |features| {
                    structured(features);
                    features.temperature = Some(0.5);
                },
            ),
            piece(json!({"generation_config": {"candidate_count": 2}}), |features| {
                features.choices = 2;
            }),
            piece(
                json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
                nothing,
            ),
            piece(
                json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 9}}}),
                thinking,
            ),
            piece(json!({"cachedContent": "cachedContents/a"}), |features| {
                features.stored_input = true;
            }),
            piece(
                json!({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}),
                images,
            ),
        ],
        Dialect::OpenAiResponses => vec![
            piece(json!({"tools": [], "text": {"format": {"type": "text"}}}), nothing),
            piece(
                json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]}),
                tools,
            ),
            piece(json!({"tools": [{"type": "web_search_preview"}]}), search),
            piece(json!({"tools": [{"type": "code_interpreter"}]}), code),
            piece(
                json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "text"}}}}),
                structured,
            ),
            piece(json!({"reasoning": {"effort": "high"}}), thinking),
            piece(json!({"temperature": 0.5}), warm),
            piece(json!({"previous_response_id": "r"}), |features| {
                features.stored_input = true;
            }),
        ],
    }
}

/// A request of these pieces. Each member of a name once: later ones of the same name are left out.
fn request(dialect: Dialect, parts: &[Piece], members: &[Piece], stores: bool) -> (Map<String, Value>, Features) {
    let mut told = Features::default();
    let mut body = Map::new();
    for member in members {
        let member_of = member.part.as_object().unwrap();
        let spelled = |name: &str| name.replace('_', "").to_lowercase();
        if member_of
            .keys()
            .all(|name| body.keys().all(|known: &String| spelled(known) != spelled(name)))
        {
            body.extend(member_of.clone());
            (member.adds)(&mut told);
        }
    }
    let content: Vec<Value> = parts.iter().map(|piece| piece.part.clone()).collect();
    for piece in parts {
        (piece.adds)(&mut told);
    }
    let (name, value) = match dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages => ("messages", json!([{"role": "user", "content": content}])),
        Dialect::Gemini => ("contents", json!([{"role": "user", "parts": content}])),
        Dialect::OpenAiResponses => {
            body.insert("store".into(), json!(stores));
            told.stored_output = stores;
            ("input", json!([{"role": "user", "content": content}]))
        }
    };
    body.insert(name.into(), value);
    body.insert("model".into(), json!("m"));
    (body, told)
}

fn asked() -> impl Strategy<Value = (Dialect, Vec<Piece>, Vec<Piece>, bool)> {
    prop::sample::select(Dialect::ALL.to_vec()).prop_flat_map(|dialect| {
        (
            Just(dialect),
            prop::sample::subsequence(parts(dialect), 0..=3),
            prop::sample::subsequence(members(dialect), 0..=4).prop_shuffle(),
            any::<bool>(),
        )
    })
}

#[test]
fn one_pass_says_what_reading_all_of_it_says() {
    holds("features", asked(), |(dialect, parts, members, stores)| {
        let (body, told) = request(dialect, &parts, &members, stores);
        let text = serde_json::to_string(&body).unwrap();
        prop_assert_eq!(
            features(dialect, text.as_bytes()).unwrap(),
            told,
            "{} {}",
            dialect,
            text
        );
        prop_assert!(peek(dialect, text.as_bytes()).is_ok());
        // Escapes are no way around it, nor is white space.
        let escaped = text
            .replace("\"type\"", "\"\\u0074ype\"")
            .replace("image", "\\u0069mage")
            .replace("\":", "\" : ");
        prop_assert_eq!(
            features(dialect, escaped.as_bytes()).unwrap(),
            told,
            "{} {}",
            dialect,
            escaped
        );
        Ok(())
    });
}

/// Whether everything that the first has the second has too.
fn is_within(less: &Features, more: &Features) -> bool {
    let flags = |features: &Features| {
        [
            features.tools,
            features.provider_tools,
            features.web_search,
            features.code_execution,
            features.images,
            features.audio,
            features.video,
            features.files,
            features.structured_output,
            features.thinking,
            features.stored_input,
        ]
    };
    flags(less).iter().zip(flags(more)).all(|(less, more)| !less || more)
}

#[test]
fn what_is_given_twice_counts_both_times() {
    holds(
        "features twice",
        (asked(), asked()),
        |((dialect, parts, members, _), (_, _, _, _))| {
            let (with, told) = request(dialect, &parts, &members, false);
            let (without, _) = request(dialect, &[], &[], false);
            // A body whose members all stand there once more, empty: some servers take the first of two, and some the last.
            let inside = |body: &Map<String, Value>| {
                let text = serde_json::to_string(body).unwrap();
                text[1..text.len() - 1].to_owned()
            };
            for (first, last) in [(&with, &without), (&without, &with)] {
                let text = format!("{{{},{}}}", inside(first), inside(last));
                if let Ok(found) = features(dialect, text.as_bytes()) {
                    prop_assert!(is_within(&told, &found), "{} {} {:?}", dialect, text, found);
                }
            }
            Ok(())
        },
    );
}

#[test]
fn only_what_says_so_plainly_searches_nothing() {
    let searches = |body: &str| features(Dialect::OpenAiChat, body.as_bytes()).unwrap().web_search;
    for body in [
        r#"{"search_parameters":{}}"#,
        r#"{"search_parameters":{"mode":"off","mode":"on"}}"#,
        r#"{"search_parameters":{"mode":"on","mode":"off"}}"#,
        r#"{"search_parameters":{"mode":"off"},"search_parameters":{"mode":"on"}}"#,
        r#"{"search_parameters":{"mode":null}}"#,
        r#"{"search_parameters":"off"}"#,
        r#"{"plugins":[{}]}"#,
        r#"{"plugins":["file-parser"]}"#,
        r#"{"plugins":[{"id":"file-parser"},{"id":"of tomorrow"}]}"#,
        r#"{"plugins":[{"id":"file-parser","id":"web"}]}"#,
        r#"{"plugins":[{"id":"web","id":"file-parser"}]}"#,
        r#"{"plugins":[{"id":"web","enabled":false,"enabled":true}]}"#,
        r#"{"plugins":{"id":"file-parser"}}"#,
        r#"{"plugins":[{"id":"\u0077eb"}]}"#,
        r#"{"enable_search":true}"#,
    ] {
        assert!(searches(body), "{body}");
    }
    for body in [
        r#"{"search_parameters":null,"plugins":[],"enable_search":false}"#,
        r#"{"search_parameters":{"mode":"\u006fff"}}"#,
        r#"{"plugins":[null,{"id":"context-compression"},{"id":"web","enabled":false}]}"#,
    ] {
        assert!(!searches(body), "{body}");
    }
    for (body, name) in [
        (r#"{"search_parameters":{"mode":"off","Mode":"on"}}"#, "Mode"),
        (r#"{"plugins":[{"id":"file-parser","Id":"web"}]}"#, "Id"),
    ] {
        let error = features(Dialect::OpenAiChat, body.as_bytes()).unwrap_err();
        assert_eq!(error.path, name, "{body}");
    }
}

#[test]
fn what_must_be_a_number_is_one_and_is_given_once() {
    for (dialect, body, path) in [
        (Dialect::OpenAiChat, r#"{"n":"2"}"#, "n"),
        (Dialect::OpenAiChat, r#"{"n":1,"n":2}"#, "n"),
        (Dialect::OpenAiChat, r#"{"n":1.5}"#, "n"),
        (Dialect::OpenAiChat, r#"{"n":-1}"#, "n"),
        (
            Dialect::AnthropicMessages,
            r#"{"temperature":0,"temperature":2}"#,
            "temperature",
        ),
        (Dialect::OpenAiResponses, r#"{"temperature":[2]}"#, "temperature"),
        (
            Dialect::Gemini,
            r#"{"generationConfig":{"candidateCount":1},"generation_config":{"candidate_count":9}}"#,
            "generationConfig.candidateCount",
        ),
    ] {
        assert_eq!(features(dialect, body.as_bytes()).unwrap_err().path, path, "{body}");
    }
    for body in ["", "{", "[", r#"{"messages":[}"#, "{} {}"] {
        assert!(features(Dialect::OpenAiChat, body.as_bytes()).is_err(), "{body}");
    }
    let none = features(Dialect::OpenAiChat, br#"{"n":null,"temperature":null}"#).unwrap();
    assert_eq!(none, Features::default());
}

#[test]
fn what_is_written_in_other_letters_is_refused_wherever_something_goes_by_it() {
    for (dialect, body, name) in [
        (Dialect::OpenAiChat, r#"{"Tools":[{"type":"function"}]}"#, "Tools"),
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"Content":[{"type":"image_url"}]}]}"#,
            "Content",
        ),
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"content":[{"Image_URL":{}}]}]}"#,
            "Image_URL",
        ),
        (Dialect::OpenAiChat, r#"{"tools":[{"Type":"web_search"}]}"#, "Type"),
        (
            Dialect::OpenAiChat,
            r#"{"temperature":0,"Temperature":2}"#,
            "Temperature",
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"messages":[{"content":[{"Source":{"media_type":"image/png"}}]}]}"#,
            "Source",
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"MCP_servers":[{"name":"n"}]}"#,
            "MCP_servers",
        ),
        (
            Dialect::Gemini,
            r#"{"generationConfig":{"candidatecount":3}}"#,
            "candidatecount",
        ),
        (
            Dialect::Gemini,
            r#"{"contents":[{"parts":[{"InlineData":{}}]}]}"#,
            "InlineData",
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"input":[{"type":"message","content":[{"type":"input_text","File_ID":"f"}]}]}"#,
            "File_ID",
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"Reasoning":{"effort":"high"}}"#,
            "Reasoning",
        ),
    ] {
        let error = features(dialect, body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.path.as_str()),
            ("VAL_FIELD", name),
            "{dialect} {body}"
        );
    }
    // What is the caller's to name is none of these.
    for (dialect, body) in [
        (
            Dialect::OpenAiChat,
            r#"{"metadata":{"Tools":1},"tools":[{"type":"function","function":{"parameters":{"Type":"object"}}}]}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"Content":[],"Source":{}}}]}]}"#,
        ),
        (
            Dialect::Gemini,
            r#"{"contents":[{"parts":[{"functionResponse":{"response":{"Parts":[]}}}]}]}"#,
        ),
    ] {
        features(dialect, body.as_bytes()).unwrap();
    }
}
