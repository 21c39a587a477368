//! Row 8: the connection to the provider breaks: reset, half closed, closed too soon, cut in a chunk.

use std::time::Duration;

use bowsprit_providers::{Answer, Api, Behaviour, Fault, Point};
use serde_json::{Value, json};

use crate::bed::{CHAT, GENERATE, MESSAGES, Setup, chat, contents, message};
use crate::trial::{Trial, promises, provider};
use bowsprit_rig::peer::{EVENTS, Peer, chunk};

promises! {
    8, "reset, half-close, early FIN, truncated chunk";
    a_connection_that_breaks_before_the_answer_is_told_apart_and_the_next_candidate_answers,
    a_plain_answer_that_breaks_off_is_never_handed_over_and_the_next_candidate_answers,
    a_stream_that_breaks_before_its_content_is_answered_by_the_next_candidate,
    a_stream_that_breaks_after_content_ends_with_an_error_and_is_tried_nowhere_else,
    an_answer_too_large_to_hold_breaks_where_its_source_did,
    a_half_closed_provider_is_a_broken_one_at_once,
    every_break_counts_against_the_breaker,
}

/// Breaks that leave half a body behind, in plain answers and in streams.
fn breaks(after: u32) -> [Fault; 4] {
    [
        Fault::Reset {
            at: Point::AfterChunks(after),
        },
        Fault::Reset {
            at: Point::MidChunk(after),
        },
        Fault::EarlyFin { after },
        Fault::TruncatedChunked { after },
    ]
}

/// A breaker that has no part in what is tried.
fn patient_breaker() -> Value {
    json!({"circuitBreaker": {"failureThreshold": 1000}})
}

async fn a_connection_that_breaks_before_the_answer_is_told_apart_and_the_next_candidate_answers(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    let setup = || Setup::new().openai("first", first.url(), patient_breaker());
    let (alone, two) = (trial.bed(setup()).await, trial.bed(setup().backup(&backup)).await);
    for (act, code) in [
        (Behaviour::reset(Point::BeforeHead), "EXT_RESET"),
        (bowsprit_providers::Raw::new("").into(), "EXT_RESET"),
        (
            bowsprit_providers::Raw::new("HTTP/1.1 200 OK\r\ncontent-le").into(),
            "EXT_RESET",
        ),
        (Behaviour::Garbage, "EXT_PROTOCOL"),
    ] {
        first.always(act);
        for stream in [false, true] {
            let reply = alone.chat(stream).await;
            assert_eq!((reply.status, &*reply.code()), (502, code), "{}", reply.text());
            assert_eq!(two.chat(stream).await.provider(), "backup");
        }
    }
}

async fn a_plain_answer_that_breaks_off_is_never_handed_over_and_the_next_candidate_answers(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    let setup = || Setup::new().openai("first", first.url(), patient_breaker());
    let (alone, two) = (trial.bed(setup()).await, trial.bed(setup().backup(&backup)).await);
    for fault in breaks(1) {
        first.always(Answer::new("one two three four").fault(fault.clone()));
        // The caller's own dialect passes as bytes, another is translated: neither may see half of it.
        for (path, body) in [(CHAT, chat(false)), (MESSAGES, message(false))] {
            let reply = alone.ask(path, &body).await.reply().await;
            let status = if path == CHAT { 502 } else { 500 };
            assert_eq!(
                (reply.status, &*reply.code()),
                (status, "EXT_TRUNCATED"),
                "{fault:?}: {}",
                reply.text()
            );
            let reply = two.ask(path, &body).await.reply().await;
            assert_eq!(
                (reply.status, reply.provider()),
                (200, "backup"),
                "{fault:?}: {}",
                reply.text()
            );
        }
    }
    trial.figure(
        "broken answers handed over",
        alone.outcomes("ok").await,
        "of 8",
        0.0..=0.0,
    );
}

async fn a_stream_that_breaks_before_its_content_is_answered_by_the_next_candidate(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    let setup = Setup::new().openai("first", first.url(), patient_breaker());
    let bed = trial.bed(setup.backup(&backup)).await;
    let mut faults = breaks(0).to_vec();
    faults.push(Fault::Reset { at: Point::AfterHead });
    for fault in faults {
        first.always(Answer::new("one two three").fault(fault.clone()));
        for (path, body) in [(CHAT, chat(true)), (MESSAGES, message(true)), (GENERATE, contents())] {
            let reply = bed.ask(path, &body).await.reply().await;
            assert_eq!(
                (reply.status, reply.provider()),
                (200, "backup"),
                "{fault:?}: {}",
                reply.text()
            );
            assert!(reply.complete && reply.is_ended_well(), "{fault:?}: {}", reply.text());
        }
    }
    trial.figure("answered all the same", bed.outcomes("ok").await, "of 15", 15.0..=15.0);
}

