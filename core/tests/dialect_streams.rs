//! Streams: every pair, every split, every way to end badly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{AnswerContext, Dialect, Echo, Pushed, Stream, StreamError, Terms, Usage};
use bowsprit_core::fault::ErrorKind;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

const OPENAI: &str = concat!(
    ": OPENROUTER PROCESSING\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Ahoy, \\\"usage\\\": {\\\"x\\\":1} \"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{2693}\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_a\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"city\\\":\"}}]},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_b\",\"type\":\"function\",\"function\":{\"name\":\"tide\",\"arguments\":\"{}\"}}]},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"Brest\\\"}\"}}]},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":9,\"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":16},\"completion_tokens_details\":{\"reasoning_tokens\":4}}}\n\n",
    "data: [DONE]\n\n",
);

const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":4,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":16,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"They want weather.\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"Ahoy\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_01\",\"name\":\"weather\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\": \\\"Br\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"est\\\"}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_02\",\"name\":\"tide\",\"input\":{}}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":9,\"output_tokens_details\":{\"thinking_tokens\":4}}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const GEMINI: &str = concat!(
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"They want weather.\",\"thought\": true}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 20,\"totalTokenCount\": 20},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"r1\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Ahoy\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 20,\"candidatesTokenCount\": 2,\"totalTokenCount\": 22},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"r1\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"functionCall\": {\"name\": \"weather\",\"args\": {\"city\": \"Brest\"}},\"thoughtSignature\": \"CsQB\"},{\"functionCall\": {\"name\": \"tide\",\"args\": {}}}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 20,\"candidatesTokenCount\": 5,\"thoughtsTokenCount\": 4,\"cachedContentTokenCount\": 16,\"totalTokenCount\": 29},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"r1\"}\r\n\r\n",
);

/// As `OpenAI` writes it, shortened where nothing is read: envelopes, and the whole items that the last event repeats.
const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"error\":null,\"output\":[],\"usage\":null}}\n\n",
    "event: response.in_progress\ndata: {\"type\":\"response.in_progress\",\"sequence_number\":1,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"error\":null,\"output\":[],\"usage\":null}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":2,\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"}}\n\n",
    "event: response.content_part.added\ndata: {\"type\":\"response.content_part.added\",\"sequence_number\":3,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"Ahoy, \\\"usage\\\": {\\\"x\\\":1} \",\"logprobs\":[],\"obfuscation\":\"x9\"}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":5,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"\u{2693}\",\"logprobs\":[]}\n\n",
    "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"sequence_number\":6,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"text\":\"Ahoy\",\"logprobs\":[]}\n\n",
    "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":7,\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"completed\",\"content\":[],\"role\":\"assistant\"}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":8,\"output_index\":1,\"item\":{\"id\":\"fc_1\",\"type\":\"function_call\",\"status\":\"in_progress\",\"arguments\":\"\",\"call_id\":\"call_a\",\"name\":\"weather\"}}\n\n",
    "event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"sequence_number\":9,\"item_id\":\"fc_1\",\"output_index\":1,\"delta\":\"{\\\"city\\\":\\\"Brest\\\"}\"}\n\n",
    "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":10,\"output_index\":1,\"item\":{\"id\":\"fc_1\",\"type\":\"function_call\",\"status\":\"completed\",\"arguments\":\"{\\\"city\\\":\\\"Brest\\\"}\",\"call_id\":\"call_a\",\"name\":\"weather\"}}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":11,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"error\":null,\"output\":[],\"usage\":{\"input_tokens\":20,\"input_tokens_details\":{\"cached_tokens\":16},\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":4},\"total_tokens\":29},\"metadata\":{}}}\n\n",
);

/// What each fixture says in tokens, normalised.
const USAGE: Usage = Usage {
    input: 20,
    output: 9,
    cached: 16,
    cache_write: 0,
    reasoning: 4,
    cache_write_hour: 0,
    searches: 0,
    terms: Terms::Standard,
};

fn sample(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => OPENAI,
        Dialect::AnthropicMessages => ANTHROPIC,
        Dialect::Gemini => GEMINI,
        Dialect::OpenAiResponses => RESPONSES,
    }
}

