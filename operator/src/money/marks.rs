//! The marks of budgets, where they outlive whoever leads: ConfigMaps in the operator's own namespace ([`Shelf`] says which), with a key
//! for each namespace that has any. Each write names the version that it was decided on.

use std::collections::{BTreeMap, BTreeSet};

use bowsprit_core::spend::shared::treasury::{Key, Mark};
use bowsprit_core::spend::window::Window;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::lease::elector::{Leadership, NotLeading};
use crate::owner::Deployed;
use shelf::Shelf;

mod shelf;

/// The name of the first; of the others a number follows. The first alone is what a release reads and writes that knows of no others: it is
/// filled first, so that such a one finds all that it could have kept itself.
pub const NAME: &str = "bowsprit-budgets";
/// What all of them have.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "bowsprit-operator");

/// Marks are not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// Another replica may lead.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// Somebody else has written since it was read.
    #[error("the ConfigMap {0} has changed since it was read")]
    Overtaken(String),
    /// There is no room for them.
    #[error(
        "the {most} ConfigMaps {NAME}* are full: the marks of namespace {namespace} take {bytes} bytes",
        most = shelf::MOST
    )]
    Full {
        /// Whose marks.
        namespace: String,
        /// As they are written.
        bytes: usize,
    },
    /// The apiserver.
    #[error("the ConfigMap {0}: {1}")]
    Kube(String, #[source] kube::Error),
}

impl Unwritten {
    /// Whether it is about this one write: others may succeed.
    pub fn is_of_one(&self) -> bool {
        match self {
            Self::NotLeading(_) => false,
            Self::Overtaken(_) | Self::Full { .. } => true,
            Self::Kube(_, error) => matches!(error, kube::Error::Api(_)),
        }
    }
}

/// Where marks have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Where they were, or in the first.
    Here,
    /// In another, that they were not in.
    Elsewhere,
    /// Nowhere.
    None,
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
    shelf: Shelf,
}

