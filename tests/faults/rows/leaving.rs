//! Row 18: the caller leaves. The provider's work costs money: it must stop, and everything held must be given back.

use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api, Behaviour, Fault, Phase, Provider};
use serde_json::{Value, json};

use crate::bed::{Bed, CHAT, GENERATE, MESSAGES, Setup, chat, contents, message, post};
use crate::trial::{SOON, Trial, promises, provider, until};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::peer::{EVENTS, Peer, chunk};

promises! {
    18, "the caller leaves";
    leaving_in_the_middle_of_a_head_is_no_request,
    leaving_in_the_middle_of_a_body_asks_nobody,
    leaving_before_the_answer_cancels_the_provider,
    leaving_in_the_middle_of_a_stream_cancels_the_provider,
    leaving_in_the_middle_of_a_large_answer_cancels_the_provider,
    leaving_while_waiting_for_a_place_asks_nobody,
    leaving_between_two_attempts_makes_no_second_one,
    leaving_right_after_the_last_byte_is_an_answered_request,
    a_caller_that_closes_its_own_direction_is_counted_once_and_nothing_is_held,
    hundreds_that_leave_at_once_leave_nothing_behind,
}

/// One place at the provider: if it is not given back, the next request does not get through.
fn one_place() -> Value {
    json!({"rateLimits": {"concurrentRequests": 1, "onLimit": "Reject"}, "circuitBreaker": {"failureThreshold": 1}})
}

/// How a caller leaves.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Close,
    Reset,
}

impl Exit {
    const BOTH: [Self; 2] = [Self::Close, Self::Reset];

    fn take(self, client: Connection) -> Instant {
        match self {
            Self::Close => drop(client),
            Self::Reset => client.reset(),
        }
        Instant::now()
    }
}

/// The provider's side of it: cancelled in this phase, soon, and its place is free.
async fn cancelled(trial: &Trial, bed: &Bed, provider: &Provider, phase: Phase, left: Instant) {
    provider
        .wait_for(|seen| !seen.cancelled.is_empty(), SOON)
        .await
        .unwrap();
    let cancel = provider.cancelled()[0];
    assert_eq!(cancel.phase, phase);
    trial.took(
        "cancelled after",
        cancel.at.saturating_duration_since(left),
        0.0..=100.0,
    );
    bed.idle().await.unwrap();
    provider.reset();
    assert_eq!(
        bed.chat(false).await.status,
        200,
        "the place was not given back, or the breaker blames the provider"
    );
    provider.reset();
}

async fn leaving_in_the_middle_of_a_head_is_no_request(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    for exit in Exit::BOTH {
        for part in [
            "",
            "POST",
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-le",
        ] {
            let mut client = bed.connect().await;
            client.send(part).await;
            exit.take(client);
        }
    }
    assert_eq!(bed.chat(false).await.status, 200);
    trial.figure(
        "received",
        bed.sum("bowsprit_requests_received_total", &[]).await,
        "",
        1.0..=1.0,
    );
}

async fn leaving_in_the_middle_of_a_body_asks_nobody(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), one_place())).await;
    for exit in Exit::BOTH {
        let request = post(CHAT, &chat(true));
        let mut client = bed.connect().await;
        client.send(&request[..request.len() - 5]).await;
        until("it was taken in", || async {
            bed.sum("bowsprit_in_flight", &[]).await == 1.0
        })
        .await;
        let left = exit.take(client);
        bed.idle().await.unwrap();
        trial.took("noticed after", left.elapsed(), 0.0..=100.0);
    }
    assert_eq!(first.seen().counts.requests, 0);
    assert_eq!(bed.sum("bowsprit_requests_total", &[]).await, 2.0);
    assert_eq!(bed.outcomes("ok").await, 0.0);
}

async fn leaving_before_the_answer_cancels_the_provider(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), one_place())).await;
    for exit in Exit::BOTH {
        for (path, body) in [
            (CHAT, chat(false)),
            (CHAT, chat(true)),
            (MESSAGES, message(true)),
            (GENERATE, contents()),
        ] {
            first.always(Behaviour::hang());
            let client = bed.ask(path, &body).await;
            first.wait_for(|seen| seen.counts.requests == 1, SOON).await.unwrap();
            let left = exit.take(client);
            cancelled(&trial, &bed, &first, Phase::BeforeHead, left).await;
        }
    }
    trial.figure("told as cancelled", bed.outcomes("cancelled").await, "", 8.0..=8.0);
}

async fn leaving_in_the_middle_of_a_stream_cancels_the_provider(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), one_place())).await;
    let stalled: Behaviour = Answer::new("one two three").fault(Fault::Stall { after: 2 }).into();
    let flowing: Behaviour = Answer::new("one two")
        .chunks(10_000)
        .delay(Duration::from_millis(2))
        .into();
    for exit in Exit::BOTH {
        for act in [&stalled, &flowing] {
            for (path, body) in [(CHAT, chat(true)), (MESSAGES, message(true)), (GENERATE, contents())] {
                first.always(act.clone());
                let mut client = bed.ask(path, &body).await;
                client.until("one").await;
                let left = exit.take(client);
                cancelled(&trial, &bed, &first, Phase::Body, left).await;
            }
        }
    }
    trial.figure("told as cancelled", bed.outcomes("cancelled").await, "", 12.0..=12.0);
}

