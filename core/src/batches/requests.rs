//! What a batch asks for: its requests, read one by one while the body that brings them passes, for the rules about requests.
//!
//! Anthropic's and Gemini's are inlined in the document that makes the batch ([`super::elements`]). `OpenAI`'s are lines of a file, which
//! is uploaded in a form ([`super::form`]) whose one `purpose` says so, before the file or behind it. Nothing is held but the request
//! that is being read, up to [`REQUEST`] bytes. What makes a batch of a file that was read nowhere is told as unread.

use std::borrow::Cow;

use super::elements::{Elements, Name, Part as Element};
use super::form::{self, Form, Part as Field};
use crate::call::Operation;
use crate::dialect::{Dialect, Features};
use one::Of;

mod one;
mod paths;
#[cfg(test)]
mod tests;

pub use one::{REQUEST, Request, Unread, Why};
pub use paths::{Sent, sent};

/// The longest `purpose`, bytes.
const PURPOSE: usize = 64;

/// Whether a body can be no form, by its `content-type`: whoever uploads sends one.
fn is_json(content_type: &str) -> bool {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let is_charset = |it: &str| it.trim().to_ascii_lowercase().starts_with("charset=");
    kind.trim().eq_ignore_ascii_case("application/json")
        && (parameters.trim().is_empty() || parameters.split(';').all(is_charset))
}

/// What is made of each request.
pub type Each<'e> = &'e mut dyn FnMut(Result<Request<'_>, Unread>);

/// Reads the requests of a batch as they come.
#[derive(Debug)]
pub struct Requests {
    of: Of,
    form: Box<Body>,
    text: Vec<u8>,
    is_too_long: bool,
    number: u64,
    is_batch: Option<bool>,
    is_unclear: bool,
}

#[derive(Debug)]
enum Body {
    Document { elements: Elements, is_elsewhere: bool },
    Form { form: Form, part: Part, purpose: Vec<u8> },
    Elsewhere,
}

/// Which part of a form is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Purpose,
    File,
    Other,
}

const INLINED: [Name; 1] = [&["requests"]];
const GEMINI: [Name; 4] = [
    &["batch"],
    &["inputConfig", "input_config"],
    &["requests"],
    &["requests"],
];

impl Requests {
    /// Those that a body brings; `None`: it can bring none. `content_type`: of a form the boundary is told there. `reads_features`: what
    /// [`crate::dialect::features`] reads is wanted.
    ///
    /// # Errors
    /// The body of a file is no form whose parts can be told apart, or a document is in another charset.
    pub fn new(dialect: Dialect, sent: Sent, content_type: &str, reads_features: bool) -> Result<Option<Self>, Why> {
        let (form, is_batch) = match &sent {
            Sent::File if is_json(content_type) => return Ok(None),
            Sent::File => {
                let boundary = form::boundary(content_type);
                let boundary = boundary.ok_or(Why::Unclear("is no multipart/form-data with one plain boundary"))?;
                let form = Form::new(boundary);
                let (part, purpose) = (Part::Other, Vec::new());
                (Body::Form { form, part, purpose }, None)
            }
            Sent::Elsewhere => (Body::Elsewhere, Some(true)),
            Sent::Inlined | Sent::ForModel { .. } if !form::is_in_utf8(content_type) => {
                return Err(Why::Unclear("is in another charset than UTF-8"));
            }
            Sent::Inlined => (document(&INLINED, &[]), Some(true)),
            Sent::ForModel { .. } => (document(&GEMINI, &["fileName", "file_name"]), Some(true)),
        };
        let is_elsewhere = sent == Sent::Elsewhere;
        let model = match sent {
            Sent::ForModel { model, operation } => Some((model, operation)),
            Sent::Inlined | Sent::File | Sent::Elsewhere => None,
        };
        Ok(Some(Self {
            of: Of {
                dialect,
                model,
                is_elsewhere,
                reads_features,
            },
            form: Box::new(form),
            text: Vec::new(),
            is_too_long: false,
            number: 0,
            is_batch,
            is_unclear: false,
        }))
    }

    /// Whether these are requests of a batch; `None`: that has not been said yet.
    pub fn is_batch(&self) -> Option<bool> {
        self.is_batch
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.text.capacity()
    }

