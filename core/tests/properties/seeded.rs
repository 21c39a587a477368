//! Runs a property over inputs that a printed seed makes.

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The seed where none is given: the same inputs on every machine, so that a red run is red for everybody.
const SEED: u64 = 20_261_128;
/// Inputs of each property where nothing else is said: all of them together take a few seconds.
const CASES: u32 = 512;

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a whole number, and is {text:?}")),
        Err(_) => default,
    }
}

/// Checks that `property` holds for every input that `inputs` makes; a failure shows the smallest input that it was found
/// with, and the seed.
#[allow(clippy::needless_pass_by_value)] // a strategy is written where it is used
pub(crate) fn holds<S>(name: &str, inputs: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S: Strategy,
    S::Value: Debug,
{
    let seed: u64 = number("BOWSPRIT_SEED", SEED);
    let config = Config {
        cases: number("BOWSPRIT_CASES", CASES),
        failure_persistence: None,
        ..Config::default()
    };
    println!("{name}: BOWSPRIT_SEED={seed}, {} inputs", config.cases);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    if let Err(failure) = TestRunner::new_with_rng(config, random).run(&inputs, property) {
        panic!("{name} (BOWSPRIT_SEED={seed}): {failure}");
    }
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let inputs = || {
        let seen = std::cell::RefCell::new(Vec::new());
        holds("same", proptest::num::u64::ANY, |n| {
            seen.borrow_mut().push(n);
            Ok(())
        });
        seen.into_inner()
    };
    assert_eq!(inputs(), inputs());
}
