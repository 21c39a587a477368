//! The webhook as an apiserver meets it: over TLS, with the certificates that the operator makes itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
use bowsprit_operator::webhook::validate::{Access, Validator};
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
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

async fn serve(lookup: Arc<dyn Lookup>) -> Server {
    serve_with(lookup, Arc::new(|_| Box::pin(async { Ok(true) }))).await
}

async fn serve_with(lookup: Arc<dyn Lookup>, access: Access) -> Server {
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
        keeps_ledger: false,
        tracing: None,
        version: "test".into(),
    };
    let metrics = Metrics::new();
    let answerers = Arc::new(Answerers {
        injection: Reviewer::new(settings, lookup, metrics.clone()),
        validation: Validator::new(
            Arc::new(|_| Some(Known::default())),
            access,
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
    ask(server, client, pod, true).await
}

async fn ask(server: &Server, client: &reqwest::Client, pod: Value, dry_run: bool) -> Result<Value, reqwest::Error> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "team",
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE",
            "object": pod, "oldObject": null, "dryRun": dry_run,
        },
    });
    let url = format!("https://{HOST}:{}/inject?timeout=5s", server.address.port());
    let response = client.post(url).json(&review).send().await?;
    Ok(response.json::<Value>().await?["response"].clone())
}

fn pod() -> Value {
    json!({"metadata": {"generateName": "app-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}})
}

/// Says this of each namespace, and notes the patience that it was asked with.
#[derive(Default)]
struct Says(Option<View>, Mutex<Vec<Duration>>);

impl Lookup for Says {
    fn view<'a>(
        &'a self,
        namespace: &'a str,
        _labels: &'a BTreeMap<String, String>,
        patience: Duration,
    ) -> BoxFuture<'a, Option<View>> {
        assert_eq!(namespace, "team");
        self.1.lock().unwrap().push(patience);
        Box::pin(async { self.0.clone() })
    }
}

fn everything() -> Arc<Says> {
    let secrets = [("llm-keys".to_owned(), "claude".to_owned())].into();
    let references = References {
        secrets,
        ..References::default()
    };
    let view = View {
        references,
        providers: 1,
        revision: Some("abc".into()),
    };
    Arc::new(Says(Some(view), Mutex::default()))
}

#[tokio::test]
async fn only_a_pod_that_is_made_and_lacks_its_mounts_is_worth_waiting_for() {
    let says = everything();
    let server = serve(says.clone()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let client = client(&server, &material.bundle());
    let mut injected = pod();
    injected["spec"]["initContainers"] =
        json!([{"name": "bowsprit", "image": "sidecar:test", "restartPolicy": "Always"}]);
    injected["metadata"]["labels"] = json!({"bowsprit.dev/injected": "true"});
    for (pod, dry_run, seconds) in [(pod(), false, 2), (pod(), true, 0), (injected, false, 0)] {
        let response = ask(&server, &client, pod, dry_run).await.unwrap();
        assert_eq!(response["allowed"], json!(true), "{response}");
        assert_eq!(says.1.lock().unwrap().pop(), Some(Duration::from_secs(seconds)));
    }
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
    let server = serve(Arc::new(Says::default())).await;
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
    let server = serve(Arc::new(Says(Some(View::default()), Mutex::default()))).await;
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
    assert!(too_large.is_err() || too_large.unwrap().status() == 413);
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
    tokio::time::timeout(Duration::from_mins(1), server.ended)
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
async fn idle_connections_keep_nobody_out_and_a_webhook_that_is_full_of_them_still_leaves() {
    let mut server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    // More than it takes, some with TLS done and some that say nothing at all.
    let bundle = reqwest::Certificate::from_pem_bundle(material.bundle().as_bytes()).unwrap();
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(tokio::net::TcpStream::connect(server.address).await.unwrap());
    }
    let each_its_own = || reqwest::Client::builder().tls_certs_only(bundle.clone());
    let mut clients = Vec::new();
    for _ in 0..80 {
        let client = each_its_own().resolve(HOST, server.address).build().unwrap();
        assert_eq!(inject(&server, &client, pod()).await.unwrap()["allowed"], true);
        clients.push(client);
    }
    let stop = std::mem::replace(&mut server.stop, oneshot::channel().0);
    stop.send(()).unwrap();
    let last = each_its_own().resolve(HOST, server.address).build().unwrap();
    assert_eq!(inject(&server, &last, pod()).await.unwrap()["allowed"], true);
    tokio::time::timeout(Duration::from_mins(1), server.ended)
        .await
        .expect("ends")
        .unwrap();
    drop((idle, clients));
}

/// Ten times what a question takes now with nobody else there: a machine that does much else takes longer with all of it.
async fn alone(server: &Server, bundle: &str) -> Duration {
    let began = std::time::Instant::now();
    inject(server, &from(server, bundle, [127, 0, 0, 1]), pod())
        .await
        .unwrap();
    10 * began.elapsed()
}

/// A client of its own connections, from another address than the apiserver's or the same.
fn from(server: &Server, bundle: &str, address: [u8; 4]) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(bundle.as_bytes()).unwrap())
        .resolve(HOST, server.address)
        .local_address(std::net::IpAddr::from(address))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_burst_of_new_connections_is_answered_to_the_last() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let bundle = material.bundle();
    // As many changes as an apiserver has under way, all of them at once and each on a connection of its own.
    let clients: Vec<_> = (0..200).map(|_| from(&server, &bundle, [127, 0, 0, 1])).collect();
    let answers = join_all(clients.iter().map(|client| inject(&server, client, pod()))).await;
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of 200: {:?}", failed.len(), failed.first());
    assert!(answers.iter().flatten().all(|answer| answer["allowed"] == true));
}

