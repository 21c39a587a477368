//! The cache's part in a request (`cache` of a ModelRoute): an answer in place of asking, or the word that this one asks for all
//! that are the same.
//!
//! A follower gets its leader's answer when that is whole, a stream as well: what breaks off is never shared, and a follower whose
//! leader fails can still ask. What that costs is the time to the first content of a stream that is asked for twice at once; it is
//! bounded by `cache.maxWait`.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::fault::Code;
use bowsprit_core::kept::cache::{Bypass, CacheTerms};
use bowsprit_core::kept::directives::Directives;
use bowsprit_core::kept::key::{Key, Whose};
use http::{HeaderValue, Response, StatusCode};

use super::again;
use super::body::Body;
use super::cached::{Part, Told};
use super::context::RequestContext;
use super::embeddings::{self, partly::Partly};
use super::inbound::Inbound;
use super::keep;
use super::own_headers::CACHE;
use super::refuse::{self, Refusal};
use super::{semantic, serve};
use crate::observe::cache::Came;
use crate::process::Process;
use crate::tenant::cache::{Alike, Follow, Followed, Found, Lead, Shared};
use crate::tenant::kept::Answer;
use crate::tenant::snapshot::Snapshot;

/// What came of it.
enum Got {
    /// It is answered.
    Answered(Response<Body>),
    /// It is to be asked.
    Ask(Box<RequestContext>),
    /// It is for embeddings, of which some are to be asked for.
    Embed(Box<RequestContext>, Box<Partly>),
}

/// Answers a request of a configuration in which a route has a cache.
pub(super) async fn serve(
    process: &Arc<Process>,
    snapshot: &Arc<Snapshot>,
    context: Box<RequestContext>,
    inbound: &Inbound,
) -> Response<Body> {
    let route = context.route.clone();
    let got = match route.as_ref().and_then(|route| Some((route, route.cache?))) {
        Some(of) => looked(process, snapshot, context, inbound, of).await,
        None => Got::Ask(context),
    };
    match got {
        Got::Answered(response) => response,
        Got::Ask(context) => serve::serve(process, snapshot, context, inbound).await,
        Got::Embed(context, partly) => embeddings::serve(process, snapshot, context, inbound, partly).await,
    }
}

