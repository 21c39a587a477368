//! Credentials of providers: the only place that sees a key.
//!
//! Everybody else holds a [`Selected`] credential, which has a name and no bytes. [`sign`] puts its key into a finished
//! request; [`scrub`], [`is_quoted`] and [`without_key`] keep it out of what callers and logs are told, since some servers
//! repeat what they were sent.

use bowsprit_core::platform::{AuthScheme, Platform};
use http::{HeaderMap, HeaderName, Request};

mod files;
mod pool;
mod secret;

pub use files::KeyFiles;
pub use pool::{Counts, CredentialPool, Selected, Wanted};
pub use secret::{ApiKey, BadKey};

/// Signs a finished request with the credential that was selected for it, as the provider's platform has it. Without one
/// (`None`: the provider wants none) the request stays as it is.
pub fn sign<B>(request: &mut Request<B>, selected: Option<&Selected>, scheme: &AuthScheme) {
    let Some(Selected { key, .. }) = selected else { return };
    // Every prefix there is, is `Bearer `.
    let value = if scheme.prefix.is_empty() {
        key.bare()
    } else {
        key.bearer()
    };
    request.headers_mut().insert(scheme.header.clone(), value);
}

/// Takes over a caller's own key, where the ProviderConfig says that it goes on. Only in the headers of the provider's own
/// API: a key for one vendor must not reach another.
pub fn forward(caller: &HeaderMap, headers: &mut HeaderMap, platform: &Platform) {
    for name in platform.caller_keys {
        if let Some(key) = caller.get(name) {
            let mut key = key.clone();
            key.set_sensitive(true);
            headers.insert(name.clone(), key);
        }
    }
}

/// Whether a provider's text quotes the key that it was sent.
pub fn is_quoted(selected: Option<&Selected>, text: &[u8]) -> bool {
    selected.is_some_and(|selected| selected.key.is_in(text))
}

/// A provider's message, or a word on why it is withheld: it quotes the key.
pub fn without_key(selected: Option<&Selected>, message: String) -> String {
    if is_quoted(selected, message.as_bytes()) {
        return "the provider's message quoted the key and is withheld".to_owned();
    }
    message
}

/// Removes the headers of an answer that quote the key.
pub fn scrub(headers: &mut HeaderMap, selected: Option<&Selected>) {
    let Some(selected) = selected else { return };
    // Nearly every value is shorter than a key, so nearly none is searched.
    let quoting: Vec<HeaderName> = headers
        .iter()
        .filter(|(_, value)| selected.key.is_in(value.as_bytes()))
        .map(|(name, _)| name.clone())
        .collect();
    for name in quoting {
        headers.remove(name);
    }
}
