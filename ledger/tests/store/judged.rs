//! Days that are over are judged once, and a report tells the same whether they are or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_ledger::entry::{Entry, Request, Sum};
use bowsprit_ledger::query::report::{self, Hour, Refusals, Refused, Sla, Windows, asked, days};
use bowsprit_ledger::query::sums::MOST_NAMES;
use bowsprit_ledger::query::{By, Window, read};
use bowsprit_ledger::schema::{self, LATEST};
use bowsprit_ledger::store::{Answer, Arrival, Error, Filling, Keep, Query, Retired, Row, Store, Value};
use futures::future::BoxFuture;

use crate::days::Chance;
use crate::engines::Engine;
use crate::entries::{NOW, arrival, folded, group, request};
use crate::on_every_engine;

on_every_engine! {
    any_window_is_told_as_its_requests_were_whether_its_days_are_judged_or_not,
    a_judged_day_is_told_as_it_is_kept_and_its_minutes_are_not_read,
    a_sum_of_no_requests_is_none_of_a_minute,
    what_rules_did_on_a_judged_day_is_told_as_it_is_kept_and_its_requests_are_not_read,
    more_rows_than_an_answer_has_are_told_by_the_requests_themselves,
    more_names_than_an_answer_has_are_told_by_all_of_the_period,
    a_day_that_is_too_long_to_keep_is_read_each_time,
    without_the_table_all_is_told_by_what_was_judged,
    who_was_turned_away_is_forgotten_with_the_requests_that_tell_it,
    a_day_whose_sums_are_not_kept_any_more_is_forgotten,
    a_clean_up_that_has_no_time_judges_nothing_and_the_next_goes_on,
    what_comes_while_its_day_is_judged_is_told,
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The day that is now.
const TODAY: i64 = NOW / DAY * DAY;

type Key = (String, String, String);

/// Requests that ended alike in one minute.
struct Record {
    minute: i64,
    keys: [Key; 5],
    good: u64,
    bad: u64,
}

fn chosen(chance: &mut Chance, name: &str, of: i64) -> String {
    format!("{name}{}", chance.below(of))
}

/// Of a namespace's pod that ended at `at`, or that its sidecar had added up before.
fn entry(chance: &mut Chance, at: i64, namespace: &str, workload: &str, records: &mut Vec<Record>) -> Entry {
    let (route, provider, model) = (chosen(chance, "r", 2), chosen(chance, "p", 3), chosen(chance, "m", 2));
    let outcome = chance.one_of(&[
        "ok",
        "ok",
        "ok",
        "cut",
        "shed",
        "own_error",
        "client_error",
        "cancelled",
    ]);
    let nothing = String::new;
    let keys = By::ALL.map(|by| match by {
        By::Provider => (nothing(), provider.clone(), provider.clone()),
        By::Model => (nothing(), provider.clone(), model.clone()),
        By::Route => (nothing(), nothing(), route.clone()),
        By::Namespace => (namespace.to_owned(), nothing(), namespace.to_owned()),
        By::Workload => (namespace.to_owned(), nothing(), workload.to_owned()),
    });
    let is_folded = chance.below(3) == 0;
    let count = if is_folded {
        u64::try_from(chance.below(2_000_000)).unwrap()
    } else {
        1
    };
    let minute = (at - if is_folded { chance.below(2 * DAY) } else { 0 }).div_euclid(MINUTE);
    let is_judged = !matches!(outcome, "client_error" | "cancelled");
    if is_judged && count > 0 {
        let (good, bad) = if outcome == "ok" { (count, 0) } else { (0, count) };
        records.push(Record {
            minute,
            keys,
            good,
            bad,
        });
    }
    if is_folded {
        return Entry::Sum(Box::new(Sum {
            minute,
            route,
            provider,
            model,
            ..folded("request", outcome, count)
        }));
    }
    let rules = ["", "", "access:a", "guard:g", "limit:l"];
    let mut told = Request {
        route,
        provider,
        model,
        would_refuse_by: chance.one_of(&rules).into(),
        ..request("r", outcome)
    };
    if !matches!(outcome, "ok" | "cancelled") {
        (told.refused_by, told.code) = (chance.one_of(&rules).into(), chosen(chance, "C", 2));
    }
    Entry::Request(Box::new(told))
}

/// Entries of the last eight days, in no order.
async fn take(engine: &Engine, chance: &mut Chance, records: &mut Vec<Record>, pods: std::ops::Range<u32>) {
    for pod in pods {
        let (namespace, workload) = (format!("team-{}", pod % 2), format!("Deployment/app-{}", pod % 3));
        let (mut entries, mut ended) = (Vec::new(), Vec::new());
        for _ in 0..80 {
            // Often at an edge, and often in the same minutes.
            let edge = chance.one_of(&[1, MINUTE, HOUR, HOUR, DAY]);
            let at = (NOW - 1 - chance.below(8 * DAY)) / edge * edge - chance.below(2);
            entries.push(entry(chance, at, &namespace, &workload, records));
            ended.push(at);
        }
        let mut one = arrival(&format!("app-{pod}"), 1, entries);
        (one.identity.namespace, one.batch.workload) = (namespace, workload);
        for (entry, at) in one.batch.entries.iter_mut().zip(ended) {
            entry.at = at;
        }
        engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
    }
}

/// By name, and the worst hours, as the requests were.
fn right(records: &[Record], window: Window, by: By) -> (BTreeMap<Key, Windows>, Vec<Hour>) {
    let which = By::ALL.iter().position(|one| *one == by).unwrap();
    let sums = |grain: i64, from: i64, to: i64| {
        let mut sums: BTreeMap<(Key, i64), (u64, u64)> = BTreeMap::new();
        for record in records {
            let at = (record.minute * MINUTE).div_euclid(grain) * grain;
            if at >= from && at < to {
                let sum = sums.entry((record.keys[which].clone(), at)).or_default();
                *sum = (sum.0 + record.good, sum.1 + record.bad);
            }
        }
        sums
    };
    let mut windows: BTreeMap<Key, Windows> = BTreeMap::new();
    for ((key, _), (good, bad)) in sums(MINUTE, window.from, window.to) {
        let one = windows.entry(key).or_default();
        one.used += 1;
        one.clean += u64::from(bad == 0);
        one.down += u64::from(bad >= good);
    }
    let (from, to) = (
        window.from.div_euclid(HOUR) * HOUR,
        (window.to + HOUR - 1).div_euclid(HOUR) * HOUR,
    );
    let hours = sums(HOUR, from, to).into_iter().filter(|(_, (_, bad))| *bad > 0);
    let mut worst: Vec<_> = hours
        .map(|(((namespace, provider, name), at), (good, bad))| Hour {
            at,
            namespace,
            provider,
            name,
            good,
            bad,
        })
        .collect();
    worst.sort_by_key(|hour| {
        let key = (hour.namespace.clone(), hour.provider.clone(), hour.name.clone());
        (u64::MAX - hour.bad, hour.at, key)
    });
    worst.truncate(report::MOST_HOURS);
    (windows, worst)
}

async fn sla(engine: &Engine, window: Window, by: By) -> Sla {
    let scope = read::scope(None, None, window.told(NOW));
    report::read::sla(&*engine.store, &scope, by, NOW).await.unwrap()
}

async fn judge(engine: &Engine) -> u32 {
    let most = Duration::from_mins(10);
    days::judge(&*engine.store, Keep::default(), NOW, most, || Duration::ZERO)
        .await
        .unwrap()
}

/// Holds what is told of some windows against what was. `when` is told where it does not hold.
async fn holds(engine: &Engine, chance: &mut Chance, records: &[Record], when: &str) {
    for by in By::ALL {
        for turn in 0..5 {
            let from = TODAY - chance.below(9) * DAY - chance.one_of(&[0, 0, 37 * HOUR / 2, 90 * MINUTE]);
            let to = if turn == 0 {
                NOW
            } else {
                from + 1 + chance.below(NOW - from)
            };
            let window = Window { from, to }.told(NOW);
            let told = sla(engine, window, by).await;
            let (windows, worst) = right(records, window, by);
            for row in &told.rows {
                let key = (
                    row.stat.namespace.clone(),
                    row.stat.provider.clone(),
                    row.stat.name.clone(),
                );
                let wanted = windows.get(&key).copied().unwrap_or_default();
                assert_eq!(row.windows, Some(wanted), "{when}, {by:?}, {key:?}, {window:?}");
            }
            assert!(windows.len() <= told.rows.len(), "{when}, {by:?}, {window:?}");
            assert_eq!(told.worst, worst, "{when}, {by:?}, {window:?}");
            access_holds(engine, window, when).await;
        }
    }
}

/// Holds who is told to have been turned away against what the one question over all rows tells.
async fn access_holds(engine: &Engine, window: Window, when: &str) -> Refusals {
    let scope = read::scope(None, None, window);
    let told = report::read::access(&*engine.store, &scope).await.unwrap();
    let rows = engine.store.query(asked::refusals(&scope)).await.unwrap();
    let shadow = engine.store.query(asked::shadows(&scope)).await.unwrap();
    let in_detail = engine.store.query(asked::unsuccessful(&scope)).await.unwrap();
    let of = |row: &Row| {
        let names: Vec<_> = row[..5].iter().map(Value::told).collect();
        (names, row[5].int(), row[6].int(), row[7].int())
    };
    let as_row = |row: &Refused| {
        let names = [
            &row.namespace,
            &row.workload,
            &row.service_account,
            &row.refused_by,
            &row.code,
        ];
        let names: Vec<_> = names.into_iter().cloned().collect();
        (names, i64::try_from(row.count).unwrap(), row.first, row.last)
    };
    let all = |rows: &[Row], index: usize| u64::try_from(rows.first().map_or(0, |row| row[index].int())).unwrap();
    for (told, rows) in [(&told.rows, &rows), (&told.shadow, &shadow)] {
        let told: Vec<_> = told.iter().map(as_row).collect();
        assert_eq!(told, rows.iter().map(of).collect::<Vec<_>>(), "{when}, {window:?}");
    }
    assert_eq!(
        (told.refused, told.would_be_refused),
        (all(&rows, 8), all(&shadow, 8)),
        "{when}, {window:?}"
    );
    assert_eq!(told.more, all(&rows, 9) - rows.len() as u64, "{when}, {window:?}");
    let in_detail = u64::try_from(in_detail[0][0].int()).unwrap();
    assert_eq!(told.without_detail, told.unsuccessful - in_detail, "{when}, {window:?}");
    told
}

async fn any_window_is_told_as_its_requests_were_whether_its_days_are_judged_or_not(engine: &Engine) {
    let seed = u64::try_from(bowsprit_ledger::service::now()).unwrap();
    let when = |what: &str| format!("{what}, seed {seed}");
    let (mut chance, mut records) = (Chance(seed), Vec::new());
    take(engine, &mut chance, &mut records, 0..4).await;
    holds(engine, &mut chance, &records, &when("before")).await;
    // At least the days of the last week but one, and not today.
    let days = judge(engine).await;
    assert!((7..=11).contains(&days), "{days}");
    assert_eq!(
        engine.number("SELECT count(*) FROM judged_days").await,
        i64::from(days) * 6
    );
    assert_eq!(
        engine
            .number(&format!(
                "SELECT count(*) FROM judged_days WHERE start >= {}",
                TODAY / 1000
            ))
            .await,
        0
    );
    holds(engine, &mut chance, &records, &when("judged")).await;
    assert_eq!(judge(engine).await, 0);
    // What comes late is told at once, before anybody has judged its day anew.
    take(engine, &mut chance, &mut records, 4..6).await;
    holds(engine, &mut chance, &records, &when("late")).await;
    assert!(judge(engine).await > 0);
    holds(engine, &mut chance, &records, &when("judged anew")).await;
    // Where the table is not there yet or was dropped, as by a way back, it is made again.
    engine.store.migrate(LATEST - 1, NOW).await.unwrap();
    engine.store.migrate(LATEST, NOW).await.unwrap();
    holds(engine, &mut chance, &records, &when("made again")).await;
}

/// One good and one bad minute of each of the last days.
async fn minutes(engine: &Engine, days: i64) {
    let mut entries = Vec::new();
    let mut ended = Vec::new();
    for day in 1..=days {
        for (minute, outcome) in [(1, "ok"), (2, "cut")] {
            entries.push(Entry::Request(Box::new(request("r", outcome))));
            ended.push(TODAY - day * DAY + minute * MINUTE);
        }
    }
    let mut one = arrival("app-1", 1, entries);
    for (entry, at) in one.batch.entries.iter_mut().zip(ended) {
        entry.at = at;
    }
    engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
}

fn last(days: i64) -> Window {
    Window {
        from: TODAY - days * DAY,
        to: NOW,
    }
}

async fn used(engine: &Engine, window: Window) -> u64 {
    sla(engine, window, By::Provider).await.rows[0].windows.unwrap().used
}

async fn a_judged_day_is_told_as_it_is_kept_and_its_minutes_are_not_read(engine: &Engine) {
    minutes(engine, 3).await;
    assert_eq!(judge(engine).await, 3);
    assert_eq!(used(engine, last(3)).await, 6);
    // Nobody does so; it shows what is read.
    let of_two_days_ago = format!("start = {}", (TODAY - 2 * DAY) / 1000);
    engine
        .execute(&format!("UPDATE judged_days SET told = '{{}}' WHERE {of_two_days_ago}"))
        .await
        .unwrap();
    assert_eq!(used(engine, last(3)).await, 4);
    // Of one namespace the minutes are read, and of a part of a day.
    let scope = read::scope(Some("team"), None, last(3).told(NOW));
    let told = report::read::sla(&*engine.store, &scope, By::Provider, NOW)
        .await
        .unwrap();
    assert_eq!(told.rows[0].windows.unwrap().used, 6);
    let part = Window {
        from: TODAY - 2 * DAY + MINUTE,
        to: NOW,
    };
    assert_eq!(used(engine, part).await, 4);
    // What cannot be read is as not kept.
    engine
        .execute(&format!("UPDATE judged_days SET told = '' WHERE {of_two_days_ago}"))
        .await
        .unwrap();
    assert_eq!(used(engine, last(3)).await, 6);
}

async fn a_sum_of_no_requests_is_none_of_a_minute(engine: &Engine) {
    minutes(engine, 1).await;
    assert_eq!(judge(engine).await, 1);
    let nothing = Sum {
        minute: (TODAY - DAY) / MINUTE + 9,
        ..folded("request", "cut", 0)
    };
    let one = arrival("app-2", 1, [Entry::Sum(Box::new(nothing))]);
    engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
    assert_eq!(used(engine, last(1)).await, 2);
    engine.execute("DELETE FROM judged_days").await.unwrap();
    assert_eq!(used(engine, last(1)).await, 2);
}

/// Requests that rules turned away at this time, each by one of its own.
async fn turned_away(engine: &Engine, pod: &str, at: i64, rules: usize) {
    let entries = (0..rules).map(|index| {
        Entry::Request(Box::new(Request {
            refused_by: format!("limit:l{index}"),
            code: "RATE_LOCAL_LIMIT".into(),
            ..request("r", "shed")
        }))
    });
    for (part, entries) in entries.collect::<Vec<_>>().chunks(1_000).enumerate() {
        let mut one = arrival(&format!("{pod}-{part}"), 1, entries.to_vec());
        for entry in &mut one.batch.entries {
            entry.at = at;
        }
        engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
    }
}

async fn what_rules_did_on_a_judged_day_is_told_as_it_is_kept_and_its_requests_are_not_read(engine: &Engine) {
    for day in 1..=3 {
        turned_away(engine, &format!("app-{day}"), TODAY - day * DAY, 2).await;
    }
    assert_eq!(judge(engine).await, 3);
    let told = access_holds(engine, last(3), "judged").await;
    assert_eq!((told.refused, told.rows.len(), told.without_detail), (6, 2, 0));
    // Nobody does so; it shows what is read.
    let of_two_days_ago = format!("told_by LIKE 'rules.%' AND start = {}", (TODAY - 2 * DAY) / 1000);
    engine
        .execute(&format!("UPDATE judged_days SET told = '{{}}' WHERE {of_two_days_ago}"))
        .await
        .unwrap();
    let scope = read::scope(None, None, last(3));
    let told = report::read::access(&*engine.store, &scope).await.unwrap();
    assert_eq!((told.refused, told.without_detail), (4, 2));
    // Of one namespace the requests are read.
    let scope = read::scope(Some("team"), None, last(3));
    assert_eq!(report::read::access(&*engine.store, &scope).await.unwrap().refused, 6);
}

async fn more_rows_than_an_answer_has_are_told_by_the_requests_themselves(engine: &Engine) {
    turned_away(engine, "app-1", TODAY - 2 * DAY, 1_001).await;
    turned_away(engine, "app-2", TODAY - DAY, 2).await;
    assert_eq!(judge(engine).await, 2);
    let kept = "SELECT count(*) FROM judged_days WHERE told_by LIKE 'rules.%' AND told <> ''";
    assert_eq!(engine.number(kept).await, 1);
    let told = access_holds(engine, last(2), "more").await;
    assert_eq!((told.refused, told.rows.len(), told.more), (1_003, 1_000, 1));
    // Until something comes it is not judged again.
    assert_eq!(judge(engine).await, 0);
}

/// Requests of these models, each in this minute of its day.
async fn of_models(engine: &Engine, pod: &str, at: i64, outcome: &str, models: impl Iterator<Item = String>) {
    let of = |model: String| {
        let id = format!("{pod}-{model}");
        Entry::Request(Box::new(Request {
            model,
            ..request(&id, outcome)
        }))
    };
    let mut one = arrival(pod, 1, models.map(of).collect::<Vec<_>>());
    for entry in &mut one.batch.entries {
        entry.at = at;
    }
    engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
}

async fn more_names_than_an_answer_has_are_told_by_all_of_the_period(engine: &Engine) {
    let crowd = || (0..MOST_NAMES).map(|name| format!("a{name}"));
    let one = || std::iter::once("z".to_owned());
    of_models(engine, "app-1", TODAY - DAY, "ok", one()).await;
    assert_eq!(judge(engine).await, 1);
    // Of today's names, each with a minute, the one that is used most over both days is the last.
    of_models(engine, "app-2", TODAY, "ok", crowd()).await;
    of_models(engine, "app-3", TODAY, "cut", one()).await;
    let told = sla(engine, last(1), By::Model).await;
    let first = told.rows.iter().find(|row| row.stat.name == "z").unwrap();
    let windows = first.windows.unwrap();
    assert_eq!((windows.used, windows.clean, windows.down), (2, 1, 1));
}

async fn a_day_that_is_too_long_to_keep_is_read_each_time(engine: &Engine) {
    let long = |name: usize| format!("{name}{}", "m".repeat(500));
    of_models(engine, "app-1", TODAY - DAY, "ok", (0..2_000).map(long)).await;
    assert_eq!(judge(engine).await, 1);
    let kept = "SELECT count(*) FROM judged_days WHERE told_by LIKE 'model.%' AND told <> ''";
    assert_eq!(engine.number(kept).await, 0);
    let kept = "SELECT count(*) FROM judged_days WHERE told_by LIKE 'provider.%' AND told <> ''";
    assert_eq!(engine.number(kept).await, 1);
    let told = sla(engine, last(1), By::Model).await;
    assert!(
        told.rows
            .iter()
            .filter(|row| row.stat.more == 0)
            .all(|row| row.windows.unwrap().used == 1)
    );
    assert_eq!(judge(engine).await, 0, "it is as it was judged");
}

async fn without_the_table_all_is_told_by_what_was_judged(engine: &Engine) {
    minutes(engine, 2).await;
    turned_away(engine, "app-2", TODAY - DAY + HOUR, 1).await;
    assert_eq!(judge(engine).await, 2);
    let before = (
        used(engine, last(2)).await,
        access_holds(engine, last(2), "kept").await.refused,
    );
    // As after a step back of the schema.
    engine.execute("DROP TABLE judged_days").await.unwrap();
    let told = report::read::access(&*engine.store, &read::scope(None, None, last(2).told(NOW))).await;
    assert_eq!((used(engine, last(2)).await, told.unwrap().refused), before);
}

async fn who_was_turned_away_is_forgotten_with_the_requests_that_tell_it(engine: &Engine) {
    for day in 1..=3 {
        turned_away(engine, &format!("app-{day}"), TODAY - day * DAY + HOUR, 1).await;
    }
    assert_eq!(judge(engine).await, 3);
    let keep = Keep {
        detail: Duration::from_millis(u64::try_from(NOW - TODAY + 2 * DAY - 2 * HOUR).unwrap()),
        ..Keep::default()
    };
    // What they tell goes first.
    days::forget(&*engine.store, keep, NOW).await.unwrap();
    let kept = "SELECT count(*) FROM judged_days WHERE told_by LIKE 'rules.%' AND told <> ''";
    assert_eq!(engine.number(kept).await, 1);
    engine.store.retain(keep, NOW).await.all().unwrap();
    access_holds(engine, last(3), "dropped").await;
    let most = Duration::from_mins(10);
    // Nor is it kept when such a day is judged anew.
    engine.execute("DELETE FROM judged_days").await.unwrap();
    assert_eq!(
        days::judge(&*engine.store, keep, NOW, most, || Duration::ZERO)
            .await
            .unwrap(),
        3
    );
    assert_eq!(engine.number(kept).await, 1);
    access_holds(engine, last(3), "judged anew").await;
}

async fn a_day_whose_sums_are_not_kept_any_more_is_forgotten(engine: &Engine) {
    minutes(engine, 3).await;
    assert_eq!(judge(engine).await, 3);
    let short = Keep {
        hours: Duration::from_hours(48),
        ..Keep::default()
    };
    let most = Duration::from_mins(10);
    days::forget(&*engine.store, short, NOW).await.unwrap();
    let made = days::judge(&*engine.store, short, NOW, most, || Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(made, 0);
    let kept = engine
        .ask("SELECT DISTINCT start FROM judged_days ORDER BY start", Vec::new())
        .await;
    let kept: Vec<i64> = kept.iter().map(|row| row[0].int() * 1000).collect();
    assert_eq!(kept, [TODAY - 2 * DAY, TODAY - DAY]);
    // Minutes are kept for 35 days, whole ones.
    let later = NOW + 34 * DAY;
    days::forget(&*engine.store, Keep::default(), later).await.unwrap();
    assert_eq!(engine.number("SELECT count(DISTINCT start) FROM judged_days").await, 0);
}

async fn a_clean_up_that_has_no_time_judges_nothing_and_the_next_goes_on(engine: &Engine) {
    minutes(engine, 3).await;
    let passed = std::cell::Cell::new(0);
    // A second for each day.
    let most = Duration::from_secs(2);
    let made = days::judge(&*engine.store, Keep::default(), NOW, most, || {
        passed.set(passed.get() + 1);
        Duration::from_secs(passed.get() - 1)
    })
    .await
    .unwrap();
    assert_eq!(made, 2);
    let oldest = engine.ask("SELECT min(start) FROM judged_days", Vec::new()).await;
    assert_eq!(oldest[0][0], Value::Int((TODAY - 2 * DAY) / 1000), "the newest first");
    assert_eq!(judge(engine).await, 1);
}

/// A service that is sent another minute of a day when it has just read its minutes.
struct Busy {
    store: Box<dyn Store>,
    late: Mutex<Option<Arc<Vec<Arrival>>>>,
}

impl Store for Busy {
    fn engine(&self) -> schema::Engine {
        self.store.engine()
    }

    fn take(&self, arrivals: Arc<Vec<Arrival>>, now: i64) -> BoxFuture<'_, Result<Vec<Answer>, Error>> {
        self.store.take(arrivals, now)
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        let late = (query.name == "report_windows").then(|| self.late.lock().unwrap().take());
        Box::pin(async move {
            let rows = self.store.query(query).await;
            if let Some(late) = late.flatten() {
                self.store.take(late, NOW).await?[0].as_ref().unwrap();
            }
            rows
        })
    }

    fn note(&self, statements: Vec<Query>) -> BoxFuture<'_, Result<(), Error>> {
        self.store.note(statements)
    }

    fn note_config(&self, row: Row) -> BoxFuture<'_, Result<(), Error>> {
        self.store.note_config(row)
    }

    fn migrate(&self, to: u32, now: i64) -> BoxFuture<'_, Result<u32, Error>> {
        self.store.migrate(to, now)
    }

    fn fill(&self, most: Duration) -> BoxFuture<'_, Result<Filling, Error>> {
        self.store.fill(most)
    }

    fn retain(&self, keep: Keep, now: i64) -> BoxFuture<'_, Retired> {
        self.store.retain(keep, now)
    }
}

async fn what_comes_while_its_day_is_judged_is_told(engine: &Engine) {
    minutes(engine, 1).await;
    let minute = |minute: i64| {
        let one = Sum {
            minute: (TODAY - DAY) / MINUTE + minute,
            ..folded("request", "cut", 1)
        };
        group([arrival(&format!("app-{minute}"), 1, [Entry::Sum(Box::new(one))])])
    };
    let busy = Busy {
        store: engine.another(),
        late: Mutex::new(Some(minute(7))),
    };
    let most = Duration::from_mins(10);
    let made = days::judge(&busy, Keep::default(), NOW, most, || Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((made, busy.late.lock().unwrap().is_none()), (1, true));
    assert_eq!(used(engine, last(1)).await, 3);
    // One that came behind it is in no way hidden by what was judged.
    engine.store.take(minute(8), NOW).await.unwrap()[0].as_ref().unwrap();
    assert_eq!(used(engine, last(1)).await, 4);
    assert_eq!(judge(engine).await, 1);
    assert_eq!((judge(engine).await, used(engine, last(1)).await), (0, 4));
}
