//! Certificates that somebody else makes, such as cert-manager: a Secret with `tls.crt`, `tls.key` and `ca.crt`, read and never
//! written. Watched, so that a new leaf is served within a second of its being there; the webhooks' caBundle is its issuer's
//! business (`cert-manager.io/inject-ca-from`).

mod leaf;

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};

use super::Served;
use crate::metrics::Metrics;
use crate::objects::fresh;
use crate::readiness::Block;
use crate::time::unix_seconds;

pub use leaf::{Leaf, Unfit};

/// Follows one Secret.
pub struct Issued {
    secrets: Api<Secret>,
    secret: String,
    dns: String,
    served: Arc<Served>,
    metrics: Metrics,
}

impl Issued {
    /// The Secret `secret` of `namespace`, whose leaf must be for the name `dns`.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        secret: &str,
        dns: &str,
        served: Arc<Served>,
        metrics: Metrics,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            secret: secret.to_owned(),
            dns: dns.to_owned(),
            served,
            metrics,
        }
    }

    /// Returns only if the watch ends; says `ready` once there is a leaf to serve. What is there and cannot be served is left,
    /// and the last one goes on.
    pub async fn run(self, ready: Block) {
        let mut ready = Some(ready);
        let named = watcher::Config::default().fields(&format!("metadata.name={}", self.secret));
        let seen = fresh::watch(self.secrets.clone(), named).default_backoff();
        let mut is_listed = false;
        let mut seen = std::pin::pin!(seen);
        let secret = &self.secret;
        while let Some(seen) = seen.next().await {
            match seen {
                Ok(Event::Init) => is_listed = false,
                Ok(Event::Apply(found) | Event::InitApply(found)) => {
                    is_listed = true;
                    match self.take(&found) {
                        Ok(()) => {
                            if let Some(block) = ready.take() {
                                block.ready();
                            }
                        }
                        Err(error) => {
                            let source = std::error::Error::source(&error).map(ToString::to_string);
                            tracing::warn!(secret, %error, source, "the certificate is not served; the last one goes on");
                        }
                    }
                }
                Ok(Event::InitDone) if is_listed => {}
                Ok(Event::InitDone | Event::Delete(_)) => tracing::warn!(
                    secret,
                    "there is no such Secret: see what its issuer says (kubectl describe certificate)"
                ),
                Err(error) => tracing::warn!(secret, %error, "watch interrupted; trying again with backoff"),
            }
        }
    }

    fn take(&self, secret: &Secret) -> Result<(), Unfit> {
        let leaf = Leaf::read(secret.data.as_ref(), &self.dns, unix_seconds())?;
        tracing::info!(secret = self.secret, not_after = leaf.not_after, "certificate taken");
        self.metrics.certificate(leaf.not_after);
        self.served.announce(&leaf.bundle);
        self.served.serve(leaf.certified);
        Ok(())
    }
}
