//! Two JSON values, field by field. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// Everything that would change, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Difference {
    /// In the order of the files.
    pub(super) objects: Vec<Compared>,
    /// Path, problem, remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) problems: Vec<String>,
    /// What is allowed and perhaps not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) advice: Vec<String>,
}

impl Difference {
    /// Adds that of another namespace.
    pub(super) fn extend(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.problems.extend(other.problems);
        self.advice.extend(other.advice);
    }
}

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    /// Where it would be.
    pub(super) namespace: String,
    /// Such as `ProviderConfig claude`.
    pub(super) object: String,
    /// Whether there is none of this name yet.
    pub(super) new: bool,
    /// Field by field; empty where nothing differs.
    pub(super) changes: Vec<Change>,
    /// Running sidecars that would get it.
    pub(super) sidecars: usize,
    /// By `secret/key`: pods that have it not mounted, and get it with a restart alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) restart: BTreeMap<String, Vec<String>>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// Such as `spec.models[0].name`.
    pub(super) path: String,
    /// None: it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) live: Option<Value>,
    /// None: it would be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Value>,
}

/// The fields in which two specs differ, those in lists by their place.
pub(super) fn compare(live: Option<&Value>, file: &Value) -> Vec<Change> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    if let Some(live) = live {
        flatten("spec", live, &mut before);
    }
    flatten("spec", file, &mut after);
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| Change {
            path: path.clone(),
            live: before.get(path).map(|value| (*value).clone()),
            file: after.get(path).map(|value| (*value).clone()),
        })
        .collect()
}

fn flatten<'a>(path: &str, value: &'a Value, into: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{path}.{name}"), value, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), value, into);
            }
        }
        _ => {
            into.insert(path.to_owned(), value);
        }
    }
}
