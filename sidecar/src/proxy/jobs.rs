//! `/jobs`: requests that are answered later. What is asked here is no request to a model: it is not planned, limited or recorded. The
//! requests that follow from it are, as any other ([`run`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::dialect::Dialect;
use bowsprit_core::fault::Code;
use bowsprit_core::jobs::ask::Ask;
use bowsprit_core::jobs::{Accepted, Full, Heard, Job, New, Status};
use bowsprit_core::plan::{self, Availability};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::RawValue;

use super::admit;
use super::body::Body;
use super::refuse::{self, Refusal, X_SHOULD_RETRY, clip, should_retry};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::route::{self, Route};
use crate::jobs::files::{Answer, Said};
use crate::jobs::{Jobs, NotAccepted};
use crate::limits::{JOB_BODY, JOBS_LISTED};
use crate::process::Process;
use crate::time::rfc3339;

pub mod run;

/// Longest path and query of a job's request.
const PATH: usize = 1 << 10;
/// When to look again for an answer that is not there.
const NOT_YET: Duration = Duration::from_secs(2);
/// When there may be room again.
const ROOM: Duration = Duration::from_secs(10);

/// Whether a path is one of these.
pub(super) fn is_here(path: &str) -> bool {
    path.strip_prefix("/jobs")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers what is asked about jobs.
pub(super) async fn answer(process: &Arc<Process>, peer: IpAddr, parts: Parts, body: Incoming) -> Response<Body> {
    let id = RequestId::from_headers(&parts.headers);
    let _in_flight = process.drain.enter();
    let mut response = match take(process, peer, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => return refuse::bare(Dialect::OpenAiChat, &id, &refusal),
    };
    response
        .headers_mut()
        .entry(X_REQUEST_ID)
        .or_insert_with(|| id.header());
    response
}

async fn take(process: &Arc<Process>, peer: IpAddr, parts: &Parts, body: Incoming) -> Result<Response<Body>, Refusal> {
    if !process.caller(peer).is_in_pod() {
        let text = "jobs and their answers are for the sidecar's own pod: ask at 127.0.0.1";
        return Err(Refusal::new(Code::AuthAccessDenied, text));
    }
    let jobs = process.jobs.as_ref().ok_or_else(nowhere)?;
    let rest = parts.uri.path().trim_start_matches("/jobs").trim_matches('/');
    let (id, below) = rest.split_once('/').map_or((rest, ""), |(id, below)| (id, below));
    match (&parts.method, id, below) {
        (&Method::POST, "", _) => post(process, jobs, parts, body).await,
        (&Method::GET, "", _) => list(jobs, parts.uri.query()),
        (_, "", _) => Err(not_so(parts, "GET, POST")),
        (&Method::GET, id, "") => one(jobs, id, parts.uri.query()).await,
        (&Method::DELETE, id, "") => delete(jobs, id).await,
        (_, _, "") => Err(not_so(parts, "GET, DELETE")),
        (&Method::GET, id, "answer") => raw(jobs, id).await,
        (_, _, "answer") => Err(not_so(parts, "GET")),
        _ => {
            let text = "below /jobs there are /jobs/{id} and /jobs/{id}/answer";
            Err(Refusal::new(Code::ResPathNotFound, text))
        }
    }
}

fn not_so(parts: &Parts, allow: &'static str) -> Refusal {
    let text = format!("{} takes {allow}, not {}", clip(parts.uri.path()), parts.method);
    Refusal::new(Code::ValMethod, text).allow(allow)
}

fn nowhere() -> Refusal {
    let text = "jobs outlive the sidecar's container, and there is no folder for them: give it one with --state-dir, as injected \
                sidecars have it; the log says so where the folder cannot be read";
    Refusal::new(Code::SysNotSupported, text)
}

async fn post(
    process: &Arc<Process>,
    jobs: &Arc<Jobs>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    if process.drain.is_draining() {
        return Err(Refusal::draining());
    }
    let limit = process.limits.max_body.min(JOB_BODY);
    let body = admit::take_body(process, body, limit).await?;
    let ask = Ask::read(&body, parts.headers.get("idempotency-key"))?;
    fits(process, &ask)?;
    let new = New {
        id: format!("job_{}", RequestId::new().as_str()),
        digest: ask.digest(),
        key: ask.key,
        path: ask.path,
        ttl: ask.ttl,
        deadline: ask.deadline,
        max_attempts: ask.max_attempts,
        request_bytes: ask.request.len() as u64,
    };
    let accepted = jobs.accept(new, Said::new(&ask.headers), ask.request.into()).await;
    let job = match accepted.map_err(|why| not_accepted(&why))? {
        Accepted::New(job) | Accepted::Known(job) => job,
    };
    let mut response = json(StatusCode::ACCEPTED, &Seen::of(&job));
    if let Ok(at) = HeaderValue::try_from(format!("/jobs/{}", job.id)) {
        response.headers_mut().insert(LOCATION, at);
    }
    Ok(response)
}

/// Whether the sidecar could take the request now: what is wrong with it is said at once, and not in hours.
fn fits(process: &Process, ask: &Ask) -> Result<(), Refusal> {
    let field = |path: &str, text: String| {
        let mut refusal = Refusal::new(Code::ValField, format!("{path}: {text}"));
        refusal.param = Some(path.to_owned());
        refusal
    };
    let request = Request::builder().method(Method::POST).uri(&ask.path).body(());
    let parts = match request {
        Ok(request) if ask.path.starts_with('/') && ask.path.len() <= PATH => request.into_parts().0,
        _ => return Err(field("path", "is no path, such as /v1/chat/completions".into())),
    };
    let (dialect, found) = route::find(&parts);
    let Ok(route @ (Route::Generate { .. } | Route::Embed { .. })) = found else {
        let text = format!(
            "{} is no conversation and no embedding, which are what a job can be",
            clip(&ask.path)
        );
        return Err(field("path", text));
    };
    let call = admit::facts(&route, &Bytes::copy_from_slice(ask.request.as_bytes()))?;
    if call.stream {
        let text = "a job's answer is kept whole: leave stream out (Gemini: use generateContent)";
        return Err(Refusal::new(Code::ValUnsupported, format!("request.stream: {text}")));
    }
    let tenant = process.tenant.snapshot.load_full();
    let Some(snapshot) = tenant else {
        return Err(Refusal::new(
            Code::SysNotReady,
            "no valid configuration has been loaded yet",
        ));
    };
    let everybody = |_: &_, _: &str| Availability::Available;
    let plan = plan::plan(&snapshot.config, dialect, &call.model, &everybody, &mut || 0.0);
    if let Some(candidate) = plan.candidates.iter().find(|it| it.provider.forward_caller_key) {
        let text = format!(
            "{} is asked with its caller's own key (forwardCallerKey), and a key is never written to disk: a job cannot be answered \
             by it. Ask for a model that other ProviderConfigs serve",
            candidate.provider.name
        );
        return Err(Refusal::new(Code::ValUnsupported, text));
    }
    Ok(())
}

fn not_accepted(why: &NotAccepted) -> Refusal {
    let text = match why {
        NotAccepted::Full(Full::Busy) => {
            let text = "a job with this idempotencyKey is being taken in";
            return Refusal::new(Code::SysOverloaded, text).retry_after_seconds(1);
        }
        NotAccepted::Full(Full::Taken) => {
            let text = "a job with this idempotencyKey is kept, and it asks for something else";
            return Refusal::new(Code::ResJobKeyTaken, text);
        }
        NotAccepted::Full(Full::Jobs(most)) => format!("{most} jobs are kept already, answered ones included"),
        NotAccepted::Full(Full::Bytes(most)) => {
            format!("jobs and the answers that are kept fill the {most} bytes that they may have on disk (--jobs-size)")
        }
        NotAccepted::NotWritten(error) => {
            tracing::warn!(%error, "a job cannot be written");
            format!("the job cannot be written: {}", error.kind())
        }
    };
    Refusal::new(Code::SysJobsFull, text).retry_after(Some(ROOM))
}

fn list(jobs: &Jobs, query: Option<&str>) -> Result<Response<Body>, Refusal> {
    let (mut status, mut most) = (None, JOBS_LISTED);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = Status::ALL.into_iter().find(|status| status.as_str() == value);
        let number = value.parse().ok().filter(|number| (1..=JOBS_LISTED).contains(number));
        match (name, known, number) {
            ("status", Some(known), _) => status = Some(known),
            ("limit", _, Some(number)) => most = number,
            _ => {
                let words = Status::ALL.map(Status::as_str).join(", ");
                let text = format!("the query may have status ({words}) and limit (1 to {JOBS_LISTED})");
                return Err(Refusal::new(Code::ValField, text));
            }
        }
    }
    let (found, has_more) = jobs.list(status, most);
    let data = found.iter().map(Seen::of).collect();
    let object = "list";
    Ok(json(StatusCode::OK, &List { object, data, has_more }))
}

