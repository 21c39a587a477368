//! The config stream as sidecars and strangers meet it: over TLS, with the listener that runs in the cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "streams/policies.rs"]
mod policies;
mod streams;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bowsprit_core::stream::{ReportedProvider, SidecarReport, ToOperator, ToSidecar};
use bowsprit_operator::fleet::PodId;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use serde_json::json;
use streams::{Server, ask, quick, signed, token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn pod(name: &str) -> PodId {
    PodId {
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

fn report(sequence: u64) -> ToOperator {
    ToOperator::Report(SidecarReport {
        sequence,
        revision: format!("r{sequence}"),
        ..SidecarReport::default()
    })
}

#[tokio::test]
async fn whoever_has_no_token_of_a_pod_for_us_is_refused_counted_and_learns_nothing() {
    let server = Server::start(quick()).await;
    server.publish("team", 7, "the documents of team");
    let past = bowsprit_operator::time::unix_seconds() - 1;
    let cases = [
        (None, "bowsprit-stream/1", 401, "no_token"),
        (Some("nonsense".to_owned()), "bowsprit-stream/1", 401, "wrong_token"),
        (
            Some(signed(json!({"namespace": "team", "pod": "a", "exp": past}))),
            "bowsprit-stream/1",
            401,
            "wrong_token",
        ),
        (
            Some(signed(
                json!({"namespace": "team", "pod": "a", "aud": ["https://kubernetes.default.svc"]}),
            )),
            "bowsprit-stream/1",
            401,
            "wrong_token",
        ),
        (
            Some(signed(json!({"namespace": "team", "pod": "a", "forged": "yes"}))),
            "bowsprit-stream/1",
            401,
            "denied",
        ),
        (
            Some(signed(json!({"namespace": "team"}))),
            "bowsprit-stream/1",
            403,
            "no_pod",
        ),
        (Some(token("team", "a")), "bowsprit-stream/9", 426, "protocol"),
        (
            Some(signed(json!({"namespace": "team", "pod": "a", "outage": "yes"}))),
            "bowsprit-stream/1",
            503,
            "unreviewed",
        ),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (token, protocol, status, reason) in cases {
        let asked = ask(server.address, &server.bundle, token.as_deref(), protocol).await;
        assert_eq!(asked.status, status, "{reason}: {}", asked.head);
        assert_eq!(
            asked.head.to_lowercase().contains("retry-after: "),
            status == 503,
            "{}",
            asked.head
        );
        let body = asked.body().await;
        assert!(!body.contains("team") && body.len() < 100, "{body}");
        *counts.entry(reason).or_insert(0) += 1;
    }
    for (reason, count) in counts {
        assert_eq!(
            server.counted(&format!("stream_requests_total{{result=\"{reason}\"}}")),
            count,
            "{reason}"
        );
    }
    // What is wrong by its own word was not asked about.
    assert_eq!(server.apiserver.asked.load(Ordering::SeqCst), 3);
    assert!(server.fleet.namespaces().is_empty());
}

#[tokio::test]
async fn a_change_reaches_a_hundred_streams_and_their_word_of_it_the_fleet() {
    let server = Server::start(quick()).await;
    server.publish("team", 7, "first");
    server.publish("web", 3, "others");
    let names: Vec<String> = (0..100).map(|number| format!("app-{number}")).collect();
    // A few at a time: without optimisation a hundred handshakes take longer than one may.
    let connecting = stream::iter(&names).map(|name| server.connect("team", name));
    let mut all: Vec<_> = connecting.buffered(8).collect().await;
    let mut other = server.connect("web", "w").await;
    assert_eq!(other.config().await.text, "others");
    for stream in &mut all {
        let first = stream.config().await;
        assert_eq!((first.sequence, first.text.as_str()), (7, "first"));
        stream.say(&report(7)).await;
    }
    let told = |sequence: u64| {
        move |server: &Server| {
            let reports = server.fleet.reports("team");
            reports.len() == 100 && reports.values().all(|one| one.report.sequence == sequence)
        }
    };
    server.until("all say 7", told(7)).await;
    server.publish("team", 8, "second");
    for stream in &mut all {
        assert_eq!(stream.config().await.text, "second");
        stream.say(&report(8)).await;
    }
    server.until("all say 8", told(8)).await;
    // A config that is not newer is no news, not even to a stream that is new.
    server.publish("team", 6, "older");
    assert_eq!(server.connect("team", "late").await.config().await.sequence, 8);
    assert_eq!(server.counted("streams_open"), 102);
    assert_eq!(server.counted("stream_push_seconds_count"), 100);
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_is_sent_only_the_newest() {
    let server = Server::start(quick()).await;
    // Far more than sockets hold.
    let large = "x".repeat(1 << 20);
    let mut slow = server.connect("team", "slow").await;
    let mut quick = server.connect("team", "quick").await;
    for sequence in 1..=40 {
        server.publish("team", sequence, &large);
        assert_eq!(quick.config().await.sequence, sequence);
        slow.say(&report(0)).await;
    }
    // The one that was under way, and a few that the sockets took; not forty.
    let mut seen = Vec::new();
    while seen.last() != Some(&40) {
        seen.push(slow.config().await.sequence);
    }
    assert!(seen.len() < 20 && seen.is_sorted(), "{seen:?}");
}

#[tokio::test]
async fn a_sidecar_that_lies_spoils_its_own_line_and_no_other() {
    let server = Server::start(quick()).await;
    server.publish("team", 7, "t");
    let mut honest = server.connect("team", "honest").await;
    honest.say(&report(7)).await;
    let mut liar = server.connect("web", "liar").await;
    let lie = json!({"type": "report", "namespace": "team", "pod": "honest", "uid": "uid-honest", "sequence": u64::MAX,
        "providers": [{"name": "claude", "status": "ok", "closed": 9}]});
    liar.0.write_all(format!("{lie}\n").as_bytes()).await.unwrap();
    liar.0.flush().await.unwrap();
    server
        .until("heard", |server| server.fleet.reports("web").len() == 1)
        .await;
    let team = server.fleet.reports("team");
    assert_eq!(team.keys().collect::<Vec<_>>(), [&pod("honest")]);
    assert_eq!(team[&pod("honest")].report.sequence, 7);
    let web = server.fleet.reports("web");
    let claimed = ReportedProvider {
        name: "claude".into(),
        status: "ok".into(),
        closed: 9,
        ..ReportedProvider::default()
    };
    assert_eq!(web[&pod("liar")].report.providers, [claimed]);
    // And no word of the future keeps its own pod from what is true.
    server.publish("web", 3, "w");
    assert_eq!(liar.config().await.sequence, 3);
}

#[tokio::test]
async fn what_is_no_message_or_too_long_ends_its_own_stream() {
    let server = Server::start(quick()).await;
    let long = format!("{{\"type\":\"report\",\"version\":\"{}", "x".repeat(70 << 10));
    for bytes in ["GET / HTTP/1.1\r\n\r\n".to_owned(), long] {
        let mut stream = server.connect("team", "a").await;
        stream.0.write_all(bytes.as_bytes()).await.unwrap();
        let _ = stream.0.flush().await;
        stream.end().await;
    }
    assert_eq!(server.counted("streams_ended_total{reason=\"malformed\"}"), 2);
    assert_eq!(server.counted("streams_open"), 0);
}

#[tokio::test]
async fn a_pod_that_is_deleted_loses_its_stream_and_does_not_come_back() {
    let server = Server::start(quick()).await;
    let mut stays = server.connect("team", "stays").await;
    let mut goes = server.connect("team", "goes").await;
    for stream in [&mut stays, &mut goes] {
        stream.say(&report(7)).await;
    }
    server
        .until("both", |server| server.fleet.reports("team").len() == 2)
        .await;
    let object = json!({"metadata": {"name": "goes", "namespace": "team", "uid": "uid-goes"}});
    let object: Pod = serde_json::from_value(object).unwrap();
    server.apiserver.gone.lock().unwrap().push("uid-goes".into());
    server.hub.note_pod(&watcher::Event::Delete(object));
    goes.end().await;
    assert_eq!(
        server.fleet.reports("team").into_keys().collect::<Vec<_>>(),
        [pod("stays")]
    );
    let again = ask(
        server.address,
        &server.bundle,
        Some(&token("team", "goes")),
        "bowsprit-stream/1",
    )
    .await;
    assert_eq!(again.status, 401);
    server.publish("team", 8, "t");
    assert_eq!(stays.config().await.sequence, 8);
}

#[tokio::test]
async fn a_pods_second_stream_ends_its_first_and_the_pod_is_never_gone() {
    let server = Server::start(quick()).await;
    let mut first = server.connect("team", "a").await;
    first.say(&report(7)).await;
    server
        .until("heard", |server| server.fleet.reports("team").len() == 1)
        .await;
    let mut second = server.connect("team", "a").await;
    first.end().await;
    assert!(server.fleet.reports("team").contains_key(&pod("a")));
    second.say(&report(8)).await;
    server
        .until("the new one", |server| {
            server
                .fleet
                .reports("team")
                .values()
                .all(|one| one.report.sequence == 8)
        })
        .await;
    assert_eq!(server.counted("streams_ended_total{reason=\"replaced\"}"), 1);
    // Its token was asked about once.
    assert_eq!(server.apiserver.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_peer_that_is_silent_is_gone_and_one_that_answers_stays() {
    let mut settings = quick();
    settings.timing.silence = Duration::from_secs(1);
    let server = Server::start(settings).await;
    let mut silent = server.connect("team", "silent").await;
    let mut answers = server.connect("team", "answers").await;
    let reads = async { while silent.hear().await.is_some() {} };
    let pongs = async {
        loop {
            if answers.hear().await.expect("stays") == ToSidecar::Ping {
                answers.say(&ToOperator::Pong).await;
            }
        }
    };
    tokio::select! {
        () = reads => {}
        () = pongs => {}
    }
    assert_eq!(server.counted("streams_ended_total{reason=\"silent\"}"), 1);
    assert_eq!(server.counted("streams_open"), 1);
}

#[tokio::test]
async fn more_streams_than_may_be_are_told_to_come_later() {
    let mut settings = quick();
    settings.most = 2;
    let server = Server::start(settings).await;
    let _first = server.connect("team", "a").await;
    let second = server.connect("team", "b").await;
    let third = || ask(server.address, &server.bundle, None, "bowsprit-stream/1");
    // Who may not come in anyway is told so.
    assert_eq!(third().await.status, 401);
    let token = token("team", "c");
    let full = ask(server.address, &server.bundle, Some(&token), "bowsprit-stream/1").await;
    assert_eq!(full.status, 503);
    drop(second);
    server.until("room", |server| server.counted("streams_open") == 1).await;
    let _third = server.connect("team", "c").await;
}

#[tokio::test]
async fn strangers_that_say_nothing_hold_up_nobody() {
    let server = Server::start(quick()).await;
    let mut silent = Vec::new();
    // More than are at the door at a time.
    for _ in 0..400 {
        silent.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
    }
    let _stream = server.connect("team", "a").await;
    assert_eq!(server.counted("stream_requests_total{result=\"mute\"}"), 0, "it waited");
    drop(silent);
    server
        .until("all are gone", |server| {
            server.counted("stream_requests_total{result=\"gone\"}") == 400
        })
        .await;
}

#[tokio::test]
async fn where_it_is_crowded_a_caller_is_sent_away_at_once_and_comes_in_when_it_is_not() {
    let mut settings = quick();
    settings.most = 1;
    let server = Server::start(settings).await;
    let mut waiting = Vec::new();
    while server.counted("stream_requests_total{result=\"crowded\"}") == 0 {
        assert!(waiting.len() < 1000, "never crowded");
        waiting.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
        tokio::task::yield_now().await;
    }
    let mut turned_away = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), turned_away.read(&mut [0])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    drop(waiting);
    server
        .until("all are gone", |server| {
            server.counted("stream_requests_total{result=\"gone\"}") >= 256
        })
        .await;
    let _stream = server.connect("team", "a").await;
}

#[tokio::test]
async fn an_operator_that_leaves_says_so_and_gives_each_the_time_to_go() {
    let mut server = Server::start(quick()).await;
    server.publish("team", 7, "t");
    let mut stays = server.connect("team", "stays").await;
    let mut goes = server.connect("team", "goes").await;
    for stream in [&mut stays, &mut goes] {
        let _ = stream.config().await;
    }
    let began = Instant::now();
    server.leave();
    let told = |message: Option<ToSidecar>| match message {
        Some(ToSidecar::GoAway { within_ms }) => within_ms,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(goes.hear().await), 2000);
    drop(goes);
    assert_eq!(told(stays.hear().await), 2000);
    // Until then it is served.
    server.publish("team", 8, "t");
    assert_eq!(stays.config().await.sequence, 8);
    stays.end().await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
    assert_eq!(server.counted("streams_open"), 0);
    server.ended().await;
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// The callers of the test below, in a process of their own so that their memory is not counted.
#[tokio::test]
#[ignore = "run by another test"]
async fn callers_in_a_process_of_their_own() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let address = variable("STREAM_ADDRESS").parse().unwrap();
    let count: usize = variable("STREAM_COUNT").parse().unwrap();
    let bundle = variable("STREAM_BUNDLE");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut open = Vec::new();
    for number in 0..count {
        let token = token("team", &format!("app-{number}"));
        let mut asked = ask(address, &bundle, Some(&token), "bowsprit-stream/1").await;
        assert_eq!(asked.status, 101);
        let _ = asked.stream.config().await;
        asked.stream.say(&report(7)).await;
        open.push(asked.stream);
    }
    // Until the test has measured and closes our stdin.
    let mut line = String::new();
    let _ = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line)).await;
    drop(open);
}

/// In a process of its own as well: other tests of this one take memory while they run.
#[test]
fn a_stream_at_rest_takes_so_little_that_ten_thousand_fit() {
    let measured = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "streams_at_rest_measured", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&measured.stdout);
    let why = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success() && said.contains("bytes each"), "{said}{why}");
    println!("{said}");
}

#[tokio::test]
#[ignore = "run by another test"]
async fn streams_at_rest_measured() {
    let count = std::env::var("STREAM_COUNT").map_or(200, |count| count.parse().unwrap());
    let mut settings = quick();
    settings.most = count + 100;
    settings.timing.silence = Duration::from_secs(90);
    settings.timing.ping = Duration::from_secs(90);
    let server = Server::start(settings).await;
    server.publish("team", 7, &"documents ".repeat(500));
    // What the first ones make once and for all is not theirs.
    let mut warm = Vec::new();
    for number in 0..20 {
        warm.push(server.connect("team", &format!("warm-{number}")).await);
    }
    let before = resident();
    let mut callers = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "callers_in_a_process_of_their_own"])
        .env("STREAM_ADDRESS", server.address.to_string())
        .env("STREAM_BUNDLE", &server.bundle)
        .env("STREAM_COUNT", count.to_string())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let waited = Instant::now();
    while server.fleet.reports("team").len() < count {
        assert!(
            waited.elapsed() < Duration::from_mins(2),
            "{} came",
            server.fleet.reports("team").len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let each = resident().saturating_sub(before) / count;
    println!("{count} streams take {each} bytes each");
    drop(callers.stdin.take());
    let ended = tokio::task::spawn_blocking(move || callers.wait());
    assert!(ended.await.unwrap().unwrap().success());
    // 256 MiB hold ten thousand at 18 KiB with a third for the rest; without optimisation one takes about 15.
    assert!(each <= 18 << 10, "{each} bytes each");
}

#[tokio::test]
async fn a_pause_is_told_at_once_before_any_document_to_its_namespace_and_to_who_comes_later() {
    let server = Server::start(quick()).await;
    let turn = |paused| server.turn("team", paused);
    server.publish("team", 7, "first");
    let mut early = server.connect("team", "early").await;
    assert_eq!(
        early.config().await.text,
        "first",
        "nothing is said of pauses before they are known"
    );
    server.list_policies([]);
    assert_eq!(early.paused().await, 0);
    let mut other = server.connect("web", "w").await;
    assert_eq!(other.paused().await, 0);
    // The leader has written nothing yet, and what it writes comes after.
    turn(true);
    assert_eq!(early.paused().await, 1);
    server.publish("team", 8, "second");
    assert_eq!(early.config().await.text, "second");
    // Both are there when a stream begins: the pause goes first.
    let mut late = server.connect("team", "late").await;
    assert_eq!(late.paused().await, 1);
    assert_eq!(late.config().await.text, "second");
    turn(false);
    assert_eq!((early.paused().await, late.paused().await), (0, 0));
    server.publish("web", 3, "others");
    assert_eq!(other.config().await.text, "others", "another namespace heard nothing");
}
