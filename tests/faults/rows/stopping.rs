//! Row 19: SIGTERM in each phase of a request, and twice (docs/operating.md, "Stopping").

use std::rc::Rc;
use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api, Behaviour, Fault};
use serde_json::json;

use crate::bed::{Bed, CHAT, GENERATE, MESSAGES, Setup, chat, contents, message, post};
use crate::trial::{SOON, Trial, promises, provider, until};
use bowsprit_rig::connection::Connection;

promises! {
    19, "SIGTERM in each phase, and twice";
    an_idle_sidecar_ends_at_once_and_well,
    at_the_signal_it_is_unready_and_takes_no_more_connections,
    a_request_in_its_head_is_not_waited_for,
    a_request_in_its_body_is_answered_first,
    a_request_at_the_provider_is_answered_first,
    a_stream_is_finished_first,
    a_request_that_waits_or_backs_off_is_answered_first,
    at_the_deadline_streams_end_with_an_error_event_and_requests_with_503,
    a_second_signal_ends_it_at_once,
    sigint_is_sigterm,
    a_kill_leaves_no_half_answer_that_looks_whole,
    an_idle_connection_is_closed_and_a_busy_one_after_its_answer,
}

async fn bed(trial: &Trial, deadline: &str) -> (bowsprit_providers::Provider, Rc<Bed>) {
    let first = provider(Api::OpenAi);
    let setup = Setup::new().openai("first", first.url(), json!({"retry": {"maxAttempts": 2}}));
    let bed = trial.bed(setup.args(&["--drain-deadline", deadline])).await;
    (first, bed)
}

/// Sends the signal and waits until it is seen.
async fn stop(bed: &Bed) -> Instant {
    bed.signal("TERM");
    let at = Instant::now();
    until("it is unready", || async {
        bed.admin("/health/ready").await.status == 503
    })
    .await;
    at
}

/// It ends with this code; every request has an access line with an outcome. Metrics are gone by now.
async fn ends(trial: &Trial, bed: &Bed, code: i32, requests: usize) {
    let status = bed.exit().await;
    assert_eq!(status.code(), Some(code), "{}", bed.log_tail(5));
    let lines = bed.access();
    assert_eq!(lines.len(), requests, "each request has one line: {lines:?}");
    trial.figure("exit code", f64::from(code), "", f64::from(code)..=f64::from(code));
}

async fn an_idle_sidecar_ends_at_once_and_well(trial: Trial) {
    let (_first, bed) = bed(&trial, "20s").await;
    assert_eq!(bed.chat(false).await.status, 200);
    let _idle = bed.connect().await;
    let started = Instant::now();
    bed.signal("TERM");
    ends(&trial, &bed, 0, 1).await;
    trial.took("ended after", started.elapsed(), 0.0..=200.0);
}

async fn at_the_signal_it_is_unready_and_takes_no_more_connections(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    first.always(Behaviour::hang());
    let hung = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.counts.requests == 1, SOON).await.unwrap();
    bed.signal("TERM");
    let at = Instant::now();
    until("connections are refused", || async {
        Connection::try_connect(bed.listen, &bed.lookout).await.is_err()
    })
    .await;
    trial.took("no more connections after", at.elapsed(), 0.0..=100.0);
    assert_eq!(bed.admin("/health/ready").await.status, 503);
    assert_eq!(
        bed.admin("/health/live").await.status,
        200,
        "a draining sidecar must not be killed"
    );
    assert_eq!(bed.health().await["status"], "draining");
    assert_eq!(bed.admin("/metrics").await.status, 200);
    drop(hung);
    ends(&trial, &bed, 0, 1).await;
}

async fn a_request_in_its_head_is_not_waited_for(trial: Trial) {
    let (_first, bed) = bed(&trial, "20s").await;
    let mut client = bed.connect().await;
    client.send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n").await;
    assert_eq!(bed.chat(false).await.status, 200);
    let started = Instant::now();
    bed.signal("TERM");
    ends(&trial, &bed, 0, 1).await;
    trial.took("ended after", started.elapsed(), 0.0..=200.0);
    assert!(client.ends_within(SOON).await);
}

async fn a_request_in_its_body_is_answered_first(trial: Trial) {
    let (_first, bed) = bed(&trial, "20s").await;
    let request = post(CHAT, &chat(false));
    let mut client = bed.connect().await;
    client.send(&request[..request.len() - 1]).await;
    until("it was taken in", || async {
        bed.sum("bowsprit_in_flight", &[]).await == 1.0
    })
    .await;
    stop(&bed).await;
    assert!(bed.ended().is_none(), "it waits");
    client.send(&request[request.len() - 1..]).await;
    let reply = client.reply().await;
    assert!(reply.status == 200 && reply.complete, "{}", reply.text());
    ends(&trial, &bed, 0, 1).await;
}

async fn a_request_at_the_provider_is_answered_first(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    first.always(Answer::new("late").head_delay(Duration::from_millis(500)));
    let mut clients = [
        bed.ask(CHAT, &chat(false)).await,
        bed.ask(MESSAGES, &message(false)).await,
    ];
    first.wait_for(|seen| seen.counts.requests == 2, SOON).await.unwrap();
    stop(&bed).await;
    for client in &mut clients {
        let reply = client.reply().await;
        assert!(
            reply.status == 200 && reply.complete && reply.text().contains("late"),
            "{}",
            reply.text()
        );
    }
    ends(&trial, &bed, 0, 2).await;
}

