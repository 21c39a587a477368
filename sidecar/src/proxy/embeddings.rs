//! Embeddings input by input (`cache.embeddings` of a ModelRoute): what is kept is given again, only what is missing is asked for, and
//! the answer is put together in the caller's order. Its usage is that of what was asked.
//!
//! What another request asks for already is waited for ([`turn`]): equal inputs that are wanted at once are asked for once.
//!
//! The record of the request is that of what was asked: its bytes are those of the provider's answer. If what is missing cannot be
//! had, the whole request fails with the provider's error; what is kept stays, and what came of a request in parts is kept too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::cost::Picodollars;
use bowsprit_core::dialect::embeddings::{self, Answered, EmbeddingsApi};
use bowsprit_core::dialect::{Usage, tokens_of};
use bowsprit_core::fault::Code;
use bowsprit_core::kept::Terms;
use bowsprit_core::kept::directives::Directives;
use bowsprit_core::kept::inputs::{Parted, Split};
use bowsprit_core::kept::key::{Key, Prefix, Whose};
use bowsprit_core::kept::vector::Vector;
use bowsprit_core::record::Spent;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Limited};
use serde::Deserialize;

use super::body::Body;
use super::context::RequestContext;
use super::inbound::{Came, Inbound};
use super::own_headers::{ANSWERED_AS, ANSWERED_BY, CACHE, CACHE_STATUS};
use super::refuse::{self, Refusal};
use super::request_id::RequestId;
use super::{keep, serve};
use crate::limits::ANSWER_TRANSLATED;
use crate::process::Process;
use crate::tenant::Tenant;
use crate::tenant::asking::Claim;
use crate::tenant::kept::{Answer, Looked};
use crate::tenant::refill::{Input, Shared};
use crate::tenant::snapshot::Snapshot;
use crate::tenant::vectors::{Source, Stored};

/// A request taken apart, and what is kept of its answer.
pub(super) struct Partly {
    form: EmbeddingsApi,
    route: Arc<Route>,
    split: Split,
    keys: Vec<Key>,
    found: Vec<Option<(Arc<Stored>, Duration)>>,
    epoch: u64,
    /// What its caller says of kept ones, and how old these may be.
    wanted: (Directives, Duration),
    /// What it asks for while others wait for it.
    claim: Option<Claim>,
}

/// Takes a request for embeddings apart. `None`: it is not understood here, or its route has changed.
pub(super) fn look(
    context: &RequestContext,
    inbound: &Inbound,
    route: &Arc<Route>,
    (whose, terms, wanted): (Whose, Terms, Directives),
) -> Option<Partly> {
    let Operation::Embed(form) = inbound.call.operation else {
        return None;
    };
    let split = Split::of(form, &inbound.body)?;
    let prefix = keep::prefix_of(context, inbound, route, whose);
    let keys = split.keys(&prefix)?;
    if route.keep_inputs.is_some() {
        remember(context, inbound, route, (form, &split, &prefix), &keys);
    }
    let vectors = context.tenant().cache.vectors_of(route);
    let mut epoch = None;
    let mut found = Vec::with_capacity(keys.len());
    for key in &keys {
        found.push(match vectors.look(route, key, context.now()) {
            Looked::Found(stored, age, of) => {
                epoch = Some(of);
                wanted.take(age, terms.max_age).then_some((stored, age))
            }
            Looked::Nothing(of) => {
                epoch = Some(of);
                None
            }
            Looked::NotItsRoute => return None,
        });
    }
    let mut partly = Partly {
        form,
        route: Arc::clone(route),
        split,
        keys,
        found,
        epoch: epoch?,
        wanted: (wanted, terms.max_age),
        claim: None,
    };
    partly.are_of_one_model();
    Some(partly)
}

