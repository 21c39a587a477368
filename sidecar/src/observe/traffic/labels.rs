//! The labels of the families about traffic.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

use crate::metrics::{Labels, OTHER, word_labels};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DialectLabel {
    pub dialect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub outcome: &'static str,
    pub code: &'static str,
}

impl Labels for RequestLabels {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            outcome: self.outcome,
            code: OTHER,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub provider: Arc<str>,
    pub model: Arc<str>,
    pub code: &'static str,
}

impl Labels for AttemptLabels {
    fn provider(&self) -> Option<&str> {
        Some(&self.provider)
    }

    fn folded(&self) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            model: OTHER.into(),
            code: OTHER,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenLabels {
    pub provider: Arc<str>,
    pub model: Arc<str>,
    pub kind: &'static str,
}

impl Labels for TokenLabels {
    fn provider(&self) -> Option<&str> {
        Some(&self.provider)
    }

    fn folded(&self) -> Self {
        Self {
            provider: OTHER.into(),
            model: OTHER.into(),
            kind: self.kind,
        }
    }
}

/// A provider and what was wrong with it: an error code, or the plan's reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabels {
    pub provider: Arc<str>,
    pub code: &'static str,
}

impl Labels for CodeLabels {
    fn provider(&self) -> Option<&str> {
        Some(&self.provider)
    }

    fn folded(&self) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            code: OTHER,
        }
    }
}

impl CodeLabels {
    pub(super) fn new(provider: &str, code: &'static str) -> Self {
        Self {
            provider: provider.into(),
            code,
        }
    }
}

word_labels! {
    /// A provider and a kind of its tokens.
    EstimatedLabels { kind }
    /// A provider and why it is not known what an attempt there cost.
    UnpricedLabels { why }
    /// A provider and what of a request it was not told.
    LeftOutLabels { what }
}
