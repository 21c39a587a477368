//! Going through the candidates: a place, a key, an attempt; again, or the next; and in the end one answer.
//!
//! While nothing was sent to the app, a failure may be followed by another attempt: with another key at once, at the
//! same provider after a backoff (attempts, `retryOn` and the retry budget permitting), or at the next candidate. What
//! may follow is `classify`'s word; this file only does it.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::backoff::Delay;
use bowsprit_core::classify::{Ended, KeyVerdict};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::OnLimit;
use bowsprit_core::dialect::{Dialect, RequestError, Target, translate_request, with_model, with_usage_option};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::lifecycle::{Event, State};
use bowsprit_core::limiter::Limited;
use bowsprit_core::plan::{self, Plan, Skipped, Why};
use bowsprit_crds::provider_config::RetryOn;
use bytes::Bytes;
use http::{Response, Uri};

use super::admit::{Call, Kind};
use super::attempt::{Attempt, Failure, InFlight, Success};
use super::headers;
use super::refuse::{self, Refusal, X_SHOULD_RETRY, retry_after, should_retry};
use super::route::clip;
use super::settle::Story;
use super::stream::Relay;
use crate::app::App;
use crate::body::Body;
use crate::live::{Live, Upstream};
use crate::state::{Lease, Refused};

/// With another candidate at hand, a throttled provider is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Attempts beyond those configured that other keys of a provider may take.
const KEY_ATTEMPTS: u32 = 20;

/// A request as one candidate gets it.
pub(super) struct Prepared {
    /// Where to.
    pub uri: Uri,
    /// The body.
    pub body: Bytes,
    /// Fields that were left out or approximated.
    pub dropped: Vec<String>,
    /// We asked for the usage chunk; the caller did not.
    pub hide_usage: bool,
    /// Whether bytes pass as they are.
    pub same: bool,
}

/// Answers an admitted request.
pub(super) async fn dispatch(app: &Arc<App>, live: &Arc<Live>, story: Box<Story>, call: Box<Call>) -> Response<Body> {
    let mut plan = make_plan(live, &call, story.now());
    if call.kind != Kind::Generate {
        plan.candidates
            .retain(|candidate| candidate.provider.dialect == call.dialect);
    }
    let mut round = Round {
        app,
        live,
        call: &call,
        story,
        plan,
        failure: None,
        blocked: Vec::new(),
        dropped: Vec::new(),
    };
    let attempts: u32 = round
        .plan
        .candidates
        .iter()
        .map(|candidate| candidate.provider.retry.max_attempts)
        .sum();
    round.story.allow_attempts(attempts.saturating_add(KEY_ATTEMPTS));
    // Dropped whole if the drain's deadline passes: the attempt's connection closes, its place is given back.
    let answered = tokio::select! {
        biased;
        answered = round.run() => answered,
        () = app.drain.was_cut() => Err(Stop::Refuse(Box::new(Refusal::draining()))),
    };
    match answered {
        Ok(success) => round.answer(success),
        Err(Stop::Refuse(refusal)) => refuse::answer(round.story, &refusal),
        Err(Stop::Exhausted) => round.give_up(),
    }
}

fn make_plan(live: &Live, call: &Call, now: Moment) -> Plan {
    let view = |provider: &bowsprit_core::config::Provider, model: &str| {
        let upstream = live
            .upstreams()
            .iter()
            .find(|upstream| std::ptr::eq(Arc::as_ptr(&upstream.provider), provider));
        upstream.map_or(
            plan::Availability::Unavailable {
                why: Why::NotHere,
                retry_in: None,
            },
            |upstream| upstream.state.availability(model, call.tokens, now),
        )
    };
    plan::plan(&live.config, call.dialect, &call.model, &view, &mut fastrand::f64)
}

/// Why no candidate answered.
enum Stop {
    /// For a reason of the request's own.
    Refuse(Box<Refusal>),
    /// All have been tried, or could not be.
    Exhausted,
}

/// A candidate that could not be tried.
struct Blocked {
    provider: String,
    limited: Option<Limited>,
    retry_in: Option<Duration>,
}

/// What follows an attempt that failed.
enum Then {
    Again(Duration),
    Next,
    Stop,
}

struct Round<'a> {
    app: &'a Arc<App>,
    live: &'a Arc<Live>,
    call: &'a Call,
    story: Box<Story>,
    plan: Plan,
    failure: Option<Box<Failure>>,
    blocked: Vec<Blocked>,
    dropped: Vec<String>,
}

