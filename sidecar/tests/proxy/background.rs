//! Requests that are answered later: a 202 is a promise, whatever happens to provider and sidecar meanwhile.

use std::path::Path;

use bowsprit_core::queue::MOST_PASSED;
use bowsprit_providers::Behaviour;
use bowsprit_rig::documents;
use serde_json::{Value, json};

use super::support::{Bed, CANARIES, Reply, chat, count, failing, saw};

struct Kept {
    bed: Bed,
    state: tempfile::TempDir,
}

impl Kept {
    async fn new(change: impl Fn(&str, &mut Value), more: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let args = [&["--state-dir", state.path().to_str().unwrap()], more].concat();
        let bed = Bed::build(only_claude(change), &args).await;
        Self { bed, state }
    }

    async fn post(&self, more: Value) -> Reply {
        let mut body = json!({"path": "/v1/chat/completions", "request": chat("claude-sonnet-4-5", false)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Reply::of(self.bed.post("/jobs", &body).send().await.unwrap()).await
    }

    async fn accepted(&self) -> String {
        let reply = self.post(json!({})).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Reply {
        Reply::of(self.bed.get(path).send().await.unwrap()).await
    }

    async fn delete(&self, id: &str) -> Reply {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = self.bed.url(&format!("/jobs/{id}"));
        Reply::of(http.delete(url).send().await.unwrap()).await
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        let path = format!("/jobs/{id}");
        self.bed
            .until(status, || async { self.get(&path).await.json()["status"] == status })
            .await;
        self.get(&path).await.json()
    }

    fn start(&mut self) {
        let state = self.state.path().to_str().unwrap().to_owned();
        self.bed.start(&["--state-dir", &state]);
    }
}

/// So that nobody stands in for it.
fn only_claude(change: impl Fn(&str, &mut Value)) -> impl Fn(&str, &mut Value) {
    move |name, spec| {
        if name == "claude" {
            change(name, spec);
        } else {
            *spec = Value::Null;
        }
    }
}

/// All that a folder holds.
fn bytes_below(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

#[tokio::test]
async fn a_job_is_answered_as_the_request_would_have_been_and_is_kept_until_it_is_deleted() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    let now = kept.bed.chat().await;
    let id = kept.accepted().await;
    let job = kept.until(&id, "done").await;
    assert_eq!((&job["attempts"], &job["answer"]["status"]), (&json!(1), &json!(200)));
    assert_eq!(job["answer"]["body"]["choices"], now.json()["choices"]);
    let raw = kept.get(&format!("/jobs/{id}/answer")).await;
    assert_eq!((raw.status, raw.content()), (200, now.content()));
    assert_eq!((raw.provider(), raw.header("x-request-id")), ("claude", &*id));
    let told = kept.bed.access();
    let line = told.iter().find(|line| line["request_id"] == id.as_str()).unwrap();
    assert_eq!(
        (&line["outcome"], &line["operation"]),
        (&json!("ok"), &json!("chat_completions")),
        "recorded as any other"
    );
    let listed = kept.get("/jobs?status=done").await.json();
    assert_eq!(
        (&listed["data"][0]["id"], &listed["has_more"]),
        (&json!(id), &json!(false))
    );
    assert_eq!(kept.bed.health().await["jobs"]["kept"], 1);
    assert_eq!(kept.bed.metric(r#"bowsprit_jobs{status="kept"}"#).await, 1.0);
    let deleted = kept.delete(&id).await.json();
    assert_eq!(
        (&deleted["deleted"], &deleted["status"]),
        (&json!(true), &json!("done"))
    );
    for path in [format!("/jobs/{id}"), format!("/jobs/{id}/answer")] {
        let gone = kept.get(&path).await;
        assert_eq!(
            (gone.status, &gone.json()["error"]["bowsprit_code"]),
            (404, &json!("RES_JOB_NOT_FOUND"))
        );
    }
    assert_eq!(std::fs::read_dir(kept.state.path().join("jobs")).unwrap().count(), 0);
    kept.bed.balanced().await;
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_again_until_it_answers() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    failing(&kept.bed.claude, 503);
    let id = kept.accepted().await;
    kept.bed
        .until("it was refused", || async {
            let job = kept.get(&format!("/jobs/{id}")).await.json();
            job["status"] == "queued" && job["last"]["status"] == 503
        })
        .await;
    let waiting = kept.get(&format!("/jobs/{id}/answer")).await;
    assert_eq!((waiting.status, waiting.header("retry-after")), (409, "2"));
    kept.bed.claude.always(Behaviour::ok());
    let job = kept.until(&id, "done").await;
    assert!(job["attempts"].as_u64().unwrap() > 1, "{job}");
    kept.bed.balanced().await;
}

#[tokio::test]
async fn what_would_be_refused_again_is_tried_once_and_its_refusal_kept() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    failing(&kept.bed.claude, 400);
    let id = kept.accepted().await;
    let job = kept.until(&id, "failed").await;
    assert_eq!((&job["attempts"], &job["last"]["status"]), (&json!(1), &json!(400)));
    let raw = kept.get(&format!("/jobs/{id}/answer")).await;
    assert_eq!((raw.status, raw.header("x-should-retry")), (400, "false"));
}

#[tokio::test]
async fn a_job_that_ran_when_the_sidecar_ended_runs_again_in_the_next() {
    let mut kept = Kept::new(|_, _| {}, &[]).await;
    kept.bed.claude.always(Behaviour::hang());
    let (running, waiting) = (kept.accepted().await, kept.accepted().await);
    saw(&kept.bed.claude, |seen| seen.counts.requests == 2).await;
    let done = {
        kept.bed.sidecar.take().unwrap().stop().await;
        kept.bed.claude.always(Behaviour::ok());
        kept.start();
        kept.until(&running, "done").await
    };
    assert_eq!(done["attempts"], 2, "it was begun twice, and says so");
    kept.until(&waiting, "done").await;
    // Its answer outlives the next end too.
    let before = kept.get(&format!("/jobs/{running}/answer")).await;
    kept.bed.sidecar.take().unwrap().stop().await;
    kept.start();
    let after = kept.get(&format!("/jobs/{running}/answer")).await;
    assert_eq!((after.status, after.text), (200, before.text));
    kept.bed.balanced().await;
}

#[tokio::test]
async fn nobodys_end_waits_for_a_job() {
    let mut kept = Kept::new(|_, _| {}, &["--drain-deadline", "1h"]).await;
    kept.bed.claude.always(Behaviour::hang());
    kept.accepted().await;
    saw(&kept.bed.claude, |seen| seen.counts.requests == 1).await;
    let stopped = kept.bed.sidecar.take().unwrap().stop();
    assert!(tokio::time::timeout(super::support::SOON, stopped).await.is_ok());
}

#[tokio::test]
async fn a_job_that_is_deleted_while_it_runs_is_given_up() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    kept.bed.claude.always(Behaviour::hang());
    let id = kept.accepted().await;
    saw(&kept.bed.claude, |seen| seen.counts.requests == 1).await;
    let deleted = kept.delete(&id).await.json();
    assert_eq!(deleted["status"], "cancelled");
    saw(&kept.bed.claude, |seen| seen.cancelled.len() == 1).await;
    assert_eq!(kept.get(&format!("/jobs/{id}")).await.status, 404);
    kept.bed
        .until("nothing of it is left", || async {
            std::fs::read_dir(kept.state.path().join("jobs")).unwrap().count() == 0
        })
        .await;
    kept.bed.balanced().await;
}

#[tokio::test]
async fn the_same_key_is_the_same_job() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    let first = kept.post(json!({"idempotencyKey": "order-7"})).await.json();
    let again = kept.post(json!({"idempotencyKey": "order-7"})).await.json();
    assert_eq!(first["id"], again["id"]);
    kept.until(first["id"].as_str().unwrap(), "done").await;
    assert_eq!(count(&kept.bed.claude), 1);
}

#[tokio::test]
async fn a_key_that_says_nothing_or_asks_for_something_else_finds_no_job() {
    let mut kept = Kept::new(|_, _| {}, &[]).await;
    let body = json!({"path": "/v1/chat/completions", "request": chat("claude-sonnet-4-5", false)});
    let long = "k".repeat(129);
    for wrong in ["", "two words", &long] {
        let refused = kept.bed.post_as("/jobs", &body, &[("idempotency-key", wrong)]).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["param"]), (400, &json!("Idempotency-Key")));
    }
    let named = [("idempotency-key", "order-7")];
    let first = kept.bed.post_as("/jobs", &body, &named).await.json();
    let mut other = body.clone();
    other["request"]["max_tokens"] = json!(7);
    for _ in 0..2 {
        let refused = kept.bed.post_as("/jobs", &other, &named).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["bowsprit_code"]),
            (409, &json!("RES_JOB_KEY_TAKEN"))
        );
        assert_eq!(refused.header("x-should-retry"), "false", "an SDK would ask again");
        let same = kept.bed.post_as("/jobs", &body, &named).await.json();
        assert_eq!(first["id"], same["id"]);
        kept.until(first["id"].as_str().unwrap(), "done").await;
        kept.bed.sidecar.take().unwrap().stop().await;
        kept.start();
    }
}

