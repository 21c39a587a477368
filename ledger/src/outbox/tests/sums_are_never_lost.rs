//! The promise: what was pushed is what the service has and what is still here, added up, through any order of keeping, spilling,
//! folding, sending, answers that are lost, and crashes; and no entry counts twice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::lines::{Most, frame};
use super::super::store::{Place, Store};
use super::super::sums::{Grain, Sums, fold, of_attempt_record, sum_of};
use super::super::text;
use super::attempt;
use crate::entry::{Numbered, Sum, Tokens};

/// Bytes beyond which the outbox folds: three pages of tables, and three of entries, which are few.
const LIMIT: u64 = 6 * 4096;
const MODELS: [&str; 4] = ["m-1", "m-2", "m-3", "m-4"];

#[derive(Clone, Debug)]
enum Step {
    /// Entries are committed: model, input tokens, minutes after the one before.
    Keep(Vec<(usize, u64, i64)>),
    /// One finds no room in the queue.
    Spill(usize, u64),
    /// A batch goes out, and its answer comes back or not.
    Send { entries: usize, is_heard: bool },
    /// The process is killed and begins again.
    Crash,
    /// The service is asked what it expects, and says so.
    Ask,
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (0..MODELS.len(), 0..1_000_u64, 0..3_i64);
    prop_oneof![
        4 => prop::collection::vec(entry, 1..12).prop_map(Step::Keep),
        1 => (0..MODELS.len(), 0..1_000_u64).prop_map(|(model, input)| Step::Spill(model, input)),
        2 => (1..20_usize, any::<bool>()).prop_map(|(entries, is_heard)| Step::Send { entries, is_heard }),
        1 => Just(Step::Crash),
        1 => Just(Step::Ask),
    ]
}

/// A service that takes each sequence once.
#[derive(Default)]
struct Service {
    through: u64,
    entries: BTreeMap<u64, Numbered>,
}

impl Service {
    fn take(&mut self, from: u64, to: u64, joined: &[u8]) {
        assert!(from <= self.through + 1, "no gap: {from} after {}", self.through);
        let text = [b"[", joined, b"]"].concat();
        let entries: Vec<Numbered> = serde_json::from_slice(&text).unwrap();
        let mut last = 0;
        for entry in entries {
            assert!(
                (from..=to).contains(&entry.sequence) && entry.sequence > last,
                "in order"
            );
            last = entry.sequence;
            if entry.sequence > self.through {
                self.entries.insert(entry.sequence, entry);
            }
        }
        self.through = self.through.max(to);
    }
}

/// All of it as one number for each thing that is counted. Added up here, and not by what is tested.
fn total(sums: &[Sum]) -> [i128; 12] {
    let of = |sum: &Sum| {
        let Tokens {
            input,
            output,
            cached,
            cache_write,
            reasoning,
            estimated_input,
            estimated_output,
        } = sum.tokens;
        let counts = [
            sum.count,
            sum.took,
            input,
            output,
            cached,
            cache_write,
            reasoning,
            estimated_input,
            estimated_output,
            sum.tokens_unknown + sum.cost_unknown,
        ];
        let mut all = [0; 12];
        for (place, count) in all.iter_mut().zip(counts) {
            *place = i128::from(count);
        }
        (all[10], all[11]) = (sum.cost.reported.into(), sum.cost.estimated.into());
        all
    };
    sums.iter().map(of).fold([0; 12], |mut total, more| {
        total.iter_mut().zip(more).for_each(|(total, more)| *total += more);
        total
    })
}

