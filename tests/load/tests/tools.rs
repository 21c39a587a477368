//! The tools against each other, as the bench runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// An upstream for the length of a test.
struct Upstream {
    process: Child,
    url: String,
}

impl Upstream {
    fn start() -> Self {
        Self::with(&["--events", "5", "--interval-ms", "1"])
    }

    fn with(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_upstream"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        let url = format!("http://{address}/v1/chat/completions");
        Self { process, url }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn load(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file with a request body that asks for a stream.
fn streamed_body(name: &str) -> String {
    let path = format!("{}/{name}.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, r#"{"model":"gpt-4o-mini","stream":true,"messages":[]}"#).unwrap();
    path
}

#[test]
fn a_closed_load_is_answered_without_a_fault() {
    let upstream = Upstream::start();
    let report = load(&["closed", &upstream.url, "--connections", "4", "--seconds", "0.2"]);
    assert!(report["ok"].as_u64().unwrap() > 4, "{report}");
    assert_eq!(
        (report["bad"].as_u64(), report["io"].as_u64()),
        (Some(0), Some(0)),
        "{report}"
    );
}

#[test]
fn an_open_load_sends_exactly_what_was_due() {
    let upstream = Upstream::start();
    let report = load(&[
        "rate",
        &upstream.url,
        "--connections",
        "4",
        "--seconds",
        "0.25",
        "--rate",
        "200",
    ]);
    assert_eq!(report["ok"], 50, "{report}");
}

#[test]
fn a_stream_has_its_events_and_done() {
    let upstream = Upstream::start();
    let body = streamed_body("whole");
    let arguments = [
        "stream",
        &upstream.url,
        "--body",
        &body,
        "--connections",
        "2",
        "--seconds",
        "0.1",
    ];
    let report = load(&[&arguments[..], &["--spread-ms", "0", "--events", "6"]].concat());
    let ok = report["ok"].as_u64().unwrap();
    assert!(ok >= 2, "{report}");
    assert_eq!(
        (report["events"].as_u64().unwrap(), report["bad"].as_u64()),
        (ok * 6, Some(0)),
        "{report}"
    );
}

#[test]
fn a_stream_with_another_number_of_events_is_bad() {
    let upstream = Upstream::start();
    let body = streamed_body("short");
    let arguments = [
        "stream",
        &upstream.url,
        "--body",
        &body,
        "--connections",
        "1",
        "--seconds",
        "0.05",
    ];
    let report = load(&[&arguments[..], &["--events", "7"]].concat());
    assert_eq!(report["ok"], 0, "{report}");
    assert!(report["bad"].as_u64().unwrap() >= 1, "{report}");
}

#[test]
fn a_path_without_an_answer_is_bad_and_says_so() {
    let upstream = Upstream::start();
    let url = upstream.url.replace("/chat/completions", "/nothing");
    let report = load(&["closed", &url, "--connections", "1", "--seconds", "0.05"]);
    assert_eq!(report["ok"], 0, "{report}");
    assert!(
        report["last_error"].as_str().unwrap().contains("status 404"),
        "{report}"
    );
}

#[test]
fn a_peer_that_is_not_there_is_an_io_error_for_every_request() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let report = load(&["rate", &url, "--connections", "2", "--seconds", "0.2", "--rate", "50"]);
    assert_eq!(
        (report["ok"].as_u64(), report["io"].as_u64()),
        (Some(0), Some(10)),
        "{report}"
    );
}

/// A closed loop would have recorded one slow request here and hidden the others behind it.
#[test]
fn a_stall_is_seen_by_every_request_that_was_due_in_it() {
    const STALL: Duration = Duration::from_millis(400);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut seen = [0; 4096];
        let mut stall = Some(STALL);
        while peer.read(&mut seen).is_ok_and(|bytes| bytes > 0) {
            std::thread::sleep(stall.take().unwrap_or_default());
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
        }
    });
    let report = load(&["rate", &url, "--connections", "1", "--seconds", "0.4", "--rate", "100"]);
    assert_eq!(report["ok"], 40, "{report}");
    // Forty requests were due during the stall, so the one in the middle waited for half of it. A lower bound only: a slow
    // machine makes it longer, never shorter.
    assert!(report["latency_us"]["p50"].as_u64().unwrap() > 100_000, "{report}");
}

/// The `hold` tool while it holds.
struct Holding {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Holding {
    fn start(url: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hold"))
            .arg(url)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn counts(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn release(mut self) -> Value {
        drop(self.process.stdin.take());
        let counts = self.counts();
        assert!(self.process.wait().unwrap().success());
        counts
    }
}

#[test]
fn idle_connections_are_held_behind_a_whole_answer_until_released() {
    let upstream = Upstream::start();
    let mut holding = Holding::start(&upstream.url, &["--connections", "50"]);
    assert_eq!(holding.counts()["open"], 50);
    let released = holding.release();
    assert_eq!(
        (&released["kept"], &released["lost"]),
        (&json!(50), &json!(0)),
        "{released}"
    );
}

#[test]
fn streams_are_held_open_inside_their_answer() {
    let upstream = Upstream::with(&["--events", "60", "--interval-ms", "1000"]);
    let body = streamed_body("held");
    let mut holding = Holding::start(&upstream.url, &["--connections", "20", "--streams", "--body", &body]);
    assert_eq!(holding.counts()["open"], 20);
    let released = holding.release();
    assert_eq!(
        (&released["kept"], &released["lost"]),
        (&json!(20), &json!(0)),
        "{released}"
    );
}

#[test]
fn a_stream_that_ends_by_itself_is_counted_as_lost() {
    let upstream = Upstream::start();
    let body = streamed_body("ends");
    let mut holding = Holding::start(
        &upstream.url,
        &[
            "--connections",
            "1",
            "--streams",
            "--body",
            &body,
            "--limit-seconds",
            "1",
        ],
    );
    assert_eq!(holding.counts()["open"], 1);
    let released = holding.counts();
    assert_eq!(
        (&released["kept"], &released["lost"]),
        (&json!(0), &json!(1)),
        "{released}"
    );
}

#[test]
fn connections_that_get_no_answer_are_never_called_open() {
    let upstream = Upstream::start();
    let url = upstream.url.replace("/chat/completions", "/nothing");
    let mut holding = Holding::start(&url, &["--connections", "3"]);
    let counts = holding.counts();
    assert_eq!((&counts["open"], &counts["lost"]), (&json!(0), &json!(3)), "{counts}");
    assert!(
        counts["last_error"].as_str().unwrap().contains("status 404"),
        "{counts}"
    );
    holding.release();
}

#[test]
fn an_upstream_of_one_api_has_no_path_of_another() {
    let upstream = Upstream::with(&["--only", "anthropic"]);
    let report = load(&["closed", &upstream.url, "--connections", "1", "--seconds", "0.05"]);
    assert_eq!(report["ok"], 0, "{report}");
    let url = upstream.url.replace("/chat/completions", "/messages");
    let report = load(&["closed", &url, "--connections", "1", "--seconds", "0.05"]);
    assert!(report["ok"].as_u64().unwrap() > 0, "{report}");
}

/// Passes bytes on, both ways; the number of pieces in which those of the upstream came.
fn pass_on(caller: TcpStream, upstream: TcpStream) -> usize {
    let (mut from, mut to) = (caller.try_clone().unwrap(), upstream.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let (mut caller, mut upstream) = (caller, upstream);
    let (mut pieces, mut room) = (0, [0; 16 * 1024]);
    while let Ok(bytes @ 1..) = upstream.read(&mut room) {
        pieces += 1;
        // Time enough for an upstream that does not wait to send everything.
        std::thread::sleep(Duration::from_millis(2));
        if caller.write_all(&room[..bytes]).is_err() {
            break;
        }
    }
    pieces
}

#[test]
fn in_lockstep_an_event_is_sent_when_the_caller_has_seen_the_one_before() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/chat/completions", proxy.local_addr().unwrap());
    let mut lockstep = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args([&url, "--body", &streamed_body("lockstep")])
        .args(["--requests", "3", "--events", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lockstep.stdout.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    let upstream = TcpStream::connect(said.strip_prefix("listening on ").unwrap()).unwrap();
    let passing = std::thread::spawn(move || pass_on(proxy.accept().unwrap().0, upstream));
    let report: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(report, json!({"ok": 3, "events": 3 * 6}));
    drop(lockstep.stdin.take());
    assert!(lockstep.wait().unwrap().success());
    assert_eq!(
        passing.join().unwrap(),
        3 * 5,
        "pieces: the last event and the end mark are one"
    );
}
