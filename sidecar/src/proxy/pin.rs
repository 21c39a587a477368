//! Pinning a request to one provider: what asks below `/providers/{name}/…` for what is served here too, a conversation, embeddings or a count, in
//! the API that is spoken with that provider anyway.
//!
//! Unread, it would pass by all that goes by a request's body. So where a policy does, it is served as that operation: admitted, judged,
//! reserved for and settled like any other. It is still for this provider alone and goes to the path that it came to, its body as that of any
//! request in the same API and its model as it names it: no ModelRoute is matched, no alias resolved, nobody stands in, no cache answers, and a
//! budget that would lead it elsewhere stops it. Rules hold for it as what it is and as what passes below `/providers/`
//! ([`bowsprit_core::access::Pinned`]).
//!
//! Everything else there, and all of it where no policy looks into bodies, passes unread ([`super::passthrough`]).

use bowsprit_core::config::Provider;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::plan::eligible;
use http::HeaderName;
use http::request::Parts;

use super::path;
use super::pinned::Pinned;
use super::route::{self, Route, RouteError, is_websocket};
use crate::tenant::Tenant;
use crate::tenant::snapshot::Snapshot;

/// Headers that make another method of a request's, to servers that know them.
pub(super) const OTHER_METHODS: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// The parameter that does so at Google's.
pub(super) const OTHER_METHOD: &str = "$httpMethod";

/// Settles what a request below `/providers/` is. The dialect becomes that of the provider, if there is such a one, or of the operation; where
/// it is an operation that is read, that takes the route's place.
pub(super) fn settle(
    tenant: &Tenant,
    parts: &Parts,
    dialect: &mut Dialect,
    found: &mut Result<Route, RouteError>,
) -> Option<Box<Pinned>> {
    let Ok(Route::PassThrough { provider, rest, .. }) = found else {
        return None;
    };
    let snapshot = tenant.snapshot.load();
    let snapshot = snapshot.as_ref()?;
    let asked = snapshot.config.provider(provider)?;
    *dialect = asked.dialect;
    let operation = operation(snapshot, asked, rest, parts)?;
    *dialect = operation.dialect();
    let (provider, rest) = (std::mem::take(provider), std::mem::take(rest));
    *found = Ok(operation);
    Some(Box::new(Pinned { provider, rest }))
}

/// What is asked of the provider at `rest`, if that is to be read.
fn operation(snapshot: &Snapshot, provider: &Provider, rest: &str, parts: &Parts) -> Option<Route> {
    let is_asked = parts.method.as_str().eq_ignore_ascii_case("POST") && !is_websocket(&parts.headers);
    if !snapshot.pins || !provider.pass_through || !is_asked {
        return None;
    }
    let facts = provider.kind.facts();
    let own = facts.fixed_base.then_some(facts.base_path);
    let below = own.and_then(|own| rest.strip_prefix(own)).unwrap_or(rest);
    // As it is without parameters first: what else there is may be written in one.
    let written = [path::without_parameters(below), path::plain(below)];
    let find = |path: &String| route::without_version(path.trim_end_matches('/'), parts.uri.query());
    let route = written.iter().find_map(find)?;
    eligible::is_native(route.operation(), route.dialect(), provider).then_some(route)
}
