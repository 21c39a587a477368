//! What is paused of a namespace, as a sidecar knows it by two ways: the documents in service, and the operator's word beside them,
//! which comes first ([`crate::stream::ToSidecar::Paused`]).
//!
//! A thing is paused while either says so. So a pause is in force with the first of the two, and a document of before it, which
//! comes after the word, lifts nothing; a resume is in force once both have said it, as neither is worth a request that somebody
//! wanted to stop. There is nothing to be compared: the word is always the whole of what the operator's watch holds, and documents
//! never go back.
//!
//! What was said on a stream that has ended nobody takes back there. It stays until
//! - the next stream has its own word, which replaces it;
//! - a document says it too, which then answers for it alone;
//! - it is so long since the stream ended that a document that says it would be here ([`LATEST`]). By time alone: where a pause and its
//!   resume were written as one, no other document ever comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::usage_policy::PausedObject;

use crate::clock::Moment;
use crate::config::{Config, Policy};
use crate::stream::pauses::WirePause;

/// The longest that a document may be under way by a mount, and so the longest that a word outlives its stream: the kubelet's sync
/// period of a minute, and as long for what its cache holds.
pub const LATEST: Duration = Duration::from_mins(2);

/// The operator's word.
#[derive(Clone, Debug, Default)]
pub struct Pauses {
    /// Policies of which nothing is known but what they pause.
    told: Vec<Policy>,
    /// When the stream ended on which it was said; none: it stands.
    ended: Option<Moment>,
}

impl Pauses {
    /// These policies pause, and no others: the word of a stream that stands. Says whether it is another than before.
    pub fn told(&mut self, by: &[WirePause]) -> bool {
        self.ended = None;
        let told: Vec<Policy> = by.iter().map(WirePause::policy).collect();
        let same = |(one, other): (&Policy, &Policy)| {
            one.name == other.name
                && one.pod_selector == other.pod_selector
                && one.paused == other.paused
                && one.paused_providers == other.paused_providers
                && one.paused_routes == other.paused_routes
        };
        let is_news = told.len() != self.told.len() || !told.iter().zip(&self.told).all(same);
        self.told = told;
        is_news
    }

    /// The stream has ended, while `document` is in service.
    pub fn ended(&mut self, document: Option<&Config>, now: Moment) {
        self.ended.get_or_insert(now);
        if let Some(document) = document {
            self.told.retain(|told| !says(document, told));
        }
    }

    /// A new document, as it is for this pod, goes into service.
    pub fn served(&mut self, document: &Config, now: Moment) {
        if self.ended.is_some() {
            self.expire(now);
            self.told.retain(|told| !says(document, told));
        }
    }

    /// Forgets what was said on a stream that ended [`LATEST`] ago, if there has been no word since. Says whether there was anything.
    pub fn expire(&mut self, now: Moment) -> bool {
        let is_over = self.ended.is_some_and(|ended| now - ended >= LATEST);
        is_over && !std::mem::take(&mut self.told).is_empty()
    }

    /// Whether the word pauses anything.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The names of the policies that pause anything.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.told.iter().map(|told| &*told.name)
    }

    /// What is in force for a pod with these labels: the document, and beside it what the word pauses.
    pub fn over(&self, mut document: Config, pod_labels: &BTreeMap<String, String>) -> Config {
        let is_for = |told: &&Policy| {
            let selector = told.pod_selector.as_ref();
            selector.is_none_or(|selector| selector.matches(pod_labels))
        };
        for told in self.told.iter().filter(is_for) {
            let policies = &mut document.policies;
            match policies.binary_search_by(|policy| policy.name.cmp(&told.name)) {
                Ok(place) => {
                    if let Some(policy) = policies.get_mut(place) {
                        add(Arc::make_mut(policy), told);
                    }
                }
                Err(place) => policies.insert(place, Arc::new(told.clone())),
            }
        }
        document
    }
}

/// Whether a document pauses all that this policy does, and for the same reasons: else it may speak of a pause before this one.
fn says(document: &Config, told: &Policy) -> bool {
    let has = |all: &[PausedObject], some: &[PausedObject]| some.iter().all(|object| all.contains(object));
    let mut policies = document.policies.iter();
    policies.any(|policy| {
        policy.name == told.name
            && (policy.paused == told.paused || told.paused.is_none())
            && has(&policy.paused_providers, &told.paused_providers)
            && has(&policy.paused_routes, &told.paused_routes)
    })
}

/// The word is the newer of the two: its reasons count.
fn add(policy: &mut Policy, told: &Policy) {
    if told.paused.is_some() {
        policy.paused.clone_from(&told.paused);
    }
    for (list, more) in [
        (&mut policy.paused_providers, &told.paused_providers),
        (&mut policy.paused_routes, &told.paused_routes),
    ] {
        list.retain(|object| !more.iter().any(|other| other.name == object.name));
        list.extend(more.iter().cloned());
    }
}

#[cfg(test)]
mod tests;
