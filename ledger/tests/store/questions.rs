//! What was written is what is answered.

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::query::read::{self, Cursor, Filter};
use bowsprit_ledger::query::{By, Money, Window};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, folded, group, headroom, request, requests};
use crate::on_every_engine;

on_every_engine! {
    a_request_is_told_as_it_was_with_its_attempts,
    sums_are_told_apart_and_added_up,
    lists_go_on_where_they_ended,
    views_say_what_the_rows_say,
    the_newest_rate_limits_are_told,
}

fn window() -> Window {
    Window {
        from: NOW - 2 * 3_600_000 - 60_000,
        to: NOW + 60_000,
    }
}

async fn a_request_is_told_as_it_was_with_its_attempts(engine: &Engine) {
    let mut second = attempt("r1", "answered");
    (second.number, second.reason, second.cost) = (2, "fallback".into(), None);
    let entries = vec![
        Entry::Attempt(Box::new(attempt("r1", "failed"))),
        Entry::Attempt(Box::new(second.clone())),
        Entry::Request(Box::new(request("r1", "ok"))),
    ];
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    for id in ["r1", "r1-trace", "msg_r1"] {
        let why = read::why(&*engine.store, id, Some("team")).await.unwrap();
        assert_eq!(why.len(), 1, "{id}");
        assert_eq!(why[0].listed.request, request("r1", "ok"));
        assert_eq!(
            (why[0].listed.pod.as_str(), why[0].listed.workload.as_str()),
            ("app-1", "Deployment/app")
        );
        let made: Vec<_> = why[0].attempts_made.iter().map(|one| one.attempt.clone()).collect();
        assert_eq!(made, [attempt("r1", "failed"), second.clone()]);
    }
    assert!(read::why(&*engine.store, "r1", Some("other")).await.unwrap().is_empty());
}

async fn sums_are_told_apart_and_added_up(engine: &Engine) {
    let mut entries = requests(1..=4, "ok");
    entries.extend(requests(5..=5, "provider_error"));
    entries.extend(requests(6..=6, "client_error"));
    entries.push(Entry::Sum(Box::new(folded("request", "ok", 10))));
    entries.push(Entry::Attempt(Box::new(attempt("r1", "answered"))));
    let mut dear = attempt("r2", "answered");
    dear.provider = "openai".into();
    if let Some(cost) = &mut dear.cost {
        cost.reported = 1_000_000_000_000_000;
    }
    entries.extend(vec![Entry::Attempt(Box::new(dear)); 990]);
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    // Within a whole hour of the window: its minutes are in it as well, and must not count beside it.
    let mut earlier = arrival("app-2", 1, requests(50..=52, "ok"));
    earlier
        .batch
        .entries
        .iter_mut()
        .for_each(|entry| entry.at = NOW - 3_600_000);
    engine.store.take(group([earlier]), NOW).await.unwrap();
    let stats = read::stats(&*engine.store, &read::scope(Some("team"), None, window()), By::Provider)
        .await
        .unwrap();
    let claude = stats.iter().find(|stat| stat.name == "claude").unwrap();
    assert_eq!(
        (claude.requests, claude.succeeded, claude.failed, claude.client_errors),
        (19, 17, 1, 1)
    );
    assert_eq!(
        (claude.attempts, claude.tokens.input, claude.tokens.estimated_output),
        (1, 100, 3)
    );
    assert_eq!((claude.cost, claude.cost_estimated), (Money(1_500_001), Money(7)));
    let openai = stats.iter().find(|stat| stat.name == "openai").unwrap();
    assert_eq!(openai.cost, Money(990 * 1_000_000_000_000_000));
    for by in [By::Model, By::Route, By::Namespace, By::Workload] {
        let stats = read::stats(&*engine.store, &read::scope(None, None, window()), by)
            .await
            .unwrap();
        assert_eq!(stats.iter().map(|stat| stat.requests).sum::<u64>(), 19, "{by:?}");
        assert_eq!(stats.iter().map(|stat| stat.attempts).sum::<u64>(), 991, "{by:?}");
    }
    let none = Window {
        from: NOW + 120_000,
        to: NOW + 240_000,
    };
    assert!(
        read::stats(&*engine.store, &read::scope(None, None, none), By::Route)
            .await
            .unwrap()
            .is_empty()
    );
    let quality = read::quality(&*engine.store, None, window()).await.unwrap();
    assert_eq!(quality[0].failures, []);
}

