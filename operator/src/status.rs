//! What is said on the objects, and when: how config gets to the sidecars ([`rollout`]), and how often a status may be written
//! ([`pace`]). Pure; `reconcile` reads, asks and writes.

pub mod pace;
pub mod rollout;
