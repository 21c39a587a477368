//! The operators: which there are, who leads, what each says of itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::machine::Process;
use crate::{Bed, LONG, SYSTEM, eventually, pod_manifest};

/// The lease that they share.
const LEASE: &str = "bowsprit-operator";

/// The operators of a cluster.
pub struct Operators<'a>(&'a Bed);

impl<'a> Operators<'a> {
    pub(crate) fn new(bed: &'a Bed) -> Self {
        Self(bed)
    }

    /// Their pods.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.0.client.clone(), SYSTEM)
    }

    /// The names of those that are not about to end.
    pub async fn names(&self) -> Result<Vec<String>> {
        let all = ListParams::default().labels("app.kubernetes.io/component=operator");
        let pods = self.pods().list(&all).await?;
        let stay = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(stay.map(ResourceExt::name_any).collect())
    }

    /// Who holds the lease; empty where nobody does.
    pub async fn leader(&self) -> Result<String> {
        let leases = Api::<Lease>::namespaced(self.0.client.clone(), SYSTEM);
        let spec = leases.get(LEASE).await?.spec.context("the lease has no spec")?;
        Ok(spec.holder_identity.unwrap_or_default())
    }

    /// The process of one of them.
    pub async fn process(&self, pod: &str) -> Result<Process> {
        Process::of(&self.pods().get(pod).await?, "operator")
    }

    /// A metric of one of them.
    pub async fn metric(&self, pod: &str, name: &str) -> Result<f64> {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:8081/proxy/metrics");
        let (status, text) = self.0.http("GET", &path, "").await?;
        ensure!(status == 200, "{pod} gives no metrics: {status} {text}");
        Ok(bowsprit_rig::metrics::sum(&text, name, &[]))
    }

    /// Waits until each serves the certificate that ends at this second since 1970.
    pub async fn all_serve(&self, not_after: i64, within: Duration) -> Result<()> {
        eventually(within, "every operator serves the new certificate", async || {
            for pod in self.names().await? {
                let name = "bowsprit_operator_webhook_certificate_not_after_seconds";
                let served = self.metric(&pod, name).await?;
                #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
                let is_it = (served - not_after as f64).abs() < 0.5;
                ensure!(is_it, "{pod} serves the one until {served}, not {not_after}");
            }
            Ok(())
        })
        .await
    }

    /// Waits until as many as there should be are ready, one of them leads, and pods reach them.
    pub async fn settled(&self) -> Result<()> {
        let deployments = Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(self.0.client.clone(), SYSTEM);
        eventually(LONG * 2, "every operator is ready", async || {
            let wanted = deployments.get("bowsprit").await?.spec.replicas;
            let all = ListParams::default().labels("app.kubernetes.io/component=operator");
            let pods = self.pods().list(&all).await?.items;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            ensure!(
                pods.len() == ready && i32::try_from(ready).ok() == wanted,
                "{ready} of {} are ready, and there should be {wanted:?}",
                pods.len()
            );
            // One that ended in haste leaves the lease to expire, and does not lead meanwhile.
            let leader = self.leader().await?;
            ensure!(
                pods.iter().any(|pod| pod.name_any() == leader),
                "{leader:?} has the lease, and is none of them"
            );
            let (status, answer) = self.0.try_create(&pod_manifest("asks")).await?;
            ensure!(status == 201, "the webhook does not answer: {status} {answer}");
            Ok(())
        })
        .await
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|it| it.type_ == "Ready" && it.status == "True")
}
