//! The Secrets and CA bundles that a pod's sidecar needs, and those that it has.

use std::collections::{BTreeMap, BTreeSet};

use bowsprit_crds::ProviderConfig;
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
    /// What the `ProviderConfigs` that select a pod with `labels` refer to. Disabled ones count too: switching one on must
    /// not need a new pod.
    pub fn of<'a>(providers: impl IntoIterator<Item = &'a ProviderConfig>, labels: &BTreeMap<String, String>) -> Self {
        let mut found = Self::default();
        for provider in providers {
            let spec = &provider.spec;
            if !spec
                .pod_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(labels))
            {
                continue;
            }
            found.add(provider);
        }
        found
    }

    /// What a `ProviderConfig` refers to.
    pub fn named_by(provider: &ProviderConfig) -> Self {
        let mut found = Self::default();
        found.add(provider);
        found
    }

    fn add(&mut self, provider: &ProviderConfig) {
        let credentials = provider.spec.credentials.iter();
        let secrets = credentials.filter_map(|credential| credential.secret_key_ref.as_ref());
        self.secrets
            .extend(secrets.map(|key| (key.name.clone(), key.key.clone())));
        let bundles = provider.spec.endpoint.ca_bundle_ref.iter();
        self.ca_bundles
            .extend(bundles.map(|key| (key.name.clone(), key.key.clone())));
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
