//! What only several objects together can show.

use super::{Problem, Provider, Route};

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
