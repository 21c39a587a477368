//! A test's namespace, and how it is filled, read and asked.

use std::fmt::Debug;
use std::pin::Pin;

use anyhow::{Context, Result, bail, ensure};
use bowsprit_core::yaml;
use bowsprit_crds::{ProviderConfig, names};
use futures::{AsyncBufRead, AsyncReadExt as _};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, LogParams, Patch, PatchParams,
};
use kube::client::Body;
use kube::core::NamespaceResourceScope;
use kube::{Client, Config, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{App, LONG, Operators, PACED, Providers, SHORT, eventually, machine};

/// The namespace of the operator.
pub const SYSTEM: &str = "bowsprit-system";

/// The manifest of the scripted providers, the one that the demo shows.
const PROVIDERS: &str = include_str!("../../demo/providers.yaml");

/// Keys, and three accounts at the scripted providers. Breakers open late and retries come soon, so that tests see what they
/// ask for and nothing else; a test about breakers sets its own.
const ACCOUNTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {anthropic: key-of-claude, gemini: key-of-gemini, openai: key-of-openai}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec:
  provider: Anthropic
  priority: 10
  endpoint: {baseUrl: "http://providers.NAMESPACE.svc:9100", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: anthropic}}]
  models: [{name: claude-sonnet-4-5, aliases: [gpt-5-mini]}]
  defaultModel: claude-sonnet-4-5
  retry: {backoff: {base: 50ms, max: 100ms}}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: gemini}
spec:
  provider: Gemini
  priority: 20
  endpoint: {baseUrl: "http://providers.NAMESPACE.svc:9100", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: gemini}}]
  models: [{name: gemini-2.5-flash, aliases: [gpt-5-mini]}]
  defaultModel: gemini-2.5-flash
  retry: {backoff: {base: 50ms, max: 100ms}}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: openai}
spec:
  provider: OpenAI
  priority: 30
  endpoint: {baseUrl: "http://providers.NAMESPACE.svc:9100/v1", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: openai}}]
  models: [{name: gpt-5-mini}]
  defaultModel: gpt-5-mini
  retry: {backoff: {base: 50ms, max: 100ms}}
"#;

/// The image of this name, where the cluster under test has it.
pub fn image(name: &str) -> String {
    let of = |variable: &str, otherwise: &str| std::env::var(variable).unwrap_or_else(|_| otherwise.to_owned());
    let repository = of("BOWSPRIT_REPOSITORY", "docker.io/local");
    format!("{repository}/{name}:{}", of("BOWSPRIT_TAG", "dev"))
}

/// A pod that asks for a sidecar and stays until it is told to stop, as a manifest to change before it is applied.
pub fn pod_manifest(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {names::LABEL_INJECT: "true"}},
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "app",
                "image": image("bowsprit-app"),
                "command": ["/usr/bin/python3", "-c", "import signal as s; s.pthread_sigmask(s.SIG_BLOCK, {s.SIGTERM}); s.sigwait({s.SIGTERM})"],
            }],
        },
    })
}

/// The same with an app that asks a question every tenth of a second, without retries of its own.
pub fn asking_manifest(name: &str) -> Value {
    let mut pod = pod_manifest(name);
    pod["spec"]["containers"][0]["command"] = json!([
        "/usr/bin/python3",
        "/app/app.py",
        "--sdk-retries",
        "0",
        "--every",
        "0.1"
    ]);
    pod
}

/// A namespace of a real cluster.
pub struct Bed {
    /// Talks to the apiserver, as whom KUBECONFIG says.
    pub client: Client,
    /// Its name.
    pub namespace: String,
}

impl Bed {
    pub(crate) async fn create(test: &str, labels: &[(String, String)]) -> Result<Self> {
        let mut config = Config::infer()
            .await
            .context("no cluster: run tests/e2e/run, or set KUBECONFIG")?;
        // A refusal is often what a test waits for, and it must see it at once.
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let namespace = format!("e2e-{test}-{:04x}", fastrand::u16(..));
        let labels: serde_json::Map<String, Value> = labels
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let wanted =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        Api::<Namespace>::all(client.clone())
            .patch(&namespace, &PatchParams::apply("e2e"), &Patch::Apply(&wanted))
            .await?;
        let bed = Self { client, namespace };
        // Without it no pod is taken: the apiserver waits for a second or two, and then refuses.
        eventually(LONG, "the namespace has its ServiceAccount", async || {
            Ok(bed.api::<ServiceAccount>().get("default").await.map(drop)?)
        })
        .await?;
        Ok(bed)
    }

