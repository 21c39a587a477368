//! Steps lead forward and back; constraints, triggers and partitions hold.

use std::time::Duration;

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::query::read;
use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::{Error, Keep, Value};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, group, requests};
use crate::on_every_engine;

on_every_engine! {
    steps_lead_forward_and_back_and_a_later_schema_is_left_alone,
    constraints_refuse_what_is_in_no_list,
    rows_are_never_changed_and_an_outbox_never_goes_back,
    a_config_that_is_applied_replaces_the_one_before,
    what_is_old_goes_and_sums_stay_longer,
    there_are_as_many_indexes_triggers_and_views_as_promised,
}

async fn steps_lead_forward_and_back_and_a_later_schema_is_left_alone(engine: &Engine) {
    engine
        .store
        .take(group([arrival("app-1", 1, requests(1..=2, "ok"))]), NOW)
        .await
        .unwrap();
    assert_eq!(engine.store.migrate(1, NOW).await.unwrap(), LATEST);
    // The tables stay, and so do their rows; views and triggers are gone.
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 2);
    engine.execute("UPDATE provider_requests SET status = 1").await.unwrap();
    assert_eq!(engine.store.migrate(LATEST, NOW).await.unwrap(), 1);
    assert!(engine.execute("UPDATE provider_requests SET status = 1").await.is_err());
    assert_eq!(engine.store.migrate(0, NOW).await.unwrap(), LATEST);
    assert!(engine.execute("SELECT 1 FROM outboxes").await.is_err());
    assert_eq!(engine.store.migrate(LATEST, NOW).await.unwrap(), 0);
    engine
        .store
        .take(group([arrival("app-1", 1, requests(1..=2, "ok"))]), NOW)
        .await
        .unwrap();

    engine
        .execute(&format!(
            "INSERT INTO schema_migrations VALUES ({}, 'x', 'x', 0)",
            LATEST + 1
        ))
        .await
        .unwrap();
    let refused = engine.store.migrate(LATEST, NOW).await.unwrap_err();
    assert!(matches!(refused, Error::Schema(_)), "{refused}");
}

async fn constraints_refuse_what_is_in_no_list(engine: &Engine) {
    let mut entries = requests(1..=1, "ok");
    entries.push(Entry::Attempt(Box::new(attempt("r1", "answered"))));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    engine.store.migrate(2, NOW).await.unwrap();
    for (table, column) in [
        ("provider_requests", "outcome"),
        ("provider_requests", "dialect"),
        ("provider_logs", "outcome"),
        ("provider_logs", "reason"),
        ("provider_metrics", "outcome"),
        ("provider_metrics", "kind"),
    ] {
        let refused = engine
            .execute(&format!("UPDATE {table} SET {column} = 'nonsense'"))
            .await
            .unwrap_err();
        assert!(refused.to_lowercase().contains("check"), "{table}.{column}: {refused}");
    }
    assert!(engine.execute("UPDATE provider_metrics SET grain = 61").await.is_err());
    assert!(engine.execute("UPDATE provider_requests SET took = -1").await.is_err());
}

async fn rows_are_never_changed_and_an_outbox_never_goes_back(engine: &Engine) {
    let mut entries = requests(1..=1, "ok");
    entries.push(Entry::Attempt(Box::new(attempt("r1", "answered"))));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    for table in ["provider_requests", "provider_logs"] {
        let refused = engine
            .execute(&format!("UPDATE {table} SET took = 1"))
            .await
            .unwrap_err();
        assert!(refused.contains("append only"), "{refused}");
    }
    let refused = engine.execute("UPDATE outboxes SET through = 1").await.unwrap_err();
    assert!(refused.contains("never goes back"), "{refused}");
    engine.execute("UPDATE outboxes SET through = 3").await.unwrap();
}

async fn a_config_that_is_applied_replaces_the_one_before(engine: &Engine) {
    let row = |at: i64, name: &str, what: &str, revision: &str| {
        let text = |text: &str| Value::Text(text.to_owned());
        vec![
            Value::Int(at),
            text("team"),
            text("ProviderConfig"),
            text(name),
            text(what),
            text("ann"),
            text(revision),
        ]
    };
    for row in [
        row(NOW, "claude", "created", "a1"),
        row(NOW + 5, "claude", "updated", "b2"),
        row(NOW + 5, "claude", "updated", "b2"),
        row(NOW + 6, "openai", "created", "c3"),
    ] {
        engine.store.note_config(row).await.unwrap();
    }
    let history = read::configs(&*engine.store, Some("team"), Some(("ProviderConfig", "claude")), 10)
        .await
        .unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|one| (one.at, one.revision.as_str(), one.replaced_at))
        .collect();
    assert_eq!(told, [(NOW + 5, "b2", None), (NOW, "a1", Some(NOW + 5))]);
    assert_eq!(read::configs(&*engine.store, None, None, 10).await.unwrap().len(), 3);
}

async fn what_is_old_goes_and_sums_stay_longer(engine: &Engine) {
    let day = 24 * 3600 * 1000;
    let old = NOW - 20 * day;
    for (pod, at) in [("app-1", old), ("app-2", NOW)] {
        let mut entries = requests(1..=3, "ok");
        entries.push(Entry::Attempt(Box::new(attempt("r1", "answered"))));
        let mut aged = arrival(pod, 1, entries);
        aged.batch.entries.iter_mut().for_each(|entry| entry.at = at);
        engine.store.take(group([aged]), NOW).await.unwrap();
    }
    let keep = Keep {
        detail: Duration::from_hours(24 * 7),
        ..Keep::default()
    };
    assert!(engine.store.retain(keep, NOW).await.unwrap() > 0);
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 3);
    assert_eq!(engine.number("SELECT count(*) FROM provider_logs").await, 1);
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 60 AND kind = 'request'")
            .await,
        6
    );
    // What was dropped can come again: another outbox of that day.
    let mut again = arrival("app-3", 1, requests(1..=1, "ok"));
    again.batch.entries[0].at = old;
    engine.store.take(group([again]), NOW).await.unwrap()[0]
        .as_ref()
        .unwrap();
    if engine.is_postgres() {
        assert_eq!(engine.number("SELECT count(*) FROM provider_requests_default").await, 0);
    }
    let keep = Keep {
        minutes: Duration::from_hours(24),
        outboxes: Duration::from_hours(1),
        ..keep
    };
    engine.store.retain(keep, NOW + 2 * 3600 * 1000).await.unwrap();
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 60 AND kind = 'request'")
            .await,
        3
    );
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 3600 AND kind = 'request'")
            .await,
        7
    );
    assert_eq!(engine.number("SELECT count(*) FROM outboxes").await, 0);
}

async fn there_are_as_many_indexes_triggers_and_views_as_promised(engine: &Engine) {
    let (indexes, triggers, views) = if engine.is_postgres() {
        (
            "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_d%' AND tablename <> 'schema_migrations'",
            "SELECT count(DISTINCT tgname) FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT count(*) FROM pg_views WHERE schemaname = 'public'",
        )
    } else {
        let of = |kind: &'static str| kind;
        (
            of("SELECT count(*) FROM sqlite_master WHERE type = 'index'"),
            of("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"),
            of("SELECT count(*) FROM sqlite_master WHERE type = 'view'"),
        )
    };
    assert!(engine.number(indexes).await >= 16);
    assert_eq!(engine.number(triggers).await, 4);
    assert_eq!(engine.number(views).await, 3);
}
