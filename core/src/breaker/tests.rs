use super::*;
use proptest::prelude::*;

const FAIL: Verdict = Verdict::Failure(Trip::ServerError);

fn at(secs: u64) -> Moment {
    Moment::from_start(Duration::from_secs(secs))
}

fn many(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

/// Admits and settles one request.
fn run(breaker: &mut Breaker, verdict: Verdict, now: Moment) -> Option<Transition> {
    let permit = breaker.admit(now).expect("admitted");
    breaker.settle(permit, verdict, now)
}

/// A breaker that tripped at second 0.
fn tripped(settings: BreakerSettings) -> Breaker {
    let mut breaker = Breaker::new(settings);
    while breaker.state(at(0)) == StateName::Closed {
        run(&mut breaker, FAIL, at(0));
    }
    breaker
}

fn rated(percent: u8, min_requests: u32) -> BreakerSettings {
    let error_rate = Some(ErrorRate {
        percent,
        min_requests,
        window: Duration::from_secs(10),
    });
    BreakerSettings {
        failure_threshold: many(1_000),
        error_rate,
        ..BreakerSettings::default()
    }
}

#[test]
fn it_trips_at_the_configured_failure_and_not_before() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    for _ in 0..4 {
        assert_eq!(run(&mut breaker, FAIL, at(0)), None);
    }
    let transition = run(&mut breaker, FAIL, at(0)).expect("the fifth trips");
    let cause = Cause::Consecutive {
        failures: 5,
        last: Trip::ServerError,
    };
    assert_eq!(
        transition,
        Transition {
            from: StateName::Closed,
            to: StateName::Open,
            cause,
            at: at(0)
        }
    );
    assert_eq!(
        transition.to_string(),
        "closed -> open: 5 failures in a row, the last: server_error"
    );
}

#[test]
fn a_success_ends_the_run_and_a_throttled_or_ignored_answer_does_not_touch_it() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    for verdict in [FAIL, FAIL, FAIL, FAIL, Verdict::Success, FAIL, FAIL, FAIL, FAIL] {
        assert_eq!(run(&mut breaker, verdict, at(0)), None);
    }
    for verdict in [Verdict::Throttled, Verdict::Ignored, Verdict::Throttled] {
        assert_eq!(run(&mut breaker, verdict, at(0)), None);
    }
    assert_eq!(breaker.failures(), 4);
    assert!(run(&mut breaker, FAIL, at(0)).is_some());
}

#[test]
fn open_admits_nothing_until_its_time_has_passed_then_one_probe() {
    let mut breaker = tripped(BreakerSettings::default());
    assert_eq!(
        breaker.admit(at(59)).unwrap_err(),
        Rejected {
            retry_in: Duration::from_secs(1)
        }
    );
    assert!(!breaker.would_admit(at(59)) && breaker.would_admit(at(60)));
    assert_eq!(breaker.state(at(60)), StateName::HalfOpen);
    let probe = breaker.admit(at(60)).expect("probe");
    assert_eq!(
        probe.transition().map(|change| change.cause),
        Some(Cause::OpenForPassed)
    );
    assert!(breaker.admit(at(60)).is_err(), "one probe at a time");
    let closed = breaker.settle(probe, Verdict::Success, at(61)).expect("closes");
    assert_eq!((closed.to, closed.cause), (StateName::Closed, Cause::Recovered));
}

#[test]
fn a_failed_or_throttled_probe_opens_it_again_for_the_whole_time() {
    for (verdict, cause) in [
        (FAIL, Cause::ProbeFailed(Trip::ServerError)),
        (Verdict::Throttled, Cause::ProbeThrottled),
    ] {
        let mut breaker = tripped(BreakerSettings::default());
        let opened = run(&mut breaker, verdict, at(70)).expect("opens again");
        assert_eq!(
            (opened.from, opened.to, opened.cause),
            (StateName::HalfOpen, StateName::Open, cause)
        );
        assert!(!breaker.would_admit(at(129)) && breaker.would_admit(at(130)));
    }
}

#[test]
fn as_many_probes_must_succeed_as_are_let_through() {
    let mut breaker = tripped(BreakerSettings {
        half_open_requests: many(3),
        ..BreakerSettings::default()
    });
    let probes: Vec<_> = (0..3).map(|_| breaker.admit(at(60)).expect("probe")).collect();
    assert!(breaker.admit(at(60)).is_err());
    let mut changes = probes
        .into_iter()
        .map(|probe| breaker.settle(probe, Verdict::Success, at(61)))
        .collect::<Vec<_>>();
    assert!(changes.pop().unwrap().is_some());
    assert_eq!(changes, [None, None]);
}

