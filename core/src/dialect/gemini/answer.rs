//! Whole `generateContent` answers, read and written.

use crate::json::{Value, json};

use super::super::AnswerContext;
use super::super::ids::call_id;
use super::super::message::{Answer, Choice, Finish, Part, Thought, ToolCall};
use super::super::signature::{Origin, unwrap, wrap};
use super::super::{logprobs, usage};
use super::said::{self, Said, What};

/// Reads an answer; `None` if it is none.
pub(in super::super) fn decode(body: &Value, ctx: &AnswerContext) -> Option<Answer> {
    let mut answer = Answer {
        id: body.get("responseId").and_then(Value::as_str).map(str::to_owned),
        usage: usage::from_value::<usage::Gemini>(body.get("usageMetadata")),
        choices: Vec::new(),
    };
    let mut calls = 0;
    for candidate in body.get("candidates").and_then(Value::as_array).into_iter().flatten() {
        answer.choices.push(choice(candidate, &mut calls, ctx)?);
    }
    if answer.choices.is_empty() && super::blocked(body) {
        let finish = Finish::ContentFilter;
        answer.choices.push(Choice {
            parts: Vec::new(),
            refusal: None,
            finish,
            stop_sequence: None,
            logprobs: Vec::new(),
        });
    }
    if answer.choices.is_empty() { None } else { Some(answer) }
}

fn choice(candidate: &Value, calls: &mut usize, ctx: &AnswerContext) -> Option<Choice> {
    let mut parts = Vec::new();
    let list = candidate
        .get("content")
        .and_then(|content| content.get("parts"))
        .and_then(Value::as_array);
    for part in list.into_iter().flatten() {
        let Said { what, signature } = said::read(part).ok()?;
        match what {
            What::Thought(text) => parts.push(thought(text.into_string(), signature.as_deref())),
            What::Call { id, name, input } => {
                let id = id.unwrap_or_else(|| call_id(&ctx.id, *calls));
                *calls += 1;
                parts.push(Part::Call(ToolCall {
                    id,
                    name: name.into(),
                    input,
                    signature,
                }));
            }
            What::Text(text) => {
                parts.push(Part::Text(text.into_string()));
                parts.extend(signature.map(|signature| thought(String::new(), Some(&signature))));
            }
            What::Nothing => parts.extend(signature.map(|signature| thought(String::new(), Some(&signature)))),
        }
    }
    let told = candidate
        .get("finishReason")
        .and_then(Value::as_str)
        .and_then(super::finish_of);
    if told.is_none() && parts.is_empty() {
        return None;
    }
    Some(Choice {
        parts,
        refusal: None,
        finish: told.unwrap_or(Finish::Stop),
        stop_sequence: None,
        logprobs: logprobs::from_gemini(candidate.get("logprobsResult")),
    })
}

fn thought(text: String, signature: Option<&str>) -> Part {
    Part::Thought(Thought {
        text,
        signature: signature.map(|signature| wrap(Origin::Gemini, signature)),
        redacted: false,
        path: String::new(),
    })
}

/// Writes an answer.
pub(in super::super) fn encode(answer: &Answer, ctx: &AnswerContext) -> Value {
    let candidates: Vec<Value> = answer
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            let mut calls = 0;
            let mut parts: Vec<Value> = choice
                .parts
                .iter()
                .filter_map(|found| part(found, &mut calls))
                .collect();
            if let Some(refusal) = &choice.refusal {
                parts.push(json!({ "text": refusal }));
            }
            let mut candidate = json!({
                "content": { "parts": parts, "role": "model" },
                "finishReason": super::finish_reason(choice.finish),
                "index": index,
            });
            if let (Some(logprobs), Some(object)) = (logprobs::to_gemini(&choice.logprobs), candidate.as_object_mut()) {
                object.insert("logprobsResult".to_owned(), logprobs);
            }
            candidate
        })
        .collect();
    json!({
        "candidates": candidates,
        "usageMetadata": answer.usage.unwrap_or_default().to_gemini(),
        "modelVersion": ctx.model,
        "responseId": answer.id.as_deref().unwrap_or(&ctx.id),
    })
}

fn part(part: &Part, calls: &mut usize) -> Option<Value> {
    match part {
        Part::Text(text) => Some(json!({ "text": text })),
        Part::Thought(thought) => Some(thought_part(
            &thought.text,
            thought.signature.as_deref(),
            thought.redacted,
        )),
        Part::Call(call) => {
            *calls += 1;
            Some(given_call(call, *calls == 1))
        }
        Part::Media(_) | Part::Result(_) | Part::CachePoint(_) => None,
    }
}

/// A thought as this dialect's callers get it, with what its provider wants back.
pub(super) fn thought_part(text: &str, signature: Option<&str>, redacted: bool) -> Value {
    if redacted {
        return json!({ "text": "", "thought": true, "thoughtSignature": wrap(Origin::Redacted, text) });
    }
    let mut part = json!({ "text": text, "thought": true });
    if let (Some(signature), Some(object)) = (signature, part.as_object_mut()) {
        let signature = if unwrap(signature).is_some() {
            signature.to_owned()
        } else {
            wrap(Origin::Anthropic, signature)
        };
        object.insert("thoughtSignature".to_owned(), signature.into());
    }
    part
}

/// A call as this dialect's callers get it. The first of a step has an empty wrapped signature where it has none, so that it can be
/// told from a forgotten one should the conversation go on with `Gemini`.
pub(super) fn given_call(call: &ToolCall, first: bool) -> Value {
    let unsigned = (first && call.signature.is_none()).then(|| wrap(Origin::Unsigned, ""));
    super::request_out::call_part(call, call.signature.as_deref().or(unsigned.as_deref()))
}
