//! Names of members in other letters than an API's.
//!
//! Servers in Go take `Model` for `model`, and of the two the last. Whoever decides by the one and passes both on has decided about
//! another request than the one that is answered. So where anything is decided by a body, a member that is like one that is looked at,
//! and is not it, is refused ([`crate::letters`]): no SDK writes one.

use super::RequestError;

/// Whether some servers take one name for the other: those of Go do, letters of either case, a long s and the sign of Kelvin too.
pub(crate) fn is_like(known: &str, name: &str) -> bool {
    if name.len() == known.len() {
        return name.eq_ignore_ascii_case(known);
    }
    name.len() > known.len()
        && !name.is_ascii()
        && name
            .replace('\u{17f}', "s")
            .replace('\u{212a}', "k")
            .eq_ignore_ascii_case(known)
}

/// The one of these names that this one is like, if it is none of them.
pub(crate) fn meant(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let meant = known.iter().find(|known| is_like(known, name))?;
    (!known.contains(&name)).then_some(*meant)
}

/// What is wrong with a name in other letters.
pub(crate) fn wrong(name: &str, meant: &str) -> RequestError {
    let problem = format!("must be written {meant}, in these letters: some servers take the one for the other");
    RequestError::field(name, problem)
}

/// Whether a name has letters that `OpenAI`'s and `Anthropic`'s names of members have not: one without them is like no other of these.
pub(super) fn has_others(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
}
