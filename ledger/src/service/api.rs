//! From a request to its answer.

mod changes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowsprit_core::changes::CHANGES_PATH;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::door::{Door, Refusal};
use super::ingest::{Ingest, Later};
use super::metrics::Metrics;
use super::now;
use crate::entry::{Entry, Numbered};
use crate::query::read::{self, Cursor, Filter};
use crate::query::report::{self, ACCESS_PATH, SLA_PATH, USAGE_PATH};
use crate::query::{
    By, CONFIGS_PATH, LOGS_PATH, MAX_NUMBER, QUALITY_PATH, RATE_LIMITS_PATH, READER_HEADER, SPEND_PATH, STATS_PATH,
    WHY_PREFIX, WINDOW_HEADER, Window,
};
use crate::schema::Engine;
use crate::store::rows::MOST_COUNT;
use crate::store::take::check;
use crate::store::{Answer, Arrival, Error, Filling, Keep, Query, Retired, Row, Store};
use crate::wire::{BATCHES_PATH, Batch, MAX_BYTES, Refused, RefusedBecause};

/// Batches that are read, wait or are written at a time. Each takes [`MAX_BYTES`] as text, and as much again and little more as entries,
/// which are read within bounds.
const BODIES: usize = 24;
/// For a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// For a question, all that it asks of the store together: others wait for the same few connections.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);
/// What a sidecar waits before it sends again.
const RETRY_AFTER: &str = "2";
/// The window of a question that names none.
const DAY: i64 = 24 * 3600 * 1000;

/// What all requests share.
pub struct Api {
    /// Who may.
    pub door: Door,
    /// The way in.
    pub ingest: Ingest,
    /// What is asked.
    pub store: Arc<dyn Store>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who may send what was applied, as `NAMESPACE/NAME`.
    pub operator: String,
    bodies: Semaphore,
}

type Answered = Response<Full<Bytes>>;

impl Api {
    /// Over these.
    pub fn new(door: Door, ingest: Ingest, store: Arc<dyn Store>, metrics: Metrics, operator: String) -> Self {
        Self {
            door,
            ingest,
            store,
            metrics,
            operator,
            bodies: Semaphore::new(BODIES),
        }
    }

