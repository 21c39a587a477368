//! The objects of one kind as a watch tells of them, by namespace.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

/// What is kept of objects, each under its name in its namespace. Cheap to clone.
#[derive(Debug)]
pub(super) struct Kept<V> {
    all: Arc<RwLock<Namespaces<V>>>,
    is_listed: watch::Receiver<bool>,
}

type Namespaces<V> = HashMap<String, BTreeMap<String, Arc<V>>>;

impl<V> Clone for Kept<V> {
    fn clone(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            is_listed: self.is_listed.clone(),
        }
    }
}

impl<V> Kept<V> {
    /// Nothing yet, and what follows a watch: to be told each of its events, of which it keeps what `read` gives.
    pub(super) fn following<K: Resource>(read: fn(&K) -> V) -> (Self, impl FnMut(&Event<K>)) {
        let all = Arc::new(RwLock::new(Namespaces::new()));
        let (listed, is_listed) = watch::channel(false);
        let kept = Self {
            all: Arc::clone(&all),
            is_listed,
        };
        // A list replaces all that was known, once it is whole.
        let mut coming = Namespaces::new();
        let follow = move |event: &Event<K>| match event {
            Event::Init => coming.clear(),
            Event::InitApply(object) => put(&mut coming, object, read(object)),
            Event::InitDone => {
                *written(&all) = std::mem::take(&mut coming);
                listed.send_if_modified(|is_listed| !std::mem::replace(is_listed, true));
            }
            Event::Apply(object) => {
                let value = read(object);
                put(&mut written(&all), object, value);
            }
            Event::Delete(object) => take(&mut written(&all), object),
        };
        (kept, follow)
    }

    /// Waits until all objects have been listed once, or nobody is there any more who would tell.
    pub(super) async fn ready(&self) {
        let _ = self.is_listed.clone().wait_for(|is_listed| *is_listed).await;
    }

    /// Whether all objects have been listed once.
    pub(super) fn is_ready(&self) -> bool {
        *self.is_listed.borrow()
    }

    /// One of them.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<V>> {
        self.read().get(namespace)?.get(name).cloned()
    }

    /// A namespace's, by name.
    pub(super) fn of(&self, namespace: &str) -> Vec<Arc<V>> {
        let all = self.read();
        let of = all.get(namespace).into_iter().flat_map(BTreeMap::values);
        of.cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Namespaces<V>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written<V>(all: &RwLock<Namespaces<V>>) -> RwLockWriteGuard<'_, Namespaces<V>> {
    all.write().unwrap_or_else(PoisonError::into_inner)
}

fn place<K: Resource>(object: &K) -> Option<(&str, &str)> {
    let meta = object.meta();
    meta.namespace.as_deref().zip(meta.name.as_deref())
}

fn put<K: Resource, V>(all: &mut Namespaces<V>, object: &K, value: V) {
    let Some((namespace, name)) = place(object) else { return };
    if !all.contains_key(namespace) {
        all.insert(namespace.to_owned(), BTreeMap::new());
    }
    if let Some(objects) = all.get_mut(namespace) {
        objects.insert(name.to_owned(), Arc::new(value));
    }
}

fn take<K: Resource, V>(all: &mut Namespaces<V>, object: &K) {
    let Some((namespace, name)) = place(object) else { return };
    let Some(objects) = all.get_mut(namespace) else { return };
    objects.remove(name);
    if objects.is_empty() {
        all.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map.metadata.namespace = Some(namespace.into());
        map
    }

    fn following() -> (Kept<String>, impl FnMut(&Event<ConfigMap>)) {
        Kept::following(|map: &ConfigMap| map.metadata.name.clone().unwrap_or_default())
    }

    fn names(kept: &Kept<String>, namespace: &str) -> Vec<String> {
        kept.of(namespace).iter().map(|name| String::clone(name)).collect()
    }

    #[test]
    fn a_namespace_has_what_was_listed_and_what_came_and_not_what_went() {
        let (kept, mut told) = following();
        told(&Event::Init);
        told(&Event::InitApply(object("a", "two")));
        told(&Event::InitApply(object("a", "one")));
        told(&Event::InitApply(object("b", "one")));
        told(&Event::InitDone);
        assert_eq!(names(&kept, "a"), ["one", "two"]);
        told(&Event::Apply(object("a", "three")));
        told(&Event::Delete(object("a", "one")));
        told(&Event::Delete(object("b", "one")));
        assert_eq!(names(&kept, "a"), ["three", "two"]);
        assert!(names(&kept, "b").is_empty() && kept.get("b", "one").is_none());
        told(&Event::Init);
        told(&Event::InitApply(object("b", "new")));
        assert_eq!(names(&kept, "a"), ["three", "two"], "until the list is whole");
        told(&Event::InitDone);
        assert!(names(&kept, "a").is_empty() && names(&kept, "b") == ["new"]);
    }

    #[test]
    fn it_is_ready_once_all_was_listed() {
        let (kept, mut told) = following();
        told(&Event::Init);
        assert_eq!(kept.ready().now_or_never(), None);
        assert!(!kept.is_ready());
        told(&Event::InitDone);
        assert!(kept.is_ready());
        told(&Event::Init);
        assert_eq!(kept.ready().now_or_never(), Some(()), "a later list does not unlist it");
    }
}
