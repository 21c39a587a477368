//! Whether an answer says that it came to its natural end: not cut for length, withheld, refused, or a call of a tool.
//!
//! Read from the bytes that the caller got, plain or streamed: a quoted name such as `"finish_reason"` cannot stand inside a
//! JSON string, so a search finds each member of that name and nothing else, without reading the answer.

use memchr::memmem;

use crate::call::Operation;
use crate::dialect::Dialect;
use crate::json::{self, Value};

/// Which ends are good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// All was said.
    Said,
    /// All was said, or the caller's own tools are called.
    SaidOrCalls,
}

/// Whether the answer, in the caller's dialect, is one to give again. It is known to be whole.
pub fn is_finished(dialect: Dialect, operation: Operation, answer: &[u8], good: Good) -> bool {
    let calls = good == Good::SaidOrCalls;
    match operation {
        Operation::Embed(_) | Operation::Count => true,
        Operation::PassThrough => false,
        Operation::Generate => match dialect {
            Dialect::OpenAiChat => {
                let good: &[&str] = if calls {
                    &["stop", "tool_calls", "function_call"]
                } else {
                    &["stop"]
                };
                ends(answer, "finish_reason", good) && is_silent(answer, "refusal")
            }
            Dialect::AnthropicMessages => {
                let good: &[&str] = if calls {
                    &["end_turn", "stop_sequence", "tool_use"]
                } else {
                    &["end_turn", "stop_sequence"]
                };
                ends(answer, "stop_reason", good)
            }
            Dialect::Gemini => ends(answer, "finishReason", &["STOP"]) && (calls || is_silent(answer, "functionCall")),
            Dialect::OpenAiResponses => response(answer).is_some_and(|response| is_answered(&response, calls)),
        },
    }
}

/// Whether there is a member of this name with a text, and each that has one is among those.
fn ends(answer: &[u8], name: &str, good: &[&str]) -> bool {
    let mut told = values(answer, name).filter_map(text).peekable();
    told.peek().is_some() && told.all(|reason| good.iter().any(|good| good.as_bytes() == reason))
}

/// Whether no member of this name holds anything.
fn is_silent(answer: &[u8], name: &str) -> bool {
    values(answer, name).all(|value| value.starts_with(b"null") || value.starts_with(b"\"\""))
}

/// What follows the colon of each member of this name.
fn values<'a>(answer: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let quoted = format!("\"{name}\"");
    let length = quoted.len();
    let found: Vec<usize> = memmem::find_iter(answer, &quoted).collect();
    found.into_iter().filter_map(move |at| {
        let after = answer.get(at + length..)?.trim_ascii_start();
        Some(after.strip_prefix(b":")?.trim_ascii_start())
    })
}

