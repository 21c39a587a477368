//! The replicas among themselves: those that do not lead tell the leader what their sidecars say, since only the leader
//! writes status. The link is made as a sidecar's stream is, to the leader's own address, which stands on the Lease.

pub mod follow;
pub(crate) mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowsprit_core::stream::loans::WireBorrow;
use bowsprit_core::stream::shares::WireAsk;

use super::session::Malformed;
use crate::fleet::{PodId, Teller};
use wire::{MAX_TO_LEADER, ToLeader};

pub(super) use wire::MAX_TO_LEADER as LONGEST;

/// What another replica says in a line, noted.
/// What a sidecar asks through another replica goes to `ask` and `borrow`, whether that replica would take streams to `takes`.
pub(super) fn hear(
    line: &[u8],
    teller: &Teller,
    now: Instant,
    ask: impl FnOnce(&str, PodId, &[WireAsk]),
    borrow: impl FnOnce(&str, PodId, &[WireBorrow]),
    takes: impl FnOnce(bool),
) -> Result<(), Malformed> {
    if line.len() > MAX_TO_LEADER {
        return Err(Malformed);
    }
    match serde_json::from_slice(line).map_err(|_| Malformed)? {
        ToLeader::Report {
            namespace,
            pod,
            uid,
            age_ms,
            report,
        } => {
            let at = now.checked_sub(Duration::from_millis(age_ms)).unwrap_or(now);
            teller.note(&namespace, PodId { name: pod, uid }, Arc::new(report), at);
        }
        ToLeader::Lost { namespace, pod, uid } => teller.lost(&namespace, &PodId { name: pod, uid }, now),
        ToLeader::Ask {
            namespace,
            pod,
            uid,
            asks,
        } => ask(&namespace, PodId { name: pod, uid }, &asks),
        ToLeader::Borrow {
            namespace,
            pod,
            uid,
            asks,
        } => borrow(&namespace, PodId { name: pod, uid }, &asks),
        ToLeader::Takes { takes: would } => takes(would),
        ToLeader::Pong | ToLeader::Unknown => {}
    }
    Ok(())
}
