//! The ledger: its service, through the apiserver's proxy, or, where there is none, the sidecars' own outboxes ([`outboxes`]). What it
//! answers is `bowsprit_ledger::query`, and the same for both.

pub(crate) mod client;
mod coverage;
mod outboxes;
mod reader;
mod service;
pub(crate) mod window;

pub(crate) use client::Ledger;
