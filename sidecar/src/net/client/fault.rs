//! What the network did, in the words of the taxonomy.

use std::error::Error;
use std::fmt;
use std::io;

use bowsprit_core::fault::TransportFault;

/// A failed exchange: the kind decides, the detail explains. The detail never holds a header or a body.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What happened, as the classification knows it.
    pub kind: TransportFault,
    /// What the system said.
    pub detail: String,
    /// Not one byte of an answer came over a connection that had been idle before.
    pub reused: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for Fault {}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: TransportFault, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
            reused: false,
        }
    }

    /// Reads an error of `TcpStream::connect`.
    pub(super) fn connect(error: &io::Error, address: impl fmt::Display) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                TransportFault::ConnectTimeout
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => TransportFault::Reset,
            _ if is_out_of_descriptors(error) => TransportFault::NoDescriptors,
            _ => TransportFault::ConnectRefused,
        };
        Self::new(kind, format_args!("connecting to {address}: {error}"))
    }

    /// Reads an error of the request or of the response head.
    pub(super) fn head(error: &hyper::Error) -> Self {
        let kind = if error.is_parse() || error.is_parse_too_large() {
            TransportFault::Protocol
        } else {
            TransportFault::Reset
        };
        Self::new(kind, format_args!("before the response head: {}", Chain(error)))
    }

    /// Reads an error of the response body: whatever it was, what arrived is not the whole answer.
    pub(super) fn body(error: &hyper::Error) -> Self {
        let kind = if error.is_parse() {
            TransportFault::Protocol
        } else {
            TransportFault::Truncated
        };
        Self::new(kind, format_args!("in the response body: {}", Chain(error)))
    }
}

/// Whether the process, or the system, has no file descriptors left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// An error with its sources on one line.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}
