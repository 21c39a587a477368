//! By which terms a provider billed an answer: what it says beside its token counts.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::token_count::Count;

/// The terms that the tokens of an answer are billed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terms {
    /// The usual ones.
    #[default]
    Standard,
    /// Later, for less.
    Flex,
    /// Sooner, for more.
    Priority,
    /// In the background.
    Batch,
    /// Others, whose price nobody knows: reserved capacity, a region, tokens of sound or pictures.
    Other,
}

impl Terms {
    /// What holds where two things were said.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Standard, terms) | (terms, Self::Standard) => terms,
            (one, two) if one == two => one,
            _ => Self::Other,
        }
    }

    fn of(tier: &str) -> Self {
        match tier {
            "default" | "auto" | "standard" | "on_demand" | "ON_DEMAND" | "STANDARD" => Self::Standard,
            "flex" | "FLEX" | "ON_DEMAND_FLEX" => Self::Flex,
            // OpenAI's new name for it.
            "priority" | "fast" | "PRIORITY" | "ON_DEMAND_PRIORITY" => Self::Priority,
            "batch" => Self::Batch,
            _ => Self::Other,
        }
    }
}

/// A field that names a service tier; one that says nothing, or no word, says nothing of the terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tier(pub Terms);

impl Tier {
    /// Of this name.
    pub(super) fn named(name: &str) -> Self {
        Self(Terms::of(name))
    }
}

impl<'de> Deserialize<'de> for Tier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Word::of(Terms::of)).map(Self)
    }
}

/// A field of `Anthropic`'s whose words but these cost more than the list price: `inference_geo`, `speed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usual(pub Terms);

impl<'de> Deserialize<'de> for Usual {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let usual = |word: &str| match word {
            "global" | "not_available" | "standard" | "" => Terms::Standard,
            _ => Terms::Other,
        };
        deserializer.deserialize_any(Word::of(usual)).map(Self)
    }
}

/// Reads a word; for what is no word no answer is lost.
struct Word<T> {
    read: fn(&str) -> T,
    /// Where nothing is said.
    unsaid: T,
    /// Where what is said is no word.
    other: T,
}

impl Word<Terms> {
    fn of(read: fn(&str) -> Terms) -> Self {
        Self {
            read,
            unsaid: Terms::Standard,
            other: Terms::Other,
        }
    }
}

impl<'de, T> Visitor<'de> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E>(self, word: &str) -> Result<T, E> {
        Ok((self.read)(word))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(self.unsaid)
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(self.other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(self.other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(self.other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(self.other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<T, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.other)
    }
}

/// A list of token counts by what they are of, as `Gemini` tells it: whether there are any of sound, and of anything but
/// text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    pub sound: bool,
    pub any: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaCount {
    #[serde(default)]
    modality: Modality,
    #[serde(default)]
    token_count: Option<Count>,
}

/// What tokens are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Modality {
    #[default]
    Text,
    Sound,
    Other,
}

impl<'de> Deserialize<'de> for Modality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Documents are read as text and pictures.
        let read = |word: &str| match word {
            "TEXT" | "DOCUMENT" | "MODALITY_UNSPECIFIED" => Self::Text,
            "AUDIO" => Self::Sound,
            _ => Self::Other,
        };
        deserializer.deserialize_any(Word {
            read,
            unsaid: Self::Text,
            other: Self::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Media {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Media;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("token counts by modality")
            }

            fn visit_unit<E>(self) -> Result<Media, E> {
                Ok(Media::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Media, A::Error> {
                let mut media = Media::default();
                while let Some(MediaCount { modality, token_count }) = list.next_element()? {
                    let any = modality != Modality::Text && token_count.is_some_and(|Count(count)| count > 0);
                    media.any |= any;
                    media.sound |= any && modality == Modality::Sound;
                }
                Ok(media)
            }
        }

        deserializer.deserialize_any(List)
    }
}