fn known(jobs: &Jobs, id: &str) -> Result<Job, Refusal> {
    jobs.get(id).ok_or_else(|| no_such(id))
}

fn no_such(id: &str) -> Refusal {
    let text = format!(
        "there is no job {}: it was fetched and deleted, its time is over, or there was none",
        clip(id)
    );
    Refusal::new(Code::ResJobNotFound, text)
}

async fn one(jobs: &Jobs, id: &str, query: Option<&str>) -> Result<Response<Body>, Refusal> {
    let job = known(jobs, id)?;
    let mut seen = Seen::of(&job);
    // Whoever looks after jobs need not see what models said.
    let is_asked_for = !query.unwrap_or_default().split('&').any(|pair| pair == "answer=false");
    if is_asked_for
        && job.status.is_end()
        && let Some((head, body)) = answer_of(jobs, id).await
    {
        seen.answer = Some(SeenAnswer::of(&head, &body));
    }
    Ok(json(StatusCode::OK, &seen))
}

async fn answer_of(jobs: &Jobs, id: &str) -> Option<(Answer, Vec<u8>)> {
    let (_, head) = jobs.files.read(id).await.ok()?;
    Some((head?, jobs.files.answer_body(id).await.ok()?))
}

/// The answer as the provider's API would have given it.
async fn raw(jobs: &Jobs, id: &str) -> Result<Response<Body>, Refusal> {
    let job = known(jobs, id)?;
    if !job.status.is_end() {
        let text = format!("the job {} is {}", job.id, job.status.as_str());
        return Err(Refusal::new(Code::ResJobNotDone, text).retry_after(Some(NOT_YET)));
    }
    let Some((head, body)) = answer_of(jobs, id).await else {
        let text = format!("the job {} is {} and has no answer", job.id, job.status.as_str());
        return Err(Refusal::new(Code::ResJobNotFound, text));
    };
    let mut response = Response::new(Body::Whole(Bytes::from(body)));
    *response.headers_mut() = head.headers();
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    if job.status == Status::Failed {
        // It would be the same again.
        response.headers_mut().insert(X_SHOULD_RETRY, should_retry(false));
    }
    Ok(response)
}

