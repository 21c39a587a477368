//! Pods that run away are told on their policy while they do: in few writes, with one Event, and it ends.

use bowsprit_core::stream::ReportedRunaway;

use super::*;

const HOUSE: &str = "/apis/bowsprit.dev/v1alpha1/namespaces/team/usagepolicies/house";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/usagepolicies.bowsprit.dev";

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"uid": "house"}, "spec": spec})
}

/// What a sidecar says whose pod came so often beyond what `house` allows; 0: it does not run away.
fn runs(fake: &Fake, repeats: u64) -> Arc<SidecarReport> {
    let mut report = SidecarReport::clone(&report(fake));
    report.policies = Some(1);
    if repeats > 0 {
        report.runaways = vec![ReportedRunaway {
            policy: "house".into(),
            stops: true,
            repeats,
            since: 1_700_000_000,
        }];
    }
    Arc::new(report)
}

fn told(fake: &Fake) -> Value {
    fake.get(HOUSE).unwrap_or_default()["status"].clone()
}

fn events(fake: &Fake) -> Vec<Value> {
    let of =
        |(path, event): (String, Value)| (path.contains("/events/") && event["reason"] == "Runaway").then_some(event);
    fake.objects().into_iter().filter_map(of).collect()
}

/// A leader beside a pod whose sidecar has the policy in service.
async fn live(fake: &Arc<Fake>) -> Running {
    namespace(fake);
    fake.put(HOUSE, policy(&json!({"runaway": {"action": "Stop"}})));
    fake.put(POD, pod());
    let running = start(fake, leader(fake).await);
    fake.until("written", |fake| !data(fake, "revision").is_empty()).await;
    running.fleet.note("team", pod_id(), runs(fake, 0), Instant::now());
    fake.until("live", |fake| told(fake)["sidecars"]["current"] == 1).await;
    running
}

#[tokio::test(start_paused = true)]
async fn a_runaway_stands_on_its_policy_with_one_event_until_it_is_over() {
    let fake = Fake::new();
    let running = live(&fake).await;
    assert_eq!(told(&fake)["runaway"], Value::Null);
    let writes = status_writes(&fake);
    running.fleet.note("team", pod_id(), runs(&fake, 1), Instant::now());
    fake.until("begun", |fake| told(fake)["runaway"].is_object()).await;
    let runaway = told(&fake)["runaway"].clone();
    assert_eq!(
        (&runaway["pods"], &runaway["worst"]),
        (
            &json!(1),
            &json!([{"pod": "app", "stops": true, "repeats": 1, "since": "2023-11-14T22:13:20Z"}])
        )
    );
    fake.until("told", |fake| !events(fake).is_empty()).await;
    // Round and round: what is only more of the same is not written within two minutes, of which these take none. That they
    // have doubled is news, for whoever looks again: who has just written does so two minutes later by its own clock.
    for repeats in 2..50 {
        running
            .fleet
            .note("team", pod_id(), runs(&fake, repeats), Instant::now());
        running.fleet.tell_counts(Instant::now());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(status_writes(&fake) - writes, 2, "{:#?}", fake.writes());
    running.fleet.note("team", pod_id(), runs(&fake, 0), Instant::now());
    fake.until("over", |fake| told(fake)["runaway"].is_null()).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(status_writes(&fake) - writes, 3, "and at rest nothing is written");
    let events = events(&fake);
    let [event] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert_eq!(
        (&event["type"], &event["regarding"]["name"]),
        (&json!("Warning"), &json!("house"))
    );
    let note = event["note"].as_str().unwrap();
    assert!(
        note.starts_with("pod app sends the same request") && note.ends_with("1 beyond spec.runaway so far, refused"),
        "{note}"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_looks_for_none_says_nothing_of_what_a_sidecar_says_of_it() {
    let fake = Fake::new();
    let running = live(&fake).await;
    running.fleet.note("team", pod_id(), runs(&fake, 3), Instant::now());
    fake.until("begun", |fake| told(fake)["runaway"].is_object()).await;
    fake.put(HOUSE, policy(&json!({"paused": false})));
    fake.until("over", |fake| told(fake)["runaway"].is_null()).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn on_a_crd_of_the_release_before_all_else_is_written() {
    let fake = Fake::new();
    let all = bowsprit_crds::schema::all();
    let of_policies = all.into_iter().find(|crd| crd.spec.names.kind == "UsagePolicy");
    let mut crd = serde_json::to_value(of_policies.unwrap()).unwrap();
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let of_status = schema["properties"]["status"]["properties"].as_object_mut().unwrap();
    of_status.remove("runaway").unwrap();
    fake.put(CRD, crd);
    fake.refuses(|_, body| {
        let message = ".status.runaway: field not declared in schema";
        body["status"]["runaway"].is_object().then(|| (500, message.to_owned()))
    });
    let running = live(&fake).await;
    let writes = status_writes(&fake);
    for repeats in [1, 0, 1, 0] {
        running
            .fleet
            .note("team", pod_id(), runs(&fake, repeats), Instant::now());
        tokio::time::sleep(Duration::from_secs(90)).await;
    }
    let known = told(&fake);
    assert_eq!(
        (&known["runaway"], &known["sidecars"]["current"]),
        (&Value::Null, &json!(1))
    );
    assert!(status_writes(&fake) - writes <= 1, "{:#?}", fake.writes());
    assert!(running.metrics.encode().unwrap().contains("reconcile_failures_total 0"));
    running.stop().await;
}
