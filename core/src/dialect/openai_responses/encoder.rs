//! A streamed response, written from common events.

mod done;

use crate::json::{Value, json};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;

use super::super::error::ErrorView;
use super::super::error::StreamError;
use super::super::event::Event;
use super::super::language::Encode;
use super::super::logprobs::openai_list;
use super::super::message::ToolName;
use super::super::message::{Finish, TokenLogprob};
use super::super::sse::put_event;
use super::super::{AnswerContext, Usage};
use super::carried::Carried;
use super::response::{self, Body, Failure, Item, Piece, Response, Status, TextKind, part};

/// Bytes of text and arguments that one answer may have: this dialect repeats all of it at the end, so all of it is
/// held. More than twice the longest answer of any model (128,000 tokens of some 6 bytes).
const HELD_LIMIT: usize = 2 << 20;

#[derive(Debug)]
pub(in super::super) struct Encoder {
    ctx: AnswerContext,
    id: String,
    begun: bool,
    sequence: u64,
    items: Vec<Item>,
    /// The message or the thought that is being written.
    open: Option<usize>,
    /// The tool calls being written, as (number, place in `items`). They stay open until they end or the turn does:
    /// other dialects may come back to an earlier one.
    calls: Vec<(u32, usize)>,
    /// What a provider wants back of the message that is being written, to be said after it.
    signed: Option<Carried>,
    held: usize,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

/// What all events begin with.
#[derive(Serialize)]
struct Numbered<'a, E: Serialize> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    event: &'a E,
}

#[derive(Serialize)]
struct Whole<'a> {
    response: Response<'a>,
}

/// A delta, the frequent event, is written without a detour.
#[derive(Serialize)]
struct Fragment<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    #[serde(rename = "delta")]
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [Value]>,
}

/// Where in the output a delta belongs.
enum Place {
    Text(usize),
    Refusal(usize),
    Summary,
    Arguments,
    Input,
}

impl Encoder {
    pub(in super::super) fn new(ctx: AnswerContext) -> Self {
        Self {
            id: response::id("resp", &ctx, None),
            ctx,
            begun: false,
            sequence: 0,
            items: Vec::new(),
            open: None,
            calls: Vec::new(),
            signed: None,
            held: 0,
            finish: None,
            usage: None,
        }
    }

