//! A virtual model, valid by construction.

use std::sync::Arc;

use bowsprit_crds::ModelRouteSpec;
use bowsprit_crds::cache::Cache;
use bowsprit_crds::model_route::{MidStreamFailover, OnUnsupported, Priority};

use super::{Limit, LimitStore, Problem, Problems, Slo, glob};
use crate::guard::Guard;
use crate::queue::Class;
use crate::{access, hedge, kept, model_name};

/// A virtual model.
#[derive(Clone, Debug)]
pub struct Route {
    /// The ModelRoute's name.
    pub name: String,
    /// Names or globs of the models it answers for.
    pub models: Vec<String>,
    /// Who answers, with weights.
    pub targets: Vec<(Target, u32)>,
    /// Who is tried when every target failed.
    pub fallback: Vec<Target>,
    /// What happens to fields that cannot be carried.
    pub on_unsupported: Option<OnUnsupported>,
    /// When a second target is asked beside the first.
    pub hedge: Option<hedge::HedgeSettings>,
    /// What happens when an answer breaks off.
    pub mid_stream_failover: MidStreamFailover,
    /// Which of its answers are kept, to be given again when every candidate is down.
    pub stale_if_error: Option<kept::Terms>,
    /// Which of its answers are given again without asking.
    pub cache: Option<kept::cache::CacheTerms>,
    /// The model whose vectors are asked for in the background, to serve next.
    pub next: Option<Arc<kept::next::Next>>,
    /// What the texts of its inputs may take in memory, bytes; none: no text is kept.
    pub keep_inputs: Option<usize>,
    /// Whether it is a route as it is served with its next model, beside the one that people wrote.
    pub is_next: bool,
    /// Where its workload's pods keep them too.
    pub cache_store: Option<Arc<LimitStore>>,
    /// Which of them are given to who asks alike.
    pub semantic: Option<Arc<kept::semantic::SemanticTerms>>,
    /// How urgent a request for it is at the most.
    pub class: Class,
    /// How much may be asked of it.
    pub limits: Vec<Arc<Limit>>,
    /// Who may use it, and how.
    pub access: Option<Arc<access::Policy>>,
    /// What must not leave.
    pub guards: Vec<Arc<Guard>>,
    /// What apps may expect of it.
    pub slo: Option<Slo>,
    /// Fields that are set but not in force in this release, as paths.
    pub not_in_force: Vec<&'static str>,
}

/// A provider by name and the model to ask it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The ProviderConfig's name.
    pub provider: String,
    /// The model; none: the provider's default.
    pub model: Option<String>,
}

