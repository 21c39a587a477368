//! Reports say what was written, to the request.

use bowsprit_ledger::entry::{Attempt, Cached, Entry, Request};
use bowsprit_ledger::query::report::{self, CacheHits, Latency, Windows};
use bowsprit_ledger::query::{By, Money, Window, read};
use bowsprit_ledger::store::Arrival;

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, folded, group, request};
use crate::on_every_engine;

on_every_engine! {
    availability_is_told_by_minutes_with_the_worst_hours_and_percentiles,
    what_rules_in_shadow_would_have_turned_away_is_told_beside_it,
    what_sums_alone_tell_of_is_available_or_not_and_has_no_percentile,
    a_percentile_is_never_lower_and_by_less_than_a_256th_higher,
    of_many_requests_percentiles_are_of_those_that_are_sampled,
    minutes_that_are_gone_are_told_by_hours,
    usage_stands_beside_that_of_the_period_before_with_what_the_cache_saved,
    who_was_turned_away_is_told_with_the_rule_the_count_and_when,
    a_report_of_one_namespace_has_nothing_of_another,
    what_a_pod_makes_up_does_not_stop_a_report,
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The day that ends with the minute after now.
fn day() -> Window {
    Window {
        from: NOW - DAY,
        to: NOW + MINUTE,
    }
    .told(NOW)
}

/// Entries of one pod, each with when it ended.
async fn take(engine: &Engine, pod: &str, entries: Vec<(i64, Entry)>) {
    take_of(engine, "team", pod, entries).await;
}

async fn take_of(engine: &Engine, namespace: &str, pod: &str, entries: Vec<(i64, Entry)>) {
    let (ends, entries): (Vec<i64>, Vec<Entry>) = entries.into_iter().unzip();
    let mut one: Arrival = arrival(pod, 1, entries);
    namespace.clone_into(&mut one.identity.namespace);
    for (entry, at) in one.batch.entries.iter_mut().zip(ends) {
        entry.at = at;
    }
    engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
}

fn ended(outcome: &str, took: u64) -> Entry {
    ended_at("claude", outcome, took)
}

fn ended_at(provider: &str, outcome: &str, took: u64) -> Entry {
    Entry::Request(Box::new(Request {
        provider: provider.into(),
        took,
        ..request("r", outcome)
    }))
}

fn turned_away(by: &str, code: &str, outcome: &str) -> Entry {
    Entry::Request(Box::new(Request {
        provider: String::new(),
        refused_by: by.into(),
        code: code.into(),
        ..request("r", outcome)
    }))
}

async fn availability_is_told_by_minutes_with_the_worst_hours_and_percentiles(engine: &Engine) {
    // 1 to 200 ms, the slowest first, over two minutes of which one has a failure.
    let mut entries: Vec<_> = (1..=200)
        .map(|milli| {
            (
                NOW - i64::from(milli % 2 == 0) * MINUTE,
                ended("ok", (201 - milli) * 1_000),
            )
        })
        .collect();
    entries.push((NOW, ended("cut", 9_000_000)));
    // Three minutes of an hour in which nothing worked, one of them with as much good as bad.
    let earlier = NOW - 5 * HOUR;
    for minute in 0..3 {
        entries.push((earlier + minute * MINUTE, ended("provider_error", 1)));
    }
    entries.push((earlier, ended("ok", 1_000)));
    // Neither good nor bad.
    entries.push((NOW - 2 * HOUR, ended("client_error", 1)));
    entries.push((NOW - 2 * HOUR, ended("cancelled", 1)));
    entries.push((NOW - 3 * HOUR, ended_at("openai", "shed", 1)));
    // Of the day before.
    entries.push((NOW - 26 * HOUR, ended("provider_error", 1)));
    take(engine, "app-1", entries).await;

    let scope = read::scope(Some("team"), None, day());
    let sla = report::read::sla(&*engine.store, &scope, By::Provider, NOW)
        .await
        .unwrap();
    assert_eq!((sla.grain, sla.is_ranked, sla.rows.len()), (60, true, 2));
    let claude = &sla.rows[0];
    assert_eq!(
        (
            claude.stat.name.as_str(),
            claude.stat.requests,
            claude.stat.succeeded,
            claude.stat.failed
        ),
        ("claude", 207, 201, 4)
    );
    assert_eq!(claude.availability(), Some(201.0 / 205.0));
    assert_eq!(
        claude.windows,
        Some(Windows {
            used: 5,
            clean: 1,
            down: 3
        })
    );
    assert_eq!(
        claude.latency,
        Some(Latency {
            // Of 201 requests of 1, 1, 2, 3 ... 200 ms, the 101st, the 191st and the 199th.
            p50: 100_000,
            p95: 190_000,
            p99: 198_000,
            of: 201
        })
    );
    let openai = &sla.rows[1];
    assert_eq!((openai.availability(), openai.latency), (Some(0.0), None));
    assert_eq!(
        openai.windows,
        Some(Windows {
            used: 1,
            clean: 0,
            down: 1
        })
    );
    let worst: Vec<_> = sla
        .worst
        .iter()
        .map(|hour| (hour.at, hour.name.as_str(), hour.good, hour.bad))
        .collect();
    let begin = |at: i64| at - at.rem_euclid(HOUR);
    assert_eq!(
        worst,
        [
            (begin(earlier), "claude", 1, 3),
            (begin(NOW - 3 * HOUR), "openai", 0, 1),
            (begin(NOW), "claude", 200, 1),
        ]
    );
    for by in [By::Model, By::Route, By::Namespace, By::Workload] {
        let sla = report::read::sla(&*engine.store, &scope, by, NOW).await.unwrap();
        let (requests, ranked) = sla.rows.iter().fold((0, 0), |(requests, ranked), row| {
            (requests + row.stat.requests, ranked + row.latency.map_or(0, |it| it.of))
        });
        assert_eq!((requests, ranked), (208, 201), "{by:?}");
        assert!(
            sla.rows.iter().all(|row| row.windows.is_some_and(|it| it.used > 0)),
            "{by:?}"
        );
    }
}

async fn what_sums_alone_tell_of_is_available_or_not_and_has_no_percentile(engine: &Engine) {
    let many = |outcome: &str, count| (NOW, Entry::Sum(Box::new(folded("request", outcome, count))));
    take(engine, "app-1", vec![many("ok", 90), many("provider_error", 10)]).await;
    let scope = read::scope(Some("team"), None, day());
    let sla = report::read::sla(&*engine.store, &scope, By::Provider, NOW)
        .await
        .unwrap();
    let row = &sla.rows[0];
    assert_eq!((row.availability(), row.latency), (Some(0.9), None));

    // Of more than are read percentiles are of those that are sampled, which are too few here.
    take(
        engine,
        "app-2",
        vec![many("ok", report::MOST_RANKED), (NOW, ended("ok", 5))],
    )
    .await;
    let sla = report::read::sla(&*engine.store, &scope, By::Provider, NOW)
        .await
        .unwrap();
    assert_eq!((sla.is_sampled, sla.rows[0].latency), (true, None));
}

async fn a_percentile_is_never_lower_and_by_less_than_a_256th_higher(engine: &Engine) {
    // Of all sizes, from one microsecond to eleven days.
    let mut mixed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut took: Vec<u64> = (0..900)
        .map(|_| {
            mixed ^= mixed << 13;
            mixed ^= mixed >> 7;
            mixed ^= mixed << 17;
            (mixed >> 25) >> (mixed % 39)
        })
        .collect();
    took.push(u64::MAX);
    let entries = took.iter().map(|took| (NOW, ended("ok", *took)));
    take(engine, "app-1", entries.collect()).await;
    let scope = read::scope(Some("team"), None, day());
    let sla = report::read::sla(&*engine.store, &scope, By::Model, NOW).await.unwrap();
    let told = sla.rows[0].latency.unwrap();
    assert_eq!((told.of, sla.is_sampled), (901, false));
    took.sort_unstable();
    for (rank, told) in [(50_usize, told.p50), (95, told.p95), (99, told.p99)] {
        let right = took[(901 * rank).div_ceil(100) - 1];
        assert!(
            told >= right && told - right <= right / 256,
            "p{rank}: {told}, and not {right}"
        );
    }
}

async fn of_many_requests_percentiles_are_of_those_that_are_sampled(engine: &Engine) {
    let many = |count| (NOW, Entry::Sum(Box::new(folded("request", "ok", count))));
    take(engine, "app-0", vec![many(report::MOST_RANKED)]).await;
    // 1 to 4,000 ms, shuffled, and some of a provider that is seldom asked; of another namespace, slower ones.
    for (pod, part) in [
        ("app-1", 0..1_000),
        ("app-2", 1_000..2_000),
        ("app-3", 2_000..3_000),
        ("app-4", 3_000..4_000),
    ] {
        let entries: Vec<_> = part
            .map(|number| {
                (
                    NOW - number * 977,
                    ended("ok", (number.unsigned_abs() * 1_013 % 4_000 + 1) * 1_000),
                )
            })
            .collect();
        let slow = entries.iter().map(|(at, _)| (*at, ended("ok", 60_000_000)));
        let slow: Vec<_> = slow.collect();
        take(engine, pod, entries).await;
        take_of(engine, "other", pod, slow).await;
    }
    let seldom = (0..800).map(|number| (NOW - number * 977, ended_at("seldom", "ok", 1)));
    take(engine, "app-5", seldom.collect()).await;
    let scope = read::scope(Some("team"), None, day());
    let sla = report::read::sla(&*engine.store, &scope, By::Provider, NOW)
        .await
        .unwrap();
    assert!(sla.is_ranked && sla.is_sampled);
    let told = sla.rows[0].latency.unwrap();
    assert!((220..280).contains(&told.of), "{told:?}");
    // Three times the standard error of as many.
    let near = |told: u64, wanted: u64, off: u64| told.abs_diff(wanted * 1_000) < off * 1_000;
    assert!(
        near(told.p50, 2_000, 400) && near(told.p95, 3_800, 180) && near(told.p99, 3_960, 80),
        "{told:?}"
    );
    assert_eq!((sla.rows[1].stat.name.as_str(), sla.rows[1].latency), ("seldom", None));
}

async fn minutes_that_are_gone_are_told_by_hours(engine: &Engine) {
    let begin = (NOW - 40 * DAY) / HOUR * HOUR;
    let mut old = arrival("app-1", 1, [ended("ok", 1), ended("provider_error", 1), ended("ok", 1)]);
    for (entry, at) in old
        .batch
        .entries
        .iter_mut()
        .zip([begin, begin + 5 * MINUTE, begin + HOUR])
    {
        entry.at = at;
    }
    engine.store.take(group([old]), begin + 2 * HOUR).await.unwrap();
    let window = Window {
        from: begin,
        to: begin + 3 * HOUR,
    };
    let scope = read::scope(Some("team"), None, window.told(NOW));
    let sla = report::read::sla(&*engine.store, &scope, By::Route, NOW).await.unwrap();
    assert_eq!(sla.grain, 3_600);
    assert_eq!(
        sla.rows[0].windows,
        Some(Windows {
            used: 2,
            clean: 1,
            down: 1
        })
    );
}

async fn usage_stands_beside_that_of_the_period_before_with_what_the_cache_saved(engine: &Engine) {
    let dear = |provider: &str| {
        Entry::Attempt(Box::new(Attempt {
            provider: provider.into(),
            ..attempt("r", "answered")
        }))
    };
    let kept = |cost| {
        Entry::Request(Box::new(Request {
            provider: String::new(),
            cache: Some(Cached {
                age: 7,
                request_id: "first".into(),
                provider: "claude".into(),
                saved_tokens: 120,
                saved_cost: cost,
            }),
            ..request("r", "ok")
        }))
    };
    let most = 1_000_000_000_000_000;
    let mut entries = vec![
        (NOW - 25 * HOUR, dear("claude")),
        (NOW - 25 * HOUR, dear("gone")),
        (NOW, dear("claude")),
        (NOW, dear("claude")),
        (NOW, turned_away("limit:l", "RATE_LOCAL_LIMIT", "shed")),
        (NOW - 25 * HOUR, kept(5)),
    ];
    // What they saved together is more than one number holds.
    entries.extend((0..9_300).map(|_| (NOW, kept(most))));
    take(engine, "app-1", entries).await;

    let window = day();
    let scope = read::scope(Some("team"), None, window);
    let usage = report::read::usage(&*engine.store, &scope, By::Provider, report::before(window))
        .await
        .unwrap();
    assert_eq!(
        (usage.previous_from, usage.previous_to),
        (window.from - (window.to - window.from), window.from)
    );
    let rows: Vec<_> = usage
        .rows
        .iter()
        .map(|row| {
            let costs = (row.now.cost.0, row.previous.cost.0);
            (
                row.now.name.as_str(),
                row.now.requests,
                row.now.tokens.input,
                row.previous.tokens.input,
                costs,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("claude", 0, 200, 100, (3_000_002, 1_500_001)),
            ("", 9_301, 0, 0, (0, 0)),
            ("gone", 0, 0, 100, (0, 1_500_001)),
        ]
    );
    let saved = CacheHits {
        hits: 9_300,
        saved_tokens: 9_300 * 120,
        saved_cost: Money(9_300 * i128::from(most)),
    };
    assert_eq!(usage.rows[1].cache, saved);
    for by in [By::Namespace, By::Workload, By::Route, By::Model] {
        let usage = report::read::usage(&*engine.store, &scope, by, report::before(window))
            .await
            .unwrap();
        let hits = usage.rows.iter().map(|row| row.cache.hits).sum::<u64>();
        let cost = usage.rows.iter().map(|row| row.previous.cost.0).sum::<i128>();
        assert_eq!((hits, cost), (9_300, 3_000_002), "{by:?}");
    }
}

async fn who_was_turned_away_is_told_with_the_rule_the_count_and_when(engine: &Engine) {
    let mut entries = vec![
        (
            NOW - 3 * HOUR,
            turned_away("access:no-tools", "AUTH_ACCESS_DENIED", "client_error"),
        ),
        (
            NOW - HOUR,
            turned_away("access:no-tools", "AUTH_ACCESS_DENIED", "client_error"),
        ),
        (
            NOW - 2 * HOUR,
            turned_away("access:no-tools", "AUTH_ACCESS_DENIED", "client_error"),
        ),
        (NOW - 4 * HOUR, turned_away("pause:freeze", "BIZ_PAUSED", "own_error")),
        // Failed, but no rule turned it away.
        (NOW, ended("provider_error", 1)),
        (NOW, ended("ok", 1)),
        (NOW, ended("cancelled", 1)),
        // Of the day before.
        (NOW - 30 * HOUR, turned_away("pause:freeze", "BIZ_PAUSED", "own_error")),
    ];
    entries.push((NOW, Entry::Sum(Box::new(folded("request", "shed", 6)))));
    take(engine, "app-1", entries).await;
    take(
        engine,
        "app-2",
        vec![(NOW, turned_away("pause:freeze", "BIZ_PAUSED", "own_error"))],
    )
    .await;

    let scope = read::scope(Some("team"), None, day());
    let found = report::read::access(&*engine.store, &scope).await.unwrap();
    assert_eq!((found.refused, found.more), (5, 0));
    assert_eq!((found.unsuccessful, found.without_detail), (12, 6));
    let rows: Vec<_> = found
        .rows
        .iter()
        .map(|row| {
            assert_eq!((row.namespace.as_str(), row.service_account.as_str()), ("team", "app"));
            assert_eq!(row.workload, "Deployment/app");
            (
                row.refused_by.as_str(),
                row.code.as_str(),
                row.count,
                NOW - row.first,
                NOW - row.last,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("access:no-tools", "AUTH_ACCESS_DENIED", 3, 3 * HOUR, HOUR),
            ("pause:freeze", "BIZ_PAUSED", 2, 4 * HOUR, 0),
        ]
    );

    // More rows than there is room for: the sum is of all.
    let many = (0..1_003).map(|index| (NOW, turned_away(&format!("limit:l{index}"), "RATE_LOCAL_LIMIT", "shed")));
    take(engine, "app-3", many.collect()).await;
    let found = report::read::access(&*engine.store, &scope).await.unwrap();
    assert_eq!((found.rows.len(), found.more, found.refused), (1_000, 5, 1_008));
}

async fn what_rules_in_shadow_would_have_turned_away_is_told_beside_it(engine: &Engine) {
    let shadow = |by: &str, refused_by: &str, outcome: &str| {
        Entry::Request(Box::new(Request {
            would_refuse_by: by.into(),
            refused_by: refused_by.into(),
            ..request("r", outcome)
        }))
    };
    let entries = vec![
        (NOW - 2 * HOUR, shadow("access:no-tools", "", "ok")),
        (NOW - HOUR, shadow("access:no-tools", "", "ok")),
        (NOW, shadow("guard:pii", "", "provider_error")),
        // What another rule turned away is in both.
        (NOW, shadow("access:no-tools", "limit:tokens", "shed")),
        (NOW, shadow("", "", "ok")),
        (NOW - 30 * HOUR, shadow("access:no-tools", "", "ok")),
    ];
    take(engine, "app-1", entries).await;
    let scope = read::scope(Some("team"), None, day());
    let found = report::read::access(&*engine.store, &scope).await.unwrap();
    assert_eq!((found.refused, found.would_be_refused), (1, 4));
    let rows = found
        .shadow
        .iter()
        .map(|row| (row.refused_by.as_str(), row.count, NOW - row.first));
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows, [("access:no-tools", 3, 2 * HOUR), ("guard:pii", 1, 0)]);
    let other = read::scope(Some("other"), None, day());
    let none = report::read::access(&*engine.store, &other).await.unwrap();
    assert_eq!((none.would_be_refused, none.shadow.len()), (0, 0));
}

async fn a_report_of_one_namespace_has_nothing_of_another(engine: &Engine) {
    take_of(
        engine,
        "other",
        "app-1",
        vec![
            (NOW, ended("ok", 5)),
            (NOW, ended("provider_error", 5)),
            (NOW, turned_away("access:secret", "AUTH_ACCESS_DENIED", "client_error")),
            (NOW, Entry::Attempt(Box::new(attempt("r", "answered")))),
        ],
    )
    .await;
    let window = day();
    let (ours, all) = (read::scope(Some("team"), None, window), read::scope(None, None, window));
    let store = &*engine.store;
    let told = async |scope: &bowsprit_ledger::query::sums::Scope<'_>| {
        let sla = report::read::sla(store, scope, By::Provider, NOW).await.unwrap();
        let usage = report::read::usage(store, scope, By::Workload, report::before(window))
            .await
            .unwrap();
        let access = report::read::access(store, scope).await.unwrap();
        (
            sla.rows.len(),
            sla.worst.len(),
            usage.rows.len(),
            access.rows.len(),
            access.unsuccessful,
        )
    };
    assert_eq!(told(&ours).await, (0, 0, 0, 0, 0));
    assert_eq!(told(&all).await, (2, 1, 1, 1, 2));
}

async fn what_a_pod_makes_up_does_not_stop_a_report(engine: &Engine) {
    let absurd = |model: String| {
        let mut made_up = folded("request", "provider_error", 1);
        (made_up.model, made_up.count, made_up.took) = (model, u64::MAX, u64::MAX);
        (NOW, Entry::Sum(Box::new(made_up)))
    };
    for pod in 0..20 {
        let entries = (0..1_000).map(|index| absurd(format!("m{}", index % 2)));
        take(engine, &format!("app-{pod}"), entries.collect()).await;
    }
    let scope = read::scope(None, None, day());
    let sla = report::read::sla(&*engine.store, &scope, By::Provider, NOW)
        .await
        .unwrap();
    assert_eq!(sla.worst[0].bad, 20 * 1_000 * 1_000_000_000);
    assert_eq!(report::read::access(&*engine.store, &scope).await.unwrap().refused, 0);
}
