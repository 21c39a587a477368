//! Writes the status of an object where it has changed and its turn has come, and tells what is news in it as Events.

use std::fmt::Debug;
use std::time::Duration;

use bowsprit_core::slo::{PROVIDER, ROUTE};
use bowsprit_crds::budgets::BudgetPer;
use bowsprit_crds::found::Unread;
use bowsprit_crds::{
    BudgetStatus, Circuits, ModelRoute, ModelRouteStatus, ProviderConfig, ProviderConfigStatus, RunawayStatus, Slo,
    SloStatus, UsagePolicy, UsagePolicyStatus,
};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType};
use kube::{Api, CustomResourceExt, Resource, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::installed::{self, without};
use super::{Context, Error, FIELD_MANAGER};
use crate::conditions::{Verdict, kind, reason};
use crate::desired::{Judged, LATE, Measure};
use crate::lease::elector::NotLeading;
use crate::status::pace::{News, Turn};
use crate::status::rollout::Rollout;
use crate::status::runaway;

/// The most that an Event's note takes: the apiserver's limit is 1 KiB.
const MAX_NOTE: usize = 900;

/// An object that is reported on. A route's status is a provider's without circuits.
pub(super) trait Reported: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug {
    /// The kind as its CRD has it.
    type Defined: CustomResourceExt;

    /// Its status as it is.
    fn told(&self) -> ProviderConfigStatus;
    /// Its objectives, where it has any.
    fn slo(&self) -> Option<&Slo>;
    /// Whether it has budgets that pods spend together.
    fn spends(&self) -> bool {
        false
    }
    /// Whether it looks for pods that run away.
    fn looks_for_runaways(&self) -> bool {
        false
    }
    /// What sidecars call its kind where they count for its objectives.
    const OBJECT: &'static str;
    /// Whether it has circuits.
    const CIRCUITS: bool;
}

impl Reported for ProviderConfig {
    type Defined = Self;

    const OBJECT: &'static str = PROVIDER;
    const CIRCUITS: bool = true;

    fn slo(&self) -> Option<&Slo> {
        self.spec.slo.as_ref()
    }

    fn told(&self) -> ProviderConfigStatus {
        self.status.clone().unwrap_or_default()
    }
}

impl Reported for ModelRoute {
    type Defined = Self;

    const OBJECT: &'static str = ROUTE;
    const CIRCUITS: bool = false;

    fn slo(&self) -> Option<&Slo> {
        self.spec.slo.as_ref()
    }

    fn told(&self) -> ProviderConfigStatus {
        let ModelRouteStatus {
            conditions,
            observed_generation,
            revision,
            sequence,
            sidecars,
            propagation,
            slo,
        } = self.status.clone().unwrap_or_default();
        ProviderConfigStatus {
            conditions,
            observed_generation,
            revision,
            sequence,
            sidecars,
            propagation,
            slo,
            circuits: None,
            budgets: Vec::new(),
            runaway: None,
        }
    }
}

impl Reported for UsagePolicy {
    type Defined = Self;

    const OBJECT: &'static str = "policy";
    const CIRCUITS: bool = false;

    fn slo(&self) -> Option<&Slo> {
        None
    }

    fn spends(&self) -> bool {
        self.spec.budgets.iter().any(|budget| budget.per != BudgetPer::Pod)
    }

    fn looks_for_runaways(&self) -> bool {
        self.spec.runaway.is_some()
    }

    fn told(&self) -> ProviderConfigStatus {
        let UsagePolicyStatus {
            conditions,
            observed_generation,
            revision,
            sequence,
            sidecars,
            propagation,
            budgets,
            runaway,
        } = self.status.clone().unwrap_or_default();
        ProviderConfigStatus {
            conditions,
            observed_generation,
            revision,
            sequence,
            sidecars,
            propagation,
            slo: None,
            circuits: None,
            budgets,
            runaway,
        }
    }
}

/// One that cannot be read has a status all the same, but for what it would be asked for.
impl<K: Reported> Reported for Unread<K> {
    type Defined = K::Defined;

    const OBJECT: &'static str = K::OBJECT;
    const CIRCUITS: bool = K::CIRCUITS;

    fn slo(&self) -> Option<&Slo> {
        None
    }

    fn told(&self) -> ProviderConfigStatus {
        self.status.clone().unwrap_or_default()
    }
}

/// What sidecars have told, and what was lent to them.
pub(super) struct Told {
    pub(super) slo: Option<SloStatus>,
    pub(super) budgets: Vec<BudgetStatus>,
    pub(super) runaway: Option<RunawayStatus>,
}

/// The status that says what was judged, and what was measured.
pub(super) fn status_of<K: Reported>(
    object: &K,
    before: &ProviderConfigStatus,
    judged: &Judged,
    measure: &Measure,
    rollout: &Rollout,
    Told { slo, budgets, runaway }: Told,
) -> ProviderConfigStatus {
    let generation = object.meta().generation;
    let carried = &measure.carried;
    let measured = rollout.propagation(carried, judged.selected.iter().map(|pod| &**pod));
    // What another leader measured of the same revision still holds.
    let known = before.propagation.clone().filter(|known| known.of == carried.revision);
    ProviderConfigStatus {
        conditions: judged.conditions(&before.conditions, generation, Timestamp::now()),
        observed_generation: generation,
        revision: Some(carried.revision.clone()),
        sequence: Some(carried.sequence),
        sidecars: Some(judged.sidecars.clone()),
        propagation: measured.or(known),
        slo,
        budgets,
        runaway,
        circuits: K::CIRCUITS.then(|| judged.circuits.clone()),
    }
}

/// Whether sidecars are behind for so long already that it is time to say what to do.
pub(super) fn is_late(before: &ProviderConfigStatus, now: Timestamp) -> bool {
    let behind = |condition: &&Condition| {
        condition.type_ == kind::PROGRAMMED
            && [reason::PENDING, reason::SIDECARS_BEHIND].contains(&condition.reason.as_str())
    };
    let since = before
        .conditions
        .iter()
        .find(behind)
        .map(|it| it.last_transition_time.0);
    since.is_some_and(|since| age(since, now) >= LATE)
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).try_into().unwrap_or_default()
}