#[test]
fn a_probe_given_back_may_be_used_again() {
    let mut breaker = tripped(BreakerSettings::default());
    let probe = breaker.admit(at(60)).expect("probe");
    breaker.cancel(probe);
    let probe = breaker.admit(at(60)).expect("the same place again");
    assert_eq!(breaker.settle(probe, Verdict::Ignored, at(60)), None);
    assert!(breaker.would_admit(at(60)));
}

#[test]
fn a_lost_probe_blocks_recovery_no_longer_than_open_for() {
    let mut breaker = tripped(BreakerSettings::default());
    drop(breaker.admit(at(60)).expect("probe, then lost"));
    assert_eq!(
        breaker.admit(at(119)).unwrap_err(),
        Rejected {
            retry_in: Duration::from_secs(1)
        }
    );
    assert!(breaker.would_admit(at(120)));
    assert!(run(&mut breaker, Verdict::Success, at(120)).is_some());
}

#[test]
fn a_slow_probe_still_counts_when_it_comes_home() {
    let mut breaker = tripped(BreakerSettings::default());
    let slow = breaker.admit(at(60)).expect("probe");
    let _next = breaker.admit(at(120)).expect("the next probe");
    assert_eq!(
        breaker.settle(slow, Verdict::Success, at(150)).map(|change| change.to),
        Some(StateName::Closed)
    );
}

#[test]
fn a_late_answer_of_an_earlier_generation_changes_nothing() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    let late: Vec<_> = (0..20).map(|_| breaker.admit(at(0)).expect("closed")).collect();
    for _ in 0..5 {
        run(&mut breaker, FAIL, at(0));
    }
    let mut late = late.into_iter();
    assert_eq!(
        breaker.settle(late.next().unwrap(), Verdict::Success, at(1)),
        None,
        "does not close an open one"
    );
    let probe = breaker.admit(at(60)).expect("probe");
    assert_eq!(
        breaker.settle(late.next().unwrap(), FAIL, at(60)),
        None,
        "does not fail the probe"
    );
    breaker.cancel(late.next().unwrap());
    assert!(breaker.admit(at(60)).is_err(), "does not make room for a second probe");
    assert!(breaker.settle(probe, Verdict::Success, at(60)).is_some());
    for permit in late {
        assert_eq!(
            breaker.settle(permit, FAIL, at(60)),
            None,
            "does not count against the recovered"
        );
    }
    assert_eq!((breaker.state(at(60)), breaker.failures()), (StateName::Closed, 0));
}

#[test]
fn the_error_rate_trips_exactly_at_its_share_and_never_under_its_minimum() {
    let mut breaker = Breaker::new(rated(50, 10));
    for turn in 0..4 {
        assert_eq!(run(&mut breaker, FAIL, at(turn)), None);
        assert_eq!(run(&mut breaker, Verdict::Success, at(turn)), None);
    }
    assert_eq!(
        run(&mut breaker, Verdict::Success, at(5)),
        None,
        "nine requests are not ten"
    );
    let change = run(&mut breaker, FAIL, at(5)).expect("5 of 10");
    assert_eq!(
        change.cause,
        Cause::ErrorRate {
            failed: 5,
            requests: 10
        }
    );
}

#[test]
fn a_success_never_trips_and_an_old_failure_is_forgotten() {
    let mut breaker = Breaker::new(rated(50, 2));
    run(&mut breaker, FAIL, at(0));
    assert_eq!(
        run(&mut breaker, Verdict::Success, at(0)),
        None,
        "1 of 2, but this one was good"
    );
    assert_eq!(run(&mut breaker, Verdict::Success, at(20)), None);
    assert_eq!(run(&mut breaker, Verdict::Success, at(20)), None);
    assert_eq!(
        run(&mut breaker, FAIL, at(20)),
        None,
        "1 of 3: the failure of second 0 has left the window"
    );
}

#[test]
fn throttled_answers_count_against_the_rate() {
    let mut breaker = Breaker::new(rated(80, 5));
    let changes: Vec<_> = (0..5).map(|_| run(&mut breaker, Verdict::Throttled, at(0))).collect();
    assert_eq!(
        changes[4].map(|change| change.cause),
        Some(Cause::ErrorRate { failed: 5, requests: 5 })
    );
    let mut plain = Breaker::new(BreakerSettings::default());
    assert!(
        (0..100).all(|_| run(&mut plain, Verdict::Throttled, at(0)).is_none()),
        "without a rate they never trip"
    );
}

