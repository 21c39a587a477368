use std::num::{NonZeroU32, NonZeroU64};

use proptest::prelude::*;

use super::*;
use crate::queue::MOST_PASSED;

const COMES: Who = Who::Comes(Class::Interactive);

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

fn wanted(name: &str, settings: LimiterSettings) -> Wanted {
    Wanted {
        name: name.into(),
        settings,
        is_keyed: name.starts_with("each"),
        shares: None,
    }
}

fn places(count: u32) -> LimiterSettings {
    LimiterSettings {
        concurrent: NonZeroU32::new(count),
        ..LimiterSettings::default()
    }
}

fn rpm(count: u32) -> LimiterSettings {
    LimiterSettings {
        requests_per_minute: NonZeroU32::new(count),
        ..LimiterSettings::default()
    }
}

fn set(limits: &[(&str, LimiterSettings)]) -> Set<u32> {
    let mut set = Set::default();
    let limits: Vec<_> = limits.iter().map(|(name, settings)| wanted(name, *settings)).collect();
    set.reconfigure(&limits, at(0));
    set
}

fn want(name: &str) -> Want<'_> {
    key(name, 0)
}

fn key(name: &str, key: u64) -> Want<'_> {
    Want {
        name,
        key,
        is_elsewhere: false,
    }
}

