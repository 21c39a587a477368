//! Looks for pods that asked for a sidecar and have none, for pods whose SDKs are sent past theirs, and for what is written
//! for us where we do not read it; says so as an Event on the workload, once, and as a metric as long as it is so.
//!
//! `look` judges one object and `book` knows what was found and told, both pure; `watches` brings the objects, from watches
//! whose selectors leave out whoever has what he asked for: where all is well they bring nothing but the injected pods, of
//! which nothing is kept. Runs on the replica that leads.

mod book;
mod look;
mod watches;

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::lease::elector::Leadership;
use crate::metrics::Metrics;
use crate::workload::controller;
use book::{Book, News};
pub use look::{REASONS, Reason};
use watches::Watches;

/// Findings of one moment are told together: a Deployment's pods come within this time.
const GATHER: Duration = Duration::from_secs(2);
/// The name under which Events are published.
const CONTROLLER: &str = "bowsprit-operator";
/// The apiserver takes 1 KiB of an Event's note.
const NOTE: usize = 900;

/// Watches and tells until it is dropped. `leadership` is asked before every write.
pub async fn run(client: Client, instance: String, leadership: Leadership, metrics: Metrics) {
    let reporter = Reporter {
        controller: CONTROLLER.into(),
        instance: Some(instance),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut watches = Watches::start(&client);
    let mut book = Book::default();
    let mut tell = tokio::time::interval(GATHER);
    tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            (source, step) = watches.next() => book.take(source, step),
            at = tell.tick() => {
                metrics.found(book.counts());
                for news in book.news(at.into_std()) {
                    if leadership.check().is_ok() {
                        publish(&client, &recorder, &leadership, news).await;
                    }
                }
            }
        }
    }
}

async fn publish(client: &Client, recorder: &Recorder, leadership: &Leadership, news: News) {
    let workload = workload(client, &news.about).await.unwrap_or(news.about);
    let event = Event {
        type_: EventType::Warning,
        reason: news.reason.as_str().into(),
        note: Some(news.note.chars().take(NOTE).collect()),
        action: "Watch".into(),
        secondary: None,
    };
    // An Event that is not written is told again with the next finding, and the metric stands.
    if let Ok(Err(error)) = leadership.write(recorder.publish(&event, &workload)).await {
        tracing::debug!(%error, reason = news.reason.as_str(), "event not published");
    }
    tracing::info!(
        namespace = workload.namespace,
        kind = workload.kind,
        name = workload.name,
        reason = news.reason.as_str(),
        note = event.note,
        "found"
    );
}

/// What people know a pod's owner by: a ReplicaSet's Deployment, a Job's CronJob.
async fn workload(client: &Client, owner: &ObjectReference) -> Option<ObjectReference> {
    let controller = match owner.kind.as_deref()? {
        "ReplicaSet" => controller_of::<ReplicaSet>(client, owner).await?,
        "Job" => controller_of::<Job>(client, owner).await?,
        _ => return None,
    };
    Some(look::reference(&controller, owner.namespace.clone()))
}

async fn controller_of<K>(client: &Client, owner: &ObjectReference) -> Option<OwnerReference>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), owner.namespace.as_deref()?);
    let found = api.get_metadata(owner.name.as_deref()?).await.ok()?;
    controller(&found.metadata).cloned()
}