#[tokio::test]
async fn who_fills_every_connection_with_handshakes_keeps_no_other_address_out() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let alone = alone(&server, &material.bundle()).await;
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        // The first byte of a TLS record, and no more.
        stream.write_all(&[22]).await.unwrap();
        stalled.push(stream);
    }
    let client = from(&server, &material.bundle(), [127, 0, 0, 1]);
    let answer = tokio::time::timeout(Duration::from_secs(3) + alone, inject(&server, &client, pod())).await;
    assert_eq!(
        answer.expect("long before any handshake is given up").unwrap()["allowed"],
        true
    );
    drop(stalled);
}

#[tokio::test]
async fn forged_questions_that_nobody_answers_keep_no_other_address_out_and_end() {
    let server = serve_with(everything(), Arc::new(|_| Box::pin(std::future::pending()))).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let alone = alone(&server, &material.bundle()).await;
    let credentials = json!([{"name": "main", "secretKeyRef": {"name": "keys", "key": "a"}}]);
    let review = json!({"request": {
        "uid": "u-3", "namespace": "team", "name": "claude", "operation": "CREATE",
        "kind": {"group": "bowsprit.dev", "kind": "ProviderConfig"},
        "userInfo": {"username": "eve", "groups": ["system:masters"]},
        "object": {"spec": {"provider": "OpenAI", "credentials": credentials}},
    }});
    let url = format!("https://{HOST}:{}/validate-keys?timeout=30s", server.address.port());
    let forgers: Vec<_> = (0..100)
        .map(|_| {
            from(&server, &material.bundle(), [127, 0, 0, 2])
                .post(&url)
                .json(&review)
                .send()
        })
        .map(tokio::spawn)
        .collect();
    // Every seat is taken, and more wait.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let client = from(&server, &material.bundle(), [127, 0, 0, 1]);
    let answer = tokio::time::timeout(Duration::from_secs(2) + alone, inject(&server, &client, pod())).await;
    assert_eq!(answer.expect("long before the others end").unwrap()["allowed"], true);
    // And none of them is answered for longer than an apiserver would wait.
    let ends = tokio::time::timeout(Duration::from_secs(15), join_all(forgers)).await;
    let ends = ends.expect("each ends").into_iter().flatten();
    assert!(ends.flatten().all(|answer| answer.status() == 504));
}

/// The most memory that this process has ever had, bytes.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn reviews_that_are_made_to_fill_the_memory_do_not() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let url = format!("https://{HOST}:{}/inject", server.address.port());
    let forged = |object: String| {
        format!(
            r#"{{"request":{{"uid":"u","namespace":"team","operation":"CREATE","kind":{{"kind":"Pod"}},"object":{object}}}}}"#
        )
    };
    let many = |one: &str| one.repeat((5 << 19) / one.len());
    let before = most_memory();
    for (object, status) in [
        (format!("[{}0]", many(r#"{"":0},"#)), 413),
        (format!("[{}0]", many("0,")), 413),
        (
            format!(r#"{{"spec":{{"volumes":[{}{{"name":""}}]}}}}"#, many(r#"{"name":""},"#)),
            413,
        ),
        // Of what is let in, as much as fits, and many at a time.
        (
            format!(
                r#"{{"spec":{{"volumes":[{}{{"name":""}}]}}}}"#,
                r#"{"name":""},"#.repeat(9000)
            ),
            200,
        ),
    ] {
        let text = bytes::Bytes::from(forged(object));
        let clients: Vec<_> = (0..16)
            .map(|_| from(&server, &material.bundle(), [127, 0, 0, 1]))
            .collect();
        let answers = join_all(clients.iter().map(|client| client.post(&url).body(text.clone()).send())).await;
        // The server answers while a client still sends, so that one may see the cut connection; and where the machine does much else, a
        // question may take longer than anybody waits for its answer.
        let is_it = |answer: &reqwest::Response| answer.status() == status || answer.status() == 504;
        assert!(answers.iter().flatten().all(is_it), "{answers:?}");
    }
    let grown = most_memory() - before;
    println!("{} MiB", grown >> 20);
    assert!(grown < 128 << 20, "{} MiB", grown >> 20);
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
