//! Guards: what must not leave in a request or come in an answer, found and masked, refused or counted.
//!
//! What is found is found by its form and, where it has one, its checksum ([`checksum`]): each form is a small reader that
//! looks at a text from one place on ([`numbers`], [`email`], [`secrets`], [`words`]) and knows after a bounded number of
//! bytes whether this is one. That makes one machine of whole texts and of streams: [`Detectors`] go over what there is and
//! stop where more could still change the verdict, and a [`Window`] keeps what they have not decided, never more than
//! [`Detectors::hold`] bytes. So a stream in whatever pieces comes out as the whole text would.
//!
//! A mask is a word for what it stands for (`[CARD]`), so the same text is always masked alike and the provider's own cache of
//! prompts still knows it. [`Guard::look`] finds the texts in a body and changes only these: a body in which nothing is found
//! stays as it is, byte for byte.
//!
//! A guard may be a service ([`webhook`]): it is asked with the texts, and what it decides is put back in their place (`texts`).
//! Of a streamed answer it is asked about [`Windows`], one after the other.
//!
//! A streamed answer goes through a [`Sieve`]: it finds the texts in each event (`events`), a window for each of an answer's texts
//! holds what is not decided (`channel`), and the event that brought it waits until it is.

mod ahead;
mod body;
mod channel;
mod checksum;
mod detectors;
mod elements;
mod email;
mod events;
mod frame;
mod given;
mod numbers;
mod policy;
mod secrets;
mod service;
mod sieve;
mod take;
#[cfg(test)]
mod tests;
mod texts;
mod waiting;
pub mod webhook;
mod window;
mod windows;
mod words;

pub use body::Looked;
pub(crate) use body::SAID;
pub use detectors::Detectors;
pub use policy::{Decided, Guard};
pub use sieve::{HELD_MOST, Sieve, Stop};
use take::Said;
pub use window::Window;
pub use windows::{WINDOW_CHARS, WINDOW_TIME, Window as Asked, Windows};

/// Guards of one object.
pub const MOST_GUARDS: usize = 10;
/// Words of one guard.
pub const MOST_WORDS: usize = 200;
/// The longest word, bytes. It bounds what a stream holds back.
pub const LONGEST_WORD: usize = 64;
