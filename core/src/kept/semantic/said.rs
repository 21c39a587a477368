//! What an answer says, to be compared with another's: whether the answer to a question that is alike was the right one.

use memchr::memchr;

use super::LONGEST_TEXT;
use crate::dialect::Dialect;
use crate::json::{self, Value};

/// The text of an answer in the caller's dialect, plain or streamed, with one blank for all white space. `None`: it cannot be read, or it says
/// nothing.
pub fn said(dialect: Dialect, answer: &[u8]) -> Option<String> {
    let mut text = String::new();
    match answer.trim_ascii_start().first()? {
        b'{' | b'[' => match json::parse(answer).ok()? {
            Value::Array(parts) => parts.iter().for_each(|part| add(dialect, part, &mut text)),
            whole => add(dialect, &whole, &mut text),
        },
        _ => {
            let mut rest = answer;
            while !rest.is_empty() {
                let end = memchr(b'\n', rest).unwrap_or(rest.len());
                let (line, more) = rest.split_at_checked(end)?;
                rest = more.get(1..).unwrap_or_default();
                if let Some(event) = line.strip_prefix(b"data:").and_then(|data| json::parse(data).ok()) {
                    add(dialect, &event, &mut text);
                }
            }
        }
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Whether both are short enough to be compared by their meaning.
pub fn are_short(one: &str, other: &str) -> bool {
    one.len() <= LONGEST_TEXT && other.len() <= LONGEST_TEXT
}

/// Adds what an answer, or an event of one, says.
fn add(dialect: Dialect, of: &Value, text: &mut String) {
    let mut say = |value: Option<&Value>| text.push_str(value.and_then(Value::as_str).unwrap_or_default());
    let each = |of: Option<&Value>| {
        of.and_then(Value::as_array)
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
    };
    match dialect {
        Dialect::OpenAiChat => {
            for choice in each(of.get("choices")) {
                for member in ["message", "delta"] {
                    say(choice.get(member).and_then(|member| member.get("content")));
                }
            }
        }
        Dialect::AnthropicMessages => {
            for part in each(of.get("content")) {
                say(part.get("text"));
            }
            for member in ["content_block", "delta"] {
                say(of.get(member).and_then(|member| member.get("text")));
            }
        }
        Dialect::Gemini => {
            for candidate in each(of.get("candidates")) {
                let parts = candidate.get("content").and_then(|content| content.get("parts"));
                for part in each(parts) {
                    if part.get("thought").is_none() {
                        say(part.get("text"));
                    }
                }
            }
        }
        Dialect::OpenAiResponses => {
            for item in each(of.get("output")) {
                for part in each(item.get("content")) {
                    say(part.get("text"));
                }
            }
            if of.get("type").and_then(Value::as_str) == Some("response.output_text.delta") {
                say(of.get("delta"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_read_in_each_api_plain_and_streamed() {
        for (dialect, answer) in [
            (
                Dialect::OpenAiChat,
                r#"{"choices": [{"message": {"content": "It is  Paris."}, "finish_reason": "stop"}]}"#,
            ),
            (
                Dialect::OpenAiChat,
                "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"It is \"}}]}\n\ndata: \
                 {\"choices\":[{\"delta\":{\"content\":\"Paris.\"}}]}\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n",
            ),
            (
                Dialect::AnthropicMessages,
                r#"{"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "It is\nParis."}]}"#,
            ),
            (
                Dialect::AnthropicMessages,
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\nevent: \
                 content_block_start\ndata: {\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\ndata: \
                 {\"delta\":{\"type\":\"text_delta\",\"text\":\"It is Pa\"}}\n\ndata: {\"delta\":{\"text\":\"ris.\"}}\r\n\r\n",
            ),
            (
                Dialect::Gemini,
                r#"[{"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}, {"text": "It is "}]}}]},
                    {"candidates": [{"content": {"parts": [{"text": "Paris."}]}}]}]"#,
            ),
            (
                Dialect::OpenAiResponses,
                r#"{"output": [{"type": "message", "content": [{"type": "output_text", "text": "It is Paris."}]}]}"#,
            ),
            (
                Dialect::OpenAiResponses,
                "data: {\"type\":\"response.output_text.delta\",\"delta\":\"It is Paris.\"}\n\ndata: \
                 {\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{\"text\":\"It is Paris.\"}]}]}}\n\n",
            ),
        ] {
            assert_eq!(
                said(dialect, answer.as_bytes()).as_deref(),
                Some("It is Paris."),
                "{dialect:?} {answer}"
            );
        }
    }

    #[test]
    fn what_says_nothing_or_cannot_be_read_is_compared_with_nothing() {
        for answer in [
            "",
            "{",
            "{}",
            "data: x\n\n",
            r#"{"choices": [{"message": {"content": null}}]}"#,
        ] {
            assert_eq!(said(Dialect::OpenAiChat, answer.as_bytes()), None, "{answer}");
        }
        assert!(are_short("one", "other") && !are_short("one", &"long ".repeat(1000)));
    }
}
