//! Objects as they are found in a cluster, each read by itself. After a rollback there may be some whose form only the newer release
//! knows: a list or a watch that reads all as of one type fails for all of them because of that one.

use std::borrow::Cow;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::ProviderConfigStatus;

/// An object of the kind `K`: as this release reads it, or what is known of it all the same.
#[derive(Clone, Debug)]
pub enum Found<K> {
    /// It is one. A status that cannot be read counts as none: it is written anew.
    Read(Box<K>),
    /// It cannot be read.
    Unread(Box<Unread<K>>),
}

/// An object that this release cannot read.
#[derive(Clone, Debug)]
pub struct Unread<K> {
    /// Who it is. Nothing of who wrote what.
    pub metadata: ObjectMeta,
    /// What is said of it, as far as that can be read: a status of any kind is one of a ProviderConfig, with less.
    pub status: Option<ProviderConfigStatus>,
    /// The path of the first field that cannot be read, such as `spec.limits`.
    pub at: String,
    /// Why not.
    pub why: String,
    kind: PhantomData<fn() -> K>,
}

impl<K> Unread<K> {
    /// One that cannot be read at this path.
    pub fn new(metadata: ObjectMeta, at: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            metadata,
            status: None,
            at: at.into(),
            why: why.into(),
            kind: PhantomData,
        }
    }
}

impl<K: Resource<DynamicType = ()>> Unread<K> {
    /// As problems name it, such as `ModelRoute smart`.
    pub fn path(&self) -> String {
        format!("{} {}", K::kind(&()), self.metadata.name.as_deref().unwrap_or_default())
    }
}

impl<K> Found<K> {
    /// Those that can be read, and those that cannot.
    pub fn parted(all: impl IntoIterator<Item = Self>) -> (Vec<K>, Vec<Unread<K>>) {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for found in all {
            match found {
                Self::Read(object) => read.push(*object),
                Self::Unread(object) => unread.push(*object),
            }
        }
        (read, unread)
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Found<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Ok(read) = K::deserialize(&object) {
            return Ok(Self::Read(Box::new(read)));
        }
        let status = object.get_mut("status").map(Value::take);
        match serde_path_to_error::deserialize::<_, K>(&object) {
            Ok(read) => {
                // Its conditions tell since when what holds; without them each look would find news.
                if let (Some(status), Some(fields)) = (&status, object.as_object_mut()) {
                    fields.insert("status".to_owned(), json!({"conditions": conditions(status)}));
                }
                let told = K::deserialize(&object).ok();
                Ok(Self::Read(Box::new(told.unwrap_or(read))))
            }
            Err(error) => {
                let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
                let mut metadata = ObjectMeta::deserialize(metadata).map_err(serde::de::Error::custom)?;
                metadata.managed_fields = None;
                Ok(Self::Unread(Box::new(Unread {
                    metadata,
                    status: status.map(|status| {
                        ProviderConfigStatus::deserialize(&status).unwrap_or_else(|_| ProviderConfigStatus {
                            conditions: conditions(&status),
                            ..ProviderConfigStatus::default()
                        })
                    }),
                    at: error.path().to_string(),
                    why: error.into_inner().to_string(),
                    kind: PhantomData,
                })))
            }
        }
    }
}

fn conditions(status: &Value) -> Vec<Condition> {
    let all = status.get("conditions").and_then(Value::as_array);
    let read = |condition: &Value| Condition::deserialize(condition).ok();
    all.into_iter().flatten().filter_map(read).collect()
}

/// What the kind says of itself holds for each of its objects, read or not.
macro_rules! as_its_kind {
    () => {
        type DynamicType = ();
        type Scope = K::Scope;

        fn kind(_: &()) -> Cow<'_, str> {
            K::kind(&())
        }

        fn group(_: &()) -> Cow<'_, str> {
            K::group(&())
        }

        fn version(_: &()) -> Cow<'_, str> {
            K::version(&())
        }

        fn plural(_: &()) -> Cow<'_, str> {
            K::plural(&())
        }
    };
}

impl<K: Resource<DynamicType = ()>> Resource for Unread<K> {
    as_its_kind!();

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Found<K> {
    as_its_kind!();

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Read(object) => object.meta(),
            Self::Unread(object) => &object.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Read(object) => object.meta_mut(),
            Self::Unread(object) => &mut object.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelRoute;

    fn route(limits: &Value, status: &Value) -> Value {
        json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ModelRoute",
            "metadata": {"name": "smart", "namespace": "team", "generation": 3, "resourceVersion": "7", "managedFields": [{"manager": "kubectl"}]},
            "spec": {"match": {"models": ["smart"]}, "targets": [{"provider": "claude"}], "limits": limits}, "status": status,
        })
    }

    fn accepted() -> Value {
        json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn one_object_in_another_releases_form_leaves_the_others_as_they_are() {
        let list = json!([
            route(&json!([]), &json!({"sequence": 4})),
            route(&json!("many"), &json!({"sequence": 5, "conditions": [accepted()]})),
        ]);
        let found: Vec<Found<ModelRoute>> = serde_json::from_value(list).unwrap();
        assert_eq!(found[1].meta().generation, Some(3));
        assert_eq!(Found::<ModelRoute>::plural(&()), "modelroutes");
        let (read, unread) = Found::parted(found);
        assert_eq!(read[0].status.as_ref().unwrap().sequence, Some(4));
        let [unread] = &unread[..] else { panic!("{unread:?}") };
        assert_eq!(
            (unread.path().as_str(), unread.at.as_str()),
            ("ModelRoute smart", "spec.limits")
        );
        assert!(unread.why.contains("expected a list of limits"), "{}", unread.why);
        assert_eq!(unread.metadata.managed_fields, None);
        let status = unread.status.as_ref().unwrap();
        assert_eq!((status.sequence, status.conditions.len()), (Some(5), 1));
    }

    #[test]
    fn a_status_in_another_releases_form_is_none_but_for_its_conditions() {
        let status = json!({"sequence": {"of": 4}, "conditions": [accepted(), "what is this"]});
        let found: Found<ModelRoute> = serde_json::from_value(route(&json!([]), &status)).unwrap();
        let Found::Read(read) = found else { panic!("{found:?}") };
        let told = read.status.unwrap();
        assert_eq!((told.sequence, told.conditions.len()), (None, 1));
        let found: Found<ModelRoute> = serde_json::from_value(route(&json!(7), &status)).unwrap();
        let Found::Unread(unread) = found else {
            panic!("{found:?}")
        };
        assert_eq!(unread.status.unwrap().conditions.len(), 1);
    }

    #[test]
    fn what_is_no_object_at_all_is_an_error_as_ever() {
        assert!(serde_json::from_value::<Found<ModelRoute>>(json!({"metadata": {"name": 7}})).is_err());
        assert!(serde_json::from_value::<Found<ModelRoute>>(json!("no")).is_err());
    }
}
