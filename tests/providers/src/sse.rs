//! The frames of a streamed answer: what each is, so that a fault can be placed, and the bytes it is sent as.

use serde_json::Value;

/// What a frame is to the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Before any content: `message_start`, the role chunk.
    Start,
    /// A piece of content: text, thinking, a tool call or its arguments.
    Content,
    /// After the content: block ends, the finish reason, usage.
    Finish,
    /// The dialect's end marker.
    End,
}

/// One event of a streamed answer.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The `event:` line, where the dialect writes one.
    pub(crate) event: Option<&'static str>,
    /// The `data:` line.
    pub(crate) data: String,
}

impl Frame {
    pub(crate) fn data(kind: Kind, data: &Value) -> Self {
        Self {
            kind,
            event: None,
            data: data.to_string(),
        }
    }

    pub(crate) fn event(kind: Kind, event: &'static str, data: &Value) -> Self {
        Self {
            kind,
            event: Some(event),
            data: data.to_string(),
        }
    }

    /// The frame as an event-stream event with these line ends.
    pub(crate) fn to_sse(&self, line_end: &str, blank_line: bool) -> Vec<u8> {
        let mut out = String::with_capacity(self.data.len() + 48);
        if let Some(event) = self.event {
            out.push_str("event: ");
            out.push_str(event);
            out.push_str(line_end);
        }
        out.push_str("data: ");
        out.push_str(&self.data);
        out.push_str(line_end);
        if blank_line {
            out.push_str(line_end);
        }
        out.into_bytes()
    }
}

/// Cuts a text into pieces: one for each word, or exactly `chunks`. Too short a text is filled up with ` tok1 tok2 …`, so
/// that a script may ask for a thousand chunks without writing a thousand words.
pub(crate) fn pieces(text: &str, chunks: Option<u32>) -> Vec<String> {
    let Some(chunks) = chunks.filter(|chunks| *chunks > 0) else {
        return text.split_inclusive(' ').map(str::to_owned).collect();
    };
    let chunks = usize::try_from(chunks).unwrap_or(usize::MAX);
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    if words.len() <= chunks {
        let filler = (words.len()..chunks).map(|place| format!(" tok{place}"));
        return words.iter().map(|word| (*word).to_owned()).chain(filler).collect();
    }
    let whole = words.len() / chunks;
    let longer = words.len() % chunks;
    let mut words = words.into_iter();
    (0..chunks)
        .map(|place| words.by_ref().take(whole + usize::from(place < longer)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_the_text_and_count_as_asked() {
        assert_eq!(pieces("one two three", None), ["one ", "two ", "three"]);
        assert_eq!(pieces("one two three", Some(2)), ["one two ", "three"]);
        assert_eq!(pieces("one", Some(3)), ["one", " tok1", " tok2"]);
        assert_eq!(pieces("", Some(1)), [" tok0"]);
        assert!(pieces("", None).is_empty());
    }

    #[test]
    fn an_event_is_written_with_the_line_ends_asked_for() {
        let frame = Frame::event(Kind::End, "message_stop", &serde_json::json!({"type": "message_stop"}));
        let expected = "event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n";
        assert_eq!(frame.to_sse("\r\n", true), expected.as_bytes());
    }
}
