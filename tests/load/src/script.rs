//! What the fixed upstream answers, made once at the start as the bytes that go on the wire.

use std::time::Duration;

use serde_json::{Value, json};

/// Seconds since 1970 that every answer claims; fixed, so that answers can be compared.
const CREATED: u64 = 1_760_000_000;
const ID: &str = "chatcmpl-bench000000000000000000001";
const MODEL: &str = "gpt-4o-mini";
/// Repeated to make an answer of about 1 KB, the size of a short paragraph with its envelope.
const SENTENCE: &str = "The retry budget ran out while the second region was still draining its queues. ";
const SENTENCES: usize = 8;

/// An upstream's answers to one kind of request.
#[derive(Debug)]
pub struct Script {
    /// Head and body of the plain answer.
    pub plain: Vec<u8>,
    /// Head of the streamed answer.
    pub stream_head: Vec<u8>,
    /// Content events, each one HTTP chunk.
    pub events: Vec<Vec<u8>>,
    /// The usage event, sent where the request asked for it.
    pub usage: Vec<u8>,
    /// `[DONE]` and the end of the body, in one write, sent right behind the last event.
    pub end: Vec<u8>,
    /// Time between two content events.
    pub interval: Duration,
}

impl Script {
    /// `OpenAI` chat completions: about 1 KB with usage, or `events` content events `interval` apart and `[DONE]`.
    pub fn openai(events: usize, interval: Duration) -> Self {
        let completion = json!({
            "id": ID, "object": "chat.completion", "created": CREATED, "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": SENTENCE.repeat(SENTENCES).trim_end(), "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": usage(),
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        });
        Self {
            plain: response(&completion),
            stream_head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                cache-control: no-cache\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec(),
            events: (0..events)
                .map(|index| event(&chunk(&[choice(index, events)], &Value::Null).to_string()))
                .collect(),
            usage: event(&chunk(&[], &usage()).to_string()),
            end: [event("[DONE]"), b"0\r\n\r\n".to_vec()].concat(),
            interval,
        }
    }
}

/// The list of models, for probes.
pub fn models() -> Vec<u8> {
    response(&json!({
        "object": "list",
        "data": [{"id": MODEL, "object": "model", "created": CREATED, "owned_by": "bench"}],
    }))
}

/// A path the upstream has no answer for.
pub fn not_found() -> Vec<u8> {
    let body = json!({"error": {"message": "the bench's upstream has no such path", "type": "invalid_request_error"}});
    with_head("404 Not Found", &body)
}

/// The two facts of a request that change the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `"stream": true`
    pub stream: bool,
    /// `"stream_options": {"include_usage": true}`
    pub usage: bool,
}

impl Wanted {
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

fn usage() -> Value {
    json!({
        "prompt_tokens": 210, "completion_tokens": 140, "total_tokens": 350,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

fn choice(index: usize, of: usize) -> Value {
    let last = index + 1 == of;
    let delta = match index {
        0 => json!({"role": "assistant", "content": "Hello", "refusal": null}),
        _ if last => json!({}),
        _ => json!({"content": format!(" token{index}")}),
    };
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": if last { json!("stop") } else { Value::Null }})
}

fn chunk(choices: &[Value], usage: &Value) -> Value {
    let mut chunk = json!({
        "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": MODEL,
        "service_tier": "default", "system_fingerprint": "fp_bench", "choices": choices,
    });
    if let (Some(fields), false) = (chunk.as_object_mut(), usage.is_null()) {
        fields.insert("usage".to_owned(), usage.clone());
    }
    chunk
}

/// One server-sent event as one HTTP chunk.
fn event(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

fn response(body: &Value) -> Vec<u8> {
    with_head("200 OK", body)
}

fn with_head(status: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\nopenai-processing-ms: 1\r\n\
         content-length: {}\r\n\r\n{body}",
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

    #[test]
    fn the_plain_answer_is_about_a_kilobyte_of_valid_json_with_usage() {
        let script = Script::openai(64, Duration::ZERO);
        let body: Value = serde_json::from_slice(&content(&script.plain)).unwrap();
        assert_eq!(body["usage"]["total_tokens"], 350);
        assert!(
            (900..1400).contains(&script.plain.len()),
            "{} bytes",
            script.plain.len()
        );
    }

    #[test]
    fn the_stream_has_its_events_and_then_done() {
        let script = Script::openai(64, Duration::ZERO);
        let mut wire = script.stream_head.clone();
        script.events.iter().for_each(|event| wire.extend_from_slice(event));
        wire.extend_from_slice(&script.end);
        let content = content(&wire);
        let mut counter = EventCounter::default();
        counter.feed(&content);
        assert_eq!(counter.count(), 65);
        assert!(content.ends_with(b"data: [DONE]\n\n"));
        let data = String::from_utf8(content).unwrap();
        for line in data.lines().filter(|line| line.starts_with("data: {")) {
            let _: Value = serde_json::from_str(&line[6..]).unwrap();
        }
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