/// Leads a request for embeddings to its route's next model, where that serves. From here on it is one of a route with this model alone.
pub(super) fn lead_to_next(context: &mut RequestContext, inbound: &Inbound) {
    let Operation::Embed(_) = inbound.call.operation else {
        return;
    };
    let refills = &context.tenant().cache.refills;
    let next = context.route.as_ref().and_then(|route| {
        let next = route.next.as_ref()?;
        refills.serves_next(&route.name).then(|| Arc::clone(&next.route))
    });
    if next.is_some() {
        (context.route, context.is_led) = (next, true);
    }
}

/// Keeps the texts of these inputs, to ask a next model for their vectors.
fn remember(
    context: &RequestContext,
    inbound: &Inbound,
    route: &Route,
    (form, split, prefix): (EmbeddingsApi, &Split, &Prefix),
    keys: &[Key],
) {
    let Some((kind, body)) = split.shared(prefix) else {
        return;
    };
    let shared = Arc::new(Shared {
        form,
        operation: context.operation(),
        model: Arc::clone(&inbound.call.model),
        body,
        kind,
        caller: context.caller.clone(),
    });
    let cache = &context.tenant().cache;
    let make = |place| Some(Input::new(Arc::clone(&shared), split.text(place)?));
    let is_there = |key: &Key| cache.next.has(&route.name, key);
    cache.refills.seen(route, keys, (make, is_there), context.now());
}

/// Waits for those of the missing inputs that others ask for, so long at most, and claims the rest. Nothing may be missing then.
///
/// # Errors
/// The sidecar stops.
pub(super) async fn turn(
    process: &Process,
    context: &mut RequestContext,
    partly: &mut Partly,
    patience: Duration,
) -> Result<(), Refusal> {
    let asking = Arc::clone(context.tenant().cache.asking_of(&partly.route));
    let begun = context.now();
    // Who wants what nobody has had asks for itself: what others ask for was asked for before.
    let mut is_alone = partly.wanted.0.no_cache;
    loop {
        let missing: Vec<Key> = partly
            .missing()
            .0
            .into_iter()
            .filter_map(|place| partly.keys.get(place).copied())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let left = patience.saturating_sub(context.now() - begun);
        if is_alone || left.is_zero() {
            partly.claim = Some(asking.claim_free(partly.epoch, missing));
            return Ok(());
        }
        let others = match asking.claim(partly.epoch, missing) {
            Ok(claim) => {
                // Who has ended meanwhile has kept its vectors before its claim went.
                partly.look_again(context);
                partly.claim = (!partly.is_whole()).then_some(claim);
                return Ok(());
            }
            Err(others) => others,
        };
        let ends = async {
            let mut ended = Vec::with_capacity(others.len());
            for other in others {
                ended.push(other.end().await);
            }
            ended
        };
        let ended = tokio::select! {
            biased;
            ended = tokio::time::timeout(left, ends) => ended,
            () = process.drain.was_cut() => return Err(Refusal::draining()),
        };
        context.waited();
        let before = partly.missing().0.len();
        partly.look_again(context);
        let Ok(ended) = ended else {
            is_alone = true;
            continue;
        };
        let has_failed = ended.iter().any(Option::is_none);
        for came in ended.into_iter().flatten() {
            partly.take(&came);
        }
        // An answer that is none to share would be none the next time either.
        is_alone = !has_failed && partly.missing().0.len() == before;
    }
}

impl Partly {
    fn hits(&self) -> impl Iterator<Item = &(Arc<Stored>, Duration)> {
        self.found.iter().flatten()
    }

    /// Looks once more for what is missing.
    fn look_again(&mut self, context: &RequestContext) {
        let vectors = context.tenant().cache.vectors_of(&self.route);
        for (key, found) in self.keys.iter().zip(&mut self.found) {
            if found.is_none()
                && let Looked::Found(stored, age, _) = vectors.look(&self.route, key, context.now())
                && self.wanted.0.take(age, self.wanted.1)
            {
                *found = Some((stored, age));
            }
        }
        self.are_of_one_model();
    }

    /// Takes what another request has got just now.
    fn take(&mut self, came: &HashMap<Key, Arc<Stored>>) {
        for (key, found) in self.keys.iter().zip(&mut self.found) {
            if found.is_none()
                && let Some(stored) = came.get(key)
            {
                *found = Some((Arc::clone(stored), Duration::ZERO));
            }
        }
        self.are_of_one_model();
    }

