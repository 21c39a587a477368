//! What the fixed upstream answers, made once at the start as the bytes that go on the wire.
//!
//! All three APIs say the same: the same text in as many pieces, the same token counts. So a translated answer can be held
//! against the one that the upstream itself gives in the caller's API.

use serde_json::{Value, json};

mod anthropic;
mod gemini;
mod openai;

/// Repeated to make an answer of about 1 KB, the size of a short paragraph with its envelope.
const SENTENCE: &str = "The retry budget ran out while the second region was still draining its queues. ";
const SENTENCES: usize = 8;
/// Tokens of every answer.
const INPUT_TOKENS: u64 = 210;
const OUTPUT_TOKENS: u64 = 140;

/// An upstream's answers to one kind of request.
#[derive(Debug)]
pub struct Script {
    /// Head and body of the plain answer.
    pub plain: Vec<u8>,
    /// Head of the streamed answer.
    pub stream_head: Vec<u8>,
    /// Content events, each one HTTP chunk; the first and the last bring along what the API says before and after.
    pub events: Vec<Vec<u8>>,
    /// The usage event of the API that sends one only where the request asked for it; empty for the others.
    pub usage: Vec<u8>,
    /// The end mark, where the API has one, and the end of the body, in one write, sent right behind the last event.
    pub end: Vec<u8>,
}

/// Text of the plain answer.
fn text() -> String {
    SENTENCE.repeat(SENTENCES).trim_end().to_owned()
}

/// Text of a content event; the last one of a stream has none.
fn piece(index: usize, of: usize) -> Option<String> {
    match index {
        _ if index + 1 == of => None,
        0 => Some("Hello".to_owned()),
        _ => Some(format!(" token{index}")),
    }
}

/// Head of a streamed answer, with the name the API gives to the header that has the request's id.
fn stream_head(id_header: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n\
         {id_header}: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes()
}

/// The list of models, for probes.
pub fn models() -> Vec<u8> {
    response(
        "x-request-id",
        &json!({
            "object": "list",
            "data": [{"id": openai::MODEL, "object": "model", "created": openai::CREATED, "owned_by": "bench"}],
        }),
    )
}

/// All spans were taken: an empty message.
pub fn taken() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n".to_vec()
}

/// A path the upstream has no answer for.
pub fn not_found() -> Vec<u8> {
    let body = json!({"error": {"message": "the bench's upstream has no such path", "type": "invalid_request_error"}});
    with_head("404 Not Found", "x-request-id", &body)
}

/// The two facts of a request that change the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `"stream": true`
    pub stream: bool,
    /// `"stream_options": {"include_usage": true}`
    pub usage: bool,
}

impl Wanted {
    /// A stream, asked for otherwise than in the body.
    pub const STREAM: Self = Self {
        stream: true,
        usage: false,
    };

    /// Looks for the two in a request body. A search, not a parse: the upstream shares its core with the load and must
    /// stay cheap, and the bench's own bodies have neither name anywhere else.
    pub fn of(body: &[u8]) -> Self {
        Self {
            stream: has_true(body, b"\"stream\""),
            usage: has_true(body, b"\"include_usage\""),
        }
    }
}

fn has_true(body: &[u8], key: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(body, key) else {
        return false;
    };
    let rest = body.get(at + key.len()..).unwrap_or_default().trim_ascii_start();
    rest.strip_prefix(b":")
        .is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
}

/// One server-sent event as one HTTP chunk.
fn event(data: &str) -> Vec<u8> {
    http_chunk(&format!("data: {data}\n\n"))
}

fn http_chunk(content: &str) -> Vec<u8> {
    format!("{:x}\r\n{content}\r\n", content.len()).into_bytes()
}

fn response(id_header: &str, body: &Value) -> Vec<u8> {
    with_head("200 OK", id_header, body)
}

