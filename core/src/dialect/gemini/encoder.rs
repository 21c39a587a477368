//! A streamed answer, written from common events.

use crate::json::{Value, json};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::super::error::ErrorView;
use super::super::error::StreamError;
use super::super::event::Event;
use super::super::language::Encode;
use super::super::logprobs;
use super::super::message::ToolName;
use super::super::message::{Finish, ToolCall, arguments};
use super::super::sse::EVENT_LIMIT;
use super::super::sse::put_event;
use super::super::{AnswerContext, Usage};
use super::answer::thought_part;

/// This dialect says tool calls whole, so their arguments are gathered; and says finish and usage last, in one chunk.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    ctx: AnswerContext,
    id: String,
    calls: Vec<Call>,
    /// Bytes of arguments held.
    held: usize,
    finished: Vec<(u32, Finish)>,
    usage: Option<Usage>,
}

#[derive(Debug)]
struct Call {
    choice: u32,
    index: u32,
    id: String,
    name: ToolName,
    signature: Option<String>,
    arguments: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a, P: Serialize> {
    candidates: [Candidate<'a, P>; 1],
    model_version: &'a str,
    response_id: &'a str,
}

#[derive(Serialize)]
struct Candidate<'a, P: Serialize> {
    content: Content<'a, P>,
    index: u32,
}

#[derive(Serialize)]
struct Content<'a, P: Serialize> {
    parts: &'a [P],
    role: &'static str,
}

#[derive(Serialize)]
struct TextPart<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought: Option<bool>,
}

impl Encoder {
    pub(in super::super) fn new(ctx: AnswerContext) -> Self {
        Self {
            id: ctx.id.clone(),
            ctx,
            calls: Vec::new(),
            held: 0,
            finished: Vec::new(),
            usage: None,
        }
    }

    fn encode(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamError> {
        match event {
            Event::Start { id, usage } => {
                if let Some(id) = id {
                    self.id.clone_from(id);
                }
                self.usage = usage.or(self.usage);
            }
            Event::Text { choice, text } | Event::Refusal { choice, text } => {
                self.parts(*choice, &[TextPart { text, thought: None }], out);
            }
            Event::Thought { choice, text } => {
                self.parts(
                    *choice,
                    &[TextPart {
                        text,
                        thought: Some(true),
                    }],
                    out,
                );
            }
            Event::CallStart {
                choice,
                index,
                id,
                name,
                signature,
            } => self.calls.push(Call {
                choice: *choice,
                index: *index,
                id: id.clone(),
                name: name.clone(),
                signature: signature.clone(),
                arguments: String::new(),
            }),
            Event::CallArguments {
                choice,
                index,
                fragment,
            } => {
                self.held += fragment.len();
                if self.held > EVENT_LIMIT {
                    return Err(StreamError::Malformed(
                        "tool arguments are larger than 1 MiB".to_owned(),
                    ));
                }
                let call = self
                    .calls
                    .iter_mut()
                    .find(|call| call.choice == *choice && call.index == *index);
                if let Some(call) = call {
                    call.arguments.push_str(fragment);
                }
            }
            Event::CallEnd { choice, index } => {
                self.release(|call| call.choice == *choice && call.index == *index, *choice, out);
            }
            Event::Finish { choice, reason, .. } => {
                self.release(|call| call.choice == *choice, *choice, out);
                self.finished.push((*choice, *reason));
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            Event::Signature { choice, signature } => {
                self.parts(*choice, &[thought_part("", Some(signature), false)], out);
            }
            Event::Redacted { choice, data } => self.parts(*choice, &[thought_part(data, None, true)], out),
            Event::Logprobs { choice, tokens } => {
                if let Some(logprobs) = logprobs::to_gemini(tokens) {
                    let content = json!({ "parts": [{ "text": "" }], "role": "model" });
                    let chunk = json!({
                        "candidates": [{ "content": content, "logprobsResult": logprobs, "index": choice }],
                        "modelVersion": self.ctx.model,
                        "responseId": self.id,
                    });
                    put_event(out, None, &chunk);
                }
            }
            // This dialect's SDKs know no pings, and some choke on comments.
            Event::Ping => {}
        }
        Ok(())
    }

    /// Sends the calls that are whole.
    fn release(&mut self, which: impl Fn(&Call) -> bool, choice: u32, out: &mut BytesMut) {
        let (ready, waiting): (Vec<Call>, Vec<Call>) = std::mem::take(&mut self.calls).into_iter().partition(which);
        self.calls = waiting;
        if ready.is_empty() {
            return;
        }
        let parts: Vec<Value> = ready
            .into_iter()
            .map(|call| {
                self.held = self.held.saturating_sub(call.arguments.len());
                let input = arguments(&call.arguments);
                let Call {
                    index,
                    id,
                    name,
                    signature,
                    ..
                } = call;
                let call = ToolCall {
                    id,
                    name,
                    input,
                    signature,
                };
                super::answer::given_call(&call, index == 0)
            })
            .collect();
        self.parts(choice, &parts, out);
    }

    fn parts(&self, choice: u32, parts: &[impl Serialize], out: &mut BytesMut) {
        let content = Content { parts, role: "model" };
        let chunk = Chunk {
            candidates: [Candidate { content, index: choice }],
            model_version: &self.ctx.model,
            response_id: &self.id,
        };
        put_event(out, None, &chunk);
    }

    fn end(&mut self, out: &mut BytesMut) {
        let mut finished = std::mem::take(&mut self.finished);
        if finished.is_empty() {
            finished.push((0, Finish::Stop));
        }
        let candidates: Vec<Value> = finished
            .into_iter()
            .map(|(choice, finish)| {
                json!({
                    "content": { "parts": [{ "text": "" }], "role": "model" },
                    "finishReason": super::finish_reason(finish),
                    "index": choice,
                })
            })
            .collect();
        let chunk = json!({
            "candidates": candidates,
            "modelVersion": self.ctx.model,
            "responseId": self.id,
            "usageMetadata": self.usage.unwrap_or_default().to_gemini(),
        });
        put_event(out, None, &chunk);
    }
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamError> {
        self.encode(event, out)
    }

    fn error_event(&self, error: &ErrorView<'_>) -> Bytes {
        super::error::event(error, 0)
    }
}
