//! What a namespace says of its use of models holds in the pod, and the answer says what it was: access rules, named limits, the cache.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Answer, App, Bed, LONG, eventually, test};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use crate::cli::{bowsprit, show};

/// Asks for a model, with whatever else the request is to say.
pub(crate) async fn ask(app: &App<'_>, model: &str, more: Value) -> Result<Answer> {
    let mut asked = json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": "ahoy"}]});
    for (name, value) in more.as_object().into_iter().flatten() {
        asked[name] = value.clone();
    }
    app.call("POST", "/v1/chat/completions", &json!({}), Some(&asked)).await
}

/// Applies objects, and waits until the sidecar has in service what the operator made of them: a config with these words.
pub(crate) async fn in_force(bed: &Bed, app: &App<'_>, objects: &str, words: &[&str]) -> Result<()> {
    bed.apply_soon(objects).await?;
    eventually(LONG, &format!("{} has {words:?} in service", app.pod), async || {
        let data = bed
            .api::<ConfigMap>()
            .get(names::CONFIG_MAP)
            .await?
            .data
            .unwrap_or_default();
        let text = data.get(names::CONFIG_KEY).context("no config")?;
        ensure!(words.iter().all(|words| text.contains(words)), "it is written: {text}");
        let health = app.health().await?;
        ensure!(
            health["config"]["revision"].as_str() == data.get(names::REVISION_KEY).map(String::as_str),
            "{health:#}"
        );
        Ok(())
    })
    .await
}

/// So many requests have come to the scripted Anthropic.
pub(crate) async fn asked(bed: &Bed, times: u64) -> Result<()> {
    let asked = bed.providers().asked("anthropic").await?;
    ensure!(asked == times, "the provider was asked {asked} times, and not {times}");
    Ok(())
}

const RULES: &str = r#"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: smart}
spec:
  match: {models: [smart]}
  targets: [{provider: claude, model: claude-sonnet-4-5}]
  access:
    enforcement: ENFORCEMENT
    rules:
      - {name: bounded, allow: "has(request.maxTokens) && request.maxTokens <= 100", message: Set max_tokens to 100 or less.}
---
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: rules}
spec:
  access:
    rules:
      - {name: no-gemini, allow: '!request.model.startsWith("gemini")'}
"#;

#[tokio::test]
async fn a_denied_model_is_refused_with_the_rules_name_and_a_rule_in_shadow_only_counts() {
    test("access", async |bed| {
        let app = bed.app("app").await?;
        let rules = |enforcement: &str| RULES.replace("ENFORCEMENT", enforcement);
        in_force(bed, &app, &rules("Enforce"), &["name: bounded", "name: no-gemini"]).await?;
        for (model, more, rule) in [
            ("gemini-2.5-flash", json!({}), "no-gemini"),
            ("smart", json!({}), "bounded"),
            ("smart", json!({"max_tokens": 101}), "bounded"),
        ] {
            let refused = ask(&app, model, more).await?;
            ensure!(
                refused.status == 403 && refused.body.contains("AUTH_ACCESS_DENIED") && refused.body.contains(rule),
                "{refused:?}"
            );
        }
        let refused = ask(&app, "smart", json!({})).await?;
        ensure!(refused.body.contains("Set max_tokens to 100 or less."), "{refused:?}");
        asked(bed, 0).await?;
        ensure!(
            bed.providers().asked("gemini").await? == 0,
            "nobody is asked for what is denied"
        );
        let answer = ask(&app, "smart", json!({"max_tokens": 100})).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let denied = app
            .metric("bowsprit_access_decisions_total", &["decision=\"denied\""])
            .await?;
        ensure!(denied >= 4.0, "{denied} were counted");

        // Below /providers/ too: what the provider's own API generates by is read there.
        let below = async |model: &str| {
            let asked = json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "ahoy"}]});
            let version = json!({"anthropic-version": "2023-06-01"});
            app.call("POST", "/providers/claude/v1/messages", &version, Some(&asked))
                .await
        };
        let tokens = async || {
            app.metric("bowsprit_tokens_total", &["model=\"claude-sonnet-4-5\""])
                .await
        };
        let (before, counted) = (bed.providers().asked("anthropic").await?, tokens().await?);
        let refused = below("gemini-2.5-flash").await?;
        ensure!(
            refused.status == 403 && refused.body.contains("no-gemini"),
            "{refused:?}"
        );
        asked(bed, before).await?;
        let answer = below("claude-sonnet-4-5").await?;
        ensure!(answer.status == 200 && answer.body.contains("usage"), "{answer:?}");
        asked(bed, before + 1).await?;
        ensure!(tokens().await? > counted, "its tokens are known");

        in_force(bed, &app, &rules("Shadow"), &["enforcement: Shadow"]).await?;
        let answer = ask(&app, "smart", json!({})).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let counted = app
            .metric("bowsprit_access_decisions_total", &["decision=\"would_deny\""])
            .await?;
        ensure!(counted >= 1.0, "{counted} were counted");
        let refused = ask(&app, "gemini-2.5-flash", json!({})).await?;
        ensure!(
            refused.status == 403,
            "the policy's rule is in force as before: {refused:?}"
        );
        Ok(())
    })
    .await;
}

