//! The cluster, through its apiserver: the only file that speaks to it.

use std::fmt::Debug;
use std::time::Duration;

use bowsprit_crds::found::{Found, Unread};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full, Limited};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ClusterResourceScope, NamespaceResourceScope, PartialObjectMeta};
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

use crate::args::{ClusterArgs, LedgerWhere, Where};
use crate::failure::{Failure, Intent, whole};
use crate::fleet::Sidecar;
use crate::forward;

/// Objects in one answer of the apiserver, as kubectl has it.
const PAGE: u32 = 500;
/// Questions to pods under way at a time: many enough for a big fleet, few enough for any apiserver.
const AT_ONCE: usize = 24;
/// What a pod may answer through the apiserver.
const MAX_ANSWER: usize = 4 << 20;

/// A cluster, as one user. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    operators: String,
    timeout: Duration,
}

/// What the apiserver answered to a request as such.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The head.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// What the apiserver says in it, where it is an error: the message of its Status, or the whole text.
    pub(crate) fn said(&self) -> String {
        let status: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let message = status.as_ref().and_then(|it| it.get("message")?.as_str());
        message.map_or_else(
            || String::from_utf8_lossy(&self.body).trim().to_owned(),
            ToOwned::to_owned,
        )
    }

    /// Whether the apiserver says it itself, and not what it has passed the question on to.
    pub(crate) fn is_the_apiservers(&self) -> bool {
        let status: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        status.is_some_and(|it| it.get("kind").is_some_and(|kind| kind == "Status"))
    }
}

