//! What was written is what is answered.

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::query::read::{self, Cursor, Filter};
use bowsprit_ledger::query::{By, Money, Stat, Window};
use bowsprit_ledger::store::Keep;

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, folded, group, headroom, request, requests};
use crate::on_every_engine;

on_every_engine! {
    a_request_is_told_as_it_was_with_its_attempts,
    sums_are_told_apart_and_added_up,
    what_a_pod_makes_up_neither_stops_others_nor_overflows_a_sum,
    names_beyond_an_answers_room_are_one_row_and_the_dearest_is_not_among_them,
    an_hour_whose_minutes_are_gone_is_in_a_window_that_begins_within_it,
    quality_is_of_the_providers_with_the_most_attempts_and_says_what_each_failed_with,
    lists_go_on_where_they_ended,
    who_follows_is_told_what_arrives_however_long_ago_it_ended,
    views_say_what_the_rows_say,
    the_newest_rate_limits_are_told,
    a_provider_that_many_pods_hear_of_hides_no_other,
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

async fn what_a_pod_makes_up_neither_stops_others_nor_overflows_a_sum(engine: &Engine) {
    let mut absurd = folded("attempt", "answered", 1);
    absurd.count = u64::MAX;
    (absurd.took, absurd.cost.reported) = (u64::MAX, i64::MAX);
    for pod in 0..20 {
        // Two names: each row is as large as it can be, and so is their sum.
        let entries = (0..1_000).map(|index| {
            let mut made_up = absurd.clone();
            made_up.model = format!("m{}", index % 2);
            Entry::Sum(Box::new(made_up))
        });
        let taken = engine
            .store
            .take(group([arrival(&format!("app-{pod}"), 1, entries)]), NOW);
        taken.await.unwrap()[0].as_ref().unwrap();
    }
    let mut honest = attempt("r1", "answered");
    honest.model = "m1".into();
    let honest = arrival("honest", 1, [Entry::Attempt(Box::new(honest))]);
    engine.store.take(group([honest]), NOW).await.unwrap()[0]
        .as_ref()
        .unwrap();

    let scope = read::scope(None, None, window());
    let stats = read::stats(&*engine.store, &scope, By::Provider).await.unwrap();
    let most = u64::try_from(i64::MAX).unwrap();
    assert_eq!(stats[0].attempts, 20 * 1_000 * 1_000_000_000 + 1);
    assert!(stats[0].cost.0 > i128::from(most), "{:?}", stats[0]);
    assert_eq!(read::quality(&*engine.store, None, window()).await.unwrap().len(), 1);
}

async fn names_beyond_an_answers_room_are_one_row_and_the_dearest_is_not_among_them(engine: &Engine) {
    const NAMES: u64 = 10_007;
    let made_up = |index: u64| {
        let [mut request, mut attempt] = ["request", "attempt"].map(|of| folded(of, "ok", 2));
        attempt.outcome = "answered".into();
        attempt.cost.reported = 3;
        (request.model, attempt.model) = (format!("m{index:05}"), format!("m{index:05}"));
        [request, attempt].map(|sum| Entry::Sum(Box::new(sum)))
    };
    let all: Vec<u64> = (0..NAMES).collect();
    for (pod, some) in all.chunks(500).enumerate() {
        let entries = some.iter().flat_map(|index| made_up(*index));
        let taken = engine
            .store
            .take(group([arrival(&format!("app-{pod}"), 1, entries)]), NOW);
        taken.await.unwrap()[0].as_ref().unwrap();
    }
    // One request of its own, last in the alphabet, and it cost more than all others together.
    let mut dear = [folded("request", "ok", 1), folded("attempt", "answered", 1)];
    dear[1].cost.reported = 40_000_000_000_000;
    for sum in &mut dear {
        sum.model = "zz".into();
    }
    let dear = dear.map(|sum| Entry::Sum(Box::new(sum)));
    let taken = engine.store.take(group([arrival("dear", 1, dear)]), NOW).await.unwrap();
    taken[0].as_ref().unwrap();

    let scope = read::scope(None, None, window());
    let stats = read::stats(&*engine.store, &scope, By::Model).await.unwrap();
    let spent = read::spend(&*engine.store, &scope, By::Model).await.unwrap();
    for told in [&stats, &spent] {
        let mut sum = Stat::default();
        for stat in told {
            sum.add(stat);
        }
        assert_eq!(told.len(), 10_001);
        assert_eq!((sum.requests, sum.attempts), (2 * NAMES + 1, 2 * NAMES + 1));
        assert_eq!(sum.cost, Money(40_000_000_000_000 + 3 * i128::from(NAMES)));
        let other = told.last().unwrap();
        assert_eq!(
            (other.name.as_str(), other.more, other.attempts > 0),
            ("other", 8, true)
        );
    }
    assert_eq!((spent[0].name.as_str(), spent[0].requests), ("zz", 1));
    assert!(stats.iter().all(|stat| stat.name != "zz"));
}

async fn an_hour_whose_minutes_are_gone_is_in_a_window_that_begins_within_it(engine: &Engine) {
    const DAY: i64 = 24 * 3_600_000;
    const HALF: i64 = 1_800_000;
    // Of a quarter past and a quarter to an hour, 40 days ago.
    let ended = (NOW - 40 * DAY) / (2 * HALF) * (2 * HALF);
    let mut old = arrival("app-1", 1, requests(1..=2, "ok"));
    for (entry, at) in old
        .batch
        .entries
        .iter_mut()
        .zip([ended + HALF / 2, ended + 3 * HALF / 2])
    {
        entry.at = at;
    }
    engine.store.take(group([old]), ended + 2 * HALF).await.unwrap();
    engine.store.retain(Keep::default(), NOW).await.all().unwrap();
    let asked = Window {
        from: ended + HALF,
        to: ended + 2 * HALF,
    };
    let requests = async |window: Window| {
        let scope = read::scope(None, None, window);
        let stats = read::stats(&*engine.store, &scope, By::Provider).await.unwrap();
        stats.iter().map(|stat| stat.requests).sum::<u64>()
    };
    assert_eq!(requests(asked).await, 0, "its minutes are kept still");
    let told = asked.told(NOW);
    assert_eq!((told.from, told.to), (ended, ended + 2 * HALF));
    assert_eq!(requests(told).await, 2);
}

async fn who_follows_is_told_what_arrives_however_long_ago_it_ended(engine: &Engine) {
    let take = async |pod: &str, ids: std::ops::RangeInclusive<u64>, ended: i64, now: i64| {
        let mut one = arrival(pod, 1, requests(ids, "ok"));
        one.batch.entries.iter_mut().for_each(|entry| entry.at = ended);
        engine.store.take(group([one]), now).await.unwrap()[0].as_ref().unwrap();
    };
    take("app-1", 1..=3, NOW - 1_000, NOW).await;
    let newest = Filter {
        number: 10,
        ..Filter::default()
    };
    let listed = read::list(&*engine.store, &newest).await.unwrap();
    let last = listed.iter().max_by_key(|it| &it.arrival).unwrap();
    assert_eq!(last.arrived, NOW);
    // A pod that was cut off for two hours comes back, another goes on.
    take("app-2", 50..=52, NOW - 7_200_000, NOW + 5).await;
    take("app-3", 60..=60, NOW + 2, NOW + 6).await;
    let after = |cursor: &str| Filter {
        after: Cursor::parse(cursor),
        ..newest.clone()
    };
    let fresh = read::list(&*engine.store, &after(&last.arrival)).await.unwrap();
    let ids: Vec<_> = fresh.iter().map(|it| it.request.id.as_str()).collect();
    assert_eq!(ids, ["r50", "r51", "r52", "r60"]);
    let rest = read::list(&*engine.store, &after(&fresh[1].arrival)).await.unwrap();
    assert_eq!(rest.len(), 2);
}

async fn quality_is_of_the_providers_with_the_most_attempts_and_says_what_each_failed_with(engine: &Engine) {
    let of = |provider: &str, code: &str| {
        let mut tried = attempt("r1", "failed");
        (tried.provider, tried.code) = (provider.into(), code.into());
        Entry::Attempt(Box::new(tried))
    };
    let mut entries: Vec<_> = (0..400).map(|index| of(&format!("made-up-{index}"), "X")).collect();
    entries.extend((0..30).map(|index| of("claude", &format!("CODE_{index:02}"))));
    entries.extend([
        of("claude", "CODE_07"),
        of("openai", "CODE_01"),
        of("openai", "CODE_01"),
    ]);
    engine
        .store
        .take(group([arrival("app-1", 1, entries)]), NOW)
        .await
        .unwrap();
    let quality = read::quality(&*engine.store, Some("team"), window()).await.unwrap();
    assert_eq!(quality.len(), 200);
    let failures = |provider: &str| {
        let found = quality.iter().find(|one| one.provider == provider).unwrap();
        found.failures.clone()
    };
    assert_eq!(failures("openai"), [("CODE_01".to_owned(), 2)]);
    let of_claude = failures("claude");
    assert_eq!((of_claude.len(), of_claude[0].clone()), (20, ("CODE_07".to_owned(), 2)));
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
        after: Cursor::parse(&newest[0].arrival),
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

async fn a_provider_that_many_pods_hear_of_hides_no_other(engine: &Engine) {
    for pod in 0..6 {
        let many = (1..=1_000).map(|left| {
            let mut told = headroom(left);
            told.provider = "busy".into();
            Entry::Headroom(Box::new(told))
        });
        let taken = engine.store.take(group([arrival(&format!("app-{pod}"), 1, many)]), NOW);
        taken.await.unwrap()[0].as_ref().unwrap();
    }
    let rare = arrival("app-9", 1, [Entry::Headroom(Box::new(headroom(3)))]);
    engine.store.take(group([rare]), NOW).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let limits = read::rate_limits(&*engine.store, "team", None, NOW).await.unwrap();
    let told: Vec<_> = limits
        .iter()
        .map(|limit| (limit.headroom.provider.as_str(), limit.headroom.remaining))
        .collect();
    assert_eq!(told, [("busy", Some(1_000)), ("claude", Some(3))]);
}
