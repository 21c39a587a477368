//! A provider's limits that a store counts: who asks it, who goes on by this sidecar's shares, and what is told it afterwards.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{Limited, Reservation, Shares, Which};
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::standing::Standing;

use super::ProviderState;
use super::machines::Machines;
use super::permit::Refused;
use super::stored::{Asked, Stored};
use crate::store::{Limit, Taken};
use crate::time::Clock;

impl Machines {
    /// Where the limits are counted from now on: in this store, or not in one.
    pub(super) fn count_in(&mut self, limit: Option<Arc<Limit>>, now: Moment) {
        match (&mut self.stored, limit) {
            (stored, None) => *stored = None,
            (Some(stored), Some(limit)) => {
                if !Arc::ptr_eq(&stored.limit, &limit) {
                    // Another store, perhaps: nobody waits for it before it has answered.
                    stored.limit = limit;
                    stored.standing = Standing::new(now);
                }
            }
            (stored, Some(limit)) => *stored = Some(Box::new(Stored::new(limit, now))),
        }
    }

    /// Whether requests ask a store.
    pub(super) fn is_stored(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.standing.is_in())
    }

    /// Whether a share decides on a request that the store should: it was asked and said nothing, or is not asked for now.
    pub(super) fn goes_by_share(&self, asked: Option<&Asked>) -> bool {
        match asked {
            Some(Asked::Admitted(_) | Asked::Limited(_)) => false,
            Some(Asked::Unanswered(_)) => self.stored.is_some(),
            None => self.stored.is_some() && !self.is_stored(),
        }
    }

    fn shares(&self) -> Shares {
        self.fleet.as_ref().map_or_else(Shares::default, |fleet| fleet.shares())
    }

    /// Takes room for a request: as the store said, or by this sidecar's share where it said nothing.
    pub(super) fn reserve(
        &mut self,
        tokens: u64,
        asked: Option<Asked>,
        now: Moment,
    ) -> Result<(Reservation, Option<Taken>), Refused> {
        match asked {
            Some(Asked::Admitted(taken)) => {
                self.hold(&taken);
                return Ok((self.limiter.admitted_elsewhere(tokens, now), Some(taken)));
            }
            Some(Asked::Limited(limited)) => return Err(Refused::Limited(limited)),
            None if self.is_stored() => return Err(Refused::Unasked),
            Some(Asked::Unanswered(_)) | None => {}
        }
        let reservation = self.limiter.reserve(tokens, now).map_err(Refused::Limited)?;
        let shares = self.shares();
        let taken = self.stored.as_mut().map(|stored| {
            stored.owed.add(tokens, shares, now);
            stored.limit.by_share(tokens)
        });
        if let Some(taken) = &taken {
            self.hold(taken);
        }
        Ok((reservation, taken))
    }

    fn hold(&mut self, taken: &Taken) {
        if let Some(stored) = &mut self.stored
            && stored.limit.has_places()
        {
            stored.places.push(taken.place());
        }
    }

    /// A request's place is free.
    pub(super) fn let_go(&mut self, taken: &Taken) {
        if let Some(stored) = &mut self.stored {
            stored.places.retain(|place| *place != taken.place());
        }
    }

    /// What holds somebody up who is not first in line for a place that a store gives: only the end of those before.
    pub(super) fn stored_behind(&self) -> Option<Limited> {
        self.is_stored().then_some(Limited {
            which: Which::Requests,
            retry_in: None,
        })
    }
}

impl ProviderState {
    /// Asks the store that counts this provider's limits for a request of so many tokens, within its deadline.
    pub async fn ask(&self, tokens: u64) -> Asked {
        let limit = self.lock().stored.as_ref().map(|stored| Arc::clone(&stored.limit));
        let Some(limit) = limit else {
            // There is none since: the share stands for itself.
            return Asked::Unanswered(Unanswered::Unreachable);
        };
        match limit.take(tokens).await {
            Ok(Ok(taken)) => Asked::Admitted(taken),
            Ok(Err(limited)) => Asked::Limited(limited),
            Err(why) => Asked::Unanswered(why),
        }
    }

    /// The store did not answer: nobody asks it until it has answered a look.
    pub(super) fn not_answered(&self, machines: &mut Machines, why: Unanswered, now: Moment) {
        let Some(stored) = &mut machines.stored else { return };
        if stored.standing.failed(why, fastrand::f64(), now) {
            stored.limit.has_news();
            tracing::warn!(
                provider = %self.name,
                secret = stored.limit.secret(),
                why = why.as_str(),
                "the store that counts this provider's limits does not answer: requests go on by this sidecar's shares"
            );
        }
    }

    /// Tells the store what it has to be told, where the time has come; looks whether it is back, where it is out. Returns when
    /// to do so again.
    pub async fn tend_store(&self, clock: &Clock) -> Option<Moment> {
        let now = clock.now();
        let due = {
            let mut machines = self.lock();
            let shares = machines.shares();
            machines.stored.as_mut()?.due(shares, now)
        };
        let (limit, (owed, before), places) = match due {
            Ok(due) => due,
            Err(again) => return again,
        };
        let told = limit.keep(owed, &places).await;
        let now = clock.now();
        let mut machines = self.lock();
        let stored = machines
            .stored
            .as_mut()
            .filter(|stored| Arc::ptr_eq(&stored.limit, &limit));
        let Some(stored) = stored else { return Some(now) };
        match told {
            Ok(()) => {
                if stored.standing.answered(now) {
                    // Those who went on by shares meanwhile have places that were not told yet.
                    stored.keep_at = now;
                    tracing::info!(
                        provider = %self.name,
                        secret = limit.secret(),
                        "the store that counts this provider's limits answers"
                    );
                }
            }
            Err(why) => {
                stored.owed.back(&before);
                self.not_answered(&mut machines, why, now);
            }
        }
        Some(now + Duration::from_millis(1))
    }
}
