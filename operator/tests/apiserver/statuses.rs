//! Statuses that an apiserver does not take as they are: what can be said is said all the same.

use bowsprit_core::stream::ReportedObjective;

use super::*;

fn with_objective() -> Value {
    let mut object = good("claude-x");
    object["spec"]["slo"] = json!({"availability": "99"});
    object
}

/// What a sidecar says that has counted this for the objective of `claude`.
fn counted(fake: &Fake, [good, bad]: [u64; 2]) -> Arc<SidecarReport> {
    let mut report = SidecarReport::clone(&report(fake));
    report.objectives = vec![ReportedObjective {
        object: "provider".into(),
        name: "claude".into(),
        objective: "availability".into(),
        good,
        bad,
        since: 0,
    }];
    Arc::new(report)
}

/// Operators beside a sidecar that has counted, as soon as the status knows of it.
async fn live(fake: &Arc<Fake>) -> Running {
    let running = start(fake, leader(fake).await);
    fake.until("written", |fake| !data(fake, "revision").is_empty()).await;
    running
        .fleet
        .note("team", pod_id(), counted(fake, [99, 1]), Instant::now());
    fake.until("live", |fake| status(fake)["sidecars"]["current"] == 1)
        .await;
    running
}

#[tokio::test]
async fn a_status_whose_objectives_are_refused_is_written_without_them() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, with_objective());
    fake.put(POD, pod());
    fake.refuses(|_, body| {
        let message = "status.slo.availability.good: Invalid value: \"number\": must be of type integer";
        body["status"]["slo"].is_object().then(|| (422, message.to_owned()))
    });
    let running = live(&fake).await;
    assert_eq!(condition(&fake, "Programmed")["status"], "True");
    assert_eq!(status(&fake)["slo"], Value::Null);
    let failed = running.metrics.encode().unwrap();
    assert!(failed.contains("reconcile_failures_total 0"), "{failed}");
    running.stop().await;
}

#[tokio::test]
async fn only_sidecars_that_the_object_selects_count_for_its_objectives() {
    let fake = Fake::new();
    namespace(&fake);
    let mut object = with_objective();
    object["spec"]["podSelector"] = json!({"matchLabels": {"app": "chat"}});
    fake.put(CLAUDE, object);
    for (name, app) in [("app", "chat"), ("other", "web")] {
        let mut pod = pod();
        pod["metadata"]["uid"] = json!(format!("{name}-1"));
        pod["metadata"]["labels"]["app"] = json!(app);
        fake.put(&POD.replace("app", name), pod);
    }
    let running = start(&fake, leader(&fake).await);
    fake.until("written", |fake| !data(fake, "revision").is_empty()).await;
    for (name, counts) in [("other", [0, 1000]), ("app", [99, 1])] {
        let id = PodId {
            name: name.into(),
            uid: format!("{name}-1"),
        };
        running.fleet.note("team", id, counted(&fake, counts), Instant::now());
    }
    fake.until("measured", |fake| status(fake)["slo"].is_object()).await;
    assert_eq!(status(&fake)["slo"]["availability"]["bad"], 1);
    assert_eq!(status(&fake)["slo"]["sidecars"], 1);
    running.stop().await;
}

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/providerconfigs.bowsprit.dev";

/// The CRD of this release, or of one that had no `status.slo`.
fn crd(knows_slo: bool) -> Value {
    let all = bowsprit_crds::schema::all();
    let of_providers = all.into_iter().find(|crd| crd.spec.names.kind == "ProviderConfig");
    let mut crd = serde_json::to_value(of_providers.unwrap()).unwrap();
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    if !knows_slo {
        let status = schema["properties"]["status"]["properties"].as_object_mut().unwrap();
        status.remove("slo").unwrap();
    }
    crd
}

/// As the apiserver answers an apply patch with a field that the CRD does not have (apimachinery's structuredmerge.go).
fn not_declared(_: &str, body: &Value) -> Option<(u16, String)> {
    let message = "failed to create typed patch object (team/claude; bowsprit.dev/v1alpha1, Kind=ProviderConfig): \
                   .status.slo: field not declared in schema";
    body["status"]["slo"].is_object().then(|| (500, message.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn on_crds_of_the_release_before_all_is_written_that_they_know_and_the_rest_once_they_know_it() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CRD, crd(false));
    fake.put(CLAUDE, with_objective());
    fake.put(POD, pod());
    fake.refuses(not_declared);
    let running = live(&fake).await;
    let attempts = |fake: &Fake| {
        let of_status = |call: &&String| call.starts_with("PATCH") && call.ends_with("/status");
        fake.calls().iter().filter(of_status).count()
    };
    let before = attempts(&fake);
    assert_eq!(before - status_writes(&fake), 1, "one was refused: {:#?}", fake.calls());
    // More counts and nothing else: nothing that this CRD knows has changed.
    running
        .fleet
        .note("team", pod_id(), counted(&fake, [99, 51]), Instant::now());
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(attempts(&fake), before);
    let reads = |fake: &Fake| fake.calls().iter().filter(|call| call.ends_with(CRD)).count();
    assert_eq!(reads(&fake), 1);

    fake.put(CRD, crd(true));
    fake.refuses(|_, _| None);
    tokio::time::sleep(Duration::from_mins(7)).await;
    assert_eq!(status(&fake)["slo"]["availability"]["bad"], 51);
    assert_eq!(reads(&fake), 2, "and never again");
    assert!(running.metrics.encode().unwrap().contains("reconcile_failures_total 0"));
    running.stop().await;
}
