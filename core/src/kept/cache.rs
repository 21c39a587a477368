//! What a route's cache answers, and why a request goes by it.

use std::time::Duration;

use bowsprit_crds::cache::{Cache, CacheScope, CacheTemperature, EmbeddingsCache};

use super::acts::{Acts, Allowed};
use super::finished::Good;
use super::key::Whose;
use super::{Terms, Wrong};
use crate::config::{Config, Route};

/// The longest that a request waits for another's answer.
pub const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// How a route caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheTerms {
    /// How long, and in how much memory.
    pub keep: Terms,
    /// Whose its answers are.
    pub scope: CacheScope,
    /// What may be taken for harmless.
    pub allowed: Allowed,
    /// How long a request waits for the answer to the same one that is under way.
    pub max_wait: Duration,
    /// How vectors are kept, where they are kept input by input.
    pub embeddings: Option<Terms>,
}

impl CacheTerms {
    /// Checks a spec.
    ///
    /// # Errors
    /// Everything that is wrong with it, with the field's path from the spec.
    pub(crate) fn of(spec: &Cache) -> Result<Self, Vec<Wrong>> {
        let keep = Terms::within_bounds(("cache.ttl", "cache.maxBytes"), spec.ttl, spec.max_bytes);
        let max_wait = spec.max_wait.get();
        let mut wrong = keep.as_ref().err().cloned().unwrap_or_default();
        let fields = ("cache.embeddings.ttl", "cache.embeddings.maxBytes");
        let terms = |spec: &EmbeddingsCache| Terms::within_bounds(fields, spec.ttl, Some(spec.max_bytes));
        let embeddings = spec.embeddings.as_ref().map(terms).transpose();
        wrong.extend(embeddings.as_ref().err().into_iter().flatten().cloned());
        if max_wait > LONGEST_WAIT {
            wrong.push((
                "cache.maxWait",
                format!("is {}", spec.max_wait),
                "set it to 10m at most",
            ));
        }
        match keep {
            Ok(keep) if wrong.is_empty() => Ok(Self {
                keep,
                scope: spec.scope,
                allowed: Allowed {
                    own_tools: spec.allow_tools,
                    any_temperature: spec.temperature == CacheTemperature::Any,
                },
                max_wait,
                embeddings: embeddings.unwrap_or_default(),
            }),
            _ => Err(wrong),
        }
    }

    /// Which ends of an answer are good ones.
    pub fn good(&self) -> Good {
        if self.allowed.own_tools {
            Good::SaidOrCalls
        } else {
            Good::Said
        }
    }

    /// Whose the answers of this route are: its caller's, wherever a provider of it answers with the caller's own key.
    pub fn whose(&self, config: &Config, route: &Route) -> Whose {
        let forwards = |name: &str| {
            config
                .provider(name)
                .is_some_and(|provider| provider.forward_caller_key)
        };
        match self.scope {
            CacheScope::Pod if !route.all_targets().any(|target| forwards(&target.provider)) => Whose::ThePods,
            CacheScope::Pod | CacheScope::Caller => Whose::TheCallers,
        }
    }
}

/// Why a request of a route with a cache goes by it. The metric label and the `detail` of `cache-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bypass {
    /// The caller wants nothing kept (`no-store`).
    NoStore,
    /// It acts, or may: tools, stored responses, states kept by the provider.
    Acts,
    /// It asks for several answers.
    Several,
    /// It asks for an answer that may be another each time.
    Temperature,
    /// It is larger than what is read for a key.
    TooLarge,
    /// It cannot be read.
    Unreadable,
    /// Nobody can say whose it is: it comes from outside of the pod, and brings no credentials.
    Unknown,
    /// The route has changed while it came in.
    Changed,
}

impl Bypass {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoStore,
        Self::Acts,
        Self::Several,
        Self::Temperature,
        Self::TooLarge,
        Self::Unreadable,
        Self::Unknown,
        Self::Changed,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoStore => "no_store",
            Self::Acts => "acts",
            Self::Several => "several",
            Self::Temperature => "temperature",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown_caller",
            Self::Changed => "changed",
        }
    }
}

