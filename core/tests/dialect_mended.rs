//! Texts, media and results that one provider takes and another would refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value, // bodies are written where they are used
    missing_docs
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowsprit_core::dialect::{Dialect, RequestError};
use bowsprit_core::fault::Code;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi, OpenAiResponses as Responses};
use asking::{ask, target};

#[path = "shared/asking.rs"]
mod asking;

fn send_to(model: &str, from: Dialect, to: Dialect, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    ask(from, to, body, &target(model))
}

fn send(from: Dialect, to: Dialect, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    let model = match to {
        Anthropic => "claude-sonnet-4-5",
        Gemini => "gemini-2.5-flash",
        _ => "gpt-4.1",
    };
    send_to(model, from, to, body)
}

fn chat(messages: Value) -> Value {
    json!({"model": "m", "messages": messages})
}

fn said(role: &str, content: Value) -> Value {
    json!({"role": role, "content": content})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

// ------------------------------------------------------------------ white space

#[test]
fn white_space_goes_along_with_the_text_beside_it_and_is_left_out_alone() {
    let called = json!({"role": "assistant", "content": " ", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}}]});
    let (body, dropped) = send(
        OpenAi,
        Anthropic,
        &chat(json!([
            said("system", json!(" \n")),
            said("user", json!([text("\n"), text("hi"), text("\t")])),
            called,
            {"role": "tool", "tool_call_id": "c1", "content": "\u{a0} "},
        ])),
    )
    .unwrap();
    assert_eq!(body.get("system"), None);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [text("\nhi\t")]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "tide", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1"}]},
        ])
    );
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn a_turn_without_a_word_is_left_out_or_stands_as_one_without_text() {
    let conversation = |words: [&str; 3]| {
        let [first, then, last] = words;
        chat(json!([
            said("user", json!(first)),
            said("assistant", json!(then)),
            said("user", json!(last))
        ]))
    };
    let turns = |words| {
        let (body, dropped) = send(OpenAi, Anthropic, &conversation(words)).unwrap();
        let turns: Vec<String> = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|turn| {
                let texts = turn["content"].as_array().unwrap().iter();
                let texts: Vec<&str> = texts.map(|block| block["text"].as_str().unwrap()).collect();
                format!("{}:{}", turn["role"].as_str().unwrap(), texts.join("+"))
            })
            .collect();
        (turns, dropped)
    };
    let named = || vec!["messages".to_owned()];
    let own = |turns: &[&str]| turns.iter().map(|turn| (*turn).to_owned()).collect::<Vec<_>>();
    assert_eq!(turns(["a", " ", "b"]), (own(&["user:a+b"]), vec![]));
    assert_eq!(
        turns(["a", "b", "\n"]),
        (own(&["user:a", "assistant:b", "user:(no text)"]), named())
    );
    assert_eq!(
        turns(["", "b", "c"]),
        (own(&["user:(no text)", "assistant:b", "user:c"]), named())
    );
    assert_eq!(turns([" ", "", "\n"]), (own(&["user:(no text)"]), named()));
    let (body, _) = send(Anthropic, Gemini, &conversation(["", "b", ""])).unwrap();
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "(no text)"}]},
            {"role": "model", "parts": [{"text": "b"}]},
            {"role": "user", "parts": [{"text": "(no text)"}]},
        ])
    );
}

#[test]
fn a_system_prompt_alone_is_said_by_the_user_where_there_must_be_one() {
    let alone = chat(json!([said("system", json!("Tell a joke."))]));
    let (body, dropped) = send(OpenAi, Anthropic, &alone).unwrap();
    assert_eq!(
        (body.get("system"), &body["messages"]),
        (None, &json!([{"role": "user", "content": [text("Tell a joke.")]}]))
    );
    assert_eq!(dropped, ["messages"]);
    let (body, _) = send(OpenAi, Gemini, &alone).unwrap();
    assert_eq!(
        body["contents"],
        json!([{"role": "user", "parts": [{"text": "Tell a joke."}]}])
    );
    let developer = json!({"model": "m", "input": [{"role": "developer", "content": "Tell a joke."}]});
    let (body, dropped) = send(Responses, OpenAi, &developer).unwrap();
    assert_eq!((&body["messages"], dropped), (&alone["messages"], vec![]));
}

#[test]
fn a_begun_answer_ends_without_white_space_and_is_refused_where_none_is_taken() {
    let begun = |end: &str| {
        chat(json!([
            said("user", json!("x")),
            said("assistant", json!(format!("High tide is at{end}")))
        ]))
    };
    let (body, dropped) = send(OpenAi, Anthropic, &begun(" \n")).unwrap();
    assert_eq!(body["messages"][1]["content"], json!([text("High tide is at")]));
    assert_eq!(dropped, ["messages"]);
    let (_, dropped) = send(OpenAi, Anthropic, &begun("")).unwrap();
    assert_eq!(dropped, Vec::<String>::new());
    let error = send_to("claude-opus-4-6", OpenAi, Anthropic, &begun("")).unwrap_err();
    assert_eq!((error.code, error.path.as_str()), (Code::ValUnsupported, "messages"));
    let (body, _) = send(OpenAi, Gemini, &begun(" ")).unwrap();
    assert_eq!(body["contents"][1]["parts"][0]["text"], "High tide is at ");
}

