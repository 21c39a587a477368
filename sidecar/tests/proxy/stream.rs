//! The operator's stream: what it brings is in service at once, what it does wrong harms nobody.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bowsprit_core::stream::{StreamedConfig, ToOperator, ToSidecar};
use bowsprit_rig::operator::{ScriptedOperator, TOKEN_CANARY, streamed};
use serde_json::{Value, json};

use crate::support::{Bed, logs};

/// The bed's three providers without keys, of which only `names` are enabled.
fn documents(bed: &Bed, names: &[&str]) -> String {
    bed.documents(&|name: &str, spec: &mut Value| {
        spec["enabled"] = names.contains(&name).into();
        spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "llm-keys", "key": name}}]);
    })
}

/// A sidecar with keys and with a stream to `operator`, where `mounted` is mounted.
pub(crate) fn start(bed: &mut Bed, operator: &ScriptedOperator, mounted: Option<(&[&str], u64)>) {
    let secrets = bed.dir.path().join("secrets/llm-keys");
    std::fs::create_dir_all(&secrets).unwrap();
    for name in ["claude", "gemini", "openai"] {
        std::fs::write(secrets.join(name), format!("key-of-{name}")).unwrap();
    }
    if let Some((names, sequence)) = mounted {
        operator.mount(&documents(bed, names), sequence);
    }
    let mut args = operator.args();
    args.extend([
        "--secrets-dir".into(),
        bed.dir.path().join("secrets").display().to_string(),
    ]);
    bed.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
}

async fn bed(mounted: Option<(&[&str], u64)>) -> (Bed, ScriptedOperator) {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    start(&mut bed, &operator, mounted);
    (bed, operator)
}

async fn is_told(bed: &Bed, problem: &str) {
    bed.until(problem, || async {
        let told = bed.health().await["stream"]["problem"].to_string();
        told.contains(problem)
    })
    .await;
    assert_eq!(
        bed.chat_with("claude-sonnet-4-5", false).await.status,
        200,
        "no request is harmed"
    );
    assert_eq!(bed.health().await["status"], "ok", "nothing is unwell");
    assert_eq!(bed.admin("/health/ready").await.status, 200);
    assert!(!logs().contains(TOKEN_CANARY), "a token is in the log");
}