fn ask(set: &mut Set<u32>, wants: &[Want<'_>]) -> Result<Taken, Vec<Held>> {
    set.take(wants, Need::from(1), at(0), COMES)
}

fn left(set: &Set<u32>, name: &str, now: Moment) -> Vec<i64> {
    let level = set.level(name, now).unwrap();
    level.left.into_iter().map(|(_, left)| left).collect()
}

#[test]
fn a_limit_that_is_reached_takes_nothing_of_the_others() {
    let mut set = set(&[("a", places(2)), ("b", places(1))]);
    let both = ask(&mut set, &[want("a"), want("b")]).unwrap();
    let held = ask(&mut set, &[want("a"), want("b")]).unwrap_err();
    assert_eq!(held.iter().map(|held| held.index).collect::<Vec<_>>(), [1]);
    assert_eq!((left(&set, "a", at(0)), left(&set, "b", at(0))), (vec![1], vec![0]));
    set.cancel(both, at(0), |_| {});
    assert_eq!((left(&set, "a", at(0)), left(&set, "b", at(0))), (vec![2], vec![1]));
}

#[test]
fn an_interactive_request_goes_before_a_background_one_so_often_and_no_more() {
    let mut set = set(&[("a", places(1))]);
    let mut taken = ask(&mut set, &[want("a")]).unwrap();
    let held = ask(&mut set, &[want("a")]).unwrap_err();
    let patient = set.join(&held, Class::Background, 0).unwrap();
    for round in 0..MOST_PASSED {
        let mut called = Vec::new();
        if round % 2 == 0 {
            // Comes just when there is room: it need not wait.
            set.cancel(taken, at(0), |who| called.push(*who));
            assert_eq!(called, [0]);
            taken = ask(&mut set, &[want("a")]).unwrap();
        } else {
            let held = ask(&mut set, &[want("a")]).unwrap_err();
            let ticket = set.join(&held, Class::Interactive, 7).unwrap();
            set.cancel(taken, at(0), |who| called.push(*who));
            assert_eq!(called, [7], "who is first is called");
            taken = set
                .take(&[want("a")], Need::from(1), at(0), Who::Waits(ticket))
                .unwrap();
            set.leave(ticket, |who| called.push(*who));
            assert_eq!(called, [7, 0]);
        }
        assert!(
            set.take(&[want("a")], Need::from(1), at(0), Who::Waits(patient))
                .is_err(),
            "no room"
        );
    }
    set.cancel(taken, at(0), |_| {});
    assert!(ask(&mut set, &[want("a")]).is_err(), "it was passed often enough");
    assert!(
        set.take(&[want("a")], Need::from(1), at(0), Who::Waits(patient))
            .is_ok()
    );
}

#[test]
fn who_waits_for_two_is_not_overtaken_at_either_once_it_stood_there() {
    let mut set = set(&[("a", places(1)), ("b", places(1))]);
    let (a, b) = (
        ask(&mut set, &[want("a")]).unwrap(),
        ask(&mut set, &[want("b")]).unwrap(),
    );
    let both = [want("a"), want("b")];
    let held = ask(&mut set, &both).unwrap_err();
    let ticket = set.join(&held, Class::Interactive, 7).unwrap();
    set.cancel(a, at(0), |_| {});
    assert!(
        ask(&mut set, &[want("a")]).is_err(),
        "it stands there, though it cannot go yet"
    );
    let mut called = Vec::new();
    set.cancel(b, at(0), |who| called.push(*who));
    assert_eq!(called, [7]);
    let taken = set.take(&both, Need::from(1), at(0), Who::Waits(ticket)).unwrap();
    set.leave(ticket, |_| {});
    set.settle(taken, Need::from(1), at(0), |_| {});
    assert!(ask(&mut set, &both).is_ok());
}

#[test]
fn a_caller_beyond_its_own_share_is_not_in_the_way_of_others() {
    let mut set = set(&[("all", places(10)), ("each", places(1))]);
    let noisy = [want("all"), key("each", 1)];
    let _first = ask(&mut set, &noisy).unwrap();
    let held = ask(&mut set, &noisy).unwrap_err();
    set.join(&held, Class::Interactive, 1).unwrap();
    assert!(ask(&mut set, &[want("all"), key("each", 2)]).is_ok());
}

#[test]
fn so_many_may_wait_and_no_more() {
    let mut set = set(&[("a", places(1))]);
    let _held = ask(&mut set, &[want("a")]).unwrap();
    let held = ask(&mut set, &[want("a")]).unwrap_err();
    for _ in 0..MAX_WAITING {
        assert!(set.join(&held, Class::Interactive, 0).is_some());
    }
    assert!(set.join(&held, Class::Interactive, 0).is_none());
}

#[test]
fn new_settings_keep_the_use_and_a_limit_that_went_is_owed_nothing() {
    let mut set = set(&[("a", rpm(600)), ("b", places(1))]);
    let taken: Vec<_> = (0..50).map(|_| ask(&mut set, &[want("a")]).unwrap()).collect();
    let b = ask(&mut set, &[want("b")]).unwrap();
    set.reconfigure(&[wanted("a", rpm(1200))], at(0));
    assert_eq!(left(&set, "a", at(0)), [10]);
    set.cancel(b, at(0), |_| {});
    set.reconfigure(&[wanted("a", rpm(1200)), wanted("b", places(1))], at(0));
    assert_eq!(left(&set, "b", at(0)), [1]);
    for taken in taken {
        set.settle(taken, Need::from(1), at(0), |_| {});
    }
    assert_eq!(left(&set, "a", at(0)), [10], "requests stay spent");
}

#[test]
fn tokens_of_each_kind_and_money_are_settled_by_what_was_used() {
    let all = LimiterSettings {
        tokens_per_minute: NonZeroU64::new(60_000),
        input_per_minute: NonZeroU64::new(30_000),
        output_per_minute: NonZeroU64::new(10_000),
        cost_per_minute: NonZeroU64::new(1_000_000),
        ..LimiterSettings::default()
    };
    let mut set = set(&[("a", all)]);
    let need = |input, output, cost| Need { input, output, cost };
    let taken = set.take(&[want("a")], need(1_000, 500, 90_000), at(0), COMES).unwrap();
    assert_eq!(left(&set, "a", at(0)), [4_500, 2_000, 500, 10_000]);
    set.settle(taken, need(1_200, 100, 120_000), at(0), |_| {});
    assert_eq!(left(&set, "a", at(0)), [4_700, 1_800, 900, -20_000]);
    let held = set.take(&[want("a")], need(0, 0, 0), at(0), COMES).unwrap_err();
    assert_eq!(held[0].limited.unwrap().which, Which::Cost);
}

/// The limits of a random request: some of three, of which one is counted by key.
fn some_of(bits: u8) -> Vec<Want<'static>> {
    let all = [want("a"), want("b"), key("each", u64::from(bits >> 3) % 3)];
    let chosen = all
        .into_iter()
        .enumerate()
        .filter(|(index, _)| bits & (1 << index) != 0);
    chosen.map(|(_, want)| want).collect()
}

