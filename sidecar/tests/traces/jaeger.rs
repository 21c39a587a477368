//! The same against a real Jaeger, which `tests/jaeger/run` builds: the tree is read back by the API that its pages ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bowsprit_rig::connection::{Connection, Lookout};
use bowsprit_rig::http;
use bowsprit_rig::peer::Peer;
use bowsprit_rig::process::Process;
use bowsprit_rig::until;
use serde_json::{Value, json};

use crate::{Bed, OK, PARENT, TRACE, listening};

/// Jaeger with its memory as store, on loopback alone.
struct Jaeger {
    _process: Process,
    otlp: SocketAddr,
    query: SocketAddr,
    /// Finds a key in what it tells.
    lookout: Lookout,
    _dir: tempfile::TempDir,
}

impl Jaeger {
    async fn start() -> Self {
        let program = std::env::var("BOWSPRIT_JAEGER").expect("tests/jaeger/run sets it");
        // Ports that were free a moment ago: it cannot choose them.
        let [otlp, query, grpc] =
            [Peer::start().await, Peer::start().await, Peer::start().await].map(|it| it.address());
        let config = json!({
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": otlp.to_string()}}}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100}}}},
                "jaeger_query": {
                    "storage": {"traces": "memory"},
                    "http": {"endpoint": query.to_string()},
                    "grpc": {"endpoint": grpc.to_string()},
                },
            },
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
                "telemetry": {"metrics": {"level": "none"}},
            },
        });
        let dir = tempfile::tempdir().unwrap();
        let process = listening(&program, &config, dir.path(), &[otlp, query]).await;
        Self {
            _process: process,
            otlp,
            query,
            lookout: Lookout::new("sk-a-key"),
            _dir: dir,
        }
    }

    /// The traces that its query API answers with.
    async fn traces(&self, path: &str) -> Vec<Value> {
        let mut connection = Connection::connect(self.query, &self.lookout).await;
        connection.send(http::get(path)).await;
        let reply = connection.reply().await;
        // It has nobody of that name yet, or no such trace.
        if reply.status == 404 {
            return Vec::new();
        }
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()["data"].as_array().cloned().unwrap_or_default()
    }
}

/// A span of Jaeger's.
#[derive(Debug)]
struct Seen {
    id: String,
    name: String,
    /// Trace and span of its parent.
    parent: (String, String),
    tags: BTreeMap<String, String>,
    events: Vec<String>,
    /// Its begin and end, microseconds.
    times: (u64, u64),
}

impl Seen {
    /// Whether the request and its attempts are there.
    fn is_whole(trace: &Value) -> bool {
        trace["spans"].as_array().is_some_and(|spans| spans.len() >= 4)
    }

    fn all(trace: &Value) -> Vec<Self> {
        let spans = trace["spans"].as_array().unwrap();
        spans.iter().map(Self::of).collect()
    }

    fn of(span: &Value) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let of = |list: &Value| -> BTreeMap<String, String> {
            let list = list.as_array().unwrap();
            list.iter().map(|it| (text(&it["key"]), text(&it["value"]))).collect()
        };
        let references = span["references"].as_array().unwrap();
        assert_eq!(references.len(), 1, "{span:#}");
        assert_eq!(references[0]["refType"], "CHILD_OF");
        let begin = span["startTime"].as_u64().unwrap();
        let logs = span["logs"].as_array().unwrap();
        Self {
            id: text(&span["spanID"]),
            name: text(&span["operationName"]),
            parent: (text(&references[0]["traceID"]), text(&references[0]["spanID"])),
            tags: of(&span["tags"]),
            events: logs.iter().map(|log| of(&log["fields"])["event"].clone()).collect(),
            times: (begin, begin + span["duration"].as_u64().unwrap()),
        }
    }

    fn said(&self, key: &str) -> &str {
        self.tags.get(key).map_or("", String::as_str)
    }
}

