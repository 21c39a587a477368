//! Two namespaces side by side: nothing that one has kept, limited or forbidden is ever seen in the other.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{App, Bed, LONG, eventually, kubectl, test};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::cli::{File, bowsprit, ran, show};
use crate::stream;
use crate::usage::{CACHED, ask, asked, in_force, of_cache, until_limited};

/// The route that both have; what is said of it is one namespace's alone.
const FEW: &str = r"
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: few}
spec:
  match: {models: [few]}
  targets: [{provider: claude, model: claude-sonnet-4-5}]
";
const LIMIT: &str = "  limits: [{name: of-one-alone, requestsPerMinute: 1}]";
const RULE: &str = r#"
---
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: rules}
spec:
  access:
    rules: [{name: of-one-alone-too, allow: '!request.model.startsWith("gemini")'}]
"#;
/// The key that the other has for Claude; the one has another.
const OTHERS_KEY: &str = "key-of-the-other";
/// The words by which the other would be known to have seen them.
const OF_ONE: &str = "of-one-alone";

#[tokio::test]
async fn no_kept_answer_key_limit_or_rule_of_one_namespace_is_ever_seen_in_another() {
    test("tenants", async |one| {
        let two = Bed {
            client: one.client.clone(),
            namespace: format!("{}-other", one.namespace),
        };
        kubectl(&["create", "namespace", &two.namespace]).await?;
        let outcome = side_by_side(one, &two).await;
        kubectl(&["delete", "namespace", &two.namespace, "--wait=false"]).await?;
        outcome
    })
    .await;
}

async fn side_by_side(one: &Bed, two: &Bed) -> Result<()> {
    two.furnish().await?;
    let secret = json!({"stringData": {"anthropic": OTHERS_KEY}}).to_string();
    kubectl(&["-n", &two.namespace, "patch", "secret", "keys", "-p", &secret]).await?;
    let (ones, twos) = (one.app("app").await?, two.app("app").await?);
    let objects = format!("{CACHED}{FEW}{LIMIT}{RULE}");
    in_force(
        one,
        &ones,
        &objects,
        &["name: kept", "name: of-one-alone\n", "name: of-one-alone-too"],
    )
    .await?;
    in_force(two, &twos, &format!("{CACHED}{FEW}"), &["name: kept", "name: few"]).await?;

    // Kept answers.
    let miss = "bowsprit; fwd=miss";
    ensure!(of_cache(&ones).await?.0 == miss);
    ensure!(of_cache(&ones).await?.0.starts_with("bowsprit; hit"));
    ensure!(
        of_cache(&twos).await?.0 == miss,
        "the same request in another namespace is another"
    );
    asked(one, 1).await?;
    asked(two, 1).await?;
    let cleared = bowsprit(two, &["cache", "clear", "--all"]).await?;
    show("cache clear --all", &cleared);
    ensure!(cleared.out.contains("1 answer cleared, at 1 sidecar."), "{cleared:#?}");
    ensure!(
        of_cache(&ones).await?.0.starts_with("bowsprit; hit"),
        "the other one's are as they were"
    );
    ensure!(of_cache(&twos).await?.0 == miss);

    // Limits.
    let refused = until_limited(&ones, "few").await?;
    ensure!(
        refused.status == 429 && refused.header("x-bowsprit-limit") == "of-one-alone",
        "{refused:?}"
    );
    for _ in 0..3 {
        let answer = ask(&twos, "few", json!({})).await?;
        ensure!(answer.status == 200, "{answer:?}");
    }

    // Rules.
    let refused = ask(&ones, "gemini-2.5-flash", json!({})).await?;
    ensure!(
        refused.status == 403 && refused.body.contains("of-one-alone-too"),
        "{refused:?}"
    );
    let answer = ask(&twos, "gemini-2.5-flash", json!({})).await?;
    ensure!(answer.status == 200, "{answer:?}");

    // And nothing of it stands where the other could read it.
    let config = two.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
    for (place, text) in [
        ("the config", format!("{:?}", config.data)),
        ("/health", twos.admin("/health").await?),
        ("/metrics", twos.admin("/metrics").await?),
        ("status", bowsprit(two, &["status"]).await?.out),
    ] {
        ensure!(!text.contains(OF_ONE), "{place} of the other names it: {text}");
    }
    keys_stay_at_home(one, two).await?;
    a_stream_is_of_its_pods_namespace(two, &twos).await?;
    a_member_sees_its_own(one, two).await
}

