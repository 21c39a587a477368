//! Providers' error bodies: read whatever they are, and said again to every caller.

use std::time::Duration;

use bowsprit_core::dialect::{Dialect, ErrorView, error_body, error_event, parse_error};
use bowsprit_core::fault::Code;
use serde_json::Value;

use super::chance;

/// Longest message kept, in bytes; the limit is 1024 and a mark where it was cut.
const LONGEST: usize = 1100;

pub(crate) fn read_and_say(input: &[u8]) {
    let status = [200, 400, 401, 404, 413, 429, 500, 503, 529, 999][chance(input).usize(..10)];
    let key = "sk-proj-abcdefghijklmnopqrstuvwx";
    for provider in Dialect::ALL {
        let error = parse_error(provider, status, input);
        assert!(
            error.message.len() <= LONGEST,
            "a message of {} bytes",
            error.message.len()
        );
        assert!(!error.message.contains(key), "a key in a message: {}", error.message);
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

fn said(caller: Dialect, status: u16, message: &str, param: &str) {
    let view = ErrorView {
        code: Code::ExtTls,
        message,
        status,
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
