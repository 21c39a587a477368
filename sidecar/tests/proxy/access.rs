//! Who may use what is decided before anybody is asked: a request that a rule does not allow is refused with the rule's name, in
//! its caller's dialect, and a rule in shadow only counts.

use bowsprit_providers::Answer;
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, contents, message};

async fn bed(access: Value) -> Bed {
    let bed = Bed::routed(json!({ "access": access }), |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    bed
}

fn rule(name: &str, allow: &str) -> Value {
    json!({"name": name, "allow": allow})
}

async fn ask(bed: &Bed, path: &str, body: &Value) -> Reply {
    bed.post_as(path, body, &[]).await
}

async fn decided(bed: &Bed, rule: &str, decision: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_access_decisions_total{{rule=\"{rule}\",decision=\"{decision}\"}}"
    ))
    .await
}

fn nobody_was_asked(bed: &Bed) -> bool {
    bed.claude.requests().is_empty() && bed.gemini.requests().is_empty() && bed.openai.requests().is_empty()
}

#[tokio::test]
async fn what_a_rule_does_not_allow_is_refused_by_its_name_in_every_dialect_and_nobody_is_asked() {
    let bed = bed(json!({"rules": [
        rule("all-may", "true"),
        {"name": "no-streams", "allow": "!request.stream && request.dialect != 'gemini' && request.dialect != 'openai_responses'",
         "message": "Ask for whole answers."},
    ]}))
    .await;
    let told = "the rule no-streams of ModelRoute smart does not allow this: Ask for whole answers.";
    let openai = ask(&bed, "/v1/chat/completions", &chat("smart", true)).await;
    assert_eq!(openai.status, 403, "{}", openai.text);
    let error = &openai.json()["error"];
    assert_eq!(error["message"], told);
    assert_eq!(error["bowsprit_code"], "AUTH_ACCESS_DENIED");
    let claude = ask(&bed, "/v1/messages", &message("smart", true)).await;
    assert_eq!(
        (claude.status, &claude.json()["error"]["type"]),
        (403, &json!("permission_error"))
    );
    assert!(claude.text.contains(told));
    let gemini = ask(&bed, "/v1beta/models/smart:generateContent", &contents()).await;
    assert_eq!(
        (gemini.status, &gemini.json()["error"]["status"]),
        (403, &json!("PERMISSION_DENIED"))
    );
    let responses = ask(&bed, "/v1/responses", &json!({"model": "smart", "input": "hi"})).await;
    assert_eq!(responses.status, 403);
    assert!(nobody_was_asked(&bed));
    for line in bed.access() {
        assert_eq!(line["refused_by"], "access:no-streams", "{line}");
        assert_eq!(line["attempts"], 0, "{line}");
    }
    assert_eq!(decided(&bed, "no-streams", "denied").await, 4.0);
    assert_eq!(decided(&bed, "", "allowed").await, 0.0);
    let allowed = ask(&bed, "/v1/chat/completions", &chat("smart", false)).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text);
    assert_eq!(decided(&bed, "", "allowed").await, 1.0);
    let elsewhere = bed.chat_with("claude-sonnet-4-5", true).await;
    assert_eq!(elsewhere.status, 200, "it is not this route's: {}", elsewhere.text);
}

#[tokio::test]
async fn a_member_in_other_letters_is_refused_where_anything_goes_by_the_body() {
    let bed = bed(json!({"rules": [rule("small", "request.model == 'smart' && !(request.maxTokens > 10)")]})).await;
    let mut body = chat("smart", false);
    body["Max_Tokens"] = json!(99_999);
    let refused = ask(&bed, "/v1/chat/completions", &body).await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["bowsprit_code"]), (400, &json!("VAL_FIELD")));
    assert_eq!(error["param"], "Max_Tokens");
    assert!(refused.text.contains("must be written max_tokens"), "{}", refused.text);
    let mut body = message("smart", false);
    body["Model"] = json!("large");
    let refused = ask(&bed, "/v1/messages", &body).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let mut body = contents();
    body["generationConfig"] = json!({"MaxOutputTokens": 99_999});
    let refused = ask(&bed, "/v1beta/models/smart:generateContent", &body).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let embed = json!({"content": {"parts": [{"text": "hi"}]}, "Model": "large"});
    let refused = ask(&bed, "/v1beta/models/smart:embedContent", &embed).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(nobody_was_asked(&bed));
}

