//! The rows of the matrix, in its order.

use crate::trial::Promise;

mod answers;
mod bodies;
mod broken;
mod clocks;
mod config;
mod crowd;
mod descriptors;
mod leaving;
mod malformed_sse;
mod no_connection;
mod panics;
mod silence;
mod slow;
mod smuggling;
mod stopping;

/// Every promise of every row.
pub fn all() -> Vec<Promise> {
    [
        no_connection::promises(),
        silence::promises(),
        broken::promises(),
        slow::promises(),
        malformed_sse::promises(),
        smuggling::promises(),
        bodies::promises(),
        clocks::promises(),
        config::disk::promises(),
        descriptors::promises(),
        crowd::promises(),
        leaving::promises(),
        stopping::promises(),
        config::storm::promises(),
        answers::promises(),
        panics::promises(),
    ]
    .concat()
}
