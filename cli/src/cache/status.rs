//! `cache status`: what the sidecars keep, and how far they are with vectors that they ask for in the background.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::args::CacheStatusArgs;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::{Filling, Health, Kept};
use crate::health::{self, Seen};
use crate::output::units::{bytes, number};
use crate::output::{Cell, Paint, Report, Screen, Table, Tone, few};
use crate::progress::Progress;

/// Does the verb.
pub(super) async fn run(cluster: &Cluster, args: &CacheStatusArgs, screen: Screen) -> Result<Report, Failure> {
    let progress = Progress::start(screen, "asking the sidecars");
    let sidecars = health::sidecars(cluster, cluster.scope(args.place), args.pod.as_deref()).await?;
    let seen = health::ask(cluster, &sidecars).await?;
    drop(progress);
    let lines = lines(&seen, args.route.as_deref());
    if let (Some(wanted), true) = (&args.route, lines.kept.is_empty()) {
        return Err(Failure::Wrong(format!(
            "no sidecar here has a route {wanted} with a cache"
        )));
    }
    let well = lines.silent.is_empty() && !lines.filling.iter().any(|it| it.state == FAILED);
    Report::new(args.out.output, &lines, well, || told(&lines, screen.paint))
}

/// A next model that does not serve, because too much was given up.
const FAILED: &str = "failed";

/// Of all sidecars that answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lines {
    kept: Vec<KeptLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filling: Vec<FillingLine>,
    /// Pods that did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent: Vec<String>,
}

/// What is kept of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeptLine {
    namespace: String,
    route: String,
    /// `answers`, `questions` or `vectors`.
    what: &'static str,
    sidecars: u64,
    entries: u64,
    bytes: u64,
    max_bytes: u64,
}

/// How far those sidecars are that are in one state with a model of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FillingLine {
    namespace: String,
    route: String,
    next: String,
    state: String,
    filled: u64,
    of: u64,
    given_up: u64,
    waiting: u64,
    workers: u64,
    pods: Vec<String>,
}

fn lines(seen: &[Seen], route: Option<&str>) -> Lines {
    let is_meant = |of: &str| route.is_none_or(|wanted| wanted == of);
    let mut kept: BTreeMap<(&str, &str, &str), KeptLine> = BTreeMap::new();
    let mut filling: BTreeMap<(&str, &str, &str, &str), FillingLine> = BTreeMap::new();
    for (it, health) in seen.iter().filter_map(|it| Some((it, it.health.as_ref()?))) {
        for (what, of) in kinds(health).filter(|(_, of)| is_meant(&of.route)) {
            let line = kept
                .entry((&it.namespace, &of.route, what))
                .or_insert_with(|| KeptLine {
                    namespace: it.namespace.clone(),
                    route: of.route.clone(),
                    what,
                    ..KeptLine::default()
                });
            line.sidecars += 1;
            line.entries += of.answers;
            line.bytes += of.bytes;
            line.max_bytes += of.max_bytes;
        }
        for of in health.next_embeddings.iter().filter(|of| is_meant(&of.route)) {
            let key = (
                it.namespace.as_str(),
                of.route.as_str(),
                of.next.as_str(),
                of.state.as_str(),
            );
            let line = filling.entry(key).or_insert_with(|| FillingLine {
                namespace: it.namespace.clone(),
                route: of.route.clone(),
                next: of.next.clone(),
                state: of.state.clone(),
                ..FillingLine::default()
            });
            add(line, of, &it.pod);
        }
    }
    let silent = seen.iter().filter(|it| it.health.is_none());
    Lines {
        kept: kept.into_values().collect(),
        filling: filling.into_values().collect(),
        silent: silent.map(|it| it.pod.clone()).collect(),
    }
}

fn kinds(health: &Health) -> impl Iterator<Item = (&'static str, &Kept)> {
    let all = [
        ("answers", &health.cache),
        ("questions", &health.semantic),
        ("vectors", &health.embeddings),
    ];
    all.into_iter()
        .flat_map(|(what, kept)| kept.iter().map(move |of| (what, of)))
}

fn add(line: &mut FillingLine, of: &Filling, pod: &str) {
    line.filled += of.filled;
    line.of += of.of;
    line.given_up += of.given_up;
    line.waiting += of.waiting;
    line.workers += of.workers;
    line.pods.push(pod.to_owned());
}

