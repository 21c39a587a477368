use bytes::Bytes;
use serde_json::{Value, json};

use super::render::{gone, list, newest, show};
use super::{At, Deletion, Gone, Job, Listed, Said, Shown, listing, one};
use crate::args::JobStatus;
use crate::output::Paint;

/// 2026-11-29T12:00:00Z.
const NOW: i64 = 1_795_953_600_000;

fn at(pod: &str) -> At {
    At {
        namespace: "shop".into(),
        pod: pod.into(),
    }
}

fn job(id: &str, status: &str, created: &str, more: &Value) -> Value {
    let mut job = json!({
        "id": id, "object": "job", "status": status, "path": "/v1/chat/completions?user=ann", "attempts": 1, "maxAttempts": 25,
        "createdAt": created, "deadlineAt": "2026-11-30T10:00:00Z", "expiresAt": "2026-11-30T10:00:00Z", "requestBytes": 900,
        "answerBytes": 0, "idempotencyKey": "week-48",
    });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

fn page(jobs: &[Value], has_more: bool) -> (u16, Bytes) {
    let page = json!({"object": "list", "data": jobs, "has_more": has_more});
    (200, Bytes::from(page.to_string()))
}

fn fleet() -> Vec<Listed> {
    let queued = job(
        "job_5f2a",
        "queued",
        "2026-11-29T11:58:30Z",
        &json!({"attempts": 3, "nextAttemptAt": "2026-11-29T12:00:40Z", "last": {"status": 503, "code": "EXT_OVERLOADED"}}),
    );
    let done = job(
        "job_77c1",
        "done",
        "2026-11-29T09:00:00Z",
        &json!({"answerBytes": 1_700_000, "endedAt": "2026-11-29T09:01:00Z", "last": {"status": 200},
            "answer": {"status": 200, "headers": {}, "body": "what the model said"}}),
    );
    let failed = job(
        "job_0b9e",
        "failed",
        "2026-11-27T11:00:00Z",
        &json!({"attempts": 25, "last": {"status": 400, "code": "VAL_FIELD"}}),
    );
    let unable = json!({"error": {"message": "there is no folder for jobs", "code": "SYS_NOT_SUPPORTED"}});
    vec![
        Listed::of(&at("app-1"), Ok(page(&[queued, done], false))),
        Listed::of(&at("app-2"), Ok(page(&[failed], true))),
        Listed::of(&at("app-3"), Ok((501, Bytes::from(unable.to_string())))),
        Listed::of(&at("app-4"), Err("its sidecar waits: ImagePullBackOff".into())),
    ]
}

#[test]
fn jobs_of_all_pods_with_the_newest_first_and_who_did_not_tell() {
    insta::assert_snapshot!(list(&fleet(), false, NOW, Paint(false)));
}

#[test]
fn no_form_has_what_was_asked_or_answered() {
    let all = fleet();
    let told = [
        list(&all, true, NOW, Paint(false)),
        serde_json::to_string(&all).unwrap(),
        show(
            &Shown {
                at: at("app-1"),
                job: all[0].jobs[1].clone(),
            },
            NOW,
            Paint(false),
        ),
    ];
    for text in told {
        assert!(
            text.contains("job_77c1") && text.contains("/v1/chat/completions"),
            "{text}"
        );
        assert!(!text.contains("model said") && !text.contains("ann"), "{text}");
    }
}

#[test]
fn of_more_than_were_asked_for_the_newest_of_all_pods_stay() {
    let mut all = fleet();
    newest(&mut all, 3);
    assert_eq!(all, fleet(), "there are no more");
    newest(&mut all, 1);
    let left: Vec<&str> = all.iter().flat_map(|it| &it.jobs).map(|job| job.id.as_str()).collect();
    assert_eq!((left, all[0].has_more), (vec!["job_5f2a"], true));
    assert_eq!(listing(None, 250), "/jobs?limit=100");
    assert_eq!(listing(Some(JobStatus::Failed), 5), "/jobs?status=failed&limit=5");
}

#[test]
fn a_job_is_found_wherever_it_is_and_one_that_is_not_says_who_was_not_asked() {
    let not_there = || -> Said { Ok((404, Bytes::from_static(b"{}"))) };
    let here = job("job_5f2a", "queued", "2026-11-29T11:58:30Z", &json!({})).to_string();
    let asked = vec![(at("app-1"), not_there()), (at("app-2"), Ok((200, Bytes::from(here))))];
    let (found_at, found) = one("job_5f2a", asked, Job::read).unwrap();
    assert_eq!(
        (found_at.pod.as_str(), found.path.as_str()),
        ("app-2", "/v1/chat/completions")
    );
    let asked = vec![(at("app-1"), not_there()), (at("app-2"), Err("it waits".into()))];
    let text = one("job_1", asked, Job::read).unwrap_err().to_string();
    assert!(
        text.contains("no sidecar here has a job job_1") && text.contains("app-2: it waits"),
        "{text}"
    );
}

#[test]
fn what_is_given_up_is_told_apart_from_what_was_answered() {
    let of = |status: &str| Gone {
        at: at("app-1"),
        deletion: Deletion {
            id: "job_5f2a".into(),
            status: status.into(),
        },
    };
    assert_eq!(gone(&of("cancelled")), "job_5f2a of shop/app-1 is given up.\n");
    assert_eq!(gone(&of("done")), "job_5f2a of shop/app-1 is forgotten; it was done.\n");
}
