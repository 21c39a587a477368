//! Settings beyond what a target takes.

use std::fmt::Write as _;

use crate::json::Number;
use sha2::{Digest as _, Sha256};

use super::super::RequestError;
use super::super::dropped::Dropped;
use super::super::message::{Request, as_f64};
use super::super::rules::Rules;

/// Brings numbers into their range, and leaves out what says nothing.
///
/// # Errors
/// `VAL_UNSUPPORTED` where no token of an answer may be written: only `Anthropic` takes that, to fill its cache.
pub(super) fn mend(request: &mut Request, to: &Rules, dropped: &mut Dropped) -> Result<(), RequestError> {
    let spelled = request.fields;
    if request.max_tokens == Some(0) {
        let problem = "must be at least 1 for the chosen provider";
        return Err(RequestError::unsupported(spelled.max_tokens, problem));
    }
    // The ranges that OpenAI and Gemini share; Anthropic's own, which is narrower, is its writer's.
    let ranges = [
        (&mut request.temperature, spelled.temperature, 0, 2),
        (&mut request.top_p, spelled.top_p, 0, 1),
        (&mut request.frequency_penalty, spelled.frequency_penalty, -2, 2),
        (&mut request.presence_penalty, spelled.presence_penalty, -2, 2),
    ];
    for (number, spelled, least, most) in ranges {
        let Some(asked) = number else { continue };
        let nearest = match as_f64(asked) {
            asked if asked < f64::from(least) => least,
            asked if asked > f64::from(most) => most,
            _ => continue,
        };
        *number = Some(Number::from(nearest));
        dropped.note(spelled);
    }
    // None, or one less than none, is how servers that know it say that all may be chosen from.
    if request.top_k.as_ref().is_some_and(|top_k| as_f64(top_k) < 1.0) {
        request.top_k = None;
        dropped.note(spelled.top_k);
    }
    let stops = request.stop.len();
    request.stop.retain(|stop| !stop.is_empty());
    dropped.note_if(request.stop.len() < stops, spelled.stop);
    let most = to.longest_user;
    if let Some(user) = request.user.as_mut().filter(|user| user.chars().count() > most) {
        *user = short(user);
        dropped.note(spelled.user);
    }
    Ok(())
}

/// The same for the same user, and another for each other, in 64 characters.
fn short(user: &str) -> String {
    Sha256::digest(user.as_bytes())
        .iter()
        .fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}
