//! What a step makes of rows that were there before it comes in pieces, and all of it, however often that is interrupted.

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::{Row, Store};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, group, request};
use crate::on_every_engine;

on_every_engine! {
    a_fill_that_is_interrupted_goes_on_where_it_was_and_loses_and_doubles_nothing,
    what_was_filled_at_once_stays_as_it_is,
    batches_are_taken_before_anything_is_filled,
}

/// A batch of so many requests, one in nine of which failed. They end `step` milliseconds after one another.
async fn take(store: &dyn Store, pod: &str, first: i64, number: i64, step: i64) {
    let outcomes = (0..number).map(|number| if number % 9 == 0 { "cut" } else { "ok" });
    let entries = outcomes.map(|outcome| Entry::Request(Box::new(request("r", outcome))));
    let mut one = arrival(pod, 1, entries);
    for (entry, number) in one.batch.entries.iter_mut().zip(0..) {
        entry.at = first + number * step;
    }
    store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
}

/// More than several pieces of requests that end in the last day, and more than one that end in the same millisecond.
async fn fill(engine: &Engine) {
    for pod in 0..6 {
        take(
            &*engine.store,
            &format!("app-{pod}"),
            NOW - 80_000_000 + pod,
            1_000,
            70_001,
        )
        .await;
    }
    // One that is sampled.
    let at = (NOW - 5_000_000..NOW)
        .find(|at| at % 1009 * 37 % 127 % 16 == 0)
        .unwrap();
    for pod in 6..9 {
        take(&*engine.store, &format!("app-{pod}"), at, 1_000, 0).await;
    }
}

const COLUMNS: &str = "CAST(at AS BIGINT), outbox, sequence, namespace, workload, route, provider, model, took";

async fn sampled(engine: &Engine) -> Vec<Row> {
    let all = format!("SELECT {COLUMNS} FROM sampled_requests ORDER BY 1, 2, 3");
    engine.ask(&all, Vec::new()).await
}

async fn wanted(engine: &Engine) -> Vec<Row> {
    let all = format!(
        "SELECT {COLUMNS} FROM provider_requests WHERE outcome = 'ok' AND at % 1009 * 37 % 127 % 16 = 0 ORDER BY 1, 2, 3"
    );
    engine.ask(&all, Vec::new()).await
}

async fn filling(engine: &Engine) -> i64 {
    engine.number("SELECT count(*) FROM fills").await
}

async fn a_fill_that_is_interrupted_goes_on_where_it_was_and_loses_and_doubles_nothing(engine: &Engine) {
    fill(engine).await;
    engine.store.migrate(8, NOW).await.unwrap();
    engine.store.migrate(LATEST, NOW).await.unwrap();
    assert_eq!(sampled(engine).await.len(), 0);
    // It ends in the middle.
    let middle = format!("NEW.at > {}", NOW - 40_000_000);
    let (ends, no_more) = if engine.is_postgres() {
        (
            format!(
                "CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it ends'; END $$;
                CREATE TRIGGER ends BEFORE INSERT ON sampled_requests FOR EACH ROW WHEN ({middle}) EXECUTE FUNCTION ends()"
            ),
            "DROP TRIGGER ends ON sampled_requests",
        )
    } else {
        (
            format!(
                "CREATE TRIGGER ends BEFORE INSERT ON sampled_requests WHEN {middle} BEGIN SELECT RAISE(ABORT, 'it ends'); END"
            ),
            "DROP TRIGGER ends",
        )
    };
    engine.execute(&ends).await.unwrap();
    let error = engine.store.fill().await.unwrap_err().to_string();
    assert!(error.contains("it ends"), "{error}");
    let before = sampled(engine).await;
    assert!(!before.is_empty() && filling(engine).await == 1, "{}", before.len());
    engine.execute(no_more).await.unwrap();
    // Meanwhile there comes more, for where it was and for where it was not.
    take(&*engine.store, "late", NOW - 79_000_000, 1_000, 70_003).await;
    let all = wanted(engine).await;
    let late = sampled(engine).await.len() - before.len();
    assert!(late > 0 && before.len() + late < all.len());
    let made = engine.another().fill().await.unwrap();
    assert_eq!(usize::try_from(made).unwrap(), all.len() - before.len() - late);
    assert_eq!(sampled(engine).await, all);
    assert_eq!(filling(engine).await, 0);
    assert_eq!(engine.store.fill().await.unwrap(), 0);
}

async fn what_was_filled_at_once_stays_as_it_is(engine: &Engine) {
    fill(engine).await;
    let all = wanted(engine).await;
    assert_eq!(sampled(engine).await, all);
    engine.store.migrate(9, NOW).await.unwrap();
    engine.store.migrate(LATEST, NOW).await.unwrap();
    assert_eq!(filling(engine).await, 1);
    assert_eq!(engine.store.fill().await.unwrap(), 0);
    assert_eq!(sampled(engine).await, all);
    assert_eq!(filling(engine).await, 0);
}

async fn batches_are_taken_before_anything_is_filled(engine: &Engine) {
    // Of nothing there is nothing to make.
    assert_eq!(filling(engine).await, 0);
    take(&*engine.store, "app-1", NOW - 80_000_000, 1_000, 70_001).await;
    engine.store.migrate(8, NOW).await.unwrap();
    engine.store.migrate(LATEST, NOW).await.unwrap();
    take(&*engine.store, "app-2", NOW - 80_000_000, 1_000, 70_001).await;
    let taken = sampled(engine).await.len();
    assert!(taken > 0);
    assert_eq!(usize::try_from(engine.store.fill().await.unwrap()).unwrap(), taken);
    assert_eq!(sampled(engine).await, wanted(engine).await);
}