async fn looked(
    process: &Arc<Process>,
    snapshot: &Snapshot,
    mut context: Box<RequestContext>,
    inbound: &Inbound,
    (route, terms): (&Arc<Route>, CacheTerms),
) -> Got {
    let wanted = keep::directives(&inbound.headers);
    // From elsewhere callers are told apart by what they bring, whatever those in the pod share.
    let whose = if context.caller.is_in_pod() {
        terms.whose(&snapshot.config, route)
    } else {
        Whose::TheCallers
    };
    if !keep::is_known(&context, inbound) {
        return bypass(context, route, Bypass::Unknown, wanted);
    }
    if let (Some(keep), false) = (terms.embeddings, wanted.no_store)
        && let Some(partly) = embeddings::look(&context, inbound, route, (whose, keep, wanted))
    {
        // Boxed: few requests are for embeddings, and all would hold room for it.
        return Box::pin(embed(process, context, partly, (route, terms, keep.max_age), wanted)).await;
    }
    let key = match keep::key_of(&context, inbound, route, (terms.allowed, whose)) {
        _ if wanted.no_store => Err(Bypass::NoStore),
        key => key.map_err(Bypass::from),
    };
    let key = match key {
        Ok(key) => key,
        Err(why) => return bypass(context, route, why, wanted),
    };
    let ttl = terms.keep.max_age;
    let found = context
        .tenant()
        .cache
        .find(route, key, context.now(), |age| wanted.take(age, ttl));
    let lead = match found {
        Found::Answer(answer, age) => return give(context, (answer, age), (Some(key), ttl), As::Hit),
        Found::NotItsRoute => return bypass(context, route, Bypass::Changed, wanted),
        Found::Lead(lead) if !wanted.only_if_cached || route.cache_store.is_some() => Some(lead),
        _ if wanted.only_if_cached => return none(context, route),
        Found::Lead(lead) => Some(lead),
        // Who wants an answer that nobody has had asks for itself: the leader's was asked for before.
        Found::Follow(_) if wanted.no_cache => None,
        Found::Follow(follow) => match followed(process, follow, terms.max_wait).await {
            Ok(Followed::Answer(Shared { answer, alike, age })) => {
                let now = context.waited();
                match alike {
                    Some(alike) if wanted.take(alike.age + (now - alike.at), good_for(route, ttl)) => {
                        return give_alike(context, answer, alike, ttl, now);
                    }
                    None if wanted.take(age, ttl) => {
                        return give(context, (answer, age), (Some(key), ttl), As::Shared);
                    }
                    // What its leader took is not what this one wants.
                    _ => None,
                }
            }
            Ok(Followed::Lead(lead)) => {
                context.waited();
                Some(lead)
            }
            Ok(Followed::Alone) => {
                context.waited();
                None
            }
            Err(refusal) => {
                context.waited();
                return Got::Answered(refuse::answer(context, &refusal));
            }
        },
    };
    let mut lead = lead;
    if let Some(leading) = &mut lead
        && route.cache_store.is_some()
    {
        // Boxed: few routes share, and all requests would hold room for it.
        let looked = Box::pin(fetched(&mut context, leading)).await;
        if let Some((answer, age)) = looked.filter(|(_, age)| wanted.take(*age, ttl)) {
            if let Some(lead) = lead {
                lead.fetched(&answer, age, context.now());
            }
            return give(context, (answer, age), (Some(key), ttl), As::Fetched);
        }
        if wanted.only_if_cached {
            return none(context, route);
        }
    }
    let mut asking = None;
    // Boxed: few routes compare, and all requests would hold room for it.
    if route.semantic.is_some() && lead.is_some() {
        match Box::pin(semantic::look(process, &mut context, inbound, (route, whose), wanted)).await {
            Ok((answer, alike)) => {
                if let Some(lead) = lead {
                    lead.found(&answer, alike);
                }
                return give_alike(context, answer, alike, ttl, alike.at);
            }
            Err(asked) => asking = asked,
        }
    }
    process.sinks.cache.came(&route.name, Came::Miss);
    let told = if wanted.no_cache { Told::Request } else { Told::Miss };
    let mut context = with(context, lead, told);
    if let Some(part) = &mut context.cache {
        part.asking = asking;
    }
    Got::Ask(context)
}

/// The answer that another pod of the workload has, and its age. Where there is none, this one's is kept for the others.
async fn fetched(context: &mut RequestContext, lead: &mut Lead) -> Option<(Arc<Answer>, Duration)> {
    // From elsewhere, an address is all there is to tell callers by, and that is another pod's tomorrow.
    if !context.caller.is_in_pod() {
        return None;
    }
    let shared = context.tenant().shared.of(lead.route())?;
    let looked = shared.look(&lead.key()).await;
    context.waited();
    lead.keeps_in(looked.place);
    looked.found
}

/// A request for embeddings whose route keeps these input by input.
async fn embed(
    process: &Process,
    mut context: Box<RequestContext>,
    mut partly: Partly,
    (route, terms, ttl): (&Route, CacheTerms, Duration),
    wanted: Directives,
) -> Got {
    // What there can be no memory for passes as it does without a cache.
    if !partly.can_fit(&process.memory) {
        return bypass(context, route, Bypass::TooLarge, wanted);
    }
    if partly.is_whole() {
        return of_vectors(context, &partly, (route, ttl, As::Hit), wanted).await;
    }
    if wanted.only_if_cached {
        return none(context, route);
    }
    if let Err(refusal) = embeddings::turn(process, &mut context, &mut partly, terms.max_wait).await {
        return Got::Answered(refuse::answer(context, &refusal));
    }
    if !partly.can_fit(&process.memory) {
        return bypass(context, route, Bypass::TooLarge, wanted);
    }
    if partly.is_whole() {
        return of_vectors(context, &partly, (route, ttl, As::Shared), wanted).await;
    }
    process.sinks.cache.came(&route.name, Came::Miss);
    Got::Embed(with(context, None, Told::Miss), Box::new(partly))
}

/// Gives an answer that is put together of what is kept; where there is no memory for it now, the request passes.
async fn of_vectors(
    mut context: Box<RequestContext>,
    partly: &Partly,
    (route, ttl, given): (&Route, Duration, As),
    wanted: Directives,
) -> Got {
    let room = partly.room(&context.process().memory).await;
    context.waited();
    match room.and_then(|room| partly.answer(&context, room)) {
        Some(answer) => give(context, answer, (None, ttl), given),
        None => bypass(context, route, Bypass::TooLarge, wanted),
    }
}

