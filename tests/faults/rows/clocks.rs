//! Row 13: the wall clock jumps, and the process stands still for a while.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api, Behaviour};
use serde_json::{Value, json};

use crate::bed::{Bed, CHAT, MESSAGES, Setup, chat, message, post};
use crate::rows::no_connection::Authority;
use crate::trial::{Trial, promises, provider, until};

promises! {
    13, "wall clock +-1 h, the process paused";
    a_jump_of_the_wall_clock_fills_no_bucket.needs(no_faketime()),
    a_jump_of_the_wall_clock_neither_closes_a_breaker_nor_holds_it_open.needs(no_faketime()),
    a_jump_of_the_wall_clock_cuts_no_stream.needs(no_faketime()),
    a_retry_after_date_is_believed_for_an_hour_at_most_whatever_the_clock_says.needs(no_faketime()),
    certificates_are_judged_by_the_wall_clock.needs(no_faketime()),
    a_pause_lets_no_more_through_than_the_bucket_holds,
    a_pause_cuts_no_stream_whose_answer_came_meanwhile,
    a_pause_fails_no_plain_request_whose_answer_came_meanwhile,
}

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

fn faketime() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}

fn no_faketime() -> Option<&'static str> {
    faketime()
        .is_none()
        .then_some("needs the Debian package libfaketime: run tests/testbed/install")
}

/// A wall clock that can be set, for a sidecar alone. Its monotonic clock stays what it is.
struct WallClock {
    dir: tempfile::TempDir,
}

impl WallClock {
    fn new() -> Self {
        let clock = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        clock.set("+0");
        clock
    }

    fn apply(&self, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", faketime().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
    }

    /// `+1h`, `-1h`, `+3y`: from now on, until it is set again.
    fn set(&self, offset: &str) {
        // Renamed into place: the sidecar reads it at any time.
        let new = self.dir.path().join("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("offset")
    }
}

/// The jump is real: the sidecar's log is written by the new clock.
async fn assert_jumped(bed: &Bed, hours: f64) {
    bed.admin("/nowhere").await;
    bed.ask("/nowhere", &json!({})).await.reply().await;
    let is_there = || async {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let there = now.as_secs_f64() + hours * 3600.0;
        let lines = bed.output();
        lines.lines().rev().take(3).any(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            seconds(line["timestamp"].as_str().unwrap_or_default()).is_some_and(|said| (said - there).abs() < 100.0)
        })
    };
    until("the log has the new time", is_there).await;
}