fn sums_of(entries: impl IntoIterator<Item = Numbered>) -> Vec<Sum> {
    entries
        .into_iter()
        .filter_map(|entry| sum_of(entry.at, &entry.entry))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_went_in_is_there_or_here(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::Folder(dir.path().to_owned());
        let open = || Store::open(&place, LIMIT).unwrap();
        let mut store = open();
        let (mut service, mut spilled, mut pushed) = (Service::default(), Sums::default(), Vec::new());
        let mut at = 60_000;
        for step in steps {
            match step {
                Step::Keep(entries) => {
                    let mut queued = Vec::new();
                    for (model, input, minutes) in entries {
                        at += minutes * 60_000;
                        let record = attempt(MODELS[model], input);
                        frame(&mut queued, at, |out| text::attempt(out, &record));
                        pushed.push(of_attempt_record(at, &record));
                    }
                    store.append(&queued, &std::mem::take(&mut spilled), at).unwrap();
                    store.make_room().unwrap();
                }
                Step::Spill(model, input) => {
                    let sum = of_attempt_record(at, &attempt(MODELS[model], input));
                    pushed.push(sum.clone());
                    spilled.add(sum);
                }
                Step::Send { entries, is_heard } => {
                    let Some(offer) = store.offer(Most { entries, bytes: 2 << 10 }).unwrap() else { continue };
                    service.take(offer.from, offer.to, &offer.joined);
                    if is_heard {
                        store.take(service.through).unwrap();
                    }
                }
                Step::Crash => {
                    drop(store);
                    store = open();
                }
                Step::Ask => prop_assert_eq!(store.expect(service.through + 1).unwrap(), 0),
            }
        }
        // What is still in memory is written, and everything is sent.
        store.append(&[], &spilled, at).unwrap();
        while let Some(offer) = store.offer(Most { entries: 7, bytes: 1 << 20 }).unwrap() {
            service.take(offer.from, offer.to, &offer.joined);
            store.take(offer.to).unwrap();
        }
        let times: Vec<i64> = service.entries.values().map(|entry| entry.at).collect();
        prop_assert!(times.is_sorted(), "time never goes back: {times:?}");
        prop_assert_eq!(store.bytes(), 0);
        prop_assert_eq!(total(&sums_of(service.entries.into_values())), total(&pushed));
    }

    #[test]
    fn memory_is_bounded_and_sums_are_whole_however_many_names_there_are(
        names in prop::collection::vec(("[a-z]{1,9}", 0..50_000_i64), 1..4_000)
    ) {
        let mut sums = Sums::default();
        for (name, minute) in &names {
            sums.add(of_attempt_record(minute * 60_000, &attempt(name, 3)));
        }
        prop_assert!(sums.iter().count() <= 3 * 1_024 + 4);
        prop_assert_eq!(sums.iter().map(|sum| sum.count).sum::<u64>(), names.len() as u64);
        prop_assert_eq!(sums.iter().map(|sum| sum.tokens.input).sum::<u64>(), 3 * names.len() as u64);
    }
}

#[test]
fn whatever_is_added_up_is_dated_within_the_time_that_it_is_of() {
    // Eight hours of a full disk from 2026-12-02 00:00 on, four models and five routes a minute.
    const FIRST: i64 = 29_936_160;
    let (last, models) = (FIRST + 8 * 60, ["m-1", "m-2", "m-3", "m-4"]);
    let mut sums = Sums::default();
    for minute in FIRST..=last {
        for model in models {
            for route in ["r-1", "r-2", "r-3", "r-4", "r-5"] {
                sums.add(Sum {
                    route: route.to_owned(),
                    ..of_attempt_record(minute * 60_000, &attempt(model, 3))
                });
            }
        }
    }
    let all = 3 * 20 * u64::try_from(last - FIRST + 1).unwrap();
    let within = |sums: &[Sum]| -> u64 {
        let within = sums.iter().filter(|sum| (FIRST..=last).contains(&sum.minute));
        within.map(|sum| sum.tokens.input).sum()
    };
    let in_memory: Vec<Sum> = sums.iter().cloned().collect();
    assert!(in_memory.len() < 1_024 + 200, "by hour now: {}", in_memory.len());
    assert!(
        in_memory.iter().all(|sum| sum.model != "other"),
        "names are the last to go"
    );
    assert_eq!(within(&in_memory), all);
    let numbered = in_memory.into_iter().zip(1..).map(|(sum, sequence)| Numbered {
        sequence,
        at: last * 60_000,
        entry: crate::entry::Entry::Sum(Box::new(sum)),
    });
    let mut folded: Vec<Numbered> = numbered.collect();
    for grain in Grain::ALL {
        folded = fold(folded, grain);
        assert_eq!(within(&sums_of(folded.clone())), all, "{grain:?}");
    }
    assert_eq!(folded.len(), 1, "one provider and outcome");
}

#[cfg(feature = "service")]
#[test]
fn an_attempt_counts_the_same_in_the_services_sums_whether_it_arrives_as_it_was_or_added_up() {
    use crate::entry::Entry;
    use crate::store::rows::{Rows, Sender};
    use crate::store::tables::METRICS;

    let sender = Sender {
        outbox: 1,
        namespace: "team",
        workload: "Deployment/app",
    };
    let rows_of = |entry: &Entry| {
        let mut rows = Rows::default();
        rows.add(&sender, 1, 60_000, 60_000, entry);
        let folded = METRICS.columns.iter().position(|(name, _)| *name == "folded").unwrap();
        let mut rows = rows.metrics();
        for row in &mut rows {
            row.remove(folded);
        }
        rows
    };
    let told_nothing = bowsprit_core::record::Spent {
        reported: None,
        estimated_input: 0,
        estimated_output: 0,
        is_nothing: false,
    };
    for spent in [attempt("m", 7).spent, told_nothing] {
        for cost in [attempt("m", 7).cost, Err(bowsprit_core::cost::Unpriced::Tokens)] {
            let record = bowsprit_core::record::AttemptRecord {
                spent,
                cost,
                ..attempt("m", 7)
            };
            let mut queued = Vec::new();
            text::attempt(&mut queued, &record);
            let entry: Entry = serde_json::from_slice(&queued).unwrap();
            let detail = rows_of(&entry);
            let numbered = Numbered {
                sequence: 1,
                at: 60_000,
                entry,
            };
            let spilled = Entry::Sum(Box::new(of_attempt_record(60_000, &record)));
            for added_up in [fold([numbered], Grain::Minute).remove(0).entry, spilled] {
                assert_eq!(rows_of(&added_up), detail, "{spent:?}");
            }
        }
    }
}

