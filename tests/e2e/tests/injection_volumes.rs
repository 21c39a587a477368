//! What is mounted into the sidecar can be read there, whoever the app runs as, and what is the app's is not there.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{Test, image, pod_manifest, test};
use serde_json::{Value, json};

/// The user that the sidecar runs as.
const SIDECAR: u32 = 65532;

/// Reads the token and writes into the folder, where these two are mounted.
const LOOK: &str = "
import base64, json, os
token = open('/seen/token/token').read()
claims = token.split('.')[1]
claims = json.loads(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4)))
with open('/seen/state/probe', 'w') as file: file.write('x' * 1000)
print(json.dumps({'uid': os.getuid(), 'audience': claims['aud'], 'seconds': claims['exp'] - claims['iat'], 'wrote': os.path.getsize('/seen/state/probe')}))
";

#[tokio::test]
async fn the_token_can_be_read_and_the_folder_written_beside_an_app_of_any_user() {
    test("volumes", async |bed| {
        for (name, pod, other) in [
            ("no-user", json!({}), json!({})),
            ("other-user", json!({}), json!({"runAsUser": 1000})),
            ("pod-user", json!({"runAsUser": 1000, "runAsGroup": 1000}), json!({})),
            ("group", json!({"runAsUser": 1000, "fsGroup": 2000}), json!({})),
            (
                "same-user",
                json!({"runAsUser": SIDECAR, "fsGroup": SIDECAR}),
                json!({}),
            ),
        ] {
            let mut manifest = pod_manifest(name);
            let mut second = manifest["spec"]["containers"][0].clone();
            second["name"] = json!("other");
            second["securityContext"] = other;
            // The container that looks is what the sidecar is, with a Python in it: same user, same mounts.
            let app = &mut manifest["spec"]["containers"][0];
            app["securityContext"] = json!({"runAsUser": SIDECAR, "runAsGroup": SIDECAR});
            app["volumeMounts"] = json!([
                {"name": "bowsprit-token", "mountPath": "/seen/token", "readOnly": true},
                {"name": "bowsprit-state", "mountPath": "/seen/state"},
            ]);
            manifest["spec"]["containers"]
                .as_array_mut()
                .context("no list")?
                .push(second);
            manifest["spec"]["securityContext"] = pod;
            let app = bed.app_from(&manifest).await?;
            let seen: Value = serde_json::from_str(&app.python(LOOK).await.context(name)?)?;
            ensure!(seen["uid"] == SIDECAR && seen["wrote"] == 1000, "{name}: {seen}");
            ensure!(seen["audience"] == json!([names::TOKEN_AUDIENCE]), "{name}: {seen}");
            // The apiserver may add minutes to what is asked, and does not make it a year.
            let seconds = seen["seconds"].as_u64().unwrap_or(u64::MAX);
            ensure!((600..=4 * 3600).contains(&seconds), "{name}: {seen}");
        }
        Ok(())
    })
    .await;
}

/// The names in a folder, without the kubelet's own.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with("..")).collect())
}

/// Looked at from the node: inside the pod nobody may look into the sidecar's process.
#[tokio::test]
async fn the_sidecar_sees_its_own_token_and_not_the_apps() {
    test("mask", async |bed| {
        bed.app("app").await?;
        let sidecar = Process::of(&bed.pod("app").await?, names::SIDECAR_CONTAINER)?;
        let account = names_in(&sidecar.root().join("run/secrets/kubernetes.io/serviceaccount"))
            .or_else(|_| names_in(&sidecar.root().join("var/run/secrets/kubernetes.io/serviceaccount")))?;
        ensure!(account.is_empty(), "the app's token is there: {account:?}");
        let token = names_in(&sidecar.root().join("var/run/bowsprit/token"))?;
        ensure!(token == ["token"], "{token:?}");
        let mounts = sidecar.mounts()?;
        for wanted in [
            names::CONFIG_DIR,
            names::SECRETS_DIR,
            names::STATE_DIR,
            "/etc/bowsprit/pod",
            "/var/run/bowsprit/token",
        ] {
            let wanted_too = wanted.replacen("/var/run", "/run", 1);
            ensure!(
                mounts.iter().any(|it| *it == wanted || *it == wanted_too),
                "{wanted}: {mounts:?}"
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_for_debugging_is_left_as_it_is() {
    test("ephemeral", async |bed| {
        bed.app("app").await?;
        let before = json!(bed.pod("app").await?);
        let debug = json!({"spec": {"ephemeralContainers": [{
            "name": "debug", "image": image("bowsprit-app"), "command": ["/usr/bin/python3", "-c", "print('looks')"],
        }]}});
        let path = format!("/api/v1/namespaces/{}/pods/app/ephemeralcontainers", bed.namespace);
        let request = http::Request::patch(path)
            .header("content-type", "application/strategic-merge-patch+json")
            .body(debug.to_string().into_bytes().into())?;
        let (status, _, answer) = bed.send(request).await?;
        ensure!(status == 200, "{status} {answer}");
        let after: Value = serde_json::from_str(&answer)?;
        let added = &after["spec"]["ephemeralContainers"][0];
        ensure!(added["env"].is_null() && added["name"] == "debug", "{added:#}");
        ensure!(
            after["spec"]["initContainers"] == before["spec"]["initContainers"],
            "{after:#}"
        );
        ensure!(
            after["metadata"]["annotations"] == before["metadata"]["annotations"],
            "{after:#}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn another_port_and_other_sizes_are_in_force() {
    test("ports", async |bed| {
        let mut manifest = pod_manifest("app");
        manifest["metadata"]["annotations"] = json!({
            "bowsprit.dev/sidecar-app-port": "4400",
            "bowsprit.dev/sidecar-admin-port": "4401",
            "bowsprit.dev/sidecar-max-body": "1Ki",
        });
        // What the sidecar leaves free is the app's.
        manifest["spec"]["containers"][0]["ports"] = json!([{"containerPort": 4000}]);
        let app = bed.app_from(&manifest).await?;
        ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
        let refused = app.app(&["--sdk-retries", "0", &"x".repeat(2000)]).await?;
        ensure!(!refused.ok && refused.stderr.contains("413"), "{refused:?}");
        let (status, health) = bed.pod_http("GET", "app", 4401, "/health", "").await?;
        ensure!(status == 200, "{status} {health}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_volume_of_the_sidecars_name_is_refused() {
    Test::new("volname")
        .bare()
        .run(async |bed| -> Result<()> {
            let mut manifest = pod_manifest("app");
            manifest["spec"]["volumes"] = json!([{"name": "bowsprit-secrets", "emptyDir": {}}]);
            let (status, answer) = bed.try_create(&manifest).await?;
            ensure!(
                status == 422 && answer.contains("spec.volumes[0].name"),
                "{status} {answer}"
            );
            Ok(())
        })
        .await;
}
