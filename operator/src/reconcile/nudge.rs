//! Makes the kubelet bring a changed config at once to pods whose sidecar holds no stream.

use std::sync::Arc;

use bowsprit_crds::names;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Context;
use crate::objects::pod::InjectedPod;

/// Pods nudged at the same time, so that a large namespace does not flood the apiserver.
const NUDGES_AT_ONCE: usize = 16;

/// Touches the pods that were not touched for `revision` yet: their kubelets then refresh the mount at once.
pub(super) async fn nudge(namespace: &str, pods: &[Arc<InjectedPod>], revision: &str, context: &Context) {
    let api = Api::<Pod>::namespaced(context.client.clone(), namespace);
    let untouched: Vec<&Arc<InjectedPod>> = pods
        .iter()
        .filter(|pod| pod.touched_for.as_deref() != Some(revision))
        .collect();
    stream::iter(untouched)
        .for_each_concurrent(NUDGES_AT_ONCE, |pod| {
            let api = &api;
            async move {
                let name = &pod.id.name;
                let patch = Patch::Merge(json!({"metadata": {
                    "resourceVersion": pod.resource_version,
                    "annotations": {names::ANNOTATION_CONFIG_REVISION: revision},
                }}));
                let params = PatchParams::default();
                let Ok(written) = context
                    .leadership
                    .write(api.patch_metadata(name, &params, &patch))
                    .await
                else {
                    return;
                };
                match written {
                    Ok(_) => {
                        context.metrics.nudges.inc();
                    }
                    // Gone, or another version by now, which is looked at when it is heard of.
                    Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                    Err(error) => {
                        context.metrics.nudge_failures.inc();
                        tracing::warn!(namespace, pod = name, %error, "nudge failed; the kubelet refreshes by itself");
                    }
                }
            }
        })
        .await;
}
