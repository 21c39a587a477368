//! Providers' whole answers: translated for every caller, or called what they are.

use bowsprit_core::dialect::{Dialect, translate_response, usage};
use serde_json::Value;

use super::{context, pairs};

pub(crate) fn translate(input: &[u8]) {
    for dialect in Dialect::ALL {
        let _ = usage(dialect, input);
    }
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        let Ok((body, counted)) = translate_response(from, to, input, &context()) else {
            continue;
        };
        let answer: Value = serde_json::from_slice(&body).expect("a translation is JSON");
        assert!(answer.is_object(), "{from} to {to}: an answer is an object");
        assert!(
            answer.get("error").is_none_or(Value::is_null),
            "{from} to {to}: an answer that says it is an error"
        );
        // What a caller gets is counted there as it was counted here, unless a part was counted as more than the whole.
        let again = usage(to, &body).unwrap_or_default();
        let cached = counted.cached.saturating_add(counted.cache_write);
        if cached <= counted.input && counted.reasoning <= counted.output {
            let (here, there) = ((counted.input, counted.output), (again.input, again.output));
            assert_eq!(here, there, "{from} to {to}: other tokens: {answer}");
        }
        for back in Dialect::ALL.into_iter().filter(|back| *back != to) {
            let _ = translate_response(to, back, &body, &context());
        }
    }
}