    fn encode(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamError> {
        match event {
            Event::Start { usage, .. } => self.usage = usage.or(self.usage),
            // A response has one answer: `n` is never asked for on behalf of this dialect.
            Event::Text { choice: 0, text } => self.say(TextKind::Text, text, out)?,
            Event::Refusal { choice: 0, text } => self.say(TextKind::Refusal, text, out)?,
            Event::Thought { choice: 0, text } => self.think(text, out)?,
            Event::Signature { choice: 0, signature } => {
                let carried = Carried {
                    signature: Some(signature.clone()),
                    ..Carried::default()
                };
                self.sign(carried, out)?;
            }
            Event::Logprobs { choice: 0, tokens } => self.logprobs(tokens, out)?,
            Event::Redacted { choice: 0, data } => {
                self.close_open(Status::Completed, out);
                let carried = Carried {
                    redacted: Some(data.clone()),
                    ..Carried::default()
                };
                self.carry(carried, out)?;
            }
            Event::CallStart {
                choice: 0,
                index,
                id,
                name,
                signature,
            } => self.call(*index, id, name, signature.as_deref(), out)?,
            Event::CallArguments {
                choice: 0,
                index,
                fragment,
            } => self.arguments(*index, fragment, out)?,
            Event::CallEnd { choice: 0, index } => {
                if let Some(at) = self.calls.iter().position(|call| call.0 == *index) {
                    let (_, place) = self.calls.remove(at);
                    self.close(place, Status::Completed, out);
                }
            }
            Event::Finish { choice: 0, reason, .. } => self.finish = Some(*reason),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => out.put_slice(b": ping\n\n"),
            Event::End => self.end(out),
            _ => {}
        }
        Ok(())
    }

    /// Ends a stream that broke: the `error` event on which SDKs give up, and the failed response for those who wait for
    /// the response's own end.
    fn failed(&self, view: &ErrorView<'_>) -> Bytes {
        let mut out = BytesMut::from(&*super::error::event(view, self.sequence));
        let failure = Failure {
            code: super::error::code(view),
            message: view.message,
            bowsprit_code: view.code.as_str(),
        };
        let response = Response::begun(&self.id, &self.ctx).failed(failure, &self.items);
        put(
            &mut (self.sequence + 1),
            "response.failed",
            &Whole { response },
            &mut out,
        );
        out.freeze()
    }

    /// With the first content and not before: nothing is sent to the caller until then, and these two events repeat all
    /// instructions and tools, which would fill what the proxy holds back.
    fn begin(&mut self, out: &mut BytesMut) {
        if self.begun {
            return;
        }
        self.begun = true;
        let response = Whole {
            response: Response::begun(&self.id, &self.ctx),
        };
        put(&mut self.sequence, "response.created", &response, out);
        put(&mut self.sequence, "response.in_progress", &response, out);
    }

    /// Opens an item at the end of the output.
    fn add(&mut self, body: Body, out: &mut BytesMut) -> usize {
        self.begin(out);
        let place = self.items.len();
        let item = Item {
            id: response::id(body.prefix(), &self.ctx, Some(place)),
            status: Status::InProgress,
            body,
        };
        let event = json!({ "output_index": place, "item": item.value() });
        self.items.push(item);
        put(&mut self.sequence, "response.output_item.added", &event, out);
        place
    }

    fn hold(&mut self, bytes: usize) -> Result<(), StreamError> {
        self.held += bytes;
        if self.held > HELD_LIMIT {
            return Err(StreamError::Malformed("the answer is larger than 2 MiB".to_owned()));
        }
        Ok(())
    }

    fn delta(&mut self, place: usize, at: &Place, text: &str, logprobs: &[Value], out: &mut BytesMut) {
        let (kind, content_index) = match at {
            Place::Text(index) => ("response.output_text.delta", Some(*index)),
            Place::Refusal(index) => ("response.refusal.delta", Some(*index)),
            Place::Summary => ("response.reasoning_summary_text.delta", None),
            Place::Arguments => ("response.function_call_arguments.delta", None),
            Place::Input => ("response.custom_tool_call_input.delta", None),
        };
        let Some(item) = self.items.get(place) else { return };
        let fragment = Fragment {
            kind,
            sequence_number: self.sequence,
            item_id: &item.id,
            output_index: place,
            content_index,
            summary_index: matches!(at, Place::Summary).then_some(0),
            text,
            logprobs: matches!(at, Place::Text(_)).then_some(logprobs),
        };
        put_event(out, Some(kind), &fragment);
        self.sequence += 1;
    }

    fn say(&mut self, kind: TextKind, text: &str, out: &mut BytesMut) -> Result<(), StreamError> {
        self.hold(text.len())?;
        let place = self.message(out);
        let index = self.piece(place, kind, out);
        if let Some(Body::Message(pieces)) = self.items.get_mut(place).map(|item| &mut item.body)
            && let Some(piece) = pieces.get_mut(index)
        {
            piece.text.push_str(text);
        }
        let at = match kind {
            TextKind::Text => Place::Text(index),
            TextKind::Refusal => Place::Refusal(index),
        };
        self.delta(place, &at, text, &[], out);
        Ok(())
    }

    /// Of the text before, in a delta without any of its own: it may have been split differently.
    fn logprobs(&mut self, tokens: &[TokenLogprob], out: &mut BytesMut) -> Result<(), StreamError> {
        let size = |token: &str| token.len() + size_of::<f64>();
        let bytes = tokens.iter().map(|entry| {
            let others: usize = entry.others.iter().map(|(token, _)| size(token)).sum();
            size(&entry.token) + others
        });
        self.hold(bytes.sum())?;
        let Some(place) = self.open else { return Ok(()) };
        let Some(Body::Message(pieces)) = self.items.get_mut(place).map(|item| &mut item.body) else {
            return Ok(());
        };
        let index = pieces.len().saturating_sub(1);
        let Some(piece) = pieces.last_mut().filter(|piece| piece.kind == TextKind::Text) else {
            return Ok(());
        };
        piece.logprobs.extend_from_slice(tokens);
        self.delta(place, &Place::Text(index), "", &openai_list(tokens), out);
        Ok(())
    }

    /// The message that is being written; opens one if need be.
    fn message(&mut self, out: &mut BytesMut) -> usize {
        if let Some(place) = self.open {
            if matches!(self.items.get(place).map(|item| &item.body), Some(Body::Message(_))) {
                return place;
            }
            self.close_open(Status::Completed, out);
        }
        let place = self.add(Body::Message(Vec::new()), out);
        self.open = Some(place);
        place
    }

    /// The index of the message's last piece if it is of this kind, else of a new one.
    fn piece(&mut self, place: usize, kind: TextKind, out: &mut BytesMut) -> usize {
        let Some(Body::Message(pieces)) = self.items.get(place).map(|item| &item.body) else {
            return 0;
        };
        let count = pieces.len();
        match pieces.last() {
            Some(last) if last.kind == kind => return count - 1,
            Some(_) => self.piece_done(place, out),
            None => {}
        }
        let Some(item) = self.items.get_mut(place) else {
            return 0;
        };
        if let Body::Message(pieces) = &mut item.body {
            pieces.push(Piece {
                kind,
                text: String::new(),
                logprobs: Vec::new(),
            });
        }
        let event = json!({
            "item_id": item.id, "output_index": place, "content_index": count, "part": part(kind, "", &[]),
        });
        put(&mut self.sequence, "response.content_part.added", &event, out);
        count
    }

    fn think(&mut self, text: &str, out: &mut BytesMut) -> Result<(), StreamError> {
        self.hold(text.len())?;
        let place = self.thought(out);
        let Some(item) = self.items.get_mut(place) else {
            return Ok(());
        };
        let Body::Reasoning { summary, .. } = &mut item.body else {
            return Ok(());
        };
        let first = summary.is_empty();
        summary.push_str(text);
        if first {
            let event = json!({
                "item_id": item.id, "output_index": place, "summary_index": 0,
                "part": { "type": "summary_text", "text": "" },
            });
            put(&mut self.sequence, "response.reasoning_summary_part.added", &event, out);
        }
        self.delta(place, &Place::Summary, text, &[], out);
        Ok(())
    }

    /// The thought that is being written; opens one if need be.
    fn thought(&mut self, out: &mut BytesMut) -> usize {
        if let Some(place) = self.open {
            if matches!(
                self.items.get(place).map(|item| &item.body),
                Some(Body::Reasoning { .. })
            ) {
                return place;
            }
            self.close_open(Status::Completed, out);
        }
        let body = Body::Reasoning {
            summary: String::new(),
            carried: Carried::default(),
        };
        let place = self.add(body, out);
        self.open = Some(place);
        place
    }

    /// A signature is of the thought or the text before it. That of a text stands in an item of its own, and must not
    /// cut the text in two.
    fn sign(&mut self, carried: Carried, out: &mut BytesMut) -> Result<(), StreamError> {
        let open = self.open.and_then(|place| self.items.get(place));
        if matches!(open.map(|item| &item.body), Some(Body::Message(_))) {
            self.hold(carried.size())?;
            self.signed = Some(carried);
            return Ok(());
        }
        self.carry(carried, out)
    }

    /// Puts into the thought what its provider wants back, which is the last that is known of it.
    fn carry(&mut self, what: Carried, out: &mut BytesMut) -> Result<(), StreamError> {
        self.hold(what.size())?;
        let place = self.thought(out);
        if let Some(Body::Reasoning { carried, .. }) = self.items.get_mut(place).map(|item| &mut item.body) {
            *carried = what;
        }
        self.close_open(Status::Completed, out);
        Ok(())
    }

    fn call(
        &mut self,
        index: u32,
        call_id: &str,
        name: &ToolName,
        signature: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), StreamError> {
        self.hold(call_id.len() + name.name.len())?;
        if let Some(signature) = signature {
            // With the thought before it, or with an item of its own.
            let carried = Carried {
                signature: Some(signature.to_owned()),
                call: Some(call_id.to_owned()),
                redacted: None,
            };
            self.carry(carried, out)?;
        }
        self.close_open(Status::Completed, out);
        let body = Body::Call {
            call_id: call_id.to_owned(),
            name: name.clone(),
            arguments: String::new(),
        };
        let place = self.add(body, out);
        self.calls.push((index, place));
        Ok(())
    }

    fn arguments(&mut self, index: u32, fragment: &str, out: &mut BytesMut) -> Result<(), StreamError> {
        self.hold(fragment.len())?;
        let Some(&(_, place)) = self.calls.iter().find(|call| call.0 == index) else {
            return Ok(());
        };
        let mut at = Place::Arguments;
        if let Some(Body::Call { arguments, name, .. }) = self.items.get_mut(place).map(|item| &mut item.body) {
            arguments.push_str(fragment);
            if name.is_search() {
                return Ok(());
            }
            if name.is_custom() {
                at = Place::Input;
            }
        }
        self.delta(place, &at, fragment, &[], out);
        Ok(())
    }

    fn close_open(&mut self, status: Status, out: &mut BytesMut) {
        if let Some(place) = self.open.take() {
            self.close(place, status, out);
        }
        if let Some(carried) = self.signed.take() {
            let body = Body::Reasoning {
                summary: String::new(),
                carried,
            };
            let place = self.add(body, out);
            self.close(place, Status::Completed, out);
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        let refused = self.items.iter().any(|item| match &item.body {
            Body::Message(pieces) => pieces.iter().any(|piece| piece.kind == TextKind::Refusal),
            _ => false,
        });
        let ending = response::ending(self.finish.unwrap_or(Finish::Stop), refused);
        // What was not done by itself was being written when it ended: cut, if the answer was.
        self.close_open(ending.0, out);
        for (_, place) in std::mem::take(&mut self.calls) {
            self.close(place, ending.0, out);
        }
        let usage = self.usage.unwrap_or_default();
        let response = Response::begun(&self.id, &self.ctx).ended(ending, &self.items, usage);
        let kind = match ending.0 {
            Status::Incomplete => "response.incomplete",
            _ => "response.completed",
        };
        put(&mut self.sequence, kind, &Whole { response }, out);
    }
}

fn put(sequence: &mut u64, kind: &'static str, event: &impl Serialize, out: &mut BytesMut) {
    let event = Numbered {
        kind,
        sequence_number: *sequence,
        event,
    };
    *sequence += 1;
    put_event(out, Some(kind), &event);
}

impl Encode for Encoder {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamError> {
        self.encode(event, out)
    }

    fn error_event(&self, error: &ErrorView<'_>) -> Bytes {
        self.failed(error)
    }
}
