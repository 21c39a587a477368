//! Budgets: what a request may cost is reserved before anybody is asked, and charged when it ends.

use bowsprit_providers::Behaviour;
use bowsprit_rig::documents;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::support::{Bed, Reply, chat, count, failing, saw};

/// A dollar for each token of output at every provider, so that `max_tokens` is what a request may cost.
fn priced(_: &str, spec: &mut Value) {
    spec["models"][0]["price"] = json!({"input": "0", "output": "1000000"});
}

/// One that no test sees the end of.
fn quarter(amount: &str, more: &Value) -> Value {
    let mut budget =
        json!({"name": "quarter", "amount": amount, "currency": "USD", "window": "Custom", "every": "2160h"});
    budget
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    budget
}

fn configure(bed: &Bed, budgets: &Value) {
    let cheap = json!({"match": {"models": ["cheap"]}, "targets": [{"provider": "gemini"}]});
    let text = bed.documents(&priced)
        + &documents::route("cheap", &cheap)
        + &documents::policy("shop", &json!({"budgets": budgets}));
    std::fs::write(bed.config_path(), text).unwrap();
}

fn bed(budgets: &Value, args: &[&str]) -> Bed {
    let mut bed = Bed::providers();
    configure(&bed, budgets);
    bed.start(args);
    bed
}

fn request(bed: &Bed, max_tokens: u32) -> reqwest::RequestBuilder {
    let mut body = chat("claude-sonnet-4-5", false);
    body["max_tokens"] = json!(max_tokens);
    bed.post("/v1/chat/completions", &body)
}

async fn ask(bed: &Bed, max_tokens: u32) -> Reply {
    Reply::of(request(bed, max_tokens).send().await.unwrap()).await
}

/// What is spent and what is reserved, dollars.
async fn stands(bed: &Bed) -> (f64, f64) {
    let budget = &bed.health().await["budgets"][0];
    let dollars = |field: &str| budget[field].as_str().unwrap().parse().unwrap();
    (dollars("spent"), dollars("reserved"))
}

async fn beyond(bed: &Bed, what: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_budget_beyond_requests_total{{budget_name=\"shop/quarter\",beyond=\"{what}\"}}"
    ))
    .await
}

/// Output tokens, which are dollars here.
fn output(reply: &Reply) -> f64 {
    reply.json()["usage"]["completion_tokens"].as_f64().unwrap()
}

#[tokio::test]
async fn no_number_of_first_requests_at_once_passes_a_budget() {
    let bed = bed(&json!([quarter("35", &json!({}))]), &[]);
    bed.claude.always(Behaviour::hang());
    let all: Vec<_> = (0..40).map(|_| tokio::spawn(request(&bed, 10).send())).collect();
    bed.until("all others are stopped", || async {
        beyond(&bed, "stopped").await == 37.0
    })
    .await;
    assert_eq!(count(&bed.claude), 3);
    assert_eq!(stands(&bed).await, (0.0, 30.0));
    // Of those that were let in and left nobody knows what they cost: what was reserved is spent.
    all.iter().for_each(tokio::task::JoinHandle::abort);
    bed.until("it is spent", || async { stands(&bed).await == (30.0, 0.0) })
        .await;
    bed.balanced().await;
}

#[tokio::test]
async fn who_is_stopped_is_told_by_which_budget_what_is_spent_and_when_the_next_window_begins() {
    let bed = bed(&json!([quarter("50", &json!({}))]), &[]);
    let spent = output(&ask(&bed, 50).await);
    assert!(spent > 0.0);
    assert_eq!(stands(&bed).await, (spent, 0.0), "settled by what it did cost");
    let reply = ask(&bed, 50).await;
    let error = reply.json()["error"].clone();
    assert_eq!(
        (reply.status, &error["bowsprit_code"]),
        (429, &json!("BIZ_BUDGET_SPENT"))
    );
    assert_eq!(
        error["code"], "insufficient_quota",
        "which SDKs know and do not try again"
    );
    assert_eq!(reply.header("x-should-retry"), "false");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=90 * 86_400).contains(&wait), "{wait}");
    let text = error["message"].as_str().unwrap();
    let told = format!(
        "the budget quarter of UsagePolicy shop has no room: {spent} of 50 USD are spent or reserved, this request may cost 50"
    );
    assert!(text.contains(&told), "{text}");
    let ends = bed.health().await["budgets"][0]["windowEnds"].clone();
    assert!(text.contains(ends.as_str().unwrap()), "{text}");
    assert_eq!(bed.access().last().unwrap()["refused_by"], "budget:quarter");
    let body = documents::message("claude-sonnet-4-5", false);
    let message = Reply::of(bed.post("/v1/messages", &body).send().await.unwrap()).await;
    assert_eq!(
        (message.status, &message.json()["error"]["type"]),
        (402, &json!("billing_error"))
    );
    assert_eq!(count(&bed.claude), 1, "nobody was asked");
    assert_eq!(beyond(&bed, "stopped").await, 2.0);
    let ratio = bed
        .metric("bowsprit_budget_spent_ratio{budget_name=\"shop/quarter\"}")
        .await;
    assert!((ratio - spent / 50.0).abs() < 1e-9, "{ratio}");
    // What still fits passes.
    assert_eq!(ask(&bed, 1).await.status, 200);
    bed.balanced().await;
}

