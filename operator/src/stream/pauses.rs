//! What is paused in each namespace, as the line that its streams send before any document: written out once, shared by all of them.
//!
//! Every replica has it from its own watch of UsagePolicies, and none waits for the one that leads to write the ConfigMap. A line is all
//! that is paused, so one that was missed is mended by the next. What is said is what the leader will write: a policy that is
//! wrong, or cannot be read, stays as it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use bowsprit_core::config::Policy;
use bowsprit_core::stream::ToSidecar;
use bowsprit_core::stream::pauses::WirePause;
use bowsprit_crds::UsagePolicy;
use bowsprit_crds::found::Found;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

use super::documents::{Frame, Newest, line};
use crate::sync::locked;
use crate::validate::hosts::AllowedHosts;

/// The policies that pause anything, by namespace and name.
type Pausing = HashMap<String, BTreeMap<String, WirePause>>;

/// What is paused.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    state: Mutex<State>,
    /// How many pauses came.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    pausing: Pausing,
    /// A list that is under way.
    coming: Pausing,
    /// Whether `pausing` is what the cluster has, as far as anybody can tell: not before the first list, nor after an interruption
    /// until the watch tells something again. Nothing is said meanwhile: who heard of a pause elsewhere would take it for lifted.
    is_known: bool,
    streams: HashMap<String, watch::Sender<Option<Frame>>>,
    /// Grows with each line.
    lines: u64,
}

impl Pauses {
    /// For one stream of the namespace: what is paused there, as soon as that is known.
    pub(super) fn follow(&self, namespace: &str) -> Newest {
        let mut state = self.lock();
        if let Some(sender) = state.streams.get(namespace) {
            return sender.subscribe();
        }
        let (sender, newest) = watch::channel(None);
        state.streams.insert(namespace.to_owned(), sender);
        state.tell(namespace);
        newest
    }

