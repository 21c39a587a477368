//! What the apiserver takes and what it refuses, by the CRDs alone.

use anyhow::{Context, Result, ensure};
use bowsprit_core::yaml;
use bowsprit_e2e::{Bed, SHORT, Test, eventually};
use serde_json::{Map, Value, json};

const ACCEPTED: &str = include_str!("validation/accepted.yaml");
const REJECTED: &str = include_str!("validation/rejected.yaml");
const EXAMPLES: &str = include_str!("../../../examples/providerconfigs.yaml");
const ROUTE_EXAMPLE: &str = include_str!("../../../examples/modelroute.yaml");
const DEMO: &str = include_str!("../../demo/providerconfigs.yaml");

/// The created objects' kinds that are ours.
fn ours(text: &str) -> Vec<Value> {
    let documents = yaml::documents(text).unwrap();
    documents
        .into_iter()
        .filter(|it| it["apiVersion"] == bowsprit_crds::API_VERSION)
        .collect()
}

#[tokio::test]
async fn documents_that_are_right_are_accepted() {
    Test::new("accepted")
        .bare()
        .run(async |bed| {
            let documents: Vec<_> = [ACCEPTED, EXAMPLES, ROUTE_EXAMPLE, DEMO]
                .into_iter()
                .flat_map(ours)
                .collect();
            ensure!(
                documents.len() > 10,
                "the tables were not read: {} documents",
                documents.len()
            );
            for document in documents {
                let (status, answer) = bed.try_create(&document).await?;
                ensure!(
                    status == 201,
                    "{} was refused: {status} {answer}",
                    document["metadata"]["name"]
                );
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn documents_that_are_wrong_are_refused_with_path_and_remedy() {
    Test::new("rejected")
        .bare()
        .run(async |bed| {
            let table = yaml::documents(REJECTED)?.remove(0);
            let cases = table["cases"].as_array().context("no cases")?;
            ensure!(cases.len() > 30, "the table was not read: {} cases", cases.len());
            let mut wrong = Vec::new();
            for case in cases {
                if let Err(error) = refused(bed, &table["base"], case).await {
                    wrong.push(format!("{}: {error:#}", case["name"]));
                }
            }
            ensure!(
                wrong.is_empty(),
                "{} of {} cases:\n{}",
                wrong.len(),
                cases.len(),
                wrong.join("\n")
            );
            Ok(())
        })
        .await;
}

/// One case of the table: its spec is laid over the base key by key, where null takes a key away.
async fn refused(bed: &Bed, base: &Value, case: &Value) -> Result<()> {
    let kind = case["kind"].as_str().unwrap_or("ProviderConfig");
    let mut spec: Map<String, Value> = base[kind].as_object().context("no base for this kind")?.clone();
    for (key, value) in case["spec"].as_object().context("no spec")? {
        spec.insert(key.clone(), value.clone());
    }
    spec.retain(|_, value| !value.is_null());
    let object = json!({
        "apiVersion": bowsprit_crds::API_VERSION,
        "kind": kind,
        "metadata": {"name": case["name"]},
        "spec": spec,
    });
    let (status, answer) = bed.try_create(&object).await?;
    ensure!((400..500).contains(&status), "answered {status}: {answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    let message = answer["message"].as_str().unwrap_or_default();
    for words in case["says"].as_array().context("no words to look for")? {
        let words = words.as_str().context("words must be a text")?;
        ensure!(message.contains(words), "{words:?} is not in {message:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_provider_of_an_account_cannot_change() {
    Test::new("immutable").bare().run(async |bed| {
        let account = |provider: &str| {
            json!({
                "apiVersion": bowsprit_crds::API_VERSION,
                "kind": "ProviderConfig",
                "metadata": {"name": "a"},
                "spec": {"provider": provider, "credentials": [{"name": "main", "secretKeyRef": {"name": "s", "key": "k"}}]},
            })
        };
        bed.apply_one(&account("OpenAI")).await?;
        let refused = bed.apply_one(&account("Gemini")).await.err().context("it was accepted")?;
        ensure!(format!("{refused:#}").contains("create a new ProviderConfig"), "{refused:#}");
        Ok(())
    })
    .await;
}

/// Creates an object as somebody else (the bed may impersonate), without keeping it: status, body and warnings.
async fn try_create_as(bed: &Bed, user: &str, object: &Value) -> Result<(u16, String, Vec<String>)> {
    let plural = if object["kind"] == "ModelRoute" {
        "modelroutes"
    } else {
        "providerconfigs"
    };
    let path = format!(
        "/apis/{}/namespaces/{}/{plural}?dryRun=All",
        bowsprit_crds::API_VERSION,
        bed.namespace
    );
    let mut request = http::Request::post(path).header("content-type", "application/json");
    if !user.is_empty() {
        request = request.header("impersonate-user", user);
    }
    let request = request.body(object.to_string().into_bytes().into())?;
    let (status, headers, body) = bed.send(request).await?;
    let warnings = headers.get_all("warning").iter();
    let warnings = warnings
        .map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned())
        .collect();
    Ok((status, body, warnings))
}

#[tokio::test]
async fn who_may_not_read_a_secret_cannot_have_its_keys_sent_anywhere() {
    Test::new("deputy")
        .bare()
        .run(async |bed| {
            let role = |name: &str, group: &str, resource: &str, verb: &str| {
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
                       "rules": [{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]})
            };
            let binding = |name: &str, role: &str, user: &str| {
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
                       "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                       "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
            };
            for object in [
                role("writes-providers", "bowsprit.dev", "providerconfigs", "create"),
                role("reads-secrets", "", "secrets", "get"),
                binding("eve-writes", "writes-providers", "eve"),
                binding("ann-writes", "writes-providers", "ann"),
                binding("ann-reads", "reads-secrets", "ann"),
            ] {
                bed.apply_one(&object).await?;
            }
            let account = json!({
                "apiVersion": bowsprit_crds::API_VERSION, "kind": "ProviderConfig", "metadata": {"name": "elsewhere"},
                "spec": {
                    "provider": "OpenAICompatible", "endpoint": {"baseUrl": "https://collects-keys.example.com/v1"},
                    "credentials": [{"name": "main", "secretKeyRef": {"name": "llm-keys", "key": "openai"}}],
                },
            });
            // The apiserver knows of roles a moment after it has taken them.
            let refused = eventually(SHORT, "eve may write ProviderConfigs", async || {
                let (status, answer, _) = try_create_as(bed, "eve", &account).await?;
                ensure!(status != 403 || answer.contains("Secret"), "{status} {answer}");
                Ok((status, answer))
            });
            let (status, answer) = refused.await?;
            ensure!(
                status == 403 && answer.contains("eve may not read Secret"),
                "{status} {answer}"
            );
            eventually(SHORT, "ann may, who may read the Secret", async || {
                let (status, answer, _) = try_create_as(bed, "ann", &account).await?;
                ensure!(status == 201, "{status} {answer}");
                Ok(())
            })
            .await
        })
        .await;
}

#[tokio::test]
async fn what_is_allowed_and_unwise_is_said_to_whoever_applies_it() {
    Test::new("advice")
        .bare()
        .run(async |bed| {
            let route = json!({
                "apiVersion": bowsprit_crds::API_VERSION, "kind": "ModelRoute", "metadata": {"name": "fast"},
                "spec": {"match": {"models": ["fast"]}, "targets": [{"provider": "nobody"}]},
            });
            let (status, answer, warnings) = try_create_as(bed, "", &route).await?;
            ensure!(status == 201, "{status} {answer}");
            let warnings = warnings.join("\n");
            ensure!(warnings.contains("no target is a ProviderConfig"), "{warnings:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn every_problem_of_an_object_is_told_at_once() {
    Test::new("atonce")
        .bare()
        .run(async |bed| {
            // What the CRD's rules see of it.
            let by_rules = json!({
                "apiVersion": bowsprit_crds::API_VERSION, "kind": "ProviderConfig", "metadata": {"name": "by-rules"},
                "spec": {
                    "provider": "Anthropic",
                    "endpoint": {"baseUrl": "http://x", "headers": {"Api-Key": "k"}},
                    "retry": {"backoff": {"base": "10s", "max": "1s"}},
                    "streamUsage": "AsIs",
                    "fallbackProviders": ["by-rules"],
                },
            });
            let (status, answer) = bed.try_create(&by_rules).await?;
            ensure!(status == 422, "{status} {answer}");
            for words in [
                "needs a key",
                "clear text: use https",
                "holds a key in clear text",
                "must not be longer than max",
                "streamUsage: only",
                "must not name this ProviderConfig itself",
            ] {
                ensure!(answer.contains(words), "{words:?} is not in {answer}");
            }
            // What only the operator sees: the same names in a list of lists, an address that may not be reached, a proxy with a path.
            let by_operator = json!({
                "apiVersion": bowsprit_crds::API_VERSION, "kind": "ProviderConfig", "metadata": {"name": "by-operator"},
                "spec": {
                    "provider": "OpenAICompatible",
                    "endpoint": {"baseUrl": "https://169.254.169.254/v1", "httpProxy": "http://proxy.corp:3128/path"},
                    "models": [{"name": "a", "aliases": ["b"]}, {"name": "c", "aliases": ["b"]}],
                },
            });
            let (status, answer) = bed.try_create(&by_operator).await?;
            ensure!(status == 422, "{status} {answer}");
            for words in ["spec.endpoint.baseUrl", "spec.models[1]", "spec.endpoint.httpProxy"] {
                ensure!(answer.contains(words), "{words:?} is not in {answer}");
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn deleting_a_provider_that_others_name_is_allowed_with_a_warning_for_each() {
    Test::new("inuse")
        .bare()
        .run(async |bed| {
            let account = |name: &str, fallback: &[&str]| {
                json!({
                    "apiVersion": bowsprit_crds::API_VERSION, "kind": "ProviderConfig", "metadata": {"name": name},
                    "spec": {"provider": "OpenAICompatible", "endpoint": {"baseUrl": "https://x.example/v1"},
                             "fallbackProviders": fallback, "models": [{"name": name}]},
                })
            };
            let route = json!({
                "apiVersion": bowsprit_crds::API_VERSION, "kind": "ModelRoute", "metadata": {"name": "fast"},
                "spec": {"match": {"models": ["fast"]}, "targets": [{"provider": "other", "model": "other"}],
                         "fallback": [{"provider": "used", "model": "used"}]},
            });
            let used = account("used", &[]);
            for object in [&used, &account("other", &["used"]), &route] {
                bed.apply_one(object).await?;
            }
            bed.rendered(|text| text.contains("name: fast")).await?;
            // Any of the operators is asked, and the leader's word is that it knows itself.
            eventually(SHORT, "whoever is asked knows who uses it", async || {
                let (status, answer, warnings) = bed.dry_run_delete(&used).await?;
                ensure!(status == 200, "{status} {answer}");
                for user in [
                    "ModelRoute fast names ProviderConfig used",
                    "ProviderConfig other names ProviderConfig used",
                ] {
                    ensure!(
                        warnings.iter().any(|it| it.contains(user)),
                        "{user:?} is not in {warnings:#?}"
                    );
                }
                Ok(())
            })
            .await?;
            let (status, answer, warnings) = bed.dry_run_delete(&route).await?;
            ensure!(status == 200 && warnings.is_empty(), "{status} {answer} {warnings:?}");
            Ok(())
        })
        .await;
}
