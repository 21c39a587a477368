//! Embeddings and token counts, which have their own bodies.

use bowsprit_core::dialect::embeddings::{self, Answered, EmbeddingsApi};
use bowsprit_core::dialect::{Translated, count};
use bowsprit_crds::model_route::OnUnsupported;
use serde_json::Value;

use super::requests::refused;
use super::{pairs, target};

const FORMS: [EmbeddingsApi; 3] = [EmbeddingsApi::OpenAi, EmbeddingsApi::One, EmbeddingsApi::Batch];

pub(crate) fn embeddings(input: &[u8]) {
    for from in FORMS {
        for to in FORMS.into_iter().filter(|to| *to != from) {
            for on_unsupported in [None, Some(OnUnsupported::Refuse), Some(OnUnsupported::Drop)] {
                match embeddings::translate_request(from, to, input, "the-model", on_unsupported) {
                    Ok(divided) => {
                        whole(&divided.first);
                        answered(to, from, &divided.first.body, input);
                    }
                    Err(error) => refused(&error),
                }
            }
            answered(from, to, input, input);
        }
    }
}

/// An answer that is no answer, and one that is, to whoever asked.
fn answered(provider: EmbeddingsApi, caller: EmbeddingsApi, answer: &[u8], request: &[u8]) {
    let part = Answered { sent: answer, answer };
    if let Ok((body, _)) = embeddings::translate_response(provider, caller, &[part], request, "the-model") {
        let _: Value = serde_json::from_slice(&body).expect("a translation is JSON");
    }
}

pub(crate) fn counts(input: &[u8]) {
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        if ![from, to].contains(&bowsprit_core::dialect::Dialect::OpenAiChat) {
            match count::translate_request(from, to, input, &target("the-model", None)) {
                Ok(translated) => whole(&translated),
                Err(error) => refused(&error),
            }
            if let Ok(body) = count::translate_response(to, from, input) {
                let _: Value = serde_json::from_slice(&body).expect("a translation is JSON");
            }
        }
    }
}

fn whole(translated: &Translated) {
    let body: Value = serde_json::from_slice(&translated.body).expect("a translation is JSON");
    assert!(body.is_object(), "a translation is an object");
}
