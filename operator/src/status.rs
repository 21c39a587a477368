//! What is said on the objects, and when: how config gets to the sidecars ([`rollout`]), what is left of error budgets
//! ([`budget`]), what is spent of money ([`money`]), which pods run away ([`runaway`]), and how often a status may be written
//! ([`pace`]). Pure; `reconcile` reads, asks and writes.

pub mod budget;
pub mod money;
pub mod pace;
pub mod rollout;
pub mod runaway;
