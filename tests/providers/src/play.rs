//! A behaviour put on the wire: the head, the frames at their pace, and the break where the script wants it.

use crate::api::errors::{self, ErrorSays};
use crate::api::{self, Api, Operation, Rendered};
use crate::call::{Call, StreamForm};
use crate::connection::{Connection, Gone, Next};
use crate::gzip;
use crate::ids::Ids;
use crate::script::{After, Answer, Behaviour, Fault, LineEnd, Point, Raw, Status};
use crate::sse::{Frame, Kind};
use crate::wire::{LAST_CHUNK, ResponseHead, chunk};

/// What an `EarlyFin` stream promises: more than any test sends.
const FALSE_LENGTH: usize = 1_000_000_000;

/// What nginx shows when what is behind it is gone.
const HTML_502: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n\
    <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// No HTTP, and no UTF-8 either.
const GARBAGE: &[u8] = b"\x16\x03\x01\x00\xff\xfe\x00garbage\r\n\r\n\x00\xc3\x28";

impl Connection {
    pub(crate) async fn play(&mut self, request: u64, act: &Behaviour, call: &Call) -> Result<Next, Gone> {
        let html = || {
            Behaviour::status(502)
                .header("Content-Type", "text/html")
                .body(HTML_502)
        };
        match act {
            Behaviour::Answer(answer) => self.play_answer(request, answer, call).await,
            Behaviour::Status(status) => self.play_status(request, status, call).await,
            Behaviour::Hang => Err(self.silence().await),
            Behaviour::RefuseBody { .. } => Ok(Next::Ignore { request }),
            Behaviour::Html502 => self.play_status(request, &html(), call).await,
            Behaviour::ErrorIn200 => {
                self.play_status(request, &Behaviour::status(200).kind(error_in_200(call)), call)
                    .await
            }
            Behaviour::Empty200 => self.play_status(request, &Behaviour::status(200).body(""), call).await,
            Behaviour::Redirect(to) => {
                let status = Behaviour::status(302).header("Location", to).body("");
                self.play_status(request, &status, call).await
            }
            Behaviour::Garbage => self.play_raw(&Raw::new(GARBAGE)).await,
            Behaviour::Raw(raw) => self.play_raw(raw).await,
        }
    }

    async fn play_raw(&mut self, raw: &Raw) -> Result<Next, Gone> {
        self.head_sent = true;
        self.send(&raw.bytes).await?;
        Ok(after(raw.after))
    }

    async fn play_status(&mut self, request: u64, status: &Status, call: &Call) -> Result<Next, Gone> {
        self.pause(status.delay_ms).await?;
        let mut ids = Ids::new(request);
        let request_id = api::request_id(call.route.api, &mut ids);
        let says = ErrorSays {
            status: status.code,
            kind: status.kind.as_deref(),
            message: status.message.as_deref(),
            retry_after_ms: status.retry_after_ms,
            request_id: &request_id,
            model: &call.model,
        };
        let body = status.body.clone().unwrap_or_else(|| {
            let body = errors::body(call.route.api, &says);
            // Gemini's array stream answers with an array even when all of it is an error.
            let body = if call.route.stream == StreamForm::JsonArray {
                serde_json::json!([body])
            } else {
                body
            };
            write_json(call.route.api, &body)
        });
        let mut head = response_head(call.route.api, status.code, &request_id, status.after);
        head.set("Content-Type", content_type(call.route.api));
        retry_hint(call.route.api, status, &mut head);
        for (name, value) in &status.headers {
            head.set(name, value);
        }
        head.set("Content-Length", body.len().to_string());
        let mut bytes = head.to_bytes();
        bytes.extend(body.as_bytes());
        self.head_sent = true;
        self.send(&bytes).await?;
        Ok(after(status.after))
    }

    async fn play_answer(&mut self, request: u64, answer: &Answer, call: &Call) -> Result<Next, Gone> {
        self.pause(answer.head_delay_ms).await?;
        if answer.fault == Some(Fault::Reset { at: Point::BeforeHead }) {
            return Ok(Next::Reset);
        }
        let mut ids = Ids::new(request);
        let request_id = api::request_id(call.route.api, &mut ids);
        let mut head = response_head(call.route.api, 200, &request_id, answer.after);
        if answer.gzip {
            head.set("Content-Encoding", "gzip");
        }
        match api::render(call, answer, &mut ids) {
            Rendered::Plain(body) => {
                if let Some(Fault::ErrorEvent { code, kind, .. }) = &answer.fault {
                    let status = Status {
                        code: *code,
                        kind: kind.clone(),
                        ..Status::default()
                    };
                    return self.play_status(request, &status, call).await;
                }
                head.set("Content-Type", content_type(call.route.api));
                let body = write_json(call.route.api, &body);
                self.play_plain(answer, head, body.as_bytes()).await
            }
            Rendered::Stream(frames) => {
                let sse = call.stream == StreamForm::Sse;
                head.set(
                    "Content-Type",
                    if sse {
                        stream_type(call)
                    } else {
                        content_type(call.route.api)
                    },
                );
                head.set("Cache-Control", "no-cache");
                let stream = StreamPlan::new(call, answer, frames, &request_id);
                self.play_stream(answer, head, stream).await
            }
        }
    }

