//! Connections to providers: kept, and never trusted to be alive.

use bowsprit_providers::{After, Answer, Fault, Point};
use bowsprit_rig::peer;
use serde_json::{Value, json};

use crate::support::{Bed, CANARIES};

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let bed = Bed::new().await;
    for _ in 0..10 {
        for model in ["claude-sonnet-4-5", "gemini-2.5-flash", "gpt-4.1-mini"] {
            for stream in [false, true] {
                assert_eq!(bed.chat_with(model, stream).await.status, 200);
            }
        }
    }
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        assert_eq!(provider.seen().connections, 1);
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_the_app_noticing() {
    for after in [After::Close, After::CloseSilently] {
        let bed = Bed::new().await;
        for _ in 0..5 {
            bed.claude.script(Answer::new("hi").after(after));
            let reply = bed.chat().await;
            assert_eq!((reply.status, reply.provider()), (200, "claude"), "{after:?}");
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn an_idle_connection_that_breaks_as_it_is_reused_is_nobodys_failure() {
    // No retry is configured, and nobody else is there: it is sent anew all the same, once.
    let bed = Bed::with(|name, spec| {
        if name != "claude" {
            *spec = serde_json::Value::Null;
        }
    })
    .await;
    for _ in 0..3 {
        bed.claude.script(Answer::new("hi").after(After::ResetOnNextRequest));
        let reply = bed.chat().await;
        assert_eq!(
            (reply.status, reply.header("x-bowsprit-attempts")),
            (200, "1"),
            "{}",
            reply.text
        );
        let reply = bed.chat_with("claude-sonnet-4-5", true).await;
        assert_eq!(
            (reply.status, reply.header("x-bowsprit-attempts")),
            (200, "1"),
            "{}",
            reply.text
        );
    }
    assert_eq!(bed.provider_health("claude").await["models"][0]["failures"], 0);
    assert_eq!(bed.family("bowsprit_retries_total").await, 0.0);
    assert!(!bed.metrics().await.contains("EXT_RESET"));
    bed.balanced().await;
}

#[tokio::test]
async fn a_connection_that_breaks_at_work_is_a_failure_reused_or_not() {
    let bed = Bed::with(|name, spec| {
        if name != "claude" {
            *spec = serde_json::Value::Null;
        }
    })
    .await;
    // Longer than the news of an idle close can take: the provider was at work.
    let late = Answer::new("never").head_delay(std::time::Duration::from_millis(1_200));
    let late = late.fault(Fault::Reset { at: Point::BeforeHead });
    assert_eq!(bed.chat().await.status, 200);
    bed.claude.script(late);
    let reply = bed.chat().await;
    assert_eq!(reply.status, 502, "{}", reply.text);
    assert_eq!(reply.json()["error"]["bowsprit_code"], "EXT_RESET");
    assert_eq!(bed.provider_health("claude").await["models"][0]["failures"], 1);
    assert_eq!(bed.claude.seen().counts.requests, 2, "it is not sent again");
    bed.balanced().await;
}

#[tokio::test]
async fn a_probe_carries_the_key_over_the_same_connections_as_requests() {
    let check = |spec: &mut Value| spec["healthCheck"] = json!({"enabled": true, "interval": "1s", "timeout": "1s"});
    let (_bed, peer) = Bed::raw("openai", check, &[]).await;
    let mut provider = peer.asked().await;
    let seen = provider.take_until("\r\n\r\n").await;
    assert!(seen.starts_with("GET /v1/models HTTP/1.1"), "{seen}");
    assert!(
        seen.contains(&format!("authorization: Bearer {}", CANARIES[2])),
        "{seen}"
    );
    provider.send(peer::json("{}")).await;
}
