use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_providers::{After, Answer, Api, Behaviour, Options, Provider, Step, TlsPem, When};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::client::{Client, DEADLINE, End, ask, begin, chat, start};

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    for stream in [false, true, false] {
        let (path, headers, body) = chat(Api::Anthropic, stream);
        assert_eq!(client.exchange("POST", path, &headers, &body).await.end, End::Complete);
    }
    let seen = provider.seen();
    assert_eq!((seen.connections, seen.requests.len(), seen.cancelled.len()), (1, 3, 0));
    provider.wait_for(|seen| seen.answered == 3, DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_close_is_announced_or_silent() {
    for (after, header) in [(After::Close, "close"), (After::CloseSilently, "keep-alive")] {
        let provider = start();
        provider.script(Answer::new("x").after(after));
        let mut client = begin(&provider, Api::OpenAi, true).await;
        let response = client.receive().await;
        assert_eq!(
            (response.end, response.header("connection")),
            (End::Complete, Some(header))
        );
        assert_eq!(client.end().await, End::Eof);
    }
}

#[tokio::test]
async fn a_pooled_connection_may_turn_out_dead_on_its_next_use() {
    let provider = start();
    provider.script(Answer::new("x").after(After::ResetOnNextRequest));
    let mut client = begin(&provider, Api::OpenAi, false).await;
    assert_eq!(client.receive().await.status, 200);
    let (path, headers, body) = chat(Api::OpenAi, false);
    let response = client.exchange("POST", path, &headers, &body).await;
    assert_eq!((response.status, response.end), (0, End::Reset));
    assert_eq!(provider.requests().len(), 1, "the second request was never taken");
}

#[tokio::test]
async fn a_request_that_is_ambiguous_is_kept_and_refused() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    client
        .send_raw(b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.receive().await.status, 400);
    let seen = provider.seen();
    assert_eq!((seen.requests.len(), seen.malformed.len()), (0, 1));
}

#[tokio::test]
async fn what_came_in_is_recorded_as_it_came() {
    let provider = start();
    let mut client = Client::connect(&provider).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let head = format!(
        "POST /team/v1/chat/completions?x=1 HTTP/1.1\r\nAuthorization: Bearer k1\r\nX-Odd:  a \r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send_raw(head.as_bytes()).await;
    client.send_raw(body.as_bytes()).await;
    client.receive().await;
    let request = &provider.requests()[0];
    assert_eq!(
        (request.path.as_str(), request.model.as_str()),
        ("/team/v1/chat/completions?x=1", "m")
    );
    assert_eq!(
        (request.key.as_deref(), request.header("x-odd")),
        (Some("k1"), Some("a"))
    );
    assert_eq!(
        (&request.raw_head[..], &request.body[..]),
        (head.as_bytes(), body.as_bytes())
    );
    assert_eq!(request.json()["model"], "m");
}

#[tokio::test]
async fn steps_are_for_whom_they_name() {
    let provider = start();
    provider.script(Step::new(Behaviour::status(500)).when(When::api(Api::Anthropic)));
    provider.script(Step::new(Behaviour::status(503)).when(When::key("other")));
    provider.always_when(When::model("gemini-*"), Behaviour::status(429));
    assert_eq!(ask(&provider, Api::OpenAi, false).await.status, 200);
    assert_eq!(ask(&provider, Api::Anthropic, false).await.status, 500);
    assert_eq!(ask(&provider, Api::Anthropic, false).await.status, 200);
    assert_eq!(ask(&provider, Api::Gemini, false).await.status, 429);
    assert_eq!(ask(&provider, Api::Gemini, false).await.status, 429);
}

#[tokio::test]
async fn a_provider_that_is_down_refuses_and_comes_back_on_the_same_port() {
    let provider = start();
    provider.script(Behaviour::hang());
    let mut client = begin(&provider, Api::OpenAi, false).await;
    provider
        .wait_for(|seen| seen.requests.len() == 1, DEADLINE)
        .await
        .unwrap();
    provider.down().await;
    assert_ne!(client.end().await, End::Complete);
    assert!(TcpStream::connect(provider.addr()).await.is_err());
    assert_eq!(provider.open_connections(), 0);
    provider.up().await;
    assert_eq!(ask(&provider, Api::OpenAi, false).await.status, 200);
}

#[tokio::test]
async fn a_dropped_provider_takes_its_connections_along() {
    // An address of this process alone, so that nobody else listens on the port when it is free again.
    let [.., high, low] = std::process::id().to_be_bytes();
    let listen = (Ipv4Addr::new(127, high, low, 77), 0).into();
    let provider = Provider::start(Options {
        listen,
        ..Options::default()
    })
    .unwrap();
    provider.script(Behaviour::hang());
    let addr = provider.addr();
    let mut client = begin(&provider, Api::OpenAi, false).await;
    provider
        .wait_for(|seen| seen.requests.len() == 1, DEADLINE)
        .await
        .unwrap();
    drop(provider);
    assert_ne!(client.end().await, End::Complete);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_wait_that_ends_in_vain_says_what_was_seen() {
    let provider = start();
    ask(&provider, Api::OpenAi, false).await;
    let error = provider
        .wait_for(|seen| seen.requests.len() == 2, Duration::ZERO)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1 requests") && error.contains("/v1/chat/completions"),
        "{error}"
    );
}

#[tokio::test]
async fn one_api_alone_is_served_where_asked() {
    let provider = Provider::start(Options::api(Api::Gemini)).unwrap();
    assert_eq!(ask(&provider, Api::Gemini, false).await.status, 200);
    let (path, _, body) = chat(Api::OpenAi, false);
    let mut client = Client::connect(&provider).await;
    let response = client.exchange("POST", path, &[crate::client::GOOG], &body).await;
    assert_eq!(
        (response.status, &response.json()["error"]["status"]),
        (404, &serde_json::json!("NOT_FOUND"))
    );
}

#[tokio::test]
async fn tls_is_served_and_reset_like_plain_tcp() {
    let cert = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = TlsPem {
        certificate: cert.cert.pem(),
        key: cert.signing_key.serialize_pem(),
    };
    let provider = Provider::start(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .unwrap();
    assert!(provider.url().starts_with("https://127.0.0.1:"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.cert.der().clone()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let connect = || async {
        let tcp = TcpStream::connect(provider.addr()).await.unwrap();
        Client::over(connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap())
    };
    let (path, headers, body) = chat(Api::Anthropic, true);
    let response = connect().await.exchange("POST", path, &headers, &body).await;
    assert_eq!((response.status, response.end), (200, End::Complete));
    provider.script(Behaviour::reset(bowsprit_providers::Point::AfterChunks(1)));
    let response = connect().await.exchange("POST", path, &headers, &body).await;
    assert_eq!(response.end, End::Reset);

    let mut plain = Client::connect(&provider).await;
    plain.send_raw(b"GET / HTTP/1.1\r\n\r\n").await;
    provider
        .wait_for(|seen| seen.failed_handshakes == 1, DEADLINE)
        .await
        .unwrap();
}

#[test]
fn an_unusable_certificate_is_refused_at_the_start() {
    let tls = TlsPem {
        certificate: "none".into(),
        key: "none".into(),
    };
    let error = Provider::start(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .err()
    .unwrap()
    .to_string();
    assert!(error.starts_with("TLS key"), "{error}");
}