/// Whether two statuses speak of the same config, and of sidecars differently: what their reports tell is all that has changed.
pub(super) fn only_sidecars_differ(before: &ProviderConfigStatus, status: &ProviderConfigStatus) -> bool {
    let verdict = |status: &ProviderConfigStatus, kind: &str| {
        let found = status.conditions.iter().find(|it| it.type_ == kind);
        let found = found.filter(|it| it.reason != reason::KEY_UNUSABLE);
        found.map(|it| (it.status.clone(), it.reason.clone()))
    };
    let same = |kind| match verdict(before, kind) {
        None => before.conditions.iter().any(|it| it.reason == reason::KEY_UNUSABLE),
        told => told == verdict(status, kind),
    };
    before.observed_generation == status.observed_generation
        && before.sequence == status.sequence
        && same(kind::ACCEPTED)
        && same(kind::RESOLVED_REFS)
}

/// Writes the status where it differs and may be written. Gives when to look again, where something has to wait.
pub(super) async fn publish<K: Reported>(
    object: &K,
    before: &ProviderConfigStatus,
    status: &ProviderConfigStatus,
    judged: &Judged,
    context: &Context,
) -> Result<Option<Duration>, Error> {
    // That sidecars are behind is told once it has lasted.
    let [.., programmed, _] = &judged.verdicts;
    let pending = status
        .conditions
        .iter()
        .find(|it| it.type_ == kind::PROGRAMMED && it.reason == reason::PENDING);
    let late = pending.filter(|_| programmed.reason == reason::PENDING);
    let late =
        late.map(|it| LATE.saturating_sub(age(it.last_transition_time.0, Timestamp::now())) + Duration::from_secs(1));
    if status == before {
        return Ok(late);
    }
    let lacks = context.installed.lacks::<K::Defined>(&context.client).await;
    let (said, left_out) = without(json!(status), &lacks);
    // What is left out is written once the CRD knows it.
    let again = left_out.then_some(installed::AGAIN);
    let late = late.into_iter().chain(again).min();
    if said == without(json!(before), &lacks).0 {
        return Ok(late);
    }
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let key = format!("{} {namespace}/{name}", K::kind(&()));
    let turn = context.pace().ask(&key, news(before, status), Instant::now());
    if let Turn::After(wait) = turn {
        return Ok(Some(late.map_or(wait, |late| late.min(wait))));
    }
    // Of what the CRD cannot say nobody could see that it was told.
    let tells_runaways = said.get("runaway").is_some();
    match write(object, said, context).await? {
        Ok(()) => context.metrics.status_writes.inc(),
        // Deleted since: there is nobody left to tell.
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(None),
        Err(source) => {
            return Err(Error::Kube {
                step: "writing a status",
                source,
            });
        }
    };
    let mut about = object.object_ref(&());
    // Of another version of the object it would be another Event, and none would be counted up.
    about.resource_version = None;
    let runaway = runaway::news(before.runaway.as_ref(), status.runaway.as_ref());
    let runaway = runaway.filter(|_| tells_runaways);
    let runaway = runaway.map(|note| noted(EventType::Warning, reason::RUNAWAY, note));
    for event in events(before, status, &judged.verdicts).into_iter().chain(runaway) {
        tell(&about, &event, context).await;
    }
    Ok(late)
}

