//! When people last changed a namespace's ProviderConfigs, for who had better wait until the rest of them is here, and whether
//! what is known of them may be behind what the apiserver has.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Resource;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::sync::locked;

/// How long a change is remembered: longer than anybody waits for the next one.
const KEPT: Duration = Duration::from_mins(1);
/// So long after a watch was interrupted it may still be so, where it has told nothing since: a try that fails is told, and they
/// are at most 30 s apart (kube's backoff). One that goes on again and has nothing to tell says nothing.
const BEHIND: Duration = Duration::from_mins(1);

/// What a watch of ProviderConfigs has told, and when. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct News(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    told: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Of each object: what its status says is no news.
    generations: HashMap<String, BTreeMap<String, i64>>,
    last: HashMap<String, Instant>,
    is_listing: bool,
    interrupted: Option<Instant>,
}

impl News {
    /// Notes what the watch tells, once the stores have it.
    pub(super) fn note<K: Resource>(&self, event: &watcher::Result<Event<K>>, now: Instant) {
        let mut state = locked(&self.0.state);
        match event {
            Err(_) => state.interrupted = Some(now),
            Ok(Event::Init) => state.is_listing = true,
            // What a list brings is as old as may be: nobody waits for what would come with it.
            Ok(Event::InitApply(object)) => {
                state.is_new(object);
            }
            Ok(Event::InitDone) => (state.is_listing, state.interrupted) = (false, None),
            Ok(Event::Apply(object)) => {
                state.interrupted = None;
                if state.is_new(object)
                    && let Some(namespace) = &object.meta().namespace
                {
                    state.last.retain(|_, last| now < *last + KEPT);
                    state.last.insert(namespace.clone(), now);
                }
            }
            Ok(Event::Delete(object)) => {
                state.interrupted = None;
                state.forget(object);
            }
        }
        drop(state);
        self.0.told.send_replace(());
    }

    /// When an object of the namespace last came or was changed, as far as the last minute goes.
    pub fn last(&self, namespace: &str) -> Option<Instant> {
        locked(&self.0.state).last.get(namespace).copied()
    }

    /// Whether there may be objects that the watch has not told of yet.
    pub fn is_behind(&self, now: Instant) -> bool {
        let state = locked(&self.0.state);
        state.is_listing || state.interrupted.is_some_and(|at| now < at + BEHIND)
    }

    /// Changes with whatever the watch tells.
    pub fn told(&self) -> watch::Receiver<()> {
        self.0.told.subscribe()
    }
}

impl State {
    /// Notes an object. Whether it came now, or another spec of it.
    fn is_new(&mut self, object: &impl Resource) -> bool {
        let (Some(namespace), Some(name)) = (&object.meta().namespace, &object.meta().name) else {
            return false;
        };
        let generation = object.meta().generation.unwrap_or(0);
        let of = self.generations.entry(namespace.clone()).or_default();
        of.insert(name.clone(), generation) != Some(generation)
    }

    fn forget(&mut self, object: &impl Resource) {
        let (Some(namespace), Some(name)) = (&object.meta().namespace, &object.meta().name) else {
            return;
        };
        if let Some(of) = self.generations.get_mut(namespace) {
            of.remove(name);
            if of.is_empty() {
                self.generations.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bowsprit_crds::ProviderConfig;

    use super::*;

    fn object(namespace: &str, generation: i64) -> ProviderConfig {
        let spec = serde_json::from_value(serde_json::json!({"provider": "OpenAI", "credentials": []})).unwrap();
        let mut object = ProviderConfig::new("claude", spec);
        object.metadata.namespace = Some(namespace.into());
        object.metadata.generation = Some(generation);
        object
    }

    #[test]
    fn what_is_made_or_changed_is_news_and_a_status_or_a_list_is_none() {
        let (news, start) = (News::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        news.note(&Ok(Event::<ProviderConfig>::Init), start);
        news.note(&Ok(Event::InitApply(object("old", 1))), start);
        news.note(&Ok(Event::<ProviderConfig>::InitDone), start);
        news.note(&Ok(Event::Apply(object("old", 1))), at(1));
        assert_eq!(news.last("old"), None, "its status was written");
        news.note(&Ok(Event::Apply(object("old", 2))), at(2));
        news.note(&Ok(Event::Apply(object("new", 1))), at(3));
        news.note(&Ok(Event::Apply(object("new", 1))), at(4));
        assert_eq!((news.last("old"), news.last("new")), (Some(at(2)), Some(at(3))));
        news.note(&Ok(Event::Delete(object("new", 1))), at(5));
        news.note(&Ok(Event::Apply(object("new", 1))), at(70));
        assert_eq!((news.last("old"), news.last("new")), (None, Some(at(70))), "made again");
    }

    #[test]
    fn it_is_behind_while_it_lists_and_after_an_interruption_until_it_tells_again() {
        let (news, start) = (News::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let interrupted = || Err::<Event<ProviderConfig>, _>(watcher::Error::NoResourceVersion);
        news.note(&Ok(Event::<ProviderConfig>::Init), start);
        assert!(news.is_behind(start));
        news.note(&Ok(Event::<ProviderConfig>::InitDone), start);
        assert!(!news.is_behind(start));
        news.note(&interrupted(), at(1));
        assert!(news.is_behind(at(60)) && !news.is_behind(at(61)));
        news.note(&interrupted(), at(31));
        assert!(news.is_behind(at(61)), "each try that fails");
        news.note(&Ok(Event::Apply(object("any", 1))), at(62));
        assert!(!news.is_behind(at(62)));
    }
}
