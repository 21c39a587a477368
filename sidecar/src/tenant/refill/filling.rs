//! What is being filled: the jobs of a route, and as who they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bowsprit_core::backoff::BackoffSettings;
use bowsprit_core::config::Route;
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::kept::key::Key;
use bowsprit_core::kept::next::Next;
use bowsprit_core::kept::refill::{Refill, Settings};
use serde::Serialize;

use crate::caller::Caller;

/// Inputs of one request in the background: some tens of KiB of text, and an answer of half a MiB.
const BATCH: usize = 64;
/// Inputs that wait to be asked for, of one route.
const MOST_JOBS: usize = 65_536;
/// Times that an input is asked for.
const TRIES: u32 = 24;
/// An answer counts as used so many times at most when it is ranked.
const MOST_USES: u32 = 1 << 16;
/// Requests at once for the vectors of a version that nobody announced: as for a next model of which nothing else is said.
pub(super) const WORKERS: usize = 2;

/// What inputs of one request share.
#[derive(Debug)]
pub struct Shared {
    /// How they were asked for.
    pub form: EmbeddingsApi,
    /// The operation in metrics and logs.
    pub operation: &'static str,
    /// The model that was asked for: a name that the route answers for.
    pub model: Arc<str>,
    /// All of the request's body but the inputs.
    pub body: String,
    /// By what they are known: those of one kind may be asked for together.
    pub kind: Key,
    /// Who asked.
    pub caller: Caller,
}

/// An input whose vector may be asked for again.
#[derive(Debug)]
pub struct Input {
    /// What it shares with others.
    pub shared: Arc<Shared>,
    /// Itself, as JSON.
    pub text: Box<str>,
    uses: AtomicU32,
}

impl Input {
    /// One that was asked for once.
    pub fn new(shared: Arc<Shared>, text: String) -> Self {
        Self {
            shared,
            text: text.into(),
            uses: AtomicU32::new(0),
        }
    }

    /// It is asked for once more.
    pub(super) fn used(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }
}

/// How far a route is, at `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefillReport {
    /// The ModelRoute.
    pub route: String,
    /// The next model, or the version that its provider has put in the place of another.
    pub next: String,
    /// Of a next model `filling`, `filled`, `serving`: the next model serves, or `failed`: too many inputs were given up, and the old one
    /// goes on serving. Of a version `renewing` or `renewed`.
    pub state: &'static str,
    /// Of the inputs that had vectors of the old one when it began: those that need none of the next one any more.
    pub filled: usize,
    /// How many these were.
    pub of: usize,
    /// Of the same: those that were given up.
    pub given_up: usize,
    /// Inputs that wait to be asked for.
    pub waiting: usize,
    /// Requests that are out for them.
    pub workers: usize,
    /// Texts that are kept.
    pub inputs: usize,
    /// Bytes that these take.
    pub bytes: usize,
}

/// What is asked for, and as who.
pub(super) struct Filling {
    /// Another one with each: what was asked for for one says nothing of the next.
    pub(super) generation: u64,
    /// The route whose target it is asked of.
    pub(super) route: Arc<Route>,
    pub(super) refill: Refill<Arc<Input>>,
}

impl Filling {
    /// These are to be filled, as far as their texts are known. `inputs`: all texts, those of the least recently used first.
    pub(super) fn begin<'a>(
        (route, workers, generation): (&Arc<Route>, usize, u64),
        known: impl IntoIterator<Item = Key>,
        inputs: impl Iterator<Item = (&'a Key, &'a Arc<Input>)>,
    ) -> Self {
        let settings = Settings {
            workers,
            batch: BATCH,
            most: MOST_JOBS,
            tries: TRIES,
            backoff: BackoffSettings::BACKGROUND,
        };
        let mut new = Self {
            generation,
            route: Arc::clone(route),
            refill: Refill::new(settings, known),
        };
        // Of those that were used equally often the latest go first.
        for (key, input) in inputs {
            if new.refill.is_awaited(key) {
                new.want(*key, input);
            }
        }
        new
    }

    /// Somebody wants the vector of this input.
    pub(super) fn want(&mut self, key: Key, input: &Arc<Input>) {
        let shared = &input.shared;
        let uses = input.uses.load(Ordering::Relaxed).clamp(1, MOST_USES);
        // Gemini's `embedContent` takes one input.
        let is_alone = shared.form == EmbeddingsApi::One;
        self.refill
            .want(key, shared.kind, (uses, is_alone), || Arc::clone(input));
    }

    fn report(&self, route: &str, state: &'static str, (inputs, bytes): (usize, usize)) -> RefillReport {
        let (filled, of) = self.refill.progress();
        RefillReport {
            route: route.to_owned(),
            next: String::new(),
            state,
            filled,
            of,
            given_up: self.refill.given_up(),
            waiting: self.refill.depth(),
            workers: self.refill.workers(),
            inputs,
            bytes,
        }
    }
}

/// A next model.
pub(super) struct OfNext {
    /// What it rests on: who is asked, and for what.
    pub(super) basis: String,
    pub(super) next: Arc<Next>,
    pub(super) filling: Filling,
    pub(super) serves: bool,
    /// It was said that too much failed.
    is_told: bool,
}

impl OfNext {
    pub(super) fn new(basis: String, next: &Arc<Next>, filling: Filling) -> Self {
        Self {
            basis,
            next: Arc::clone(next),
            filling,
            serves: false,
            is_told: false,
        }
    }

    /// The same in another configuration.
    pub(super) fn goes_on_as(mut self, next: &Arc<Next>) -> Self {
        self.filling.route = Arc::clone(&next.route);
        self.next = Arc::clone(next);
        self
    }

    /// Whether it serves; from the moment on at which all is there.
    pub(super) fn look(&mut self, route: &str) -> bool {
        let refill = &self.filling.refill;
        if !self.serves && self.next.switches && refill.is_filled() {
            self.serves = true;
            let (_, inputs) = refill.progress();
            tracing::info!(
                route,
                model = self.model(),
                inputs,
                "the next embedding model serves from now on"
            );
        }
        let has_failed = self.filling.refill.has_failed();
        if !std::mem::replace(&mut self.is_told, has_failed) && has_failed {
            tracing::warn!(
                route,
                model = self.model(),
                "the next embedding model does not answer for too many inputs: the old one goes on serving"
            );
        }
        self.serves
    }

    fn model(&self) -> &str {
        let target = self.next.route.all_targets().next();
        target.and_then(|target| target.model.as_deref()).unwrap_or_default()
    }

    pub(super) fn report(&self, route: &str, texts: (usize, usize)) -> RefillReport {
        let refill = &self.filling.refill;
        let state = if self.serves {
            "serving"
        } else if refill.has_failed() {
            "failed"
        } else if refill.is_filled() {
            "filled"
        } else {
            "filling"
        };
        RefillReport {
            next: self.model().to_owned(),
            ..self.filling.report(route, state, texts)
        }
    }
}

/// A version that its provider has put in the place of another.
pub(super) struct Renewal {
    /// As answers name it.
    pub(super) version: String,
    pub(super) filling: Filling,
}

impl Renewal {
    pub(super) fn report(&self, route: &str, texts: (usize, usize)) -> RefillReport {
        let refill = &self.filling.refill;
        let is_over = refill.depth() == 0 && refill.workers() == 0;
        RefillReport {
            next: self.version.clone(),
            ..self
                .filling
                .report(route, if is_over { "renewed" } else { "renewing" }, texts)
        }
    }
}
