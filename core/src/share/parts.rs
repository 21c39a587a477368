//! One sidecar's parts in the limits of one owner (a provider, a named limit) that others share: how much it wants of each, by what
//! its requests ask for, and how much it has.

use std::time::Duration;

use super::demand::Demand;
use super::holder::{Holder, Standing};
use super::{Ask, Grant};
use crate::clock::Moment;
use crate::limits::limiter::{LimiterSettings, Need, Shares, Which};

/// The most requests that were in flight or waited are remembered for about so long.
const PEAK_KEPT: Duration = Duration::from_secs(6);

/// Its parts.
#[derive(Clone, Debug)]
pub struct Parts {
    whole: LimiterSettings,
    each: Vec<Part>,
    shares: Shares,
    /// When a share changes by itself.
    changes: Option<Moment>,
    /// From where on the asks of the next part are numbered.
    number: u64,
}

/// What numbers the asks of one part are apart from those of the next.
const NUMBERS: u64 = 1 << 32;

/// Its part in one limit.
#[derive(Clone, Debug)]
struct Part {
    which: Which,
    holder: Holder,
    wants: Wants,
    standing: Standing,
}

/// How much is wanted.
#[derive(Clone, Debug)]
enum Wants {
    /// So much a minute.
    Rate(Demand),
    /// So many at once.
    Peak { requests: f64, since: Moment },
}

/// How many requests there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Admitted, and not over yet.
    pub in_flight: u64,
    /// Those that stand in line.
    pub waiting: u64,
}

/// A part as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// In which limit.
    pub which: Which,
    /// What may be used of it.
    pub share: u64,
    /// What would be used if nothing held it up.
    pub wanted: u64,
    /// There is no good share: it goes on with its floor.
    pub is_without: bool,
}

impl Parts {
    /// In no limit yet. `chance` numbers its asks, so that they are told from those of a process that was here before.
    pub fn new(chance: u32, now: Moment) -> Self {
        Self {
            number: u64::from(chance),
            whole: LimiterSettings::default(),
            each: Vec::new(),
            shares: Shares::default(),
            changes: Some(now),
        }
    }

    /// The limits are these now. What is held of those that stay is kept.
    pub fn reconfigure(&mut self, whole: LimiterSettings, now: Moment) {
        self.whole = whole;
        for which in Which::ALL {
            let at = self.each.iter().position(|part| part.which == which);
            match (whole.amount(which), at.and_then(|at| self.each.get_mut(at))) {
                (Some(amount), Some(part)) => part.holder.reconfigure(amount, now),
                (Some(amount), None) => {
                    self.each.push(Part::new(which, amount, self.number, now));
                    self.number = self.number.wrapping_add(NUMBERS);
                }
                (None, _) => self.each.retain(|part| part.which != which),
            }
        }
        self.changes = Some(now);
    }

    /// The limits that these are parts of.
    pub fn whole(&self) -> LimiterSettings {
        self.whole
    }

    /// What may be used of each, since [`Self::fit`] was last told the time.
    pub fn shares(&self) -> Shares {
        self.shares
    }

    /// Brings the shares to what they are at `now`. `None`: they are what they were; otherwise those that are over since, without a
    /// word from the operator.
    pub fn fit(&mut self, now: Moment) -> Option<Vec<Which>> {
        if self.changes.is_none_or(|at| at > now) {
            return None;
        }
        self.changes = None;
        self.shares = Shares::default();
        let mut over = Vec::new();
        for part in &mut self.each {
            let (share, standing) = part.holder.entitled(now);
            *self.shares.of(part.which) = share;
            if part.standing == Standing::Granted && standing != Standing::Granted {
                over.push(part.which);
            }
            part.standing = standing;
            let next = part.holder.changes_at(now);
            self.changes = [self.changes, next].into_iter().flatten().min();
        }
        Some(over)
    }

    /// A request that would use so much came, to be admitted or not.
    pub fn came(&mut self, need: Need, load: Load) {
        for part in &mut self.each {
            match &mut part.wants {
                Wants::Rate(demand) => demand.note(need.of(part.which)),
                Wants::Peak { requests, .. } => {
                    let at_once = load.in_flight.saturating_add(load.waiting).saturating_add(1);
                    *requests = requests.max(at_once as f64);
                }
            }
        }
    }