impl Route {
    /// Checks a spec.
    ///
    /// # Errors
    /// Everything that is wrong with it on its own.
    pub fn from_spec(name: &str, spec: &ModelRouteSpec) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut note = |field: &str, problem: &str, remedy: &str| {
            problems.add(Problem::new(
                format!("ModelRoute {name}: spec.{field}"),
                problem,
                remedy,
            ));
        };
        if spec.matches.models.is_empty() {
            note("match.models", "is empty", "name at least one model");
        }
        if spec.matches.models.iter().any(String::is_empty) {
            note("match.models", "has an empty name", "remove it");
        }
        if spec.targets.is_empty() {
            note("targets", "is empty", "name at least one provider");
        }
        // Passing over these would let requests through that the author meant to stop.
        let limits = Limit::all_of(name, &spec.limits);
        for (field, problem, remedy) in limits.as_ref().err().into_iter().flatten() {
            note(field, problem, remedy);
        }
        if let Some(hedge) = &spec.hedge {
            if hedge.after.is_none() && hedge.percentile.is_none() {
                note(
                    "hedge",
                    "says not when",
                    "set after (such as 2s) or percentile (such as 95)",
                );
            }
            let within = |field: &str, value: u32, min: u32, max: u32| {
                let wrong = !(min..=max).contains(&value);
                wrong.then(|| {
                    (
                        format!("hedge.{field}"),
                        format!("is {value}"),
                        format!("set it to {min} to {max}"),
                    )
                })
            };
            let percentile = hedge.percentile.and_then(|value| within("percentile", value, 50, 99));
            for (field, problem, remedy) in
                percentile
                    .into_iter()
                    .chain(within("maxPercent", hedge.max_percent, 1, 100))
            {
                note(&field, &problem, &remedy);
            }
        }
        let slo = spec.slo.as_ref().map(Slo::of).transpose();
        for (field, problem, remedy) in slo.as_ref().err().into_iter().flatten() {
            note(field, problem, remedy);
        }
        let stale_if_error = spec.stale_if_error.as_ref().map(kept::Terms::of).transpose();
        for (field, problem, remedy) in stale_if_error.as_ref().err().into_iter().flatten() {
            note(field, problem, remedy);
        }
        let cache = spec.cache.as_ref().map(kept::cache::CacheTerms::of).transpose();
        for (field, problem, remedy) in cache.as_ref().err().into_iter().flatten() {
            note(field, problem, remedy);
        }
        let store = spec.cache.as_ref().and_then(|spec| spec.store.as_ref());
        let cache_store =
            store.map(|store| LimitStore::of((&store.redis_ref, store.ca_bundle_ref.as_ref()), store.timeout));
        let cache_store = cache_store.transpose();
        for (field, problem, remedy) in cache_store.as_ref().err().into_iter().flatten() {
            note(&format!("cache.store.{field}"), problem, remedy);
        }
        let models = &spec.matches.models;
        let semantic = spec.cache.as_ref().and_then(|spec| spec.semantic.as_ref());
        let keep = cache.as_ref().ok().and_then(|cache| Some(cache.as_ref()?.keep));
        let semantic = semantic.map(|spec| kept::semantic::SemanticTerms::of(spec, keep, models));
        let semantic = semantic.transpose();
        for (field, problem, remedy) in semantic.as_ref().err().into_iter().flatten() {
            note(field, problem, remedy);
        }
        let of_targets = spec.targets.iter().map(|target| &target.model);
        let mut models = of_targets.chain(spec.fallback.iter().map(|target| &target.model));
        let first = models.next();
        // Two defaults of two providers are two models.
        let is_one_model = models.all(|model| Some(model) == first && model.is_some());
        let keeps_vectors = |cache: &Cache| cache.embeddings.is_some();
        if spec.cache.as_ref().is_some_and(keeps_vectors) && !is_one_model {
            note(
                "cache.embeddings",
                "is of several models, whose vectors do not go together",
                "name one model in all targets",
            );
        }
        let embeddings = spec.cache.as_ref().and_then(|cache| cache.embeddings.as_ref());
        let next = embeddings.map(|embeddings| kept::next::check(embeddings, &spec.targets));
        for (field, problem, remedy) in next.into_iter().flatten() {
            note(field, &problem, remedy);
        }
        let access = spec.access.as_ref().and_then(|rules| {
            problems.take(access::Policy::compile(
                &format!("ModelRoute {name}"),
                "spec.access",
                rules,
            ))
        });
        let guards = problems.take(Guard::all_of(&format!("ModelRoute {name}"), &spec.guards));
        problems.into_result()?;
        let stale_on_error = spec.cache.as_ref().is_some_and(|cache| cache.stale_on_error);
        let optional = [("spec.cache.staleOnError", stale_on_error)];
        let mut route = Self {
            name: name.to_owned(),
            models: spec.matches.models.clone(),
            targets: spec
                .targets
                .iter()
                .map(|target| {
                    (
                        Target {
                            provider: target.provider.clone(),
                            model: target.model.clone(),
                        },
                        target.weight,
                    )
                })
                .collect(),
            fallback: spec
                .fallback
                .iter()
                .map(|target| Target {
                    provider: target.provider.clone(),
                    model: target.model.clone(),
                })
                .collect(),
            on_unsupported: spec.on_unsupported,
            hedge: spec.hedge.map(|hedge| hedge::HedgeSettings {
                after: hedge.after.map(bowsprit_crds::DurationText::get),
                percentile: hedge.percentile,
                max_percent: hedge.max_percent,
            }),
            mid_stream_failover: spec.mid_stream_failover,
            stale_if_error: stale_if_error.unwrap_or_default(),
            cache: cache.unwrap_or_default(),
            cache_store: cache_store.unwrap_or_default().map(Arc::new),
            semantic: semantic.unwrap_or_default().map(Arc::new),
            class: match spec.priority {
                Some(Priority::Background) => Class::Background,
                Some(Priority::Interactive) | None => Class::Interactive,
            },
            limits: limits.unwrap_or_default(),
            access: access.map(Arc::new),
            guards: guards.unwrap_or_default(),
            slo: slo.unwrap_or_default(),
            not_in_force: optional
                .into_iter()
                .filter_map(|(path, set)| set.then_some(path))
                .collect(),
            next: None,
            keep_inputs: embeddings.and_then(kept::next::keep_inputs),
            is_next: false,
        };
        let next = embeddings.and_then(|embeddings| embeddings.next.as_ref());
        route.next = next.map(|next| Arc::new(kept::next::Next::of(&route, next)));
        Ok(route)
    }

    /// Its targets, and then those that stand in for them.
    pub fn all_targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().map(|(target, _)| target).chain(&self.fallback)
    }

    /// The same, each with its path in the document: `ModelRoute fast: spec.targets[0]`.
    pub(super) fn all_targets_by_path(&self) -> impl Iterator<Item = (String, &Target)> {
        let targets = (0..self.targets.len()).map(|index| ("targets", index));
        let fallback = (0..self.fallback.len()).map(|index| ("fallback", index));
        let path = |(list, index)| format!("ModelRoute {}: spec.{list}[{index}]", self.name);
        targets.chain(fallback).map(path).zip(self.all_targets())
    }

    /// Whether it answers for `model` by its name, with or without a collection in front ([`model_name::same`]).
    pub fn names(&self, asked: &str) -> bool {
        self.models.iter().any(|name| model_name::same(name, asked))
    }

    /// The length of the longest glob of it that matches `model`: the longer, the closer.
    pub fn closeness(&self, asked: &str) -> Option<usize> {
        self.models
            .iter()
            .filter(|pattern| matches(pattern, asked))
            .map(String::len)
            .max()
    }
}

/// Whether a glob means this model: as both are written, or without the collection in front of them. Not so `models/*`,
/// which names everything in the collection and not everything there is.
fn matches(pattern: &str, asked: &str) -> bool {
    let (own, bare) = (model_name::bare(pattern), model_name::bare(asked));
    glob::matches(pattern, asked) || glob::matches(pattern, bare) || (!own.starts_with('*') && glob::matches(own, bare))
}