impl Round<'_> {
    async fn run(&mut self) -> Result<Success, Stop> {
        let mut unsupported: Option<RequestError> = None;
        for index in 0..self.plan.candidates.len() {
            let Some(candidate) = self.plan.candidates.get(index) else {
                break;
            };
            let Some(upstream) = self.live.upstream(&candidate.provider).map(Arc::clone) else {
                continue;
            };
            let model = Arc::clone(&candidate.model);
            let prepared = match prepare(self.call, &upstream, &model) {
                Ok(prepared) => prepared,
                // Another dialect may be able to carry it.
                Err(error) if error.code == Code::ValUnsupported => {
                    unsupported.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(Stop::Refuse(Box::new(error.into()))),
            };
            let candidate = Candidate {
                index,
                last: index + 1 == self.plan.candidates.len(),
                upstream,
                model,
                prepared,
            };
            if let Some(success) = self.try_candidate(&candidate).await? {
                self.dropped = candidate.prepared.dropped;
                return Ok(success);
            }
        }
        match unsupported {
            Some(error) if self.failure.is_none() && self.blocked.is_empty() => {
                Err(Stop::Refuse(Box::new(error.into())))
            }
            _ => Err(Stop::Exhausted),
        }
    }

    /// All attempts at one candidate. `None`: the next one's turn.
    async fn try_candidate(&mut self, candidate: &Candidate) -> Result<Option<Success>, Stop> {
        let state = &candidate.upstream.state;
        state.deposit(self.story.now());
        let mut tried_keys: Vec<String> = Vec::new();
        let mut attempts = 0;
        loop {
            let Some(lease) = self.place(candidate).await? else {
                return Ok(None);
            };
            let base_url = &candidate.upstream.provider.base_url;
            let Ok(key) = state.choose_key(base_url, &tried_keys, self.story.now()) else {
                drop(lease);
                self.block(candidate, None, None, "no_key");
                return Ok(None);
            };
            self.sent_out(candidate);
            attempts += 1;
            let key_name = key
                .as_ref()
                .map(|key| key.name.clone())
                .filter(|_| state.has_several_keys());
            let in_flight = InFlight::new(
                self.app,
                &candidate.upstream,
                &candidate.model,
                lease,
                key,
                self.call.input_tokens,
            );
            let attempt = Attempt {
                call: self.call,
                prepared: &candidate.prepared,
                upstream: &candidate.upstream,
                in_flight,
            };
            let failure = match attempt.run(&mut self.story).await {
                Ok(success) => return Ok(Some(success)),
                Err(failure) => failure,
            };
            tried_keys.extend(key_name);
            let then = self.judge(candidate, &failure, attempts, &tried_keys);
            let code = failure.code;
            self.log_failure(candidate, &failure, &then);
            self.failure = Some(failure);
            match then {
                Then::Stop => return Err(Stop::Exhausted),
                Then::Next => {
                    if candidate.last {
                        return Err(Stop::Exhausted);
                    }
                    self.app.metrics.traffic.fell_back(state.name(), code.as_str());
                    self.story.event(Event::AttemptFailed {
                        code,
                        retry_in: Duration::ZERO,
                    });
                    return Ok(None);
                }
                Then::Again(wait) => {
                    self.app.metrics.traffic.retried(state.name(), code);
                    self.story.event(Event::AttemptFailed { code, retry_in: wait });
                    if !wait.is_zero() {
                        self.sleep(wait).await;
                    }
                }
            }
        }
    }

    /// Tells the lifecycle that an attempt goes out.
    fn sent_out(&mut self, candidate: &Candidate) {
        let index = u16::try_from(candidate.index).unwrap_or(u16::MAX);
        let again = self
            .story
            .upstream
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, &candidate.upstream));
        self.story.event(match self.story.state() {
            State::RateLimited => Event::Permitted { candidate: index },
            State::Retrying if again => Event::Retried,
            State::Retrying => Event::FellBack { candidate: index },
            _ => Event::Dispatched { candidate: index },
        });
        self.story.upstream = Some(Arc::clone(&candidate.upstream));
        self.story.model = Some(Arc::clone(&candidate.model));
    }

    /// A place at the provider, waited for if the configuration says so. `None`: there is none, try the next.
    async fn place(&mut self, candidate: &Candidate) -> Result<Option<Lease>, Stop> {
        let upstream = &candidate.upstream;
        let provider = &upstream.provider;
        let give_up_at = self.story.now() + provider.max_wait;
        let mut counted = false;
        loop {
            let now = self.story.now();
            let limited = match upstream.state.admit(&candidate.model, self.call.tokens, now) {
                Ok(lease) => return Ok(Some(lease)),
                Err(Refused::CircuitOpen(retry_in)) => {
                    self.block(candidate, None, retry_in, "circuit_open");
                    return Ok(None);
                }
                Err(Refused::Limited(limited)) => limited,
            };
            if !std::mem::replace(&mut counted, true) {
                upstream.state.count_limited(limited.which);
            }
            let left = give_up_at - now;
            let wait = match (provider.on_limit, limited.retry_in) {
                (OnLimit::Wait, Some(wait)) if wait <= left => wait,
                (OnLimit::Wait, None) if !left.is_zero() => left,
                (OnLimit::Reject, _) => return Err(Stop::Refuse(Box::new(local_limit(&provider.name, limited)))),
                _ => {
                    self.block(
                        candidate,
                        Some(limited),
                        limited.retry_in,
                        Code::RateLocalLimit.as_str(),
                    );
                    return Ok(None);
                }
            };
            if matches!(self.story.state(), State::Idle | State::Validating | State::Retrying) {
                self.story.event(Event::Limited { wait: limited.retry_in });
            }
            // Whichever comes first: the time is up, or a request gave its place back.
            let _ = tokio::time::timeout(wait, upstream.state.freed()).await;
            self.story.waited();
        }
    }

    fn block(
        &mut self,
        candidate: &Candidate,
        limited: Option<Limited>,
        retry_in: Option<Duration>,
        why: &'static str,
    ) {
        let provider = &candidate.upstream.provider;
        tracing::debug!(request_id = self.story.id().as_str(), provider = %provider.name, why, "candidate passed over");
        if !candidate.last {
            self.app.metrics.traffic.fell_back(candidate.upstream.state.name(), why);
        }
        self.blocked.push(Blocked {
            provider: provider.name.clone(),
            limited,
            retry_in,
        });
    }

    fn judge(&self, candidate: &Candidate, failure: &Failure, attempts: u32, tried_keys: &[String]) -> Then {
        let decision = &failure.decision;
        let now = self.story.now();
        let state = &candidate.upstream.state;
        let retry = &candidate.upstream.provider.retry;
        let next = if decision.try_next && !candidate.last {
            Then::Next
        } else {
            Then::Stop
        };
        // Another key is no repetition: the provider judged the key, not the request.
        if decision.key != KeyVerdict::Fine && state.has_other_key(tried_keys, now) {
            return Then::Again(Duration::ZERO);
        }
        if !decision.retry_same || attempts >= retry.max_attempts || !retry_on(failure.ended, &retry.on) {
            return next;
        }
        let Delay::Wait(wait) = retry
            .backoff
            .delay(attempts - 1, failure.retry_after, &mut fastrand::Rng::new())
        else {
            return next;
        };
        if decision.throttled && !candidate.last && wait > PATIENCE {
            return next;
        }
        if !state.withdraw(now) {
            self.app.metrics.traffic.retry_denied(state.name());
            return next;
        }
        Then::Again(wait)
    }

    fn log_failure(&self, candidate: &Candidate, failure: &Failure, then: &Then) {
        tracing::info!(
            request_id = self.story.id().as_str(),
            provider = %candidate.upstream.provider.name,
            model = %candidate.model,
            code = failure.code.as_str(),
            detail = clip(&failure.message),
            then = match then {
                Then::Again(_) => "again",
                Then::Next if candidate.last => "give up",
                Then::Next => "next provider",
                Then::Stop => "give up",
            },
            "attempt failed"
        );
    }

    async fn sleep(&mut self, wait: Duration) {
        tokio::time::sleep(wait).await;
        self.story.waited();
    }

    /// The answer to the app.
    fn answer(self, success: Success) -> Response<Body> {
        let Self { mut story, dropped, .. } = self;
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
                Response::from_parts(head, Body::Relay(Relay::new(*started, story, in_flight)))
            }
        }
    }

    /// Nobody answered. The last provider's own word where there is one, else why nobody could be asked.
    fn give_up(mut self) -> Response<Body> {
        let Some(failure) = self.failure.take() else {
            let refusal = self.nobody();
            return refuse::answer(self.story, &refusal);
        };
        let Failure {
            code,
            message,
            retry_after: wait,
            original,
            ..
        } = *failure;
        if let Some((status, mut head, body)) = original {
            if let Some(upstream) = &self.story.upstream {
                headers::sign(&mut head, &self.story, upstream, &[]);
            }
            head.insert(X_SHOULD_RETRY, should_retry(code.retryable()));
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
        let refusal = Refusal::new(code, format!("provider {provider}: {message}")).retry_after(wait);
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
            return Refusal::new(Code::AuthKeyMissing, text);
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

struct Candidate {
    index: usize,
    last: bool,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    prepared: Prepared,
}

fn local_limit(provider: &str, limited: Limited) -> Refusal {
    let which = crate::state::limit_name(limited.which);
    let text = format!("the limit rateLimits.{which} of {provider} is reached");
    Refusal::new(Code::RateLocalLimit, text).retry_after(Some(limited.retry_in.unwrap_or(Duration::from_secs(1))))
}

/// Says the request as this candidate understands it.
fn prepare(call: &Call, upstream: &Upstream, model: &str) -> Result<Prepared, RequestError> {
    let provider = &upstream.provider;
    let same = provider.dialect == call.dialect;
    let unsupported = |path: &str, problem: String| RequestError {
        code: Code::ValUnsupported,
        path: path.into(),
        problem,
    };
    let no_uri = || unsupported("model", format!("{:?} cannot stand in a URL", clip(model)));
    if let Kind::Forward { path, model_in_path } = &call.kind {
        return Ok(Prepared {
            uri: forward_uri(call, upstream, model, path, *model_in_path).ok_or_else(no_uri)?,
            body: if *model_in_path || call.model == model {
                call.body.clone()
            } else {
                with_model(&call.body, model)
            },
            dropped: Vec::new(),
            hide_usage: false,
            same: true,
        });
    }
    if call.array && !same {
        return Err(unsupported(
            "alt",
            "must be sse: this request is answered by a provider of another API".into(),
        ));
    }
    let query = if call.array {
        Some("")
    } else {
        call.query
            .as_deref()
            .filter(|_| same && provider.dialect != Dialect::Gemini)
    };
    let uri = upstream.generation_uri(model, call.stream, query).ok_or_else(no_uri)?;
    if !same {
        let target = Target {
            model,
            default_max_tokens: provider.max_output_tokens(model),
            safety: &provider.safety,
            stream: call.stream,
        };
        let translated = translate_request(call.dialect, provider.dialect, &call.body, &target)?;
        return Ok(Prepared {
            uri,
            body: translated.body,
            dropped: translated.dropped,
            hide_usage: false,
            same,
        });
    }
    let body = if provider.dialect == Dialect::Gemini || call.model == model {
        call.body.clone()
    } else {
        with_model(&call.body, model)
    };
    let hide_usage = provider.dialect == Dialect::OpenAiChat && call.stream && !call.include_usage;
    let body = if hide_usage { with_usage_option(&body) } else { body };
    Ok(Prepared {
        uri,
        body,
        dropped: Vec::new(),
        hide_usage,
        same,
    })
}

fn forward_uri(call: &Call, upstream: &Upstream, model: &str, path: &str, model_in_path: bool) -> Option<Uri> {
    let path = if model_in_path {
        // The generation path of this model, with the operation that was asked for.
        let of_model = bowsprit_core::dialect::request_path(Dialect::Gemini, model, false);
        format!("{}{path}", of_model.strip_suffix("generateContent")?)
    } else {
        path.to_owned()
    };
    match &call.query {
        Some(query) => upstream.uri(&format!("{path}?{query}")),
        None => upstream.uri(&path),
    }
}

/// Whether `retry.retryOn` covers this end.
fn retry_on(ended: Ended, on: &[RetryOn]) -> bool {
    let class = match ended {
        Ended::Transport { fault, .. } => match fault {
            TransportFault::ConnectRefused
            | TransportFault::ConnectTimeout
            | TransportFault::Dns
            | TransportFault::Tls => RetryOn::Connect,
            TransportFault::Reset | TransportFault::Truncated | TransportFault::Protocol => RetryOn::Reset,
            TransportFault::FirstTokenTimeout | TransportFault::IdleTimeout | TransportFault::TotalTimeout => {
                RetryOn::Timeout
            }
        },
        Ended::Status { kind, .. } | Ended::InStream { kind, .. } => match kind {
            ErrorKind::RateLimited => RetryOn::RateLimited,
            ErrorKind::Overloaded => RetryOn::Overloaded,
            ErrorKind::Timeout => RetryOn::Timeout,
            _ => RetryOn::ServerError,
        },
        Ended::Answered | Ended::CallerGone => return false,
    };
    on.contains(&class)
}
