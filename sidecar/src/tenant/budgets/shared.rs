//! Whose a pod's budgets are where pods spend them together.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use bowsprit_core::config::Config;
use bowsprit_core::spend::book::Spenders;
use bowsprit_core::spend::shared::purses::Wanted;
use tokio::sync::Notify;

/// Who spends out of this sidecar's purses.
#[derive(Clone, Debug, Default)]
pub struct Pocket {
    /// What the pod runs for, such as `Deployment/checkout`.
    pub workload: Option<String>,
    /// Its name.
    pub pod: String,
    /// Whether there is an operator to ask.
    pub has_operator: bool,
}

/// What is about budgets that pods spend together.
#[derive(Debug, Default)]
pub struct Shared {
    pub(super) pocket: OnceLock<Pocket>,
    /// Rings when a request waits for what is to be asked.
    pub urgent: Arc<Notify>,
    /// Rings when something was lent.
    pub(super) lent: Notify,
    /// The process ends: all that is not spent is given back.
    pub(super) is_last: AtomicBool,
}

impl Shared {
    /// The budgets of this configuration that the pod spends together with others, and with whom. A pod that belongs to no
    /// workload or Job is one of its own; one without a team's label belongs to the team without a name.
    pub(super) fn wanted(&self, config: &Config) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let pocket = self.pocket.get();
        let alone = || format!("Pod/{}", pocket.map_or("", |pocket| &pocket.pod));
        for budget in config.budgets() {
            let mut add = |of: &str, route: Option<Arc<str>>| {
                wanted.push(Wanted {
                    budget: Arc::clone(budget),
                    of: of.into(),
                    route,
                });
            };
            match &budget.per {
                Spenders::Pod => {}
                Spenders::Namespace => add("", None),
                Spenders::Workload => {
                    let workload = pocket.and_then(|pocket| pocket.workload.clone());
                    add(&workload.unwrap_or_else(alone), None);
                }
                Spenders::Team { of, .. } => add(of.as_deref().unwrap_or_default(), None),
                Spenders::JobRun { of } => add(of.as_deref().unwrap_or(&alone()), None),
                Spenders::Route => {
                    for route in &config.routes {
                        add(&route.name, Some(route.name.as_str().into()));
                    }
                }
            }
        }
        wanted
    }

    /// Whether there is no operator to wait for.
    pub(super) fn is_alone(&self) -> bool {
        !self.pocket.get().is_some_and(|pocket| pocket.has_operator)
    }

    /// Who waits looks again.
    pub(super) fn look_again(&self) {
        self.lent.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use bowsprit_core::config::{Scope, load};

    use super::*;

    #[test]
    fn a_budget_is_of_each_route_of_a_team_or_of_the_pod_where_it_belongs_to_no_more() {
        let route = "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {name: smart}\nspec: {match: {models: [smart]}, \
                     targets: [{provider: p}]}\n---\napiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {name: p}\nspec: \
                     {provider: OpenAICompatible, endpoint: {baseUrl: 'https://p'}, defaultModel: m}\n";
        let of = |per: &str, labels: &[(&str, &str)]| {
            let budget = format!("{{name: b, amount: '1', currency: USD, window: Day, per: {per}}}");
            let text = format!(
                "apiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {{name: shop}}\nspec: {{budgets: [{budget}]}}\n{route}"
            );
            let labels = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let scope = Scope::Cluster {
                pod_labels: labels.collect(),
            };
            let shared = Shared::default();
            shared
                .pocket
                .set(Pocket {
                    pod: "p-1".into(),
                    ..Pocket::default()
                })
                .unwrap();
            let wanted = shared.wanted(&load(&text, &scope).unwrap());
            wanted.iter().map(|wanted| wanted.of.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("Pod", &[]), [""; 0]);
        assert_eq!(of("Namespace", &[]), [""]);
        assert_eq!(of("Route", &[]), ["smart"]);
        assert_eq!(of("Workload", &[]), ["Pod/p-1"]);
        assert_eq!(of("JobRun", &[]), ["Pod/p-1"]);
        assert_eq!(of("JobRun", &[("job-name", "j"), ("controller-uid", "u")]), ["j/u"]);
        assert_eq!(of("Team, teamLabel: team", &[("team", "blue")]), ["blue"]);
        assert_eq!(of("Team, teamLabel: team", &[]), [""]);
    }
}
