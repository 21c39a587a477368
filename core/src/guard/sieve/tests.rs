#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a failed test panics

use bowsprit_crds::access::Enforcement;
use bowsprit_crds::guards::{Action, Guard as Spec, Kind, Unread};

use super::*;
use crate::guard::tests::{REFUSED, texts, walk};
use crate::json::{self, Value, json};

const CARD: &str = "4111 1111 1111 1111";

fn spec(name: &str, action: Action) -> Spec {
    Spec {
        name: name.into(),
        apply_to: vec![Side::Answer],
        detect: vec![Kind::Card],
        words: Vec::new(),
        webhook: None,
        action,
        enforcement: Enforcement::Enforce,
        unread: Unread::Refuse,
    }
}

fn sieve(dialect: Dialect, specs: &[Spec]) -> Sieve {
    Sieve::new(dialect, Guard::all_of("ModelRoute fast", specs).unwrap().into())
}

/// What comes out after each of these pieces, and after the end.
fn passed(sieve: &mut Sieve, pieces: &[&str]) -> Result<Vec<String>, Stop> {
    let mut all = Vec::new();
    for piece in pieces {
        let (piece, mut out) = (Bytes::copy_from_slice(piece.as_bytes()), BytesMut::new());
        let pushed = sieve.push(&piece, &mut out)?;
        let out = if pushed == Pushed::Same { piece } else { out.freeze() };
        all.push(String::from_utf8(out.to_vec()).unwrap());
    }
    let mut out = BytesMut::new();
    sieve.finish(&mut out)?;
    all.push(String::from_utf8(out.to_vec()).unwrap());
    Ok(all)
}

fn chat(text: &str) -> String {
    let delta = json!({"choices": [{"index": 0, "delta": {"content": (text)}, "finish_reason": null}]});
    format!("data: {delta}\n\n")
}

fn messages(index: u64, delta: &Value) -> String {
    let event = json!({"type": "content_block_delta", "index": (index), "delta": (delta.clone())});
    format!("event: content_block_delta\ndata: {event}\n\n")
}

fn responses(sequence: u64, text: &str) -> String {
    let event = json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": (text), "sequence_number": (sequence)});
    format!("event: response.output_text.delta\ndata: {event}\n\n")
}

fn gemini(text: &str) -> String {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": (text)}]}}]}).to_string()
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

#[test]
fn a_card_that_comes_in_pieces_is_masked_across_the_events_of_every_dialect() {
    let pieces = ["pay 4111 ", "1111 1111", " 1111", " now"];
    let of = |dialect, event: &dyn Fn(usize, &str) -> String, end: &str, name: &str| {
        let mut all: Vec<String> = pieces.iter().enumerate().map(|(at, text)| event(at, text)).collect();
        all.push(end.to_owned());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let out = passed(&mut sieve(dialect, &[spec("pii", Action::Mask)]), &all).unwrap();
        assert!(!out.concat().contains("1111"), "{out:?}");
        assert_eq!(texts(&out.concat(), name), "pay [CARD] now", "{out:?}");
    };
    of(
        Dialect::OpenAiChat,
        &|_, text| chat(text),
        "data: [DONE]\n\n",
        "content",
    );
    of(
        Dialect::AnthropicMessages,
        &|_, text| messages(0, &json!({"type": "text_delta", "text": (text)})),
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "text",
    );
    of(
        Dialect::OpenAiResponses,
        &|at, text| responses(at as u64, text),
        "",
        "delta",
    );
    of(
        Dialect::Gemini,
        &|_, text| format!("data: {}\r\n\r\n", gemini(text)),
        "",
        "text",
    );
}

#[test]
fn an_event_that_ends_in_nothing_flows_at_once_and_the_next_is_not_waited_for() {
    let pieces = [
        chat("Hello"),
        chat(" there, it is 12"),
        chat(" o'clock"),
        "data: [DONE]\n\n".to_owned(),
    ];
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let out = passed(&mut sieve(Dialect::OpenAiChat, &[spec("pii", Action::Mask)]), &pieces).unwrap();
    assert_eq!(out[0], pieces[0]);
    assert_eq!(out[1], "", "12 may be the beginning of a card");
    assert_eq!(out[2], [pieces[1], pieces[2]].concat());
    assert_eq!(out.concat(), pieces.concat());
}

#[test]
fn a_stream_in_which_nothing_is_found_leaves_byte_for_byte_and_ends_whole() {
    let end = event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
    let body = [
        ": hi\r\n\r\n",
        &chat("the sum is 4111 1111"),
        "event: x\ndata: {\"a\":\ndata: 1}\n\n",
        &end,
        "data: [DONE]\n\n",
    ]
    .concat();
    for size in [1, 2, 7, 64, 1000] {
        let pieces: Vec<&str> = body
            .as_bytes()
            .chunks(size)
            .map(|piece| std::str::from_utf8(piece).unwrap())
            .collect();
        let out = passed(&mut sieve(Dialect::OpenAiChat, &[spec("pii", Action::Mask)]), &pieces).unwrap();
        assert_eq!(out.concat(), body, "{size}");
        assert_eq!(out.last().unwrap(), "", "the finish reason ends the text");
    }
}

#[test]
fn arguments_of_a_call_are_masked_across_events_and_stay_json() {
    let call = |text: &str| {
        event(
            &json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 1, "function": {"arguments": (text)}}]}}]}),
        )
    };
    let pieces = [
        call("{\"card\": 41111111"),
        call("11111111, \"to\": \"4111111"),
        call("111111111\"}"),
        "data: [DONE]\n\n".to_owned(),
    ];
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let out = passed(&mut sieve(Dialect::OpenAiChat, &[spec("pii", Action::Mask)]), &pieces).unwrap();
    assert_eq!(
        texts(&out.concat(), "arguments"),
        r#"{"card": "[CARD]", "to": "[CARD]"}"#
    );
}

