//! A streamed answer before it is sent: its frames as bytes, cut off where the fault comes.

use crate::api::Api;
use crate::api::Operation;
use crate::api::errors::{self, ErrorSays};
use crate::call::{Call, StreamForm};
use crate::gzip;
use crate::script::{Answer, Fault, LineEnd, Point};
use crate::sse::{Frame, Kind};

/// The frames of a stream as bytes, cut off where the fault comes.
pub(super) struct StreamPlan {
    pub(super) frames: Vec<(Kind, Vec<u8>)>,
    /// The first frame that the fault left out.
    pub(super) left_out: Vec<u8>,
    pub(super) ping: Vec<u8>,
}

impl StreamPlan {
    pub(super) fn new(call: &Call, answer: &Answer, mut frames: Vec<Frame>, request_id: &str) -> Self {
        let cut = cut_after(answer.fault.as_ref()).map(|after| place_after(&frames, after));
        let left_out = cut
            .map(|cut| frames.split_off(cut))
            .and_then(|rest| rest.into_iter().next());
        match &answer.fault {
            Some(Fault::NoEndMarker) => frames.retain(|frame| frame.kind != Kind::End),
            Some(Fault::NoFinish) => frames.retain(|frame| !matches!(frame.kind, Kind::Finish | Kind::End)),
            Some(Fault::ErrorEvent { code, kind, .. }) => {
                frames.push(error_frame(call, *code, kind.as_deref(), request_id, frames.len()));
            }
            _ => {}
        }
        if call.stream == StreamForm::JsonArray {
            return Self::json_array(
                &frames,
                left_out.as_ref(),
                cut.is_none() || answer.fault.as_ref().is_some_and(is_clean),
            );
        }
        let line_end = match (answer.line_end, call.route.api) {
            (LineEnd::CrLf, _) | (LineEnd::Usual, Api::Gemini) => "\r\n",
            (LineEnd::Cr, _) => "\r",
            _ => "\n",
        };
        let last = frames.len().saturating_sub(1);
        let blank_line = |place: usize| place < last || !answer.no_final_blank_line;
        let mut bytes: Vec<(Kind, Vec<u8>)> = frames
            .iter()
            .enumerate()
            .map(|(place, frame)| (frame.kind, frame.to_sse(line_end, blank_line(place))))
            .collect();
        if answer.byte_order_mark {
            bytes.insert(0, (Kind::Start, b"\xef\xbb\xbf".to_vec()));
        }
        let ping = match call.route.api {
            Api::Anthropic => format!("event: ping{line_end}data: {{\"type\": \"ping\"}}{line_end}{line_end}"),
            // Gemini sends none, and its own SDK cannot read a comment.
            Api::Gemini => String::new(),
            _ => format!(": keep-alive{line_end}{line_end}"),
        };
        let left_out = left_out.map(|frame| frame.to_sse(line_end, true)).unwrap_or_default();
        Self {
            frames: bytes,
            left_out,
            ping: ping.into_bytes(),
        }
    }

    /// Gemini's array: an element a write, closed only if the stream ends cleanly.
    fn json_array(frames: &[Frame], left_out: Option<&Frame>, closed: bool) -> Self {
        let element = |place: usize, frame: &Frame| {
            let before = if place == 0 { "[" } else { ",\r\n" };
            format!("{before}{}\n", frame.data).into_bytes()
        };
        let mut bytes: Vec<(Kind, Vec<u8>)> = frames
            .iter()
            .enumerate()
            .map(|(place, frame)| (frame.kind, element(place, frame)))
            .collect();
        if let (true, Some((_, last))) = (closed, bytes.last_mut()) {
            last.extend(b"]\n");
        }
        let left_out = left_out.map(|frame| element(frames.len(), frame)).unwrap_or_default();
        Self {
            frames: bytes,
            left_out,
            ping: b"\n".to_vec(),
        }
    }
}

/// Whether a fault leaves the HTTP framing whole.
fn is_clean(fault: &Fault) -> bool {
    matches!(fault, Fault::NoEndMarker | Fault::NoFinish | Fault::ErrorEvent { .. })
}

/// After how many pieces of content the frames end.
fn cut_after(fault: Option<&Fault>) -> Option<u32> {
    match fault? {
        Fault::Stall { after }
        | Fault::EarlyFin { after }
        | Fault::TruncatedChunked { after }
        | Fault::ErrorEvent { after, .. }
        | Fault::Reset {
            at: Point::AfterChunks(after) | Point::MidChunk(after),
        } => Some(*after),
        Fault::Reset { .. } | Fault::NoEndMarker | Fault::NoFinish => None,
    }
}

/// The place of the frame that comes after so many pieces of content. With none wanted, that is the first piece (or, if
/// there is none, the first frame of the end); else right after the last one wanted.
fn place_after(frames: &[Frame], after: u32) -> usize {
    let mut left = after;
    for (place, frame) in frames.iter().enumerate() {
        if left == 0 && (after > 0 || frame.kind != Kind::Start) {
            return place;
        }
        left -= u32::from(frame.kind == Kind::Content);
    }
    frames.len()
}

/// An error as the API writes it inside a stream.
fn error_frame(call: &Call, status: u16, kind: Option<&str>, request_id: &str, place: usize) -> Frame {
    let api = call.route.api;
    let says = ErrorSays {
        status,
        kind,
        request_id,
        model: &call.model,
        ..ErrorSays::default()
    };
    let body = errors::body(api, &says);
    match (api, call.route.operation) {
        (Api::Anthropic, _) => Frame::event(Kind::Finish, "error", &body),
        (Api::OpenAi, Operation::Responses) => {
            let inner = |name: &str| body.pointer(&format!("/error/{name}")).cloned().unwrap_or_default();
            let data = serde_json::json!({"type": "error", "sequence_number": place, "code": inner("code"),
                "message": inner("message"), "param": inner("param")});
            Frame::event(Kind::Finish, "error", &data)
        }
        _ => Frame::data(Kind::Finish, &body),
    }
}

/// Passes bytes through, or through gzip, one flushed block at a time.
pub(super) struct Zip {
    on: bool,
    begun: bool,
    crc: u32,
    length: usize,
}

impl Zip {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            begun: false,
            crc: 0,
            length: 0,
        }
    }

    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        if !self.on {
            return bytes.to_vec();
        }
        let mut out = if self.begun {
            Vec::new()
        } else {
            gzip::header().to_vec()
        };
        self.begun = true;
        self.crc = gzip::crc32(self.crc, bytes);
        self.length += bytes.len();
        out.extend(gzip::block(bytes));
        out
    }

    pub(super) fn end(&mut self) -> Vec<u8> {
        if self.on {
            gzip::trailer(self.crc, self.length)
        } else {
            Vec::new()
        }
    }
}
