use std::collections::BTreeMap;

use proptest::prelude::*;

use super::allocator::Allocator;
use super::holder::{Holder, Standing};
use super::*;
use crate::clock::Moment;

const WHOLE: u64 = 1_000;

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

#[test]
fn a_share_goes_on_until_it_is_over_then_the_smaller_then_the_floor() {
    let mut holder = Holder::new(WHOLE, at(0));
    assert_eq!(holder.entitled(at(0)), (0, Standing::New));
    assert_eq!(holder.entitled(at(5_000)), (WHOLE / NEWCOMER_DIVISOR, Standing::Floor));
    let ask = holder.ask(10, 0, at(5_000)).unwrap();
    assert_eq!(holder.ask(10, 0, at(5_200)), None, "asked already");
    let mut leader = Allocator::of_a_new_limit(WHOLE, 1, at(0));
    leader.expect(10);
    let grant = leader.hear(&0, &ask, at(5_400)).unwrap();
    assert!(holder.take(&grant, at(5_900)));
    assert_eq!(holder.entitled(at(6_000)), (12, Standing::Granted));
    // From the ask on, less a hundredth.
    assert_eq!(holder.entitled(at(5_000 + 59_399)).1, Standing::Granted);
    assert_eq!(holder.entitled(at(5_000 + 59_400)), (12, Standing::Lapsed));
    let floor_from = 5_900 + 151_500;
    assert_eq!(holder.entitled(at(floor_from - 1)), (12, Standing::Lapsed));
    assert_eq!(holder.entitled(at(floor_from)), (100, Standing::Floor));
}

#[test]
fn a_grant_that_answers_an_ask_of_before_or_comes_from_a_leader_of_before_is_not_taken() {
    let mut holder = Holder::new(WHOLE, at(0));
    let mut leader = Allocator::of_a_new_limit(WHOLE, 2, at(0));
    let first = holder.asks(10, 0, at(0));
    let late = leader.hear(&0, &first, at(1)).unwrap();
    let second = holder.asks(500, 0, at(2_000));
    assert!(!holder.take(&late, at(2_001)));
    let grant = leader.hear(&0, &second, at(2_002)).unwrap();
    assert!(holder.take(&grant, at(2_003)));
    let third = holder.asks(500, 0, at(4_000));
    let deposed = Grant {
        epoch: 1,
        number: third.number,
        ..grant
    };
    assert!(!holder.take(&deposed, at(4_001)));
}

#[test]
fn a_lower_limit_lowers_each_share_at_once_and_a_higher_one_waits_for_the_grant() {
    let mut holder = Holder::new(WHOLE, at(0));
    let mut leader = Allocator::of_a_new_limit(WHOLE, 1, at(0));
    let ask = holder.asks(400, 0, at(0));
    assert!(holder.take(&leader.hear(&0, &ask, at(1)).unwrap(), at(2)));
    assert_eq!(holder.entitled(at(3)).0, 500);
    holder.reconfigure(WHOLE / 2, at(4));
    assert_eq!(holder.entitled(at(5)).0, 250);
    holder.reconfigure(WHOLE * 2, at(6));
    assert_eq!(holder.entitled(at(7)).0, 500);
}

#[test]
fn a_pushed_grant_is_good_no_longer_than_the_answer_before_it() {
    let mut leader = Allocator::of_a_new_limit(WHOLE, 1, at(0));
    let (mut one, mut other) = (Holder::new(WHOLE, at(0)), Holder::new(WHOLE, at(0)));
    let first = one.asks(900, 0, at(0));
    assert!(one.take(&leader.hear(&1, &first, at(0)).unwrap(), at(1)));
    let second = other.asks(900, 0, at(700));
    assert!(other.take(&leader.hear(&2, &second, at(700)).unwrap(), at(701)));
    for (pod, grant) in leader.push(at(710)) {
        assert_eq!((pod, grant.number), (1, first.number));
        assert!(one.take(&grant, at(720)));
    }
    assert_eq!(one.entitled(at(59_399)), (WHOLE / 2, Standing::Granted));
    assert_eq!(one.entitled(at(59_400)).1, Standing::Lapsed, "from the ask on");
    // What it gives up it says at once; a grant that was under way meanwhile is not taken any more.
    let third = one.ask(900, 0, at(730)).unwrap();
    assert_eq!(third.held, WHOLE / 2);
    let late = Grant {
        number: first.number,
        ..leader.hear(&1, &third, at(731)).unwrap()
    };
    assert!(!one.take(&late, at(740)));
}