#[test]
fn what_a_huge_estimate_did_not_use_flows_back_and_no_more() {
    let settings = LimiterSettings {
        output_per_minute: NonZeroU64::new(60),
        ..LimiterSettings::default()
    };
    let mut set = set(&[("a", settings)]);
    let need = |output| Need {
        output,
        ..Need::default()
    };
    // More than an hour's worth, which is what debt is bounded by.
    let taken = set.take(&[want("a")], need(9385), at(0), COMES).unwrap();
    set.settle(taken, need(10), at(0), |_| {});
    assert!(
        set.take(&[want("a")], need(1), at(0), COMES).is_err(),
        "ten of six were used"
    );
    assert!(set.take(&[want("a")], need(1), at(5_000), COMES).is_ok());
}

proptest! {
    /// Against a shadow that only counts: whatever comes, at most so many places of each limit are taken, all or none, all are
    /// given back in the end, and nobody waits for ever.
    #[test]
    fn places_are_taken_all_or_none_and_nobody_starves(
        steps in prop::collection::vec((any::<u8>(), 0_u8..4), 1..200),
    ) {
        const MOST: [(&str, u32); 3] = [("a", 3), ("b", 2), ("each", 1)];
        let mut set = set(&MOST.map(|(name, most)| (name, places(most))));
        let mut inside: Vec<(Taken, Vec<Want<'static>>)> = Vec::new();
        let mut waiting: Vec<(Ticket, Vec<Want<'static>>)> = Vec::new();
        let shadow = |inside: &[(Taken, Vec<Want<'static>>)], name: &str, of: u64| {
            let holds = |want: &Want<'_>| want.name == name && want.key == of;
            inside.iter().filter(|(_, wants)| wants.iter().any(holds)).count()
        };
        for (bits, what) in steps {
            match what {
                0 | 1 => {
                    let wants = some_of(bits);
                    match ask(&mut set, &wants) {
                        Ok(taken) => inside.push((taken, wants)),
                        Err(held) => waiting.push((set.join(&held, Class::Interactive, 0).unwrap(), wants)),
                    }
                }
                2 if !inside.is_empty() => {
                    let (taken, _) = inside.remove(usize::from(bits) % inside.len());
                    set.settle(taken, Need::from(1), at(0), |_| {});
                }
                3 if !waiting.is_empty() => {
                    let at_index = usize::from(bits) % waiting.len();
                    let (ticket, wants) = waiting[at_index].clone();
                    if let Ok(taken) = set.take(&wants, Need::from(1), at(0), Who::Waits(ticket)) {
                        set.leave(ticket, |_| {});
                        waiting.remove(at_index);
                        inside.push((taken, wants));
                    }
                }
                _ => {}
            }
            for (name, most) in MOST {
                for of in 0..3 {
                    prop_assert!(shadow(&inside, name, of) <= most as usize);
                }
                let counted: usize = (0..3).map(|of| shadow(&inside, name, of)).sum();
                prop_assert_eq!(set.level(name, at(0)).unwrap().in_flight as usize, counted);
            }
        }
        // From here on newcomers come at every step, and each who is inside leaves: all who wait are let in nonetheless.
        let mut rounds = 0_u32;
        while !waiting.is_empty() {
            rounds += 1;
            prop_assert!(rounds <= 1_000, "{} wait for ever", waiting.len());
            if !inside.is_empty() {
                let (taken, _) = inside.remove(0);
                set.settle(taken, Need::from(1), at(0), |_| {});
            }
            let all = some_of([7, 15, 23][rounds as usize % 3]);
            for wants in [vec![want("a")], vec![want("b")], all] {
                if let Ok(taken) = ask(&mut set, &wants) {
                    inside.push((taken, wants));
                }
            }
            for index in (0..waiting.len()).rev() {
                let (ticket, wants) = waiting[index].clone();
                if let Ok(taken) = set.take(&wants, Need::from(1), at(0), Who::Waits(ticket)) {
                    set.leave(ticket, |_| {});
                    waiting.remove(index);
                    inside.push((taken, wants));
                }
            }
        }
        for (taken, _) in inside {
            set.cancel(taken, at(0), |_| {});
        }
        for (name, _) in MOST {
            prop_assert_eq!(set.level(name, at(0)).unwrap().in_flight, 0);
        }
    }

    /// Over any stretch of time: the rate, the bucket and one request, whatever was settled in between.
    #[test]
    fn in_no_stretch_of_time_is_more_used_than_the_rate_the_bucket_and_one_request(
        limit in 60_u64..100_000,
        steps in prop::collection::vec((0_u64..5_000, 1_u64..20_000, 1_u64..20_000), 1..100),
    ) {
        let settings = LimiterSettings { output_per_minute: NonZeroU64::new(limit), ..LimiterSettings::default() };
        let mut set = set(&[("a", settings)]);
        let (mut now, mut used) = (0, Vec::new());
        for (pause, reserved, really) in steps {
            now += pause;
            let need = |output| Need { output, ..Need::default() };
            if let Ok(taken) = set.take(&[want("a")], need(reserved), at(now), COMES) {
                set.settle(taken, need(really), at(now), |_| {});
                used.push((now, really));
            }
        }
        for (first, (from, _)) in used.iter().enumerate() {
            let mut sum = 0;
            for (to, tokens) in &used[first..] {
                sum += tokens;
                let allowed = (limit / 10).max(1) + limit * (to - from) / 60_000 + tokens + 1;
                prop_assert!(sum <= allowed, "{sum} tokens in {} ms, allowed are {allowed}", to - from);
            }
        }
    }
}

#[test]
fn what_is_counted_elsewhere_holds_nobody_up_here_but_for_those_who_stand_in_line() {
    let mut set = set(&[("a", places(1)), ("b", rpm(10))]);
    let elsewhere = Want {
        is_elsewhere: true,
        ..want("a")
    };
    let first = ask(&mut set, &[want("a")]).unwrap();
    assert!(set.look(&[want("a")], at(0), COMES).is_err());
    let wants = [elsewhere.clone(), want("b")];
    assert_eq!(set.look(&wants, at(0), COMES), Ok(()));
    assert_eq!(left(&set, "b", at(0)), [1], "who looks takes nothing");
    let second = ask(&mut set, &wants).unwrap();
    assert_eq!(set.load("a").0, 2);
    let limited = Limited {
        which: Which::Concurrency,
        retry_in: None,
    };
    let held = set.held_elsewhere((0, &elsewhere), limited, at(0), COMES);
    let ticket = set.join(&held, Class::Interactive, 7).unwrap();
    assert!(
        set.look(std::slice::from_ref(&elsewhere), at(60), COMES).is_err(),
        "another was before"
    );
    assert_eq!(set.look(&[elsewhere], at(60), Who::Waits(ticket)), Ok(()));
    let mut called = Vec::new();
    set.settle(first, Need::from(1), at(60), |who| called.push(*who));
    assert_eq!(called, [7], "a place is free that may be given elsewhere");
    set.cancel(second, at(60), |_| {});
    assert_eq!(set.load("a").0, 0);
}

#[test]
fn who_finds_no_room_among_those_that_are_counted_apart_is_known_to_share_one_count() {
    let mut set = set(&[("each", rpm(1)), ("all", rpm(1_000_000))]);
    let numbers = 0..u64::try_from(MAX_KEYS).unwrap();
    for number in numbers.clone() {
        assert!(!set.is_common(&key("each", number), at(0)));
        let _ = ask(&mut set, &[key("each", number)]).unwrap();
    }
    for new in [numbers.end, numbers.end + 1] {
        assert!(set.is_common(&key("each", new), at(0)), "{new}");
    }
    assert!(!set.is_common(&key("each", 7), at(0)), "it keeps its own");
    assert!(!set.is_common(&key("nobody", 7), at(0)));
}
