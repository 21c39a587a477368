//! Row 16: no file descriptors are left.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bowsprit_providers::Api;
use serde_json::json;

use crate::bed::{Bed, CHAT, Setup, chat, post};
use crate::trial::{Trial, promises, provider, until};
use bowsprit_rig::connection::Connection;

promises! {
    16, "no file descriptors left (limit 64)";
    an_accept_that_fails_for_want_of_descriptors_does_not_spin,
    readiness_and_metrics_answer_while_callers_hold_every_descriptor,
    want_of_descriptors_is_not_held_against_the_provider,
    service_is_back_as_soon_as_descriptors_are,
}

const LIMIT: usize = 64;

/// A sidecar that may have 64 descriptors, and callers that hold all it gives to callers.
async fn crowded(trial: &Trial, setup: Setup) -> (Rc<Bed>, Vec<Connection>) {
    let bed = trial
        .bed(setup.launcher(&["sh", "-c", &format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"")]))
        .await;
    let mut held = Vec::new();
    for _ in 0..2 * LIMIT {
        held.push(bed.connect().await);
    }
    // Whatever it does about them, it has done it by then.
    let mut last = 0;
    until("it accepts no more", || {
        let now = bed.descriptors();
        let settled = now > LIMIT / 2 && now == std::mem::replace(&mut last, now);
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            settled
        }
    })
    .await;
    (bed, held)
}

async fn an_accept_that_fails_for_want_of_descriptors_does_not_spin(trial: Trial) {
    let first = provider(Api::OpenAi);
    let (bed, held) = crowded(&trial, Setup::new().openai("first", first.url(), json!({}))).await;
    let time = Duration::from_secs(trial.count(1, 5) as u64);
    let (before, logged) = (bed.cpu(), bed.output().len());
    tokio::time::sleep(time).await;
    let used = (bed.cpu().as_secs_f64() - before.as_secs_f64()) / time.as_secs_f64() * 100.0;
    trial.measure("CPU meanwhile", used, "%", 0.0..=10.0);
    let logged = (bed.output().len() - logged) as f64 / time.as_secs_f64() / 1024.0;
    trial.figure("log meanwhile", logged, "KiB/s", 0.0..=8.0);
    drop(held);
}

async fn readiness_and_metrics_answer_while_callers_hold_every_descriptor(trial: Trial) {
    let first = provider(Api::OpenAi);
    let (bed, held) = crowded(&trial, Setup::new().openai("first", first.url(), json!({}))).await;
    let started = Instant::now();
    for path in ["/health/ready", "/health/live", "/health", "/metrics"] {
        let asking = tokio::time::timeout(Duration::from_secs(5), bed.admin(path));
        let reply = asking
            .await
            .unwrap_or_else(|_| panic!("{path} does not answer while {} callers are there", held.len()));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    trial.took("four answers took", started.elapsed(), 0.0..=200.0);
}

async fn want_of_descriptors_is_not_held_against_the_provider(trial: Trial) {
    let first = provider(Api::OpenAi);
    let breaker = json!({"circuitBreaker": {"failureThreshold": 2, "openFor": "60s"}});
    let (bed, mut held) = crowded(&trial, Setup::new().openai("first", first.url(), breaker)).await;
    let mut refused = 0;
    for client in held.iter_mut().take(5) {
        client.send(post(CHAT, &chat(false))).await;
        let reply = client.reply().await;
        // Either there was room for a connection to the provider, or it is our own want that is told.
        assert!(matches!(reply.status, 200 | 503), "{}", reply.text());
        if reply.status == 503 {
            refused += 1;
            assert_eq!(reply.code(), "SYS_OVERLOADED", "{}", reply.text());
            assert!(!reply.header("retry-after").is_empty());
        }
    }
    drop(held);
    until("service is back", || async { bed.chat(false).await.status == 200 }).await;
    trial.figure("refused for want of them", f64::from(refused), "of 5", 0.0..=5.0);
    assert_eq!(
        bed.attempts("first", "EXT_CONNECT_REFUSED").await,
        0.0,
        "nobody refused anything"
    );
}

async fn service_is_back_as_soon_as_descriptors_are(trial: Trial) {
    let first = provider(Api::OpenAi);
    let (bed, held) = crowded(&trial, Setup::new().openai("first", first.url(), json!({}))).await;
    drop(held);
    let started = Instant::now();
    let reply = bed.chat(false).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    trial.took("answered after", started.elapsed(), 0.0..=500.0);
    bed.idle().await.unwrap();
    trial.figure("descriptors then", bed.descriptors() as f64, "", 0.0..=40.0);
}
