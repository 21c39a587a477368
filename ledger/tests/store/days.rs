//! Sums by day, by hour and by minute say together what the records say, whatever the window.

use std::collections::BTreeMap;
use std::time::Duration;

use bowsprit_ledger::entry::{Attempt, Entry, Request, Sum};
use bowsprit_ledger::query::{By, Stat, Window, read};
use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::service::now;
use bowsprit_ledger::store::{Keep, Value};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, folded, group, request};
use crate::on_every_engine;

on_every_engine! {
    any_window_is_answered_as_its_records_add_up,
    days_are_made_of_the_hours_that_were_there_before_them,
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Numbers by chance, the same for the same seed (SplitMix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(i64::try_from(all.len()).unwrap())).unwrap()]
    }
}

/// What counts of a record: requests, of these failed, attempts, input, picodollars.
type Counts = [i128; 5];

struct Record {
    at: i64,
    namespace: String,
    provider: String,
    counts: Counts,
}

fn entry(chance: &mut Chance, at: i64) -> (Entry, i64, String, Counts) {
    let (provider, outcome) = (
        format!("p{}", chance.below(3)),
        chance.one_of(&["ok", "ok", "cut", "shed"]),
    );
    let input = chance.below(1_000);
    let is_failed = i128::from(outcome == "cut");
    match chance.below(3) {
        0 => {
            let told = Request {
                provider: provider.clone(),
                ..request("r", outcome)
            };
            (Entry::Request(Box::new(told)), at, provider, [1, is_failed, 0, 0, 0])
        }
        1 => {
            let mut told = Attempt {
                provider: provider.clone(),
                ..attempt("r", "answered")
            };
            told.tokens.input = u64::try_from(input).unwrap();
            let cost = i128::from(told.cost.as_ref().unwrap().reported);
            (
                Entry::Attempt(Box::new(told)),
                at,
                provider,
                [0, 0, 1, input.into(), cost],
            )
        }
        _ => {
            // What a sidecar added up is of a minute before it was told.
            let minute = (at - chance.below(2 * DAY)) / MINUTE;
            let count = chance.below(50) + 1;
            let told = Sum {
                minute,
                provider: provider.clone(),
                ..folded("request", outcome, u64::try_from(count).unwrap())
            };
            let counts = [count.into(), is_failed * i128::from(count), 0, 0, 0];
            (Entry::Sum(Box::new(told)), minute * MINUTE, provider, counts)
        }
    }
}

/// Entries of the last twelve days, in no order, of pods of three namespaces.
async fn take(engine: &Engine, chance: &mut Chance, records: &mut Vec<Record>, pods: std::ops::Range<u32>, now: i64) {
    for pod in pods {
        let namespace = format!("team-{}", pod % 3);
        let (mut entries, mut ended) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            // Often at an edge, where a record is in one sum or in the next.
            let edge = chance.one_of(&[1, 1, MINUTE, HOUR, DAY]);
            let at = (now - 1 - chance.below(12 * DAY)) / edge * edge - chance.below(2);
            let (entry, counts_at, provider, counts) = entry(chance, at);
            entries.push(entry);
            ended.push(at);
            records.push(Record {
                at: counts_at,
                namespace: namespace.clone(),
                provider,
                counts,
            });
        }
        let mut one = arrival(&format!("app-{pod}"), 1, entries);
        one.identity.namespace = namespace;
        for (entry, at) in one.batch.entries.iter_mut().zip(ended) {
            entry.at = at;
        }
        engine.store.take(group([one]), now).await.unwrap()[0].as_ref().unwrap();
    }
}

fn added_up<'a>(records: impl Iterator<Item = (&'a str, Counts)>) -> BTreeMap<String, Counts> {
    let mut sums: BTreeMap<String, Counts> = BTreeMap::new();
    for (name, counts) in records {
        let sum = sums.entry(name.to_owned()).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, more)| *sum += more);
    }
    sums
}

/// Windows by chance, many of them with an edge on a minute, an hour or a day, are answered as the records add up.
async fn windows_hold(engine: &Engine, chance: &mut Chance, records: &[Record], now: i64, seed: u64) {
    for _ in 0..60 {
        let mut edges = [0, 0].map(|_| {
            let edge = chance.one_of(&[1, MINUTE, HOUR, DAY]);
            (now - chance.below(15 * DAY)) / edge * edge
        });
        edges.sort_unstable();
        let window = Window {
            from: edges[0],
            to: edges[1],
        };
        let namespace = chance.one_of(&[None, Some("team-1")]);
        let provider = chance.one_of(&[None, None, Some("p2")]);
        // Windows are taken to the minute.
        let (from, to) = (
            window.from / MINUTE * MINUTE,
            (window.to + MINUTE - 1) / MINUTE * MINUTE,
        );
        let within = records.iter().filter(|record| {
            (from..to).contains(&record.at)
                && namespace.is_none_or(|only| only == record.namespace)
                && provider.is_none_or(|only| only == record.provider)
        });
        let (by, wanted) = if chance.below(2) == 0 {
            let named = within.map(|record| (record.provider.as_str(), record.counts));
            (By::Provider, added_up(named))
        } else {
            let named = within.map(|record| (record.namespace.as_str(), record.counts));
            (By::Namespace, added_up(named))
        };
        let scope = read::scope(namespace, provider, window);
        let stats = read::stats(&*engine.store, &scope, by).await.unwrap();
        let counts = |stat: &Stat| {
            let [requests, failed, attempts, input] =
                [stat.requests, stat.failed, stat.attempts, stat.tokens.input].map(i128::from);
            [requests, failed, attempts, input, stat.cost.0]
        };
        let told = added_up(stats.iter().map(|stat| (stat.name.as_str(), counts(stat))));
        assert_eq!(
            told, wanted,
            "seed {seed}: {window:?} by {by:?} of {namespace:?}, {provider:?}"
        );
    }
}

