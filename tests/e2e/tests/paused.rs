//! The kill switch of a namespace, as people turn it, and who may.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{ProviderConfig, UsagePolicy};
use bowsprit_e2e::{App, Bed, eventually, kubectl, note, test};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::cli::{bowsprit, show};

/// Asks as the official SDK does, with its own retries: what it got, as one line of JSON.
const ASK: &str = r#"
import json, openai
client = openai.OpenAI(api_key="x")
try:
    answer = client.chat.completions.create(model="claude-sonnet-4-5", messages=[{"role": "user", "content": "ahoy"}])
    print(json.dumps({"status": 200, "body": answer.choices[0].message.content}))
except openai.APIStatusError as error:
    print(json.dumps({"status": error.status_code, "body": error.response.text}))
"#;

async fn ask(app: &App<'_>) -> Result<Value> {
    let printed = app.python(ASK).await?;
    serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
}

#[tokio::test]
async fn a_namespace_is_paused_within_a_moment_and_says_why_and_goes_on_when_it_is_resumed() {
    test("paused", async |bed| {
        let app = bed.app("app").await?;
        let answer = ask(&app).await?;
        ensure!(answer["status"] == 200, "{answer}");

        // Without the plugin, so that nothing but the way to the sidecar is measured.
        let policy = json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "pause"},
            "spec": {"paused": true, "pausedReason": "an incident"},
        });
        let begun = Instant::now();
        bed.apply_one(&policy).await?;
        eventually(Duration::from_secs(10), "the sidecar has the pause", async || {
            let held = app.health().await?["config"]["policies"].clone();
            ensure!(held == 1, "it has {held} policies");
            Ok(())
        })
        .await?;
        note(&format!(
            "paused in the sidecar after {:?}, looks included",
            begun.elapsed()
        ));
        let refused = ask(&app).await?;
        let body = refused["body"].as_str().unwrap_or_default();
        ensure!(refused["status"] == 403 && body.contains("BIZ_PAUSED"), "{refused}");
        ensure!(
            body.contains("UsagePolicy pause has paused this: an incident"),
            "{body}"
        );
        let programmed = bed.condition::<UsagePolicy>("pause", "Programmed", "True").await?;
        ensure!(
            programmed.reason == "Paused" && programmed.message.contains("an incident"),
            "{programmed:?}"
        );
        let status = bed.api::<UsagePolicy>().get("pause").await?.status.unwrap_or_default();
        if let Some(took) = status.propagation {
            note(&format!(
                "the operator measured {} from its write to the sidecar's word",
                took.p99
            ));
        }
        let counted = app.metric("bowsprit_requests_total", &["code=\"BIZ_PAUSED\""]).await?;
        ensure!(counted >= 1.0, "{counted} were counted");
        let table = kubectl(&["get", "up", "-n", &bed.namespace]).await?;
        ensure!(table.contains("PAUSED") && table.contains("true"), "{table}");

        let shown = bowsprit(bed, &["status"]).await?;
        show("status", &shown);
        ensure!(shown.out.contains("paused: an incident"), "{shown:#?}");
        let resumed = bowsprit(bed, &["resume"]).await?;
        show("resume", &resumed);
        ensure!(
            resumed.code == Some(0) && resumed.out.contains("is resumed in all 1 sidecar"),
            "{resumed:#?}"
        );
        let answer = ask(&app).await?;
        ensure!(answer["status"] == 200, "{answer}");
        let paused = bowsprit(bed, &["pause", "--reason", "another"]).await?;
        show("pause --reason another", &paused);
        ensure!(paused.code == Some(0), "{paused:#?}");
        let refused = ask(&app).await?;
        ensure!(refused["status"] == 403, "{refused}");

        // What one namespace says holds for no other, and goes with its object.
        bed.api::<UsagePolicy>()
            .delete("pause", &kube::api::DeleteParams::default())
            .await?;
        bed.rendered(|text| !text.contains("usagePolicies")).await?;
        eventually(Duration::from_secs(10), "the pause is over", async || {
            let answer = ask(&app).await?;
            ensure!(answer["status"] == 200, "{answer}");
            Ok(())
        })
        .await?;
        wrong_ones_are_refused(bed).await
    })
    .await;
}

