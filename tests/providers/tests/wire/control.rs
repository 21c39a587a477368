use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use bowsprit_providers::{Api, Provider};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::{Client, Response, ask, start};

fn control(provider: &Provider) -> SocketAddr {
    provider.serve_control((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

async fn call(control: SocketAddr, method: &str, path: &str, body: &str) -> Response {
    Client::over(TcpStream::connect(control).await.unwrap())
        .exchange(method, path, &[], body)
        .await
}

async fn get(control: SocketAddr, path: &str) -> Value {
    call(control, "GET", path, "").await.json()
}

#[tokio::test]
async fn a_script_set_over_http_is_played() {
    let provider = start();
    let control = control(&provider);
    let script = json!({
        "steps": [{"times": 2, "do": {"status": {"code": 503}}}],
        "always": [{"when": {"model": "claude-*"}, "do": {"status": {"code": 529}}}, {"do": {"answer": {"text": "aye"}}}],
    });
    let response = call(control, "POST", "/script", &script.to_string()).await;
    assert_eq!(
        (response.status, response.json()),
        (200, json!({"steps": 1, "always": 2}))
    );
    assert_eq!(ask(&provider, Api::OpenAi, false).await.status, 503);
    assert_eq!(get(control, "/script").await["steps"][0]["times"], 1);
    assert_eq!(ask(&provider, Api::OpenAi, false).await.status, 503);
    assert_eq!(ask(&provider, Api::Anthropic, false).await.status, 529);
    assert!(ask(&provider, Api::OpenAi, false).await.text().contains("aye"));
}

#[tokio::test]
async fn a_script_that_cannot_be_read_is_refused_with_the_place() {
    let provider = start();
    let control = control(&provider);
    for (body, says) in [
        ("{\"steps\": [{\"do\": \"explode\"}]}", "unknown variant `explode`"),
        (
            "{\"steps\": [{\"do\": {\"answer\": {\"txt\": 1}}}]}",
            "unknown field `txt`",
        ),
        ("{", "line 1 column 1"),
    ] {
        let response = call(control, "POST", "/script", body).await;
        let error = response.json()["error"].as_str().unwrap().to_owned();
        assert!(response.status == 400 && error.contains(says), "{error}");
    }
    assert_eq!(call(control, "GET", "/nothing", "").await.status, 404);
}

#[tokio::test]
async fn requests_and_counts_are_shown_and_forgotten() {
    let provider = start();
    let control = control(&provider);
    ask(&provider, Api::Anthropic, false).await;
    ask(&provider, Api::Gemini, true).await;
    let requests = get(control, "/requests").await;
    assert_eq!(requests[0]["key"], "test-key");
    assert_eq!(
        (&requests[0]["api"], &requests[0]["operation"]),
        (&json!("anthropic"), &json!("chat"))
    );
    assert!(requests[0]["body"].as_str().unwrap().contains("ahoy there"));
    assert_eq!(
        (&requests[1]["model"], &requests[1]["stream"]),
        (&json!("gemini-test"), &json!(true))
    );
    let counts = get(control, "/counts").await;
    assert_eq!(
        (&counts["requests"], &counts["by_api"]),
        (&json!(2), &json!({"anthropic": 1, "gemini": 1}))
    );
    assert_eq!(call(control, "POST", "/reset", "").await.status, 200);
    assert_eq!(get(control, "/counts").await["requests"], 0);
    assert_eq!(get(control, "/requests").await, json!([]));
}

#[tokio::test]
async fn keys_and_the_port_are_changed_over_http() {
    let provider = start();
    let control = control(&provider);
    assert_eq!(call(control, "POST", "/keys", r#"["other"]"#).await.status, 200);
    assert_eq!(ask(&provider, Api::OpenAi, false).await.status, 401);
    call(control, "POST", "/keys", "[]").await;
    assert_eq!(
        call(control, "POST", "/down", "").await.json(),
        json!({"listening": false})
    );
    assert!(TcpStream::connect(provider.addr()).await.is_err());
    assert_eq!(
        call(control, "POST", "/up", "").await.json(),
        json!({"listening": true})
    );
    assert_eq!(ask(&provider, Api::OpenAi, false).await.status, 200);
}

#[tokio::test]
async fn the_binary_says_where_it_listens_serves_and_quits_on_sigterm() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_bowsprit-providers"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--api",
            "openai",
            "--key",
            "test-key",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addresses: Vec<SocketAddr> = line
        .split("http://")
        .skip(1)
        .map(|rest| rest.trim().trim_end_matches(", control at").parse().unwrap())
        .collect();
    let [listen, control] = addresses[..] else {
        panic!("{line}")
    };
    assert!(line.starts_with("openai at "), "{line}");
    assert_eq!(get(control, "/healthz").await, json!({"ok": true}));
    let (path, headers, body) = crate::client::chat(Api::OpenAi, false);
    let mut client = Client::over(TcpStream::connect(listen).await.unwrap());
    assert_eq!(client.exchange("POST", path, &headers, &body).await.status, 200);
    let killed = Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(killed.success() && process.wait().unwrap().success());
}
