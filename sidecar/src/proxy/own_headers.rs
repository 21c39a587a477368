//! Headers of our own: on answers, how one came about and whose it is; on requests, how urgent they are.

use bowsprit_core::dialect::Dialect;
use http::{HeaderMap, HeaderName};

use super::request_id::{RequestId, X_REQUEST_ID};

/// How urgent a request is to its caller: `interactive`, which it is unless it says so, or `background`.
pub(super) const PRIORITY: HeaderName = HeaderName::from_static("x-bowsprit-priority");
/// The provider that answered.
pub(super) const ANSWERED_BY: HeaderName = HeaderName::from_static("x-bowsprit-provider");
/// The model that answered, where it is not the one that was asked for.
pub(super) const ANSWERED_AS: HeaderName = HeaderName::from_static("x-bowsprit-model");
/// How many attempts were made.
pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("x-bowsprit-attempts");
/// What of the request could not be carried.
pub(super) const WARNING: HeaderName = HeaderName::from_static("x-bowsprit-warning");
/// What the provider calls the request.
pub(super) const PROVIDER_REQUEST_ID: HeaderName = HeaderName::from_static("x-bowsprit-provider-request-id");
/// The request whose answer this is: its being there says that the answer is stale.
pub(super) const STALE: HeaderName = HeaderName::from_static("x-bowsprit-stale");

/// Whether the answer came from the cache: its being there says so.
pub(super) const CACHE: HeaderName = HeaderName::from_static("x-bowsprit-cache");
/// What a cache did (RFC 9211).
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The limit that refused the request.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-bowsprit-limit");

/// The request's id, where the caller's SDK looks for it, on an answer that is no provider's.
pub(super) fn identify(headers: &mut HeaderMap, dialect: Dialect, id: &RequestId) {
    headers.insert(X_REQUEST_ID, id.header());
    if dialect == Dialect::AnthropicMessages {
        headers.insert(HeaderName::from_static("request-id"), id.header());
    }
}
