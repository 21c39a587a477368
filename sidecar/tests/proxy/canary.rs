//! A unique key goes through every path on which a server can tell it again, in every form that servers do, and everything that
//! leaves the sidecar but the one header is searched for it: answers with their headers, health, metrics, and the log at its
//! most talkative level.

use bowsprit_providers::{Behaviour, Raw};
use bowsprit_rig::canary::Canary;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Bed, Reply, chat, logs, message};

const PROVIDERS: [(&str, &str); 3] = [
    ("claude", "claude-sonnet-4-5"),
    ("gemini", "gemini-2.5-flash"),
    ("openai", "gpt-4.1-mini"),
];

/// What a server does that tells the key: `told` is the key in one of its forms, `whole` as it is.
fn misbehaviours(told: &str, whole: &str) -> Vec<(String, Behaviour)> {
    let codes: &[u16] = if told == whole {
        &[400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 529]
    } else {
        &[400, 401, 429, 500]
    };
    let mut all: Vec<(String, Behaviour)> = codes
        .iter()
        .map(|code| {
            let status = Behaviour::status(*code).message(format!("the key {told} is no good"));
            (format!("status {code}"), status.into())
        })
        .collect();
    let error =
        json!({"type": "error", "error": {"type": "api_error", "code": 500, "status": "INTERNAL", "message": told}});
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: ";
    let raw = |text: String| Behaviour::Raw(Raw::new(text.into_bytes()));
    let events = |first: &str| {
        raw(format!(
            "{head}text/event-stream\r\n\r\n{first}event: error\ndata: {error}\n\n"
        ))
    };
    all.extend([
        ("plain text".to_owned(), Behaviour::status(500).body(told).into()),
        (
            "a header of an error".to_owned(),
            Behaviour::status(500).header("x-echo", told).into(),
        ),
        (
            "a redirect".to_owned(),
            Behaviour::Redirect(format!("http://127.0.0.1:1/?key={told}")),
        ),
        (
            "an error in a 200".to_owned(),
            raw(format!("{head}application/json\r\n\r\n{error}")),
        ),
        ("the first event of a stream".to_owned(), events("")),
        (
            "a later event of a stream".to_owned(),
            events(
                "event: content_block_delta\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}],\
                 \"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"one\"}]}}],\
                 \"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"one\"}}\n\n",
            ),
        ),
        ("no HTTP".to_owned(), raw(format!("{told}\r\n\r\n"))),
        ("no JSON".to_owned(), raw(format!("{head}application/json\r\n\r\n{told}"))),
        (
            "a status line".to_owned(),
            raw(format!("HTTP/1.1 500 {told}\r\ncontent-length: 0\r\n\r\n")),
        ),
    ]);
    if told == whole {
        let header = raw(format!(
            "{head}application/json\r\nx-echo: {whole}\r\ncontent-length: 2\r\n\r\n{{}}"
        ));
        all.push(("a header of a success".to_owned(), header));
    }
    all
}

/// Asks in every way; `key`: the caller's own, where it has one.
async fn ask(bed: &Bed, key: Option<&str>) -> Vec<String> {
    let mut answers = Vec::new();
    for (provider, model) in PROVIDERS {
        let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
        let requests = [
            bed.post("/v1/chat/completions", &chat(model, false)),
            bed.post("/v1/chat/completions", &chat(model, true)),
            bed.post("/v1/messages", &message(model, false))
                .header("anthropic-version", "2023-06-01"),
            bed.post("/v1/messages", &message(model, true))
                .header("anthropic-version", "2023-06-01"),
            bed.post(&format!("/v1beta/models/{model}:streamGenerateContent"), &gemini),
            bed.get(&format!("/providers/{provider}/v1/files")),
        ];
        for request in requests {
            // Each API's header; two of them are no provider's of the caller's and end here.
            let request = match key {
                Some(key) => request
                    .header("authorization", format!("Bearer {key}"))
                    .header("x-api-key", key)
                    .header("x-goog-api-key", key),
                None => request,
            };
            let Ok(response) = request.send().await else { continue };
            let reply = Reply::of(response).await;
            answers.push(format!("{} {:?} {}", reply.status, reply.headers, reply.text));
        }
    }
    answers
}