    /// Puts providers, keys and accounts into it, and waits until the operator has rendered them.
    pub async fn furnish(&self) -> Result<()> {
        self.start_providers().await?;
        self.apply_soon(ACCOUNTS).await?;
        self.rendered(|text| ["claude", "gemini", "openai"].iter().all(|name| text.contains(name)))
            .await
            .map(drop)
    }

    /// Puts the scripted providers alone into it, and waits until they answer.
    pub async fn start_providers(&self) -> Result<()> {
        let manifest = PROVIDERS.replace("docker.io/local/bowsprit-providers:dev", &image("bowsprit-providers"));
        self.apply(&manifest).await?;
        eventually(LONG, "the scripted providers answer", async || {
            self.providers().counts().await.map(drop)
        })
        .await?;
        self.service_leads("providers").await
    }

    /// Waits until a Service's address leads to its pods: they answer a while before kube-proxy has written the rules, seconds on a
    /// busy machine, and a sidecar that asks in between fails over as it should.
    async fn service_leads(&self, name: &str) -> Result<()> {
        if !machine::is_bed() {
            // Another cluster's Service network may not reach to where the tests run.
            return Ok(());
        }
        let spec = self.api::<Service>().get(name).await?.spec.unwrap_or_default();
        let port = spec.ports.iter().flatten().next().context("it has no port")?.port;
        let address = format!("{}:{port}", spec.cluster_ip.context("it has no address")?);
        eventually(LONG, &format!("the Service {name} leads to its pods"), async || {
            TcpStream::connect(&address).await.map(drop).context("connecting")
        })
        .await
    }

    /// Keys and accounts at the scripted providers, as people write them.
    pub fn accounts(&self) -> String {
        ACCOUNTS.replace("NAMESPACE", &self.namespace)
    }

    /// Deletes the namespace, in the background; kept after a failure when KEEP is set.
    pub(crate) async fn remove(&self, failed: bool) {
        if failed && std::env::var_os("KEEP").is_some() {
            return;
        }
        let gone = Api::<Namespace>::all(self.client.clone())
            .delete(&self.namespace, &DeleteParams::default())
            .await;
        if let Err(error) = gone {
            eprintln!("cannot delete the namespace {}: {error}", self.namespace);
        }
    }

    /// The objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies every document of a YAML text. The word NAMESPACE in it stands for this namespace.
    pub async fn apply(&self, text: &str) -> Result<()> {
        for document in yaml::documents(&text.replace("NAMESPACE", &self.namespace))? {
            self.apply_one(&document).await?;
        }
        Ok(())
    }

    /// The same, again where the operators that are asked about it were late: they may be where others have the cores. That none is refused is the
    /// promise of tests that count them.
    pub async fn apply_soon(&self, text: &str) -> Result<()> {
        eventually(LONG, "it is taken", async || self.apply(text).await).await
    }

    /// Applies one object, as whoever runs the tests, taking every field it names.
    pub async fn apply_one(&self, object: &Value) -> Result<DynamicObject> {
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .context("an object needs a name")?;
        let (api, kind) = self.dynamic(object);
        let params = PatchParams::apply("e2e").force().validation_strict();
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .with_context(|| format!("applying {kind} {name}"))
    }

