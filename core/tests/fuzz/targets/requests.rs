//! Callers' bodies: read, spliced and translated into every dialect, or refused with a reason.

use bowsprit_core::dialect::{
    Dialect, RequestError, native_responses, peek, translate_request, with_model, with_usage_option,
    without_foreign_thoughts,
};
use bowsprit_core::fault::Code;
use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;
use serde_json::Value;

use super::{chance, pairs, target};

pub(crate) fn translate(input: &[u8]) {
    for dialect in Dialect::ALL {
        spliced(dialect, input);
    }
    let on_unsupported = chance(input).bool().then_some(OnUnsupported::Drop);
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        match translate_request(from, to, input, &target("the-model", on_unsupported)) {
            Ok(translated) => {
                let body: Value = serde_json::from_slice(&translated.body).expect("a translation is JSON");
                assert!(body.is_object(), "{from} to {to}: a translation is an object");
                if to != Dialect::Gemini {
                    let envelope = peek(to, &translated.body)
                        .unwrap_or_else(|error| panic!("{from} to {to} makes what {to} refuses: {error}: {body}"));
                    assert_eq!(envelope.model, "the-model");
                    assert!(envelope.stream, "{from} to {to} forgets the stream");
                }
                // Whatever was said must be sayable again, or refused: a caller may be a proxy too.
                for back in Dialect::ALL.into_iter().filter(|back| *back != to) {
                    let _ = translate_request(to, back, &translated.body, &target("again", None));
                }
            }
            Err(error) => refused(&error),
        }
    }
}

pub(crate) fn refused(error: &RequestError) {
    assert!(!error.problem.is_empty(), "a refusal without a reason");
    assert!(
        matches!(error.code, Code::ValNotJson | Code::ValField | Code::ValUnsupported),
        "a refusal with the code of something else: {:?}",
        error.code
    );
    assert!(
        !error.to_string().contains('\0'),
        "a refusal that would break a log line"
    );
}

/// What passes through unread is changed in exactly the one value.
fn spliced(dialect: Dialect, input: &[u8]) {
    let envelope = match peek(dialect, input) {
        Ok(envelope) => envelope,
        Err(error) => return refused(&error),
    };
    if dialect == Dialect::Gemini {
        return; // its model is in the URL
    }
    let body = Bytes::copy_from_slice(input);
    let mut before: Value = match serde_json::from_slice(input) {
        Ok(value) => value,
        Err(error) => return only_passed_on(&error.to_string()),
    };
    let _ = without_foreign_thoughts(dialect, "the-model", &body);
    if dialect == Dialect::OpenAiResponses {
        match native_responses(&body) {
            Ok(native) => assert!(
                serde_json::from_slice::<Value>(&native.body).is_ok(),
                "a broken body for OpenAI"
            ),
            Err(error) => refused(&error),
        }
    }
    let with = with_model(&body, "other/model\"");
    let after: Value = serde_json::from_slice(&with).expect("still JSON with another model");
    before["model"] = "other/model\"".into();
    assert_eq!(after, before, "{dialect}: with_model changed something else");
    if dialect == Dialect::OpenAiChat && envelope.stream {
        let with = with_usage_option(&body);
        let envelope = peek(dialect, &with).expect("still a request with the usage option");
        assert!(
            envelope.include_usage && envelope.stream,
            "the usage option was not set"
        );
    }
}

/// What is only passed on may be nested deeper than what is taken apart, and have a lone surrogate in a text, which JSON's
/// grammar allows and no Rust text can hold.
fn only_passed_on(error: &str) {
    let allowed = ["recursion limit", "surrogate", "hex escape"];
    assert!(
        allowed.iter().any(|why| error.contains(why)),
        "peek reads what is no JSON: {error}"
    );
}
