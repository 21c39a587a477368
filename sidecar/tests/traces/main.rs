//! Traces as a collector gets them: the program with OpenTelemetry's variables, against a collector made of bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod collector;
mod jaeger;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use bowsprit_rig::documents::{chat, provider, route};
use bowsprit_rig::http::{Reply, post};
use bowsprit_rig::metrics::sum;
use bowsprit_rig::otlp::{Exports, Span};
use bowsprit_rig::peer::{EVENTS, LAST, Peer, Record, chunk};
use bowsprit_rig::process::Process;
use bowsprit_rig::program::Program;
use bowsprit_rig::until;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Three providers: one that fails, one that never answers, and one that streams an answer. Every request may be hedged.
struct Bed {
    providers: [Record; 3],
    collector: Record,
    program: Program,
    _dir: tempfile::TempDir,
}

/// A program of somebody else's with this configuration, in `dir`, as soon as it listens at all of these.
async fn listening(program: &str, config: &Value, dir: &Path, at: &[SocketAddr]) -> Process {
    let settings = dir.join("config.json");
    std::fs::write(&settings, config.to_string()).unwrap();
    let mut command = Command::new(program);
    command.arg("--config").arg(format!("file:{}", settings.display()));
    let process = Process::start(&mut command, &dir.join("log"));
    until("it listens", || async {
        assert!(process.ended().is_none(), "{}", process.output());
        at.iter().all(|at| TcpStream::connect(at).is_ok())
    })
    .await;
    process
}