    /// Vectors of two versions of a model do not go together: where there are, those of the youngest count, and the others are missing.
    fn are_of_one_model(&mut self) {
        let youngest = self.hits().min_by_key(|(_, age)| *age);
        let Some(source) = youngest.map(|(stored, _)| Arc::clone(&stored.source)) else {
            return;
        };
        for found in &mut self.found {
            if found
                .as_ref()
                .is_some_and(|(stored, _)| stored.source.model != source.model)
            {
                *found = None;
            }
        }
    }

    /// Whether nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.found.iter().all(Option::is_some)
    }

    /// What the kept vectors were billed with.
    fn saved(&self) -> (u64, Picodollars) {
        self.hits().fold((0, Picodollars::ZERO), |(tokens, cost), (stored, _)| {
            let (more, price) = stored.source.spent;
            (tokens.saturating_add(more), cost.plus(price))
        })
    }

    /// Counts its inputs. `saved`: what the kept ones had cost, where no record tells it.
    fn count(&self, context: &RequestContext, saved: (u64, Picodollars)) {
        let hits = self.hits().count();
        let sinks = &context.process().sinks;
        let inputs = (hits, self.keys.len() - hits);
        sinks.cache.embedded(&self.route.name, inputs, saved);
    }

    /// The whole answer, where nothing is missing, and the age of its oldest part.
    pub(super) fn answer(&self, context: &RequestContext) -> Option<(Arc<Answer>, Duration)> {
        let (oldest, age) = self.hits().max_by_key(|(_, age)| *age)?;
        self.count(context, (0, Picodollars::ZERO));
        let source = &oldest.source;
        let vectors = self.hits().map(|(stored, _)| &stored.vector);
        let body = Parted::unasked(self.form, &source.model).joined(self.form, vectors);
        let answer = Answer {
            request_id: source.request_id.clone(),
            asked: Arc::clone(&source.asked),
            spent: self.saved(),
            provider: source.provider.clone(),
            model: None,
            warning: None,
            content_type: Some(HeaderValue::from_static("application/json")),
            body: Bytes::from(body),
        };
        Some((Arc::new(answer), *age))
    }

    /// The places of inputs that are missing, equal ones once; and for each input which of these is its own.
    fn missing(&self) -> (Vec<usize>, Vec<Option<usize>>) {
        let mut places = Vec::new();
        let mut by_key: HashMap<Key, usize> = HashMap::new();
        let of = |(place, (key, found)): (usize, (&Key, &Option<_>))| {
            if found.is_some() {
                return None;
            }
            let index = *by_key.entry(*key).or_insert_with(|| {
                places.push(place);
                places.len() - 1
            });
            Some(index)
        };
        let own = self.keys.iter().zip(&self.found).enumerate().map(of).collect();
        (places, own)
    }
}

