//! What the process itself goes through: connections, memory, lines lost. None of it belongs to one request.

use std::error::Error as _;
use std::io;

use crate::memory::Memory;
use crate::metrics::{Counters, Labels, OTHER, Registry, set};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// A listening socket of the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// For the app.
    App,
    /// For kubelet, Prometheus and people.
    Admin,
}

impl Listener {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Admin => "admin",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Labels for ListenerLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self { door: OTHER }
    }
}

impl Labels for ReasonLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self { reason: OTHER }
    }
}

/// The families.
#[derive(Clone)]
pub struct ProcessMetrics {
    accept_errors: Counters<ListenerLabel>,
    connections_failed: Counters<ReasonLabel>,
    held: Gauge,
    budget: Gauge,
    lines_lost: Counter,
}

impl ProcessMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            accept_errors: registry.counters(
                "accept_errors",
                "Times a door could not accept, for want of file descriptors or memory",
                &["door"],
            ),
            connections_failed: registry.counters(
                "connections_failed",
                "Connections to the sidecar that ended badly, by what went wrong",
                &["reason"],
            ),
            held: Gauge::default(),
            budget: Gauge::default(),
            lines_lost: Counter::default(),
        };
        registry.register("held_bytes", "Bytes of bodies held in memory", &[], new.held.clone());
        registry.register(
            "held_bytes_limit",
            "Bytes of bodies that may be held in memory",
            &[],
            new.budget.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines lost because nobody read them in time",
            &[],
            new.lines_lost.clone(),
        );
        new
    }

    /// A listener could not accept.
    pub fn cannot_accept(&self, door: Listener) {
        self.accept_errors.get(&ListenerLabel { door: door.as_str() }).inc();
    }

    /// A connection ended badly.
    pub fn connection_failed(&self, error: &hyper::Error) {
        let timed_out = |error: &hyper::Error| {
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
        };
        let reason = if error.is_parse_too_large() {
            "too_large"
        } else if error.is_parse() {
            "malformed"
        } else if error.is_timeout() {
            "header_timeout"
        } else if timed_out(error) {
            "stuck_reader"
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            "closed"
        } else {
            "other"
        };
        self.connection_ended(reason);
    }

    /// A connection ended badly, for this reason.
    pub fn connection_ended(&self, reason: &'static str) {
        self.connections_failed.get(&ReasonLabel { reason }).inc();
    }

    /// Brings the gauges to what is so now.
    pub fn observe(&self, memory: &Memory, lines_lost: u64) {
        set(&self.held, memory.used());
        set(&self.budget, memory.limit());
        self.lines_lost.inc_by(lines_lost.saturating_sub(self.lines_lost.get()));
    }
}