#[tokio::test]
async fn beyond_a_budget_that_diverts_another_route_answers_and_what_it_costs_counts() {
    let divert = json!({"onExhausted": "Divert", "divertTo": "cheap"});
    let bed = bed(&json!([quarter("15", &divert)]), &[]);
    let reply = ask(&bed, 20).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert_eq!((count(&bed.claude), count(&bed.gemini)), (0, 1));
    assert_eq!(beyond(&bed, "diverted").await, 1.0);
    assert_eq!(stands(&bed).await, (output(&reply), 0.0));
    assert_eq!(ask(&bed, 1).await.provider(), "claude", "what fits goes its own way");
    bed.balanced().await;
}

#[tokio::test]
async fn a_budget_that_stops_holds_where_another_diverts() {
    let mut stop = quarter("30", &json!({}));
    stop["name"] = json!("stop");
    let divert = json!({"onExhausted": "Divert", "divertTo": "cheap"});
    let bed = bed(&json!([quarter("15", &divert), stop]), &[]);
    assert_eq!(ask(&bed, 20).await.provider(), "gemini");
    let reply = ask(&bed, 31).await;
    assert_eq!(reply.json()["error"]["bowsprit_code"], "BIZ_BUDGET_SPENT");
    assert_eq!(bed.access().last().unwrap()["refused_by"], "budget:stop");
    bed.balanced().await;
}

#[tokio::test]
async fn beyond_a_budget_that_warns_requests_go_on_and_are_counted() {
    let bed = bed(&json!([quarter("5", &json!({"onExhausted": "Warn"}))]), &[]);
    let first = ask(&bed, 50).await;
    assert_eq!((first.status, first.provider()), (200, "claude"));
    assert_eq!(beyond(&bed, "over").await, 1.0);
    assert_eq!(stands(&bed).await, (output(&first), 0.0));
    bed.balanced().await;
}

#[tokio::test]
async fn all_attempts_of_a_request_are_charged_once_and_a_failure_costs_nothing() {
    let bed = bed(&json!([quarter("1000", &json!({}))]), &[]);
    failing(&bed.claude, 500);
    let reply = ask(&bed, 50).await;
    assert_eq!(reply.provider(), "gemini");
    assert_eq!(stands(&bed).await, (output(&reply), 0.0));
    bed.balanced().await;
}

/// Claude with this, ten cents a token, and Gemini for when it fails, a dollar.
fn small_and_dear(more: &Value, change: impl Fn(&mut Value)) -> Bed {
    let mut bed = Bed::providers();
    let change = |name: &str, spec: &mut Value| {
        priced(name, spec);
        if name == "claude" {
            spec["models"][0]["price"]["output"] = json!("100000");
            change(spec);
        }
    };
    let mut route = json!({
        "match": {"models": ["small"]},
        "targets": [{"provider": "claude"}],
        "fallback": [{"provider": "gemini"}],
    });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = bed.documents(&change)
        + &documents::route("small", &route)
        + &documents::policy("shop", &json!({"budgets": [quarter("1000", &json!({}))]}));
    std::fs::write(bed.config_path(), text).unwrap();
    bed.start(&[]);
    bed
}

fn small(bed: &Bed, max_tokens: u32) -> reqwest::RequestBuilder {
    let mut body = chat("small", false);
    body["max_tokens"] = json!(max_tokens);
    bed.post("/v1/chat/completions", &body)
}

#[tokio::test]
async fn an_answer_that_came_too_late_costs_the_most_of_its_own_model_and_not_of_the_dearer_fallback() {
    let bed = small_and_dear(&json!({}), |spec| {
        spec["timeouts"] = json!({"connect": "50ms", "firstToken": "80ms", "idle": "80ms", "total": "120ms"});
        spec["models"][0]["limits"] = json!({"maxOutputTokens": 30});
    });
    bed.claude.always(Behaviour::hang());
    let mut spent = 0.0;
    for (asked, most) in [(20, 2.0), (40, 3.0)] {
        let reply = Reply::of(small(&bed, asked).send().await.unwrap()).await;
        assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
        spent += most + output(&reply);
        assert_eq!(
            stands(&bed).await,
            (spent, 0.0),
            "of {asked} tokens it can answer with 30"
        );
    }
    bed.balanced().await;
}

