//! Keeps Secret, served certificate and the webhook configuration's caBundle in agreement. Every replica runs it; the
//! Secret's resourceVersion decides between two that write at once, and the loser reads again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::{CannotMake, Material};
use super::trust::{publish, trusts};
use super::{BadPair, Served, jittered};
use crate::metrics::Metrics;
use crate::owner::{self, Deployed};
use crate::readiness::Block;
use crate::sync::locked;
use crate::time::unix_seconds;

/// Between two looks once all is well.
const AT_REST: Duration = Duration::from_secs(30);
/// Between two looks until then; doubled up to [`AT_REST`].
const AT_START: Duration = Duration::from_millis(500);
/// Attempts at one look against replicas that write at the same time.
const MAX_CONFLICTS: u32 = 5;

/// Why certificates could not be brought in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Secret could not be read or written.
    #[error("Secret {0}")]
    Secret(String, #[source] kube::Error),
    /// The apiserver did not tell whose the Secret is to be.
    #[error("the owner of Secret {0}")]
    Owner(String, #[source] kube::Error),
    /// A webhook configuration could not be read or patched.
    #[error("webhook configuration {0}")]
    Webhook(String, #[source] kube::Error),
    /// No certificate could be made.
    #[error(transparent)]
    Make(#[from] CannotMake),
    /// What is stored cannot be served.
    #[error(transparent)]
    Pair(#[from] BadPair),
    /// The state could not be written as JSON.
    #[error("the certificates could not be written as JSON")]
    Json(#[source] serde_json::Error),
    /// Other replicas were always first.
    #[error("other replicas keep writing the Secret")]
    Contended,
}

/// Names that belong to the webhook's certificate.
#[derive(Clone, Debug)]
pub struct Names {
    /// The Secret in the operator's namespace.
    pub secret: String,
    /// The `MutatingWebhookConfiguration` and the `ValidatingWebhookConfiguration`, which have one name.
    pub webhook_config: String,
    /// DNS names of the webhook's Service.
    pub dns: Vec<String>,
    /// The ledger service's, where there is one.
    pub ledger: Option<Ledger>,
}

/// Names that belong to the ledger service's certificate. It has CAs of its own, which sidecars are told to trust beside the
/// operators'; its pods see this Secret and no other.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The Secret in the operator's namespace.
    pub secret: String,
    /// DNS names of its Service.
    pub dns: Vec<String>,
}

/// The loop and what it needs.
pub struct Keeper {
    secrets: Api<Secret>,
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
    names: Names,
    served: Arc<Served>,
    metrics: Metrics,
    owner: Option<Deployed>,
    last: Mutex<Option<Material>>,
    last_of_ledger: Mutex<Option<Material>>,
}

/// One of the Secrets that are kept.
struct Kept<'a> {
    secret: &'a str,
    dns: &'a [String],
    /// For the metric of writes.
    object: &'static str,
    last: &'a Mutex<Option<Material>>,
}

impl Keeper {
    /// `namespace` is the operator's own.
    pub fn new(client: kube::Client, namespace: &str, names: Names, served: Arc<Served>, metrics: Metrics) -> Self {
        let secrets = Api::namespaced(client.clone(), namespace);
        Self {
            secrets,
            mutating: Api::all(client.clone()),
            validating: Api::all(client),
            names,
            served,
            metrics,
            owner: None,
            last: Mutex::default(),
            last_of_ledger: Mutex::default(),
        }
    }

    /// The Secret goes with this owner.
    #[must_use]
    pub fn owned_by(mut self, owner: Deployed) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Never returns; says `ready` once the apiserver was told to trust what is served.
    pub async fn run(self, ready: Block) {
        let (mut ready, mut pause) = (Some(ready), AT_START);
        loop {
            match self.look().await {
                Ok(()) => {
                    if let Some(block) = ready.take() {
                        block.ready();
                    }
                    pause = AT_REST;
                }
                Err(error) => {
                    Self::complain(&error);
                    pause = if ready.is_some() {
                        (pause * 2).min(AT_REST)
                    } else {
                        AT_REST
                    };
                }
            }
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// One look: Secret, caBundle of the injection webhook, served certificate, caBundle of the validating ones.
    ///
    /// # Errors
    /// Where there is no certificate that the apiserver was told to trust. What else goes wrong is logged and counted, and
    /// keeps no replica from its certificate.
    pub async fn look(&self) -> Result<(), Error> {
        let name = &self.names.webhook_config;
        let failed = |error| Error::Webhook(name.clone(), error);
        // Read first: what the apiserver was not told of is not promoted.
        let seen = self.mutating.get(name).await;
        let knows = |ca: &str| seen.as_ref().is_ok_and(|seen| trusts(seen, ca));
        let webhook = Kept {
            secret: &self.names.secret,
            dns: &self.names.dns,
            object: "webhook_secret",
            last: &self.last,
        };
        let material = self.stored(&webhook, knows).await?;
        let (bundle, ca) = (material.bundle(), &material.current.ca);
        let mut is_trusted = knows(ca);
        self.served.announce(&(bundle.clone() + &self.bundle_of_ledger().await));
        // The bundle first: a leaf is served only after the apiserver was told to trust it.
        let told = match seen {
            Ok(seen) => publish(&self.mutating, name, seen, &bundle, &self.metrics).await,
            Err(error) => {
                self.metrics.wrote("webhook_configuration", false);
                Err(error)
            }
        };
        if let Ok(in_force) = &told {
            is_trusted = trusts(in_force, ca);
        }
        if is_trusted || !self.served.is_serving() {
            self.served.set(&material.current)?;
            self.metrics.certificate(material.current.not_after);
        }
        if let Err(error) = self.tell_validating(&bundle).await {
            Self::complain(&failed(error));
        }
        match told {
            Ok(_) => Ok(()),
            // It was told before; the bundle that it does not take now only names the next one.
            Err(error) if is_trusted => {
                Self::complain(&failed(error));
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The chart may leave the validating configuration out, and a role of an older chart may not name it.
    async fn tell_validating(&self, bundle: &str) -> Result<(), kube::Error> {
        let name = &self.names.webhook_config;
        let seen = self.validating.get_opt(name).await.inspect_err(|_| {
            self.metrics.wrote("webhook_configuration", false);
        })?;
        if let Some(seen) = seen {
            publish(&self.validating, name, seen, bundle, &self.metrics).await?;
        }
        Ok(())
    }

    fn complain(error: &Error) {
        let source = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(%error, source, "webhook certificates are not in order, will try again");
    }

    /// The CAs of the ledger service's certificate, after the step that is due. What goes wrong with it touches no webhook.
    async fn bundle_of_ledger(&self) -> String {
        let Some(ledger) = &self.names.ledger else {
            return String::new();
        };
        let kept = Kept {
            secret: &ledger.secret,
            dns: &ledger.dns,
            object: "ledger_secret",
            last: &self.last_of_ledger,
        };
        // Sidecars hear of a bundle within a minute or so, which OVERLAP is far beyond.
        let stored = self.stored(&kept, |_| true).await;
        if let Err(error) = &stored {
            Self::complain(error);
        }
        let stored = stored.ok().or_else(|| locked(&self.last_of_ledger).clone());
        stored.map(|material| material.bundle()).unwrap_or_default()
    }

    /// What the Secret holds, after the step that is due.
    async fn stored(&self, kept: &Kept<'_>, knows: impl Fn(&str) -> bool) -> Result<Material, Error> {
        let material = self.stepped(kept, knows).await?;
        *locked(kept.last) = Some(material.clone());
        Ok(material)
    }

    async fn stepped(&self, of: &Kept<'_>, knows: impl Fn(&str) -> bool) -> Result<Material, Error> {
        let failed = |error| Error::Secret(of.secret.to_owned(), error);
        for _ in 0..MAX_CONFLICTS {
            let secret = self.secrets.get_opt(of.secret).await.map_err(failed)?;
            let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
            // What cannot be served is as good as nothing: kept, it would fail every look until it expires. A Secret that is gone
            // or damaged is written again as the replicas have it: anew, only one of them would serve what is trusted then.
            let kept = Material::from_secret(data).filter(servable);
            let is_whole = kept.is_some();
            let stored = kept.or_else(|| locked(of.last).clone());
            let due = Material::step(stored.as_ref(), of.dns, unix_seconds(), &knows)?;
            let owner = match &self.owner {
                Some(owner) => owner
                    .of(secret.as_ref().map(|secret| &secret.metadata))
                    .await
                    .map_err(|error| Error::Owner(of.secret.to_owned(), error))?,
                None => None,
            };
            let is_owned = secret
                .as_ref()
                .is_some_and(|secret| !owner::is_missing(owner.as_ref(), &secret.metadata));
            let wanted = match (due, stored) {
                (Some(due), _) => due,
                (None, Some(stored)) if is_owned && is_whole => return Ok(stored),
                (None, Some(stored)) => stored,
                (None, None) => return Err(Error::Contended),
            };
            let exists = secret.is_some();
            let mut secret = secret.unwrap_or_else(|| Self::fresh(of.secret));
            owner::put(owner.as_ref(), &mut secret.metadata);
            secret.data = Some(wanted.to_secret().map_err(Error::Json)?);
            let written = if exists {
                self.secrets.replace(of.secret, &PostParams::default(), &secret).await
            } else {
                self.secrets.create(&PostParams::default(), &secret).await
            };
            match written {
                Ok(_) => {
                    self.metrics.wrote(of.object, true);
                    let announced = wanted.next.is_some();
                    tracing::info!(secret = of.secret, announced, "certificates written");
                    return Ok(wanted);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    self.metrics.wrote(of.object, false);
                    return Err(failed(error));
                }
            }
        }
        Err(Error::Contended)
    }

    fn fresh(name: &str) -> Secret {
        let labels = [(
            "app.kubernetes.io/managed-by".to_owned(),
            "bowsprit-operator".to_owned(),
        )];
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".into()),
            ..Secret::default()
        }
    }
}

fn servable(material: &Material) -> bool {
    let readable = |ca: &str| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca.as_bytes()).collect();
        all.is_ok_and(|all| !all.is_empty())
    };
    let pairs = || [&material.current].into_iter().chain(&material.next);
    pairs().all(|pair| super::certified(&pair.certificate, &pair.key).is_ok() && readable(&pair.ca))
        && material.previous_ca.as_deref().is_none_or(readable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_was_damaged_is_made_anew_and_not_published() {
        let made = Material::step(None, &["svc".to_owned()], unix_seconds(), |_| true)
            .unwrap()
            .unwrap();
        assert!(servable(&made));
        let mut no_leaf = made.clone();
        no_leaf.current.certificate = "-----BEGIN CERTIFICATE-----".into();
        let mut no_ca = made.clone();
        no_ca.current.ca = String::new();
        let mut no_next = made.clone();
        no_next.next = Some(no_ca.current.clone());
        let mut no_previous = made;
        no_previous.previous_ca = Some("gone".into());
        for damaged in [no_leaf, no_ca, no_next, no_previous] {
            assert!(!servable(&damaged), "{damaged:?}");
        }
    }
}