/// Asks for what is missing, and answers with all.
pub(super) async fn serve(
    process: &Arc<Process>,
    snapshot: &Arc<Snapshot>,
    context: Box<RequestContext>,
    inbound: &Inbound,
    mut partly: Box<Partly>,
) -> Response<Body> {
    // Dropped on every way out but the one with an answer: who waits asks then.
    let claim = partly.claim.take();
    partly.count(&context, partly.saved());
    let (places, own) = partly.missing();
    let (id, dialect, now) = (context.id().clone(), context.dialect(), context.now());
    let tenant = Arc::clone(context.tenant());
    let reduced = reduced(inbound, partly.split.only(&places));
    let response = serve::serve(process, snapshot, context, &reduced).await;
    if response.status() != StatusCode::OK {
        if let Some(came) = reduced.parts.as_ref().and_then(|parts| parts.take()) {
            let kept = partly.of_parts(&came, &places, &id, &inbound.call.model);
            for (place, stored) in places.iter().zip(kept.unwrap_or_default()) {
                partly.keep(&tenant, *place, stored, now);
            }
        }
        return response;
    }
    let (mut head, body) = response.into_parts();
    let broken = |text: &'static str| refuse::bare(dialect, &id, &Refusal::new(Code::ExtMalformed, text));
    let Some(body) = whole(body).await else {
        return broken("the provider's answer broke off, or is larger than what can be put together with what is kept");
    };
    let Some(parted) = Parted::of(partly.form, &body, places.len()) else {
        if let Some(claim) = claim {
            claim.ended(HashMap::new());
        }
        if places.len() == partly.keys.len() {
            // It may say more than is kept of it: it is the caller's as it is.
            return Response::from_parts(head, Body::Whole(body));
        }
        return broken("the provider's answer cannot be put together with what is kept");
    };
    let is_same = |(stored, _): &(Arc<Stored>, Duration)| stored.source.model == parted.model;
    if !partly.hits().all(is_same) {
        // Vectors of two versions of a model do not go together.
        let _ = tenant
            .cache
            .vectors_of(&partly.route)
            .clear(&crate::tenant::kept::Which {
                route: Some(partly.route.name.clone()),
                ..Default::default()
            });
        let text =
            "the provider answers with another version of the model than before: what was kept is forgotten, ask again";
        return refuse::bare(
            dialect,
            &id,
            &Refusal::new(Code::ExtOverloaded, text).retry_after_seconds(1),
        );
    }
    let hits = partly.hits().count();
    let fresh = fresh(snapshot, &parted, &head.headers, (&id, &inbound.call.model), &body);
    for (place, stored) in places.iter().zip(&fresh) {
        partly.keep(&tenant, *place, Arc::clone(stored), now);
    }
    let asked_for = || places.iter().filter_map(|place| partly.keys.get(*place).copied());
    if partly.route.is_next {
        tenant.cache.refills.settled(&partly.route.name, asked_for());
    }
    if let Some(claim) = claim {
        claim.ended(asked_for().zip(fresh.iter().cloned()).collect());
    }
    if hits == 0 && places.len() == partly.keys.len() {
        return Response::from_parts(head, Body::Whole(body));
    }
    let vectors = partly.found.iter().zip(&own).filter_map(|(found, own)| {
        let kept: Option<&Vector> = found.as_ref().map(|(stored, _)| &stored.vector);
        kept.or_else(|| own.and_then(|own| fresh.get(own)).map(|stored| &stored.vector))
    });
    let body = parted.joined(partly.form, vectors);
    mark(&mut head.headers, hits, partly.keys.len() - hits);
    Response::from_parts(head, Body::Whole(Bytes::from(body)))
}

impl Partly {
    /// Keeps the vector of the input at this place.
    fn keep(&self, tenant: &Tenant, place: usize, stored: Arc<Stored>, now: Moment) {
        if let Some(key) = self.keys.get(place) {
            let vectors = tenant.cache.vectors_of(&self.route);
            vectors.keep(&self.route, *key, stored, now, Some(self.epoch));
        }
    }

    /// The vectors of the first of these places, of a request whose first parts were answered. `None`: they are none to keep.
    fn of_parts(&self, came: &Came, places: &[usize], id: &RequestId, asked: &Arc<str>) -> Option<Vec<Arc<Stored>>> {
        let from = self.form.at(came.wire)?;
        let inputs = came.parts.iter().map(|(sent, _)| embeddings::inputs(from, sent)).sum();
        let parts: Vec<_> = came
            .parts
            .iter()
            .map(|(sent, answer)| Answered { sent, answer })
            .collect();
        let request = self.split.only(places.get(..inputs)?);
        let (body, _) = embeddings::translate_response(from, self.form, &parts, &request, asked).ok()?;
        let parted = Parted::of(self.form, &body, inputs)?;
        let source = Arc::new(Source {
            request_id: id.as_str().to_owned(),
            asked: Arc::clone(asked),
            model: parted.model,
            provider: came.by.clone(),
            spent: (0, Picodollars::ZERO),
        });
        let is_same = |(stored, _): &(Arc<Stored>, Duration)| stored.source.model == source.model;
        let stored = |vector| {
            let source = Arc::clone(&source);
            Arc::new(Stored { vector, source })
        };
        self.hits()
            .all(is_same)
            .then(|| parted.vectors.into_iter().map(stored).collect())
    }
}