impl Marks {
    /// In the operator's `namespace`. They go with `owner`.
    pub fn new(client: Client, namespace: &str, owner: Deployed) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            owner,
            shelf: Shelf::default(),
        }
    }

    /// What is written. What is no mark is passed over: it was not written by an operator. Of a mark that stands in two places, as it
    /// was being moved when its writer died, the higher holds.
    ///
    /// # Errors
    /// The apiserver does not tell.
    pub async fn read(&mut self) -> Result<BTreeMap<Key, Mark>, Unwritten> {
        let (label, ours) = LABEL;
        let labelled = ListParams::default().labels(&format!("{label}={ours}"));
        let of = |error| Unwritten::Kube(NAME.to_owned(), error);
        let mut found = self.api.list(&labelled).await.map_err(of)?.items;
        // Whoever restored it may have left its labels.
        if !found.iter().any(|map| map.metadata.name.as_deref() == Some(NAME)) {
            found.extend(self.api.get_opt(NAME).await.map_err(of)?);
        }
        let mut shelf = Shelf::default();
        let mut marks = BTreeMap::new();
        for map in found {
            let Some(at) = map.metadata.name.as_deref().and_then(shelf::number) else {
                continue;
            };
            let data = map.data.unwrap_or_default();
            let sizes = data.iter().map(|(namespace, text)| (namespace.clone(), text.len()));
            shelf.found(at, map.metadata.resource_version, sizes.collect());
            for (key, mark) in parse(data) {
                let known = marks.entry(key).or_insert(mark);
                if (mark.window.begins, mark.mark) > (known.window.begins, known.mark) {
                    *known = mark;
                }
            }
        }
        self.shelf = shelf;
        Ok(marks)
    }

    /// Writes all marks of a namespace.
    ///
    /// # Errors
    /// This replica does not lead, an object has changed, there is no room, or the apiserver does not take it.
    pub async fn write(
        &mut self,
        leadership: &Leadership,
        namespace: &str,
        marks: &BTreeMap<Key, Mark>,
    ) -> Result<(), Unwritten> {
        let text = text(marks);
        let bytes = text.as_ref().map_or(0, String::len);
        let at = self.shelf.place(namespace, bytes).ok_or_else(|| Unwritten::Full {
            namespace: namespace.to_owned(),
            bytes,
        })?;
        self.patch(leadership, at, BTreeMap::from([(namespace, text)])).await?;
        // It has moved. What is left where it was is lower, and does no harm where it cannot be taken away now.
        for before in self.shelf.places(namespace) {
            if before != at
                && let Err(problem) = self
                    .patch(leadership, before, BTreeMap::from([(namespace, None)]))
                    .await
            {
                tracing::debug!(%problem, namespace, "marks that have moved are still where they were");
            }
        }
        Ok(())
    }

    /// Where these marks of a namespace have room.
    pub fn room(&self, namespace: &str, marks: &BTreeMap<Key, Mark>) -> Room {
        let bytes = text(marks).map_or(0, |text| text.len());
        match self.shelf.place(namespace, bytes) {
            None => Room::None,
            Some(at) if at == 0 || self.shelf.places(namespace).contains(&at) => Room::Here,
            Some(_) => Room::Elsewhere,
        }
    }

    /// The namespaces of which marks are written.
    pub fn namespaces(&self) -> Vec<String> {
        self.shelf.namespaces()
    }

    /// The numbers of the ConfigMaps that have marks of any of these namespaces.
    pub fn places(&self, namespaces: &BTreeSet<String>) -> BTreeSet<usize> {
        let places = namespaces.iter().flat_map(|namespace| self.shelf.places(namespace));
        places.collect()
    }

    /// Takes all marks of these namespaces away from one ConfigMap, at once.
    ///
    /// # Errors
    /// This replica does not lead, the object has changed, or the apiserver does not take it.
    pub async fn clear(
        &mut self,
        leadership: &Leadership,
        at: usize,
        namespaces: &BTreeSet<String>,
    ) -> Result<(), Unwritten> {
        let here = namespaces.iter().filter(|of| self.shelf.places(of).contains(&at));
        let nothing = here.map(|namespace| (namespace.as_str(), None)).collect();
        self.patch(leadership, at, nothing).await
    }

    /// Writes what a ConfigMap has of these namespaces; none: it has nothing of one any more.
    async fn patch(
        &mut self,
        leadership: &Leadership,
        at: usize,
        texts: BTreeMap<&str, Option<String>>,
    ) -> Result<(), Unwritten> {
        if texts.is_empty() {
            return Ok(());
        }
        let name = shelf::name(at);
        let of = |error| Unwritten::Kube(name.clone(), error);
        let written = if let Some(version) = self.shelf.version(at) {
            let patch = json!({
                "metadata": {"resourceVersion": version},
                "data": texts,
            });
            let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
            leadership.write(self.api.patch(&name, &params, &patch)).await?
        } else {
            let object = self.new_one(&name, &texts).await.map_err(of)?;
            let params = PostParams::default();
            leadership.write(self.api.create(&params, &object)).await?
        };
        match written {
            Ok(map) => {
                for (namespace, text) in texts {
                    let version = map.metadata.resource_version.clone();
                    self.shelf.wrote(at, version, namespace, text.map(|text| text.len()));
                }
                Ok(())
            }
            // Changed, made or deleted by somebody else.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(Unwritten::Overtaken(name)),
            Err(error) => Err(of(error)),
        }
    }

    async fn new_one(&self, name: &str, texts: &BTreeMap<&str, Option<String>>) -> Result<ConfigMap, kube::Error> {
        let owner = self.owner.of(None).await?;
        let (label, ours) = LABEL;
        let data: BTreeMap<_, _> = texts.iter().filter(|(_, text)| text.is_some()).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {label: ours}, "ownerReferences": owner.as_slice()},
            "data": data,
        }))
        .map_err(kube::Error::SerdeError)
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
    use bowsprit_core::spend::shared::treasury::MOST;

    use super::*;

    #[test]
    fn all_that_a_namespace_has_after_changes_of_leaders_fits_into_one_place() {
        let long = "n".repeat(63);
        let of = |number: usize| {
            let key = Key {
                namespace: "team".into(),
                budget: format!("{long}/{long}"),
                of: format!("{long}/1f0c7a56-0000-4000-8000-{number:012}"),
            };
            let window = Window {
                begins: 1_764_374_400,
                ends: 1_766_966_400,
            };
            (key, Mark { window, mark: u64::MAX })
        };
        let marks = (0..2 * MOST).map(of).collect();
        let bytes = text(&marks).unwrap().len();
        assert_eq!(Shelf::default().place("team", bytes), Some(0), "{bytes} bytes");
    }

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
