//! Steps lead forward and back; constraints, triggers and partitions hold.

use std::time::Duration;

use bowsprit_ledger::entry::{Cached, Entry, Request};
use bowsprit_ledger::query::read::{self, Filter};
use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::{Error, Keep, Value};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, group, request, requests};
use crate::on_every_engine;

on_every_engine! {
    steps_lead_forward_and_back_and_a_later_schema_is_left_alone,
    constraints_refuse_what_is_in_no_list,
    a_step_samples_what_was_there_as_it_would_have_been_when_it_was_taken,
    an_answer_of_the_cache_and_the_rule_that_refused_are_told_again,
    rows_are_never_changed_and_an_outbox_never_goes_back,
    a_config_that_is_applied_replaces_the_one_before,
    of_two_who_ask_for_the_same_change_the_history_has_the_later_one,
    what_is_old_goes_and_sums_stay_longer,
    what_is_older_than_detail_is_kept_is_in_the_sums_alone,
    a_day_begins_while_somebody_reads_and_batches_are_taken,
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

async fn a_step_samples_what_was_there_as_it_would_have_been_when_it_was_taken(engine: &Engine) {
    let outcomes = (0..900).map(|number| if number % 9 == 0 { "cut" } else { "ok" });
    let entries = outcomes.map(|outcome| Entry::Request(Box::new(request("r", outcome))));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
    let all = "SELECT CAST(at AS BIGINT), outbox, sequence, namespace, workload, route, provider, model, took FROM sampled_requests ORDER BY 1, 2, 3";
    let taken = engine.ask(all, Vec::new()).await;
    assert!((40..60).contains(&taken.len()), "{}", taken.len());
    engine.store.migrate(8, NOW).await.unwrap();
    assert!(engine.execute(all).await.is_err());
    engine.store.migrate(LATEST, NOW).await.unwrap();
    engine.store.fill(Duration::MAX).await.unwrap();
    assert_eq!(engine.ask(all, Vec::new()).await, taken);
}

async fn an_answer_of_the_cache_and_the_rule_that_refused_are_told_again(engine: &Engine) {
    let cached = Cached {
        age: 61_500,
        request_id: "r0".into(),
        provider: "claude".into(),
        saved_tokens: 120,
        saved_cost: 1_500_001,
    };
    let sent = [
        Request {
            cache: Some(cached.clone()),
            ..request("r1", "ok")
        },
        Request {
            refused_by: "limit:tokens".into(),
            ..request("r2", "shed")
        },
        // Of a later release.
        Request {
            refused_by: "tide:low".into(),
            ..request("r3", "shed")
        },
        request("r4", "ok"),
    ];
    let entries = sent.map(|request| Entry::Request(Box::new(request)));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
    let filter = Filter {
        number: 10,
        ..Filter::default()
    };
    let told = read::list(&*engine.store, &filter).await.unwrap();
    let told: Vec<_> = told
        .into_iter()
        .map(|listed| (listed.request.cache, listed.request.refused_by))
        .collect();
    let refused = |by: &str| (None, by.to_owned());
    assert_eq!(
        told,
        [
            refused(""),
            refused("unknown:tide:low"),
            refused("limit:tokens"),
            (Some(cached), String::new())
        ]
    );
    // What the release before knows nothing of goes with the step back, and the rows stay.
    engine.store.migrate(5, NOW).await.unwrap();
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 4);
    assert!(
        engine
            .execute("SELECT refused_by FROM provider_requests")
            .await
            .is_err()
    );
    engine.store.migrate(6, NOW).await.unwrap();
    // Without the trigger that refuses every change.
    let free = if engine.is_postgres() {
        "DROP TRIGGER provider_requests_append_only ON provider_requests"
    } else {
        "DROP TRIGGER provider_requests_append_only"
    };
    engine.execute(free).await.unwrap();
    for wrong in ["nonsense", "limit", ":name", "tide:low"] {
        let update = format!("UPDATE provider_requests SET refused_by = '{wrong}'");
        let refused = engine.execute(&update).await.unwrap_err();
        assert!(refused.to_lowercase().contains("check"), "{wrong}: {refused}");
    }
    engine
        .execute("UPDATE provider_requests SET refused_by = 'pause:'")
        .await
        .unwrap();
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
    let row = |at: i64, name: &str, what: &str, revision: &str, change: &str| {
        let text = |text: &str| Value::Text(text.to_owned());
        vec![
            Value::Int(at),
            text("team"),
            text("ProviderConfig"),
            text(name),
            text(what),
            text("ann"),
            text(revision),
            text(change),
        ]
    };
    for row in [
        row(NOW, "claude", "created", "a1", "uid-1/1"),
        row(NOW + 5, "claude", "updated", "b2", "uid-1/2"),
        // Told again, by another leader and with another clock: it is the same change.
        row(NOW + 7, "claude", "updated", "b2", "uid-1/2"),
        row(NOW + 6, "openai", "created", "c3", "uid-2/1"),
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

async fn of_two_who_ask_for_the_same_change_the_history_has_the_later_one(engine: &Engine) {
    let text = |text: &str| Value::Text(text.to_owned());
    let tell = async |at: i64, who: &str, revision: &str, change: &str| {
        let [namespace, kind, name, what] = ["team", "ProviderConfig", "claude", "updated"].map(text);
        let told = [text(who), text(revision), text(change)];
        let row = [vec![Value::Int(at), namespace, kind, name, what], told.to_vec()].concat();
        engine.store.note_config(row).await.unwrap();
    };
    tell(NOW, "ann", "a1", "uid/4").await;
    // The leader has found it and knows no user; Alice's was refused elsewhere, Bob's was stored, and each replica tells its own.
    tell(NOW + 9, "(kubectl-edit)", "b2", "uid/5").await;
    tell(NOW + 5, "bob", "b2", "uid/5").await;
    tell(NOW + 3, "alice", "a9", "uid/5").await;
    tell(NOW + 12, "(kubectl-edit)", "b2", "uid/5").await;
    let told = async || {
        let asked = read::configs(&*engine.store, Some("team"), None, 10).await;
        let told: Vec<_> = asked
            .unwrap()
            .into_iter()
            .map(|one| (one.at, one.who, one.revision, one.replaced_at))
            .collect();
        told
    };
    let before = |replaced: i64| (NOW, "ann".to_owned(), "a1".to_owned(), Some(replaced));
    assert_eq!(
        told().await,
        [(NOW + 5, "bob".into(), "b2".into(), None), before(NOW + 5)]
    );
    tell(NOW + 7, "carol", "b2", "uid/5").await;
    assert_eq!(
        told().await,
        [(NOW + 7, "carol".into(), "b2".into(), None), before(NOW + 7)]
    );
    // The same object was made anew at that very moment: it is another change, and none that is told again in vain.
    tell(NOW + 7, "dan", "b2", "uid2/1").await;
    assert_eq!(told().await.len(), 2);
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
    assert!(engine.store.retain(keep, NOW).await.all().unwrap() > 0);
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 3);
    assert_eq!(engine.number("SELECT count(*) FROM provider_logs").await, 1);
    assert_eq!(
        engine
            .number("SELECT sum(count) FROM provider_metrics WHERE grain = 60 AND kind = 'request'")
            .await,
        6
    );
    // What was dropped can come again, by another outbox of that day: it is added up.
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
    engine.store.retain(keep, NOW + 2 * 3600 * 1000).await.all().unwrap();
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

async fn what_is_older_than_detail_is_kept_is_in_the_sums_alone(engine: &Engine) {
    if !engine.is_postgres() {
        return; // Its rows go with the next clean-up.
    }
    let keep = Keep {
        detail: Duration::from_hours(24 * 7),
        ..Keep::default()
    };
    engine.store.retain(keep, NOW).await.all().unwrap();
    let mut aged = arrival("app-1", 1, requests(1..=2, "ok"));
    aged.batch.entries[0].at = NOW - 10 * 24 * 3600 * 1000;
    engine.store.take(group([aged]), NOW).await.unwrap()[0]
        .as_ref()
        .unwrap();
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 1);
    let counted = "SELECT sum(count) FROM provider_metrics WHERE grain = 60 AND kind = 'request'";
    assert_eq!(engine.number(counted).await, 2);
    // Rows in the default partition, however they came there, are in nobody's way.
    let later = NOW + 9 * 24 * 3600 * 1000;
    for (pod, table) in [("app-2", "provider_requests_d"), ("app-3", "x")] {
        let mut of_later = arrival(pod, 1, requests(1..=1, "ok"));
        of_later.batch.entries[0].at = later;
        engine.store.take(group([of_later]), later).await.unwrap()[0]
            .as_ref()
            .unwrap();
        if table == "x" {
            break;
        }
        let day = later.div_euclid(24 * 3600 * 1000);
        let moved = format!(
            "CREATE TABLE aside AS SELECT * FROM {table}{day}; DROP TABLE {table}{day};
            INSERT INTO provider_requests_default SELECT * FROM aside"
        );
        engine.execute(&moved).await.unwrap();
        // Its list of days is forgotten.
        engine.store.retain(keep, NOW).await.all().unwrap();
    }
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests_default").await, 2);
}

async fn a_day_begins_while_somebody_reads_and_batches_are_taken(engine: &Engine) {
    if !engine.is_postgres() {
        return; // It has no partitions.
    }
    let later = NOW + 9 * 24 * 3600 * 1000;
    let reader = engine.reading("provider_requests").await;
    let took = std::time::Instant::now();
    for pod in ["app-1", "app-2"] {
        let mut of_later = arrival(pod, 1, requests(1..=3, "ok"));
        of_later.batch.entries.iter_mut().for_each(|entry| entry.at = later);
        engine.store.take(group([of_later]), later).await.unwrap()[0]
            .as_ref()
            .unwrap();
    }
    // Two seconds, once; a reader would have been waited for until the batch is given up, after thirty.
    assert!(took.elapsed() < Duration::from_secs(20), "{:?}", took.elapsed());
    drop(reader);
    assert_eq!(engine.number("SELECT count(*) FROM provider_requests").await, 6);
    // A clean-up makes the next days' beforehand.
    engine.store.retain(Keep::default(), later).await.all().unwrap();
    let day = later.div_euclid(24 * 3600 * 1000);
    for ahead in 1..=3 {
        let there = format!(
            "SELECT count(*) FROM pg_class WHERE relname = 'provider_logs_d{}'",
            day + ahead
        );
        assert_eq!(engine.number(&there).await, 1, "{ahead}");
    }
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