    /// The next piece. Each request that ends in it is made something of, those of a file whose purpose is not told yet too.
    /// `is_last`: a body that has not ended as it must then may be read otherwise elsewhere.
    pub fn push(&mut self, piece: &[u8], is_last: bool, each: Each<'_>) {
        if self.is_unclear {
            return;
        }
        let mut body = std::mem::replace(&mut *self.form, Body::Elsewhere);
        let is_whole = match &mut body {
            Body::Document { elements, is_elsewhere } => {
                elements.push(piece, &mut |part| match part {
                    _ if self.is_unclear => {}
                    Element::Of(bytes) => self.take(bytes),
                    Element::End => self.end(&mut *each),
                    Element::Elsewhere => *is_elsewhere = true,
                    Element::Unclear(why) => self.unclear(why, &mut *each),
                    Element::Whole if *is_elsewhere || self.number == 0 => self.elsewhere(&mut *each),
                    Element::Whole => {}
                });
                elements.is_closed()
            }
            Body::Form { form, part, purpose } => {
                let read = form.push(piece, &mut |field| {
                    self.field(field, (&mut *part, &mut *purpose), &mut *each);
                });
                if let Err(unclear) = read {
                    self.unclear(unclear.0, &mut *each);
                }
                form.is_closed()
            }
            Body::Elsewhere => {
                if std::mem::replace(&mut self.number, 1) == 0 {
                    self.elsewhere(&mut *each);
                }
                true
            }
        };
        *self.form = body;
        if is_last && !is_whole && !self.is_unclear {
            self.unclear("does not end as it must", each);
        }
    }

    /// Part of a form.
    fn field(&mut self, field: Field<'_>, (part, purpose): (&mut Part, &mut Vec<u8>), each: Each<'_>) {
        if self.is_unclear {
            return;
        }
        match (field, *part) {
            (Field::Begin(name), _) => {
                *part = match name {
                    form::PURPOSE => Part::Purpose,
                    form::FILE => Part::File,
                    _ => Part::Other,
                };
                // Some servers take the first, others the last.
                purpose.clear();
                if *part == Part::Purpose && self.is_batch.is_some() {
                    self.unclear("gives its purpose twice", each);
                }
            }
            (Field::Of(bytes), Part::Purpose) => {
                let room = (PURPOSE + 1).saturating_sub(purpose.len());
                purpose.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            (Field::End, Part::Purpose) => {
                let plain = purpose.trim_ascii().to_ascii_lowercase();
                let is_in = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                if purpose.len() > PURPOSE || plain.is_empty() || !plain.iter().all(is_in) {
                    return self.unclear("writes its purpose in no plain way", each);
                }
                // Whatever some servers call it beside `batch`; what they give out is called `batch_output`.
                self.is_batch = Some(plain.starts_with(b"batch"));
            }
            // Of a file for another purpose nothing is read but where it ends.
            (_, Part::File) if self.is_batch == Some(false) => self.text = Vec::new(),
            (Field::Of(bytes), Part::File) => self.lines(bytes, each),
            (Field::End, Part::File) => self.end(each),
            (_, Part::Other) => {}
        }
    }

    fn lines(&mut self, bytes: &[u8], each: Each<'_>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.take(line);
            self.end(&mut *each);
            rest = after.get(1..).unwrap_or_default();
        }
        self.take(rest);
    }

    fn take(&mut self, part: &[u8]) {
        if self.text.len() + part.len() > REQUEST {
            self.is_too_long = true;
            self.text = Vec::new();
        }
        if !self.is_too_long {
            self.text.extend_from_slice(part);
        }
    }

    /// A line, or an element, is whole.
    fn end(&mut self, each: Each<'_>) {
        self.number += 1;
        let number = self.number;
        if std::mem::take(&mut self.is_too_long) {
            let why = Why::TooLong;
            return each(Err(Unread { number, why }));
        }
        let text = std::mem::take(&mut self.text);
        if !text.trim_ascii().is_empty() {
            each(self.of.read(&text, number).map_err(|why| Unread { number, why }));
        }
        // The next goes where this one was.
        self.text = text;
        self.text.clear();
    }

    fn unclear(&mut self, why: &'static str, each: Each<'_>) {
        if self.is_unclear {
            return;
        }
        // Of a file this may be about its purpose.
        (self.is_unclear, self.is_batch) = (true, Some(true));
        let (number, why) = (0, Why::Unclear(why));
        each(Err(Unread { number, why }));
    }

    /// The requests are in a file that nobody sees here, or there are none.
    fn elsewhere(&mut self, each: Each<'_>) {
        let (model, operation) = match &self.of.model {
            Some((model, operation)) => (model.as_str(), *operation),
            None if self.of.is_elsewhere => ("", Operation::Generate),
            None => return self.unclear("holds no requests", each),
        };
        each(Ok(Request {
            number: 0,
            id: None,
            dialect: self.of.dialect,
            operation,
            model: Cow::Borrowed(model),
            stream: false,
            max_tokens: None,
            input_tokens: 0,
            features: Features::default(),
            is_unread: true,
        }));
    }
}

fn document(way: &'static [Name], elsewhere: Name) -> Body {
    Body::Document {
        elements: Elements::new(way, elsewhere),
        is_elsewhere: false,
    }
}
