//! The providers as they stand when a request is planned.

use std::sync::Arc;

use bowsprit_core::call::Call;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Provider, Route};
use bowsprit_core::plan::{self, Availability, Why};

use super::super::access::Access;
use crate::tenant::snapshot::{Snapshot, Upstream};

/// The providers as they stand for the plan of this request.
pub(super) struct ProviderView<'a> {
    pub snapshot: &'a Snapshot,
    pub call: &'a Call,
    pub now: Moment,
    /// Whether a limit leads the request past its route's targets.
    pub is_diverted: bool,
    /// The route that a budget leads it to.
    pub led_to: Option<&'a Arc<Route>>,
    /// The access rules of the request, if it is under any.
    pub access: Option<&'a Access<'a>>,
}

impl ProviderView<'_> {
    fn of(&self, provider: &Provider) -> Option<&Upstream> {
        let mut upstreams = self.snapshot.upstreams().iter();
        let upstream = upstreams.find(|upstream| std::ptr::eq(Arc::as_ptr(&upstream.provider), provider));
        upstream.map(|upstream| &**upstream)
    }
}

impl plan::View for ProviderView<'_> {
    fn availability(&self, provider: &Provider, model: &str) -> Availability {
        let out = |why: Why| Availability::Unavailable { why, retry_in: None };
        match self.of(provider) {
            None => out(Why::NotHere),
            Some(upstream) if upstream.is_paused => out(Why::Paused),
            Some(upstream) => upstream.state.availability(model, self.call.tokens, self.now),
        }
    }

    fn passes_over_targets(&self) -> bool {
        self.is_diverted
    }

    fn led_to(&self) -> Option<Arc<Route>> {
        self.led_to.cloned()
    }

    fn forbidden_by(&self, provider: &Provider, model: &str) -> Option<Arc<str>> {
        self.access?.forbids(&provider.name, model)
    }

    fn score(&self, provider: &Provider) -> f64 {
        self.of(provider).map_or(0.0, |upstream| upstream.state.score(self.now))
    }
}