#[tokio::test]
async fn a_change_is_in_service_at_once_and_acknowledged() {
    let (bed, operator) = bed(Some((&["claude"], 5))).await;
    let mut held = operator.accept().await;
    for told in [
        "GET /v1/stream HTTP/1.1\r\n",
        "Upgrade: bowsprit-stream/1\r\n",
        &format!("Authorization: Bearer {TOKEN_CANARY}-first\r\n"),
    ] {
        assert!(held.head.contains(told), "{told}");
    }
    let first = held.report(|_| true).await;
    assert_eq!((first.sequence, first.source.as_str()), (5, "folder"));
    let claude = &first.providers[0];
    assert_eq!((claude.name.as_str(), claude.status.as_str()), ("claude", "ok"));
    // Half of a usual second has passed by then on a busy machine; a poll of the folder would not have brought it at all.
    held.config(&documents(&bed, &["claude", "gemini"]), 6).await;
    let sent = Instant::now();
    let report = held.report(|report| report.sequence == 6).await;
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    assert_eq!((report.source.as_str(), report.refused), ("stream", None));
    let health = bed.health().await;
    assert_eq!(
        (&health["config"]["sequence"], &health["config"]["source"]),
        (&6.into(), &"stream".into())
    );
    assert_eq!(health["stream"]["connected"], true);
    assert_eq!(bed.metric("bowsprit_config_stream_connected").await, 1.0);
    // The mount catches up, or is behind: no news, no trouble.
    operator.mount(&documents(&bed, &["claude"]), 5);
    held.config(&documents(&bed, &["claude", "gemini"]), 6).await;
    operator.mount(&documents(&bed, &["claude", "gemini"]), 6);
    held.say(&ToSidecar::Ping).await;
    while held.next().await.unwrap() != ToOperator::Pong {}
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (metric, value) in [
        ("loaded_total", 2.0),
        ("ignored_total", 0.0),
        ("synced", 1.0),
        ("sequence", 6.0),
    ] {
        assert_eq!(
            bed.metric(&format!("bowsprit_config_{metric}")).await,
            value,
            "{metric}"
        );
    }
    // An operator that is behind says so, and changes nothing.
    held.config(&documents(&bed, &["claude"]), 4).await;
    let report = held.report(|report| report.refused.is_some()).await;
    assert_eq!((report.sequence, report.refused.unwrap().sequence), (6, 4));
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_document_is_acknowledged_and_the_last_good_one_stays() {
    let (bed, operator) = bed(None).await;
    let mut held = operator.accept().await;
    assert_eq!(held.report(|_| true).await.sequence, 0);
    held.config(&documents(&bed, &["claude"]), 5).await;
    held.report(|report| report.sequence == 5).await;
    assert_eq!(bed.admin("/health/ready").await.status, 200, "no mount is needed");
    held.config("kind: Nonsense", 6).await;
    let refused = held.report(|report| report.refused.is_some()).await.refused.unwrap();
    assert!(
        refused.sequence == 6 && refused.why.contains("apiVersion"),
        "{refused:?}"
    );
    let newer = StreamedConfig {
        format_version: 99,
        ..streamed(&documents(&bed, &[]), 7)
    };
    held.say(&ToSidecar::Config(newer)).await;
    let is_7 = |report: &_| matches!(report, bowsprit_core::stream::SidecarReport { refused: Some(it), .. } if it.sequence == 7);
    let refused = held.report(is_7).await.refused.unwrap();
    assert!(
        refused
            .why
            .contains("formatVersion 99 is newer than this sidecar understands"),
        "{refused:?}"
    );
    assert_eq!(bed.chat().await.provider(), "claude");
    held.config(&documents(&bed, &["gemini"]), 8).await;
    assert_eq!(held.report(|report| report.sequence == 8).await.refused, None);
    bed.sidecar().removed("claude");
}

#[tokio::test]
async fn at_rest_nothing_is_said_and_an_open_breaker_is() {
    let (bed, operator) = bed(Some((&["claude"], 5))).await;
    let mut held = operator.accept().await;
    held.report(|report| report.sequence == 5).await;
    let quiet = tokio::time::timeout(Duration::from_secs(3), held.next()).await;
    assert!(quiet.is_err(), "nothing had changed: {quiet:?}");
    bed.claude.always(bowsprit_providers::Behaviour::status(500));
    while bed.provider_health("claude").await["models"][0]["breaker"] != "open" {
        bed.chat().await;
    }
    let report = held.report(|report| report.providers[0].open == 1).await;
    assert_eq!(report.providers[0].status, "breaker open");
}

#[tokio::test]
async fn an_operator_that_ends_is_left_within_its_window_and_another_one_found() {
    let (bed, operator) = bed(Some((&["claude"], 5))).await;
    let mut held = operator.accept().await;
    held.report(|_| true).await;
    let said = Instant::now();
    held.say(&ToSidecar::GoAway { within_ms: 1_000 }).await;
    held.left().await;
    let mut next = operator.accept().await;
    assert!(
        said.elapsed() < Duration::from_secs(10),
        "without a pause: {:?}",
        said.elapsed()
    );
    assert_eq!(next.report(|_| true).await.sequence, 5, "the first message");
    assert_eq!(
        bed.metric("bowsprit_config_stream_ended_total{ended=\"closed\"}").await,
        1.0
    );
}

#[tokio::test]
async fn only_the_operators_own_ca_is_trusted_and_a_rotated_one_is_taken_at_once() {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    let ca = operator.foreign_ca();
    start(&mut bed, &operator, Some((&["claude"], 5)));
    assert!(
        operator.connection().await.is_err(),
        "it said nothing to whom it does not trust"
    );
    is_told(&bed, "tls: ").await;
    std::fs::write(operator.ca_file(), ca).unwrap();
    operator.accept().await.report(|_| true).await;
}

#[tokio::test]
async fn who_is_denied_waits_until_there_is_another_token() {
    let (bed, operator) = bed(Some((&["claude"], 5))).await;
    let mut held = operator.asked().await;
    held.bytes("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        .await;
    held.left().await;
    is_told(&bed, "denied: status 401").await;
    operator.token("second");
    let held = operator.accept().await;
    assert!(held.head.contains(&format!("Bearer {TOKEN_CANARY}-second\r\n")));
}

#[tokio::test]
async fn without_token_or_ca_it_waits_for_them() {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    std::fs::remove_file(operator.token_file()).unwrap();
    start(&mut bed, &operator, Some((&["claude"], 5)));
    is_told(&bed, "not_mounted: ").await;
    operator.token("late");
    operator.accept().await.report(|_| true).await;
}

#[tokio::test]
async fn garbage_and_lines_without_an_end_close_the_stream_and_harm_nobody() {
    let (bed, operator) = bed(Some((&["claude"], 5))).await;
    let giant = "x".repeat((4 << 20) + 4096);
    for bytes in ["{\"type\":\"config\"}\n", "\u{0}\u{1}\n", giant.as_str()] {
        let mut held = operator.accept().await;
        // An operator that has said something is worth asking again soon.
        held.say(&ToSidecar::Ping).await;
        while held.next().await.unwrap() != ToOperator::Pong {}
        held.bytes(bytes).await;
        held.left().await;
        is_told(&bed, "protocol: ").await;
    }
    // What a later release says is passed over, and a message may come byte by byte.
    let mut held = operator.accept().await;
    let config =
        serde_json::to_string(&ToSidecar::Config(streamed(&documents(&bed, &["claude", "openai"]), 6))).unwrap();
    for byte in format!("{{\"type\":\"shares\",\"of\":[1]}}\n{config}\n").as_bytes() {
        held.bytes([*byte]).await;
    }
    held.report(|report| report.sequence == 6).await;
    bed.balanced().await;
}

#[tokio::test]
async fn an_operator_that_is_away_costs_no_request_anything() {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    start(&mut bed, &operator, Some((&["claude"], 5)));
    let mut held = operator.accept().await;
    held.report(|_| true).await;
    drop(held);
    is_told(&bed, "closed: ").await;
    let _files = operator.close();
    is_told(&bed, "unreachable: ").await;
    let lost = bed.metric("bowsprit_config_stream_ended_total{ended=\"closed\"}").await;
    assert_eq!((lost, bed.metric("bowsprit_config_stream_connected").await), (1.0, 0.0));
    bed.balanced().await;
}

#[tokio::test]
async fn a_restart_with_everything_gone_begins_with_what_was_in_service() {
    let (mut bed, operator) = bed(Some((&["claude"], 5))).await;
    let mut held = operator.accept().await;
    held.config(&documents(&bed, &["gemini"]), 9).await;
    held.report(|report| report.sequence == 9).await;
    bed.until("it is saved", || async {
        let saved = std::fs::read_to_string(operator.state_dir().join("config.json"));
        saved.is_ok_and(|text| text.contains("\"sequence\":9"))
    })
    .await;
    bed.sidecar().removed("claude");
    bed.sidecar.take();
    drop(held);
    // The mount is behind, and nobody answers.
    start(&mut bed, &operator, None);
    let health = bed.health().await;
    assert_eq!(
        (&health["config"]["sequence"], &health["config"]["source"]),
        (&9.into(), &"saved".into())
    );
    assert_eq!(
        (&health["config"]["loaded"], &health["status"]),
        (&true.into(), &"ok".into())
    );
    assert_eq!(bed.chat_with("gemini-2.5-flash", false).await.provider(), "gemini");
    assert_eq!(bed.metric("bowsprit_config_synced").await, 1.0);
    // A damaged file is no reason not to start with what is mounted.
    bed.sidecar.take();
    std::fs::write(operator.state_dir().join("config.json"), "{\"sequence\":9,").unwrap();
    start(&mut bed, &operator, None);
    assert_eq!(bed.health().await["config"]["sequence"], 5);
    assert_eq!(bed.metric("bowsprit_config_save_failures_total").await, 1.0);
}

#[tokio::test]
async fn labels_that_change_are_judged_against_what_the_stream_brought() {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    operator.labels("app=\"shop\"");
    start(&mut bed, &operator, Some((&["claude"], 5)));
    let text = bed.documents(&|name: &str, spec: &mut Value| {
        spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "llm-keys", "key": name}}]);
        let app = if name == "claude" { "shop" } else { "checkout" };
        spec["podSelector"] = json!({"matchLabels": {"app": app}});
    });
    let mut held = operator.accept().await;
    held.config(&text, 6).await;
    let report = held.report(|report| report.sequence == 6).await;
    assert_eq!(report.providers.len(), 1);
    operator.labels("app=\"checkout\"");
    bed.sidecar().removed("claude");
    let report = held.report(|report| report.providers.len() == 2).await;
    assert_eq!((report.sequence, report.source.as_str()), (6, "stream"));
}

#[tokio::test]
async fn a_storm_of_changes_is_taken_in_order_and_the_last_one_is_in_service() {
    let (bed, operator) = bed(Some((&["claude"], 5))).await;
    let mut held = operator.accept().await;
    held.report(|_| true).await;
    let texts = [documents(&bed, &["claude"]), documents(&bed, &["claude", "gemini"])];
    let last = 300;
    for sequence in 6..=last {
        held.config(&texts[sequence % 2], sequence as u64).await;
    }
    let before = Cell::new(0);
    let report = held
        .report(|report| {
            assert!(before.replace(report.sequence) <= report.sequence, "it went back");
            report.sequence == last as u64
        })
        .await;
    assert_eq!(report.refused, None);
    assert_eq!(bed.chat().await.provider(), "claude");
    bed.balanced().await;
}
