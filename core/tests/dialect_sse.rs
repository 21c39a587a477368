//! The event parser, and bodies that are framed otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::sse::{EVENT_LIMIT, Parser, PieceKind};
use bowsprit_core::dialect::{AnswerContext, Dialect, ErrorView, Pushed, Stream, StreamError};
use bowsprit_core::fault::{Code, ErrorKind};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

type Event = (Vec<u8>, Option<Vec<u8>>);

/// The events that have a name or data, and all raw bytes.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Vec<u8>) {
    let mut parser = Parser::new();
    let (mut events, mut raw) = (Vec::new(), Vec::new());
    for mut piece in pieces {
        while let Some(piece) = parser.next(&mut piece) {
            raw.extend_from_slice(piece.raw);
            let fields = piece.fields();
            if piece.kind == PieceKind::Whole && (fields.data.is_some() || !fields.name.is_empty()) {
                events.push((fields.name.to_vec(), fields.data.map(|data| data.to_vec())));
            }
        }
    }
    raw.extend_from_slice(parser.rest().raw);
    (events, raw)
}

fn event(name: &str, data: &[u8]) -> Event {
    (name.as_bytes().to_vec(), Some(data.to_vec()))
}

#[test]
fn events_are_the_same_at_every_split_and_with_every_line_end() {
    let text = b"\xEF\xBB\xBF: hello\nevent: a\ndata: one\ndata:two\ndata\nid: 5\n\n\n\ndata:  spaced\nretry: 1\n\n:ping\n\ndata: \x00\xff{\"x\":1}\n\nnodata: x\n\nevent: b\ndata: last\n\n";
    let expected = vec![
        event("a", b"one\ntwo\n"),
        event("", b" spaced"),
        event("", b"\x00\xff{\"x\":1}"),
        event("b", b"last"),
    ];
    for ends in [&b"\n"[..], b"\r\n", b"\r"] {
        let text: Vec<u8> = text
            .iter()
            .flat_map(|&byte| if byte == b'\n' { ends.to_vec() } else { vec![byte] })
            .collect();
        assert_eq!(parse([&text[..]]), (expected.clone(), text.clone()));
        assert_eq!(parse(text.chunks(1)), (expected.clone(), text.clone()));
        for at in 0..text.len() {
            assert_eq!(
                parse([&text[..at], &text[at..]]),
                (expected.clone(), text.clone()),
                "{ends:?} split at {at}"
            );
        }
    }
}

#[test]
fn line_ends_may_be_mixed() {
    let text = b"data: 1\r\n\ndata: 2\r\r\ndata: 3\n\r\ndata: 4\r\n\r\n";
    let expected: Vec<Event> = [b"1", b"2", b"3", b"4"].map(|data| event("", data)).into();
    assert_eq!(parse([&text[..]]).0, expected);
    assert_eq!(parse(text.chunks(1)).0, expected);
}

#[test]
fn an_unfinished_last_event_is_kept_apart() {
    let mut parser = Parser::new();
    let mut chunk: &[u8] = b"data: a\n\ndata: [DONE]\n";
    assert_eq!(
        parser.next(&mut chunk).unwrap().fields().data.as_deref(),
        Some(&b"a"[..])
    );
    assert!(parser.next(&mut chunk).is_none() && parser.mid_event());
    assert_eq!(parser.rest().fields().data.as_deref(), Some(&b"[DONE]"[..]));
}

fn ctx() -> AnswerContext {
    AnswerContext {
        model: "m".into(),
        id: "i".into(),
        created: 1,
        include_usage: true,
        show_thoughts: true,
        ..AnswerContext::default()
    }
}

const USAGE_EVENT: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";

#[test]
fn an_event_beyond_the_limit_passes_unread_or_ends_a_translation() {
    let mut text = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata: \"".to_vec();
    text.resize(text.len() + 10 * EVENT_LIMIT, b'x');
    text.extend_from_slice(format!("\"\n\n{USAGE_EVENT}data: [DONE]\n\n").as_bytes());
    for hide in [false, true] {
        for size in [4096, text.len()] {
            let mut stream = Stream::new(Dialect::OpenAiChat, Dialect::OpenAiChat, ctx(), hide);
            let mut all = Vec::new();
            for chunk in text.chunks(size) {
                let mut out = BytesMut::new();
                match stream.push(&Bytes::copy_from_slice(chunk), &mut out).unwrap() {
                    Pushed::Same => all.extend_from_slice(chunk),
                    Pushed::Rewritten => all.extend_from_slice(&out),
                }
                assert!(out.len() <= 2 * EVENT_LIMIT || size > EVENT_LIMIT);
            }
            assert_eq!(stream.finish(&mut BytesMut::new()), Ok(()));
            assert_eq!(stream.usage().unwrap().output, 2);
            assert_eq!(
                all.len(),
                if hide {
                    text.len() - USAGE_EVENT.len()
                } else {
                    text.len()
                },
                "hide {hide} size {size}"
            );
        }
    }
    let mut stream = Stream::new(Dialect::OpenAiChat, Dialect::Gemini, ctx(), false);
    let mut out = BytesMut::new();
    let error = text
        .chunks(4096)
        .find_map(|chunk| stream.push(&Bytes::copy_from_slice(chunk), &mut out).err());
    assert!(matches!(error, Some(StreamError::Malformed(_))), "{error:?}");
}

