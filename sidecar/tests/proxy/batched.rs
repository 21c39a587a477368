//! Each request of a batch is under the access rules that hold below `/providers/`, as if it came alone: one that they forbid ends the
//! upload before the provider has all of it.

use bowsprit_rig::documents;
use bowsprit_rig::peer::Peer;
use serde_json::{Value, json};

use super::support::Bed;

async fn bed(name: &str, access: &Value) -> (Bed, Peer) {
    bed_with(name, access, &[]).await
}

async fn bed_with(name: &str, access: &Value, arguments: &[&str]) -> (Bed, Peer) {
    let (bed, peer) = Bed::raw(name, |_| (), arguments).await;
    let mut text = std::fs::read_to_string(bed.config_path()).unwrap();
    text.push_str(&documents::policy("house", &json!({ "access": access })));
    std::fs::write(bed.config_path(), text).unwrap();
    bed.until("the rules are there", || async {
        bed.metrics().await.contains("bowsprit_access_decisions_total{")
    })
    .await;
    (bed, peer)
}

fn rules(enforcement: &str) -> Value {
    json!({"enforcement": enforcement, "rules": [
        {"name": "small", "allow": "request.operation == 'passthrough' || request.model.contains('haiku') || request.model.contains('-mini') || request.model.contains('flash')"},
        {"name": "bounded", "allow": "request.operation == 'passthrough' || (has(request.maxTokens) && request.maxTokens <= 100)"},
        {"name": "no-images", "allow": "request.operation == 'passthrough' || !request.features.images"},
        {"name": "candidates", "allow": "candidate.model != 'gpt-4o-mini'"},
    ]})
}

async fn decided(bed: &Bed, rule: &str, decision: &str) -> f64 {
    let series = format!("bowsprit_access_decisions_total{{rule=\"{rule}\",decision=\"{decision}\"}}");
    bed.metric(&series).await
}

