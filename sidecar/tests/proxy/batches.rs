//! What a batch used is booked in the ledger when its results pass by, once, and they pass byte for byte.

use bowsprit_rig::documents;
use bowsprit_rig::peer::{LAST, Peer, chunk};
use serde_json::{Value, json};

use super::support::{Bed, Reply};

fn claude(id: &str, input: u64, output: u64) -> String {
    let message = json!({
        "id": "msg", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "ahoy"}],
        "usage": {"input_tokens": input, "output_tokens": output},
    });
    json!({"custom_id": id, "result": {"type": "succeeded", "message": message}}).to_string()
}

/// The ledger's entries of batches.
async fn booked(bed: &Bed) -> Vec<Value> {
    let page = bed.admin("/ledger").await.json();
    let entries = page["batch"]["entries"].as_array().cloned().unwrap_or_default();
    let of_batch = entries.into_iter().map(|it| it["entry"].clone());
    of_batch.filter(|entry| entry["operation"] == "batch").collect()
}

fn ledger(dir: &tempfile::TempDir) -> Vec<&str> {
    let dir = dir.path().to_str().unwrap();
    vec!["--ledger-dir", dir, "--state-dir", dir]
}

/// What the provider answers next, to whatever is asked.
async fn says(peer: &Peer, text: &str) {
    let mut provider = peer.asked().await;
    let length = text.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
    provider.send(answer).await;
}

async fn fetch(bed: &Bed, path: &str) -> tokio::task::JoinHandle<Reply> {
    let request = bed.get(path);
    tokio::spawn(async { Reply::of(request.send().await.unwrap()).await })
}

#[tokio::test]
async fn results_that_pass_are_booked_once_at_a_batchs_price() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bed, peer) = Bed::raw("claude", |_| (), &ledger(&dir)).await;
    let expired = json!({"custom_id": "c", "result": {"type": "expired"}}).to_string();
    let text = [claude("a", 4, 2), claude("b", 6, 8), expired].join("\n") + "\n";
    for round in 0..2 {
        let reply = fetch(&bed, "/providers/claude/v1/messages/batches/msgbatch_1/results").await;
        let mut provider = peer.asked().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        provider.send(head).await;
        for piece in text.as_bytes().chunks(50) {
            provider.send(chunk(piece)).await;
        }
        provider.send(LAST).await;
        assert_eq!(reply.await.unwrap().text, text, "byte for byte");
        bed.until("it is booked", || async { booked(&bed).await.len() == 1 })
            .await;
        let paid = bed.family("bowsprit_cost_usd_total").await;
        let wanted = if round == 0 { 9e-5 } else { 0.0 };
        assert!((paid - wanted).abs() < 1e-9, "{paid}");
        if round == 0 {
            // One that is killed has written it too.
            bed.until("it is saved", || async {
                std::fs::read_to_string(dir.path().join("batches.json")).is_ok_and(|it| it.contains("msgbatch_1"))
            })
            .await;
            bed.sidecar.take().unwrap().stop().await;
            bed.start(&ledger(&dir));
        }
    }
    let entries = booked(&bed).await;
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    assert_eq!(
        (&entry["requestId"], &entry["model"]),
        (&json!("msgbatch_1"), &json!("claude-sonnet-4-5"))
    );
    assert_eq!(
        (&entry["tokens"]["input"], &entry["tokens"]["output"]),
        (&json!(10), &json!(10))
    );
    // 1.50 and 7.50 US dollars for a million: half of what they cost now.
    assert_eq!(entry["cost"]["reported"], 10 * 1_500_000 + 10 * 7_500_000);
    bed.balanced().await;
}

async fn bed_with_budgets(provider: &str, arguments: &[&str]) -> (Bed, Peer) {
    let (bed, peer) = Bed::raw(provider, |_| (), arguments).await;
    let budget = |name: &str, amount: &str, beyond: &str| json!({"name": name, "amount": amount, "currency": "USD", "window": "Custom", "every": "2160h", "onExhausted": beyond});
    let budgets = json!({"budgets": [budget("small", "0.00008", "Stop"), budget("large", "1", "Warn")]});
    let mut text = std::fs::read_to_string(bed.config_path()).unwrap();
    text.push_str(&documents::policy("shop", &budgets));
    std::fs::write(bed.config_path(), text).unwrap();
    bed.until("the budgets are there", || async {
        bed.health().await["budgets"].as_array().is_some_and(|it| it.len() == 2)
    })
    .await;
    (bed, peer)
}

