//! A request for embeddings taken apart: which of its inputs are kept, which are missing, and what came for these.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::cost::Picodollars;
use bowsprit_core::dialect::Usage;
use bowsprit_core::dialect::embeddings::{self, Answered, EmbeddingsApi};
use bowsprit_core::kept::directives::Directives;
use bowsprit_core::kept::inputs::{Parted, Split};
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::vector::Vector;
use bowsprit_core::record::Spent;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::limits::{ANSWER_TRANSLATED, ROOM_WAIT, SMALL_BODY};
use crate::memory::{Memory, Room};
use crate::process::Process;
use crate::proxy::context::RequestContext;
use crate::proxy::inbound::Came;
use crate::proxy::own_headers::{ANSWERED_AS, ANSWERED_BY};
use crate::proxy::request_id::RequestId;
use crate::tenant::Tenant;
use crate::tenant::asking::Claim;
use crate::tenant::kept::{Answer, Looked};
use crate::tenant::snapshot::Snapshot;
use crate::tenant::vectors::{Source, Stored};

/// A request taken apart, and what is kept of its answer.
pub(in crate::proxy) struct Partly {
    pub(super) form: EmbeddingsApi,
    pub(super) route: Arc<Route>,
    pub(super) split: Split,
    pub(super) keys: Vec<Key>,
    /// What is kept of each, and how old it is.
    pub(super) found: Vec<Option<(Arc<Stored>, Duration)>>,
    /// Under which what comes is kept.
    pub(super) epoch: u64,
    /// What its caller says of kept ones, and how old these may be.
    pub(super) wanted: (Directives, Duration),
    /// What it asks for while others wait for it.
    pub(super) claim: Option<Claim>,
}

impl Partly {
    pub(super) fn hits(&self) -> impl Iterator<Item = &(Arc<Stored>, Duration)> + Clone {
        self.found.iter().flatten()
    }

