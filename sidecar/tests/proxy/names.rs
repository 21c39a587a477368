//! Names of models and base URLs as people write them: each reaches the provider once, and as it was meant.

use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, contents};

/// Colons, slashes, dots, at signs, escapes, spaces and other alphabets.
const NAMES: [&str; 8] = [
    "llama3:8b",
    "ft:gpt-4o:org::id",
    "meta-llama/Llama-3.1-70B",
    "openrouter/anthropic/claude@2.1",
    "a%2Fb%3Ac",
    "two words",
    "kl\u{fc}ver-\u{6a21}\u{578b}",
    "models/gemini-exp",
];

/// One provider that serves whatever it is asked for.
async fn only(provider: &'static str, base: impl Fn(&str) -> String) -> Bed {
    Bed::with(|name, spec| {
        if name == provider {
            spec["models"] = json!([]);
            spec.as_object_mut().unwrap().remove("defaultModel");
            let url = spec["endpoint"]["baseUrl"].as_str().unwrap();
            let url = base(url.trim_end_matches("/v1"));
            spec["endpoint"]["baseUrl"] = json!(url);
        } else {
            *spec = Value::Null;
        }
    })
    .await
}

fn escape(name: &str) -> String {
    let escaped = name.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[tokio::test]
async fn any_model_name_reaches_gemini_as_one_segment_of_the_path() {
    let bed = only("gemini", str::to_owned).await;
    for name in NAMES {
        let expected = format!(
            "/v1beta/models/{}:generateContent",
            escape(name.strip_prefix("models/").unwrap_or(name))
        );
        let escaped = format!("/v1beta/models/{}:generateContent", escape(name));
        let raw = format!(
            "/v1beta/models/{}:generateContent",
            name.replace('%', "%25").replace(' ', "%20")
        );
        for path in [escaped, raw] {
            bed.gemini.reset();
            let reply = Reply::of(bed.post(&path, &contents()).send().await.unwrap()).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
            assert_eq!(bed.gemini.seen().requests[0].path, expected, "{path}");
        }
    }
    bed.balanced().await;
}

#[tokio::test]
async fn any_model_name_stands_in_a_body_as_it_was_written() {
    let bed = only("openai", |url| format!("{url}/v1")).await;
    for name in NAMES {
        bed.openai.reset();
        let reply = bed.chat_with(name, false).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text);
        let sent: Value = serde_json::from_slice(&bed.openai.seen().requests[0].body).unwrap();
        assert_eq!(sent["model"], name);
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_model_is_found_by_its_name_with_and_without_the_collection() {
    let bed = Bed::with(|name, spec| {
        if name == "gemini" {
            spec["models"] = json!([{"name": "models/gemini-2.5-flash"}, {"name": "org/own:1"}]);
            spec["defaultModel"] = json!("gemini-2.5-flash");
        }
    })
    .await;
    for asked in ["gemini-2.5-flash", "models/gemini-2.5-flash"] {
        bed.gemini.reset();
        let reply = Reply::of(
            bed.post("/v1/chat/completions", &chat(asked, false))
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
        let path = bed.gemini.seen().requests[0].path.clone();
        assert_eq!(path, "/v1beta/models/gemini-2.5-flash:generateContent");
    }
    for (path, id) in [
        ("/v1/models/org/own:1", "org/own:1"),
        ("/v1/models/org%2Fown%3A1/", "org/own:1"),
        ("/v1/models/gemini-2.5-flash", "models/gemini-2.5-flash"),
    ] {
        let one = Reply::of(bed.get(path).send().await.unwrap()).await;
        assert_eq!((one.status, &one.json()["id"]), (200, &json!(id)), "{path}");
    }
    let listed = Reply::of(bed.get("/v1beta/models").send().await.unwrap()).await.json();
    let names = listed["models"].as_array().unwrap().iter().map(|model| &model["name"]);
    assert!(names.clone().any(|name| name == "models/gemini-2.5-flash"), "{listed}");
    assert!(!listed.to_string().contains("models/models/"), "{listed}");
}

#[tokio::test]
async fn a_base_url_with_or_without_its_version_asks_for_the_version_once() {
    for (provider, end, path) in [
        ("claude", "/v1", "/v1/messages"),
        ("claude", "/v1//", "/v1/messages"),
        ("claude", "/team", "/team/v1/messages"),
        ("gemini", "/v1beta/", "/v1beta/models/m:generateContent"),
        ("gemini", "/v1", "/v1/models/m:generateContent"),
        ("gemini", "/google/", "/google/v1beta/models/m:generateContent"),
        ("openai", "", "/v1/chat/completions"),
        ("openai", "/", "/v1/chat/completions"),
        ("openai", "/v1/", "/v1/chat/completions"),
        ("openai", "/api/v4", "/api/v4/chat/completions"),
    ] {
        let bed = only(provider, |url| format!("{url}{end}")).await;
        let (asked, upstream) = match provider {
            "claude" => (bed.post("/v1/messages", &chat("m", false)), &bed.claude),
            "gemini" => (bed.post("/v1beta/models/m:generateContent", &contents()), &bed.gemini),
            _ => (bed.post("/v1/chat/completions", &chat("m", false)), &bed.openai),
        };
        asked.send().await.unwrap();
        assert_eq!(upstream.seen().requests[0].path, path, "{provider} {end}");
        let version = path.trim_start_matches("/team").trim_start_matches("/google");
        let version = version.trim_start_matches("/api").split('/').nth(1).unwrap();
        let prefix = path.split(&format!("/{version}/")).next().unwrap();
        for rest in [format!("/{version}/files"), "/files".to_owned()] {
            upstream.reset();
            bed.get(&format!("/providers/{provider}{rest}")).send().await.unwrap();
            let named = end.contains("/v") || provider == "openai" || rest.contains("/v");
            let whole = if named {
                format!("{prefix}/{version}/files")
            } else {
                format!("{prefix}/files")
            };
            assert_eq!(upstream.seen().requests[0].path, whole, "{provider} {end} {rest}");
        }
    }
}

#[tokio::test]
async fn a_callers_doubled_version_or_slash_is_served_as_one() {
    let bed = Bed::new().await;
    for path in ["/v1/v1/messages", "/messages", "/v1/messages/", "//v1/messages"] {
        let body =
            json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        let reply = Reply::of(bed.post(path, &body).send().await.unwrap()).await;
        assert_eq!(
            (reply.status, reply.provider()),
            (200, "claude"),
            "{path}: {}",
            reply.text
        );
    }
    let other = Reply::of(
        bed.post("/v1/openai/chat/completions", &json!({}))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(other.status, 404);
    assert!(other.text.contains("/v1/chat/completions"), "{}", other.text);
    let get = Reply::of(bed.get("/v1/messages").send().await.unwrap()).await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    bed.balanced().await;
}
