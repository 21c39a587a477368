//! A limit that a request is under, and what it is counted by there.

use std::sync::Arc;

use bowsprit_core::config::{Limit, Per};
use bowsprit_core::limits::set::Want;
use bowsprit_core::share::store::script::Apart;

use crate::store::{self, Counting};

/// A limit that a request is under, and the key it is counted by there.
#[derive(Clone)]
pub struct Under {
    /// The limit.
    pub limit: Arc<Limit>,
    /// The hash of the key; 0 where it is counted by none.
    pub key: u64,
    /// The same, as a store that counts it knows it; none: it is in none, or counted by no key.
    pub apart: Option<Apart>,
}

impl Under {
    /// Under this limit, which is counted by nothing.
    pub fn whole(limit: &Arc<Limit>) -> Self {
        Self {
            limit: Arc::clone(limit),
            key: 0,
            apart: None,
        }
    }

    /// In which count of its store the request is. `is_common`: here it has none of its own, so it has none there: whoever makes up names
    /// finds no full bucket under each.
    pub(super) fn counting(&self, limit: &store::Limit, is_common: bool) -> Counting {
        match self.apart.map(|apart| if is_common { Apart::COMMON } else { apart }) {
            Some(apart) if self.limit.per != Per::Sidecar => limit.apart(apart),
            _ => limit.whole(),
        }
    }
}

/// What is wanted of the set. `is_elsewhere`: of which, counted from 0, somebody else says whether there is room.
pub(super) fn wants(under: &[Under], is_elsewhere: impl Fn(usize) -> bool) -> Vec<Want<'_>> {
    let want = |(index, under)| want(under, is_elsewhere(index));
    under.iter().enumerate().map(want).collect()
}

fn want(under: &Under, is_elsewhere: bool) -> Want<'_> {
    Want {
        name: &under.limit.full_name,
        key: under.key,
        is_elsewhere,
    }
}