impl Bed {
    async fn start(collector: &str, variables: &[(&str, &str)]) -> Self {
        let failure =
            "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let event = |data: &str| chunk(format!("data: {data}\n\n").as_bytes());
        let answer = [
            EVENTS.as_bytes(),
            &event(r#"{"id":"c-1","model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{"content":"ahoy"},"finish_reason":null}]}"#),
            &event(r#"{"id":"c-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#),
            &event(r#"{"id":"c-1","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"prompt_tokens_details":{"cached_tokens":400}}}"#),
            &event("[DONE]"),
            LAST.as_bytes(),
        ]
        .concat();
        let providers = [
            Peer::start().await.answering(failure),
            Peer::start().await.answering(""),
            Peer::start().await.answering(answer),
        ];
        let names = ["failing", "silent", "streaming"];
        let mut config = route(
            "smart",
            &json!({
                "match": {"models": ["smart"]},
                "targets": [{"provider": "failing", "model": "gpt-4o"}],
                "fallback": [{"provider": "silent", "model": "gpt-4o"}, {"provider": "streaming", "model": "gpt-4o"}],
                // Long enough that the failing one has failed by then on any machine: else the one hedge is spent on the silent one.
                "hedge": {"after": "300ms", "maxPercent": 100},
            }),
        );
        for (name, record) in names.iter().zip(&providers) {
            let spec = json!({
                "provider": "OpenAI",
                "endpoint": {"baseUrl": format!("{}/v1", record.url()), "allowHttp": true},
                "credentials": [{"name": "main", "env": "THE_KEY"}],
                "models": [{"name": "gpt-4o"}],
                "retry": {"maxAttempts": 1},
            });
            config += &provider(name, &spec);
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bowsprit.yaml");
        std::fs::write(&file, config).unwrap();
        let record = Peer::start().await.answering(collector.to_owned());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-sidecar"));
        command
            .args(["--config", file.to_str().unwrap(), "--log-level", "debug"])
            .env_clear()
            .env("THE_KEY", "sk-a-key-of-this-test")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", record.url())
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
            .envs(variables.iter().copied());
        let program = Program::start(command, &dir.path().join("output"), "sk-a-key").await;
        Self {
            providers,
            collector: record,
            program,
            _dir: dir,
        }
    }

    /// Asks with these headers beside the usual ones.
    async fn ask(&self, headers: &str) -> Reply {
        let mut caller = self.program.connect().await;
        let request = post("/v1/chat/completions", &chat("smart", true));
        caller
            .send(request.replacen("\r\n", &format!("\r\n{headers}"), 1))
            .await;
        let reply = caller.reply().await;
        assert!(reply.status == 200 && reply.is_ended_well(), "{}", reply.text());
        reply
    }

    /// As many spans, as soon as they have come.
    async fn spans(&self, count: usize) -> Exports {
        until("the spans have come", || async {
            Exports::of(&self.collector).spans.len() >= count
        })
        .await;
        Exports::of(&self.collector)
    }

    /// The `traceparent` that each provider was sent.
    fn sent(&self) -> Vec<String> {
        let of = |record: &Record| {
            let bytes = record.connections().concat();
            let head = String::from_utf8_lossy(&bytes).to_lowercase();
            let line = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
            line.unwrap_or_default().to_owned()
        };
        self.providers.iter().map(of).collect()
    }
}

#[tokio::test]
async fn a_failed_over_hedged_and_streamed_request_is_one_tree() {
    let variables = [
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=team%20a"),
    ];
    let bed = Bed::start(OK, &variables).await;
    let headers = format!("traceparent: {PARENT}\r\ntracestate: vendor=1\r\nx-request-id: r-1\r\n");
    let reply = bed.ask(&headers).await;
    assert_eq!(reply.provider(), "streaming");
    let exports = bed.spans(4).await;
    assert_eq!(exports.spans.len(), 4, "{exports:#?}");
    let server = exports.one("chat_completions");
    assert_eq!(
        (server.kind, server.parent.as_str(), server.trace.as_str()),
        (2, "00f067aa0ba902b7", TRACE)
    );
    assert_eq!(server.error, None);
    for (key, value) in [
        ("bowsprit.request_id", "r-1"),
        ("bowsprit.outcome", "ok"),
        ("bowsprit.route", "smart"),
        ("bowsprit.attempts", "3"),
        ("bowsprit.hedges", "1"),
        ("gen_ai.request.model", "smart"),
        ("gen_ai.request.stream", "true"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(server.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(server.events, ["failed"], "what led on from the first");
    let attempts: Vec<&Span> = exports.spans.iter().filter(|span| span.kind == 3).collect();
    let sent = bed.sent();
    for (span, (provider, kind, outcome, error)) in attempts.iter().zip([
        ("failing", "first", "failed", Some("EXT_SERVER_ERROR")),
        ("silent", "fallback", "cancelled", None),
        ("streaming", "hedge", "answered", None),
    ]) {
        // In the order of their ends; who lost a race ends with it.
        let span = attempts
            .iter()
            .find(|span| span.attributes["bowsprit.provider"] == provider)
            .unwrap_or(span);
        assert_eq!((span.parent.as_str(), span.trace.as_str()), (server.id.as_str(), TRACE));
        assert_eq!(span.name, "chat gpt-4o");
        let said = |key: &str| span.attributes.get(key).map_or("", String::as_str);
        assert_eq!(
            (said("bowsprit.attempt.kind"), said("bowsprit.attempt.outcome")),
            (kind, outcome)
        );
        assert_eq!(
            (said("gen_ai.provider.name"), said("gen_ai.operation.name")),
            ("openai", "chat")
        );
        assert_eq!(
            (said("server.address"), span.error.as_deref()),
            ("127.0.0.1", error),
            "{span:#?}"
        );
        // Each is dated back from the moment at which it was written, so that what came between is between them.
        let slack = 50_000_000;
        let (begins, ends) = (server.times.0 - slack, server.times.1 + slack);
        assert!(begins <= span.times.0 && span.times.0 <= span.times.1 && span.times.1 <= ends);
        let told = format!("00-{TRACE}-{}-01", span.id);
        assert!(
            sent.contains(&told),
            "the provider is told of its own span: {told} in {sent:?}"
        );
    }
    let answered = attempts
        .iter()
        .find(|span| span.attributes["bowsprit.provider"] == "streaming")
        .unwrap();
    for (key, value) in [
        ("gen_ai.response.model", "gpt-4o-2024-08-06"),
        ("gen_ai.usage.input_tokens", "1000"),
        ("gen_ai.usage.output_tokens", "100"),
        ("gen_ai.usage.cache_read.input_tokens", "400"),
        // 600 at 2.50, 400 at 1.25 and 100 at 10 dollars per million.
        ("bowsprit.cost.usd", "0.003"),
    ] {
        assert_eq!(answered.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(answered.attributes.contains_key("gen_ai.response.time_to_first_chunk"));
    assert_eq!(exports.resource["service.name"], "shop");
    let head = exports.heads[0].to_lowercase();
    assert!(
        head.starts_with("post /v1/traces http/1.1") && head.contains("x-scope: team a"),
        "{head}"
    );
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let all = bed.collector.connections().concat();
    for never in ["sk-a-key", "ahoy", "hello"] {
        assert!(
            memchr::memmem::find(&all, never.as_bytes()).is_none(),
            "{never} is in no span"
        );
    }
    let states = bed.providers.iter().all(|record| {
        let bytes = record.connections().concat();
        memchr::memmem::find(&bytes, b"tracestate: vendor=1").is_some()
    });
    assert!(states, "what vendors keep of a trace goes on");
}

#[tokio::test]
async fn every_line_of_a_request_and_its_bucket_lead_to_its_trace() {
    let bed = Bed::start(OK, &[]).await;
    bed.ask("").await;
    let exports = bed.spans(4).await;
    let server = exports.one("chat_completions");
    assert_eq!(
        (server.parent.as_str(), server.trace.len()),
        ("", 32),
        "a trace of its own"
    );
    let lines = || {
        let output = bed.program.output();
        let of = |target: &str| {
            output
                .lines()
                .filter(|line| line.contains(target))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        [
            of("\"target\":\"access\""),
            of("\"target\":\"attempt\""),
            of("\"attempt failed\""),
        ]
        .concat()
    };
    until("its lines are written", || async { lines().len() >= 5 }).await;
    for line in lines() {
        assert!(line.contains(&server.trace), "{line}");
    }
    let metrics = bed.program.metrics().await;
    let exemplar = format!("# {{trace_id=\"{}\"}}", server.trace);
    for family in [
        "bowsprit_request_duration_seconds_bucket",
        "bowsprit_first_token_seconds_bucket",
    ] {
        let is_told = |line: &str| line.starts_with(family) && line.contains(&exemplar);
        assert!(metrics.lines().any(is_told), "{family} in {metrics}");
    }
}

#[tokio::test]
async fn what_the_caller_does_not_keep_is_not_kept_and_its_trace_goes_on() {
    let bed = Bed::start(OK, &[]).await;
    bed.ask(&format!("traceparent: {}\r\n", PARENT.replace("-01", "-00")))
        .await;
    let sent = bed.sent();
    for header in &sent {
        assert!(
            header.starts_with(&format!("00-{TRACE}-")) && header.ends_with("-00"),
            "{sent:?}"
        );
        assert!(!header.contains("00f067aa0ba902b7"), "a child's own: {sent:?}");
    }
    // One that is kept comes after it, and comes alone.
    bed.ask(&format!("traceparent: {PARENT}\r\n")).await;
    assert_eq!(bed.spans(4).await.spans.len(), 4);
    assert!(!bed.program.metrics().await.contains("fate=\"exported\"} 8"));
}

#[tokio::test]
async fn without_a_collector_the_caller_s_header_passes_as_it_came() {
    let bed = Bed::start(OK, &[("OTEL_SDK_DISABLED", "true")]).await;
    bed.ask(&format!("traceparent: {PARENT}\r\n")).await;
    assert_eq!(bed.sent(), [PARENT; 3]);
    assert!(Exports::of(&bed.collector).heads.is_empty());
}

#[tokio::test]
async fn a_collector_that_is_down_costs_no_request_and_is_counted() {
    let refusing = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let queue = [("OTEL_BSP_MAX_QUEUE_SIZE", "6"), ("OTEL_BSP_SCHEDULE_DELAY", "60000")];
    let bed = Bed::start(refusing, &queue).await;
    for _ in 0..3 {
        bed.ask("").await;
    }
    // Twelve spans, room for six of them; the sixth wakes the exporter, whom the collector refuses.
    until("each span has its fate", || async {
        let metrics = bed.program.metrics().await;
        let of = |fate: &str| sum(&metrics, "bowsprit_spans_total", &[fate]);
        of("refused") + of("no_room") >= 6.0 && of("exported") == 0.0
    })
    .await;
    assert!(bed.program.output().contains("the collector does not take spans"));
    let invalid = Bed::start(OK, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).await;
    invalid.ask("").await;
    assert!(
        invalid.program.output().contains("use http/protobuf"),
        "{}",
        invalid.program.output()
    );
}

#[tokio::test]
async fn what_waits_goes_out_before_the_end() {
    let bed = Bed::start(OK, &[("OTEL_BSP_SCHEDULE_DELAY", "60000")]).await;
    bed.ask("").await;
    bed.program.signal("TERM");
    assert_eq!(bed.program.exit().await.code(), Some(0));
    assert_eq!(bed.spans(4).await.spans.len(), 4);
}
