//! Documents as they stand in a file: kind, name and spec, with the path of everything that is off.

use bowsprit_crds::{API_VERSION, ModelRouteSpec, ProviderConfigSpec, UsagePolicySpec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Problem, Problems, Scope};

/// A document's name and content.
#[derive(Clone, Debug)]
pub struct Object {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, where the document says one.
    pub namespace: Option<String>,
    /// What it is.
    pub kind: ObjectKind,
}

/// What a document is.
#[derive(Clone, Debug)]
pub enum ObjectKind {
    /// A ProviderConfig.
    Provider(Box<ProviderConfigSpec>),
    /// A ModelRoute.
    Route(Box<ModelRouteSpec>),
    /// A UsagePolicy.
    Policy(Box<UsagePolicySpec>),
}

impl Object {
    /// How problems name it, such as `ProviderConfig claude`.
    pub fn path(&self) -> String {
        match self.kind {
            ObjectKind::Provider(_) => format!("ProviderConfig {}", self.name),
            ObjectKind::Route(_) => format!("ModelRoute {}", self.name),
            ObjectKind::Policy(_) => format!("UsagePolicy {}", self.name),
        }
    }
}

/// The key of a document, beside its `spec`, with the UsagePolicies of its namespace: each with `name` and `spec`. A sidecar of
/// a release that has no such kind would refuse a document of it, and with that the whole config; a key that it does not know it
/// passes over. An operator's config has it in the first document; a person writes documents of the kind itself.
pub(super) const POLICIES: &str = "usagePolicies";

/// Every ProviderConfig, ModelRoute and UsagePolicy of `text`.
///
/// # Errors
/// Every document that is none of ours, every field of the wrong type and, standalone, every unknown field.
pub fn objects(text: &str, scope: &Scope) -> Result<Vec<Object>, Problems> {
    let (found, problems) = read_each(text, scope);
    problems.into_result().map(|()| found)
}

/// Those of `text` that this release can read, where another may have written it; and whether that is all of them.
pub fn readable_objects(text: &str, scope: &Scope) -> (Vec<Object>, bool) {
    let (found, problems) = read_each(text, scope);
    (found, problems.into_result().is_ok())
}

fn read_each(text: &str, scope: &Scope) -> (Vec<Object>, Problems) {
    let mut problems = Problems::default();
    let documents = match bowsprit_crds::yaml::documents(text) {
        Ok(documents) => documents,
        Err(error) => {
            let path = format!("document {}", error.document);
            problems.add(Problem::new(path, error.problem, "correct the YAML"));
            return (Vec::new(), problems);
        }
    };
    let mut found = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        if let Some(object) = problems.take(object(index + 1, document, scope)) {
            found.push(object);
        }
        if matches!(scope, Scope::Cluster { .. }) {
            let carried = document.get(POLICIES).and_then(Value::as_array);
            for policy in carried.into_iter().flatten() {
                found.extend(problems.take(policy_beside(policy, scope)));
            }
        }
    }
    (found, problems)
}

/// A policy as [`POLICIES`] has it.
fn policy_beside(policy: &Value, scope: &Scope) -> Result<Object, Problems> {
    let name = policy.get("name").and_then(Value::as_str).unwrap_or_default();
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    Ok(Object {
        name: name.to_owned(),
        namespace: None,
        kind: ObjectKind::Policy(read(&format!("UsagePolicy {name}: spec"), spec, scope)?),
    })
}

fn object(number: usize, document: &Value, scope: &Scope) -> Result<Object, Problems> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let refuse = |problem: String, remedy: &str| {
        Err(Problems(vec![Problem::new(
            format!("document {number}"),
            problem,
            remedy,
        )]))
    };
    match text("/apiVersion") {
        Some(API_VERSION) => {}
        other => {
            let problem = format!(
                "apiVersion is {}",
                other.map_or("missing".into(), |text| format!("{text:?}"))
            );
            return refuse(problem, "set apiVersion: bowsprit.dev/v1alpha1");
        }
    }
    let Some(name) = text("/metadata/name").filter(|name| !name.is_empty()) else {
        return refuse("metadata.name is missing".into(), "give the document a name");
    };
    let spec = document.get("spec").unwrap_or(&Value::Null);
    let kind = match text("/kind") {
        Some("ProviderConfig") => ObjectKind::Provider(read(&format!("ProviderConfig {name}: spec"), spec, scope)?),
        Some("ModelRoute") => ObjectKind::Route(read(&format!("ModelRoute {name}: spec"), spec, scope)?),
        Some("UsagePolicy") => ObjectKind::Policy(read(&format!("UsagePolicy {name}: spec"), spec, scope)?),
        other => {
            let problem = format!("kind is {}", other.map_or("missing".into(), |text| format!("{text:?}")));
            return refuse(
                problem,
                "set kind: ProviderConfig, kind: ModelRoute or kind: UsagePolicy",
            );
        }
    };
    Ok(Object {
        name: name.to_owned(),
        namespace: text("/metadata/namespace").map(ToOwned::to_owned),
        kind,
    })
}

fn read<T: DeserializeOwned>(path: &str, value: &Value, scope: &Scope) -> Result<Box<T>, Problems> {
    let mut unknown = Vec::new();
    let mut note = |at: serde_ignored::Path<'_>| unknown.push(at.to_string());
    let deserializer = serde_ignored::Deserializer::new(value, &mut note);
    let spec = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let at = error.path().to_string();
        let path = if at == "." {
            path.to_owned()
        } else {
            format!("{path}.{at}")
        };
        Problems(vec![Problem::new(path, error.into_inner().to_string(), "")])
    })?;
    if matches!(scope, Scope::Standalone) && !unknown.is_empty() {
        let problem = |at: String| Problem::new(format!("{path}.{at}"), "is no known field", "correct or remove it");
        return Err(Problems(unknown.into_iter().map(problem).collect()));
    }
    Ok(Box::new(spec))
}