    /// What is to be asked now, of which limit. `anew`: whoever lends knows of nothing yet.
    pub fn asks(&mut self, anew: bool, load: Load, now: Moment) -> Vec<(Which, Ask)> {
        let ask = |part: &mut Part| {
            let using = if part.which == Which::Concurrency {
                load.in_flight
            } else {
                0
            };
            let want = part.want(load, now);
            let ask = if anew {
                Some(part.holder.asks(want, using, now))
            } else {
                part.holder.ask(want, using, now)
            };
            Some((part.which, ask?))
        };
        self.each.iter_mut().filter_map(ask).collect()
    }

    /// A share of the limit of this name ([`Which::as_str`]) was granted. Says whether it was taken; then [`Self::fit`] has something
    /// to do.
    pub fn granted(&mut self, limit: &str, grant: &Grant, now: Moment) -> bool {
        let mut each = self.each.iter_mut();
        let part = each.find(|part| part.which.as_str() == limit);
        let is_taken = part.is_some_and(|part| part.holder.take(grant, now));
        if is_taken {
            self.changes = Some(now);
        }
        is_taken
    }

    /// Each part as it is.
    pub fn seen(&mut self, load: Load, now: Moment) -> Vec<Seen> {
        let seen = |part: &mut Part| {
            let (share, standing) = part.holder.entitled(now);
            Seen {
                which: part.which,
                share,
                wanted: part.want(load, now),
                is_without: standing != Standing::Granted,
            }
        };
        self.each.iter_mut().map(seen).collect()
    }
}

impl Part {
    fn new(which: Which, whole: u64, number: u64, now: Moment) -> Self {
        let wants = if which == Which::Concurrency {
            Wants::Peak {
                requests: 0.0,
                since: now,
            }
        } else {
            Wants::Rate(Demand::new(now))
        };
        Self {
            which,
            holder: Holder::new(whole, now).counting_from(number),
            wants,
            standing: Standing::New,
        }
    }

    fn want(&mut self, load: Load, now: Moment) -> u64 {
        match &mut self.wants {
            Wants::Rate(demand) => demand.per_minute(load.waiting, now),
            Wants::Peak { requests, since } => {
                let passed = now.saturating_since(*since).as_secs_f64();
                *requests *= (-passed / PEAK_KEPT.as_secs_f64()).exp();
                *since = now;
                rounded(*requests).max(load.in_flight.saturating_add(load.waiting))
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
fn rounded(value: f64) -> u64 {
    // What is left of a single request after a while is none.
    (value - 0.1).ceil().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::*;
    use crate::share::allocator::Allocator;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn each_limit_of_an_owner_is_asked_for_and_granted_by_itself() {
        let mut parts = Parts::new(7, at(0));
        let whole = LimiterSettings {
            output_per_minute: NonZeroU64::new(6_000),
            cost_per_minute: NonZeroU64::new(60_000_000_000_000),
            concurrent: NonZeroU32::new(8),
            ..LimiterSettings::default()
        };
        parts.reconfigure(whole, at(0));
        assert_eq!(parts.fit(at(0)), Some(Vec::new()));
        assert_eq!(parts.shares(), Shares::default(), "nothing is lent yet");
        assert_eq!(parts.fit(at(1)), None, "nothing has changed since");
        let need = Need {
            input: 1_000_000,
            output: 10,
            cost: 1_000_000_000_000,
        };
        parts.came(need, Load::default());
        let asks = parts.asks(true, Load::default(), at(1_000));
        for (which, ask) in &asks {
            assert_eq!(ask.number % NUMBERS, 8);
            let whole = whole.amount(*which).unwrap();
            let grant = Allocator::of_a_new_limit(whole, 1, at(0))
                .hear(&0, ask, at(1_000))
                .unwrap();
            assert!(parts.granted(which.as_str(), &grant, at(1_001)));
            assert!(
                !parts.granted(Which::Tokens.as_str(), &grant, at(1_001)),
                "of no such limit"
            );
        }
        let of: Vec<_> = asks.iter().map(|(which, _)| *which).collect();
        assert_eq!(of, [Which::Output, Which::Cost, Which::Concurrency]);
        assert_eq!(parts.fit(at(1_002)), Some(Vec::new()));
        let shares = parts.shares();
        assert!(
            shares.output_per_minute > 50 && shares.output_per_minute < 6_000,
            "{shares:?}"
        );
        assert!(shares.cost_per_minute > 5_000_000_000_000, "{shares:?}");
        assert_eq!((shares.concurrent, shares.tokens_per_minute), (1, 0));
        assert_eq!(
            parts.fit(at(60_400)),
            Some(vec![Which::Output, Which::Cost, Which::Concurrency]),
            "a minute later all are over"
        );
    }
}