    /// The answer to a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Answered
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
    {
        if request.uri().path() == BATCHES_PATH {
            if request.method() != Method::POST {
                return said(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            }
            return self.batch(request).await;
        }
        if request.uri().path() == CHANGES_PATH {
            if request.method() != Method::POST {
                return said(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            }
            return changes::take(self, request).await;
        }
        if request.method() != Method::GET {
            return said(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        }
        let question = tokio::time::timeout(QUESTION_TIMEOUT, self.question(&request));
        match question.await {
            Ok(answer) => answer.unwrap_or_else(|answer| *answer),
            Err(_) => with_retry_after(said(
                StatusCode::SERVICE_UNAVAILABLE,
                "no answer in time; ask about less: a namespace, a shorter time",
            )),
        }
    }

    async fn batch<B>(&self, request: Request<B>) -> Answered
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
    {
        let identity = match self.door.sender(authorization(&request), now()).await {
            Ok(identity) => identity,
            Err(refusal) => {
                self.metrics.batch("unauthorized");
                return refused_at_the_door(refusal);
            }
        };
        let Ok(_turn) = self.bodies.try_acquire() else {
            return self.later(Later::Busy);
        };
        let body = Limited::new(request.into_body(), MAX_BYTES).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return self.refused(&refusal(
                    RefusedBecause::TooLarge,
                    format!("a batch has at most {MAX_BYTES} bytes; send fewer entries"),
                ));
            }
            _ => return said(StatusCode::REQUEST_TIMEOUT, "the body did not arrive"),
        };
        let batch = match serde_json::from_slice::<Batch>(&body) {
            Ok(batch) => batch,
            Err(error) => return self.refused(&refusal(RefusedBecause::Malformed, format!("it is no batch: {error}"))),
        };
        drop(body);
        if let Err(refused) = check(&identity, &batch) {
            return self.refused(&refused);
        }
        let entries = in_detail(&batch);
        let folded = folded(&batch);
        match self.ingest.take(Arrival { identity, batch }).await {
            Ok(answer) => {
                if answer.is_ok() {
                    self.metrics.entries(entries, folded);
                }
                self.told(&answer)
            }
            Err(later) => self.later(later),
        }
    }

    fn told(&self, answer: &Answer) -> Answered {
        match answer {
            Ok(taken) => {
                self.metrics.batch("taken");
                json_of(StatusCode::OK, taken)
            }
            Err(refused) => self.refused(refused),
        }
    }

    fn refused(&self, refused: &Refused) -> Answered {
        let (label, status) = match refused.reason {
            RefusedBecause::Version => ("version", StatusCode::BAD_REQUEST),
            RefusedBecause::Malformed | RefusedBecause::Unknown => ("malformed", StatusCode::BAD_REQUEST),
            RefusedBecause::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
            RefusedBecause::ForeignNamespace => ("foreign_namespace", StatusCode::FORBIDDEN),
            RefusedBecause::Gap => ("gap", StatusCode::CONFLICT),
        };
        self.metrics.batch(label);
        json_of(status, refused)
    }

    fn later(&self, later: Later) -> Answered {
        let (label, text) = match later {
            Later::Busy => ("busy", "more batches wait than fit; send it again"),
            Later::Unavailable => ("unavailable", "the store does not answer; send it again"),
        };
        self.metrics.batch(label);
        with_retry_after(said(StatusCode::SERVICE_UNAVAILABLE, text))
    }

    async fn question<B>(&self, request: &Request<B>) -> Result<Answered, Box<Answered>> {
        let path = request.uri().path();
        let asked = Asked::read(request.uri().query().unwrap_or_default())?;
        let is_known = [
            STATS_PATH,
            SPEND_PATH,
            QUALITY_PATH,
            LOGS_PATH,
            RATE_LIMITS_PATH,
            CONFIGS_PATH,
            SLA_PATH,
            USAGE_PATH,
            ACCESS_PATH,
        ]
        .contains(&path);
        if !is_known && !path.starts_with(WHY_PREFIX) {
            return Err(Box::new(said(
                StatusCode::NOT_FOUND,
                "no such path; see docs/ledger-service.md",
            )));
        }
        let namespace = asked.namespace.as_deref();
        let may = self.door.reader(readers(request), namespace, now()).await;
        may.map_err(|refusal| Box::new(refused_at_the_door(refusal)))?;
        let (store, window) = (&*self.store, asked.window.told(now()));
        let provider = asked.provider.as_deref();
        let scope = read::scope(namespace, provider, window);
        match path {
            STATS_PATH => answered(read::stats(store, &scope, asked.by).await).map(|answer| of(window, answer)),
            SPEND_PATH => answered(read::spend(store, &scope, asked.by).await).map(|answer| of(window, answer)),
            QUALITY_PATH => answered(read::quality(store, namespace, window).await).map(|answer| of(window, answer)),
            SLA_PATH => {
                answered(report::read::sla(store, &scope, asked.by, now()).await).map(|answer| of(window, answer))
            }
            USAGE_PATH => {
                let previous = asked.previous.map_or_else(
                    || report::before(window),
                    |from| Window { from, to: window.from }.told(now()),
                );
                answered(report::read::usage(store, &scope, asked.by, previous).await).map(|answer| of(window, answer))
            }
            ACCESS_PATH => answered(report::read::access(store, &scope).await).map(|answer| of(window, answer)),
            LOGS_PATH => answered(read::list(store, &asked.filter()).await),
            RATE_LIMITS_PATH => {
                let needed = || {
                    Box::new(said(
                        StatusCode::BAD_REQUEST,
                        "namespace: rate limits are asked of one namespace",
                    ))
                };
                answered(read::rate_limits(store, namespace.ok_or_else(needed)?, provider, now()).await)
            }
            CONFIGS_PATH => {
                let object = asked.kind.as_deref().zip(asked.name.as_deref());
                answered(read::configs(store, namespace, object, asked.number).await)
            }
            path => {
                let id = decoded(path.strip_prefix(WHY_PREFIX).unwrap_or_default());
                let why = read::why(store, &id, namespace)
                    .await
                    .map_err(|error| Box::new(failed(&error)))?;
                if why.is_empty() {
                    return Err(Box::new(said(
                        StatusCode::NOT_FOUND,
                        "no request has this id in what you may read",
                    )));
                }
                Ok(json_of(StatusCode::OK, &why))
            }
        }
    }
}

/// The parameters of a question.
#[derive(Debug)]
struct Asked {
    namespace: Option<String>,
    provider: Option<String>,
    route: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    by: By,
    is_failed: bool,
    number: u32,
    before: Option<Cursor>,
    after: Option<Cursor>,
    /// The begin of the period before.
    previous: Option<i64>,
    window: Window,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Box<Answered>> {
        let now = now();
        let mut asked = Self {
            namespace: None,
            provider: None,
            route: None,
            kind: None,
            name: None,
            by: By::default(),
            is_failed: false,
            number: 50,
            before: None,
            after: None,
            previous: None,
            window: Window {
                from: now - DAY,
                // The sums of this minute are of it.
                to: now + 60_000,
            },
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            asked
                .set(name, value)
                .map_err(|problem| Box::new(said(StatusCode::BAD_REQUEST, &format!("{name}: {problem}"))))?;
        }
        Ok(asked)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), &'static str> {
        const TIME: &str = "milliseconds since 1970";
        const CURSOR: &str = "a cursor as an answer has it";
        let time = |value: &str| value.parse::<i64>().map_err(|_| TIME);
        match name {
            "namespace" => self.namespace = Some(value),
            "provider" => self.provider = Some(value),
            "route" => self.route = Some(value),
            "kind" => self.kind = Some(value),
            "name" => self.name = Some(value),
            "by" => self.by = By::parse(&value).ok_or("provider, model, route, namespace or workload")?,
            "failed" => self.is_failed = value == "true",
            "number" => {
                self.number = value
                    .parse()
                    .ok()
                    .filter(|number| *number <= MAX_NUMBER)
                    .ok_or("at most 1000")?;
            }
            "before" => self.before = Some(Cursor::parse(&value).ok_or(CURSOR)?),
            "after" => self.after = Some(Cursor::parse(&value).ok_or(CURSOR)?),
            "from" => self.window.from = time(&value)?,
            "to" => self.window.to = time(&value)?,
            "previous" => self.previous = Some(time(&value)?),
            _ => return Err("no such parameter; see docs/ledger-service.md"),
        }
        Ok(())
    }

