//! Answers to questions that are alike (`cache.semantic` of a ModelRoute): a request to which no kept answer is the same is compared
//! with those that it may be compared with, by vectors that the sidecar asks for itself.
//!
//! Such a request for vectors is one of its own: planned, limited, retried, recorded and billed like any, under the id of the one that
//! it is for with [`OF_OURS`] behind it. It is waited for only where there is something to compare with, and for so long at most as the
//! route says; then the request goes on without. What is to be taken in is asked for when the answer has been given.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::config::Route;
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::dialect::{Dialect, tokens_of};
use bowsprit_core::json::json;
use bowsprit_core::kept::directives::Directives;
use bowsprit_core::kept::inputs::Parted;
use bowsprit_core::kept::key::{Key, Whose};
use bowsprit_core::kept::semantic::index::Bucket;
use bowsprit_core::kept::semantic::point::Point;
use bowsprit_core::kept::semantic::{Question, SemanticTerms};
use bowsprit_core::kept::vector::Vector;
use bowsprit_core::plan;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::cached::{Part, Told};
use super::context::RequestContext;
use super::embeddings::partly::Partly;
use super::gather::{Gathered, gather};
use super::inbound::Inbound;
use super::limits::Patience;
use super::request_id::{RequestId, TraceId};
use super::{beside, embeddings, guard, keep, ours, refuse, serve, webhook};
use crate::caller::Caller;
use crate::observe::semantic::{Error, Result as Came, Work};
use crate::process::Process;
use crate::tenant::Tenant;
use crate::tenant::cache::Alike;
use crate::tenant::kept::{Answer, Looked};
use crate::tenant::semantic::{Asked, Behind, Verifying, Versioned, Waiting};
use crate::tenant::snapshot::Snapshot;

/// What stands behind the id of a request in that of the request for its vectors.
const OF_OURS: &str = ".semantic";
/// The same where answers are compared.
const OF_VERIFYING: &str = ".verify";
/// How long vectors may take that nobody waits for.
const UNHURRIED: Duration = Duration::from_secs(30);
/// So many numbers are compared at a time: some hundred microseconds.
const MANY: usize = 1 << 19;
/// So many questions at once are waited for that were answered.
const AT_ONCE: usize = 8;

/// Looks for the answer to a question that is alike; with what is to be taken in where there is none.
pub(super) async fn look(
    process: &Arc<Process>,
    context: &mut RequestContext,
    inbound: &Inbound,
    (route, whose): (&Arc<Route>, Whose),
    wanted: Directives,
) -> Result<(Arc<Answer>, Alike), Option<Box<Asked>>> {
    let (Some(terms), Some(cache)) = (&route.semantic, &route.cache) else {
        return Err(None);
    };
    let prefix = keep::prefix_of(context, inbound, route, whose);
    let Some(question) = Question::of(&inbound.call, &inbound.body, &prefix, cache.allowed) else {
        return Err(None);
    };
    let mut asking = Box::new(Asked {
        question,
        point: None,
        verify: None,
    });
    if wanted.no_cache {
        return Err(Some(asking));
    }
    let tenant = Arc::clone(context.tenant());
    let sinks = &process.sinks.semantic;
    let none = |asking| {
        sinks.came(&route.name, Came::None, 0.0);
        Err(Some(asking))
    };
    let questions = &tenant.cache.questions;
    if questions.bucket(route, &asking.question.bucket, None).is_none() {
        return none(asking);
    }
    let parent = Parent::of(context);
    let vectors = vectors(process, &parent, route, terms, &asking.question.texts);
    let vectors = match tokio::time::timeout(terms.max_wait, vectors).await {
        Ok(vectors) => vectors,
        Err(_) => Err(Error::Late),
    };
    context.waited();
    let versioned = match vectors {
        Ok(versioned) => versioned,
        Err(error) => {
            sinks.failed(error);
            return Err(None);
        }
    };
    let began = process.clock.now();
    // Looked for again: what was there before they came may have been of another version.
    let bucket = questions.bucket(route, &asking.question.bucket, Some(&versioned.model));
    let nearest = match bucket {
        Some(bucket) => nearest(&bucket, &versioned.point).await,
        None => None,
    };
    let now = context.waited();
    sinks.worked(Work::Search, 1, process.clock.now() - began);
    asking.point = Some(versioned);
    let Some((key, similarity)) = nearest else {
        return none(asking);
    };
    if similarity < terms.least() {
        sinks.came(&route.name, Came::Far, similarity);
        return Err(Some(asking));
    }
    match tenant.cache.answers.look(route, &key, now) {
        Looked::Found(answer, age, _) if age <= terms.keep.max_age && wanted.take(age, terms.keep.max_age) => {
            if terms.verifies(fastrand::f64()) {
                asking.verify = Some(answer);
                return Err(Some(asking));
            }
            sinks.came(&route.name, Came::Hit, similarity);
            Ok((
                answer,
                Alike {
                    key,
                    similarity,
                    at: now,
                    age,
                },
            ))
        }
        found => {
            if matches!(found, Looked::Nothing(_)) {
                questions.remove(route, &key);
            }
            none(asking)
        }
    }
}

