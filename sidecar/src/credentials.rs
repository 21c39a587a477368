//! Credentials of providers: the only place that sees a key.
//!
//! Everybody else holds a [`Selected`] credential, which has a name and no bytes. [`sign`] puts its key into a finished
//! request; [`scrub`] and [`Keys`] keep it out of what callers and logs are told, since some servers repeat what they were
//! sent.

use bowsprit_core::platform::{AuthScheme, Platform};
use http::header::AUTHORIZATION;
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

/// Signs a question to a service that is no provider: `Authorization: Bearer`.
pub fn bear<B>(request: &mut Request<B>, key: &ApiKey) {
    request.headers_mut().insert(AUTHORIZATION, key.bearer());
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

/// A caller's own keys that go on with its request: known, so that they are kept out of what is told, too.
#[derive(Clone, Debug)]
pub struct Forwarded(Vec<ApiKey>);

impl Forwarded {
    /// The keys that [`forward`] takes over.
    pub fn of(caller: &HeaderMap, platform: &Platform) -> Self {
        let text = |name: &HeaderName| caller.get(name)?.to_str().ok();
        let texts = platform.caller_keys.iter().filter_map(text);
        // What stands before the key is its scheme.
        let keys = texts.filter_map(|text| ApiKey::parse(text.rsplit(' ').next()?).ok());
        Self(keys.collect())
    }
}

/// The keys that an exchange goes with.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Of the provider's credentials, the one that was selected.
    pub selected: Option<Selected>,
    /// The caller's. Boxed, as few providers are given any.
    pub forwarded: Option<Box<Forwarded>>,
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = &ApiKey> {
        let selected = self.selected.iter().map(|selected| &selected.key);
        selected.chain(self.forwarded.iter().flat_map(|forwarded| &forwarded.0))
    }

    /// Whether a provider's text tells a key that it was sent. The one place that judges it.
    pub fn are_told_in(&self, text: &[u8]) -> bool {
        self.all().any(|key| key.is_told_in(text))
    }

    /// A provider's message, or a word on why it is withheld: it tells the key.
    pub fn without(&self, message: String) -> String {
        if self.are_told_in(message.as_bytes()) {
            return "the provider's message quoted the key and is withheld".to_owned();
        }
        message
    }
}

/// Removes the headers of an answer that quote the key; of one that is no success, also those that tell it in another form.
pub fn scrub(headers: &mut HeaderMap, keys: &Keys, is_success: bool) {
    // Nearly every value is shorter than a key, so nearly none is searched.
    let quoting: Vec<HeaderName> = headers
        .iter()
        .filter(|(_, value)| {
            let value = value.as_bytes();
            keys.all().any(|key| key.is_in(value)) || (!is_success && keys.are_told_in(value))
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in quoting {
        headers.remove(name);
    }
}
