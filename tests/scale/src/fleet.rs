//! Namespaces, ProviderConfigs, pods and their tokens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bowsprit_crds::names;
use futures::StreamExt as _;
use futures::stream::{self, TryStreamExt as _};
use serde_json::{Value, json};

use crate::api::Api;

/// Requests at a time.
const AT_ONCE: usize = 24;
/// kwok's nodes, as `tests/scale/run` makes them.
pub(crate) const NODES: usize = 10;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) namespaces: usize,
    pub(crate) pods: usize,
    pub(crate) configs: usize,
}

impl Size {
    /// The pods of each namespace; what does not divide is left out.
    pub(crate) fn pods_each(&self) -> usize {
        self.pods / self.namespaces
    }

    fn configs_each(&self) -> usize {
        self.configs / self.namespaces
    }
}

/// What is in the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) api: Api,
    pub(crate) size: Size,
}

/// The name of a namespace.
pub(crate) fn namespace(number: usize) -> String {
    format!("scale-{number}")
}

fn policies(namespace: &str) -> String {
    format!("/apis/bowsprit.dev/v1alpha1/namespaces/{namespace}/usagepolicies")
}

fn configs(namespace: &str) -> String {
    format!("/apis/bowsprit.dev/v1alpha1/namespaces/{namespace}/providerconfigs")
}

impl Fleet {
    pub(crate) fn new(api: Api, size: Size) -> Self {
        Self { api, size }
    }