#[test]
fn what_is_offered_is_never_folded_and_the_rest_is_kept_within_the_bound() {
    let mut store = Store::open(&Place::Memory, LIMIT).unwrap();
    let keep = |store: &mut Store, minute: i64| {
        let mut queued = Vec::new();
        frame(&mut queued, minute * 60_000, |out| text::attempt(out, &attempt("m", 1)));
        store.append(&queued, &Sums::default(), 0).unwrap();
        store.make_room().unwrap()
    };
    keep(&mut store, 1);
    keep(&mut store, 1);
    let most = Most {
        entries: 2,
        bytes: 1 << 20,
    };
    let offered = store.offer(most).unwrap().unwrap();
    let folded: u64 = (0..2_000).map(|number| keep(&mut store, number)).sum();
    assert!(folded > 1_000, "{folded}");
    assert!(store.bytes() <= LIMIT, "{}", store.bytes());
    let again = store.offer(most).unwrap().unwrap();
    assert!(again == offered, "the same again, not {}..={}", again.from, again.to);
}

#[test]
fn a_service_that_lost_what_it_had_is_told_what_it_will_never_get() {
    let mut store = Store::open(&Place::Memory, 1 << 20).unwrap();
    let keep = |store: &mut Store| {
        let mut queued = Vec::new();
        frame(&mut queued, 0, |out| text::attempt(out, &attempt("m", 1)));
        store.append(&queued, &Sums::default(), 0).unwrap();
    };
    for _ in 0..3 {
        keep(&mut store);
    }
    store.take(3).unwrap();
    keep(&mut store);
    assert_eq!(store.expect(1).unwrap(), 3, "1 to 3 are here no more");
    let most = Most {
        entries: 9,
        bytes: 1 << 20,
    };
    let offer = store.offer(most).unwrap().unwrap();
    assert_eq!((offer.from, offer.to, offer.entries), (1, 4, 1));
    // One that knows of more than was ever given out speaks of another outbox.
    let outbox = offer.outbox;
    assert_eq!(store.expect(1_000).unwrap(), 0);
    let offer = store.offer(most).unwrap().unwrap();
    assert_eq!((offer.from, offer.to), (1, 4));
    assert_ne!(offer.outbox, outbox);
}

#[test]
fn what_was_left_out_at_a_start_is_not_told_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::Folder(dir.path().to_owned());
    let mut queued = Vec::new();
    frame(&mut queued, 0, |out| text::attempt(out, &attempt("m", 1)));
    for _ in 0..3 {
        let mut store = Store::open(&place, 1 << 20).unwrap();
        store.append(&queued, &Sums::default(), 0).unwrap();
        store.append(&queued, &Sums::default(), 0).unwrap();
        store.take(u64::MAX).unwrap();
    }
    let mut store = Store::open(&place, 1 << 20).unwrap();
    store.append(&queued, &Sums::default(), 0).unwrap();
    assert_eq!(store.expect(1).unwrap(), 6, "three starts, two entries each");
}

#[test]
fn a_sequence_never_stands_for_two_entries_though_the_node_lost_the_last_commits() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::Folder(dir.path().to_owned());
    let mut store = Store::open(&place, 1 << 20).unwrap();
    let mut queued = Vec::new();
    frame(&mut queued, 0, |out| text::attempt(out, &attempt("m", 1)));
    store.append(&queued, &Sums::default(), 0).unwrap();
    let most = Most {
        entries: 9,
        bytes: 1 << 20,
    };
    let before = store.offer(most).unwrap().unwrap().to;
    drop(store);
    let mut store = Store::open(&place, 1 << 20).unwrap();
    store.append(&queued, &Sums::default(), 0).unwrap();
    let after = store.offer(most).unwrap().unwrap();
    assert_eq!((after.from, after.entries), (1, 2));
    assert!(after.to > before + 1_000_000, "{} after {before}", after.to);
}