impl From<Acts> for Bypass {
    fn from(acts: Acts) -> Self {
        match acts {
            Acts::TooLarge => Self::TooLarge,
            Acts::Unreadable | Acts::Unread => Self::Unreadable,
            Acts::Member(_) => Self::Acts,
            Acts::Several => Self::Several,
            Acts::Varies => Self::Temperature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Scope, load};

    fn loaded(cache: &str, provider: &str) -> Result<Config, String> {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: claude}}\nspec:\n  provider: Anthropic\n  \
             {provider}\n  models: [{{name: m}}]\n---\n\
             apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec:\n  match: {{models: [smart]}}\n  \
             targets: [{{provider: claude, model: m}}]\n  cache: {cache}\n"
        );
        load(&text, &Scope::Standalone).map_err(|problems| problems.to_string())
    }

    const KEY: &str = "credentials: [{name: main, env: K}]";

    #[test]
    fn a_cache_without_bounds_is_refused_with_path_and_remedy() {
        for (cache, problem) in [
            (
                "{ttl: 5m}",
                "ModelRoute r: spec.cache.maxBytes: is not set, so there would be no bound: set it to 65536",
            ),
            ("{ttl: 5m, staleOnError: true}", "spec.cache.maxBytes: is not set"),
            ("{ttl: 5m, maxBytes: 1}", "spec.cache.maxBytes: is 1"),
            (
                "{ttl: 200h, maxBytes: 65536}",
                "spec.cache.ttl: is 200h: set it to 1s to 168h",
            ),
            ("{ttl: 5m, maxBytes: 65536, maxWait: 11m}", "spec.cache.maxWait: is 11m"),
            (
                "{ttl: 5m, maxBytes: 65536, embeddings: {maxBytes: 7}}",
                "spec.cache.embeddings.maxBytes: is 7",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, embeddings: {maxBytes: 65536}}\n  fallback: [{provider: claude, model: n}]",
                "spec.cache.embeddings: is of several models, whose vectors do not go together: name one model in all targets",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, embeddings: {maxBytes: 65536, keepInputs: 7}}",
                "spec.cache.embeddings.keepInputs: is 7: set it to 65536",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, embeddings: {maxBytes: 65536, next: {provider: claude, model: m}}}",
                "spec.cache.embeddings.next.model: is \"m\", which the targets ask for already",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, embeddings: {maxBytes: 65536, next: {provider: other, model: n, workers: 9}}}",
                "spec.cache.embeddings.next.workers: is 9: set it to 1 to 8",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, embeddings: {maxBytes: 65536, next: {provider: other, model: n}}}",
                "ModelRoute r: spec.cache.embeddings.next.provider: there is no ProviderConfig \"other\"",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, store: {redisRef: {name: cache, key: url}, timeout: 2s}}",
                "ModelRoute r: spec.cache.store.timeout: is 2s: set it to 1ms to 1s",
            ),
            (
                "{ttl: 5m, maxBytes: 65536, store: {redisRef: {name: cache, key: ../url}}}",
                "spec.cache.store.redisRef: has a name or key that no Secret can have",
            ),
        ] {
            let problems = loaded(cache, KEY).unwrap_err();
            assert!(problems.contains(problem), "{cache}: {problems}");
        }
    }

    #[test]
    fn what_is_not_said_is_the_narrowest() {
        let config = loaded("{ttl: 5m, maxBytes: 1048576}", KEY).unwrap();
        let terms = config.routes[0].cache.unwrap();
        assert_eq!(
            (terms.keep.max_age, terms.keep.max_bytes),
            (Duration::from_mins(5), 1 << 20)
        );
        assert_eq!(
            terms.allowed,
            Allowed {
                own_tools: false,
                any_temperature: false
            }
        );
        assert_eq!((terms.max_wait, terms.good()), (Duration::from_mins(1), Good::Said));
        assert_eq!(terms.whose(&config, &config.routes[0]), Whose::TheCallers);
        assert!(config.routes[0].not_in_force.is_empty());
    }

    #[test]
    fn a_store_is_asked_for_no_longer_than_fifty_milliseconds_unless_said_otherwise() {
        let store = |cache: &str| {
            let config = loaded(cache, KEY).unwrap();
            config.routes[0].cache_store.clone()
        };
        assert_eq!(store("{ttl: 5m, maxBytes: 65536}"), None);
        let store = store("{ttl: 5m, maxBytes: 65536, store: {redisRef: {name: cache, key: url}}}").unwrap();
        assert_eq!(store.deadline, Duration::from_millis(50));
    }

    #[test]
    fn a_pods_cache_is_its_callers_where_a_provider_answers_with_the_callers_key() {
        let whose = |provider: &str| {
            let config = loaded(
                "{ttl: 5m, maxBytes: 1048576, scope: Pod, allowTools: true, temperature: Any}",
                provider,
            )
            .unwrap();
            let terms = config.routes[0].cache.unwrap();
            assert_eq!((terms.good(), terms.allowed.any_temperature), (Good::SaidOrCalls, true));
            terms.whose(&config, &config.routes[0])
        };
        assert_eq!(whose(KEY), Whose::ThePods);
        assert_eq!(whose("forwardCallerKey: true"), Whose::TheCallers);
    }

    #[test]
    fn the_old_form_is_still_read_and_says_what_is_not_in_force() {
        let config = loaded("{ttl: 5m, staleOnError: true, maxBytes: 65536}", KEY).unwrap();
        assert_eq!(config.routes[0].not_in_force, ["spec.cache.staleOnError"]);
    }
}
