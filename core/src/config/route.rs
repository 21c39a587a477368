//! A virtual model, valid by construction.

use bowsprit_crds::ModelRouteSpec;
use bowsprit_crds::model_route::{MidStreamFailover, OnUnsupported};

use super::{Problem, Problems, Slo, glob};
use crate::{hedge, model_name};

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
        if spec.access.is_some() {
            note(
                "access",
                "is not in force in this release",
                "remove it, and restrict by namespace meanwhile",
            );
        }
        if spec.limits.is_some() {
            note(
                "limits",
                "is not in force in this release",
                "set rateLimits on the ProviderConfigs instead",
            );
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
        problems.into_result()?;
        let optional = [("spec.cache", spec.cache.is_some())];
        Ok(Self {
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
            slo: slo.unwrap_or_default(),
            not_in_force: optional
                .into_iter()
                .filter_map(|(path, set)| set.then_some(path))
                .collect(),
        })
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
