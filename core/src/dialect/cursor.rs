//! Reading a request field by field, with the path of each at hand for the error that names it.

use crate::json::{self, Map, Number, Value};

use super::RequestError;
use super::dropped::Dropped;

/// A place in the request: the value and how to name it. The path is only spelled out when it is needed.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'p> {
    pub value: &'p Value,
    up: Option<&'p Cursor<'p>>,
    key: Key<'p>,
}

#[derive(Clone, Copy)]
enum Key<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p> Cursor<'p> {
    pub(super) fn root(value: &'p Value) -> Self {
        Self {
            value,
            up: None,
            key: Key::Name(""),
        }
    }

    pub(super) fn path(&self) -> String {
        let mut path = self.up.map(Cursor::path).unwrap_or_default();
        match self.key {
            Key::Name(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Key::Index(index) => {
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
            }
        }
        path
    }

    /// The field, unless it is absent or null.
    pub(super) fn get<'s>(&'s self, name: &'s str) -> Option<Cursor<'s>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Cursor {
            value,
            up: Some(self),
            key: Key::Name(name),
        })
    }

    pub(super) fn need<'s>(&'s self, name: &'s str) -> Result<Cursor<'s>, RequestError> {
        self.get(name)
            .ok_or_else(|| RequestError::field(self.child(name), "is required"))
    }

    pub(super) fn child(&self, name: &str) -> String {
        let path = self.path();
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    }

    pub(super) fn wrong(&self, problem: &str) -> RequestError {
        RequestError::field(self.path(), problem)
    }

    pub(super) fn unsupported(&self, problem: &str) -> RequestError {
        RequestError::unsupported(self.path(), problem)
    }

    pub(super) fn str(&self) -> Result<&'p str, RequestError> {
        self.value.as_str().ok_or_else(|| self.wrong("must be a string"))
    }

    pub(super) fn string(&self) -> Result<String, RequestError> {
        self.str().map(str::to_owned)
    }

    pub(super) fn bool(&self) -> Result<bool, RequestError> {
        self.value.as_bool().ok_or_else(|| self.wrong("must be true or false"))
    }

    pub(super) fn u64(&self) -> Result<u64, RequestError> {
        // JSON has one number type: 5.0 is an integer to every provider.
        let whole = || {
            self.value
                .as_f64()
                .filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked on the line above
        self.value
            .as_u64()
            .or_else(|| whole().map(|n| n as u64))
            .ok_or_else(|| self.wrong("must be a whole number, 0 or more"))
    }

    pub(super) fn number(&self) -> Result<Number, RequestError> {
        match self.value {
            Value::Number(number) => Ok(number.clone()),
            _ => Err(self.wrong("must be a number")),
        }
    }

    pub(super) fn object(&self) -> Result<&'p Map, RequestError> {
        self.value.as_object().ok_or_else(|| self.wrong("must be an object"))
    }

    pub(super) fn items(&self) -> Result<impl Iterator<Item = Cursor<'_>>, RequestError> {
        let array = self.value.as_array().ok_or_else(|| self.wrong("must be an array"))?;
        Ok(array.iter().enumerate().map(move |(index, value)| Cursor {
            value,
            up: Some(self),
            key: Key::Index(index),
        }))
    }

    /// Lists every field that is not among `known`: what is not understood is never lost silently.
    pub(super) fn note_unknown(&self, known: &[&str], dropped: &mut Dropped) {
        let Some(object) = self.value.as_object() else { return };
        for (name, value) in object {
            if !value.is_null() && !known.contains(&name.as_str()) {
                dropped.note(self.child(name));
            }
        }
    }

    pub(super) fn strings(&self) -> Result<Vec<String>, RequestError> {
        self.items()?.map(|item| item.string()).collect()
    }
}

/// The body as a JSON object.
pub(super) fn parse_body(body: &[u8]) -> Result<Value, RequestError> {
    let value: Value = json::parse(body).map_err(|error| RequestError::not_json(format!("is not JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(RequestError::not_json("must be a JSON object"))
    }
}
