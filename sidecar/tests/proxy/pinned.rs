//! What asks below `/providers/` for what is served here too is read where a policy looks into bodies: judged, reserved for and settled like any
//! other request, for that provider alone and otherwise as it came.

use bowsprit_providers::{Answer, Behaviour};
use bowsprit_rig::documents;
use bowsprit_rig::peer::Peer;
use serde_json::{Value, json};

use crate::support::{Bed, CARD, Reply, chat, contents, count, failing, message, shows_card};

/// A dollar for each token of output, so that `max_tokens` is what a request may cost.
fn priced(_: &str, spec: &mut Value) {
    spec["models"][0]["price"] = json!({"input": "0", "output": "1000000"});
}

fn as_it_is(_: &str, _: &mut Value) {}

fn write(bed: &Bed, policy: &Value, change: &impl Fn(&str, &mut Value)) {
    let cheap = json!({"match": {"models": ["cheap", "routed"]}, "targets": [{"provider": "gemini"}]});
    let text = bed.documents(change) + &documents::route("cheap", &cheap) + &documents::policy("shop", policy);
    std::fs::write(bed.config_path(), text).unwrap();
}

fn bed(policy: &Value, change: impl Fn(&str, &mut Value)) -> Bed {
    let mut bed = Bed::providers();
    write(&bed, policy, &change);
    bed.start(&[]);
    bed
}

fn budget(amount: &str, more: &Value) -> Value {
    let mut budget =
        json!({"name": "quarter", "amount": amount, "currency": "USD", "window": "Custom", "every": "2160h"});
    let fields = budget.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    json!({"budgets": [budget]})
}

/// A policy that looks into bodies and minds nothing.
fn any() -> Value {
    json!({"access": {"rules": [{"name": "any", "allow": "true"}]}})
}

fn rules(rules: &[(&str, &str)]) -> Value {
    let rules = rules.iter().map(|(name, allow)| json!({"name": name, "allow": allow}));
    json!({"access": {"rules": rules.collect::<Vec<_>>()}})
}

async fn ask(bed: &Bed, path: &str, body: &Value) -> Reply {
    bed.post_as(path, body, &[]).await
}

