//! Reading a request field by field, with the path of each at hand for the error that names it.

use crate::json::{self, Map, Number, Value};

use bowsprit_crds::model_route::OnUnsupported;

use super::RequestError;
use crate::fault::Code;

/// The paths of what was approximated or left out, each once, bounded so that a hostile request cannot grow the
/// warning header.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    paths: Vec<String>,
    /// Of which so many are tools that the chosen provider cannot run.
    tools: u32,
    /// [`super::Target::on_unsupported`].
    rule: Option<OnUnsupported>,
}

impl Dropped {
    /// More than any honest request drops; what comes beyond is summed up as "…".
    const MAX: usize = 32;

    pub(super) fn new(rule: Option<OnUnsupported>) -> Self {
        Self {
            paths: Vec::new(),
            tools: 0,
            rule,
        }
    }

    /// What would be refused as unsupported and makes sense without: left out and listed, where the route says so.
    pub(super) fn leave_out(&mut self, refusal: RequestError) -> Result<(), RequestError> {
        if self.rule == Some(OnUnsupported::Drop) && refusal.code == Code::ValUnsupported {
            self.note(refusal.path);
            Ok(())
        } else {
            Err(refusal)
        }
    }

    /// As [`Self::leave_out`], of a tool.
    pub(super) fn leave_out_tool(&mut self, refusal: RequestError) -> Result<(), RequestError> {
        self.leave_out(refusal)?;
        self.tools += 1;
        Ok(())
    }

    /// A tool that the chosen provider cannot run, and that the model was free not to use.
    pub(super) fn note_tool(&mut self, path: &str) {
        self.tools += 1;
        self.note(path);
    }

    /// What only informs the provider that made it: left out and listed, unless the route refuses all that is left out.
    pub(super) fn leave_out_hint(&mut self, refusal: RequestError) -> Result<(), RequestError> {
        if self.rule == Some(OnUnsupported::Refuse) {
            return Err(refusal);
        }
        self.note(refusal.path);
        Ok(())
    }

    pub(super) fn note(&mut self, path: impl Into<String>) {
        let path = path.into();
        if self.paths.len() < Self::MAX && !self.paths.contains(&path) {
            self.paths.push(path);
            if self.paths.len() == Self::MAX {
                self.paths.push("...".to_owned());
            }
        }
    }

    pub(super) fn note_if(&mut self, present: bool, path: &str) {
        if present {
            self.note(path);
        }
    }

    /// Tools that were left out so far.
    pub(super) fn tools(&self) -> u32 {
        self.tools
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.paths
    }
}

/// The parts of a message, without those that cannot be carried where the route says to leave them out. Never without
/// all of them: an emptied message says something else.
pub(super) struct Kept<T> {
    items: Vec<T>,
    first_refusal: Option<RequestError>,
}

impl<T> Kept<T> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            first_refusal: None,
        }
    }

    pub(super) fn take(&mut self, item: Result<T, RequestError>, dropped: &mut Dropped) -> Result<(), RequestError> {
        match item {
            Ok(item) => self.items.push(item),
            Err(refusal) => {
                dropped.leave_out(refusal.clone())?;
                self.first_refusal.get_or_insert(refusal);
            }
        }
        Ok(())
    }

    /// As [`Self::take`], of what may turn out to be nothing to carry.
    pub(super) fn take_some(
        &mut self,
        item: Result<Option<T>, RequestError>,
        dropped: &mut Dropped,
    ) -> Result<(), RequestError> {
        match item.transpose() {
            Some(item) => self.take(item, dropped),
            None => Ok(()),
        }
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.items.last()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.items.last_mut()
    }

    pub(super) fn pop(&mut self) {
        self.items.pop();
    }

    pub(super) fn finish(self) -> Result<Vec<T>, RequestError> {
        match self.first_refusal {
            Some(refusal) if self.items.is_empty() => Err(refusal),
            _ => Ok(self.items),
        }
    }
}

/// A place in the request: the value and how to name it. The path is only spelled out when it is needed.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    pub value: &'p Value,
    up: Option<&'p At<'p>>,
    key: Key<'p>,
}

#[derive(Clone, Copy)]
enum Key<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p> At<'p> {
    pub(super) fn root(value: &'p Value) -> Self {
        Self {
            value,
            up: None,
            key: Key::Name(""),
        }
    }

    pub(super) fn path(&self) -> String {
        let mut path = self.up.map(At::path).unwrap_or_default();
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
    pub(super) fn get<'s>(&'s self, name: &'s str) -> Option<At<'s>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(At {
            value,
            up: Some(self),
            key: Key::Name(name),
        })
    }

    pub(super) fn need<'s>(&'s self, name: &'s str) -> Result<At<'s>, RequestError> {
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

    pub(super) fn items(&self) -> Result<impl Iterator<Item = At<'_>>, RequestError> {
        let array = self.value.as_array().ok_or_else(|| self.wrong("must be an array"))?;
        Ok(array.iter().enumerate().map(move |(index, value)| At {
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
