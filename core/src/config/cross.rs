//! What only several objects together can show.

use super::{Policy, Problem, Provider, Route};
use crate::model_name;
use crate::spend::book::Beyond;

/// References that lead nowhere and fallback chains that come back to where they began.
pub fn cross_check(providers: &[Provider], routes: &[Route]) -> Vec<Problem> {
    let find = |name: &str| providers.iter().find(|provider| provider.name == name);
    let mut problems = Vec::new();
    for provider in providers {
        for (index, name) in provider.fallback.iter().enumerate() {
            if find(name).is_none() {
                let path = format!("ProviderConfig {}: spec.fallbackProviders[{index}]", provider.name);
                problems.push(no_such_provider(path, name));
            }
        }
    }
    for route in routes {
        for (path, target) in route.all_targets_by_path() {
            match find(&target.provider) {
                None => problems.push(no_such_provider(format!("{path}.provider"), &target.provider)),
                Some(provider) if target.model.is_none() && provider.default_model.is_none() => {
                    let problem = format!("neither this target nor ProviderConfig {} names a model", provider.name);
                    problems.push(Problem::new(
                        format!("{path}.model"),
                        problem,
                        "set it here, or defaultModel there",
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(target) = route.next.as_ref().and_then(|next| next.route.all_targets().next()) {
            let path = format!("ModelRoute {}: spec.cache.embeddings.next.provider", route.name);
            match find(&target.provider) {
                None => problems.push(no_such_provider(path, &target.provider)),
                Some(provider) if provider.forward_caller_key => problems.push(Problem::new(
                    path,
                    format!("ProviderConfig {} takes its callers' keys (forwardCallerKey), and what is asked for in the background has none", provider.name),
                    "name a ProviderConfig with credentials of its own",
                )),
                Some(_) => {}
            }
        }
        let Some(semantic) = &route.semantic else { continue };
        let model = &semantic.model;
        let answers = |route: &Route| route.names(model) || route.closeness(model).is_some();
        let lists = |provider: &Provider| {
            let mut models = provider.models.iter();
            provider.models.is_empty() || models.any(|listed| model_name::same(&listed.name, model))
        };
        if !routes.iter().any(answers) && !providers.iter().any(lists) {
            problems.push(Problem::new(
                format!("ModelRoute {}: spec.cache.semantic.embeddingModel", route.name),
                format!("no ModelRoute and no ProviderConfig has the model {model:?}"),
                "list it in the models of a ProviderConfig, or correct the name",
            ));
        }
    }
    problems
}

/// ModelRoutes that budgets lead to and that are not there. Until they are, such a budget refuses what it would have led there.
pub fn diverts_nowhere(policies: &[Policy], routes: &[Route]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for policy in policies {
        for (index, budget) in policy.budgets.iter().enumerate() {
            let Beyond::Divert(to) = &budget.beyond else { continue };
            if !routes.iter().any(|route| *route.name == **to) {
                problems.push(Problem::new(
                    format!("UsagePolicy {}: spec.budgets[{index}].divertTo", policy.name),
                    format!("there is no ModelRoute {to:?}: what the budget would lead there is refused"),
                    "create it, or correct the name",
                ));
            }
        }
    }
    problems
}

/// ProviderConfigs and ModelRoutes that policies pause and that are not there: a switch that turns nothing off must not look as if it did.
pub fn pauses_nothing(policies: &[Policy], providers: &[Provider], routes: &[Route]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for policy in policies {
        let path = |field: &str, index: usize| format!("UsagePolicy {}: spec.{field}[{index}].name", policy.name);
        for (index, paused) in policy.paused_providers.iter().enumerate() {
            if !providers.iter().any(|provider| provider.name == paused.name) {
                problems.push(no_such_provider(path("pausedProviders", index), &paused.name));
            }
        }
        for (index, paused) in policy.paused_routes.iter().enumerate() {
            if !routes.iter().any(|route| route.name == paused.name) {
                problems.push(Problem::new(
                    path("pausedRoutes", index),
                    format!("there is no ModelRoute {:?}", paused.name),
                    "create it, or correct the name",
                ));
            }
        }
    }
    problems
}

/// That nothing of this name is there, said at `path`.
pub fn no_such_provider(path: String, name: &str) -> Problem {
    Problem::new(
        path,
        format!("there is no ProviderConfig {name:?}"),
        "create it, or correct the name",
    )
}