async fn delete(jobs: &Jobs, id: &str) -> Result<Response<Body>, Refusal> {
    let job = jobs.forget(id).await.ok_or_else(|| no_such(id))?;
    let status = if job.status.is_end() {
        job.status.as_str()
    } else {
        "cancelled"
    };
    let deletion = Deletion {
        id: &job.id,
        object: "job",
        status,
        deleted: true,
    };
    Ok(json(StatusCode::OK, &deletion))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from(serde_json::to_vec(body).unwrap_or_default())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Seen<'a>>,
    has_more: bool,
}

#[derive(Serialize)]
struct Deletion<'a> {
    id: &'a str,
    object: &'static str,
    status: &'static str,
    deleted: bool,
}

/// A job as its caller sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen<'a> {
    id: &'a str,
    object: &'static str,
    status: Status,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    attempts: u32,
    max_attempts: u32,
    request_bytes: u64,
    answer_bytes: u64,
    created_at: String,
    deadline_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// How the last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<&'a Heard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<SeenAnswer>,
}

impl<'a> Seen<'a> {
    fn of(job: &'a Job) -> Self {
        let time = |millis: u64| rfc3339(i64::try_from(millis / 1_000).unwrap_or(i64::MAX));
        Self {
            id: &job.id,
            object: "job",
            status: job.status,
            path: &job.path,
            idempotency_key: job.key.as_deref(),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            request_bytes: job.request_bytes,
            answer_bytes: job.answer_bytes,
            created_at: time(job.created),
            deadline_at: time(job.deadline),
            expires_at: time(job.expires),
            next_attempt_at: (job.status == Status::Queued).then(|| time(job.next)),
            ended_at: job.ended.map(time),
            last: job.heard.as_ref(),
            answer: None,
        }
    }
}

/// An answer within a job: JSON as it came, anything else as text.
#[derive(Serialize)]
struct SeenAnswer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Box<RawValue>,
}

impl SeenAnswer {
    fn of(head: &Answer, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        let as_text = |text: &str| serde_json::value::to_raw_value(text).unwrap_or_default();
        let headers = head.headers();
        let headers = headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        Self {
            status: head.status,
            headers: headers.collect(),
            body: RawValue::from_string(text.clone()).unwrap_or_else(|_| as_text(&text)),
        }
    }
}
