//! The model that a provider says has answered: not always the one that was asked for, and what it bills by.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Bytes from an answer's begin in which its model is looked for: before it stand an id, times and settings.
const HEAD: usize = 4 << 10;
/// Bytes of its end that are looked through after that: embeddings say it behind their vectors.
const TAIL: usize = 1 << 10;
/// The longest name that is taken for one, bytes.
const LONGEST: usize = 256;

/// A field's name in its quotes, to search for.
pub(super) type Field = LazyLock<Finder<'static>>;

/// As most say it.
pub(super) static MODEL: Field = LazyLock::new(|| Finder::new("\"model\""));
/// As `Gemini` says it.
pub(super) static MODEL_VERSION: Field = LazyLock::new(|| Finder::new("\"modelVersion\""));

/// Events of a stream in which its model is looked for: the first one says it, if any does.
const EVENTS: u8 = 4;

/// What a stream has said of its model.
#[derive(Debug, Default)]
pub(super) struct Reported {
    model: Option<Box<str>>,
    looked: u8,
}

impl Reported {
    /// Looks at its next event.
    pub(super) fn look(&mut self, field: &Field, event: &[u8]) {
        if self.looked < EVENTS && self.model.is_none() {
            self.looked += 1;
            self.model = model(field, event).map(Into::into);
        }
    }

    /// The model, if it has.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

/// The model that an answer, or an event of one, says in this field that it is of.
pub(super) fn model<'b>(field: &Field, body: &'b [u8]) -> Option<Cow<'b, str>> {
    let head = body.get(..HEAD.min(body.len())).unwrap_or_default();
    if let Some(found) = in_part(field, head) {
        return Some(found);
    }
    let rest = body.get(head.len()..).unwrap_or_default();
    in_part(field, rest.get(rest.len().saturating_sub(TAIL)..).unwrap_or_default())
}

/// The text that stands behind the field's name for the first time. A name in quotes is none of a text's own words: there its
/// quotes would be escaped.
fn in_part<'b>(field: &Finder<'_>, part: &'b [u8]) -> Option<Cow<'b, str>> {
    field.find_iter(part).find_map(|at| {
        let after = part.get(at + field.needle().len()..)?.trim_ascii_start();
        let text = after.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\\', text.get(..text.len().min(LONGEST + 1))?)?;
        let plain = text.get(..end).filter(|text| !text.is_empty())?;
        // What is escaped is no model's name.
        (text.get(end) == Some(&b'"')).then(|| String::from_utf8_lossy(plain))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, reported_model};
    use super::*;

    fn told(dialect: Dialect, body: &str) -> Option<String> {
        reported_model(dialect, body.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn each_api_says_it_in_its_own_place() {
        let filler = "0.1,".repeat(4_000);
        for (dialect, body) in [
            (
                Dialect::OpenAiChat,
                r#"{"id":"c","object":"chat.completion","model":"m-1","choices":[]}"#.to_owned(),
            ),
            (
                Dialect::AnthropicMessages,
                r#"{"type":"message_start","message":{"model": "m-1"}}"#.to_owned(),
            ),
            (
                Dialect::OpenAiResponses,
                r#"{"type":"response.created","response":{"instructions":null,"model":"m-1"}}"#.to_owned(),
            ),
            (
                Dialect::Gemini,
                r#"{"candidates":[{"model":"no"}],"modelVersion" : "m-1"}"#.to_owned(),
            ),
            (
                Dialect::OpenAiChat,
                format!(r#"{{"data":[{filler}0],"model":"m-1","usage":{{}}}}"#),
            ),
        ] {
            assert_eq!(told(dialect, &body).as_deref(), Some("m-1"), "{body:.80}");
        }
    }

    #[test]
    fn words_of_the_answer_are_no_model() {
        for body in [
            r#"{"choices":[{"message":{"content":"\"model\":\"x\""}}]}"#,
            r#"{"type":"model","x":1}"#,
            r#"{"model":null}"#,
            r#"{"model":""}"#,
            r#"{"model":"half"#,
            r#"{"model":"a\"b"}"#,
        ] {
            assert_eq!(told(Dialect::OpenAiChat, body), None, "{body}");
        }
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(LONGEST + 1));
        assert_eq!(told(Dialect::OpenAiChat, &long), None);
    }
}
