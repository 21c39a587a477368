//! Connections, counted: those of the app and those to the providers.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use super::pool::{Origins, PoolCounts};
use crate::drain::Drain;
use crate::metrics::{Registry, set};

/// Families about connections.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    app: Gauge,
    idle: Gauge,
    /// Shared with the pool.
    pub pool: Arc<PoolCounts>,
}

impl ConnectionMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "app_connections",
            "Connections of the app that have carried a request and are open",
            &[],
            new.app.clone(),
        );
        registry.register(
            "provider_connections_opened",
            "Connections made to providers; many beside few reused ones cost a TCP and TLS handshake each",
            &[],
            new.pool.opened.clone(),
        );
        registry.register(
            "provider_connections_reused",
            "Requests to providers that went over a connection that was there",
            &[],
            new.pool.reused.clone(),
        );
        registry.register(
            "provider_connections_idle",
            "Connections to providers that wait for the next request",
            &[],
            new.idle.clone(),
        );
        new
    }

    /// Brings the gauges to what is so now: called before each scrape.
    pub fn observe(&self, drain: &Drain, origins: &Origins) {
        set(&self.app, drain.connections());
        set(&self.idle, origins.idle());
    }
}
