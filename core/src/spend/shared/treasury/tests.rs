use std::num::NonZeroU32;

use super::super::super::book::{Beyond, Spenders};
use super::super::super::window::{Calendar, Division};
use super::*;

/// Milliseconds.
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
const LONG_AGO: i64 = 365 * DAY;

fn budget(name: &str, per: Spenders) -> Budget {
    // Thirty days, from 1970.
    let division = Division::Every(NonZeroU32::new(30 * 24 * 3_600).unwrap());
    Budget {
        name: name.into(),
        policy: "shop".into(),
        full_name: format!("shop/{name}").into(),
        amount: 1_000,
        calendar: Calendar::new(division, "UTC").unwrap(),
        warn_at: Vec::new(),
        beyond: Beyond::Stop,
        per,
        stops_without_operator: true,
    }
}

fn runs() -> Budget {
    budget("run", Spenders::JobRun { of: None })
}

fn key(budget: &Budget, of: &str) -> Key {
    Key {
        namespace: "team".into(),
        budget: budget.full_name.to_string(),
        of: of.into(),
    }
}

fn run(number: usize) -> String {
    format!("nightly-{number}/1f0c7a56-0000-4000-8000-{number:012}")
}

/// A pod that has spent so much of what it holds asks for so much more, and its mark is written.
fn asks(treasury: &mut Treasury<String>, key: &Key, budget: &Budget, pod: &str, spent: u64, now: i64) -> Option<Loan> {
    let ask = Ask {
        number: u64::try_from(now).unwrap(),
        run: 1,
        held: spent,
        spent,
        least: spent + 10,
        want: spent + 10,
        ..Ask::default()
    };
    let again = Duration::from_secs(1);
    let mut loan = treasury.hear(key, budget, &pod.to_owned(), &ask, 1, again, now)?;
    if loan.is_pending {
        let marks = treasury.marks(&key.namespace, now);
        treasury.written(&marks);
        let ask = Ask {
            number: ask.number + 1,
            ..ask
        };
        loan = treasury.hear(key, budget, &pod.to_owned(), &ask, 1, again, now)?;
    }
    Some(loan)
}

/// So many runs, a minute apart, each of a pod that goes.
fn after_runs(treasury: &mut Treasury<String>, many: usize, mut now: i64) -> i64 {
    for number in 0..many {
        let key = key(&runs(), &run(number));
        let loan = asks(treasury, &key, &runs(), &run(number), 0, now);
        assert_eq!(loan.map(|loan| loan.held), Some(10), "run {number}");
        treasury.gone("team", &run(number), now);
        now += MINUTE;
    }
    now
}

#[test]
fn a_cron_job_runs_more_often_in_a_window_than_a_namespace_has_budgets_and_each_run_is_answered() {
    let mut treasury = Treasury::new(1, BTreeMap::new());
    let teams = budget("team", Spenders::Namespace);
    asks(&mut treasury, &key(&teams, "blue"), &teams, "blue-1", 500, LONG_AGO).unwrap();
    let now = after_runs(&mut treasury, 2 * MOST + 500, LONG_AGO);
    let marks = treasury.marks("team", now);
    assert_eq!(marks.len(), MOST);
    assert!(marks[&key(&teams, "blue")].mark >= 500, "a team comes again");
    // Who was not there yet finds room too.
    let loan = asks(&mut treasury, &key(&teams, "green"), &teams, "green-1", 0, now).unwrap();
    assert_eq!(loan.held, 10);
    assert_eq!(treasury.marks("team", now).len(), MOST);
}

#[test]
fn a_run_goes_on_where_it_was_with_its_next_pod_and_as_long_as_there_is_room() {
    let mut treasury = Treasury::new(1, BTreeMap::new());
    let mine = key(&runs(), &run(9_999));
    asks(&mut treasury, &mine, &runs(), "first", 700, LONG_AGO).unwrap();
    treasury.gone("team", &"first".to_owned(), LONG_AGO);
    let now = after_runs(&mut treasury, MOST - 1, LONG_AGO);
    let loan = asks(&mut treasury, &mine, &runs(), "second", 0, now).unwrap();
    assert_eq!(loan.spent, 710, "of a pod that is gone, all that it held");
    // It is the one heard last now: others go before it.
    let now = after_runs(&mut treasury, MOST, now);
    let loan = asks(&mut treasury, &mine, &runs(), "second", 10, now).unwrap();
    assert_eq!(loan.spent, 720);
}

#[test]
fn a_namespace_full_of_runs_that_are_not_over_answers_no_more_and_takes_nothing_from_them() {
    let mut treasury = Treasury::new(1, BTreeMap::new());
    for number in 0..MOST {
        let key = key(&runs(), &run(number));
        asks(&mut treasury, &key, &runs(), &run(number), 0, LONG_AGO).unwrap();
    }
    let another = key(&runs(), &run(MOST));
    let soon = LONG_AGO + 5 * MINUTE;
    // A pod of the run that went may be replaced yet.
    treasury.gone("team", &run(0), LONG_AGO);
    assert_eq!(asks(&mut treasury, &another, &runs(), "late", 0, soon), None);
    let elsewhere = Key {
        namespace: "other".into(),
        ..another.clone()
    };
    assert!(asks(&mut treasury, &elsewhere, &runs(), "other", 0, soon).is_some());
    let known = key(&runs(), &run(1));
    assert!(asks(&mut treasury, &known, &runs(), &run(1), 10, soon).is_some());
    // Not replaced in ten minutes: one place, for one.
    let later = LONG_AGO + 11 * MINUTE;
    assert!(asks(&mut treasury, &another, &runs(), "late", 0, later).is_some());
    let third = key(&runs(), &run(MOST + 1));
    assert_eq!(asks(&mut treasury, &third, &runs(), "later", 0, later), None);
    // Whose pods went while nobody watched is over once it is not among those that are there.
    treasury.keep_only(|pod| *pod != run(2), later);
    assert!(asks(&mut treasury, &third, &runs(), "later", 0, later + 11 * MINUTE).is_some());
    // And of whom nothing was heard for hours.
    let fourth = key(&runs(), &run(MOST + 2));
    assert!(asks(&mut treasury, &fourth, &runs(), "latest", 0, later + 7 * 60 * MINUTE).is_some());
}