    fn filter(&self) -> Filter {
        Filter {
            namespace: self.namespace.clone(),
            provider: self.provider.clone(),
            route: self.route.clone(),
            is_failed: self.is_failed,
            number: self.number,
            before: self.before,
            after: self.after,
        }
    }
}

/// `%41` and `+`; what is no escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = if *byte == b'%' {
            hex(at + 1).zip(hex(at + 2))
        } else {
            None
        };
        if let Some((high, low)) = escaped {
            plain.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            at += 3;
        } else {
            plain.push(if *byte == b'+' { b' ' } else { *byte });
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn authorization<B>(request: &Request<B>) -> Option<&str> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok()
}

/// Of who asks, directly or through the API server's proxy.
fn readers<B>(request: &Request<B>) -> Option<&str> {
    authorization(request).or_else(|| request.headers().get(READER_HEADER)?.to_str().ok())
}

fn refusal(reason: RefusedBecause, message: String) -> Refused {
    Refused {
        reason,
        message,
        expected: None,
    }
}

fn refused_at_the_door(refusal: Refusal) -> Answered {
    let status = match refusal {
        Refusal::NoToken | Refusal::Unknown => StatusCode::UNAUTHORIZED,
        Refusal::NoPod | Refusal::MayNotRead => StatusCode::FORBIDDEN,
        Refusal::CannotAsk => return with_retry_after(said(StatusCode::SERVICE_UNAVAILABLE, &refusal.to_string())),
    };
    said(status, &refusal.to_string())
}