#[test]
fn what_is_repeated_whole_is_masked_whole_and_spelled_out_nowhere() {
    let done = json!({"type": "response.completed", "response": {"id": "4111111111111111", "output": [{"type": "message", "content": [{"type": "output_text", "text": (CARD), "logprobs": [{"token": "4111"}]}]}]}});
    let out = passed(
        &mut sieve(Dialect::OpenAiResponses, &[spec("pii", Action::Mask)]),
        &[&event(&done)],
    )
    .unwrap();
    let out = out.concat();
    assert!(
        out.contains(r#""text":"[CARD]""#) && out.contains(r#""logprobs":[]"#),
        "{out}"
    );
    assert!(out.contains(r#""id":"4111111111111111""#), "{out}");
    let spelled = json!({"choices": [{"index": 0, "delta": {"content": (CARD)}, "logprobs": {"content": [{"token": "4111"}]}, "finish_reason": "stop"}]});
    let out = passed(
        &mut sieve(Dialect::OpenAiChat, &[spec("pii", Action::Mask)]),
        &[&event(&spelled)],
    )
    .unwrap();
    assert!(out.concat().contains(r#""logprobs":null"#), "{out:?}");
}

#[test]
fn what_a_guard_refuses_never_begins_to_flow() {
    let mut sieve = sieve(Dialect::OpenAiChat, &[spec("no-cards", Action::Refuse)]);
    let mut out = BytesMut::new();
    for text in ["pay ", "4111 1111 ", "1111 "] {
        let _ = sieve.push(&chat(text).into(), &mut out).unwrap();
    }
    assert!(out.is_empty(), "the first flows as it came");
    let stop = sieve.push(&chat("1111 now").into(), &mut out).unwrap_err();
    assert!(matches!(stop, Stop::Refused(guard) if &*guard.name == "no-cards"));
    assert!(out.is_empty());
    assert_eq!(sieve.found().map(|(_, found)| found).collect::<Vec<_>>(), [1]);
    assert!(sieve.error_event(&REFUSED).starts_with(b"data: {"));
}

#[test]
fn a_guard_that_only_counts_holds_nothing_back() {
    let mut shadow = spec("later", Action::Mask);
    shadow.enforcement = Enforcement::Shadow;
    let mut sieve = sieve(Dialect::OpenAiChat, &[shadow]);
    let pieces = [chat("4111 1111 "), chat("1111 1111"), chat(".")];
    for piece in &pieces {
        let mut out = BytesMut::new();
        assert_eq!(sieve.push(&piece.clone().into(), &mut out).unwrap(), Pushed::Same);
    }
    assert_eq!(sieve.found().map(|(_, found)| found).collect::<Vec<_>>(), [1]);
}

#[test]
fn an_array_is_cut_into_its_elements_and_ends_in_an_error_that_closes_it() {
    let body = format!(
        "[{},\r\n{}\r\n,\r\n{}]",
        gemini("x 4111 1111"),
        gemini(" 1111 1111"),
        gemini(" y")
    );
    for size in [1, 5, 400] {
        let pieces: Vec<&str> = body
            .as_bytes()
            .chunks(size)
            .map(|piece| std::str::from_utf8(piece).unwrap())
            .collect();
        let out = passed(&mut sieve(Dialect::Gemini, &[spec("pii", Action::Mask)]), &pieces)
            .unwrap()
            .concat();
        let value = json::parse(out.as_bytes()).unwrap();
        let mut all = String::new();
        walk(&value, "text", &mut all);
        assert_eq!(all, "x [CARD] y", "{out}");
    }
}

#[test]
fn an_error_stands_where_its_caller_is_in_an_array_whatever_has_gone_out() {
    let (well, bad) = (gemini("well"), gemini(CARD));
    for (pieces, elements) in [
        (vec!["["], 1),
        (vec!["[", &bad], 1),
        (vec![" \n[", &well], 2),
        (vec!["[", &well, ",\r\n"], 2),
        (vec!["[", &well, "\r\n,", &bad], 2),
        (vec!["[", &well, ",\r\n", &well, ",", &bad], 3),
        // It is whole: nothing may come behind it.
        (vec!["[", &well, "]"], 1),
    ] {
        let mut sieve = sieve(Dialect::Gemini, &[spec("no-cards", Action::Refuse)]);
        let mut whole = Vec::new();
        for piece in &pieces {
            let mut out = BytesMut::new();
            match sieve.push(&Bytes::copy_from_slice(piece.as_bytes()), &mut out) {
                Ok(Pushed::Same) => whole.extend_from_slice(piece.as_bytes()),
                _ => whole.extend_from_slice(&out),
            }
        }
        whole.extend_from_slice(&sieve.error_event(&REFUSED));
        let value = json::parse(&whole);
        let value = value.unwrap_or_else(|_| panic!("{pieces:?}: {}", String::from_utf8_lossy(&whole)));
        assert_eq!(value.as_array().unwrap().len(), elements, "{pieces:?}");
    }
}

#[test]
fn other_texts_of_a_choice_end_the_one_before_them() {
    let call = json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}}]});
    let more =
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}]});
    let pieces = [chat("at 12"), event(&call), event(&more)];
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let out = passed(&mut sieve(Dialect::OpenAiChat, &[spec("pii", Action::Mask)]), &pieces).unwrap();
    assert_eq!(out[2], pieces.concat(), "arguments have begun: the number is one");
}

