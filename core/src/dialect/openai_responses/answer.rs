//! Whole responses, written.

use crate::json::Value;
use bytes::Bytes;

use super::super::AnswerContext;
use super::super::message::{Answer, Finish, Part, TokenLogprob, ToolCall, json_text, struct_to_bytes};
use super::carried::Carried;
use super::response::{self, Body, Item, Piece, Response, Status, TextKind};

/// Writes a response.
pub(in super::super) fn encode(answer: &Answer, ctx: &AnswerContext) -> Bytes {
    let choice = answer.choices.first();
    let mut output = Output {
        ctx,
        items: Vec::new(),
        logprobs: Vec::new(),
    };
    output.logprobs = choice.map(|choice| choice.logprobs.clone()).unwrap_or_default();
    for part in choice.map(|choice| choice.parts.as_slice()).unwrap_or_default() {
        output.part(part);
    }
    let refusal = choice.and_then(|choice| choice.refusal.as_deref());
    if let Some(refusal) = refusal {
        output.say(TextKind::Refusal, refusal);
    }
    let finish = choice.map_or(Finish::Stop, |choice| choice.finish);
    let ending = response::ending(finish, refusal.is_some());
    let mut items = output.items;
    // Only what was being written when it ended is cut.
    if let (Status::Incomplete, Some(last)) = (ending.0, items.last_mut()) {
        last.status = Status::Incomplete;
    }
    let id = response::id("resp", ctx, None);
    let response = Response::begun(&id, ctx).ended(ending, &items, answer.usage.unwrap_or_default());
    struct_to_bytes(&response)
}

struct Output<'a> {
    ctx: &'a AnswerContext,
    items: Vec<Item>,
    /// Of the text, which has them where it begins.
    logprobs: Vec<TokenLogprob>,
}

impl Output<'_> {
    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.say(TextKind::Text, text),
            Part::Thought(thought) if thought.redacted => self.push(Body::Reasoning {
                summary: String::new(),
                carried: Carried {
                    redacted: Some(thought.text.clone()),
                    ..Carried::default()
                },
            }),
            Part::Thought(thought) => self.push(Body::Reasoning {
                summary: thought.text.clone(),
                carried: Carried {
                    signature: thought.signature.clone(),
                    ..Carried::default()
                },
            }),
            Part::Call(call) => self.call(call),
            Part::Media(_) | Part::Result(_) | Part::CachePoint(_) => {}
        }
    }

    fn say(&mut self, kind: TextKind, text: &str) {
        let logprobs = match kind {
            TextKind::Text => std::mem::take(&mut self.logprobs),
            TextKind::Refusal => Vec::new(),
        };
        let piece = Piece {
            kind,
            text: text.to_owned(),
            logprobs,
        };
        match self.items.last_mut().map(|item| &mut item.body) {
            Some(Body::Message(pieces)) => match pieces.last_mut() {
                Some(last) if last.kind == kind => last.text.push_str(text),
                _ => pieces.push(piece),
            },
            _ if text.is_empty() => {}
            _ => self.push(Body::Message(vec![piece])),
        }
    }

    fn call(&mut self, call: &ToolCall) {
        if let Some(signature) = &call.signature {
            self.sign_call(signature, &call.id);
        }
        self.push(Body::Call {
            call_id: call.id.clone(),
            name: call.name.clone(),
            arguments: match &call.input {
                Value::String(text) => text.as_str().to_owned(),
                input => json_text(input),
            },
        });
    }

    /// The signature of a call goes with the thought before it, or with an item of its own.
    fn sign_call(&mut self, signature: &str, call: &str) {
        let signed = Carried {
            signature: Some(signature.to_owned()),
            call: Some(call.to_owned()),
            redacted: None,
        };
        match self.items.last_mut().map(|item| &mut item.body) {
            Some(Body::Reasoning { carried, .. }) if carried.is_empty() => *carried = signed,
            _ => self.push(Body::Reasoning {
                summary: String::new(),
                carried: signed,
            }),
        }
    }

    fn push(&mut self, body: Body) {
        self.items.push(Item {
            id: response::id(body.prefix(), self.ctx, Some(self.items.len())),
            status: Status::Completed,
            body,
        });
    }
}
