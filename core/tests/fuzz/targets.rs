//! The promises, a module each. None of them says what the right answer is: they say what holds for every input.

use std::hash::{DefaultHasher, Hash, Hasher};

use bowsprit_core::dialect::{AnswerContext, Dialect, Target};
use bowsprit_crds::model_route::OnUnsupported;
use fastrand::Rng;

pub(crate) mod answers;
pub(crate) mod config;
pub(crate) mod errors;
pub(crate) mod guards;
pub(crate) mod headers;
pub(crate) mod names;
pub(crate) mod other;
pub(crate) mod requests;
pub(crate) mod sse;
pub(crate) mod streams;

/// Chance that depends on the input alone.
fn chance(input: &[u8]) -> Rng {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    Rng::with_seed(hasher.finish())
}

/// The input in pieces as a network might make them: mostly small, some empty.
fn pieces<'a>(input: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let most = [1, 3, 40, 400][rng.usize(..4)];
    let mut rest = input;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.usize(..=most).min(rest.len()));
        all.push(piece);
        rest = after;
    }
    all
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::ALL
        .into_iter()
        .flat_map(|from| Dialect::ALL.into_iter().map(move |to| (from, to)))
}

fn context() -> AnswerContext {
    AnswerContext {
        model: "asked-for".into(),
        id: "bow-0123456789abcdef".into(),
        created: 1_700_000_000,
        include_usage: true,
        ..AnswerContext::default()
    }
}

fn target(model: &str, on_unsupported: Option<OnUnsupported>) -> Target<'_> {
    Target {
        model,
        default_max_tokens: 4096,
        safety: &[],
        stream: true,
        on_unsupported,
        allowed_tools: true,
    }
}
