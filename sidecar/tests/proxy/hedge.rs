//! A slow provider is raced by the next, and the loser leaves nothing behind.

use std::time::Duration;

use bowsprit_providers::{Answer, Behaviour, Fault};
use serde_json::{Value, json};

use crate::support::{Bed, CARD, Reply, chat, count, failing, saw, shows_card};

/// Every request may be hedged, as soon as it is a little slow.
fn at_once() -> Value {
    json!({"hedge": {"after": "30ms", "maxPercent": 100}})
}

/// Nothing here is ever this slow.
const LONG: Duration = Duration::from_secs(20);

/// So long after [`at_once`] that the hedge is sent before, however busy the machine is.
const SLOW: Duration = Duration::from_millis(1_500);

async fn bed() -> Bed {
    Bed::routed(at_once(), |_, _| {}).await
}

async fn hedges(bed: &Bed, outcome: &str) -> f64 {
    let mut sum = 0.0;
    for provider in ["claude", "gemini", "openai"] {
        let series = format!("bowsprit_hedges_total{{provider=\"{provider}\",outcome=\"{outcome}\"}}");
        sum += bed.metric(&series).await;
    }
    sum
}

/// The last line of the access log.
fn last_line(bed: &Bed) -> Value {
    bed.access().pop().unwrap()
}

#[tokio::test]
async fn a_second_target_answers_for_a_slow_first_one_which_is_cancelled_and_not_blamed() {
    for stream in [false, true] {
        let bed = bed().await;
        bed.claude.always(Behaviour::hang());
        let reply = bed.chat_with("smart", stream).await;
        assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
        assert_eq!(reply.header("x-bowsprit-model"), "gemini-2.5-flash");
        assert_eq!(reply.header("x-bowsprit-attempts"), "2");
        saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
        bed.balanced().await;
        assert_eq!(hedges(&bed, "won").await, 1.0);
        let claude = bed.provider_health("claude").await;
        assert_eq!(claude["models"][0]["failures"], 0, "slow is not broken: {claude}");
        let line = last_line(&bed);
        assert_eq!((&line["hedged"], &line["provider"]), (&json!(true), &json!("gemini")));
        assert_eq!((&line["attempts"], &line["outcome"]), (&json!(2), &json!("ok")));
    }
}

