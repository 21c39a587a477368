//! A unique key for each path goes through a real cluster, at the most talkative log level, past servers that tell it again; then
//! everything that anybody can look at is searched for it, except the Secrets themselves.

use anyhow::{Context, Result, ensure};
use bowsprit_core::yaml;
use bowsprit_crds::{ProviderConfig, names};
use bowsprit_e2e::{App, Bed, LONG, SYSTEM, Test, eventually, kubectl, note, pod_manifest, rolled_out};
use bowsprit_rig::canary::Canary;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// Tries to look into the sidecar, whose pod's processes are in one namespace and run as one user.
const LOOK: &str = "
import glob
pid = [path.split('/')[2] for path in glob.glob('/proc/[0-9]*/comm') if open(path).read().startswith('bowsprit-sidec')][0]
print([line.split()[4:6] for line in open(f'/proc/{pid}/limits') if line.startswith('Max core file size')])
for name in ['environ', 'mem', 'maps']:
    try:
        open(f'/proc/{pid}/{name}', 'rb').read(1)
        print(name, 'can be read')
    except PermissionError:
        print(name, 'is denied')
print(open('/proc/sys/kernel/core_pattern').read())
";

/// Everything that anybody may look at, by where it stands.
async fn outputs(bed: &Bed, app: &App<'_>) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for namespace in [&*bed.namespace, SYSTEM] {
        all.extend(logs(&bed.client, namespace).await?);
        let kinds = kubectl(&["api-resources", "--verbs=list", "--namespaced", "-o", "name"]).await?;
        let kinds: Vec<&str> = kinds.lines().filter(|kind| *kind != "secrets").collect();
        let objects = kubectl(&[
            "-n",
            namespace,
            "get",
            &kinds.join(","),
            "-o",
            "yaml",
            "--show-managed-fields",
        ])
        .await?;
        ensure!(
            objects.contains("kind: Pod") && objects.contains("kind: Event"),
            "the objects were not read"
        );
        all.push((format!("objects of {namespace}"), objects));
    }
    let whole = "validatingwebhookconfigurations,mutatingwebhookconfigurations,customresourcedefinitions,nodes";
    all.push((
        "objects of the cluster".into(),
        kubectl(&["get", whole, "-o", "yaml"]).await?,
    ));
    for path in ["/health", "/metrics", "/health/ready"] {
        all.push((format!("the sidecar's {path}"), app.admin(path).await?));
    }
    let operators = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
    for pod in operators.list(&ListParams::default()).await? {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}:8081/proxy/metrics", pod.name_any());
        let (_, text) = bed.http("GET", &path, "").await?;
        all.push((format!("{}'s metrics", pod.name_any()), text));
    }
    Ok(all)
}

/// Of every container but the scripted providers, which are the ones that know the keys.
async fn logs(client: &Client, namespace: &str) -> Result<Vec<(String, String)>> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut all = Vec::new();
    for pod in pods.list(&ListParams::default()).await? {
        let spec = pod.spec.clone().unwrap_or_default();
        for container in spec.init_containers.into_iter().flatten().chain(spec.containers) {
            if container.name == "providers" {
                continue;
            }
            let params = LogParams {
                container: Some(container.name.clone()),
                ..LogParams::default()
            };
            let text = pods.logs(&pod.name_any(), &params).await?;
            all.push((format!("the log of {}/{}", pod.name_any(), container.name), text));
        }
    }
    Ok(all)
}

/// Asks in every way and shows what it is told, errors and headers included, as an app's own log would. The key in the environment is
/// the app's own.
const ASK: &str = "
import json, os, urllib.request, urllib.error
def ask(path, body, headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request('http://127.0.0.1:4000' + path, data, {'content-type': 'application/json', **headers})
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    try:
        print(path, answer.status, dict(answer.headers), answer.read().decode('latin-1'))
    except Exception as error:
        print(path, 'broke off', error)
own = os.environ['APP_KEY']
keys = {'authorization': 'Bearer ' + own, 'x-api-key': own, 'x-goog-api-key': own}
for model in ['claude-sonnet-4-5', 'gemini-2.5-flash', 'gpt-5-mini', 'own-model']:
    for stream in [False, True]:
        chat = {'model': model, 'stream': stream, 'messages': [{'role': 'user', 'content': 'ahoy'}]}
        ask('/v1/chat/completions', chat, keys)
        ask('/v1/messages', {**chat, 'max_tokens': 9}, {**keys, 'anthropic-version': '2023-06-01'})
for name in ['claude', 'gemini', 'openai', 'own']:
    ask(f'/providers/{name}/v1/files', None, keys)
";

fn accounts(bed: &Bed, keys: &[Canary; 3], app: &Canary, broken: &Canary) -> Result<Vec<Value>> {
    let text = format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{anthropic: "{}", gemini: "{}", openai: "{}", app: "{}", broken: "{}\ntwo lines"}}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {{name: own}}
spec:
  provider: OpenAI
  priority: 40
  endpoint: {{baseUrl: "http://providers.{}.svc:9100/v1", allowHttp: true}}
  forwardCallerKey: true
  models: [{{name: own-model}}]
  healthCheck: {{enabled: true, interval: 1s}}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {{name: broken}}
spec:
  provider: OpenAI
  priority: 50
  credentials: [{{name: main, secretKeyRef: {{name: keys, key: broken}}}}]
  models: [{{name: broken-model}}]
"#,
        keys[0].key(),
        keys[1].key(),
        keys[2].key(),
        app.key(),
        broken.key(),
        bed.namespace,
    );
    Ok(yaml::documents(&text)?)
}

