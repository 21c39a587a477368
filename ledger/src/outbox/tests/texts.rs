//! Entries as text: what a request writes by hand is what a reader understands, whatever the names in it are.

use std::time::Duration;

use bowsprit_core::clock::micros;
use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::fault::Code;
use bowsprit_core::flow::WaitReason;
use bowsprit_core::flow::moves::Move;
use bowsprit_core::flow::retry::{Next, Why};
use bowsprit_core::headroom::Limit;
use bowsprit_core::record::path::{Happened, Path, Turn};
use bowsprit_core::record::{Cached, Refuser, RequestRecord, Spent, Stale};
use bowsprit_core::{plan, record};
use proptest::prelude::*;

use super::super::sums::{of_attempt_record, of_request_record, sum_of};
use super::super::{Offer, Sender, body, lines, text};
use super::{attempt, request};
use crate::entry::{self, Entry, LONGEST_TEXT, MOST_TURNS, Numbered, Tokens};
use crate::wire::Batch;

fn request_entry(record: &RequestRecord<'_>) -> Entry {
    let mut out = Vec::new();
    text::request(&mut out, record);
    serde_json::from_slice(&out).unwrap()
}

fn attempt_entry(record: &record::AttemptRecord<'_>) -> Entry {
    let mut out = Vec::new();
    text::attempt(&mut out, record);
    serde_json::from_slice(&out).unwrap()
}

const TOKENS: Tokens = Tokens {
    input: 7,
    output: 9,
    cached: 3,
    cache_write: 2,
    reasoning: 1,
    estimated_input: 4,
    estimated_output: 5,
};