#[test]
fn adaptive_halves_the_threshold_with_each_trip_and_forgives_with_time() {
    let mut breaker = tripped(BreakerSettings {
        failure_threshold: many(8),
        adaptive: true,
        ..BreakerSettings::default()
    });
    run(&mut breaker, Verdict::Success, at(60));
    assert_eq!(breaker.threshold(at(60)), 4);
    for _ in 0..4 {
        run(&mut breaker, FAIL, at(60));
    }
    run(&mut breaker, Verdict::Success, at(120));
    assert_eq!(
        [120, 419, 420, 720, 9_999].map(|second| breaker.threshold(at(second))),
        [2, 2, 4, 8, 8]
    );
}

#[test]
fn adaptive_never_leaves_the_configured_bounds() {
    let mut breaker = Breaker::new(BreakerSettings {
        failure_threshold: many(1),
        adaptive: true,
        ..BreakerSettings::default()
    });
    for turn in 0..100 {
        assert!(run(&mut breaker, FAIL, at(turn * 60)).is_some());
        assert_eq!(breaker.threshold(at(turn * 60)), 1);
    }
}

#[test]
fn reset_closes_it_and_says_so_once() {
    let mut breaker = tripped(BreakerSettings::default());
    let change = breaker.reset(at(1)).expect("was open");
    assert_eq!(
        (change.from, change.to, change.cause),
        (StateName::Open, StateName::Closed, Cause::Reset)
    );
    assert_eq!(breaker.reset(at(1)), None);
    for _ in 0..4 {
        run(&mut breaker, FAIL, at(1));
    }
    breaker.reset(at(1));
    assert_eq!(run(&mut breaker, FAIL, at(1)), None, "the run of four was forgotten");
}

#[test]
fn new_settings_keep_the_state_and_take_hold_at_once() {
    let mut breaker = tripped(BreakerSettings::default());
    breaker.reconfigure(BreakerSettings {
        open_for: Duration::from_secs(10),
        ..BreakerSettings::default()
    });
    assert_eq!(breaker.state(at(9)), StateName::Open);
    assert!(breaker.would_admit(at(10)));

    let mut breaker = Breaker::new(BreakerSettings::default());
    for _ in 0..4 {
        run(&mut breaker, FAIL, at(0));
    }
    breaker.reconfigure(BreakerSettings {
        failure_threshold: many(2),
        ..BreakerSettings::default()
    });
    assert!(run(&mut breaker, FAIL, at(0)).is_some());
}

#[test]
fn fewer_probes_by_new_settings_never_leave_it_half_open_for_ever() {
    let mut breaker = tripped(BreakerSettings {
        half_open_requests: many(3),
        ..BreakerSettings::default()
    });
    for _ in 0..2 {
        assert_eq!(run(&mut breaker, Verdict::Success, at(60)), None);
    }
    breaker.reconfigure(BreakerSettings::default());
    assert_eq!(
        run(&mut breaker, Verdict::Success, at(60)).map(|change| change.to),
        Some(StateName::Closed)
    );
}

proptest! {
    #[test]
    fn what_would_be_admitted_is_admitted_and_the_wait_told_is_never_too_long(
        steps in prop::collection::vec((0_u64..40, 0_u8..5), 1..200), probes in 1_u32..4,
    ) {
        let mut breaker = Breaker::new(BreakerSettings { half_open_requests: many(probes), ..BreakerSettings::default() });
        let mut held = Vec::new();
        let mut now = 0;
        for (pause, what) in steps {
            now += pause;
            let would = breaker.would_admit(at(now));
            match breaker.admit(at(now)) {
                Ok(permit) => {
                    prop_assert!(would);
                    held.push(permit);
                }
                Err(rejected) => {
                    prop_assert!(!would && !rejected.retry_in.is_zero() && rejected.retry_in <= Duration::from_mins(1));
                    if breaker.state(at(now)) == StateName::Open {
                        prop_assert!(breaker.would_admit(at(now) + rejected.retry_in));
                    }
                }
            }
            if let Some(permit) = (what < 4).then(|| held.pop()).flatten() {
                let verdict = [Verdict::Success, FAIL, Verdict::Throttled, Verdict::Ignored][usize::from(what)];
                if let Some(change) = breaker.settle(permit, verdict, at(now)) {
                    prop_assert_ne!(change.from, change.to);
                    prop_assert_eq!(change.to, breaker.state(at(now)));
                }
            }
        }
    }
}
