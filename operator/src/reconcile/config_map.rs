//! A namespace's ConfigMap, read and written.

use bowsprit_crds::names;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Context, Error, FIELD_MANAGER};
use crate::desired::{Current, Desired};

/// What the ConfigMap says.
pub(crate) fn read(config_map: &ConfigMap) -> Current {
    let field = |key: &str| {
        config_map
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .cloned()
            .unwrap_or_default()
    };
    Current {
        text: field(names::CONFIG_KEY),
        revision: field(names::REVISION_KEY),
        sequence: field(names::SEQUENCE_KEY).parse().unwrap_or(0),
        format: field(names::FORMAT_KEY).parse().unwrap_or(0),
    }
}

/// Whether there was none, where none is seen, for so long that no sidecar holds anything by one.
pub(super) async fn was_none(namespace: &str, context: &Context) -> bool {
    // Nothing is written over that is not there: whether the one of a leader before is only late to be seen, its absence must tell. And
    // where there are sidecars, somebody may have taken away what they run with.
    if !context.store.pods(namespace).is_empty() {
        return false;
    }
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    matches!(api.get_opt(names::CONFIG_MAP).await, Ok(None))
}

/// Writes it. `seen` is the ConfigMap that `wanted` was decided on: one that has changed since is not written over.
pub(super) async fn write(
    namespace: &str,
    wanted: &Desired,
    sequence: u64,
    seen: Option<&ConfigMap>,
    context: &Context,
) -> Result<(), Error> {
    let owner = context.owner_of(seen).await?;
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names::CONFIG_MAP,
            "resourceVersion": seen.and_then(|map| map.metadata.resource_version.as_deref()),
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "ownerReferences": owner.as_slice(),
        },
        "data": {
            names::CONFIG_KEY: wanted.rendered.text,
            names::REVISION_KEY: wanted.rendered.revision,
            names::SEQUENCE_KEY: sequence.to_string(),
            names::FORMAT_KEY: names::FORMAT_VERSION.to_string(),
        },
    });
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(object));
    let write = api.patch(names::CONFIG_MAP, &params, &patch);
    context.leadership.write(write).await?.map_err(|source| Error::Kube {
        step: "writing the ConfigMap",
        source,
    })?;
    context.metrics.config_writes.inc();
    tracing::info!(
        namespace,
        revision = wanted.rendered.revision,
        sequence,
        "config written"
    );
    Ok(())
}
