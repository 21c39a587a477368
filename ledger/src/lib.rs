//! The ledger: what became of each request and of each attempt, in tokens and money.
//!
//! A sidecar makes an [`entry::Entry`] of each record of `bowsprit_core::record` and keeps it until the ledger service has
//! taken it, in [`wire::Batch`]es. Every entry has a sequence of its own within the sidecar's outbox, which is what makes
//! sending it twice harmless.
//!
//! The service (feature `service`) takes batches over HTTPS, keeps them in SQLite or PostgreSQL (`store`), each exactly once, and
//! answers questions about them. Where there is none, `kubectl bowsprit` puts what it reads from sidecars into the same tables in
//! memory (feature `store`) and asks the same questions.

pub mod entry;
#[cfg(feature = "outbox")]
pub mod outbox;
pub mod query;
#[cfg(feature = "service")]
pub mod reconcile;
#[cfg(feature = "store")]
pub mod schema;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "store")]
pub mod store;
#[cfg(any(feature = "outbox", feature = "store"))]
mod sync;
pub mod wire;
