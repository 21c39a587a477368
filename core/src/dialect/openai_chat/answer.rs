//! Whole chat completions, read and written.

use crate::json::{Map, Value, json};

use super::super::AnswerContext;
use super::super::ids::call_id;
use super::super::message::{Answer, Choice, Finish, Part, Thought, ToolCall, arguments, text_of};
use super::super::terms::Tier;
use super::super::{error, logprobs, success, usage};
use super::rules::RULES;
use super::said::{self, Arguments, Said, Thoughts};
use crate::fault::ErrorKind;

/// Reads a chat completion.
///
/// # Errors
/// What it is instead: not one, or one that says that the provider failed at it.
pub(in super::super) fn decode(body: &Value, ctx: &AnswerContext) -> Result<Answer, ErrorKind> {
    let choices = body.get("choices").and_then(Value::as_array);
    let choices = choices
        .filter(|choices| !choices.is_empty())
        .ok_or(ErrorKind::Malformed)?;
    let mut calls = 0;
    let choices = choices.iter().map(|choice| decode_choice(choice, &mut calls, ctx));
    Ok(Answer {
        id: body
            .get("id")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        usage: usage::from_value::<usage::OpenAi>(body.get("usage")).map(|usage| {
            let tier = body.get("service_tier").and_then(Value::as_str);
            usage.under(tier.map(Tier::named).unwrap_or_default())
        }),
        choices: choices.collect::<Result<_, _>>()?,
    })
}

fn decode_choice(choice: &Value, calls: &mut usize, ctx: &AnswerContext) -> Result<Choice, ErrorKind> {
    if let Some(error) = choice.get("error").filter(|error| success::is_some(error)) {
        return Err(error::from_value(&RULES, 200, error).kind);
    }
    let text = |name: &str| choice.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // Some servers answer as if they streamed, or as the older completions API.
    let message = choice
        .get("message")
        .or_else(|| choice.get("delta"))
        .unwrap_or(&Value::Null);
    let said = said::read(message, &mut Thoughts::default()).map_err(|_| ErrorKind::Malformed)?;
    let mut parts = Vec::new();
    let mut refusal = String::new();
    for piece in said {
        match piece {
            Said::Thought(text) => parts.push(thought(text.into_string())),
            Said::Text(text) => parts.push(Part::Text(text.to_string())),
            Said::Refusal(text) => refusal.push_str(text),
            Said::Call(said) => {
                parts.push(Part::Call(call(&said, *calls, ctx)?));
                *calls += 1;
            }
        }
    }
    parts.extend(text("text").map(|text| Part::Text(text.to_owned())));
    let finish = match text("finish_reason") {
        Some(reason) => super::finish_of(reason).map_err(|error| error.kind)?,
        None if parts.is_empty() && refusal.is_empty() => return Err(ErrorKind::Malformed),
        None => Finish::Stop,
    };
    Ok(Choice {
        parts,
        refusal: Some(refusal).filter(|refusal| !refusal.is_empty()),
        finish,
        stop_sequence: None,
        logprobs: logprobs::from_openai(choice.get("logprobs")),
    })
}

fn thought(text: String) -> Part {
    Part::Thought(Thought {
        text,
        signature: None,
        redacted: false,
        path: String::new(),
    })
}

fn call(said: &said::Call<'_>, number: usize, ctx: &AnswerContext) -> Result<ToolCall, ErrorKind> {
    let input = match said.arguments {
        Arguments::None => arguments(""),
        Arguments::Text(text) => arguments(text),
        Arguments::Whole(value) if value.is_object() => value.clone(),
        Arguments::Whole(value) => arguments(&value.to_string()),
    };
    Ok(ToolCall {
        id: said
            .id
            .as_deref()
            .map_or_else(|| call_id(&ctx.id, number), str::to_owned),
        name: said.name.ok_or(ErrorKind::Malformed)?.into(),
        input,
        signature: None,
    })
}

/// Writes a chat completion.
pub(in super::super) fn encode(answer: &Answer, ctx: &AnswerContext) -> Value {
    let choices: Vec<Value> = answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            json!({
                "index": index,
                "message": message(choice),
                "logprobs": logprobs::to_openai(&choice.logprobs),
                "finish_reason": super::finish_reason(choice.finish),
            })
        })
        .collect();
    json!({
        "id": answer.id.as_deref().unwrap_or(&ctx.id),
        "object": "chat.completion",
        "created": ctx.created,
        "model": ctx.model,
        "choices": choices,
        "usage": answer.usage.unwrap_or_default().to_openai(),
    })
}

fn message(choice: &Choice) -> Value {
    let text = text_of(&choice.parts);
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let has_calls = choice.parts.iter().any(|part| matches!(part, Part::Call(_)));
    let nothing = text.is_empty() && (has_calls || choice.refusal.is_some());
    message.insert("content".into(), if nothing { Value::Null } else { text.into() });
    message.insert("refusal".into(), choice.refusal.clone().into());
    let (mut reasoning, mut blocks, mut calls) = (String::new(), Vec::new(), Vec::new());
    for part in &choice.parts {
        match part {
            Part::Thought(thought) if thought.redacted => {
                blocks.push(json!({ "type": "redacted_thinking", "data": thought.text }));
            }
            Part::Thought(thought) => {
                reasoning.push_str(&thought.text);
                if let Some(signature) = &thought.signature {
                    blocks.push(json!({ "type": "thinking", "thinking": thought.text, "signature": signature }));
                }
            }
            Part::Call(call) => {
                let mut value = super::request_out::call_value(call);
                super::super::signature::put_signature(&mut value, call.signature.as_deref());
                calls.push(value);
            }
            _ => {}
        }
    }
    if !reasoning.is_empty() {
        message.insert("reasoning_content".into(), reasoning.into());
    }
    if !blocks.is_empty() {
        message.insert("thinking_blocks".into(), blocks.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Value::Object(message)
}