    /// Looks once more for what is missing.
    pub(super) fn look_again(&mut self, context: &RequestContext) {
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
    pub(super) fn take(&mut self, came: &HashMap<Key, Arc<Stored>>) {
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
    pub(super) fn are_of_one_model(&mut self) {
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
    pub(in crate::proxy) fn is_whole(&self) -> bool {
        self.found.iter().all(Option::is_some)
    }

    /// What the kept vectors were billed with.
    pub(super) fn saved(&self) -> (u64, Picodollars) {
        self.hits().fold((0, Picodollars::ZERO), |(tokens, cost), (stored, _)| {
            let (more, price) = stored.source.spent;
            (tokens.saturating_add(more), cost.plus(price))
        })
    }

    /// Counts its inputs, of which so many were kept. `saved`: what these had cost, where no record tells it.
    pub(super) fn count(&self, process: &Process, hits: usize, saved: (u64, Picodollars)) {
        let inputs = (hits, self.keys.len() - hits);
        process.sinks.cache.embedded(&self.route.name, inputs, saved);
    }

    /// Bytes of the answer with what is kept of it.
    pub(super) fn bytes_kept(&self) -> usize {
        Parted::about_bytes(self.hits().map(|(stored, _)| &stored.vector))
    }

    /// Whether there can be memory for an answer that is put together, all requests aside; where nothing is kept, nothing is. A vector is
    /// several times as large in an answer as it is kept. What is missing will be as large as what is kept is on the average.
    pub(in crate::proxy) fn can_fit(&self, memory: &Memory) -> bool {
        let hits = self.hits().count();
        let Some(each) = self.bytes_kept().checked_div(hits) else {
            return true;
        };
        let of = |inputs: usize| each.saturating_mul(inputs);
        of(self.keys.len()) <= memory.limit() && of(self.keys.len() - hits) <= ANSWER_TRANSLATED
    }

    /// Room for the whole answer, where nothing is missing. It is waited for: what is kept does not give way to an answer made of it.
    pub(in crate::proxy) async fn room(&self, memory: &Arc<Memory>) -> Option<Room> {
        let (mut room, bytes) = (memory.room(), self.bytes_kept());
        (bytes <= SMALL_BODY || room.wait_to(bytes, ROOM_WAIT).await).then_some(room)
    }

    /// The whole answer, where nothing is missing, and the age of its oldest part. `room`: what there is for it. `None`: it is of nothing.
    pub(in crate::proxy) fn answer(&self, context: &RequestContext, room: Room) -> Option<(Arc<Answer>, Duration)> {
        let (oldest, age) = self.hits().max_by_key(|(_, age)| *age)?;
        let vectors = self.hits().map(|(stored, _)| &stored.vector);
        self.count(context.process(), self.keys.len(), (0, Picodollars::ZERO));
        let source = &oldest.source;
        let body = Parted::unasked(self.form, &source.model).joined(self.form, vectors);
        let answer = Answer {
            request_id: source.request_id.clone(),
            asked: Arc::clone(&source.asked),
            spent: self.saved(),
            provider: source.provider.clone(),
            model: None,
            warning: None,
            content_type: Some(HeaderValue::from_static("application/json")),
            body: room.hold(Bytes::from(body)),
        };
        Some((Arc::new(answer), *age))
    }

    /// The places of inputs that are missing, equal ones once; and for each input which of these is its own.
    pub(super) fn missing(&self) -> (Vec<usize>, Vec<Option<usize>>) {
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

    /// Looks for what is missing among what has been kept of this version meanwhile. Returns how much there is.
    pub(super) fn look_for(&mut self, version: &str, tenant: &Tenant, now: Moment) -> usize {
        let vectors = tenant.cache.vectors_of(&self.route);
        let mut found = 0;
        for (key, place) in self.keys.iter().zip(&mut self.found) {
            if place.is_none()
                && let Looked::Found(stored, age, _) = vectors.look(&self.route, key, now)
                && stored.source.model == version
                && self.wanted.0.take(age, self.wanted.1)
            {
                *place = Some((stored, age));
                found += 1;
            }
        }
        found
    }

    /// Whether what is kept was given by another version of the model than this one.
    pub(super) fn is_of_another(&self, version: &str) -> bool {
        self.hits().any(|(stored, _)| stored.source.model != version)
    }

    /// What was found is of no use.
    pub(super) fn forget(&mut self) {
        self.found.fill_with(|| None);
    }

    /// What is missing has come just now: `own` says which of it is whose.
    pub(super) fn fill(&mut self, own: &[Option<usize>], came: &[Arc<Stored>]) {
        for (found, own) in self.found.iter_mut().zip(own) {
            if found.is_none()
                && let Some(stored) = own.and_then(|own| came.get(own))
            {
                *found = Some((Arc::clone(stored), Duration::ZERO));
            }
        }
    }

    /// Keeps what came for the inputs at these places.
    pub(super) fn keep(&mut self, tenant: &Tenant, places: &[usize], came: &[Arc<Stored>], now: Moment) {
        let keys = places.iter().filter_map(|place| self.keys.get(*place).copied());
        let fresh: Vec<_> = keys.zip(came.iter().cloned()).collect();
        self.epoch = tenant.cache.keep_vectors(&self.route, &fresh, now, self.epoch);
    }

    /// The vectors of the first of these places, of a request whose first parts were answered. `None`: they are none to keep.
    pub(super) fn of_parts(
        &self,
        came: &Came,
        places: &[usize],
        id: &RequestId,
        asked: &Arc<str>,
    ) -> Option<Vec<Arc<Stored>>> {
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

/// Takes the vectors of an answer, each with where it came from. `body`: the answer.
pub(in crate::proxy) fn fresh(
    snapshot: &Snapshot,
    parted: &mut Parted,
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
    let stored = |vector: Vector| {
        let source = Arc::clone(&source);
        Arc::new(Stored { vector, source })
    };
    std::mem::take(&mut parted.vectors).into_iter().map(stored).collect()
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
