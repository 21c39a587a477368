//! Row 12: bodies that are small on the wire and huge inside, that announce more than anyone has, or that are not what
//! their label says.

use std::process::Command;
use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api};
use serde_json::json;

use crate::bed::{Bed, CHAT, MESSAGES, Setup, chat, message};
use crate::trial::{Trial, promises, provider};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::peer::Peer;

promises! {
    12, "compression bombs, 10 GiB bodies, wrong labels";
    a_compression_bomb_is_given_up_at_its_ratio,
    a_compression_bomb_that_must_be_translated_is_answered_by_another,
    a_compressed_error_keeps_its_status_and_its_bomb,
    a_wrong_label_is_never_believed,
    a_request_that_announces_ten_gibibytes_is_refused_at_once,
    a_chunked_request_beyond_the_limit_is_refused_where_it_passes_it,
    an_answer_that_announces_ten_gibibytes_flows_and_is_cancelled_when_the_caller_leaves,
    an_answer_too_large_to_translate_is_refused_in_bounded_memory,
    an_error_body_of_ten_gibibytes_is_read_a_little_of,
    a_response_head_beyond_its_limits_is_refused,
}

const TEN_GIB: u64 = 10 << 30;

/// So many zeros, gzipped.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let made = Command::new("sh")
        .args(["-c", &format!("head -c {mebibytes}M /dev/zero | gzip -9")])
        .output()
        .unwrap();
    assert!(made.status.success());
    made.stdout
}

fn head(status: &str, fields: &str, length: u64) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n")
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    [
        head("200 OK", "content-encoding: gzip\r\n", body.len() as u64).as_bytes(),
        body,
    ]
    .concat()
}

/// What the sidecar's memory peaks at meanwhile, beyond what it was, MiB; it may also have given some back.
async fn growth<F: Future>(bed: &Bed, work: F) -> (F::Output, f64) {
    bed.forget_peak();
    let before = bed.peak();
    let done = work.await;
    (done, (bed.peak() - before).max(0.0))
}

async fn a_compression_bomb_is_given_up_at_its_ratio(trial: Trial) {
    let size = trial.count(64, 1024);
    let bomb = bomb(size);
    let record = Peer::start().await.answering(gzipped(&bomb));
    let bed = trial.bed(Setup::new().openai("first", record.url(), json!({}))).await;
    for stream in [false, true] {
        let (reply, grown) = growth(&bed, bed.chat(stream)).await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (502, "EXT_MALFORMED"),
            "{}",
            reply.text()
        );
        trial.figure(format!("memory for a bomb of {size} MiB"), grown, "MiB", 0.0..=12.0);
    }
}

async fn a_compression_bomb_that_must_be_translated_is_answered_by_another(trial: Trial) {
    let record = Peer::start().await.answering(gzipped(&bomb(64)));
    let backup = provider(Api::Anthropic);
    let bed = trial
        .bed(Setup::new().openai("first", record.url(), json!({})).backup(&backup))
        .await;
    let work = async { bed.ask(MESSAGES, &message(false)).await.reply().await };
    let (reply, grown) = growth(&bed, work).await;
    assert_eq!((reply.status, reply.provider()), (200, "backup"), "{}", reply.text());
    trial.figure("memory for it", grown, "MiB", 0.0..=4.0);
    assert_eq!(bed.attempts("first", "EXT_MALFORMED").await, 1.0);
}

async fn a_compressed_error_keeps_its_status_and_its_bomb(trial: Trial) {
    let bomb = bomb(16);
    let label = "content-encoding: gzip\r\n";
    let answer = [
        head("429 Too Many Requests", label, bomb.len() as u64).as_bytes(),
        &bomb,
    ]
    .concat();
    let record = Peer::start().await.answering(answer);
    let bed = trial.bed(Setup::new().openai("first", record.url(), json!({}))).await;
    let (reply, grown) = growth(&bed, bed.chat(false)).await;
    // What cannot be read to its end may quote the key.
    assert_eq!(
        (reply.status, reply.header("content-encoding"), &*reply.code()),
        (429, "", "RATE_PROVIDER"),
        "{:?} {}",
        reply.headers,
        reply.text()
    );
    assert_eq!(
        bed.attempts("first", "RATE_PROVIDER").await,
        1.0,
        "the status says what it is"
    );
    let reply = bed.ask(MESSAGES, &message(false)).await.reply().await;
    assert_eq!(
        (reply.status, reply.header("content-encoding")),
        (429, ""),
        "{}",
        reply.text()
    );
    trial.figure("memory for it", grown, "MiB", 0.0..=4.0);
}

