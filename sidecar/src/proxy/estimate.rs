//! What a request may cost, before anybody is asked: its input by the bytes, its output by `max_tokens` or the amount that is
//! assumed for each answer, at the price of whoever of those that may be asked is dearest.

use bowsprit_core::call::Call;
use bowsprit_core::config::{Provider, Route};
use bowsprit_core::reserve;
use bowsprit_core::spend::book::Need;

use super::pinned::Pinned;
use crate::tenant::snapshot::Snapshot;

/// The most that one attempt may cost. `pinned`: it is for that provider alone.
pub(super) fn most(snapshot: &Snapshot, route: Option<&Route>, pinned: Option<&Pinned>, call: &Call) -> Need {
    let mut need = Need::default();
    for upstream in snapshot.upstreams() {
        let provider = &upstream.provider;
        let mut add = |model: &str| {
            let cost = reserve::most(call, |spent| upstream.cost(model, spent).map(|cost| cost.total()));
            need.is_unknown |= cost.is_err();
            let cost = u64::try_from(cost.unwrap_or_default().get()).unwrap_or(0);
            need.most = need.most.max(cost);
        };
        if let Some(pinned) = pinned {
            if *provider.name == *pinned.provider {
                add(&call.model);
            }
            continue;
        }
        match route {
            None => {
                if let Some(model) = usual(provider, &call.model) {
                    add(model);
                }
            }
            Some(route) => {
                for target in route.all_targets().filter(|target| target.provider == provider.name) {
                    let model = target.model.as_deref().or(provider.default_model.as_deref());
                    if let Some(model) = model {
                        add(provider.serves(model).unwrap_or_else(|| provider.name_of(model)));
                    }
                }
            }
        }
    }
    need
}

/// The model that a provider would be asked for without a route.
fn usual<'a>(provider: &'a Provider, asked: &'a str) -> Option<&'a str> {
    let takes_any = provider.models.is_empty() && !asked.is_empty();
    let served = provider.serves(asked);
    let named = served.or_else(|| takes_any.then(|| provider.name_of(asked)));
    named.or_else(|| {
        let default = provider.default_model.as_deref()?;
        Some(provider.serves(default).unwrap_or_else(|| provider.name_of(default)))
    })
}
