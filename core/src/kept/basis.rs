//! What a route's kept answers rest on beside the request.

use std::fmt::Write as _;

use crate::config::{Config, Route};

/// All that a route's answers rest on beside the request: who may be asked, for what, and with whose access. Where that
/// changes, what was kept is no answer of this route any more. Times, limits and breakers are no part of it: they are what
/// people change while a provider is down.
pub fn basis(config: &Config, route: &Route) -> String {
    let mut basis = format!(
        "{:?}",
        (&route.models, &route.targets, &route.fallback, route.on_unsupported)
    );
    for target in route.all_targets() {
        let found = config.provider(&target.provider);
        let rests_on = found.map(|provider| {
            (
                (provider.kind, provider.base_url.authority(), provider.base_url.path()),
                (&provider.version, &provider.headers, &provider.credentials),
                (&provider.models, &provider.default_model, &provider.safety),
                provider.forward_caller_key,
            )
        });
        // Writing to a String cannot fail.
        let _ = write!(basis, "{rests_on:?}");
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Scope, load};

    fn config(target: &str, more: &str) -> Config {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: claude}}\nspec:\n  provider: Anthropic\n  \
             credentials: [{{name: main, env: K}}]\n  models: [{{name: m}}]\n  {more}\n---\n\
             apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec:\n  match: {{models: [smart]}}\n  \
             targets: [{{provider: claude, model: {target}}}]\n  staleIfError: {{maxAge: 1h, maxBytes: 1048576}}\n"
        );
        load(&text, &Scope::Standalone).unwrap()
    }

    fn basis_of(config: &Config) -> String {
        basis(config, &config.routes[0])
    }

    #[test]
    fn what_is_kept_rests_on_targets_and_access_and_not_on_what_is_tuned_in_an_outage() {
        let before = basis_of(&config("m", "timeouts: {total: 30s}"));
        assert_eq!(before, basis_of(&config("m", "timeouts: {total: 5s}")));
        for changed in [
            config("other", ""),
            config("m", "enabled: false"),
            config("m", "endpoint: {baseUrl: 'https://elsewhere.example'}"),
            config("m", "endpoint: {headers: {x-team: red}}"),
        ] {
            assert_ne!(before, basis_of(&changed));
        }
    }
}
