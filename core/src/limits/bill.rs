//! What a request's attempts come to, against what was reserved for it. What is known of an attempt counts; where nobody knows all of one,
//! the most that it may have come to does, at what its own model costs. The reserve bounds that, and stands where nobody knows it either:
//! it was made for the dearest that might have been asked.

use super::limiter::Need;
use crate::cost::{Picodollars, Unpriced};
use crate::record::Spent;
use crate::reserve::Most;

/// Its attempts until now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bill {
    is_sent: bool,
    input: Sum,
    output: Sum,
    cost: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    known: u64,
    /// Of attempts of which there may be more.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// What is known of them.
    known: u64,
    /// The most that they may have come to.
    most: u64,
}

/// Nobody knows the most: the reserve stands.
const RESERVE_STANDS: u64 = u64::MAX;

impl Sum {
    /// `most`: what it may have come to, where there may be more.
    fn add(&mut self, amount: u64, most: Option<u64>) {
        if let Some(most) = most {
            let open = self.open.get_or_insert_default();
            open.known = open.known.saturating_add(amount);
            open.most = open.most.saturating_add(most);
        } else {
            self.known = self.known.saturating_add(amount);
        }
    }

    fn settled(self, reserve: u64) -> u64 {
        let open = self.open.map_or(0, |open| open.known.max(open.most.min(reserve)));
        self.known.saturating_add(open)
    }
}

impl Bill {
    /// An attempt has ended and cost so much. `open`: it may have written more than is known, and come to this at the most.
    pub fn attempt(&mut self, spent: &Spent, cost: Result<Picodollars, Unpriced>, open: Option<Most>) {
        self.is_sent = true;
        if spent.is_nothing {
            return;
        }
        let told = spent.reported.unwrap_or_default();
        let input = told.input.saturating_add(spent.estimated_input);
        let output = told.output.saturating_add(spent.estimated_output);
        let is_unknown = spent.total().is_none();
        let used = Need::new(input, output, cost.unwrap_or_default());
        let unknown = is_unknown.then_some(RESERVE_STANDS);
        self.input.add(used.input, unknown);
        self.output.add(used.output, unknown.or(open.map(|most| most.output)));
        let price = |most: Most| most.cost.map_or(RESERVE_STANDS, |cost| Need::new(0, 0, cost).cost);
        let unpriced = cost.is_err().then_some(RESERVE_STANDS);
        self.cost.add(used.cost, open.map(price).or(unpriced));
    }

