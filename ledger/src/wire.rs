//! What a sidecar and the ledger service say to each other: `POST /v1/batches` with a [`Batch`] as JSON and the pod's projected
//! service-account token (audience `bowsprit.dev`) as bearer.
//!
//! The token, and nothing in a message, says which namespace, pod and service account speak. A batch is sent again until the
//! answer says that it was taken; what was taken already is passed over, so each entry counts once.

#[cfg(feature = "service")]
mod entries;

use serde::{Deserialize, Serialize};

use crate::entry::Numbered;

/// Where batches go.
pub const BATCHES_PATH: &str = "/v1/batches";
/// The layout of [`Batch`]. A service takes this one and the one before it.
pub const VERSION: u32 = 1;
/// Most entries of a batch.
pub const MAX_ENTRIES: usize = 1_000;
/// The largest batch, bytes of its JSON.
pub const MAX_BYTES: usize = 4 << 20;

/// A run of an outbox's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Batch {
    /// [`VERSION`].
    pub version: u32,
    /// Which outbox: 32 random hex digits, made with its file. A pod that loses its outbox begins another, whose sequences
    /// begin anew.
    pub outbox: String,
    /// The first sequence that it speaks for. Follows the last one of the batch before.
    pub from: u64,
    /// The last sequence that it speaks for.
    pub to: u64,
    /// The entries in order, all within `from..=to`. A sequence without an entry has been folded into a sum.
    #[cfg_attr(feature = "service", serde(deserialize_with = "entries::bounded"))]
    pub entries: Vec<Numbered>,
    /// The release of the sidecar.
    pub sidecar_version: String,
    /// What the pod runs for, such as `Deployment/checkout`, as the injector wrote it; for showing only.
    pub workload: String,
    /// The namespace, where the sidecar tells one: a batch whose token says another is refused whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `?after=&since=`: what a sidecar's own outbox holds, at its admin port, from inside the pod. Answered with a [`Page`].
pub const OUTBOX_PATH: &str = "/ledger";

/// A page of what a sidecar's outbox holds. Reading it changes nothing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Page {
    /// Whether there are more entries behind these: ask again with `after=` the last sequence that the batch speaks for.
    pub more: bool,
    /// When the oldest entry ended that is kept in detail, milliseconds since 1970. What is older is kept as sums alone, where it
    /// is kept.
    pub detail_since: Option<i64>,
    /// Whether older entries are kept as sums.
    pub has_sums: bool,
    /// The last sequence that a ledger service has taken: those are there, and here no more. 0: none.
    pub taken: u64,
    /// The entries, oldest first, as a ledger service would be sent them.
    pub batch: Batch,
}

/// The answer to a batch that was taken, now or before (200).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// All entries of this outbox up to this sequence are stored.
    pub through: u64,
}

/// The answer to a batch that was not taken (400, 403, 409, 413).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Which rule it broke.
    pub reason: RefusedBecause,
    /// The rule, the place and the remedy, for a reader.
    pub message: String,
    /// The sequence that is expected next, where the order was broken (409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBecause {
    /// A layout that this service does not know.
    Version,
    /// It is no batch: not JSON, entries out of order or outside of `from..=to`, a name that is no name.
    Malformed,
    /// It is larger than [`MAX_BYTES`] or holds more than [`MAX_ENTRIES`].
    TooLarge,
    /// It speaks for another namespace than its token.
    ForeignNamespace,
    /// Entries before it are missing: `expected` says from where on to send.
    Gap,
    /// From a later release.
    #[serde(other)]
    Unknown,
}