fn with(mut context: Box<RequestContext>, lead: Option<Box<Lead>>, told: Told) -> Box<RequestContext> {
    context.cache = Some(Box::new(Part {
        lead,
        asking: None,
        given: None,
        told,
    }));
    context
}

async fn followed(process: &Process, follow: Follow, patience: Duration) -> Result<Followed, Refusal> {
    tokio::select! {
        biased;
        followed = follow.wait(patience) => Ok(followed),
        () = process.drain.was_cut() => Err(Refusal::draining()),
    }
}

fn bypass(context: Box<RequestContext>, route: &Route, why: Bypass, wanted: Directives) -> Got {
    if wanted.only_if_cached {
        return none(context, route);
    }
    context.process().sinks.cache.bypassed(&route.name, why);
    Got::Ask(with(context, None, Told::Bypass(why)))
}

/// Nobody may be asked, and there is nothing.
fn none(context: Box<RequestContext>, route: &Route) -> Got {
    context.process().sinks.cache.came(&route.name, Came::Refused);
    let text = "there is no cached answer to this request, and cache-control says only-if-cached";
    Got::Answered(refuse::answer(context, &Refusal::new(Code::ResNotCached, text)))
}

/// As what an answer is given.
#[derive(Clone, Copy)]
enum As {
    /// The kept answer to the same question.
    Hit,
    /// The same, which another pod kept.
    Fetched,
    /// The answer to the same question that was under way.
    Shared,
    /// The kept answer to a question that is so much alike.
    Alike(f32),
}

/// For how long an answer is given to who asks alike. `ttl`: for how long to who asks the same.
fn good_for(route: &Route, ttl: Duration) -> Duration {
    route.semantic.as_ref().map_or(ttl, |terms| terms.keep.max_age)
}

/// Gives the answer to a question that is alike, which says so.
fn give_alike(context: Box<RequestContext>, answer: Arc<Answer>, alike: Alike, ttl: Duration, now: Moment) -> Got {
    let ttl = context.route.as_ref().map_or(ttl, |route| good_for(route, ttl));
    let age = alike.age + (now - alike.at);
    give(
        context,
        (answer, age),
        (Some(alike.key), ttl),
        As::Alike(alike.similarity),
    )
}

fn give(
    mut context: Box<RequestContext>,
    (answer, age): (Arc<Answer>, Duration),
    (key, ttl): (Option<Key>, Duration),
    given: As,
) -> Got {
    if let Some(route) = &context.route {
        let came = if matches!(given, As::Shared) {
            Came::Shared
        } else {
            Came::Hit
        };
        context.process().sinks.cache.came(&route.name, came);
    }
    let key = key.map_or_else(String::new, |key| format!("; key=\"{}\"", key.text()));
    let left = ttl.as_secs().saturating_sub(age.as_secs());
    let (status, mark) = match given {
        As::Shared => (
            format!("bowsprit; fwd=miss; collapsed{key}"),
            HeaderValue::from_static("shared"),
        ),
        As::Alike(similarity) => {
            // Never more than it is.
            let similarity = (similarity.clamp(0.0, 1.0) * 1000.0).floor() / 1000.0;
            let mark = format!("alike; similarity={similarity:.3}; age={}", age.as_secs());
            (
                format!("bowsprit; hit; ttl={left}{key}; detail=\"similarity={similarity:.3}\""),
                HeaderValue::try_from(mark).unwrap_or(HeaderValue::from_static("alike")),
            )
        }
        As::Hit | As::Fetched => (
            format!(
                "bowsprit; hit; ttl={left}{key}{}",
                if matches!(given, As::Fetched) {
                    "; detail=store"
                } else {
                    ""
                }
            ),
            HeaderValue::try_from(format!("hit; age={}", age.as_secs())).unwrap_or(HeaderValue::from_static("hit")),
        ),
    };
    let mut response = again::response(&context, &answer, age, &status);
    response.headers_mut().insert(CACHE, mark);
    context.head_sent(StatusCode::OK);
    let bytes = answer.body.len() as u64;
    context.cache = Some(Box::new(Part {
        lead: None,
        asking: None,
        given: Some((answer, age)),
        told: Told::Miss,
    }));
    context.answered_again(bytes);
    Got::Answered(response)
}