const FEW: &str = r"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: few}
spec:
  match: {models: [few]}
  targets: [{provider: claude, model: claude-sonnet-4-5}]
  limits: [{name: calls-a-minute, requestsPerMinute: 1}]
";

/// Asks until it is refused, which is soon: a minute has room for one.
pub(crate) async fn until_limited(app: &App<'_>, model: &str) -> Result<Answer> {
    let mut answer = ask(app, model, json!({})).await?;
    ensure!(answer.status == 200, "the first has room: {answer:?}");
    for _ in 0..5 {
        answer = ask(app, model, json!({})).await?;
        if answer.status != 200 {
            break;
        }
    }
    Ok(answer)
}

#[tokio::test]
async fn a_named_limit_of_a_route_refuses_with_its_name_and_when_to_come_back() {
    test("limits", async |bed| {
        let app = bed.app("app").await?;
        in_force(bed, &app, FEW, &["name: calls-a-minute"]).await?;
        let refused = until_limited(&app, "few").await?;
        ensure!(refused.status == 429, "{refused:?}");
        ensure!(refused.header("x-bowsprit-limit") == "calls-a-minute", "{refused:?}");
        let wait: u64 = refused
            .header("retry-after")
            .parse()
            .with_context(|| format!("{refused:?}"))?;
        ensure!((1..=60).contains(&wait), "{refused:?}");
        ensure!(
            refused.body.contains("RATE_LOCAL_LIMIT") && refused.body.contains("calls-a-minute"),
            "{refused:?}"
        );
        let other = ask(&app, "claude-sonnet-4-5", json!({})).await?;
        ensure!(other.status == 200, "no other route is under it: {other:?}");
        let why = app
            .metric("bowsprit_requests_total", &["code=\"RATE_LOCAL_LIMIT\""])
            .await?;
        ensure!(why >= 1.0, "{why} were counted");
        Ok(())
    })
    .await;
}

pub(crate) const CACHED: &str = r"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: kept}
spec:
  match: {models: [kept]}
  targets: [{provider: claude, model: claude-sonnet-4-5}]
  cache: {ttl: 1h, maxBytes: 1048576}
";

/// Asks for the route with a cache, and gives what the answer says of it.
pub(crate) async fn of_cache(app: &App<'_>) -> Result<(String, String)> {
    let answer = ask(app, "kept", json!({})).await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok((answer.header("cache-status").to_owned(), answer.body))
}

#[tokio::test]
async fn the_same_request_is_answered_from_memory_until_the_cache_is_cleared() {
    test("cache", async |bed| {
        let app = bed.app("app").await?;
        in_force(bed, &app, CACHED, &["maxBytes: 1048576"]).await?;
        let (said, first) = of_cache(&app).await?;
        ensure!(said == "bowsprit; fwd=miss", "{said}");
        let (said, again) = of_cache(&app).await?;
        ensure!(said.starts_with("bowsprit; hit; ttl="), "{said}");
        ensure!(again == first, "from {first} to {again}");
        asked(bed, 1).await?;
        let other = ask(&app, "kept", json!({"max_tokens": 9})).await?;
        ensure!(
            other.header("cache-status") == "bowsprit; fwd=miss",
            "another request: {other:?}"
        );
        asked(bed, 2).await?;

        let cleared = bowsprit(bed, &["cache", "clear", "--route", "kept"]).await?;
        show("cache clear --route kept", &cleared);
        ensure!(
            cleared.code == Some(0) && cleared.out.contains("2 answers cleared, at 1 sidecar."),
            "{cleared:#?}"
        );
        let (said, _) = of_cache(&app).await?;
        ensure!(said == "bowsprit; fwd=miss", "{said}");
        asked(bed, 3).await?;
        let nowhere = bowsprit(bed, &["cache", "clear", "--route", "nowhere"]).await?;
        ensure!(nowhere.code != Some(0), "{nowhere:#?}");
        Ok(())
    })
    .await;
}
