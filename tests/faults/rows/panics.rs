//! Row 24: a bug in the sidecar itself makes one request panic. It costs that request and nothing else.
//!
//! Tried with the cargo feature `failpoints`, in which a request names the place where it panics in a header.

use bowsprit_providers::{Answer, Api};
use serde_json::json;

use crate::bed::{CHAT, Setup, chat};
use crate::trial::{Trial, promises, provider};

promises! {
    24, "a panic inside one request";
    a_panic_before_the_provider_is_asked_costs_one_request.needs(no_failpoints()),
    a_panic_while_the_provider_is_asked_gives_its_place_back.needs(no_failpoints()),
    a_panic_in_a_stream_breaks_that_stream_and_no_other.needs(no_failpoints()),
}

fn no_failpoints() -> Option<&'static str> {
    (!cfg!(feature = "failpoints")).then_some("needs --features failpoints")
}

/// A chat completion that panics at this place.
fn panicking(point: &str, stream: bool) -> String {
    let body = chat(stream).to_string();
    format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-bowsprit-failpoint: {point}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn answered_with_500(trial: &Trial, point: &str) {
    let first = provider(Api::OpenAi);
    let spec = json!({"rateLimits": {"concurrentRequests": 1, "onLimit": "Reject"}, "circuitBreaker": {"failureThreshold": 1}});
    let bed = trial.bed(Setup::new().openai("first", first.url(), spec)).await;
    bed.panics_on_purpose();
    for stream in [false, true].repeat(5) {
        let mut client = bed.connect().await;
        client.send(panicking(point, stream)).await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (500, "SYS_INTERNAL"),
            "{}",
            reply.text()
        );
        assert!(reply.complete && !reply.text().contains("panic"), "{}", reply.text());
        // Locks, places and the breaker are what they were.
        assert_eq!(bed.chat(stream).await.status, 200);
    }
    let counted = bed.sum("bowsprit_requests_total", &["code=\"SYS_INTERNAL\""]).await;
    trial.figure("counted as our own fault", counted, "of 10", 10.0..=10.0);
}

async fn a_panic_before_the_provider_is_asked_costs_one_request(trial: Trial) {
    answered_with_500(&trial, "panic-in-admit").await;
}

async fn a_panic_while_the_provider_is_asked_gives_its_place_back(trial: Trial) {
    answered_with_500(&trial, "panic-in-attempt").await;
}

async fn a_panic_in_a_stream_breaks_that_stream_and_no_other(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(Answer::new("one two three four").delay(std::time::Duration::from_millis(50)));
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    bed.panics_on_purpose();
    let mut other = bed.ask(CHAT, &chat(true)).await;
    other.until("one").await;
    let mut client = bed.connect().await;
    client.send(panicking("panic-in-stream", true)).await;
    let reply = client.reply().await;
    assert!(
        !(reply.complete && reply.is_ended_well()),
        "presented as complete: {}",
        reply.text()
    );
    let reply = other.reply().await;
    assert!(reply.complete && reply.is_ended_well(), "{}", reply.text());
    assert_eq!(bed.chat(true).await.status, 200);
    bed.idle().await.unwrap();
    let counted = bed.sum("bowsprit_requests_total", &["code=\"SYS_INTERNAL\""]).await;
    trial.figure("counted as our own fault", counted, "", 1.0..=1.0);
}
