//! Limits: how much may be asked, and what is left of it.
//!
//! [`limiter`] is one owner's limits (rates as smooth buckets, and concurrency), [`keyed`] the same for each of many callers
//! within bounded memory, and [`set`] several of them at once, taken all or none, with one fair queue before them.

pub mod bill;
mod bucket;
pub mod keyed;
pub mod limiter;
pub mod set;