fn ctx() -> AnswerContext {
    AnswerContext {
        model: "asked-for".into(),
        id: "bow-0123456789abcdef".into(),
        created: 1_700_000_000,
        include_usage: true,
        show_thoughts: true,
        echo: Echo::of(
            Dialect::OpenAiResponses,
            br#"{"model":"asked-for","input":"Ahoy?","temperature":0.5}"#,
        ),
        ..AnswerContext::default()
    }
}

struct Ran {
    out: Vec<u8>,
    end: Result<(), StreamError>,
    started: bool,
    usage: Option<Usage>,
    chunks: u64,
    rewritten: usize,
}

fn run<'a>(from: Dialect, to: Dialect, hide: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Ran {
    let mut stream = Stream::new(from, to, ctx(), hide);
    let mut all = Vec::new();
    let mut rewritten = 0;
    let mut end = Ok(());
    for piece in pieces {
        let chunk = Bytes::copy_from_slice(piece);
        let mut out = BytesMut::new();
        match stream.push(&chunk, &mut out) {
            Ok(Pushed::Same) => {
                assert!(out.is_empty());
                all.extend_from_slice(&chunk);
            }
            Ok(Pushed::Rewritten) => {
                rewritten += 1;
                all.extend_from_slice(&out);
            }
            Err(error) => {
                all.extend_from_slice(&out);
                end = Err(error);
                break;
            }
        }
    }
    if end.is_ok() {
        let mut out = BytesMut::new();
        end = stream.finish(&mut out);
        all.extend_from_slice(&out);
    }
    Ran {
        out: all,
        end,
        started: stream.content_started(),
        usage: stream.usage(),
        chunks: stream.chunks(),
        rewritten,
    }
}

fn whole(from: Dialect, to: Dialect, text: &str) -> String {
    let ran = run(from, to, false, [text.as_bytes()]);
    assert_eq!(ran.end, Ok(()), "{from} -> {to}");
    String::from_utf8(ran.out).unwrap()
}

/// From every provider to every caller: Responses comes only from who is asked in it.
fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::ALL
        .into_iter()
        .flat_map(|from| Dialect::ALL.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| from == to || Dialect::PROVIDERS.contains(from))
}

const PAIRS: usize = 13;

#[test]
fn all_pairs_are_tried() {
    assert_eq!(pairs().count(), PAIRS);
}

#[test]
fn every_pair_streams_as_its_snapshot_says() {
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        insta::assert_snapshot!(format!("stream_{from}_to_{to}"), whole(from, to, sample(from)));
    }
}

#[test]
fn every_pair_counts_tokens_the_same() {
    for (from, to) in pairs() {
        let ran = run(from, to, false, [sample(from).as_bytes()]);
        assert_eq!(ran.usage, Some(USAGE), "{from} -> {to}");
        assert!(ran.started && ran.chunks >= 3, "{from} -> {to}: {}", ran.chunks);
    }
}

#[test]
fn there_and_back_again_says_the_same() {
    // What a caller gets in translation must itself be a stream that can be read: ids, arguments and usage survive.
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        let there = whole(from, to, sample(from));
        let watched = run(to, to, false, [there.as_bytes()]);
        assert_eq!((watched.end, watched.usage), (Ok(()), Some(USAGE)), "{from} -> {to}");
        for via in Dialect::ALL
            .into_iter()
            .filter(|via| pairs().any(|pair| pair == (to, *via)) && *via != to)
        {
            let back = whole(to, via, &there);
            let text = back.replace("\\\"", "\"").replace(": ", ":").replace("\"}}]}", "");
            assert!(
                text.contains("Ahoy") && text.contains("weather") && text.contains("tide"),
                "{from}->{to}->{via}"
            );
        }
    }
}

