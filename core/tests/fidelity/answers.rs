//! What a provider's whole answer says, and where its caller reads it.

use bowsprit_core::dialect::{AnswerContext, Dialect, answer_problem, translate_response};
use serde_json::{Value, json};

use super::{diff, table};

use Dialect::{AnthropicMessages as Messages, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

/// What a provider's answer has beside a plain text.
struct Feature {
    from: Dialect,
    what: &'static str,
    answer: Value,
}

fn chat(message: Value, finish: &str) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}})
}

fn message(content: Value, stop: &str) -> Value {
    json!({"id": "m", "type": "message", "role": "assistant", "content": content, "stop_reason": stop, "usage": {"input_tokens": 20, "output_tokens": 9}})
}

fn gemini(parts: Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish}], "responseId": "g",
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 9, "totalTokenCount": 29}})
}

fn plain(from: Dialect) -> Value {
    match from {
        Chat => chat(json!({"role": "assistant", "content": "x"}), "stop"),
        Messages => message(json!([{"type": "text", "text": "x"}]), "end_turn"),
        _ => gemini(json!([{"text": "x"}]), "STOP"),
    }
}

fn with(mut answer: Value, name: &str, value: Value) -> Value {
    answer[name] = value;
    answer
}

fn features() -> Vec<Feature> {
    let of = |from, what, answer| Feature { from, what, answer };
    let text = || json!({"role": "assistant", "content": "x"});
    let block = || json!({"type": "text", "text": "x"});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}});
    let logprobs = json!({"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]});
    let mut likely = chat(text(), "stop");
    likely["choices"][0]["logprobs"] = logprobs;
    let mut two = chat(text(), "stop");
    two["choices"]
        .as_array_mut()
        .unwrap()
        .push(json!({"index": 1, "message": {"role": "assistant", "content": "y"}, "finish_reason": "stop"}));
    let mut gemini_two = gemini(json!([{"text": "x"}]), "STOP");
    gemini_two["candidates"]
        .as_array_mut()
        .unwrap()
        .push(json!({"index": 1, "content": {"parts": [{"text": "y"}]}, "finishReason": "STOP"}));
    let mut gemini_likely = gemini(json!([{"text": "x"}]), "STOP");
    gemini_likely["candidates"][0]["logprobsResult"] =
        json!({"chosenCandidates": [{"token": "x", "logProbability": -0.5}], "topCandidates": [{"candidates": []}]});
    vec![
        of(
            Chat,
            "`tool_calls`",
            chat(
                json!({"role": "assistant", "content": "x", "tool_calls": [call]}),
                "tool_calls",
            ),
        ),
        of(Chat, "`finish_reason: length`", chat(text(), "length")),
        of(Chat, "`finish_reason: content_filter`", chat(text(), "content_filter")),
        of(
            Chat,
            "`refusal`",
            chat(json!({"role": "assistant", "content": null, "refusal": "No."}), "stop"),
        ),
        of(
            Chat,
            "`reasoning_content` (compatible)",
            chat(
                json!({"role": "assistant", "content": "x", "reasoning_content": "Hm."}),
                "stop",
            ),
        ),
        of(
            Chat,
            "`reasoning`, `reasoning_text`, `thinking`, `reasoning_details` (compatible), once",
            chat(
                json!({"role": "assistant", "content": "x", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}),
                "stop",
            ),
        ),
        of(
            Chat,
            "`content` in parts, one `thinking` (compatible)",
            chat(
                json!({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "x"}]}),
                "stop",
            ),
        ),
        of(
            Chat,
            "`content` in parts, one `reference` (compatible)",
            chat(
                json!({"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "reference", "reference_ids": [1]}]}),
                "stop",
            ),
        ),
        of(
            Chat,
            "`content` in parts, one a picture or unknown",
            chat(
                json!({"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}),
                "stop",
            ),
        ),
        of(
            Chat,
            "`function_call`, or a call whose `arguments` are an object or null",
            chat(
                json!({"role": "assistant", "content": "x", "function_call": {"name": "tide", "arguments": null}}),
                "stop",
            ),
        ),
        of(Chat, "no `choices`", json!({"id": "c", "choices": []})),
        of(Chat, "`logprobs`", likely),
        of(Chat, "two `choices`", two),
        of(
            Chat,
            "cached and reasoning tokens",
            with(
                chat(text(), "stop"),
                "usage",
                json!({"prompt_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 16}, "completion_tokens_details": {"reasoning_tokens": 4}}),
            ),
        ),
        of(
            Messages,
            "`tool_use`",
            message(
                json!([block(), {"type": "tool_use", "id": "t", "name": "tide", "input": {}}]),
                "tool_use",
            ),
        ),
        of(
            Messages,
            "`stop_reason: max_tokens`",
            message(json!([block()]), "max_tokens"),
        ),
        of(
            Messages,
            "`stop_sequence`",
            with(
                message(json!([block()]), "stop_sequence"),
                "stop_sequence",
                json!("END"),
            ),
        ),
        of(Messages, "`stop_reason: refusal`", message(json!([block()]), "refusal")),
        of(
            Messages,
            "`stop_reason: pause_turn`",
            message(json!([block()]), "pause_turn"),
        ),
        of(
            Messages,
            "`model_context_window_exceeded`",
            message(json!([block()]), "model_context_window_exceeded"),
        ),
        of(
            Messages,
            "`thinking` with its signature",
            message(
                json!([{"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}, block()]),
                "end_turn",
            ),
        ),
        of(
            Messages,
            "`redacted_thinking`",
            message(
                json!([{"type": "redacted_thinking", "data": "EqQB"}, block()]),
                "end_turn",
            ),
        ),
        of(
            Messages,
            "cache and thinking tokens",
            with(
                message(json!([block()]), "end_turn"),
                "usage",
                json!({"input_tokens": 2, "cache_read_input_tokens": 16, "cache_creation_input_tokens": 2, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}),
            ),
        ),
        of(
            Gemini,
            "`functionCall`",
            gemini(
                json!([{"text": "x"}, {"functionCall": {"name": "tide", "args": {}}}]),
                "STOP",
            ),
        ),
        of(
            Gemini,
            "`thoughtSignature` of a call",
            gemini(
                json!([{"text": "x"}, {"functionCall": {"name": "tide", "args": {}}, "thoughtSignature": "CsQB"}]),
                "STOP",
            ),
        ),
        of(
            Gemini,
            "`thought`",
            gemini(json!([{"text": "Hm.", "thought": true}, {"text": "x"}]), "STOP"),
        ),
        of(
            Gemini,
            "`thoughtSignature` of a text",
            gemini(json!([{"text": "x", "thoughtSignature": "CsQB"}]), "STOP"),
        ),
        of(
            Gemini,
            "`finishReason: MAX_TOKENS`",
            gemini(json!([{"text": "x"}]), "MAX_TOKENS"),
        ),
        of(
            Gemini,
            "`finishReason: SAFETY` and the like",
            gemini(json!([{"text": "x"}]), "SAFETY"),
        ),
        of(
            Gemini,
            "`promptFeedback.blockReason`",
            json!({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "g", "usageMetadata": {"promptTokenCount": 20, "totalTokenCount": 20}}),
        ),
        of(
            Gemini,
            "`MALFORMED_FUNCTION_CALL`",
            json!({"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}]}),
        ),
        of(
            Gemini,
            "`inlineData`, a picture",
            gemini(
                json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]),
                "STOP",
            ),
        ),
        of(
            Gemini,
            "`executableCode`, `codeExecutionResult`",
            gemini(
                json!([{"text": "x"}, {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}]),
                "STOP",
            ),
        ),
        of(
            Gemini,
            "a part of an unknown kind",
            gemini(json!([{"text": "x"}, {"hologram": {}}]), "STOP"),
        ),
        of(Gemini, "no `candidates`", json!({"responseId": "g", "candidates": []})),
        of(Gemini, "`logprobsResult`", gemini_likely),
        of(Gemini, "two `candidates`", gemini_two),
        of(
            Gemini,
            "cached and thought tokens",
            with(
                gemini(json!([{"text": "x"}]), "STOP"),
                "usageMetadata",
                json!({"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "cachedContentTokenCount": 16}),
            ),
        ),
    ]
}

fn say(from: Dialect, to: Dialect, answer: &Value) -> Option<Value> {
    let ctx = AnswerContext {
        model: "m".into(),
        id: "0123456789abcdef".into(),
        created: 1,
        show_thoughts: true,
        ..AnswerContext::default()
    };
    let (body, _) = translate_response(from, to, answer.to_string().as_bytes(), &ctx).ok()?;
    Some(serde_json::from_slice(&body).unwrap())
}

fn cell(feature: &Feature, to: Dialect) -> String {
    if feature.from == to {
        let problem = answer_problem(to, feature.answer.to_string().as_bytes());
        return problem.map_or("as it came", |_| NO_ANSWER).to_owned();
    }
    let usual = say(feature.from, to, &plain(feature.from)).unwrap();
    let Some(said) = say(feature.from, to, &feature.answer) else {
        return NO_ANSWER.to_owned();
    };
    let found = diff::added(&usual, &said);
    if found.is_empty() {
        "not told".to_owned()
    } else {
        diff::tell(&found)
    }
}

const NO_ANSWER: &str = "an error, the next candidate is asked";

const CALLERS: [Dialect; 4] = [Chat, Messages, Gemini, Responses];

pub(super) fn write(page: &mut String) {
    page.push_str(
        "\n## Answers\nWhat a provider's answer says, and where each caller reads it. *Not told*: the caller's API has no word for \
         it. Anthropic callers get thoughts only if they asked for thinking, signatures of tool calls always.\n\n",
    );
    let rows: Vec<Vec<String>> = features()
        .iter()
        .map(|feature| {
            let provider = match feature.from {
                Chat => "OpenAI",
                Messages => "Anthropic",
                _ => "Gemini",
            };
            let mut row = vec![provider.to_owned(), feature.what.to_owned()];
            row.extend(CALLERS.iter().map(|to| cell(feature, *to)));
            row
        })
        .collect();
    table(
        page,
        &[
            "Provider",
            "What",
            "OpenAI caller",
            "Anthropic caller",
            "Gemini caller",
            "Responses caller",
        ],
        &rows,
    );
}
