//! What the operator writes: the same documents that people apply, with their defaults, and a hash of them.

use bowsprit_crds::{API_VERSION, ModelRouteSpec, ProviderConfigSpec, UsagePolicySpec, yaml};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::document::POLICIES;

/// The text of a ConfigMap and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// A YAML stream of documents, ordered by kind and name, so that the same objects always give the same text.
    pub text: String,
    /// [`revision`] of the text.
    pub revision: String,
}

/// The first twelve hex digits of the text's SHA-256: enough to tell any two configs of a namespace apart.
pub fn revision(text: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).fold(String::with_capacity(12), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Renders objects by name. Defaults are written out, since serde writes every field that is set. Policies stand in the first of
/// the other documents ([`POLICIES`]), where there is one.
///
/// # Errors
/// Where a document cannot be written as YAML, which no valid object causes.
pub fn render<'a>(
    providers: impl IntoIterator<Item = (&'a str, &'a ProviderConfigSpec)>,
    routes: impl IntoIterator<Item = (&'a str, &'a ModelRouteSpec)>,
    policies: impl IntoIterator<Item = (&'a str, &'a UsagePolicySpec)>,
) -> Result<Rendered, yaml::YamlError> {
    let document = |kind: &str, name: &str, spec: Value| json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut documents = Vec::new();
    let mut providers: Vec<_> = providers.into_iter().collect();
    providers.sort_by_key(|(name, _)| *name);
    for (name, spec) in providers {
        documents.push(document("ProviderConfig", name, json!(spec)));
    }
    let mut routes: Vec<_> = routes.into_iter().collect();
    routes.sort_by_key(|(name, _)| *name);
    for (name, spec) in routes {
        documents.push(document("ModelRoute", name, json!(spec)));
    }
    let mut policies: Vec<_> = policies.into_iter().collect();
    policies.sort_by_key(|(name, _)| *name);
    match documents.first_mut().and_then(Value::as_object_mut) {
        Some(_) if policies.is_empty() => {}
        Some(first) => {
            let policies = policies.iter().map(|(name, spec)| json!({"name": name, "spec": spec}));
            first.insert(POLICIES.to_owned(), policies.collect());
        }
        None => {
            let policies = policies.iter();
            documents.extend(policies.map(|(name, spec)| document("UsagePolicy", name, json!(spec))));
        }
    }
    let text = yaml::stream(&documents)?;
    Ok(Rendered {
        revision: revision(&text),
        text,
    })
}
