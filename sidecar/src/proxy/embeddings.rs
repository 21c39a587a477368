//! Embeddings input by input (`cache.embeddings` of a ModelRoute): what is kept is given again, only what is missing is asked for, and
//! the answer is put together in the caller's order. Its usage is that of what was asked.
//!
//! What another request asks for already is waited for ([`turn`]): equal inputs that are wanted at once are asked for once.
//!
//! The record of the request is that of what was asked: its bytes are those of the provider's answer. If what is missing cannot be
//! had, the whole request fails with the provider's error; what is kept stays, and what came of a request in parts is kept too.
//!
//! If the provider answers with another version of its model than it did for what is kept, vectors of the two do not go together: what
//! was kept is asked for too, in a request of ours ([`OF_OURS`]) that nobody else need know of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::config::Route;
use bowsprit_core::cost::Picodollars;
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::dialect::{Dialect, tokens_of};
use bowsprit_core::fault::Code;
use bowsprit_core::kept::Terms;
use bowsprit_core::kept::directives::Directives;
use bowsprit_core::kept::inputs::{Parted, Split};
use bowsprit_core::kept::key::{Key, Prefix, Whose};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode, response};

use self::partly::{Partly, fresh};
use super::body::Body;
use super::context::RequestContext;
use super::gather::{Gathered, gather};
use super::inbound::Inbound;
use super::limits::Patience;
use super::own_headers::{CACHE, CACHE_STATUS, identify};
use super::refuse::{self, Refusal};
use super::request_id::{RequestId, TraceId};
use super::{keep, ours, serve};
use crate::caller::Caller;
use crate::limits::SMALL_BODY;
use crate::process::Process;
use crate::tenant::Tenant;
use crate::tenant::kept::Looked;
use crate::tenant::refill::filling::{Input, Shared};
use crate::tenant::snapshot::Snapshot;
use crate::tenant::vectors::Stored;

pub(super) mod partly;

/// What stands behind the id of a request in that of the request for what was kept of another version.
const OF_OURS: &str = ".version";
/// The same of the request for all inputs, where there was no memory to put what was missing together with what is kept.
const OF_ALL: &str = ".whole";

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

/// What came of asking.
enum Came {
    /// Vectors of what was missing.
    Vectors(Box<Fresh>),
    /// An answer for the caller as it is.
    Whole(Response<Body>),
    /// There was no memory for what is to be put together with what is kept.
    NoRoom,
}

/// Vectors that a provider has given.
struct Fresh {
    head: response::Parts,
    /// Its answer, and the same taken apart.
    body: Bytes,
    parted: Parted,
    /// For each input of the request, which of the vectors is its own.
    own: Vec<Option<usize>>,
    vectors: Vec<Arc<Stored>>,
}

/// Asks for what is missing, and answers with all.
pub(super) async fn serve(
    process: &Arc<Process>,
    snapshot: &Arc<Snapshot>,
    context: Box<RequestContext>,
    inbound: &Inbound,
    mut partly: Box<Partly>,
) -> Response<Body> {
    let (hits, saved) = (partly.hits().count(), partly.saved());
    let (dialect, id) = (context.dialect(), context.id().clone());
    let missing = partly.missing();
    // Where all is asked for as it came, nothing can turn out to be of another version, and nothing is to be put together.
    let asker = (missing.0.len() < partly.keys.len()).then(|| Asker::of(&context));
    let reduced = reduced(inbound, partly.split.only(&missing.0));
    let came = match ask(process, snapshot, context, &reduced, (&mut partly, missing)).await {
        Came::Whole(response) => {
            partly.count(process, hits, saved);
            return response;
        }
        Came::NoRoom => {
            partly.count(process, 0, (0, Picodollars::ZERO));
            let Some(asker) = asker else {
                return refuse::bare(dialect, &id, &Refusal::internal());
            };
            return Box::pin(asker.ask_for_all(process, snapshot, inbound, &partly.route)).await;
        }
        Came::Vectors(came) => came,
    };
    if let Some(asker) = asker
        && partly.is_of_another(&came.parted.model)
    {
        // Boxed: seldom, and all that are asked for in part would hold room for it.
        return Box::pin(asker.ask_anew(process, snapshot, inbound, (partly, came))).await;
    }
    partly.count(process, hits, saved);
    let Fresh {
        head,
        body,
        parted,
        own,
        vectors,
    } = *came;
    if hits == 0 && vectors.len() == partly.keys.len() {
        return Response::from_parts(head, Body::Whole(body));
    }
    partly.fill(&own, &vectors);
    // What it is made of is not needed any more, and may be most of the memory.
    drop((body, vectors));
    put_together(process, &partly, parted, (head, hits))
}