#[tokio::test]
async fn no_key_is_written_to_disk() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    let body = json!({
        "path": "/v1/chat/completions",
        "request": chat("claude-sonnet-4-5", false),
        "headers": {"x-team": "shop"},
    });
    let asked = kept
        .bed
        .post_as("/jobs", &body, &[("authorization", "Bearer sk-canary-caller-7f3a")])
        .await;
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    kept.until(&id, "done").await;
    let written = String::from_utf8_lossy(&bytes_below(kept.state.path())).into_owned();
    assert!(written.contains("x-team") && written.contains(&id));
    for canary in CANARIES.iter().chain(&["sk-canary-caller-7f3a"]) {
        assert!(!written.contains(canary), "{canary}");
    }
    let refused = kept
        .post(json!({"headers": {"x-api-key": "sk-canary-caller-7f3a"}}))
        .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("headers.x-api-key"))
    );
    assert!(!refused.text.contains("canary"));
}

#[tokio::test]
async fn who_is_asked_with_the_callers_own_key_answers_no_job() {
    let callers_key = |_: &str, spec: &mut Value| {
        spec["forwardCallerKey"] = json!(true);
        spec["credentials"] = json!([]);
    };
    let kept = Kept::new(callers_key, &[]).await;
    let refused = kept.post(json!({})).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["bowsprit_code"]),
        (400, &json!("VAL_UNSUPPORTED"))
    );
    assert!(
        refused.text.contains("claude") && refused.text.contains("forwardCallerKey"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn what_could_never_be_answered_is_refused_at_once() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    for (more, param) in [
        (json!({"path": "/v1/files"}), "path"),
        (json!({"path": "/jobs"}), "path"),
        (json!({"path": "/providers/claude/v1/messages"}), "path"),
        (json!({"path": "chat"}), "path"),
        (json!({"ttl": "1y"}), "ttl"),
        (json!({"request": chat("claude-sonnet-4-5", true)}), "request.stream"),
        (json!({"request": {"messages": []}}), "model"),
    ] {
        let refused = kept.post(more).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        let said = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(said.starts_with(param), "{said}");
    }
    for (path, allow) in [("/jobs", "GET, POST"), ("/jobs/job_1/answer", "GET")] {
        let refused = kept.bed.post(path, &json!({})).send().await.unwrap();
        if path != "/jobs" {
            assert_eq!(
                (refused.status().as_u16(), refused.headers()["allow"].to_str().unwrap()),
                (405, allow)
            );
        }
    }
    assert_eq!(kept.get("/jobs?status=lost").await.status, 400);
    assert_eq!(
        kept.get("/jobsite").await.json()["error"]["bowsprit_code"],
        "RES_PATH_NOT_FOUND"
    );
    assert_eq!(count(&kept.bed.claude), 0);
}

#[tokio::test]
async fn beyond_their_bound_jobs_are_refused_and_there_is_room_again_when_answers_are_fetched() {
    let kept = Kept::new(|_, _| {}, &["--jobs-size", "64KiB"]).await;
    let long = |text: usize| {
        let mut request = chat("claude-sonnet-4-5", false);
        request["messages"][0]["content"] = json!("a".repeat(text));
        json!({"request": request})
    };
    kept.bed.claude.always(Behaviour::text("yes"));
    let first = kept.post(long(20_000)).await;
    assert_eq!(first.status, 202);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    kept.until(&id, "done").await;
    let full = kept.post(long(20_000)).await;
    assert_eq!(
        (full.status, &full.json()["error"]["bowsprit_code"]),
        (507, &json!("SYS_JOBS_FULL"))
    );
    assert!(
        full.text.contains("--jobs-size") && full.header("retry-after") == "10",
        "{}",
        full.text
    );
    kept.delete(&id).await;
    assert_eq!(kept.post(long(20_000)).await.status, 202);
}

#[tokio::test]
async fn without_a_folder_there_are_no_jobs_and_it_says_what_to_do() {
    let bed = Bed::new().await;
    let body = json!({"path": "/v1/messages", "request": {}});
    let refused = Reply::of(bed.post("/jobs", &body).send().await.unwrap()).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["bowsprit_code"]),
        (501, &json!("SYS_NOT_SUPPORTED"))
    );
    assert!(refused.text.contains("--state-dir"), "{}", refused.text);
}

