//! Keeping a good answer: for the time when every candidate is down (`staleIfError` of a ModelRoute), and to give it again in place
//! of asking (`cache`).
//!
//! What is kept is what the caller got, byte for byte, in its own dialect: a stream is given again as that stream. A route that
//! keeps nothing pays one look at its settings.

use std::sync::Arc;

use bowsprit_core::call::Operation;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::cost::Picodollars;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::kept::Terms;
use bowsprit_core::kept::acts::{Acts, Allowed};
use bowsprit_core::kept::directives::Directives;
use bowsprit_core::kept::finished::{Good, is_finished};
use bowsprit_core::kept::key::{self, Asked, Key, Prefix, Whose};
use bowsprit_core::record::Expense;
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};

use super::context::RequestContext;
use super::inbound::Inbound;
use super::own_headers;
use crate::limits::SMALL_BODY;
use crate::memory::Room;
use crate::observe::stale::Fate;
use crate::tenant::cache::Lead;
use crate::tenant::kept::Answer;
use crate::tenant::semantic;

/// What the caller says of caches.
pub(super) fn directives(headers: &HeaderMap) -> Directives {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let pragma = headers.get(PRAGMA).is_some_and(|value| value == "no-cache");
    Directives::of(values.filter_map(|value| value.to_str().ok()), pragma)
}

/// What an answer is kept under for an outage; `None`: the request, or its caller, wants none kept or given.
pub(super) fn key(context: &RequestContext, inbound: &Inbound, route: &Route) -> Option<Key> {
    let wanted = directives(&inbound.headers);
    if wanted.no_store || wanted.no_cache || !is_known(context, inbound) {
        return None;
    }
    key_of(context, inbound, route, (Allowed::IN_AN_OUTAGE, Whose::TheCallers)).ok()
}

/// What a request is known by.
pub(super) fn key_of(
    context: &RequestContext,
    inbound: &Inbound,
    route: &Route,
    (allowed, whose): (Allowed, Whose),
) -> Result<Key, Acts> {
    let peer = peer(context);
    let print = print(context);
    asked(context, inbound, route, (&peer, &print)).key(headers(inbound), allowed, whose)
}

/// What the parts of a request are known by together.
pub(super) fn prefix_of(context: &RequestContext, inbound: &Inbound, route: &Route, whose: Whose) -> Prefix {
    let peer = peer(context);
    let print = print(context);
    asked(context, inbound, route, (&peer, &print)).prefix(headers(inbound), whose)
}

/// Whether anybody can say whose a request is. Many may come from one address (a gateway, a node, a pod that took over another one's):
/// without credentials of their own they would be given each other's answers.
pub(super) fn is_known(context: &RequestContext, inbound: &Inbound) -> bool {
    let names = inbound.headers.keys().map(HeaderName::as_str);
    context.caller.is_in_pod() || key::brings_credentials(names, inbound.keys_in_query.as_deref())
}

/// Who asks: in the pod it is the app, from whichever port; from elsewhere an address is all there is to tell callers by.
fn peer(context: &RequestContext) -> String {
    if context.caller.is_in_pod() {
        String::new()
    } else {
        context.caller.peer.to_string()
    }
}

/// What guards its answer is looked into by. A kept one was looked into when it was first given, so under others it is no answer.
fn print(context: &RequestContext) -> Vec<u8> {
    context
        .guarded
        .as_ref()
        .map(|guarded| guarded.print())
        .unwrap_or_default()
}

fn asked<'a>(
    context: &RequestContext,
    inbound: &'a Inbound,
    route: &'a Route,
    (peer, guards): (&'a str, &'a [u8]),
) -> Asked<'a> {
    Asked {
        route: &route.name,
        operation: context.operation(),
        call: &inbound.call,
        query: inbound.query.as_deref(),
        keys_in_query: inbound.keys_in_query.as_deref(),
        caller: peer,
        guards,
        body: &inbound.body,
    }
}

