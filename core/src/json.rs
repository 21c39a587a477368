//! JSON as it was written: the one tree of values that the dialects read, change and write.
//!
//! What passes through a translation must not change on its way, so a value here keeps what other trees lose:
//! - a [`Number`] is the text that stood in the document, digit by digit: an integer of any size, `1e400`, `-0`, `1.10`;
//! - a [`Map`] keeps the order of its members. Of a repeated name the last value wins, at the place of the first, as in
//!   Python and in JavaScript;
//! - a [`Text`] takes every escape that the grammar has. Half a surrogate pair (`\ud83d` alone) is U+FFFD, the character
//!   for what cannot be said in Unicode; at the edges of a text the half is remembered, so that two fragments of one
//!   streamed text join where halves meet ([`Text::high`], [`Text::low`]).
//!
//! What is no JSON by RFC 8259 is refused, with its place. Nesting is bounded ([`DEPTH`]), memory is linear in the input,
//! and so is time, for objects of any size.
//!
//! [`from_slice`] reads typed structs with the same reader, for serde's own refuses half surrogates; [`Raw`] borrows a
//! value unread.

mod de;
mod error;
pub mod line;
mod macros;
mod map;
mod number;
mod pull;
mod reader;
mod serialize;
mod text;
mod value;
mod write;

pub use de::{Raw, from_slice, from_str};
pub use error::Error;
pub use macros::ToValue;
pub use map::Map;
pub use number::Number;
pub use pull::Pull;
pub use reader::{DEPTH, parse};
pub use text::Text;
pub use value::Value;

pub use crate::json_value as json;

#[cfg(test)]
mod tests;
