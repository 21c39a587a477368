//! A candidate of a request's plan: a model at a provider, and the request as that provider's API says it.

use std::sync::{Arc, OnceLock};

use bowsprit_core::config::Route;
use bowsprit_core::dialect::RequestError;

use super::inbound::Inbound;
use super::prepare::{Prepared, prepare};
use crate::observe::traffic::PASS_THROUGH;
use crate::tenant::snapshot::Upstream;

/// A candidate of the plan, with the request as it understands it.
pub(super) struct Candidate {
    /// The provider.
    pub upstream: Arc<Upstream>,
    /// The model there; empty for what passes unread.
    pub model: Arc<str>,
    /// Made when it is its turn.
    prepared: OnceLock<Result<Prepared, RequestError>>,
}

impl Candidate {
    /// A candidate at an upstream.
    pub(super) fn new(upstream: &Arc<Upstream>, model: &Arc<str>) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            model: Arc::clone(model),
            prepared: OnceLock::new(),
        }
    }

    /// The provider's name.
    pub(super) fn name(&self) -> &str {
        &self.upstream.provider.name
    }

    /// What its breaker, its trust and its latencies are kept by: the model, or what stands for the endpoints that have none.
    pub(super) fn circuit(&self) -> &str {
        if self.model.is_empty() {
            PASS_THROUGH
        } else {
            &self.model
        }
    }

    /// The request as it understands it.
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.get()?.as_ref().ok()
    }

    /// Why it cannot be asked.
    pub(super) fn error(&self) -> Option<RequestError> {
        self.prepared.get()?.as_ref().err().cloned()
    }

    /// Whether it can be asked; its request is made at the first question. `route`: the one that matched.
    pub(super) fn prepare(&self, inbound: &Inbound, route: Option<&Route>) -> Result<&Prepared, &RequestError> {
        let make = || prepare(inbound, &self.upstream, &self.model, route);
        self.prepared.get_or_init(make).as_ref()
    }
}
