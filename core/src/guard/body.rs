//! The texts of a body: where they are, and the body with some of them changed.
//!
//! One table is for all four dialects, as no name means one thing in one and another in the next. Looked at is what people and
//! models say ([`SAID`]), whatever is in it, but for members that no text is in ([`OPAQUE`]). Below a call's arguments and a
//! function's result ([`FREE`]) everything is looked at, numbers too, whatever its name. Answers have a table of their own roots
//! ([`ANSWERED`]); a part of a streamed one is looked into by the same rules (`events`).

use std::borrow::Cow;

use bowsprit_crds::guards::Side;
use bytes::Bytes;

use super::take::Take;
use super::{Decided, Guard};
use crate::dialect::{RequestError, is_like};
use crate::json::{Error, Pull};

/// Members of a request that hold what is said. Of the rest (the model, tools, schemas, metadata) the caller is the author.
#[rustfmt::skip]
pub(crate) const SAID: &[&str] = &[
    // Chat completions, Messages.
    "messages", "system", "prediction",
    // Responses, and embeddings of OpenAI's.
    "input", "instructions", "prompt",
    // Gemini; its counts and batches hold requests.
    "contents", "systemInstruction", "system_instruction", "content", "requests", "generateContentRequest", "generate_content_request", "title",
    "instances",
];

/// Members of an answer that hold what is said: of chat completions, Messages, Gemini and Responses.
const ANSWERED: &[&str] = &["choices", "content", "candidates", "output", "output_text"];

/// Members that no text is in: names and ids by which parts of a conversation know each other, data that is no text, addresses,
/// and what is signed, which its provider would no longer take.
#[rustfmt::skip]
const OPAQUE: &[&str] = &[
    "type", "role", "id", "call_id", "tool_call_id", "tool_use_id", "item_id", "response_id", "previous_response_id", "container_id", "name", "status",
    "model", "object", "phase", "detail", "format", "cache_control", "citations_config",
    "data", "b64_json", "partial_image_b64", "url", "image_url", "file_id", "file_url", "file_data", "fileUri", "file_uri", "uri",
    "mime_type", "mimeType", "media_type",
    "signature", "thoughtSignature", "thought_signature", "encrypted_content", "encrypted_index", "thinking",
    "finish_reason", "finishReason", "stop_reason", "native_finish_reason", "category", "probability", "severity", "blockReason",
    "tools", "tool_choice", "taskType", "task_type",
];

/// Members of answers that are left alone too: thoughts of which parts are signed.
const OPAQUE_IN_ANSWERS: &[&str] = &["reasoning_details", "index"];

/// Members that spell a text once more, token by token: where something was masked they go.
const SPELLED: &[&str] = &["logprobs", "logprobsResult"];

/// Members below which names mean nothing to an API.
const FREE: &[&str] = &["input", "arguments", "args", "response"];

/// What looking into a body came to.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The body with its masks; none: it stays as it came.
    pub body: Option<Bytes>,
    /// How much each guard found, in their order.
    pub found: Vec<u32>,
}

impl Guard {
    /// Looks into a body with these guards, one after the other. What does not look at this side finds nothing.
    ///
    /// # Errors
    /// The body is no JSON, or nested too deeply.
    pub fn look(guards: &[&Self], side: Side, body: &[u8]) -> Result<Looked, RequestError> {
        looked(guards, side, body).map_err(|error| RequestError::not_json(format!("is not JSON: {error}")))
    }

    /// Whether an input of embeddings is a list of tokens: a text that nobody here can read.
    pub fn has_tokens(body: &[u8]) -> bool {
        let mut has = false;
        let mut look = |name: &str, at: &mut Pull<'_>| if name == "input" { tokens(at, &mut has) } else { Ok(()) };
        // What is no JSON is refused by who reads it.
        let _ = Pull::new(body).and_then(|mut pull| pull.members(&mut look));
        has
    }

    /// Looks into a whole answer. What does not read as JSON is gone over as it stands, and what is no text holds none.
    pub fn look_into_answer(guards: &[&Self], body: &[u8]) -> Looked {
        looked(guards, Side::Answer, body).unwrap_or_else(|_| as_it_stands(guards, body))
    }
}

fn tokens(at: &mut Pull<'_>, has: &mut bool) -> Result<(), Error> {
    if at.is_array() {
        return at.items(&mut |at| tokens(at, has));
    }
    if at.is_text() || at.is_object() {
        return Ok(());
    }
    *has |= at.skip()?.starts_with(|first: char| first.is_ascii_digit());
    Ok(())
}

