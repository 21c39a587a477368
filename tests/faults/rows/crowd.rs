//! Row 17: more than there is room for: thousands of connections, a burst beyond every limit, and nobody to answer.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bowsprit_providers::{Answer, Api, Behaviour, Provider};
use serde_json::{Value, json};

use crate::bed::{Bed, CHAT, Setup, chat, post};
use crate::trial::{Trial, promises, provider, until};
use bowsprit_rig::connection::Connection;
use bowsprit_rig::http::Reply;

promises! {
    17, "10,000 connections, bursts, all providers down";
    thousands_of_idle_connections_hold_little_memory_each,
    a_burst_with_all_providers_down_is_shed_with_a_time_to_come_back,
    a_burst_beyond_a_rate_limit_is_shed_with_a_time_to_come_back,
    a_burst_beyond_the_requests_in_flight_is_shed_and_the_rest_is_answered,
    connections_beyond_their_limit_wait_for_a_place,
    service_is_back_soon_after_the_providers_are,
    a_flood_of_requests_is_answered_and_leaves_nothing_behind,
    a_total_outage_is_not_amplified_by_retries,
}

async fn connections(bed: &Rc<Bed>, count: usize) -> Vec<Connection> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(bed.connect().await);
    }
    held
}

/// All send the same at once; all answers, and the time each took, milliseconds, sorted.
async fn burst(clients: Vec<Connection>, body: &Value) -> (Vec<Reply>, Vec<f64>, Vec<Connection>) {
    let request: Rc<str> = post(CHAT, body).into();
    let mut running = Vec::new();
    for mut client in clients {
        let request = Rc::clone(&request);
        running.push(tokio::task::spawn_local(async move {
            let started = Instant::now();
            client.send(&*request).await;
            let reply = client.reply().await;
            (reply, started.elapsed().as_secs_f64() * 1e3, client)
        }));
    }
    let (mut replies, mut times, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for one in running {
        let (reply, time, client) = one.await.unwrap();
        replies.push(reply);
        times.push(time);
        clients.push(client);
    }
    times.sort_by(f64::total_cmp);
    (replies, times, clients)
}

/// What a request that is shed is told.
fn assert_shed(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, &*reply.code()), (status, code), "{}", reply.text());
    let wait: u64 = reply
        .header("retry-after")
        .parse()
        .unwrap_or_else(|_| panic!("no retry-after: {:?}", reply.headers));
    assert!((1..=3600).contains(&wait), "retry-after: {wait}");
}

async fn thousands_of_idle_connections_hold_little_memory_each(trial: Trial) {
    let first = provider(Api::OpenAi);
    let count = trial.count(250, 9_900);
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), json!({})).quiet())
        .await;
    assert_eq!(bed.chat(false).await.status, 200);
    let before = bed.memory();
    // Each has carried a request: that is when what it holds is there. All within the minute after which an idle one
    // is closed.
    let started = Instant::now();
    let mut held = Vec::new();
    while held.len() < count {
        let clients = connections(&bed, 50.min(count - held.len())).await;
        let (replies, _, clients) = burst(clients, &chat(false)).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        held.extend(clients);
    }
    let memory = bed.memory();
    let open = bed.descriptors();
    assert!(
        open > count,
        "{open} descriptors after {:?}: some were closed as idle",
        started.elapsed()
    );
    // What a debug build holds is no figure of the sidecar's: judged in the full form.
    trial.measure(format!("{count} idle connections"), memory, "MiB", 0.0..=60.0);
    trial.measure("each", (memory - before) * 1024.0 / count as f64, "KiB", 0.0..=5.0);
    let started = Instant::now();
    assert_eq!(bed.chat(false).await.status, 200);
    trial.took("one more is answered in", started.elapsed(), 0.0..=50.0);
}