#[test]
fn an_error_without_a_text_says_so_where_one_must_be_said() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"error": ""}}}]},
    ]});
    let (body, _) = send(Gemini, Anthropic, &body).unwrap();
    assert_eq!(body["messages"][2]["content"][0]["content"], json!([text("(no text)")]));
}

// ------------------------------------------------------------------ media

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0";
const WEBP: &[u8] = b"RIFF\x24\0\0\0WEBPVP8 ";
const GIF: &[u8] = b"GIF89a\x01\0\x01\0";
const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0";
const AVIF: &[u8] = b"\0\0\0\x18ftypavif\0\0\0\0";
const BMP: &[u8] = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0";
const TIFF: &[u8] = b"II*\0\x08\0\0\0";
const SVG: &[u8] = b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
const PDF: &[u8] = b"%PDF-1.7\n";

fn image(url: &str) -> Value {
    chat(json!([said(
        "user",
        json!([{"type": "image_url", "image_url": {"url": url}}])
    )]))
}

fn data(label: &str, bytes: &[u8]) -> Value {
    image(&format!("data:{label};base64,{}", STANDARD.encode(bytes)))
}

/// What kind of which name arrives, or why none does.
fn arrives(to: Dialect, body: &Value) -> Result<String, String> {
    match send(OpenAi, to, body) {
        Ok((body, _)) => {
            let name = match to {
                Anthropic => &body["messages"][0]["content"][0]["source"]["media_type"],
                _ => &body["contents"][0]["parts"][0]["inlineData"]["mimeType"],
            };
            Ok(name.as_str().unwrap().to_owned())
        }
        Err(error) => {
            assert_eq!(error.path, "messages[0].content[0].image_url.url");
            Err(error.code.to_string())
        }
    }
}

#[test]
fn a_picture_is_named_by_its_bytes_whatever_its_label_says() {
    for label in [
        "image/jpeg",
        "image/jpg",
        "IMAGE/JPG",
        "image/png; charset=binary",
        "application/octet-stream",
    ] {
        assert_eq!(arrives(Anthropic, &data(label, JPEG)).unwrap(), "image/jpeg", "{label}");
    }
    let kinds = [
        (PNG, "image/png"),
        (WEBP, "image/webp"),
        (GIF, "image/gif"),
        (PDF, "application/pdf"),
    ];
    for (bytes, name) in kinds {
        assert_eq!(arrives(Anthropic, &data("image/jpeg", bytes)).unwrap(), name);
    }
    assert_eq!(arrives(Gemini, &data("image/jpeg", HEIC)).unwrap(), "image/heic");
    assert_eq!(arrives(Gemini, &data("image/heif", HEIC)).unwrap(), "image/heif");
    let (body, dropped) = send(OpenAi, Anthropic, &data("image/jpg", JPEG)).unwrap();
    let block = json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": STANDARD.encode(JPEG)}});
    assert_eq!((&body["messages"][0]["content"][0], dropped), (&block, vec![]));
}

#[test]
fn a_kind_that_the_provider_does_not_take_is_refused_by_its_path() {
    let refused = Err("VAL_UNSUPPORTED".to_owned());
    for bytes in [HEIC, AVIF, BMP, TIFF, SVG] {
        assert_eq!(arrives(Anthropic, &data("image/png", bytes)), refused);
    }
    for bytes in [GIF, AVIF, BMP, TIFF, SVG] {
        assert_eq!(arrives(Gemini, &data("image/png", bytes)), refused);
    }
    for label in ["image/svg+xml", "image/x-icon", "application/zip", "video/mp4"] {
        assert_eq!(arrives(Anthropic, &data(label, b"ABC")), refused, "{label}");
    }
    let body = json!({"max_tokens": 9, "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "u1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u1", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": STANDARD.encode(BMP)}}]}]},
    ]});
    let error = send(Anthropic, OpenAi, &body).unwrap_err();
    assert_eq!(
        (error.code, error.path.as_str()),
        (Code::ValUnsupported, "messages[2].content[0].content[0].source")
    );
}

