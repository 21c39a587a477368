//! Spending: how much money may be spent over which time, and what is left of it.
//!
//! [`window`] says when a budget's time begins and ends, [`book`] keeps several budgets at once: what a request may cost at the
//! most is reserved under all of them before anybody is asked, or under none, and what it did cost is charged when it ends.
//! [`shared`] is about those that many sidecars spend together, and [`spending`] keeps both kinds.

pub mod book;
pub mod shared;
pub mod spending;
pub mod window;

#[cfg(test)]
mod tests;