async fn a_burst_with_all_providers_down_is_shed_with_a_time_to_come_back(trial: Trial) {
    let (one, two) = (provider(Api::OpenAi), provider(Api::Anthropic));
    // Longer than the test takes on any machine: a probe would be no shed request.
    let breaker = json!({"circuitBreaker": {"failureThreshold": 3, "openFor": "300s"}});
    let setup = Setup::new()
        .openai("one", one.url(), breaker.clone())
        .anthropic("two", two.url(), breaker);
    let bed = trial.bed(setup.quiet()).await;
    one.down().await;
    two.down().await;
    for _ in 0..4 {
        assert!(bed.chat(false).await.status >= 502);
    }
    let count = trial.count(300, 5_000);
    let clients = connections(&bed, count).await;
    let before = bed.memory();
    let started = Instant::now();
    let (replies, times, _clients) = burst(clients, &chat(false)).await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    for reply in &replies {
        assert_shed(reply, 503, "EXT_ALL_UNAVAILABLE");
    }
    trial.figure("shed", replies.len() as f64, "", count as f64..=count as f64);
    trial.tell("a second", rate, "");
    trial.tell("p50, all sent at once", times[count / 2], "ms");
    trial.figure("memory for it", bed.memory() - before, "MiB", 0.0..=100.0);
    // One at a time there is no queue in front of it, and the answer is the sidecar's alone.
    let mut client = bed.connect().await;
    let mut alone = Vec::new();
    for _ in 0..500 {
        let started = Instant::now();
        client.send(post(CHAT, &chat(true))).await;
        assert_shed(&client.reply().await, 503, "EXT_ALL_UNAVAILABLE");
        alone.push(started.elapsed().as_secs_f64() * 1e3);
    }
    alone.sort_by(f64::total_cmp);
    trial.measure("p95, one at a time", alone[475], "ms", 0.0..=5.0);
}

async fn a_burst_beyond_a_rate_limit_is_shed_with_a_time_to_come_back(trial: Trial) {
    let first = provider(Api::OpenAi);
    let limits = json!({"rateLimits": {"requestsPerMinute": 600, "onLimit": "Reject"}});
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), limits).quiet())
        .await;
    let count = trial.count(300, 3_000);
    let started = Instant::now();
    let (replies, ..) = burst(connections(&bed, count).await, &chat(false)).await;
    let seconds = started.elapsed().as_secs_f64();
    let (passed, shed): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.status == 200);
    for reply in &shed {
        assert_shed(reply, 429, "RATE_LOCAL_LIMIT");
    }
    trial.figure(
        "let through",
        passed.len() as f64,
        "",
        60.0..=(60.0 + 10.0 * seconds + 1.0).floor(),
    );
    assert_eq!(first.seen().counts.requests, passed.len() as u64);
    assert_eq!(bed.outcomes("shed").await, shed.len() as f64);
}

async fn a_burst_beyond_the_requests_in_flight_is_shed_and_the_rest_is_answered(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(Answer::new("slow").head_delay(Duration::from_millis(500)));
    let setup = Setup::new()
        .openai("first", first.url(), json!({}))
        .args(&["--max-in-flight", "50"]);
    let bed = trial.bed(setup.quiet()).await;
    let count = trial.count(200, 2_000);
    let (replies, ..) = burst(connections(&bed, count).await, &chat(false)).await;
    let (passed, shed): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.status == 200);
    for reply in &shed {
        assert_shed(reply, 503, "SYS_OVERLOADED");
    }
    // A burst may take so long to read that the first are done before the last are read.
    trial.figure("answered", passed.len() as f64, "", 50.0..=count as f64 - 1.0);
    assert!(
        first.seen().open_connections <= 50,
        "{} at once",
        first.seen().open_connections
    );
}

async fn connections_beyond_their_limit_wait_for_a_place(trial: Trial) {
    let first = provider(Api::OpenAi);
    let setup = Setup::new()
        .openai("first", first.url(), json!({}))
        .args(&["--max-connections", "20"]);
    let bed = trial.bed(setup).await;
    let mut held = connections(&bed, 20).await;
    for client in &mut held {
        client.send(post(CHAT, &chat(false))).await;
        assert_eq!(client.reply().await.status, 200);
    }
    let mut waiting = bed.connect().await;
    waiting.send(post(CHAT, &chat(false))).await;
    assert!(
        waiting.more_within(Duration::from_millis(200)).await.is_none(),
        "served beyond the limit"
    );
    assert_eq!(bed.admin("/health/ready").await.status, 200);
    drop(held.pop());
    let started = Instant::now();
    assert_eq!(waiting.reply().await.status, 200);
    trial.took("served after a place was free for", started.elapsed(), 0.0..=100.0);
}