/// Compares; where there is much to compare, other requests have their turns meanwhile.
async fn nearest(bucket: &Bucket, point: &Point) -> Option<(Key, f32)> {
    let mut best: Option<(Key, f32)> = None;
    for part in bucket.parts((MANY / point.numbers().len().max(1)).max(1)) {
        if best.is_some() {
            tokio::task::yield_now().await;
        }
        let found = part.nearest(point);
        if found.is_some_and(|(_, found)| best.is_none_or(|(_, known)| found > known)) {
            best = found;
        }
    }
    best
}

/// Takes in what was answered, as its vectors come. Ends never.
pub async fn run(process: Arc<Process>) {
    let questions = Arc::clone(&process.tenant.cache.questions);
    beside::each(
        AT_ONCE,
        "taking in a question",
        || questions.next(),
        |what| behind(&process, what),
    )
    .await;
}

async fn behind(process: &Arc<Process>, what: Behind) {
    match what {
        Behind::TakeIn(waiting) => take_in(process, waiting).await,
        Behind::Verify(verifying) => verify(process, verifying).await,
    }
}

/// By what both say: as alike as questions must be, they are taken for the same.
async fn verify(process: &Arc<Process>, verifying: Verifying) {
    let Some(terms) = &verifying.route.semantic else { return };
    let parent = Parent {
        tenant: Arc::clone(&process.tenant),
        caller: verifying.caller,
        id: RequestId::of_ours(&verifying.id, OF_VERIFYING),
        trace: None,
        patience: Patience::AsTheySay,
    };
    let vectors = vectors(process, &parent, &verifying.route, terms, &verifying.said);
    let point = tokio::time::timeout(UNHURRIED, vectors)
        .await
        .unwrap_or(Err(Error::Late));
    let result = match point.map(|versioned| versioned.point.likeness_within()) {
        Ok(likeness) if likeness >= terms.least() => Came::Right,
        Ok(_) => Came::Wrong,
        Err(error) => {
            process.sinks.semantic.failed(error);
            Came::Unsure
        }
    };
    process.sinks.semantic.came(&verifying.route.name, result, 0.0);
}

async fn take_in(process: &Arc<Process>, waiting: Waiting) {
    let Some(terms) = &waiting.route.semantic else { return };
    let parent = Parent {
        tenant: Arc::clone(&process.tenant),
        caller: waiting.caller,
        id: RequestId::of_ours(&waiting.id, OF_OURS),
        trace: None,
        patience: Patience::AsTheySay,
    };
    let vectors = vectors(process, &parent, &waiting.route, terms, &waiting.question.texts);
    let vectors = tokio::time::timeout(UNHURRIED, vectors).await;
    match vectors.unwrap_or(Err(Error::Late)) {
        Ok(versioned) => {
            let questions = &parent.tenant.cache.questions;
            questions.insert(
                &waiting.route,
                waiting.question.bucket,
                &versioned,
                waiting.answer,
                waiting.at,
            );
        }
        Err(error) => process.sinks.semantic.failed(error),
    }
}

/// For whom vectors are asked for.
struct Parent {
    tenant: Arc<Tenant>,
    caller: Caller,
    id: RequestId,
    trace: Option<Arc<TraceId>>,
    /// A request that is under way holds places under limits itself.
    patience: Patience,
}

impl Parent {
    fn of(context: &RequestContext) -> Self {
        Self {
            tenant: Arc::clone(context.tenant()),
            caller: context.caller.clone(),
            id: RequestId::of_ours(context.id().as_str(), OF_OURS),
            trace: context.trace.clone(),
            patience: Patience::Never,
        }
    }
}

