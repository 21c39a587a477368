//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, after a panic elsewhere too: what is locked here is plain data, or a connection whose transaction a panic has rolled
/// back, and so is in some valid state then.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
