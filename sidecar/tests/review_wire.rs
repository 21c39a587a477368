//! What scripted providers do not do: raw bytes on both sides of a sidecar.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::time::Duration;

use bowsprit_sidecar::app::{self, Running};
use bowsprit_sidecar::args::Args;
use bowsprit_sidecar::observe::AccessLog;
use clap::Parser as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(20);

/// A sidecar in front of one provider whose answers are raw bytes.
struct Bed {
    sidecar: Running,
    provider: TcpListener,
    dir: TempDir,
}

impl Bed {
    async fn new(kind: &str, more: &Value) -> Self {
        let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "sk-canary").unwrap();
        let mut spec = json!({
            "provider": kind,
            "endpoint": {"baseUrl": format!("http://{}", provider.local_addr().unwrap()), "allowHttp": true},
            "credentials": [{"name": "main", "file": dir.path().join("key")}],
            "retry": {"maxAttempts": 1},
        });
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        let document = json!({
            "apiVersion": "bowsprit.dev/v1alpha1",
            "kind": "ProviderConfig",
            "metadata": {"name": "it"},
            "spec": spec,
        });
        let config = dir.path().join("config.yaml");
        std::fs::write(&config, document.to_string()).unwrap();
        let config = config.to_str().unwrap();
        let args = [
            "sidecar",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--config",
            config,
        ];
        let sidecar = app::start_with(&Args::try_parse_from(args).unwrap(), AccessLog::in_memory()).unwrap();
        Self { sidecar, provider, dir }
    }

    /// Sends a request to the sidecar.
    async fn ask(&self, path: &str, body: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(self.sidecar.listen).await.unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream
    }

    /// Takes the provider's next connection with a whole request on it.
    async fn asked(&self) -> (TcpStream, String) {
        let (mut stream, _) = tokio::time::timeout(SOON, self.provider.accept())
            .await
            .unwrap()
            .unwrap();
        let seen = request(&mut stream).await;
        (stream, seen)
    }

    fn metrics(&self) -> String {
        self.sidecar.app.metrics.encode()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            tokio::time::timeout(SOON, waiting).await.is_ok(),
            "not within {SOON:?}: {what}"
        );
    }
}

/// One request with a Content-Length, as text.
async fn request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.map_or(0, |length| length.parse::<usize>().unwrap()) <= body.len() {
                return String::from_utf8(seen).unwrap();
            }
        }
        let read = tokio::time::timeout(SOON, stream.read_buf(&mut seen))
            .await
            .unwrap()
            .unwrap();
        assert!(read > 0, "the request broke off");
    }
}

