//! The rows of the matrix, in its order.

use crate::trial::Promise;

mod bodies;
mod broken;
mod malformed_sse;
mod no_connection;
mod silence;
mod slow;
mod smuggling;

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
    ]
    .concat()
}
