//! How likely each piece of an answer was, in the words of the two APIs that tell it.
//!
//! The pieces of a scripted text stand for tokens; the figures depend on a piece's place alone.

use serde_json::{Value, json};

/// The natural logarithm of a piece's probability.
fn chosen(place: usize) -> f64 {
    const STEPS: [f64; 4] = [-0.125, -0.5, -0.25, -1.0];
    STEPS.into_iter().cycle().nth(place % STEPS.len()).unwrap_or_default()
}

/// The piece itself and made-up alternatives, each half as likely as the one before.
fn candidates(piece: &str, place: usize, count: usize) -> impl Iterator<Item = (String, f64)> {
    let first = chosen(place);
    std::iter::once((piece.to_owned(), first))
        .chain((1..).map(move |rank: u32| {
            let less = f64::from(rank) * std::f64::consts::LN_2;
            (format!(" alt{rank}"), first - less)
        }))
        .take(count)
}

fn token(piece: &str, logprob: f64) -> Value {
    json!({"token": piece, "logprob": logprob, "bytes": piece.as_bytes()})
}

/// `OpenAI`'s list: an element for each piece, with its `top` likeliest alternatives. `from` is the place of the first.
pub(crate) fn openai(pieces: &[String], from: usize, top: u64) -> Vec<Value> {
    let top = usize::try_from(top).unwrap_or_default();
    let element = |(place, piece): (usize, &String)| {
        let place = from + place;
        let mut element = token(piece, chosen(place));
        let others: Vec<Value> = candidates(piece, place, top)
            .map(|(piece, logprob)| token(&piece, logprob))
            .collect();
        if let Some(fields) = element.as_object_mut() {
            fields.insert("top_logprobs".to_owned(), Value::Array(others));
        }
        element
    };
    pieces.iter().enumerate().map(element).collect()
}

/// Gemini's `logprobsResult` for pieces of which the first has the place `from`, with `top` candidates each.
pub(crate) fn gemini(pieces: &[String], from: usize, top: u64) -> Value {
    let top = usize::try_from(top).unwrap_or_default();
    let candidate =
        |piece: &str, logprob: f64| json!({"token": piece, "tokenId": piece.len(), "logProbability": logprob});
    let chosen_ones: Vec<Value> = pieces
        .iter()
        .enumerate()
        .map(|(place, piece)| candidate(piece, chosen(from + place)))
        .collect();
    let mut result = json!({"chosenCandidates": chosen_ones});
    if top > 0 {
        let tops: Vec<Value> = pieces
            .iter()
            .enumerate()
            .map(|(place, piece)| {
                let all: Vec<Value> = candidates(piece, from + place, top)
                    .map(|(piece, logprob)| candidate(&piece, logprob))
                    .collect();
                json!({"candidates": all})
            })
            .collect();
        if let Some(fields) = result.as_object_mut() {
            fields.insert("topCandidates".to_owned(), Value::Array(tops));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_apis_tell_the_same_figures() {
        let pieces = ["one ".to_owned(), "two".to_owned()];
        let (openai, gemini) = (openai(&pieces, 0, 2), gemini(&pieces, 0, 2));
        for place in [0, 1] {
            assert_eq!(openai[place]["token"], pieces[place]);
            assert_eq!(
                openai[place]["logprob"],
                gemini["chosenCandidates"][place]["logProbability"]
            );
            assert_eq!(
                openai[place]["top_logprobs"][1]["logprob"],
                gemini["topCandidates"][place]["candidates"][1]["logProbability"]
            );
        }
    }
}
