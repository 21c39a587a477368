//! Embeddings and token counts.

use bowsprit_core::dialect::embeddings::{self, EmbeddingsApi};
use bowsprit_core::dialect::{Dialect, without_allowed_tools};
use bowsprit_core::platform::{self, Endpoint};
use bowsprit_crds::ProviderKind;
use serde_json::{Value, json};

use super::{diff, table};

use Dialect::{AnthropicMessages as Messages, Gemini, OpenAiChat as Chat};

fn embedding(from: EmbeddingsApi, to: Dialect, usual: &Value, body: &Value) -> String {
    let Some(form) = from.at(to) else {
        return "passed over: has no embeddings".to_owned();
    };
    if form == from {
        return "as it came".to_owned();
    }
    let say = |body: &Value| {
        let divided = embeddings::translate_request(from, form, body.to_string().as_bytes(), "m", None);
        divided.map(|divided| (divided.first, divided.more.len()))
    };
    let usual: Value = serde_json::from_slice(&say(usual).unwrap().0.body).unwrap();
    match say(body) {
        Err(_) => "refused".to_owned(),
        Ok((_, more)) if more > 0 => format!("carried: in {} requests", more + 1),
        Ok((sent, _)) => {
            let found = diff::added(&usual, &serde_json::from_slice(&sent.body).unwrap());
            match (found.is_empty(), sent.dropped.is_empty()) {
                (false, true) => format!("carried: {}", diff::tell(&found)),
                (false, false) => format!("approximated: {}", diff::tell(&found)),
                (true, false) => "dropped".to_owned(),
                (true, true) => "carried: in the answer".to_owned(),
            }
        }
    }
}

pub(super) fn write(page: &mut String) {
    page.push_str(
        "\n## Embeddings\n`embedContent` and `batchEmbedContents` alike. OpenAI callers get vectors of length 1.\n\n",
    );
    let openai = json!({"model": "m", "input": "x"});
    let gemini = json!({"content": {"parts": [{"text": "x"}]}});
    let part = |name: &str, value: Value| {
        let mut body = gemini.clone();
        body[name] = value;
        body
    };
    let field = |name: &str, value: Value| {
        let mut body = openai.clone();
        body[name] = value;
        body
    };
    let cases = [
        (
            EmbeddingsApi::OpenAi,
            "`input`, several texts",
            field("input", json!(["x", "y"])),
        ),
        (
            EmbeddingsApi::OpenAi,
            "`input`, 205 texts",
            field("input", json!(vec!["x"; 205])),
        ),
        (
            EmbeddingsApi::OpenAi,
            "`input`, more than 10,000 texts",
            field("input", json!(vec!["x"; 10_001])),
        ),
        (EmbeddingsApi::OpenAi, "`input`, tokens", field("input", json!([1, 2]))),
        (EmbeddingsApi::OpenAi, "`dimensions`", field("dimensions", json!(256))),
        (
            EmbeddingsApi::OpenAi,
            "`encoding_format: base64`",
            field("encoding_format", json!("base64")),
        ),
        (EmbeddingsApi::OpenAi, "`user`", field("user", json!("u-1"))),
        (
            EmbeddingsApi::One,
            "`outputDimensionality`",
            part("outputDimensionality", json!(256)),
        ),
        (
            EmbeddingsApi::One,
            "`taskType`",
            part("taskType", json!("RETRIEVAL_QUERY")),
        ),
        (EmbeddingsApi::One, "`title`", part("title", json!("Tides"))),
        (
            EmbeddingsApi::One,
            "several parts",
            json!({"content": {"parts": [{"text": "x"}, {"text": "y"}]}}),
        ),
        (
            EmbeddingsApi::One,
            "a part that is no text",
            json!({"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}),
        ),
    ];
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|(form, what, body)| {
            let (caller, usual) = if *form == EmbeddingsApi::OpenAi {
                ("OpenAI", &openai)
            } else {
                ("Gemini", &gemini)
            };
            let mut row = vec![caller.to_owned(), (*what).to_owned()];
            row.extend([Chat, Messages, Gemini].map(|to| embedding(*form, to, usual, body)));
            row
        })
        .collect();
    table(page, &["Caller", "Field", "OpenAI", "Anthropic", "Gemini"], &rows);

    page.push_str(
        "\n## A choice among tools, at OpenAI-compatible servers\nMost of them do not know `allowed_tools`, which is younger than they are. \
         So they get the same choice in older words, whatever the caller's API is; OpenAI itself gets `allowed_tools`. Of three tools \
         `a`, `b` and `c`:\n\n",
    );
    let rows: Vec<Vec<String>> = [
        ("`a` must be called", "required", &["a"][..]),
        ("`a` may be called", "auto", &["a"][..]),
        ("one of `a` and `b` must be called", "required", &["a", "b"][..]),
        ("`a` and `b` may be called", "auto", &["a", "b"][..]),
    ]
    .iter()
    .map(|(what, mode, names)| {
        let (choice, tools) = compatible_choice(mode, names);
        vec![(*what).to_owned(), format!("`{choice}`"), tools]
    })
    .collect();
    table(page, &["The caller's choice", "`tool_choice`", "`tools`"], &rows);

    page.push_str(
        "\n## Token counts\nWhat is counted is the conversation as it would be translated: system prompt, turns and tools. The path that a \
         provider is asked at:\n\n",
    );
    let rows: Vec<Vec<String>> = [
        ("OpenAI", ProviderKind::OpenAI),
        ("OpenAI-compatible servers", ProviderKind::OpenAICompatible),
        ("Anthropic", ProviderKind::Anthropic),
        ("Gemini", ProviderKind::Gemini),
    ]
    .iter()
    .map(|(provider, kind)| {
        let platform = platform::of(*kind);
        let wire = platform.counts;
        let path = wire.and_then(|wire| platform.path(Endpoint::Count, wire, "MODEL"));
        vec![
            (*provider).to_owned(),
            path.map_or_else(|| "refused: has no token count".to_owned(), |path| format!("`{path}`")),
        ]
    })
    .collect();
    table(page, &["Provider", "Asked at"], &rows);
}

/// What an OpenAI-compatible server gets of a choice among three tools: the choice, and which tools.
fn compatible_choice(mode: &str, names: &[&str]) -> (Value, String) {
    let tool = |name: &&str| json!({"type": "function", "function": {"name": name}});
    let allowed: Vec<Value> = names.iter().map(tool).collect();
    let tools: Vec<Value> = ["a", "b", "c"].iter().map(tool).collect();
    let body = json!({
        "tools": tools,
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}},
    });
    let sent = without_allowed_tools(&body.to_string().into());
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let tools = sent["tools"].as_array().unwrap().iter();
    let names: Vec<String> = tools
        .map(|tool| format!("`{}`", tool["function"]["name"].as_str().unwrap()))
        .collect();
    (sent["tool_choice"].clone(), names.join(", "))
}