async fn leaving_in_the_middle_of_a_large_answer_cancels_the_provider(trial: Trial) {
    let peer = Peer::start().await;
    let bed = trial.bed(Setup::new().openai("first", peer.url(), json!({}))).await;
    let mut client = bed.ask(CHAT, &chat(false)).await;
    let mut exchange = peer.asked().await;
    let pouring = tokio::task::spawn_local(async move {
        exchange
            .send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n")
            .await;
        exchange.pour(&vec![b' '; 64 << 10], usize::MAX).await;
        Instant::now()
    });
    client.until("HTTP/1.1 200").await;
    let left = Exit::Close.take(client);
    trial.took(
        "cancelled after",
        pouring.await.unwrap().saturating_duration_since(left),
        0.0..=100.0,
    );
    bed.idle().await.unwrap();
    assert_eq!(bed.outcomes("cancelled").await, 1.0);
}

async fn leaving_while_waiting_for_a_place_asks_nobody(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(Behaviour::hang());
    let limits = json!({"rateLimits": {"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "60s"}});
    let bed = trial.bed(Setup::new().openai("first", first.url(), limits)).await;
    let holding = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.counts.requests == 1, SOON).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(bed.ask(CHAT, &chat(false)).await);
    }
    until("they wait", || async {
        bed.sum("bowsprit_in_flight", &[]).await == 21.0
    })
    .await;
    drop(waiting);
    let left = Instant::now();
    until("they are gone", || async {
        bed.sum("bowsprit_in_flight", &[]).await == 1.0
    })
    .await;
    trial.took("noticed after", left.elapsed(), 0.0..=100.0);
    assert_eq!(first.seen().counts.requests, 1);
    drop(holding);
    bed.idle().await.unwrap();
    assert_eq!(bed.outcomes("cancelled").await, 21.0);
}

async fn leaving_between_two_attempts_makes_no_second_one(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    first.always(Behaviour::status(503));
    let backoff = json!({"retry": {"maxAttempts": 2, "backoff": {"base": "1s", "max": "1s", "jitter": "None"}}});
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), backoff).backup(&backup))
        .await;
    let client = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.answered == 1, SOON).await.unwrap();
    drop(client);
    bed.idle().await.unwrap();
    assert_eq!(bed.outcomes("cancelled").await, 1.0);
    // The retry of who comes after, and waits as long, would come after that of who left.
    assert_eq!(bed.chat(false).await.provider(), "backup");
    assert_eq!(
        (first.seen().counts.requests, backup.seen().counts.requests),
        (1 + 2, 1)
    );
}

async fn leaving_right_after_the_last_byte_is_an_answered_request(trial: Trial) {
    let peer = Peer::start().await;
    let bed = trial.bed(Setup::new().openai("first", peer.url(), json!({}))).await;
    let rounds = trial.count(20, 200);
    for round in 0..rounds {
        let mut client = bed.ask(CHAT, &chat(true)).await;
        let mut exchange = peer.asked().await;
        exchange.send(EVENTS).await;
        // The end mark, and never the last chunk: SDKs close at the mark.
        let events = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n";
        exchange.send(chunk(events)).await;
        client.until("[DONE]").await;
        Exit::BOTH[round % 2].take(client);
        exchange.closed().await;
    }
    bed.idle().await.unwrap();
    trial.figure(
        "told as answered",
        bed.outcomes("ok").await,
        "",
        rounds as f64..=rounds as f64,
    );
}

async fn a_caller_that_closes_its_own_direction_is_counted_once_and_nothing_is_held(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial.bed(Setup::new().openai("first", first.url(), one_place())).await;
    for (path, body) in [(CHAT, chat(false)), (CHAT, chat(true)), (MESSAGES, message(true))] {
        let mut client = bed.ask(path, &body).await;
        client.half_close().await;
        // Answered or cancelled: RFC 9112 leaves it open, and `nc` and old clients do it.
        assert!(client.ends_within(SOON).await);
        bed.idle().await.unwrap();
        assert_eq!(bed.chat(false).await.status, 200);
    }
    // A request that came together with the close may be none yet: then it is not counted either.
    let counted = bed.sum("bowsprit_requests_total", &[]).await;
    assert!((3.0..=6.0).contains(&counted), "{counted}");
}

async fn hundreds_that_leave_at_once_leave_nothing_behind(trial: Trial) {
    let first = provider(Api::OpenAi);
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), json!({})).quiet())
        .await;
    let mut random = fastrand::Rng::with_seed(trial.seed());
    let count = trial.count(100, 1000);
    first.always(Answer::new("one two three four").delay(Duration::from_millis(20)));
    let mut clients = Vec::new();
    for _ in 0..count {
        let request = post(CHAT, &chat(random.bool()));
        let mut client = bed.connect().await;
        // Some send everything, some break off anywhere.
        let sent = if random.bool() {
            request.len()
        } else {
            random.usize(1..request.len())
        };
        client.send(&request[..sent]).await;
        clients.push(client);
    }
    random.shuffle(&mut clients);
    for client in clients {
        if random.u8(..) < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Exit::BOTH[random.usize(..2)].take(client);
    }
    let left = Instant::now();
    bed.idle().await.unwrap();
    trial.took(format!("all {count} settled after"), left.elapsed(), 0.0..=200.0);
    until("every connection to the provider is idle or closed", || async {
        let seen = first.seen();
        seen.answered + seen.cancelled.len() as u64 == seen.counts.requests
    })
    .await;
    let received = bed.sum("bowsprit_requests_received_total", &[]).await;
    trial.figure("requests among them", received, "", 1.0..=count as f64);
    until("descriptors are given back", || async { bed.descriptors() < 300 }).await;
}