#[tokio::test]
async fn where_nothing_goes_by_the_body_every_name_passes() {
    let bed = Bed::routed(json!({}), |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    let mut body = message("smart", false);
    body["X-Model"] = json!("large");
    body["MODEL"] = json!("large");
    let reply = ask(&bed, "/v1/messages", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn a_rule_in_shadow_counts_what_it_would_refuse_and_lets_it_pass() {
    let bed = bed(json!({"enforcement": "Shadow", "rules": [
        rule("no-streams", "!request.stream"), rule("small", "request.maxTokens <= 10"), rule("by-claude", "candidate.provider == 'claude'"),
    ]}))
    .await;
    let reply = ask(&bed, "/v1/chat/completions", &chat("smart", true)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(decided(&bed, "no-streams", "would_deny").await, 1.0);
    assert_eq!(decided(&bed, "small", "would_deny").await, 1.0);
    assert_eq!(
        decided(&bed, "by-claude", "would_deny").await,
        2.0,
        "once for each that it would leave out"
    );
    assert_eq!(
        bed.metric("bowsprit_access_decisions_total{rule=\"small\",decision=\"undecided\"}")
            .await,
        1.0
    );
    let line = &bed.access()[0];
    assert!(line.get("refused_by").is_none(), "{line}");
    assert_eq!(line["would_refuse_by"], "access:no-streams", "{line}");
}

#[tokio::test]
async fn a_rule_in_shadow_about_candidates_would_refuse_what_it_would_leave_nobody_for() {
    let bed =
        bed(json!({"enforcement": "Shadow", "rules": [rule("not-claude", "candidate.provider != 'claude'")]})).await;
    assert_eq!(
        ask(&bed, "/v1/chat/completions", &chat("smart", false)).await.status,
        200
    );
    let line = bed.access().pop().unwrap();
    assert!(line.get("would_refuse_by").is_none(), "others could answer: {line}");
    let bed = self::bed(json!({"enforcement": "Shadow", "rules": [rule("nobody", "candidate.provider == 'x'")]})).await;
    assert_eq!(
        ask(&bed, "/v1/chat/completions", &chat("smart", false)).await.status,
        200
    );
    let line = bed.access().pop().unwrap();
    assert_eq!(line["would_refuse_by"], "access:nobody", "{line}");
}

#[tokio::test]
async fn rules_see_parameters_features_and_headers_of_a_body_that_passes_as_it_came() {
    let bed = bed(json!({"rules": [
        rule("bounded", "has(request.maxTokens) && request.maxTokens <= 500"),
        rule("no-images", "!request.features.images"),
        rule("one", "request.n == 1"),
        rule("red-only", "caller.headers['x-team'] == 'red'"),
        rule("from-here", "caller.inPod"),
    ]}))
    .await;
    let plain = || {
        let mut body = message("smart", false);
        body["max_tokens"] = json!(400);
        body
    };
    let red = [("x-team", "red")];
    let told = async |body: Value, headers: &[(&str, &str)]| {
        let reply = bed.post_as("/v1/messages", &body, headers).await;
        let line = bed.access().pop().unwrap();
        (reply.status, line["refused_by"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(told(plain(), &red).await, (200, String::new()));
    let mut large = plain();
    large["max_tokens"] = json!(501);
    assert_eq!(told(large, &red).await, (403, "access:bounded".into()));
    let mut picture = plain();
    picture["messages"][0]["content"] =
        json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]);
    assert_eq!(told(picture, &red).await, (403, "access:no-images".into()));
    assert_eq!(
        told(plain(), &[("x-team", "blue")]).await,
        (403, "access:red-only".into())
    );
    assert_eq!(
        told(plain(), &[]).await,
        (403, "access:red-only".into()),
        "a rule that cannot be decided does not hold"
    );
    assert_eq!(bed.claude.requests().len(), 1);
}

#[tokio::test]
async fn a_candidate_that_a_rule_forbids_is_passed_over_and_the_next_answers() {
    let bed = bed(json!({"rules": [rule("not-claude", "candidate.provider != 'claude'")]})).await;
    bed.gemini.always(Answer::new("from gemini"));
    let reply = ask(&bed, "/v1/chat/completions", &chat("smart", false)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(bed.claude.requests().is_empty());
    assert_eq!(bed.gemini.requests().len(), 1);
    assert_eq!(decided(&bed, "not-claude", "denied").await, 1.0);
    assert!(bed.access()[0].get("refused_by").is_none());
}

#[tokio::test]
async fn where_every_candidate_is_forbidden_the_rule_is_told_and_where_one_is_down_that_is() {
    let bed = bed(json!({"rules": [rule("nobody", "candidate.provider == 'none'")]})).await;
    let reply = ask(&bed, "/v1/chat/completions", &chat("smart", false)).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(
        reply.text.contains("the rule nobody of ModelRoute smart"),
        "{}",
        reply.text
    );
    assert_eq!(bed.access()[0]["refused_by"], "access:nobody");
    assert!(nobody_was_asked(&bed));
}

#[tokio::test]
async fn an_answer_in_the_cache_is_no_way_around_a_rule() {
    let access = json!({"rules": [rule("red-only", "caller.headers['x-team'] == 'red'")]});
    let more = json!({"access": access, "cache": {"ttl": "1h", "maxBytes": 1 << 20, "temperature": "Any"}});
    let bed = Bed::routed(more, |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    let body = chat("smart", false);
    for _ in 0..2 {
        let red = bed.post_as("/v1/chat/completions", &body, &[("x-team", "red")]).await;
        assert_eq!(red.status, 200);
    }
    assert_eq!(bed.claude.requests().len(), 1, "the second is from the cache");
    let blue = bed.post_as("/v1/chat/completions", &body, &[("x-team", "blue")]).await;
    assert_eq!(blue.status, 403);
}

#[tokio::test]
async fn what_the_namespace_forbids_no_route_and_no_path_of_a_providers_own_allows() {
    let mut bed = Bed::providers();
    let access = json!({"rules": [
        rule("no-openai", "candidate.provider != 'openai'"),
        rule("files-alone", "request.operation != 'passthrough' || request.path.startsWith('/files')"),
        rule("no-images", "request.operation == 'passthrough' || !request.features.images"),
    ]});
    let policy = documents::policy("house", &json!({ "access": access }));
    let documents = bed.documents(&|_, _| {}) + &policy;
    std::fs::write(bed.config_path(), documents).unwrap();
    bed.start(&[]);
    bed.claude.always(Answer::new("hello"));
    let status = async |path: &str| bed.get(path).send().await.unwrap().status().as_u16();
    assert_eq!(bed.chat().await.status, 200);
    assert_eq!(
        bed.chat_with("gpt-4.1-mini", false).await.status,
        200,
        "another answers"
    );
    assert!(bed.openai.requests().is_empty());
    for path in ["/providers/openai/v1/files", "/providers/openai/models"] {
        assert_eq!(status(path).await, 403, "{path}");
    }
    assert!(bed.openai.requests().is_empty());
    for path in [
        "/providers/claude/v1/files",
        "/providers/claude/files/f",
        "/providers/claude/v1/%66iles",
    ] {
        assert_ne!(status(path).await, 403, "{path}");
    }
    assert_eq!(status("/providers/claude/v1/messages/batches").await, 403);
    let refused: Vec<String> = bed
        .access()
        .iter()
        .filter_map(|line| Some(line["refused_by"].as_str()?.to_owned()))
        .collect();
    assert_eq!(
        refused,
        ["access:no-openai", "access:files-alone", "access:files-alone"]
    );
}