impl Cluster {
    /// As the kubeconfig and the arguments say. Nothing is asked yet.
    pub(crate) async fn connect(args: &ClusterArgs) -> Result<Self, Failure> {
        let usage = |error: &dyn std::error::Error| Failure::Usage(format!("no usable kubeconfig: {}", whole(error)));
        let options = KubeConfigOptions {
            context: args.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = if let Some(file) = &args.kubeconfig {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| usage(&error))?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            config.map_err(|error| usage(&error))?
        } else if args.context.is_some() {
            let config = Config::from_kubeconfig(&options).await;
            config.map_err(|error| usage(&error))?
        } else {
            Config::infer().await.map_err(|error| usage(&error))?
        };
        config.connect_timeout = Some(args.timeout);
        // Whoever waits at a terminal wants to know what is, not what may be in a minute.
        config.default_retry = false;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| usage(&error))?;
        Ok(Self::new(client, namespace, args))
    }

    fn new(client: Client, namespace: String, args: &ClusterArgs) -> Self {
        Self {
            client,
            namespace,
            operators: args.operator_namespace.clone(),
            timeout: args.timeout,
        }
    }

    /// The namespace that is meant.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The namespace of the operators.
    pub(crate) fn operator_namespace(&self) -> &str {
        &self.operators
    }

    /// How long one question may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The namespace that is meant; none: all of them.
    pub(crate) fn scope(&self, place: Where) -> Option<&str> {
        (!place.all_namespaces).then_some(self.namespace.as_str())
    }

    /// The same for what the ledger is asked.
    pub(crate) fn scope_of_ledger(&self, place: &LedgerWhere) -> Option<&str> {
        (!place.all_namespaces).then_some(self.namespace.as_str())
    }

    fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    async fn within<T>(&self, intent: &Intent<'_>, ask: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, ask).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(intent.failed(&error)),
            Err(_) => Err(Failure::Unreachable(format!(
                "no answer within {:?} (--timeout) to: {}",
                self.timeout,
                intent.action()
            ))),
        }
    }

    async fn pages<K>(&self, api: Api<K>, intent: &Intent<'_>, mut params: ListParams) -> Result<Vec<K>, Failure>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        params.limit = Some(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self.within(intent, api.list(&params)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(all),
            }
        }
    }

    /// The objects of a kind in a namespace, or in all.
    pub(crate) async fn list<K>(&self, namespace: Option<&str>, params: ListParams) -> Result<Vec<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (group, plural) = names::<K>();
        self.pages(
            self.api::<K>(namespace),
            &intent("list", &group, &plural, namespace),
            params,
        )
        .await
    }

    /// The objects of a kind that people apply, each read by itself: those that this release can read, and those that only another
    /// one can.
    pub(crate) async fn objects<K>(&self, namespace: Option<&str>) -> Result<(Vec<K>, Vec<Unread<K>>), Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let found = self.list::<Found<K>>(namespace, ListParams::default()).await?;
        Ok(Found::parted(found))
    }

    /// The objects of a kind that has no namespace.
    pub(crate) async fn list_global<K>(&self, params: ListParams) -> Result<Vec<K>, Failure>
    where
        K: Resource<Scope = ClusterResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (group, plural) = names::<K>();
        let api = Api::all(self.client.clone());
        self.pages(api, &intent("list", &group, &plural, None), params).await
    }

    /// Who is there, without what is in it: a fleet's pods are megabytes.
    pub(crate) async fn heads<K>(
        &self,
        namespace: Option<&str>,
        mut params: ListParams,
    ) -> Result<Vec<PartialObjectMeta<K>>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (group, plural) = names::<K>();
        let api = self.api::<K>(namespace);
        params.limit = Some(PAGE);
        let mut all = Vec::new();
        loop {
            let intent = intent("list", &group, &plural, namespace);
            let page = self.within(&intent, api.list_metadata(&params)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(all),
            }
        }
    }

    /// One object, if it is there.
    pub(crate) async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (group, plural) = names::<K>();
        let api = self.api::<K>(Some(namespace));
        self.within(&intent("get", &group, &plural, Some(namespace)), api.get_opt(name))
            .await
    }

    /// Whether an object is there, without reading what is in it: for Secrets.
    pub(crate) async fn exists<K>(&self, namespace: &str, name: &str) -> Result<bool, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (group, plural) = names::<K>();
        let api = self.api::<K>(Some(namespace));
        let intent = intent("get", &group, &plural, Some(namespace));
        let found = self.within(&intent, api.get_metadata_opt(name)).await?;
        Ok(found.is_some())
    }

    /// One object that has no namespace, if it is there.
    pub(crate) async fn get_global<K>(&self, name: &str) -> Result<Option<K>, Failure>
    where
        K: Resource<Scope = ClusterResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (group, plural) = names::<K>();
        let api = Api::<K>::all(self.client.clone());
        self.within(&intent("get", &group, &plural, None), api.get_opt(name))
            .await
    }

    /// A request as such: for what has no type, or whose head is of interest. Any status is an answer.
    pub(crate) async fn send(
        &self,
        intent: &Intent<'_>,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body);
        let request = request.map_err(|error| Failure::Wrong(format!("no request {method} {path}: {error}")))?;
        self.sent(intent, request).await
    }

    /// The same for one whose head matters.
    pub(crate) async fn sent(&self, intent: &Intent<'_>, request: http::Request<Vec<u8>>) -> Result<Answer, Failure> {
        let mut request = request.map(Body::from);
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert("accept", accept);
        let ask = async {
            let (head, body) = self.client.send(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(kube::Error::Service)?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        self.within(intent, ask).await
    }

    /// What a pod answers at a port, asked by the apiserver.
    pub(crate) async fn pod_get(&self, namespace: &str, pod: &str, port: u16, path: &str) -> Result<Answer, Failure> {
        let intent = intent("get", "", "pods/proxy", Some(namespace));
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
        let answer = self.send(&intent, "GET", &uri, Vec::new()).await?;
        match answer.status {
            401 | 403 => Err(intent.refused(answer.status, &answer.said())),
            _ => Ok(answer),
        }
    }

    /// A connection to a port of a pod, as from inside the pod.
    pub(crate) async fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<forward::Connection, Failure> {
        let intent = intent("create", "", "pods/portforward", Some(namespace));
        let api = self.api::<Pod>(Some(namespace));
        let forwarder = self.within(&intent, api.portforward(pod, &[port])).await?;
        forward::Connection::new(forwarder, port)
            .ok_or_else(|| Failure::Unreachable(format!("the apiserver forwards no port {port} of pod {pod}")))
    }

    /// What a sidecar answers at one of its ports to a request from inside its pod, as a forwarded port is: the status and the body,
    /// of so many bytes at most; or, in words, why it does not.
    pub(crate) async fn inside(
        &self,
        sidecar: &Sidecar,
        port: u16,
        request: http::Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Result<(u16, Bytes), String>, Failure> {
        let connection = self.forward(&sidecar.namespace, &sidecar.pod, port).await?;
        let asked = match connection.ask(request, self.timeout).await {
            Ok(asked) => asked,
            Err(why) => return Ok(Err(why)),
        };
        let status = asked.response.status().as_u16();
        let body = Limited::new(asked.response.into_body(), most).collect();
        Ok(match tokio::time::timeout(self.timeout, body).await {
            Ok(Ok(body)) => Ok((status, body.to_bytes())),
            Ok(Err(error)) => Err(format!("its answer broke off: {error}")),
            Err(_) => Err("its answer did not end".to_owned()),
        })
    }

    /// Does something with each of many, bounded in number, in their order.
    pub(crate) async fn each<T, R, F: Future<Output = R>>(
        items: impl IntoIterator<Item = T>,
        ask: impl FnMut(T) -> F,
    ) -> Vec<R> {
        stream::iter(items).map(ask).buffered(AT_ONCE).collect().await
    }
}

fn intent<'a>(verb: &'a str, group: &'a str, resource: &'a str, namespace: Option<&'a str>) -> Intent<'a> {
    Intent {
        verb,
        group,
        resource,
        name: None,
        namespace,
    }
}

fn names<K: Resource>() -> (String, String)
where
    K::DynamicType: Default,
{
    let of = K::DynamicType::default();
    (K::group(&of).into_owned(), K::plural(&of).into_owned())
}

#[cfg(test)]
pub(crate) mod tests;