/// The text that a value begins with. Reasons have no escapes.
fn text(value: &[u8]) -> Option<&[u8]> {
    let rest = value.strip_prefix(b"\"")?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

/// The response that an answer is, or that the last event of a stream holds.
fn response(answer: &[u8]) -> Option<Value> {
    if answer.trim_ascii_start().starts_with(b"{") {
        return json::parse(answer).ok();
    }
    let at = memmem::rfind(answer, b"\"response.completed\"")?;
    let begin = memchr::memrchr(b'\n', answer.get(..at)?).map_or(0, |end| end + 1);
    let line = answer.get(begin..)?;
    let line = line.get(..memchr::memchr(b'\n', line).unwrap_or(line.len()))?;
    let mut event = json::parse(line.strip_prefix(b"data:")?).ok()?;
    event.get_mut("response").map(Value::take)
}

/// Whether a response is complete and holds nothing but what was said and thought.
fn is_answered(response: &Value, calls: bool) -> bool {
    let output = response.get("output").and_then(Value::as_array);
    let Some(output) = output.filter(|_| is(response, "status", "completed")) else {
        return false;
    };
    let is_said = |item: &Value| {
        let parts = item
            .get("content")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        is(item, "type", "message") && parts.iter().all(|part| !is(part, "type", "refusal"))
    };
    let is_call = |item: &Value| calls && (is(item, "type", "function_call") || is(item, "type", "custom_tool_call"));
    let says = |item: &Value| is_said(item) || is_call(item);
    output.iter().any(says) && output.iter().all(|item| says(item) || is(item, "type", "reasoning"))
}

fn is(value: &Value, name: &str, text: &str) -> bool {
    value.get(name).and_then(Value::as_str) == Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(dialect: Dialect, answer: &str) -> bool {
        is_finished(dialect, Operation::Generate, answer.as_bytes(), Good::Said)
    }

    #[test]
    fn a_call_of_the_callers_own_tool_is_a_good_end_only_where_it_is_allowed() {
        for (dialect, call) in [
            (Dialect::OpenAiChat, r#"{"choices":[{"finish_reason":"tool_calls"}]}"#),
            (Dialect::AnthropicMessages, r#"{"stop_reason":"tool_use"}"#),
            (
                Dialect::Gemini,
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#,
            ),
            (
                Dialect::OpenAiResponses,
                r#"{"status":"completed","output":[{"type":"function_call"}]}"#,
            ),
        ] {
            let judged = |good| is_finished(dialect, Operation::Generate, call.as_bytes(), good);
            assert!(judged(Good::SaidOrCalls) && !judged(Good::Said), "{call}");
            let cut = call.replace("tool_calls", "length").replace("tool_use", "max_tokens");
            let cut = cut.replace("STOP", "MAX_TOKENS").replace("completed", "incomplete");
            assert!(
                !is_finished(dialect, Operation::Generate, cut.as_bytes(), Good::SaidOrCalls),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_chat_completion_ends_with_stop_and_nothing_else() {
        let plain = |reason: &str| {
            format!(
                r#"{{"choices":[{{"message":{{"content":"a \"finish_reason\":\"length\"","refusal":null}},"finish_reason": {reason}}}]}}"#
            )
        };
        assert!(finished(Dialect::OpenAiChat, &plain("\"stop\"")));
        for reason in [
            "\"length\"",
            "\"content_filter\"",
            "\"tool_calls\"",
            "\"function_call\"",
            "null",
            "\"\"",
        ] {
            assert!(!finished(Dialect::OpenAiChat, &plain(reason)), "{reason}");
        }
        let refused = plain("\"stop\"").replace(r#""refusal":null"#, r#""refusal":"no""#);
        assert!(!finished(Dialect::OpenAiChat, &refused));
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n\
                      data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        assert!(finished(Dialect::OpenAiChat, stream));
        assert!(!finished(
            Dialect::OpenAiChat,
            &stream.replace("\"stop\"", "\"length\"")
        ));
        assert!(!finished(Dialect::OpenAiChat, "{}"), "it says nothing of its end");
    }

    #[test]
    fn the_other_dialects_have_their_own_words() {
        for (dialect, good, bad) in [
            (
                Dialect::AnthropicMessages,
                r#"{"stop_reason":"end_turn"}"#,
                r#"{"stop_reason":"max_tokens"}"#,
            ),
            (
                Dialect::AnthropicMessages,
                r#"{"stop_reason":"stop_sequence"}"#,
                r#"{"stop_reason":"tool_use"}"#,
            ),
            (
                Dialect::AnthropicMessages,
                "event: message_start\ndata: {\"message\":{\"stop_reason\":null}}\n\nevent: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
                "event: message_start\ndata: {\"message\":{\"stop_reason\":null}}\n\nevent: message_delta\ndata: {\"delta\":{\"stop_reason\":\"refusal\"}}\n\n",
            ),
            (
                Dialect::Gemini,
                r#"{"candidates":[{"finishReason":"STOP"}]}"#,
                r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#,
            ),
            (
                Dialect::Gemini,
                r#"[{"candidates":[{"content":{}}]},{"candidates":[{"finishReason":"STOP"}]}]"#,
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#,
            ),
        ] {
            assert!(finished(dialect, good), "{good}");
            assert!(!finished(dialect, bad), "{bad}");
        }
    }

    #[test]
    fn a_response_is_complete_and_only_says_and_thinks() {
        let plain = |status: &str, kind: &str| {
            format!(
                r#"{{"status":"{status}","output":[{{"type":"reasoning"}},{{"type":"message","content":[{{"type":"output_text"}}]}},{{"type":"{kind}"}}]}}"#
            )
        };
        let stream = |plain: &str| {
            format!(
                "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"status\":\"in_progress\"}}}}\n\n\
                 event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{plain}}}\n\n"
            )
        };
        let good = plain("completed", "message");
        assert!(finished(Dialect::OpenAiResponses, &good) && finished(Dialect::OpenAiResponses, &stream(&good)));
        for bad in [
            plain("incomplete", "message"),
            plain("completed", "function_call"),
            plain("completed", "web_search_call"),
            good.replace("output_text", "refusal"),
            r#"{"status":"completed","output":[]}"#.to_owned(),
            String::new(),
        ] {
            assert!(!finished(Dialect::OpenAiResponses, &bad), "{bad}");
            assert!(!finished(Dialect::OpenAiResponses, &stream(&bad)), "{bad}");
        }
    }
}