    /// Changes with each pause that comes; not with one that was there, or that ends.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What the watch of the UsagePolicies tells. Providers and guards may be at `hosts` only.
    pub(super) fn note(&self, told: &watcher::Result<Event<Found<UsagePolicy>>>, hosts: &AllowedHosts) {
        let mut state = self.lock();
        match told {
            Err(_) => state.doubts(),
            Ok(Event::Init) => state.coming.clear(),
            Ok(Event::InitApply(found)) => {
                if let Some((namespace, name)) = place(found.meta()) {
                    let pause = said(found, state.pausing.get(namespace), hosts);
                    put(&mut state.coming, namespace, name, pause);
                }
            }
            Ok(Event::InitDone) => {
                state.pausing = std::mem::take(&mut state.coming);
                state.is_known = true;
                state.tell_all();
            }
            Ok(Event::Apply(found)) => {
                if let Some((namespace, name)) = place(found.meta()) {
                    let before = state.pausing.get(namespace);
                    let pause = said(found, before, hosts);
                    let is_news = pause.is_some() && pause.as_ref() != before.and_then(|before| before.get(name));
                    put(&mut state.pausing, namespace, name, pause);
                    state.knows(namespace);
                    if is_news {
                        self.news.send_modify(|count| *count += 1);
                    }
                }
            }
            Ok(Event::Delete(found)) => {
                if let Some((namespace, name)) = place(found.meta()) {
                    put(&mut state.pausing, namespace, name, None);
                    state.knows(namespace);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl State {
    /// The watch is interrupted. Streams that are open keep what they were sent, and those that open now are told later.
    fn doubts(&mut self) {
        if std::mem::take(&mut self.is_known) {
            for sender in self.streams.values() {
                sender.send_replace(None);
            }
        }
    }

    /// The watch tells, of this namespace: what is here is what the cluster has.
    fn knows(&mut self, namespace: &str) {
        if std::mem::replace(&mut self.is_known, true) {
            self.tell(namespace);
        } else {
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        self.streams.retain(|_, sender| sender.receiver_count() > 0);
        for namespace in self.streams.keys().cloned().collect::<Vec<_>>() {
            self.tell(&namespace);
        }
    }

    /// Tells the streams of a namespace what is paused there, where that is news.
    fn tell(&mut self, namespace: &str) {
        let Some(sender) = self.streams.get(namespace).filter(|_| self.is_known) else {
            return;
        };
        let by: Vec<WirePause> = self
            .pausing
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect();
        let count = by.len();
        let Some(line) = line(&ToSidecar::Paused { by }) else {
            return;
        };
        if sender.borrow().as_ref().is_some_and(|said| said.line == line) {
            return;
        }
        self.lines += 1;
        let (sequence, since) = (self.lines, Instant::now());
        sender.send_replace(Some(Frame { sequence, line, since }));
        if count > 0 {
            tracing::info!(
                namespace,
                policies = count,
                streams = sender.receiver_count(),
                "a pause is told"
            );
        }
    }
}

/// What a policy pauses, where the namespace's were these `before`.
fn said(
    found: &Found<UsagePolicy>,
    before: Option<&BTreeMap<String, WirePause>>,
    hosts: &AllowedHosts,
) -> Option<WirePause> {
    let name = found.meta().name.as_deref()?;
    match found {
        Found::Read(policy) => match Policy::from_spec(name, &policy.spec) {
            Ok(valid) if hosts.refuse_guards(&valid.guards).is_none() => WirePause::of(name, &policy.spec),
            // Its last accepted version stays in service.
            _ => before?.get(name).cloned(),
        },
        Found::Unread(_) => before?.get(name).cloned(),
    }
}

fn place(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    metadata.namespace.as_deref().zip(metadata.name.as_deref())
}

fn put(all: &mut Pausing, namespace: &str, name: &str, pause: Option<WirePause>) {
    if let Some(pause) = pause {
        all.entry(namespace.to_owned())
            .or_default()
            .insert(name.to_owned(), pause);
    } else if let Some(policies) = all.get_mut(namespace) {
        policies.remove(name);
        if policies.is_empty() {
            all.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Error;
    use serde_json::{Value, json};

    use super::*;

    fn policy(namespace: &str, spec: &Value) -> Found<UsagePolicy> {
        let object = json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy",
            "metadata": {"name": "freeze", "namespace": namespace}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn note(pauses: &Pauses, event: Event<Found<UsagePolicy>>) {
        pauses.note(&Ok(event), &AllowedHosts::default());
    }

    fn listed(pauses: &Pauses, policies: Vec<Found<UsagePolicy>>) {
        note(pauses, Event::Init);
        for policy in policies {
            note(pauses, Event::InitApply(policy));
        }
        note(pauses, Event::InitDone);
    }

    /// The reasons that are told; none: nothing is.
    fn heard(newest: &Newest) -> Option<Vec<String>> {
        let line = newest.borrow().as_ref()?.line.clone();
        let ToSidecar::Paused { by } = serde_json::from_slice(&line).unwrap() else {
            panic!("{line:?}")
        };
        let reasons = by.into_iter().map(|pause| pause.paused_reason.unwrap_or_default());
        Some(reasons.collect())
    }

    fn paused(reason: &str) -> Value {
        json!({"paused": true, "pausedReason": reason})
    }

    #[test]
    fn nothing_is_said_before_all_is_known_and_then_to_each_namespace_its_own() {
        let pauses = Pauses::default();
        let (team, web) = (pauses.follow("team"), pauses.follow("web"));
        note(&pauses, Event::Init);
        note(&pauses, Event::InitApply(policy("team", &paused("one"))));
        assert_eq!((heard(&team), heard(&web)), (None, None));
        note(&pauses, Event::InitDone);
        assert_eq!(heard(&team), Some(vec!["one".into()]));
        assert_eq!(heard(&web), Some(Vec::new()), "that nothing is paused is a word too");
        assert_eq!(
            heard(&pauses.follow("team")),
            heard(&team),
            "and so for one that comes later"
        );
        note(&pauses, Event::Apply(policy("web", &paused("two"))));
        assert_eq!(
            (heard(&team), heard(&web)),
            (Some(vec!["one".into()]), Some(vec!["two".into()]))
        );
    }

    #[test]
    fn it_is_told_once_and_again_when_it_changes_and_a_status_is_no_news() {
        let pauses = Pauses::default();
        let (mut team, news) = (pauses.follow("team"), pauses.news());
        listed(&pauses, Vec::new());
        let mut is_news = |event| {
            team.mark_unchanged();
            note(&pauses, event);
            team.has_changed().unwrap()
        };
        assert!(is_news(Event::Apply(policy("team", &paused("one")))));
        assert!(!is_news(Event::Apply(policy("team", &paused("one")))));
        assert!(is_news(Event::Apply(policy("team", &paused("another")))));
        assert!(is_news(Event::Apply(policy("team", &json!({})))));
        assert!(is_news(Event::Apply(policy(
            "team",
            &json!({"pausedProviders": [{"name": "claude"}]})
        ))));
        assert!(is_news(Event::Delete(policy("team", &json!({})))));
        assert!(!is_news(Event::Apply(policy("team", &json!({"paused": false})))));
        assert_eq!(*news.borrow(), 3, "each that came");
    }

    #[test]
    fn a_policy_that_turns_wrong_or_unreadable_stays_as_it_was() {
        let pauses = Pauses::default();
        let team = pauses.follow("team");
        let wrong = json!({"paused": false, "limits": [{"name": "none"}]});
        listed(&pauses, vec![policy("team", &wrong)]);
        assert_eq!(heard(&team), Some(Vec::new()));
        note(&pauses, Event::Apply(policy("team", &paused("one"))));
        for turned in [wrong, json!({"paused": "of a later release"})] {
            note(&pauses, Event::Apply(policy("team", &turned)));
            assert_eq!(heard(&team), Some(vec!["one".into()]), "{turned}");
            listed(&pauses, vec![policy("team", &turned)]);
            assert_eq!(heard(&team), Some(vec!["one".into()]), "listed again");
        }
        listed(&pauses, Vec::new());
        assert_eq!(heard(&team), Some(Vec::new()), "gone while nobody watched");
    }

    #[test]
    fn while_the_watch_is_interrupted_who_comes_is_told_nothing_and_who_is_here_no_less() {
        let pauses = Pauses::default();
        listed(&pauses, vec![policy("team", &paused("one"))]);
        let mut team = pauses.follow("team");
        let before = team.borrow_and_update().clone().unwrap();
        pauses.note(&Err(Error::NoResourceVersion), &AllowedHosts::default());
        let late = pauses.follow("team");
        assert_eq!((heard(&team), heard(&late)), (None, None));
        pauses.note(&Err(Error::NoResourceVersion), &AllowedHosts::default());
        note(&pauses, Event::Apply(policy("web", &json!({}))));
        assert_eq!(heard(&late), Some(vec!["one".into()]), "it tells again");
        assert!(team.borrow().as_ref().unwrap().sequence > before.sequence);
    }
}
