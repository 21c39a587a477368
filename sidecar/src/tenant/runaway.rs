//! What this pod has asked lately, to find loops in it. It survives a reload.
//!
//! The machine is pure ([`bowsprit_core::runaway`]) and lives under one lock, held for arithmetic only.

use std::hash::RandomState;
use std::sync::{Arc, Mutex};

use bowsprit_core::clock::Moment;
use bowsprit_core::runaway::{self, Again, Terms};

use crate::sync::locked;

/// What this pod has asked lately.
#[derive(Default)]
pub struct Runaways {
    book: Mutex<runaway::Runaways>,
    /// Callers cannot know which requests share a digest.
    hasher: RandomState,
}

impl Runaways {
    /// Counts a request under each of these terms, and says by which it came too often.
    pub fn seen(&self, model: &str, body: &[u8], all: &[Arc<Terms>], now: Moment) -> Vec<(Arc<Terms>, Again)> {
        let digests = runaway::digests(model, body, &self.hasher);
        let mut book = locked(&self.book);
        let again = |terms: &Arc<Terms>| Some((Arc::clone(terms), book.seen(&digests, terms, &self.hasher, now)?));
        all.iter().filter_map(again).collect()
    }
}