/// Restarts the operators at a log level; none: as the chart has it.
async fn operators_log(bed: &Bed, level: Option<&str>) -> Result<()> {
    let variable = level.map_or("BOWSPRIT_LOG_LEVEL=info".to_owned(), |level| {
        format!("BOWSPRIT_LOG_LEVEL={level}")
    });
    kubectl(&["-n", SYSTEM, "set", "env", "deployment/bowsprit", &variable]).await?;
    rolled_out(bed).await
}

#[tokio::test]
async fn a_key_is_found_nowhere_but_in_its_secret() {
    Test::new("canary")
        .alone()
        .run(async |bed| {
            operators_log(bed, Some("trace")).await?;
            let outcome = searched(bed).await;
            operators_log(bed, None).await?;
            outcome
        })
        .await;
}

async fn searched(bed: &Bed) -> Result<()> {
    let random = || fastrand::u64(..);
    let keys = [
        Canary::new("claude", random()),
        Canary::new("gemini", random()),
        Canary::new("openai", random()),
    ];
    let own = Canary::new("app", random());
    let broken = Canary::new("broken", random());
    for document in accounts(bed, &keys, &own, &broken)? {
        bed.apply_one(&document).await?;
    }
    bed.rendered(|text| text.contains("name: own") && text.contains("name: broken"))
        .await?;

    let mut manifest = pod_manifest("app");
    manifest["metadata"]["annotations"] = json!({"bowsprit.dev/sidecar-log-level": "trace"});
    manifest["spec"]["shareProcessNamespace"] = json!(true);
    manifest["spec"]["containers"][0]["env"] =
        json!([{"name": "APP_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "app"}}}]);
    let app = bed.app_from(&manifest).await?;

    let mut said = Vec::new();
    let apis = ["anthropic", "gemini", "openai"];
    // The last ones close the way for a key: 429 for a while, 401 for longer.
    let forms = own.told().map(|(form, _)| (form, 400));
    for (form, code) in forms
        .into_iter()
        .chain([("whole", 500), ("whole", 429), ("whole", 401)])
    {
        let rule = |canary: &Canary| {
            let told = canary.told().into_iter().find(|(name, _)| *name == form);
            let message = format!("no good: {}", told.map(|(_, text)| text).unwrap_or_default());
            let act = json!({"status": {"code": code, "message": message, "headers": [["x-echo", message]]}});
            json!({"when": {"key": canary.key()}, "do": act})
        };
        let rules: Vec<Value> = keys.iter().chain([&own]).map(rule).collect();
        bed.providers().rules(&rules).await?;
        said.push((
            format!("what the app was told of {form}, {code}"),
            app.python(ASK).await?,
        ));
    }
    // Each key has been on its way, so that there was something to tell.
    let mut sent = Vec::new();
    for api in apis {
        sent.extend(bed.providers().requests(api).await?);
    }
    for canary in keys.iter().chain([&own]) {
        ensure!(
            sent.iter().any(|request| request["key"] == canary.key()),
            "no server was sent {}",
            &canary.key()[..12]
        );
    }
    // A Secret that holds a key and more than a key is told of in a condition and an Event.
    bed.condition::<ProviderConfig>("broken", "ResolvedRefs", "False")
        .await?;
    said.extend(outputs(bed, &app).await?);
    let trace = |name: &str| {
        said.iter()
            .any(|(place, text)| place.contains(name) && text.contains("\"TRACE\""))
    };
    ensure!(trace("/operator"), "the operators do not trace");
    ensure!(
        said.iter()
            .any(|(place, text)| place.ends_with(names::SIDECAR_CONTAINER) && text.contains("\"attempt\"")),
        "the sidecar tells no attempts"
    );

    let mut found = Vec::new();
    let mut searched = 0;
    for (place, text) in &said {
        searched += text.len();
        for canary in keys.iter().chain([&own, &broken]) {
            found.extend(canary.find(text).map(|how| format!("{place}: {how}")));
        }
    }
    ensure!(
        found.is_empty(),
        "a key is told in {} places:\n{}",
        found.len(),
        found.join("\n")
    );
    note(&format!(
        "canary: {} outputs, {} KiB searched, no key in any",
        said.len(),
        searched >> 10
    ));

    let seen = app.python(LOOK).await.context("looking into the sidecar")?;
    ensure!(seen.contains("[['0', '0']]"), "a crash would leave a core: {seen}");
    for name in ["environ", "mem", "maps"] {
        ensure!(
            seen.contains(&format!("{name} is denied")),
            "the app can read the sidecar's memory: {seen}"
        );
    }
    eventually(LONG, "the sidecar lives", async || app.health().await.map(drop)).await
}
