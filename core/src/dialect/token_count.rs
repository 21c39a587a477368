//! Numbers of tokens as servers write them.

use serde::Deserialize;

/// A number of tokens as a server writes it: servers that reckon in floats say `10.0`, and what is no count at all says
/// nothing. An answer is never lost for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of tokens")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(count))
            }

            fn visit_i64<E>(self, _negative: i64) -> Result<Count, E> {
                Ok(Count(0))
            }

            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                // Beyond what any answer has, and no count: nothing is known.
                Ok(Count(if count < 1e12 { count.round() as u64 } else { 0 }))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The count, none where nothing was told.
pub(super) fn tokens(count: Option<Count>) -> u64 {
    count.map_or(0, |Count(count)| count)
}