/// Asks for the vectors of these texts.
async fn vectors(
    process: &Arc<Process>,
    parent: &Parent,
    route: &Arc<Route>,
    terms: &SemanticTerms,
    texts: &[String],
) -> Result<Versioned, Error> {
    let body = json!({"model": terms.model, "input": texts.to_vec()}).to_string();
    let answer = asked(process, parent, &terms.model, Bytes::from(body)).await?;
    let parted = Parted::of(EmbeddingsApi::OpenAi, &answer, texts.len()).ok_or(Error::Unreadable)?;
    let numbers = parted.vectors.iter().map(Vector::numbers);
    let point = numbers
        .collect::<Option<Vec<_>>>()
        .and_then(|numbers| Point::of(&numbers));
    let point = point.ok_or(Error::Unreadable)?;
    // What was of another version is forgotten: this one is the first of its own.
    parent.tenant.cache.questions.are_of(route, &parted.model);
    let model = parted.model;
    Ok(Versioned { point, model })
}

/// A request of ours for embeddings.
async fn asked(process: &Arc<Process>, parent: &Parent, model: &str, body: Bytes) -> Result<Bytes, Error> {
    let snapshot = parent.tenant.snapshot.load_full().ok_or(Error::Embedding)?;
    let mut context = RequestContext::begin(
        process,
        Arc::clone(&parent.tenant),
        parent.caller.clone(),
        parent.id.clone(),
        Dialect::OpenAiChat,
        "embeddings",
    );
    context.trace.clone_from(&parent.trace);
    let mut inbound = inbound(model, body);
    context.asked = Arc::clone(&inbound.call.model);
    context.route = plan::route_for(&snapshot.config, model).cloned();
    let admitted = async {
        // The question has been past the guards of the namespace and of its own route, and not past those of this one.
        if context.route.as_ref().is_some_and(|route| !route.guards.is_empty()) {
            guard::look(process, &snapshot, &mut context, &mut inbound)?;
            if !snapshot.services.is_empty() {
                Box::pin(webhook::look(&snapshot, &mut context, &mut inbound)).await?;
            }
        }
        ours::admitted(process, &snapshot, &mut context, (&inbound, parent.patience)).await
    };
    if let Err(refusal) = admitted.await {
        refuse::answer(context, &refusal);
        return Err(Error::Embedding);
    }
    embeddings::lead_to_next(&mut context, &inbound);
    let response = match kept(&context, &snapshot, &inbound).await {
        Kept::Whole(given) => {
            let body = given.0.body.clone();
            context.cache = Some(Box::new(Part {
                lead: None,
                asking: None,
                given: Some(given),
                told: Told::Miss,
            }));
            context.head_sent(StatusCode::OK);
            context.answered_again(body.len() as u64);
            return Ok(body);
        }
        Kept::Partly(partly) => embeddings::serve(process, &snapshot, context, &inbound, partly).await,
        Kept::Nothing => serve::serve(process, &snapshot, context, &inbound).await,
    };
    if response.status() != StatusCode::OK {
        return Err(Error::Embedding);
    }
    match gather(response.into_body(), &process.memory).await {
        Gathered::Whole(body) => Ok(body),
        _ => Err(Error::Embedding),
    }
}

/// What is kept of the vectors that are asked for, where the route of their model keeps any.
enum Kept {
    /// All of them: the answer, and the age of its oldest part.
    Whole((Arc<Answer>, Duration)),
    /// Some, or none yet that will be kept.
    Partly(Box<Partly>),
    /// Its route keeps none.
    Nothing,
}

async fn kept(context: &RequestContext, snapshot: &Snapshot, inbound: &Inbound) -> Kept {
    let route = context.route.as_ref();
    let Some((route, cache, terms)) = route.and_then(|route| Some((route, route.cache?, route.cache?.embeddings?)))
    else {
        return Kept::Nothing;
    };
    let whose = cache.whose(&snapshot.config, route);
    match embeddings::look(context, inbound, route, (whose, terms, Directives::default())) {
        Some(partly) if !partly.can_fit(&context.process().memory) => Kept::Nothing,
        Some(partly) if partly.is_whole() => {
            let room = partly.room(&context.process().memory).await;
            let given = room.and_then(|room| partly.answer(context, room));
            given.map_or(Kept::Nothing, Kept::Whole)
        }
        Some(partly) => Kept::Partly(Box::new(partly)),
        None => Kept::Nothing,
    }
}

fn inbound(model: &str, body: Bytes) -> Inbound {
    let mut call = Call::new(Dialect::OpenAiChat, Operation::Embed(EmbeddingsApi::OpenAi));
    call.model = model.into();
    call.tokens = tokens_of(body.len());
    call.input_tokens = call.tokens;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Inbound {
        call,
        method: Method::POST,
        path_below: String::new(),
        headers,
        query: None,
        keys_in_query: None,
        body,
        parts: None,
    }
}
