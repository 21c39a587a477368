use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn settings(after: Option<u64>, percentile: Option<u32>) -> HedgeSettings {
    HedgeSettings {
        after: after.map(millis),
        percentile,
        max_percent: 5,
    }
}

/// Answers that took 1, 2, … `count` ms.
fn seen(count: u64) -> Latencies {
    let mut seen = Latencies::default();
    for took in 1..=count {
        seen.add(millis(took), at(0));
    }
    seen
}

#[test]
fn a_percentile_is_the_nearest_rank() {
    let seen = seen(100);
    for (percent, expected) in [(50, 50), (90, 90), (95, 95), (99, 99), (0, 1), (200, 99)] {
        assert_eq!(seen.percentile(percent, at(0)), Some(millis(expected)), "p{percent}");
    }
}

#[test]
fn too_few_answers_show_nothing() {
    assert_eq!(seen(19).percentile(95, at(0)), None);
    assert_eq!(seen(20).percentile(95, at(0)), Some(millis(19)));
    assert_eq!(seen(99).percentile(99, at(0)), None);
    assert_eq!(Latencies::default().percentile(50, at(0)), None);
}

#[test]
fn answers_of_long_ago_are_forgotten() {
    let ten_minutes = 600_000;
    assert!(seen(50).percentile(95, at(ten_minutes)).is_some());
    assert_eq!(seen(50).percentile(95, at(ten_minutes + 1)), None);
    let mut many = seen(10_000);
    assert_eq!(many.samples.len(), KEPT);
    assert_eq!(
        many.percentile(50, at(0)),
        Some(millis(10_000 - 128)),
        "the latest count"
    );
    many.add(millis(1), at(ten_minutes + 1));
    assert_eq!(many.samples.len(), 1);
}

#[test]
fn the_fixed_wait_stands_in_until_the_percentile_is_known() {
    let known = seen(100);
    let both = settings(Some(700), Some(95));
    assert_eq!(both.delay(None, at(0)), Some(millis(700)));
    assert_eq!(both.delay(Some(&seen(5)), at(0)), Some(millis(700)));
    assert_eq!(both.delay(Some(&known), at(0)), Some(millis(95)));
    assert_eq!(settings(None, Some(95)).delay(Some(&seen(5)), at(0)), None, "no guess");
    assert_eq!(settings(Some(700), None).delay(Some(&known), at(0)), Some(millis(700)));
}

/// 1,000 answers of a provider that takes 1 to 100 ms, hedged at the 95th percentile; losers counted or not.
fn wait_after_a_thousand_hedged_answers(count_losers: bool) -> Duration {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut seen = seen(100);
    let hedge = settings(None, Some(95));
    for _ in 0..1_000 {
        let delay = hedge.delay(Some(&seen), at(0)).unwrap();
        let took = millis(rng.u64(1..=100));
        if took <= delay {
            seen.add(took, at(0));
        } else if count_losers {
            seen.add(delay + millis(1), at(0));
        }
    }
    hedge.delay(Some(&seen), at(0)).unwrap()
}

#[test]
fn a_cancelled_loser_counts_or_the_wait_would_sink_with_each_hedge() {
    let honest = wait_after_a_thousand_hedged_answers(true);
    assert!((millis(85)..=millis(100)).contains(&honest), "{honest:?}");
    let sunk = wait_after_a_thousand_hedged_answers(false);
    assert!(sunk < millis(85), "{sunk:?}: then why are losers counted?");
}

#[test]
fn an_allowance_begins_with_nothing_and_saves_up_no_storm() {
    let mut allowance = Allowance::default();
    let five = settings(Some(1), None);
    assert!(!allowance.withdraw());
    for _ in 0..19 {
        allowance.deposit(&five);
        assert!(!allowance.withdraw());
    }
    allowance.deposit(&five);
    assert!(allowance.withdraw() && !allowance.withdraw(), "one to twenty");
    for _ in 0..100_000 {
        allowance.deposit(&five);
    }
    assert_eq!((0..100).filter(|_| allowance.withdraw()).count(), 10);
}

#[test]
fn a_hundred_percent_is_every_request() {
    let all = HedgeSettings {
        max_percent: 100,
        ..settings(Some(1), None)
    };
    let mut allowance = Allowance::default();
    for _ in 0..50 {
        allowance.deposit(&all);
        assert!(allowance.withdraw());
    }
}

proptest! {
    #[test]
    fn at_no_moment_were_more_than_the_share_sent_twice(
        percent in 0_u32..150, steps in prop::collection::vec((0_u64..50, 0_u64..50), 1..100),
    ) {
        let settings = HedgeSettings { max_percent: percent, ..settings(Some(1), None) };
        let mut allowance = Allowance::default();
        let (mut requests, mut hedges) = (0, 0);
        for (deposits, wanted) in steps {
            (0..deposits).for_each(|_| allowance.deposit(&settings));
            requests += deposits;
            hedges += (0..wanted).filter(|_| allowance.withdraw()).count() as u64;
            prop_assert!(hedges * 100 <= requests * u64::from(percent.min(100)));
        }
    }

    #[test]
    fn a_percentile_never_lies_outside_of_what_was_seen(took in prop::collection::vec(0_u64..10_000, 20..600), percent in 0_u32..120) {
        let mut seen = Latencies::default();
        for took in &took {
            seen.add(millis(*took), at(0));
        }
        let recent = &took[took.len().saturating_sub(KEPT)..];
        if let Some(found) = seen.percentile(percent, at(0)) {
            prop_assert!(millis(*recent.iter().min().unwrap()) <= found && found <= millis(*recent.iter().max().unwrap()));
        }
    }
}
