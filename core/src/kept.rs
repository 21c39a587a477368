//! Good answers that are kept, to be given again.
//!
//! Five decisions, each on its own: what a request is known by ([`key`]), which requests have answers that may stand for
//! another's ([`acts`]), which answers are worth it ([`finished`]), when what is kept is no answer any more ([`basis`]), and
//! when a kept one is given ([`outage`]). They are kept in an [`lru::Lru`], which has a bound in bytes.
//!
//! A key says all that an answer depends on and whose it is, so it holds for any use of kept answers. There are two. `outage` is
//! what is special to `spec.staleIfError`: an answer is given only where nobody is there to give a new one. [`cache`] and
//! [`directives`] are what is special to `spec.cache`: an answer is given in place of asking; [`inputs`] and [`vector`] to its
//! embeddings, which are kept input by input; [`next`] and [`refill`] to those of a next model, [`versions`] to a model
//! that its provider changes; [`semantic`] to questions that are alike and not the
//! same; [`shared`] to answers that the pods of a workload share.

use std::time::Duration;

use bowsprit_crds::DurationText;
use bowsprit_crds::model_route::StaleIfError;

pub mod acts;
pub mod basis;
pub mod cache;
pub mod directives;
pub mod finished;
pub mod inputs;
pub mod key;
pub mod lru;
pub mod next;
pub mod outage;
pub mod refill;
pub mod semantic;
pub mod shared;
pub mod vector;
pub mod versions;

/// The largest request whose answer is kept, bytes: its key is made by reading it, and the time that takes grows with it.
pub const LARGEST_REQUEST: usize = 256 << 10;
/// The largest answer that is kept, bytes. Text answers are some KiB; the largest that models give are some hundred.
pub const LARGEST_ANSWER: usize = 1 << 20;
/// One answer takes at most this part of its route's bound: it must not turn out all others.
const SHARE_OF_ONE: usize = 4;
/// The least and the most that a route may keep, bytes.
pub const BOUNDS: (u64, u64) = (64 << 10, 256 << 20);
/// The longest that an answer may be kept: a week.
pub const OLDEST: Duration = Duration::from_hours(7 * 24);
/// An answer that is older than that is rarely what its author would want: said when it is applied.
pub const OLD: Duration = Duration::from_hours(24);
/// More than that is more than a sidecar of the usual size keeps, bytes: said when it is applied.
pub const LARGE: usize = 16 << 20;

/// How a route keeps answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How old an answer may be when it is given.
    pub max_age: Duration,
    /// What the route's answers may take in memory, bytes, with what keeping them takes.
    pub max_bytes: usize,
}

/// What is wrong with terms: field, problem, remedy.
pub(crate) type Wrong = (&'static str, String, &'static str);

impl Terms {
    /// Checks a spec.
    ///
    /// # Errors
    /// Everything that is wrong with it, with the field's path from the spec.
    pub(crate) fn of(spec: &StaleIfError) -> Result<Self, Vec<Wrong>> {
        let fields = ("staleIfError.maxAge", "staleIfError.maxBytes");
        Self::within_bounds(fields, spec.max_age, Some(spec.max_bytes))
    }

    /// The same of an age and a bound, wherever these are said: `fields` are their paths. A bound that is not said is none.
    pub(crate) fn within_bounds(
        fields: (&'static str, &'static str),
        max_age: DurationText,
        max_bytes: Option<u64>,
    ) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        if !(Duration::from_secs(1)..=OLDEST).contains(&max_age.get()) {
            let remedy = "set it to 1s to 168h (a week)";
            wrong.push((fields.0, format!("is {max_age}"), remedy));
        }
        let (least, most) = BOUNDS;
        let bytes = max_bytes.filter(|bytes| (least..=most).contains(bytes));
        if bytes.is_none() {
            let problem = max_bytes.map_or_else(
                || "is not set, so there would be no bound".to_owned(),
                |bytes| format!("is {bytes}"),
            );
            wrong.push((fields.1, problem, "set it to 65536 (64 KiB) to 268435456 (256 MiB)"));
        }
        match bytes {
            Some(bytes) if wrong.is_empty() => Ok(Self {
                max_age: max_age.get(),
                max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            }),
            _ => Err(wrong),
        }
    }

    /// The largest answer that is kept.
    pub fn largest_answer(&self) -> usize {
        LARGEST_ANSWER.min(self.max_bytes / SHARE_OF_ONE)
    }

    /// The same, where all routes together want `wanted` bytes and may have `most`: each gives way by the same part.
    #[must_use]
    pub fn within(self, wanted: usize, most: usize) -> Self {
        if wanted <= most || wanted == 0 {
            return self;
        }
        let share = self.max_bytes as u128 * most as u128 / wanted as u128;
        Self {
            max_bytes: usize::try_from(share).unwrap_or(most),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_want_more_than_there_is_give_way_alike() {
        let terms = |max_bytes| Terms {
            max_age: OLD,
            max_bytes,
        };
        assert_eq!(terms(300).within(400, 400), terms(300));
        assert_eq!(terms(300).within(400, 100), terms(75));
        assert_eq!(terms(100).within(400, 100), terms(25));
        assert_eq!(terms(0).within(0, 0), terms(0));
    }
}
