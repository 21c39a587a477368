//! The one answer that a round ends with: a provider's, or why there is none.

use std::time::Duration;

use bowsprit_core::fault::Code;
use bowsprit_core::lifecycle::Event;
use bowsprit_core::limiter::Limited;
use bowsprit_core::plan::{Skipped, Why};
use http::Response;

use super::super::attempt::{Failure, Success};
use super::super::headers;
use super::super::refuse::{self, Refusal, X_SHOULD_RETRY, retry_after, should_retry};
use super::super::route::clip;
use super::super::stream::Relay;
use super::Round;
use crate::body::Body;
use crate::failpoint;

impl Round<'_> {
    /// The answer to the app.
    pub(super) fn answer(self, success: Success) -> Response<Body> {
        let Self {
            mut story,
            dropped,
            call,
            ..
        } = self;
        let Some(upstream) = story.upstream.clone() else {
            return refuse::answer(story, &Refusal::new(Code::SysInternal, "an answer came from nowhere"));
        };
        match success {
            Success::Whole { mut head, body, usage } => {
                headers::sign(&mut head.headers, &story, &upstream, &dropped);
                story.usage = usage;
                story.head_sent(head.status);
                story.completed(Event::Answered {
                    bytes: body.len() as u64,
                });
                Response::from_parts(head, Body::Whole(body))
            }
            Success::Flowing {
                mut head,
                started,
                in_flight,
            } => {
                headers::sign(&mut head.headers, &story, &upstream, &dropped);
                story.head_sent(head.status);
                let body = Body::Relay(Relay::new(*started, story, in_flight));
                Response::from_parts(head, failpoint::stream(&call.headers, body))
            }
        }
    }

    /// Nobody answered. The last provider's own word where there is one, else why nobody could be asked.
    pub(super) fn give_up(mut self) -> Response<Body> {
        let Some(failure) = self.failure.take() else {
            let refusal = self.nobody();
            return refuse::answer(self.story, &refusal);
        };
        let Failure {
            code,
            exact,
            message,
            retry_after: wait,
            original,
            ..
        } = *failure;
        if let Some((status, mut head, body)) = original {
            if let Some(upstream) = &self.story.upstream {
                headers::sign(&mut head, &self.story, upstream, &[]);
            }
            // A provider that says it itself knows best.
            head.entry(X_SHOULD_RETRY)
                .or_insert_with(|| should_retry(code.retryable()));
            if let Some(wait) = wait
                && !head.contains_key(http::header::RETRY_AFTER)
            {
                head.insert(http::header::RETRY_AFTER, retry_after(wait));
            }
            self.story.failed(code, status);
            let mut response = Response::new(Body::Whole(body));
            *response.status_mut() = status;
            *response.headers_mut() = head;
            return response;
        }
        let provider = self
            .story
            .upstream
            .as_ref()
            .map_or("", |upstream| upstream.provider.name.as_str());
        let mut refusal = Refusal::new(code, format!("provider {provider}: {message}")).retry_after(wait);
        refusal.exact = exact;
        let mut response = refuse::bare(self.story.dialect(), self.story.id(), &refusal);
        if let Some(upstream) = &self.story.upstream {
            headers::sign(response.headers_mut(), &self.story, upstream, &[]);
        }
        self.story.failed(code, response.status());
        response
    }

    /// Why nobody was asked.
    fn nobody(&self) -> Refusal {
        let asked = clip(&self.call.model);
        let serving = |skipped: &&Skipped| !matches!(skipped.why, Why::NoModel | Why::NotHere);
        let skipped: Vec<&Skipped> = self.plan.skipped.iter().filter(serving).collect();
        if self.plan.candidates.is_empty() && skipped.is_empty() {
            return self.no_model(asked);
        }
        if let Some(limited) = self
            .blocked
            .iter()
            .filter_map(|blocked| blocked.limited)
            .min_by_key(|l| l.retry_in)
        {
            let names: Vec<&str> = self.blocked.iter().map(|blocked| blocked.provider.as_str()).collect();
            return local_limit(&names.join(", "), limited);
        }
        if self.blocked.is_empty() && skipped.iter().all(|skipped| skipped.why == Why::NoKey) {
            let names: Vec<&str> = skipped.iter().map(|skipped| skipped.provider.as_str()).collect();
            let text = format!("no usable key for {}; see /health on the admin port", names.join(", "));
            return Refusal::new(self.closed(&names).unwrap_or(Code::AuthKeyMissing), text);
        }
        let waits = self
            .blocked
            .iter()
            .map(|blocked| blocked.retry_in)
            .chain(skipped.iter().map(|s| s.retry_in));
        let wait = waits.flatten().min().unwrap_or(Duration::from_secs(1));
        let mut reasons: Vec<String> = skipped
            .iter()
            .map(|skipped| format!("{} ({})", skipped.provider, skipped.why.as_str()))
            .collect();
        reasons.extend(
            self.blocked
                .iter()
                .map(|blocked| format!("{} (circuit_open)", blocked.provider)),
        );
        let text = format!("no provider can answer for {asked:?} now: {}", reasons.join(", "));
        Refusal::new(Code::ExtAllUnavailable, text).retry_after(Some(wait))
    }

    /// Why none of these providers has a key, where all their keys rest for one reason that no retry mends.
    fn closed(&self, providers: &[&str]) -> Option<Code> {
        let now = self.story.now();
        let upstreams = self.live.upstreams().iter();
        let mut reasons = upstreams
            .filter(|upstream| providers.contains(&upstream.provider.name.as_str()))
            .map(|upstream| upstream.state.closed(now));
        let first = reasons.next()??;
        reasons.all(|reason| reason == Some(first)).then_some(first)
    }

    fn no_model(&self, asked: &str) -> Refusal {
        let served: Vec<&str> = self.live.served.iter().take(50).map(String::as_str).collect();
        let text = if served.is_empty() {
            format!("no provider serves {asked:?}: no model is configured for this pod")
        } else {
            format!("no provider serves {asked:?}; served are {}", served.join(", "))
        };
        let mut refusal = Refusal::new(Code::ResModelNotFound, text);
        refusal.param = Some("model".into());
        refusal
    }
}

pub(in crate::proxy) fn local_limit(provider: &str, limited: Limited) -> Refusal {
    let which = crate::state::limit_name(limited.which);
    let text = format!("the limit rateLimits.{which} of {provider} is reached");
    Refusal::new(Code::RateLocalLimit, text).retry_after(Some(limited.retry_in.unwrap_or(Duration::from_secs(1))))
}