    async fn play_plain(&mut self, answer: &Answer, mut head: ResponseHead, body: &[u8]) -> Result<Next, Gone> {
        let zipped;
        let body = if answer.gzip {
            zipped = gzip::stored(body);
            zipped.as_slice()
        } else {
            body
        };
        let half = body.split_at_checked(body.len() / 2).map_or(body, |(half, _)| half);
        let (sent, next) = match &answer.fault {
            None | Some(Fault::ErrorEvent { .. }) => (body, after(answer.after)),
            Some(Fault::Stall { .. } | Fault::EarlyFin { .. } | Fault::TruncatedChunked { .. }) => (half, Next::Close),
            Some(Fault::Reset { at: Point::AfterHead }) => (&[][..], Next::Reset),
            Some(Fault::Reset { .. }) => (half, Next::Reset),
            // The framing is clean, the JSON is not.
            Some(Fault::NoEndMarker) => (half, after(answer.after)),
        };
        let chunked = matches!(answer.fault, Some(Fault::TruncatedChunked { .. }));
        let promised = if answer.fault == Some(Fault::NoEndMarker) {
            half.len()
        } else {
            body.len()
        };
        if chunked {
            head.set("Transfer-Encoding", "chunked");
        } else {
            head.set("Content-Length", promised.to_string());
        }
        for (name, value) in &answer.headers {
            head.set(name, value);
        }
        self.pause(answer.first_delay_ms).await?;
        self.head_sent = true;
        let mut bytes = head.to_bytes();
        if chunked {
            bytes.extend(chunk(sent));
            self.send(&bytes).await?;
        } else if answer.write_bytes.is_some() {
            self.send(&bytes).await?;
            self.send_cut(answer, sent, false).await?;
        } else {
            bytes.extend(sent);
            self.send(&bytes).await?;
        }
        if matches!(answer.fault, Some(Fault::Stall { .. })) {
            return Err(self.silence().await);
        }
        Ok(next)
    }

    async fn play_stream(
        &mut self,
        answer: &Answer,
        mut head: ResponseHead,
        mut plan: StreamPlan,
    ) -> Result<Next, Gone> {
        let chunked = !matches!(answer.fault, Some(Fault::EarlyFin { .. }));
        if chunked {
            head.set("Transfer-Encoding", "chunked");
        } else {
            head.set("Content-Length", FALSE_LENGTH.to_string());
        }
        for (name, value) in &answer.headers {
            head.set(name, value);
        }
        self.send(&head.to_bytes()).await?;
        self.head_sent = true;
        if answer.fault == (Some(Fault::Reset { at: Point::AfterHead })) {
            return Ok(Next::Reset);
        }
        let mut zip = Zip::new(answer.gzip);
        let end = plan.frames.pop_if(|(kind, _)| *kind == Kind::End);
        for (kind, frame) in plan.frames {
            if kind == Kind::Content {
                self.pause(if self.chunks_sent == 0 {
                    answer.first_delay_ms
                } else {
                    answer.delay_ms
                })
                .await?;
                for _ in 0..answer.pings {
                    let ping = zip.pass(&plan.ping);
                    self.send_cut(answer, &ping, chunked).await?;
                }
            }
            let frame = zip.pass(&frame);
            self.send_cut(answer, &frame, chunked).await?;
            self.chunks_sent += u32::from(kind == Kind::Content);
        }
        let end = end.map(|(_, end)| zip.pass(&end)).unwrap_or_default();
        match &answer.fault {
            Some(Fault::Stall { .. }) => Err(self.silence().await),
            Some(Fault::Reset { at: Point::MidChunk(_) }) => {
                let next = chunk(&plan.left_out);
                self.send(next.split_at_checked(next.len() / 2).map_or(&next, |(half, _)| half))
                    .await?;
                Ok(Next::Reset)
            }
            Some(Fault::Reset { .. }) => Ok(Next::Reset),
            Some(Fault::EarlyFin { .. } | Fault::TruncatedChunked { .. }) => Ok(Next::Close),
            Some(Fault::NoEndMarker | Fault::ErrorEvent { .. }) | None => {
                if answer.write_bytes.is_some() {
                    self.send_cut(answer, &end, chunked).await?;
                    self.send_cut(answer, &zip.end(), chunked).await?;
                    self.send(LAST_CHUNK).await?;
                } else {
                    // In one write: a client may close as soon as it has read the end marker, and that is no cut.
                    let parts = [end, zip.end()].into_iter().filter(|part| !part.is_empty());
                    let mut tail: Vec<u8> = parts.flat_map(|part| chunk(&part)).collect();
                    tail.extend(LAST_CHUNK);
                    self.send(&tail).await?;
                }
                Ok(after(answer.after))
            }
        }
    }

