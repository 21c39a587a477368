//! The product's own [`bowsprit_core::flow::Flow`] with its plan, breakers, limiters, budget, trust and hedging, driven at
//! random by the hundred thousand steps.
//!
//! Each seed is a world of its own: several providers with models and credentials of their own and settings as a config
//! gives them, moods that change, callers who leave, permits that get lost, limits that change under way. Each attempt that
//! the flow sends is held against the rules, said here once more. Beside breaker, limiter and budget runs a shadow of each,
//! written the naive way (lists instead of rings, floats instead of whole numbers); after every step both must agree.
//!
//! A failure prints its seed and step. `BOWSPRIT_SIM_SEED=<seed> cargo test -p bowsprit-core --test simulation` runs
//! that seed alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::trivially_copy_pass_by_ref,
    missing_docs
)]
#![allow(unreachable_pub)] // the modules of a test are nobody's API

#[path = "simulation/shadow.rs"]
mod shadow;
#[path = "simulation/world.rs"]
mod world;

use std::cell::Cell;
use world::World;

const SEEDS: u64 = 256;
const STEPS: u32 = 3_000;

/// Says how to come back here when anything below panics, be it an assertion or an overflow in the code under test.
struct Replay {
    seed: u64,
    step: Cell<u32>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, step } = self;
            eprintln!(
                "seed {seed}, step {}: replay it with BOWSPRIT_SIM_SEED={seed}",
                step.get()
            );
        }
    }
}

/// Runs one world to its end and returns it: what happened is in its trace and its counts.
fn run(seed: u64) -> World {
    let replay = Replay {
        seed,
        step: Cell::new(0),
    };
    let mut world = World::new(seed);
    for step in 0..STEPS {
        replay.step.set(step);
        world.step();
        world.check();
    }
    world.calm_down();
    world
}

#[allow(clippy::disallowed_methods)] // core reads no environment; its simulation does, to be replayed
fn seeds() -> Vec<u64> {
    match std::env::var("BOWSPRIT_SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("BOWSPRIT_SIM_SEED must be a whole number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

#[test]
fn the_machines_and_their_shadows_agree_after_every_step() {
    let mut seen = world::Seen::default();
    let seeds = seeds();
    for seed in &seeds {
        seen += run(*seed).shared.seen;
    }
    // A simulation that never gets anywhere proves nothing.
    if seeds.len() > 1 {
        seen.assert_rich(SEEDS);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds().into_iter().take(8) {
        assert_eq!(run(seed).trace, run(seed).trace, "seed {seed}");
    }
    assert_ne!(run(0).trace, run(1).trace);
}
