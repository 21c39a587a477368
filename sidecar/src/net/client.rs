//! The way to the providers: connections that are kept, made when needed and never trusted to be alive.
//!
//! One [`Origin`] per scheme, host, port, proxy and trust root; each keeps its idle connections as a stack (last used,
//! first reused, so the surplus grows old and is closed). A connection is driven by one task of its own. What goes
//! wrong comes back as a [`Fault`]: the taxonomy's [`TransportFault`] and a text for people.

mod connections;
mod decode;
mod dial;
mod fault;
mod metrics;
mod outgoing;
mod own;
mod pool;
mod proxy;
pub mod tls;

pub use connections::{Connections, Reach};
pub use decode::Coding;
pub use dial::{Addresses, Endpoint, Guard, Resolve, System, connect_anywhere};
pub use fault::{Fault, is_out_of_descriptors};
pub use metrics::ConnectionMetrics;
pub use outgoing::{Look, Outgoing, Sending, Stalled, UploadError};
pub use own::{NoConnection, OwnService};
pub use pool::{Answer, AnswerBody, Origin, Origins, PoolCounts};
pub use proxy::{Proxy, ProxyError};
