use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

fn rpm(limit: u32) -> LimiterSettings {
    LimiterSettings {
        requests_per_minute: NonZeroU32::new(limit),
        ..LimiterSettings::default()
    }
}

fn tpm(limit: u64) -> LimiterSettings {
    LimiterSettings {
        tokens_per_minute: NonZeroU64::new(limit),
        ..LimiterSettings::default()
    }
}

/// Admits as many requests as it can at `now`, at most 10,000.
fn burst(limiter: &mut Limiter, tokens: u64, now: Moment) -> u32 {
    let mut admitted = 0;
    while admitted < 10_000 && limiter.reserve(tokens, now).is_ok() {
        admitted += 1;
    }
    admitted
}

#[test]
fn without_limits_everything_passes() {
    let mut limiter = Limiter::new(LimiterSettings::default(), at(0));
    assert_eq!(burst(&mut limiter, u64::MAX, at(0)), 10_000);
    assert_eq!((limiter.requests_left(at(0)), limiter.tokens_left(at(0))), (None, None));
}

#[test]
fn a_burst_is_a_tenth_of_a_minute_and_never_more_after_a_long_pause() {
    let mut limiter = Limiter::new(rpm(600), at(0));
    assert_eq!(burst(&mut limiter, 1, at(0)), 60);
    assert_eq!(burst(&mut limiter, 1, at(86_400_000)), 60);
    assert_eq!(burst(&mut Limiter::new(rpm(1), at(0)), 1, at(0)), 1, "at least one");
}

#[test]
fn it_refills_smoothly_and_tells_the_wait_to_the_nanosecond() {
    let mut limiter = Limiter::new(rpm(60), at(0));
    assert_eq!(burst(&mut limiter, 1, at(0)), 6);
    let refused = limiter.reserve(1, at(250)).unwrap_err();
    assert_eq!(
        refused,
        Limited {
            which: Which::Requests,
            retry_in: Some(Duration::from_millis(750))
        }
    );
    assert!(!limiter.would_admit(1, at(1_000 - 1)) && limiter.would_admit(1, at(1_000)));
    assert_eq!(burst(&mut limiter, 1, at(1_000)), 1);
}

#[test]
fn an_hour_at_full_pressure_brings_the_rate_exactly() {
    let mut limiter = Limiter::new(rpm(70), at(0));
    let mut admitted = 0;
    for step in 0..=36_000 {
        admitted += burst(&mut limiter, 1, at(step * 100));
    }
    assert_eq!(admitted, 70 * 60 + 7);
}

#[test]
fn what_was_reserved_too_much_flows_back_and_too_little_becomes_debt() {
    let mut limiter = Limiter::new(tpm(60_000), at(0));
    let reservation = limiter.reserve(5_000, at(0)).unwrap();
    limiter.settle(reservation, Some(1_000), at(0));
    assert_eq!(limiter.tokens_left(at(0)), Some(5_000));
    let reservation = limiter.reserve(1_000, at(0)).unwrap();
    limiter.settle(reservation, Some(11_000), at(0));
    assert_eq!(limiter.tokens_left(at(0)), Some(-6_000));
    let refused = limiter.reserve(1, at(0)).unwrap_err();
    assert_eq!(
        refused,
        Limited {
            which: Which::Tokens,
            retry_in: Some(Duration::from_millis(6_001))
        }
    );
    assert!(limiter.would_admit(1, at(6_001)));
}

#[test]
fn an_unknown_use_costs_what_was_reserved() {
    let mut limiter = Limiter::new(tpm(60_000), at(0));
    let reservation = limiter.reserve(5_000, at(0)).unwrap();
    limiter.settle(reservation, None, at(0));
    assert_eq!(limiter.tokens_left(at(0)), Some(1_000));
}

#[test]
fn a_request_larger_than_the_bucket_is_admitted_and_paid_off() {
    let mut limiter = Limiter::new(tpm(60_000), at(0));
    let _large = limiter.reserve(100_000, at(0)).unwrap();
    assert_eq!(limiter.tokens_left(at(0)), Some(-94_000));
    assert!(!limiter.would_admit(1, at(94_000)) && limiter.would_admit(1, at(94_001)));
}

