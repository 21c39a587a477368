//! What operator and ledger service say to each other: which objects were applied, by whom and when. `POST` to [`CHANGES_PATH`] with
//! [`Changes`] as JSON and the operator's projected token as bearer. No field of an object is in it, and so no key.

use serde::{Deserialize, Serialize};

/// Where changes go.
pub const CHANGES_PATH: &str = "/v1/changes";
/// Most changes of a message.
pub const MAX_CHANGES: usize = 1_000;

/// A change of a ProviderConfig or ModelRoute that was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Change {
    /// Which: the object's uid and its generation, `UID/GENERATION`, or `UID/gone`. Taken once.
    pub id: String,
    /// When, milliseconds since 1970.
    pub at: i64,
    /// The object's namespace.
    pub namespace: String,
    /// `ProviderConfig` or `ModelRoute`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `created`, `updated` or `deleted`.
    pub what: String,
    /// Who asked the apiserver; where that is not known, the field manager, as `(kubectl-edit)`.
    pub who: String,
    /// A digest of its spec; empty where the object went.
    pub revision: String,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Changes {
    /// Oldest first.
    pub changes: Vec<Change>,
}
