use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::book::{Beyond, Budget, Need, Spenders};
use super::super::spending::{AllReserved, Refused, Spending};
use super::super::window::{Calendar, Division, Window};
use super::lender::{Answer, Lender};
use super::purses::{Owed, Wanted};
use super::treasury::{Key, Mark, Treasury};
use super::*;

const AMOUNT: u64 = 1_000;
/// Seconds of a window.
const HOUR: i64 = 3_600;

fn budget(stops: bool, beyond: Beyond) -> Arc<Budget> {
    let division = Division::Every(NonZeroU32::new(3_600).unwrap());
    Arc::new(Budget {
        name: "hour".into(),
        policy: "shop".into(),
        full_name: "shop/hour".into(),
        amount: AMOUNT,
        calendar: Calendar::new(division, "UTC").unwrap(),
        warn_at: vec![50],
        beyond,
        per: Spenders::Namespace,
        stops_without_operator: stops,
    })
}

fn key() -> Key {
    Key {
        namespace: "team".into(),
        budget: "shop/hour".into(),
        of: String::new(),
    }
}

fn sidecar(run: u64, budget: &Arc<Budget>, now: i64) -> Spending {
    let mut spending = Spending::new(run);
    spending.purses.reconfigure(&[wanted(budget)], now);
    spending
}

fn wanted(budget: &Arc<Budget>) -> Wanted {
    Wanted {
        budget: Arc::clone(budget),
        of: "".into(),
        route: None,
    }
}

fn most(most: u64) -> Need {
    Need {
        most,
        is_unknown: false,
    }
}

/// A leader whose marks are written at once.
struct Leads {
    treasury: Treasury<u8>,
    written: BTreeMap<Key, Mark>,
    writes: usize,
}

impl Leads {
    fn new() -> Self {
        Self {
            treasury: Treasury::new(1, BTreeMap::new()),
            written: BTreeMap::new(),
            writes: 0,
        }
    }

    fn write(&mut self, now: i64) {
        while !self.treasury.due(now).is_empty() {
            let marks = self.treasury.marks("team", now);
            self.treasury.written(&marks);
            self.written = marks;
            self.writes += 1;
        }
    }

    /// It is killed, or hands over, and another leads.
    fn another_leads(&mut self, gracefully: bool, now: i64) {
        if gracefully && !self.treasury.close().is_empty() {
            self.written = self.treasury.marks("team", now);
        }
        self.treasury = Treasury::new(self.treasury.epoch() + 1, self.written.clone());
    }

    fn hear(&mut self, pod: u8, budget: &Budget, ask: &Ask, pods: usize, now: i64) -> Loan {
        let again = Duration::from_secs(1);
        let loan = self.treasury.hear(&key(), budget, &pod, ask, pods, again, now);
        loan.unwrap()
    }

    /// What a sidecar has to ask is asked, until it has nothing more to ask.
    fn serve(&mut self, pod: u8, spending: &mut Spending, pods: usize, now: i64) {
        for _ in 0..4 {
            let budget = budget(true, Beyond::Stop);
            let asks = spending.purses.asks(false, false, now);
            if asks.is_empty() {
                return;
            }
            for (name, of, ask) in asks {
                let loan = self.hear(pod, &budget, &ask, pods, now);
                // The mark is written before the answer is heard, so that the next ask finds it.
                self.write(now);
                spending.purses.take(
                    &name,
                    &of,
                    &Loan {
                        again: Duration::ZERO,
                        ..loan
                    },
                    now,
                );
            }
        }
    }
}

fn take(spending: &mut Spending, cost: u64, now: i64) -> Result<AllReserved, Refused> {
    spending
        .take(most(cost), None, false, false, now)
        .map(|taken| taken.reserved)
}