/// Both name their key the same.
async fn keys_stay_at_home(one: &Bed, two: &Bed) -> Result<()> {
    let of = async |bed: &Bed| -> Result<Vec<String>> {
        let keys = bed.providers().keys().await?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    };
    let (ones, twos) = (of(one).await?, of(two).await?);
    ensure!(
        !ones.is_empty() && !ones.iter().any(|key| key == OTHERS_KEY),
        "{ones:?}"
    );
    ensure!(
        twos.iter().any(|key| key == OTHERS_KEY) && !twos.iter().any(|key| key == "key-of-claude"),
        "{twos:?}"
    );
    Ok(())
}

/// Whoever holds a pod's token for the operator gets the documents of that pod's namespace, and has no way to ask for another's.
async fn a_stream_is_of_its_pods_namespace(two: &Bed, twos: &App<'_>) -> Result<()> {
    let data = two.api::<ConfigMap>().get(names::CONFIG_MAP).await?.data;
    let ca = data.unwrap_or_default().remove(names::CA_KEY).context("no CA bundle")?;
    let token = stream::token(two, names::TOKEN_AUDIENCE, Some(&twos.object().await?)).await?;
    let config = stream::asks(twos, &ca, Some(&token)).await?;
    ensure!(config.starts_with("101 ") && config.contains("few"), "{config}");
    ensure!(!config.contains(OF_ONE), "the stream of the other names it: {config}");
    Ok(())
}

/// Somebody with the persona's role in the one namespace is told of that alone, by the plugin as by kubectl.
async fn a_member_sees_its_own(one: &Bed, two: &Bed) -> Result<()> {
    let (ones, twos) = (one.namespace.as_str(), two.namespace.as_str());
    kubectl(&["-n", twos, "create", "serviceaccount", "member"]).await?;
    let account = format!("--serviceaccount={twos}:member");
    let role = "--clusterrole=bowsprit-app-team";
    kubectl(&["-n", twos, "create", "rolebinding", "member", role, &account]).await?;
    let token = ran("kubectl", &["-n", twos, "create", "token", "member"]).await?.out;
    let config = ran("kubectl", &["config", "view", "--raw", "-o", "json"]).await?.out;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let member = File::new(two, "member-of-two.json", &config.to_string())?;
    let status = ["status", "--kubeconfig", member.path()];
    eventually(LONG, "the member sees its own", async || {
        let own = bowsprit(two, &status).await?;
        ensure!(own.out.contains("few") && !own.out.contains(OF_ONE), "{own:#?}");
        Ok(())
    })
    .await?;
    let foreign = bowsprit(one, &status).await?;
    show("status -n OTHER --kubeconfig member.json", &foreign);
    ensure!(
        foreign.code == Some(3) && foreign.err.contains("not permitted"),
        "{foreign:#?}"
    );
    let mut tried = vec![foreign];
    for kind in [
        "modelroutes",
        "usagepolicies",
        "providerconfigs",
        "configmaps",
        "secrets",
        "pods",
    ] {
        let words = ["--kubeconfig", member.path(), "-n", ones, "get", kind, "-o", "yaml"];
        let got = ran("kubectl", &words).await?;
        ensure!(got.code == Some(1) && got.err.contains("Forbidden"), "{kind}: {got:#?}");
        tried.push(got);
    }
    for got in tried {
        ensure!(!got.out.contains(OF_ONE) && !got.err.contains(OF_ONE), "{got:#?}");
    }
    Ok(())
}
