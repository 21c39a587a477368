//! Answers that the pods of a workload share through a store (`cache.store` of a ModelRoute): Redis, Valkey, or a cluster of either.
//!
//! - **A name in the store says all that a key does, and more** ([`Names`]): namespace, workload, route, and what the route's answers rest on.
//!   It is a digest, so nobody can be given what was kept for another, and a change of targets or access finds nothing of before.
//! - **A route's answers have a generation** ([`Generation`]), which is in the store too. It is read with each answer, and an answer is kept
//!   only under the one that was read before its provider was asked: to clear is to let go of the generation ([`script`]).
//! - **The store is not trusted to be sane** ([`value`]): what it gives says of itself whose it is, for how long it is good, and the sum of
//!   it all. What does not is no answer.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::OLDEST;
use super::key::Key;

pub mod script;
pub mod value;

/// How long a generation is kept: each answer that is kept renews it, and none is kept for so long.
pub const GENERATION_KEPT: Duration = Duration::from_secs(OLDEST.as_secs() * 2);

/// The layout of what is digested.
const LAYOUT: &str = "bowsprit shared 1";

/// Which answers of a route are given: those of another generation were cleared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Generation([u8; 32]);

impl Generation {
    /// One by chance: none is ever the same.
    pub fn new(chance: u128) -> Self {
        let mut text = [b'0'; 32];
        for (at, digit) in text.iter_mut().enumerate() {
            let nibble = (chance >> (4 * at)) & 0xf;
            *digit = *b"0123456789abcdef"
                .get(usize::try_from(nibble).unwrap_or(0))
                .unwrap_or(&b'0');
        }
        Self(text)
    }

    /// As it stands in the store; `None`: it is none.
    fn read(text: &[u8]) -> Option<Self> {
        let text: [u8; 32] = text.try_into().ok()?;
        text.iter().all(u8::is_ascii_hexdigit).then_some(Self(text))
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// What a request's answer is known by in the store: a digest of everything that its key is of, and of where it may be given.
pub type Id = [u8; 32];

/// Under which names a route's answers are in the store. All are of one slot, as an answer is read with its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    tag: String,
    generation: String,
    /// Digest of where the route is and what its answers rest on.
    of: [u8; 32],
}

impl Names {
    /// Those of a route. `workload`: the pods that share them, those of one Deployment or the like; `basis`: what the route's answers rest on
    /// ([`super::basis`]). What stands in braces decides on the slot; no name can hold one.
    pub fn of_route(namespace: &str, workload: &str, route: &str, basis: &str) -> Self {
        let mut digest = Sha256::new();
        for part in [LAYOUT, namespace, workload, route, basis] {
            // With its length, so that no two lists of parts are the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let tag = format!("bowsprit:{{{namespace}/{route}}}");
        Self {
            generation: format!("{tag}:answers"),
            tag,
            of: digest.finalize().into(),
        }
    }

    /// What the answer to a request of this key is known by.
    pub fn id(&self, key: &Key) -> Id {
        let mut digest = Sha256::new();
        digest.update(self.of);
        digest.update(key.as_bytes());
        digest.finalize().into()
    }

    /// Where the generation is.
    fn generation(&self) -> &str {
        &self.generation
    }

    /// Where this answer is.
    fn answer(&self, id: &Id) -> String {
        use fmt::Write as _;
        let mut name = String::with_capacity(self.tag.len() + 1 + 2 * id.len());
        name.push_str(&self.tag);
        name.push(':');
        for byte in id {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_says_where_an_answer_may_be_given_makes_another_name_of_it() {
        let names = |namespace, workload, route, basis| Names::of_route(namespace, workload, route, basis);
        let key = |number| Key::of_digest([number; 32]);
        let mut ids: Vec<Id> = [
            names("a", "w", "r", "b"),
            names("b", "w", "r", "b"),
            names("a", "v", "r", "b"),
            names("a", "w", "s", "b"),
            names("a", "w", "r", "c"),
            names("aw", "", "r", "b"),
            names("", "aw", "r", "b"),
        ]
        .iter()
        .map(|names| names.id(&key(1)))
        .collect();
        ids.push(names("a", "w", "r", "b").id(&key(2)));
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn all_answers_of_a_route_are_in_one_slot_and_all_workloads_have_one_generation() {
        let (one, two) = (Names::of_route("a", "w", "r", "b"), Names::of_route("a", "v", "r", "c"));
        assert_eq!(one.generation(), "bowsprit:{a/r}:answers");
        assert_eq!(one.generation(), two.generation());
        let id = one.id(&Key::of_digest([7; 32]));
        let name = one.answer(&id);
        assert!(
            name.starts_with("bowsprit:{a/r}:") && name.len() == "bowsprit:{a/r}:".len() + 64,
            "{name}"
        );
    }

    #[test]
    fn a_generation_is_read_as_it_was_written_and_nothing_else_is_one() {
        let one = Generation::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(Generation::read(one.as_bytes()), Some(one));
        assert_ne!(one, Generation::new(1));
        assert_eq!(Generation::read(b"0123"), None);
        assert_eq!(Generation::read(&[b'-'; 32]), None);
    }
}