async fn a_wrong_label_is_never_believed(trial: Trial) {
    let plain = r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let zipped = bomb(1);
    for (what, label, body, passes) in [
        ("JSON labelled gzip", "gzip", plain.as_bytes(), false),
        ("JSON labelled br", "br", plain.as_bytes(), true),
        ("JSON with a label nobody knows", "rot13", plain.as_bytes(), true),
        ("JSON labelled identity", "identity", plain.as_bytes(), true),
        ("gzip labelled identity", "identity", &zipped, false),
        ("gzip without a label", "", &zipped, false),
    ] {
        let label = if label.is_empty() {
            String::new()
        } else {
            format!("content-encoding: {label}\r\n")
        };
        let answer = [head("200 OK", &label, body.len() as u64).as_bytes(), body].concat();
        let record = Peer::start().await.answering(answer);
        let bed = trial.bed(Setup::new().openai("first", record.url(), json!({}))).await;
        let reply = bed.chat(false).await;
        if passes {
            assert!(reply.status == 200 && reply.body == body, "{what}: {}", reply.text());
        } else {
            assert_eq!(
                (reply.status, &*reply.code()),
                (502, "EXT_MALFORMED"),
                "{what}: {}",
                reply.text()
            );
        }
        let translated = bed.ask(MESSAGES, &message(false)).await.reply().await;
        if what.ends_with("identity") && passes {
            assert_eq!(translated.status, 200, "{what}: {}", translated.text());
        } else {
            assert_eq!(translated.code(), "EXT_MALFORMED", "{what}: {}", translated.text());
        }
    }
}

async fn a_request_that_announces_ten_gibibytes_is_refused_at_once(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    for path in [CHAT, MESSAGES] {
        let mut client = bed.connect().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {TEN_GIB}\r\n\r\n{{"
            ))
            .await;
        let started = Instant::now();
        let reply = client.reply().await;
        trial.took("refused after", started.elapsed(), 0.0..=50.0);
        assert_eq!(
            (reply.status, &*reply.code()),
            (413, "VAL_TOO_LARGE"),
            "{}",
            reply.text()
        );
        assert!(
            client.ends_within(Duration::from_secs(5)).await,
            "the rest of the body is waited for"
        );
    }
    assert_eq!(first.seen().counts.requests, 0);
}

async fn a_chunked_request_beyond_the_limit_is_refused_where_it_passes_it(trial: Trial) {
    let first = provider(Api::OpenAi);
    let setup = Setup::new()
        .openai("first", first.url(), json!({}))
        .args(&["--max-body", "4MiB"]);
    let bed = trial.bed(setup).await;
    let mut client = bed.connect().await;
    client
        .send(format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
    let piece = bowsprit_rig::peer::chunk(&vec![b' '; 64 << 10]);
    let work = async {
        let mut sent = 0;
        // Until it answers, or far beyond the limit.
        while sent < 64 << 20 && client.more_within(Duration::ZERO).await.is_none() {
            if client.try_send(&piece).await.is_err() {
                break;
            }
            sent += piece.len();
        }
        client.reply().await
    };
    let (reply, grown) = growth(&bed, work).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (413, "VAL_TOO_LARGE"),
        "{}",
        reply.text()
    );
    trial.figure("memory with a limit of 4 MiB", grown, "MiB", 0.0..=14.0);
    assert_eq!(first.seen().counts.requests, 0);
}