#[test]
fn what_is_held_is_bounded_and_beyond_it_a_guard_in_force_ends_the_stream() {
    let other = |text: &str| {
        event(&json!({"choices": [{"index": 1, "delta": {"content": (text), "pad": ("x".repeat(4000))}}]}))
    };
    let mut spec = spec("pii", Action::Mask);
    for is_passed in [false, true] {
        spec.unread = if is_passed { Unread::Pass } else { Unread::Refuse };
        let mut sieve = sieve(Dialect::OpenAiChat, std::slice::from_ref(&spec));
        let mut out = BytesMut::new();
        let _ = sieve.push(&chat("4111").into(), &mut out).unwrap();
        let mut stopped = false;
        for _ in 0..100 {
            stopped = sieve.push(&other("hi ").into(), &mut out).is_err();
            if stopped {
                break;
            }
            assert!(sieve.held <= HELD_MOST);
        }
        assert_eq!(stopped, !is_passed);
        assert_eq!(out.is_empty(), !is_passed, "in order, or nothing of it");
    }
}

#[test]
fn a_body_that_is_no_stream_is_looked_into_as_a_whole() {
    let body = json!({"choices": [{"message": {"content": (CARD)}}]}).to_string();
    let out = passed(
        &mut sieve(Dialect::OpenAiChat, &[spec("pii", Action::Mask)]),
        &[&body[..10], &body[10..]],
    )
    .unwrap();
    assert_eq!(out.concat(), body.replace(CARD, "[CARD]"));
}
