//! Named limits that a store counts for all sidecars: who asks it, who goes on by this sidecar's shares, and which places it is told of.
//!
//! As with a provider's limits ([`crate::tenant::provider`]): a request waits for the store for its deadline, and then this sidecar's
//! share decides; from the first failure on nobody waits, until a look that nobody waits for is answered. What shares admitted is not
//! told afterwards, since that would be one sum for each that is told apart: each time that the store is back, a bucket more may pass.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::Limit;
use bowsprit_core::share::store::script::Place;
use bowsprit_core::share::store::standing::Standing;
use bowsprit_core::share::store::{PLACES_RENEWED, Unanswered};

use crate::store::{self, Counting, Stores};

/// The limits that are counted in stores, by their full names.
#[derive(Default)]
pub(super) struct Stored(HashMap<Arc<str>, One>);

struct One {
    limit: Arc<store::Limit>,
    standing: Standing,
    /// The places that are in use here, and in which count each is.
    places: Vec<(Counting, Place)>,
    keep_at: Moment,
}

/// A limit of which its store is to be told something, by its full name.
type Due = (Arc<str>, Arc<store::Limit>);

/// What stores have said of one request: what it holds of which limit, counted as they stand in what it is under.
#[derive(Default)]
pub struct Said(pub(super) Vec<(usize, store::Taken)>);

impl Said {
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.iter().any(|(of, _)| *of == index)
    }
}

impl Stored {
    /// Takes the limits of a configuration, and keeps how it stands with those that stay.
    pub(super) fn reconfigure(&mut self, all: &[Arc<Limit>], stores: &Stores, now: Moment) {
        let is_stored = |name: &Arc<str>| {
            all.iter()
                .any(|limit| limit.store.is_some() && limit.full_name == *name)
        };
        self.0.retain(|name, _| is_stored(name));
        for limit in all {
            let Some(settings) = &limit.store else { continue };
            let before = self.0.get(&limit.full_name).map(|one| &one.limit);
            let named = stores.named_limit(settings, (&limit.full_name, limit.settings), before);
            if before.is_some_and(|before| Arc::ptr_eq(before, &named)) {
                continue;
            }
            // What is in flight counts on, by the new amounts too, and in another store from the next time that it is told.
            let places = self.0.remove(&limit.full_name).map_or_else(Vec::new, |one| one.places);
            let one = One {
                limit: named,
                // Another store, perhaps: nobody waits for it before it has answered.
                standing: Standing::new(now),
                places,
                keep_at: now,
            };
            self.0.insert(Arc::clone(&limit.full_name), one);
        }
    }

    /// Whether its store is asked now; none: it is in none.
    pub(super) fn is_asked(&self, name: &str) -> Option<bool> {
        self.0.get(name).map(|one| one.standing.is_in())
    }

    /// What it is in its store.
    pub(super) fn of(&self, name: &str) -> Option<&Arc<store::Limit>> {
        self.0.get(name).map(|one| &one.limit)
    }

    /// A request has a place of it.
    pub(super) fn hold(&mut self, name: &str, taken: &store::Taken) {
        if let Some(one) = self.0.get_mut(name)
            && one.limit.has_places()
        {
            one.places.push((taken.counting().clone(), taken.place()));
        }
    }

    /// Its place is free.
    pub(super) fn let_go(&mut self, name: &str, taken: &store::Taken) {
        if let Some(one) = self.0.get_mut(name) {
            one.places.retain(|(_, place)| *place != taken.place());
        }
    }

    /// The store did not answer: nobody asks it until it has answered a look.
    pub(super) fn not_answered(&mut self, name: &str, why: Unanswered, now: Moment) {
        let Some(one) = self.0.get_mut(name) else { return };
        if one.standing.failed(why, fastrand::f64(), now) {
            one.limit.has_news();
            tracing::warn!(
                limit = name,
                secret = one.limit.secret(),
                why = why.as_str(),
                "the store that counts this limit does not answer: requests go on by this sidecar's share"
            );
        }
    }

    /// What is to be told now, and of those to whom nothing is, when to look again.
    pub(super) fn due(&mut self, now: Moment) -> (Vec<Due>, Option<Moment>) {
        let (mut due, mut again) = (Vec::new(), None);
        for (name, one) in &mut self.0 {
            let keeps = one.limit.has_places().then_some(one.keep_at);
            match one.standing.look_at().or(keeps) {
                Some(at) if at <= now => {
                    one.keep_at = now + PLACES_RENEWED;
                    due.push((Arc::clone(name), Arc::clone(&one.limit)));
                }
                at => again = [again, at].into_iter().flatten().min(),
            }
        }
        (due, again)
    }

    /// The places that are in use, by count. Where none is, the store is asked for nothing at all, to see whether it answers.
    pub(super) fn places(&self, name: &str, limit: &store::Limit) -> Vec<(Counting, Vec<Place>)> {
        let mut all: Vec<(Counting, Vec<Place>)> = Vec::new();
        for (of, place) in self.0.get(name).into_iter().flat_map(|one| &one.places) {
            match all.iter_mut().find(|(known, _)| known == of) {
                Some((_, places)) => places.push(*place),
                None => all.push((of.clone(), vec![*place])),
            }
        }
        if all.is_empty() {
            all.push((limit.whole(), Vec::new()));
        }
        all
    }

    /// Those of these places that are in use now.
    pub(super) fn still(&self, name: &str, mut told: Vec<Place>) -> Vec<Place> {
        let places = self.0.get(name).into_iter().flat_map(|one| &one.places);
        let here: HashSet<Place> = places.map(|(_, place)| *place).collect();
        told.retain(|place| here.contains(place));
        told
    }

    /// The store answered a look at this limit.
    pub(super) fn answered(&mut self, name: &str, limit: &Arc<store::Limit>, now: Moment) {
        let one = self.0.get_mut(name).filter(|one| Arc::ptr_eq(&one.limit, limit));
        let Some(one) = one else { return };
        if one.standing.answered(now) {
            // Those who went on by the share meanwhile have places that were not told yet.
            one.keep_at = now;
            tracing::info!(
                limit = name,
                secret = limit.secret(),
                "the store that counts this limit answers"
            );
        }
    }
}
