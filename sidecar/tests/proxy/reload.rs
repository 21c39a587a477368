//! Configuration changes under traffic.

use std::os::unix::fs::symlink;
use std::path::Path;

use bowsprit_providers::{Answer, Fault};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::inside::Sidecar;
use bowsprit_rig::peer::Peer;
use serde_json::{Value, json};

use crate::support::{Bed, CANARIES, chat};

/// Writes a ConfigMap volume as the kubelet does: a new folder, then one rename of the `..data` link.
fn publish(dir: &Path, documents: &str, sequence: u64) {
    let version = dir.join(format!("..v{}", fastrand::u64(..)));
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("bowsprit.yaml"), documents).unwrap();
    std::fs::write(version.join("sequence"), sequence.to_string()).unwrap();
    std::fs::write(version.join("revision"), "anything").unwrap();
    let link = dir.join("..data_tmp");
    symlink(version.file_name().unwrap(), &link).unwrap();
    std::fs::rename(&link, dir.join("..data")).unwrap();
    for name in ["bowsprit.yaml", "sequence", "revision"] {
        let _ = symlink(Path::new("..data").join(name), dir.join(name));
    }
}

fn without_claude(name: &str, spec: &mut Value) {
    match name {
        "claude" => spec["enabled"] = false.into(),
        "gemini" => spec["models"][0]["aliases"] = json!(["claude-sonnet-4-5"]),
        _ => {}
    }
}

/// In a cluster keys come from Secrets.
fn from_secrets(change: impl Fn(&str, &mut Value)) -> impl Fn(&str, &mut Value) {
    move |name, spec| {
        spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "llm-keys", "key": name}}]);
        change(name, spec);
    }
}

fn cluster(documents: impl Fn(&Bed) -> Option<String>) -> Bed {
    let mut bed = Bed::providers();
    let config = bed.dir.path().join("config");
    let secrets = bed.dir.path().join("secrets/llm-keys");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::create_dir_all(&secrets).unwrap();
    for name in ["claude", "gemini", "openai"] {
        std::fs::write(secrets.join(name), format!("key-of-{name}")).unwrap();
    }
    if let Some(documents) = documents(&bed) {
        publish(&config, &documents, 5);
    }
    let (config, secrets) = (
        config.display().to_string(),
        bed.dir.path().join("secrets").display().to_string(),
    );
    bed.start(&["--config-dir", &config, "--secrets-dir", &secrets]);
    bed
}

#[tokio::test]
async fn a_changed_file_is_in_service_within_a_moment() {
    let bed = Bed::new().await;
    assert_eq!(bed.chat().await.provider(), "claude");
    bed.sidecar().removed("claude");
    bed.write_config(&without_claude);
    bed.until("the change is live", || async {
        bed.chat().await.provider() == "gemini"
    })
    .await;
    assert_eq!(bed.health().await["status"], "ok");
}

