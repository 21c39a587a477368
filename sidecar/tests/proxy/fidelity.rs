//! What is more than a translated body: embeddings and token counts across APIs, thoughts that travel, routes that drop.

use base64::Engine as _;
use bowsprit_providers::{Answer, Provider};
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, contents, count, failing, message};

/// What a provider was asked last, and where.
fn asked(provider: &Provider) -> (String, Value) {
    let seen = provider.seen();
    let request = seen.requests.back().unwrap();
    (request.path.clone(), serde_json::from_slice(&request.body).unwrap())
}

async fn post(bed: &Bed, path: &str, body: &Value) -> Reply {
    let request = bed.post(path, body).header("anthropic-version", "2023-06-01");
    Reply::of(request.send().await.unwrap()).await
}

/// Each with an embedding model of its own; Claude has none.
async fn bed_with_embeddings() -> Bed {
    Bed::with(|name, spec| match name {
        "gemini" => spec["models"] = json!([{"name": "gemini-embedding-001"}, {"name": "gemini-2.5-flash"}]),
        "openai" => spec["models"] = json!([{"name": "text-embedding-3-small"}, {"name": "gpt-4.1-mini"}]),
        _ => {}
    })
    .await
}

#[tokio::test]
async fn embeddings_go_to_the_provider_that_serves_the_model_whatever_the_caller_speaks() {
    let bed = bed_with_embeddings().await;
    for model in ["text-embedding-3-small", "gemini-embedding-001"] {
        let floats = json!({"model": model, "input": ["one", "two"], "dimensions": 8});
        let reply = post(&bed, "/v1/embeddings", &floats).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let body = reply.json();
        assert_eq!(
            (&body["model"], body["data"].as_array().unwrap().len()),
            (&json!(model), 2)
        );
        let first: Vec<f64> = serde_json::from_value(body["data"][0]["embedding"].clone()).unwrap();
        let length = first.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!(first.len() == 8 && (length - 1.0).abs() < 1e-3, "{model}: {first:?}");
        // The official SDKs ask for base64 unless told otherwise.
        let mut base64 = floats.clone();
        base64["encoding_format"] = json!("base64");
        let encoded = post(&bed, "/v1/embeddings", &base64).await.json();
        let text = encoded["data"][0]["embedding"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let decoded: Vec<f32> = bytes
            .chunks(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        assert!(
            decoded
                .iter()
                .zip(&first)
                .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6),
            "{model}"
        );

        let content = json!({"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 8});
        let one = post(&bed, &format!("/v1beta/models/{model}:embedContent"), &content).await;
        assert_eq!(
            one.json()["embedding"]["values"].as_array().unwrap().len(),
            8,
            "{}",
            one.text
        );
        let requests = json!({"requests": [content, content]});
        let batch = post(&bed, &format!("/v1beta/models/{model}:batchEmbedContents"), &requests).await;
        assert_eq!(
            batch.json()["embeddings"].as_array().unwrap().len(),
            2,
            "{}",
            batch.text
        );
    }
    assert!(bed.family("bowsprit_tokens_total").await > 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn more_embeddings_than_a_batch_takes_are_asked_for_in_parts_within_one_attempt() {
    let bed = bed_with_embeddings().await;
    let texts: Vec<String> = (0..250).map(|n| format!("text {n}")).collect();
    let body = json!({"model": "gemini-embedding-001", "input": texts, "dimensions": 8});
    let reply = post(&bed, "/v1/embeddings", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let data = reply.json()["data"].as_array().unwrap().clone();
    assert_eq!((data.len(), count(&bed.gemini)), (250, 3));
    assert!(data.iter().enumerate().all(|(n, vector)| vector["index"] == n));
    let (_, last) = asked(&bed.gemini);
    assert_eq!(last["requests"].as_array().unwrap().len(), 50);
    assert_eq!(last["requests"][49]["content"]["parts"][0]["text"], "text 249");
    assert_eq!(bed.family("bowsprit_attempts_total").await, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn embeddings_are_never_answered_by_another_model_unless_a_name_says_so() {
    let bed = bed_with_embeddings().await;
    let body = json!({"model": "text-embedding-3-small", "input": "one"});
    // Everybody has a default model to stand in with, and nobody may.
    failing(&bed.openai, 503);
    let reply = post(&bed, "/v1/embeddings", &body).await;
    assert_eq!(
        (reply.status, count(&bed.gemini), count(&bed.claude)),
        (503, 0, 0),
        "{}",
        reply.text
    );
    let claude = json!({"model": "claude-sonnet-4-5", "input": "one"});
    let reply = post(&bed, "/v1/embeddings", &claude).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (400, Some("VAL_UNSUPPORTED"))
    );
    assert!(
        reply.text.contains("claude") && reply.text.contains("no embeddings"),
        "{}",
        reply.text
    );

    let aliased = Bed::with(|name, spec| match name {
        "gemini" => spec["models"] = json!([{"name": "gemini-embedding-001", "aliases": ["text-embedding-3-small"]}, {"name": "gemini-2.5-flash"}]),
        "openai" => spec["models"] = json!([{"name": "text-embedding-3-small"}, {"name": "gpt-4.1-mini"}]),
        _ => {}
    })
    .await;
    failing(&aliased.gemini, 503);
    let reply = post(&aliased, "/v1/embeddings", &body).await;
    assert_eq!(
        (reply.status, reply.provider(), count(&aliased.gemini)),
        (200, "openai", 1),
        "{}",
        reply.text
    );
    bed.balanced().await;
}

#[tokio::test]
async fn an_alias_is_renamed_inside_a_batch_too() {
    let bed = Bed::with(|name, spec| {
        if name == "gemini" {
            spec["models"] =
                json!([{"name": "gemini-embedding-001", "aliases": ["vectors"]}, {"name": "gemini-2.5-flash"}]);
        }
    })
    .await;
    let request = json!({"model": "models/vectors", "content": {"parts": [{"text": "one"}]}});
    let reply = post(
        &bed,
        "/v1beta/models/vectors:batchEmbedContents",
        &json!({"requests": [request]}),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let (path, body) = asked(&bed.gemini);
    assert_eq!(path, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(body["requests"][0]["model"], "models/gemini-embedding-001");
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_that_serves_the_model() {
    let bed = Bed::new().await;
    for (model, provider) in [
        ("claude-sonnet-4-5", &bed.claude),
        ("gemini-2.5-flash", &bed.gemini),
        ("gpt-4.1-mini", &bed.openai),
    ] {
        let anthropic = post(&bed, "/v1/messages/count_tokens", &message(model, false)).await;
        assert!(
            anthropic.json()["input_tokens"].as_u64().unwrap() > 0,
            "{model}: {}",
            anthropic.text
        );
        let gemini = post(&bed, &format!("/v1beta/models/{model}:countTokens"), &contents()).await;
        assert!(
            gemini.json()["totalTokens"].as_u64().unwrap() > 0,
            "{model}: {}",
            gemini.text
        );
        let responses = json!({"model": model, "input": "hello"});
        let openai = post(&bed, "/v1/responses/input_tokens", &responses).await;
        assert_eq!(
            openai.json()["object"],
            "response.input_tokens",
            "{model}: {}",
            openai.text
        );
        assert_eq!(count(provider), 3, "{model}");
    }
    let (path, body) = asked(&bed.openai);
    assert_eq!(
        (path.as_str(), &body["input"]),
        ("/v1/responses/input_tokens", &json!("hello"))
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_server_that_counts_no_tokens_is_named() {
    let bed = Bed::with(|name, spec| match name {
        "openai" => spec["provider"] = json!("OpenAICompatible"),
        _ => *spec = Value::Null,
    })
    .await;
    let reply = post(&bed, "/v1/messages/count_tokens", &message("gpt-4.1-mini", false)).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(reply.json()["type"], "error", "in the caller's own dialect");
    assert!(
        reply.text.contains("openai") && reply.text.contains("token count"),
        "{}",
        reply.text
    );
    assert_eq!(count(&bed.openai), 0);
    bed.balanced().await;
}

#[tokio::test]
async fn foreign_thoughts_in_the_history_never_reach_the_callers_own_provider() {
    let bed = Bed::new().await;
    let mark = base64::engine::general_purpose::STANDARD.encode("bowsprit-v1:unsigned:");
    let mut body = message("claude-sonnet-4-5", false);
    body["messages"] = json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": mark}, {"type": "text", "text": "Ahoy"}]},
        {"role": "user", "content": "and?"},
    ]);
    let reply = post(&bed, "/v1/messages", &body).await;
    assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
    assert_eq!(
        asked(&bed.claude).1["messages"][1]["content"],
        json!([{"type": "text", "text": "Ahoy"}])
    );
    post(&bed, "/v1/messages/count_tokens", &body).await;
    assert_eq!(
        asked(&bed.claude).1["messages"][1]["content"],
        json!([{"type": "text", "text": "Ahoy"}])
    );
}

#[tokio::test]
async fn a_route_that_drops_answers_what_it_would_else_refuse_and_says_what_it_left_out() {
    let mut bed = Bed::providers();
    let documents = bed.documents(&|_, _| {});
    let route = |name: &str, more: &str| {
        format!(
            "---\n{{apiVersion: bowsprit.dev/v1alpha1, kind: ModelRoute, metadata: {{name: {name}}}, \
             spec: {{match: {{models: [{name}]}}, targets: [{{provider: claude}}]{more}}}}}\n"
        )
    };
    let text = format!(
        "{documents}{}{}",
        route("strict", ""),
        route("lenient", ", onUnsupported: Drop")
    );
    std::fs::write(bed.config_path(), text).unwrap();
    bed.start(&[]);
    let ask = async |model: &str, stream: bool| {
        let mut body = chat(model, stream);
        body["n"] = json!(2);
        body["logprobs"] = json!(true);
        post(&bed, "/v1/chat/completions", &body).await
    };
    let strict = ask("strict", false).await;
    assert_eq!(
        (strict.status, strict.json()["error"]["bowsprit_code"].as_str()),
        (400, Some("VAL_UNSUPPORTED"))
    );
    for stream in [false, true] {
        let lenient = ask("lenient", stream).await;
        assert_eq!(
            (lenient.status, lenient.provider()),
            (200, "claude"),
            "{}",
            lenient.text
        );
        let warning = lenient.header("x-bowsprit-warning");
        let named = |field: &str| warning.split([',', ' ']).any(|word| word == field);
        assert!(named("n") && named("logprobs"), "{warning}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_tool_that_nobody_there_runs_is_left_out_named_and_counted_unless_the_route_refuses() {
    let mut bed = Bed::providers();
    let documents = bed.documents(&|_, _| {});
    let route = |name: &str, more: &str| {
        format!(
            "---\n{{apiVersion: bowsprit.dev/v1alpha1, kind: ModelRoute, metadata: {{name: {name}}}, \
             spec: {{match: {{models: [{name}]}}, targets: [{{provider: claude}}]{more}}}}}\n"
        )
    };
    let (usual, strict) = (route("usual", ""), route("strict", ", onUnsupported: Refuse"));
    std::fs::write(bed.config_path(), format!("{documents}{usual}{strict}")).unwrap();
    bed.start(&[]);
    let ask = async |model: &str, choice: Value| {
        let tools = json!([{"type": "file_search", "vector_store_ids": ["v"]}, {"type": "nobody_has_seen_this"}]);
        let body = json!({"model": model, "input": "hello", "tools": tools, "tool_choice": choice});
        post(&bed, "/v1/responses", &body).await
    };
    let usual = ask("usual", json!("auto")).await;
    assert_eq!((usual.status, usual.provider()), (200, "claude"), "{}", usual.text);
    let warning = usual.header("x-bowsprit-warning");
    assert!(
        warning.contains("tools[0].type") && warning.contains("tools[1].type"),
        "{warning}"
    );
    assert_eq!(
        bed.metric(r#"bowsprit_left_out_total{provider="claude",what="tool"}"#)
            .await,
        2.0
    );
    for (model, choice) in [("strict", json!("auto")), ("usual", json!("required"))] {
        let refused = ask(model, choice).await;
        assert_eq!(
            (refused.status, refused.json()["error"]["param"].as_str()),
            (400, Some("tools[0].type"))
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn an_anthropic_caller_reads_thoughts_only_when_it_asked_for_thinking() {
    let bed = Bed::new().await;
    bed.gemini.always(Answer {
        thinking: Some("Hm.".to_owned()),
        ..Answer::new("Ahoy")
    });
    let mut body = message("gemini-2.5-flash", false);
    let plain = post(&bed, "/v1/messages", &body).await;
    assert_eq!(plain.json()["content"][0]["type"], "text", "{}", plain.text);
    body["max_tokens"] = json!(4000);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 2000});
    let thinking = post(&bed, "/v1/messages", &body).await;
    assert_eq!(thinking.json()["content"][0]["thinking"], "Hm.", "{}", thinking.text);
    let sent = asked(&bed.gemini).1["generationConfig"]["thinkingConfig"].clone();
    assert_eq!(sent, json!({"thinkingBudget": 2000, "includeThoughts": true}));
    body["stream"] = json!(true);
    let streamed = post(&bed, "/v1/messages", &body).await;
    assert!(
        streamed.text.contains("\"thinking_delta\"") && streamed.text.contains("\"signature_delta\""),
        "{}",
        streamed.text
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_server_that_refuses_unknown_fields_is_sent_what_the_app_wrote() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["streamUsage"] = json!("AsIs");
        }
    })
    .await;
    let sent = async |body: &Value, path: &str| {
        bed.openai.reset();
        let reply = post(&bed, path, body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        bed.openai.seen().requests[0].body.clone()
    };
    let asked_by_app = chat("gpt-4.1-mini", true);
    assert_eq!(
        sent(&asked_by_app, "/v1/chat/completions").await,
        asked_by_app.to_string(),
        "byte for byte"
    );
    let translated = sent(&message("gpt-4.1-mini", true), "/v1/messages").await;
    let translated: Value = serde_json::from_slice(&translated).unwrap();
    assert_eq!(
        (&translated["stream"], translated.get("stream_options")),
        (&json!(true), None)
    );
    let mut asks = asked_by_app;
    asks["stream_options"] = json!({"include_usage": true});
    let reply = post(&bed, "/v1/chat/completions", &asks).await;
    assert!(
        reply.text.contains("\"usage\":{"),
        "what the app asks for it gets: {}",
        reply.text
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_stream_is_asked_for_its_usage_unless_the_configuration_says_otherwise() {
    let bed = Bed::new().await;
    for (path, body) in [
        ("/v1/chat/completions", chat("gpt-4.1-mini", true)),
        ("/v1/messages", message("gpt-4.1-mini", true)),
    ] {
        bed.openai.reset();
        assert_eq!(post(&bed, path, &body).await.status, 200);
        let sent: Value = serde_json::from_slice(&bed.openai.seen().requests[0].body).unwrap();
        assert_eq!(sent["stream_options"], json!({"include_usage": true}), "{path}");
    }
}
