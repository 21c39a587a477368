//! Every family of `/metrics`: the sum of what the parts declare where they live.
//!
//! A new family: declare and register it in the `register` of the part that counts it. One with labels that multiply
//! takes [`Registry::counters`], whose handles are resolved once where it is counted often. Then `make docs`, which writes
//! `docs/metrics.md` from the registry.

use std::sync::Arc;

use prometheus_client::metrics::info::Info;

use crate::config::metrics::ConfigMetrics;
use crate::config::stream::StreamMetrics;
use crate::jobs::JobMetrics;
use crate::memory::MemoryMetrics;
use crate::metrics::{OsProcess, Registry};
use crate::net::client::ConnectionMetrics;
use crate::net::server::ServerMetrics;
use crate::observe::{AccessLog, LogMetrics, Sinks};
use crate::tenant::budgets::BudgetMetrics;
use crate::tenant::limits::LimitMetrics;
use crate::tenant::provider::ProviderMetrics;

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

/// Every family, registered.
pub struct Families {
    registry: Registry,
    /// Those that records of requests and attempts are counted in, and the access log.
    pub sinks: Arc<Sinks>,
    /// Breakers, keys, limits, health.
    pub providers: ProviderMetrics,
    /// Named limits of routes and policies.
    pub limits: LimitMetrics,
    /// Budgets of policies.
    pub budgets: BudgetMetrics,
    /// Background jobs.
    pub jobs: JobMetrics,
    /// Connections from the app and to providers.
    pub connections: ConnectionMetrics,
    /// Loading of configuration.
    pub config: ConfigMetrics,
    /// The stream to the operator.
    pub stream: StreamMetrics,
    /// Connections that could not be accepted or ended badly.
    pub server: ServerMetrics,
    /// Memory for bodies.
    pub memory: MemoryMetrics,
    /// Log lines lost.
    pub log: LogMetrics,
    process: OsProcess,
}

impl Families {
    /// Registers all of them.
    pub fn new(access: AccessLog) -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let sinks = Arc::new(Sinks::register(r, access));
        let providers = ProviderMetrics::register(r);
        let limits = LimitMetrics::register(r);
        let budgets = BudgetMetrics::register(r);
        let jobs = JobMetrics::register(r);
        let connections = ConnectionMetrics::register(r);
        let config = ConfigMetrics::register(r);
        let stream = StreamMetrics::register(r);
        let server = ServerMetrics::register(r);
        let memory = MemoryMetrics::register(r);
        let log = LogMetrics::register(r);
        r.register(
            "build",
            "Version of this sidecar; always 1",
            &["version"],
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let folded = r.bound().folded();
        r.register(
            "metrics_folded",
            "Times that something was counted under the label other, or without its code, because this sidecar may have no more series; the log has the detail",
            &[],
            folded,
        );
        let process = OsProcess::register(r);
        Self {
            registry,
            sinks,
            providers,
            limits,
            budgets,
            jobs,
            connections,
            config,
            stream,
            server,
            memory,
            log,
            process,
        }
    }

    /// The text exposition, with the process as it is now.
    pub fn encode(&self) -> String {
        self.process.observe();
        self.registry.encode()
    }
}