async fn service_is_back_soon_after_the_providers_are(trial: Trial) {
    let (one, two) = (provider(Api::OpenAi), provider(Api::Anthropic));
    let breaker = json!({"circuitBreaker": {"failureThreshold": 2, "openFor": "1s"}});
    let setup = Setup::new()
        .openai("one", one.url(), breaker.clone())
        .anthropic("two", two.url(), breaker);
    let bed = trial.bed(setup.quiet()).await;
    one.down().await;
    two.down().await;
    let clients = connections(&bed, trial.count(50, 500)).await;
    let (replies, ..) = burst(clients, &chat(false)).await;
    assert!(replies.iter().all(|reply| reply.status >= 502));
    let all: [&Provider; 2] = [&one, &two];
    for provider in all {
        provider.up().await;
    }
    let up = Instant::now();
    until("service is back", || async { bed.chat(false).await.status == 200 }).await;
    trial.took("answered after", up.elapsed(), 0.0..=5000.0);
}

async fn a_flood_of_requests_is_answered_and_leaves_nothing_behind(trial: Trial) {
    let first = provider(Api::OpenAi);
    // A mix: good answers, failures, streams.
    first.always(Answer::new("one two"));
    first.always_when(
        bowsprit_providers::When {
            stream: Some(true),
            ..Default::default()
        },
        Behaviour::status(503),
    );
    let breaker = json!({"circuitBreaker": {"failureThreshold": 1000, "openFor": "1s"}});
    let bed = trial
        .bed(Setup::new().openai("first", first.url(), breaker).quiet())
        .await;
    let (rounds, clients) = (trial.count(10, 100), 100);
    let mut clients = connections(&bed, clients).await;
    let mut memory = Vec::new();
    let started = Instant::now();
    let mut answered = 0;
    for round in 0..rounds {
        let (replies, _, back) = burst(clients, &chat(round % 5 == 4)).await;
        clients = back;
        answered += replies.len();
        assert!(
            replies.iter().all(|reply| matches!(reply.status, 200 | 503)),
            "{:?}",
            replies[0]
        );
        memory.push(bed.memory());
    }
    let rate = answered as f64 / started.elapsed().as_secs_f64();
    trial.tell(format!("{answered} requests, a second"), rate, "");
    let half = memory.len() / 2;
    trial.figure(
        "memory in the second half",
        memory[memory.len() - 1] - memory[half],
        "MiB",
        -1000.0..=4.0,
    );
}

/// Fewer requests than the failures that the breaker is allowed at most.
async fn a_total_outage_is_not_amplified_by_retries(trial: Trial) {
    let first = provider(Api::OpenAi);
    first.always(Behaviour::status(503));
    let spec = json!({
        "circuitBreaker": {"failureThreshold": 1000},
        "retry": {
            "maxAttempts": 5,
            "backoff": {"base": "1ms", "max": "1ms"},
            "budget": {"percent": 20, "minPerSecond": 0},
        },
    });
    let bed = trial.bed(Setup::new().openai("first", first.url(), spec).quiet()).await;
    let mut clients = connections(&bed, 20).await;
    let mut asked = 0.0;
    for _ in 0..trial.count(25, 40) {
        let (replies, _, back) = burst(clients, &chat(false)).await;
        clients = back;
        asked += replies.len() as f64;
        assert!(replies.iter().all(|reply| reply.status == 503));
    }
    let amplified = first.seen().counts.requests as f64 / asked;
    trial.figure(
        format!("sent to the provider for each of {asked}"),
        amplified,
        "",
        1.0..=1.2,
    );
}
