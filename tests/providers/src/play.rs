//! A behaviour put on the wire: the head, the frames at their pace, and the break where the script wants it.

mod plan;

use self::plan::{StreamPlan, Zip};
use crate::api::errors::{self, ErrorSays};
use crate::api::{self, Api, Operation, Rendered, anthropic_batches};
use crate::call::{Call, StreamForm};
use crate::connection::{Connection, Gone, Next};
use crate::gzip;
use crate::ids::Ids;
use crate::script::{After, Answer, Behaviour, Fault, Point, Raw, Status};
use crate::sse::Kind;
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
        let rendered = match call.route.operation {
            Operation::BatchCreate | Operation::Batch | Operation::BatchResults => self.batch(call, answer, &mut ids),
            _ => Some(api::render(call, answer, &mut ids)),
        };
        let Some(rendered) = rendered else {
            let status = Behaviour::status(404).message("Not Found");
            return self.play_status(request, &status, call).await;
        };
        match rendered {
            Rendered::Lines(lines) => {
                head.set("Content-Type", "application/x-jsonl");
                self.play_plain(answer, head, lines.as_bytes()).await
            }
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

    /// What is asked of a batch; `None`: there is none of this id.
    fn batch(&self, call: &Call, answer: &Answer, ids: &mut Ids) -> Option<Rendered> {
        if call.route.operation == Operation::BatchCreate {
            let (id, created) = (ids.base58("msgbatch_01", 22), ids.created());
            let requests = anthropic_batches::requests(call);
            let made = anthropic_batches::batch(&id, requests.len(), created, false);
            self.shared
                .update(|state| state.batches.insert(id, (created, requests)));
            return Some(Rendered::Plain(made));
        }
        let id = &call.model;
        let (created, requests) = self.shared.read(|state| state.batches.get(id).cloned())?;
        Some(match call.route.operation {
            Operation::Batch => Rendered::Plain(anthropic_batches::batch(id, requests.len(), created, true)),
            _ => Rendered::Lines(anthropic_batches::results(&requests, answer, &mut Ids::new(created))),
        })
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
            Some(Fault::NoEndMarker | Fault::NoFinish) => (half, after(answer.after)),
        };
        let chunked = matches!(answer.fault, Some(Fault::TruncatedChunked { .. }));
        let promised = if matches!(answer.fault, Some(Fault::NoEndMarker | Fault::NoFinish)) {
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
            Some(Fault::NoEndMarker | Fault::NoFinish | Fault::ErrorEvent { .. }) | None => {
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
