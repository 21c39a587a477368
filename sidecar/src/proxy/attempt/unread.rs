//! What passes unread: the request's body as it arrives, and the answer as it comes.
//!
//! While the body flows only silence counts, as a large file takes its time; from its end on the answer has
//! `timeouts.total`.

use std::collections::VecDeque;

use bowsprit_core::config::Timeouts;
use bowsprit_core::fault::{Code, TransportFault};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::body::Body as _;

use super::{Attempt, Success};
use crate::net::client::{Answer, Fault, Look, Outgoing, Sending, Stalled, UploadError};
use crate::proxy::batch::Reading;
use crate::proxy::batched::{self, Arriving};
use crate::proxy::deadlines::Deadlines;
use crate::proxy::exchange::Received;
use crate::proxy::failure::Failure;
use crate::proxy::headers::{Carry, is_encoded};
use crate::proxy::passthrough::{rewrite_location, too_large};
use crate::proxy::refuse::Refusal;
use crate::proxy::relay::Started;
use crate::proxy::stopwatch::Stopwatch;
use crate::proxy::verdict::Verdict;

/// Who broke off.
enum Broken {
    App(Refusal),
    Provider(Fault),
}

impl Attempt<'_> {
    /// Sends the body as it arrives, and lets the answer flow; only an error is read.
    pub(super) async fn unread(mut self, stopwatch: &mut Stopwatch) -> Result<Success, Box<Failure>> {
        let limit = self.exchange.max_upload();
        let mut verdict = None;
        let (body, sending) = match self.arriving.take().filter(|arriving| !arriving.body.is_end_stream()) {
            Some(arriving) => {
                let Arriving { body, rules } = *arriving;
                verdict = rules.as_ref().map(|rules| rules.verdict());
                let (body, sending) = Outgoing::arriving(body, limit, rules.map(|rules| rules as Box<dyn Look>));
                (body, Some(sending))
            }
            None => (Outgoing::from(Bytes::new()), None),
        };
        let sent = self
            .upload(body, (sending.as_ref(), verdict.as_deref()), stopwatch)
            .await;
        let now = stopwatch.waited();
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(Broken::Provider(fault)) => return Err(Failure::network(self.exchange, fault)),
            Err(Broken::App(refusal)) => return Err(Failure::refused(self.exchange, refusal)),
        };
        if let Some(sending) = sending {
            answer.body.keep_sending(sending);
        }
        // The length stays, as nothing is changed: downloads can tell how far they are, and HEAD has it to say.
        let headers = &answer.head.headers;
        let length = headers.get(CONTENT_LENGTH).cloned();
        let length = length.filter(|_| !headers.contains_key(TRANSFER_ENCODING));
        let mut received = self.exchange.received(answer, now);
        rewrite_location(&mut received.head.headers, self.upstream, &self.inbound.headers);
        let deadlines = Deadlines::new(self.upstream.provider.timeouts, self.exchange.instant(now));
        let status = received.head.status;
        if status.is_client_error() || status.is_server_error() {
            return Err(self.refused(received, &deadlines, stopwatch).await);
        }
        let Received { mut head, body, .. } = received;
        if let Some(length) = length {
            head.headers.insert(CONTENT_LENGTH, length);
        }
        if body.is_end() {
            let expense = self.answered(now, 0, None, None);
            let body = Bytes::new();
            return Ok(Success::Whole { head, body, expense });
        }
        let batch = Reading::of(self.inbound, self.upstream, (&head, is_encoded(&head.headers)));
        let started = Started {
            body,
            stream: None,
            held: VecDeque::new(),
            deadlines,
            ended: false,
            batch,
        };
        Ok(self.flowing(head, started))
    }

    /// Sends and waits for the head of the answer.
    /// `verdict`: of those who look into the body.
    async fn upload(
        &self,
        body: Outgoing,
        (sending, verdict): (Option<&Sending>, Option<&Verdict>),
        stopwatch: &Stopwatch,
    ) -> Result<Answer, Broken> {
        // RFC 9110, section 9.2.2: only what may safely be done twice is.
        let may_repeat = sending.is_none() && self.inbound.method.is_idempotent();
        let request = |body| self.request(Carry::Everything, body);
        let again = || may_repeat.then(|| request(Outgoing::from(Bytes::new())));
        let sent = tokio::select! {
            biased;
            sent = self.exchange.send(request(body), again, stopwatch.now()) => sent.map_err(Broken::Provider),
            broken = patience(sending, self.upstream.provider.timeouts) => Err(broken),
        };
        sent.map_err(|broken| match sending.and_then(Sending::failed) {
            Some(UploadError::TooLarge) => Broken::App(too_large(self.exchange.max_upload())),
            Some(UploadError::Refused) => Broken::App(verdict.map_or_else(Refusal::internal, batched::refusal)),
            // The caller broke off; nobody will read this answer, but the request must end as something.
            Some(_) => Broken::App(Refusal::new(Code::ValHttp, "the body broke off")),
            None => broken,
        })
    }
}

/// Resolves when waiting for the answer's head has become pointless.
async fn patience(sending: Option<&Sending>, timeouts: Timeouts) -> Broken {
    let stalled = match sending {
        Some(sending) => sending.over_or_stalled(timeouts.idle).await,
        None => None,
    };
    let idle = timeouts.idle.as_secs_f64();
    match stalled {
        Some(Stalled::App) => {
            let text = format!("nothing of the body came for {idle} s (timeouts.idle)");
            let mut refusal = Refusal::new(Code::ValHttp, text);
            refusal.status = Some(StatusCode::REQUEST_TIMEOUT.as_u16());
            Broken::App(refusal)
        }
        Some(Stalled::Provider) => {
            let text = format!("nothing of the body was taken for {idle} s (timeouts.idle)");
            Broken::Provider(Fault::new(TransportFault::IdleTimeout, text))
        }
        None => {
            tokio::time::sleep(timeouts.total).await;
            let text = format!("no answer within {} s (timeouts.total)", timeouts.total.as_secs_f64());
            Broken::Provider(Fault::new(TransportFault::TotalTimeout, text))
        }
    }
}
