//! `/providers/{name}/…`: a provider's other endpoints, as they are.

use bowsprit_providers::{After, Answer, Behaviour};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::documents;
use bowsprit_rig::inside::Drained;
use serde_json::{Value, json};

use crate::support::{Bed, CANARIES, Reply, chat, count, logs};

async fn ask(bed: &Bed, head: &str, body: &[u8]) -> Connection {
    bed.send([head.as_bytes(), body].concat()).await
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn any_method_reaches_the_providers_own_path_with_its_key_and_without_the_callers() {
    let bed = Bed::new().await;
    for (at, (path, asked)) in [
        (
            "/providers/openai/v1/files/f%20g?limit=2&key=client-secret",
            "/v1/files/f%20g?limit=2",
        ),
        ("/providers/openai/files", "/v1/files"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = bed
            .get(path)
            .header("authorization", "Bearer client-secret")
            .header("cookie", "client-secret")
            .header("connection", "keep-alive, x-private")
            .header("x-private", "1")
            .header("openai-beta", "assistants=v2");
        request.send().await.unwrap();
        let seen = bed.openai.requests().remove(at);
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", asked));
        let head = String::from_utf8_lossy(&seen.raw_head).into_owned();
        assert!(!head.contains("client-secret") && !head.contains("x-private"), "{head}");
        assert!(
            seen.header("content-type").is_none() && seen.header("content-length").is_none(),
            "{head}"
        );
        assert_eq!(seen.key.as_deref(), Some(CANARIES[2]));
        assert_eq!(seen.header("openai-beta"), Some("assistants=v2"));
    }
    for (name, path, canary) in [
        ("claude", "/v1/messages/batches", CANARIES[0]),
        ("gemini", "/upload/v1beta/files", CANARIES[1]),
    ] {
        bed.post(&format!("/providers/{name}{path}"), &json!({}))
            .send()
            .await
            .unwrap();
        let provider = if name == "claude" { &bed.claude } else { &bed.gemini };
        let seen = provider.requests().remove(0);
        assert_eq!(
            (seen.path.as_str(), seen.key.as_deref()),
            (path, Some(canary)),
            "{name}"
        );
    }
    assert!(bed.sidecar().log().contains("\"operation\":\"passthrough\""));
    bed.balanced().await;
}

#[tokio::test]
async fn an_sdks_own_calls_work_below_it() {
    let bed = Bed::new().await;
    let asked = bed.post("/providers/openai/v1/chat/completions", &chat("gpt-4.1-mini", false));
    let reply = Reply::of(asked.send().await.unwrap()).await;
    assert_eq!((reply.status, reply.content().is_empty()), (200, false));
    assert_eq!(reply.provider(), "openai");
    let asked = bed.post("/providers/openai/v1/chat/completions", &chat("gpt-4.1-mini", true));
    let reply = Reply::of(asked.send().await.unwrap()).await;
    assert!(reply.text.contains("[DONE]") && reply.complete);
    bed.balanced().await;
}

#[tokio::test]
async fn no_path_and_no_name_leads_anywhere_else() {
    let bed = Bed::new().await;
    for path in [
        "/providers/openai/../admin",
        "/providers/openai/%2e%2e/admin",
        "/providers/openai//evil.example/x",
        "/providers/openai/files%2f..",
        "/providers/openai/a/..;/b",
        "/providers/openai",
        "/providers/openai/",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut stream = ask(&bed, &head, b"").await;
        let answer = stream.take_until("VAL_HTTP").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    let reply = Reply::of(bed.get("/providers/mistral/v1/files").send().await.unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (404, Some("RES_PROVIDER_NOT_FOUND"))
    );
    assert!(reply.text.contains("claude, gemini, openai"), "{}", reply.text);
    assert_eq!(count(&bed.openai), 0);
    bed.balanced().await;
}

#[tokio::test]
async fn realtime_is_refused_in_the_providers_dialect() {
    let bed = Bed::new().await;
    for (path, status, shape) in [
        ("/providers/claude/v1/realtime", 404, "\"type\":\"not_found_error\""),
        ("/providers/openai/v1/realtime?model=x", 501, "unknown_url"),
        ("/v1/realtime?model=x", 501, "unknown_url"),
        // A client of this API takes the answer for a word to POST instead.
        ("/v1/responses", 426, "\r\nupgrade: HTTP/1.1\r\n"),
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut stream = ask(&bed, &head, b"").await;
        let answer = stream.take_until("SYS_NOT_SUPPORTED").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(shape),
            "{path}: {answer}"
        );
    }
    assert_eq!(count(&bed.openai) + count(&bed.claude), 0);
}

#[tokio::test]
async fn a_body_flows_through_in_both_directions_before_it_is_whole() {
    let (bed, peer) = Bed::raw("openai", |_| (), &["--max-body", "16KiB"]).await;
    let head = "POST /providers/openai/v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n\
                content-length: 1000000\r\n\r\n";
    let mut app = ask(&bed, head, b"--b first").await;
    let mut provider = peer.accept().await;
    provider.until("--b first").await;
    let seen = provider.text().to_ascii_lowercase();
    assert!(seen.starts_with("post /v1/files http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("content-length: 1000000") && seen.contains("boundary=b"),
        "{seen}"
    );
    app.send(vec![b'x'; 1_000_000 - 9]).await;
    provider.request().await;
    assert_eq!(bed.sidecar().held(), 0, "nothing of it is held");
    // The answer flows as well, with its length.
    provider
        .send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 10\r\n\r\nfirst")
        .await;
    let answer = app.take_until("first").await.to_ascii_lowercase();
    assert!(
        answer.contains("content-length: 10") && answer.contains("audio/mpeg"),
        "{answer}"
    );
    provider.send(b" last").await;
    app.take_until("last").await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_connection_is_used_again_after_an_upload() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut app = ask(&bed, head, b"4\r\nbody\r\n0\r\n\r\n").await;
    let mut provider = peer.accept().await;
    for _ in 0..2 {
        provider.take_until("body\r\n0\r\n\r\n").await;
        provider.send(OK).await;
        app.take_until("{}").await;
        app.send(head).await;
        app.send(b"4\r\nbody\r\n0\r\n\r\n").await;
    }
    provider.take_until("body").await;
}

#[tokio::test]
async fn an_answer_before_the_bodys_end_ends_the_upload_and_its_connection() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let mut app = ask(&bed, head, b"first").await;
    let mut provider = peer.accept().await;
    provider.take_until("first").await;
    provider
        .send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 24\r\n\r\n{\"error\":{\"message\":\"\"}}")
        .await;
    let answer = app.take_until("message").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // The connection with half a body on it does not stay open.
    provider.closed().await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_caller_that_leaves_in_mid_body_ends_the_request_at_the_provider() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let app = ask(&bed, head, b"first").await;
    let mut provider = peer.accept().await;
    provider.take_until("first").await;
    drop(app);
    provider.closed().await;
    bed.balanced().await;
    assert_eq!(bed.provider_health("openai").await["status"], "ok");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_announced_or_not() {
    let (bed, peer) = Bed::raw("openai", |_| (), &["--max-upload", "1KiB"]).await;
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1025\r\n\r\n";
    let mut app = ask(&bed, head, b"").await;
    let answer = app.take_until("VAL_TOO_LARGE").await;
    assert!(answer.starts_with("HTTP/1.1 413"));
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut app = ask(&bed, head, format!("401\r\n{}\r\n", "x".repeat(1025)).as_bytes()).await;
    let _provider = peer.accept().await;
    let answer = app.take_until("VAL_TOO_LARGE").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    bed.balanced().await;
}

#[tokio::test]
async fn an_upload_that_stands_still_is_ended_and_the_right_one_blamed() {
    let timeouts = |spec: &mut Value| spec["timeouts"] = json!({"idle": "200ms"});
    let (bed, peer) = Bed::raw("openai", timeouts, &[]).await;
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let mut app = ask(&bed, head, b"first").await;
    let _provider = peer.accept().await;
    let answer = app.take_until("VAL_HTTP").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // A provider that takes nothing more: the caller has sent all that the sockets hold.
    let head = "POST /providers/openai/files HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n";
    let mut app = ask(&bed, head, b"").await;
    let _provider = peer.accept().await;
    app.pour_until(&vec![b'x'; 1 << 20], "EXT_IDLE_TIMEOUT").await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_redirect_is_the_callers_and_leads_back_through_the_sidecar() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let own = format!("http://{}/v1/files/f/content?x=1", peer.address());
    for (location, told) in [
        (
            own.as_str(),
            format!("http://{}/providers/openai/files/f/content?x=1", bed.address()),
        ),
        ("https://blob.example/signed", "https://blob.example/signed".to_owned()),
        ("https://blob.example/?key=sk-canary-openai-7f3a", String::new()),
    ] {
        let asked = bed.get("/providers/openai/files/f/content").send();
        let serve = async {
            let mut provider = peer.accept().await;
            provider.take_until("\r\n\r\n").await;
            let answer =
                format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            provider.send(answer).await;
        };
        let (reply, ()) = tokio::join!(asked, serve);
        let reply = Reply::of(reply.unwrap()).await;
        assert_eq!((reply.status, reply.header("location")), (302, told.as_str()));
    }
    assert_eq!(
        bed.provider_health("openai").await["status"],
        "ok",
        "a redirect is no failure here"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_head_request_tells_the_length_and_has_no_body() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let mut app = ask(&bed, "HEAD /providers/openai/files/f HTTP/1.1\r\nhost: x\r\n\r\n", b"").await;
    let mut provider = peer.accept().await;
    provider.take_until("\r\n\r\n").await;
    provider.send(b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n").await;
    let answer = app.take_until("\r\n\r\n").await;
    assert!(answer.contains("content-length: 12345"), "{answer}");
    bed.balanced().await;
}

#[tokio::test]
async fn errors_pass_as_they_are_and_neither_key_nor_models_suffer_from_them() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["circuitBreaker"] = json!({"failureThreshold": 2, "openFor": "60s"});
        }
    })
    .await;
    let below = "/providers/openai/v1/chat/completions";
    let ask = || async { Reply::of(bed.post(below, &chat("gpt-4.1-mini", false)).send().await.unwrap()).await };
    for code in [403, 401, 404, 429] {
        bed.openai.script(Behaviour::status(code));
        let reply = ask().await;
        assert_eq!(reply.status, code);
        assert!(
            !reply.text.contains("SYS_") && !reply.text.contains("EXT_"),
            "{}",
            reply.text
        );
    }
    let chat = || async { bed.chat_with("gpt-4.1-mini", false).await.provider().to_owned() };
    assert_eq!(chat().await, "openai", "the key is as good as before");
    for _ in 0..2 {
        bed.openai.script(Behaviour::status(500));
        assert_eq!(ask().await.status, 500);
    }
    let before = count(&bed.openai);
    let reply = ask().await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("EXT_ALL_UNAVAILABLE"))
    );
    assert_eq!(count(&bed.openai), before, "its own circuit is open");
    assert_eq!(chat().await, "openai", "and the models' is not");
    let state = bed
        .metric("bowsprit_breaker_state{provider=\"openai\",model=\"passthrough\"}")
        .await;
    assert_eq!(state, 2.0);
    bed.balanced().await;
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_error_that_quotes_the_key_is_withheld_compressed_or_not() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    let canary = CANARIES[2];
    let quoting = format!("{{\"error\":{{\"message\":\"bad key {canary}\"}}}}");
    let decent = "{\"error\":{\"message\":\"bad file\"}}";
    for (headers, body, is_withheld) in [
        (
            format!("x-echo: Bearer {canary}\r\n"),
            quoting.clone().into_bytes(),
            true,
        ),
        ("content-encoding: gzip\r\n".to_owned(), gzip(&quoting), true),
        ("content-encoding: gzip\r\n".to_owned(), gzip(decent), false),
        ("content-encoding: gzip\r\n".to_owned(), b"\x1fsqueezed".to_vec(), true),
        ("content-encoding: br\r\n".to_owned(), b"squeezed".to_vec(), true),
    ] {
        let asked = bed.get("/providers/openai/v1/files").send();
        let serve = async {
            let mut provider = peer.accept().await;
            provider.take_until("\r\n\r\n").await;
            let head = format!(
                "HTTP/1.1 400 Bad\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            provider.send([head.as_bytes(), body.as_slice()].concat()).await;
        };
        let (reply, ()) = tokio::join!(asked, serve);
        let reply = Reply::of(reply.unwrap()).await;
        assert_eq!((reply.status, reply.header("content-encoding")), (400, ""));
        if is_withheld {
            assert_eq!(reply.json()["error"]["bowsprit_code"], "VAL_PROVIDER_REFUSED");
            assert!(reply.text.contains("withheld"), "{}", reply.text);
        } else {
            assert_eq!(reply.text, decent);
        }
        assert!(!format!("{:?}{}", reply.headers, reply.text).contains(canary));
    }
    assert!(!logs().contains(canary));
}