async fn an_answer_that_announces_ten_gibibytes_flows_and_is_cancelled_when_the_caller_leaves(trial: Trial) {
    let peer = Peer::start().await;
    let bed = trial
        .bed(Setup::new().openai("first", peer.url(), json!({})).quiet())
        .await;
    let size = trial.count(16, 512) << 20;
    let mut client = bed.ask(CHAT, &chat(false)).await;
    let mut exchange = peer.asked().await;
    let pouring = tokio::task::spawn_local(async move {
        exchange.send(head("200 OK", "", TEN_GIB)).await;
        exchange.pour(&vec![b' '; 64 << 10], usize::MAX).await;
        Instant::now()
    });
    let work = async {
        let mut read = 0;
        while read < size {
            assert!(client.more().await);
            read += client.seen.len();
            client.forget();
        }
    };
    let ((), grown) = growth(&bed, work).await;
    trial.figure(
        format!("memory for {} MiB that passed", size >> 20),
        grown,
        "MiB",
        0.0..=16.0,
    );
    let left = Instant::now();
    drop(client);
    trial.took("cancelled after", pouring.await.unwrap() - left, 0.0..=100.0);
    bed.idle().await.unwrap();
    assert_eq!(bed.outcomes("cancelled").await, 1.0);
}

async fn an_answer_too_large_to_translate_is_refused_in_bounded_memory(trial: Trial) {
    let peer = Peer::start().await;
    let backup = provider(Api::Anthropic);
    let bed = trial
        .bed(
            Setup::new()
                .openai("first", peer.url(), json!({}))
                .backup(&backup)
                .quiet(),
        )
        .await;
    let mut client = bed.ask(MESSAGES, &message(false)).await;
    let mut exchange = peer.asked().await;
    let pouring = tokio::task::spawn_local(async move {
        exchange.send(head("200 OK", "", TEN_GIB)).await;
        exchange.pour(&vec![b' '; 64 << 10], usize::MAX).await
    });
    let (reply, grown) = growth(&bed, client.reply()).await;
    assert_eq!((reply.status, reply.provider()), (200, "backup"), "{}", reply.text());
    let sent = pouring.await.unwrap();
    trial.figure("read of it", sent as f64 / f64::from(1 << 20), "MiB", 0.0..=80.0);
    trial.figure("memory for it", grown, "MiB", 0.0..=100.0);
}

async fn an_error_body_of_ten_gibibytes_is_read_a_little_of(trial: Trial) {
    let peer = Peer::start().await;
    let bed = trial
        .bed(Setup::new().openai("first", peer.url(), json!({})).quiet())
        .await;
    let mut client = bed.ask(CHAT, &chat(false)).await;
    let mut exchange: Connection = peer.asked().await;
    let pouring = tokio::task::spawn_local(async move {
        exchange.send(head("500 Internal Server Error", "", TEN_GIB)).await;
        exchange.pour(&vec![b' '; 16 << 10], usize::MAX).await
    });
    let (reply, grown) = growth(&bed, client.reply()).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (502, "EXT_SERVER_ERROR"),
        "{}",
        reply.text()
    );
    let sent = pouring.await.unwrap();
    trial.figure("read of it", sent as f64 / f64::from(1 << 20), "MiB", 0.0..=8.0);
    trial.figure("memory for it", grown, "MiB", 0.0..=4.0);
}

async fn a_response_head_beyond_its_limits_is_refused(trial: Trial) {
    let body = r#"{"choices":[]}"#;
    let end = format!("content-length: {}\r\n\r\n{body}", body.len());
    let fields: String = (0..1000).map(|n| format!("x-{n}: v\r\n")).collect();
    let long = format!("x-long: {}\r\n", "v".repeat(1 << 20));
    for (what, fields) in [("1,000 fields", fields), ("a value of 1 MiB", long)] {
        let record = Peer::start()
            .await
            .answering(format!("HTTP/1.1 200 OK\r\n{fields}{end}"));
        let backup = provider(Api::Anthropic);
        backup.always(Answer::new("hi"));
        let bed = trial
            .bed(Setup::new().openai("first", record.url(), json!({})).backup(&backup))
            .await;
        let (reply, grown) = growth(&bed, bed.chat(false)).await;
        assert_eq!(
            (reply.status, reply.provider()),
            (200, "backup"),
            "{what}: {}",
            reply.text()
        );
        assert_eq!(bed.attempts("first", "EXT_PROTOCOL").await, 1.0, "{what}");
        trial.figure("memory for it", grown, "MiB", 0.0..=4.0);
    }
}
