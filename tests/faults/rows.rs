//! The rows of the matrix, in its order.

use crate::trial::Promise;

mod broken;
mod no_connection;
mod silence;

/// Every promise of every row.
pub fn all() -> Vec<Promise> {
    let rows = [no_connection::promises, silence::promises, broken::promises];
    rows.into_iter().flat_map(|row| row()).collect()
}