const ARRAY: &str = "[{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"a ] } \\\" [\"}]}}],\"usageMetadata\": {\"promptTokenCount\": 1}}\n,\r\n{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"b\"}]},\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 1,\"candidatesTokenCount\": 2}}\n]";

#[test]
fn a_gemini_array_passes_and_is_watched_at_every_split() {
    let told = ARRAY.rfind('}').unwrap() + 1;
    for at in 0..=ARRAY.len() {
        let mut stream = Stream::new(Dialect::Gemini, Dialect::Gemini, ctx(), false);
        for piece in [&ARRAY[..at], &ARRAY[at..]] {
            assert_eq!(
                stream.push(&Bytes::from(piece.to_owned()), &mut BytesMut::new()),
                Ok(Pushed::Same)
            );
        }
        assert_eq!(stream.finish(&mut BytesMut::new()), Ok(()), "split at {at}");
        assert_eq!(
            (
                stream.usage().unwrap().output,
                stream.chunks(),
                stream.content_started()
            ),
            (2, 2, true)
        );
        let mut stream = Stream::new(Dialect::Gemini, Dialect::Gemini, ctx(), false);
        stream
            .push(&Bytes::from(ARRAY[..at].to_owned()), &mut BytesMut::new())
            .unwrap();
        // The finish reason is there, and only the bracket is missing: the caller gets one.
        let mut out = BytesMut::new();
        assert_eq!(stream.finish(&mut out).is_ok(), at >= told, "cut at {at}");
        let owed: &[u8] = if (told..ARRAY.len()).contains(&at) { b"]" } else { b"" };
        assert_eq!(out, owed, "cut at {at}");
        assert_eq!(
            stream.ended(),
            at == ARRAY.len(),
            "no end before the bracket: cut at {at}"
        );
    }
    // A comma says that more was to come.
    let mut stream = Stream::new(Dialect::Gemini, Dialect::Gemini, ctx(), false);
    let comma = format!("{},", &ARRAY[..told]);
    stream.push(&Bytes::from(comma), &mut BytesMut::new()).unwrap();
    assert_eq!(stream.finish(&mut BytesMut::new()), Err(StreamError::Truncated));
    let mut stream = Stream::new(Dialect::Gemini, Dialect::Gemini, ctx(), false);
    let error = "[{\"error\": {\"code\": 429, \"message\": \"quota\", \"status\": \"RESOURCE_EXHAUSTED\"}}]";
    let got = stream.push(&Bytes::from(error), &mut BytesMut::new());
    assert!(matches!(got, Err(StreamError::Provider(error)) if error.kind == ErrorKind::RateLimited));
}

fn view() -> ErrorView<'static> {
    ErrorView {
        code: Code::ExtTruncated,
        message: "cut",
        status: None,
        exact: None,
        param: None,
        request_id: "r",
        retry_after: None,
    }
}

#[test]
fn an_error_event_stands_alone_wherever_the_stream_broke() {
    let mut stream = Stream::new(Dialect::OpenAiChat, Dialect::OpenAiChat, ctx(), false);
    stream
        .push(&Bytes::from_static(b"data: {\"a\":1}\n\n"), &mut BytesMut::new())
        .unwrap();
    assert!(stream.error_event(&view()).starts_with(b"data: {\"error\""));
    stream
        .push(&Bytes::from_static(b"data: {\"cho"), &mut BytesMut::new())
        .unwrap();
    assert!(stream.error_event(&view()).starts_with(b"\n\ndata: {\"error\""));
    let first = &ARRAY[..ARRAY.find("\n,").unwrap()];
    let mut stream = Stream::new(Dialect::Gemini, Dialect::Gemini, ctx(), false);
    stream
        .push(&Bytes::from(first.to_owned()), &mut BytesMut::new())
        .unwrap();
    let ended = [first.as_bytes(), &stream.error_event(&view())].concat();
    let value: serde_json::Value = serde_json::from_slice(&ended).unwrap();
    assert_eq!(value[1]["error"]["code"], 503);
}

#[test]
fn a_body_that_is_no_stream_is_told_apart() {
    let read = |body: &'static [u8]| {
        let mut stream = Stream::new(Dialect::OpenAiChat, Dialect::OpenAiChat, ctx(), true);
        for chunk in body.chunks(5) {
            stream
                .push(&Bytes::copy_from_slice(chunk), &mut BytesMut::new())
                .unwrap();
        }
        stream.finish(&mut BytesMut::new()).unwrap_err()
    };
    let error =
        read(b" {\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"code\":\"model_not_found\"}}");
    assert!(matches!(error, StreamError::Provider(error) if error.kind == ErrorKind::NotFound));
    assert!(matches!(read(b"{\"choices\":[]}"), StreamError::Malformed(_)));
    assert_eq!(read(b"{\"choices\":["), StreamError::Truncated);
    assert_eq!(read(b"<html>oops</html>"), StreamError::Truncated);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_chunks_give_the_same_events(text in "(data|event|id|[a-z]| |:|\r|\n|\r\n|\n\n|\u{feff}){0,60}", cuts in proptest::collection::vec(0usize..120, 0..12)) {
        let text = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let whole = parse([text]);
        prop_assert_eq!(&whole.1[..], text);
        prop_assert_eq!(whole, parse(cuts.windows(2).map(|pair| &text[pair[0]..pair[1]])));
    }
}
