use proptest::prelude::*;

use super::*;
use crate::backoff::Jitter;

const NOW: Moment = Moment::ZERO;

const WORKERS: usize = 2;
const BATCH: usize = 3;
const MOST: usize = 40;

fn settings() -> Settings {
    Settings {
        workers: WORKERS,
        batch: BATCH,
        most: MOST,
        tries: 3,
        backoff: BackoffSettings::new(Duration::from_secs(1), Duration::from_secs(8), Jitter::None).unwrap(),
    }
}

fn key(number: u8) -> Key {
    Key::of_digest([number; 32])
}

fn kind(number: u8) -> Key {
    Key::of_digest([200 + number; 32])
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn want(refill: &mut Refill<u8>, number: u8) -> bool {
    let uses = refill.jobs.get(&key(number)).map_or(0, |job| job.rank.0);
    refill.want(key(number), kind(0), (uses + 1, false), || number)
}

fn numbers(batch: &Batch<u8>) -> Vec<u8> {
    batch.jobs.iter().map(|(_, number)| *number).collect()
}

fn keys(batch: &Batch<u8>) -> Vec<Key> {
    batch.jobs.iter().map(|(key, _)| *key).collect()
}

fn after(seconds: u64) -> Moment {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn what_is_asked_for_the_most_goes_first_and_of_equals_the_latest() {
    let mut refill = Refill::new(settings(), []);
    for number in [1, 2, 3, 4, 5, 2, 2, 4] {
        assert!(want(&mut refill, number));
    }
    assert_eq!(numbers(&refill.take(NOW).unwrap()), [2, 4, 5]);
    assert_eq!(numbers(&refill.take(NOW).unwrap()), [3, 1]);
    assert_eq!((refill.depth(), refill.workers()), (0, 2));
}

#[test]
fn a_batch_is_of_one_kind() {
    let mut refill = Refill::new(settings(), []);
    for (number, of) in [(1, 0), (2, 1), (3, 0)] {
        refill.want(key(number), kind(of), (1, false), || number);
    }
    assert_eq!(numbers(&refill.take(NOW).unwrap()), [3, 1]);
    assert_eq!(numbers(&refill.take(NOW).unwrap()), [2]);
}

#[test]
fn what_fails_goes_again_later_and_is_given_up_in_the_end() {
    let mut refill = Refill::new(settings(), [key(1)]);
    want(&mut refill, 1);
    let mut now = NOW;
    for (wait, count) in [
        (
            1,
            Count {
                again: 1,
                ..Count::default()
            },
        ),
        (
            2,
            Count {
                again: 1,
                ..Count::default()
            },
        ),
        (
            0,
            Count {
                given_up: 1,
                ..Count::default()
            },
        ),
    ] {
        let batch = refill.take(now).unwrap();
        assert_eq!(refill.ended(&keys(&batch), Ended::Failed(None), now, &mut rng()), count);
        assert!(refill.take(now).is_none());
        if wait > 0 {
            assert_eq!(refill.wake(), Some(now + Duration::from_secs(wait)));
            assert!(!refill.is_filled());
        }
        now = now + Duration::from_secs(wait);
    }
    assert!(
        !refill.is_filled() && refill.has_failed(),
        "what nobody gets is no model to serve"
    );
    assert_eq!((refill.progress(), refill.depth()), ((0, 1), 0));
    // Somebody asks for it again.
    want(&mut refill, 1);
    let batch = refill.take(now).unwrap();
    refill.ended(&keys(&batch), Ended::Done, now, &mut rng());
    assert!(refill.is_filled() && !refill.has_failed());
}

#[test]
fn one_wrong_input_costs_itself_alone() {
    let mut refill = Refill::new(settings(), (1..=10).map(key));
    (4..=10).for_each(|number| refill.settled(&key(number)));
    for number in [1, 2, 3] {
        want(&mut refill, number);
    }
    let batch = refill.take(NOW).unwrap();
    assert_eq!(refill.ended(&keys(&batch), Ended::Wrong, NOW, &mut rng()).again, 3);
    for number in [3, 2, 1] {
        let batch = refill.take(NOW).unwrap();
        assert_eq!(numbers(&batch), [number]);
        let how = if number == 2 { Ended::Wrong } else { Ended::Done };
        let count = refill.ended(&keys(&batch), how, NOW, &mut rng());
        assert_eq!(count.given_up, usize::from(number == 2));
    }
    assert!(refill.is_filled(), "one in ten holds nothing up");
    assert_eq!(refill.progress(), (9, 10));
}

#[test]
fn a_refusal_stops_all_until_there_is_room_and_counts_against_nobody() {
    let mut refill = Refill::new(settings(), []);
    for number in 1..=6 {
        want(&mut refill, number);
    }
    for _ in 0..10 {
        let batch = refill.take(after(1000)).unwrap();
        let refused = Ended::Refused(Some(Duration::from_mins(1)));
        assert_eq!(refill.ended(&keys(&batch), refused, NOW, &mut rng()).refused, 3);
        assert!(refill.take(after(60)).is_none(), "it waits at least so long");
        let wake = refill.wake().unwrap();
        assert!((after(61)..=after(68)).contains(&wake), "{wake:?}");
    }
    assert_eq!(refill.depth(), 6);
    let batch = refill.take(after(1000)).unwrap();
    let weeks = Ended::Refused(Some(Duration::from_hours(24 * 20)));
    refill.ended(&keys(&batch), weeks, NOW, &mut rng());
    assert!(refill.wake().unwrap() <= after(3608), "somebody may raise the budget");
}

#[test]
fn what_comes_later_is_asked_for_and_holds_nothing_up() {
    let mut refill = Refill::new(settings(), [key(1), key(2)]);
    want(&mut refill, 1);
    let batch = refill.take(NOW).unwrap();
    want(&mut refill, 9);
    refill.ended(&keys(&batch), Ended::Done, NOW, &mut rng());
    assert_eq!((refill.progress(), refill.is_filled()), ((1, 2), false));
    refill.settled(&key(2));
    assert!(refill.is_filled());
    assert_eq!(numbers(&refill.take(NOW).unwrap()), [9]);
}

#[test]
fn where_there_is_no_room_for_more_nothing_more_is_asked_for() {
    let mut refill = Refill::new(settings(), [key(1), key(9)]);
    for number in 1..=6 {
        want(&mut refill, number);
    }
    let batch = refill.take(NOW).unwrap();
    let other = refill.take(NOW).unwrap();
    want(&mut refill, 7);
    assert_eq!(refill.ended(&keys(&batch), Ended::NoRoom, NOW, &mut rng()).given_up, 4);
    assert!(refill.is_filled());
    assert_eq!(refill.ended(&keys(&other), Ended::Done, NOW, &mut rng()).done, 3);
    assert!(refill.take(NOW).is_none() && refill.wake().is_none());
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Want(u8),
    Settle(u8),
    Take,
    End(usize, u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..60).prop_map(Step::Want),
        1 => (0_u8..60).prop_map(Step::Settle),
        4 => Just(Step::Take),
        4 => (0_usize..4, 0_u8..4).prop_map(|(which, how)| Step::End(which, how)),
        2 => (0_u64..20_000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever comes in whatever order: bounds hold, nothing is out twice, the most wanted goes first, and all comes to an end.
    #[test]
    fn whatever_happens_bounds_hold_and_every_job_comes_to_its_end(steps in prop::collection::vec(step(), 1..300), seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let known: Vec<Key> = (0..20).map(key).collect();
        let mut refill: Refill<u8> = Refill::new(settings(), known.clone());
        let (mut now, mut out): (Moment, Vec<Batch<u8>>) = (NOW, Vec::new());
        let mut uses: HashMap<u8, u32> = HashMap::new();
        let how = |how| match how {
            0 => Ended::Done,
            1 => Ended::Failed(None),
            2 => Ended::Wrong,
            _ => Ended::Refused(None),
        };
        for step in steps {
            match step {
                Step::Want(number) => {
                    let is_new = !refill.jobs.contains_key(&key(number));
                    let is_full = refill.jobs.len() >= MOST;
                    let used = uses.entry(number).or_default();
                    *used += 1;
                    let taken = refill.want(key(number), kind(number % 2), (*used, number == 7), || number);
                    prop_assert_eq!(taken, !(is_new && is_full));
                }
                Step::Settle(number) => refill.settled(&key(number)),
                Step::Take => {
                    let paused = refill.paused;
                    if let Some(batch) = refill.take(now) {
                        prop_assert!(paused.is_none_or(|until| until <= now), "a refusal stops all");
                        prop_assert!((1..=BATCH).contains(&batch.jobs.len()));
                        let first = batch.jobs[0].1;
                        prop_assert!(batch.jobs.iter().all(|(_, number)| number % 2 == first % 2), "of one kind");
                        prop_assert!(batch.jobs.len() == 1 || !numbers(&batch).contains(&7), "it goes by itself");
                        for other in &out {
                            prop_assert!(keys(other).iter().all(|key| !keys(&batch).contains(key)), "out twice");
                        }
                        for (key, job) in refill.jobs.iter().filter(|(_, job)| job.state == State::Ready) {
                            prop_assert!(job.rank <= refill.jobs[&batch.jobs[0].0].rank, "{key:?} is wanted more");
                            prop_assert!(job.rank.0 <= uses[&job.what]);
                        }
                        out.push(batch);
                    }
                    prop_assert!(out.len() <= WORKERS);
                }
                Step::End(which, as_told) if !out.is_empty() => {
                    let batch = out.remove(which % out.len());
                    let keys = keys(&batch);
                    let count = refill.ended(&keys, how(as_told), now, &mut rng);
                    prop_assert_eq!(count.done + count.again + count.given_up + count.refused, keys.len());
                }
                Step::End(..) => {}
                Step::Pass(millis) => now = now + Duration::from_millis(millis),
            }
            prop_assert!(refill.jobs.len() <= MOST);
            prop_assert!(refill.given_up.is_disjoint(&refill.awaited) && refill.progress().0 <= known.len());
            prop_assert_eq!(refill.workers(), out.len());
            let asked: usize = out.iter().map(|batch| batch.jobs.len()).sum();
            prop_assert_eq!(refill.depth() + asked, refill.jobs.len(), "no job is lost");
        }
        // From now on all fails: it ends all the same.
        for batch in out.drain(..) {
            refill.ended(&keys(&batch), Ended::Failed(None), now, &mut rng);
        }
        for _ in 0..10_000 {
            let Some(wake) = refill.wake() else { break };
            now = now.max(wake);
            let batch = refill.take(now);
            prop_assert!(batch.is_some(), "who is woken has something to do");
            refill.ended(&keys(&batch.unwrap()), Ended::Failed(None), now, &mut rng);
        }
        prop_assert_eq!(refill.depth(), 0);
        prop_assert!(refill.awaited().all(|key| !refill.jobs.contains_key(key)));
    }
}