async fn told_nowhere(canary: &Canary, what: &str, bed: &Bed, mut texts: Vec<String>) {
    texts.push(bed.admin("/health").await.text);
    texts.push(bed.metrics().await);
    for text in texts {
        if let Some(found) = canary.find(&text) {
            panic!("{what}: the key is told {found}");
        }
    }
    for (provider, name) in [
        (&bed.claude, "claude"),
        (&bed.gemini, "gemini"),
        (&bed.openai, "openai"),
    ] {
        let sent = provider
            .requests()
            .iter()
            .any(|it| it.key.as_deref() == Some(canary.key()));
        assert!(sent, "{what}: {name} was never sent the key, so nothing was tried");
    }
}

/// Of all that a test has done.
fn logged_nowhere(canary: &Canary) {
    let log = logs();
    assert!(log.contains("attempt failed"), "the log is not kept");
    if let Some(found) = canary.find(&log) {
        panic!("the log tells the key {found}");
    }
}

#[tokio::test]
async fn a_key_of_a_secret_that_a_server_tells_again_is_told_to_nobody() {
    let canary = Canary::new("secret", fastrand::u64(..));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, canary.key()).unwrap();
    for (form, told) in canary.told() {
        for (how, act) in misbehaviours(&told, canary.key()) {
            let bed = Bed::with(|_, spec| {
                spec["credentials"] = json!([{"name": "main", "file": file}]);
                spec["healthCheck"] = json!({"enabled": true, "interval": "1s", "timeout": "1s"});
                spec["circuitBreaker"] = json!({"failureThreshold": 100});
            })
            .await;
            for provider in [&bed.claude, &bed.gemini, &bed.openai] {
                provider.always(act.clone());
            }
            let answers = ask(&bed, None).await;
            assert!(answers.len() >= 15, "{how}: {} answers", answers.len());
            told_nowhere(&canary, &format!("{form}, {how}"), &bed, answers).await;
        }
    }
    logged_nowhere(&canary);
}

#[tokio::test]
async fn an_apps_own_key_that_goes_on_and_is_told_again_is_told_to_no_log_and_no_metric() {
    let canary = Canary::new("caller", fastrand::u64(..));
    for (form, told) in canary.told() {
        for (how, act) in misbehaviours(&told, canary.key()) {
            let bed = Bed::with(|_, spec| {
                spec.as_object_mut().unwrap().remove("credentials");
                spec["forwardCallerKey"] = json!(true);
                spec["circuitBreaker"] = json!({"failureThreshold": 100});
            })
            .await;
            for provider in [&bed.claude, &bed.gemini, &bed.openai] {
                provider.always(act.clone());
            }
            let answers = ask(&bed, Some(canary.key())).await;
            told_nowhere(&canary, &format!("{form}, {how}"), &bed, answers).await;
        }
    }
    logged_nowhere(&canary);
}

#[tokio::test]
async fn an_apps_own_key_that_goes_nowhere_is_told_nowhere() {
    let (canary, folder) = (Canary::new("unused", fastrand::u64(..)), TempDir::new().unwrap());
    let file = folder.path().join("key");
    std::fs::write(&file, "key-of-the-provider").unwrap();
    let bed = Bed::with(|_, spec| spec["credentials"] = json!([{"name": "main", "file": file}])).await;
    let mut texts = ask(&bed, Some(canary.key())).await;
    // As some callers send it, and where no header is for it.
    for path in [
        "/v1/chat/completions?key=",
        "/v1beta/models/nobody:generateContent?key=",
        "/nowhere?key=",
    ] {
        let asked = bed.post(&format!("{path}{}", canary.in_url()), &chat("gpt-4.1-mini", false));
        texts.push(Reply::of(asked.send().await.unwrap()).await.text);
    }
    texts.extend([bed.admin("/health").await.text, bed.metrics().await, logs()]);
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        texts.extend(provider.requests().iter().map(|request| format!("{request:?}")));
    }
    for text in texts {
        if let Some(found) = canary.find(&text) {
            panic!("the key is told {found}");
        }
    }
}
