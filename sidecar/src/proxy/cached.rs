//! What the cache has to do with a request, as its context carries it, and what an answer says of it.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::kept::cache::Bypass;
use http::{HeaderMap, HeaderValue};

use super::own_headers::CACHE_STATUS;
use crate::tenant::cache::Lead;
use crate::tenant::kept::Answer;
use crate::tenant::semantic::Asked;

/// What the cache has to do with a request.
pub(super) struct Part {
    /// It asks for all that are the same.
    pub(super) lead: Option<Box<Lead>>,
    /// The question that it asks, to be found by who asks alike.
    pub(super) asking: Option<Box<Asked>>,
    /// The answer that it got, and its age.
    pub(super) given: Option<(Arc<Answer>, Duration)>,
    /// What `cache-status` says of it.
    pub(super) told: Told,
}

/// Why a request was asked (RFC 9211, 2.2).
#[derive(Clone, Copy)]
pub(super) enum Told {
    /// There was no answer.
    Miss,
    /// There may have been one, and the caller wants another.
    Request,
    /// The cache had no part in it.
    Bypass(Bypass),
}

impl Part {
    /// Says it on an answer of a provider's.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        let status = match self.told {
            Told::Miss => "bowsprit; fwd=miss".to_owned(),
            Told::Request => "bowsprit; fwd=request".to_owned(),
            Told::Bypass(why) => format!("bowsprit; fwd=bypass; detail={}", why.as_str()),
        };
        if let Ok(status) = HeaderValue::try_from(status) {
            // Behind what caches before us have said.
            headers.append(CACHE_STATUS, status);
        }
    }
}