fn answered<T: Serialize>(answer: Result<T, Error>) -> Result<Answered, Box<Answered>> {
    answer
        .map(|answer| json_of(StatusCode::OK, &answer))
        .map_err(|error| Box::new(failed(&error)))
}

/// Says which window an answer is of.
fn of(window: Window, mut answer: Answered) -> Answered {
    if let Ok(value) = HeaderValue::try_from(format!("{}/{}", window.from, window.to)) {
        answer.headers_mut().insert(WINDOW_HEADER, value);
    }
    answer
}

fn failed(error: &Error) -> Answered {
    tracing::warn!(%error, "a question was not answered");
    with_retry_after(said(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store does not answer; try again",
    ))
}

/// Requests and attempts that are in a batch one by one.
fn in_detail(batch: &Batch) -> u64 {
    let is_one = |entry: &&Numbered| matches!(entry.entry, Entry::Request(_) | Entry::Attempt(_));
    batch.entries.iter().filter(is_one).count() as u64
}

/// Requests and attempts that are in a batch as sums. Each is bounded, as a counter that is made to go round says nothing any more.
fn folded(batch: &Batch) -> u64 {
    let count = |entry: &Numbered| match &entry.entry {
        Entry::Sum(sum) => sum.count.min(MOST_COUNT),
        _ => 0,
    };
    batch.entries.iter().map(count).sum()
}

fn with_retry_after(mut answer: Answered) -> Answered {
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    answer
}

/// A message for a reader.
fn said(status: StatusCode, message: &str) -> Answered {
    json_of(status, &json!({"message": message}))
}

fn json_of(status: StatusCode, value: &impl Serialize) -> Answered {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A store whose queries are timed, and logged by name where they are slow: never with a parameter.
pub struct Timed {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What is counted.
    pub metrics: Metrics,
    /// Longer is slow.
    pub slow: Duration,
}

impl Store for Timed {
    fn engine(&self) -> Engine {
        self.store.engine()
    }

    fn take(&self, arrivals: Arc<Vec<Arrival>>, now: i64) -> BoxFuture<'_, Result<Vec<Answer>, Error>> {
        self.store.take(arrivals, now)
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            let (name, began) = (query.name, Instant::now());
            let rows = self.store.query(query).await;
            let took = began.elapsed();
            let is_slow = took >= self.slow;
            self.metrics.queried(name, took, is_slow);
            if is_slow {
                let count = rows.as_ref().map_or(0, Vec::len);
                tracing::warn!(
                    query = name,
                    ms = took.as_secs_f64() * 1000.0,
                    rows = count,
                    "slow query"
                );
            }
            rows
        })
    }

    fn note(&self, statements: Vec<Query>) -> BoxFuture<'_, Result<(), Error>> {
        self.store.note(statements)
    }

    fn note_config(&self, row: Row) -> BoxFuture<'_, Result<(), Error>> {
        self.store.note_config(row)
    }

    fn migrate(&self, to: u32, now: i64) -> BoxFuture<'_, Result<u32, Error>> {
        self.store.migrate(to, now)
    }

    fn fill(&self, most: Duration) -> BoxFuture<'_, Result<Filling, Error>> {
        self.store.fill(most)
    }

    fn retain(&self, keep: Keep, now: i64) -> BoxFuture<'_, Retired> {
        self.store.retain(keep, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_unknown_ones_refused() {
        let asked = Asked::read("namespace=a%2Fb&by=model&failed=true&number=7&before=1.2.3&route=x+y").unwrap();
        assert_eq!(
            (asked.namespace.as_deref(), asked.by, asked.number),
            (Some("a/b"), By::Model, 7)
        );
        assert_eq!(
            (asked.before, asked.route.as_deref(), asked.is_failed),
            (Some(Cursor(1, 2, 3)), Some("x y"), true)
        );
        for bad in ["by=colour", "number=1001", "before=x", "from=yesterday", "namspace=a"] {
            assert!(Asked::read(bad).is_err(), "{bad}");
        }
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}
