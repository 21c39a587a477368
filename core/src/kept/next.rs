//! A route's next embedding model (`cache.embeddings.next`): the route as it is served with it.

use std::sync::Arc;

use bowsprit_crds::cache::{EmbeddingsCache, NextEmbeddings, NextSwitch};

use super::{BOUNDS, Wrong};
use crate::config::{Route, Target};

/// What texts may take, bytes, where there is a next model and nothing else is said.
const INPUTS: u64 = 16 << 20;
/// Requests at once with which a sidecar may ask for the vectors of a next model.
const WORKERS: (u32, u32) = (1, 8);

/// A next model.
#[derive(Clone, Debug)]
pub struct Next {
    /// The route with it as the only target: whoever is served with this one gets vectors of no other model.
    pub route: Arc<Route>,
    /// Whether a sidecar goes over to it by itself.
    pub switches: bool,
    /// Requests at once in the background.
    pub workers: usize,
}

impl Next {
    /// This route with its next model.
    pub(crate) fn of(route: &Route, spec: &NextEmbeddings) -> Self {
        let target = Target {
            provider: spec.provider.clone(),
            model: Some(spec.model.clone()),
        };
        let next = Route {
            targets: vec![(target, 1)],
            fallback: Vec::new(),
            next: None,
            is_next: true,
            ..route.clone()
        };
        Self {
            route: Arc::new(next),
            switches: spec.switch == NextSwitch::WhenFilled,
            workers: spec.workers as usize,
        }
    }
}

/// What the texts of inputs may take in memory, bytes; `None`: none is kept.
pub(crate) fn keep_inputs(spec: &EmbeddingsCache) -> Option<usize> {
    let default = spec.next.is_some().then_some(INPUTS);
    spec.keep_inputs
        .or(default)
        .and_then(|bytes| usize::try_from(bytes).ok())
}

/// What is wrong with it, with the field's path from the spec.
pub(crate) fn check(spec: &EmbeddingsCache, targets: &[bowsprit_crds::model_route::WeightedTarget]) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let (least, most) = BOUNDS;
    if let Some(bytes) = spec.keep_inputs.filter(|bytes| !(least..=most).contains(bytes)) {
        let remedy = "set it to 65536 (64 KiB) to 268435456 (256 MiB)";
        wrong.push(("cache.embeddings.keepInputs", format!("is {bytes}"), remedy));
    }
    let Some(next) = &spec.next else { return wrong };
    let (least, most) = WORKERS;
    if !(least..=most).contains(&next.workers) {
        let problem = format!("is {}", next.workers);
        wrong.push(("cache.embeddings.next.workers", problem, "set it to 1 to 8"));
    }
    if next.provider.is_empty() || next.model.is_empty() {
        let remedy = "name a ProviderConfig and its model";
        wrong.push(("cache.embeddings.next", "names no model".to_owned(), remedy));
    }
    let is_it = |target: &bowsprit_crds::model_route::WeightedTarget| target.model.as_ref() == Some(&next.model);
    if targets.iter().any(is_it) {
        wrong.push((
            "cache.embeddings.next.model",
            format!("is {:?}, which the targets ask for already", next.model),
            "name another one, or remove next",
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Scope, load};
    use crate::kept::basis::basis;

    fn config(target: &str, embeddings: &str) -> Config {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: openai}}\nspec:\n  provider: OpenAI\n  \
             credentials: [{{name: main, env: K}}]\n  models: [{{name: old}}, {{name: new}}]\n---\n\
             apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec:\n  match: {{models: [vectors]}}\n  \
             targets: [{{provider: openai, model: {target}}}]\n  \
             cache: {{ttl: 1h, maxBytes: 65536, embeddings: {{maxBytes: 65536, {embeddings}}}}}\n"
        );
        load(&text, &Scope::Standalone).unwrap()
    }

    #[test]
    fn what_is_filled_rests_on_what_the_route_rests_on_once_its_targets_name_the_model() {
        let before = config("old", "next: {provider: openai, model: new, switch: Manual}");
        let next = before.routes[0].next.as_ref().unwrap();
        assert!(!next.switches && next.route.is_next && next.route.next.is_none());
        assert_eq!(
            next.route.all_targets().count(),
            1,
            "nobody else is asked for its vectors"
        );
        assert_ne!(basis(&before, &next.route), basis(&before, &before.routes[0]));
        let after = config("new", "keepInputs: 65536");
        assert_eq!(basis(&before, &next.route), basis(&after, &after.routes[0]));
    }

    #[test]
    fn texts_are_kept_where_it_is_said_or_a_next_model_wants_them() {
        let kept = |embeddings| config("old", embeddings).routes[0].keep_inputs;
        assert_eq!(kept("ttl: 1h"), None);
        assert_eq!(kept("keepInputs: 70000"), Some(70_000));
        assert_eq!(kept("next: {provider: openai, model: new}"), Some(16 << 20));
    }
}
