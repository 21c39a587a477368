//! How a relayed answer ends: whole, with an error event where it breaks off or may not go on, or as its caller leaves. Whichever it is, the
//! exchange and the request are closed once.

use bowsprit_core::classify::Ended;
use bowsprit_core::dialect::{ErrorView, Stream, StreamError, tokens_of};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::guard::Stop;
use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::{Phase, Relay};
use crate::proxy::context::RequestContext;
use crate::proxy::exchange::End;
use crate::proxy::request_id::TraceId;
use crate::proxy::sieved;

impl Relay {
    /// The provider closed: well or too soon.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.finish(&mut self.out)
        {
            return self.garbled(&error);
        }
        let mut rest = self.out.split().freeze();
        if self.sieve.is_some() {
            rest = match self.sieved_to_the_end(rest) {
                Ok(rest) => rest,
                Err(stop) => return self.stopped(&stop),
            };
        }
        if self.services.is_some() {
            rest = match self.windowed_to_the_end(rest) {
                Ok(rest) => rest,
                Err(stop) => return self.stopped(&stop),
            };
            let out = self.goes_out(rest);
            self.end_well_when_decided();
            return out;
        }
        // Where a provider has no end mark, the caller's is written only here; it counts before the record closes.
        if !rest.is_empty() {
            self.note(rest.len(), false);
        }
        self.given(&rest);
        self.end_well();
        (!rest.is_empty()).then_some(rest)
    }

    fn sieved_to_the_end(&mut self, rest: Bytes) -> Result<Bytes, Stop> {
        let mut out = BytesMut::from(&*self.sieved(rest)?);
        if let Some(sieve) = &mut self.sieve {
            sieve.finish(&mut out)?;
        }
        Ok(out.freeze())
    }

    /// All of it went out.
    pub(super) fn end_well(&mut self) {
        self.phase = Phase::Done;
        if let Some(services) = &mut self.services {
            services.ended();
        }
        self.book();
        let keeping = self.keeping.take();
        if let Some((context, end)) = self.close(Ended::Answered) {
            if let Some(keeping) = keeping {
                keeping.end(&context, context.now(), &end.expense);
            }
            context.stream_ended();
        }
    }

    /// Ends the exchange, with what the provider has reported of its tokens until now. The request's record closes after it.
    pub(super) fn close(&mut self, ended: Ended) -> Option<(Box<RequestContext>, End)> {
        let (mut context, mut exchange) = self.open.take()?;
        if let Some(sieve) = &self.sieve {
            sieved::told(&mut context, sieve);
        }
        match &self.stream {
            Some(stream) => {
                exchange.saw(stream.usage(), stream.chunks());
                if stream.in_background() {
                    exchange.goes_on();
                }
            }
            None => exchange.saw(None, tokens_of(usize::try_from(context.bytes()).unwrap_or(usize::MAX))),
        }
        let model = self.stream.as_ref().and_then(Stream::model);
        let end = exchange.end_answer(context.tick(), ended, model);
        context.cost_was(end.expense);
        Some((context, end))
    }

    /// The results have passed whole.
    pub(super) fn book(&mut self) {
        if let (Some(batch), Some((context, _))) = (self.batch.take(), &self.open) {
            batch.end(context);
        }
    }

    /// A guard lets nothing more pass. What flowed is gone; what is held is not sent.
    pub(super) fn stopped(&mut self, stop: &Stop) -> Option<Bytes> {
        self.out.clear();
        let Some((mut context, _)) = self.close(Ended::CallerGone) else {
            self.phase = Phase::Done;
            return None;
        };
        let told = sieved::stopped(&mut context, stop);
        self.say(Code::BizGuardRefused, &told, context)
    }

    /// The sidecar stops, and waits no longer.
    pub(super) fn drained(&mut self) -> Option<Bytes> {
        let Some((context, _)) = self.close(Ended::CallerGone) else {
            self.phase = Phase::Done;
            return None;
        };
        self.say(
            Code::SysDraining,
            "the sidecar is shutting down and the deadline has passed",
            context,
        )
    }

    /// The connection to the provider has failed in mid-answer.
    pub(super) fn lost(&mut self, fault: TransportFault, detail: &str) -> Option<Bytes> {
        self.broke(transport(fault), detail)
    }

    /// The stream itself cannot go on.
    pub(super) fn garbled(&mut self, error: &StreamError) -> Option<Bytes> {
        self.broke(in_stream(error), &error.to_string())
    }

    /// The answer cannot be completed.
    fn broke(&mut self, ended: Ended, detail: &str) -> Option<Bytes> {
        if self.sieve.is_some() || self.services.is_some() {
            // What was sound before the break goes out, as far as it is decided, and what is held is not sent.
            let sound = self.out.split().freeze();
            match self.sieved(sound).and_then(|sound| self.windowed(sound)) {
                Ok(sound) => self.out = BytesMut::from(&*sound),
                Err(stop) => return self.stopped(&stop),
            }
        }
        let detail = match &self.open {
            Some((_, exchange)) => exchange.without_key(detail.to_owned()),
            None => String::new(),
        };
        let detail = detail.as_str();
        let Some((context, End { decision, .. })) = self.close(ended) else {
            self.phase = Phase::Done;
            return None;
        };
        let code = decision.code.unwrap_or(Code::ExtTruncated);
        tracing::info!(
            request_id = context.id().as_str(),
            trace_id = context.trace.as_deref().map(TraceId::as_str),
            code = code.as_str(),
            detail,
            "a begun answer broke off"
        );
        self.say(code, detail, context)
    }

    /// Ends with an error event, or a broken connection where bytes pass unread.
    pub(super) fn say(&mut self, code: Code, message: &str, context: Box<RequestContext>) -> Option<Bytes> {
        let Some(stream) = &self.stream else {
            self.phase = Phase::Break;
            context.failed(code, StatusCode::OK);
            return None;
        };
        let view = ErrorView {
            code,
            message,
            status: None,
            exact: None,
            param: None,
            request_id: context.id().as_str(),
            retry_after: None,
        };
        let of_services = self.services.as_ref().and_then(|services| services.error_event(&view));
        let event = match (of_services, &self.sieve) {
            (Some(event), _) => event,
            (None, Some(sieve)) => sieve.error_event(&view),
            (None, None) => stream.error_event(&view),
        };
        context.failed(code, StatusCode::OK);
        // Where nothing can be said (inside half an element of a JSON array), only a broken connection tells.
        self.phase = if event.is_empty() { Phase::Break } else { Phase::Done };
        // What was sound before the break goes out with it.
        self.out.extend_from_slice(&event);
        let rest = self.out.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // An SDK closes when it has read the end, before the connection's own: that is a whole answer.
        let is_told = self.stream.as_ref().is_some_and(Stream::is_told);
        let is_given = self.held.is_empty()
            && self.sieve.as_ref().is_none_or(|sieve| sieve.is_empty())
            && self.services.as_ref().is_none_or(|services| services.is_empty());
        if self.open.is_some() && is_given && is_told {
            // Without its end mark it is whole for who heard it, and not for who hears it next.
            if !self.is_said() {
                self.keeping = None;
            }
            self.end_well();
        }
        // Otherwise the caller left; the request closes itself as it is dropped.
        self.close(Ended::CallerGone);
    }
}

/// A network fault in mid-answer.
fn transport(fault: TransportFault) -> Ended {
    Ended::Transport {
        fault,
        content_sent: true,
    }
}

/// A stream's own fault in mid-answer.
fn in_stream(error: &StreamError) -> Ended {
    match error {
        StreamError::Provider(error) => Ended::InStream {
            kind: error.kind,
            content_sent: true,
        },
        StreamError::Malformed(_) => Ended::InStream {
            kind: ErrorKind::Malformed,
            content_sent: true,
        },
        StreamError::Truncated => transport(TransportFault::Truncated),
    }
}