fn with_head(status: &str, id_header: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{id_header}: req_bench\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Decoder;
    use crate::events::EventCounter;
    use crate::head;

    fn content(wire: &[u8]) -> Vec<u8> {
        let head = head::response(wire).unwrap().unwrap();
        let mut content = Vec::new();
        let mut decoder = Decoder::new(head.framing);
        let taken = decoder
            .feed(&wire[head.bytes..], &mut |bytes| content.extend_from_slice(bytes))
            .unwrap();
        assert!(decoder.is_done());
        assert_eq!(head.bytes + taken, wire.len());
        content
    }

    fn all() -> [Script; 3] {
        [Script::openai, Script::anthropic, Script::gemini].map(|script| script(64))
    }

    /// The data of a whole stream's events, end mark included.
    fn stream(script: &Script) -> Vec<String> {
        let events = script.events.concat();
        let wire = [&script.stream_head, &events, &script.usage, &script.end].map(Vec::as_slice);
        let text = String::from_utf8(content(&wire.concat())).unwrap();
        let mut counter = EventCounter::default();
        counter.feed(text.as_bytes());
        let data: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(counter.count(), data.len() as u64);
        data.into_iter().map(str::to_owned).collect()
    }

    /// All numbers and texts in an answer.
    fn leaves(value: &Value) -> Vec<String> {
        match value {
            Value::Array(items) => items.iter().flat_map(leaves).collect(),
            Value::Object(fields) => fields.values().flat_map(leaves).collect(),
            Value::String(text) => vec![text.clone()],
            other => vec![other.to_string()],
        }
    }

    #[test]
    fn every_plain_answer_is_about_a_kilobyte_and_has_the_same_text_and_tokens() {
        for script in all() {
            let body: Value = serde_json::from_slice(&content(&script.plain)).unwrap();
            let said = leaves(&body);
            for wanted in [text(), INPUT_TOKENS.to_string(), OUTPUT_TOKENS.to_string()] {
                assert!(said.contains(&wanted), "{wanted} in {body}");
            }
            let bytes = script.plain.len();
            assert!((900..1500).contains(&bytes), "{bytes} bytes");
        }
    }

    #[test]
    fn every_stream_has_the_same_text_in_as_many_writes() {
        let expected: String = (0..64).filter_map(|index| piece(index, 64)).collect();
        for script in all() {
            assert_eq!(script.events.len(), 64);
            let texts = stream(&script)
                .into_iter()
                .filter_map(|data| serde_json::from_str::<Value>(&data).ok())
                .map(|event| {
                    let places = [
                        "/choices/0/delta/content",
                        "/delta/text",
                        "/candidates/0/content/parts/0/text",
                    ];
                    let text = places.iter().find_map(|place| event.pointer(place)?.as_str());
                    text.unwrap_or_default().to_owned()
                });
            assert_eq!(texts.collect::<String>(), expected);
        }
    }

    #[test]
    fn each_api_ends_its_stream_in_its_own_way() {
        let [openai, anthropic, gemini] = all().map(|script| stream(&script));
        // 64 content events, usage, [DONE]
        assert_eq!((openai.len(), openai.last().unwrap().as_str()), (66, "[DONE]"));
        assert_eq!(anthropic.last().unwrap(), r#"{"type":"message_stop"}"#);
        assert_eq!(gemini.len(), 64);
        assert!(gemini[63].contains("\"finishReason\":\"STOP\"") && !gemini[62].contains("finishReason"));
    }

    #[test]
    fn what_a_request_wants_is_found_with_and_without_blanks() {
        let both = br#"{"model":"m","stream": true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(
            Wanted::of(both),
            Wanted {
                stream: true,
                usage: true
            }
        );
        assert_eq!(
            Wanted::of(br#"{"stream":false}"#),
            Wanted {
                stream: false,
                usage: false
            }
        );
        assert_eq!(
            Wanted::of(br#"{"model":"m"}"#),
            Wanted {
                stream: false,
                usage: false
            }
        );
    }
}