/// For people.
fn told(lines: &Lines, paint: Paint) -> String {
    let mut kept = Table::new(["NAMESPACE", "ROUTE", "KEPT", "SIDECARS", "ENTRIES", "MEMORY", "OF"]);
    for it in &lines.kept {
        kept.row([
            it.namespace.clone().into(),
            it.route.clone().into(),
            it.what.into(),
            number(it.sidecars).into(),
            number(it.entries).into(),
            bytes(it.bytes).into(),
            bytes(it.max_bytes).into(),
        ]);
    }
    let mut text = kept.render(paint);
    if kept.is_empty() {
        text.push_str("No route with a cache is in service here.\n");
    }
    let mut filling = Table::new([
        "NAMESPACE",
        "ROUTE",
        "NEXT",
        "STATE",
        "FILLED",
        "GIVEN UP",
        "WAITING",
        "REQUESTS",
        "AT",
    ]);
    for it in &lines.filling {
        let tone = match it.state.as_str() {
            FAILED => Tone::Bad,
            "filling" | "renewing" => Tone::Warn,
            _ => Tone::Good,
        };
        let share = (it.filled * 100).checked_div(it.of).unwrap_or(100);
        let given_up = if it.given_up > 0 { Tone::Warn } else { Tone::Plain };
        filling.row([
            it.namespace.clone().into(),
            it.route.clone().into(),
            it.next.clone().into(),
            Cell::new(tone, it.state.clone()),
            format!("{} of {} ({share} %)", number(it.filled), number(it.of)).into(),
            Cell::new(given_up, number(it.given_up)),
            number(it.waiting).into(),
            number(it.workers).into(),
            few(it.pods.iter().map(String::as_str)).into(),
        ]);
    }
    if !filling.is_empty() {
        let _ = write!(
            text,
            "\nVectors that are asked for in the background:\n{}",
            filling.render(paint)
        );
    }
    if !lines.silent.is_empty() {
        let silent = few(lines.silent.iter().map(String::as_str));
        let _ = writeln!(text, "{} {silent}", paint.paint(Tone::Warn, "No answer from:"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(pod: &str, health: serde_json::Value) -> Seen {
        Seen {
            namespace: "shop".into(),
            pod: pod.into(),
            health: serde_json::from_value(health).unwrap(),
            silent: None,
        }
    }

    fn kept(route: &str, answers: u64, bytes: u64) -> serde_json::Value {
        json!({"route": route, "answers": answers, "bytes": bytes, "maxBytes": 8_388_608})
    }

    fn filling(next: &str, state: &str, filled: u64, given_up: u64) -> serde_json::Value {
        json!({"route": "vectors", "next": next, "state": state, "filled": filled, "of": 10_000, "givenUp": given_up,
            "waiting": 10_000 - filled - given_up, "workers": if state == "filling" { 2 } else { 0 }, "inputs": 10_000, "bytes": 1})
    }

    #[test]
    fn what_is_kept_and_how_far_a_next_model_is_are_summed_by_route() {
        let large = "text-embedding-3-large";
        let fleet = [
            seen(
                "app-1",
                json!({"status": "ok", "cache": [kept("smart", 120, 1_200_000), kept("vectors", 0, 0)],
                    "embeddings": [kept("vectors", 10_000, 7_000_000)], "nextEmbeddings": [filling(large, "filling", 7_120, 3)]}),
            ),
            seen(
                "app-2",
                json!({"status": "ok", "cache": [kept("smart", 7, 900), kept("vectors", 0, 0)],
                    "embeddings": [kept("vectors", 10_000, 7_000_000)], "nextEmbeddings": [filling(large, "filling", 40, 0)]}),
            ),
            seen(
                "app-3",
                json!({"status": "ok", "cache": [kept("vectors", 0, 0)], "semantic": [kept("smart", 5, 40_000)],
                    "embeddings": [kept("vectors", 10_000, 7_000_000)],
                    "nextEmbeddings": [filling(large, "serving", 10_000, 0), filling("m-2", "renewed", 10_000, 0)]}),
            ),
            seen(
                "app-4",
                json!({"status": "ok", "nextEmbeddings": [filling(large, "failed", 0, 8_000)]}),
            ),
            Seen {
                health: None,
                ..seen("app-5", json!({}))
            },
        ];
        insta::assert_snapshot!(told(&lines(&fleet, None), Paint(false)));
        let one = lines(&fleet, Some("smart"));
        assert_eq!((one.kept.len(), one.filling.len()), (2, 0));
    }

    #[test]
    fn where_no_route_has_a_cache_it_says_so() {
        let lines = lines(&[seen("app-1", json!({"status": "ok"}))], None);
        assert_eq!(
            told(&lines, Paint(false)),
            "No route with a cache is in service here.\n"
        );
    }
}
