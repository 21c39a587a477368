//! What access rules have said of the requests of a batch that a body brings, once somebody has looked into it.

use std::sync::{Arc, OnceLock};

use bowsprit_core::fault::Code;

/// What is made of the requests of a batch. Shared by those who look into the body and those who answer its caller.
#[derive(Default)]
pub(super) struct Verdict {
    /// Why the body may not pass.
    pub refused: OnceLock<Refused>,
    /// The first rule in shadow that would not let it pass.
    pub would_refuse: OnceLock<Arc<str>>,
}

/// Why a body may not pass.
pub(super) struct Refused {
    /// The rule; none: what it would be about cannot be read.
    pub rule: Option<Arc<str>>,
    /// What its caller is told.
    pub code: Code,
    /// In words.
    pub text: String,
}

impl Verdict {
    /// The rule that does not let it pass.
    pub(super) fn rule(&self) -> Option<&str> {
        self.refused.get()?.rule.as_deref()
    }
}
