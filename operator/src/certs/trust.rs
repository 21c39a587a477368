//! What the apiserver trusts: the `caBundle` of each of our webhooks, read and written.
//!
//! Writes carry the version that was read, so that two replicas never undo each other's; the slower one reads again.

use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::metrics::Metrics;

/// Attempts against replicas that write at the same time.
const MAX_CONFLICTS: u32 = 5;

/// An object with webhooks.
pub trait Configuration: Clone + Debug + DeserializeOwned {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Its webhooks: name, and how each is called.
    fn hooks(&self) -> impl Iterator<Item = (&str, &WebhookClientConfig)>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn hooks(&self) -> impl Iterator<Item = (&str, &WebhookClientConfig)> {
        let hooks = self.webhooks.iter().flatten();
        hooks.map(|hook| (hook.name.as_str(), &hook.client_config))
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn hooks(&self) -> impl Iterator<Item = (&str, &WebhookClientConfig)> {
        let hooks = self.webhooks.iter().flatten();
        hooks.map(|hook| (hook.name.as_str(), &hook.client_config))
    }
}

/// Whether every webhook of a configuration trusts this CA (PEM).
pub fn trusts(configuration: &impl Configuration, ca: &str) -> bool {
    let knows = |client: &WebhookClientConfig| {
        let bundle = client.ca_bundle.as_ref();
        bundle.is_some_and(|bundle| String::from_utf8_lossy(&bundle.0).contains(ca.trim_end()))
    };
    configuration.hooks().all(|(_, client)| knows(client))
}

/// Puts the bundle into every webhook of `seen` that has another, and gives what is in force then.
///
/// # Errors
/// What the apiserver says, but for conflicts, which are tried again.
pub async fn publish<K: Configuration>(
    api: &Api<K>,
    name: &str,
    mut seen: K,
    bundle: &str,
    metrics: &Metrics,
) -> Result<K, kube::Error> {
    let mut conflicts = 0;
    while let Some(patch) = bundle_patch(&seen, bundle) {
        let params = PatchParams::default();
        match api.patch(name, &params, &Patch::Strategic(&patch)).await {
            Ok(written) => {
                metrics.wrote("webhook_configuration", true);
                return Ok(written);
            }
            Err(kube::Error::Api(status)) if status.code == 409 && conflicts < MAX_CONFLICTS => {
                conflicts += 1;
                seen = api.get(name).await?;
            }
            Err(error) => {
                metrics.wrote("webhook_configuration", false);
                return Err(error);
            }
        }
    }
    Ok(seen)
}

/// A strategic merge patch (lists of webhooks merge by name), tied to the version that was read; `None`: all have it.
fn bundle_patch(configuration: &impl Configuration, bundle: &str) -> Option<serde_json::Value> {
    let wanted = ByteString(bundle.as_bytes().to_vec());
    let behind = configuration
        .hooks()
        .filter(|(_, client)| client.ca_bundle.as_ref() != Some(&wanted));
    let hooks: Vec<_> = behind
        .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": wanted}}))
        .collect();
    let version = &configuration.metadata().resource_version;
    (!hooks.is_empty()).then(|| json!({"metadata": {"resourceVersion": version}, "webhooks": hooks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: [Option<&str>; 2]) -> MutatingWebhookConfiguration {
        let hook = |(name, bundle): (&str, Option<&str>)| {
            let bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
            json!({"name": name, "clientConfig": {"caBundle": bundle}, "admissionReviewVersions": ["v1"], "sideEffects": "None"})
        };
        let hooks: Vec<_> = ["a", "b"].into_iter().zip(bundles).map(hook).collect();
        serde_json::from_value(json!({"metadata": {"name": "bowsprit", "resourceVersion": "7"}, "webhooks": hooks}))
            .unwrap()
    }

    #[test]
    fn every_webhook_that_is_behind_gets_the_bundle_and_no_other_is_touched() {
        let patch = bundle_patch(&configuration([Some("new"), None]), "new");
        assert_eq!(
            patch.unwrap(),
            json!({"metadata": {"resourceVersion": "7"}, "webhooks": [{"name": "b", "clientConfig": {"caBundle": "bmV3"}}]})
        );
        assert!(bundle_patch(&configuration([Some("new"), Some("new")]), "new").is_none());
    }

    #[test]
    fn a_ca_is_trusted_when_each_webhook_has_it_beside_whatever_else() {
        assert!(trusts(&configuration([Some("old\nnew\n"), Some("new\n")]), "new\n"));
        assert!(!trusts(&configuration([Some("old\nnew\n"), Some("old\n")]), "new\n"));
        assert!(!trusts(&configuration([Some("new\n"), None]), "new\n"));
    }
}
