//! What this pod has asked lately, to find loops in it. It survives a reload.
//!
//! The machine is pure ([`bowsprit_core::runaway`]) and lives under one lock, held for arithmetic only.

use std::hash::RandomState;
use std::sync::{Arc, Mutex};

use bowsprit_core::clock::Moment;
use bowsprit_core::runaway::going::Going;
use bowsprit_core::runaway::{self, Again, Terms};
use bowsprit_core::stream::ReportedRunaway;

use crate::sync::locked;
use crate::time::unix_millis;

/// What this pod has asked lately.
#[derive(Default)]
pub struct Runaways {
    book: Mutex<runaway::Runaways>,
    /// What came too often, for the operator.
    going: Mutex<Going>,
    /// Callers cannot know which requests share a digest.
    hasher: RandomState,
}

impl Runaways {
    /// Counts a request under each of these terms, and says by which it came too often.
    pub fn seen(&self, model: &str, body: &[u8], all: &[Arc<Terms>], now: Moment) -> Vec<(Arc<Terms>, Again)> {
        let digests = runaway::digests(model, body, &self.hasher);
        let found: Vec<(Arc<Terms>, Again)> = {
            let mut book = locked(&self.book);
            let again = |terms: &Arc<Terms>| Some((Arc::clone(terms), book.seen(&digests, terms, &self.hasher, now)?));
            all.iter().filter_map(again).collect()
        };
        if !found.is_empty() {
            let (mut going, unix) = (locked(&self.going), unix_millis() / 1000);
            for (terms, _) in &found {
                going.note(terms, now, unix);
            }
        }
        found
    }

    /// What goes on now, as it is told to the operator. To be asked about once a second.
    pub fn told(&self, now: Moment) -> Vec<ReportedRunaway> {
        locked(&self.going).told(now)
    }
}
