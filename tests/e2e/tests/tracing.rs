//! The chart's `sidecar.tracing`: spans of the pods made from then on arrive at a collector in the cluster, and one that is down costs
//! no request anything.

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{Bed, LONG, Release, Test, eventually, image, note, pod_manifest};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// A collector of OTLP over HTTP that tells what it was sent: resources and their spans. It reads protobuf by the numbers of
/// opentelemetry-proto's `trace/v1`, and knows nothing of what wrote it.
const COLLECTOR: &str = r#"
import http.server, json
got = []

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at

def fields(data):
    at, found = 0, {}
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = {1: 8, 5: 4}[kind]
            value, at = data[at:at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found

def text(values):
    return (values or [b""])[0].decode()

def attributes(values):
    pairs = [fields(value) for value in values or []]
    return {text(pair.get(1)): text(fields(pair[2][0]).get(1)) for pair in pairs if 1 in fields(pair[2][0])}

def spans(scope):
    for span in map(fields, fields(scope).get(2, [])):
        hexed = {name: span.get(number, [b""])[0].hex() for name, number in (("trace", 1), ("id", 2), ("parent", 4))}
        yield {"name": text(span.get(5)), "kind": span.get(6, [0])[0], **hexed}

class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        for resource in map(fields, fields(body).get(1, [])):
            about = attributes(fields(resource[1][0]).get(1))
            got.append({"resource": about, "spans": [span for scope in resource.get(2, []) for span in spans(scope)]})
        self.answer(b"")

    def do_GET(self):
        self.answer(json.dumps(got).encode())

http.server.ThreadingHTTPServer(("0.0.0.0", 4318), Collector).serve_forever()
"#;

/// A collector and the Service before it.
async fn collector(bed: &Bed) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "collector", "labels": {"app": "collector"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "app", "image": image("bowsprit-app"), "command": ["/usr/bin/python3", "-c", COLLECTOR],
            "readinessProbe": {"httpGet": {"port": 4318}, "periodSeconds": 1},
        }]},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "collector"},
        "spec": {"selector": {"app": "collector"}, "ports": [{"port": 4318}]},
    });
    bed.apply_one(&pod).await?;
    bed.apply_one(&service).await?;
    bed.ready("collector").await.map(drop)
}

/// The spans that the collector was sent by this pod.
async fn spans(bed: &Bed, pod: &str) -> Result<Vec<Value>> {
    let (status, text) = bed.pod_http("GET", "collector", 4318, "/", "").await?;
    ensure!(status == 200, "{status}: {text}");
    let all: Vec<Value> = serde_json::from_str(&text)?;
    let own = all.iter().filter(|sent| {
        let of = |name: &str| sent["resource"][name].as_str();
        of("k8s.namespace.name") == Some(&bed.namespace)
            && of("k8s.pod.name") == Some(pod)
            && of("service.name") == Some("bowsprit-sidecar")
            && of("k8s.node.name").is_some_and(|node| !node.is_empty())
    });
    Ok(own
        .flat_map(|sent| sent["spans"].as_array().cloned().unwrap_or_default())
        .collect())
}

#[tokio::test]
async fn spans_arrive_with_the_pods_name_and_a_collector_that_is_down_costs_nothing() {
    Test::new("tracing")
        .alone()
        .run(async |bed| {
            let own = Release::current().await?;
            let endpoint = format!("http://collector.{}.svc:4318", bed.namespace);
            let tracing = json!({"endpoint": endpoint, "sampler": "parentbased_always_on"});
            let outcome = async {
                collector(bed).await?;
                own.clone().with_in("sidecar", "tracing", tracing).install(bed).await?;
                // Those before it go on answering reviews for a while, and know of no collector.
                bed.operators().settled().await?;
                traced(bed).await
            };
            let outcome = outcome.await;
            own.install(bed).await?;
            outcome
        })
        .await;
}

async fn traced(bed: &Bed) -> Result<()> {
    let app = bed.app_from(&pod_manifest("app")).await?;
    app.ask("ahoy").await?;
    let (request, attempt) = eventually(LONG, "a request's spans are at the collector", async || {
        let spans = spans(bed, "app").await?;
        let of_kind = |kind: u64| spans.iter().find(|span| span["kind"] == kind).cloned();
        Ok((
            of_kind(2).context("no server span")?,
            of_kind(3).context("no client span")?,
        ))
    })
    .await?;
    note(&format!("spans: {request} {attempt}"));
    ensure!(request["name"] == "chat_completions", "{request}");
    ensure!(attempt["name"] == "chat claude-sonnet-4-5", "{attempt}");
    ensure!(attempt["trace"] == request["trace"] && attempt["parent"] == request["id"]);

    bed.api::<Pod>().delete("collector", &DeleteParams::default()).await?;
    bed.gone::<Pod>("collector").await?;
    for line in app.ask_often(50, "ahoy").await? {
        ensure!(
            line.ok && line.seconds < 2.0,
            "a request waited for the collector: {line:?}"
        );
    }
    eventually(LONG, "what nobody took is counted", async || {
        let refused = app.metric("bowsprit_spans_total", &["fate=\"refused\""]).await?;
        ensure!(refused > 0.0, "{refused} were refused");
        Ok(())
    })
    .await?;
    app.ask("ahoy").await.map(drop)
}
