//! The marks of budgets, where they outlive whoever leads: one ConfigMap in the operator's own namespace, with a key for each
//! namespace that has any. Each write names the version that it was decided on.

use std::collections::BTreeMap;

use bowsprit_core::spend::shared::treasury::{Key, Mark};
use bowsprit_core::spend::window::Window;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::lease::elector::{Leadership, NotLeading};
use crate::owner::Deployed;

/// Its name.
pub const NAME: &str = "bowsprit-budgets";

/// Marks are not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// Another replica may lead.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// Somebody else has written since it was read.
    #[error("the ConfigMap {NAME} has changed since it was read")]
    Overtaken,
    /// The apiserver.
    #[error("the ConfigMap {NAME}: {0}")]
    Kube(#[from] kube::Error),
}

/// A mark as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    budget: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    of: String,
    begins: i64,
    ends: i64,
    picodollars: u64,
}

/// Where marks are written.
#[derive(Clone)]
pub struct Marks {
    api: Api<ConfigMap>,
    owner: Deployed,
    /// The version that was read or written last; none: there is none.
    version: Option<String>,
}

impl Marks {
    /// In the operator's `namespace`. It goes with `owner`.
    pub fn new(client: Client, namespace: &str, owner: Deployed) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            owner,
            version: None,
        }
    }

    /// What is written. What is no mark is passed over: it was not written by an operator.
    ///
    /// # Errors
    /// The apiserver does not tell.
    pub async fn read(&mut self) -> Result<BTreeMap<Key, Mark>, Unwritten> {
        let found = self.api.get_opt(NAME).await?;
        self.version = found.as_ref().and_then(|map| map.metadata.resource_version.clone());
        Ok(parse(found.and_then(|map| map.data).unwrap_or_default()))
    }

    /// Writes all marks of a namespace.
    ///
    /// # Errors
    /// This replica does not lead, the object has changed, or the apiserver does not take it.
    pub async fn write(
        &mut self,
        leadership: &Leadership,
        namespace: &str,
        marks: &BTreeMap<Key, Mark>,
    ) -> Result<(), Unwritten> {
        let text = text(marks);
        let written = if self.version.is_some() {
            let patch = json!({
                "metadata": {"resourceVersion": self.version},
                "data": {namespace: text},
            });
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            leadership.write(self.api.patch(NAME, &params, &patch)).await?
        } else {
            let owner = self.owner.of(None).await?;
            let object = serde_json::from_value(json!({
                "metadata": {
                    "name": NAME,
                    "labels": {"app.kubernetes.io/managed-by": "bowsprit-operator"},
                    "ownerReferences": owner.as_slice(),
                },
                "data": text.map(|text| json!({namespace: text})),
            }));
            let object = object.map_err(kube::Error::SerdeError)?;
            let params = PostParams::default();
            leadership.write(self.api.create(&params, &object)).await?
        };
        match written {
            Ok(map) => {
                self.version = map.metadata.resource_version;
                Ok(())
            }
            // Changed, made or deleted by somebody else.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(Unwritten::Overtaken),
            Err(error) => Err(error.into()),
        }
    }
}

/// None: nothing is to be written of the namespace any more.
fn text(marks: &BTreeMap<Key, Mark>) -> Option<String> {
    let written = marks.iter().map(|(key, mark)| Written {
        budget: key.budget.clone(),
        of: key.of.clone(),
        begins: mark.window.begins,
        ends: mark.window.ends,
        picodollars: mark.mark,
    });
    let written: Vec<_> = written.collect();
    (!written.is_empty()).then(|| serde_json::to_string(&written).unwrap_or_default())
}

fn parse(data: BTreeMap<String, String>) -> BTreeMap<Key, Mark> {
    let mut marks = BTreeMap::new();
    for (namespace, text) in data {
        let written: Vec<Written> = match serde_json::from_str(&text) {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(namespace, %error, "the ConfigMap {NAME} cannot be read there: budgets that pods spend together begin anew");
                continue;
            }
        };
        for Written {
            budget,
            of,
            begins,
            ends,
            picodollars,
        } in written
        {
            let namespace = namespace.clone();
            let window = Window { begins, ends };
            marks.insert(
                Key { namespace, budget, of },
                Mark {
                    window,
                    mark: picodollars,
                },
            );
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_no_mark_is_passed_over() {
        let key = |of: &str| Key {
            namespace: "team".into(),
            budget: "shop/month".into(),
            of: of.into(),
        };
        let mark = Mark {
            window: Window { begins: 0, ends: 3_600 },
            mark: 42,
        };
        let marks = BTreeMap::from([(key(""), mark), (key("Deployment/checkout"), mark)]);
        let text = text(&marks).unwrap();
        assert_eq!(
            text,
            r#"[{"budget":"shop/month","begins":0,"ends":3600,"picodollars":42},{"budget":"shop/month","of":"Deployment/checkout","begins":0,"ends":3600,"picodollars":42}]"#
        );
        let data = BTreeMap::from([("team".into(), text), ("other".into(), "no JSON".into())]);
        assert_eq!(parse(data), marks);
        assert_eq!(super::text(&BTreeMap::new()), None);
    }
}
