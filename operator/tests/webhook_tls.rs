//! The webhook as an apiserver meets it: over TLS, with the certificates that the operator makes itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::sync::Arc;

use base64::Engine;
use bowsprit_operator::certs::authority::Material;
use bowsprit_operator::certs::{Served, server_config};
use bowsprit_operator::injector::{References, Resources, Settings};
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::time::unix_seconds;
use bowsprit_operator::validate::Known;
use bowsprit_operator::validate::hosts::AllowedHosts;
use bowsprit_operator::webhook;
use bowsprit_operator::webhook::Answerers;
use bowsprit_operator::webhook::advise::Adviser;
use bowsprit_operator::webhook::review::{Lookup, Reviewer, View};
use bowsprit_operator::webhook::validate::Validator;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

const HOST: &str = "bowsprit-webhook.bowsprit-system.svc";

struct Server {
    address: std::net::SocketAddr,
    served: Arc<Served>,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

async fn serve(lookup: Lookup) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let served = Arc::new(Served::default());
    let tls = TlsAcceptor::from(Arc::new(server_config(Arc::clone(&served)).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        image: "sidecar:test".into(),
        image_pull_policy: String::new(),
        resources: Resources::default(),
        log_level: "info".into(),
        native: true,
        operator_url: None,
        ledger_url: None,
        tracing: None,
        version: "test".into(),
    };
    let metrics = Metrics::new();
    let answerers = Arc::new(Answerers {
        injection: Reviewer::new(settings, lookup, metrics.clone()),
        validation: Validator::new(
            Arc::new(|_| Some(Known::default())),
            Arc::new(|_| Box::pin(async { Ok(true) })),
            AllowedHosts::default(),
            metrics.clone(),
        ),
        advice: Adviser::new(metrics.clone()),
    });
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(webhook::serve(listener, tls, answerers, async {
        let _ = stopped.await;
    }));
    Server {
        address,
        served,
        metrics,
        stop,
        ended,
    }
}

fn material(now: i64) -> Material {
    Material::step(None, &[HOST.to_owned()], now, |_| true)
        .unwrap()
        .unwrap()
}

fn client(server: &Server, bundle: &str) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(bundle.as_bytes()).unwrap())
        .resolve(HOST, server.address)
        .build()
        .unwrap()
}

async fn inject(server: &Server, client: &reqwest::Client, pod: Value) -> Result<Value, reqwest::Error> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "team",
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE",
            "object": pod, "oldObject": null, "dryRun": true,
        },
    });
    let url = format!("https://{HOST}:{}/inject?timeout=5s", server.address.port());
    let response = client.post(url).json(&review).send().await?;
    Ok(response.json::<Value>().await?["response"].clone())
}

fn pod() -> Value {
    json!({"metadata": {"generateName": "app-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}})
}

fn everything() -> Lookup {
    Arc::new(|namespace, _| {
        assert_eq!(namespace, "team");
        let secrets = [("llm-keys".to_owned(), "claude".to_owned())].into();
        let references = References {
            secrets,
            ..References::default()
        };
        Some(View {
            references,
            providers: 1,
            revision: Some("abc".into()),
        })
    })
}

#[tokio::test]
async fn a_pod_is_injected_over_tls_and_a_second_call_changes_nothing() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());

    let response = inject(&server, &client, pod()).await.unwrap();
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(true)));
    let patch = base64::engine::general_purpose::STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut injected = pod();
    json_patch::patch(&mut injected, &patch).unwrap();
    assert_eq!(injected["spec"]["initContainers"][0]["name"], "bowsprit");
    assert!(response.get("warnings").is_none());

    let again = inject(&server, &client, injected).await.unwrap();
    assert_eq!(again, json!({"uid": "u-1", "allowed": true}));
    let text = server.metrics.encode().unwrap();
    assert!(text.contains("admissions_total{result=\"injected\"} 1"), "{text}");
    assert!(text.contains("admissions_total{result=\"unchanged\"} 1"), "{text}");
}

#[tokio::test]
async fn a_rotation_is_served_without_a_restart_and_an_old_bundle_no_longer_fits() {
    let server = serve(everything()).await;
    let (old, new) = (material(unix_seconds() - 60), material(unix_seconds()));
    server.served.set(&old.current).unwrap();
    assert!(inject(&server, &client(&server, &old.bundle()), pod()).await.is_ok());
    server.served.set(&new.current).unwrap();
    assert!(inject(&server, &client(&server, &new.bundle()), pod()).await.is_ok());
    assert!(inject(&server, &client(&server, &old.bundle()), pod()).await.is_err());
    let both = format!("{}{}", old.bundle(), new.bundle());
    assert!(inject(&server, &client(&server, &both), pod()).await.is_ok());
}

