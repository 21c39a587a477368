//! A streamed answer up to its first content.

use std::collections::VecDeque;
use std::pin::pin;

use bowsprit_core::dialect::{AnswerContext, Echo, Stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, response};

use super::{Attempt, Success};
use crate::net::client::AnswerBody;
use crate::proxy::collect::{StartFault, until_first_token};
use crate::proxy::deadlines::Deadlines;
use crate::proxy::failure::Failure;
use crate::proxy::relay::Started;
use crate::proxy::stopwatch::Stopwatch;
use crate::time::{unix_now, until};

impl Attempt<'_> {
    /// A stream: its start-up events are held until the first content, so that a failure before it is no failure of the
    /// request yet.
    pub(super) async fn stream(
        mut self,
        mut head: response::Parts,
        mut body: AnswerBody,
        deadlines: Deadlines,
        stopwatch: &mut Stopwatch,
    ) -> Result<Success, Box<Failure>> {
        let (from, to) = (self.prepared.wire, self.inbound.call.dialect);
        let mut stream = Stream::new(from, to, self.answer_context(), self.prepared.hide_usage);
        if !self.prepared.same {
            let events = HeaderValue::from_static("text/event-stream; charset=utf-8");
            head.headers.insert(CONTENT_TYPE, events);
        }
        if !self.hold {
            let started = Started {
                body,
                stream: Some(stream),
                held: VecDeque::new(),
                deadlines: deadlines.until_content(),
                ended: false,
                batch: None,
            };
            return Ok(self.flowing(head, started));
        }
        let (by, fault) = deadlines.first(true);
        let start = until_first_token(&mut body, &mut stream, &mut self.exchange);
        let held = until(by, &mut false, pin!(start)).await;
        stopwatch.waited();
        let (held, ended) = match held {
            Ok(Ok(held)) => held,
            Ok(Err(StartFault::Transport(fault))) => return Err(Failure::network(self.exchange, fault)),
            Ok(Err(StartFault::Stream(error))) => return Err(Failure::in_stream(self.exchange, error)),
            Err(_) => {
                let text = format!("no content within {}", deadlines.describe(fault));
                return Err(Failure::transport(self.exchange, fault, text));
            }
        };
        let started = Started {
            body,
            stream: Some(stream),
            held,
            deadlines,
            ended,
            batch: None,
        };
        Ok(self.flowing(head, started))
    }

    /// What a translated answer says beside the provider's words.
    pub(super) fn answer_context(&self) -> AnswerContext {
        if self.prepared.same {
            return AnswerContext::default();
        }
        let call = &self.inbound.call;
        AnswerContext {
            model: call.model.to_string(),
            id: self.id.as_str().to_owned(),
            created: unix_now().as_secs(),
            include_usage: call.include_usage,
            show_thoughts: self.prepared.show_thoughts,
            tools: self.prepared.tools.clone(),
            echo: Echo::of(call.dialect, &self.inbound.body),
        }
    }
}
