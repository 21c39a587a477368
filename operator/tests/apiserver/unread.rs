//! Objects in a form that only another release reads, as after a rollback: the others go on, and each of these says what is the matter.

use super::*;

const SMART: &str = "/apis/bowsprit.dev/v1alpha1/namespaces/team/modelroutes/smart";
const PAUSE: &str = "/apis/bowsprit.dev/v1alpha1/namespaces/team/usagepolicies/pause";

fn object(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": kind, "metadata": {"uid": kind}, "spec": spec})
}

fn route(limits: &Value) -> Value {
    let spec = json!({"match": {"models": ["smart"]}, "targets": [{"provider": "claude"}], "limits": limits});
    object("ModelRoute", &spec)
}

/// `claude` as a later release may have it.
fn of_a_later_release() -> Value {
    let mut later = good("claude-x");
    later["spec"]["rateLimits"] = json!("by the store");
    later
}

fn condition_of(fake: &Fake, path: &str, kind: &str) -> Value {
    let object = fake.get(path).unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array().cloned();
    let mut conditions = conditions.unwrap_or_default().into_iter();
    conditions
        .find(|condition| condition["type"] == kind)
        .unwrap_or_default()
}

fn reason(fake: &Fake, path: &str) -> String {
    let accepted = condition_of(fake, path, "Accepted");
    accepted["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn objects_that_this_release_cannot_read_say_so_and_all_others_go_on() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    fake.put(SMART, route(&json!("a later form")));
    fake.put(PAUSE, object("UsagePolicy", &json!({"paused": {"since": "noon"}})));
    let running = start(&fake, leader(&fake).await);
    for path in [SMART, PAUSE] {
        fake.until("told", |fake| reason(fake, path) == "NotUnderstood").await;
    }
    let accepted = condition_of(&fake, SMART, "Accepted");
    assert_eq!(
        (&accepted["status"], &accepted["observedGeneration"]),
        (&json!("False"), &json!(1))
    );
    let message = accepted["message"].as_str().unwrap();
    assert!(
        message.starts_with("ModelRoute smart: spec.limits: this release cannot read it"),
        "{message}"
    );
    assert!(message.contains("it is not in service"), "{message}");
    assert_eq!(condition_of(&fake, SMART, "Ready")["reason"], "NotUnderstood");
    fake.until("accepted", |fake| condition(fake, "Accepted")["status"] == "True")
        .await;
    let text = data(&fake, "bowsprit.yaml");
    assert!(text.contains("claude-x") && !text.contains("smart"), "{text}");

    // A change of another is live as ever, and what was said is not said again.
    let about = |fake: &Fake| fake.writes().iter().filter(|write| write.contains(SMART)).count();
    let before = about(&fake);
    fake.put(CLAUDE, good("claude-y"));
    fake.until("changed", |fake| data(fake, "bowsprit.yaml").contains("claude-y"))
        .await;
    let told = |fake: &Fake| {
        fake.objects()
            .values()
            .any(|event| event["reason"] == "NotUnderstood" && event["type"] == "Warning")
    };
    fake.until("told as an Event", told).await;
    assert_eq!((before, about(&fake)), (1, 1), "{:#?}", fake.writes());

    // Written anew in this release's form, it is as any other.
    fake.put(SMART, route(&json!([])));
    fake.until("in service", |fake| data(fake, "bowsprit.yaml").contains("smart"))
        .await;
    fake.until("accepted", |fake| {
        condition_of(fake, SMART, "Accepted")["status"] == "True"
    })
    .await;
    assert!(running.metrics.encode().unwrap().contains("reconcile_failures_total 0"));
    running.stop().await;
}

#[tokio::test]
async fn the_last_accepted_version_of_an_object_that_cannot_be_read_any_more_stays_in_service() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    fake.put(SMART, route(&json!([])));
    let running = start(&fake, leader(&fake).await);
    fake.until("in service", |fake| data(fake, "bowsprit.yaml").contains("smart"))
        .await;
    fake.until("accepted", |fake| reason(fake, CLAUDE) == "Accepted").await;
    let before = (data(&fake, "bowsprit.yaml"), data(&fake, "sequence"));

    fake.put(CLAUDE, of_a_later_release());
    fake.until("told", |fake| reason(fake, CLAUDE) == "NotUnderstood").await;
    let message = condition(&fake, "Accepted")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("spec.rateLimits") && message.contains("stays in service"),
        "{message}"
    );
    running.stop().await;

    // An operator that starts with it knows of that version by the config alone.
    let after = start(&fake, leader(&fake).await);
    fake.put(SMART, route(&json!([{"name": "few", "requestsPerMinute": 3}])));
    fake.until("changed", |fake| data(fake, "bowsprit.yaml").contains("few"))
        .await;
    assert!(data(&fake, "bowsprit.yaml").contains("claude-x"), "still there");
    assert_ne!(data(&fake, "sequence"), before.1);
    fake.delete(CLAUDE);
    fake.until("gone", |fake| !data(fake, "bowsprit.yaml").contains("claude-x"))
        .await;
    after.stop().await;
}

#[tokio::test]
async fn a_config_that_a_later_release_wrote_is_read_as_far_as_it_can_be() {
    let fake = Fake::new();
    namespace(&fake);
    fake.put(CLAUDE, good("claude-x"));
    fake.put(SMART, route(&json!([])));
    let before = start(&fake, leader(&fake).await);
    fake.until("in service", |fake| data(fake, "bowsprit.yaml").contains("smart"))
        .await;
    fake.until("accepted", |fake| reason(fake, CLAUDE) == "Accepted").await;
    before.stop().await;
    // As a later release would have it: its own form of the route, in the object and in what it wrote.
    let text = data(&fake, "bowsprit.yaml");
    let route_at = text.find("kind: ModelRoute").unwrap();
    let (head, tail) = text.split_at(route_at);
    let later = format!(
        "{head}{}",
        tail.replacen("spec:\n", "spec:\n  limits: a later form\n", 1)
    );
    let mut map = fake.get(CONFIG).unwrap();
    map["data"]["revision"] = json!(bowsprit_core::config::revision(&later));
    map["data"]["bowsprit.yaml"] = json!(later);
    fake.put(CONFIG, map);
    fake.put(SMART, route(&json!("a later form")));
    fake.put(CLAUDE, of_a_later_release());

    let running = start(&fake, leader(&fake).await);
    for path in [SMART, CLAUDE] {
        fake.until("told", |fake| reason(fake, path) == "NotUnderstood").await;
    }
    let text = data(&fake, "bowsprit.yaml");
    assert!(
        text.contains("claude-x"),
        "its document is one that this release reads: {text}"
    );
    assert!(!text.contains("smart"), "{text}");
    running.stop().await;
}
