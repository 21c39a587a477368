//! A streamed answer on its way to the caller: scanned where both sides speak the same dialect, translated event by
//! event where they do not.

use bytes::{Bytes, BytesMut};

use super::ending::Endings;
use super::error::{ErrorView, StreamError};
use super::event::Event;
use super::language::{Decode, Encode};
use super::reported::Reported;
use super::scan::{self, PLAIN_LIMIT, Pushed, Scan};
use super::sse::{Parser, PieceKind};
use super::surrogates::Surrogates;
use super::tool_calls::ToolCalls;
use super::{AnswerContext, Dialect, Usage, registry};

/// A streamed answer. One type for both ways, so that the proxy has one loop.
#[derive(Debug)]
pub struct Stream {
    caller: Dialect,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Scan(Box<Scan>),
    Translate(Box<Translate>),
}

impl Stream {
    /// A stream at its start. `hide_usage`: the proxy added `stream_options.include_usage` to an `OpenAI` request whose
    /// caller had not, so the usage chunk is cut out again.
    pub fn new(provider: Dialect, caller: Dialect, ctx: AnswerContext, hide_usage: bool) -> Self {
        let inner = if provider == caller {
            Inner::Scan(Box::new(Scan::new(
                provider,
                hide_usage && provider == Dialect::OpenAiChat,
            )))
        } else {
            Inner::Translate(Box::new(Translate::new(provider, caller, ctx)))
        };
        Self { caller, inner }
    }

    /// Takes what arrived and appends to `out` what the caller gets now, unless that is the chunk itself. Holds no more
    /// than one unfinished event ([`super::sse::EVENT_LIMIT`]).
    pub fn push(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        match &mut self.inner {
            Inner::Scan(scan) => scan.push(chunk, out),
            Inner::Translate(translate) => translate.push(chunk, out).map(|()| Pushed::Rewritten),
        }
    }

    /// The provider closed, and properly. `Ok` only if the answer is whole: every choice of it has a finish reason, or the
    /// dialect's own end mark was seen. Appends what is still owed to the caller.
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamError> {
        match &mut self.inner {
            Inner::Scan(scan) => scan.finish(out),
            Inner::Translate(translate) => translate.finish(out),
        }
    }

    /// Whether the first token, tool call or refusal was seen. Until then the proxy holds the start-up events, so that
    /// an error can still lead to another provider.
    pub fn content_started(&self) -> bool {
        match &self.inner {
            Inner::Scan(scan) => scan.content_started(),
            Inner::Translate(translate) => translate.started,
        }
    }

    /// Whether the provider's own end mark was seen (`[DONE]`, `message_stop`, `response.completed`, the bracket that
    /// closes an array; `Gemini`'s events have none): nothing of worth can follow.
    pub fn ended(&self) -> bool {
        match &self.inner {
            Inner::Scan(scan) => scan.ended(),
            Inner::Translate(translate) => translate.ended,
        }
    }

    /// Whether the answer is whole if the provider closes here, or says nothing more: there is an end mark or a finish
    /// reason. After a finish reason alone more may follow, content too.
    pub fn whole(&self) -> bool {
        match &self.inner {
            Inner::Scan(scan) => scan.whole(),
            Inner::Translate(translate) => translate.ended || translate.endings.whole(),
        }
    }

    /// Whether the caller has been told the end, so that it may leave with a whole answer.
    pub fn is_told(&self) -> bool {
        match &self.inner {
            Inner::Scan(scan) => scan.whole(),
            Inner::Translate(translate) => translate.ended,
        }
    }

    /// Cumulative so far, `None` before the provider told any.
    pub fn usage(&self) -> Option<Usage> {
        match &self.inner {
            Inner::Scan(scan) => scan.usage(),
            Inner::Translate(translate) => translate.usage,
        }
    }

    /// The model that the provider says answers, once it has.
    pub fn model(&self) -> Option<&str> {
        match &self.inner {
            Inner::Scan(scan) => scan.model(),
            Inner::Translate(translate) => translate.model.model(),
        }
    }

    /// Content events so far.
    pub fn chunks(&self) -> u64 {
        match &self.inner {
            Inner::Scan(scan) => scan.chunks(),
            Inner::Translate(translate) => translate.chunks,
        }
    }

    /// Whether the provider goes on with the answer where nobody reads it any more, as far as it has told.
    pub fn in_background(&self) -> bool {
        matches!(&self.inner, Inner::Scan(scan) if scan.in_background())
    }

    /// [`error_event`](super::error_event), framed for where this stream stands: after half an event that the caller
    /// already has, or inside `Gemini`'s JSON array.
    pub fn error_event(&self, error: &ErrorView<'_>) -> Bytes {
        match &self.inner {
            Inner::Scan(scan) => scan.error_event(self.caller, error),
            Inner::Translate(translate) => translate.encoder.error_event(error),
        }
    }
}