/// What is spent of the small budget and of the large one, US dollars.
async fn spent(bed: &Bed) -> [f64; 2] {
    let budgets = bed.health().await["budgets"].clone();
    [0, 1].map(|at| budgets[at]["spent"].as_str().unwrap().parse::<f64>().unwrap())
}

fn openai_results(input: u64, output: u64) -> String {
    let body = json!({"object": "chat.completion", "model": "gpt-4.1-mini-2025-04-14", "choices": [],
        "usage": {"prompt_tokens": input, "completion_tokens": output}});
    json!({"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": null}).to_string()
}

#[tokio::test]
async fn a_file_that_only_looks_like_results_is_charged_to_nobody_and_a_batchs_own_is() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, peer) = bed_with_budgets("openai", &ledger(&dir)).await;
    let results = openai_results(5, 10);
    let content = "/providers/openai/v1/files/file-7/content";
    let reply = fetch(&bed, content).await;
    says(&peer, &results).await;
    assert_eq!(reply.await.unwrap().text, results, "it passes");
    bed.until("it is in the ledger", || async { booked(&bed).await.len() == 1 })
        .await;
    // Nor does what a caller wrote into a batch make one of it.
    let forged = json!({"id": "batch_1", "output_file_id": null, "metadata": {"output_file_id": "file-7"}});
    for path in ["batches/batch_1", "files/file-7/content"] {
        let reply = fetch(&bed, &format!("/providers/openai/v1/{path}")).await;
        says(
            &peer,
            if path == "batches/batch_1" {
                forged.to_string()
            } else {
                results.clone()
            }
            .as_str(),
        )
        .await;
        assert_eq!(reply.await.unwrap().status, 200);
    }
    assert_eq!(spent(&bed).await, [0.0, 0.0]);
    assert_eq!(bed.family("bowsprit_cost_usd_total").await, 0.0);
    // Once the provider has named it, it is charged, also of a list, and once.
    let list = json!({"object": "list", "data": [{"id": "batch_1", "object": "batch", "output_file_id": "file-7"}]});
    let reply = fetch(&bed, "/providers/openai/v1/batches?limit=20").await;
    says(&peer, &list.to_string()).await;
    assert_eq!(reply.await.unwrap().text, list.to_string(), "byte for byte");
    for file in ["file%252D7", "file%2D7"] {
        let reply = fetch(&bed, &format!("/providers/openai/v1/files/{file}/content")).await;
        says(&peer, &results).await;
        assert_eq!(reply.await.unwrap().status, 200);
        // 0.20 and 0.80 US dollars for a million: half of what they cost now.
        bed.until("it is spent", || async {
            spent(&bed).await.iter().all(|spent| (spent - 9e-6).abs() < 1e-12)
        })
        .await;
    }
    let paid = bed.family("bowsprit_cost_usd_total").await;
    assert!((paid - 9e-6).abs() < 1e-12, "{paid}");
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_told_of_a_batch_when_it_is_cancelled_counts_too_and_a_text_that_is_too_long_does_not() {
    let (bed, peer) = bed_with_budgets("openai", &[]).await;
    let tells =
        |metadata: &str| json!({"id": "batch_1", "metadata": {"x": metadata}, "output_file_id": "file-7"}).to_string();
    for (told, wanted) in [(tells(&"x".repeat(1 << 20)), 0.0), (tells(""), 9e-6)] {
        let cancel = bed.post("/providers/openai/v1/batches/batch_1/cancel", &json!({}));
        let cancel = tokio::spawn(async { Reply::of(cancel.send().await.unwrap()).await });
        says(&peer, &told).await;
        assert!(cancel.await.unwrap().text == told, "byte for byte");
        let reply = fetch(&bed, "/providers/openai/v1/files/file-7/content").await;
        says(&peer, &openai_results(5, 10)).await;
        assert_eq!(reply.await.unwrap().status, 200);
        // It is spent before its last byte goes out.
        assert!(
            spent(&bed).await.iter().all(|spent| (spent - wanted).abs() < 1e-12),
            "{wanted}"
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn only_what_is_fetched_whole_and_in_no_coding_is_booked_whatever_its_provider_answers_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, peer) = Bed::raw("claude", |_| (), &ledger(&dir)).await;
    let text = claude("a", 4, 2);
    for (method, status, id) in [
        ("GET", "206 Partial Content", "part"),
        ("GET", "200 OK\r\ncontent-encoding: x-odd", "coded"),
        ("GET", "202 Accepted", "accepted"),
        ("POST", "200 OK", "posted"),
        ("GET", "200 OK\r\ncontent-encoding: identity", "whole"),
    ] {
        let path = format!("/providers/claude/v1/messages/batches/{id}/results");
        let mut app = bed
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        let mut provider = peer.asked().await;
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            text.len()
        );
        provider.send(head + &text).await;
        assert_eq!(app.reply().await.body, text.as_bytes(), "{id} passes");
    }
    bed.until("the last is booked", || async { !booked(&bed).await.is_empty() })
        .await;
    let ids: Vec<Value> = booked(&bed)
        .await
        .iter()
        .map(|entry| entry["requestId"].clone())
        .collect();
    assert_eq!(ids, ["whole"]);
    bed.balanced().await;
}

