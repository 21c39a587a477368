//! The end of an item: what was said in deltas, said whole.

use crate::json::{Value, json};
use bytes::BytesMut;

use super::super::super::logprobs::openai_list;
use super::super::response::{Body, Status, TextKind};
use super::{Encoder, put};

impl Encoder {
    /// Says an item whole and done.
    pub(super) fn close(&mut self, place: usize, status: Status, out: &mut BytesMut) {
        match self.items.get(place).map(|item| &item.body) {
            Some(Body::Message(_)) => self.piece_done(place, out),
            Some(Body::Reasoning { .. }) => self.summary_done(place, out),
            Some(Body::Call { name, .. }) if name.is_custom() => self.input_done(place, out),
            // The item holds them, and no event of its own does.
            Some(Body::Call { name, .. }) if name.is_search() => {}
            Some(Body::Call { .. }) => self.arguments_done(place, out),
            None => return,
        }
        let Some(item) = self.items.get_mut(place) else { return };
        item.status = status;
        let event = json!({ "output_index": place, "item": item.value() });
        put(&mut self.sequence, "response.output_item.done", &event, out);
    }

    fn summary_done(&mut self, place: usize, out: &mut BytesMut) {
        let Some(item) = self.items.get(place) else { return };
        let Body::Reasoning { summary, .. } = &item.body else {
            return;
        };
        if summary.is_empty() {
            return;
        }
        let mut text = json!({ "item_id": item.id, "output_index": place, "summary_index": 0 });
        let mut part = text.clone();
        put_in(&mut text, "text", summary.as_str().into());
        put_in(&mut part, "part", json!({ "type": "summary_text", "text": summary }));
        put(&mut self.sequence, "response.reasoning_summary_text.done", &text, out);
        put(&mut self.sequence, "response.reasoning_summary_part.done", &part, out);
    }

    fn arguments_done(&mut self, place: usize, out: &mut BytesMut) {
        let Some(item) = self.items.get(place) else { return };
        let Body::Call { name, arguments, .. } = &item.body else {
            return;
        };
        let event = json!({ "item_id": item.id, "output_index": place, "name": name.name, "arguments": arguments });
        put(&mut self.sequence, "response.function_call_arguments.done", &event, out);
    }

    fn input_done(&mut self, place: usize, out: &mut BytesMut) {
        let Some(item) = self.items.get(place) else { return };
        let Body::Call { arguments, .. } = &item.body else {
            return;
        };
        let event = json!({ "item_id": item.id, "output_index": place, "input": arguments });
        put(&mut self.sequence, "response.custom_tool_call_input.done", &event, out);
    }

    /// The piece that is being written ends.
    pub(super) fn piece_done(&mut self, place: usize, out: &mut BytesMut) {
        let Some(item) = self.items.get(place) else { return };
        let Body::Message(pieces) = &item.body else { return };
        let Some(piece) = pieces.last() else { return };
        let index = pieces.len() - 1;
        let mut done = json!({ "item_id": item.id, "output_index": place, "content_index": index });
        let mut part = done.clone();
        put_in(&mut part, "part", piece.value());
        let kind = match piece.kind {
            TextKind::Text => {
                put_in(&mut done, "text", piece.text.as_str().into());
                put_in(&mut done, "logprobs", openai_list(&piece.logprobs).into());
                "response.output_text.done"
            }
            TextKind::Refusal => {
                put_in(&mut done, "refusal", piece.text.as_str().into());
                "response.refusal.done"
            }
        };
        put(&mut self.sequence, kind, &done, out);
        put(&mut self.sequence, "response.content_part.done", &part, out);
    }
}

fn put_in(event: &mut Value, name: &str, value: Value) {
    if let Some(object) = event.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
