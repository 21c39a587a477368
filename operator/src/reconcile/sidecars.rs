//! What is known of a namespace's sidecars at a look: what they say over their streams, and what those say that are asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowsprit_core::stream::{CA_BUNDLE, SidecarReport};
use tokio::time::Instant;

use super::Context;
use super::alone::Alone;
use crate::desired::SidecarSeen;
use crate::fleet::{Objectives, PodId, Reported, Runaways};
use crate::objects::pod::{InjectedPod, Phase};
use crate::status::rollout::{Version, has};

/// All of them.
pub(super) struct Seen {
    /// Those that count.
    pub(super) sidecars: Vec<SidecarSeen>,
    /// Whether some were only just seen and may still come with a stream.
    pub(super) some_are_coming: bool,
    /// Whether some were asked for the first time, and have not had the time to answer.
    pub(super) some_are_unheard: bool,
}

/// Notes what those have answered who were asked.
pub(super) fn hear(namespace: &str, alone: &mut Alone, newest: &Version, context: &Context) {
    let now = Instant::now();
    for (pod, report) in context.poller.answers(namespace) {
        let report_is_current = |it: &SidecarReport| has(it.sequence, &it.revision, newest, newest);
        let is_current = report.as_ref().is_some_and(report_is_current);
        alone.answered(&pod, report, is_current, now, fastrand::f64());
    }
}

/// Asks those of `alone` whose turn it is. The namespace is looked at again when they answer: no look waits for it.
pub(super) fn ask(namespace: &str, pods: &[Arc<InjectedPod>], alone: &mut Alone, context: &Context) {
    let now = Instant::now();
    let due: Vec<Arc<InjectedPod>> = pods.iter().filter(|pod| alone.is_due(&pod.id, now)).cloned().collect();
    if due.is_empty() {
        return;
    }
    for pod in &due {
        alone.asks(&pod.id);
    }
    let (fleet, told) = (context.fleet.clone(), namespace.to_owned());
    context.poller.ask(namespace, due, move || fleet.tell(&told));
}

/// What is known of the namespace's pods that run.
pub(super) fn see(pods: &[Arc<InjectedPod>], streaming: &BTreeMap<PodId, Reported>, alone: &Alone) -> Seen {
    let now = Instant::now();
    let (mut sidecars, mut some_are_coming) = (Vec::with_capacity(pods.len()), false);
    for pod in pods {
        let (report, objectives, runaways) = match streaming.get(&pod.id) {
            Some(reported) => (
                Some(Arc::clone(&reported.report)),
                reported.objectives.clone(),
                Runaways::clone(&reported.runaways),
            ),
            None => (
                alone.report(&pod.id).cloned(),
                Objectives::default(),
                Runaways::default(),
            ),
        };
        if report.is_none() {
            if alone.is_coming(&pod.id, now) {
                some_are_coming = true;
                continue;
            }
            // A pod whose sidecar has yet to start serves nothing.
            if pod.phase == Phase::Pending {
                continue;
            }
        }
        sidecars.push(SidecarSeen {
            pod: pod.id.name.as_str().into(),
            labels: Arc::clone(&pod.labels),
            mounted: Arc::clone(&pod.mounted),
            workload: pod.workload.clone(),
            report,
            objectives,
            runaways,
        });
    }
    Seen {
        sidecars,
        some_are_coming,
        some_are_unheard: alone.some_are_unheard(),
    }
}

/// Whether a sidecar says that it cannot use the CA bundle of this provider.
pub(super) fn lacks_bundle(report: &SidecarReport, provider: &str) -> bool {
    let mut providers = report.providers.iter();
    providers.any(|it| it.name == provider && it.status.starts_with(CA_BUNDLE))
}

/// The pods that hold no stream, and whether they were made to.
pub(super) fn silent(
    pods: &[Arc<InjectedPod>],
    streaming: &BTreeMap<PodId, Reported>,
) -> impl Iterator<Item = (PodId, bool)> {
    let all = pods.iter().filter(|pod| !streaming.contains_key(&pod.id));
    all.map(|pod| (pod.id.clone(), pod.may_stream))
}