/// A text that should have been a JSON document and is none, or half of one.
pub(super) fn as_it_stands(guards: &[&Guard], body: &[u8]) -> Looked {
    let mut looker = Looker::new(guards, Side::Answer, body);
    let masked = std::str::from_utf8(body)
        .ok()
        .and_then(|text| looker.masked(text, true));
    Looked {
        body: masked.map(Bytes::from),
        found: looker.found,
    }
}

fn looked(guards: &[&Guard], side: Side, body: &[u8]) -> Result<Looked, Error> {
    let mut looker = Looker::new(guards, side, body);
    looker.all()?;
    let (edits, found) = looker.end();
    Ok(Looked {
        body: spliced(body, &edits),
        found,
    })
}

/// A place in a body, and the JSON text that shall stand there.
pub(super) type Edit = (usize, usize, String);

pub(super) struct Looker<'a> {
    guards: &'a [&'a Guard],
    side: Side,
    body: &'a [u8],
    found: Vec<u32>,
    edits: Vec<Edit>,
    /// What is to stand in place of that which spells a text once more, if anything is masked.
    spelled: Vec<Edit>,
    /// What is done with texts in place of looking into them.
    pub(super) take: Option<Take>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(guards: &'a [&'a Guard], side: Side, body: &'a [u8]) -> Self {
        Self {
            guards,
            side,
            body,
            found: vec![0; guards.len()],
            edits: Vec::new(),
            spelled: Vec::new(),
            take: None,
        }
    }

    /// Goes through the whole body.
    pub(super) fn all(&mut self) -> Result<(), Error> {
        let mut pull = Pull::new(self.body)?;
        let roots = match self.side {
            Side::Request => SAID,
            Side::Answer => ANSWERED,
        };
        pull.members(&mut |name, at| {
            if !roots.contains(&name) {
                return Ok(());
            }
            if let Some(take) = &mut self.take {
                take.below(name, self.side);
            }
            self.said(at)
        })?;
        pull.end()
    }

    /// The edits, in order, and how much each guard found.
    pub(super) fn end(mut self) -> (Vec<Edit>, Vec<u32>) {
        if !self.edits.is_empty() && !self.spelled.is_empty() {
            self.edits.append(&mut self.spelled);
            self.edits.sort_unstable_by_key(|(at, ..)| *at);
        }
        (self.edits, self.found)
    }

    /// The edits of what is looked into in a part of an answer, which are applied with others; beside them those of what spells
    /// it once more.
    pub(super) fn parts(self) -> (Vec<Edit>, Vec<Edit>, Vec<u32>) {
        (self.edits, self.spelled, self.found)
    }

    /// Where a text stands in the body, and how long it is there.
    pub(super) fn place(&self, raw: &str) -> (usize, usize) {
        let at = (raw.as_ptr() as usize).saturating_sub(self.body.as_ptr() as usize);
        (at, raw.len())
    }

    /// What spells a text once more.
    pub(super) fn spelled(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        let nothing = if at.is_array() { "[]" } else { "null" };
        let (at, length) = self.place(at.skip()?);
        self.spelled.push((at, length, nothing.to_owned()));
        Ok(())
    }

    /// Whether a member of what is said is left alone.
    fn is_opaque(&self, name: &str) -> bool {
        OPAQUE.contains(&name) || (self.side == Side::Answer && OPAQUE_IN_ANSWERS.contains(&name))
    }

    /// A member of what is said.
    pub(super) fn member(&mut self, name: &str, at: &mut Pull<'a>) -> Result<(), Error> {
        match name {
            "source" => self.source(at),
            _ if self.side == Side::Answer && SPELLED.contains(&name) => self.spelled(at),
            _ if self.is_opaque(name) => Ok(()),
            _ if FREE.contains(&name) => self.free(at, name == "arguments"),
            // Who takes these for the others finds more in them than what is said.
            _ if is_like("source", name) || FREE.iter().any(|free| is_like(free, name)) => {
                self.free(at, is_like("arguments", name))
            }
            _ => self.said(at),
        }
    }

    /// What is said, and all that is in it.
    pub(super) fn said(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        if at.is_array() {
            return at.items(&mut |at| self.said(at));
        }
        if at.is_text() {
            return self.text(at, false);
        }
        if !at.is_object() {
            return Ok(());
        }
        match &mut self.take {
            None => self.object(at, false),
            Some(take) => {
                let around = take.said_by(at)?;
                self.object(at, false)?;
                if let (Some(around), Some(take)) = (around, &mut self.take) {
                    take.role = around;
                }
                Ok(())
            }
        }
    }

    /// What describes a document: Anthropic has the text of one where others have data.
    fn source(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        let mut is_text = false;
        at.ahead().members(&mut |name, at| {
            is_text |= is_like("type", name) && at.text()?.as_deref() == Some("text");
            Ok(())
        })?;
        if at.is_object() {
            self.object(at, is_text)
        } else {
            self.said(at)
        }
    }

    fn object(&mut self, at: &mut Pull<'a>, has_text: bool) -> Result<(), Error> {
        at.members(&mut |name, at| match name {
            "data" if has_text => self.said(at),
            _ => self.member(name, at),
        })
    }

    /// Values of whatever names. `is_json`: a text is the text of a JSON document.
    fn free(&mut self, at: &mut Pull<'a>, is_json: bool) -> Result<(), Error> {
        if at.is_array() {
            return at.items(&mut |at| self.free(at, false));
        }
        if at.is_object() {
            return at.members(&mut |_, at| self.free(at, false));
        }
        if at.is_text() {
            return self.text(at, is_json);
        }
        let raw = at.skip()?;
        // A number becomes a text.
        if raw.starts_with(|char: char| char == '-' || char.is_ascii_digit())
            && let Some(masked) = self.masked(raw, false)
        {
            self.put(raw, quoted(&masked));
        }
        Ok(())
    }

    fn text(&mut self, at: &mut Pull<'a>, is_json: bool) -> Result<(), Error> {
        let text = at.ahead().text()?.unwrap_or_default();
        let raw = at.skip()?;
        if let Some(masked) = self.of_text(&text, is_json) {
            self.put(raw, quoted(&masked));
        }
        Ok(())
    }

    /// What becomes of a text; none: it stays.
    fn of_text(&mut self, text: &str, is_json: bool) -> Option<String> {
        if !is_json {
            return self.masked(text, false);
        }
        if self.take.is_some() && !is_document(text) {
            return self.masked(text, true);
        }
        let mut within = Looker::new(self.guards, self.side, text.as_bytes());
        within.take = self.take.take();
        let read = Pull::new(text.as_bytes()).and_then(|mut pull| {
            within.free(&mut pull, false)?;
            pull.end()
        });
        self.take = within.take.take();
        if read.is_err() {
            // Half a document, or none: it is gone over as it stands.
            return self.masked(text, true);
        }
        for (sum, found) in self.found.iter_mut().zip(&within.found) {
            *sum += found;
        }
        let whole = spliced(text.as_bytes(), &within.edits)?;
        String::from_utf8(whole.into()).ok()
    }

    /// A text as it is after all guards; none: as it was.
    fn masked(&mut self, text: &str, is_json: bool) -> Option<String> {
        if let Some(take) = &mut self.take {
            return take.one(text);
        }
        let mut now = Cow::Borrowed(text);
        for (guard, sum) in self.guards.iter().zip(&mut self.found) {
            if !guard.is_on(self.side) {
                continue;
            }
            if let Some((masked, found)) = guard.detectors.mask(&now, is_json) {
                *sum += found;
                if guard.decided == Decided::Masked {
                    now = Cow::Owned(masked);
                }
            }
        }
        match now {
            Cow::Owned(masked) => Some(masked),
            Cow::Borrowed(_) => None,
        }
    }

    fn put(&mut self, raw: &str, with: String) {
        let (at, length) = self.place(raw);
        self.edits.push((at, length, with));
    }
}

/// Whether a text is a JSON document: one that is half of one would be taken in parts, and then once more as a whole.
fn is_document(text: &str) -> bool {
    let read = Pull::new(text.as_bytes()).and_then(|mut pull| {
        pull.skip()?;
        pull.end()
    });
    read.is_ok()
}

pub(super) fn quoted(text: &str) -> String {
    // Writing a text to memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// The body with its edits, which are in order; none: there are none.
pub(super) fn spliced(body: &[u8], edits: &[Edit]) -> Option<Bytes> {
    if edits.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    let mut done = 0;
    for (at, length, with) in edits {
        out.extend_from_slice(body.get(done..*at).unwrap_or_default());
        out.extend_from_slice(with.as_bytes());
        done = at + length;
    }
    out.extend_from_slice(body.get(done..).unwrap_or_default());
    Some(out.into())
}