#[tokio::test]
async fn results_and_batches_are_asked_for_whole_and_in_no_coding() {
    let (bed, peer) = Bed::raw("openai", |_| (), &[]).await;
    for (path, is_changed) in [
        ("/v1/batches/batch_1", true),
        ("/v1/files/file-7/content", true),
        ("/v1/Files/file-7/Content", true),
        ("/v1/files/file-7", false),
    ] {
        let request = bed.get(&format!("/providers/openai{path}"));
        let request = request
            .header("accept-encoding", "gzip, br")
            .header("range", "bytes=0-5")
            .header("if-range", "\"x\"");
        let reply = tokio::spawn(async { Reply::of(request.send().await.unwrap()).await });
        let mut provider = peer.accept().await;
        let came = provider.request().await.to_ascii_lowercase();
        provider
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            .await;
        assert_eq!(reply.await.unwrap().status, 200);
        assert!(!came.contains("\r\naccept-encoding: "), "{came}");
        assert_eq!(came.contains("\r\nrange: "), !is_changed, "{came}");
        assert_eq!(came.contains("\r\nif-range: "), !is_changed, "{came}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn what_a_batch_did_cost_is_spent_on_every_budget_once_and_its_tokens_are_counted_once() {
    let (bed, peer) = bed_with_budgets("claude", &[]).await;
    let spent = || spent(&bed);
    let tokens = |kind: &'static str| {
        let series =
            format!("bowsprit_tokens_total{{provider=\"claude\",model=\"claude-sonnet-4-5\",kind=\"{kind}\"}}");
        let bed = &bed;
        async move { bed.metric(&series).await }
    };
    // The second is fetched although nothing is left, and the first again.
    let batches = [
        ("msgbatch_1", 10, 10, 9e-5),
        ("msgbatch_2", 20, 0, 12e-5),
        ("msgbatch_1", 10, 10, 12e-5),
    ];
    for (id, input, output, wanted) in batches {
        let path = format!("/providers/claude/v1/messages/batches/{id}/results");
        let reply = fetch(&bed, &path).await;
        says(&peer, &claude("a", input, output)).await;
        assert_eq!(reply.await.unwrap().status, 200);
        bed.until("it is spent", || async {
            spent().await.iter().all(|spent| (spent - wanted).abs() < 1e-12)
        })
        .await;
        let over = fetch(&bed, "/providers/claude/v1/messages/batches/msgbatch_1").await;
        says(&peer, "{}").await;
        assert_eq!(over.await.unwrap().status, 200, "who looks spends nothing");
        let made = bed.post("/providers/claude/v1/messages/batches", &json!({"requests": []}));
        let made = Reply::of(made.send().await.unwrap()).await;
        assert_eq!(made.json()["error"]["bowsprit_code"], "BIZ_BUDGET_SPENT");
        assert_eq!(made.status, 402);
    }
    assert_eq!((tokens("input").await, tokens("output").await), (30.0, 10.0));
    for (method, end) in [("POST", "/cancel"), ("POST", ":cancel"), ("DELETE", "")] {
        let path = format!("/providers/claude/v1/messages/batches/msgbatch_3{end}");
        let mut app = bed
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        says(&peer, "{}").await;
        assert_eq!(
            app.reply().await.status,
            200,
            "what still spends can be ended: {method} {end}"
        );
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_file_of_results_is_read_whose_length_is_told_and_what_breaks_off_books_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, peer) = Bed::raw("openai", |_| (), &ledger(&dir)).await;
    // Where it breaks off, the first of them has come whole.
    let text = [openai_results(5, 10), openai_results(6, 20)].join("\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    for is_whole in [false, true] {
        let reply = fetch(&bed, "/providers/openai/v1/files/file-7/content").await;
        let mut provider = peer.asked().await;
        provider.send(&head).await;
        let sent = if is_whole {
            text.as_str()
        } else {
            &text[..text.len() - 1]
        };
        provider.send(sent).await;
        drop(provider);
        let reply = reply.await.unwrap();
        assert_eq!((reply.complete, reply.text.as_str()), (is_whole, sent));
        if !is_whole {
            assert!(booked(&bed).await.is_empty());
        }
    }
    bed.until("it is booked", || async { booked(&bed).await.len() == 1 })
        .await;
    let entry = booked(&bed).await.remove(0);
    assert_eq!(
        (&entry["requestId"], &entry["tokens"]["output"]),
        (&json!("file-7"), &json!(30))
    );
    assert_eq!(entry["cost"]["reported"], 11 * 200_000 + 30 * 800_000);
}

#[tokio::test]
async fn results_within_geminis_operation_are_booked_when_the_batch_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, peer) = Bed::raw("gemini", |_| (), &ledger(&dir)).await;
    let answer = json!({"candidates": [{"content": {"parts": [{"text": "ahoy"}]}}], "modelVersion": "gemini-2.5-flash",
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}});
    let inlined = json!({"inlinedResponses": {"inlinedResponses": [
        {"metadata": {"key": "a"}, "response": answer}, {"metadata": {"key": "b"}, "response": answer}, {"error": {"code": 3}}]}});
    for (is_done, booked_by_then) in [(false, 0), (true, 1), (true, 1)] {
        let mut operation =
            json!({"name": "batches/ab12", "metadata": {"state": "BATCH_STATE_RUNNING"}, "done": is_done});
        if is_done {
            operation["metadata"] = json!({"state": "BATCH_STATE_SUCCEEDED", "output": inlined});
            operation["response"] = inlined.clone();
        }
        let text = operation.to_string();
        let reply = fetch(&bed, "/providers/gemini/v1beta/batches/ab12").await;
        let mut provider = peer.asked().await;
        let length = text.len();
        provider
            .send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            ))
            .await;
        assert_eq!(reply.await.unwrap().text, text, "byte for byte");
        bed.until("it is booked", || async { booked(&bed).await.len() == booked_by_then })
            .await;
    }
    let entry = booked(&bed).await.remove(0);
    assert_eq!(
        (&entry["requestId"], &entry["model"]),
        (&json!("ab12"), &json!("gemini-2.5-flash"))
    );
    assert_eq!(
        (&entry["tokens"]["input"], &entry["tokens"]["output"]),
        (&json!(20), &json!(8)),
        "of the two copies one"
    );
    let paid = bed.family("bowsprit_cost_usd_total").await;
    assert!((paid - 1.3e-5).abs() < 1e-9, "{paid}");
    // 0.15 and 1.25 US dollars for a million: half of what they cost now.
    assert_eq!(entry["cost"]["reported"], 20 * 150_000 + 8 * 1_250_000);
    bed.balanced().await;
}
