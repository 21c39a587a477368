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
use bowsprit_operator::webhook;
use bowsprit_operator::webhook::review::{Lookup, Reviewer, View};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

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
        version: "test".into(),
    };
    let metrics = Metrics::new();
    let reviewer = Arc::new(Reviewer::new(settings, lookup, metrics.clone()));
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(webhook::serve(listener, tls, reviewer, async {
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
    Material::step(None, &[HOST.to_owned()], now).unwrap().unwrap()
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

/// A connection as apiservers make it: HTTP/2.
async fn http2(server: &Server, bundle: &str) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(HOST).unwrap(), stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_webhook_that_leaves_answers_what_it_has_taken_and_says_what_it_has_not() {
    let server = serve(everything()).await;
    let material = material(unix_seconds());
    server.served.set(&material.current).unwrap();
    let mut sender = http2(&server, &material.bundle()).await;
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "team",
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE",
            "object": pod(), "oldObject": null, "dryRun": true,
        },
    });
    let body = Bytes::from(review.to_string());
    let mut stop = Some(server.stop);
    let (mut answered, mut sent_back) = (0, 0);
    // Requests follow each other without a pause, so some meet the connection in the moment it is given up.
    for number in 0..10_000 {
        if number == 50 {
            stop.take().unwrap().send(()).unwrap();
        }
        if sender.ready().await.is_err() {
            break;
        }
        let request = http::Request::post(format!("https://{HOST}/inject"))
            .body(Full::new(body.clone()))
            .unwrap();
        match sender.send_request(request).await {
            Ok(response) => {
                assert_eq!(response.status(), 200);
                answered += 1;
            }
            // What a client may send anew elsewhere: it knows that nobody has seen it.
            Err(error) => {
                let is_leaving = std::error::Error::source(&error)
                    .and_then(|source| source.downcast_ref::<h2::Error>())
                    .is_some_and(|error| error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM));
                assert!(error.is_canceled() || is_leaving, "lost: {error:?}");
                sent_back += 1;
            }
        }
    }
    assert!(
        (50..10_000).contains(&answered),
        "{answered} answered, {sent_back} sent back"
    );
    tokio::time::timeout(std::time::Duration::from_secs(10), server.ended)
        .await
        .expect("ends")
        .unwrap();
}
