//! What a provider answers in the background is charged with the most that it may come to: its end is fetched elsewhere, if ever.

use bowsprit_providers::Raw;
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::Bed;

fn raw(kind: &str, body: &str) -> Raw {
    Raw::new(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}"
    ))
}

fn whole(status: &str) -> Raw {
    let body = json!({"id": "resp_1", "object": "response", "status": status, "output": [], "usage": null});
    raw("application/json", &body.to_string())
}

/// A stream that breaks off after its first word.
fn begun(background: bool) -> Raw {
    let response = json!({"id": "resp_1", "status": "queued", "background": background, "usage": null});
    let created = json!({"type": "response.created", "response": response});
    let word = r#"{"type":"response.output_text.delta","delta":"hi"}"#;
    raw("text/event-stream", &format!("data: {created}\n\ndata: {word}\n\n"))
}

#[tokio::test]
async fn an_answer_that_goes_on_in_the_background_is_charged_with_its_reserve() {
    let dollar = |_: &str, spec: &mut Value| spec["models"][0]["price"] = json!({"input": "0", "output": "1000000"});
    let budget = json!({"name": "q", "amount": "9000", "currency": "USD", "window": "Custom", "every": "2160h"});
    let mut bed = Bed::providers();
    let text = bed.documents(&dollar) + &documents::policy("shop", &json!({"budgets": [budget]}));
    std::fs::write(bed.config_path(), text).unwrap();
    bed.start(&[]);
    let stands = async || {
        let budget = &bed.health().await["budgets"][0];
        let dollars = |field: &str| budget[field].as_str().unwrap().parse::<f64>().unwrap();
        (dollars("spent"), dollars("reserved"))
    };
    for path in ["/v1/responses", "/providers/openai/v1/responses"] {
        for (answer, stream, is_most) in [
            (whole("queued"), false, true),
            (whole("in_progress"), false, true),
            (whole("completed"), false, false),
            (begun(true), true, true),
            (begun(false), true, false),
        ] {
            let (before, _) = stands().await;
            bed.openai.script(answer);
            let body = json!({
                "model": "gpt-4.1-mini", "input": "hi", "max_output_tokens": 500, "background": true, "stream": stream
            });
            let reply = bed.post_as(path, &body, &[]).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
            bed.balanced().await;
            let (after, reserved) = stands().await;
            let told = format!("{path}, stream: {stream}: {}", reply.text);
            assert_eq!(
                (after - before == 500.0, reserved),
                (is_most, 0.0),
                "{} {told}",
                after - before
            );
        }
    }
    // Whoever fetches it pays nothing more.
    let (before, _) = stands().await;
    bed.openai.script(raw(
        "application/json",
        r#"{"id":"resp_1","status":"completed","usage":{"input_tokens":1,"output_tokens":9}}"#,
    ));
    bed.get("/providers/openai/v1/responses/resp_1").send().await.unwrap();
    assert_eq!(stands().await, (before, 0.0));
    bed.balanced().await;
}
