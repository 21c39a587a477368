//! `kubectl bowsprit`, as people run it, and `helm test`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::{Bed, LONG, SYSTEM, Test, eventually, note, pod_manifest, quick_breaker, test};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) async fn ran(program: &str, arguments: &[&str]) -> Result<Ran> {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .with_context(|| format!("cannot run {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

/// Runs the plugin in the test's namespace.
pub(crate) async fn bowsprit(bed: &Bed, arguments: &[&str]) -> Result<Ran> {
    let all = [&["bowsprit"], arguments, &["-n", &bed.namespace]].concat();
    ran("kubectl", &all).await
}

/// Runs it until it ends so and says so.
pub(crate) async fn until(bed: &Bed, arguments: &[&str], code: i32, words: &[&str]) -> Result<Ran> {
    eventually(
        LONG,
        &format!("{arguments:?} ends with {code} and says {words:?}"),
        async || {
            let ran = bowsprit(bed, arguments).await?;
            let said = words
                .iter()
                .all(|words| ran.out.contains(words) || ran.err.contains(words));
            ensure!(ran.code == Some(code) && said, "{ran:#?}");
            Ok(ran)
        },
    )
    .await
}

pub(crate) fn show(command: &str, ran: &Ran) {
    note(&format!(
        "$ kubectl bowsprit {command}   (exit code {})",
        ran.code.unwrap_or(-1)
    ));
    for line in ran.out.lines().chain(ran.err.lines()) {
        note(line);
    }
}

/// A file of its own, removed with it.
pub(crate) struct File(std::path::PathBuf);

