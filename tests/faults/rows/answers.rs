//! Row 21: what a provider may answer with, and what each means (docs/classification.md).

use std::time::Duration;

use bowsprit_providers::{Answer, Api, Behaviour, Provider, Raw};
use serde_json::json;

use crate::bed::{CHAT, MESSAGES, Setup, chat, message};
use crate::trial::{Trial, promises, provider};
use bowsprit_rig::peer::Peer;

promises! {
    21, "what providers answer with";
    each_answer_is_what_the_classify_table_says,
    a_redirect_is_never_followed_and_its_target_gets_no_key,
    an_error_in_a_stream_of_status_200_is_an_error,
    a_throttled_provider_that_names_no_time_is_left_to_the_callers_own_backoff,
    the_providers_own_error_reaches_a_caller_of_its_dialect_as_it_is,
    a_key_that_is_refused_is_told_and_is_not_the_breakers_business,
}

/// What must follow from an answer: the code, the caller's status, whether the next provider answers, and whether the
/// breaker opens for it.
struct Expected {
    code: &'static str,
    status: u16,
    next: bool,
    trips: bool,
}

/// The table's rows that a provider can bring about by its answer alone.
fn answers() -> Vec<(&'static str, Behaviour, Expected)> {
    let row = |code, status, next, trips| Expected {
        code,
        status,
        next,
        trips,
    };
    let status = |code| Behaviour::from(Behaviour::status(code));
    let raw = |text: &str| Behaviour::from(Raw::new(text));
    let refused = "VAL_PROVIDER_REFUSED";
    vec![
        (
            "200 with an error body",
            Behaviour::ErrorIn200,
            row("", 500, true, true),
        ),
        (
            "200 with nothing",
            Behaviour::Empty200,
            row("EXT_MALFORMED", 500, true, true),
        ),
        (
            "200 with a page",
            raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>"),
            row("EXT_MALFORMED", 500, true, true),
        ),
        (
            "204",
            raw("HTTP/1.1 204 No Content\r\n\r\n"),
            row("EXT_MALFORMED", 500, true, true),
        ),
        ("400", status(400), row(refused, 400, false, false)),
        ("401", status(401), row("AUTH_KEY_REJECTED", 401, true, false)),
        ("402", status(402), row("AUTH_BILLING", 402, true, false)),
        ("403", status(403), row("AUTH_PERMISSION", 403, true, false)),
        ("404", status(404), row("RES_MODEL_NOT_FOUND", 404, true, false)),
        ("408", status(408), row("EXT_TOTAL_TIMEOUT", 504, true, true)),
        ("409", status(409), row(refused, 400, true, false)),
        ("413", status(413), row("VAL_TOO_LARGE", 413, false, false)),
        ("422", status(422), row(refused, 400, false, false)),
        ("429", status(429), row("RATE_PROVIDER", 429, true, false)),
        ("500", status(500), row("EXT_SERVER_ERROR", 500, true, true)),
        ("501", status(501), row("EXT_SERVER_ERROR", 500, true, false)),
        (
            "502 with a page",
            Behaviour::Html502,
            row("EXT_SERVER_ERROR", 500, true, true),
        ),
        ("503", status(503), row("EXT_OVERLOADED", 529, true, true)),
        ("504", status(504), row("EXT_TOTAL_TIMEOUT", 504, true, true)),
        ("520", status(520), row("EXT_SERVER_ERROR", 500, true, true)),
        ("524", status(524), row("EXT_TOTAL_TIMEOUT", 504, true, true)),
        ("529", status(529), row("EXT_OVERLOADED", 529, true, true)),
        (
            "302",
            Behaviour::Redirect("http://127.0.0.1:9/".into()),
            row("EXT_REDIRECT", 500, true, true),
        ),
        (
            "304",
            raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
            row("EXT_REDIRECT", 500, true, true),
        ),
        ("not HTTP", Behaviour::Garbage, row("EXT_PROTOCOL", 500, true, true)),
        (
            "status 99",
            raw("HTTP/1.1 99 Odd\r\n\r\n"),
            row("EXT_PROTOCOL", 500, true, true),
        ),
        (
            "status 101",
            raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"),
            row("", 500, true, true),
        ),
    ]
}

/// The breaker's state in its metric.
const OPEN: f64 = 2.0;

async fn each_answer_is_what_the_classify_table_says(trial: Trial) {
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    // One failure opens it: whether it does tells whether the answer was one.
    let spec = json!({"circuitBreaker": {"failureThreshold": 1, "openFor": "60s"}});
    let (mut tried, mut wrong) = (0.0, Vec::new());
    for (what, act, expected) in answers() {
        for stream in [false, true] {
            first.reset();
            first.always(act.clone());
            let setup = || Setup::new().openai("first", first.url(), spec.clone());
            // A caller of another dialect: the status is ours to choose.
            let alone = trial.bed(setup()).await;
            let reply = alone.ask(MESSAGES, &message(stream)).await.reply().await;
            // Where the table knows more than one word for it, any will do that is counted.
            let code = if expected.code.is_empty() {
                reply.code()
            } else {
                expected.code.to_owned()
            };
            let open = alone.sum("bowsprit_breaker_state", &[]).await == OPEN;
            let counted = alone.attempts("first", &code).await;
            let two = trial.bed(setup().backup(&backup)).await;
            let next = two.ask(CHAT, &chat(stream)).await.reply().await;
            let seen = (
                reply.status,
                reply.code(),
                counted,
                open,
                next.provider() == "backup" && next.status == 200,
            );
            let wanted = (expected.status, code, 1.0, expected.trips, expected.next);
            if seen != wanted {
                wrong.push(format!("{what}, stream {stream}: {seen:?}, not {wanted:?}"));
            }
            // A hundred processes need not run at once.
            for bed in [alone, two] {
                bed.settled().await.unwrap();
                bed.end();
            }
            tried += 1.0;
        }
    }
    assert!(
        wrong.is_empty(),
        "(status, code, counted, breaker open, next answers): {}",
        wrong.join("; ")
    );
    trial.tell("answers tried", tried, "");
}