#[tokio::test]
async fn a_stream_that_has_begun_but_shows_no_content_is_slow_too() {
    let bed = bed().await;
    bed.claude
        .always(Answer::new("one two").fault(Fault::Stall { after: 0 }));
    let reply = bed.chat_with("smart", true).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert_eq!(reply.events().last(), Some(&"[DONE]"));
    saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_first_target_that_answers_after_all_wins_and_the_second_is_cancelled() {
    for stream in [false, true] {
        let bed = bed().await;
        bed.claude.always(Answer::new("late but first").head_delay(SLOW));
        bed.gemini.always(Behaviour::hang());
        let reply = bed.chat_with("smart", stream).await;
        assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
        assert_eq!(reply.content(), "late but first");
        saw(&bed.gemini, |seen| seen.cancelled.len() == 1).await;
        bed.balanced().await;
        assert_eq!(hedges(&bed, "lost").await, 1.0);
        assert_eq!(bed.provider_health("gemini").await["models"][0]["failures"], 0);
    }
}

#[tokio::test]
async fn a_quick_answer_is_sent_once() {
    let bed = Bed::routed(json!({"hedge": {"after": "20s", "maxPercent": 100}}), |_, _| {}).await;
    for stream in [false, true] {
        let reply = bed.chat_with("smart", stream).await;
        assert_eq!((reply.provider(), reply.header("x-bowsprit-attempts")), ("claude", "1"));
    }
    assert_eq!(count(&bed.gemini), 0);
    assert!(last_line(&bed).get("hedged").is_none());
    bed.balanced().await;
}

#[tokio::test]
async fn a_stream_that_shows_content_is_never_hedged_however_it_stalls() {
    // Long enough that even a busy machine shows the first words in time.
    let bed = Bed::routed(json!({"hedge": {"after": "1s", "maxPercent": 100}}), |_, _| {}).await;
    bed.claude
        .always(Answer::new("one two three").delay(Duration::from_millis(1_200)));
    let reply = bed.chat_with("smart", true).await;
    assert_eq!(
        (reply.provider(), reply.content().as_str()),
        ("claude", "one two three")
    );
    assert_eq!(count(&bed.gemini), 0);
    bed.balanced().await;
}

#[tokio::test]
async fn no_more_than_the_share_is_sent_twice() {
    let bed = Bed::routed(json!({"hedge": {"after": "1ms", "maxPercent": 10}}), |_, _| {}).await;
    bed.claude
        .always(Answer::new("slow").head_delay(Duration::from_millis(40)));
    bed.gemini.always(Behaviour::hang());
    for _ in 0..35 {
        assert_eq!(bed.chat_with("smart", false).await.provider(), "claude");
    }
    assert_eq!(count(&bed.gemini), 3, "three of thirty-five");
    bed.balanced().await;
}

#[tokio::test]
async fn a_hedge_that_fails_leaves_the_first_alone() {
    let bed = bed().await;
    bed.claude.always(Answer::new("worth the wait").head_delay(SLOW));
    failing(&bed.gemini, 500);
    let reply = bed.chat_with("smart", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
    assert_eq!(
        (count(&bed.gemini), count(&bed.openai)),
        (1, 0),
        "one hedge, and no hedge of a hedge"
    );
    bed.balanced().await;
    assert_eq!(hedges(&bed, "failed").await, 1.0);
}

#[tokio::test]
async fn a_first_that_fails_while_the_hedge_runs_waits_for_it() {
    let bed = bed().await;
    bed.claude.always(Behaviour::status(500).delay(SLOW));
    bed.gemini.always(Answer::new("still coming").head_delay(SLOW * 2));
    let reply = bed.chat_with("smart", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert_eq!(count(&bed.openai), 0);
    bed.balanced().await;
    assert_eq!(hedges(&bed, "won").await, 1.0);
    let claude = bed.provider_health("claude").await;
    assert_eq!(
        claude["models"][0]["failures"], 1,
        "a failure is a failure, raced or not"
    );
}

#[tokio::test]
async fn when_both_fail_the_request_goes_on_as_without_a_hedge() {
    let bed = bed().await;
    bed.claude.always(Behaviour::status(500).delay(SLOW));
    bed.gemini
        .always(Behaviour::status(503).delay(Duration::from_millis(50)));
    let reply = bed.chat_with("smart", true).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    assert_eq!(reply.header("x-bowsprit-attempts"), "3");
    assert_eq!(
        (count(&bed.claude), count(&bed.gemini)),
        (1, 1),
        "nobody is asked twice"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn the_callers_own_mistake_is_the_answer_whatever_became_of_the_hedge() {
    let bed = bed().await;
    bed.claude.always(Behaviour::status(400).delay(SLOW));
    failing(&bed.gemini, 500);
    let reply = bed.chat_with("smart", false).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(reply.provider(), "claude");
    assert_eq!(count(&bed.openai), 0);
    bed.balanced().await;
}

#[tokio::test]
async fn the_same_provider_and_model_is_never_asked_beside_itself() {
    let twice = json!({
        "targets": [{"provider": "claude"}],
        "fallback": [{"provider": "claude"}, {"provider": "claude", "model": "claude-alias"}],
        "hedge": {"after": "1ms", "maxPercent": 100},
    });
    let bed = Bed::routed(twice, |_, _| {}).await;
    bed.claude
        .always(Answer::new("alone").head_delay(Duration::from_millis(100)));
    assert_eq!(bed.chat_with("smart", false).await.header("x-bowsprit-attempts"), "1");
    assert_eq!(count(&bed.claude), 1);
}

#[tokio::test]
async fn a_hedge_waits_for_no_place() {
    let bed = Bed::routed(at_once(), |name, spec| {
        if name == "gemini" {
            spec["rateLimits"] = json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"});
        }
    })
    .await;
    bed.gemini.always(Behaviour::hang());
    let busy = tokio::spawn(
        bed.post("/v1/chat/completions", &chat("gemini-2.5-flash", false))
            .send(),
    );
    saw(&bed.gemini, |seen| seen.counts.requests == 1).await;
    bed.claude
        .always(Answer::new("alone").head_delay(Duration::from_millis(200)));
    let reply = bed.chat_with("smart", false).await;
    assert_eq!((reply.provider(), reply.header("x-bowsprit-attempts")), ("claude", "1"));
    busy.abort();
    bed.balanced().await;
}

#[tokio::test]
async fn nobody_is_raced_by_a_provider_that_is_not_answering() {
    // Its breaker would keep it out of the plan; here it has none to speak of.
    let bed = Bed::routed(at_once(), |_, spec| {
        spec["circuitBreaker"] = json!({"failureThreshold": 1000});
    })
    .await;
    failing(&bed.gemini, 500);
    for _ in 0..6 {
        let reply = bed.chat_with("gemini-2.5-flash", false).await;
        assert_ne!(reply.provider(), "gemini");
    }
    let before = count(&bed.gemini);
    bed.claude
        .always(Answer::new("slow").head_delay(Duration::from_millis(150)));
    let reply = bed.chat_with("smart", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "claude"));
    assert_eq!(count(&bed.gemini), before);
    bed.balanced().await;
}

#[tokio::test]
async fn a_percentile_is_learned_before_it_is_acted_on() {
    let bed = Bed::routed(json!({"hedge": {"percentile": 95, "maxPercent": 100}}), |_, _| {}).await;
    bed.claude.script(bowsprit_providers::Step::new(
        Answer::new("once").head_delay(Duration::from_millis(100)),
    ));
    assert_eq!(bed.chat_with("smart", true).await.provider(), "claude");
    for _ in 0..19 {
        assert_eq!(bed.chat_with("smart", true).await.provider(), "claude");
    }
    let learning = count(&bed.gemini);
    bed.claude.always(Behaviour::hang());
    let reply = bed.chat_with("smart", true).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert_eq!(
        (learning, count(&bed.gemini)),
        (0, 1),
        "twenty answers show a 95th percentile, and not before"
    );
    saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
    bed.balanced().await;
    // A plain answer is another story, of which nothing is known yet: it is waited for.
    let plain = tokio::spawn(bed.post("/v1/chat/completions", &chat("smart", false)).send());
    saw(&bed.claude, |seen| seen.counts.requests == 22).await;
    assert_eq!(count(&bed.gemini), 1);
    plain.abort();
    bed.balanced().await;
}

#[tokio::test]
async fn a_hedge_may_be_said_in_another_dialect_than_the_first() {
    // An Anthropic caller: its own bytes from Claude, a translation from Gemini.
    let bed = bed().await;
    bed.claude.always(Answer::new("never").first_delay(LONG));
    let body = crate::support::message("smart", true);
    let request = bed
        .post("/v1/messages", &body)
        .header("anthropic-version", "2023-06-01");
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert!(reply.text.contains("event: message_stop"), "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn a_refused_answer_of_a_race_leads_to_nobody_and_the_loser_is_neither_shown_nor_blamed() {
    let guard = json!({"name": "no-cards", "applyTo": ["Answer"], "detect": ["Card"], "action": "Refuse"});
    for stream in [false, true] {
        for hedge_wins in [true, false] {
            let mut more = at_once();
            more["guards"] = json!([guard]);
            let bed = Bed::routed(more, |_, _| {}).await;
            let says = Answer::new(CARD);
            let (winner, loser) = if hedge_wins {
                bed.claude.always(Behaviour::hang());
                bed.gemini.always(says);
                (("gemini", &bed.gemini), ("claude", &bed.claude))
            } else {
                bed.claude.always(says.head_delay(Duration::from_millis(250)));
                bed.gemini.always(Behaviour::hang());
                (("claude", &bed.claude), ("gemini", &bed.gemini))
            };
            bed.openai.always(Answer::new("from elsewhere"));
            let reply = bed.chat_with("smart", stream).await;
            let what = format!("stream {stream}, the hedge wins {hedge_wins}: {}", reply.text);
            assert!(reply.text.contains("BIZ_GUARD_REFUSED"), "{what}");
            assert!(!shows_card(&reply.text) && !reply.text.contains("elsewhere"), "{what}");
            assert!(stream || reply.status == 403, "{what}");
            saw(loser.1, |seen| seen.cancelled.len() == 1).await;
            bed.balanced().await;
            assert_eq!(
                (count(winner.1), count(loser.1), count(&bed.openai)),
                (1, 1, 0),
                "{what}"
            );
            let line = last_line(&bed);
            assert_eq!(line["refused_by"], "guard:no-cards", "{line}");
            assert_eq!(
                (&line["attempts"], &line["hedged"]),
                (&json!(2), &json!(true)),
                "{line}"
            );
            assert_eq!(line["provider"], winner.0, "{line}");
            assert_ne!(line["outcome"], "ok", "{line}");
            let paid = line["input_tokens"]
                .as_u64()
                .or(line["estimated_input_tokens"].as_u64());
            assert!(paid > Some(0), "the winner was paid: {line}");
            assert_eq!(
                hedges(&bed, if hedge_wins { "won" } else { "lost" }).await,
                1.0,
                "{what}"
            );
            for name in ["claude", "gemini"] {
                let health = bed.provider_health(name).await;
                assert_eq!(health["models"][0]["failures"], 0, "no provider failed: {health}");
            }
        }
    }
}
