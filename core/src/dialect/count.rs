//! Counting a request's tokens, said by one API to another: `Anthropic`'s `count_tokens`, `Gemini`'s `countTokens` and
//! `OpenAI`'s `/responses/input_tokens`.
//!
//! What is counted is what a conversation would be translated to: system prompt, turns, tools. What only steers the answer
//! is not asked about and so never refused here. Servers that are merely compatible with `OpenAI` count nothing.

use crate::json::{Value, json};
use bytes::Bytes;

use super::codec::settle_tools;
use super::cursor::parse_body;
use super::dropped::Dropped;
use super::mend::mend;
use super::message::{Request, to_bytes};
use super::{Dialect, RequestError, Target, Translated, anthropic_messages, gemini, openai_responses, success};
use crate::fault::ErrorKind;

mod openai;

/// What of a messages request is counted.
const ANTHROPIC: &[&str] = &[
    "model",
    "system",
    "messages",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
];

/// `Gemini`'s count of a whole request, with system prompt and tools.
const WHOLE: &str = "generateContentRequest";

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
    let mut request = decode(from, &value, &mut dropped)?;
    settle_tools(&mut request, to, target, &mut dropped)?;
    keep_what_counts(&mut request);
    mend(&mut request, to, target, &mut dropped)?;
    let body = match to {
        Dialect::AnthropicMessages => {
            let mut body = anthropic_messages::request_out::encode(request, target, &mut dropped)?;
            if let Some(object) = body.as_object_mut() {
                object.retain(|name, _| ANTHROPIC.contains(&name.as_str()));
            }
            body
        }
        Dialect::Gemini => {
            let target = Target {
                safety: &[],
                ..target.clone()
            };
            let mut body = gemini::request_out::encode(request, &target, &mut dropped)?;
            if let Some(object) = body.as_object_mut() {
                object.insert("model".to_owned(), gemini::full_name(target.model).into());
            }
            json!({ WHOLE: body })
        }
        Dialect::OpenAiResponses => openai::encode(&request, target, &mut dropped)?,
        Dialect::OpenAiChat => {
            let problem = "cannot be counted: the chosen provider's API has no token count";
            return Err(RequestError::unsupported("model", problem));
        }
    };
    Ok(Translated {
        body: to_bytes(&body),
        tools_left_out: dropped.tools(),
        dropped: dropped.into_vec(),
        ..Translated::default()
    })
}

fn decode(from: Dialect, value: &Value, dropped: &mut Dropped) -> Result<Request, RequestError> {
    match from {
        Dialect::AnthropicMessages => anthropic_messages::request_in::decode(value, dropped),
        Dialect::OpenAiResponses => openai_responses::request_in::decode(value, dropped),
        Dialect::Gemini => match value.get(WHOLE) {
            None => gemini::request_in::decode(value, dropped),
            Some(inner) => gemini::request_in::decode(inner, dropped).map_err(|mut error| {
                error.path = format!("{WHOLE}.{}", error.path);
                error
            }),
        },
        Dialect::OpenAiChat => Err(RequestError::not_json("is no count of tokens")),
    }
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

fn name_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Gemini => "totalTokens",
        _ => "input_tokens",
    }
}

/// What is wrong with a count in the caller's own dialect that came with a status of success; `None` if it holds one.
pub fn answer_problem(dialect: Dialect, body: &[u8]) -> Option<ErrorKind> {
    success::other_problem(dialect, body, &[name_of(dialect)], &[name_of(dialect)])
}

/// Says the provider's count in another dialect.
///
/// # Errors
/// What the answer really was, as [`super::translate_response`].
pub fn translate_response(from: Dialect, to: Dialect, body: &[u8]) -> Result<Bytes, ErrorKind> {
    let value = success::object(from, body)?;
    let name = name_of(from);
    let tokens = value.get(name).and_then(Value::as_u64).ok_or(ErrorKind::Malformed)?;
    Ok(to_bytes(&match to {
        Dialect::Gemini => json!({ "totalTokens": tokens }),
        Dialect::OpenAiResponses => json!({ "object": "response.input_tokens", "input_tokens": tokens }),
        Dialect::AnthropicMessages | Dialect::OpenAiChat => json!({ "input_tokens": tokens }),
    }))
}
