//! What cert-manager does with a Certificate and its cainjector with a webhook, in the shape in which they do it.

use anyhow::{Context, Result};
use bowsprit_e2e::{Bed, SYSTEM};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer as Signer, KeyPair, date_time_ymd,
};
use serde_json::{Value, json};

/// The two kinds that the chart makes objects of.
pub(super) const KINDS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {kind: Certificate, plural: certificates, singular: certificate}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: issuers.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {kind: Issuer, plural: issuers, singular: issuer}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
";

/// A CA.
pub(super) struct Issuer {
    ca: String,
    signer: Signer<'static, KeyPair>,
}

/// A certificate in its Secret.
pub(super) struct Leaf {
    pub(super) secret: Value,
    pub(super) not_after: i64,
}

impl Issuer {
    pub(super) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?.pem();
        Ok(Self {
            ca,
            signer: Signer::new(params, key),
        })
    }

    /// A leaf that differs from the last one in its key and by a minute in its end.
    pub(super) fn leaf(&self, turn: i64) -> Result<Leaf> {
        let dns = format!("bowsprit-webhook.{SYSTEM}.svc");
        let not_after = Timestamp::now().as_second() + 3_600 + 60 * turn;
        let mut params = CertificateParams::new(vec![dns.clone()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(u64::try_from(not_after)?);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.signer)?.pem();
        let bytes = |text: String| ByteString(text.into_bytes());
        Ok(Leaf {
            secret: json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": "bowsprit-webhook-tls",
                    "labels": {"controller.cert-manager.io/fao": "true"},
                    "annotations": {
                        "cert-manager.io/certificate-name": "bowsprit-webhook",
                        "cert-manager.io/issuer-name": "bowsprit-ca",
                        "cert-manager.io/issuer-kind": "Issuer",
                        "cert-manager.io/issuer-group": "cert-manager.io",
                        "cert-manager.io/common-name": "",
                        "cert-manager.io/alt-names": dns,
                        "cert-manager.io/ip-sans": "",
                        "cert-manager.io/uri-sans": "",
                    },
                },
                "data": {
                    "tls.crt": bytes(certificate),
                    "tls.key": bytes(key.serialize_pem()),
                    "ca.crt": bytes(self.ca.clone()),
                },
            }),
            not_after,
        })
    }

    /// As the cainjector: `ca.crt` into every webhook whose configuration has the annotation.
    pub(super) async fn inject(&self, bed: &Bed) -> Result<()> {
        let bundle = ByteString(self.ca.clone().into_bytes());
        let mutating = Api::<MutatingWebhookConfiguration>::all(bed.client.clone());
        let validating = Api::<ValidatingWebhookConfiguration>::all(bed.client.clone());
        let found = mutating.get("bowsprit").await?;
        let annotations = found.metadata.annotations.unwrap_or_default();
        annotations
            .get("cert-manager.io/inject-ca-from")
            .filter(|from| **from == format!("{SYSTEM}/bowsprit-webhook"))
            .context("the webhook configuration does not say where its CA comes from")?;
        let names = found.webhooks.into_iter().flatten().map(|hook| hook.name);
        let patch = |names: Vec<String>| {
            let hooks: Vec<_> = names
                .into_iter()
                .map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
                .collect();
            Patch::Strategic(json!({"webhooks": hooks}))
        };
        let params = PatchParams::default();
        mutating.patch("bowsprit", &params, &patch(names.collect())).await?;
        let found = validating.get("bowsprit").await?.webhooks.into_iter().flatten();
        let names = found.map(|hook| hook.name).collect();
        validating.patch("bowsprit", &params, &patch(names)).await?;
        Ok(())
    }
}
