//! Row 9: callers that are slow on purpose, or by nature: heads and bodies that trickle in, readers that take nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api};
use serde_json::{Value, json};

use crate::bed::{Bed, CHAT, MESSAGES, Setup, chat, message, post};
use crate::trial::{Trial, promises, provider, until};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::peer::{EVENTS, Peer, chunk, json as whole};

promises! {
    9, "slow loris, slow reader, one byte at a time";
    a_request_that_comes_byte_by_byte_is_answered,
    an_answer_that_comes_byte_by_byte_is_passed_on,
    slow_callers_do_not_slow_the_others,
    readers_that_take_nothing_hold_little_memory_each,
    a_head_that_never_ends_is_closed_at_its_deadline.patient(),
    a_body_that_never_ends_is_refused_at_its_deadline.patient(),
    a_reader_that_takes_nothing_is_let_go_and_so_is_its_provider.patient(),
}

async fn a_request_that_comes_byte_by_byte_is_answered(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    let mut client = bed.connect().await;
    // Twice on one connection: where the first ends must be clear from its bytes, however they come.
    for _ in 0..2 {
        for byte in post(CHAT, &chat(false)).as_bytes() {
            client.send([*byte]).await;
        }
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(first.seen().counts.requests, 2);
}

async fn an_answer_that_comes_byte_by_byte_is_passed_on(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    let slow = Answer {
        write_bytes: Some(1),
        ..Answer::new("one two three")
    };
    for stream in [false, true] {
        for (path, body) in [(CHAT, chat(stream)), (MESSAGES, message(stream))] {
            first.always(Answer::new("one two three"));
            let at_once = bed.ask(path, &body).await.reply().await;
            first.always(slow.clone());
            let reply = bed.ask(path, &body).await.reply().await;
            assert!(reply.complete && reply.status == 200, "{}", reply.text());
            assert_eq!(without_ids(&reply.text()), without_ids(&at_once.text()));
        }
    }
}

/// A body without what differs from answer to answer: numbers and what is made of them.
fn without_ids(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
    for field in ["\"id\":\"", "\"system_fingerprint\":\""] {
        while let Some((before, rest)) = text.split_once(field) {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            text = format!("{before}{after}");
        }
    }
    text
}

/// The slowest hundredth and the middle of so many requests, one after another, milliseconds.
async fn latencies(bed: &Bed, count: usize) -> (f64, f64) {
    let mut client = bed.connect().await;
    let request = post(CHAT, &chat(false));
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        client.send(&request).await;
        assert_eq!(client.reply().await.status, 200);
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    (times[count / 2], times[count * 99 / 100])
}

async fn slow_callers_do_not_slow_the_others(trial: Trial) {
    let record = Peer::start().await.answering(whole(
        r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    ));
    let streams = pouring(64 << 10, Duration::ZERO).await;
    let setup = Setup::new()
        .openai("first", record.url(), json!({}))
        .openai(
            "streams",
            streams,
            json!({"models": [{"name": "s"}], "defaultModel": "s"}),
        )
        .quiet();
    let bed = trial.bed(setup).await;
    let (rounds, requests, crowd) = (trial.count(1, 3), trial.count(30, 500), trial.count(10, 50));
    latencies(&bed, requests).await;
    // In turns, so that both see the same machine. The best round among slow callers against the worst without them: what
    // the machine itself adds is in both.
    let (mut alone, mut among) = ((0.0_f64, 0.0_f64), (f64::MAX, f64::MAX));
    for _ in 0..rounds {
        let (middle, slowest) = latencies(&bed, requests).await;
        alone = (alone.0.max(middle), alone.1.max(slowest));
        let held = slow_crowd(&bed, crowd).await;
        let (middle, slowest) = latencies(&bed, requests).await;
        among = (among.0.min(middle), among.1.min(slowest));
        drop(held);
    }
    trial.measure(
        format!("p50 among {} slow callers", crowd * 3),
        among.0,
        "ms",
        0.0..=alone.0 * 1.10,
    );
    trial.measure("p99", among.1, "ms", 0.0..=alone.1 * 1.10);
}

/// Callers in the middle of a head, in the middle of a body, and with a stream that they do not read.
async fn slow_crowd(bed: &Bed, count: usize) -> Vec<Connection> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut head = bed.connect().await;
        head.send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
            .await;
        let mut body = bed.connect().await;
        body.send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"model\"")
            .await;
        let mut reader = Connection::connect_narrow(bed.listen, &bed.lookout).await;
        let mut stream = chat(true);
        stream["model"] = "s".into();
        reader.send(post(CHAT, &stream)).await;
        held.extend([head, body, reader]);
    }
    // Until every buffer on the way to the readers is full: what is measured is that they take nothing.
    let mut busy = true;
    while busy {
        let before = bed.cpu();
        tokio::time::sleep(Duration::from_millis(200)).await;
        busy = bed.cpu().saturating_sub(before) > Duration::from_millis(10);
    }
    held
}