#[tokio::test]
async fn a_provider_and_a_route_are_paused_each_by_itself_and_others_take_over() {
    test("pausedparts", async |bed| {
        bed.apply_one(&json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": "sonnet"},
            "spec": {"match": {"models": ["claude-sonnet-4-5"]}, "targets": [{"provider": "claude"}], "fallback": [{"provider": "gemini"}]},
        }))
        .await?;
        bed.rendered(|text| text.contains("sonnet")).await?;
        let app = bed.app("app").await?;
        let answer = ask(&app).await?;
        ensure!(answer["status"] == 200, "{answer}");

        let begun = Instant::now();
        let paused = bowsprit(bed, &["pause", "--provider", "claude", "--reason", "it leaks"]).await?;
        note(&format!("the verb said so after {:?}", begun.elapsed()));
        show("pause --provider", &paused);
        ensure!(
            paused.code == Some(0) && paused.out.contains("provider claude is paused in all 1 sidecar"),
            "{paused:#?}"
        );
        let answer = ask(&app).await?;
        ensure!(answer["status"] == 200, "the other one answers: {answer}");
        eventually(Duration::from_secs(40), "the provider's condition says so", async || {
            let programmed = bed.condition::<ProviderConfig>("claude", "Programmed", "True").await?;
            ensure!(
                programmed.reason == "Paused"
                    && programmed.message.contains("pause-provider-claude has paused it: it leaks"),
                "{programmed:?}"
            );
            Ok(())
        })
        .await?;
        let shown = bowsprit(bed, &["status"]).await?;
        ensure!(shown.out.contains("paused provider claude: it leaks"), "{shown:#?}");

        let paused = bowsprit(bed, &["pause", "--route", "sonnet"]).await?;
        ensure!(paused.code == Some(0), "{paused:#?}");
        let refused = ask(&app).await?;
        let body = refused["body"].as_str().unwrap_or_default();
        ensure!(
            refused["status"] == 403 && body.contains("UsagePolicy pause-route-sonnet has paused ModelRoute sonnet"),
            "{refused}"
        );
        for what in [["resume", "--route", "sonnet"], ["resume", "--provider", "claude"]] {
            let resumed = bowsprit(bed, &what).await?;
            show("resume", &resumed);
            ensure!(resumed.code == Some(0) && resumed.out.contains("is resumed in all 1 sidecar"), "{resumed:#?}");
        }
        let answer = ask(&app).await?;
        ensure!(answer["status"] == 200, "{answer}");

        // A switch for nothing does not look as if it were turned.
        let typo = bowsprit(bed, &["pause", "--provider", "cloude"]).await?;
        ensure!(typo.code == Some(1) && typo.out.contains("there is no ProviderConfig"), "{typo:#?}");
        Ok(())
    })
    .await;
}

async fn wrong_ones_are_refused(bed: &Bed) -> Result<()> {
    let policy = |spec: Value| json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "wrong"}, "spec": spec});
    let month =
        json!({"name": "month", "amount": "10", "currency": "USD", "window": "Month", "withoutOperator": "Stop"});
    for (spec, words) in [
        (json!({"pausedReason": "x"}), "pausedReason"),
        (json!({"budgets": [month]}), "withoutOperator"),
        (
            json!({"budgets": [{"name": "m", "amount": "10", "window": "Month"}]}),
            "currency",
        ),
        (
            json!({"budgets": [{"name": "m", "amount": "0", "currency": "USD", "window": "Month"}]}),
            "must be above 0",
        ),
        (json!({"limits": [{"name": "none"}]}), "limits nothing"),
        (json!({"pausedProviders": [{"name": ""}]}), "pausedProviders"),
    ] {
        let (code, said) = bed.try_create(&policy(spec.clone())).await?;
        ensure!(code == 422 && said.contains(words), "{spec}: {code}: {said}");
    }
    Ok(())
}

/// Whether a user may do this in the test's namespace.
async fn may(bed: &Bed, user: &str, verb: &str, resource: &str) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {"user": user, "resourceAttributes": {
        "verb": verb, "group": "bowsprit.dev", "resource": resource, "subresource": subresource, "namespace": bed.namespace,
    }}}))?;
    let reviews = Api::<SubjectAccessReview>::all(bed.client.clone());
    let reviewed = reviews.create(&PostParams::default(), &review).await?;
    Ok(reviewed.status.is_some_and(|status| status.allowed))
}

#[tokio::test]
async fn the_platform_writes_policies_an_app_team_routes_and_an_auditor_nothing() {
    test("personas", async |bed| {
        for role in ["platform", "app-team", "auditor"] {
            bed.apply_one(&json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("bowsprit-{role}")},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("{role}-of-a-test")}],
            }))
            .await?;
        }
        let writes = [
            ("platform", "usagepolicies", true),
            ("platform", "providerconfigs", true),
            ("platform", "modelroutes", false),
            ("app-team", "usagepolicies", false),
            ("app-team", "providerconfigs", false),
            ("app-team", "modelroutes", true),
            ("auditor", "usagepolicies", false),
            ("auditor", "providerconfigs", false),
            ("auditor", "modelroutes", false),
        ];
        eventually(Duration::from_secs(30), "each may what its role says", async || {
            for (role, kind, expected) in writes {
                let user = format!("{role}-of-a-test");
                for verb in ["create", "update", "patch", "delete", "deletecollection"] {
                    ensure!(may(bed, &user, verb, kind).await? == expected, "{role} {verb} {kind}");
                }
                for verb in ["get", "list", "watch"] {
                    ensure!(may(bed, &user, verb, kind).await?, "{role} may not {verb} {kind}");
                }
                let status = format!("{kind}/status");
                let review = may(bed, &user, "patch", &status).await?;
                ensure!(!review, "{role} may write a {status}");
            }
            ensure!(may(bed, "auditor-of-a-test", "get", "providerconfigs/ledger").await?, "an auditor reads the ledger");
            ensure!(!may(bed, "nobody-of-a-test", "get", "usagepolicies").await?, "nobody else sees anything");
            Ok(())
        })
        .await?;
        let said = kubectl(&["auth", "can-i", "patch", "usagepolicies.bowsprit.dev", "--as", "app-team-of-a-test", "-n", &bed.namespace]).await;
        ensure!(said.is_err() || said.is_ok_and(|said| said.trim() == "no"), "an app team could lift its own pause");
        Ok(())
    })
    .await;
}