async fn a_stream_is_finished_first(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    first.always(Answer::new("one two three four five").delay(Duration::from_millis(100)));
    let mut clients = [bed.ask(CHAT, &chat(true)).await, bed.ask(GENERATE, &contents()).await];
    for client in &mut clients {
        client.until("one").await;
    }
    stop(&bed).await;
    for client in &mut clients {
        let reply = client.reply().await;
        assert!(
            reply.complete && reply.is_ended_well() && reply.text().contains("five"),
            "{}",
            reply.text()
        );
    }
    ends(&trial, &bed, 0, 2).await;
}

async fn a_request_that_waits_or_backs_off_is_answered_first(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.script(Behaviour::status(503));
    let spec = json!({
        "retry": {"maxAttempts": 2, "backoff": {"base": "500ms", "max": "500ms", "jitter": "None"}},
        "rateLimits": {"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"},
    });
    let setup = Setup::new()
        .openai("first", first.url(), spec)
        .args(&["--drain-deadline", "20s"]);
    let bed = trial.bed(setup).await;
    let mut backing_off = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.answered == 1, SOON).await.unwrap();
    first.always(Answer::new("late").head_delay(Duration::from_millis(300)));
    let mut waiting = bed.ask(CHAT, &chat(false)).await;
    until("both are in flight", || async {
        bed.sum("bowsprit_in_flight", &[]).await == 2.0
    })
    .await;
    stop(&bed).await;
    for client in [&mut backing_off, &mut waiting] {
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    ends(&trial, &bed, 0, 2).await;
}

async fn at_the_deadline_streams_end_with_an_error_event_and_requests_with_503(trial: Trial) {
    let deadline = Duration::from_secs(1);
    let (first, bed) = bed(&trial, "1s").await;
    first.always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
    let mut streams = [
        bed.ask(CHAT, &chat(true)).await,
        bed.ask(MESSAGES, &message(true)).await,
        bed.ask(GENERATE, &contents()).await,
    ];
    for client in &mut streams {
        client.until("two").await;
    }
    first.always(Behaviour::hang());
    let mut plain = [
        bed.ask(CHAT, &chat(false)).await,
        bed.ask(MESSAGES, &message(true)).await,
    ];
    first.wait_for(|seen| seen.counts.requests == 5, SOON).await.unwrap();
    let mut in_body = bed.connect().await;
    in_body
        .send("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        .await;
    until("all are in flight", || async {
        bed.sum("bowsprit_in_flight", &[]).await == 6.0
    })
    .await;
    let at = stop(&bed).await;
    for client in &mut streams {
        let reply = client.reply().await;
        trial.on_time("cut after", deadline, at.elapsed());
        assert_eq!(
            reply.stream_error().as_deref(),
            Some("SYS_DRAINING"),
            "{}",
            reply.text()
        );
        assert!(reply.complete && !reply.is_ended_well(), "{}", reply.text());
    }
    for client in plain.iter_mut().chain([&mut in_body]) {
        let reply = client.reply().await;
        // Anthropic's word for it has a status of its own.
        assert!(
            matches!(reply.status, 503 | 529) && reply.code() == "SYS_DRAINING",
            "{}: {}",
            reply.status,
            reply.text()
        );
    }
    let cancelled = first.wait_for(|seen| seen.cancelled.len() == 5, SOON).await;
    ends(&trial, &bed, 1, 6).await;
    cancelled.unwrap();
}

async fn a_second_signal_ends_it_at_once(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    first.always(Behaviour::hang());
    let mut client = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.counts.requests == 1, SOON).await.unwrap();
    stop(&bed).await;
    let again = Instant::now();
    bed.signal("TERM");
    let status = bed.exit().await;
    assert_eq!(status.code(), Some(1));
    trial.took("ended after", again.elapsed(), 0.0..=200.0);
    assert!(client.ends_within(SOON).await);
    first.wait_for(|seen| seen.cancelled.len() == 1, SOON).await.unwrap();
}

async fn sigint_is_sigterm(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    first.always(Answer::new("late").head_delay(Duration::from_millis(300)));
    let mut client = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.counts.requests == 1, SOON).await.unwrap();
    bed.signal("INT");
    assert_eq!(client.reply().await.status, 200);
    ends(&trial, &bed, 0, 1).await;
}

async fn an_idle_connection_is_closed_and_a_busy_one_after_its_answer(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    let mut idle = bed.connect().await;
    idle.send(post(CHAT, &chat(false))).await;
    assert_eq!(idle.reply().await.status, 200);
    first.always(Answer::new("late").head_delay(Duration::from_millis(500)));
    let mut busy = bed.ask(CHAT, &chat(false)).await;
    first.wait_for(|seen| seen.counts.requests == 2, SOON).await.unwrap();
    let at = stop(&bed).await;
    assert!(idle.ends_within(SOON).await);
    trial.took("the idle one was closed after", at.elapsed(), 0.0..=200.0);
    let reply = busy.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    assert!(busy.ends_within(SOON).await);
    ends(&trial, &bed, 0, 2).await;
}

async fn a_kill_leaves_no_half_answer_that_looks_whole(trial: Trial) {
    let (first, bed) = bed(&trial, "20s").await;
    first.always(Answer::new("one two").chunks(10_000).delay(Duration::from_millis(5)));
    let mut streams = [
        bed.ask(CHAT, &chat(true)).await,
        bed.ask(MESSAGES, &message(true)).await,
    ];
    for client in &mut streams {
        client.until("one").await;
    }
    bed.signal("KILL");
    for client in &mut streams {
        let reply = client.reply().await;
        assert!(!reply.complete && !reply.is_ended_well(), "{}", reply.text());
    }
    bed.exit().await;
    first.wait_for(|seen| seen.cancelled.len() == 2, SOON).await.unwrap();
}
