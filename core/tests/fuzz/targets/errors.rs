//! Providers' error bodies: read whatever they are, and said again to every caller.

use std::time::Duration;

use bowsprit_core::dialect::{Dialect, ErrorView, error_body, error_event, parse_error};
use bowsprit_core::fault::Code;
use serde_json::{Value, json};

use super::chance;

/// Longest message kept, in bytes; the limit is 1024 and a mark where it was cut.
const LONGEST: usize = 1100;

const KEY: &str = "sk-proj-abcdefghijklmnopqrstuvwx";

pub(crate) fn read_and_say(input: &[u8]) {
    let status = [200, 400, 401, 404, 413, 429, 500, 503, 529, 999][chance(input).usize(..10)];
    for provider in Dialect::ALL {
        let error = parse_error(provider, status, input);
        assert!(
            error.message.len() <= LONGEST,
            "a message of {} bytes",
            error.message.len()
        );
        assert!(!tells_a_key(&error.message), "a key in a message: {}", error.message);
        assert!(
            error
                .retry_after
                .is_none_or(|wait| wait <= Duration::from_hours(24 * 366)),
            "a wait of ages"
        );
        for caller in Dialect::ALL {
            said(caller, status, &error.message, &String::from_utf8_lossy(input));
        }
    }
}

/// The corpus' key, behind what a key stands behind. A letter before it makes it another word.
fn tells_a_key(message: &str) -> bool {
    let behind = |c: char| " =:\"'/?&(`".contains(c);
    message
        .match_indices(KEY)
        .any(|(at, _)| message[..at].chars().next_back().is_none_or(behind))
}

/// Servers break lines and make lists.
pub(crate) fn a_key_behind_anything() {
    for before in ["\n", "\t", ",", ";", "[", "{", "<", "key:\n", "key=\t", "\u{a0}"] {
        let body = json!({"error": {"message": format!("wrong key{before}{KEY}")}}).to_string();
        let error = parse_error(Dialect::OpenAiChat, 401, body.as_bytes());
        assert!(!error.message.contains(KEY), "{:?}", error.message);
    }
}

fn said(caller: Dialect, status: u16, message: &str, param: &str) {
    let view = ErrorView {
        code: Code::ExtTls,
        message,
        status: Some(status),
        exact: None,
        param: Some(param),
        request_id: "bow-1",
        retry_after: Some(Duration::from_millis(1)),
    };
    let body: Value = serde_json::from_slice(&error_body(caller, &view)).expect("an error is JSON");
    assert!(
        body.to_string().contains(Code::ExtTls.as_str()),
        "{caller}: an error without its code"
    );
    // One event, however the texts in it are broken into lines.
    let event = error_event(caller, &view);
    let text = std::str::from_utf8(&event).expect("an event is text");
    let data = text.lines().filter(|line| line.starts_with("data: ")).count();
    assert!(
        text.ends_with("\n\n") && data == 1 && text.matches("\n\n").count() == 1,
        "{caller}: not one event: {text}"
    );
}
