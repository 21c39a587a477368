//! The Secrets and CA bundles that a pod's sidecar needs, and those that it has.

use std::collections::{BTreeMap, BTreeSet};

use bowsprit_core::config::is_file_name;
use bowsprit_crds::guards::Guard;
use bowsprit_crds::limits::NamedLimit;
use bowsprit_crds::provider_config::ObjectKeyRef;
use bowsprit_crds::{ModelRouteSpec, ProviderConfig, ProviderConfigSpec, UsagePolicySpec};
use k8s_openapi::api::core::v1::PodSpec;

use super::sidecar;

/// The Secrets and CA bundles that a pod's sidecar needs mounted: `(object, key)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Keys of Secrets.
    pub secrets: BTreeSet<(String, String)>,
    /// Keys of `ConfigMaps` with PEM bundles.
    pub ca_bundles: BTreeSet<(String, String)>,
}

impl References {
    /// What those `ProviderConfigs` that select a pod with `labels` refer to. Disabled ones count too: switching one on must
    /// not need a new pod.
    pub fn of<'a>(specs: impl IntoIterator<Item = &'a ProviderConfigSpec>, labels: &BTreeMap<String, String>) -> Self {
        let mut found = Self::default();
        for spec in specs {
            let selector = spec.pod_selector.as_ref();
            if selector.is_none_or(|selector| selector.matches(labels)) {
                found.add(spec);
            }
        }
        found
    }

    /// With what these `ModelRoutes` refer to, which are for all pods of their namespace.
    #[must_use]
    pub fn and<'a>(mut self, routes: impl IntoIterator<Item = &'a ModelRouteSpec>) -> Self {
        for route in routes {
            if let Some(store) = route.cache.as_ref().and_then(|cache| cache.store.as_ref()) {
                self.extend([&store.redis_ref], &store.ca_bundle_ref);
            }
            self.count(&route.limits);
            self.guard(&route.guards);
        }
        self
    }

    /// With what those `UsagePolicies` that select a pod with `labels` refer to.
    #[must_use]
    pub fn under<'a>(
        mut self,
        policies: impl IntoIterator<Item = &'a UsagePolicySpec>,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        for policy in policies {
            let selector = policy.pod_selector.as_ref();
            if selector.is_none_or(|selector| selector.matches(labels)) {
                self.count(&policy.limits);
                self.guard(&policy.guards);
            }
        }
        self
    }

    fn count(&mut self, limits: &[NamedLimit]) {
        for store in limits.iter().filter_map(|limit| limit.store.as_ref()) {
            self.extend([&store.redis_ref], &store.ca_bundle_ref);
        }
    }

    fn guard(&mut self, guards: &[Guard]) {
        for hook in guards.iter().filter_map(|guard| guard.webhook.as_ref()) {
            self.extend(&hook.auth_secret_ref, &hook.ca_bundle_ref);
        }
    }

    /// What a `ProviderConfig` refers to.
    pub fn named_by(provider: &ProviderConfig) -> Self {
        let mut found = Self::default();
        found.add(&provider.spec);
        found
    }

    fn add(&mut self, spec: &ProviderConfigSpec) {
        let credentials = spec.credentials.iter();
        let store = spec.rate_limits.store.as_ref();
        let secrets = credentials.filter_map(|credential| credential.secret_key_ref.as_ref());
        let bundles = spec.endpoint.ca_bundle_ref.iter();
        self.extend(
            secrets.chain(store.map(|store| &store.redis_ref)),
            bundles.chain(store.and_then(|store| store.ca_bundle_ref.as_ref())),
        );
    }

    fn extend<'a>(
        &mut self,
        secrets: impl IntoIterator<Item = &'a ObjectKeyRef>,
        bundles: impl IntoIterator<Item = &'a ObjectKeyRef>,
    ) {
        // An object that names another is not accepted, but may be stored where no webhook was asked; and with it in the mount,
        // the apiserver would refuse each new pod that the object selects.
        let can_be_mounted = |key: &&ObjectKeyRef| is_file_name(&key.name) && is_file_name(&key.key);
        let named = |key: &ObjectKeyRef| (key.name.clone(), key.key.clone());
        self.secrets
            .extend(secrets.into_iter().filter(can_be_mounted).map(named));
        self.ca_bundles
            .extend(bundles.into_iter().filter(can_be_mounted).map(named));
    }

    /// What a pod has mounted already, read from the volumes that the injector made.
    pub fn mounted(spec: &PodSpec) -> Self {
        let mut found = Self::default();
        for volume in spec.volumes.iter().flatten() {
            let sources = volume
                .projected
                .iter()
                .filter_map(|projected| projected.sources.as_ref())
                .flatten();
            for source in sources {
                if let Some(secret) = source
                    .secret
                    .as_ref()
                    .filter(|_| volume.name == sidecar::SECRETS_VOLUME)
                {
                    let items = secret.items.iter().flatten();
                    found
                        .secrets
                        .extend(items.map(|item| (secret.name.clone(), item.key.clone())));
                }
                if let Some(bundle) = source.config_map.as_ref().filter(|_| volume.name == sidecar::CA_VOLUME) {
                    let items = bundle.items.iter().flatten();
                    found
                        .ca_bundles
                        .extend(items.map(|item| (bundle.name.clone(), item.key.clone())));
                }
            }
        }
        found
    }

    /// What `self` has and `mounted` has not, as `secret/key` or `configmap/key`.
    pub fn missing_from(&self, mounted: &Self) -> Vec<String> {
        let secrets = self.secrets.difference(&mounted.secrets);
        secrets
            .chain(self.ca_bundles.difference(&mounted.ca_bundles))
            .map(|(name, key)| format!("{name}/{key}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_mount_can_have_keeps_no_pod_from_being_made() {
        let named = |key: &str| {
            let spec = serde_json::json!({
                "provider": "OpenAI", "endpoint": {"caBundleRef": {"name": "ca", "key": key}},
                "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": key}}],
                "rateLimits": {"scope": "Fleet", "store": {
                    "redisRef": {"name": "limits", "key": key}, "caBundleRef": {"name": "limits-ca", "key": key},
                }},
            });
            References::named_by(&ProviderConfig::new("a", serde_json::from_value(spec).unwrap()))
        };
        let of_route = |key: &str| {
            let spec = serde_json::json!({
                "match": {"models": ["m"]}, "targets": [{"provider": "a"}],
                "cache": {"ttl": "1h", "maxBytes": 65536, "store": {"redisRef": {"name": "cache", "key": key}}},
            });
            let route: ModelRouteSpec = serde_json::from_value(spec).unwrap();
            References::default().and([&route])
        };
        let of_policy = |key: &str, labels: &str| {
            let spec = serde_json::json!({
                "podSelector": {"matchLabels": {"app": "shop"}},
                "limits": [{"name": "all", "requestsPerMinute": 5, "scope": "Fleet", "store": {"redisRef": {"name": "counts", "key": key}}}],
            });
            let policy: UsagePolicySpec = serde_json::from_value(spec).unwrap();
            let labels = BTreeMap::from([("app".to_owned(), labels.to_owned())]);
            References::default().under([&policy], &labels)
        };
        assert_eq!(
            of_policy("url", "shop").secrets,
            BTreeSet::from([("counts".into(), "url".into())])
        );
        assert_eq!(of_policy("url", "other"), References::default());
        for key in [".", "..", "..data"] {
            assert_eq!(named(key), References::default(), "{key}");
            assert_eq!(of_route(key), References::default(), "{key}");
            assert_eq!(of_policy(key, "shop"), References::default(), "{key}");
        }
        assert_eq!(
            of_route("url").secrets,
            BTreeSet::from([("cache".into(), "url".into())])
        );
        let of_guard = |key: &str| {
            let spec = serde_json::json!({"name": "dlp", "applyTo": ["Request"], "webhook": {
                "url": "https://dlp", "authSecretRef": {"name": "dlp", "key": key}, "caBundleRef": {"name": "dlp-ca", "key": key},
            }});
            let policy = serde_json::json!({"guards": [spec]});
            let policy: UsagePolicySpec = serde_json::from_value(policy).unwrap();
            References::default().under([&policy], &BTreeMap::new())
        };
        assert_eq!(of_guard("..data"), References::default());
        let both = of_guard("key");
        assert_eq!((both.secrets.len(), both.ca_bundles.len()), (1, 1));
        let file = named(".key..pem");
        assert_eq!(
            (file.secrets.len(), file.ca_bundles.len()),
            (2, 2),
            "the provider's and its store's"
        );
    }
}