#[test]
fn base64_is_written_the_standard_way_or_refused() {
    let arrives = |data: &str| {
        let (body, _) = send(OpenAi, Anthropic, &image(data)).map_err(|error| (error.code, error.path))?;
        let source = &body["messages"][0]["content"][0]["source"];
        Ok::<_, (Code, String)>((
            source["media_type"].as_str().unwrap().to_owned(),
            source["data"].as_str().unwrap().to_owned(),
        ))
    };
    let whole = |data: &str| Ok(("image/jpeg".to_owned(), data.to_owned()));
    assert_eq!(
        arrives("data:image/jpeg;base64,/9j/ 4AAQ\r\nSkZJRgAB"),
        whole("/9j/4AAQSkZJRgAB")
    );
    assert_eq!(
        arrives("DATA:image/JPEG;BASE64,_9j_4AAQSkZJRgAB"),
        whole("/9j/4AAQSkZJRgAB")
    );
    assert_eq!(arrives("data:image/jpeg;name=a.jpg;base64,/9j/4A"), whole("/9j/4A=="));
    assert_eq!(arrives("data:image/jpeg;base64,%2F9j%2F4A%3D%3D"), whole("/9j/4A=="));
    assert_eq!(arrives("data:image/jpeg,%FF%D8%FF%E0"), whole("/9j/4A=="));
    for wrong in [
        "data:image/jpeg;base64,/9j/4",
        "data:image/jpeg;base64,/9j/*A",
        "data:image/jpeg;base64,",
        "data:image/jpeg",
        "data:image/png;base64,iV==BO==",
    ] {
        let path = "messages[0].content[0].image_url.url".to_owned();
        assert_eq!(arrives(wrong), Err((Code::ValField, path)), "{wrong}");
    }
}

#[test]
fn a_document_of_text_arrives_as_text() {
    let file = |label: &str, bytes: &[u8]| {
        let data = format!("data:{label};base64,{}", STANDARD.encode(bytes));
        chat(json!([said(
            "user",
            json!([{"type": "file", "file": {"filename": "a.txt", "file_data": data}}])
        )]))
    };
    for label in ["text/plain", "text/csv; charset=utf-8", "application/json"] {
        let (body, _) = send(OpenAi, Anthropic, &file(label, "Ahoy, ß".as_bytes())).unwrap();
        assert_eq!(body["messages"][0]["content"], json!([text("Ahoy, ß")]));
    }
    let error = send(OpenAi, Anthropic, &file("text/plain", b"\xff\xfe\x41")).unwrap_err();
    assert_eq!(
        (error.code, error.path.as_str()),
        (Code::ValUnsupported, "messages[0].content[0].file.file_data")
    );
    let gemini = json!({"contents": [{"parts": [{"inlineData": {"mimeType": "text/plain", "data": "QWhveQ"}}]}]});
    let (body, _) = send(Gemini, OpenAi, &gemini).unwrap();
    assert_eq!(body["messages"][0]["content"], "Ahoy");
}

// ------------------------------------------------------------------ results

fn result(to: Dialect, content: &str) -> Value {
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let body =
        chat(json!([said("user", json!("x")), call, {"role": "tool", "tool_call_id": "c1", "content": content}]));
    let (body, dropped) = send(OpenAi, to, &body).unwrap();
    assert_eq!(dropped, Vec::<String>::new());
    body["contents"][2]["parts"][0]["functionResponse"]["response"].clone()
}

#[test]
fn a_result_that_gemini_would_read_something_into_goes_as_it_is() {
    assert_eq!(result(Gemini, r#"{"a": {"b": [1]}}"#), json!({"a": {"b": [1]}}));
    assert_eq!(result(Gemini, "[1, 2]"), json!({"output": [1, 2]}));
    assert_eq!(result(Gemini, "7"), json!({"output": 7}));
    assert_eq!(result(Gemini, "plain"), json!({"output": "plain"}));
    for schema in [
        r##"{"items": [{"$ref": "#/$defs/A"}]}"##,
        r#"{"$ref": "photo.png"}"#,
        r##"[{"$ref": "#"}]"##,
    ] {
        assert_eq!(result(Gemini, schema), json!({"output": schema}));
    }
    assert_eq!(
        result(Gemini, r#"{"error": "none", "n": 1}"#),
        json!({"output": {"error": "none", "n": 1}})
    );
    assert_eq!(
        result(Gemini, r#"{"output": "x", "n": 1}"#),
        json!({"output": {"output": "x", "n": 1}})
    );
}

#[test]
fn files_within_a_result_of_gemini_go_along() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "see"}, "willContinue": false,
            "parts": [{"inlineData": {"mimeType": "image/jpg", "data": STANDARD.encode(PNG)}}]}}]},
    ]});
    let (body, dropped) = send(Gemini, Anthropic, &body).unwrap();
    let source = json!({"type": "base64", "media_type": "image/png", "data": STANDARD.encode(PNG)});
    assert_eq!(
        body["messages"][2]["content"][0]["content"],
        json!([text("see"), {"type": "image", "source": source}])
    );
    assert_eq!(dropped, ["contents[2].parts[0].functionResponse.willContinue"]);
}