#[tokio::test]
async fn before_any_certificate_no_connection_is_made_and_before_any_object_no_pod_is_let_through() {
    let server = serve(Arc::new(|_, _| None)).await;
    let material = material(unix_seconds());
    let client = client(&server, &material.bundle());
    assert!(inject(&server, &client, pod()).await.is_err());
    server.served.set(&material.current).unwrap();
    let response = inject(&server, &client, pod()).await.unwrap();
    assert_eq!(
        (&response["allowed"], &response["status"]["code"]),
        (&json!(false), &json!(503))
    );
}

#[tokio::test]
async fn a_refusal_says_where_what_and_what_to_do_and_a_lonely_pod_is_warned() {
    let server = serve(Arc::new(|_, _| Some(View::default()))).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());
    let mut host = pod();
    host["spec"]["hostNetwork"] = json!(true);
    let refused = inject(&server, &client, host).await.unwrap();
    assert_eq!(refused["allowed"], false);
    assert!(
        refused["status"]["message"]
            .as_str()
            .unwrap()
            .contains("spec.hostNetwork: "),
        "{refused}"
    );
    let warned = inject(&server, &client, pod()).await.unwrap();
    assert!(
        warned["warnings"][0]
            .as_str()
            .unwrap()
            .starts_with("no ProviderConfig of namespace team"),
        "{warned}"
    );
}

#[tokio::test]
async fn what_is_no_review_is_a_400_and_what_is_too_large_is_cut() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());
    let url = format!("https://{HOST}:{}", server.address.port());
    let post = |body: Vec<u8>| client.post(format!("{url}/inject")).body(body).send();
    assert_eq!(post(b"{}".to_vec()).await.unwrap().status(), 400);
    // The server answers while the client still sends, so the client may see the answer or the cut connection.
    let too_large = post(vec![b' '; 4 << 20]).await;
    assert!(too_large.is_err() || too_large.unwrap().status() == 400);
    assert_eq!(client.get(format!("{url}/inject")).send().await.unwrap().status(), 405);
    assert_eq!(client.get(format!("{url}/else")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn at_shutdown_open_connections_are_let_go_and_the_server_ends() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());
    inject(&server, &client, pod()).await.unwrap();
    server.stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(10), server.ended)
        .await
        .expect("ends")
        .unwrap();
}

#[tokio::test]
async fn a_webhook_that_leaves_answers_to_the_end_and_lets_go_of_each_connection_with_its_answer() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());
    let url = format!("https://{HOST}:{}/else", server.address.port());
    let kept = client.get(&url).send().await.unwrap();
    assert!(!kept.headers().contains_key("connection"));
    drop(kept);
    server.stop.send(()).unwrap();
    // Without a pause, and past the moment in which it stops: no request finds its connection closed under it.
    let (mut let_go, mut answered) = (0, 0);
    let last = loop {
        match client.get(&url).send().await {
            Ok(answer) => {
                let_go += u32::from(answer.headers().get("connection").is_some_and(|word| word == "close"));
                answered += 1;
                answer.bytes().await.unwrap();
            }
            Err(error) => break error,
        }
    };
    assert!(
        last.is_connect(),
        "nobody listens any more, which is no lost request: {last:?}"
    );
    assert!(answered - let_go <= 1 && let_go > 0, "{let_go} of {answered}");
    server.ended.await.unwrap();
}

#[tokio::test]
async fn a_change_of_our_objects_is_judged_at_a_path_of_its_own() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());
    let review = json!({"request": {
        "uid": "u-2", "namespace": "team", "name": "fast", "operation": "CREATE",
        "kind": {"group": "bowsprit.dev", "kind": "ModelRoute"}, "userInfo": {"username": "ann"},
        "object": {"spec": {"match": {"models": ["fast"]}, "targets": [{"provider": "later"}]}},
    }});
    let url = format!("https://{HOST}:{}/validate?timeout=5s", server.address.port());
    let response = client.post(url).json(&review).send().await.unwrap();
    let answer = response.json::<Value>().await.unwrap()["response"].clone();
    assert_eq!(answer["allowed"], true);
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("there is no ProviderConfig"), "{warnings}");
    let text = server.metrics.encode().unwrap();
    assert!(text.contains("validations_total{result=\"warned\"} 1"), "{text}");
}