#[test]
fn a_request_waits_for_the_first_loan_and_what_is_asked_ahead_serves_those_after_it() {
    let (budget, mut leader) = (budget(true, Beyond::Stop), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    assert!(matches!(take(&mut pod, 10, 0), Err(Refused::Asks)));
    leader.serve(1, &mut pod, 1, 0);
    for _ in 0..5 {
        let reserved = take(&mut pod, 10, 1).unwrap();
        let _ = pod.settle(reserved, 10, 1);
    }
    let standing = pod.purses.standings(1).next().unwrap();
    assert_eq!((standing.spent_here, standing.level.spent), (50, 50));
    assert!(standing.held >= 50 && standing.held < AMOUNT / 2, "{standing:?}");
}

#[test]
fn two_pods_spend_the_amount_together_and_not_more_and_hear_when_the_next_window_begins() {
    let (budget, mut leader) = (budget(true, Beyond::Stop), Leads::new());
    let mut pods = [sidecar(1, &budget, 0), sidecar(2, &budget, 0)];
    let mut spent = 0;
    for turn in 0..400 {
        for (name, pod) in (0_u8..).zip(&mut pods) {
            leader.serve(name, pod, 2, turn * 50);
            if let Ok(reserved) = take(pod, 10, turn * 50) {
                let _ = pod.settle(reserved, 10, turn * 50);
                spent += 10;
            }
        }
    }
    assert!((AMOUNT - 60..=AMOUNT).contains(&spent), "{spent}");
    let Err(Refused::Held(held)) = take(&mut pods[0], 10, 20_001) else {
        panic!("it has room")
    };
    assert_eq!(held.level.window, Window { begins: 0, ends: HOUR });
    assert!(held.level.spent > AMOUNT - 100 && !held.is_without, "{held:?}");
    assert!(leader.writes <= 40, "{} writes", leader.writes);
    let next = HOUR * 1_000 + 1;
    assert!(matches!(take(&mut pods[0], 10, next), Err(Refused::Asks)));
    leader.serve(0, &mut pods[0], 2, next);
    assert!(take(&mut pods[0], 10, next).is_ok());
}

#[test]
fn what_a_budget_that_only_warns_lets_pass_before_its_first_loan_is_charged_all_the_same() {
    let (budget, mut leader) = (budget(true, Beyond::Warn), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    let early: Vec<_> = (0..3).map(|_| take(&mut pod, 100, 0).unwrap()).collect();
    leader.serve(1, &mut pod, 1, 1);
    let standing = pod.purses.standings(1).next().unwrap();
    assert_eq!((standing.level.reserved, standing.spent_here), (300, 0));
    for reserved in early {
        let _ = pod.settle(reserved, 70, 2);
    }
    let standing = pod.purses.standings(2).next().unwrap();
    assert_eq!((standing.level.reserved, standing.spent_here), (0, 210));
    leader.serve(1, &mut pod, 1, 600_000);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert_eq!(totals.spent, 210, "{totals:?}");
}

/// Two are let in after the window's end, of which one ends before the loan of the next and one after; what was let in `before` ends last.
/// Returns when they came.
fn two_after_the_end(pod: &mut Spending, leader: &mut Leads, before: AllReserved) -> i64 {
    let next = HOUR * 1_000 + 1;
    let ends_before = take(pod, 100, next).unwrap();
    let ends_after = take(pod, 100, next).unwrap();
    let _ = pod.settle(ends_before, 60, next + 1);
    leader.serve(1, pod, 1, next + 2);
    let standing = pod.purses.standings(next + 2).next().unwrap();
    assert_eq!((standing.level.reserved, standing.spent_here), (100, 60));
    let _ = pod.settle(ends_after, 30, next + 3);
    let _ = pod.settle(before, 10, next + 3);
    next
}

#[test]
fn what_is_let_in_after_a_windows_end_is_charged_to_the_next_whether_it_ends_before_the_loan_or_after() {
    let (budget, mut leader) = (budget(true, Beyond::Warn), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    let before = take(&mut pod, 10, 0).unwrap();
    leader.serve(1, &mut pod, 1, 0);
    let next = two_after_the_end(&mut pod, &mut leader, before);
    leader.serve(1, &mut pod, 1, next + 600_000);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert_eq!((totals.window.begins, totals.spent), (HOUR, 90), "{totals:?}");
}

#[test]
fn what_is_let_in_after_the_end_of_a_window_of_its_own_clock_is_charged_to_the_next_and_gives_its_reserve_back() {
    let (budget, mut leader) = (budget(false, Beyond::Warn), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    // Its own clock opens the window: it has asked nobody yet.
    let _ = pod.charge(10, None, 0);
    let before = take(&mut pod, 10, 0).unwrap();
    let next = two_after_the_end(&mut pod, &mut leader, before);
    let standing = pod.purses.standings(next + 3).next().unwrap();
    assert_eq!((standing.level.reserved, standing.spent_here), (0, 90));
    leader.serve(1, &mut pod, 1, next + 600_000);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert_eq!((totals.window.begins, totals.spent), (HOUR, 90), "{totals:?}");
}

#[test]
fn without_an_operator_a_pod_goes_on_up_to_the_whole_amount_or_stops() {
    let now = 10_000;
    let mut goes_on = sidecar(1, &budget(false, Beyond::Stop), now);
    assert!(matches!(take(&mut goes_on, 600, now), Err(Refused::Asks)));
    let tired = |spending: &mut Spending, cost: u64| spending.take(most(cost), None, false, true, now);
    let taken = tired(&mut goes_on, 600).unwrap();
    let _ = goes_on.settle(taken.reserved, 600, now);
    // From now on nobody waits.
    assert!(matches!(take(&mut goes_on, 600, now), Err(Refused::Held(held)) if !held.is_without));
    assert!(take(&mut goes_on, 400, now).is_ok());
    let mut stops = sidecar(1, &budget(true, Beyond::Stop), now);
    assert!(matches!(take(&mut stops, 1, now), Err(Refused::Asks)));
    assert!(matches!(tired(&mut stops, 1), Err(Refused::Held(held)) if held.is_without));

    // The operator is back: what was spent is told, and is out of the budget.
    let mut leader = Leads::new();
    leader.serve(1, &mut goes_on, 1, now + 2_000);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert!(totals.out >= 600, "{totals:?}");
    assert!(matches!(
        take(&mut goes_on, 601, now + 2_000),
        Err(Refused::Asks | Refused::Held(_))
    ));
}

#[test]
fn what_nobody_reserved_for_is_told_to_all_in_the_window_in_which_it_is_charged() {
    let (budget, mut leader) = (budget(true, Beyond::Stop), Leads::new());
    let (mut one, mut two) = (sidecar(1, &budget, 0), sidecar(2, &budget, 0));
    // Of one that has never asked, and of one that was lent something in a window that is over.
    let _ = take(&mut one, 100, 0);
    leader.serve(1, &mut one, 2, 0);
    let later = (HOUR + 60) * 1_000;
    let _ = one.charge(700, None, later);
    let _ = two.charge(200, None, later);
    leader.serve(1, &mut one, 2, later);
    leader.serve(2, &mut two, 2, later);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert_eq!(totals.spent, 900, "{totals:?}");
    assert!(matches!(take(&mut two, 101, later), Err(Refused::Asks)));
    leader.serve(2, &mut two, 2, later);
    assert!(matches!(take(&mut two, 101, later), Err(Refused::Held(held)) if held.level.spent == 900));
    // Of another route it is nothing to a budget that each route has for itself.
    let mut of_route = Spending::new(3);
    let route = Some("fast".into());
    of_route.purses.reconfigure(
        &[Wanted {
            route,
            ..wanted(&budget)
        }],
        0,
    );
    let _ = of_route.charge(5, None, 0);
    assert_eq!(of_route.purses.standings(0).next().unwrap().spent_here, 0);
    let _ = of_route.charge(5, Some("fast"), 0);
    assert_eq!(of_route.purses.standings(0).next().unwrap().spent_here, 5);
}

#[test]
fn what_an_earlier_run_owes_is_told_and_what_it_held_counts_as_spent() {
    let (budget, mut leader) = (budget(false, Beyond::Stop), Leads::new());
    let mut first = sidecar(1, &budget, 0);
    let _ = take(&mut first, 100, 0);
    leader.serve(7, &mut first, 1, 0);
    let held = first.purses.standings(0).next().unwrap().held;
    assert!(held >= 100);
    let owed: Vec<Owed> = first.purses.owed(0).collect();
    assert_eq!(owed, []);
    let mut second = Spending::new(2);
    second.purses.begin_with(vec![Owed {
        full_name: "shop/hour".into(),
        of: "".into(),
        window: 0,
        amount: 30,
    }]);
    second.purses.reconfigure(&[wanted(&budget)], 0);
    let _ = take(&mut second, 10, 0);
    leader.serve(7, &mut second, 1, 0);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert!(totals.out >= held + 30 + 10 && totals.spent >= held + 30, "{totals:?}");
}

#[test]
fn a_budget_that_was_taken_away_and_comes_again_goes_on_with_what_was_spent() {
    let (budget, mut leader) = (budget(true, Beyond::Stop), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    let _ = take(&mut pod, 100, 0);
    leader.serve(1, &mut pod, 1, 0);
    let reserved = take(&mut pod, 100, 0).unwrap();
    let _ = pod.settle(reserved, 100, 0);
    pod.purses.reconfigure(&[], 0);
    pod.purses.reconfigure(&[wanted(&budget)], 0);
    let _ = take(&mut pod, 10, 2_000);
    leader.serve(1, &mut pod, 1, 2_000);
    let totals = leader.treasury.totals().next().unwrap().1;
    assert!(totals.spent >= 100 && totals.out >= 110, "{totals:?}");
}

#[test]
fn a_loan_that_comes_after_another_ask_is_not_taken() {
    let (budget, mut leader) = (budget(true, Beyond::Stop), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    let _ = take(&mut pod, 10, 0);
    leader.serve(1, &mut pod, 1, 0);
    let _ = take(&mut pod, 400, 1);
    let (name, of, first) = pod.purses.asks(false, false, 1).remove(0);
    let pending = leader.hear(1, &budget, &first, 1, 1);
    leader.write(1);
    pod.purses.take(&name, &of, &pending, 1);
    let (_, _, second) = pod.purses.asks(false, false, 200).remove(0);
    let late = leader.hear(1, &budget, &second, 1, 200);
    assert!(!late.is_pending && late.held >= 400, "{late:?}");
    // What it holds it gives back: that is what the leader knows of it from now on.
    let (_, _, last) = pod.purses.asks(false, true, 201).remove(0);
    let _ = leader.hear(1, &budget, &last, 1, 201);
    assert_eq!(pod.purses.take(&name, &of, &late, 202), None);
    assert_eq!(pod.purses.standings(202).next().unwrap().held, 0);
}

#[test]
fn what_nobody_uses_is_given_back_and_so_is_all_at_a_graceful_end() {
    let (budget, mut leader) = (budget(true, Beyond::Stop), Leads::new());
    let mut pod = sidecar(1, &budget, 0);
    let _ = take(&mut pod, 10, 0);
    leader.serve(1, &mut pod, 1, 0);
    let reserved = take(&mut pod, 10, 0).unwrap();
    let _ = pod.settle(reserved, 4, 0);
    leader.serve(1, &mut pod, 1, 59_999);
    assert!(leader.treasury.totals().next().unwrap().1.out > 10);
    leader.serve(1, &mut pod, 1, 80_000);
    assert_eq!(leader.treasury.totals().next().unwrap().1.out, 4);
    let _ = take(&mut pod, 10, 90_000);
    leader.serve(1, &mut pod, 1, 90_000);
    assert!(leader.treasury.totals().next().unwrap().1.out > 10);
    let (_, _, last) = pod.purses.asks(false, true, 90_001).remove(0);
    let _ = leader.hear(1, &budget, &last, 1, 90_001);
    assert_eq!(leader.treasury.totals().next().unwrap().1.out, 4);
    // At rest nothing is asked and nothing is due.
    assert!(pod.purses.asks(false, false, 900_000).is_empty() || pod.purses.asks(false, false, 900_001).is_empty());
    assert!(leader.treasury.due(900_000).is_empty());
}

#[test]
fn one_whose_pod_has_ended_and_that_asks_once_more_is_booked_once() {
    let mut lender = Lender::new(AMOUNT, 1, 0);
    let ask = Ask {
        number: 1,
        run: 1,
        epoch: 1,
        held: 100,
        spent: 60,
        ..Ask::default()
    };
    let _ = lender.hear(&1, &ask, 1);
    assert!(lender.ended(&1) && !lender.ended(&1));
    assert_eq!((lender.is_left(), lender.spent()), (true, 100), "all that it held");
    let last = Ask {
        number: 2,
        held: 70,
        spent: 70,
        ..ask
    };
    assert_eq!(
        lender.hear(&1, &ask, 1),
        Answer::Behind(1),
        "an ask that was heard before"
    );
    assert!(lender.ended(&1));
    let _ = lender.hear(&1, &last, 1);
    assert_eq!((lender.spent(), lender.out()), (70, 70));
    // Another run has spent anew, and who is gone says nothing more.
    assert!(lender.ended(&1));
    let _ = lender.hear(
        &1,
        &Ask {
            run: 2,
            held: 5,
            spent: 5,
            ..ask
        },
        1,
    );
    assert_eq!(lender.spent(), 75);
    assert!(lender.gone(&1));
    let _ = lender.hear(
        &1,
        &Ask {
            number: 9,
            run: 2,
            held: 5,
            spent: 5,
            ..ask
        },
        1,
    );
    assert_eq!(lender.spent(), 80);
}

#[test]
fn a_new_leader_takes_all_below_the_mark_for_spent_until_somebody_says_what_it_holds() {
    let mut lender = Lender::new(AMOUNT, 2, 400);
    assert_eq!((lender.spent(), lender.out()), (400, 400));
    let ask = Ask {
        number: 9,
        run: 1,
        epoch: 1,
        window: Some(0),
        held: 100,
        spent: 60,
        least: 0,
        want: 0,
    };
    assert_eq!(
        lender.hear(&1, &ask, 1),
        Answer::Held {
            held: 100,
            is_short: false
        }
    );
    assert_eq!((lender.spent(), lender.out()), (360, 400));
    assert_eq!(lender.hear(&1, &ask, 1), Answer::Behind(9));
    let more = Ask {
        number: 10,
        least: 120,
        want: 120,
        epoch: 2,
        ..ask
    };
    assert_eq!(lender.hear(&1, &more, 1), Answer::Pending);
    lender.written(lender.due().unwrap());
    let again = Ask { number: 11, ..more };
    assert_eq!(
        lender.hear(&1, &again, 1),
        Answer::Held {
            held: 120,
            is_short: false
        }
    );
    let too_much = Ask {
        number: 12,
        held: 120,
        least: 800,
        want: 800,
        ..more
    };
    assert_eq!(
        lender.hear(&1, &too_much, 1),
        Answer::Held {
            held: 120,
            is_short: true
        }
    );
}

#[test]
fn a_budget_of_a_route_holds_for_its_requests_alone_and_one_that_warns_waits_for_nobody() {
    let mut spending = Spending::new(1);
    let of_route = Wanted {
        route: Some("smart".into()),
        of: "smart".into(),
        ..wanted(&budget(true, Beyond::Stop))
    };
    spending.purses.reconfigure(&[of_route], 0);
    assert!(spending.take(most(10), Some("other"), false, false, 0).is_ok());
    assert!(spending.take(most(10), None, false, false, 0).is_ok());
    assert!(spending.take(most(10), Some("smart"), false, false, 0).is_err());
    let mut warns = sidecar(1, &budget(true, Beyond::Warn), 0);
    assert!(warns.take(most(10), None, false, false, 0).is_ok());
    assert!(
        take(&mut sidecar(1, &budget(true, Beyond::Stop), 0), 0, 0).is_ok(),
        "what is free passes"
    );
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A request of at most so much that costs a part of it.
    Request {
        pod: usize,
        most: u64,
        cost: u64,
    },
    /// A request that was let in ends.
    Ends,
    /// A sidecar asks; the ask is lost, or its answer, or the answer comes late, or neither.
    Ask {
        pod: usize,
        lost: u8,
    },
    /// Late answers come.
    Late,
    /// What is due is written, or the write is lost.
    Write {
        lost: bool,
    },
    Pass {
        millis: i64,
    },
    AnotherLeads {
        gracefully: bool,
    },
    Restarts {
        pod: usize,
    },
    /// A pod is gone, and another takes its place.
    Gone {
        pod: usize,
    },
    /// A pod has ended, and its process goes on for a while.
    Ended {
        pod: usize,
    },
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => (0_usize..4, 1_u64..120, 0_u64..=100).prop_map(|(pod, most, part)| Event::Request { pod, most, cost: most * part / 100 }),
        6 => Just(Event::Ends),
        10 => (0_usize..4, 0_u8..8).prop_map(|(pod, lost)| Event::Ask { pod, lost }),
        2 => Just(Event::Late),
        6 => prop::bool::weighted(0.2).prop_map(|lost| Event::Write { lost }),
        6 => (1_i64..3_000).prop_map(|millis| Event::Pass { millis }),
        1 => prop_oneof![9 => 60_000_i64..70_000, 1 => 1_000_000_i64..2_000_000].prop_map(|millis| Event::Pass { millis }),
        1 => any::<bool>().prop_map(|gracefully| Event::AnotherLeads { gracefully }),
        1 => (0_usize..4).prop_map(|pod| Event::Restarts { pod }),
        1 => (0_usize..4).prop_map(|pod| Event::Gone { pod }),
        1 => (0_usize..4).prop_map(|pod| Event::Ended { pod }),
    ]
}

struct Fleet {
    leader: Leads,
    pods: Vec<(u8, Spending)>,
    under_way: Vec<(usize, u64, AllReserved, u64, i64)>,
    late: Vec<(usize, u64, Loan)>,
    now: i64,
    runs: u64,
    names: u8,
    /// What was truly spent or is under way, by the window that it was let in under; of who vanished, all that it held.
    spent: BTreeMap<i64, u64>,
    /// The same of each process that runs.
    own: [BTreeMap<i64, u64>; 4],
    budget: Arc<Budget>,
}

impl Fleet {
    /// Each sidecar's clock is off by some hours of its own.
    fn clock(&self, pod: usize) -> i64 {
        self.now + [0, 9_000_000, -7_200_000, 500][pod]
    }

    fn run_of(&self, pod: usize) -> u64 {
        u64::from(self.pods[pod].0)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Request {
                pod,
                most: amount,
                cost,
            } => {
                let now = self.clock(pod);
                if let Ok(taken) = self.pods[pod].1.take(most(amount), None, false, false, now) {
                    let window = self.pods[pod]
                        .1
                        .purses
                        .standings(now)
                        .next()
                        .unwrap()
                        .level
                        .window
                        .begins;
                    *self.spent.entry(window).or_default() += amount;
                    *self.own[pod].entry(window).or_default() += amount;
                    self.under_way
                        .push((pod, self.run_of(pod), taken.reserved, cost, window));
                }
            }
            Event::Ends => {
                if self.under_way.is_empty() {
                    return;
                }
                let (pod, run, reserved, cost, window) = self.under_way.remove(0);
                // One whose sidecar has died is never settled: it may have cost all of it.
                if run == self.run_of(pod) {
                    *self.spent.get_mut(&window).unwrap() -= reserved.amount() - cost;
                    *self.own[pod].get_mut(&window).unwrap() -= reserved.amount() - cost;
                    let _ = self.pods[pod].1.settle(reserved, cost, self.now);
                }
            }
            Event::Ask { pod, lost } => {
                let now = self.clock(pod);
                let asks = self.pods[pod].1.purses.asks(lost == 3, false, now);
                for (_, _, ask) in asks {
                    if lost == 1 {
                        continue;
                    }
                    let (name, run) = (self.pods[pod].0, self.run_of(pod));
                    let loan = self.leader.hear(name, &self.budget, &ask, 4, self.now);
                    match lost {
                        2 => {}
                        4 => self.late.push((pod, run, loan)),
                        _ => drop(self.pods[pod].1.purses.take("shop/hour", "", &loan, now)),
                    }
                }
            }
            Event::Late => {
                for (pod, run, loan) in std::mem::take(&mut self.late) {
                    let now = self.clock(pod);
                    if run == self.run_of(pod) {
                        self.pods[pod].1.purses.take("shop/hour", "", &loan, now);
                    }
                }
            }
            Event::Write { lost } => {
                if !lost {
                    self.leader.write(self.now);
                }
            }
            Event::Pass { millis } => self.now += millis,
            Event::AnotherLeads { gracefully } => self.leader.another_leads(gracefully, self.now),
            Event::Ended { pod } => self.leader.treasury.ended("team", &self.pods[pod].0, self.now),
            Event::Restarts { pod } => self.begins(pod, self.pods[pod].0),
            Event::Gone { pod } => {
                let name = self.pods[pod].0;
                self.leader.treasury.gone("team", &name, self.now);
                self.names += 1;
                self.begins(pod, self.names);
            }
        }
    }

    /// A process begins that holds nothing. What its predecessor had under way may cost all of it, and of what it held besides nobody
    /// knows whether it was spent, as of one that is only cut off: the worst is taken.
    fn begins(&mut self, pod: usize, name: u8) {
        let own = std::mem::take(&mut self.own[pod]);
        let clock = self.clock(pod);
        for standing in self.pods[pod].1.purses.standings(clock) {
            let window = standing.level.window.begins;
            let spent = own.get(&window).copied().unwrap_or_default();
            *self.spent.entry(window).or_default() += standing.held.saturating_sub(spent);
        }
        self.runs += 1;
        let run = self.runs;
        let now = self.clock(pod);
        self.pods[pod] = (name, sidecar(run, &self.budget, now));
        self.under_way.retain(|(of, ..)| *of != pod);
        self.late.retain(|(of, ..)| *of != pod);
    }
}

fn fleet() -> Fleet {
    let budget = budget(true, Beyond::Stop);
    let mut fleet = Fleet {
        leader: Leads::new(),
        pods: Vec::new(),
        under_way: Vec::new(),
        late: Vec::new(),
        now: HOUR * 1_000 * 10,
        runs: 100,
        names: 100,
        spent: BTreeMap::new(),
        own: Default::default(),
        budget: Arc::clone(&budget),
    };
    for pod in 0..4 {
        let now = fleet.clock(usize::from(pod));
        fleet.pods.push((pod, sidecar(u64::from(pod), &budget, now)));
    }
    fleet
}

proptest! {
    #[test]
    fn whatever_is_lost_and_whoever_vanishes_no_more_than_the_amount_is_spent_together(
        events in prop::collection::vec(events(), 1..600),
    ) {
        let mut fleet = fleet();
        for event in events {
            fleet.happens(event);
            for (window, spent) in &fleet.spent {
                prop_assert!(*spent <= AMOUNT, "{spent} of {AMOUNT} in the window of {window}");
            }
        }
    }

    #[test]
    fn what_vanished_pods_and_leaders_held_comes_back_with_the_next_window(
        events in prop::collection::vec(events(), 1..300),
        is_told in any::<bool>(),
    ) {
        let mut fleet = fleet();
        for event in events {
            fleet.happens(event);
        }
        for pod in 0..4 {
            if is_told {
                fleet.happens(Event::Gone { pod });
            } else {
                // It vanishes, and nobody says so.
                fleet.names += 1;
                fleet.begins(pod, fleet.names);
            }
        }
        let next = fleet.now - fleet.now % (HOUR * 1_000) + HOUR * 1_000 + 1;
        let mut fresh = sidecar(9_999, &fleet.budget, next);
        let mut spent = 0;
        for turn in 0..200 {
            let now = next + turn;
            match take(&mut fresh, 10, now) {
                Ok(reserved) => {
                    let _ = fresh.settle(reserved, 10, now);
                    spent += 10;
                }
                Err(_) => fleet.leader.serve(99, &mut fresh, 1, now),
            }
        }
        prop_assert!((AMOUNT - 10..=AMOUNT).contains(&spent), "{spent} of {AMOUNT} in a window of its own");
    }
}
