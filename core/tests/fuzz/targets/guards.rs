//! Guards on streamed answers: a text in any events is masked as the whole text is, a stream in any pieces comes out the same, and
//! one in which nothing is found leaves byte for byte.

use bowsprit_core::dialect::{Dialect, Pushed};
use bowsprit_core::guard::{Guard, Sieve};
use bowsprit_crds::access::Enforcement;
use bowsprit_crds::guards::{Action, Guard as Spec, Kind, Side, Unread};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::{chance, pieces as cut};

const KINDS: [Kind; 7] = [
    Kind::PrivateKey,
    Kind::Jwt,
    Kind::Key,
    Kind::Email,
    Kind::Iban,
    Kind::Card,
    Kind::Phone,
];

pub(crate) fn stream(input: &[u8]) {
    let mut rng = chance(input);
    for dialect in Dialect::ALL {
        let whole = sieved(dialect, [input]);
        assert_eq!(
            sieved(dialect, cut(input, &mut rng)),
            whole,
            "other pieces, another stream"
        );
        if whole.1 == 0 {
            assert_eq!(
                String::from_utf8_lossy(&whole.0),
                String::from_utf8_lossy(input),
                "{dialect:?}"
            );
        }
    }
    // Of a long text each letter may become an event.
    let text = String::from_utf8_lossy(input.get(..2_048).unwrap_or(input));
    let masked = guard().detectors.mask(&text, false);
    let masked = masked.map_or_else(|| text.clone().into_owned(), |(masked, _)| masked);
    for dialect in Dialect::ALL {
        let mut body = Vec::new();
        let mut rest = &*text;
        let most = [1, 5, 60, 4_000][rng.usize(..4)];
        while !rest.is_empty() {
            let mut at = rng.usize(0..=most).min(rest.len());
            while !rest.is_char_boundary(at) {
                at += 1;
            }
            let (delta, after) = rest.split_at(at);
            body.extend_from_slice(format!("data: {}\n\n", event(dialect, delta)).as_bytes());
            rest = after;
        }
        let (out, _) = sieved(dialect, [body.as_slice()]);
        assert_eq!(said(&out), masked, "{dialect:?}: masked otherwise than as a whole");
    }
}

fn guard() -> std::sync::Arc<Guard> {
    let spec = Spec {
        name: "all".into(),
        apply_to: vec![Side::Answer],
        detect: KINDS.to_vec(),
        words: Vec::new(),
        webhook: None,
        action: Action::Mask,
        enforcement: Enforcement::Enforce,
        unread: Unread::Pass,
    };
    Guard::all_of("ModelRoute fuzzed", &[spec]).unwrap().remove(0)
}

/// What comes out, and how much was found.
fn sieved<'a>(dialect: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, u32) {
    let mut sieve = Sieve::new(dialect, vec![guard()].into());
    let (mut all, mut out) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        let piece = Bytes::copy_from_slice(piece);
        match sieve.push(&piece, &mut out).unwrap() {
            Pushed::Same => all.extend_from_slice(&piece),
            Pushed::Rewritten => all.extend_from_slice(&out.split()),
        }
    }
    sieve.finish(&mut out).unwrap();
    assert!(sieve.is_empty(), "something is held after the end");
    all.extend_from_slice(&out);
    let found = sieve.found().map(|(_, found)| found).sum();
    (all, found)
}

fn event(dialect: Dialect, delta: &str) -> Value {
    match dialect {
        Dialect::OpenAiChat => json!({"choices": [{"index": 0, "delta": {"content": delta}}]}),
        Dialect::AnthropicMessages => {
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": delta}})
        }
        Dialect::OpenAiResponses => json!({"type": "response.output_text.delta", "output_index": 0, "delta": delta}),
        Dialect::Gemini => json!({"candidates": [{"content": {"parts": [{"text": delta}]}}]}),
    }
}

fn said(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let events = body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let texts = events.map(|event| {
        let event: Value = serde_json::from_str(event).unwrap();
        let text = [
            "/choices/0/delta/content",
            "/delta/text",
            "/delta",
            "/candidates/0/content/parts/0/text",
        ]
        .into_iter()
        .find_map(|at| event.pointer(at)?.as_str().map(str::to_owned));
        text.unwrap()
    });
    texts.collect()
}