impl File {
    pub(crate) fn new(bed: &Bed, name: &str, text: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{}-{name}", bed.namespace));
        std::fs::write(&path, text)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn status_and_health_tell_a_well_namespace_from_a_broken_one() {
    test("clistatus", async |bed| {
        let app = bed.app("app").await?;
        app.ask("ahoy").await?;
        let well = until(bed, &["status"], 0, &["All well", "claude", "1/1 current", "1 sidecar"]).await?;
        show("status", &well);
        show(
            "health",
            &until(bed, &["health"], 0, &["1 of 1 sidecar ok", "3/3 ok"]).await?,
        );
        let json = bowsprit(bed, &["status", "-o", "json"]).await?;
        let json: Value = serde_json::from_str(&json.out)?;
        ensure!(
            json["well"] == true && json["namespaces"][0]["providers"][0]["name"] == "claude",
            "{json:#}"
        );
        ensure!(
            bowsprit(bed, &["health", "-o", "yaml"])
                .await?
                .out
                .contains("status: ok")
        );

        bed.apply(
            "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: keyless}
spec:
  provider: OpenAI
  priority: 1
  endpoint: {baseUrl: \"http://providers.NAMESPACE.svc:9100/v1\", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: not-there, key: key}}]
  models: [{name: gpt-5-mini}]
",
        )
        .await?;
        let broken = until(
            bed,
            &["status"],
            1,
            &["attention needed", "keyless", "What to do", "not-there"],
        )
        .await?;
        show("status", &broken);
        show(
            "health app",
            &until(bed, &["health", "app"], 1, &["no usable key", "Problems"]).await?,
        );
        let all = ran("kubectl", &["bowsprit", "status", "-A"]).await?;
        ensure!(all.out.contains(&bed.namespace), "{all:#?}");
        show(
            "doctor",
            &until(bed, &["doctor"], 1, &["absent:", "not-there", "FAIL"]).await?,
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_open_circuit_is_shown_and_closed_by_hand() {
    test("clicircuit", async |bed| {
        bed.apply(&quick_breaker("10m")).await?;
        bed.rendered(|text| text.contains("openFor: 10m")).await?;
        let (one, _two) = (bed.app("one").await?, bed.app("two").await?);
        bed.providers()
            .always("anthropic", json!({"status": {"code": 500}}))
            .await?;
        one.ask_often(5, "ahoy").await?;
        let open = until(bed, &["circuit", "status"], 1, &["claude-sonnet-4-5", "one"]).await?;
        show("circuit status", &open);
        until(bed, &["status"], 1, &["claude: 1 of 1 circuits are open"]).await?;
        bed.providers().always("anthropic", json!({"answer": {}})).await?;
        let reset = bowsprit(bed, &["circuit", "reset", "claude"]).await?;
        show("circuit reset claude", &reset);
        ensure!(
            reset.code == Some(0) && reset.out.contains("1 circuit of claude closed, at 2 sidecars"),
            "{reset:#?}"
        );
        show(
            "circuit status",
            &until(bed, &["circuit", "status"], 0, &["claude-sonnet-4-5"]).await?,
        );
        let nobody = bowsprit(bed, &["circuit", "reset", "cloude"]).await?;
        ensure!(
            nobody.code == Some(1) && nobody.err.contains("claude, gemini, openai"),
            "{nobody:#?}"
        );
        ensure!(
            one.ask("ahoy").await?.starts_with("Hello from anthropic"),
            "claude is asked again"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_provider_is_tested_files_are_compared_and_injection_is_foreseen() {
    test("clitest", async |bed| {
        bed.app("app").await?;
        for provider in ["claude", "gemini", "openai"] {
            let plain = until(bed, &["test", provider], 0, &["answers.", "tokens", "request id"]).await?;
            let stream = until(bed, &["test", provider, "--stream"], 0, &["answers.", "first token"]).await?;
            if provider == "claude" {
                show("test claude", &plain);
                show("test claude --stream", &stream);
            }
        }
        let app = until(bed, &["test", "--model", "gpt-5-mini"], 0, &["claude answers.", "as an app asks"]).await?;
        show("test --model gpt-5-mini", &app);
        bed.providers().always("anthropic", json!({"status": {"code": 401}})).await?;
        let asked = bed.providers().asked("gemini").await?;
        let refused = until(bed, &["test", "claude"], 1, &["claude does not answer.", "what to do"]).await?;
        show("test claude", &refused);
        ensure!(bed.providers().asked("gemini").await? == asked, "another provider was asked");

        let live = bed.api::<ProviderConfig>().get("openai").await?;
        let document = json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": "openai"}, "spec": live.spec});
        let same = File::new(bed, "same.yaml", &document.to_string())?;
        let same = bowsprit(bed, &["diff", same.path()]).await?;
        ensure!(same.code == Some(0) && same.out.contains("as it is live"), "{same:#?}");
        let mut changed = document.clone();
        changed["spec"]["priority"] = json!(5);
        changed["spec"]["fallbackProviders"] = json!(["gone"]);
        let changed = File::new(bed, "changed.yaml", &changed.to_string())?;
        let changed = bowsprit(bed, &["diff", changed.path()]).await?;
        show("diff changed.yaml", &changed);
        let said = ["+ spec.priority: 5", "1 running sidecar would load it", "\"gone\""];
        ensure!(changed.code == Some(1) && said.iter().all(|it| changed.out.contains(it)), "{changed:#?}");

        let template = pod_manifest("ignored");
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop", "bowsprit.dev/inject": "true"}}, "spec": template["spec"]}}});
        let file = File::new(bed, "deployment.yaml", &deployment.to_string())?;
        let injected = bowsprit(bed, &["inject", "--dry-run", "-f", file.path()]).await?;
        show("inject --dry-run -f deployment.yaml", &injected);
        let said = ["gets a sidecar", "initContainers[0] bowsprit", "app: OPENAI_BASE_URL=", "keys/anthropic"];
        ensure!(injected.code == Some(0) && said.iter().all(|it| injected.out.contains(it)), "{injected:#?}");
        ensure!(!injected.out.contains("kube-api-access"), "what the cluster does itself is not the injector's: {injected:#?}");
        let pods = bed.api::<Pod>().list(&kube::api::ListParams::default()).await?;
        ensure!(pods.items.len() == 2, "a dry run made a pod");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn doctor_finds_a_webhook_that_is_gone_and_says_what_it_may_not_see() {
    Test::new("clidoctor")
        .alone()
        .run(async |bed| {
            bed.app("app").await?;
            let healthy = until(
                bed,
                &["doctor"],
                0,
                &["a labelled pod would get a sidecar", "trusted by the caBundle"],
            )
            .await?;
            show("doctor", &healthy);

            let webhooks = Api::<MutatingWebhookConfiguration>::all(bed.client.clone());
            let mut ours = webhooks.get("bowsprit").await?;
            webhooks.delete("bowsprit", &DeleteParams::default()).await?;
            let sick = until(
                bed,
                &["doctor"],
                1,
                &[
                    "is not there: no new pod gets a sidecar",
                    "a labelled pod would get none",
                ],
            )
            .await;
            ours.metadata.resource_version = None;
            ours.metadata.uid = None;
            webhooks.create(&PostParams::default(), &ours).await?;
            show("doctor", &sick?);
            until(bed, &["doctor"], 0, &["a labelled pod would get a sidecar"]).await?;

            // As somebody who may do nothing.
            let account = json!({"metadata": {"name": "nobody"}});
            bed.api::<ServiceAccount>()
                .create(&PostParams::default(), &serde_json::from_value(account)?)
                .await?;
            let token = ran("kubectl", &["create", "token", "nobody", "-n", &bed.namespace])
                .await?
                .out;
            let config = ran("kubectl", &["config", "view", "--raw", "-o", "json"]).await?.out;
            let mut config: Value = serde_json::from_str(&config)?;
            config["users"][0]["user"] = json!({"token": token.trim()});
            let nobody = File::new(bed, "nobody.json", &config.to_string())?;
            let status = bowsprit(bed, &["status", "--kubeconfig", nobody.path()]).await?;
            show("status --kubeconfig nobody.json", &status);
            let rule = "{apiGroups: [\"bowsprit.dev\"], resources: [providerconfigs], verbs: [list]}";
            ensure!(status.code == Some(3) && status.err.contains(rule), "{status:#?}");
            let blind = bowsprit(bed, &["doctor", "--kubeconfig", nobody.path()]).await?;
            ensure!(blind.out.contains("could not look: not permitted to"), "{blind:#?}");

            config["clusters"][0]["cluster"] = json!({"server": "https://127.0.0.1:1"});
            let nowhere = File::new(bed, "nowhere.json", &config.to_string())?;
            let status = bowsprit(bed, &["status", "--kubeconfig", nowhere.path()]).await?;
            ensure!(
                status.code == Some(3) && status.err.contains("cannot reach the cluster"),
                "{status:#?}"
            );
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn helm_test_sends_a_request_through_an_injected_pod_and_cleans_up() {
    Test::new("helmtest")
        .bare()
        .run(async |bed| {
            let tested = ran("helm", &["test", "bowsprit", "-n", SYSTEM, "--timeout", "2m"]).await?;
            if tested.code != Some(0) {
                let log = ran(
                    "kubectl",
                    &["-n", SYSTEM, "logs", "bowsprit-test", "--all-containers", "--prefix"],
                )
                .await?;
                let pod = ran("kubectl", &["-n", SYSTEM, "describe", "pod", "bowsprit-test"]).await?;
                anyhow::bail!("{tested:#?}\n{}{}\n{}", log.out, log.err, pod.out);
            }
            for line in tested.out.lines() {
                note(line);
            }
            eventually(LONG, "pod and ProviderConfig of the test are gone", async || {
                let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
                let configs = Api::<ProviderConfig>::namespaced(bed.client.clone(), SYSTEM);
                ensure!(pods.get_opt("bowsprit-test").await?.is_none(), "the pod is there");
                ensure!(
                    configs.get_opt("bowsprit-test").await?.is_none(),
                    "the ProviderConfig is there"
                );
                Ok(())
            })
            .await?;
            Ok(())
        })
        .await;
}