/// Everything up to the connection's end.
async fn everything(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chat(stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
}

#[tokio::test]
async fn an_array_that_breaks_inside_an_element_breaks_the_connection() {
    let bed = Bed::new("Gemini", &json!({"models": [{"name": "m"}]})).await;
    let mut app = bed.ask("/v1beta/models/m:streamGenerateContent", &contents()).await;
    let (mut provider, _) = bed.asked().await;
    let first = r#"[{"candidates":[{"content":{"parts":[{"text":"one"}]}}]},"#;
    let half = r#"{"candidates":[{"content":{"par"#;
    let bytes = format!("{CHUNKED}{}{}", chunk(first), chunk(half));
    provider.write_all(bytes.as_bytes()).await.unwrap();
    drop(provider);
    let answer = everything(&mut app).await;
    assert!(answer.contains("one") && answer.contains("par"), "{answer}");
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "half an array must not come to a proper end: {answer}"
    );
    bed.until("it is counted as cut", |bed| bed.metrics().contains("outcome=\"cut\""))
        .await;
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_end_mark_spoils_nothing() {
    let bed = Bed::new("OpenAI", &json!({"models": [{"name": "m"}]})).await;
    let mut app = bed.ask("/v1/chat/completions", &chat(true)).await;
    let (mut provider, _) = bed.asked().await;
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\ndata: [DONE]\n\n";
    provider
        .write_all(format!("{EVENTS}{}", chunk(event)).as_bytes())
        .await
        .unwrap();
    drop(provider);
    let mut seen = Vec::new();
    while !seen.ends_with(b"0\r\n\r\n") {
        let read = tokio::time::timeout(SOON, app.read_buf(&mut seen))
            .await
            .unwrap()
            .unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
    }
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(!seen.contains("error"), "{seen}");
    bed.until("it is counted as answered", |bed| {
        bed.metrics()
            .contains("bowsprit_requests_total{outcome=\"ok\",code=\"\"} 1")
    })
    .await;
}

#[tokio::test]
async fn an_old_provider_does_not_make_the_apps_connection_old() {
    let bed = Bed::new("OpenAI", &json!({"models": [{"name": "m"}]})).await;
    let mut app = bed.ask("/v1/chat/completions", &chat(true)).await;
    let (mut provider, _) = bed.asked().await;
    let head = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n";
    provider.write_all(format!("{head}{event}").as_bytes()).await.unwrap();
    drop(provider);
    let mut seen = vec![0; 64];
    app.read_exact(&mut seen).await.unwrap();
    assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
}

#[tokio::test]
async fn a_whole_answer_is_handed_over_before_the_process_ends() {
    let bed = Bed::new("OpenAI", &json!({"models": [{"name": "m"}]})).await;
    // More than the socket buffers of both ends take, less than what is held before it flows.
    let text = "x".repeat(3 << 20);
    let body =
        json!({"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
    let body = body.to_string();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut app = socket.connect(bed.sidecar.listen).await.unwrap();
    let asked = chat(false).to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length:";
    app.write_all(format!("{head} {}\r\n\r\n{asked}", asked.len()).as_bytes())
        .await
        .unwrap();
    let (mut provider, _) = bed.asked().await;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    provider.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    app.readable().await.unwrap();
    bed.until("it is settled", |bed| bed.sidecar.app.drain.in_flight() == 0)
        .await;

    let mut stopping = tokio::spawn(bed.sidecar.stop());
    let early = tokio::time::timeout(Duration::from_millis(200), &mut stopping).await;
    assert!(
        early.is_err(),
        "the process would have ended with half an answer handed over"
    );
    let answer = everything(&mut app).await;
    assert!(answer.ends_with(&body), "{} of {} bytes", answer.len(), body.len());
    let drained = tokio::time::timeout(SOON, stopping).await.unwrap().unwrap();
    assert_eq!(drained, bowsprit_sidecar::drain::Drained::Clean);
}

impl Bed {
    /// Changes the configuration and waits until it is in service.
    async fn reload(&self, change: impl FnOnce(&mut Value)) {
        let path = self.dir.path().join("config.yaml");
        let mut document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let before = self.sidecar.app.config.report(self.sidecar.app.clock.now()).revision;
        change(&mut document["spec"]);
        std::fs::write(&path, document.to_string()).unwrap();
        self.until("the reload", |bed| {
            bed.sidecar.app.config.report(bed.sidecar.app.clock.now()).revision != before
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_never_follows_a_base_url_that_moved_with_its_reference() {
    let bed = Bed::new("OpenAI", &json!({"models": [{"name": "m"}]})).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let moved = format!("http://{}", elsewhere.local_addr().unwrap());
    let missing = bed.dir.path().join("not-mounted-yet");
    bed.reload(|spec| {
        spec["endpoint"]["baseUrl"] = json!(moved);
        spec["credentials"][0]["file"] = json!(missing);
    })
    .await;
    let mut app = bed.ask("/v1/chat/completions", &chat(false)).await;
    let outcome = tokio::select! {
        seen = async { request(&mut elsewhere.accept().await.unwrap().0).await } => seen,
        () = async { while app.read_u8().await.unwrap() != b'{' {} } => String::new(),
    };
    assert!(
        !outcome.contains("sk-canary"),
        "the old key went to the new address: {outcome}"
    );
    assert_eq!(outcome, "", "without a key nothing is sent");
}

#[tokio::test]
async fn a_retry_across_a_reload_does_not_carry_the_new_key_to_the_old_address() {
    let retry = json!({"models": [{"name": "m"}], "retry": {"maxAttempts": 2}});
    let bed = Bed::new("OpenAI", &retry).await;
    let mut app = bed.ask("/v1/chat/completions", &chat(false)).await;
    let (mut provider, seen) = bed.asked().await;
    assert!(seen.contains("Bearer sk-canary"));
    let later = "HTTP/1.1 503 Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    provider.write_all(later.as_bytes()).await.unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let moved = format!("http://{}", elsewhere.local_addr().unwrap());
    let key = bed.dir.path().join("new-key");
    std::fs::write(&key, "sk-new").unwrap();
    bed.reload(|spec| {
        spec["endpoint"]["baseUrl"] = json!(moved);
        spec["credentials"][0]["file"] = json!(key);
    })
    .await;
    let outcome = tokio::select! {
        (_, seen) = bed.asked() => seen,
        () = async { while app.read_u8().await.unwrap() != b'{' {} } => String::new(),
    };
    assert!(
        !outcome.contains("sk-new"),
        "the new key went to the old address: {outcome}"
    );
}

#[tokio::test]
async fn a_probe_carries_the_key_over_the_same_connections_as_requests() {
    let check = json!({"models": [{"name": "m"}], "healthCheck": {"enabled": true, "interval": "1s", "timeout": "1s"}});
    let bed = Bed::new("OpenAI", &check).await;
    let (mut provider, seen) = bed.asked().await;
    assert!(seen.starts_with("GET /v1/models HTTP/1.1"), "{seen}");
    assert!(seen.contains("authorization: Bearer sk-canary"), "{seen}");
    provider
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_caller_that_invents_models_makes_no_series_and_takes_no_breaker_from_a_listed_one() {
    let breaker = json!({"circuitBreaker": {"failureThreshold": 1}, "timeouts": {"connect": "1s"}});
    let bed = Bed::new("OpenAI", &breaker).await;
    let answer = |bed: Bed, model: String| async move {
        let mut asked = chat(false);
        asked["model"] = json!(model);
        let mut app = bed.ask("/v1/chat/completions", &asked).await;
        let (mut provider, _) = bed.asked().await;
        let failed = "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        provider.write_all(failed.as_bytes()).await.unwrap();
        while app.read_u8().await.unwrap() != b'{' {}
        bed
    };
    let mut bed = bed;
    for number in 0..64 {
        bed = answer(bed, format!("invented-{number}")).await;
    }
    // One more shares a breaker with all that follow; a model that is listed since has its own, which is closed.
    bed = answer(bed, "invented-65".into()).await;
    bed.reload(|spec| spec["models"] = json!([{"name": "listed"}])).await;
    bed = answer(bed, "listed".into()).await;
    bed.sidecar.app.metrics.providers.observe(
        bed.sidecar
            .app
            .snapshot
            .load()
            .as_ref()
            .unwrap()
            .upstreams()
            .iter()
            .map(|upstream| &*upstream.state),
        bed.sidecar.app.clock.now(),
    );
    let metrics = bed.metrics();
    assert!(!metrics.contains("invented"), "{metrics}");
    assert!(
        metrics.contains("bowsprit_breaker_state{provider=\"it\",model=\"other\"} 2"),
        "{metrics}"
    );
}