async fn a_stream_that_breaks_after_content_ends_with_an_error_and_is_tried_nowhere_else(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    let mut spec = patient_breaker();
    spec["retry"] = json!({"maxAttempts": 3});
    let setup = Setup::new().openai("first", first.url(), spec);
    let bed = trial.bed(setup.backup(&backup)).await;
    let mut faults = breaks(2).to_vec();
    faults.push(Fault::NoFinish);
    let mut asked = 0;
    for fault in faults {
        for (path, body) in [(CHAT, chat(true)), (MESSAGES, message(true)), (GENERATE, contents())] {
            first.always(Answer::new("one two three").fault(fault.clone()));
            let reply = bed.ask(path, &body).await.reply().await;
            asked += 1;
            assert!(reply.text().contains("one"), "{fault:?}: {}", reply.text());
            let error = reply.stream_error();
            assert_eq!(
                error.as_deref(),
                Some("EXT_TRUNCATED"),
                "{fault:?} {path}: {}",
                reply.text()
            );
            assert!(!reply.is_ended_well(), "{fault:?} {path}: {}", reply.text());
            assert_eq!(
                first.seen().counts.requests,
                asked,
                "{fault:?} {path}: asked again after content"
            );
        }
    }
    assert_eq!(backup.seen().counts.requests, 0, "asked elsewhere after content");
    trial.figure("told as cut", bed.outcomes("cut").await, "of 15", 15.0..=15.0);
}

async fn an_answer_too_large_to_hold_breaks_where_its_source_did(trial: Trial) {
    let peer = Peer::start().await;
    let bed = trial.bed(Setup::new().openai("first", peer.url(), json!({}))).await;
    for reset in [false, true] {
        let mut client = bed.ask(CHAT, &chat(false)).await;
        let mut exchange = peer.asked().await;
        exchange
            .send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20000000\r\n\r\n")
            .await;
        let sending = tokio::task::spawn_local(async move {
            exchange.send(vec![b' '; 12_000_000]).await;
            if reset {
                exchange.reset();
            }
        });
        let reply = client.reply().await;
        sending.await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(!reply.complete, "half an answer came to a proper end");
    }
    assert_eq!(bed.outcomes("cut").await, 2.0);
}

async fn a_half_closed_provider_is_a_broken_one_at_once(trial: Trial) {
    let peer = Peer::start().await;
    let bed = trial.bed(Setup::new().openai("first", peer.url(), json!({}))).await;
    // Before the head, in a plain body, in a stream: its connection stays open for reading, and is of no use.
    for (bytes, stream) in [
        (Vec::new(), false),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":".to_vec(),
            false,
        ),
        (
            [
                EVENTS.as_bytes(),
                &chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n"),
            ]
            .concat(),
            true,
        ),
    ] {
        let mut client = bed.ask(CHAT, &chat(stream)).await;
        let mut exchange = peer.asked().await;
        exchange.send(&bytes).await;
        exchange.half_close().await;
        let half_closed = std::time::Instant::now();
        let reply = client.reply().await;
        trial.took("told after", half_closed.elapsed(), 0.0..=100.0);
        let code = if stream {
            reply.stream_error().unwrap_or_default()
        } else {
            reply.code()
        };
        let expected = if bytes.is_empty() { "EXT_RESET" } else { "EXT_TRUNCATED" };
        assert_eq!(code, expected, "{}", reply.text());
        assert!(!reply.is_ended_well());
        let closed = exchange.closed().await;
        trial.took("closed on our side after", closed - half_closed, 0.0..=100.0);
    }
}

async fn every_break_counts_against_the_breaker(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    for fault in breaks(2) {
        first.reset();
        first.always(
            Answer::new("one two three")
                .delay(Duration::from_millis(1))
                .fault(fault),
        );
        let breaker = json!({"circuitBreaker": {"failureThreshold": 2, "openFor": "60s"}});
        let bed = trial
            .bed(Setup::new().openai("first", first.url(), breaker).backup(&backup))
            .await;
        for _ in 0..2 {
            assert_eq!(bed.chat(true).await.provider(), "first");
        }
        for stream in [true, false] {
            assert_eq!(bed.chat(stream).await.provider(), "backup");
        }
        assert_eq!(first.seen().counts.requests, 2);
    }
}
