use std::time::Duration;

use bowsprit_providers::{Api, Behaviour, Options, Provider, Status};
use serde_json::{Value, json};

use crate::client::{Client, End, Response, ask, chat, start};

const APIS: [Api; 3] = [Api::OpenAi, Api::Anthropic, Api::Gemini];

async fn scripted(api: Api, act: impl Into<Behaviour>) -> Response {
    let provider = start();
    provider.script(act.into());
    ask(&provider, api, false).await
}

async fn with_key(provider: &Provider, api: Api, key: Option<&str>) -> Response {
    let (path, headers, body) = chat(api, false);
    let bearer = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<(&str, &str)> = headers
        .into_iter()
        .filter_map(|(name, value)| match name {
            "authorization" => bearer.as_deref().map(|bearer| (name, bearer)),
            "x-api-key" | "x-goog-api-key" => key.map(|key| (name, key)),
            _ => Some((name, value)),
        })
        .collect();
    Client::connect(provider)
        .await
        .exchange("POST", path, &headers, &body)
        .await
}

#[tokio::test]
async fn a_missing_key_gets_the_providers_own_answer() {
    let provider = start();
    let answer = |api| with_key(&provider, api, None);
    let openai = answer(Api::OpenAi).await;
    assert_eq!(
        (openai.status, &openai.json()["error"]["type"]),
        (401, &json!("invalid_request_error"))
    );
    let anthropic = answer(Api::Anthropic).await;
    assert_eq!(anthropic.status, 401);
    assert_eq!(
        anthropic.json()["error"],
        json!({"type": "authentication_error", "message": "x-api-key header is required"})
    );
    // Gemini says 403 to no key, and 400 to a wrong one.
    let gemini = answer(Api::Gemini).await;
    assert_eq!(
        (gemini.status, &gemini.json()["error"]["status"]),
        (403, &json!("PERMISSION_DENIED"))
    );
}

#[tokio::test]
async fn only_the_accepted_keys_are_let_in() {
    let provider = Provider::start(Options {
        keys: vec!["good".into()],
        ..Options::default()
    })
    .unwrap();
    for (api, status) in [(Api::OpenAi, 401), (Api::Anthropic, 401), (Api::Gemini, 400)] {
        assert_eq!(with_key(&provider, api, Some("good")).await.status, 200);
        assert_eq!(with_key(&provider, api, Some("bad")).await.status, status);
    }
    provider.accept_keys(["bad"]);
    assert_eq!(with_key(&provider, Api::OpenAi, Some("bad")).await.status, 200);
    let keys: Vec<_> = provider
        .requests()
        .into_iter()
        .map(|request| request.key.unwrap())
        .collect();
    assert_eq!(keys, ["good", "bad", "good", "bad", "good", "bad", "bad"]);
}

#[tokio::test]
async fn a_retry_hint_is_said_as_the_provider_says_it() {
    let wait = Duration::from_millis(1500);
    let openai = scripted(Api::OpenAi, Behaviour::status(429).retry_after(wait)).await;
    assert_eq!(
        (openai.header("retry-after"), openai.header("retry-after-ms")),
        (Some("2"), Some("1500"))
    );
    let anthropic = scripted(Api::Anthropic, Behaviour::status(529).retry_after(wait)).await;
    assert_eq!(
        (anthropic.header("retry-after"), anthropic.header("retry-after-ms")),
        (Some("2"), None)
    );
    assert_eq!(anthropic.json()["request_id"], anthropic.header("request-id").unwrap());
    let gemini = scripted(Api::Gemini, Behaviour::status(429).retry_after(wait)).await;
    assert_eq!(gemini.header("retry-after"), None);
    assert_eq!(gemini.json()["error"]["details"][2]["retryDelay"], "1.500s");
}

#[tokio::test]
async fn a_429_may_come_without_any_hint() {
    for api in APIS {
        let response = scripted(api, Behaviour::status(429)).await;
        assert_eq!((response.status, response.header("retry-after")), (429, None));
        assert!(!response.text().contains("RetryInfo"));
    }
}

#[tokio::test]
async fn kind_message_headers_and_body_may_be_given() {
    let act = Behaviour::status(429)
        .kind("insufficient_quota")
        .header("x-should-retry", "false");
    let response = scripted(Api::OpenAi, act).await;
    assert_eq!(response.json()["error"]["code"], "insufficient_quota");
    assert_eq!(response.header("x-should-retry"), Some("false"));
    let response = scripted(Api::OpenAi, Behaviour::status(500).message("boom")).await;
    assert_eq!(response.json()["error"]["message"], "boom");
    let response = scripted(Api::OpenAi, Behaviour::status(500).body("plain words")).await;
    assert_eq!(response.text(), "plain words");
}

#[tokio::test]
async fn answers_that_are_none_are_sent_as_named() {
    for api in APIS {
        let html = scripted(api, Behaviour::Html502).await;
        assert_eq!((html.status, html.header("content-type")), (502, Some("text/html")));
        assert!(html.text().starts_with("<html>"));

        let error = scripted(api, Behaviour::ErrorIn200).await;
        assert_eq!((error.status, error.json()["error"].is_object()), (200, true));

        let empty = scripted(api, Behaviour::Empty200).await;
        assert_eq!(
            (empty.status, empty.body.len(), empty.header("content-length")),
            (200, 0, Some("0"))
        );

        let redirect = scripted(api, Behaviour::Redirect("http://127.0.0.1:1/".into())).await;
        assert_eq!(
            (redirect.status, redirect.header("location")),
            (302, Some("http://127.0.0.1:1/"))
        );

        let garbage = scripted(api, Behaviour::Garbage).await;
        assert_eq!((garbage.status, garbage.end), (0, End::Eof), "no HTTP head is in it");
        assert!(!garbage.body.starts_with(b"HTTP/"));
    }
}

#[tokio::test]
async fn an_error_answers_a_streamed_request_plainly() {
    let provider = start();
    provider.script(Behaviour::status(529));
    let response = ask(&provider, Api::Anthropic, true).await;
    assert_eq!(
        (response.status, response.header("content-type")),
        (529, Some("application/json"))
    );
    assert_eq!(response.head.lines().next(), Some("HTTP/1.1 529 Overloaded"));
}

#[tokio::test]
async fn an_unknown_path_is_a_404_unless_the_script_names_it() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    let (_, headers, _) = chat(Api::OpenAi, false);
    assert_eq!(client.exchange("POST", "/v1/files", &headers, "x").await.status, 404);
    let status: Status = Behaviour::status(200).body("{\"id\":\"file-1\"}");
    provider.always_when(bowsprit_providers::When::path("/v1/files*"), status);
    let response = client.exchange("POST", "/v1/files", &headers, "x").await;
    assert_eq!(
        (response.status, response.json()),
        (200, json!({"id": "file-1"}) as Value)
    );
}