/// Writes a status. One that is refused for what it says is written once more without what the CRD lacks; where that is nothing,
/// without what sidecars have counted, which is the one thing in it that is not the operator's own word.
async fn write<K: Reported>(
    object: &K,
    status: Value,
    context: &Context,
) -> Result<Result<(), kube::Error>, NotLeading> {
    let refusal = match apply(object, &status, context).await? {
        Err(kube::Error::Api(refusal)) if is_of_what_it_says(&refusal) => refusal,
        done => return Ok(done),
    };
    let lacks = if refusal.message.contains(NOT_IN_SCHEMA) {
        context.installed.look::<K::Defined>(&context.client).await
    } else {
        Vec::new()
    };
    let (known, any) = without(status, &lacks);
    let (less, any) = if any {
        (known, any)
    } else {
        without(known, &["slo", "runaway"].map(String::from))
    };
    if !any {
        return Ok(Err(kube::Error::Api(refusal)));
    }
    tracing::warn!(
        kind = %K::kind(&()),
        namespace = object.namespace(),
        name = object.name_any(),
        message = refusal.message,
        "the status was refused: written with less"
    );
    apply(object, &less, context).await
}

/// How the apiserver says that an apply patch has a field that the CRD's schema does not have.
const NOT_IN_SCHEMA: &str = "field not declared in schema";

/// Whether a write was refused for what it says, and not for who asks, when or of what version. [`NOT_IN_SCHEMA`] is 500.
fn is_of_what_it_says(refusal: &kube::core::Status) -> bool {
    matches!(refusal.code, 400 | 422 | 500)
}

async fn apply<K: Reported>(
    object: &K,
    status: &Value,
    context: &Context,
) -> Result<Result<(), kube::Error>, NotLeading> {
    let name = object.name_any();
    // The version tells if somebody wrote since it was judged.
    let version = &object.meta().resource_version;
    let patch = Patch::Apply(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "resourceVersion": version},
        "status": status,
    }));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    // Of the answer nothing is needed, and an object of another release's form could not be read from it.
    let api = Api::<PartialObjectMeta<K>>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let write = api.patch_status(&name, &params, &patch);
    Ok(context.leadership.write(write).await?.map(drop))
}

/// What of a status has changed.
fn news(before: &ProviderConfigStatus, status: &ProviderConfigStatus) -> News {
    let verdicts = |status: &ProviderConfigStatus| -> Vec<(String, String)> {
        let conditions = status.conditions.iter();
        conditions.map(|it| (it.type_.clone(), it.status.clone())).collect()
    };
    let same = before.observed_generation == status.observed_generation
        && verdicts(before) == verdicts(status)
        && is_open(before.circuits.as_ref()) == is_open(status.circuits.as_ref())
        && before.runaway.is_some() == status.runaway.is_some();
    if same { News::Counts } else { News::Verdict }
}

fn is_open(circuits: Option<&Circuits>) -> bool {
    circuits.is_some_and(|circuits| circuits.open > 0 || circuits.half_open > 0)
}

/// Events for what changed its mind, so that `kubectl describe` tells the story. They follow from the status that was there, so a
/// restart of the operator tells nothing anew.
fn events(before: &ProviderConfigStatus, status: &ProviderConfigStatus, verdicts: &[Verdict]) -> Vec<Event> {
    // Ready says no more than one of the others, which is told itself; and that a change is on its way is no event.
    let told = |verdict: &&Verdict| {
        verdict.kind != kind::READY && verdict.reason != reason::PENDING && verdict.is_news(&before.conditions)
    };
    let mut events: Vec<Event> = verdicts.iter().filter(told).map(event).collect();
    let (was_open, opened) = (is_open(before.circuits.as_ref()), is_open(status.circuits.as_ref()));
    if let Some(circuits) = status.circuits.as_ref().filter(|_| was_open != opened) {
        let note = format!("circuit breakers over all sidecars: {}", circuits.summary);
        let (type_, reason) = if opened {
            (EventType::Warning, reason::CIRCUIT_OPEN)
        } else {
            (EventType::Normal, reason::CIRCUIT_CLOSED)
        };
        events.push(noted(type_, reason, note));
    }
    events
}