/// The same request for a part of the inputs.
fn reduced(inbound: &Inbound, body: Bytes) -> Inbound {
    let tokens = tokens_of(body.len());
    Inbound {
        call: Call {
            tokens,
            input_tokens: tokens,
            ..inbound.call.clone()
        },
        method: inbound.method.clone(),
        path_below: inbound.path_below.clone(),
        headers: inbound.headers.clone(),
        query: inbound.query.clone(),
        body,
        parts: Some(Arc::default()),
    }
}

/// The vectors of an answer, each with where it came from. `body`: the answer.
pub(super) fn fresh(
    snapshot: &Snapshot,
    parted: &Parted,
    head: &HeaderMap,
    (id, asked): (&RequestId, &Arc<str>),
    body: &[u8],
) -> Vec<Arc<Stored>> {
    let source = Arc::new(Source {
        request_id: id.as_str().to_owned(),
        asked: Arc::clone(asked),
        model: parted.model.clone(),
        provider: head
            .get(ANSWERED_BY)
            .cloned()
            .unwrap_or_else(|| HeaderValue::from_static("unknown")),
        spent: spent(snapshot, head, asked, (body, parted.vectors.len())),
    });
    let stored = |vector: &Vector| {
        Arc::new(Stored {
            vector: vector.clone(),
            source: Arc::clone(&source),
        })
    };
    parted.vectors.iter().map(stored).collect()
}

/// A body whole; `None`: it broke off or is too large.
pub(super) async fn whole(body: Body) -> Option<Bytes> {
    if let Body::Whole(bytes) = body {
        return Some(bytes);
    }
    let collected = Limited::new(body, ANSWER_TRANSLATED).collect().await;
    collected.ok().map(Collected::to_bytes)
}

/// Tokens that each input was billed with, on the average, and what these cost; zero where it is not told.
fn spent(snapshot: &Snapshot, head: &HeaderMap, asked: &str, (answer, inputs): (&[u8], usize)) -> (u64, Picodollars) {
    let told: Option<u64> = serde_json::from_slice::<Told>(answer).ok().and_then(|told| {
        let usage = told.usage.or(told.usage_metadata)?;
        usage.prompt_tokens.or(usage.prompt_token_count)
    });
    let (Some(tokens), Ok(inputs)) = (told, u32::try_from(inputs.max(1))) else {
        return (0, Picodollars::ZERO);
    };
    let header = |name| head.get(name).and_then(|value| value.to_str().ok());
    let by = header(ANSWERED_BY).unwrap_or_default();
    let upstream = snapshot
        .upstreams()
        .iter()
        .find(|upstream| upstream.provider.name == by);
    let spent = Spent {
        reported: Some(Usage {
            input: tokens,
            ..Usage::default()
        }),
        ..Spent::default()
    };
    let model = header(ANSWERED_AS).unwrap_or(asked);
    let cost = upstream.and_then(|upstream| upstream.cost(model, &spent).ok());
    let cost = cost.map_or(0, |cost| cost.total().get());
    (tokens / u64::from(inputs), Picodollars::new(cost / i64::from(inputs)))
}

/// What an answer tells of its tokens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    usage: Option<Tokens>,
    usage_metadata: Option<Tokens>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: Option<u64>,
    #[serde(rename = "promptTokenCount")]
    prompt_token_count: Option<u64>,
}

/// RFC 9211, 2.2: a part of it was kept.
fn mark(headers: &mut HeaderMap, hits: usize, misses: usize) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(CACHE_STATUS);
    let told = format!("bowsprit; fwd={}", if hits > 0 { "partial" } else { "miss" });
    for (name, value) in [
        (CACHE_STATUS, told),
        (CACHE, format!("partial; hits={hits}; misses={misses}")),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
