//! Asking the apiserver for a namespace's ProviderConfigs: once for all that ask at the same time, few at a time, and not right after
//! it did not answer, so that an apiserver that has trouble enough is not asked for each pod that is made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_crds::ProviderConfig;
use bowsprit_crds::found::Found;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::sync::locked;

/// After a question without an answer none is asked for so long.
const AGAIN: Duration = Duration::from_secs(5);

/// A namespace's ProviderConfigs.
#[derive(Clone, Debug, Default)]
pub(super) struct Providers {
    pub(super) read: Vec<Arc<ProviderConfig>>,
    /// The names of those that this release cannot read.
    pub(super) unread: Vec<String>,
}

/// The last answer about a namespace, and when it was asked for. Held while it is asked for.
type Told = Arc<tokio::sync::Mutex<Option<(Instant, Providers)>>>;

/// Asks.
pub(super) struct Asker {
    client: Client,
    questions: Arc<Semaphore>,
    told: Mutex<HashMap<String, Told>>,
    failed: Mutex<Option<Instant>>,
}

impl Asker {
    pub(super) fn new(client: Client, questions: Arc<Semaphore>) -> Self {
        Self {
            client,
            questions,
            told: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// What the namespace has now, or had at some moment since this was called. None where nobody says so in time.
    pub(super) async fn providers(&self, namespace: &str, within: Duration) -> Option<Providers> {
        if self.has_failed() {
            return None;
        }
        let answer = tokio::time::timeout(within, self.answer(namespace)).await;
        locked(&self.told).retain(|_, told| Arc::strong_count(told) > 1);
        match answer {
            Ok(answer) => answer,
            Err(_) => self.fails(namespace, "no answer in time"),
        }
    }

    async fn answer(&self, namespace: &str) -> Option<Providers> {
        let came = Instant::now();
        let told = Arc::clone(locked(&self.told).entry(namespace.to_owned()).or_default());
        let mut told = told.lock().await;
        if let Some((asked, providers)) = &*told
            && *asked >= came
        {
            return Some(providers.clone());
        }
        let _turn = self.questions.acquire().await.ok()?;
        // Somebody else's question may have failed while this one waited for its turn.
        if self.has_failed() {
            return None;
        }
        let (asked, api) = (
            Instant::now(),
            Api::<Found<ProviderConfig>>::namespaced(self.client.clone(), namespace),
        );
        match api.list(&ListParams::default()).await {
            Ok(list) => {
                let (read, unread) = Found::parted(list.items);
                let providers = Providers {
                    read: read.into_iter().map(Arc::new).collect(),
                    unread: unread.iter().map(ResourceExt::name_any).collect(),
                };
                *told = Some((asked, providers.clone()));
                Some(providers)
            }
            Err(error) => self.fails(namespace, &error.to_string()),
        }
    }

    fn has_failed(&self) -> bool {
        let now = Instant::now();
        locked(&self.failed).is_some_and(|failed| now < failed + AGAIN)
    }

    fn fails<T>(&self, namespace: &str, why: &str) -> Option<T> {
        *locked(&self.failed) = Some(Instant::now());
        tracing::warn!(
            namespace,
            why,
            "ProviderConfigs were not told for a new pod: it gets what is known, and none is asked for in the next 5 s"
        );
        None
    }
}
