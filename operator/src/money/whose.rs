//! Whose a budget is that a sidecar asks for. It says so, as its pod was told; but what counts is what is known of the pod that its
//! token is bound to: who holds that token spends what this pod may, and no other's.

use bowsprit_core::config::spenders_of;
use bowsprit_core::spend::book::Spenders;

use crate::objects::pod::InjectedPod;

/// With whom this pod spends a budget of which its sidecar says that it is `said`'s. None: with nobody.
pub(super) fn whose(
    per: &Spenders,
    said: &str,
    pod: &InjectedPod,
    has_route: impl FnOnce(&str) -> bool,
) -> Option<String> {
    match spenders_of(per, &pod.labels) {
        // Its sidecar holds it by itself.
        Spenders::Pod => None,
        Spenders::Namespace => Some(String::new()),
        // A pod asks of any route: only what there is, so that there are no more than these.
        Spenders::Route => has_route(said).then(|| said.to_owned()),
        Spenders::Workload => {
            let made_as = pod.made_as.as_deref().filter(|name| *name == said);
            Some(made_as.unwrap_or(&pod.runs_for).to_owned())
        }
        Spenders::Team { of, .. } => Some(of.as_deref().unwrap_or_default().to_owned()),
        Spenders::JobRun { of: Some(of) } => Some(of.to_string()),
        Spenders::JobRun { of: None } => Some(format!("Pod/{}", pod.id.name)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    fn pod(labels: &[(&str, &str)]) -> InjectedPod {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut pod = InjectedPod {
            labels: Arc::new(labels.collect::<BTreeMap<String, String>>()),
            runs_for: "Deployment/checkout".into(),
            ..InjectedPod::default()
        };
        pod.id.name = "p-1".into();
        pod
    }

    #[test]
    fn whatever_a_sidecar_says_a_budget_is_of_its_own_pods_team_workload_and_run() {
        let team = Spenders::Team {
            label: "team".into(),
            of: None,
        };
        let run = Spenders::JobRun { of: None };
        let blue = pod(&[("team", "blue"), ("job-name", "j"), ("controller-uid", "u")]);
        for said in ["", "green", "Deployment/other", "j/other", &"x".repeat(320)] {
            let of = |per: &Spenders| whose(per, said, &blue, |_| false);
            assert_eq!(of(&team).as_deref(), Some("blue"));
            assert_eq!(of(&run).as_deref(), Some("j/u"));
            assert_eq!(of(&Spenders::Workload).as_deref(), Some("Deployment/checkout"));
            assert_eq!(of(&Spenders::Namespace).as_deref(), Some(""));
            assert_eq!((of(&Spenders::Route), of(&Spenders::Pod)), (None, None));
            assert_eq!(whose(&team, said, &pod(&[]), |_| false).as_deref(), Some(""));
            assert_eq!(whose(&run, said, &pod(&[]), |_| false).as_deref(), Some("Pod/p-1"));
        }
        let of = |said: &str| whose(&Spenders::Route, said, &blue, |name| name == "smart");
        assert_eq!((of("smart").as_deref(), of("made-up")), (Some("smart"), None));
    }

    #[test]
    fn a_pod_that_had_no_name_when_its_sidecar_was_told_spends_under_what_it_was_told() {
        let mut bare = pod(&[]);
        bare.runs_for = "Pod/p-1".into();
        bare.made_as = Some("Pod/p".into());
        let of = |said: &str| whose(&Spenders::Workload, said, &bare, |_| false).unwrap();
        assert_eq!(
            (of("Pod/p"), of("Pod/p-1"), of("Pod/q")),
            ("Pod/p".into(), "Pod/p-1".into(), "Pod/p-1".into())
        );
    }
}
