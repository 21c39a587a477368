//! Row 6: the provider cannot be reached. Each way has its own code, costs no more than the connect timeout, and the next
//! candidate answers.

use std::time::{Duration, Instant};

use bowsprit_providers::{Api, Options, Provider, TlsPem};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::bed::Setup;
use crate::trial::{Trial, promises, provider};
use bowsprit_rig::peer::Peer;

promises! {
    6, "connect refused, blackholed, no DNS, bad TLS";
    a_refused_connection_is_told_apart_and_the_next_candidate_answers,
    a_blackholed_address_costs_the_connect_timeout_and_the_next_candidate_answers,
    a_tls_handshake_that_hangs_costs_the_connect_timeout,
    a_name_that_does_not_resolve_is_told_apart_and_the_next_candidate_answers,
    a_certificate_of_an_unknown_authority_is_refused_and_the_next_candidate_answers,
    an_expired_certificate_is_refused_and_the_next_candidate_answers,
    a_certificate_for_another_host_is_refused_and_the_next_candidate_answers,
    a_port_that_speaks_no_tls_is_told_apart_and_the_next_candidate_answers,
    a_provider_out_of_reach_opens_its_breaker_and_is_dialled_no_more,
}

/// Alone, the fault is answered with its status and code; with another candidate, that one answers. Returns the message.
async fn told_apart(trial: &Trial, (status, code): (u16, &str), first: impl Fn() -> Setup) -> String {
    let alone = trial.bed(first()).await;
    let reply = alone.chat(false).await;
    assert_eq!((reply.status, &*reply.code()), (status, code), "{}", reply.text());
    assert!(reply.complete);
    let backup = provider(Api::Anthropic);
    let two = trial.bed(first().backup(&backup)).await;
    for stream in [false, true] {
        let reply = two.chat(stream).await;
        assert_eq!((reply.status, reply.provider()), (200, "backup"), "{}", reply.text());
        assert_eq!(reply.header("x-bowsprit-attempts"), "2");
        assert!(!stream || reply.is_ended_well(), "{}", reply.text());
    }
    assert_eq!(two.attempts("first", code).await, 2.0);
    reply.text()
}

/// An address at which nobody listens, and that nobody else gets meanwhile.
fn closed_port() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap().as_socket().unwrap());
    (socket, url)
}

async fn a_refused_connection_is_told_apart_and_the_next_candidate_answers(trial: Trial) {
    let (_held, url) = closed_port();
    let first = || Setup::new().openai("first", &url, json!({}));
    told_apart(&trial, (502, "EXT_CONNECT_REFUSED"), first).await;
}

/// An address that takes no connection and refuses none: its queue is full, so the kernel drops what comes.
async fn blackhole() -> (Socket, Vec<TcpStream>, String) {
    let (socket, url) = closed_port();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        filling.push(stream.unwrap());
    }
    (socket, filling, url)
}

fn connect_timeout(trial: &Trial) -> Duration {
    Duration::from_millis(trial.count(300, 1000) as u64)
}

async fn a_blackholed_address_costs_the_connect_timeout_and_the_next_candidate_answers(trial: Trial) {
    let (_held, _filling, url) = blackhole().await;
    let timeout = connect_timeout(&trial);
    let timeouts = json!({"timeouts": {"connect": format!("{}ms", timeout.as_millis())}});
    let first = || Setup::new().openai("first", &url, timeouts.clone());
    told_apart(&trial, (504, "EXT_CONNECT_TIMEOUT"), first).await;
    let backup = provider(Api::Anthropic);
    let bed = trial.bed(first().backup(&backup)).await;
    let started = Instant::now();
    assert_eq!(bed.chat(false).await.provider(), "backup");
    trial.on_time("answered by the next after", timeout, started.elapsed());
}

async fn a_tls_handshake_that_hangs_costs_the_connect_timeout(trial: Trial) {
    let peer = Peer::start().await;
    let timeout = connect_timeout(&trial);
    let timeouts = json!({"timeouts": {"connect": format!("{}ms", timeout.as_millis())}});
    let backup = provider(Api::Anthropic);
    let url = format!("https://{}", peer.address());
    let bed = trial
        .bed(Setup::new().openai("first", url, timeouts).backup(&backup))
        .await;
    let started = Instant::now();
    let mut client = bed.ask(crate::bed::CHAT, &crate::bed::chat(false)).await;
    let _silent = peer.accept().await;
    assert_eq!(client.reply().await.provider(), "backup");
    trial.on_time("answered by the next after", timeout, started.elapsed());
    assert_eq!(bed.attempts("first", "EXT_CONNECT_TIMEOUT").await, 1.0);
}

async fn a_name_that_does_not_resolve_is_told_apart_and_the_next_candidate_answers(trial: Trial) {
    let first = || Setup::new().openai("first", "http://nobody.invalid", json!({}));
    told_apart(&trial, (502, "EXT_DNS"), first).await;
}

pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("Authority {}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A provider with a certificate for `host` that is valid until the end of `until`.
    pub fn provider(&self, host: &str, until: i32) -> Provider {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let tls = TlsPem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        };
        let options = Options {
            tls: Some(tls),
            ..Options::api(Api::OpenAi)
        };
        Provider::start(options).unwrap()
    }
}

async fn bad_certificate(trial: &Trial, first: &Provider, ca: &str, told: &str) {
    // The backup is plain HTTP: the bundle has nothing to say about it.
    let setup = || Setup::new().openai("first", first.url(), json!({})).ca(ca);
    let text = told_apart(trial, (502, "EXT_TLS"), setup).await;
    assert!(text.to_lowercase().contains(told), "{told:?} is not in {text}");
    assert!(
        first.requests().is_empty(),
        "nothing is sent to a host that cannot prove itself"
    );
}

async fn a_certificate_of_an_unknown_authority_is_refused_and_the_next_candidate_answers(trial: Trial) {
    let first = Authority::new().provider("127.0.0.1", 2100);
    bad_certificate(&trial, &first, &Authority::new().pem, "unknownissuer").await;
}

async fn an_expired_certificate_is_refused_and_the_next_candidate_answers(trial: Trial) {
    let authority = Authority::new();
    bad_certificate(
        &trial,
        &authority.provider("127.0.0.1", 2021),
        &authority.pem,
        "expired",
    )
    .await;
}

async fn a_certificate_for_another_host_is_refused_and_the_next_candidate_answers(trial: Trial) {
    let authority = Authority::new();
    bad_certificate(
        &trial,
        &authority.provider("other.example", 2100),
        &authority.pem,
        "not valid for name",
    )
    .await;
}

async fn a_port_that_speaks_no_tls_is_told_apart_and_the_next_candidate_answers(trial: Trial) {
    let plain = provider(Api::OpenAi);
    let url = plain.url().replace("http:", "https:");
    told_apart(&trial, (502, "EXT_TLS"), || {
        Setup::new().openai("first", &url, json!({}))
    })
    .await;
}

async fn a_provider_out_of_reach_opens_its_breaker_and_is_dialled_no_more(trial: Trial) {
    let (_held, url) = closed_port();
    let backup = provider(Api::Anthropic);
    let breaker = json!({"circuitBreaker": {"failureThreshold": 3, "openFor": "60s"}});
    let bed = trial
        .bed(Setup::new().openai("first", &url, breaker).backup(&backup))
        .await;
    for _ in 0..10 {
        assert_eq!(bed.chat(false).await.provider(), "backup");
    }
    trial.figure(
        "attempts until it opened",
        bed.attempts("first", "EXT_CONNECT_REFUSED").await,
        "",
        3.0..=3.0,
    );
}
