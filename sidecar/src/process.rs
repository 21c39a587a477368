//! What all requests share: data, no behaviour.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::batches::Batches;
use crate::caller::{Caller, Pod};
use crate::config::stream::StreamState;
use crate::drain::Drain;
use crate::ending::Ending;
use crate::families::Families;
use crate::jobs::Jobs;
use crate::memory::Memory;
use crate::net::client::Connections;
use crate::observe::Sinks;
use crate::supervise::DeadPart;
use crate::tenant::Tenant;
use crate::time::Clock;

/// Limits that hold for the whole process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessLimits {
    /// Largest request body, bytes.
    pub max_body: usize,
    /// Largest body that is sent on as it arrives, bytes.
    pub max_upload: usize,
    /// Most requests in flight.
    pub max_in_flight: usize,
    /// Most connections from the app.
    pub max_connections: usize,
    /// How long a drain may take.
    pub drain_deadline: Duration,
}

/// What all requests share.
pub struct Process {
    /// Limits of the process.
    pub limits: ProcessLimits,
    /// The monotonic clock.
    pub clock: Clock,
    /// The budget for bodies.
    pub memory: Arc<Memory>,
    /// Stopping.
    pub drain: Arc<Drain>,
    /// What the app can ask of its end.
    pub ending: Ending,
    /// The part that died, if one has.
    pub dead: Arc<DeadPart>,
    /// Where records of requests and attempts go.
    pub sinks: Arc<Sinks>,
    /// All metrics, for the scrape.
    pub metrics: Families,
    /// Connections to providers.
    pub connections: Arc<Connections>,
    /// The pod that the sidecar runs in.
    pub pod: ArcSwap<Pod>,
    /// Requests that are answered later, where there is a folder for them.
    pub jobs: Option<Arc<Jobs>>,
    /// Batches that are booked.
    pub batches: Batches,
    /// The stream to the operator, where there is to be one.
    pub stream: Option<Arc<StreamState>>,
    /// The one namespace that a sidecar serves. Requests reach it by [`Process::tenant_of`] their caller.
    pub tenant: Arc<Tenant>,
}

impl Process {
    /// Who sends a request from `peer`.
    pub fn caller(&self, peer: IpAddr) -> Caller {
        Caller::new(peer, &self.pod.load())
    }

    /// The tenant that serves a caller. A sidecar has one, whoever calls.
    pub fn tenant_of(&self, _caller: &Caller) -> &Arc<Tenant> {
        &self.tenant
    }
}