/// The same to each provider in its own API, with the model and the maximum of the answer.
fn asked(model: &str, most: u32) -> [(&'static str, String, Value); 4] {
    let with = |mut body: Value, field: &str| {
        body[field] = json!(most);
        body
    };
    let mut generate = contents();
    generate["generationConfig"] = json!({"maxOutputTokens": most});
    let responses = json!({"model": model, "input": "hi", "max_output_tokens": most});
    [
        (
            "openai",
            "/providers/openai/v1/chat/completions".into(),
            with(chat(model, false), "max_tokens"),
        ),
        ("openai", "/providers/openai/responses".into(), responses),
        (
            "claude",
            "/providers/claude/v1/messages".into(),
            with(message(model, false), "max_tokens"),
        ),
        (
            "gemini",
            format!("/providers/gemini/v1beta/models/{model}:generateContent"),
            generate,
        ),
    ]
}

/// The operations that the requests were served as.
fn operations(bed: &Bed) -> Vec<String> {
    let lines = bed.access();
    lines
        .iter()
        .map(|line| line["operation"].as_str().unwrap().to_owned())
        .collect()
}

async fn stands(bed: &Bed) -> (f64, f64) {
    let budget = &bed.health().await["budgets"][0];
    let dollars = |field: &str| budget[field].as_str().unwrap().parse().unwrap();
    (dollars("spent"), dollars("reserved"))
}

fn asked_of_anybody(bed: &Bed) -> u64 {
    count(&bed.claude) + count(&bed.gemini) + count(&bed.openai)
}

#[tokio::test]
async fn a_budget_counts_what_an_answer_below_providers_did_cost_and_stops_the_next() {
    let bed = bed(&budget("50", &json!({})), priced);
    let mut body = message("claude-sonnet-4-5", false);
    body["max_tokens"] = json!(50);
    let first = ask(&bed, "/providers/claude/v1/messages", &body).await;
    assert_eq!((first.status, first.provider()), (200, "claude"), "{}", first.text);
    let spent = first.json()["usage"]["output_tokens"].as_f64().unwrap();
    assert!(spent > 0.0);
    assert_eq!(stands(&bed).await, (spent, 0.0), "reserved before, and settled after");
    let line = bed.access().pop().unwrap();
    assert_eq!(
        (&line["operation"], &line["provider"], &line["model"]),
        (&json!("messages"), &json!("claude"), &json!("claude-sonnet-4-5"))
    );
    assert_eq!(
        (line["output_tokens"].as_f64(), line["cost_usd"].as_f64()),
        (Some(spent), Some(spent))
    );
    let attempt = bed.attempts().pop().unwrap();
    assert_eq!(
        (
            &attempt["model"],
            attempt["output_tokens"].as_f64(),
            attempt["cost_usd"].as_f64()
        ),
        (&json!("claude-sonnet-4-5"), Some(spent), Some(spent)),
        "{attempt}"
    );
    let stopped = ask(&bed, "/providers/claude/v1/messages", &body).await;
    let error = stopped.json();
    assert_eq!(
        (stopped.status, &error["type"], &error["error"]["type"]),
        (402, &json!("error"), &json!("billing_error")),
        "in the provider's own words: {error}"
    );
    assert!(
        stopped
            .text
            .contains("the budget quarter of UsagePolicy shop has no room")
    );
    assert_eq!(bed.access().last().unwrap()["refused_by"], "budget:quarter");
    assert_eq!(asked_of_anybody(&bed), 1);
    bed.balanced().await;
}

#[tokio::test]
async fn every_api_of_a_providers_own_is_under_its_budget_and_told_in_its_own_words() {
    let bed = bed(&budget("1", &json!({})), |name, spec| {
        priced(name, spec);
        spec["models"][0]["name"] = json!("the-model");
        spec["defaultModel"] = json!("the-model");
    });
    for (_, path, body) in asked("the-model", 2) {
        let reply = ask(&bed, &path, &body).await;
        assert!(reply.text.contains("the budget quarter"), "{path}: {}", reply.text);
        let error = &reply.json()["error"];
        let shape = if path.contains("gemini") {
            error["status"] == "FAILED_PRECONDITION"
        } else if path.contains("claude") {
            error["type"] == "billing_error"
        } else {
            error["code"] == "insufficient_quota"
        };
        assert!(shape, "{path}: {error}");
    }
    let embeddings = json!({"model": "the-model", "input": "hi"});
    let count = json!({"model": "the-model", "messages": [{"role": "user", "content": "hi"}]});
    for (path, body, status) in [
        ("/providers/openai/v1/embeddings", &embeddings, 200),
        ("/providers/claude/v1/messages/count_tokens", &count, 200),
    ] {
        assert_eq!(ask(&bed, path, body).await.status, status, "{path}: it writes nothing");
    }
    assert_eq!(
        operations(&bed),
        [
            "chat_completions",
            "responses",
            "messages",
            "generate_content",
            "embeddings",
            "count_tokens"
        ]
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_budget_that_leads_elsewhere_stops_what_is_for_one_provider() {
    let divert = json!({"onExhausted": "Divert", "divertTo": "cheap"});
    let bed = bed(&budget("15", &divert), priced);
    let mut body = message("claude-sonnet-4-5", false);
    body["max_tokens"] = json!(20);
    assert_eq!(ask(&bed, "/v1/messages", &body).await.provider(), "gemini");
    let reply = ask(&bed, "/providers/claude/v1/messages", &body).await;
    assert_eq!(reply.status, 402, "{}", reply.text);
    assert_eq!(asked_of_anybody(&bed), 1);
    bed.balanced().await;
}

#[tokio::test]
async fn what_it_may_cost_is_what_that_provider_takes_for_it() {
    let bed = bed(&budget("5", &json!({})), |name, spec| {
        let price = if name == "claude" { "100000" } else { "1000000" };
        spec["models"] = json!([{"name": "m", "price": {"input": "0", "output": price}}]);
        spec["defaultModel"] = json!("m");
    });
    let mut body = message("m", false);
    body["max_tokens"] = json!(20);
    let reply = ask(&bed, "/v1/messages", &body).await;
    assert_eq!(reply.status, 402, "another might answer: {}", reply.text);
    let reply = ask(&bed, "/providers/claude/v1/messages", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let mut body = chat("m", false);
    body["max_tokens"] = json!(20);
    let reply = ask(&bed, "/providers/openai/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn a_limit_of_tokens_holds_below_providers_and_one_of_some_models_for_these_alone() {
    let limit = |limit: Value| bed(&json!({"limits": [limit]}), as_it_is);
    let below = "/providers/openai/v1/chat/completions";
    let told = async |bed: &Bed, model: &str| {
        let reply = ask(bed, below, &chat(model, false)).await;
        (reply.status, reply.header("x-bowsprit-limit").to_owned())
    };
    let passes = (200, String::new());
    let tokens = limit(json!({"name": "tokens", "tokensPerMinute": 30}));
    assert_eq!(told(&tokens, "gpt-4.1-mini").await, passes);
    let left = tokens.health().await["limits"][0]["left"]["tokensPerMinute"].as_f64();
    assert!(left < Some(0.0), "it was charged what it used: {left:?}");
    assert_eq!(told(&tokens, "gpt-4.1").await, (429, "tokens".into()));
    assert_eq!(tokens.access().last().unwrap()["refused_by"], "limit:tokens");
    assert_eq!(count(&tokens.openai), 1);
    tokens.balanced().await;
    let mini = limit(json!({"name": "mini", "requestsPerMinute": 10, "models": ["gpt-4.1-mini"]}));
    assert_eq!(told(&mini, "gpt-4.1-mini").await, passes);
    assert_eq!(told(&mini, "gpt-4.1-mini").await, (429, "mini".into()));
    assert_eq!(told(&mini, "gpt-4.1").await, passes);
    mini.balanced().await;
}

#[tokio::test]
async fn a_model_that_a_rule_denies_is_denied_below_providers_too() {
    let denied = [
        ("no-large", "request.model != 'large'"),
        (
            "no-tools",
            "request.operation == 'passthrough' || !request.features.tools",
        ),
        ("not-there", "candidate.model != 'larger'"),
    ];
    let bed = bed(&rules(&denied), as_it_is);
    for (model, rule) in [("large", "no-large"), ("larger", "not-there")] {
        for (_, path, body) in asked(model, 10) {
            let reply = ask(&bed, &path, &body).await;
            assert_eq!(reply.status, 403, "{path}: {}", reply.text);
            let told = format!("the rule {rule} of UsagePolicy shop does not allow this");
            assert!(reply.text.contains(&told), "{path}: {}", reply.text);
            let line = bed.access().pop().unwrap();
            assert_eq!(line["refused_by"], format!("access:{rule}"), "{path}");
        }
    }
    let mut body = chat("small", false);
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let reply = ask(&bed, "/providers/openai/v1/chat/completions", &body).await;
    assert_eq!(reply.status, 403, "what let pass the unread does not let pass this");
    assert_eq!(asked_of_anybody(&bed), 0);
    for (name, path, body) in asked("small", 10) {
        let reply = ask(&bed, &path, &body).await;
        assert_eq!((reply.status, reply.provider()), (200, name), "{path}: {}", reply.text);
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_rule_that_shuts_what_is_below_providers_shuts_this_and_one_may_shut_the_unread_alone() {
    for (allow, status) in [
        ("request.operation != 'passthrough'", [403, 403]),
        (
            "request.operation != 'passthrough' || request.path.startsWith('/files')",
            [403, 200],
        ),
        ("request.operation != 'passthrough' || request.model != ''", [200, 403]),
    ] {
        let bed = bed(&rules(&[("r", allow)]), as_it_is);
        let below = ask(
            &bed,
            "/providers/claude/v1/messages",
            &message("claude-sonnet-4-5", false),
        )
        .await;
        let files = ask(&bed, "/providers/claude/v1/files", &json!({})).await;
        let passed = if files.status == 403 { 403 } else { 200 };
        assert_eq!([below.status, passed], status, "{allow}");
        assert_eq!(bed.chat().await.status, 200, "{allow}");
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_streamed_answer_flows_and_is_settled_by_what_it_told() {
    let bed = bed(&budget("500", &json!({})), priced);
    let mut body = chat("gpt-4.1-mini", true);
    body["max_tokens"] = json!(100);
    let below = "/providers/openai/v1/chat/completions";
    let reply = ask(&bed, below, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(
        reply.text.ends_with("data: [DONE]\n\n") && reply.complete,
        "{}",
        reply.text
    );
    let line = bed.access().pop().unwrap();
    let spent = line["output_tokens"].as_f64().unwrap();
    assert!(spent > 0.0, "{line}");
    assert_eq!(stands(&bed).await, (spent, 0.0));
    let mut generate = contents();
    generate["generationConfig"] = json!({"maxOutputTokens": 100});
    for query in ["?alt=sse", ""] {
        let path = format!("/providers/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent{query}");
        let before = stands(&bed).await.0;
        let reply = ask(&bed, &path, &generate).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        let seen = bed.gemini.requests().pop().unwrap();
        assert!(
            seen.path.ends_with(&format!(":streamGenerateContent{query}")),
            "{}",
            seen.path
        );
        assert_eq!(reply.text.starts_with('['), query.is_empty(), "{}", reply.text);
        let line = bed.access().pop().unwrap();
        assert_eq!(line["operation"], "stream_generate_content");
        let spent = line["output_tokens"].as_f64().unwrap();
        assert!(spent > 0.0, "{line}");
        assert_eq!(stands(&bed).await, (before + spent, 0.0));
    }
    bed.balanced().await;
}

/// A body that no two programs would write alike.
const BODY: &str = "{\n \"x_unknown\" : [1.0, 1e2,\"\\u00e9\"] ,\"model\":\"gpt-4.1-mini\",\"messages\":[{\"content\":\"hi\",\"role\":\"user\"}], \
                    \"z\":null}";
const ANSWER: &str = "{ \"id\":\"c\",\"x_other\":1.50, \"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":\
                      {\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\
                      \"completion_tokens\":1,\"total_tokens\":2}}";

/// What the provider is sent, and what its caller gets.
async fn through(bed: &Bed, peer: &Peer, path: &str, body: &str) -> (String, String) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-b: 2\r\nx-a: 1\r\nx-b: 3\r\nopenai-beta: y\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut app = bed.send(head + body).await;
    let mut provider = peer.accept().await;
    let sent = provider.take_until(body.get(body.len() - 8..).unwrap()).await;
    let length = ANSWER.len();
    provider
        .send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{ANSWER}"
        ))
        .await;
    let got = app.take_until("\"total_tokens\":2}}").await;
    (sent, got)
}

#[tokio::test]
async fn it_goes_on_as_it_came_with_a_policy_and_without() {
    for policy in [None, Some(any())] {
        let peer = Peer::start().await;
        let mut bed = Bed::providers();
        let url = format!("{}/v1", peer.url());
        let raw = |name: &str, spec: &mut Value| {
            if name == "openai" {
                spec["endpoint"]["baseUrl"] = json!(url);
            }
        };
        match &policy {
            None => bed.write_config(&raw),
            Some(policy) => write(&bed, policy, &raw),
        }
        bed.start(&[]);
        for (path, at) in [
            (
                "/providers/openai/v1/chat/completions?x=1&key=k",
                "/v1/chat/completions?x=1",
            ),
            ("/providers/openai/chat/completions", "/v1/chat/completions"),
        ] {
            let (sent, got) = through(&bed, &peer, path, BODY).await;
            assert!(sent.starts_with(&format!("POST {at} HTTP/1.1\r\n")), "{sent}");
            assert!(sent.ends_with(&format!("\r\n\r\n{BODY}")), "{sent}");
            let head = sent.to_ascii_lowercase();
            assert!(
                head.contains("x-b: 2\r\nx-b: 3\r\n") && head.contains("openai-beta: y\r\n"),
                "{head}"
            );
            assert!(got.ends_with(&format!("\r\n\r\n{ANSWER}")), "{got}");
        }
        let told = if policy.is_none() {
            "passthrough"
        } else {
            "chat_completions"
        };
        assert_eq!(operations(&bed), [told, told]);
        if policy.is_none() {
            let (sent, _) = through(&bed, &peer, "/providers/openai/v1/chat/completions", "is no JSON").await;
            assert!(sent.ends_with("\r\n\r\nis no JSON"), "nobody reads it: {sent}");
        } else {
            let reply = bed.send("POST /providers/openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nis no JSON");
            let answer = reply.await.take_until("VAL_NOT_JSON").await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn what_only_a_route_says_is_about_no_request_here_and_it_passes_unread() {
    let limits = json!({"limits": [{"name": "team", "requestsPerMinute": 10}]});
    let bed = Bed::routed(limits, as_it_is).await;
    bed.claude.always(Answer::new("hello"));
    for _ in 0..3 {
        let reply = ask(&bed, "/providers/claude/v1/messages", &message("smart", false)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    assert_eq!(operations(&bed), ["passthrough"; 3]);
    bed.balanced().await;
}

#[tokio::test]
async fn a_large_body_is_refused_where_it_would_be_read_and_passes_where_it_is_not() {
    for (policy, status) in [(json!({}), 200), (any(), 413)] {
        let mut bed = Bed::providers();
        write(&bed, &policy, &as_it_is);
        bed.start(&["--max-body", "16KiB"]);
        let mut body = chat("gpt-4.1-mini", false);
        body["messages"][0]["content"] = json!("x".repeat(20 << 10));
        let reply = ask(&bed, "/providers/openai/v1/chat/completions", &body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn it_is_for_that_provider_alone_with_the_model_as_it_is_named() {
    let bed = bed(&any(), as_it_is);
    let below = "/providers/openai/v1/chat/completions";
    for model in ["openai-alias", "routed", "gemini-2.5-flash", "never-heard-of"] {
        let reply = ask(&bed, below, &chat(model, false)).await;
        assert_eq!(
            (reply.status, reply.provider()),
            (200, "openai"),
            "{model}: {}",
            reply.text
        );
        let seen: Value = serde_json::from_slice(&bed.openai.requests().pop().unwrap().body).unwrap();
        assert_eq!(seen["model"], model);
        assert!(bed.access().last().unwrap().get("route").is_none(), "it is no route's");
    }
    let embeddings = json!({"model": "openai-alias", "input": "hi"});
    assert_eq!(
        ask(&bed, "/providers/openai/v1/embeddings", &embeddings).await.status,
        200
    );
    failing(&bed.openai, 500);
    let reply = ask(&bed, below, &chat("routed", false)).await;
    assert_eq!(reply.status, 500, "{}", reply.text);
    assert!(
        !reply.text.contains("EXT_") && !reply.text.contains("bowsprit_code"),
        "the provider's own words: {}",
        reply.text
    );
    assert_eq!((count(&bed.claude), count(&bed.gemini)), (0, 0), "nobody stands in");
    bed.balanced().await;
}

#[tokio::test]
async fn however_its_path_is_written_it_is_read_and_what_is_something_else_is_not() {
    let bed = bed(&any(), as_it_is);
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        provider.always(Answer::new("hello"));
    }
    for path in [
        "/providers/openai/v1/chat/completions",
        "/providers/openai/chat/completions",
        "/providers/openai/v1/chat/completions/",
        "/providers/openai/v1/chat/%63ompletions",
        "/providers/openai/v1/%2563hat/completions",
        "/providers/openai/v1/Chat/Completions",
        "/providers/openai/v2/chat/completions",
        "/providers/openai/V2/chat/completions",
        "/providers/openai/v1;x=1/chat;y/completions;",
        "/providers/openai/v1/chat%3By/completions",
    ] {
        ask(&bed, path, &chat("gpt-4.1-mini", false)).await;
        assert_eq!(operations(&bed).pop().unwrap(), "chat_completions", "{path}");
    }
    for path in [
        "/providers/gemini/v1beta/models/gemini-2.5-flash:generateContent",
        "/providers/gemini/v1alpha/models/gemini-2.5-flash%3AgenerateContent",
        "/providers/gemini/v1beta/%6dodels/gemini-2.5-flash:generateContent",
        "/providers/gemini/models/gemini-2.5-flash:generateContent",
        "/providers/gemini/V1beta/models/gemini-2.5-flash:generateContent",
        "/providers/gemini/v1beta/models/gemini-2.5-flash:generateContent;x:countTokens",
    ] {
        ask(&bed, path, &contents()).await;
        let line = bed.access().pop().unwrap();
        assert_eq!(
            (&line["operation"], &line["asked_model"]),
            (&json!("generate_content"), &json!("gemini-2.5-flash")),
            "{path}"
        );
        let at = path.strip_prefix("/providers/gemini").unwrap();
        assert_eq!(bed.gemini.requests().pop().unwrap().path, at, "where it came to");
    }
    let dynamic = "v1beta/dynamic/mine:generateContent";
    ask(&bed, &format!("/providers/gemini/{dynamic}"), &contents()).await;
    let line = bed.access().pop().unwrap();
    assert_eq!(
        (&line["operation"], &line["asked_model"]),
        (&json!("generate_content"), &json!("dynamic/mine"))
    );
    let other = ask(&bed, &format!("/{dynamic}"), &contents()).await;
    assert_eq!(other.status, 404, "no other provider knows it");
    for path in [
        // The API of another, and what is not served here.
        "/providers/claude/v1/chat/completions",
        "/providers/openai/v1/messages",
        "/providers/gemini/v1beta/openai/chat/completions",
        "/providers/openai/v1/completions",
        "/providers/openai/v1/images/generations",
        "/providers/openai/v1/chat/completions/id",
        "/providers/claude/v1/messages/batches",
        "/providers/gemini/v1beta/models/m:batchGenerateContent",
    ] {
        ask(&bed, path, &chat("m", false)).await;
        assert_eq!(operations(&bed).pop().unwrap(), "passthrough", "{path}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn no_other_method_is_made_of_what_passes_unread() {
    let bed = bed(&any(), as_it_is);
    let path = "/v1beta/models/gemini-2.5-flash:generateContent?pageSize=1";
    for more in ["", "&$httpMethod=POST", "&%24httpmethod=POST", "&$HTTPMETHOD"] {
        let asked = bed
            .get(&format!("/providers/gemini{path}{more}"))
            .header("x-http-method-override", "POST");
        asked.send().await.unwrap();
        let seen = bed.gemini.requests().pop().unwrap();
        assert_eq!(
            (
                seen.method.as_str(),
                seen.path.as_str(),
                seen.header("x-http-method-override")
            ),
            ("GET", path, None),
            "{more}"
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn nothing_that_a_caller_adds_hides_what_was_used() {
    let bed = bed(&any(), as_it_is);
    let mask = "x-goog-fieldmask";
    let embed = json!({"content": {"parts": [{"text": "hi"}]}});
    for (path, body) in [
        ("models/gemini-2.5-flash:generateContent", &contents()),
        ("models/gemini-2.5-flash:countTokens", &contents()),
        ("models/gemini-2.5-flash:embedContent", &embed),
    ] {
        for front in ["/v1beta/", "/providers/gemini/v1beta/"] {
            let path = format!("{front}{path}?fields=candidates&alt=proto&$alt=proto");
            bed.post_as(&path, body, &[(mask, "candidates")]).await;
            let seen = bed.gemini.requests().pop().unwrap();
            assert_eq!(seen.header(mask), None, "{path}");
            if front.contains("providers") {
                assert!(!seen.path.contains('?'), "{}", seen.path);
            }
        }
    }
    let unread = bed
        .get("/providers/gemini/v1beta/files?fields=files")
        .header(mask, "files");
    unread.send().await.unwrap();
    let seen = bed.gemini.requests().pop().unwrap();
    assert_eq!(
        (seen.path.as_str(), seen.header(mask)),
        ("/v1beta/files?fields=files", Some("files"))
    );
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_read_at_a_platform_is_what_is_spoken_with_it() {
    for (kind, path, at, operation) in [
        (
            "AzureOpenAI",
            "/openai/v1/chat/completions",
            "/openai/v1/chat/completions",
            "chat_completions",
        ),
        ("AzureOpenAI", "/v1/responses", "/openai/v1/responses", "responses"),
        (
            "OpenAICompatible",
            "/v1/chat/completions",
            "/v1/chat/completions",
            "chat_completions",
        ),
        // It is asked for responses by chat completions, where anybody but this asks for them.
        ("OpenAICompatible", "/v1/responses", "/v1/responses", "passthrough"),
    ] {
        let bed = bed(&any(), |name, spec| {
            if name == "openai" {
                spec["provider"] = json!(kind);
                if kind == "AzureOpenAI" {
                    let url = spec["endpoint"]["baseUrl"].as_str().unwrap().replace("/v1", "");
                    spec["endpoint"]["baseUrl"] = json!(url);
                }
            }
        });
        let mut body = chat("gpt-4.1-mini", false);
        body["input"] = json!("hi");
        ask(&bed, &format!("/providers/openai{path}"), &body).await;
        assert_eq!(operations(&bed), [operation], "{kind} {path}");
        assert_eq!(bed.openai.requests()[0].path, at, "{kind} {path}");
        bed.balanced().await;
    }
}

#[tokio::test]
async fn what_a_provider_config_or_a_policy_shuts_stays_shut() {
    let bed = bed(&any(), |name, spec| {
        if name == "openai" {
            spec["passThrough"] = json!(false);
        }
    });
    let shut = ask(
        &bed,
        "/providers/openai/v1/chat/completions",
        &chat("gpt-4.1-mini", false),
    )
    .await;
    let error = &shut.json()["error"];
    assert_eq!(
        (shut.status, &error["bowsprit_code"]),
        (404, &json!("RES_PATH_NOT_FOUND"))
    );
    assert!(shut.text.contains("spec.passThrough"), "{}", shut.text);
    let nobody = ask(&bed, "/providers/mistral/v1/chat/completions", &chat("m", false)).await;
    assert_eq!(nobody.json()["error"]["bowsprit_code"], "RES_PROVIDER_NOT_FOUND");
    let mut policy = any();
    policy["pausedProviders"] = json!([{"name": "claude", "reason": "an incident"}]);
    write(&bed, &policy, &as_it_is);
    bed.until("the pause is live", || async {
        bed.metric("bowsprit_config_loaded_total").await == 2.0
    })
    .await;
    let paused = ask(
        &bed,
        "/providers/claude/v1/messages",
        &message("claude-sonnet-4-5", false),
    )
    .await;
    assert_eq!(paused.status, 403, "{}", paused.text);
    assert!(
        paused.text.contains("has paused ProviderConfig claude: an incident"),
        "{}",
        paused.text
    );
    assert_eq!(bed.access().last().unwrap()["refused_by"], "pause:shop");
    assert_eq!(asked_of_anybody(&bed), 0);
    bed.balanced().await;
}

#[tokio::test]
async fn guards_look_into_it_and_into_its_answer_in_place_of_refusing_it() {
    let guard =
        json!({"guards": [{"name": "pii", "applyTo": ["Request", "Answer"], "detect": ["Card"], "action": "Mask"}]});
    let bed = bed(&guard, as_it_is);
    bed.openai.always(Answer::new(format!("it is {CARD}")));
    for stream in [false, true] {
        let mut body = chat("gpt-4.1-mini", stream);
        body["messages"][0]["content"] = json!(CARD);
        let reply = ask(&bed, "/providers/openai/v1/chat/completions", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!shows_card(&reply.text), "{}", reply.text);
        let sent = bed.openai.requests().pop().unwrap();
        let sent = String::from_utf8_lossy(&sent.body).into_owned();
        assert!(sent.contains("[CARD]"), "{sent}");
    }
    let unread = ask(&bed, "/providers/openai/v1/completions", &json!({"prompt": "hi"})).await;
    assert_eq!(unread.status, 403, "into which nobody can look: {}", unread.text);
    bed.balanced().await;
}

#[tokio::test]
async fn a_loop_below_providers_is_stopped() {
    let bed = bed(
        &json!({"runaway": {"times": 3, "within": "1h", "action": "Stop"}}),
        as_it_is,
    );
    let below = "/providers/claude/v1/messages";
    let body = message("claude-sonnet-4-5", false);
    for _ in 0..3 {
        assert_eq!(ask(&bed, below, &body).await.status, 200);
    }
    let stopped = ask(&bed, below, &body).await;
    assert_eq!(stopped.status, 429, "{}", stopped.text);
    assert_eq!(bed.access().last().unwrap()["refused_by"], "limit:runaway");
    bed.balanced().await;
}

#[tokio::test]
async fn a_failure_is_tried_again_at_the_same_provider_and_nowhere_else() {
    let bed = bed(&budget("1000", &json!({})), |name, spec| {
        priced(name, spec);
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "1ms"}});
    });
    bed.claude.script(Behaviour::status(503));
    let reply = ask(
        &bed,
        "/providers/claude/v1/messages",
        &message("claude-sonnet-4-5", false),
    )
    .await;
    assert_eq!(
        (reply.status, reply.header("x-bowsprit-attempts")),
        (200, "2"),
        "{}",
        reply.text
    );
    assert_eq!((count(&bed.claude), asked_of_anybody(&bed)), (2, 2));
    let spent = reply.json()["usage"]["output_tokens"].as_f64().unwrap();
    assert_eq!(stands(&bed).await, (spent, 0.0));
    bed.balanced().await;
}
