//! An API server that answers reviews: a token's subject is its user, and `ann` may read of `team`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A CA, PEM, and what it signs: leaf and key, PEM.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn leaf(&self) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        [params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem()]
    }
}

/// Starts it, and writes `ca.crt` and `token` for it into a folder; gives its URL.
pub(crate) async fn start(folder: &Path) -> String {
    let ca = Ca::new();
    std::fs::write(folder.join("ca.crt"), &ca.pem).unwrap();
    std::fs::write(folder.join("token"), "the-ledgers-own\n").unwrap();
    let [certificate, key] = ca.leaf();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = hyper::service::service_fn(answer);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    format!("https://localhost:{port}")
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!(request.headers()["authorization"], "Bearer the-ledgers-own");
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let status = match path.as_str() {
        "/apis/authentication.k8s.io/v1/tokenreviews" => reviewed(&asked["spec"]),
        "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
            let spec = &asked["spec"];
            let right = json!({"group": "bowsprit.dev", "resource": "providerconfigs", "subresource": "ledger", "verb": "get", "namespace": "team"});
            json!({"allowed": spec["user"] == "ann" && spec["resourceAttributes"] == right})
        }
        path => panic!("{path} is asked of the API server"),
    };
    Ok(Response::new(Full::new(Bytes::from(
        json!({"status": status}).to_string(),
    ))))
}

fn reviewed(spec: &Value) -> Value {
    let payload = spec["token"].as_str().unwrap().split('.').nth(1).unwrap_or_default();
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap_or_default()).unwrap_or_default();
    let Some(subject) = claims["sub"].as_str() else {
        return json!({"authenticated": false, "error": "nobody's"});
    };
    let mut user = json!({"username": subject, "groups": ["system:authenticated"]});
    if let Some(pod) = claims["pod"].as_str() {
        user["extra"] =
            json!({"authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": ["u"]});
    }
    let audiences = spec["audiences"].as_array().cloned().unwrap_or_default();
    json!({"authenticated": true, "audiences": audiences, "user": user})
}

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A pod's projected token.
pub(crate) fn pods(namespace: &str, pod: &str) -> String {
    token(
        &json!({"aud": ["bowsprit.dev"], "sub": format!("system:serviceaccount:{namespace}:app"), "pod": pod, "exp": 4_000_000_000_i64}),
    )
}

/// A user's.
pub(crate) fn users(name: &str) -> String {
    token(&json!({"aud": ["https://kubernetes.default.svc"], "sub": name}))
}