/// What a leader of before has written of a namespace that is full: runs, and one team.
fn written() -> BTreeMap<Key, Mark> {
    let window = runs().calendar.around(LONG_AGO / 1_000);
    let mark = Mark { window, mark: 40 };
    let mut marks: BTreeMap<Key, Mark> = (0..MOST - 1).map(|number| (key(&runs(), &run(number)), mark)).collect();
    marks.insert(key(&budget("team", Spenders::Namespace), "blue"), mark);
    marks
}

#[test]
fn who_is_new_is_lent_to_after_a_change_of_leaders_and_marks_of_before_make_room_once_all_have_told_what_they_hold() {
    let (marks, blue) = (written(), key(&budget("team", Spenders::Namespace), "blue"));
    let mut treasury = Treasury::new(2, marks);
    let known = key(&runs(), &run(7));
    assert!(asks(&mut treasury, &known, &runs(), "known", 0, LONG_AGO).is_some());
    // At once, each.
    for number in 0..10 {
        let new = key(&runs(), &run(MOST + number));
        assert!(
            asks(&mut treasury, &new, &runs(), "new", 0, LONG_AGO).is_some(),
            "{number}"
        );
    }
    // One that is alive and quiet tells nothing for hours, and its mark stays.
    let hours = LONG_AGO + 5 * 60 * MINUTE;
    let new = key(&runs(), &run(MOST + 10));
    assert!(asks(&mut treasury, &new, &runs(), "new", 0, hours).is_some());
    assert_eq!(treasury.marks("team", hours).len(), MOST + 11);
    let quiet = key(&runs(), &run(0));
    let loan = asks(&mut treasury, &quiet, &runs(), "quiet", 0, hours).unwrap();
    assert_eq!(loan.spent, 40);
    // The first that is new after that clears up.
    let later = LONG_AGO + 7 * 60 * MINUTE;
    let new = key(&runs(), &run(MOST + 11));
    assert!(asks(&mut treasury, &new, &runs(), "new", 0, later).is_some());
    let marks = treasury.marks("team", later);
    assert_eq!(marks.len(), MOST);
    assert!(marks.contains_key(&new) && marks.contains_key(&quiet) && marks.contains_key(&blue));
}

#[test]
fn marks_are_twice_as_many_as_budgets_at_the_most_however_often_leaders_change() {
    let (mut marks, mut now, mut number) = (written(), LONG_AGO, MOST);
    for epoch in 2..6 {
        let mut treasury = Treasury::new(epoch, marks);
        let mut refused = 0;
        for _ in 0..MOST + 10 {
            number += 1;
            let new = key(&runs(), &run(number));
            refused += usize::from(asks(&mut treasury, &new, &runs(), &run(number), 0, now).is_none());
        }
        assert!(treasury.marks("team", now).len() <= 2 * MOST, "{epoch}");
        assert!(refused >= 10, "{epoch}");
        // Its pods go, and those of leaders of before are there no more: it does not wait for hours.
        now += MINUTE;
        treasury.keep_only(|_| false, now);
        now += 11 * MINUTE;
        let new = key(&runs(), &run(number + MOST * 10));
        assert!(asks(&mut treasury, &new, &runs(), "new", 0, now).is_some(), "{epoch}");
        marks = treasury.marks("team", now);
    }
}

#[test]
fn who_comes_once_is_a_run_of_a_job_or_a_pod_that_belongs_to_nothing() {
    for (of, once) in [
        ("nightly-29/1f0c7a56-0000-4000-8000-000000000001", true),
        ("2fast/u", true),
        ("Pod/by-hand", true),
        ("Job/nightly-29", true),
        ("Deployment/checkout", false),
        ("CronJob/nightly", false),
        ("blue", false),
        ("", false),
    ] {
        assert_eq!(key(&runs(), of).comes_once(), once, "{of}");
    }
}

#[test]
fn whatever_one_claims_to_have_spent_the_others_sums_stay_exact() {
    let mut treasury = Treasury::new(1, BTreeMap::new());
    let all = budget("all", Spenders::Namespace);
    let key = key(&all, "");
    assert_eq!(
        asks(&mut treasury, &key, &all, "honest", 300, LONG_AGO).unwrap().held,
        310
    );
    let loan = asks(&mut treasury, &key, &all, "liar", u64::MAX - 10, LONG_AGO).unwrap();
    assert!(loan.is_short);
    // It takes it back: what the other holds is out as before.
    let loan = asks(&mut treasury, &key, &all, "liar", 0, LONG_AGO + 2).unwrap();
    assert_eq!((loan.held, loan.spent), (10, 300));
    let (_, totals) = treasury.totals().next().unwrap();
    assert_eq!((totals.out, totals.spent), (320, 300));
}
