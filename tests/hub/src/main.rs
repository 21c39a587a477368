//! The operator's own listener for config streams, its metrics and its certificate, where no cluster is: for tests that run
//! sidecars as programs. The apiserver beside it confirms tokens and knows nothing else. It speaks by lines:
//!
//! ```text
//! out  {"stream": "https://localhost:8444", "admin": 8081, "ca": "-----BEGIN ..."}
//! in   {"token": {"namespace": "shop", "pod": "web-1"}}          out  the token, which no apiserver has signed
//! in   {"publish": {"namespace": "shop", "sequence": 7, "text": "..."}}   out  {}
//! in   {"reports": "shop"}                                        out  {"web-1": {"sequence": 7, ...}}
//! in   {"leave": true}                                            out  {}, once every stream is closed
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program of tests fails by panicking, and speaks by lines"
)]

use std::time::Duration;

use bowsprit_operator::admin;
use bowsprit_operator::readiness::Readiness;
use bowsprit_operator::stream::{Settings, Timing};
use serde_json::{Map, Value, json};

#[path = "../../../operator/tests/streams/mod.rs"]
mod streams;

use streams::Server;

/// As in a cluster, but for a test's patience at the end.
const SETTINGS: Settings = Settings {
    most: 2000,
    timing: Timing {
        ping: Duration::from_secs(1),
        silence: Duration::from_secs(30),
        pause: Duration::from_millis(1),
        leave_within: Duration::from_secs(2),
        withdraw_within: Duration::from_secs(1),
    },
    worse_off: Duration::from_secs(75),
};

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut server = runtime.block_on(async {
        let server = Server::start_as("localhost", SETTINGS).await;
        let listener = admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(admin::serve(listener, Readiness::default(), server.metrics.clone()));
        let stream = format!("https://localhost:{}", server.address.port());
        println!("{}", json!({"stream": stream, "admin": port, "ca": server.bundle}));
        server
    });
    for line in std::io::stdin().lines() {
        let said: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if said["leave"] == true {
            server.leave();
            runtime.block_on(server.ended());
            println!("{{}}");
            return;
        }
        println!("{}", answer(&server, &said));
    }
}

fn answer(server: &Server, said: &Value) -> Value {
    if said["token"].is_object() {
        return streams::signed(said["token"].clone()).into();
    }
    if let Some(namespace) = said["reports"].as_str() {
        let reports = server.fleet.reports(namespace).into_iter();
        let by_pod: Map<String, Value> = reports
            .map(|(pod, reported)| (pod.name, serde_json::to_value(reported.whole()).unwrap()))
            .collect();
        return by_pod.into();
    }
    let publish = &said["publish"];
    let text = |key: &str| publish[key].as_str().expect("what to publish");
    let sequence = publish["sequence"].as_u64().expect("a sequence");
    server.publish(text("namespace"), sequence, text("text"));
    json!({})
}
