//! The providers as they stand when a request is planned.

use std::sync::Arc;

use bowsprit_core::call::Call;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Provider, Route};
use bowsprit_core::plan::{self, Availability, Why};

use super::super::access::Access;
use crate::tenant::provider::ProviderState;
use crate::tenant::snapshot::Snapshot;

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
    fn of(&self, provider: &Provider) -> Option<&ProviderState> {
        let mut upstreams = self.snapshot.upstreams().iter();
        let upstream = upstreams.find(|upstream| std::ptr::eq(Arc::as_ptr(&upstream.provider), provider));
        upstream.map(|upstream| &*upstream.state)
    }
}

impl plan::View for ProviderView<'_> {
    fn availability(&self, provider: &Provider, model: &str) -> Availability {
        let gone = Availability::Unavailable {
            why: Why::NotHere,
            retry_in: None,
        };
        let state = self.of(provider);
        state.map_or(gone, |state| state.availability(model, self.call.tokens, self.now))
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
        self.of(provider).map_or(0.0, |state| state.score(self.now))
    }
}
