//! `diff`: files against what is live, both with their defaults written out.

mod compare;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bowsprit_core::config::{
    Object, ObjectKind, Policy, Problem, Provider, Route, Scope, advice, cross_check, diverts_nowhere, objects,
    pauses_nothing, unmetered,
};
use bowsprit_crds::limits::NamedLimit;
use bowsprit_crds::provider_config::ObjectKeyRef;
use bowsprit_crds::{ModelRoute, ProviderConfig, UsagePolicy, names};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::args::{ClusterArgs, DiffArgs};
use crate::check;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;
use crate::output::{Report, Screen};
use crate::progress::Progress;

use compare::{Compared, Difference, compare};

/// What is live in the namespace.
#[derive(Clone, Debug, Default)]
struct Live {
    objects: Vec<Object>,
    sidecars: Vec<Sidecar>,
}

/// Reads, compares, renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &DiffArgs, screen: Screen) -> Result<Report, Failure> {
    let text = check::read(&args.files)?;
    let wanted = objects(&text, &scope()).map_err(|problems| Failure::Wrong(problems.to_string()))?;
    let asked = cluster.namespace.clone();
    let cluster = Cluster::connect(cluster).await?;
    let wanted = by_namespace(wanted, asked.as_deref(), cluster.namespace())?;
    let progress = Progress::start(screen, "looking at what is live");
    let mut difference = Difference::default();
    for (namespace, wanted) in &wanted {
        // Asked for only where they are compared: on CRDs of the release before there is no such kind.
        let policies = wanted.iter().any(|it| matches!(it.kind, ObjectKind::Policy(_)));
        let live = live(&cluster, namespace, policies).await?;
        difference.extend(self::difference(namespace, wanted, &live));
    }
    drop(progress);
    let same = difference.problems.is_empty() && difference.objects.iter().all(|it| it.changes.is_empty());
    Report::new(args.out.output, &difference, same, || {
        render::screen(&difference, screen.paint)
    })
}

/// The objects by where each would be: its own namespace, else `default`.
///
/// # Errors
/// One that is of another namespace than the one asked for, as kubectl has it.
fn by_namespace(
    objects: Vec<Object>,
    asked: Option<&str>,
    default: &str,
) -> Result<BTreeMap<String, Vec<Object>>, Failure> {
    let mut places: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in objects {
        let own = object.namespace.as_deref();
        if let (Some(own), Some(asked)) = (own, asked)
            && own != asked
        {
            return Err(Failure::Usage(format!(
                "{}: metadata.namespace is {own:?} and -n says {asked:?}: leave one of them out",
                object.path()
            )));
        }
        places
            .entry(own.unwrap_or(default).to_owned())
            .or_default()
            .push(object);
    }
    Ok(places)
}

fn scope() -> Scope {
    Scope::Cluster {
        pod_labels: BTreeMap::new(),
    }
}

async fn live(cluster: &Cluster, namespace: &str, wants_policies: bool) -> Result<Live, Failure> {
    let namespace = Some(namespace);
    let mut live = Live::default();
    for object in cluster.list::<ProviderConfig>(namespace, ListParams::default()).await? {
        live.objects.push(Object {
            name: object.name_any(),
            namespace: object.namespace(),
            kind: ObjectKind::Provider(Box::new(object.spec)),
        });
    }
    for object in cluster.list::<ModelRoute>(namespace, ListParams::default()).await? {
        live.objects.push(Object {
            name: object.name_any(),
            namespace: object.namespace(),
            kind: ObjectKind::Route(Box::new(object.spec)),
        });
    }
    if wants_policies {
        for object in cluster.list::<UsagePolicy>(namespace, ListParams::default()).await? {
            live.objects.push(Object {
                name: object.name_any(),
                namespace: object.namespace(),
                kind: ObjectKind::Policy(Box::new(object.spec)),
            });
        }
    }
    let injected = ListParams::default()
        .labels(&format!("{}=true", names::LABEL_INJECTED))
        .fields("status.phase!=Succeeded,status.phase!=Failed");
    let pods = cluster.list::<Pod>(namespace, injected).await?;
    live.sidecars = pods.iter().filter_map(Sidecar::of).collect();
    Ok(live)
}

