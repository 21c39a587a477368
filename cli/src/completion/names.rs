//! Names of a cluster's objects, for completion.

use std::time::Duration;

use bowsprit_crds::{ModelRoute, ProviderConfig, names};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::ListParams;

use crate::args::ClusterArgs;
use crate::cluster::Cluster;
use crate::failure::Failure;

/// Whoever types does not wait longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// ProviderConfigs.
    Provider,
    /// ModelRoutes.
    Route,
    /// Pods with a sidecar.
    Pod,
    /// Namespaces.
    Namespace,
}

impl Named {
    /// What an argument names, if it names something.
    pub(super) fn by(arg: &clap::Arg) -> Option<Self> {
        match arg.get_id().as_str() {
            "provider" => Some(Self::Provider),
            "route" => Some(Self::Route),
            "pod" => Some(Self::Pod),
            "namespace" | "operator_namespace" => Some(Self::Namespace),
            _ => None,
        }
    }
}

/// All that the cluster tells of in time; nothing where it does not.
pub(super) async fn of(kind: Named, args: &ClusterArgs) -> Vec<String> {
    let args = ClusterArgs {
        timeout: PATIENCE,
        ..args.clone()
    };
    let ask = async {
        let cluster = Cluster::connect(&args).await?;
        asked(&cluster, kind).await
    };
    let names = tokio::time::timeout(PATIENCE, ask).await;
    names.ok().and_then(Result::ok).unwrap_or_default()
}

async fn asked(cluster: &Cluster, kind: Named) -> Result<Vec<String>, Failure> {
    let (namespace, all) = (Some(cluster.namespace()), ListParams::default());
    Ok(match kind {
        Named::Provider => {
            let heads = cluster.heads::<ProviderConfig>(namespace, all).await?;
            heads.iter().map(ResourceExt::name_any).collect()
        }
        Named::Route => {
            let heads = cluster.heads::<ModelRoute>(namespace, all).await?;
            heads.iter().map(ResourceExt::name_any).collect()
        }
        Named::Pod => {
            let injected = all.labels(&format!("{}=true", names::LABEL_INJECTED));
            let heads = cluster.heads::<Pod>(namespace, injected).await?;
            heads.iter().map(ResourceExt::name_any).collect()
        }
        Named::Namespace => {
            let found = cluster.list_global::<Namespace>(all).await?;
            found.iter().map(ResourceExt::name_any).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use http::Request;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::cluster::tests::{answering, status};

    #[tokio::test]
    async fn the_names_are_those_of_the_namespace() {
        let cluster = answering(
            |request: &Request<Body>| {
                assert_eq!(
                    request.uri().path(),
                    "/apis/bowsprit.dev/v1alpha1/namespaces/shop/providerconfigs"
                );
                let head = |name: &str| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": name}});
                let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
                    "items": [head("claude"), head("gemini")]});
                (200, list)
            },
            Duration::from_secs(5),
        );
        let names = asked(&cluster, Named::Provider).await;
        assert_eq!(
            names.map_err(|failure| failure.to_string()),
            Ok(vec!["claude".into(), "gemini".into()])
        );
        let forbidden = answering(|_| status(403, "no"), Duration::from_secs(5));
        assert!(asked(&forbidden, Named::Route).await.is_err());
    }
}