async fn lists_go_on_where_they_ended(engine: &Engine) {
    let mut entries = requests(1..=9, "ok");
    entries.extend(requests(10..=10, "shed"));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    let mut filter = Filter {
        namespace: Some("team".into()),
        number: 4,
        ..Filter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = read::list(&*engine.store, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Cursor::parse(&last.cursor);
        seen.extend(page.into_iter().map(|listed| listed.request.id));
    }
    let wanted: Vec<_> = (1..=10).rev().map(|id| format!("r{id}")).collect();
    assert_eq!(seen, wanted);
    let failed = Filter {
        is_failed: true,
        number: 10,
        ..Filter::default()
    };
    assert_eq!(read::list(&*engine.store, &failed).await.unwrap().len(), 1);
    let newest = read::list(
        &*engine.store,
        &Filter {
            number: 1,
            ..Filter::default()
        },
    )
    .await
    .unwrap();
    let follow = Filter {
        after: Cursor::parse(&newest[0].cursor),
        number: 10,
        ..Filter::default()
    };
    assert!(read::list(&*engine.store, &follow).await.unwrap().is_empty());
    engine
        .store
        .take(group([arrival("app-1", 11, requests(11..=12, "ok"))]), NOW)
        .await
        .unwrap();
    let new: Vec<_> = read::list(&*engine.store, &follow)
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.request.id)
        .collect();
    assert_eq!(new, ["r11", "r12"]);
}

async fn views_say_what_the_rows_say(engine: &Engine) {
    // The view of seven days asks for the time.
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let mut entries = requests(1..=3, "ok");
    entries.extend(requests(4..=4, "cut"));
    entries.extend(requests(5..=7, "client_error"));
    entries.push(Entry::Attempt(Box::new(attempt("r1", "answered"))));
    entries.push(Entry::Attempt(Box::new(attempt("r1", "failed"))));
    let mut recent = arrival("app-1", 1, entries);
    recent.batch.entries.iter_mut().for_each(|entry| entry.at = now);
    engine.store.take(group([recent]), now).await.unwrap();
    let rate = "SELECT CAST(requests AS BIGINT), CAST(succeeded AS BIGINT), CAST(failed AS BIGINT), CAST(percent AS BIGINT) FROM success_rate_7d";
    let numbers: Vec<_> = engine.ask(rate, Vec::new()).await[0]
        .iter()
        .map(bowsprit_ledger::store::Value::int)
        .collect();
    assert_eq!(numbers, [7, 3, 1, 75]);
    let hourly =
        "SELECT CAST(attempts AS BIGINT), CAST(failed AS BIGINT), CAST(input AS BIGINT), hour FROM hourly_performance";
    let row = &engine.ask(hourly, Vec::new()).await[0];
    assert_eq!((row[0].int(), row[1].int(), row[2].int()), (2, 1, 200));
    assert!(row[3].told().ends_with(":00:00Z"), "{:?}", row[3]);
    let failed = "SELECT request_id, outcome, ended FROM failed_requests ORDER BY request_id";
    let rows = engine.ask(failed, Vec::new()).await;
    let told: Vec<_> = rows.iter().map(|row| (row[0].told(), row[1].told())).collect();
    let wanted = [
        ("r4", "cut"),
        ("r5", "client_error"),
        ("r6", "client_error"),
        ("r7", "client_error"),
    ];
    assert_eq!(told, wanted.map(|(id, outcome)| (id.to_owned(), outcome.to_owned())));
}

async fn the_newest_rate_limits_are_told(engine: &Engine) {
    let mut entries: Vec<_> = [5, 4, 3].map(|left| Entry::Headroom(Box::new(headroom(left)))).into();
    let mut other = headroom(70);
    other.what = "requests".into();
    entries.push(Entry::Headroom(Box::new(other.clone())));
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    let limits = read::rate_limits(&*engine.store, "team", None, NOW).await.unwrap();
    let told: Vec<_> = limits.into_iter().map(|limit| limit.headroom).collect();
    assert_eq!(told, [other, headroom(3)]);
    assert!(
        read::rate_limits(&*engine.store, "other", None, NOW)
            .await
            .unwrap()
            .is_empty()
    );
}
