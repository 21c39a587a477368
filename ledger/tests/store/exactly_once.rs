//! However often, and however many at a time: each entry counts once.

use bowsprit_ledger::entry::{Attempt, BATCH, Entry};
use bowsprit_ledger::store::{Error, Keep};
use bowsprit_ledger::wire::{RefusedBecause, Taken};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, folded, group, headroom, requests};
use crate::on_every_engine;

on_every_engine! {
    what_is_sent_again_counts_once,
    a_gap_is_refused_with_what_is_expected,
    sums_have_all_rows_and_what_was_folded,
    what_the_database_refuses_leaves_nothing_behind,
    outboxes_do_not_know_each_other,
    a_batch_that_several_pods_tell_of_counts_once,
    of_two_that_tell_of_a_batch_at_once_one_counts,
    a_batch_is_remembered_for_as_long_as_an_outbox,
}

async fn what_is_sent_again_counts_once(engine: &Engine) {
    let first = arrival("app-1", 1, requests(1..=3, "ok"));
    for _ in 0..2 {
        let answers = engine
            .store
            .take(group([first.clone(), first.clone()]), NOW)
            .await
            .unwrap();
        assert_eq!(answers, [Ok(Taken { through: 3 }), Ok(Taken { through: 3 })]);
    }
    // One that overlaps brings what is new.
    let more = arrival("app-1", 2, requests(2..=5, "ok"));
    let answers = engine.store.take(group([more, first]), NOW).await.unwrap();
    assert_eq!(answers, [Ok(Taken { through: 5 }), Ok(Taken { through: 5 })]);
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 5);
    assert_eq!(
        engine
            .number("SELECT count(DISTINCT request_id) FROM provider_requests")
            .await,
        5
    );
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 60")
            .await,
        5
    );
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 3600")
            .await,
        5
    );
}

async fn a_gap_is_refused_with_what_is_expected(engine: &Engine) {
    let late = arrival("app-1", 4, requests(4..=6, "ok"));
    let answers = engine.store.take(group([late.clone()]), NOW).await.unwrap();
    let refused = answers[0].as_ref().unwrap_err();
    assert_eq!((refused.reason, refused.expected), (RefusedBecause::Gap, Some(1)));
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 0);
    // With what was missing before it, it is taken.
    let answers = engine
        .store
        .take(group([arrival("app-1", 1, requests(1..=3, "ok")), late]), NOW)
        .await
        .unwrap();
    assert_eq!(answers, [Ok(Taken { through: 3 }), Ok(Taken { through: 6 })]);
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 6);
}

async fn sums_have_all_rows_and_what_was_folded(engine: &Engine) {
    let mut entries = vec![Entry::Attempt(Box::new(attempt("r1", "answered"))); 3];
    entries.push(Entry::Attempt(Box::new(attempt("r2", "failed"))));
    entries.push(Entry::Sum(Box::new(folded("attempt", "answered", 40))));
    entries.push(Entry::Headroom(Box::new(headroom(9))));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    let rows = engine
        .ask(
            "SELECT outcome, count, folded, input, output, cached, estimated_output, cost_reported, cost_estimated FROM provider_metrics
            WHERE grain = 3600 AND kind = 'attempt' ORDER BY outcome",
            Vec::new(),
        )
        .await;
    let numbers: Vec<Vec<i64>> = rows
        .iter()
        .map(|row| row[1..].iter().map(bowsprit_ledger::store::Value::int).collect())
        .collect();
    assert_eq!(numbers[0], [43, 40, 340, 60, 30, 9, 4_500_003, 21]);
    assert_eq!(numbers[1], [1, 0, 100, 20, 10, 3, 1_500_001, 7]);
    assert_eq!(engine.number("SELECT count(*) FROM provider_logs").await, 4);
    assert_eq!(engine.number("SELECT count(*) FROM provider_rate_limits").await, 1);
}

async fn what_the_database_refuses_leaves_nothing_behind(engine: &Engine) {
    engine
        .store
        .take(group([arrival("app-1", 1, requests(1..=2, "ok"))]), NOW)
        .await
        .unwrap();
    // A row stands where the next one belongs, as after a restore that went wrong.
    let stands = format!(
        "INSERT INTO provider_requests SELECT {}, outbox, 4, namespace, workload, request_id, trace_id, route, dialect, operation,
        asked_model, provider, model, is_stream, attempts, hedges, sdk_retries, fields_left_out, tools_left_out, outcome, code, status, took,
        first_token, overhead, answer_bytes, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, path,
        turns_left_out, arrived, cache_age, cache_of, cache_provider, cache_saved_tokens, cache_saved_cost, refused_by, would_refuse_by FROM provider_requests WHERE sequence = 1",
        NOW - 10_000 + 4
    );
    engine.execute(&stands).await.unwrap();
    let refused = engine
        .store
        .take(group([arrival("app-1", 3, requests(3..=5, "ok"))]), NOW)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Refused(..)) && !refused.may_pass(),
        "{refused}"
    );
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 3);
    assert_eq!(engine.number("SELECT through FROM outboxes").await, 2);
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 60")
            .await,
        2
    );
}