#[derive(Debug)]
struct Translate {
    dialect: Dialect,
    /// The body's first byte that is no white space was seen.
    begun: bool,
    /// A JSON text instead of events, as some servers answer an error. Held up to `PLAIN_LIMIT`.
    plain: Option<Vec<u8>>,
    parser: Parser,
    decoder: Box<dyn Decode>,
    calls: ToolCalls,
    encoder: Box<dyn Encode>,
    endings: Endings,
    surrogates: Surrogates,
    /// What the decoder made of an event, and what the encoder is to say of it: empty between events.
    decoded: Vec<Event>,
    events: Vec<Event>,
    started: bool,
    ended: bool,
    usage: Option<Usage>,
    model: Reported,
    chunks: u64,
}

impl Translate {
    fn new(provider: Dialect, caller: Dialect, ctx: AnswerContext) -> Self {
        let decoder = (registry::of(provider).decoder)(&ctx);
        let calls = ToolCalls::new(ctx.tools.clone());
        let encoder = (registry::of(caller).encoder)(ctx);
        Self {
            dialect: provider,
            begun: false,
            plain: None,
            parser: Parser::new(),
            decoder,
            calls,
            encoder,
            endings: Endings::default(),
            surrogates: Surrogates::default(),
            decoded: Vec::new(),
            events: Vec::new(),
            started: false,
            ended: false,
            usage: None,
            model: Reported::default(),
            chunks: 0,
        }
    }

    fn push(&mut self, chunk: &[u8], out: &mut BytesMut) -> Result<(), StreamError> {
        if !self.begun
            && let Some(first) = chunk.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            self.begun = true;
            self.plain = matches!(first, b'{' | b'[').then(Vec::new);
        }
        if let Some(held) = &mut self.plain {
            if held.len() + chunk.len() <= PLAIN_LIMIT {
                held.extend_from_slice(chunk);
            }
            return Ok(());
        }
        let mut parser = std::mem::take(&mut self.parser);
        let mut rest = chunk;
        let mut result = Ok(());
        while let Some(piece) = parser.next(&mut rest) {
            result = match piece.kind {
                PieceKind::Tail => Ok(()),
                PieceKind::Oversized => Err(StreamError::Malformed("an event is larger than 1 MiB".to_owned())),
                PieceKind::Whole => {
                    let fields = piece.fields();
                    match fields.data {
                        Some(data) => self.event(&data, out),
                        None if fields.comment => self.emit(&[Event::Ping], out),
                        None => Ok(()),
                    }
                }
            };
            if result.is_err() {
                break;
            }
        }
        self.parser = parser;
        result
    }

    fn event(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), StreamError> {
        if self.ended || data.is_empty() {
            return Ok(());
        }
        self.model.look(registry::of(self.dialect).rules.reported_model, data);
        let mut decoded = std::mem::take(&mut self.decoded);
        let read = self.decoder.event(data, &mut decoded);
        let said = self.say(&mut decoded, out);
        decoded.clear();
        self.decoded = decoded;
        read.and(said)
    }

    /// Says what was decoded, but for the end, which is said once there is one.
    fn say(&mut self, decoded: &mut Vec<Event>, out: &mut BytesMut) -> Result<(), StreamError> {
        let mut events = std::mem::take(&mut self.events);
        let taken = self.endings.take(decoded, &mut events);
        self.surrogates.join(&mut events);
        let named = self.calls.give_back(&mut events);
        let emitted = self.emit(&events, out);
        events.clear();
        self.events = events;
        // An answer may be empty or withheld: its verdict is all the content there will be.
        self.started |= self.endings.told();
        taken.and(named).and(emitted)
    }

    fn emit(&mut self, events: &[Event], out: &mut BytesMut) -> Result<(), StreamError> {
        for event in events {
            match event {
                Event::Text { .. }
                | Event::Thought { .. }
                | Event::Refusal { .. }
                | Event::Redacted { .. }
                | Event::CallStart { .. }
                | Event::CallArguments { .. } => {
                    self.started = true;
                    self.chunks += 1;
                }
                Event::Usage(usage) | Event::Start { usage: Some(usage), .. } => self.usage = Some(*usage),
                Event::End => self.ended = true,
                _ => {}
            }
            self.encoder.event(event, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamError> {
        if let Some(held) = &self.plain {
            return Err(scan::plain(self.dialect, held));
        }
        if !self.ended {
            // A last event without its blank line counts if it is whole; half of one is what truncation looks like.
            let parser = std::mem::take(&mut self.parser);
            if let Some(data) = parser.rest().fields().data {
                match self.event(&data, out) {
                    Err(StreamError::Malformed(_)) => return Err(StreamError::Truncated),
                    other => other?,
                }
            }
        }
        if !self.ended {
            if !self.endings.whole() {
                return Err(StreamError::Truncated);
            }
            self.say(&mut vec![Event::End], out)?;
        }
        Ok(())
    }
}
