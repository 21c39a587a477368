//! Which objects of a kind each namespace has, so that a look at one namespace does not pass over all the others'.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;
use kube::runtime::watcher::Event;

/// The names of objects by namespace. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(Arc<RwLock<HashMap<String, BTreeSet<String>>>>);

impl Index {
    /// Follows a watch: to be told each event after the store has it.
    pub(super) fn follow<K: Resource>(&self) -> impl FnMut(&Event<K>) + Send + use<K> {
        let index = self.clone();
        // A list replaces all that was known, once it is whole.
        let mut listed: HashMap<String, BTreeSet<String>> = HashMap::new();
        move |event| match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => put(&mut listed, object),
            Event::InitDone => *index.write() = std::mem::take(&mut listed),
            Event::Apply(object) => put(&mut index.write(), object),
            Event::Delete(object) => take(&mut index.write(), object),
        }
    }

    /// The names in a namespace, in order.
    pub(super) fn names(&self, namespace: &str) -> Vec<String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(namespace).into_iter().flatten().cloned().collect()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, BTreeSet<String>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place<K: Resource>(object: &K) -> Option<(&str, &str)> {
    let meta = object.meta();
    meta.namespace.as_deref().zip(meta.name.as_deref())
}

fn put<K: Resource>(all: &mut HashMap<String, BTreeSet<String>>, object: &K) {
    let Some((namespace, name)) = place(object) else { return };
    if !all.contains_key(namespace) {
        all.insert(namespace.to_owned(), BTreeSet::new());
    }
    if let Some(names) = all.get_mut(namespace).filter(|names| !names.contains(name)) {
        names.insert(name.to_owned());
    }
}

fn take<K: Resource>(all: &mut HashMap<String, BTreeSet<String>>, object: &K) {
    let Some((namespace, name)) = place(object) else { return };
    let Some(names) = all.get_mut(namespace) else { return };
    names.remove(name);
    if names.is_empty() {
        all.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map.metadata.namespace = Some(namespace.into());
        map
    }

    #[test]
    fn a_namespace_has_what_was_listed_and_what_came_and_not_what_went() {
        let index = Index::default();
        let mut told = index.follow::<ConfigMap>();
        told(&Event::Init);
        told(&Event::InitApply(object("a", "two")));
        told(&Event::InitApply(object("a", "one")));
        told(&Event::InitApply(object("b", "one")));
        told(&Event::InitDone);
        assert_eq!(index.names("a"), ["one", "two"]);
        told(&Event::Apply(object("a", "three")));
        told(&Event::Delete(object("a", "one")));
        told(&Event::Delete(object("b", "one")));
        assert_eq!(index.names("a"), ["three", "two"]);
        assert!(index.names("b").is_empty());
        told(&Event::Init);
        told(&Event::InitApply(object("b", "new")));
        assert_eq!(index.names("a"), ["three", "two"], "until the list is whole");
        told(&Event::InitDone);
        assert!(index.names("a").is_empty() && index.names("b") == ["new"]);
    }
}
