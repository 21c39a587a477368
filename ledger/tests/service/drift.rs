//! The service holds its ledger against a real Prometheus by itself, and the alert that the chart brings fires by what it tells.

use std::fmt::Write as _;
use std::time::Instant;

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::service::now;
use serde_json::Value;

use crate::apiserver::pods;
use crate::entries::{arrival, attempt};
use crate::program::{PATIENCE, Place, Program};
use crate::reconcile::Prometheus;
use crate::server::free_port;

const RULES: &str = include_str!("../../../charts/bowsprit/alerts/pipeline.yaml");

/// The expression of an alert of the chart.
fn expression(alert: &str) -> &'static str {
    let (_, rule) = RULES.split_once(&format!("alert: {alert}\n")).unwrap();
    let line = rule.lines().next().unwrap();
    line.trim().strip_prefix("expr: ").unwrap()
}

/// What two of [`attempt`] count, half an hour ago, of a sidecar that goes on; `input` as Prometheus has it.
fn history(now: i64, input: u64) -> String {
    let mut text = String::new();
    let counted = [("input", input), ("output", 40), ("cached", 20)];
    let mut family = |name: &str, series: &[(String, u64)]| {
        let _ = writeln!(text, "# TYPE {name} counter");
        for (labels, value) in series {
            for minutes in (11..=55).rev() {
                let value = if minutes > 30 { 0 } else { *value };
                let _ = writeln!(text, "{name}_total{{{labels}}} {value} {}", now / 1000 - minutes * 60);
            }
        }
    };
    let labels = |kind: &str| format!(r#"pod="app-1",provider="claude",model="m",kind="{kind}""#);
    family("bowsprit_tokens", &counted.map(|(kind, value)| (labels(kind), value)));
    let estimated = r#"pod="app-1",provider="claude",kind="output""#.to_owned();
    family("bowsprit_estimated_tokens", &[(estimated, 6)]);
    text + "# EOF\n"
}

async fn ask(prometheus: &Prometheus, expression: &str) -> Vec<Value> {
    let mut url = reqwest::Url::parse(&format!("{}/api/v1/query", prometheus.url)).unwrap();
    url.query_pairs_mut().append_pair("query", expression);
    let Ok(answer) = reqwest::get(url).await else {
        return Vec::new();
    };
    // One that is still starting says so in words.
    let Ok(answer) = answer.json::<Value>().await else {
        return Vec::new();
    };
    answer["data"]["result"].as_array().unwrap().clone()
}

/// What the service tells Prometheus of two attempts of which that has this much input: the drift by kind, and what the alert finds.
async fn drift(input: u64) -> (Vec<(String, String)>, Vec<Value>) {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let flags = ["--prometheus", &url, "--reconcile-seconds", "1"];
    let program = Program::start_with(Place::Sqlite, &flags).await;
    let now = now();
    let entries = ["r1", "r2"].map(|id| Entry::Attempt(Box::new(attempt(id, "answered"))));
    let mut batch = arrival("app-1", 1, entries).batch;
    // Between two scrapes of a window that is over.
    batch
        .entries
        .iter_mut()
        .for_each(|entry| entry.at = now - 30 * 60_000 - 30_000);
    assert_eq!(program.post(&pods("team", "app-1"), &batch).await.unwrap().0, 200);
    assert!(
        program.metric("reconciles_total{result=\"closes\"}").await < 1.0,
        "there is no Prometheus yet"
    );

    let prometheus = Prometheus::start(port, &program.admin_address(), Some(&history(now, input)));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = ask(&prometheus, "bowsprit_ledger_drift_tokens").await;
        if told.len() == 4 {
            let line = |series: &Value| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                assert_eq!(
                    (&series["metric"]["beside"], &series["metric"]["provider"]),
                    (&"prometheus".into(), &"claude".into())
                );
                (text(&series["metric"]["kind"]), text(&series["value"][1]))
            };
            let mut lines: Vec<_> = told.iter().map(line).collect();
            lines.sort();
            return (lines, ask(&prometheus, expression("BowspritLedgerDoesNotClose")).await);
        }
        assert!(Instant::now() < deadline, "{told:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_differs_from_prometheus_is_a_metric_and_the_charts_alert_finds_it() {
    let lines = |input: &str| {
        [
            ("cached", "0"),
            ("estimated_output", "0"),
            ("input", input),
            ("output", "0"),
        ]
        .map(|(kind, drift)| (kind.to_owned(), drift.to_owned()))
    };
    let (told, firing) = drift(200).await;
    assert_eq!(told, lines("0"));
    assert_eq!(firing, Vec::<Value>::new());
    let (told, firing) = drift(207).await;
    assert_eq!(told, lines("7"));
    assert_eq!(firing.len(), 1, "{firing:?}");
    assert_eq!(firing[0]["value"][1], "7");
}
