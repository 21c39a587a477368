//! What access rules look at that a request does not hold as they know it.

use std::sync::Arc;

use bowsprit_core::config::Route;
use bowsprit_core::dialect::Features;

use crate::caller::Pod;

/// What the facts of a request are borrowed from beside the request itself. One that is under no rules has none.
pub(super) struct Ground {
    /// Who asks; of nobody from here nothing is known.
    pub pod: Arc<Pod>,
    /// The ModelRoute that its model belongs to.
    pub route: Option<Arc<Route>>,
    /// The path below a provider's address, as rules know it.
    pub path: String,
    /// What the body asks for, where a rule looks at it.
    pub features: Features,
    /// Whether some rule is decided for each candidate: what was answered before then may be no answer to this request.
    pub is_about_candidates: bool,
}