#[test]
fn who_is_granted_less_says_so_at_once_and_only_once() {
    let mut leader = Allocator::of_a_new_limit(WHOLE, 1, at(0));
    let mut holders = [Holder::new(WHOLE, at(0)), Holder::new(WHOLE, at(0))];
    let mut ask = |pod: usize, want: u64, millis: u64| {
        let ask = holders[pod].ask(want, 0, at(millis));
        if let Some(ask) = ask {
            let grant = leader.hear(&pod, &ask, at(millis)).unwrap();
            assert!(holders[pod].take(&grant, at(millis)));
        }
        (ask.is_some(), holders[pod].entitled(at(millis)).0)
    };
    assert_eq!(ask(0, 2_000, 0), (true, WHOLE));
    assert_eq!(ask(1, 2_000, 1_000), (true, 0), "the first holds all of it");
    assert_eq!(ask(0, 2_000, 20_000), (true, WHOLE / 2));
    assert_eq!(ask(0, 2_000, 20_001), (true, WHOLE / 2), "it holds less, and says so");
    assert_eq!(ask(0, 2_000, 20_002), (false, WHOLE / 2), "that was all");
    assert_eq!(ask(1, 2_000, 20_003), (true, WHOLE / 2), "so the other has it");
}

#[test]
fn so_many_sidecars_ask_one_leader_no_oftener_than_it_takes() {
    assert_eq!(pace(3), SHORTEST_PACE);
    assert_eq!(pace(10_000), Duration::from_secs(10));
    assert_eq!(pace(1_000_000), RENEW, "so many renew: their leases must not run out");
    assert!(RENEW * 3 <= LEASE);
}

#[test]
fn a_grant_that_is_sent_on_to_who_was_here_before_is_not_taken_by_who_is_here_now() {
    let mut leader = Allocator::of_a_new_limit(WHOLE, 1, at(0));
    let (mut one, mut other) = (Holder::new(WHOLE, at(0)), Holder::new(WHOLE, at(0)));
    leader.hear(&1, &one.asks(900, 0, at(0)), at(0)).unwrap();
    leader.hear(&2, &other.asks(900, 0, at(700)), at(700)).unwrap();
    let late = leader.push(at(710));
    assert!(!late.is_empty());
    let mut restarted = Holder::new(WHOLE, at(720)).counting_from(1 << 32);
    restarted.asks(900, 0, at(720));
    assert!(!late.iter().any(|(_, grant)| restarted.take(grant, at(730))));
    assert!(late.iter().all(|(_, grant)| one.take(grant, at(730))));
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A sidecar asks, wanting so much; the ask is lost, or its grant, or neither. What is pushed to others is lost, or late, or
    /// neither.
    Ask {
        pod: u8,
        want: u16,
        lost: u8,
    },
    Pass {
        millis: u32,
    },
    AnotherLeads,
    Restarts {
        pod: u8,
    },
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0_u8..6, 0_u16..1_500, 0_u8..6).prop_map(|(pod, want, lost)| Event::Ask { pod, want, lost }),
        4 => (1_u32..30_000).prop_map(|millis| Event::Pass { millis }),
        1 => Just(Event::AnotherLeads),
        1 => (0_u8..6).prop_map(|pod| Event::Restarts { pod }),
    ]
}

proptest! {
    #[test]
    fn at_no_moment_do_shares_and_floors_together_exceed_the_limit(events in prop::collection::vec(events(), 1..200)) {
        let mut millis = 0;
        let (mut epoch, mut restarts) = (1, 0);
        let mut leader = Allocator::of_a_new_limit(WHOLE, epoch, at(0));
        leader.expect(6);
        let mut holders: BTreeMap<u8, Holder> = (0..6).map(|pod| (pod, Holder::new(WHOLE, at(0)))).collect();
        let mut late = Vec::new();
        for event in events {
            match event {
                Event::Ask { pod, want, lost } => {
                    let holder = holders.get_mut(&pod).unwrap();
                    let ask = holder.asks(want.into(), 0, at(millis));
                    if lost != 1 {
                        let grant = leader.hear(&pod, &ask, at(millis));
                        if let Some(grant) = grant.filter(|_| lost != 2) {
                            holder.take(&grant, at(millis));
                        }
                        let before = std::mem::take(&mut late);
                        for (pod, grant) in leader.push(at(millis)) {
                            match lost {
                                3 => late.push((pod, grant)),
                                4 => {}
                                _ => {
                                    holders.get_mut(&pod).unwrap().take(&grant, at(millis));
                                }
                            }
                        }
                        for (pod, grant) in before {
                            holders.get_mut(&pod).unwrap().take(&grant, at(millis));
                        }
                    }
                }
                Event::Pass { millis: passed } => millis += u64::from(passed),
                Event::AnotherLeads => {
                    epoch += 1;
                    leader = Allocator::new(WHOLE, epoch, at(millis));
                    leader.expect(6);
                }
                Event::Restarts { pod } => {
                    restarts += 1;
                    holders.insert(pod, Holder::new(WHOLE, at(millis)).counting_from(restarts << 32));
                }
            }
            // What those use without a share whom this leader has granted nothing yet is named in the bound.
            let used = |holder: &Holder| {
                let (amount, standing) = holder.entitled(at(millis));
                let is_without = matches!(standing, Standing::Lapsed | Standing::Floor);
                if is_without && holder.epoch() != epoch { 0 } else { amount }
            };
            let all: u64 = holders.values().map(used).sum();
            prop_assert!(all <= WHOLE, "{all} of {WHOLE} at {millis} ms");
        }
    }
}
