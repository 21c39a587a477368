//! A sidecar's part: what it may use of one limit at a moment, and when it asks.

use std::time::Duration;

use super::{Ask, DELIVERY, Grant, LEASE, NEWCOMER_DIVISOR, NEWCOMER_WAITS, RENEW, SHORTEST_PACE, SKEW};
use crate::clock::Moment;

/// What is given up is said at once where it is more than this part of what was held, a thirty-second, and more than one unit.
const WORTH_SAYING: u64 = 32;

/// What a sidecar's part is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It was just started and waits for its first share.
    New,
    /// Its share is good.
    Granted,
    /// Its share is over: the smaller of share and floor, until the floor is kept back for it.
    Lapsed,
    /// Its floor.
    Floor,
}

impl Standing {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Granted => "granted",
            Self::Lapsed => "lapsed",
            Self::Floor => "floor",
        }
    }
}

/// What was granted last.
#[derive(Clone, Copy, Debug)]
struct Held {
    share: u64,
    floor: u64,
    whole: u64,
    /// Until when the share is good.
    until: Moment,
    /// From when on the floor may be used in full.
    floor_from: Moment,
}

/// One sidecar's part in one limit.
#[derive(Clone, Debug)]
pub struct Holder {
    whole: u64,
    began: Moment,
    epoch: u64,
    held: Option<Held>,
    number: u64,
    asked: Option<Asked>,
    again: Moment,
    pace: Duration,
    /// Asks since the last grant.
    unanswered: u32,
    /// It holds less since the last grant, and has not said so: until it has, nobody else can have it.
    gives_up: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Moment,
    want: u64,
}

/// A span as the slowest clock of all may count it.
fn at_most(span: Duration) -> Duration {
    span + span / SKEW
}

impl Holder {
    /// Of the limit `whole`, of which nothing is held yet.
    pub fn new(whole: u64, now: Moment) -> Self {
        Self {
            whole,
            began: now,
            epoch: 0,
            held: None,
            number: 0,
            asked: None,
            again: now,
            pace: SHORTEST_PACE,
            unanswered: 0,
            gives_up: false,
        }
    }

    /// Its asks are numbered from here on: a grant that answers who was here before, and is late, answers none of them.
    #[must_use]
    pub fn counting_from(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The limit is another now. Where it is lower, so is each share, in proportion, at once; where it is higher, the next
    /// grant says so.
    pub fn reconfigure(&mut self, whole: u64, now: Moment) {
        if self.whole != whole {
            self.whole = whole;
            self.again = self.again.min(now);
        }
    }

    /// What may be used at `now`, and why so much.
    pub fn entitled(&self, now: Moment) -> (u64, Standing) {
        let Some(held) = self.held else {
            if now.saturating_since(self.began) < NEWCOMER_WAITS {
                return (0, Standing::New);
            }
            return (self.whole / NEWCOMER_DIVISOR, Standing::Floor);
        };
        let (share, floor) = (self.scaled(held.share, &held), self.scaled(held.floor, &held));
        if now < held.until {
            (share, Standing::Granted)
        } else if now < held.floor_from {
            (share.min(floor), Standing::Lapsed)
        } else {
            (floor, Standing::Floor)
        }
    }

    fn scaled(&self, amount: u64, held: &Held) -> u64 {
        if self.whole >= held.whole {
            return amount;
        }
        let scaled = u128::from(amount) * u128::from(self.whole) / u128::from(held.whole.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// The next moment at which [`Self::entitled`] changes by itself.
    pub fn changes_at(&self, now: Moment) -> Option<Moment> {
        let moments = match &self.held {
            None => [self.began + NEWCOMER_WAITS; 2],
            Some(held) => [held.until, held.floor_from],
        };
        moments.into_iter().filter(|at| *at > now).min()
    }

    /// Of which leader the last grant was; 0 where there was none.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// An ask, where one is due: the time has come, or the demand has changed much and the last ask is long enough ago; or at once where a
    /// grant has just taken something away, so that others may have it.
    /// `using`: what is in use and cannot be given back at once (requests in flight; 0 for rates).
    pub fn ask(&mut self, want: u64, using: u64, now: Moment) -> Option<Ask> {
        let interval = self.interval();
        let may = self
            .asked
            .is_none_or(|asked| now.saturating_since(asked.at) >= interval);
        if !self.gives_up && (!may || (now < self.again && !self.is_urgent(want, now))) {
            return None;
        }
        Some(self.asks(want, using, now))
    }

    /// An ask whether one is due or not: a stream has just been opened.
    pub fn asks(&mut self, want: u64, using: u64, now: Moment) -> Ask {
        self.number += 1;
        self.unanswered = self.unanswered.saturating_add(1);
        self.asked = Some(Asked { at: now, want });
        self.again = now + self.interval();
        self.gives_up = false;
        let (entitled, standing) = self.entitled(now);
        let floor = self.held.map_or(0, |held| held.floor);
        let held = match standing {
            // Nobody ever lent it anything: nothing of the limit is kept back for it.
            _ if self.held.is_none() => 0,
            Standing::Lapsed => entitled.max(floor),
            Standing::New | Standing::Granted | Standing::Floor => entitled,
        };
        if let Some(grant) = &mut self.held
            && standing == Standing::Granted
        {
            // Whoever hears this may count on the lease that it grants, answered or not.
            let counted = now + at_most(LEASE * 2 + DELIVERY);
            grant.floor_from = grant.floor_from.max(counted);
        }
        Ask {
            number: self.number,
            held: held.max(using),
            uses: if self.held.is_some() { entitled } else { 0 },
            is_lent: standing == Standing::Granted,
            floor,
            epoch: self.epoch,
            want,
        }
    }

    /// Between asks: twice as long after each that was not answered.
    fn interval(&self) -> Duration {
        let doubled = self.unanswered.saturating_sub(1).min(7);
        (self.pace * (1 << doubled)).min(RENEW)
    }

    /// More is wanted than is held, and that was not said; or much less, which others may want.
    fn is_urgent(&self, want: u64, now: Moment) -> bool {
        let Some(Asked { want: told, .. }) = self.asked else {
            return true;
        };
        let (entitled, standing) = self.entitled(now);
        if standing != Standing::Granted {
            return true;
        }
        let more = want > entitled - entitled / 10 && want > told.saturating_add(told / 10);
        let less = want < told / 2 && entitled > self.whole / 50;
        more || less
    }

    /// Takes a grant, unless it answers another ask than the latest or comes from a leader of before. The leader may answer an ask more
    /// than once: with what has come free since, or what others want.
    pub fn take(&mut self, grant: &Grant, now: Moment) -> bool {
        let Some(asked) = self.asked else {
            return false;
        };
        if grant.number != self.number || grant.epoch < self.epoch {
            return false;
        }
        let lease = grant.lease.min(LEASE);
        let (before, _) = self.entitled(now);
        self.gives_up |= before.saturating_sub(grant.share) > (before / WORTH_SAYING).max(1);
        self.epoch = grant.epoch;
        self.held = Some(Held {
            share: grant.share,
            floor: grant.floor,
            whole: grant.whole,
            until: asked.at + lease.saturating_sub(lease / SKEW),
            floor_from: now + at_most(LEASE * 2 + DELIVERY),
        });
        self.unanswered = 0;
        self.pace = grant.pace.clamp(SHORTEST_PACE, RENEW);
        self.again = now + grant.again.clamp(SHORTEST_PACE, RENEW);
        true
    }
}
