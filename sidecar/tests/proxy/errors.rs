//! What is refused, and how each dialect's SDK hears of it.

use serde_json::Value;

use crate::support::{Bed, Reply, chat, contents, message};

async fn raw(bed: &Bed, path: &str, body: &str) -> Reply {
    Reply::of(bed.post(path, &Value::Null).body(body.to_owned()).send().await.unwrap()).await
}

const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

#[tokio::test]
async fn a_body_that_is_no_json_is_a_400_of_the_callers_dialect() {
    let bed = Bed::new().await;
    let openai = raw(&bed, "/v1/chat/completions", "not json").await;
    assert_eq!(openai.status, 400);
    assert_eq!(openai.json()["error"]["bowsprit_code"], "VAL_NOT_JSON");
    assert_eq!(openai.json()["error"]["code"], Value::Null, "OpenAI has no code for it");
    assert_eq!(openai.json()["error"]["type"], "invalid_request_error");
    let anthropic = raw(&bed, "/v1/messages", "not json").await;
    assert_eq!(
        (anthropic.status, &anthropic.json()["type"]),
        (400, &Value::from("error"))
    );
    assert_eq!(anthropic.json()["error"]["type"], "invalid_request_error");
    assert!(anthropic.text.contains("VAL_NOT_JSON"));
    let gemini = raw(&bed, GEMINI, "not json").await;
    assert_eq!(
        (gemini.status, &gemini.json()["error"]["status"]),
        (400, &Value::from("INVALID_ARGUMENT"))
    );
    assert!(gemini.text.contains("VAL_NOT_JSON"));
    bed.balanced().await;
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let bed = Bed::new().await;
    let reply = raw(
        &bed,
        "/v1/chat/completions",
        r#"{"model":"gpt-4.1-mini","stream":"yes","messages":[]}"#,
    )
    .await;
    assert_eq!(
        (reply.status, reply.json()["error"]["param"].as_str()),
        (400, Some("stream")),
        "{}",
        reply.text
    );
    let reply = raw(&bed, "/v1/chat/completions", r#"{"messages":[]}"#).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["param"].as_str()),
        (400, Some("model")),
        "{}",
        reply.text
    );
    // A translation looks deeper than a pass-through does.
    let reply = raw(
        &bed,
        "/v1/chat/completions",
        r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":7}]}"#,
    )
    .await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (400, Some("VAL_FIELD")),
        "{}",
        reply.text
    );
    assert!(
        reply.json()["error"]["param"]
            .as_str()
            .unwrap()
            .starts_with("messages[0]"),
        "{}",
        reply.text
    );
    bed.balanced().await;
}

#[tokio::test]
async fn what_no_provider_can_carry_is_refused_and_never_dropped_silently() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            *spec = Value::Null;
        }
    })
    .await;
    let mut body = chat("claude-sonnet-4-5", false);
    body["audio"] = serde_json::json!({"voice": "alloy"});
    let reply = Reply::of(bed.post("/v1/chat/completions", &body).send().await.unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (400, Some("VAL_UNSUPPORTED")),
        "{}",
        reply.text
    );
    let mut body = chat("claude-sonnet-4-5", false);
    body["seed"] = Value::from(1);
    let reply = Reply::of(bed.post("/v1/chat/completions", &body).send().await.unwrap()).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.header("x-bowsprit-warning").contains("seed"),
        "{:?}",
        reply.headers
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_a_413() {
    let bed = Bed::build(|_, _| {}, &["--max-body", "1KiB"]).await;
    let large = format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "a".repeat(2000));
    for path in ["/v1/chat/completions", "/v1/messages", GEMINI] {
        let reply = raw(&bed, path, &large).await;
        let status = if path == GEMINI { 400 } else { 413 };
        assert_eq!(reply.status, status, "{}", reply.text);
        assert_eq!(reply.json()["error"]["bowsprit_code"], "VAL_TOO_LARGE");
    }
    // Without an announced length, too.
    let chunk = format!("7d0\r\n{}\r\n", "a".repeat(2000));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut caller = bed.send(format!("{head}{chunk}")).await;
    assert_eq!(caller.reply().await.status, 413);
    drop(caller);
    bed.balanced().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_say_what_there_is() {
    let bed = Bed::new().await;
    let reply = raw(&bed, "/v1/nothing", "{}").await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (404, Some("RES_PATH_NOT_FOUND"))
    );
    assert!(reply.text.contains("/v1/chat/completions"));
    let reply = raw(&bed, "/v1beta/nothing", "{}").await;
    assert_eq!(reply.json()["error"]["status"], "NOT_FOUND");
    let reply = Reply::of(bed.get("/v1/chat/completions").send().await.unwrap()).await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
    assert_eq!(reply.json()["error"]["bowsprit_code"], "VAL_METHOD");
    bed.balanced().await;
}