    /// Creates one object as `kubectl create --validate=strict --dry-run=server` would, and gives what the apiserver says.
    pub async fn try_create(&self, object: &Value) -> Result<(u16, String)> {
        let (api, _) = self.dynamic(object);
        let path = format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url());
        self.http("POST", &path, object.to_string()).await
    }

    /// Creates one object without keeping it: status, body and the warnings that came with it.
    pub async fn dry_run(&self, object: &Value) -> Result<(u16, String, Vec<String>)> {
        let (api, kind) = self.dynamic(object);
        let collection = if kind == "Namespace" {
            "/api/v1/namespaces"
        } else {
            api.resource_url()
        };
        let request =
            http::Request::post(format!("{collection}?dryRun=All")).header("content-type", "application/json");
        self.warned(request.body(object.to_string().into_bytes().into())?).await
    }

    /// Applies one object without keeping it, as `kubectl apply --server-side --dry-run=server` does: status, body and warnings.
    pub async fn dry_run_apply(&self, object: &Value) -> Result<(u16, String, Vec<String>)> {
        let (api, _) = self.dynamic(object);
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let path = format!("{}/{name}?dryRun=All&fieldManager=e2e&force=true", api.resource_url());
        let request = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
        self.warned(request.body(object.to_string().into_bytes().into())?).await
    }

    /// Deletes an object without doing it: status, body and warnings.
    pub async fn dry_run_delete(&self, object: &Value) -> Result<(u16, String, Vec<String>)> {
        let (api, _) = self.dynamic(object);
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let path = format!("{}/{name}?dryRun=All", api.resource_url());
        self.warned(http::Request::delete(path).body(Body::empty())?).await
    }

    async fn warned(&self, request: http::Request<Body>) -> Result<(u16, String, Vec<String>)> {
        let (status, headers, body) = self.send(request).await?;
        let warnings = headers.get_all("warning").iter();
        let warnings = warnings.map(|it| unescaped(&String::from_utf8_lossy(it.as_bytes())));
        Ok((status, body, warnings.collect()))
    }

    fn dynamic(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        (
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource),
            kind,
        )
    }

    /// Sends a request to the apiserver: status and body, whatever the status.
    pub async fn http(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Result<(u16, String)> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.into()))?;
        let (status, _, body) = self.send(request).await.with_context(|| format!("{method} {path}"))?;
        Ok((status, body))
    }

    /// Sends a request to the apiserver as it is: status, headers and body, whatever the status.
    pub async fn send(&self, request: http::Request<Body>) -> Result<(u16, http::HeaderMap, String)> {
        let (head, body) = self.client.send(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((
            head.status.as_u16(),
            head.headers,
            String::from_utf8_lossy(&body).into_owned(),
        ))
    }

    /// What a pod's port answers, fetched by the apiserver so that it works from outside the cluster's network.
    pub async fn pod_http(&self, method: &str, pod: &str, port: u16, path: &str, body: &str) -> Result<(u16, String)> {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}", self.namespace);
        self.http(method, &path, body).await
    }

    /// The scripted providers of this namespace.
    pub fn providers(&self) -> Providers<'_> {
        Providers::new(self)
    }

    /// The operators of this cluster.
    pub fn operators(&self) -> Operators<'_> {
        Operators::new(self)
    }

    /// Creates an app with a sidecar and waits until it is ready.
    pub async fn app(&self, name: &str) -> Result<App<'_>> {
        self.app_from(&pod_manifest(name)).await
    }

    /// Creates an app from a manifest and waits until it is ready.
    pub async fn app_from(&self, manifest: &Value) -> Result<App<'_>> {
        let pod = eventually(LONG, "the pod is taken", async || self.apply_one(manifest).await).await?;
        self.ready(&pod.name_any()).await?;
        Ok(App::new(self, pod.name_any()))
    }

    /// The same in a pod that has this Secret, which a policy, a route or a provider names. A pod keeps what it was made with, and an operator whose watch is
    /// behind the leader's makes it without: that one is made again.
    pub async fn app_with(&self, name: &str, secret: &str) -> Result<App<'_>> {
        let quoted = format!("{secret:?}");
        eventually(LONG, &format!("a pod with the Secret {secret}"), async || {
            let pod = self.apply_one(&pod_manifest(name)).await?;
            if !pod.data["spec"]["volumes"].to_string().contains(&quoted) {
                let at_once = DeleteParams::default().grace_period(0);
                self.api::<Pod>().delete(name, &at_once).await?;
                self.gone::<Pod>(name).await?;
                bail!("it was made by an operator that does not know of it yet");
            }
            Ok(())
        })
        .await?;
        self.ready(name).await?;
        Ok(App::new(self, name.to_owned()))
    }

    /// The app in a pod that is there.
    pub fn app_of(&self, pod: &str) -> App<'_> {
        App::new(self, pod.to_owned())
    }

    /// A pod as it is now.
    pub async fn pod(&self, name: &str) -> Result<Pod> {
        Ok(self.api::<Pod>().get(name).await?)
    }

    /// Waits until a pod is ready.
    pub async fn ready(&self, pod: &str) -> Result<Pod> {
        eventually(LONG, &format!("pod {pod} is ready"), async || {
            let pod = self.api::<Pod>().get(pod).await?;
            let status = pod.status.clone().unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .flatten()
                .any(|it| it.type_ == "Ready" && it.status == "True");
            if !ready {
                bail!("its phase is {}", status.phase.unwrap_or_default());
            }
            Ok(pod)
        })
        .await
    }

    /// Follows a container's log from its beginning.
    pub async fn follow(&self, pod: &str, container: &str) -> Result<Log> {
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: true,
            ..LogParams::default()
        };
        // A log that is asked for while its container still starts may come as an empty one that has ended.
        eventually(LONG, &format!("container {container} of {pod} runs"), async || {
            let status = self.api::<Pod>().get(pod).await?.status.unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            let state = containers
                .into_iter()
                .find(|it| it.name == container)
                .and_then(|it| it.state);
            ensure!(state.as_ref().is_some_and(|it| it.running.is_some()), "it is {state:?}");
            Ok(())
        })
        .await?;
        let stream = eventually(LONG, &format!("{pod} has a log"), async || {
            Ok(self.api::<Pod>().log_stream(pod, &params).await?)
        })
        .await?;
        Ok(Log {
            stream: Box::pin(stream),
            text: String::new(),
        })
    }

    /// Waits until an object has gone.
    pub async fn gone<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        eventually(LONG, &format!("{name} is gone"), async || {
            match self.api::<K>().get_opt(name).await? {
                None => Ok(()),
                Some(_) => bail!("it is there"),
            }
        })
        .await
    }

    /// Waits until the text of the namespace's ConfigMap is as wanted, and gives the ConfigMap.
    pub async fn rendered(&self, wanted: impl Fn(&str) -> bool) -> Result<ConfigMap> {
        eventually(SHORT, "the ConfigMap has the wanted documents", async || {
            let map = self.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
            let text = map
                .data
                .as_ref()
                .and_then(|data| data.get(names::CONFIG_KEY))
                .context("it has no documents")?;
            if !wanted(text) {
                bail!("it has {text}");
            }
            Ok(map)
        })
        .await
    }

    /// Waits until a condition of a ProviderConfig or ModelRoute has this status for the object's last generation.
    pub async fn condition<K>(&self, name: &str, type_: &str, status: &str) -> Result<Condition>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + serde::Serialize,
        K::DynamicType: Default,
    {
        eventually(PACED, &format!("{name} is {type_}={status}"), async || {
            let object = json!(self.api::<K>().get(name).await?);
            let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
            let conditions = object.pointer("/status/conditions").cloned().unwrap_or_default();
            let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
            let found = conditions
                .iter()
                .find(|it| it.type_ == type_)
                .context("it has no such condition")?;
            if found.status != status || found.observed_generation != generation {
                bail!("it is {found:?}, and its generation is {generation:?}");
            }
            Ok(found.clone())
        })
        .await
    }

    /// Waits until the newest generation of a `ProviderConfig` is in service in all of so many sidecars, by its status.
    pub async fn in_service(&self, name: &str, sidecars: u32) -> Result<()> {
        self.condition::<ProviderConfig>(name, "Programmed", "True").await?;
        eventually(
            PACED,
            &format!("{name} is in service in {sidecars} sidecars"),
            async || {
                let status = self.api::<ProviderConfig>().get(name).await?.status;
                let counted = status.unwrap_or_default().sidecars.unwrap_or_default();
                ensure!(
                    (counted.selected, counted.current, counted.behind) == (sidecars, sidecars, 0),
                    "{counted:?}"
                );
                Ok(())
            },
        )
        .await
    }

    /// The same of all three accounts.
    pub async fn all_in_service(&self, sidecars: u32) -> Result<()> {
        for name in ["claude", "gemini", "openai"] {
            self.in_service(name, sidecars).await?;
        }
        Ok(())
    }

    /// The Events about an object, as `reason: message`.
    pub async fn events(&self, name: &str) -> Result<Vec<String>> {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = self.api::<Event>().list(&about).await?;
        let line = |event: Event| {
            format!(
                "{}: {}",
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            )
        };
        Ok(events.items.into_iter().map(line).collect())
    }
}

/// The text of a `Warning` header, `299 - "…"`, as it was meant.
fn unescaped(header: &str) -> String {
    let text = header.split_once('"').map_or(header, |(_, text)| text);
    text.strip_suffix('"')
        .unwrap_or(text)
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

/// The log of a container that runs.
pub struct Log {
    stream: Pin<Box<dyn AsyncBufRead + Send>>,
    text: String,
}

impl Log {
    /// Waits until it holds these words.
    pub async fn until(&mut self, words: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + LONG;
        while !self.text.contains(words) {
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout_at(deadline, self.stream.read(&mut buffer));
            let count = read
                .await
                .with_context(|| format!("{words:?} did not come: {:?}", self.text))??;
            ensure!(count > 0, "the log ended before {words:?} came: {:?}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        Ok(())
    }
}