#[tokio::test]
async fn what_a_provider_says_of_its_accounts_limits_is_read_here_too() {
    let bed = Bed::new().await;
    let used_up = Answer::new("the last one")
        .header("x-ratelimit-limit-requests", "100")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "600s");
    bed.openai.script(used_up);
    let below = bed.post("/providers/openai/v1/chat/completions", &chat("gpt-4.1-mini", false));
    assert_eq!(below.send().await.unwrap().status(), 200);
    assert_eq!(bed.provider_health("openai").await["status"], "no headroom");
    bed.balanced().await;
}

#[tokio::test]
async fn an_idle_connection_that_breaks_is_nobodys_failure_where_nothing_is_done_twice() {
    let bed = Bed::new().await;
    let broken = || Answer::new("hi").after(After::ResetOnNextRequest);
    bed.openai.script(broken());
    assert_eq!(bed.chat_with("gpt-4.1-mini", false).await.provider(), "openai");
    let asked = bed.get("/providers/openai/v1/models");
    assert_eq!(asked.send().await.unwrap().status(), 200);
    bed.openai.script(broken());
    assert_eq!(bed.chat_with("gpt-4.1-mini", false).await.provider(), "openai");
    let asked = bed.post("/providers/openai/v1/chat/completions", &chat("gpt-4.1-mini", false));
    assert_eq!(asked.send().await.unwrap().status(), 502, "its body is gone");
    bed.balanced().await;
}

