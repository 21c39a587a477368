//! What a step makes of rows that were there before it comes in pieces, and all of it, however often that is interrupted.

use std::time::Duration;

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::schema::{CannotMigrate, LATEST};
use bowsprit_ledger::service::run;
use bowsprit_ledger::store::{Error, Filling, Keep, Row, Store};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, group, request};
use crate::on_every_engine;

on_every_engine! {
    a_fill_that_is_interrupted_goes_on_where_it_was_and_loses_and_doubles_nothing,
    what_was_filled_at_once_stays_as_it_is,
    batches_are_taken_before_anything_is_filled,
    a_fill_whose_time_is_over_lets_what_is_old_go_and_goes_on_where_it_was,
    no_release_that_would_take_a_part_of_the_sample_for_all_is_led_back_to,
    the_way_back_fills_the_sample_first,
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
    let error = engine.store.fill(Duration::MAX).await.unwrap_err().to_string();
    assert!(error.contains("it ends"), "{error}");
    let before = sampled(engine).await;
    assert!(!before.is_empty() && filling(engine).await == 1, "{}", before.len());
    engine.execute(no_more).await.unwrap();
    // Meanwhile there comes more, for where it was and for where it was not.
    take(&*engine.store, "late", NOW - 79_000_000, 1_000, 70_003).await;
    let all = wanted(engine).await;
    let late = sampled(engine).await.len() - before.len();
    assert!(late > 0 && before.len() + late < all.len());
    let made = engine.another().fill(Duration::MAX).await.unwrap().rows();
    assert_eq!(usize::try_from(made).unwrap(), all.len() - before.len() - late);
    assert_eq!(sampled(engine).await, all);
    assert_eq!(filling(engine).await, 0);
    assert_eq!(engine.store.fill(Duration::MAX).await.unwrap(), Filling::Nothing);
}

async fn what_was_filled_at_once_stays_as_it_is(engine: &Engine) {
    fill(engine).await;
    let all = wanted(engine).await;
    assert_eq!(sampled(engine).await, all);
    engine.store.migrate(9, NOW).await.unwrap();
    engine.store.migrate(LATEST, NOW).await.unwrap();
    assert_eq!(filling(engine).await, 1);
    assert_eq!(engine.store.fill(Duration::MAX).await.unwrap(), Filling::All(0));
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
    let made = engine.store.fill(Duration::MAX).await.unwrap();
    assert_eq!(made, Filling::All(taken as u64));
    assert_eq!(sampled(engine).await, wanted(engine).await);
}

/// Back and forth over the step that samples, and one piece of what it leaves.
async fn fill_a_part(engine: &Engine) -> usize {
    engine.store.migrate(8, NOW).await.unwrap();
    engine.store.migrate(LATEST, NOW).await.unwrap();
    let filling = engine.store.fill(Duration::ZERO).await.unwrap();
    let part = sampled(engine).await.len();
    assert_eq!(filling, Filling::Part(part as u64));
    assert!(0 < part && part < wanted(engine).await.len(), "{part}");
    part
}

async fn a_fill_whose_time_is_over_lets_what_is_old_go_and_goes_on_where_it_was(engine: &Engine) {
    fill(engine).await;
    let part = fill_a_part(engine).await;
    // What it has made and what it has not, some of which is too old by now.
    let oldest = "SELECT min(at) FROM sampled_requests";
    let before = engine.number(oldest).await;
    let keep = Keep {
        detail: Duration::from_hours(24),
        ..Keep::default()
    };
    let later = before + 86_400_000 + 1_000_000;
    assert!(engine.store.retain(keep, later).await.all().unwrap() > 0);
    let gone = part - sampled(engine).await.len();
    assert!(0 < gone && gone < part && engine.number(oldest).await > before);
    let made = engine.another().fill(Duration::MAX).await.unwrap();
    assert!(matches!(made, Filling::All(_)), "{made:?}");
    let all: Vec<_> = wanted(engine).await;
    let kept = all.into_iter().filter(|row| row[0].int() >= later - 86_400_000);
    assert_eq!(sampled(engine).await, kept.collect::<Vec<_>>());
    assert_eq!(
        usize::try_from(made.rows()).unwrap(),
        sampled(engine).await.len() - (part - gone)
    );
}

async fn no_release_that_would_take_a_part_of_the_sample_for_all_is_led_back_to(engine: &Engine) {
    fill(engine).await;
    let part = fill_a_part(engine).await;
    let refused = engine.store.migrate(9, NOW).await.unwrap_err();
    assert!(matches!(refused, Error::Schema(CannotMigrate::NotFilled)), "{refused}");
    assert!(refused.to_string().contains("migrate --to 9"), "{refused}");
    // Nothing has changed, and it goes on.
    assert_eq!(engine.store.migrate(LATEST, NOW).await.unwrap(), LATEST);
    assert_eq!((filling(engine).await, sampled(engine).await.len()), (1, part));
    // Further back there is no sample.
    assert_eq!(engine.store.migrate(8, NOW).await.unwrap(), LATEST);
}

async fn the_way_back_fills_the_sample_first(engine: &Engine) {
    fill(engine).await;
    fill_a_part(engine).await;
    assert_eq!(run::migrated(&*engine.store, 9, NOW).await.unwrap(), LATEST);
    assert!(engine.execute("SELECT 1 FROM fills").await.is_err());
    assert_eq!(sampled(engine).await, wanted(engine).await);
}