fn one_at_a_time(_: &str, spec: &mut Value) {
    spec["rateLimits"] = json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "60s"});
}

async fn waiting(bed: &Bed, count: f64) {
    bed.until("they wait", || async {
        bed.family("bowsprit_rate_limited_total").await == count
    })
    .await;
}

/// What the provider was asked, in order: the text of each.
fn asked(bed: &Bed) -> Vec<String> {
    let seen = bed.claude.seen();
    seen.requests.iter().map(|it| it.json().to_string()).collect()
}

#[tokio::test]
async fn a_request_that_somebody_waits_for_goes_before_those_in_no_hurry() {
    let kept = Kept::new(one_at_a_time, &[]).await;
    let bed = &kept.bed;
    bed.claude.script(Behaviour::hang());
    let held = tokio::spawn(
        bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
            .send(),
    );
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let ask = |text: &str, class: &str| {
        let mut body = chat("claude-sonnet-4-5", false);
        body["messages"][0]["content"] = json!(text);
        let request = bed.post("/v1/chat/completions", &body);
        tokio::spawn(request.header("x-bowsprit-priority", class).send())
    };
    let patient = ask("patient", "background");
    waiting(bed, 1.0).await;
    let urgent = ask("urgent", "interactive");
    waiting(bed, 2.0).await;
    held.abort();
    for answer in [urgent, patient] {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    let seen = bed.claude.seen();
    let asked: Vec<String> = seen.requests.iter().map(|it| it.json().to_string()).collect();
    let place = |text: &str| asked.iter().position(|body| body.contains(text)).unwrap();
    assert!(place("urgent") < place("patient"), "{asked:?}");
    assert!(
        seen.requests
            .iter()
            .all(|it| it.header("x-bowsprit-priority").is_none()),
        "it is nobody else's"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_background_request_is_passed_so_often_and_then_keeps_its_place() {
    let kept = Kept::new(one_at_a_time, &[]).await;
    let bed = &kept.bed;
    bed.claude.script(Behaviour::hang());
    let ask = |text: &str, class: &str| {
        let mut body = chat("claude-sonnet-4-5", false);
        body["messages"][0]["content"] = json!(text);
        let request = bed.post("/v1/chat/completions", &body);
        tokio::spawn(request.header("x-bowsprit-priority", class).send())
    };
    let held = ask("held", "interactive");
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let mut all = vec![ask("patient", "background")];
    let mut count = 1.0;
    waiting(bed, count).await;
    for number in 0..MOST_PASSED + 3 {
        all.push(ask(&format!("urgent {number}."), "interactive"));
        count += 1.0;
        waiting(bed, count).await;
    }
    held.abort();
    for answer in all {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    let asked = asked(bed);
    let place = asked.iter().position(|body| body.contains("patient")).unwrap();
    // Behind the one that was held up, and those that passed it.
    assert_eq!(place, 1 + MOST_PASSED as usize, "{asked:?}");
    bed.balanced().await;
}

#[tokio::test]
async fn a_route_in_no_hurry_and_a_flex_request_let_others_go_first_whatever_their_callers_say() {
    let route = |name: &str, more: Value| {
        let mut spec = json!({"match": {"models": [name]}, "targets": [{"provider": "claude"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        documents::route(name, &spec)
    };
    let mut bed = Bed::providers();
    let text = bed.documents(&only_claude(one_at_a_time))
        + &route("nightly", json!({"priority": "Background"}))
        + &route("smart", json!({"priority": "Interactive"}));
    std::fs::write(bed.config_path(), text).unwrap();
    bed.start(&[]);
    let bed = &bed;
    bed.claude.script(Behaviour::hang());
    let ask = |text: &str, model: &str, tier: Option<&str>, class: Option<&str>| {
        let mut body = chat(model, false);
        body["messages"][0]["content"] = json!(text);
        if let Some(tier) = tier {
            body["service_tier"] = json!(tier);
        }
        let mut request = bed.post("/v1/chat/completions", &body);
        if let Some(class) = class {
            request = request.header("x-bowsprit-priority", class);
        }
        tokio::spawn(request.send())
    };
    let held = ask("held", "smart", None, None);
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let mut all = Vec::new();
    for (count, (text, model, tier, class)) in (1_u8..).zip([
        ("first", "nightly", None, Some("interactive")),
        ("second", "smart", Some("flex"), None),
        ("third", "smart", Some("flex"), Some("interactive")),
        ("fourth", "smart", Some("auto"), None),
    ]) {
        all.push(ask(text, model, tier, class));
        waiting(bed, count.into()).await;
    }
    held.abort();
    for answer in all {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    let asked = asked(bed);
    let mut order = ["first", "second", "third", "fourth"];
    order.sort_by_key(|text| asked.iter().position(|body| body.contains(text)));
    assert_eq!(order, ["third", "fourth", "first", "second"], "{asked:?}");
    bed.balanced().await;
}

/// An address of this machine that is none of loopback's. Nothing is sent to find it.
pub(crate) fn other_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback()).then_some(own)
}

#[tokio::test]
async fn who_does_not_come_over_loopback_is_told_of_no_job_and_can_do_nothing_to_one() {
    let Some(own) = other_address() else {
        // Written out, as a run that could not look has shown nothing.
        eprintln!("this machine has no address but loopback's: not tried");
        return;
    };
    let kept = Kept::new(|_, _| {}, &["--listen", "0.0.0.0:0"]).await;
    let id = kept.accepted().await;
    kept.until(&id, "done").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = |path: &str| format!("http://{own}:{}{path}", kept.bed.address().port());
    let body = json!({"path": "/v1/chat/completions", "request": chat("claude-sonnet-4-5", false)});
    for request in [
        http.post(at("/jobs")).json(&body),
        http.get(at("/jobs")),
        http.get(at(&format!("/jobs/{id}"))),
        http.get(at(&format!("/jobs/{id}/answer"))),
        http.delete(at(&format!("/jobs/{id}"))),
    ] {
        let refused = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["bowsprit_code"]),
            (403, &json!("AUTH_ACCESS_DENIED"))
        );
        assert!(!refused.text.contains(&id), "{}", refused.text);
    }
    assert_eq!(
        kept.get("/jobs").await.json()["data"].as_array().unwrap().len(),
        1,
        "it is there as before"
    );
    kept.bed.balanced().await;
}

#[tokio::test]
async fn who_looks_after_jobs_sees_no_answer() {
    let kept = Kept::new(|_, _| {}, &[]).await;
    let id = kept.accepted().await;
    let whole = kept.until(&id, "done").await;
    let seen = kept.get(&format!("/jobs/{id}?answer=false")).await.json();
    assert!(whole["answer"].is_object() && seen["answer"].is_null(), "{seen}");
    let sizes = |job: &Value| {
        [
            job["requestBytes"].as_u64().unwrap(),
            job["answerBytes"].as_u64().unwrap(),
        ]
    };
    assert!(sizes(&seen).iter().all(|bytes| *bytes > 20), "{seen}");
    assert_eq!(sizes(&kept.get("/jobs").await.json()["data"][0]), sizes(&seen));
    kept.bed.balanced().await;
}