fn event(verdict: &Verdict) -> Event {
    let type_ = if verdict.holds {
        EventType::Normal
    } else {
        EventType::Warning
    };
    noted(type_, verdict.reason, format!("{}: {}", verdict.kind, verdict.message))
}

fn noted(type_: EventType, reason: &str, mut note: String) -> Event {
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE));
        note.push('…');
    }
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

async fn tell(about: &ObjectReference, event: &Event, context: &Context) {
    // An Event has no version that the apiserver could refuse: it is not begun, or let go of, once another may lead.
    if let Ok(Err(error)) = context.leadership.write(context.recorder.publish(event, about)).await {
        tracing::debug!(%error, reason = event.reason, "event not published");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn status(
        programmed: (bool, &'static str),
        [closed, open, half_open]: [u32; 3],
    ) -> (ProviderConfigStatus, Vec<Verdict>) {
        let verdicts = vec![
            Verdict::new(kind::ACCEPTED, true, reason::ACCEPTED, "valid"),
            Verdict::new(kind::PROGRAMMED, programmed.0, programmed.1, "three pods"),
        ];
        let now = Timestamp::UNIX_EPOCH;
        let status = ProviderConfigStatus {
            conditions: verdicts.iter().map(|it| it.condition(&[], Some(1), now)).collect(),
            observed_generation: Some(1),
            circuits: Some(Circuits {
                closed,
                open,
                half_open,
                summary: String::new(),
            }),
            ..ProviderConfigStatus::default()
        };
        (status, verdicts)
    }

    #[test]
    fn events_tell_what_is_new_and_never_that_a_change_is_on_its_way() {
        let told =
            |before: &ProviderConfigStatus, (status, verdicts): &(ProviderConfigStatus, Vec<Verdict>)| -> Vec<String> {
                events(before, status, verdicts)
                    .into_iter()
                    .map(|event| event.reason)
                    .collect()
            };
        let live = status((true, reason::PROGRAMMED), [3, 0, 0]);
        assert_eq!(
            told(&ProviderConfigStatus::default(), &live),
            ["Accepted", "Programmed"]
        );
        assert!(
            told(&live.0, &live).is_empty(),
            "an operator that starts tells nothing anew"
        );
        let pending = status((false, reason::PENDING), [3, 0, 0]);
        assert!(told(&live.0, &pending).is_empty());
        assert_eq!(
            told(&pending.0, &status((false, reason::SIDECARS_BEHIND), [3, 0, 0])),
            ["SidecarsBehind"]
        );
        let open = status((true, reason::PROGRAMMED), [1, 2, 0]);
        assert_eq!(told(&live.0, &open), ["CircuitOpen"]);
        assert!(
            told(&open.0, &status((true, reason::PROGRAMMED), [2, 0, 1])).is_empty(),
            "a probe is no end"
        );
        assert_eq!(told(&open.0, &live), ["CircuitClosed"]);
    }

    #[test]
    fn what_changes_a_verdict_goes_before_what_changes_a_number() {
        let live = status((true, reason::PROGRAMMED), [3, 0, 0]).0;
        assert_eq!(
            news(&live, &status((true, reason::NO_SIDECARS), [9, 0, 0]).0),
            News::Counts
        );
        assert_eq!(
            news(&live, &status((false, reason::PENDING), [3, 0, 0]).0),
            News::Verdict
        );
        assert_eq!(
            news(&live, &status((true, reason::PROGRAMMED), [3, 1, 0]).0),
            News::Verdict
        );
        assert_eq!(news(&ProviderConfigStatus::default(), &live), News::Verdict);
        let runs = |pods| {
            let mut status = live.clone();
            status.runaway = Some(RunawayStatus {
                pods,
                worst: Vec::new(),
                as_of: Time(Timestamp::UNIX_EPOCH),
            });
            status
        };
        assert_eq!(news(&live, &runs(1)), News::Verdict, "a runaway begins");
        assert_eq!(news(&runs(1), &runs(2)), News::Counts);
        assert_eq!(news(&runs(2), &live), News::Verdict, "and is over");
    }

    #[test]
    fn sidecars_are_late_after_a_minute_behind_and_not_for_another_reason() {
        let (behind, _) = status((false, reason::PENDING), [0, 0, 0]);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(!is_late(&behind, at(59)) && is_late(&behind, at(60)));
        let (refused, _) = status((false, reason::NOT_ACCEPTED), [0, 0, 0]);
        assert!(!is_late(&refused, at(600)));
        let (live, _) = status((true, reason::PROGRAMMED), [0, 0, 0]);
        assert!(!is_late(&live, at(600)));
    }
}