/// Whoever calls there waits: it says nothing to a handshake.
async fn silent() -> (TcpListener, impl Fn(&mut Value)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let change = move |spec: &mut Value| {
        spec["endpoint"]["baseUrl"] = json!(url);
        spec["timeouts"] = json!({"connect": "60s"});
    };
    (listener, change)
}

#[tokio::test]
async fn a_caller_that_leaves_before_a_connection_is_there_has_spent_nothing() {
    let (listener, change) = silent().await;
    let bed = small_and_dear(&json!({}), change);
    let asking = tokio::spawn(small(&bed, 10).send());
    let (mut dialling, _) = listener.accept().await.unwrap();
    dialling.read_exact(&mut [0]).await.unwrap();
    assert_eq!(stands(&bed).await, (0.0, 10.0));
    asking.abort();
    bed.until("the reserve goes", || async { stands(&bed).await.1 == 0.0 })
        .await;
    assert_eq!(stands(&bed).await, (0.0, 0.0), "nothing was sent");
    bed.balanced().await;
}

#[tokio::test]
async fn a_race_lost_before_a_connection_was_there_costs_nothing() {
    let (listener, change) = silent().await;
    let hedge = json!({"hedge": {"after": "30ms", "maxPercent": 100}});
    let bed = small_and_dear(&hedge, change);
    let reply = Reply::of(small(&bed, 10).send().await.unwrap()).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    listener.accept().await.unwrap();
    assert_eq!(stands(&bed).await, (output(&reply), 0.0));
    bed.balanced().await;
}

#[tokio::test]
async fn what_passes_unread_is_stopped_once_nothing_is_left() {
    let bed = bed(&json!([quarter("10", &json!({}))]), &[]);
    let files = || async {
        let response = bed.post("/providers/openai/v1/files", &json!({})).send().await.unwrap();
        Reply::of(response).await
    };
    assert_ne!(files().await.json()["error"]["bowsprit_code"], "BIZ_BUDGET_SPENT");
    bed.claude.always(Behaviour::hang());
    let running = tokio::spawn(request(&bed, 10).send());
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let asked = count(&bed.openai);
    assert_eq!(files().await.json()["error"]["bowsprit_code"], "BIZ_BUDGET_SPENT");
    assert_eq!(count(&bed.openai), asked);
    running.abort();
    bed.until("nobody knows what it cost: the reserve stands", || async {
        stands(&bed).await == (10.0, 0.0)
    })
    .await;
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_spent_outlives_a_reload_and_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let args = ["--state-dir", state.path().to_str().unwrap()];
    let mut bed = bed(&json!([quarter("50", &json!({}))]), &args);
    let spent = output(&ask(&bed, 50).await);
    configure(&bed, &json!([quarter("40", &json!({}))]));
    bed.until("the change is live", || async {
        bed.health().await["budgets"][0]["amount"] == "40"
    })
    .await;
    assert_eq!(stands(&bed).await, (spent, 0.0));
    bed.sidecar.take().unwrap().stop().await;
    bed.start(&args);
    assert_eq!(stands(&bed).await, (spent, 0.0));
    assert_eq!(
        ask(&bed, 40).await.json()["error"]["bowsprit_code"],
        "BIZ_BUDGET_SPENT",
        "a restart is no way around it"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn what_was_under_way_when_a_sidecar_was_killed_counts_as_if_it_had_cost_the_most() {
    let state = tempfile::tempdir().unwrap();
    let args = ["--state-dir", state.path().to_str().unwrap()];
    let mut bed = bed(&json!([quarter("50", &json!({}))]), &args);
    bed.claude.always(Behaviour::hang());
    let running = tokio::spawn(request(&bed, 10).send());
    let file = state.path().join("budgets.json");
    bed.until("it is written", || async {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains(":10000000000000}"))
    })
    .await;
    // What a killed one leaves behind is what is in its folder at that moment.
    let left = std::fs::read(&file).unwrap();
    running.abort();
    bed.until("it has ended", || async { stands(&bed).await.1 == 0.0 })
        .await;
    bed.sidecar.take().unwrap().stop().await;
    std::fs::write(&file, left).unwrap();
    bed.start(&args);
    assert_eq!(stands(&bed).await, (10.0, 0.0));
    bed.balanced().await;
}