/// A provider whose streams never end: an event of `size` bytes again and again. Returns its address.
async fn pouring(size: usize, pause: Duration) -> String {
    let peer = Rc::new(Peer::start().await);
    let url = peer.url();
    tokio::task::spawn_local(async move {
        loop {
            let mut exchange = peer.accept_any().await;
            tokio::task::spawn_local(async move {
                exchange.request().await;
                exchange.send(EVENTS).await;
                let event = event_of(size);
                while exchange.try_send(&event).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    url
}

fn event_of(size: usize) -> Vec<u8> {
    let text = "x".repeat(size);
    let event = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    chunk(format!("data: {event}\n\n").as_bytes())
}

async fn readers_that_take_nothing_hold_little_memory_each(trial: Trial) {
    let first = pouring(16 << 10, Duration::ZERO).await;
    let bed = trial.bed(Setup::new().openai("first", first, json!({})).quiet()).await;
    let count = trial.count(50, 1000);
    // What the first requests leave behind is not the streams'.
    drop(stuck(&bed, 5).await);
    bed.idle().await.unwrap();
    let before = bed.memory();
    let held = stuck(&bed, count).await;
    let grown = settled_memory(&bed).await - before;
    trial.figure(format!("{count} stuck streams"), grown, "MiB", 0.0..=0.5 * count as f64);
    trial.figure("each", grown * 1024.0 / count as f64, "KiB", 0.0..=512.0);
    drop(held);
    bed.idle().await.unwrap();
    trial.figure(
        "cancelled when they left",
        bed.outcomes("cancelled").await,
        "",
        (count + 5) as f64..=(count + 5) as f64,
    );
}

async fn stuck(bed: &Bed, count: usize) -> Vec<Connection> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut reader = Connection::connect_narrow(bed.listen, &bed.lookout).await;
        reader.send(post(CHAT, &chat(true))).await;
        held.push(reader);
    }
    until("all streams have begun", || async {
        bed.sum("bowsprit_first_token_seconds_count", &[]).await >= count as f64
    })
    .await;
    held
}

/// Memory once it no longer grows.
async fn settled_memory(bed: &Bed) -> f64 {
    let mut last = bed.memory();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = bed.memory();
        if now <= last + 0.25 {
            return now;
        }
        last = now;
    }
}

/// How long the sidecar waits for a head, and for a body (docs/operating.md).
const INCOMING: Duration = Duration::from_mins(1);
/// How long it waits for a reader to take anything.
const TAKING: Duration = Duration::from_mins(2);

async fn a_head_that_never_ends_is_closed_at_its_deadline(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    let started = Instant::now();
    let mut closed = Vec::new();
    let trickles: Vec<_> = (0..50)
        .map(|_| {
            let bed = Rc::clone(&bed);
            tokio::task::spawn_local(async move {
                let mut client = bed.connect().await;
                client.send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n").await;
                // A header field now and then: activity must not buy time.
                while client.more_within(Duration::from_secs(5)).await.is_none() {
                    let _ = client.try_send("x-a: b\r\n").await;
                }
                started.elapsed()
            })
        })
        .collect();
    for trickle in trickles {
        closed.push(trickle.await.unwrap());
    }
    let (soonest, latest) = (closed.iter().min().unwrap(), closed.iter().max().unwrap());
    trial.took("50 heads: the first was closed after", *soonest, line(INCOMING));
    trial.took("the last", *latest, line(INCOMING));
    assert_eq!(bed.chat(false).await.status, 200);
    assert_eq!(
        bed.sum("bowsprit_requests_received_total", &[]).await,
        1.0,
        "a head that never came is no request"
    );
}

/// Within 5 s of a deadline of minutes: a trickle looks only so often.
fn line(deadline: Duration) -> std::ops::RangeInclusive<f64> {
    let ms = deadline.as_secs_f64() * 1e3;
    ms - 1000.0..=ms + 6000.0
}

async fn a_body_that_never_ends_is_refused_at_its_deadline(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    let mut client = bed.connect().await;
    client
        .send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{")
        .await;
    let started = Instant::now();
    while client.more_within(Duration::from_secs(5)).await.is_none() {
        client.send(" ").await;
    }
    trial.took("answered after", started.elapsed(), line(INCOMING));
    let reply = client.reply().await;
    assert!(
        (400..500).contains(&reply.status) && reply.code().starts_with("VAL_"),
        "{}",
        reply.text()
    );
    assert!(
        client.ends_within(Duration::from_secs(5)).await,
        "the connection stays open"
    );
    assert_eq!(first.seen().counts.requests, 0);
}

async fn a_reader_that_takes_nothing_is_let_go_and_so_is_its_provider(trial: Trial) {
    let peer = Peer::start().await;
    let limits = json!({"rateLimits": {"concurrentRequests": 1}, "timeouts": {"idle": "600s", "total": "1200s"}});
    let bed = trial.bed(Setup::new().openai("first", peer.url(), limits)).await;
    let mut reader = Connection::connect_narrow(bed.listen, &bed.lookout).await;
    reader.send(post(CHAT, &chat(true))).await;
    let mut exchange = peer.asked().await;
    exchange.send(EVENTS).await;
    let event = event_of(16 << 10);
    // Pours until it is closed. What it cannot send for want of room waits here.
    let started = Instant::now();
    exchange.pour(&event, usize::MAX).await;
    trial.took("let go after", started.elapsed(), line(TAKING));
    bed.idle().await.unwrap();
    // The place at the provider is free again.
    let mut next = bed.ask(CHAT, &chat(false)).await;
    let mut exchange = peer.asked().await;
    exchange.send(whole(&usual().to_string())).await;
    assert_eq!(next.reply().await.status, 200);
}

fn usual() -> Value {
    json!({"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
}
