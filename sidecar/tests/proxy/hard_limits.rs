//! What a peer sends beyond a limit, as raw bytes, and what becomes of it.

use std::time::Duration;

use bowsprit_providers::{Answer, Behaviour};
use serde_json::json;

use crate::support::{Bed, CANARIES, Reply, SOON, chat, count, logs, message};

/// Everything that comes back until the connection's end; an answer without that end fails by time.
async fn exchange(bed: &Bed, bytes: &[u8]) -> String {
    let mut connection = bed.connect().await;
    let _ = connection.try_send(bytes).await;
    connection.rest().await
}

const BODY: &str = r#"{"model":"gpt-4.1-mini","messages":[{"role":"user","content":"hello"}]}"#;

fn request(headers: &str) -> Vec<u8> {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{headers}\r\n{BODY}").into_bytes()
}

#[tokio::test]
async fn a_request_that_says_twice_where_it_ends_is_refused_and_its_connection_closed() {
    let bed = Bed::new().await;
    let length = BODY.len();
    let chunked = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
    for headers in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        "content-length: 4\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n".to_owned(),
    ] {
        let bytes = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{headers}\r\n{chunked}");
        // A second request hides behind the first.
        let answer = exchange(
            &bed,
            format!("{bytes}GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("VAL_HTTP"),
            "{headers}: {answer}"
        );
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    assert_eq!(count(&bed.openai), 0);
    // Chunked alone is fine, again and again on one connection.
    let mut caller = bed.connect().await;
    for _ in 0..3 {
        let bytes =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunked}");
        caller.send(bytes).await;
        let reply = caller.reply().await;
        assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text());
    }
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_before_anyone_sees_it() {
    let bed = Bed::new().await;
    let length = BODY.len();
    let fields = "x: y\r\n".repeat(101);
    for (what, headers, status) in [
        (
            "two lengths",
            format!("content-length: {length}\r\ncontent-length: 4\r\n"),
            "400",
        ),
        ("a length with a sign", format!("content-length: +{length}\r\n"), "400"),
        (
            "a list of lengths",
            format!("content-length: {length}, {length}\r\n"),
            "400",
        ),
        ("an unknown encoding", "transfer-encoding: xchunked\r\n".into(), "400"),
        ("chunked not last", "transfer-encoding: chunked, gzip\r\n".into(), "400"),
        (
            "a folded header",
            format!("content-length: {length}\r\nx: a\r\n b\r\n"),
            "400",
        ),
        (
            "a space before a colon",
            format!("content-length : {length}\r\n"),
            "400",
        ),
        ("101 fields", fields, "431"),
        ("a value of 64 KiB", format!("x: {}\r\n", "y".repeat(64 << 10)), "431"),
    ] {
        let answer = exchange(&bed, &request(&headers)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
    }
    for line in [
        "CONNECT evil.example:443 HTTP/1.1",
        "GET /v1/models HTTP/9.9",
        "\u{1}\u{2}",
    ] {
        let answer = exchange(
            &bed,
            format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
    }
    let long = format!(
        "GET /v1/models?x={} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "y".repeat(16 << 10)
    );
    assert!(exchange(&bed, long.as_bytes()).await.starts_with("HTTP/1.1 414"));
    assert_eq!(count(&bed.openai), 0);
    assert!(
        bed.metric("bowsprit_connections_failed_total{reason=\"malformed\"}")
            .await
            >= 7.0
    );
    assert_eq!(
        bed.metric("bowsprit_connections_failed_total{reason=\"too_large\"}")
            .await,
        2.0
    );
    bed.balanced().await;
}

#[tokio::test]
async fn an_absolute_target_chooses_no_host() {
    let bed = Bed::new().await;
    let bytes = format!(
        "POST http://evil.example/v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    assert!(exchange(&bed, bytes.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let seen = bed.openai.requests().remove(0);
    assert_eq!(seen.path, "/v1/chat/completions");
    assert!(!String::from_utf8_lossy(&seen.raw_head).contains("evil"));
}

/// Time stands still while anything moves and jumps to the next timer when nothing does.
#[tokio::test(start_paused = true)]
async fn a_head_that_never_comes_to_its_end_closes_its_connection() {
    let bed = Bed::new().await;
    let begun = tokio::time::Instant::now();
    let mut caller = bed.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n").await;
    assert!(caller.ends_within(5 * SOON).await);
    assert_eq!(caller.text(), "");
    let waited = begun.elapsed();
    assert!(
        (Duration::from_secs(59)..Duration::from_secs(62)).contains(&waited),
        "{waited:?}"
    );
    assert!(
        bed.sidecar()
            .metrics()
            .contains("bowsprit_connections_failed_total{reason=\"header_timeout\"} 1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_says_a_word_is_closed_like_one_that_says_half() {
    let bed = Bed::new().await;
    let begun = tokio::time::Instant::now();
    let mut caller = bed.send(b"").await;
    assert!(caller.ends_within(5 * SOON).await);
    let waited = begun.elapsed();
    assert!(
        (Duration::from_secs(59)..Duration::from_secs(62)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_to_its_end_is_refused() {
    let bed = Bed::new().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n";
    let mut caller = bed.send(head).await;
    assert!(caller.ends_within(5 * SOON).await);
    assert!(caller.text().contains("VAL_HTTP"), "{}", caller.text());
    assert!(caller.seen.starts_with(b"HTTP/1.1 400"));
}

#[tokio::test]
async fn bodies_beyond_the_memory_budget_wait_and_then_are_shed() {
    let bed = Bed::build(|_, _| (), &["--memory-budget", "300KiB", "--max-body", "1MiB"]).await;
    bed.openai.always(Behaviour::hang());
    let large = |kib: usize| {
        let mut body = chat("gpt-4.1-mini", false);
        body["messages"][0]["content"] = "x".repeat(kib << 10).into();
        body
    };
    let first = tokio::spawn(bed.post("/v1/chat/completions", &large(200)).send());
    bed.until("the first body is held", || async { bed.sidecar().held() > 200 << 10 })
        .await;
    let shed = Reply::of(bed.post("/v1/chat/completions", &large(200)).send().await.unwrap()).await;
    assert_eq!(
        (shed.status, shed.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("SYS_OVERLOADED"))
    );
    assert_eq!(shed.header("retry-after"), "1");
    assert!(bed.metric("bowsprit_held_bytes").await > 200_000.0);
    assert_eq!(bed.metric("bowsprit_held_bytes_limit").await, 300.0 * 1024.0);
    // A small one needs no room, a larger one than there can ever be is told so at once.
    assert_eq!(bed.chat().await.status, 200);
    let never = Reply::of(bed.post("/v1/chat/completions", &large(400)).send().await.unwrap()).await;
    assert_eq!(
        (never.status, never.json()["error"]["bowsprit_code"].as_str()),
        (413, Some("VAL_TOO_LARGE"))
    );
    first.abort();
    bed.until("its room is given back", || async { bed.sidecar().held() == 0 })
        .await;
    bed.balanced().await;
}

#[tokio::test]
async fn an_answer_that_finds_no_memory_flows_or_is_shed_but_never_blamed_on_the_provider() {
    let bed = Bed::build(|_, _| (), &["--memory-budget", "16KiB"]).await;
    let long = "word ".repeat(20_000);
    bed.openai.always(Answer::new(&long));
    bed.claude.always(Answer::new(&long));
    let flows = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((flows.status, flows.complete), (200, true));
    assert!(flows.text.len() > 100_000 - 1_000, "{}", flows.text.len());
    let shed = bed.chat().await;
    assert_eq!(
        (shed.status, shed.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("SYS_OVERLOADED"))
    );
    assert_eq!(bed.provider_health("claude").await["status"], "ok");
    bed.until("all room is given back", || async { bed.sidecar().held() == 0 })
        .await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_repeated_model_is_refused_on_every_path() {
    let bed = Bed::new().await;
    for path in ["/v1/chat/completions", "/v1/embeddings", "/v1/messages/count_tokens"] {
        let body = r#"{"model":"gpt-4.1-mini","input":"x","model":"gpt-4.1-mini-other"}"#;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&bed, head.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("model"),
            "{path}: {answer}"
        );
    }
    assert_eq!(count(&bed.openai) + count(&bed.claude), 0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_compressed_error_body_is_withheld_as_it_may_quote_the_key() {
    let (bed, peer) = Bed::raw("claude", |_| (), &[]).await;
    let asked = bed.post("/v1/messages", &message("claude-sonnet-4-5", false)).send();
    let serve = async {
        let mut provider = peer.asked().await;
        let body = "\u{1f}squeezed";
        let answer = format!(
            "HTTP/1.1 400 Bad\r\ncontent-encoding: gzip\r\nx-echo: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            CANARIES[0],
            body.len()
        );
        provider.send(answer).await;
    };
    let (reply, ()) = tokio::join!(asked, serve);
    let reply = Reply::of(reply.unwrap()).await;
    assert_eq!((reply.status, reply.json()["type"].as_str()), (400, Some("error")));
    assert!(!reply.text.contains("squeezed"), "{}", reply.text);
    assert!(!format!("{:?}{}", reply.headers, logs()).contains(CANARIES[0]));
}

#[tokio::test]
async fn a_key_in_a_good_answers_headers_does_not_reach_the_caller() {
    let bed = Bed::new().await;
    bed.openai.always(
        Answer::new("hi")
            .header("x-echo", format!("Bearer {}", CANARIES[2]))
            .header("x-kept", "yes"),
    );
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((reply.header("x-echo"), reply.header("x-kept")), ("", "yes"));
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_connected_to() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["endpoint"]["baseUrl"] = json!("http://localhost:9");
            spec["endpoint"]["allowedAddresses"] = json!(["Public", "Private"]);
        }
    })
    .await;
    let reply = bed.chat().await;
    assert_eq!(reply.provider(), "gemini", "the next candidate answers");
    let denied = bed
        .metric("bowsprit_attempts_total{provider=\"claude\",model=\"claude-sonnet-4-5\",code=\"EXT_ADDRESS_DENIED\"}")
        .await;
    assert_eq!(denied, 1.0);
    let reply = Reply::of(bed.get("/providers/claude/v1/files").send().await.unwrap()).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["type"]),
        (500, &"api_error".into())
    );
    assert!(reply.text.contains("a loopback address"), "{}", reply.text);
}

#[tokio::test]
async fn a_provider_that_is_the_sidecar_itself_is_never_asked() {
    let mut bed = Bed::providers();
    bed.write_config(&|_, _| ());
    bed.start(&[]);
    let own = bed.address();
    let before = bed.health().await["config"]["revision"].clone();
    bed.write_config(&|name, spec| {
        if name == "claude" {
            spec["endpoint"]["baseUrl"] = json!(format!("http://{own}"));
        }
    });
    bed.until("the reload", || async {
        bed.health().await["config"]["revision"] != before
    })
    .await;
    let reply = bed.chat().await;
    assert_eq!(reply.provider(), "gemini");
    bed.balanced().await;
}
