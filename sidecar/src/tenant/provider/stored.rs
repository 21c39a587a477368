//! What is kept of limits that a store counts: how it stands with the store, and what is to be told it.

use std::sync::Arc;

use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{Limited, Shares};
use bowsprit_core::share::store::owed::Owed;
use bowsprit_core::share::store::script::Place;
use bowsprit_core::share::store::standing::Standing;
use bowsprit_core::share::store::{PLACES_RENEWED, Unanswered};

use crate::store::{Limit, Taken};

/// One provider's limits in a store, and how it stands with that.
pub(super) struct Stored {
    pub(super) limit: Arc<Limit>,
    pub(super) standing: Standing,
    /// What shares admitted, and the store does not know of.
    pub(super) owed: Owed,
    /// The places that are in use here.
    pub(super) places: Vec<Place>,
    pub(super) keep_at: Moment,
}

/// What is to be told of which limit: what is owed, and the places that are in use.
type Due = (Arc<Limit>, ((u64, u64), Owed), Vec<Place>);

/// What a store said of one request.
pub enum Asked {
    /// It has room.
    Admitted(Taken),
    /// It has none.
    Limited(Limited),
    /// Nothing, within its deadline.
    Unanswered(Unanswered),
}

impl Stored {
    pub(super) fn new(limit: Arc<Limit>, now: Moment) -> Self {
        Self {
            limit,
            standing: Standing::new(now),
            owed: Owed::new(now),
            places: Vec::new(),
            keep_at: now,
        }
    }

    /// What is to be told now, where anything is, and else when to look again.
    pub(super) fn due(&mut self, shares: Shares, now: Moment) -> Result<Due, Option<Moment>> {
        let has_places = self.limit.has_places();
        let at = self.standing.look_at().or_else(|| has_places.then_some(self.keep_at));
        match at {
            Some(at) if at <= now => {
                self.keep_at = now + PLACES_RENEWED;
                let places = if has_places { self.places.clone() } else { Vec::new() };
                Ok((Arc::clone(&self.limit), self.owed.tell(shares, now), places))
            }
            at => Err(at),
        }
    }
}
