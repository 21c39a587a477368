//! Single parameters where the dialects differ, and what a route that drops unsupported fields does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{AnswerContext, Dialect, RequestError, Stream, Target, translate_response};
use bowsprit_core::fault::Code;
use bowsprit_crds::model_route::OnUnsupported;
use bytes::{Bytes, BytesMut};
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

fn refused(from: Dialect, to: Dialect, body: &Value) -> String {
    let error = send(from, to, body, false).expect_err("must be refused");
    assert_eq!(error.code, Code::ValUnsupported);
    error.path
}

fn openai(extra: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn gemini(config: &Value) -> Value {
    json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": config})
}

#[test]
fn more_stop_sequences_than_the_provider_takes_are_refused_or_cut() {
    let six = json!(["a", "b", "c", "d", "e", "f"]);
    let caller =
        json!({"model": "m", "max_tokens": 5, "stop_sequences": six, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(refused(Anthropic, OpenAi, &caller), "stop_sequences");
    assert_eq!(refused(Anthropic, Gemini, &caller), "stop_sequences");
    let (sent, dropped) = send(Anthropic, OpenAi, &caller, true).unwrap();
    assert_eq!(
        (&sent["stop"], dropped),
        (&json!(["a", "b", "c", "d"]), vec!["stop_sequences".to_owned()])
    );
    let (sent, _) = send(Anthropic, Gemini, &caller, true).unwrap();
    assert_eq!(
        sent["generationConfig"]["stopSequences"],
        json!(["a", "b", "c", "d", "e"])
    );
    let lines = openai(&json!({"stop": ["\n", "END"]}));
    assert_eq!(refused(OpenAi, Anthropic, &lines), "stop");
    assert_eq!(
        send(OpenAi, Anthropic, &lines, true).unwrap().0["stop_sequences"],
        json!(["END"])
    );
    assert_eq!(
        send(OpenAi, Gemini, &lines, false).unwrap().0["generationConfig"]["stopSequences"],
        lines["stop"]
    );
}

#[test]
fn a_seed_fits_geminis_32_bits() {
    let ask = |seed: i64| {
        let (sent, dropped) = send(OpenAi, Gemini, &openai(&json!({"seed": seed})), false).unwrap();
        (sent["generationConfig"]["seed"].clone(), dropped.len())
    };
    assert_eq!(ask(7), (json!(7), 0));
    assert_eq!(ask((1 << 40) + 5), (json!(5), 1));
    assert_eq!(
        send(Gemini, OpenAi, &gemini(&json!({"seed": 7})), false).unwrap().0["seed"],
        7
    );
}

fn openai_logprobs() -> Value {
    json!({"content": [
        {"token": "A", "logprob": -0.25, "bytes": [65], "top_logprobs": [{"token": "A", "logprob": -0.25, "bytes": [65]}, {"token": "é", "logprob": -2.5, "bytes": [195, 169]}]},
        {"token": "hoy", "logprob": -0.5, "bytes": [104, 111, 121], "top_logprobs": []},
    ], "refusal": null})
}

fn gemini_logprobs() -> Value {
    json!({
        "topCandidates": [{"candidates": [{"token": "A", "logProbability": -0.25}, {"token": "é", "logProbability": -2.5}]}, {"candidates": []}],
        "chosenCandidates": [{"token": "A", "logProbability": -0.25}, {"token": "hoy", "logProbability": -0.5}],
    })
}

#[test]
fn log_probabilities_go_between_openai_and_gemini_and_nowhere_else() {
    let asked = openai(&json!({"logprobs": true, "top_logprobs": 2}));
    let (sent, dropped) = send(OpenAi, Gemini, &asked, false).unwrap();
    let config = &sent["generationConfig"];
    assert_eq!(
        (&config["responseLogprobs"], &config["logprobs"], dropped.len()),
        (&json!(true), &json!(2), 0)
    );
    let (sent, _) = send(
        Gemini,
        OpenAi,
        &gemini(&json!({"responseLogprobs": true, "logprobs": 2})),
        false,
    )
    .unwrap();
    assert_eq!((&sent["logprobs"], &sent["top_logprobs"]), (&json!(true), &json!(2)));
    assert_eq!(refused(OpenAi, Anthropic, &asked), "logprobs");
    assert_eq!(send(OpenAi, Anthropic, &asked, true).unwrap().1, ["logprobs"]);
    let off = openai(&json!({"logprobs": false}));
    assert_eq!(send(OpenAi, Anthropic, &off, false).unwrap().1, Vec::<String>::new());

    let ctx = AnswerContext::default();
    let openai_answer =
        json!({"choices": [{"message": {"content": "Ahoy"}, "logprobs": openai_logprobs(), "finish_reason": "stop"}]});
    let gemini_answer = json!({"candidates": [{"content": {"parts": [{"text": "Ahoy"}]}, "logprobsResult": gemini_logprobs(), "finishReason": "STOP"}]});
    let whole = |from, to, body: &Value| -> Value {
        serde_json::from_slice(
            &translate_response(from, to, body.to_string().as_bytes(), &ctx)
                .unwrap()
                .0,
        )
        .unwrap()
    };
    assert_eq!(
        whole(Gemini, OpenAi, &gemini_answer)["choices"][0]["logprobs"],
        openai_logprobs()
    );
    assert_eq!(
        whole(OpenAi, Gemini, &openai_answer)["candidates"][0]["logprobsResult"],
        gemini_logprobs()
    );

    let streamed = |from, to, chunks: &[String]| {
        let mut stream = Stream::new(from, to, ctx.clone(), false);
        let mut out = BytesMut::new();
        for chunk in chunks {
            stream
                .push(&Bytes::from(format!("data: {chunk}\n\n")), &mut out)
                .unwrap();
        }
        stream.finish(&mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    };
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "Ahoy"}, "logprobs": openai_logprobs(), "finish_reason": "stop"}]});
    let out = streamed(OpenAi, Gemini, &[chunk.to_string(), "[DONE]".to_owned()]);
    assert!(out.contains(&gemini_logprobs().to_string()), "{out}");
    let out = streamed(Gemini, OpenAi, &[gemini_answer.to_string()]);
    assert!(out.contains(&openai_logprobs().to_string()), "{out}");
}

