//! What is paused in each namespace, as the line that its streams send before any document: written out once, shared by all of them.
//!
//! Every replica has it from its own watch of UsagePolicies, and none waits for the one that leads to write the ConfigMap. A line is all
//! that is paused, so one that was missed is mended by the next. What is said is what the leader will write. Of a policy that is wrong, or
//! cannot be read, nothing is said: its last accepted version, which a replica may have missed, is in the documents.

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
type Pausing = HashMap<String, BTreeMap<String, Judged>>;

/// What a policy pauses that was found to be right.
#[derive(Clone, Debug)]
struct Judged {
    pause: WirePause,
    /// Its uid and generation: which spec was judged.
    version: Option<(String, i64)>,
}

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
        state.streams.retain(|_, sender| sender.receiver_count() > 0);
        let (sender, newest) = watch::channel(None);
        state.streams.insert(namespace.to_owned(), sender);
        state.tell(namespace);
        newest
    }

    /// Changes with each pause that comes; not with one that was there, or that ends.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What the watch of the UsagePolicies tells. Guards may ask at `hosts` only.
    pub(super) fn note(&self, told: &watcher::Result<Event<Found<UsagePolicy>>>, hosts: &AllowedHosts) {
        // Before all is locked: a policy's rules take a while to read, and streams that open need not wait for that.
        let judged = match told {
            Ok(Event::InitApply(found) | Event::Apply(found)) => self.judge(found, hosts),
            _ => None,
        };
        let mut state = self.lock();
        match told {
            Err(_) => state.doubts(),
            Ok(Event::Init) => state.coming.clear(),
            Ok(Event::InitApply(found)) => {
                if let Some((namespace, name)) = place(found.meta()) {
                    put(&mut state.coming, namespace, name, judged);
                }
            }
            Ok(Event::InitDone) => {
                state.pausing = std::mem::take(&mut state.coming);
                state.is_known = true;
                state.tell_all();
            }
            Ok(Event::Apply(found)) => {
                if let Some((namespace, name)) = place(found.meta()) {
                    let before = state.judged(namespace, name).map(|before| &before.pause);
                    let is_news = judged.as_ref().is_some_and(|judged| Some(&judged.pause) != before);
                    put(&mut state.pausing, namespace, name, judged);
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

    /// What a policy pauses; none: nothing, or nobody can say.
    fn judge(&self, found: &Found<UsagePolicy>, hosts: &AllowedHosts) -> Option<Judged> {
        let Found::Read(policy) = found else { return None };
        let metadata = &policy.metadata;
        let (namespace, name) = place(metadata)?;
        // Most pause nothing, and what is wrong with those is not asked here.
        let pause = WirePause::of(name, &policy.spec)?;
        let version = metadata.uid.clone().zip(metadata.generation);
        let is_judged = |before: &Judged| version.is_some() && before.version == version;
        if !self.lock().judged(namespace, name).is_some_and(is_judged) {
            let read = Policy::from_spec(name, &policy.spec).ok()?;
            if hosts.refuse_guards(&read.guards).is_some() {
                return None;
            }
        }
        Some(Judged { pause, version })
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

    /// What is known of a policy.
    fn judged(&self, namespace: &str, name: &str) -> Option<&Judged> {
        self.pausing.get(namespace)?.get(name)
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
            .map(|judged| judged.pause.clone())
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

fn place(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    metadata.namespace.as_deref().zip(metadata.name.as_deref())
}

fn put(all: &mut Pausing, namespace: &str, name: &str, judged: Option<Judged>) {
    if let Some(judged) = judged {
        all.entry(namespace.to_owned())
            .or_default()
            .insert(name.to_owned(), judged);
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
    fn of_a_policy_that_turns_wrong_or_unreadable_nothing_is_said_as_its_documents_say_what_was_accepted_last() {
        let wrong = json!({"paused": true, "limits": [{"name": "none"}]});
        for turned in [wrong, json!({"paused": "of a later release"})] {
            let pauses = Pauses::default();
            let team = pauses.follow("team");
            listed(&pauses, vec![policy("team", &turned)]);
            assert_eq!(heard(&team), Some(Vec::new()), "{turned}: never accepted");
            note(&pauses, Event::Apply(policy("team", &paused("one"))));
            assert_eq!(heard(&team), Some(vec!["one".into()]));
            note(&pauses, Event::Apply(policy("team", &turned)));
            assert_eq!(heard(&team), Some(Vec::new()), "{turned}");
            // A resume that was accepted while this replica's watch was interrupted, before it turned wrong.
            note(&pauses, Event::Apply(policy("team", &paused("one"))));
            pauses.note(&Err(Error::NoResourceVersion), &AllowedHosts::default());
            listed(&pauses, vec![policy("team", &turned)]);
            assert_eq!(heard(&team), Some(Vec::new()), "{turned}: listed again");
        }
    }

    #[test]
    fn a_spec_is_judged_once_whatever_comes_of_its_status() {
        let pauses = Pauses::default();
        let team = pauses.follow("team");
        let wrong = json!({"paused": true, "pausedReason": "one", "limits": [{"name": "none"}]});
        let of = |spec: &Value, uid: &str, generation: i64| {
            let mut found = policy("team", spec);
            let metadata = found.meta_mut();
            (metadata.uid, metadata.generation) = (Some(uid.to_owned()), Some(generation));
            found
        };
        listed(&pauses, vec![of(&paused("one"), "first", 1)]);
        // No apiserver has two specs of one generation: who judged this one would find it wrong.
        note(&pauses, Event::Apply(of(&wrong, "first", 1)));
        assert_eq!(heard(&team), Some(vec!["one".into()]));
        for (uid, generation) in [("first", 2), ("second", 1)] {
            listed(&pauses, vec![of(&paused("one"), "first", 1)]);
            note(&pauses, Event::Apply(of(&wrong, uid, generation)));
            assert_eq!(heard(&team), Some(Vec::new()), "{uid}, {generation}");
        }
    }

    #[test]
    fn a_namespace_whose_streams_are_gone_is_forgotten_when_another_comes() {
        let pauses = Pauses::default();
        let (team, web) = (pauses.follow("team"), pauses.follow("web"));
        drop(team);
        let _shop = pauses.follow("shop");
        let mut known: Vec<String> = pauses.lock().streams.keys().cloned().collect();
        known.sort();
        assert_eq!(known, ["shop", "web"]);
        drop(web);
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