async fn a_redirect_is_never_followed_and_its_target_gets_no_key(trial: Trial) {
    let first = provider(Api::OpenAi);
    let target = Peer::start().await;
    let url = target.url();
    let record = target.answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), json!({"retry": {"maxAttempts": 3}})))
        .await;
    let places = [
        format!("{url}/v1/chat/completions"),
        format!("//{}/x", url.replace("http://", "")),
        "/elsewhere".into(),
    ];
    let mut asked = 0;
    for place in &places {
        for code in [301, 302, 303, 307, 308] {
            first.always(Behaviour::status(code).header("location", place.clone()));
            for stream in [false, true] {
                let reply = bed.chat(stream).await;
                asked += 1;
                assert!(reply.status == 502 || reply.status == 503, "{code}: {}", reply.text());
                assert!(
                    reply.header("location").is_empty(),
                    "{code}: the caller would follow it, without us"
                );
            }
        }
    }
    assert!(record.connections().is_empty(), "the target was asked");
    let paths = first.requests();
    assert!(
        paths.iter().all(|request| request.path == "/v1/chat/completions"),
        "followed to a path"
    );
    trial.figure("redirects not followed", f64::from(asked), "", 30.0..=30.0);
}

async fn an_error_in_a_stream_of_status_200_is_an_error(trial: Trial) {
    use bowsprit_providers::Fault;
    let (first, backup) = (provider(Api::OpenAi), provider(Api::Anthropic));
    for code in [429, 500, 503] {
        for (path, body) in [(CHAT, chat(true)), (MESSAGES, message(true))] {
            for (after, answers) in [(0, "backup"), (1, "first")] {
                // Anew each time: who was throttled may be passed over for a while.
                let setup = Setup::new().openai("first", first.url(), json!({}));
                let bed = trial.bed(setup.backup(&backup)).await;
                first.always(Answer::new("one two").fault(Fault::ErrorEvent {
                    after,
                    code,
                    kind: None,
                }));
                let reply = bed.ask(path, &body).await.reply().await;
                assert_eq!(
                    (reply.status, reply.provider()),
                    (200, answers),
                    "{code} {path}: {}",
                    reply.text()
                );
                let cut = f64::from(after);
                assert_eq!(bed.outcomes("cut").await, cut, "{code} {path}");
                assert_eq!(reply.is_ended_well(), after == 0, "{code} {path}: {}", reply.text());
                assert_eq!(
                    reply.text().contains("error"),
                    after == 1,
                    "{code} {path}: {}",
                    reply.text()
                );
            }
        }
    }
}

async fn a_throttled_provider_that_names_no_time_is_left_to_the_callers_own_backoff(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(
        Behaviour::status(429)
            .header("retry-after", "")
            .header("retry-after-ms", ""),
    );
    let bed = trial.bed(Setup::new().openai("first", first.url(), json!({}))).await;
    for (path, body) in [
        (CHAT, chat(false)),
        (MESSAGES, message(false)),
        (MESSAGES, message(true)),
    ] {
        let reply = bed.ask(path, &body).await.reply().await;
        assert_eq!(reply.status, 429, "{}", reply.text());
        assert_eq!(reply.header("x-should-retry"), "true", "{path}: {:?}", reply.headers);
        let wait = reply.header("retry-after");
        assert!(
            wait.is_empty() || wait.parse::<u64>().is_ok_and(|wait| (1..=60).contains(&wait)),
            "{path}: {wait}"
        );
    }
}

async fn the_providers_own_error_reaches_a_caller_of_its_dialect_as_it_is(trial: Trial) {
    let first = provider(Api::OpenAi);
    let spec = json!({"circuitBreaker": {"failureThreshold": 1000}});
    let bed = trial.bed(Setup::new().openai("first", first.url(), spec)).await;
    let body = r#"{ "error": {"message": "so it goes", "type": "odd",   "code": null, "more": [1,2]} }"#;
    for code in [400, 404, 422, 429, 500, 503, 529] {
        first.always(Behaviour::status(code).body(body).retry_after(Duration::from_secs(7)));
        let reply = bed.chat(false).await;
        assert_eq!((reply.status, reply.text()), (code, body.to_owned()));
        assert_eq!(reply.header("retry-after"), "7");
    }
}

async fn a_key_that_is_refused_is_told_and_is_not_the_breakers_business(trial: Trial) {
    let first: Provider = provider(Api::OpenAi);
    let spec = json!({"circuitBreaker": {"failureThreshold": 1}});
    let bed = trial.bed(Setup::new().openai("first", first.url(), spec)).await;
    first.always(Behaviour::status(401));
    assert_eq!(bed.chat(false).await.status, 401);
    let metrics = bed.metrics().await;
    let usable = crate::bed::sum(&metrics, "bowsprit_keys_usable", &["provider=\"first\""]);
    assert_eq!(usable, 0.0, "a refused key is set aside");
    assert_eq!(bed.chat(false).await.code(), "AUTH_KEY_MISSING", "and not sent again");
    assert_eq!(first.seen().counts.requests, 1);
    assert_eq!(crate::bed::sum(&metrics, "bowsprit_breaker_state", &[]), 0.0);
}