#[test]
fn a_route_that_drops_leaves_out_what_the_rest_makes_sense_without() {
    let table = [
        (json!({"n": 3}), "n"),
        (json!({"audio": {"voice": "alloy"}}), "audio"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {}}]}]}),
            "messages[0].content[1].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "file", "file": {"file_id": "f"}}]}]}),
            "messages[0].content[1].file.file_id",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "gs://b/x.png"}}]}]}),
            "messages[0].content[1].image_url.url",
        ),
    ];
    for (extra, path) in table {
        let body = openai(&extra);
        assert_eq!(refused(OpenAi, Anthropic, &body), path);
        let (sent, dropped) = send(OpenAi, Anthropic, &body, true).unwrap();
        assert!(dropped.contains(&path.to_owned()), "{path}: {dropped:?}");
        assert_eq!(sent["messages"][0]["content"].as_array().unwrap().len(), 1, "{sent}");
        assert_eq!((sent.get("tools"), sent.get("tool_choice")), (None, None));
    }
    let server_tool = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "container": "c",
        "tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "tide", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "web_search"}});
    let (sent, dropped) = send(Anthropic, OpenAi, &server_tool, true).unwrap();
    assert_eq!(dropped, ["container", "tools[0].type", "tool_choice"]);
    assert_eq!(
        (sent["tools"].as_array().unwrap().len(), sent.get("tool_choice")),
        (1, None)
    );
    let search = json!({"contents": [{"parts": [{"text": "x"}]}], "tools": [{"googleSearch": {}}], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}});
    assert_eq!(
        send(Gemini, OpenAi, &search, true).unwrap().1,
        ["generationConfig.responseModalities", "tools[0].googleSearch"]
    );
}

#[test]
fn what_would_be_nonsense_without_is_refused_even_where_the_route_drops() {
    let refused = |from, body: &Value| {
        let to = if from == Gemini { OpenAi } else { Gemini };
        let error = send(from, to, body, true).expect_err("must be refused");
        (error.code, error.path)
    };
    let unsupported = |path: &str| (Code::ValUnsupported, path.to_owned());
    let only_audio =
        openai(&json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}));
    assert_eq!(refused(OpenAi, &only_audio), unsupported("messages[0].content[0].type"));
    let only_speech = openai(&json!({"modalities": ["audio"]}));
    assert_eq!(refused(OpenAi, &only_speech), unsupported("modalities"));
    let role = openai(&json!({"messages": [{"role": "pirate", "content": "x"}]}));
    assert_eq!(refused(OpenAi, &role), (Code::ValField, "messages[0].role".to_owned()));
    let cached = json!({"contents": [{"parts": [{"text": "x"}]}], "cachedContent": "c"});
    assert_eq!(refused(Gemini, &cached), unsupported("cachedContent"));
    let picture = gemini(&json!({"responseModalities": ["IMAGE"]}));
    assert_eq!(
        refused(Gemini, &picture),
        unsupported("generationConfig.responseModalities")
    );
    // The result of a call must stay: a provider refuses a call without one.
    let result = json!({"model": "m", "max_tokens": 5, "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "tide", "input": {}}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "container_upload", "file_id": "f", "source": "s"}]}]}]});
    assert_eq!(
        refused(Anthropic, &result),
        unsupported("messages[2].content[1].content[0].type")
    );
}

#[test]
fn the_user_travels_under_either_name() {
    for name in ["user", "safety_identifier"] {
        let (sent, dropped) = send(OpenAi, Anthropic, &openai(&json!({name: "u-1"})), false).unwrap();
        assert_eq!((&sent["metadata"]["user_id"], dropped.len()), (&json!("u-1"), 0));
    }
}

#[test]
fn cache_points_of_openai_callers_reach_claude() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let text = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
    let body = openai(&json!({"messages": [
        {"role": "system", "content": [text("Be brief.")]},
        {"role": "system", "content": "And kind."},
        {"role": "user", "content": [text("x"), {"type": "text", "text": "y"}]},
    ]}));
    let (sent, dropped) = send(OpenAi, Anthropic, &body, false).unwrap();
    assert_eq!(
        sent["system"],
        json!([text("Be brief."), {"type": "text", "text": "And kind."}])
    );
    assert_eq!(
        sent["messages"][0]["content"],
        json!([text("x"), {"type": "text", "text": "y"}])
    );
    assert_eq!(dropped, Vec::<String>::new());
    let (sent, dropped) = send(OpenAi, Gemini, &body, false).unwrap();
    assert_eq!(
        dropped,
        [
            "messages[0].content[0].cache_control",
            "messages[2].content[0].cache_control"
        ]
    );
    assert!(!sent.to_string().contains("ephemeral"));
}