#[test]
fn every_field_of_a_request_is_written() {
    let expected = entry::Request {
        id: "r-1".into(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        route: "chat".into(),
        dialect: "openai".into(),
        operation: "chat_completions".into(),
        asked_model: "gpt".into(),
        provider: "claude".into(),
        model: "m".into(),
        is_stream: true,
        attempts: 2,
        hedges: 1,
        sdk_retries: 1,
        fields_left_out: 2,
        tools_left_out: 1,
        outcome: "cut".into(),
        code: Code::ExtReset.as_str().into(),
        status: 200,
        took: 2_500_000,
        first_token: Some(1_000_000),
        overhead: 80,
        answer_bytes: 100,
        tokens: TOKENS,
        path: Vec::new(),
        turns_left_out: 0,
        cache: None,
        refused_by: String::new(),
        would_refuse_by: String::new(),
    };
    assert_eq!(request_entry(&request("gpt")), Entry::Request(Box::new(expected)));
}

#[test]
fn an_answer_of_the_cache_and_the_rule_that_refused_are_written() {
    let by = Refuser::Limit.named("tokens");
    let record = RequestRecord {
        cache: Some(Cached {
            age: Duration::from_millis(61_500),
            request_id: "r-before",
            provider: "claude",
            saved_tokens: 1_016,
            saved_cost: Picodollars::new(7_000),
        }),
        refused_by: &by,
        would_refuse_by: "access:no-tools",
        ..request("gpt")
    };
    let Entry::Request(told) = request_entry(&record) else {
        panic!()
    };
    let expected = entry::Cached {
        age: 61_500,
        request_id: "r-before".into(),
        provider: "claude".into(),
        saved_tokens: 1_016,
        saved_cost: 7_000,
    };
    assert_eq!((told.cache, told.refused_by.as_str()), (Some(expected), "limit:tokens"));
    assert_eq!(told.would_refuse_by, "access:no-tools");
}

#[test]
fn every_field_of_an_attempt_is_written() {
    let expected = entry::Attempt {
        request_id: "r-1".into(),
        trace_id: String::new(),
        route: "chat".into(),
        number: 1,
        reason: "first".into(),
        provider: "claude".into(),
        model: "m".into(),
        reported_model: "m-2026".into(),
        credential: "main".into(),
        provider_request_id: "req_1".into(),
        operation: "chat_completions".into(),
        status: 200,
        outcome: "answered".into(),
        code: String::new(),
        took: 1_500,
        head: Some(0),
        first_token: None,
        tokens: TOKENS,
        tokens_unknown: false,
        cost: Some(entry::Cost {
            reported: 1_250_000,
            estimated: 5,
            version: "table:2026-11-28".into(),
        }),
    };
    assert_eq!(attempt_entry(&attempt("m", 7)), Entry::Attempt(Box::new(expected)));
    let unknown = record::AttemptRecord {
        spent: Spent::default(),
        cost: Err(Unpriced::Tokens),
        ..attempt("m", 0)
    };
    let Entry::Attempt(unknown) = attempt_entry(&unknown) else {
        panic!()
    };
    assert!(unknown.tokens_unknown && unknown.tokens == Tokens::default() && unknown.cost.is_none());
}

#[test]
fn every_field_of_a_limit_is_written() {
    let mut out = Vec::new();
    let limit = Limit {
        what: "input_tokens",
        limit: Some(100),
        remaining: 0,
        reset: Some(Duration::from_millis(1_500)),
    };
    text::headroom(
        &mut out,
        &record::HeadroomRecord {
            provider: "claude",
            credential: "main",
            limit,
        },
    );
    let expected = entry::Headroom {
        provider: "claude".into(),
        credential: "main".into(),
        what: "input_tokens".into(),
        limit: Some(100),
        remaining: Some(0),
        reset: Some(1_500),
    };
    let read: Entry = serde_json::from_slice(&out).unwrap();
    assert_eq!(read, Entry::Headroom(Box::new(expected)));
}

#[test]
fn the_way_of_a_request_is_told_turn_by_turn() {
    let mut path = Path::default();
    let mut turn = |after, what| {
        path.push(Turn {
            after: Duration::from_micros(after),
            provider: "claude".into(),
            what,
        });
    };
    turn(1, Happened::LeftOut(plan::Why::CircuitOpen));
    let again = (Next::Again(Duration::from_millis(250)), Why::MayPass);
    turn(
        2,
        Happened::Moved(Move::Failed {
            code: Code::ExtReset,
            followed: Some(again),
        }),
    );
    turn(3, Happened::Waited(WaitReason::Backoff, Duration::from_millis(251)));
    turn(4, Happened::Moved(Move::Retried { after: Code::ExtReset }));
    turn(
        5,
        Happened::Moved(Move::Failed {
            code: Code::ExtReset,
            followed: None,
        }),
    );
    for after in 6..30 {
        turn(after, Happened::LeftOut(plan::Why::Unhealthy));
    }
    let record = RequestRecord {
        path: &path,
        ..request("m")
    };
    let Entry::Request(told) = request_entry(&record) else {
        panic!()
    };
    let of = |what: &str, because: &str, then: &str, after, wait| entry::Turn {
        after,
        provider: "claude".into(),
        what: what.into(),
        because: because.into(),
        then: then.into(),
        wait,
    };
    let reset = Code::ExtReset.as_str();
    assert_eq!(
        told.path[..5],
        [
            of("passed_over", "circuit_open", "", 1, 0),
            of("failed", reset, "again: may_pass", 2, 250),
            of("waited", "backoff", "", 3, 251),
            of("retried", reset, "", 4, 0),
            of("failed", reset, "", 5, 0),
        ]
    );
    assert_eq!((told.path.len(), told.turns_left_out), (MOST_TURNS, 13));
}

#[test]
fn a_kept_answer_is_the_last_turn_however_many_came_before() {
    let stale = Stale {
        age: Duration::from_mins(21),
        request_id: "r-before",
        provider: "claude",
    };
    let mut path = Path::default();
    for before in [0, 1, MOST_TURNS + 3] {
        while path.turns().len() + usize::try_from(path.left_out()).unwrap() < before {
            path.push(Turn {
                after: Duration::ZERO,
                provider: "gemini".into(),
                what: Happened::LeftOut(plan::Why::CircuitOpen),
            });
        }
        let record = RequestRecord {
            path: &path,
            stale: Some(stale),
            ..request("m")
        };
        let Entry::Request(told) = request_entry(&record) else {
            panic!()
        };
        let expected = entry::Turn {
            after: micros(record.took),
            provider: "claude".into(),
            what: entry::ANSWERED_STALE.into(),
            because: "r-before".into(),
            then: String::new(),
            wait: 1_260_000,
        };
        assert_eq!(told.path.last(), Some(&expected));
        assert_eq!(told.path.len(), before.min(MOST_TURNS) + 1);
    }
}

#[test]
fn a_batch_is_what_the_service_reads() {
    let mut numbering = lines::Numbering { next: 5, at: 100 };
    let mut written = Vec::new();
    // The clock jumps back: time does not.
    for at in [200, 150] {
        let mut entry = Vec::new();
        text::request(&mut entry, &request("m"));
        numbering.line(&mut written, at, &entry);
    }
    let mut cut = lines::Cut::default();
    assert!(cut.take(
        &written,
        4,
        lines::Most {
            entries: 9,
            bytes: 9_999
        }
    ));
    let offer = Offer {
        outbox: "a1".into(),
        from: 5,
        to: 6,
        entries: cut.entries,
        joined: cut.joined,
    };
    let sender = Sender {
        version: "0.1.0".into(),
        workload: "Deployment/\"shop\"".into(),
    };
    let batch: Batch = serde_json::from_slice(&body(&offer, &sender)).unwrap();
    let places: Vec<_> = batch.entries.iter().map(|entry| (entry.sequence, entry.at)).collect();
    assert_eq!(places, [(5, 200), (6, 200)]);
    assert_eq!(
        (batch.from, batch.to, batch.workload.as_str()),
        (5, 6, "Deployment/\"shop\"")
    );
}

#[test]
fn a_batch_is_cut_before_its_bounds_and_one_entry_always_goes() {
    let entries: Vec<Numbered> = (1..=10)
        .map(|sequence| Numbered {
            sequence,
            at: 0,
            entry: Entry::Sum(Box::default()),
        })
        .collect();
    let written = lines::write(&entries);
    let cut = |after, entries, bytes| {
        let mut cut = lines::Cut::default();
        let is_all = cut.take(&written, after, lines::Most { entries, bytes });
        (is_all, cut.entries, cut.last)
    };
    assert_eq!(cut(0, 100, 1 << 20), (true, 10, 10));
    assert_eq!(cut(7, 100, 1 << 20), (true, 3, 10));
    assert_eq!(cut(0, 4, 1 << 20), (false, 4, 4));
    assert_eq!(cut(0, 100, 1), (false, 1, 1));
    assert_eq!(cut(10, 100, 1), (true, 0, 0));
}

proptest! {
    #[test]
    fn whatever_a_name_is_the_entry_is_one_line_with_the_name_in_it_or_its_begin(name in "\\PC*|[\u{0}-\u{7f}]{0,40}|\u{e9}{200,70000}") {
        let record = RequestRecord { id: &name, ..request(&name) };
        let mut out = Vec::new();
        text::request(&mut out, &record);
        prop_assert!(!out.contains(&b'\n') && out.len() < 4 << 10);
        let Entry::Request(read) = request_entry(&record) else { panic!() };
        let expected = name.replace('\0', "\u{fffd}");
        prop_assert!(expected.starts_with(&read.asked_model));
        prop_assert!(read.asked_model == expected || read.asked_model.len() + 4 > LONGEST_TEXT);
        prop_assert!(read.asked_model.len() <= LONGEST_TEXT);
        // What is spilled is summed under the names that what is kept has.
        let as_entry = sum_of(60_000, &Entry::Request(read)).unwrap();
        prop_assert_eq!(as_entry, of_request_record(60_000, &record));
        let record = attempt(&name, 7);
        prop_assert_eq!(sum_of(1, &attempt_entry(&record)).unwrap(), of_attempt_record(1, &record));
    }
}
