//! Connections to the sidecar that could not be accepted or ended badly, counted.

use std::error::Error as _;
use std::io;

use crate::metrics::{Counters, Labels, OTHER, Registry};
use prometheus_client::encoding::EncodeLabelSet;

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

/// Families about connections to the sidecar.
#[derive(Clone)]
pub struct ServerMetrics {
    accept_errors: Counters<ListenerLabel>,
    connections_failed: Counters<ReasonLabel>,
}

impl ServerMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
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
        }
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
}
