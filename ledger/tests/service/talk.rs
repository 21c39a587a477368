//! What is asked and answered over HTTPS.

use std::time::{Duration, Instant};

use bowsprit_ledger::query::{Listed, READER_HEADER, Stat, Why};
use bowsprit_ledger::service::now;
use bowsprit_ledger::store::Arrival;
use bowsprit_ledger::wire::{BATCHES_PATH, MAX_BYTES, RefusedBecause};
use serde_json::json;

use crate::apiserver::{pods, users};
use crate::entries::{arrival, attempt, requests};
use crate::program::{PATIENCE, Place, Program};

#[tokio::test]
async fn batches_are_taken_once_and_refused_with_their_rule() {
    let program = Program::start(Place::Sqlite).await;
    let token = pods("team", "app-1");
    let Arrival { batch, .. } = arrival("app-1", 1, requests(1..=3, "ok"));
    for _ in 0..2 {
        assert_eq!(
            program.post(&token, &batch).await.unwrap(),
            (200, json!({"through": 3}))
        );
    }
    let refused = |status: u16, reason: RefusedBecause| (status, serde_json::to_value(reason).unwrap());
    let mut gap = batch.clone();
    (gap.from, gap.to, gap.entries) = (7, 9, Vec::new());
    let mut foreign = batch.clone();
    foreign.namespace = Some("other".into());
    let mut version = batch.clone();
    version.version = 9;
    for (spoiled, wanted) in [
        (gap, refused(409, RefusedBecause::Gap)),
        (foreign, refused(403, RefusedBecause::ForeignNamespace)),
        (version, refused(400, RefusedBecause::Version)),
    ] {
        let (status, body) = program.post(&token, &spoiled).await.unwrap();
        assert_eq!((status, body["reason"].clone()), wanted);
        assert!(body["message"].as_str().unwrap().len() > 10);
    }
    // No token of a pod, no batch.
    for (token, status) in [(users("ann"), 401), ("rubbish".into(), 401), (pods("team", ""), 403)] {
        let answer = program.post(&token, &batch).await.unwrap();
        assert_eq!(answer.0, status, "{token} {answer:?}");
    }
    for (body, status) in [
        (vec![b' '; MAX_BYTES + 1], 413),
        (b"{\"entries\":7}".to_vec(), 400),
        (Vec::new(), 400),
    ] {
        let answer = program
            .http
            .post(program.url(BATCHES_PATH))
            .bearer_auth(&token)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    // The namespace is the token's, whatever else is said.
    assert_eq!(program.post(&pods("other", "app-1"), &batch).await.unwrap().0, 200);
    let rows = rusqlite::Connection::open(program.database()).unwrap();
    let count = |namespace: &str| {
        let sql = "SELECT count(*) FROM provider_requests WHERE namespace = ?1";
        rows.query_row(sql, [namespace], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((count("team"), count("other")), (3, 3));
}

#[tokio::test]
async fn what_a_pod_makes_up_takes_little_more_memory_than_its_bytes() {
    let program = Program::start(Place::Sqlite).await;
    let before = program.peak();
    let request = |sequence: usize, turns: usize| {
        let path = vec!["{}"; turns].join(",");
        format!(r#"{{"sequence":{sequence},"at":0,"entry":{{"kind":"request","path":[{path}]}}}}"#)
    };
    let batch = |entries: &[String]| {
        let (to, entries) = (entries.len(), entries.join(","));
        format!(r#"{{"version":1,"outbox":"0f","from":1,"to":{to},"entries":[{entries}]}}"#)
    };
    let one = batch(&[request(1, 1_390_000)]);
    let many = batch(&(1..=40).map(|sequence| request(sequence, 34_000)).collect::<Vec<_>>());
    let posts = (0..8).map(|index| {
        let (body, status) = if index % 2 == 0 { (&one, 400) } else { (&many, 200) };
        assert!((MAX_BYTES * 9 / 10..MAX_BYTES).contains(&body.len()), "{}", body.len());
        let post = program.http.post(program.url(BATCHES_PATH));
        let post = post
            .bearer_auth(pods("team", &format!("app-{index}")))
            .body(body.clone());
        async move { assert_eq!(post.send().await.unwrap().status().as_u16(), status) }
    });
    futures::future::join_all(posts).await;
    // Their bytes, what is made of them and what an allocator keeps: 12 times; it was 50.
    let grown = program.peak() - before;
    assert!(grown < 12 * 8 * MAX_BYTES as u64, "{} MiB", grown >> 20);
}

#[tokio::test]
async fn who_may_read_is_answered_and_nobody_else() {
    let program = Program::start(Place::Sqlite).await;
    let mut entries = requests(1..=2, "ok");
    entries.extend(requests(3..=3, "cut"));
    entries.push(bowsprit_ledger::entry::Entry::Attempt(Box::new(attempt(
        "r1", "answered",
    ))));
    let Arrival { mut batch, .. } = arrival("app-1", 1, entries);
    batch.entries.iter_mut().for_each(|entry| entry.at = now());
    assert_eq!(program.post(&pods("team", "app-1"), &batch).await.unwrap().0, 200);

    let ann = users("ann");
    // Of two whole hours, as the minutes of 1970 are gone.
    let asked = program
        .http
        .get(program.url("/v1/stats?namespace=team&from=1800000&to=5400000"));
    let answer = asked.bearer_auth(&ann).send().await.unwrap();
    assert_eq!(answer.headers()["x-bowsprit-window"], "0/7200000");
    let (status, stats) = program.get(&ann, "/v1/stats?namespace=team&by=model").await;
    assert_eq!(status, 200, "{stats}");
    let stats: Vec<Stat> = serde_json::from_value(stats).unwrap();
    assert_eq!(
        (
            stats[0].requests,
            stats[0].succeeded,
            stats[0].failed,
            stats[0].tokens.input
        ),
        (3, 2, 1, 100)
    );
    assert_eq!(stats[0].cost.to_string(), "0.000001500001");
    let (_, spend) = program.get(&ann, "/v1/spend?namespace=team&by=workload").await;
    assert_eq!(spend[0]["name"], "Deployment/app");
    let (_, failed) = program.get(&ann, "/v1/requests?namespace=team&failed=true").await;
    let failed: Vec<Listed> = serde_json::from_value(failed).unwrap();
    assert_eq!(
        failed.iter().map(|one| one.request.id.as_str()).collect::<Vec<_>>(),
        ["r3"]
    );
    let (_, why) = program.get(&ann, "/v1/requests/r1?namespace=team").await;
    let why: Vec<Why> = serde_json::from_value(why).unwrap();
    assert_eq!((why.len(), why[0].attempts_made.len()), (1, 1));
    assert_eq!(program.get(&ann, "/v1/quality?namespace=team").await.0, 200);
    let (_, sla) = program.get(&ann, "/v1/reports/sla?namespace=team").await;
    assert_eq!(
        (&sla["rows"][0]["succeeded"], &sla["rows"][0]["latency"]["of"]),
        (&json!(2), &json!(2))
    );
    let (_, usage) = program.get(&ann, "/v1/reports/usage?namespace=team&by=workload").await;
    assert_eq!(usage["rows"][0]["cost"], "0.000001500001");
    let (_, access) = program.get(&ann, "/v1/reports/access?namespace=team").await;
    assert_eq!((&access["refused"], &access["unsuccessful"]), (&json!(0), &json!(1)));
    assert_eq!(program.get(&ann, "/v1/rate-limits?namespace=team").await.1, json!([]));
    assert_eq!(program.get(&ann, "/v1/configs?namespace=team").await.1, json!([]));

    // Through the API server's proxy there is no `Authorization`; batches do not come that way.
    let proxied = |request: reqwest::RequestBuilder| request.header(READER_HEADER, format!("Bearer {ann}")).send();
    let read = proxied(program.http.get(program.url("/v1/quality?namespace=team")))
        .await
        .unwrap();
    assert_eq!(read.status().as_u16(), 200);
    let sent = proxied(program.http.post(program.url(BATCHES_PATH)).json(&batch))
        .await
        .unwrap();
    assert_eq!(sent.status().as_u16(), 401);

    for (token, path, status) in [
        (ann.clone(), "/v1/stats", 403),
        (ann.clone(), "/v1/stats?namespace=other", 403),
        (users("bob"), "/v1/stats?namespace=team", 403),
        (pods("team", "app-1"), "/v1/stats?namespace=team", 403),
        ("rubbish".into(), "/v1/stats?namespace=team", 401),
        (ann.clone(), "/v1/reports/sla?namespace=other", 403),
        (ann.clone(), "/v1/reports/usage?namespace=other", 403),
        (ann.clone(), "/v1/reports/access?namespace=other", 403),
        (ann.clone(), "/v1/reports/access", 403),
        (users("bob"), "/v1/reports/usage?namespace=team", 403),
        (ann.clone(), "/v1/reports/moods?namespace=team", 404),
        (ann.clone(), "/v1/requests/nobody?namespace=team", 404),
        (ann.clone(), "/v1/stats?namespace=team&by=colour", 400),
        (ann, "/v1/nothing?namespace=team", 404),
    ] {
        let (found, body) = program.get(&token, path).await;
        assert_eq!(found, status, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_rotated_certificate_is_served_and_sigterm_ends_well() {
    let mut program = Program::start(Place::Sqlite).await;
    program.ship("app-1", 1, 10, 5).await;
    program.rotate();
    let deadline = Instant::now() + PATIENCE;
    while program.http.get(program.url("/v1/nothing")).send().await.is_err() {
        assert!(Instant::now() < deadline, "the new leaf is not served");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(program.stop().await, Some(0));
}