/// Where the event begins that says why the sample ended.
fn told_at(dialect: Dialect) -> usize {
    let text = sample(dialect);
    let mark = match dialect {
        Dialect::OpenAiChat => "\"finish_reason\":\"",
        Dialect::AnthropicMessages => "\"stop_reason\":\"",
        Dialect::Gemini => "\"finishReason\"",
        Dialect::OpenAiResponses => "\"response.completed\"",
    };
    text[..text.find(mark).unwrap()].rfind("data: ").unwrap()
}

#[test]
fn a_stream_that_ends_before_its_finish_reason_is_truncated() {
    for (from, to) in pairs() {
        let (text, told) = (sample(from), told_at(from));
        // Without the event that says it; in the middle of that event, of one before; nothing at all.
        for cut in [told + 60, told, told / 2, told / 3, 1, 0] {
            let ran = run(from, to, false, [&text.as_bytes()[..cut]]);
            assert_eq!(ran.end, Err(StreamError::Truncated), "{from} -> {to} cut at {cut}");
            let out = String::from_utf8_lossy(&ran.out).into_owned();
            assert!(
                !out.contains("[DONE]") && !out.contains("\"message_stop\""),
                "{from} -> {to} cut at {cut}"
            );
            assert!(
                from == to || !(out.contains("finishReason") || out.contains("response.completed")),
                "{from} -> {to} cut at {cut}"
            );
        }
    }
}

#[test]
fn a_stream_with_its_finish_reason_is_whole_without_an_end_mark() {
    for (from, to) in pairs() {
        let text = sample(from);
        let end = told_at(from)
            + text[told_at(from)..]
                .find("\n\n")
                .or_else(|| text[told_at(from)..].find("\r\n\r\n"))
                .unwrap();
        let text = format!("{}\n\n", text[..end].trim_end());
        let ran = run(from, to, false, [text.as_bytes()]);
        assert_eq!(ran.end, Ok(()), "{from} -> {to}");
        let out = String::from_utf8(ran.out).unwrap();
        if from == to {
            assert_eq!(out, text, "{from}: the bytes pass");
        } else {
            let mark = match to {
                Dialect::OpenAiChat => "[DONE]",
                Dialect::AnthropicMessages => "\"message_stop\"",
                Dialect::Gemini => "\"finishReason\"",
                Dialect::OpenAiResponses => "\"response.completed\"",
            };
            assert_eq!(out.matches(mark).count(), 1, "{from} -> {to}: {out}");
        }
        // Half an event after it may have been content.
        let half = format!("{text}data: {{\"id\":\"c\",");
        assert_eq!(
            run(from, to, false, [half.as_bytes()]).end.is_ok(),
            from == Dialect::OpenAiResponses,
            "{from} -> {to}"
        );
    }
}

#[test]
fn a_missing_last_blank_line_is_forgiven() {
    for (from, to) in pairs() {
        let text = sample(from).trim_end();
        let ran = run(from, to, false, [text.as_bytes()]);
        assert_eq!(ran.end, Ok(()), "{from} -> {to}");
    }
}

