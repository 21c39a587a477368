//! Thinking: asked for in every dialect's words, and thoughts that come back to who had them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{Dialect, Target, translate_request};
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi};

fn send(from: Dialect, to: Dialect, model: &str, body: &Value) -> (Value, Vec<String>) {
    let target = Target {
        model,
        default_max_tokens: 4096,
        safety: &[],
        stream: false,
    };
    let translated = translate_request(from, to, body.to_string().as_bytes(), &target).unwrap();
    (serde_json::from_slice(&translated.body).unwrap(), translated.dropped)
}

fn openai(extra: &Value) -> Value {
    with(
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        extra,
    )
}

fn anthropic(extra: &Value) -> Value {
    with(
        json!({"model": "m", "max_tokens": 50_000, "messages": [{"role": "user", "content": "x"}]}),
        extra,
    )
}

fn with(mut body: Value, extra: &Value) -> Value {
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

const TOOL: &str = r#"[{"type": "function", "function": {"name": "tide"}}]"#;

#[test]
fn an_effort_becomes_what_each_claude_takes() {
    let ask = |model: &str, effort: &str| {
        let (body, dropped) = send(OpenAi, Anthropic, model, &openai(&json!({"reasoning_effort": effort})));
        let effort = body["output_config"]["effort"].clone();
        (
            body["thinking"].clone(),
            effort,
            body["max_tokens"].clone(),
            !dropped.is_empty(),
        )
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let adaptive = json!({"type": "adaptive"});
    let table = [
        ("claude-sonnet-4-5", "low", budget(1024), Value::Null, 5120, true),
        (
            "claude-3-7-sonnet-20250219",
            "medium",
            budget(8192),
            Value::Null,
            12288,
            true,
        ),
        (
            "claude-opus-4-20250514",
            "xhigh",
            budget(24576),
            Value::Null,
            28672,
            true,
        ),
        (
            "anthropic/claude-opus-4.6",
            "high",
            adaptive.clone(),
            json!("high"),
            4096,
            false,
        ),
        ("claude-opus-4-6", "minimal", adaptive.clone(), json!("low"), 4096, true),
        ("claude-opus-4-7", "xhigh", adaptive, json!("xhigh"), 4096, false),
        ("claude-sonnet-4-5", "none", Value::Null, Value::Null, 4096, false),
        // None of these thinks, or can be told to.
        (
            "claude-3-5-haiku-20241022",
            "high",
            Value::Null,
            Value::Null,
            4096,
            true,
        ),
        ("our-own-claude", "high", Value::Null, Value::Null, 4096, true),
        ("claude-opus-4-7", "a-new-word", Value::Null, Value::Null, 4096, true),
    ];
    for (model, effort, thinking, level, limit, noted) in table {
        assert_eq!(
            ask(model, effort),
            (thinking, level, json!(limit), noted),
            "{model} {effort}"
        );
    }
}

#[test]
fn a_budget_fits_the_callers_own_limit_or_is_left_out() {
    let ask = |limit: u64| {
        let body = openai(&json!({"reasoning_effort": "high", "max_completion_tokens": limit}));
        let (body, dropped) = send(OpenAi, Anthropic, "claude-sonnet-4-5", &body);
        assert_eq!(body["max_tokens"], limit, "never changed");
        assert_eq!(dropped, ["reasoning_effort"]);
        body["thinking"]["budget_tokens"].clone()
    };
    assert_eq!(ask(40_000), 24_576);
    assert_eq!(ask(4_000), 2_976);
    assert_eq!(ask(2_048), 1_024);
    assert_eq!(ask(2_047), Value::Null);
}

#[test]
fn what_claude_refuses_beside_thinking_is_left_out_and_said() {
    let body = openai(&json!({"reasoning_effort": "low", "temperature": 0.2, "top_p": 0.5, "top_k": 3}));
    let (sent, dropped) = send(OpenAi, Anthropic, "claude-sonnet-4-5", &body);
    assert_eq!(dropped, ["reasoning_effort", "temperature", "top_k", "top_p"]);
    assert_eq!(
        (sent.get("temperature"), sent.get("top_k"), sent.get("top_p")),
        (None, None, None)
    );
    let usual = openai(&json!({"reasoning_effort": "low", "temperature": 1, "top_p": 1}));
    assert_eq!(
        send(OpenAi, Anthropic, "claude-sonnet-4-5", &usual).1,
        ["reasoning_effort"]
    );
    let (sent, dropped) = send(
        OpenAi,
        Anthropic,
        "claude-opus-4-7",
        &openai(&json!({"temperature": 0.2})),
    );
    assert_eq!(
        (sent.get("temperature"), dropped),
        (None, vec!["temperature".to_owned()])
    );
}

#[test]
fn a_forced_tool_a_prefill_and_a_strangers_tool_calls_come_before_thinking() {
    let tools: Value = serde_json::from_str(TOOL).unwrap();
    let forced = openai(&json!({"reasoning_effort": "low", "tools": tools, "tool_choice": "required"}));
    let prefilled = openai(&json!({"reasoning_effort": "low",
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Once"}]}));
    let calls = json!([{"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}}]);
    let amid = openai(
        &json!({"reasoning_effort": "low", "tools": tools, "messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": calls}, {"role": "tool", "tool_call_id": "c1", "content": "high"}]}),
    );
    for body in [&forced, &prefilled, &amid] {
        let (sent, dropped) = send(OpenAi, Anthropic, "claude-sonnet-4-5", body);
        assert_eq!(
            (sent.get("thinking"), dropped),
            (None, vec!["reasoning_effort".to_owned()]),
            "{body}"
        );
    }
    assert_eq!(
        send(OpenAi, Anthropic, "claude-sonnet-4-5", &forced).0["tool_choice"]["type"],
        "any"
    );
    // Left to itself, Claude begins wherever it is.
    assert_eq!(
        send(OpenAi, Anthropic, "claude-opus-4-6", &amid).0["thinking"]["type"],
        "adaptive"
    );
    // With its own thoughts before the calls it goes on thinking.
    let mut own = amid;
    own["messages"][1]["thinking_blocks"] = json!([{"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}]);
    assert_eq!(
        send(OpenAi, Anthropic, "claude-sonnet-4-5", &own).0["thinking"]["type"],
        "enabled"
    );
}

#[test]
fn openai_models_get_the_nearest_effort_they_know_and_no_sampling_they_refuse() {
    let ask = |model: &str, thinking: Value| {
        let (body, dropped) = send(Anthropic, OpenAi, model, &anthropic(&json!({"thinking": thinking})));
        (body["reasoning_effort"].clone(), dropped)
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let noted = || vec!["thinking".to_owned()];
    assert_eq!(ask("o4-mini", budget(1024)), (json!("low"), noted()));
    assert_eq!(ask("gpt-5", budget(5000)), (json!("medium"), noted()));
    assert_eq!(ask("gpt-5", budget(31_999)), (json!("high"), noted()));
    assert_eq!(ask("openai/gpt-5.2", budget(31_999)), (json!("xhigh"), noted()));
    assert_eq!(ask("gpt-5", json!({"type": "disabled"})), (json!("minimal"), noted()));
    assert_eq!(ask("gpt-5.1", json!({"type": "disabled"})), (json!("none"), vec![]));
    assert_eq!(ask("gpt-5", json!({"type": "adaptive"})), (Value::Null, vec![]));
    assert_eq!(ask("gpt-4.1", budget(5000)), (Value::Null, noted()));
    assert_eq!(ask("gpt-4.1", json!({"type": "disabled"})), (Value::Null, vec![]));
    assert_eq!(ask("gpt-5-chat-latest", budget(5000)), (Value::Null, noted()));
    let effort = anthropic(&json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}));
    let (body, dropped) = send(Anthropic, OpenAi, "gpt-5", &effort);
    assert_eq!((&body["reasoning_effort"], dropped), (&json!("high"), vec![]));

    let warm = anthropic(&json!({"temperature": 0.3, "top_p": 0.9}));
    let dropped = |model: &str| send(Anthropic, OpenAi, model, &warm).1;
    assert_eq!(dropped("gpt-5-mini"), ["temperature", "top_p"]);
    assert_eq!(dropped("o3"), ["temperature", "top_p"]);
    assert_eq!(dropped("gpt-5.1"), Vec::<String>::new(), "it does not think unasked");
    assert_eq!(dropped("gpt-4o"), Vec::<String>::new());
    assert_eq!(dropped("qwen3-32b"), Vec::<String>::new());
}

#[test]
fn gemini_models_get_a_budget_in_their_range_or_a_level() {
    let ask = |model: &str, thinking: Value| {
        let (body, dropped) = send(Anthropic, Gemini, model, &anthropic(&json!({"thinking": thinking})));
        (body["generationConfig"]["thinkingConfig"].clone(), !dropped.is_empty())
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let off = || json!({"type": "disabled"});
    let seen = |name: &str, value: Value| json!({name: value, "includeThoughts": true});
    assert_eq!(
        ask("gemini-2.5-flash", budget(2048)),
        (seen("thinkingBudget", json!(2048)), false)
    );
    assert_eq!(
        ask("gemini-2.5-flash", budget(30_000)),
        (seen("thinkingBudget", json!(24_576)), true)
    );
    assert_eq!(ask("gemini-2.5-pro", off()), (json!({"thinkingBudget": 128}), true));
    assert_eq!(
        ask("gemini-2.5-flash-lite", off()),
        (json!({"thinkingBudget": 0}), false)
    );
    assert_eq!(
        ask("gemini-2.5-flash", json!({"type": "adaptive"})),
        (seen("thinkingBudget", json!(-1)), false)
    );
    assert_eq!(
        ask("gemini-3-pro-preview", budget(2048)),
        (seen("thinkingLevel", json!("high")), true)
    );
    assert_eq!(
        ask("gemini-3.1-pro-preview", budget(2048)),
        (seen("thinkingLevel", json!("medium")), true)
    );
    assert_eq!(
        ask("gemini-3-flash-preview", off()),
        (json!({"thinkingLevel": "minimal"}), true)
    );
    assert_eq!(
        ask("gemini-3-flash-preview", json!({"type": "adaptive"})),
        (json!({"includeThoughts": true}), false)
    );
    assert_eq!(ask("gemini-2.0-flash", budget(2048)), (Value::Null, true));
    assert_eq!(ask("mystery", budget(2048)), (Value::Null, true));
}

#[test]
fn gemini_callers_who_want_to_read_thoughts_get_them_from_claude() {
    let body = |config: Value| json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"thinkingConfig": config}});
    let (sent, dropped) = send(
        Gemini,
        Anthropic,
        "claude-opus-4-7",
        &body(json!({"includeThoughts": true})),
    );
    assert_eq!(sent["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!(dropped, Vec::<String>::new());
    let (sent, _) = send(
        Gemini,
        Anthropic,
        "claude-sonnet-4-5",
        &body(json!({"thinkingBudget": 512})),
    );
    assert_eq!(sent["thinking"], json!({"type": "enabled", "budget_tokens": 1024}));
}