    async fn each<T, F: Future<Output = Result<T>>>(
        things: impl IntoIterator<Item = T>,
        act: impl Fn(T) -> F,
    ) -> Result<Vec<T>> {
        stream::iter(things)
            .map(act)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The namespaces with their ProviderConfigs.
    pub(crate) async fn namespaces(&self) -> Result<()> {
        Self::each(0..self.size.namespaces, async |number| {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
            self.api.create("/api/v1/namespaces", &object).await?;
            for config in 0..self.size.configs_each() {
                self.api
                    .create(&configs(&namespace(number)), &provider_config(config))
                    .await?;
            }
            Ok(number)
        })
        .await
        .map(drop)
    }

    /// The pods, each admitted by the injector and run by one of kwok's nodes.
    pub(crate) async fn pods(&self) -> Result<()> {
        let all = (0..self.size.namespaces).flat_map(|number| (0..self.size.pods_each()).map(move |pod| (number, pod)));
        Self::each(all, async |(number, pod)| {
            let path = format!("/api/v1/namespaces/{}/pods", namespace(number));
            self.api.create(&path, &pod_object(pod)).await?;
            Ok((number, pod))
        })
        .await?;
        let running = format!(
            "/api/v1/pods?labelSelector={}&limit=1&fieldSelector=status.phase%3DPending",
            names::LABEL_INJECTED
        );
        let begun = Instant::now();
        while self.api.get(&running).await?["items"]
            .as_array()
            .is_some_and(|items| !items.is_empty())
        {
            anyhow::ensure!(begun.elapsed() < crate::PATIENCE * 3, "some pods do not run");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Each pod's namespace, by its number, with a token as its kubelet would ask for it.
    pub(crate) async fn tokens(&self) -> Result<Vec<(usize, String)>> {
        let tokens = stream::iter(0..self.size.namespaces).map(|number| self.tokens_of(number));
        let tokens: Vec<Vec<_>> = tokens.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(tokens.into_iter().flatten().collect())
    }

    async fn tokens_of(&self, number: usize) -> Result<Vec<(usize, String)>> {
        let path = format!("/api/v1/namespaces/{}", namespace(number));
        let pods = self.api.get(&format!("{path}/pods")).await?;
        let mut tokens = Vec::new();
        for pod in pods["items"].as_array().context("a list of pods")? {
            anyhow::ensure!(
                pod.pointer("/metadata/labels/bowsprit.dev~1injected").is_some(),
                "a pod passed by the injector: {}",
                pod["metadata"]["name"]
            );
            let asked = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"audiences": [names::TOKEN_AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": {
                    "kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}
            });
            let answer = self
                .api
                .create(&format!("{path}/serviceaccounts/default/token"), &asked)
                .await?;
            let token = answer["status"]["token"].as_str().context("a token")?;
            tokens.push((number, token.to_owned()));
        }
        Ok(tokens)
    }

    /// The CAs of the operator, as sidecars have them.
    pub(crate) async fn ca(&self) -> Result<String> {
        let path = format!("/api/v1/namespaces/{}/configmaps/{}", namespace(0), names::CONFIG_MAP);
        let begun = Instant::now();
        loop {
            if let Ok(map) = self.api.get(&path).await
                && let Some(ca) = map["data"][names::CA_KEY].as_str()
            {
                return Ok(ca.to_owned());
            }
            anyhow::ensure!(
                begun.elapsed() < crate::PATIENCE,
                "the ConfigMap has no {}",
                names::CA_KEY
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Puts a marker into one ProviderConfig of a namespace.
    pub(crate) async fn change(&self, number: usize, marker: &str) -> Result<()> {
        let path = format!("{}/p0", configs(&namespace(number)));
        let patch = json!({"spec": {"models": [{"name": "m0", "aliases": [marker]}]}});
        self.api.merge(&path, &patch).await
    }

    /// The same in every namespace at once.
    pub(crate) async fn change_all(&self, marker: &str) -> Result<()> {
        Self::each(0..self.size.namespaces, async |number| {
            self.change(number, marker).await?;
            Ok(number)
        })
        .await
        .map(drop)
    }

    /// A policy in every namespace that pauses nothing yet.
    pub(crate) async fn switches(&self) -> Result<()> {
        let policy = json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "pause"}, "spec": {"paused": false},
        });
        Self::each(0..self.size.namespaces, async |number| {
            self.api.create(&policies(&namespace(number)), &policy).await?;
            Ok(number)
        })
        .await
        .map(drop)
    }

    /// Pauses a namespace for this reason.
    pub(crate) async fn pause(&self, number: usize, reason: &str) -> Result<()> {
        self.switch(number, &json!({"paused": true, "pausedReason": reason}))
            .await
    }

    async fn switch(&self, number: usize, spec: &Value) -> Result<()> {
        let path = format!("{}/pause", policies(&namespace(number)));
        self.api.merge(&path, &json!({ "spec": spec })).await
    }

    /// Pauses every namespace at once.
    pub(crate) async fn pause_all(&self, reason: &str) -> Result<()> {
        self.switch_all(&json!({"paused": true, "pausedReason": reason})).await
    }

    /// Ends the pause of every namespace at once.
    pub(crate) async fn resume_all(&self) -> Result<()> {
        self.switch_all(&json!({"paused": false, "pausedReason": null})).await
    }

    async fn switch_all(&self, spec: &Value) -> Result<()> {
        Self::each(0..self.size.namespaces, async |number| {
            self.switch(number, spec).await?;
            Ok(number)
        })
        .await
        .map(drop)
    }

    /// The same while the validating webhook may have nobody behind it.
    pub(crate) async fn change_all_without_operators(&self, marker: &str) -> Result<()> {
        Self::each(0..self.size.namespaces, async |number| {
            let begun = Instant::now();
            while let Err(error) = self.change(number, marker).await {
                anyhow::ensure!(begun.elapsed() < crate::PATIENCE, "{error:#}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(number)
        })
        .await
        .map(drop)
    }

    /// Waits until every ProviderConfig, and every UsagePolicy there is, says of its last generation that all of its sidecars have it.
    pub(crate) async fn statuses_right(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut all = self.all("providerconfigs").await?;
            all.extend(self.all("usagepolicies").await?);
            let wrong: Vec<&Value> = all.iter().filter(|object| !self.is_right(object)).collect();
            let Some(one) = wrong.first() else { return Ok(()) };
            if begun.elapsed() > patience {
                bail!(
                    "{} of {} statuses are not right, such as {} of {}: {}",
                    wrong.len(),
                    all.len(),
                    one["metadata"]["name"],
                    one["metadata"]["namespace"],
                    one["status"]
                );
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn all(&self, resource: &str) -> Result<Vec<Value>> {
        let mut list = self.api.get(&format!("/apis/bowsprit.dev/v1alpha1/{resource}")).await?;
        match list["items"].take() {
            Value::Array(all) => Ok(all),
            _ => bail!("no list of {resource}"),
        }
    }

    fn is_right(&self, object: &Value) -> bool {
        let (status, pods) = (&object["status"], self.size.pods_each());
        let is_true = |kind: &str| {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            conditions
                .filter(|it| it["type"] == kind && it["observedGeneration"] == object["metadata"]["generation"])
                .any(|it| it["status"] == "True")
        };
        status["sidecars"]["selected"] == pods
            && status["sidecars"]["current"] == pods
            && is_true("Accepted")
            && is_true("Programmed")
    }
}

fn provider_config(number: usize) -> Value {
    json!({
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": format!("p{number}")},
        "spec": {
            "provider": "OpenAICompatible",
            "priority": 10 + number,
            "endpoint": {"baseUrl": format!("https://p{number}.example.com/v1")},
            "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": format!("p{number}")}}],
            "models": [{"name": format!("m{number}"), "aliases": ["begin"]}],
            "defaultModel": format!("m{number}"),
            "rateLimits": {"requestsPerMinute": 600, "concurrentRequests": 20},
            "circuitBreaker": {"failureThreshold": 5, "openFor": "60s"},
        }
    })
}

fn pod_object(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("app-{number}"), "labels": {names::LABEL_INJECT: "true", "app": "shop"}},
        "spec": {
            "nodeName": format!("kwok-{}", number % NODES),
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "app", "image": "docker.io/local/none:1"}],
        }
    })
}
