use std::time::Duration;

use bowsprit_core::dialect::Dialect;
use bowsprit_crds::ProviderConfigSpec;
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::answer::{Reader, Told};
use super::render::screen;
use super::request::Question;
use crate::output::Paint;

fn spec(extra: &serde_json::Value) -> ProviderConfigSpec {
    let mut spec = json!({"provider": "Anthropic", "priority": 1, "models": [{"name": "claude-sonnet-4-5", "aliases": ["gpt-5-mini"]}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

#[allow(clippy::needless_pass_by_value, reason = "each is made for its question")]
fn question(extra: serde_json::Value, model: Option<&str>, stream: bool) -> Result<Question, String> {
    Question::new(Some(("claude", &spec(&extra))), model, "ahoy?", stream)
}

async fn said(question: &Question) -> (String, serde_json::Value) {
    let request = question.request(4000).unwrap();
    let path = request.uri().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    (path, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_provider_is_asked_in_its_own_api_where_nobody_else_can_answer() {
    let (path, body) = said(&question(json!({}), Some("gpt-5-mini"), true).unwrap()).await;
    assert_eq!(
        (path.as_str(), &body["model"]),
        ("/providers/claude/v1/messages", &json!("claude-sonnet-4-5"))
    );
    let gemini = json!({"provider": "Gemini", "defaultModel": "gemini-2.5-flash"});
    let (path, _) = said(&question(gemini.clone(), None, true).unwrap()).await;
    assert_eq!(
        path,
        "/providers/claude/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    );
    for (kind, limit) in [("OpenAI", "max_completion_tokens"), ("OpenAICompatible", "max_tokens")] {
        let (path, body) = said(&question(json!({"provider": kind}), None, false).unwrap()).await;
        assert_eq!(path, "/providers/claude/chat/completions");
        assert!(body[limit].is_u64(), "{body}");
    }
}

#[tokio::test]
async fn a_provider_whose_api_is_closed_is_asked_as_apps_ask() {
    let asked = question(json!({"passThrough": false}), None, false).unwrap();
    assert!(!asked.pinned);
    assert_eq!(said(&asked).await.0, "/v1/chat/completions");
}

#[test]
fn what_cannot_be_asked_is_said() {
    assert!(
        question(json!({"models": []}), None, false)
            .unwrap_err()
            .contains("--model")
    );
    assert!(
        question(json!({"enabled": false}), None, false)
            .unwrap_err()
            .contains("spec.enabled")
    );
}

fn told(question: &Question, status: u16, headers: &[(&str, &str)], chunks: &[&str]) -> Told {
    let mut reader = Reader::new(question, "app-1");
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    reader.head(&response.body(()).unwrap().into_parts().0, Duration::from_millis(120));
    for (number, chunk) in (1_u64..).zip(chunks) {
        reader.chunk(
            &Bytes::from((*chunk).to_owned()),
            Duration::from_millis(120 + 10 * number),
        );
    }
    reader.end(chunks.concat().as_bytes(), Ok(()), Duration::from_millis(250))
}

const WHOLE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"ahoy"}],"stop_reason":"end_turn","usage":{"input_tokens":12,"output_tokens":3}}"#;

#[test]
fn an_answer_is_told_with_its_times_tokens_and_request() {
    let asked = question(json!({}), None, false).unwrap();
    let headers = [
        ("x-bowsprit-provider", "claude"),
        ("x-request-id", "r-1"),
        ("x-bowsprit-attempts", "1"),
    ];
    let told = told(&asked, 200, &headers, &[WHOLE]);
    assert!(told.ok);
    insta::assert_snapshot!(screen(&told, Paint(false)));
}

#[test]
fn of_a_stream_the_first_token_is_told_and_whether_it_came_to_its_end() {
    let asked = question(json!({"provider": "OpenAI", "models": [{"name": "gpt"}]}), None, true).unwrap();
    assert_eq!(asked.dialect, Dialect::OpenAiChat);
    let chunks = [
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ahoy\"}}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\ndata: [DONE]\n\n",
    ];
    let whole = told(&asked, 200, &[], &chunks);
    assert_eq!(
        (whole.ok, whole.first_token_ms, whole.output_tokens),
        (true, Some(140), Some(2)),
        "{whole:?}"
    );
    let cut = told(&asked, 200, &[], &chunks[..2]);
    assert!(!cut.ok && cut.error.unwrap().contains("broke off"));
}

#[test]
fn an_error_comes_with_its_code_and_what_to_do() {
    let asked = question(json!({}), None, false).unwrap();
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"no key of claude is usable","bowsprit_code":"AUTH_KEY_MISSING"}}"#;
    let told = told(&asked, 529, &[("x-request-id", "r-2")], &[body]);
    insta::assert_snapshot!(screen(&told, Paint(false)));
}

#[test]
fn a_fallback_that_answered_is_not_taken_for_the_provider() {
    let asked = question(json!({"passThrough": false}), None, false).unwrap();
    let body = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ahoy"},"finish_reason":"stop"}]}"#;
    let told = told(
        &asked,
        200,
        &[
            ("x-bowsprit-provider", "gemini"),
            ("x-bowsprit-model", "flash"),
            ("x-bowsprit-attempts", "2"),
        ],
        &[body],
    );
    assert!(!told.ok);
    insta::assert_snapshot!(screen(&told, Paint(false)));
}
