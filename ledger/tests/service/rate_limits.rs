//! What providers' headers tell of their limits is kept by a sidecar's outbox, arrives as it ships it, and the newest of each
//! credential and count is told to who may ask.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;

use bowsprit_core::headroom::limits;
use bowsprit_core::record::HeadroomRecord;
use bowsprit_ledger::outbox::{Most, Outbox, Sender, Settings, body};
use bowsprit_ledger::query::RateLimit;
use bowsprit_ledger::service::now;
use bowsprit_ledger::wire::{BATCHES_PATH, Taken};
use http::{HeaderMap, HeaderValue};

use crate::apiserver::{pods, users};
use crate::program::{PATIENCE, Place, Program};

/// A moment of the test, which a sidecar's outbox takes for now.
static CLOCK: AtomicI64 = AtomicI64::new(0);

fn outbox() -> Outbox {
    Outbox::start(Settings {
        folder: None,
        limit: 1 << 20,
        clock: || CLOCK.load(Ordering::Relaxed),
    })
}

/// An answer's headers tell how much is left at this moment.
fn told(outbox: &Outbox, at: i64, provider: &str, credential: &str, [requests, tokens]: [&'static str; 2]) {
    let headers: HeaderMap = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", requests),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-limit-tokens", "90000"),
        ("x-ratelimit-remaining-tokens", tokens),
    ]
    .into_iter()
    .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
    .collect();
    CLOCK.store(at, Ordering::Relaxed);
    for limit in limits(&headers, u64::try_from(at).unwrap()) {
        outbox.headroom(&HeadroomRecord {
            provider,
            credential,
            limit,
        });
    }
}

/// Sends what the outbox has, as the sidecar of a pod does.
async fn ship(program: &Program, namespace: &str, pod: &str, outbox: &Outbox) {
    let (kept, is_kept) = mpsc::channel();
    outbox.flush(move |done| kept.send(done).unwrap());
    assert!(is_kept.recv_timeout(PATIENCE).unwrap());
    let (offers, offered) = mpsc::channel();
    let most = Most {
        entries: 1_000,
        bytes: 1 << 19,
    };
    outbox.offer(most, move |offer| offers.send(offer).unwrap());
    let offer = offered
        .recv_timeout(PATIENCE)
        .unwrap()
        .expect("there is something to send");
    let sender = Sender {
        version: "0.1.0".into(),
        workload: "Deployment/app".into(),
    };
    let post = program.http.post(program.url(BATCHES_PATH));
    let answer = post.bearer_auth(pods(namespace, pod)).body(body(&offer, &sender));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let taken: Taken = answer.json().await.unwrap();
    outbox.taken(taken.through);
}

async fn asked(program: &Program, question: &str) -> Vec<(String, String, String, Option<u64>, Option<u64>)> {
    let (status, said) = program.get(&users("ann"), question).await;
    assert_eq!(status, 200, "{said}");
    let limits: Vec<RateLimit> = serde_json::from_value(said).unwrap();
    let told = limits.into_iter().map(|limit| {
        assert_eq!(limit.namespace, "team");
        let headroom = limit.headroom;
        let names = (headroom.provider, headroom.credential, headroom.what);
        (names.0, names.1, names.2, headroom.limit, headroom.remaining)
    });
    told.collect()
}

#[tokio::test]
async fn the_newest_limit_of_each_credential_and_count_is_told_whichever_pod_heard_it() {
    let program = Program::start(Place::Sqlite).await;
    let (one, other, foreign) = (outbox(), outbox(), outbox());
    let now = now();
    let minutes = |minutes: i64| now - minutes * 60_000;
    told(&one, minutes(90), "openai", "old", ["1", "1"]);
    told(&one, minutes(10), "openai", "main", ["400", "80000"]);
    told(&other, minutes(5), "openai", "main", ["30", "7000"]);
    told(&one, minutes(3), "openai", "spare", ["499", "90000"]);
    told(&other, minutes(2), "claude", "main", ["8", "600"]);
    told(&foreign, minutes(1), "openai", "main", ["2", "2"]);
    // Who heard of it last may send it first.
    ship(&program, "team", "app-2", &other).await;
    ship(&program, "team", "app-1", &one).await;
    ship(&program, "other", "app-1", &foreign).await;

    let of = |provider: &str, credential: &str, left: [u64; 2]| {
        let one = |what: &str, limit, left| (provider.into(), credential.into(), what.into(), Some(limit), Some(left));
        [one("requests", 500, left[0]), one("tokens", 90_000, left[1])]
    };
    let wanted = [
        of("claude", "main", [8, 600]),
        of("openai", "main", [30, 7_000]),
        of("openai", "spare", [499, 90_000]),
    ];
    let limits = asked(&program, "/v1/rate-limits?namespace=team").await;
    assert_eq!(limits, wanted.concat());
    let limits = asked(&program, "/v1/rate-limits?namespace=team&provider=claude").await;
    assert_eq!(limits, wanted[0]);
    // Limits are a namespace's own, and who may not read there is told none.
    for (token, question, status) in [
        (users("ann"), "/v1/rate-limits", 403),
        (users("ann"), "/v1/rate-limits?namespace=other", 403),
        (users("bob"), "/v1/rate-limits?namespace=team", 403),
    ] {
        assert_eq!(program.get(&token, question).await.0, status, "{question}");
    }
    let rows = rusqlite::Connection::open(program.database()).unwrap();
    let kept = rows.query_row("SELECT count(*) FROM provider_rate_limits", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(kept.unwrap(), 12, "each as it was told");
}
