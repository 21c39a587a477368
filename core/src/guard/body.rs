//! The texts of a body: where they are, and the body with some of them changed.
//!
//! One table is for all four dialects, as no name means one thing in one and another in the next. Looked at is what people and
//! models say ([`SAID`]), whatever is in it, but for members that no text is in ([`OPAQUE`]). Below a call's arguments and a
//! function's result ([`FREE`]) everything is looked at, numbers too, whatever its name.

use std::borrow::Cow;

use bowsprit_crds::guards::Side;
use bytes::Bytes;

use super::{Decided, Guard};
use crate::dialect::RequestError;
use crate::json::{Error, Pull};

/// Members of a request that hold what is said. Of the rest (the model, tools, schemas, metadata) the caller is the author.
#[rustfmt::skip]
const SAID: &[&str] = &[
    // Chat completions, Messages.
    "messages", "system", "prediction",
    // Responses, and embeddings of OpenAI's.
    "input", "instructions", "prompt",
    // Gemini; its counts and batches hold requests.
    "contents", "systemInstruction", "system_instruction", "content", "requests", "generateContentRequest", "generate_content_request", "title",
    "instances",
];

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
}

fn looked(guards: &[&Guard], side: Side, body: &[u8]) -> Result<Looked, Error> {
    let mut looker = Looker {
        guards,
        side,
        body,
        found: vec![0; guards.len()],
        edits: Vec::new(),
    };
    let mut pull = Pull::new(body)?;
    pull.members(&mut |name, at| match name {
        _ if SAID.contains(&name) => looker.said(at),
        _ => Ok(()),
    })?;
    pull.end()?;
    Ok(Looked {
        body: spliced(body, &looker.edits),
        found: looker.found,
    })
}

/// A place in a body, and the JSON text that shall stand there.
type Edit = (usize, usize, String);

struct Looker<'a> {
    guards: &'a [&'a Guard],
    side: Side,
    body: &'a [u8],
    found: Vec<u32>,
    edits: Vec<Edit>,
}

impl<'a> Looker<'a> {
    /// What is said, and all that is in it.
    fn said(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        if at.is_array() {
            return at.items(&mut |at| self.said(at));
        }
        if at.is_text() {
            return self.text(at, false);
        }
        if !at.is_object() {
            return Ok(());
        }
        self.object(at, false)
    }

    /// What describes a document: Anthropic has the text of one where others have data.
    fn source(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        let mut is_text = false;
        at.ahead().members(&mut |name, at| {
            is_text |= name == "type" && at.text()?.as_deref() == Some("text");
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
            "source" => self.source(at),
            _ if OPAQUE.contains(&name) => Ok(()),
            _ if FREE.contains(&name) => self.free(at, name == "arguments"),
            _ => self.said(at),
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
        let mut within = Looker {
            guards: self.guards,
            side: self.side,
            body: text.as_bytes(),
            found: vec![0; self.guards.len()],
            edits: Vec::new(),
        };
        let read = Pull::new(text.as_bytes()).and_then(|mut pull| {
            within.free(&mut pull, false)?;
            pull.end()
        });
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
        let at = (raw.as_ptr() as usize).saturating_sub(self.body.as_ptr() as usize);
        self.edits.push((at, raw.len(), with));
    }
}

fn quoted(text: &str) -> String {
    // Writing a text to memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// The body with its edits, which are in order; none: there are none.
fn spliced(body: &[u8], edits: &[Edit]) -> Option<Bytes> {
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
