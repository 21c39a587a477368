//! Whether the CA bundles that ProviderConfigs name are there. Nobody tells when a ConfigMap of somebody else comes, so a missing
//! one is looked for, ever more rarely; one that was found is not looked at again until its ProviderConfig changes, or a sidecar says
//! that it has it no more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::sync::locked;
use bowsprit_core::config::Problem;
use bowsprit_crds::ProviderConfig;
use bowsprit_crds::provider_config::ObjectKeyRef;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::Instant;

/// After the first look for a missing bundle; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// And this at most: a namespace with a bundle that never comes costs twelve reads an hour.
const LAST_PAUSE: Duration = Duration::from_mins(5);

/// The last look for a ProviderConfig's bundle.
#[derive(Clone, Debug)]
struct Looked {
    generation: Option<i64>,
    missing: Option<Problem>,
    at: Instant,
    pause: Duration,
}

impl Looked {
    /// `doubted`: a sidecar cannot use it.
    fn is_due(&self, generation: Option<i64>, doubted: bool, now: Instant) -> bool {
        self.generation != generation || ((doubted || self.missing.is_some()) && now >= self.at + self.pause)
    }

    /// The look after `last`, which found this. `chance`: from 0 to 1, so that replicas of a mistake do not ask in step.
    fn after(
        last: Option<&Self>,
        generation: Option<i64>,
        missing: Option<Problem>,
        now: Instant,
        chance: f64,
    ) -> Self {
        // The same again: missing still, or in doubt without reason.
        let again = |last: &&Self| last.generation == generation && last.missing.is_some() == missing.is_some();
        let pause = match last.filter(again) {
            Some(last) => (last.pause * 2).min(LAST_PAUSE),
            None => FIRST_PAUSE.mul_f64(1.0 + 0.2 * chance),
        };
        Self {
            generation,
            missing,
            at: now,
            pause,
        }
    }
}

/// All that were looked for, by namespace and ProviderConfig.
#[derive(Debug, Default)]
pub(super) struct Bundles(Mutex<HashMap<String, BTreeMap<String, Looked>>>);

impl Bundles {
    /// The bundles of these ProviderConfigs that are missing, and when to look for them again. `doubted`: whether a sidecar cannot
    /// use the one of the ProviderConfig of this name.
    ///
    /// # Errors
    /// The apiserver's.
    pub(super) async fn missing(
        &self,
        client: &Client,
        namespace: &str,
        providers: &[Arc<ProviderConfig>],
        doubted: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Result<(Vec<Problem>, Option<Duration>), kube::Error> {
        let mut before = self.lock().remove(namespace).unwrap_or_default();
        let mut looked = BTreeMap::new();
        for object in providers {
            let Some(bundle) = &object.spec.endpoint.ca_bundle_ref else {
                continue;
            };
            let (name, generation) = (object.name_any(), object.metadata.generation);
            let last = before.remove(&name);
            let this = match last {
                Some(last) if !last.is_due(generation, doubted(&name), now) => last,
                last => {
                    let missing = look(client, namespace, &name, bundle).await?;
                    Looked::after(last.as_ref(), generation, missing, now, fastrand::f64())
                }
            };
            looked.insert(name, this);
        }
        let missing: Vec<Problem> = looked.values().filter_map(|it| it.missing.clone()).collect();
        let waits = looked.values().filter(|it| it.missing.is_some());
        let next = waits.map(|it| (it.at + it.pause).saturating_duration_since(now)).min();
        if !looked.is_empty() {
            self.lock().insert(namespace.to_owned(), looked);
        }
        Ok((missing, next))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, BTreeMap<String, Looked>>> {
        locked(&self.0)
    }
}

/// What is wrong with the bundle of the ProviderConfig `name`.
async fn look(
    client: &Client,
    namespace: &str,
    name: &str,
    bundle: &ObjectKeyRef,
) -> Result<Option<Problem>, kube::Error> {
    let found = Api::<ConfigMap>::namespaced(client.clone(), namespace)
        .get_opt(&bundle.name)
        .await?;
    let path = format!("ProviderConfig {name}: spec.endpoint.caBundleRef");
    let Some(map) = found else {
        let problem = format!("there is no ConfigMap {:?}", bundle.name);
        let remedy = format!("create it with the key {:?}, or correct the name", bundle.key);
        return Ok(Some(Problem::new(path, problem, remedy)));
    };
    if map.data.is_some_and(|data| data.contains_key(&bundle.key)) {
        return Ok(None);
    }
    let problem = format!("ConfigMap {:?} has no key {:?}", bundle.name, bundle.key);
    Ok(Some(Problem::new(path, problem, "add it, or correct the key")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_looked_at_again_and_what_is_missing_ever_more_rarely() {
        let start = Instant::now();
        let problem = || Some(Problem::new("path", "missing", "create it"));
        let found = Looked::after(None, Some(1), None, start, 0.0);
        assert!(!found.is_due(Some(1), false, start + Duration::from_hours(24)));
        assert!(found.is_due(Some(2), false, start), "its ProviderConfig has changed");
        assert!(
            !found.is_due(Some(1), true, start),
            "the mount is behind what was just found"
        );
        assert!(found.is_due(Some(1), true, start + FIRST_PAUSE), "a sidecar lost it");
        let gone = Looked::after(Some(&found), Some(1), problem(), start + FIRST_PAUSE, 0.0);
        assert_eq!(gone.pause, FIRST_PAUSE, "news");
        let there = Looked::after(Some(&found), Some(1), None, start + FIRST_PAUSE, 0.0);
        assert_eq!(there.pause, 2 * FIRST_PAUSE, "no use looking often");

        let (mut now, mut reads) = (start, 0);
        let mut last = Looked::after(None, Some(1), problem(), now, 0.5);
        while now < start + Duration::from_hours(1) {
            now += Duration::from_secs(1);
            if last.is_due(Some(1), false, now) {
                last = Looked::after(Some(&last), Some(1), problem(), now, 0.5);
                reads += 1;
            }
        }
        assert!((12..=17).contains(&reads), "{reads} in the first hour");
        assert_eq!(
            Looked::after(Some(&last), Some(2), problem(), now, 0.0).pause,
            FIRST_PAUSE
        );
    }
}
