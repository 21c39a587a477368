//! What must hold for every input of a kind, not only for those that somebody has met: each file is one kind, tried through
//! every pair of dialects that it can occur in.
//!
//! The inputs are made from a seed, which each test prints. `BOWSPRIT_SEED=<seed> cargo test -p bowsprit-core --test
//! properties` tries others, or those of a failure again; `BOWSPRIT_CASES=<n>` tries more of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test panics
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // the seed is printed, and read from the environment

mod access;
#[path = "../shared/asking.rs"]
mod asking;
mod features;
mod guard;
mod kept;
mod model_name;
mod number;
mod schema;
mod seeded;
mod stop;
mod surrogate;
mod texts;
mod tool_name;
