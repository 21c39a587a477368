//! Counting a request's tokens, said by one API to another: `Anthropic`'s `count_tokens`, `Gemini`'s `countTokens` and
//! `OpenAI`'s `/responses/input_tokens`.
//!
//! What is counted is what a conversation would be translated to: system prompt, turns, tools. What only steers the answer
//! is not asked about and so never refused here. Servers that are merely compatible with `OpenAI` count nothing.

use crate::json::Value;
use bytes::Bytes;

use super::codec::settle_tools;
use super::cursor::parse_body;
use super::dropped::Dropped;
use super::mend::mend;
use super::message::{Request, to_bytes};
use super::{Dialect, RequestError, Target, Translated, registry, success};
use crate::fault::ErrorKind;

/// Says the request in another dialect.
///
/// # Errors
/// As [`super::translate_request`].
pub fn translate_request(
    from: Dialect,
    to: Dialect,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Translated, RequestError> {
    let value = parse_body(body)?;
    let mut dropped = Dropped::new(target.on_unsupported);
    let read = registry::of(from).counting.as_ref().map(|counting| counting.read);
    let read = read.ok_or_else(|| RequestError::not_json("is no count of tokens"))?;
    let mut request = read(&value, &mut dropped)?;
    settle_tools(&mut request, registry::of(to).rules, target, &mut dropped)?;
    keep_what_counts(&mut request);
    mend(&mut request, registry::of(to).rules, target, &mut dropped)?;
    let Some(counting) = &registry::of(to).counting else {
        let problem = "cannot be counted: the chosen provider's API has no token count";
        return Err(RequestError::unsupported("model", problem));
    };
    let body = (counting.write)(request, target, &mut dropped)?;
    Ok(Translated {
        body: to_bytes(&body),
        tools_left_out: dropped.tools(),
        dropped: dropped.into_vec(),
        ..Translated::default()
    })
}

/// Only what is put into the model; how it is to answer makes no token.
fn keep_what_counts(request: &mut Request) {
    let Request {
        system,
        turns,
        tools,
        search,
        tool_choice,
        fields,
        ..
    } = std::mem::take(request);
    *request = Request {
        system,
        turns,
        tools,
        search,
        tool_choice,
        fields,
        choices: 1,
        ..Request::default()
    };
}

/// What is wrong with a count in the caller's own dialect that came with a status of success; `None` if it holds one.
pub fn answer_problem(dialect: Dialect, body: &[u8]) -> Option<ErrorKind> {
    let field = registry::of(dialect).counting.as_ref()?.field;
    success::other_problem(registry::of(dialect).rules, body, &[field], &[field])
}

/// Says the provider's count in another dialect.
///
/// # Errors
/// What the answer really was, as [`super::translate_response`].
pub fn translate_response(from: Dialect, to: Dialect, body: &[u8]) -> Result<Bytes, ErrorKind> {
    let value = success::object(registry::of(from).rules, body)?;
    let counting = |dialect| registry::of(dialect).counting.as_ref().ok_or(ErrorKind::Malformed);
    let tokens = value.get(counting(from)?.field).and_then(Value::as_u64);
    Ok(to_bytes(&(counting(to)?.answer)(tokens.ok_or(ErrorKind::Malformed)?)))
}