    /// Sends `bytes` whole or cut as the answer wants; each cut is a write of its own, and in a stream a chunk.
    async fn send_cut(&mut self, answer: &Answer, bytes: &[u8], chunked: bool) -> Result<(), Gone> {
        let size = answer.write_bytes.unwrap_or(bytes.len()).max(1);
        for (place, part) in bytes.chunks(size).enumerate() {
            if place > 0 {
                self.pause(answer.write_delay_ms).await?;
            }
            if chunked {
                self.send(&chunk(part)).await?;
            } else {
                self.send(part).await?;
            }
        }
        Ok(())
    }
}

/// The frames of a stream as bytes, cut off where the fault comes.
struct StreamPlan {
    frames: Vec<(Kind, Vec<u8>)>,
    /// The first frame that the fault left out.
    left_out: Vec<u8>,
    ping: Vec<u8>,
}

impl StreamPlan {
    fn new(call: &Call, answer: &Answer, mut frames: Vec<Frame>, request_id: &str) -> Self {
        let cut = cut_after(answer.fault.as_ref()).map(|after| place_after(&frames, after));
        let left_out = cut
            .map(|cut| frames.split_off(cut))
            .and_then(|rest| rest.into_iter().next());
        match &answer.fault {
            Some(Fault::NoEndMarker) => frames.retain(|frame| frame.kind != Kind::End),
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
    matches!(fault, Fault::NoEndMarker | Fault::ErrorEvent { .. })
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
        Fault::Reset { .. } | Fault::NoEndMarker => None,
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
struct Zip {
    on: bool,
    begun: bool,
    crc: u32,
    length: usize,
}

impl Zip {
    fn new(on: bool) -> Self {
        Self {
            on,
            begun: false,
            crc: 0,
            length: 0,
        }
    }

    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
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

    fn end(&mut self) -> Vec<u8> {
        if self.on {
            gzip::trailer(self.crc, self.length)
        } else {
            Vec::new()
        }
    }
}

fn after(after: After) -> Next {
    match after {
        After::Keep => Next::Keep,
        After::Close | After::CloseSilently => Next::Close,
        After::ResetOnNextRequest => Next::ResetOnNextRequest,
    }
}

fn content_type(api: Api) -> &'static str {
    if api == Api::Gemini {
        "application/json; charset=UTF-8"
    } else {
        "application/json"
    }
}

fn stream_type(call: &Call) -> &'static str {
    match call.route.api {
        Api::Gemini => "text/event-stream",
        _ => "text/event-stream; charset=utf-8",
    }
}

/// Gemini writes its plain JSON with line breaks, the others without.
fn write_json(api: Api, body: &serde_json::Value) -> String {
    let pretty = if api == Api::Gemini {
        serde_json::to_string_pretty(body).ok()
    } else {
        None
    };
    pretty.map_or_else(|| body.to_string(), |pretty| pretty + "\n")
}

/// The provider's word for "overloaded", which is what an error in a 200 mostly is.
fn error_in_200(call: &Call) -> &'static str {
    match call.route.api {
        Api::Anthropic => "overloaded_error",
        Api::Gemini => "UNAVAILABLE",
        Api::OpenAi | Api::All => "server_error",
    }
}

/// When to try again, in the headers of those who say it there.
fn retry_hint(api: Api, status: &Status, head: &mut ResponseHead) {
    let Some(wait) = status.retry_after_ms else { return };
    if api == Api::Gemini {
        return;
    }
    head.set("retry-after", wait.div_ceil(1000).to_string());
    if api == Api::OpenAi {
        head.set("retry-after-ms", wait.to_string());
    }
}

/// The head with what every response has.
fn response_head(api: Api, status: u16, request_id: &str, after: After) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    head.set("Date", crate::dates::http(crate::dates::now()));
    let connection = if after == After::Close { "close" } else { "keep-alive" };
    head.set("Connection", connection);
    api::usual_headers(api, &mut head, request_id);
    head
}
