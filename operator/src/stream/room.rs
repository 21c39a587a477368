//! Who waits before the door. After a restart of every operator ten thousand sidecars come within some seconds to the first
//! that is up, which lets in some hundreds a second. A connection is taken the moment it comes and waits for its turn with
//! nothing but its socket (`crate::room`): no TLS, no buffer, no review. Turns are in the order in which callers began to speak, so
//! nobody loses its place by waiting, and nobody is sent away to come back while there is work that could be done. Where one address
//! has more at the door than others, theirs come first.
//!
//! Were connections left to the kernel instead, those beyond its backlog would ask again after 1, 3 and 7 s, give up, and
//! leave the operator idle meanwhile.

use std::time::Duration;

use crate::room::Rule;

/// Connections that are past waiting and not yet streams: in their TLS handshake, or waiting for a review. Times a few tens
/// of KiB it bounds what strangers can make the operator hold.
pub(super) const AT_THE_DOOR: usize = 256;
/// Connections that may wait: what is let in within some ten seconds. Each takes a socket and some KiB.
pub(super) const MOST_WAITING: usize = 4096;
/// Who has waited for so long, many times what letting in takes, is not kept waiting any longer by an address that has more at the
/// door: by handshakes that do not come to an end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The door.
pub(super) const RULE: Rule = Rule {
    seats: AT_THE_DOOR,
    patience: PATIENCE,
    // Who is at the door is let in or sent away within its own times.
    begins: Duration::MAX,
};

/// How many may wait where `free` streams may still be opened: who waits longer than that waits for nothing.
pub(super) fn room(free: usize) -> usize {
    free.clamp(AT_THE_DOOR, MOST_WAITING)
}

#[cfg(test)]
mod returns;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_may_wait_as_there_may_be_streams_and_never_more_than_are_soon_let_in() {
        assert_eq!(room(0), AT_THE_DOOR, "other replicas come in whatever the streams");
        assert_eq!(room(1000), 1000);
        assert_eq!(room(usize::MAX), MOST_WAITING);
    }
}