fn claude(id: &str, model: &str, max_tokens: u64) -> Value {
    let params = json!({"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "ahoy"}]});
    json!({"custom_id": id, "params": params})
}

fn line(id: &str, model: &str, content: &Value) -> String {
    let body = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string() + "\n"
}

fn form(parts: &[(&str, &str)]) -> String {
    let part = |(name, text): &(&str, &str)| {
        let file = if *name == "file" { "; filename=\"a.jsonl\"" } else { "" };
        format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--xx--\r\n"
}

fn head(path: &str, kind: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends `first`, and what follows once the provider has that. Returns what its caller is told, and all that came to the provider.
async fn refused(bed: &Bed, peer: &Peer, (path, kind): (&str, &str), first: &str, rest: &str) -> (String, String) {
    let mut app = bed.send(head(path, kind, first.len() + rest.len()) + first).await;
    let mut provider = peer.accept().await;
    provider.until(first).await;
    app.send(rest).await;
    let reply = app.reply().await;
    let told = format!("{}\n{}", reply.status, String::from_utf8_lossy(&reply.body));
    provider.closed().await;
    (told, provider.text())
}

/// Posts it and answers it. Returns what the provider got.
async fn passes(bed: &Bed, peer: &Peer, (path, kind): (&str, &str), body: &str) -> String {
    let mut app = bed.send(head(path, kind, body.len()) + body).await;
    let mut provider = peer.accept().await;
    let came = provider.request().await;
    provider
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        .await;
    assert_eq!(app.reply().await.status, 200);
    came
}

const CLAUDE: (&str, &str) = ("/providers/claude/v1/messages/batches", "application/json");
const FILES: (&str, &str) = ("/providers/openai/v1/files", "multipart/form-data; boundary=xx");

#[tokio::test]
async fn an_inlined_request_that_a_rule_forbids_ends_the_upload_before_the_provider_has_it() {
    let (bed, peer) = bed("claude", &rules("Enforce")).await;
    let allowed = claude("fine", "claude-haiku-4-5", 100).to_string();
    let batch = |more: &[Value]| {
        let more: String = more.iter().map(|it| format!(", {it}")).collect();
        (format!("{{\"requests\": [{allowed}"), format!("{more}]}}"))
    };
    for (item, rule) in [
        (claude("second", "claude-opus-4-1", 100), "small"),
        (claude("second", "claude-haiku-4-5", 101), "bounded"),
    ] {
        let (first, rest) = batch(&[item, claude("third", "claude-haiku-4-5", 1)]);
        let (told, came) = refused(&bed, &peer, CLAUDE, &first, &rest).await;
        assert!(told.starts_with("403") && told.contains("AUTH_ACCESS_DENIED"), "{told}");
        let text = format!(
            "the rule {rule} of UsagePolicy house does not allow this (request 2 of the batch, \\\"second\\\")"
        );
        assert!(told.contains(&text), "{told}");
        assert!(
            came.contains("fine") && !came.contains("second") && !came.contains("third"),
            "{came}"
        );
        assert_eq!(bed.access().last().unwrap()["refused_by"], format!("access:{rule}"));
        assert_eq!(decided(&bed, rule, "denied").await, 1.0);
    }
    // Its caller hears so at once, and not when it has sent all the others.
    let (first, rest) = batch(&[claude("second", "claude-opus-4-1", 1)]);
    let mut app = bed.send(head(CLAUDE.0, CLAUDE.1, 1 << 20) + &first).await;
    let mut provider = peer.accept().await;
    provider.until(&first).await;
    app.send(rest.trim_end_matches("]}")).await;
    assert_eq!(app.reply().await.status, 403);
    provider.closed().await;
    assert!(!provider.text().contains("second"), "{}", provider.text());
    let (first, rest) = batch(&[claude("second", "claude-haiku-4-5", 5)]);
    let came = passes(&bed, &peer, CLAUDE, &(first.clone() + &rest)).await;
    assert!(came.ends_with(&(first + &rest)), "byte for byte: {came}");
    bed.balanced().await;
}

#[tokio::test]
async fn a_line_of_a_batchs_file_is_under_the_rules_wherever_its_form_says_that_it_is_one() {
    let (bed, peer) = bed("openai", &rules("Enforce")).await;
    let image = json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let fine = line("fine", "gpt-4.1-mini", &json!("ahoy"));
    for (bad, rule) in [
        (line("second", "gpt-4.1", &json!("ahoy")), "small"),
        (line("second", "gpt-4.1-mini", &image), "no-images"),
        (line("second", "gpt-4o-mini", &json!("ahoy")), "candidates"),
    ] {
        let file = fine.clone() + &bad;
        for parts in [
            [("purpose", "batch"), ("file", &file)],
            [("file", &file), ("purpose", "batch")],
        ] {
            let form = form(&parts);
            let (first, rest) = form.split_at(form.find("second").unwrap() - 20);
            let (told, came) = refused(&bed, &peer, FILES, first, rest).await;
            assert!(
                told.starts_with("403") && told.contains(&format!("the rule {rule} of")),
                "{told}"
            );
            assert!(told.contains("(request 2 of the batch, \\\"second\\\")"), "{told}");
            assert!(!came.contains("--xx--"), "{came}");
        }
    }
    // A file of another kind is none of theirs, whatever is in it, and one that is allowed passes.
    let other = form(&[
        ("file", &line("x", "gpt-4.1", &json!("ahoy"))),
        ("purpose", "user_data"),
    ]);
    for form in [other, form(&[("purpose", "batch"), ("file", &fine)])] {
        assert!(
            passes(&bed, &peer, FILES, &form).await.ends_with(&form),
            "byte for byte"
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn rules_in_shadow_count_once_for_a_batch_and_refuse_nothing_readable_or_not() {
    let (bed, peer) = bed("openai", &rules("Shadow")).await;
    let file: String = ["a", "b", "c"].map(|id| line(id, "gpt-4.1", &json!("ahoy"))).concat() + "no line of a batch\n";
    let form = form(&[("file", &file), ("purpose", "batch")]);
    assert!(
        passes(&bed, &peer, FILES, &form).await.ends_with(&form),
        "byte for byte"
    );
    assert_eq!(decided(&bed, "small", "would_deny").await, 1.0);
    assert_eq!(decided(&bed, "bounded", "would_deny").await, 0.0);
    let line = bed.access().pop().unwrap();
    assert_eq!(
        (&line["would_refuse_by"], &line["status"]),
        (&json!("access:small"), &json!(200))
    );
    assert!(
        passes(&bed, &peer, (FILES.0, "text/plain"), "{}").await.ends_with("{}"),
        "no form"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_rule_that_cannot_be_decided_about_any_request_of_a_batch_is_counted_as_such_whichever_it_is() {
    let rule = json!({"name": "large", "allow": "request.operation == 'passthrough' || request.maxTokens > 100"});
    let (bed, peer) = bed("claude", &json!({"enforcement": "Shadow", "rules": [rule]})).await;
    let mut unbounded = claude("b", "claude-haiku-4-5", 9);
    unbounded["params"].as_object_mut().unwrap().remove("max_tokens");
    let batch = json!({"requests": [claude("a", "claude-haiku-4-5", 9), unbounded]}).to_string();
    passes(&bed, &peer, CLAUDE, &batch).await;
    assert_eq!(decided(&bed, "large", "would_deny").await, 1.0);
    assert_eq!(
        decided(&bed, "large", "undecided").await,
        1.0,
        "of the second it could not be"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn each_request_of_a_batch_is_asked_about_with_its_caller_its_provider_and_its_size() {
    let rules = json!({"enforcement": "Enforce", "rules": [
        {"name": "team", "allow": "request.operation == 'passthrough' || caller.headers['x-team'] == 'blue'"},
        {"name": "pod", "allow": "request.operation == 'passthrough' || caller.inPod"},
        {"name": "vendor", "allow": "candidate.model == '' || candidate.provider == 'claude'"},
        {"name": "sized", "allow": "request.operation == 'passthrough' || request.inputTokens > 5"},
    ]});
    let (bed, peer) = bed("claude", &rules).await;
    let batch = json!({"requests": [claude("a", "claude-haiku-4-5", 1)]}).to_string();
    let of_team =
        |team: &str| head(CLAUDE.0, CLAUDE.1, batch.len()).replace("host", &format!("x-team: {team}\r\nhost"));
    let mut app = bed.send(of_team("blue") + &batch).await;
    let mut provider = peer.accept().await;
    assert!(provider.request().await.ends_with(&batch), "all of them hold");
    provider
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        .await;
    assert_eq!(app.reply().await.status, 200);
    let mut app = bed.send(of_team("red") + &batch).await;
    let reply = app.reply().await;
    let told = String::from_utf8_lossy(&reply.body);
    assert!(reply.status == 403 && told.contains("the rule team of"), "{told}");
    bed.balanced().await;
}

#[tokio::test]
async fn what_rules_cannot_read_for_sure_is_refused_where_they_are_in_force() {
    let (bed, peer) = bed("openai", &rules("Enforce")).await;
    let fine = line("fine", "gpt-4.1-mini", &json!("ahoy"));
    let file = format!("{fine}no line of a batch\n{fine}");
    let form = form(&[("purpose", "batch"), ("file", &file)]);
    let (first, rest) = form.split_at(form.find("no line").unwrap());
    let (told, _) = refused(&bed, &peer, FILES, first, rest).await;
    assert!(
        told.starts_with("400") && told.contains("request 2 of the batch"),
        "{told}"
    );
    // A form without its end may be whole to a provider that is not strict.
    let form = form.replace("no line of a batch\n", "").replace("--xx--\r\n", "");
    let (first, rest) = form.split_at(form.len() - 4);
    let (told, _) = refused(&bed, &peer, FILES, first, rest).await;
    assert!(
        told.starts_with("400") && told.contains("does not end as it must"),
        "{told}"
    );
    for (kind, more, why) in [
        ("text/plain", "", "is no multipart/form-data"),
        (FILES.1, "content-encoding: gzip\r\n", "is compressed"),
        (
            FILES.1,
            "content-type: multipart/form-data; boundary=yy\r\n",
            "is no multipart/form-data",
        ),
    ] {
        let mut app = bed
            .send(head(FILES.0, kind, 2).replace("host", &format!("{more}host")) + "{}")
            .await;
        let reply = app.reply().await;
        let told = String::from_utf8_lossy(&reply.body);
        assert!(
            reply.status == 400 && told.contains(why),
            "nobody is asked: {kind} {more} {told}"
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_request_of_a_batch_that_there_is_no_room_to_read_is_refused_where_rules_are_in_force() {
    for (enforcement, is_refused) in [("Enforce", true), ("Shadow", false)] {
        let (bed, peer) = bed_with("claude", &rules(enforcement), &["--memory-budget", "1048576"]).await;
        let mut long = claude("long", "claude-haiku-4-5", 9);
        long["params"]["messages"][0]["content"] = json!("x".repeat(3 << 20));
        let batch = json!({ "requests": [long] }).to_string();
        if is_refused {
            let mut app = bed
                .send(head(CLAUDE.0, CLAUDE.1, batch.len()) + &batch[..2 << 20])
                .await;
            let reply = app.reply().await;
            let told = String::from_utf8_lossy(&reply.body);
            assert!(
                told.contains("SYS_OVERLOADED") && told.contains("there is no room"),
                "{told}"
            );
        } else {
            let came = passes(&bed, &peer, CLAUDE, &batch).await;
            assert!(came.ends_with(&batch), "byte for byte");
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_form_that_gives_its_purpose_twice_is_refused_before_the_provider_has_its_end() {
    let (bed, peer) = bed("openai", &rules("Enforce")).await;
    let file = line("bad", "gpt-4.1", &json!("ahoy"));
    let form = form(&[("purpose", "user_data"), ("file", &file), ("purpose", "batch")]);
    let (first, rest) = form.split_at(form.rfind("--xx\r\n").unwrap());
    let (told, came) = refused(&bed, &peer, FILES, first, rest).await;
    assert!(
        told.starts_with("400") && told.contains("gives its purpose twice"),
        "{told}"
    );
    assert!(!came.contains("--xx--"), "{came}");
    bed.balanced().await;
}

#[tokio::test]
async fn a_document_in_another_coding_or_without_requests_is_refused_where_rules_are_in_force() {
    let (bed, peer) = bed("claude", &rules("Enforce")).await;
    let batch = json!({"requests": [claude("bad", "claude-opus-4-1", 1)]}).to_string();
    let wide: String = batch.chars().flat_map(|it| [it, '\0']).collect();
    let odd = batch.replace("requests", "Requests");
    for (body, why) in [
        (wide.as_str(), "is not UTF-8"),
        (odd.as_str(), "in other letters"),
        ("{\"requests\": []}", "holds no requests"),
    ] {
        let (first, rest) = body.split_at(1);
        let (told, _) = refused(&bed, &peer, CLAUDE, first, rest).await;
        assert!(told.starts_with("400") && told.contains(why), "{told}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_no_batch_passes_where_rules_are_in_force() {
    let (bed, peer) = bed("openai", &rules("Enforce")).await;
    let json = "application/json";
    let add = json!({"file_id": "file-1"}).to_string();
    for path in [
        "/v1/vector_stores/vs_1/files",
        "/v1/containers/cntr_1/files",
        "/v1/assistants/asst_1/files",
        "/v1/files",
    ] {
        let path = format!("/providers/openai{path}");
        assert!(passes(&bed, &peer, (&path, json), &add).await.ends_with(&add), "{path}");
    }
    let form = form(&[("purpose", "user_data"), ("file", "x")]).replace(
        "a.jsonl",
        "Grüße \\\"two\\\" words.pdf\"; filename*=\"UTF-8''Gr%C3%BC%C3%9Fe.pdf",
    );
    assert!(passes(&bed, &peer, FILES, &form).await.ends_with(&form));
    let mut app = bed
        .send("GET /providers/openai/v1/files HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let mut provider = peer.accept().await;
    provider.request().await;
    provider
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        .await;
    assert_eq!(app.reply().await.status, 200, "who looks uploads nothing");
    bed.balanced().await;
}

#[tokio::test]
async fn a_batch_of_a_file_that_nobody_read_is_asked_about_as_such() {
    let (bed, peer) = bed("gemini", &rules("Enforce")).await;
    let path = ("/providers/gemini/v1beta/openai/batches", "application/json");
    let body = json!({"input_file_id": "files/a"}).to_string();
    let mut app = bed.send(head(path.0, path.1, body.len()) + &body).await;
    let reply = app.reply().await;
    let told = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, 403, "{told}");
    assert!(told.contains("the rule small of"), "{told}");
    drop(peer);
    bed.balanced().await;
}

#[tokio::test]
async fn of_geminis_batches_the_model_is_in_the_path_and_of_a_file_nothing_else_is_known() {
    let (bed, peer) = bed("gemini", &rules("Enforce")).await;
    let path = |model: &str| format!("/providers/gemini/v1beta/models/{model}:batchGenerateContent");
    let inlined = |tokens: u32| {
        let request =
            json!({"contents": [{"parts": [{"text": "ahoy"}]}], "generationConfig": {"maxOutputTokens": tokens}});
        let requests = json!({"requests": [{"request": request, "metadata": {"key": "k"}}]});
        json!({"batch": {"inputConfig": {"requests": requests}}}).to_string()
    };
    let kind = "application/json";
    let fine = inlined(100);
    assert!(
        passes(&bed, &peer, (&path("gemini-2.5-flash"), kind), &fine)
            .await
            .ends_with(&fine)
    );
    let by_file = json!({"batch": {"input_config": {"file_name": "files/a"}}}).to_string();
    for (model, body, rule) in [
        ("gemini-2.5-pro", fine.as_str(), "small"),
        ("gemini-2.5-flash", &inlined(101), "bounded"),
        ("gemini-2.5-flash", &by_file, "bounded"),
    ] {
        let (first, rest) = body.split_at(5);
        let (told, _) = refused(&bed, &peer, (&path(model), kind), first, rest).await;
        assert!(
            told.starts_with("403") && told.contains(&format!("the rule {rule} of")),
            "{told}"
        );
    }
    assert_eq!(
        decided(&bed, "no-images", "undecided").await,
        1.0,
        "nobody has seen the file"
    );
    bed.balanced().await;
}