#[test]
fn an_error_inside_a_stream_is_the_providers_error() {
    let errors = [
        (
            Dialect::OpenAiChat,
            "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n",
            ErrorKind::Internal,
        ),
        (
            Dialect::OpenAiChat,
            "data: {\"error\": {\"message\": \"slow down\", \"type\": \"requests\", \"code\": \"rate_limit_exceeded\"}}\n\n",
            ErrorKind::RateLimited,
        ),
        (
            Dialect::AnthropicMessages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            ErrorKind::Overloaded,
        ),
        (
            Dialect::Gemini,
            "data: {\"error\": {\"code\": 503,\"message\": \"The model is overloaded.\",\"status\": \"UNAVAILABLE\"}}\r\n\r\n",
            ErrorKind::Overloaded,
        ),
        (
            Dialect::OpenAiResponses,
            "event: error\ndata: {\"type\":\"error\",\"sequence_number\":2,\"error\":{\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\",\"param\":null}}\n\n",
            ErrorKind::RateLimited,
        ),
        (
            Dialect::OpenAiResponses,
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"The server had an error\",\"param\":null,\"sequence_number\":2}\n\n",
            ErrorKind::Internal,
        ),
        (
            Dialect::OpenAiResponses,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\"},\"output\":[],\"usage\":null}}\n\n",
            ErrorKind::RateLimited,
        ),
    ];
    for (from, event, kind) in errors {
        for to in pairs().filter(|pair| pair.0 == from).map(|pair| pair.1) {
            let text = sample(from);
            let after_content = text.find("Ahoy").unwrap();
            let boundary = after_content + text[after_content..].find("data: ").unwrap();
            let boundary = text[..boundary]
                .rfind("event: ")
                .filter(|at| *at > after_content)
                .unwrap_or(boundary);
            for (prefix, started) in [("", false), (&text[..boundary], true)] {
                let broken = format!("{prefix}{event}");
                for size in [1, 7, broken.len()] {
                    let ran = run(from, to, false, broken.as_bytes().chunks(size));
                    let Err(StreamError::Provider(error)) = ran.end else {
                        panic!("{from} -> {to}: {:?}", ran.end)
                    };
                    assert_eq!(error.kind, kind, "{from} -> {to}");
                    assert_eq!(ran.started, started, "{from} -> {to}");
                    if from == to {
                        // Of an error event that the caller already has a part of, the rest follows.
                        let expected = if size == broken.len() { prefix } else { &broken };
                        assert_eq!(
                            String::from_utf8_lossy(&ran.out).trim_end(),
                            expected.trim_end(),
                            "{from} by {size}"
                        );
                    }
                    if started {
                        assert!(
                            String::from_utf8_lossy(&ran.out).contains("Ahoy"),
                            "{from} -> {to}: content before it is lost"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_finish_reason_is_needed_of_every_choice_that_was_seen() {
    let chunk = |index: u32, finish: Value| json!({"id": "c", "choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": finish}]});
    let candidate = |index: u32, finish: Value| json!({"candidates": [{"index": index, "content": {"parts": [{"text": "x"}]}, "finishReason": finish}]});
    for dialect in [Dialect::OpenAiChat, Dialect::Gemini] {
        let event = |index, finish: Value| match dialect {
            Dialect::Gemini => format!("data: {}\n\n", candidate(index, finish)),
            _ => format!("data: {}\n\n", chunk(index, finish)),
        };
        let stop = if dialect == Dialect::Gemini { "STOP" } else { "stop" };
        let both = [event(0, json!(null)), event(1, json!(null)), event(0, json!(stop))].concat();
        let other = event(1, json!(stop));
        for to in Dialect::ALL
            .into_iter()
            .filter(|to| pairs().any(|pair| pair == (dialect, *to)))
        {
            assert_eq!(
                run(dialect, to, false, [both.as_bytes()]).end,
                Err(StreamError::Truncated),
                "{dialect} -> {to}"
            );
            let whole = run(dialect, to, false, [both.as_bytes(), other.as_bytes()]);
            assert_eq!(whole.end, Ok(()), "{dialect} -> {to}");
        }
    }
}

#[test]
fn a_stream_of_nothing_is_no_answer() {
    let nothing = [
        (Dialect::OpenAiChat, "data: [DONE]\n\n"),
        (
            Dialect::OpenAiChat,
            "data: {\"id\":\"c\",\"choices\":[]}\n\ndata: [DONE]\n\n",
        ),
        (Dialect::OpenAiChat, "data: {\"id\":\"c\",\"choices\":null}\n\n"),
        (
            Dialect::OpenAiChat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"\"}]}\n\ndata: [DONE]\n\n",
        ),
        (Dialect::OpenAiChat, "data: {}\n\ndata: [DONE]\n\n"),
        (Dialect::OpenAiChat, "<!DOCTYPE html><html><body>Login</body></html>"),
        (
            Dialect::AnthropicMessages,
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[]}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        (Dialect::Gemini, "data: {}\n\n"),
        (
            Dialect::Gemini,
            "data: {\"candidates\":[],\"usageMetadata\":{\"promptTokenCount\":3}}\n\n",
        ),
        (
            Dialect::Gemini,
            "data: {\"candidates\":[{\"content\":{},\"finishReason\":\"FINISH_REASON_UNSPECIFIED\"}]}\n\n",
        ),
    ];
    for (from, text) in nothing {
        for to in pairs().filter(|pair| pair.0 == from).map(|pair| pair.1) {
            if from == to && text.contains("UNSPECIFIED") {
                continue;
            }
            let ran = run(from, to, false, [text.as_bytes()]);
            assert_eq!(ran.end, Err(StreamError::Truncated), "{from} -> {to}: {text}");
            assert!(
                !ran.started,
                "{from} -> {to}: {text}: another candidate may still answer"
            );
        }
    }
}

#[test]
fn an_empty_answer_that_says_why_it_ended_is_an_answer() {
    let empty = [
        (
            Dialect::OpenAiChat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
        ),
        (
            Dialect::AnthropicMessages,
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"}}\n\n",
        ),
        (
            Dialect::Gemini,
            "data: {\"candidates\":[{\"finishReason\":\"MAX_TOKENS\",\"index\":0}]}\n\n",
        ),
    ];
    let words = [
        "\"length\"",
        "\"max_tokens\"",
        "\"MAX_TOKENS\"",
        "\"reason\":\"max_output_tokens\"",
    ];
    for (from, text) in empty {
        for to in pairs().filter(|pair| pair.0 == from).map(|pair| pair.1) {
            let out = whole(from, to, text);
            let word = words[Dialect::ALL.iter().position(|dialect| *dialect == to).unwrap()];
            assert_eq!(out.matches(word).count(), 1, "{from} -> {to}: {out}");
        }
    }
}

#[test]
fn errors_in_the_forms_of_compatible_servers_are_errors_in_a_stream_too() {
    let forms = [
        (
            json!({"object": "error", "message": "slow down", "type": "RateLimitError", "code": 429}),
            ErrorKind::RateLimited,
        ),
        (json!({"message": "no capacity", "code": "503"}), ErrorKind::Overloaded),
        (json!({"detail": "it broke"}), ErrorKind::Internal),
        (json!({"error": "it broke"}), ErrorKind::Internal),
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            ErrorKind::Overloaded,
        ),
        (
            json!({"error": {"code": 502, "message": "upstream"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
            ErrorKind::Internal,
        ),
    ];
    for (form, kind) in forms {
        let text = format!("data: {form}\n\n");
        for to in Dialect::ALL
            .into_iter()
            .filter(|to| *to != Dialect::OpenAiResponses || Dialect::PROVIDERS.contains(&Dialect::OpenAiChat))
        {
            let ran = run(Dialect::OpenAiChat, to, false, [text.as_bytes()]);
            assert!(
                matches!(&ran.end, Err(StreamError::Provider(error)) if error.kind == kind),
                "{form} -> {to}: {:?}",
                ran.end
            );
            let begun = format!("data: {}\n\n{text}", delta(&json!({"content": "x"})));
            let ran = run(Dialect::OpenAiChat, to, false, [begun.as_bytes()]);
            assert!(
                matches!(&ran.end, Err(StreamError::Provider(error)) if error.kind == kind),
                "{form} -> {to}: {:?}",
                ran.end
            );
        }
    }
}

#[test]
fn a_json_text_instead_of_events_is_judged_by_what_it_says() {
    for (from, to) in pairs() {
        let limited = "{\"error\":{\"code\":429,\"message\":\"slow down\",\"type\":\"rate_limit_error\"}}";
        for size in [1, 9, limited.len()] {
            let ran = run(from, to, false, limited.as_bytes().chunks(size));
            assert!(
                matches!(&ran.end, Err(StreamError::Provider(error)) if error.kind == ErrorKind::RateLimited),
                "{from} -> {to}: {:?}",
                ran.end
            );
        }
        let ran = run(from, to, false, [b"{\"id\":1}".as_slice()]);
        assert!(
            matches!(ran.end, Err(StreamError::Malformed(_))),
            "{from} -> {to}: {:?}",
            ran.end
        );
    }
}

fn openai_stream(chunks: &[Value]) -> String {
    let chunks: Vec<String> = chunks
        .iter()
        .map(Value::to_string)
        .chain(["[DONE]".to_owned()])
        .collect();
    format!("data: {}\n\n", chunks.join("\n\ndata: "))
}

fn delta(delta: &Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": delta}]})
}

/// The `content_block_start` blocks and argument texts, by block index.
fn blocks(stream: &str) -> Vec<(Value, String)> {
    let mut blocks = Vec::new();
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], blocks.len());
                blocks.push((event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                let index = usize::try_from(event["index"].as_u64().unwrap()).unwrap();
                blocks[index]
                    .1
                    .push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
            }
            _ => {}
        }
    }
    // The mark of a round of calls is no call.
    blocks.retain(|(block, _)| block["type"] != "redacted_thinking");
    blocks
}

#[test]
fn compatible_servers_may_number_all_tool_calls_zero_or_not_at_all() {
    let call = |index: &Value, id: Option<&str>, arguments: &str| {
        delta(
            &json!({"tool_calls": [{"index": index, "id": id, "function": {"name": "tide", "arguments": arguments}}]}),
        )
    };
    for index in [json!(0), json!(null)] {
        let text = openai_stream(&[
            call(&index, Some("a"), "{\"x\":1}"),
            call(&index, Some("b"), "{\"x\":2}"),
        ]);
        let blocks = blocks(&whole(Dialect::OpenAiChat, Dialect::AnthropicMessages, &text));
        let seen: Vec<_> = blocks
            .iter()
            .map(|(block, text)| (block["id"].as_str().unwrap(), text.as_str()))
            .collect();
        assert_eq!(seen, [("a", "{\"x\":1}"), ("b", "{\"x\":2}")]);
    }
    let text = openai_stream(&[call(&json!(0), None, "{}"), call(&json!(1), Some(""), "{}")]);
    let blocks = blocks(&whole(Dialect::OpenAiChat, Dialect::AnthropicMessages, &text));
    assert_eq!(blocks[0].0["id"], "call_bow0123456789abcdef_0");
    assert_eq!(blocks[1].0["id"], "call_bow0123456789abcdef_1");
}

#[test]
fn refusals_and_blocked_prompts_end_streams_as_withheld() {
    let finish = json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let text = openai_stream(&[delta(&json!({"refusal": "No."})), finish]);
    assert!(whole(Dialect::OpenAiChat, Dialect::AnthropicMessages, &text).contains("\"stop_reason\":\"refusal\""));
    assert!(whole(Dialect::OpenAiChat, Dialect::Gemini, &text).contains("\"finishReason\":\"SAFETY\""));
    let blocked =
        "data: {\"promptFeedback\": {\"blockReason\": \"SAFETY\"},\"usageMetadata\": {\"promptTokenCount\": 3}}\n\n";
    assert!(whole(Dialect::Gemini, Dialect::OpenAiChat, blocked).contains("\"finish_reason\":\"content_filter\""));
    assert!(whole(Dialect::Gemini, Dialect::AnthropicMessages, blocked).contains("\"stop_reason\":\"refusal\""));
    assert_eq!(whole(Dialect::Gemini, Dialect::Gemini, blocked), blocked);
}

#[test]
fn a_failed_tool_call_is_an_error_and_no_empty_success() {
    let text =
        "data: {\"candidates\": [{\"content\": {},\"finishReason\": \"MALFORMED_FUNCTION_CALL\",\"index\": 0}]}\n\n";
    for to in [Dialect::OpenAiChat, Dialect::AnthropicMessages] {
        let ran = run(Dialect::Gemini, to, false, [text.as_bytes()]);
        assert!(matches!(ran.end, Err(StreamError::Provider(error)) if error.kind == ErrorKind::Internal));
    }
}

#[test]
fn the_usage_chunk_comes_only_where_it_was_asked_for() {
    for from in [Dialect::AnthropicMessages, Dialect::Gemini] {
        let mut stream = Stream::new(
            from,
            Dialect::OpenAiChat,
            AnswerContext {
                include_usage: false,
                show_thoughts: true,
                ..ctx()
            },
            false,
        );
        let mut out = BytesMut::new();
        stream
            .push(&Bytes::from_static(sample(from).as_bytes()), &mut out)
            .unwrap();
        stream.finish(&mut out).unwrap();
        let text = String::from_utf8_lossy(&out);
        assert!(
            !text.contains("\"usage\"") && text.ends_with("data: [DONE]\n\n"),
            "{from}"
        );
        assert_eq!(stream.usage(), Some(USAGE), "{from}: counted all the same");
    }
}

#[test]
fn same_dialect_bytes_pass_unchanged_at_every_split() {
    for dialect in Dialect::ALL {
        let text = sample(dialect).as_bytes();
        for at in 0..=text.len() {
            let ran = run(dialect, dialect, false, [&text[..at], &text[at..]]);
            assert_eq!(
                (&ran.out[..], &ran.end, ran.rewritten),
                (text, &Ok(()), 0),
                "{dialect} split at {at}"
            );
            assert_eq!(ran.usage, Some(USAGE), "{dialect} split at {at}");
        }
    }
}

#[test]
fn a_hidden_usage_chunk_is_all_that_is_cut_at_every_split() {
    for ends in ["\n", "\r\n", "\r"] {
        let text = OPENAI.replace('\n', ends);
        let from = text.find("data: {\"id\":\"chatcmpl-9\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4.1\",\"choices\":[]").unwrap();
        let to = text.find("data: [DONE]").unwrap();
        let expected = [&text[..from], &text[to..]].concat();
        for at in 0..=text.len() {
            let ran = run(
                Dialect::OpenAiChat,
                Dialect::OpenAiChat,
                true,
                [&text.as_bytes()[..at], &text.as_bytes()[at..]],
            );
            assert_eq!(String::from_utf8_lossy(&ran.out), expected, "{ends:?} split at {at}");
            assert_eq!((ran.end, ran.usage), (Ok(()), Some(USAGE)), "{ends:?} split at {at}");
        }
        let bytewise = run(
            Dialect::OpenAiChat,
            Dialect::OpenAiChat,
            true,
            text.as_bytes().chunks(1),
        );
        assert_eq!(
            String::from_utf8_lossy(&bytewise.out),
            expected,
            "{ends:?} byte by byte"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunking_never_changes_what_the_caller_gets(cuts in proptest::collection::vec(0usize..4000, 0..40), pair in 0usize..PAIRS, crlf in any::<bool>()) {
        let (from, to) = pairs().nth(pair).unwrap();
        let text = if crlf { sample(from).replace("\r\n", "\n").replace('\n', "\r\n") } else { sample(from).to_owned() };
        let text = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        for hide in [false, true] {
            let once = run(from, to, hide, [text]);
            let pieces = run(from, to, hide, cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]));
            prop_assert_eq!(String::from_utf8_lossy(&once.out), String::from_utf8_lossy(&pieces.out));
            prop_assert_eq!(once.end, pieces.end);
            prop_assert_eq!(once.usage, pieces.usage);
            prop_assert_eq!(once.chunks, pieces.chunks);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_pass_unchanged(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8), pair in 0usize..PAIRS) {
        let (from, to) = pairs().nth(pair).unwrap();
        let ran = run(from, to, false, pieces.iter().map(Vec::as_slice));
        if from == to {
            prop_assert_eq!(ran.out, pieces.concat());
        }
        run(from, to, true, pieces.iter().map(Vec::as_slice));
    }

    #[test]
    fn mutated_streams_never_panic(flips in proptest::collection::vec((0usize..4000, any::<u8>()), 1..6), pair in 0usize..PAIRS, size in 1usize..300) {
        let (from, to) = pairs().nth(pair).unwrap();
        let mut text = sample(from).as_bytes().to_vec();
        for (at, byte) in flips {
            let at = at % text.len();
            text[at] = byte;
        }
        let ran = run(from, to, false, text.chunks(size));
        if from == to && ran.end.is_ok() {
            prop_assert_eq!(ran.out, text);
        }
    }
}