#[tokio::test]
async fn limits_hold_here_too() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["rateLimits"] = json!({"requestsPerMinute": 10, "onLimit": "Reject"});
        }
    })
    .await;
    bed.get("/providers/openai/v1/files").send().await.unwrap();
    let reply = Reply::of(bed.get("/providers/openai/v1/files").send().await.unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (429, Some("RATE_LOCAL_LIMIT"))
    );
    assert!(!reply.header("retry-after").is_empty());
    bed.balanced().await;
}

#[tokio::test]
async fn named_limits_of_a_policy_hold_here_too_and_take_no_tokens() {
    let bed = Bed::new().await;
    let limits = json!([
        {"name": "calls", "requestsPerMinute": 10},
        {"name": "tokens", "tokensPerMinute": 10},
        {"name": "some", "requestsPerMinute": 1, "models": ["claude-*"]},
        {"name": "each", "concurrentRequests": 1, "per": "Provider"},
    ]);
    let policy = documents::policy("house", &json!({"limits": limits}));
    std::fs::write(bed.config_path(), bed.documents(&|_, _| {}) + &policy).unwrap();
    bed.until("the policy is live", || async {
        bed.metric("bowsprit_config_loaded_total").await == 2.0
    })
    .await;
    bed.get("/providers/openai/v1/files").send().await.unwrap();
    let reply = Reply::of(bed.get("/providers/openai/v1/files").send().await.unwrap()).await;
    assert_eq!((reply.status, reply.header("x-bowsprit-limit")), (429, "calls"));
    assert_eq!(bed.access().last().unwrap()["refused_by"], "limit:calls");
    let health = bed.health().await;
    let limit = |name: &str| {
        let all = health["limits"].as_array().unwrap();
        all.iter().find(|limit| limit["name"] == name).unwrap().clone()
    };
    assert_eq!(limit("policy/house/tokens")["left"]["tokensPerMinute"], 1);
    assert_eq!(limit("policy/house/some")["left"]["requestsPerMinute"], 1);
    assert_eq!(limit("policy/house/each")["keys"], 1, "of the provider that was asked");
    assert_eq!(limit("policy/house/each")["inFlight"], 0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_provider_that_fails_before_its_answer_is_told_with_its_code() {
    let (bed, peer) = Bed::raw(
        "openai",
        |spec| spec["timeouts"] = json!({"total": "300ms", "idle": "200ms"}),
        &[],
    )
    .await;
    let asked = tokio::spawn(bed.get("/providers/openai/v1/files").send());
    let provider = peer.accept().await;
    let reply = Reply::of(asked.await.unwrap().unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (504, Some("EXT_TOTAL_TIMEOUT"))
    );
    drop(provider);
    drop(peer);
    let reply = Reply::of(bed.get("/providers/openai/v1/files").send().await.unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (502, Some("EXT_CONNECT_REFUSED"))
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_stop_cuts_a_pass_through_at_its_deadline() {
    let (mut bed, peer) = Bed::raw("openai", |_| (), &["--drain-deadline", "100ms"]).await;
    let asked = tokio::spawn(bed.get("/providers/openai/v1/files").send());
    let _provider = peer.accept().await;
    let drained = bed.sidecar.take().unwrap().stop().await;
    assert_eq!(drained, Drained::Cut(1));
    let reply = Reply::of(asked.await.unwrap().unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("SYS_DRAINING"))
    );
}

#[tokio::test]
async fn a_provider_config_can_switch_it_off() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["passThrough"] = json!(false);
        }
    })
    .await;
    let reply = Reply::of(bed.get("/providers/openai/v1/files").send().await.unwrap()).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (404, Some("RES_PATH_NOT_FOUND"))
    );
    assert!(reply.text.contains("spec.passThrough"), "{}", reply.text);
    assert_eq!(count(&bed.openai), 0);
    assert_eq!(bed.chat_with("gpt-4.1-mini", false).await.provider(), "openai");
    bed.balanced().await;
}
