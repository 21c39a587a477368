//! Behaviour on a real Kubernetes, one file a behaviour. Run by tests/e2e/run, which brings the cluster up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod allowed_hosts;
mod audit;
mod background;
mod bad_config;
mod breaker;
mod budget;
mod caches;
mod canary;
mod cert_manager;
mod certificates;
mod chaos;
mod cli;
mod cli_ledger;
mod fallback;
mod fleet_limit;
mod guards;
mod handover;
mod injection;
mod injection_beside;
mod injection_cost;
mod injection_ordinary;
mod injection_volumes;
mod jobs;
mod mistakes;
mod money;
mod named_limit;
mod network_policies;
mod new_pods;
mod observability;
mod operator_down;
mod outage;
mod paused;
mod permissions;
mod reconcile;
mod reload;
mod restore;
mod rolling;
mod rotation;
mod runaway;
mod shutdown;
mod slow_apiserver;
mod stale;
mod status;
mod store;
mod storm;
mod stream;
mod tenants;
mod tracing;
mod traffic;
mod uninstall;
mod upgrade;
mod usage;
mod validation;
mod watchdog;
