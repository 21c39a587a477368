//! Which sequences an operator can have given.

/// How far a sequence may be beyond the clock, in seconds: clocks differ, if not by a day.
pub const MAX_BEYOND: u64 = 24 * 60 * 60;

/// Whether an operator may have given this sequence, at `clock` (Unix seconds). It gives the clock's, or one more than the last where
/// that is more, so it is never far beyond. One that is was written by hand; who followed it could not be given anything newer.
pub fn is_given(sequence: u64, clock: u64) -> bool {
    sequence > 0 && sequence <= clock.saturating_add(MAX_BEYOND)
}
