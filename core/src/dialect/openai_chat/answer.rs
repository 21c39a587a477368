//! Whole chat completions, read and written.

use serde_json::{Map, Value, json};

use super::super::AnswerContext;
use super::super::common::{Answer, Choice, Finish, Part, Thought, ToolCall, arguments, call_id, text_of};
use super::super::{logprobs, usage};

/// Reads a chat completion; `None` if it is none.
pub(in super::super) fn decode(body: &Value, ctx: &AnswerContext) -> Option<Answer> {
    let mut answer = Answer {
        id: body
            .get("id")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        usage: usage::from_value::<usage::OpenAi>(body.get("usage")),
        choices: Vec::new(),
    };
    for choice in body.get("choices")?.as_array()? {
        answer.choices.push(decode_choice(choice, ctx)?);
    }
    if answer.choices.is_empty() { None } else { Some(answer) }
}

fn decode_choice(choice: &Value, ctx: &AnswerContext) -> Option<Choice> {
    let message = choice.get("message")?;
    let text = |name: &str| {
        message
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let mut parts = Vec::new();
    if let Some(thought) = text("reasoning_content").or_else(|| text("reasoning")) {
        parts.push(Part::Thought(Thought {
            text: thought.to_owned(),
            signature: None,
            redacted: false,
            path: String::new(),
        }));
    }
    if let Some(text) = text("content") {
        parts.push(Part::Text(text.to_owned()));
    }
    for (number, call) in message
        .get("tool_calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let function = call.get("function")?;
        let id = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let input = match function.get("arguments") {
            Some(Value::String(text)) => arguments(text),
            // Some compatible servers forget to make it a string.
            Some(Value::Object(map)) => Value::Object(map.clone()),
            _ => arguments(""),
        };
        parts.push(Part::Call(ToolCall {
            id: id.map_or_else(|| call_id(&ctx.id, number), str::to_owned),
            name: function.get("name")?.as_str()?.to_owned(),
            input,
            signature: None,
        }));
    }
    let mut finish = super::finish_of(choice.get("finish_reason").and_then(Value::as_str).unwrap_or("stop"));
    if finish == Finish::Stop && parts.iter().any(|part| matches!(part, Part::Call(_))) {
        // Servers do say "stop" beside tool calls, and callers of the other dialects act on the reason.
        finish = Finish::ToolCalls;
    }
    let refusal = text("refusal").map(str::to_owned);
    if finish == Finish::Stop && refusal.is_some() {
        finish = Finish::Refusal;
    }
    Some(Choice {
        parts,
        refusal,
        finish,
        stop_sequence: None,
        logprobs: logprobs::from_openai(choice.get("logprobs")),
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
                super::super::gemini::put_signature(&mut value, call.signature.as_deref());
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