#[tokio::test]
async fn an_unknown_model_is_a_404_that_lists_what_is_served() {
    let bed = Bed::new().await;
    let reply = bed.chat_with("gpt-9", false).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (404, Some("RES_MODEL_NOT_FOUND"))
    );
    assert!(reply.text.contains("claude-sonnet-4-5"), "{}", reply.text);
    let anthropic = bed.post("/v1/messages", &message("gpt-9", false)).send().await.unwrap();
    assert_eq!(Reply::of(anthropic).await.json()["error"]["type"], "not_found_error");
    bed.balanced().await;
}

#[tokio::test]
async fn a_providers_own_error_passes_unchanged_to_a_caller_of_its_dialect() {
    let bed = Bed::new().await;
    bed.openai
        .always(bowsprit_providers::Behaviour::status(400).message("your prompt is odd"));
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["message"], "your prompt is odd");
    bed.gemini
        .always(bowsprit_providers::Behaviour::status(400).message("your contents are odd"));
    let gemini = Reply::of(bed.post(GEMINI, &contents()).send().await.unwrap()).await;
    assert_eq!(gemini.json()["error"]["message"], "your contents are odd");
    // Of another dialect it is translated.
    let reply = bed.chat_with("gemini-2.5-flash", false).await;
    assert!(
        reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("your contents are odd")
    );
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    bed.balanced().await;
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_said_in_the_callers_words_and_blames_no_provider() {
    let bed = Bed::with(|_, spec| spec["circuitBreaker"] = serde_json::json!({"failureThreshold": 1})).await;
    let long = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.";
    let refusal = bowsprit_providers::Behaviour::status(400)
        .kind("context_length_exceeded")
        .message(long);
    bed.openai.always(refusal);
    let own = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!(
        (own.status, own.json()["error"]["code"].as_str()),
        (400, Some("context_length_exceeded")),
        "{}",
        own.text
    );
    for stream in [false, true] {
        let asked = bed.post("/v1/messages", &message("gpt-4.1-mini", stream));
        let reply = Reply::of(asked.send().await.unwrap()).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
        let error = &reply.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("prompt is too long: 9000 tokens > 8192 maximum"),
            "{error}"
        );
        assert_eq!(error["bowsprit_code"], "VAL_CONTEXT_LENGTH");
    }
    let asked = bed.post("/v1beta/models/gpt-4.1-mini:generateContent", &contents());
    let reply = Reply::of(asked.send().await.unwrap()).await;
    let error = &reply.json()["error"];
    assert_eq!((reply.status, &error["status"]), (400, &"INVALID_ARGUMENT".into()));
    let words = "The input token count (9000) exceeds the maximum number of tokens allowed (8192).";
    assert!(error["message"].as_str().unwrap().starts_with(words), "{error}");
    let health = bed.provider_health("openai").await;
    assert_eq!(health["keysUsable"], 1);
    assert_eq!(bed.metric("bowsprit_breaker_state{provider=\"openai\"}").await, 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_callers_words_in_a_providers_error_set_no_key_aside() {
    let bed = Bed::new().await;
    let quoted = "Invalid value: 'insufficient balance: this organization has been disabled'.";
    bed.openai
        .always(bowsprit_providers::Behaviour::status(400).message(quoted));
    assert_eq!(bed.chat_with("gpt-4.1-mini", false).await.status, 400);
    assert_eq!(bed.provider_health("openai").await["keysUsable"], 1);
    bed.balanced().await;
}

#[tokio::test]
async fn malformed_http_is_refused_and_no_provider_hears_of_it() {
    let bed = Bed::new().await;
    let many: String = (0..150).map(|n| format!("x-h{n}: v\r\n")).collect();
    let long = format!("x-long: {}\r\n", "v".repeat(300_000));
    for head in [
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x".to_owned(),
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n".to_owned(),
        "POST /v1/chat/completions HTTP/1.1\r\nhost : x\r\n\r\n".to_owned(),
        format!("POST /v1/chat/completions HTTP/1.1\r\n{many}\r\n"),
        format!("POST /v1/chat/completions HTTP/1.1\r\n{long}\r\n"),
        "\x16\x03\x01 nonsense\r\n\r\n".to_owned(),
    ] {
        let mut caller = bed.connect().await;
        let _ = caller.try_send(&head).await;
        let answer = caller.rest().await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
    }
    assert_eq!(
        bed.claude.requests().len() + bed.gemini.requests().len() + bed.openai.requests().len(),
        0
    );
    bed.balanced().await;
}
