//! An offer as the message that carries it: the lines as they lie in the file, with the rest of a
//! [`Batch`](crate::wire::Batch) around them.

use bowsprit_core::json::line;

use super::{Offer, Page};
use crate::entry::LONGEST_TEXT;
use crate::wire::VERSION;

/// What a batch says of its sender, for showing only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The release of the sidecar.
    pub version: String,
    /// What the pod runs for, such as `Deployment/checkout`.
    pub workload: String,
}

/// The message.
pub fn body(offer: &Offer, sender: &Sender) -> Vec<u8> {
    let mut out = Vec::with_capacity(offer.joined.len() + 512);
    out.extend_from_slice(b"{\"version\":");
    line::number(&mut out, u64::from(VERSION));
    for (key, value) in [
        (",\"outbox\":", &offer.outbox),
        (",\"sidecarVersion\":", &sender.version),
        (",\"workload\":", &sender.workload),
    ] {
        out.extend_from_slice(key.as_bytes());
        line::text(&mut out, value, LONGEST_TEXT);
    }
    out.extend_from_slice(b",\"from\":");
    line::number(&mut out, offer.from);
    out.extend_from_slice(b",\"to\":");
    line::number(&mut out, offer.to);
    out.extend_from_slice(b",\"entries\":[");
    out.extend_from_slice(&offer.joined);
    out.extend_from_slice(b"]}");
    out
}

/// What was read, as a [`Page`](crate::wire::Page).
pub fn page(page: &Page, sender: &Sender) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.run.joined.len() + 1024);
    let word = |is: bool| if is { "true" } else { "false" };
    out.extend_from_slice(b"{\"more\":");
    out.extend_from_slice(word(page.more).as_bytes());
    out.extend_from_slice(b",\"hasSums\":");
    out.extend_from_slice(word(page.has_sums).as_bytes());
    out.extend_from_slice(b",\"taken\":");
    line::number(&mut out, page.taken);
    if let Some(since) = page.detail_since {
        out.extend_from_slice(b",\"detailSince\":");
        line::number(&mut out, u64::try_from(since).unwrap_or(0));
    }
    out.extend_from_slice(b",\"batch\":");
    out.append(&mut body(&page.run, sender));
    out.push(b'}');
    out
}