#[tokio::test]
#[ignore = "needs a Jaeger: tests/jaeger/run"]
async fn jaeger_has_a_failed_over_hedged_and_streamed_request_as_one_tree() {
    let jaeger = Jaeger::start().await;
    let url = format!("http://{}", jaeger.otlp);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_SERVICE_NAME", "shop"),
    ];
    let bed = Bed::start(OK, &variables).await;
    bed.ask(&format!("traceparent: {PARENT}\r\nx-request-id: r-1\r\n"))
        .await;
    bed.ask("x-request-id: r-2\r\n").await;

    // As people look for it: by what the app knows, the id of its request.
    let by_id =
        |id: &str| format!("/api/traces?service=shop&lookback=1h&tags=%7B%22bowsprit.request_id%22%3A%22{id}%22%7D");
    until("both traces are whole", || async {
        let [one, other] = [jaeger.traces(&by_id("r-1")).await, jaeger.traces(&by_id("r-2")).await];
        [one, other]
            .iter()
            .all(|found| found.len() == 1 && Seen::is_whole(&found[0]))
    })
    .await;
    let found = jaeger.traces(&by_id("r-1")).await;
    assert_eq!(found[0]["traceID"], TRACE, "the caller's own");
    let whole = jaeger.traces(&format!("/api/traces/{TRACE}")).await;
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0]["processes"]["p1"]["serviceName"], "shop");
    let spans = Seen::all(&whole[0]);
    assert_eq!(spans.len(), 4, "the request, and each attempt once: {spans:#?}");

    let request = spans.iter().find(|span| span.name == "chat_completions").unwrap();
    assert_eq!(
        request.parent,
        (TRACE.to_owned(), "00f067aa0ba902b7".to_owned()),
        "the app's span"
    );
    for (key, value) in [
        ("span.kind", "server"),
        ("bowsprit.request_id", "r-1"),
        ("bowsprit.outcome", "ok"),
        ("bowsprit.attempts", "3"),
        ("bowsprit.hedges", "1"),
        ("gen_ai.request.model", "smart"),
        ("gen_ai.request.stream", "true"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(request.said(key), value, "{key}");
    }
    assert_eq!(request.events, ["failed"], "what led on from the first");

    let attempts: Vec<&Seen> = spans.iter().filter(|span| span.said("span.kind") == "client").collect();
    assert_eq!(attempts.len(), 3);
    for (provider, kind, outcome, error) in [
        ("failing", "first", "failed", "true"),
        ("silent", "fallback", "cancelled", ""),
        ("streaming", "hedge", "answered", ""),
    ] {
        let of: Vec<_> = attempts
            .iter()
            .filter(|span| span.said("bowsprit.provider") == provider)
            .collect();
        let [attempt] = of[..] else {
            panic!("{} attempts at {provider}", of.len())
        };
        assert_eq!(attempt.parent, (TRACE.to_owned(), request.id.clone()));
        assert_eq!(attempt.name, "chat gpt-4o");
        let said = ["bowsprit.attempt.kind", "bowsprit.attempt.outcome", "error"].map(|key| attempt.said(key));
        assert_eq!(said, [kind, outcome, error], "{attempt:#?}");
        // Within its parent, to a millisecond: spans end one after the other.
        let within = request.times.0 <= attempt.times.0 && attempt.times.1 <= request.times.1 + 1_000;
        assert!(within, "{attempt:#?} of {request:#?}");
        println!(
            "{} of {}: {kind}, {outcome}, {:?} us",
            attempt.name,
            provider,
            attempt.times.1 - attempt.times.0
        );
    }
    let answered = attempts
        .iter()
        .find(|span| span.said("bowsprit.provider") == "streaming")
        .unwrap();
    for (key, value) in [
        ("gen_ai.response.model", "gpt-4o-2024-08-06"),
        ("gen_ai.usage.input_tokens", "1000"),
        ("gen_ai.usage.output_tokens", "100"),
        ("bowsprit.cost.usd", "0.003"),
    ] {
        assert_eq!(answered.said(key), value, "{key}");
    }
    assert!(!jaeger.lookout.found(), "a key in a trace");
}