#[tokio::test]
async fn a_swapped_folder_is_taken_and_an_older_one_ignored() {
    let bed = cluster(|bed| Some(bed.documents(&from_secrets(|_, _| {}))));
    assert_eq!(bed.chat().await.provider(), "claude");
    assert_eq!(bed.claude.requests()[0].key.as_deref(), Some("key-of-claude"));
    let dir = bed.dir.path().join("config");
    bed.sidecar().removed("claude");
    publish(&dir, &bed.documents(&from_secrets(without_claude)), 6);
    bed.until("sequence 6 is live", || async {
        bed.chat().await.provider() == "gemini"
    })
    .await;
    assert_eq!(bed.metric("bowsprit_config_sequence").await, 6.0);
    publish(&dir, &bed.documents(&from_secrets(|_, _| {})), 4);
    bed.until("sequence 4 is ignored", || async {
        bed.metric("bowsprit_config_ignored_total").await == 1.0
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "gemini");
    assert_eq!(bed.metric("bowsprit_config_synced").await, 0.0);
    assert!(
        bed.health().await["config"]["lastError"]
            .as_str()
            .unwrap()
            .contains("older")
    );
}

#[tokio::test]
async fn a_bad_document_changes_nothing_and_is_told_with_every_problem() {
    let bed = Bed::new().await;
    let revision = bed.health().await["config"]["revision"].clone();
    for (n, bad) in ["not: [yaml", "kind: Nonsense", "---\n{}"].into_iter().enumerate() {
        std::fs::write(bed.config_path(), bad).unwrap();
        bed.until("it is rejected", || async {
            bed.metric("bowsprit_config_rejected_total").await == (n + 1) as f64
        })
        .await;
        assert_eq!(bed.chat().await.provider(), "claude", "the last good one stays");
    }
    bed.write_config(&|_, spec: &mut Value| {
        spec["timeouts"] = json!({"connect": "10s", "total": "5s"});
        spec["circuitBreaker"] = json!({"failureThreshold": 0});
        spec["credentials"] = json!([]);
    });
    bed.until("it is rejected", || async {
        bed.metric("bowsprit_config_rejected_total").await == 4.0
    })
    .await;
    let health = bed.health().await;
    assert_eq!(
        (&health["config"]["revision"], health["status"].as_str()),
        (&revision, Some("degraded"))
    );
    let told = health["config"]["lastError"].as_str().unwrap();
    assert!(
        told.contains("failureThreshold") && told.contains("credentials"),
        "every problem at once: {told}"
    );
    bed.sidecar().removed("claude");
    bed.write_config(&without_claude);
    bed.until("a good one is taken again", || async {
        bed.chat().await.provider() == "gemini"
    })
    .await;
    assert!(bed.health().await["config"]["lastError"].is_null());
}

#[tokio::test]
async fn a_reload_does_not_disturb_a_stream_or_forget_a_breaker() {
    let bed = Bed::with(|_, spec| spec["circuitBreaker"] = json!({"failureThreshold": 1, "openFor": "60s"})).await;
    bed.gemini.script(bowsprit_providers::Behaviour::status(500));
    bed.chat_with("gemini-2.5-flash", false).await;
    bed.claude
        .always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
    let mut response = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", true))
        .send()
        .await
        .unwrap();
    response.chunk().await.unwrap().unwrap();
    bed.sidecar().removed("claude");
    bed.write_config(&|name: &str, spec: &mut Value| {
        spec["circuitBreaker"] = json!({"failureThreshold": 2, "openFor": "60s"});
        without_claude(name, spec);
    });
    bed.until("the change is live", || async {
        bed.provider_health("claude").await.is_null()
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "openai");
    assert_eq!(
        bed.sidecar().in_flight(),
        1,
        "the stream of the removed provider still runs"
    );
    assert_eq!(
        bed.provider_health("gemini").await["models"][0]["breaker"],
        "open",
        "kept over the reload"
    );
    drop(response);
    bed.balanced().await;
}

#[tokio::test]
async fn a_folder_that_comes_later_makes_the_sidecar_ready() {
    let bed = cluster(|_| None);
    for path in ["/health/ready", "/health/startup"] {
        let reply = bed.admin(path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert!(
            reply.json()["detail"].as_str().unwrap().contains("bowsprit.yaml"),
            "{}",
            reply.text
        );
    }
    assert_eq!(bed.admin("/health/live").await.status, 200);
    let reply = bed.chat().await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("SYS_NOT_READY"))
    );
    publish(
        &bed.dir.path().join("config"),
        &bed.documents(&from_secrets(|_, _| {})),
        1,
    );
    bed.until("it is ready", || async {
        bed.admin("/health/ready").await.status == 200
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "claude");
    bed.balanced().await;
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_said() {
    let bed = cluster(|bed| Some(bed.documents(&from_secrets(|_, _| {}))));
    let dir = bed.dir.path().join("config");
    std::fs::write(dir.join("formatVersion"), "99").unwrap();
    publish(&dir, &bed.documents(&from_secrets(without_claude)), 9);
    bed.until("it is rejected", || async {
        bed.metric("bowsprit_config_rejected_total").await == 1.0
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "claude");
}

#[tokio::test]
async fn a_persons_file_must_be_right_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "kind: ProviderConfig\nspec: {provider: Nobody}").unwrap();
    for path in [file.to_str().unwrap(), "/nowhere.yaml"] {
        let error = Sidecar::start(&["--config", path]).err().unwrap();
        assert!(error.contains(path) && !error.contains("cannot listen"), "{error}");
    }
}

/// Changes the one provider's document and waits until it is in service.
async fn reload(bed: &Bed, change: impl Fn(&mut Value)) {
    let before = bed.health().await["config"]["revision"].clone();
    bed.write_config(&|name, spec| {
        if name == "openai" {
            change(spec);
        } else {
            *spec = Value::Null;
        }
    });
    bed.until("the reload", || async {
        bed.health().await["config"]["revision"] != before
    })
    .await;
}

/// What is asked of either of two providers, or nothing if the app was answered first.
async fn asked_before_the_answer(peer: &Peer, app: &mut Connection) -> String {
    tokio::select! {
        mut provider = peer.asked() => provider.request().await,
        () = app.until("\r\n\r\n") => String::new(),
    }
}

#[tokio::test]
async fn a_key_never_follows_a_base_url_that_moved_with_its_reference() {
    let (bed, _peer) = Bed::raw("openai", |_| (), &[]).await;
    let elsewhere = Peer::start().await;
    let missing = bed.dir.path().join("not-mounted-yet");
    reload(&bed, |spec| {
        spec["endpoint"]["baseUrl"] = json!(elsewhere.url());
        spec["credentials"][0]["file"] = json!(missing);
    })
    .await;
    let mut app = bed.ask("/v1/chat/completions", &chat("gpt-4.1-mini", false)).await;
    let asked = asked_before_the_answer(&elsewhere, &mut app).await;
    assert_eq!(asked, "", "without a key nothing is sent, and the old one never");
}

#[tokio::test]
async fn a_retry_across_a_reload_does_not_carry_the_new_key_to_the_old_address() {
    let retry = |spec: &mut Value| spec["retry"] = json!({"maxAttempts": 2});
    let (bed, peer) = Bed::raw("openai", retry, &[]).await;
    let mut app = bed.ask("/v1/chat/completions", &chat("gpt-4.1-mini", false)).await;
    let mut provider = peer.asked().await;
    assert!(
        provider.text().contains(&format!("Bearer {}", CANARIES[2])),
        "{}",
        provider.text()
    );
    let later = "HTTP/1.1 503 Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    provider.send(later).await;
    let elsewhere = Peer::start().await;
    let key = bed.dir.path().join("new-key");
    std::fs::write(&key, "sk-new").unwrap();
    reload(&bed, |spec| {
        retry(spec);
        spec["endpoint"]["baseUrl"] = json!(elsewhere.url());
        spec["credentials"][0]["file"] = json!(key);
    })
    .await;
    let asked = asked_before_the_answer(&peer, &mut app).await;
    assert!(
        !asked.contains("sk-new"),
        "the new key went to the old address: {asked}"
    );
}