/// The answer with the vectors of all inputs, of which so many were kept. `told`: what it says beside them. It has been asked for and
/// is billed: where there is no memory for the whole of it, it is written as it goes out.
fn put_together(
    process: &Process,
    partly: &Partly,
    told: Parted,
    (mut head, kept): (response::Parts, usize),
) -> Response<Body> {
    mark(&mut head.headers, kept, partly.keys.len() - kept);
    let (mut room, bytes) = (process.memory.room(), partly.bytes_kept());
    let body = if bytes <= SMALL_BODY || room.take(bytes) {
        let vectors = partly.hits().map(|(stored, _)| &stored.vector);
        Body::Whole(room.hold(Bytes::from(told.joined(partly.form, vectors))))
    } else {
        let held: Vec<_> = partly.hits().map(|(stored, _)| Arc::clone(stored)).collect();
        Body::Written(Box::new(told.pieces(partly.form, held, |stored| &stored.vector)))
    };
    Response::from_parts(head, body)
}

/// Asks for these inputs, keeps what comes, and gives it to who waits for it.
async fn ask(
    process: &Arc<Process>,
    snapshot: &Arc<Snapshot>,
    context: Box<RequestContext>,
    reduced: &Inbound,
    (partly, (places, own)): (&mut Partly, (Vec<usize>, Vec<Option<usize>>)),
) -> Came {
    // Dropped on every way out but the one with an answer: who waits asks then.
    let claim = partly.claim.take();
    let (id, dialect, now) = (context.id().clone(), context.dialect(), context.now());
    let tenant = Arc::clone(context.tenant());
    let response = serve::serve(process, snapshot, context, reduced).await;
    if response.status() != StatusCode::OK {
        if let Some(came) = reduced.parts.as_ref().and_then(|parts| parts.take()) {
            let came = partly.of_parts(&came, &places, &id, &reduced.call.model);
            partly.keep(&tenant, &places, &came.unwrap_or_default(), now);
        }
        return Came::Whole(response);
    }
    let (head, body) = response.into_parts();
    let broken = |text: &'static str| {
        let refusal = Refusal::new(Code::ExtMalformed, text);
        Came::Whole(refuse::bare(dialect, &id, &refusal))
    };
    let is_all = places.len() == partly.keys.len();
    let body = match gather(body, &process.memory).await {
        Gathered::Whole(body) => body,
        Gathered::NoRoom(rest) | Gathered::TooLarge(rest) if is_all => {
            // Nothing is put into it: it is the caller's as it comes, and nobody else's.
            if let Some(claim) = claim {
                claim.ended(HashMap::new());
            }
            return Came::Whole(Response::from_parts(head, rest));
        }
        Gathered::NoRoom(_) | Gathered::TooLarge(_) => return Came::NoRoom,
        Gathered::Broken => return broken("the provider's answer broke off"),
    };
    let Some(mut parted) = Parted::of(partly.form, &body, places.len()) else {
        if let Some(claim) = claim {
            claim.ended(HashMap::new());
        }
        if is_all {
            // It may say more than is kept of it: it is the caller's as it is.
            return Came::Whole(Response::from_parts(head, Body::Whole(body)));
        }
        return broken("the provider's answer cannot be put together with what is kept");
    };
    let vectors = fresh(snapshot, &mut parted, &head.headers, (&id, &reduced.call.model), &body);
    partly.keep(&tenant, &places, &vectors, now);
    if let Some(claim) = claim {
        let keys = places.iter().filter_map(|place| partly.keys.get(*place).copied());
        claim.ended(keys.zip(vectors.iter().cloned()).collect());
    }
    Came::Vectors(Box::new(Fresh {
        head,
        body,
        parted,
        own,
        vectors,
    }))
}

/// Who asks, should it have to be done once more.
struct Asker {
    tenant: Arc<Tenant>,
    caller: Caller,
    id: RequestId,
    trace: Option<Arc<TraceId>>,
    dialect: Dialect,
    operation: &'static str,
    is_led: bool,
}

