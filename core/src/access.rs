//! Who may use what: rules in the Common Expression Language, decided for each request.
//!
//! A rule is compiled when it is applied and when it is loaded, by the same code: [`token`] cuts its text into words, [`parse`]
//! makes a tree of them, [`check`] finds each name and each type, and what is left ([`program`]) cannot fail but for what a
//! request does not say. Deciding takes no memory and nothing in it repeats: its cost is bounded by the rule's text.
//!
//! Of CEL this has what rules about requests need, and means the same by it; what is left out is refused by name. A rule that
//! cannot be decided for a request ([`Fault`]) does not hold.

mod check;
mod facts;
mod nearest;
mod parse;
mod policy;
mod program;
#[cfg(test)]
mod tests;
mod token;
mod why;

pub use check::{FUNCTIONS, PATTERN};
pub use facts::{
    CallerFacts, CandidateFacts, Facts, Headers, OPERATIONS, Pinned, RequestFacts, VARIABLES, Variable, operation,
};
pub use parse::{MAX_DEPTH, MAX_NODES};
pub use policy::{About, Denial, Policy, Rule};
pub use program::{Fault, MATCHED};
pub use why::{Explained, Said, explain};

/// The longest expression, bytes.
pub const LONGEST: usize = 1_000;
/// Rules of one object.
pub const MOST_RULES: usize = 50;

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mistake {
    /// Where in its text, bytes.
    at: usize,
    problem: String,
    remedy: String,
}

impl Mistake {
    fn new(at: usize, problem: &str, remedy: &str) -> Self {
        Self {
            at,
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}
