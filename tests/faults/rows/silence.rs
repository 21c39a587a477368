//! Row 7: the provider hangs before its answer, or falls silent in it.

use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api, Behaviour, Fault};
use serde_json::{Value, json};

use crate::bed::{CHAT, GENERATE, MESSAGES, Setup, chat, contents, message};
use crate::trial::{Trial, promises, provider};

promises! {
    7, "hang before headers, stall in mid-stream";
    a_stream_that_hangs_before_its_head_ends_at_the_first_token_timeout,
    start_up_events_without_content_do_not_hold_the_first_token_timeout_off,
    a_plain_request_that_hangs_ends_at_the_total_timeout,
    a_plain_body_that_stalls_ends_at_the_idle_timeout,
    the_next_candidate_answers_while_nothing_was_sent,
    a_stalled_stream_ends_with_an_error_event_in_each_dialect_and_is_never_complete,
    a_provider_that_hangs_opens_its_breaker_and_is_asked_no_more,
}

/// Long enough to be measured, short enough to be waited for.
fn limit(trial: &Trial) -> Duration {
    Duration::from_millis(trial.count(300, 1000) as u64)
}

/// All limits far away but for this one.
fn timeouts(name: &str, limit: Duration) -> Value {
    let mut all = json!({"connect": "5s", "firstToken": "60s", "idle": "60s", "total": "120s"});
    all[name] = format!("{}ms", limit.as_millis()).into();
    json!({"timeouts": all})
}

async fn times_out(trial: &Trial, act: impl Into<Behaviour>, stream: bool, name: &str, code: &str) {
    let first = provider(Api::OpenAi);
    first.always(act);
    let limit = limit(trial);
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), timeouts(name, limit)))
        .await;
    let started = Instant::now();
    let reply = bed.chat(stream).await;
    trial.on_time(format!("{name} fired after"), limit, started.elapsed());
    assert_eq!((reply.status, &*reply.code()), (504, code), "{}", reply.text());
    assert!(
        reply.text().contains(&format!("timeouts.{name}")),
        "the message names the setting"
    );
    assert_eq!(bed.attempts("first", code).await, 1.0);
}

async fn a_stream_that_hangs_before_its_head_ends_at_the_first_token_timeout(trial: Trial) {
    times_out(&trial, Behaviour::hang(), true, "firstToken", "EXT_FIRST_TOKEN_TIMEOUT").await;
}

async fn start_up_events_without_content_do_not_hold_the_first_token_timeout_off(trial: Trial) {
    let stalled = Answer::new("one two").fault(Fault::Stall { after: 0 });
    times_out(&trial, stalled, true, "firstToken", "EXT_FIRST_TOKEN_TIMEOUT").await;
}

async fn a_plain_request_that_hangs_ends_at_the_total_timeout(trial: Trial) {
    times_out(&trial, Behaviour::hang(), false, "total", "EXT_TOTAL_TIMEOUT").await;
}

async fn a_plain_body_that_stalls_ends_at_the_idle_timeout(trial: Trial) {
    times_out(&trial, Behaviour::stall_after(1), false, "idle", "EXT_IDLE_TIMEOUT").await;
}

async fn the_next_candidate_answers_while_nothing_was_sent(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    let limit = limit(&trial);
    let setup = Setup::new().openai("first", first.url(), timeouts("firstToken", limit));
    let bed = trial.bed(setup.backup(&backup)).await;
    let hangs = [
        Behaviour::hang(),
        Answer::new("one two").fault(Fault::Stall { after: 0 }).into(),
    ];
    for (hang, path, body) in [
        (&hangs[0], CHAT, chat(true)),
        (&hangs[1], CHAT, chat(true)),
        (&hangs[0], MESSAGES, message(true)),
        (&hangs[0], GENERATE, contents()),
    ] {
        first.always(hang.clone());
        let reply = bed.ask(path, &body).await.reply().await;
        assert_eq!((reply.status, reply.provider()), (200, "backup"), "{}", reply.text());
        assert!(reply.complete && reply.is_ended_well(), "{}", reply.text());
    }
    trial.figure(
        "sent to the next",
        backup.seen().counts.requests as f64,
        "requests",
        4.0..=4.0,
    );
}

async fn a_stalled_stream_ends_with_an_error_event_in_each_dialect_and_is_never_complete(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    first.always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
    let limit = limit(&trial);
    let setup = Setup::new().openai("first", first.url(), timeouts("idle", limit));
    let bed = trial.bed(setup.backup(&backup)).await;
    for (path, body) in [(CHAT, chat(true)), (MESSAGES, message(true)), (GENERATE, contents())] {
        let mut client = bed.ask(path, &body).await;
        client.until("two").await;
        let stalled = Instant::now();
        let reply = client.reply().await;
        trial.on_time(format!("{path}: silence ended after"), limit, stalled.elapsed());
        assert_eq!(
            reply.stream_error().as_deref(),
            Some("EXT_IDLE_TIMEOUT"),
            "{}",
            reply.text()
        );
        assert!(
            !reply.is_ended_well(),
            "{path}: half an answer bears the end mark: {}",
            reply.text()
        );
    }
    assert_eq!(first.seen().counts.requests, 3, "nothing is tried again after content");
    assert_eq!(backup.seen().counts.requests, 0);
    assert_eq!(bed.outcomes("cut").await, 3.0);
}

async fn a_provider_that_hangs_opens_its_breaker_and_is_asked_no_more(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    first.always(Behaviour::hang());
    let mut spec = timeouts("firstToken", Duration::from_millis(100));
    spec["circuitBreaker"] = json!({"failureThreshold": 2, "openFor": "60s"});
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), spec).backup(&backup))
        .await;
    for _ in 0..2 {
        assert_eq!(bed.chat(true).await.provider(), "backup");
    }
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(bed.chat(true).await.provider(), "backup");
    }
    trial.figure(
        "asked until it opened",
        first.seen().counts.requests as f64,
        "times",
        2.0..=2.0,
    );
    trial.took("a fallback then took", started.elapsed() / 10, 0.0..=10.0);
}