async fn outboxes_do_not_know_each_other(engine: &Engine) {
    let one = arrival("app-1", 1, requests(1..=3, "ok"));
    let other = arrival("app-2", 1, requests(4..=5, "ok"));
    let mut anew = arrival("app-1", 1, requests(6..=6, "ok"));
    anew.batch.outbox = "1f".into();
    let mut foreign = arrival("app-1", 1, requests(7..=7, "ok"));
    foreign.identity.namespace = "other".into();
    let answers = engine
        .store
        .take(group([one, other, anew, foreign]), NOW)
        .await
        .unwrap();
    let through: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().through).collect();
    assert_eq!(through, [3, 2, 1, 1]);
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 7);
    assert_eq!(
        engine
            .number("SELECT count(*) FROM provider_requests WHERE namespace = 'other'")
            .await,
        1
    );
}

/// What a model used in a batch, as whoever fetched its results tells it.
fn batch(id: &str, model: &str) -> Entry {
    Entry::Attempt(Box::new(Attempt {
        provider_request_id: id.into(),
        operation: BATCH.into(),
        model: model.into(),
        ..attempt(id, "answered")
    }))
}

async fn rows_and_sums(engine: &Engine) -> [i64; 3] {
    let of_minutes = "FROM provider_metrics WHERE grain = 60";
    [
        engine.number("SELECT count(*) FROM provider_logs").await,
        engine.number(&format!("SELECT sum(count) {of_minutes}")).await,
        engine.number(&format!("SELECT sum(cost_reported) {of_minutes}")).await,
    ]
}

async fn a_batch_that_several_pods_tell_of_counts_once(engine: &Engine) {
    let both = || [batch("b1", "small"), batch("b1", "large")];
    let mut foreign = arrival("app-1", 1, both());
    foreign.identity.namespace = "other".into();
    let first = [
        // What is not taken counts for nothing.
        arrival("app-4", 2, [batch("b1", "small")]),
        arrival("app-1", 1, both()),
        arrival("app-2", 1, [batch("b1", "large"), batch("b2", "large")]),
        foreign,
    ];
    let answers = engine.store.take(group(first), NOW).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().reason, RefusedBecause::Gap);
    assert!(answers[1..].iter().all(Result::is_ok), "{answers:?}");
    // Three of this namespace and two of the other.
    let counted = [5, 5, 5 * 1_500_001];
    assert_eq!(rows_and_sums(engine).await, counted);
    // Later, by another pod, by one that has a new outbox, and together with what is new.
    let mut anew = arrival("app-1", 1, both());
    anew.batch.outbox = "1f".into();
    let [small, large] = both();
    let ordinary = Entry::Attempt(Box::new(attempt("b1", "answered")));
    let later = [
        arrival("app-3", 1, [small, ordinary, large, batch("b3", "small")]),
        anew,
    ];
    let answers = engine.store.take(group(later), NOW + 1).await.unwrap();
    let through: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().through).collect();
    assert_eq!(through, [4, 2], "what counts already is taken all the same");
    assert_eq!(
        rows_and_sums(engine).await,
        counted.map(|counted| counted / 5 * 7),
        "an attempt of that id and a new batch"
    );
}

async fn of_two_that_tell_of_a_batch_at_once_one_counts(engine: &Engine) {
    for round in 0..20 {
        let id = format!("b{round}");
        let one = group([arrival(&format!("app-a{round}"), 1, [batch(&id, "m"), batch(&id, "n")])]);
        let other = group([arrival(&format!("app-b{round}"), 1, [batch(&id, "n"), batch(&id, "m")])]);
        let second = engine.another();
        let (one, other) = tokio::join!(engine.store.take(one, NOW), second.take(other, NOW));
        assert!(one.unwrap()[0].is_ok() && other.unwrap()[0].is_ok());
        assert_eq!(rows_and_sums(engine).await[..2], [2 * (round + 1), 2 * (round + 1)]);
    }
}

async fn a_batch_is_remembered_for_as_long_as_an_outbox(engine: &Engine) {
    let day = 24 * 3_600_000;
    let tell = async |pod: &str, now: i64| {
        engine
            .store
            .take(group([arrival(pod, 1, [batch("b1", "m")])]), now)
            .await
            .unwrap();
        engine.store.retain(Keep::default(), now).await.all().unwrap();
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 86400")
            .await
    };
    assert_eq!(tell("app-1", NOW).await, 1);
    assert_eq!(tell("app-2", NOW + 399 * day).await, 1);
    engine
        .store
        .retain(Keep::default(), NOW + 402 * day)
        .await
        .all()
        .unwrap();
    assert_eq!(engine.number("SELECT count(*) FROM booked_batches").await, 0);
}