/// What would change in one namespace. Pure.
fn difference(namespace: &str, wanted: &[Object], live: &Live) -> Difference {
    let mut difference = Difference::default();
    let same = |a: &Object, b: &Object| a.path() == b.path();
    for object in wanted {
        let before = live.objects.iter().find(|it| same(it, object));
        let mut compared = Compared {
            namespace: namespace.to_owned(),
            object: object.path(),
            new: before.is_none(),
            changes: compare(before.map(spec).as_ref(), &spec(object)),
            ..Compared::default()
        };
        if let ObjectKind::Provider(provider) = &object.kind {
            let selects = |it: &&Sidecar| {
                let selector = provider.pod_selector.as_ref();
                selector.is_none_or(|selector| selector.matches(&it.labels))
            };
            let selected: Vec<&Sidecar> = live.sidecars.iter().filter(selects).collect();
            compared.sidecars = selected.len();
            let keys = provider.credentials.iter().filter_map(|it| it.secret_key_ref.as_ref());
            let keys = keys.chain(provider.rate_limits.store.iter().map(|store| &store.redis_ref));
            compared.restart = without(keys, &selected);
        } else if let ObjectKind::Policy(policy) = &object.kind {
            let selector = policy.pod_selector.as_ref();
            let selects = |it: &&Sidecar| selector.is_none_or(|selector| selector.matches(&it.labels));
            let selected: Vec<&Sidecar> = live.sidecars.iter().filter(selects).collect();
            compared.sidecars = selected.len();
            compared.restart = without(counted_in(&policy.limits), &selected);
        } else {
            compared.sidecars = live.sidecars.len();
            if let ObjectKind::Route(route) = &object.kind {
                let store = route.cache.iter().filter_map(|cache| cache.store.as_ref());
                compared.restart = without(
                    store.map(|store| &store.redis_ref).chain(counted_in(&route.limits)),
                    &live.sidecars.iter().collect::<Vec<_>>(),
                );
            }
        }
        difference.objects.push(compared);
    }
    // As the sidecars would have it: the files, and beside them what is live.
    let beside = live
        .objects
        .iter()
        .filter(|it| !wanted.iter().any(|object| same(object, it)));
    let (mut providers, mut routes, mut policies) = (Vec::new(), Vec::new(), Vec::new());
    for object in wanted.iter().chain(beside) {
        let is_ours = wanted.iter().any(|it| same(it, object));
        let problems = match &object.kind {
            ObjectKind::Provider(spec) => {
                Provider::from_spec(&object.name, spec, &scope()).map(|provider| providers.push(provider))
            }
            ObjectKind::Route(spec) => Route::from_spec(&object.name, spec).map(|route| routes.push(route)),
            ObjectKind::Policy(spec) => Policy::from_spec(&object.name, spec).map(|policy| policies.push(policy)),
        };
        // What is wrong with a live object is for `status` to tell.
        if let (Err(problems), true) = (problems, is_ours) {
            difference.problems.extend(problems.0.iter().map(ToString::to_string));
        }
    }
    let ours = |problem: &&Problem| {
        wanted
            .iter()
            .any(|it| problem.path.starts_with(&format!("{}: ", it.path())))
    };
    let mut unresolved = cross_check(&providers, &routes);
    unresolved.extend(diverts_nowhere(&policies, &routes));
    unresolved.extend(pauses_nothing(&policies, &providers, &routes));
    difference
        .problems
        .extend(unresolved.iter().filter(ours).map(ToString::to_string));
    let mut advice = advice(&providers, &routes);
    advice.extend(unmetered(&policies, &providers));
    difference.advice = advice.iter().filter(ours).map(ToString::to_string).collect();
    difference
}

/// The pods that have not mounted these keys, which a pod that runs never will, by key.
fn without<'a>(keys: impl Iterator<Item = &'a ObjectKeyRef>, selected: &[&Sidecar]) -> BTreeMap<String, Vec<String>> {
    let mut restart = BTreeMap::new();
    for key in keys.map(|key| format!("{}/{}", key.name, key.key)) {
        let without = selected.iter().filter(|it| !it.mounted.contains(&key));
        let without: Vec<String> = without.map(|it| it.pod.clone()).collect();
        if !without.is_empty() {
            restart.insert(key, without);
        }
    }
    restart
}

/// The keys of the stores that count these limits.
fn counted_in(limits: &[NamedLimit]) -> impl Iterator<Item = &ObjectKeyRef> {
    limits.iter().filter_map(|limit| Some(&limit.store.as_ref()?.redis_ref))
}

fn spec(object: &Object) -> serde_json::Value {
    match &object.kind {
        ObjectKind::Provider(spec) => json!(spec),
        ObjectKind::Route(spec) => json!(spec),
        ObjectKind::Policy(spec) => json!(spec),
    }
}
