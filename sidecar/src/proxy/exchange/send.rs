//! Sending an exchange's request, and taking the head of its answer.

use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::clock::Moment;
use bowsprit_core::fault::TransportFault;
use bowsprit_core::headroom;
use bowsprit_core::record::{AttemptKind, HeadroomRecord};
use http::header::CONTENT_ENCODING;
use http::{HeaderName, Request, Version, response};

use super::Exchange;
use crate::credentials;
use crate::net::client::{Answer, AnswerBody, Coding, Fault, Outgoing};
use crate::proxy::headers;
use crate::proxy::request_id::{RequestId, TraceId};
use crate::time::unix_millis;

/// A peer that closes an idle connection while our request is on its way does so within a round trip. A connection that
/// breaks later than this broke while the provider worked on the request, which may have cost money.
const IDLE_CLOSE: Duration = Duration::from_secs(1);

/// Headers that hold a provider's own id of a request, in the order in which they are looked for: OpenAI's and those of most
/// compatible servers, Anthropic's, Azure's, Google's.
const PROVIDER_IDS: [HeaderName; 4] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-goog-request-id"),
];

/// An answer's head, cleaned for the caller, and where its body comes from.
pub struct Received {
    /// Status and headers, without the provider's connection and without our key.
    pub head: response::Parts,
    /// The body.
    pub body: AnswerBody,
    /// Whether the body is in a coding that is not undone.
    pub is_encoded: bool,
}

impl Exchange {
    /// Sends a request, signed with the exchange's credential, and waits for the head of its answer; `began`: now.
    ///
    /// An idle connection may turn out to be closed just as the request is written. That says nothing about the provider,
    /// so the request is sent once more over a new connection, if there is another copy of it: `again` gives one.
    pub async fn send(
        &self,
        mut request: Request<Outgoing>,
        again: impl FnOnce() -> Option<Request<Outgoing>>,
        began: Moment,
    ) -> Result<Answer, Fault> {
        let provider = &self.upstream.provider;
        let origin = match &self.upstream.origin {
            Ok(origin) => origin,
            Err(why) => return Err(Fault::new(TransportFault::Tls, why)),
        };
        let connect = provider.timeouts.connect;
        credentials::sign(&mut request, self.keys.selected.as_ref(), &provider.platform.auth);
        let fault = match origin.send(request, connect, &self.is_sent).await {
            Err(fault) if fault.reused && self.now() - began < IDLE_CLOSE => fault,
            sent => return sent,
        };
        let Some(mut request) = again() else { return Err(fault) };
        tracing::debug!(
            request_id = self.of.id.as_ref().map(RequestId::as_str),
            trace_id = self.of.trace.as_deref().map(TraceId::as_str),
            provider = %provider.name,
            %fault,
            "an idle connection was closed; sent anew"
        );
        credentials::sign(&mut request, self.keys.selected.as_ref(), &provider.platform.auth);
        origin.send_anew(request, connect).await
    }

    /// Takes the head that came at `now`: learns what it says of the account's limits, and cleans it for the caller. A coding
    /// that nobody asked for is undone where the body is read.
    pub fn received(&mut self, answer: Answer, now: Moment) -> Received {
        let Answer { mut head, mut body } = answer;
        self.status.get_or_insert(head.status.as_u16());
        self.head_after.get_or_insert(now - self.began);
        if self.kind != AttemptKind::Probe {
            let key = self.keys.selected.as_ref();
            let wall = unix_millis();
            if self.upstream.state.observe(key, &head.headers, now, wall) {
                let (provider, credential) = (&*self.upstream.provider.name, key.map_or("", |key| &key.name));
                for limit in headroom::limits(&head.headers, wall) {
                    self.process.sinks.headroom(&HeadroomRecord {
                        provider,
                        credential,
                        limit,
                    });
                }
            }
            if self.provider_id.is_none() {
                let told = PROVIDER_IDS.iter().find_map(|name| head.headers.get(name));
                self.provider_id = told.cloned();
            }
        }
        let is_error = head.status.is_client_error() || head.status.is_server_error();
        if self.operation != Operation::PassThrough || is_error {
            undo_coding(&mut head, &mut body);
        }
        let is_encoded = headers::is_encoded(&head.headers);
        headers::to_caller(&mut head.headers);
        credentials::scrub(&mut head.headers, &self.keys, head.status.is_success());
        // The version is each connection's own: HTTP/1.0 towards the app would hide a broken answer's missing end.
        head.version = Version::HTTP_11;
        Received { head, body, is_encoded }
    }
}

/// Has the body decoded from here on, if its coding is a known one.
fn undo_coding(head: &mut response::Parts, body: &mut AnswerBody) {
    if let Some(coding) = Coding::of(&head.headers) {
        body.decode(coding);
        head.headers.remove(CONTENT_ENCODING);
    }
}