impl Asker {
    fn of(context: &RequestContext) -> Self {
        Self {
            tenant: Arc::clone(context.tenant()),
            caller: context.caller.clone(),
            id: context.id().clone(),
            trace: context.trace.clone(),
            dialect: context.dialect(),
            operation: context.operation(),
            is_led: context.is_led,
        }
    }

    /// The provider has answered with another version of its model than it did for what is kept: asks for that too. If the answer is of
    /// yet another version, asks for all at once, so that it is of one whichever that is. So a request is asked three times at most.
    async fn ask_anew(
        &self,
        process: &Arc<Process>,
        snapshot: &Arc<Snapshot>,
        inbound: &Inbound,
        (mut partly, first): (Box<Partly>, Box<Fresh>),
    ) -> Response<Body> {
        let Fresh {
            head,
            parted: mut told,
            own,
            vectors,
            ..
        } = *first;
        partly.forget();
        partly.fill(&own, &vectors);
        let kept = partly.look_for(&told.model, &self.tenant, process.clock.now());
        partly.count(process, kept, (0, Picodollars::ZERO));
        while !partly.is_whole() {
            let next = match self.ask(process, snapshot, inbound, &mut partly).await {
                Came::Vectors(next) => *next,
                Came::Whole(mut response) => {
                    identify(response.headers_mut(), self.dialect, &self.id);
                    return response;
                }
                Came::NoRoom => return self.ask_for_all(process, snapshot, inbound, &partly.route).await,
            };
            let before = std::mem::replace(&mut told, next.parted);
            told.and_spent(&before);
            if partly.is_of_another(&told.model) {
                partly.forget();
            } else {
                partly.fill(&next.own, &next.vectors);
            }
        }
        put_together(process, &partly, told, (head, kept))
    }

    /// Asks for all inputs, as where nothing is kept: the answer goes through as it comes.
    async fn ask_for_all(
        &self,
        process: &Arc<Process>,
        snapshot: &Arc<Snapshot>,
        inbound: &Inbound,
        route: &Arc<Route>,
    ) -> Response<Body> {
        let mut context = self.context(process, inbound, route, OF_ALL);
        let mut response = match ours::admitted(process, snapshot, &mut context, (inbound, Patience::AsTheySay)).await {
            Ok(()) => serve::serve(process, snapshot, context, inbound).await,
            Err(refusal) => refuse::answer(context, &refusal),
        };
        identify(response.headers_mut(), self.dialect, &self.id);
        response
    }

    /// A request of ours. `what`: what stands behind the id.
    fn context(
        &self,
        process: &Arc<Process>,
        inbound: &Inbound,
        route: &Arc<Route>,
        what: &str,
    ) -> Box<RequestContext> {
        let mut context = RequestContext::begin(
            process,
            Arc::clone(&self.tenant),
            self.caller.clone(),
            RequestId::of_ours(self.id.as_str(), what),
            self.dialect,
            self.operation,
        );
        context.trace.clone_from(&self.trace);
        context.asked = Arc::clone(&inbound.call.model);
        context.route = Some(Arc::clone(route));
        context.is_led = self.is_led;
        context
    }

    /// Asks for what is missing now, in a request of ours, while others wait for it.
    async fn ask(
        &self,
        process: &Arc<Process>,
        snapshot: &Arc<Snapshot>,
        inbound: &Inbound,
        partly: &mut Partly,
    ) -> Came {
        let missing = partly.missing();
        let keys = missing.0.iter().filter_map(|place| partly.keys.get(*place).copied());
        let asking = self.tenant.cache.asking_of(&partly.route);
        partly.claim = Some(asking.claim_free(partly.epoch, keys.collect()));
        let reduced = reduced(inbound, partly.split.only(&missing.0));
        let mut context = self.context(process, inbound, &partly.route, OF_OURS);
        if let Err(refusal) = ours::admitted(process, snapshot, &mut context, (&reduced, Patience::AsTheySay)).await {
            return Came::Whole(refuse::answer(context, &refusal));
        }
        ask(process, snapshot, context, &reduced, (partly, missing)).await
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
        keys_in_query: inbound.keys_in_query.clone(),
        body,
        parts: Some(Arc::default()),
    }
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
