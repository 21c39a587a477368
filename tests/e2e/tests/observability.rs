//! What a Prometheus makes of operators and streams: every query of the dashboards about them is answered, with what happened; and
//! objectives become rules.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{App, Bed, LONG, Release, SYSTEM, Test, eventually, kubectl, note, pod_manifest};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cli_ledger::with_ledger;
use crate::stream::streams;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The program that scrapes and asks (`tests/dashboards/cluster`), by its lines.
struct Asker {
    _child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Asker {
    async fn start(targets: &Value) -> Result<Self> {
        let mut child = Command::new(format!("{ROOT}/tests/dashboards/cluster"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = child.stdin.take().context("no way to tell it")?;
        let from = child.stdout.take().context("no way to hear it")?;
        let mut asker = Self {
            _child: child,
            to,
            from: BufReader::new(from).lines(),
        };
        ensure!(asker.say(&targets.to_string()).await? == "scraping");
        Ok(asker)
    }

    async fn say(&mut self, line: &str) -> Result<String> {
        self.to.write_all(format!("{line}\n").as_bytes()).await?;
        let heard = tokio::time::timeout(LONG, self.from.next_line()).await;
        heard
            .context("it says nothing")??
            .context("it has ended, see its error above")
    }
}

/// Everything that has metrics: the operators, and the sidecar of this pod.
async fn targets(bed: &Bed, pod: &str) -> Result<Value> {
    let mut targets = Vec::new();
    for name in bed.operators().names().await? {
        let ip = bed
            .operators()
            .pods()
            .get(&name)
            .await?
            .status
            .and_then(|status| status.pod_ip);
        let ip = ip.context("an operator without an address")?;
        targets.push(json!({"address": format!("{ip}:8081"), "labels": {"namespace": SYSTEM, "pod": name}}));
    }
    let ip = bed.pod(pod).await?.status.and_then(|status| status.pod_ip);
    let labels = json!({"namespace": bed.namespace, "pod": pod, "workload": pod});
    targets.push(json!({"address": format!("{}:4001", ip.context("a pod without an address")?), "labels": labels}));
    Ok(targets.into())
}

/// The sum of a query's series.
fn sum(answer: &Map<String, Value>, query: &str) -> f64 {
    let series = answer[query].as_object().into_iter().flat_map(Map::values);
    series.filter_map(Value::as_f64).sum()
}

/// Breaks the stream of a pod's sidecar as a network does, and waits for the next one.
async fn broken(app: &App<'_>) -> Result<()> {
    let ended = async || app.metric("bowsprit_config_stream_ended_total", &[]).await;
    let before = ended().await?;
    Process::of(&app.object().await?, "bowsprit")?.in_its_network(&["ss", "-K", "dport", "=", ":8444"])?;
    eventually(LONG, "the sidecar sees that", async || {
        let now = ended().await?;
        ensure!(now > before, "{now} streams have ended");
        Ok(())
    })
    .await?;
    streams(app).await
}

#[tokio::test]
async fn every_query_about_operators_and_streams_says_what_happened() {
    Test::new("observed")
        .alone()
        .run(async |bed| {
            // For a picture the ledger service is there, too, so that no panel is empty.
            if std::env::var_os("BOWSPRIT_KEPT").is_none() {
                return observed(bed, &bed.app("app").await?).await;
            }
            let (own, with) = with_ledger().await?;
            let outcome: Result<()> = async {
                with.install(bed).await?;
                let app = bed.app("app").await?;
                app.ask("ahoy").await?;
                eventually(LONG, "the ledger service takes what it is sent", async || {
                    let taken = app
                        .metric("bowsprit_ledger_batches_total", &["answer=\"taken\""])
                        .await?;
                    ensure!(taken >= 1.0, "{taken} batches");
                    Ok(())
                })
                .await?;
                observed(bed, &app).await
            }
            .await;
            own.install(bed).await?;
            outcome
        })
        .await;
}

/// Changes the spec of `claude`.
async fn patch(bed: &Bed, spec: Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    let of = ["-n", &bed.namespace, "patch", "providerconfig", "claude"];
    kubectl(&[&of[..], &["--type=merge", "-p", &patch]].concat()).await?;
    Ok(())
}

async fn observed(bed: &Bed, app: &App<'_>) -> Result<()> {
    const CHANGES: u32 = 3;
    const PODS: u32 = 2;
    const REQUESTS: u32 = 20;
    streams(app).await?;
    bed.condition::<ProviderConfig>("claude", "Ready", "True").await?;
    // The first of their kind are no increase to Prometheus: it has not seen the 0 before them.
    broken(app).await?;
    app.ask("ahoy").await?;
    let mut asker = Asker::start(&targets(bed, "app").await?).await?;
    ensure!(asker.say("begin").await? == "begun");
    app.ask_often(REQUESTS, "ahoy").await?;
    for turn in 1..=CHANGES {
        patch(bed, json!({"priority": 10 + turn})).await?;
        bed.in_service("claude", 1).await?;
    }
    for pod in 0..PODS {
        let (status, answer, _) = bed.dry_run(&pod_manifest(&format!("asks-{pod}"))).await?;
        ensure!(status == 201, "{status} {answer}");
    }
    broken(app).await?;
    app.ask_often(REQUESTS, "ahoy").await?;
    let said: Value = serde_json::from_str(&asker.say("end").await?)?;
    note(&format!("what Prometheus says, and the operators themselves: {said}"));
    let answer = said["answers"].as_object().context("no answers")?;
    let told = said["told"].as_object().context("nothing was told")?;
    ensure!(
        answer.len() >= 20 && told.len() >= 8,
        "{} queries, {} told",
        answer.len(),
        told.len()
    );

    let is = |query: &str, wanted: u32| {
        let got = sum(answer, query);
        ensure!((got - f64::from(wanted)).abs() < 0.5, "{query}: {got}, not {wanted}");
        Ok(())
    };
    // The same operators count what the cluster does of itself meanwhile.
    let at_least = |query: &str, wanted: u32| {
        let got = sum(answer, query);
        ensure!(got > f64::from(wanted) - 1e-6, "{query}: {got}, fewer than {wanted}");
        Ok(())
    };
    // But all together is what they have counted between the scrapes, as they tell it themselves.
    for (query, bounds) in told {
        let [least, most] = [0, 1].map(|bound| bounds[bound].as_f64().unwrap_or(f64::NAN));
        let got = sum(answer, query);
        ensure!(
            (least - 1e-6..=most + 1e-6).contains(&got),
            "{query}: {got} in Prometheus, {least} to {most} by themselves"
        );
    }
    is("operators", u32::try_from(bed.operators().names().await?.len())?)?;
    is("operator_leaders", 1)?;
    at_least("operator_streams", 1)?;
    at_least("operator_config_writes", CHANGES)?;
    at_least("operator_validations", CHANGES)?;
    at_least("operator_admissions", PODS)?;
    at_least("config_stream_ended", 1)?;
    let left = sum(answer, "operator_certificate");
    ensure!((6.0 * 3600.0..=25.0 * 3600.0).contains(&left), "{left} s are left");
    for quantile in ["operator_push_p99", "operator_reconcile_p99", "operator_admission_p99"] {
        let took = sum(answer, quantile);
        ensure!(took > 0.0 && took < 5.0, "{quantile}: {took} s");
    }
    for (query, series) in answer {
        ensure!(
            series.as_object().is_some_and(|series| !series.is_empty()),
            "{query}: no series"
        );
    }
    Ok(())
}

/// The Prometheus operator's kinds, as far as they are written here: it is not installed itself.
const KINDS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prometheusrules.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {plural: prometheusrules, singular: prometheusrule, kind: PrometheusRule}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {plural: podmonitors, singular: podmonitor, kind: PodMonitor}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
";

#[tokio::test]
#[ignore = "takes the installed release over: tests/e2e/run observability:: --include-ignored"]
async fn an_objective_becomes_rules_in_its_namespace_and_goes_with_it() {
    Test::new("objectives")
        .alone()
        .run(async |bed| {
            let own = Release::current().await?;
            let kinds = std::env::temp_dir().join(format!("bowsprit-kinds-{:08x}.yaml", fastrand::u32(..)));
            tokio::fs::write(&kinds, KINDS).await?;
            let file = kinds.to_str().context("a path that is no UTF-8")?;
            kubectl(&["apply", "-f", file]).await?;
            kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", file]).await?;
            let outcome = with_rules(bed, &own).await;
            own.install(bed).await?;
            kubectl(&["delete", "-f", file]).await?;
            tokio::fs::remove_file(&kinds).await?;
            outcome
        })
        .await;
}

async fn with_rules(bed: &Bed, own: &Release) -> Result<()> {
    let ruling = own.clone().with("podMonitor", json!({"enabled": true})).with(
        "prometheusRule",
        json!({"enabled": true, "labels": {"release": "monitoring"}}),
    );
    ruling.install(bed).await?;
    let patch = async |slo: Value| patch(bed, json!({"slo": slo})).await;
    let rule = async || {
        kubectl(&[
            "-n",
            &bed.namespace,
            "get",
            "prometheusrule",
            "bowsprit-slo",
            "-o",
            "json",
        ])
        .await
    };
    patch(json!({"availability": "99.5", "firstToken": "5s"})).await?;
    let made = eventually(LONG, "the rules are there", async || rule().await).await?;
    let made: Value = serde_json::from_str(&made)?;
    ensure!(
        made["metadata"]["labels"]["release"] == "monitoring",
        "{:#}",
        made["metadata"]
    );
    let rules = made["spec"]["groups"][1]["rules"].as_array().context("no alerts")?;
    ensure!(rules.len() == 8, "{} alerts of two objectives", rules.len());
    ensure!(made.to_string().contains("1 - 99.5 / 100"), "{made:#}");

    patch(json!({"availability": "99.9", "firstToken": null})).await?;
    eventually(LONG, "the rules follow the objective", async || {
        let made = rule().await?;
        ensure!(
            made.contains("1 - 99.9 / 100") && !made.contains("first_token"),
            "{made}"
        );
        Ok(())
    })
    .await?;
    // Somebody else's rule cannot be changed.
    let who = format!("--as=system:serviceaccount:{SYSTEM}:bowsprit");
    for verb in ["patch", "delete", "get"] {
        let may = [
            "auth",
            "can-i",
            verb,
            "prometheusrule/other",
            "-n",
            &bed.namespace,
            &who,
        ];
        ensure!(kubectl(&may).await.is_err(), "the operator may {verb} any rule");
    }
    patch(Value::Null).await?;
    eventually(Duration::from_mins(1), "the rules go with the objective", async || {
        ensure!(rule().await.is_err(), "they are there");
        Ok(())
    })
    .await
}
