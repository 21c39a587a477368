//! Labels of what is counted of answers that are kept, whatever for.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

use crate::metrics::{Labels, OTHER};

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FateLabel {
    pub(super) fate: &'static str,
}

impl Labels for FateLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self { fate: OTHER }
    }
}

/// A route, and what a request of it came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) route: Arc<str>,
    pub(super) result: &'static str,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabel {
    pub(super) route: Arc<str>,
}
