//! Typed structs, read by serde's traits with the reader of this module.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::reader::{DEPTH, Reader};
use super::{Error, Number, Text, Value};

/// Reads a document into a type.
///
/// # Errors
/// What is wrong with it and where.
pub fn from_slice<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Error> {
    read(Reader::new(text)?)
}

/// As [`from_slice`].
///
/// # Errors
/// What is wrong with it and where.
pub fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    read(Reader::of(text))
}

fn read<'a, T: Deserialize<'a>>(reader: Reader<'a>) -> Result<T, Error> {
    let mut source = Source { reader, depth: DEPTH };
    let value = T::deserialize(&mut source).map_err(|error| source.reader.place(error))?;
    source.reader.end()?;
    Ok(value)
}

/// By this name a type asks for the text of a value instead of the value.
const RAW: &str = "$bowsprit::json::raw";

/// The text of a value, unread but for its grammar, and of any depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// As it stands in the document.
    #[must_use]
    pub fn get(self) -> &'a str {
        self.0
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that core::json reads")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(RAW, RawVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        super::parse(raw.get().as_bytes()).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        Number::parse(raw.get()).ok_or_else(|| de::Error::custom("invalid type: expected a number"))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        match super::parse(raw.get().as_bytes()).map_err(de::Error::custom)? {
            Value::String(text) => Ok(text),
            _ => Err(de::Error::custom("invalid type: expected a string")),
        }
    }
}

/// Where values come from.
struct Source<'a> {
    reader: Reader<'a>,
    depth: u32,
}

impl<'a> Source<'a> {
    /// Reads an array or object, whose bracket is next, one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let above = self.depth;
        self.depth = self.reader.deeper(above)?;
        self.reader.take();
        let value = read(self)?;
        self.depth = above;
        Ok(value)
    }

    fn array<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.nested(|source| {
            let mut members = Members::of(source, b']');
            let value = visitor.visit_seq(&mut members)?;
            members.end()?;
            Ok(value)
        })
    }

    fn object<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.nested(|source| {
            let mut members = Members::of(source, b'}');
            let value = visitor.visit_map(&mut members)?;
            members.end()?;
            Ok(value)
        })
    }

    fn string<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.reader.string()?.text {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn number<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let text = self.reader.number()?;
        if let Ok(integer) = text.parse::<u64>() {
            visitor.visit_u64(integer)
        } else if let Some(integer) = text.parse::<i64>().ok().filter(|integer| *integer != 0) {
            visitor.visit_i64(integer)
        } else {
            visitor.visit_f64(text.parse().unwrap_or(f64::INFINITY))
        }
    }
}

impl<'de> Deserializer<'de> for &mut Source<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.reader.look() {
            Some(b'"') => self.string(visitor),
            Some(b'{') => self.object(visitor),
            Some(b'[') => self.array(visitor),
            Some(b'-' | b'0'..=b'9') => self.number(visitor),
            Some(b't') => {
                self.reader.word("true")?;
                visitor.visit_bool(true)
            }
            Some(b'f') => {
                self.reader.word("false")?;
                visitor.visit_bool(false)
            }
            Some(b'n') => {
                self.reader.word("null")?;
                visitor.visit_unit()
            }
            Some(_) => Err(self.reader.error("expected a value")),
            None => Err(self.reader.error("EOF while parsing a value")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.reader.look() == Some(b'n') {
            self.reader.word("null")?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == RAW {
            visitor.visit_borrowed_str(self.reader.skip()?)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Word(self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// An enum, whose variants are words.
struct Word<'s, 'de>(&'s mut Source<'de>);

impl<'de> EnumAccess<'de> for Word<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        let value = seed.deserialize(&mut *self.0)?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::data("a variant that holds something is not read".to_owned()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::data("a variant that holds something is not read".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::data("a variant that holds something is not read".to_owned()))
    }
}

/// The members of an array or object, one by one.
struct Members<'s, 'de> {
    source: &'s mut Source<'de>,
    close: u8,
    begun: bool,
    ended: bool,
}

impl<'s, 'de> Members<'s, 'de> {
    fn of(source: &'s mut Source<'de>, close: u8) -> Self {
        Self {
            source,
            close,
            begun: false,
            ended: false,
        }
    }

    /// Whether there is one more, which then is next.
    fn next(&mut self) -> Result<bool, Error> {
        if self.source.reader.takes(self.close) {
            self.ended = true;
            return Ok(false);
        }
        if std::mem::replace(&mut self.begun, true) {
            self.source.reader.comma(self.close)?;
        }
        Ok(true)
    }

    /// The end, which a visitor need not have come to.
    fn end(&mut self) -> Result<(), Error> {
        if self.ended || !self.next()? {
            Ok(())
        } else {
            Err(Error::data("more elements than expected".to_owned()))
        }
    }
}

impl<'de> SeqAccess<'de> for Members<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.next()? {
            seed.deserialize(&mut *self.source).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if !self.next()? {
            return Ok(None);
        }
        if self.source.reader.look() != Some(b'"') {
            return Err(self
                .source
                .reader
                .expected("a name must be a string", "EOF while parsing an object"));
        }
        seed.deserialize(&mut *self.source).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.source.reader.colon()?;
        seed.deserialize(&mut *self.source)
    }
}
