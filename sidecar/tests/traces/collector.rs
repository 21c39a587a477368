//! The same against OpenTelemetry's own collector, which `tests/collector/run` builds: what it writes is read.

use bowsprit_rig::metrics::sum;
use bowsprit_rig::peer::Peer;
use bowsprit_rig::until;
use serde_json::json;

use crate::{Bed, OK, PARENT, TRACE, listening};

#[tokio::test]
#[ignore = "needs a collector: tests/collector/run"]
async fn a_real_collector_is_told_the_same_tree() {
    let program = std::env::var("BOWSPRIT_COLLECTOR").expect("tests/collector/run sets it");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spans.json");
    // A port that was free a moment ago: the collector cannot choose one.
    let address = Peer::start().await.address();
    let config = json!({
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": address.to_string()}}}},
        "exporters": {"file": {"path": file, "flush_interval": "50ms"}},
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    });
    let _collector = listening(&program, &config, dir.path(), &[address]).await;
    let url = format!("http://{address}");
    let bed = Bed::start(
        OK,
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_SERVICE_NAME", "shop")],
    )
    .await;
    bed.ask(&format!("traceparent: {PARENT}\r\n")).await;
    let spans = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let of = |value: &serde_json::Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let resources = lines.flat_map(|line| of(&line, "resourceSpans"));
        let scopes = resources.flat_map(|resource| {
            assert!(resource["resource"].to_string().contains("\"shop\""), "{resource}");
            of(&resource, "scopeSpans")
        });
        scopes.flat_map(|scope| of(&scope, "spans")).collect()
    };
    until("four spans are written", || async { spans().len() >= 4 }).await;
    let spans = spans();
    let said = |span: &serde_json::Value, key: &str| {
        let found = span["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|attribute| attribute["key"] == key);
        found.map(|attribute| attribute["value"].clone()).unwrap_or_default()
    };
    let server = spans.iter().find(|span| span["kind"] == 2).unwrap();
    assert_eq!(
        (&server["traceId"], &server["parentSpanId"]),
        (&json!(TRACE), &json!("00f067aa0ba902b7"))
    );
    assert_eq!(server["events"][0]["name"], "failed");
    let attempts: Vec<_> = spans.iter().filter(|span| span["kind"] == 3).collect();
    assert_eq!(attempts.len(), 3, "{spans:#?}");
    for attempt in attempts {
        assert_eq!(
            (&attempt["traceId"], &attempt["parentSpanId"]),
            (&json!(TRACE), &server["spanId"])
        );
        let is_failed = said(attempt, "bowsprit.provider")["stringValue"] == "failing";
        assert_eq!(attempt["status"]["code"] == 2, is_failed, "{attempt}");
        if said(attempt, "bowsprit.provider")["stringValue"] == "streaming" {
            assert_eq!(said(attempt, "gen_ai.usage.input_tokens"), json!({"intValue": "1000"}));
            assert_eq!(said(attempt, "bowsprit.cost.usd"), json!({"doubleValue": 0.003}));
        }
        println!(
            "{} {} {}",
            attempt["name"],
            said(attempt, "bowsprit.provider"),
            attempt["status"]
        );
    }
    let metrics = bed.program.metrics().await;
    assert!(sum(&metrics, "bowsprit_spans_total", &["exported"]) >= 4.0, "{metrics}");
}