fn headers(inbound: &Inbound) -> impl Iterator<Item = (&str, &[u8])> {
    let headers = inbound.headers.iter();
    headers.map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// An answer that is being given and may be kept.
pub struct Keeping {
    route: Arc<Route>,
    /// For an outage.
    outage: Option<(Key, Terms)>,
    /// For who asks the same, now or later.
    lead: Option<Box<Lead>>,
    /// The question, for who asks alike.
    asking: Option<Box<semantic::Asked>>,
    dialect: Dialect,
    operation: Operation,
    most: usize,
    /// All but the body, and what it cost.
    answer: Answer,
    /// What has been given of a stream.
    given: BytesMut,
    room: Room,
}

impl Keeping {
    /// Begins, if this answer's route keeps answers and this request's may be. `head`: as the caller gets it.
    pub(super) fn begin(context: &mut RequestContext, inbound: &Inbound, head: &response::Parts) -> Option<Box<Self>> {
        let route = Arc::clone(context.route.as_ref()?);
        let part = context.cache.as_mut();
        let (lead, asking) = part.map_or((None, None), |part| (part.lead.take(), part.asking.take()));
        if route.stale_if_error.is_none() && lead.is_none() {
            return None;
        }
        let is_unsure = context.guarded.as_ref().is_some_and(|guarded| guarded.is_unsure);
        let is_plain = head.status == StatusCode::OK && !head.headers.contains_key(CONTENT_ENCODING) && !is_unsure;
        let outage = route.stale_if_error.and_then(|terms| {
            let key = key(context, inbound, &route).filter(|_| is_plain);
            if key.is_none() {
                context.process().sinks.stale.count(Fate::Unfit, 1);
            }
            Some((key?, terms))
        });
        let lead = lead.and_then(|lead| {
            if is_plain {
                return Some(lead);
            }
            context.process().sinks.cache.count(Fate::Unfit, 1);
            lead.not_to_share();
            None
        });
        let largest = |terms: Terms| terms.largest_answer();
        let of_outage = outage.as_ref().map(|(_, terms)| largest(*terms));
        let of_cache = lead
            .as_ref()
            .and_then(|lead| lead.route().cache)
            .map(|cache| largest(cache.keep));
        let most = of_outage.max(of_cache)?;
        let header = |name: &HeaderName| head.headers.get(name).cloned();
        Some(Box::new(Self {
            outage,
            lead,
            asking,
            dialect: inbound.call.dialect,
            operation: inbound.call.operation,
            most,
            answer: Answer {
                request_id: context.id().as_str().to_owned(),
                asked: Arc::clone(&context.asked),
                spent: (0, Picodollars::ZERO),
                provider: header(&own_headers::ANSWERED_BY).unwrap_or_else(|| HeaderValue::from_static("unknown")),
                model: header(&own_headers::ANSWERED_AS),
                warning: header(&own_headers::WARNING),
                content_type: header(&CONTENT_TYPE),
                body: Bytes::new(),
            },
            given: BytesMut::new(),
            room: context.process().memory.room(),
            route,
        }))
    }

    /// Another piece of a stream was given. `false`: it is too much to be kept.
    pub(super) fn piece(&mut self, piece: &[u8], context: &RequestContext) -> bool {
        let length = self.given.len() + piece.len();
        let fate = if length > self.most {
            Fate::TooLarge
        } else if length > self.room.bytes() && !self.room.take(length.next_multiple_of(SMALL_BODY)) {
            // In steps, as pieces are small.
            Fate::NoRoom
        } else {
            self.given.extend_from_slice(piece);
            return true;
        };
        self.not_kept(context, fate);
        false
    }

    /// Tells both that it is not kept, and why.
    fn not_kept(&mut self, context: &RequestContext, fate: Fate) {
        let sinks = &context.process().sinks;
        if self.outage.take().is_some() {
            sinks.stale.count(fate, 1);
        }
        if let Some(lead) = self.lead.take() {
            sinks.cache.count(fate, 1);
            lead.not_to_share();
        }
    }

    /// The stream came to its end.
    pub(super) fn end(mut self, context: &RequestContext, now: Moment, expense: &Expense) {
        if context.guarded.as_ref().is_some_and(|guarded| guarded.is_unsure) {
            return self.not_kept(context, Fate::Unfit);
        }
        let given = std::mem::take(&mut self.given);
        self.whole(context, &given, now, expense);
    }

    /// Keeps the whole answer, if it is one to give again.
    pub(super) fn whole(mut self, context: &RequestContext, body: &[u8], now: Moment, expense: &Expense) {
        if body.len() > self.most {
            return self.not_kept(context, Fate::TooLarge);
        }
        let is_good = |good: Good| is_finished(self.dialect, self.operation, body, good);
        let is_said = is_good(Good::Said);
        let of_cache = self.lead.as_ref().and_then(|lead| lead.route().cache);
        let is_cached = of_cache.is_some_and(|cache| is_said || (cache.good() != Good::Said && is_good(cache.good())));
        if !is_said && !is_cached {
            return self.not_kept(context, Fate::Unfit);
        }
        let answer = Arc::new(Answer {
            // Copied: what arrived is a part of a larger buffer, which it would hold.
            body: Bytes::copy_from_slice(body),
            spent: (
                expense.spent.total().unwrap_or_default(),
                expense.cost.unwrap_or(Picodollars::ZERO),
            ),
            ..self.answer
        });
        drop(self.room);
        let sinks = &context.process().sinks;
        match self.outage {
            Some((key, _)) if is_said => {
                context
                    .tenant()
                    .kept
                    .keep(&self.route, key, Arc::clone(&answer), now, None);
            }
            Some(_) => sinks.stale.count(Fate::Unfit, 1),
            None => {}
        }
        match self.lead {
            Some(lead) if is_cached => {
                let key = lead.key();
                lead.answered(&answer, now);
                if let Some(mut asked) = self.asking {
                    let whose = (&context.caller, context.id().as_str());
                    let questions = &context.tenant().cache.questions;
                    if let Some(kept) = asked.verify.take() {
                        questions.verified(&self.route, self.dialect, [&kept.body, &answer.body], whose);
                    }
                    questions.answered(&self.route, *asked, key, now, whose);
                }
            }
            Some(lead) => {
                sinks.cache.count(Fate::Unfit, 1);
                lead.not_to_share();
            }
            None => {}
        }
    }
}