#[test]
fn small_requests_at_full_pressure_never_starve_a_large_one() {
    let mut limiter = Limiter::new(tpm(60_000), at(0));
    burst(&mut limiter, 100, at(0));
    let mut large_first = false;
    let waited = (1..10_000).find(|step| {
        // Every millisecond the small one asks first, then the large one; every other time the other way round.
        large_first = !large_first;
        let small = |limiter: &mut Limiter| drop(limiter.reserve(100, at(*step)));
        if !large_first {
            small(&mut limiter);
        }
        let admitted = limiter.reserve(50_000, at(*step)).is_ok();
        if !admitted && large_first {
            small(&mut limiter);
        }
        admitted
    });
    assert!(
        waited.is_some_and(|millis| millis < 1_000),
        "the large one waited {waited:?} ms"
    );
}

#[test]
fn a_nonsense_usage_cannot_close_it_for_good() {
    let mut limiter = Limiter::new(tpm(60), at(0));
    let reservation = limiter.reserve(1, at(0)).unwrap();
    limiter.settle(reservation, Some(u64::MAX), at(0));
    let _another = limiter.reserve(u64::MAX, at(3_601_000)).unwrap();
    assert!(limiter.would_admit(1, at(3_601_000 * 2)));
}

#[test]
fn concurrency_counts_reservations_and_has_no_time_to_wait_for() {
    let concurrent = NonZeroU32::new(2);
    let mut limiter = Limiter::new(
        LimiterSettings {
            concurrent,
            ..LimiterSettings::default()
        },
        at(0),
    );
    let first = limiter.reserve(1, at(0)).unwrap();
    let second = limiter.reserve(1, at(0)).unwrap();
    assert_eq!(
        limiter.reserve(1, at(0)).unwrap_err(),
        Limited {
            which: Which::Concurrency,
            retry_in: None
        }
    );
    limiter.settle(first, None, at(0));
    let third = limiter.reserve(1, at(0)).unwrap();
    limiter.cancel(second, at(0));
    limiter.cancel(third, at(0));
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn a_refusal_takes_nothing() {
    let mut limiter = Limiter::new(
        LimiterSettings {
            tokens_per_minute: NonZeroU64::new(10),
            ..rpm(600)
        },
        at(0),
    );
    let _all = limiter.reserve(1, at(0)).unwrap();
    assert!(limiter.reserve(1, at(0)).is_err());
    assert_eq!((limiter.requests_left(at(0)), limiter.in_flight()), (Some(59), 1));
}

#[test]
fn the_limit_that_holds_longest_is_the_one_told() {
    let mut limiter = Limiter::new(
        LimiterSettings {
            tokens_per_minute: NonZeroU64::new(600),
            ..rpm(1)
        },
        at(0),
    );
    let _one = limiter.reserve(60, at(0)).unwrap();
    let refused = limiter.reserve(1, at(0)).unwrap_err();
    assert_eq!(
        refused,
        Limited {
            which: Which::Requests,
            retry_in: Some(Duration::from_mins(1))
        }
    );
}

#[test]
fn a_cancelled_request_gives_everything_back() {
    let mut limiter = Limiter::new(
        LimiterSettings {
            tokens_per_minute: NonZeroU64::new(60_000),
            ..rpm(60)
        },
        at(0),
    );
    let reservation = limiter.reserve(40_000, at(0)).unwrap();
    limiter.cancel(reservation, at(0));
    assert_eq!(
        (limiter.requests_left(at(0)), limiter.tokens_left(at(0))),
        (Some(6), Some(6_000))
    );
}

#[test]
fn a_lowered_limit_takes_hold_at_once_and_a_raised_one_gives_no_burst() {
    let mut limiter = Limiter::new(rpm(600), at(0));
    limiter.reconfigure(rpm(60), at(0));
    assert_eq!(burst(&mut limiter, 1, at(0)), 6);
    limiter.reconfigure(rpm(6_000), at(0));
    assert_eq!(burst(&mut limiter, 1, at(0)), 0);
    assert_eq!(
        burst(&mut limiter, 1, at(100)),
        10,
        "but the faster refill holds at once"
    );
}

#[test]
fn a_limit_cut_below_its_use_refuses_until_enough_have_ended() {
    let concurrent = |most| LimiterSettings {
        concurrent: NonZeroU32::new(most),
        ..LimiterSettings::default()
    };
    let mut limiter = Limiter::new(concurrent(3), at(0));
    let mut held: Vec<_> = (0..3).map(|_| limiter.reserve(1, at(0)).unwrap()).collect();
    limiter.reconfigure(concurrent(1), at(0));
    for _ in 0..3 {
        assert!(!limiter.would_admit(1, at(0)));
        limiter.settle(held.pop().unwrap(), None, at(0));
    }
    assert!(limiter.would_admit(1, at(0)));
}

#[test]
fn a_limit_set_up_after_the_request_began_owes_it_nothing() {
    let mut limiter = Limiter::new(LimiterSettings::default(), at(0));
    let before = limiter.reserve(1_000_000, at(0)).unwrap();
    limiter.reconfigure(tpm(60), at(0));
    let _now = limiter.reserve(6, at(0)).unwrap();
    limiter.cancel(before, at(0));
    assert_eq!(limiter.tokens_left(at(0)), Some(0));
}

proptest! {
    #[test]
    fn in_no_stretch_of_time_passes_more_than_the_rate_the_bucket_and_one_request(
        limit in 1_u64..100_000,
        steps in prop::collection::vec((0_u64..5_000, 1_u64..20_000), 1..100),
    ) {
        let mut limiter = Limiter::new(tpm(limit), at(0));
        let (mut now, mut admitted) = (0, Vec::new());
        for (pause, tokens) in steps {
            now += pause;
            if limiter.reserve(tokens, at(now)).is_ok() {
                admitted.push((now, tokens));
            }
        }
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (to, tokens) in &admitted[first..] {
                sum += tokens;
                let allowed = (limit / 10).max(1) + limit * (to - from) / 60_000 + tokens + 1;
                prop_assert!(sum <= allowed, "{sum} tokens in {} ms, allowed are {allowed}", to - from);
            }
        }
    }

    #[test]
    fn the_wait_told_is_exact(
        limit in 1_u32..100_000,
        steps in prop::collection::vec((0_u64..5_000, 0_u64..20_000, prop::option::of(0_u64..40_000)), 1..100),
    ) {
        let mut limiter = Limiter::new(LimiterSettings { tokens_per_minute: NonZeroU64::new(limit.into()), ..rpm(limit) }, at(0));
        let mut now = at(0);
        for (pause, tokens, used) in steps {
            now = now + Duration::from_millis(pause);
            match limiter.reserve(tokens, now) {
                Ok(reservation) => {
                    limiter.settle(reservation, used, now);
                }
                Err(limited) => {
                    let wait = limited.retry_in.unwrap();
                    prop_assert!(limiter.would_admit(tokens, now + wait));
                    prop_assert!(!limiter.would_admit(tokens, now + wait.saturating_sub(Duration::from_nanos(1))));
                }
            }
        }
    }
}

#[test]
fn who_stands_behind_others_is_told_the_wait_for_them_all() {
    let mut limiter = Limiter::new(rpm(60), at(0));
    assert_eq!(
        limiter.held_behind(5, at(0)),
        None,
        "six are there, so it is only a matter of turns"
    );
    let seventh = limiter.held_behind(6, at(0)).unwrap();
    assert_eq!(seventh.retry_in, Some(Duration::from_secs(1)));
    assert_eq!(burst(&mut limiter, 1, at(0)), 6);
    assert_eq!(
        limiter.held_behind(0, at(0)),
        Some(limiter.reserve(1, at(0)).unwrap_err())
    );
    let fourth = limiter.held_behind(3, at(0)).unwrap();
    assert_eq!(
        (fourth.which, fourth.retry_in),
        (Which::Requests, Some(Duration::from_secs(4)))
    );
    let one = LimiterSettings {
        concurrent: NonZeroU32::new(2),
        ..LimiterSettings::default()
    };
    let limiter = Limiter::new(one, at(0));
    assert_eq!(limiter.held_behind(1, at(0)), None);
    let third = limiter.held_behind(2, at(0)).unwrap();
    assert_eq!((third.which, third.retry_in), (Which::Concurrency, None));
}