    /// What the request is to be settled with, for which so much was reserved; `None`: no attempt was made.
    pub fn settled(&self, reserve: Need) -> Option<Need> {
        self.is_sent.then(|| Need {
            input: self.input.settled(reserve.input),
            output: self.output.settled(reserve.output),
            cost: self.cost.settled(reserve.cost),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Ended;
    use crate::fault::{ErrorKind, TransportFault};
    use crate::record::Estimate;

    const RESERVE: Need = Need {
        input: 50,
        output: 4_000,
        cost: 8_100,
    };

    /// Of the dearest.
    const MOST: Most = Most {
        output: 4_000,
        cost: Ok(Picodollars::new(8_100)),
    };

    fn need(input: u64, output: u64, cost: u64) -> Need {
        Need { input, output, cost }
    }

    /// At two picodollars a token. `seen`: output that is estimated.
    fn add(bill: &mut Bill, ended: Ended, seen: u64, is_stream: bool) {
        add_most(bill, ended, (seen, is_stream), MOST);
    }

    fn add_most(bill: &mut Bill, ended: Ended, (seen, is_stream): (u64, bool), most: Most) {
        let estimate = Estimate {
            input: 50,
            output: seen,
        };
        let spent = Spent::of(&ended, None, Some(estimate));
        let cost = Picodollars::new(2 * i64::try_from(spent.total().unwrap()).unwrap());
        bill.attempt(
            &spent,
            Ok(cost),
            spent.is_output_open(&ended, is_stream).then_some(most),
        );
    }

    const LATE: Ended = Ended::Transport {
        fault: TransportFault::TotalTimeout,
        content_sent: false,
    };

    #[test]
    fn an_answer_that_nobody_waited_for_costs_its_reserve_and_not_its_input_alone() {
        for ended in [LATE, Ended::CallerGone] {
            for is_stream in [false, true] {
                let mut bill = Bill::default();
                add(&mut bill, ended, 0, is_stream);
                assert_eq!(bill.settled(RESERVE), Some(need(50, 4_000, 8_100)), "{ended:?}");
            }
            // Of half an answer nobody knows how long the other was; a stream was seen as far as it came.
            let mut bill = Bill::default();
            add(&mut bill, ended, 20, false);
            assert_eq!(bill.settled(RESERVE), Some(need(50, 4_000, 8_100)), "{ended:?}");
            let mut bill = Bill::default();
            add(&mut bill, ended, 20, true);
            assert_eq!(bill.settled(RESERVE), Some(need(50, 20, 140)), "{ended:?}");
        }
    }

    #[test]
    fn an_answer_that_nobody_waited_for_costs_the_most_of_its_own_model_and_not_of_the_dearest() {
        let cheap = Most {
            output: 1_000,
            cost: Ok(Picodollars::new(2_100)),
        };
        let mut bill = Bill::default();
        add_most(&mut bill, LATE, (0, false), cheap);
        assert_eq!(bill.settled(RESERVE), Some(need(50, 1_000, 2_100)));
        add_most(&mut bill, Ended::CallerGone, (0, true), cheap);
        assert_eq!(bill.settled(RESERVE), Some(need(100, 2_000, 4_200)), "each has its own");
        add(&mut bill, LATE, 0, false);
        assert_eq!(
            bill.settled(RESERVE),
            Some(need(150, 4_000, 8_100)),
            "the reserve bounds all"
        );
        // Whose price nobody knows may have cost all of it.
        let cost = Err(Unpriced::Model);
        let mut bill = Bill::default();
        add_most(&mut bill, LATE, (0, false), Most { cost, ..cheap });
        assert_eq!(bill.settled(RESERVE), Some(need(50, 1_000, 8_100)));
        // Nobody knows its tokens, and what they may cost at the most.
        let mut bill = Bill::default();
        bill.attempt(&Spent::of(&LATE, None, None), Err(Unpriced::Tokens), Some(cheap));
        assert_eq!(bill.settled(RESERVE), Some(need(50, 4_000, 2_100)));
    }

    #[test]
    fn what_is_known_of_other_attempts_comes_on_top_and_the_reserve_stands_once() {
        let mut bill = Bill::default();
        add(&mut bill, LATE, 0, false);
        add(&mut bill, LATE, 0, false);
        add(&mut bill, Ended::Answered, 10, false);
        assert_eq!(bill.settled(RESERVE), Some(need(150, 4_010, 8_100 + 120)));
        // What is known of those that are open may be more than was reserved.
        let little = Need {
            output: 7,
            cost: 9,
            ..RESERVE
        };
        assert_eq!(bill.settled(little), Some(need(150, 17, 200 + 120)));
    }

    #[test]
    fn a_whole_answer_a_refusal_and_what_was_never_sent_cost_what_they_cost() {
        let refused = Ended::Status {
            status: 429,
            kind: ErrorKind::RateLimited,
        };
        let unreachable = Ended::Transport {
            fault: TransportFault::ConnectRefused,
            content_sent: false,
        };
        // As a stream's first event: what it read may be billed.
        let overloaded = Ended::InStream {
            kind: ErrorKind::Overloaded,
            content_sent: false,
        };
        let mut bill = Bill::default();
        add(&mut bill, overloaded, 0, true);
        assert_eq!(bill.settled(RESERVE), Some(need(50, 0, 100)));
        for (ended, is) in [
            (Ended::Answered, need(50, 10, 120)),
            (refused, need(0, 0, 0)),
            (unreachable, need(0, 0, 0)),
        ] {
            let mut bill = Bill::default();
            add(&mut bill, ended, 10, false);
            assert_eq!(bill.settled(RESERVE), Some(is), "{ended:?}");
        }
        assert_eq!(Bill::default().settled(RESERVE), None);
    }

    #[test]
    fn where_the_tokens_or_their_price_are_not_known_the_reserve_stands_for_them() {
        let mut bill = Bill::default();
        bill.attempt(&Spent::of(&Ended::Answered, None, None), Err(Unpriced::Tokens), None);
        assert_eq!(bill.settled(RESERVE), Some(RESERVE));
        let spent = Spent {
            estimated_output: 9,
            ..Spent::default()
        };
        let mut bill = Bill::default();
        bill.attempt(&spent, Err(Unpriced::Model), None);
        assert_eq!(bill.settled(RESERVE), Some(need(0, 9, 8_100)));
    }
}