/// Seconds since 1970 of `2026-11-21T07:15:36.856Z`.
fn seconds(text: &str) -> Option<f64> {
    let numbers: Vec<f64> = text
        .split(['-', 'T', ':', 'Z'])
        .filter_map(|part| part.parse().ok())
        .collect();
    let [year, month, day, hour, minute, second] = numbers[..] else {
        return None;
    };
    // Days from the civil calendar; March is the first month, so that a leap day ends its year.
    let (year, month) = if month <= 2.0 {
        (year - 1.0, month + 9.0)
    } else {
        (year, month - 3.0)
    };
    let century = (year / 100.0).floor();
    let days = year * 365.0 + (year / 4.0).floor() - century + (century / 4.0).floor();
    let days = days + ((month * 153.0 + 2.0) / 5.0).floor() + day - 719_469.0;
    Some(days * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

async fn a_jump_of_the_wall_clock_fills_no_bucket(trial: Trial) {
    let (first, clock) = (provider(Api::OpenAi), WallClock::new());
    // A minute's 60 make a bucket of six, and one more each second.
    let limits = json!({"rateLimits": {"requestsPerMinute": 60, "onLimit": "Reject"}});
    let bed = trial
        .bed(clock.apply(Setup::new().openai("first", first.url(), limits)))
        .await;
    let started = Instant::now();
    let mut passed = 0;
    for offset in ["+0", "+1h", "-1h", "+0"] {
        clock.set(offset);
        let hours = offset.trim_end_matches('h').parse().unwrap();
        assert_jumped(&bed, hours).await;
        for _ in 0..20 {
            let reply = bed.chat(false).await;
            assert!(matches!(reply.status, 200 | 429), "{}", reply.text());
            passed += u32::from(reply.status == 200);
        }
    }
    let most = 6.0 + started.elapsed().as_secs_f64() + 1.0;
    trial.figure(
        "let through over three jumps",
        f64::from(passed),
        "of 80",
        6.0..=most.floor(),
    );
}

async fn a_jump_of_the_wall_clock_neither_closes_a_breaker_nor_holds_it_open(trial: Trial) {
    let (first, clock) = (provider(Api::OpenAi), WallClock::new());
    first.always(Behaviour::status(500));
    let breaker = json!({"circuitBreaker": {"failureThreshold": 1, "openFor": "2s"}});
    let bed = trial
        .bed(clock.apply(Setup::new().openai("first", first.url(), breaker)))
        .await;
    for offset in ["+1h", "-1h"] {
        clock.set("+0");
        bed.chat(false).await;
        let opened = Instant::now();
        let asked = first.seen().counts.requests;
        clock.set(offset);
        while opened.elapsed() < Duration::from_millis(1500) {
            assert_eq!(bed.chat(false).await.status, 503, "{offset}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(first.seen().counts.requests, asked, "{offset}: asked while open");
        until("the breaker probes", || async { bed.chat(false).await.status == 500 }).await;
        trial.took(format!("{offset}: probed after"), opened.elapsed(), 1950.0..=2300.0);
    }
}

async fn a_jump_of_the_wall_clock_cuts_no_stream(trial: Trial) {
    let (first, clock) = (provider(Api::OpenAi), WallClock::new());
    first.always(Answer::new("one two three four five six").delay(Duration::from_millis(100)));
    let timeouts = json!({"timeouts": {"connect": "2s", "firstToken": "5s", "idle": "5s", "total": "20s"}});
    let bed = trial
        .bed(clock.apply(Setup::new().openai("first", first.url(), timeouts)))
        .await;
    for offset in ["+1h", "-1h"] {
        clock.set("+0");
        let mut client = bed.ask(CHAT, &chat(true)).await;
        client.until("two").await;
        clock.set(offset);
        let reply = client.reply().await;
        assert!(
            reply.is_ended_well() && reply.text().contains("six"),
            "{}",
            reply.text()
        );
    }
    let metrics = bed.metrics().await;
    let total = crate::bed::sum(&metrics, "bowsprit_request_duration_seconds_sum", &[]);
    trial.figure("longest they are said to have taken", total, "s", 0.0..=20.0);
}

async fn a_retry_after_date_is_believed_for_an_hour_at_most_whatever_the_clock_says(trial: Trial) {
    let (first, clock) = (provider(Api::OpenAi), WallClock::new());
    let bed = trial
        .bed(clock.apply(Setup::new().openai("first", first.url(), json!({}))))
        .await;
    // Far in the past for one clock, in the future for the other.
    for (offset, date, most) in [
        ("+0", "Wed, 01 Jan 2020 00:00:00 GMT", 0),
        ("+0", "Wed, 01 Jan 2200 00:00:00 GMT", 3600),
        ("-1h", "Wed, 01 Jan 2200 00:00:00 GMT", 3600),
        ("+1h", "Wed, 01 Jan 2020 00:00:00 GMT", 0),
    ] {
        clock.set(offset);
        first.always(
            Behaviour::status(429)
                .header("retry-after", date)
                .header("retry-after-ms", ""),
        );
        // Another dialect: the answer is ours and so is its header.
        let reply = bed.ask(MESSAGES, &message(false)).await.reply().await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (429, "RATE_PROVIDER"),
            "{}",
            reply.text()
        );
        let wait: u64 = reply.header("retry-after").parse().unwrap_or(0);
        assert!(wait <= most, "{offset}, {date}: {wait} s");
    }
}

async fn certificates_are_judged_by_the_wall_clock(trial: Trial) {
    let (authority, clock) = (Authority::new(), WallClock::new());
    let first = authority.provider("127.0.0.1", 2030);
    let setup = Setup::new().openai("first", first.url(), json!({})).ca(&authority.pem);
    let bed = trial.bed(clock.apply(setup)).await;
    for (offset, code) in [("+0", ""), ("+10y", "EXT_TLS"), ("+0", "")] {
        clock.set(offset);
        // A connection that stands was judged when it was made.
        first.down().await;
        first.up().await;
        assert_eq!(bed.chat(false).await.code(), code, "{offset}");
    }
}

/// How long the process stands still.
fn pause(trial: &Trial) -> Duration {
    Duration::from_secs(trial.count(2, 20) as u64)
}

async fn a_pause_lets_no_more_through_than_the_bucket_holds(trial: Trial) {
    let first = provider(Api::OpenAi);
    let limits = json!({"rateLimits": {"requestsPerMinute": 60, "onLimit": "Reject"}});
    let bed = trial.bed(Setup::new().openai("first", first.url(), limits)).await;
    for _ in 0..10 {
        bed.chat(false).await;
    }
    let before = first.seen().counts.requests;
    bed.signal("STOP");
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(bed.ask(CHAT, &chat(false)).await);
    }
    let pause = pause(&trial);
    tokio::time::sleep(pause).await;
    let resumed = Instant::now();
    bed.signal("CONT");
    let mut answered = 0;
    for client in &mut waiting {
        let reply = client.reply().await;
        assert!(matches!(reply.status, 200 | 429), "{}", reply.text());
        answered += 1;
    }
    assert_eq!(answered, 50);
    let passed = first.seen().counts.requests - before;
    let most = 6.0 + resumed.elapsed().as_secs_f64() + 1.0;
    let what = format!("let through after {} s", pause.as_secs());
    trial.figure(what, passed as f64, "of 50", 1.0..=most.floor());
}

async fn a_pause_cuts_no_stream_whose_answer_came_meanwhile(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(Answer::new("one two three four five six seven eight").delay(Duration::from_millis(200)));
    let timeouts = json!({"timeouts": {"connect": "2s", "firstToken": "60s", "idle": "1s", "total": "120s"}});
    let bed = trial.bed(Setup::new().openai("first", first.url(), timeouts)).await;
    let mut streams = Vec::new();
    for path in [CHAT, MESSAGES].repeat(5) {
        let body = if path == CHAT { chat(true) } else { message(true) };
        let mut client = bed.ask(path, &body).await;
        client.until("one").await;
        streams.push(client);
    }
    bed.signal("STOP");
    tokio::time::sleep(pause(&trial)).await;
    bed.signal("CONT");
    for client in &mut streams {
        let reply = client.reply().await;
        assert!(
            reply.is_ended_well() && reply.text().contains("eight"),
            "{}",
            reply.text()
        );
    }
}

async fn a_pause_fails_no_plain_request_whose_answer_came_meanwhile(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(Answer::new("one two").head_delay(Duration::from_millis(300)));
    let timeouts = json!({"timeouts": {"connect": "2s", "firstToken": "1s", "idle": "1s", "total": "1s"}});
    let bed = Rc::clone(&trial.bed(Setup::new().openai("first", first.url(), timeouts)).await);
    let mut waiting = Vec::new();
    for path in [CHAT, MESSAGES].repeat(5) {
        let body = if path == CHAT { chat(false) } else { message(false) };
        let mut client = bed.connect().await;
        client.send(post(path, &body)).await;
        waiting.push(client);
    }
    until("all were sent on", || async { first.seen().counts.requests == 10 }).await;
    bed.signal("STOP");
    tokio::time::sleep(pause(&trial)).await;
    bed.signal("CONT");
    for client in &mut waiting {
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}
