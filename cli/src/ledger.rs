//! The ledger service, through the apiserver's proxy. What it answers is `bowsprit_ledger::query`.

pub(crate) mod client;
mod reader;
pub(crate) mod uri;
pub(crate) mod window;

pub(crate) use client::Ledger;