/// The view of seven days: hours that began in them.
async fn view_holds(engine: &Engine, records: &[Record], seed: u64) {
    let wanted = |now: i64| {
        let of = |record: &&Record| record.at.div_euclid(HOUR) * HOUR >= (now / 1000 - 7 * DAY / 1000) * 1000;
        let requests = records.iter().filter(of).map(|record| record.counts);
        let requests: i128 = requests.map(|counts| counts[0]).sum();
        i64::try_from(requests).unwrap()
    };
    let before = now();
    let told = engine
        .number("SELECT coalesce(sum(requests), 0) FROM success_rate_7d")
        .await;
    // Time goes on while it is asked.
    assert!(told == wanted(before) || told == wanted(now()), "seed {seed}: {told}");
}

async fn any_window_is_answered_as_its_records_add_up(engine: &Engine) {
    let now = now();
    let seed = u64::try_from(now).unwrap();
    let (mut chance, mut records) = (Chance(seed), Vec::new());
    take(engine, &mut chance, &mut records, 0..6, now).await;
    windows_hold(engine, &mut chance, &records, now, seed).await;
    view_holds(engine, &records, seed).await;
    // Later comes what ended long ago, for days that are over.
    take(engine, &mut chance, &mut records, 6..12, now).await;
    windows_hold(engine, &mut chance, &records, now, seed).await;
    view_holds(engine, &records, seed).await;

    // Sums go by whole days: what is left of a day is all of it.
    let keep = Keep {
        detail: Duration::from_hours(24 * 5),
        minutes: Duration::from_hours(24 * 5),
        hours: Duration::from_hours(24 * 5),
        ..Keep::default()
    };
    engine.store.retain(keep, now).await.all().unwrap();
    records.retain(|record| record.at >= (now - 5 * DAY) / DAY * DAY);
    windows_hold(engine, &mut chance, &records, now, seed).await;
    view_holds(engine, &records, seed).await;
    // What comes for a day whose sums are gone is counted until it goes as well.
    take(engine, &mut chance, &mut records, 12..15, now).await;
    windows_hold(engine, &mut chance, &records, now, seed).await;
    view_holds(engine, &records, seed).await;
}

async fn days_are_made_of_the_hours_that_were_there_before_them(engine: &Engine) {
    let mut chance = Chance(7);
    take(engine, &mut chance, &mut Vec::new(), 0..3, NOW).await;
    // A sum that is full, in two hours of a day.
    for (pod, hours) in [("full-1", 0), ("full-2", 3)] {
        let mut absurd = folded("attempt", "answered", 1);
        absurd.cost.reported = i64::MAX;
        absurd.minute = (NOW - hours * HOUR) / MINUTE;
        let entries = vec![Entry::Sum(Box::new(absurd)); 1_000];
        engine.store.take(group([arrival(pod, 1, entries)]), NOW).await.unwrap()[0]
            .as_ref()
            .unwrap();
    }
    let days = "SELECT start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output,
        cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown
        FROM provider_metrics WHERE grain = 86400 ORDER BY start, names_digest";
    let kept = engine.ask(days, Vec::new()).await;
    assert!(kept.len() > 30, "{}", kept.len());
    assert!(kept.iter().any(|row| row[20] == Value::Int(i64::MAX)));
    let hours = "SELECT sum(took) FROM provider_metrics WHERE grain = 3600";
    let of_hours = engine.number(hours).await;

    engine.store.migrate(4, NOW).await.unwrap();
    assert_eq!(
        engine
            .number("SELECT count(*) FROM provider_metrics WHERE grain = 86400")
            .await,
        0
    );
    assert_eq!(engine.number(hours).await, of_hours);
    // Who knows another schema writes nothing, and is told that it may be tried again.
    let late = arrival("app-9", 1, [Entry::Request(Box::new(request("r", "ok")))]);
    let refused = engine.store.take(group([late.clone()]), NOW).await.unwrap_err();
    assert!(refused.may_pass(), "{refused}");
    engine.store.migrate(LATEST, NOW).await.unwrap();
    assert_eq!(engine.ask(days, Vec::new()).await, kept);
    let of_before = "INSERT INTO provider_metrics (grain, start, names) VALUES (60, 0, 'x')";
    assert!(engine.execute(of_before).await.unwrap_err().contains("names"));
    engine.store.take(group([late]), NOW).await.unwrap()[0]
        .as_ref()
        .unwrap();
}
