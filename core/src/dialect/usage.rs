//! Token counts, normalised once: input includes what was cached, output includes reasoning.

use crate::json::{self, Value, json};
use crate::search::{finder, last};
use memchr::memmem::Finder;
use serde::Deserialize;

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, those read from or written to the prompt cache included.
    pub input: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Input tokens read from the prompt cache.
    pub cached: u64,
    /// Input tokens written to the prompt cache.
    pub cache_write: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
}

/// A quarter of the bytes: what stands for tokens where nobody counted them.
pub fn tokens_of(bytes: usize) -> u64 {
    bytes as u64 / 4
}

/// A number of tokens as a server writes it: servers that reckon in floats say `10.0`, and what is no count at all says
/// nothing. An answer is never lost for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of tokens")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(count))
            }

            fn visit_i64<E>(self, _negative: i64) -> Result<Count, E> {
                Ok(Count(0))
            }

            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                // Beyond what any answer has, and no count: nothing is known.
                Ok(Count(if count < 1e12 { count.round() as u64 } else { 0 }))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The count, none where nothing was told.
fn tokens(count: Option<Count>) -> u64 {
    count.map_or(0, |Count(count)| count)
}

/// `OpenAI`'s `usage`; both it and the compatible servers leave fields out or say null.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OpenAi {
    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    prompt_tokens_details: Option<OpenAiPrompt>,
    completion_tokens_details: Option<OpenAiCompletion>,
    /// `DeepSeek`'s name for cached tokens.
    prompt_cache_hit_tokens: Option<Count>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenAiPrompt {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenAiCompletion {
    reasoning_tokens: Option<Count>,
}

impl From<OpenAi> for Usage {
    fn from(raw: OpenAi) -> Self {
        let prompt = raw.prompt_tokens_details.unwrap_or_default();
        Self {
            input: tokens(raw.prompt_tokens),
            output: tokens(raw.completion_tokens),
            cached: tokens(prompt.cached_tokens.or(raw.prompt_cache_hit_tokens)),
            cache_write: tokens(prompt.cache_write_tokens),
            reasoning: tokens(raw.completion_tokens_details.unwrap_or_default().reasoning_tokens),
        }
    }
}

/// The `usage` of `OpenAI` Responses.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Responses {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    input_tokens_details: Option<OpenAiPrompt>,
    output_tokens_details: Option<OpenAiCompletion>,
}

impl From<Responses> for Usage {
    fn from(raw: Responses) -> Self {
        let input = raw.input_tokens_details.unwrap_or_default();
        let output = raw.output_tokens_details.unwrap_or_default();
        Self {
            input: tokens(raw.input_tokens),
            output: tokens(raw.output_tokens),
            cached: tokens(input.cached_tokens),
            cache_write: tokens(input.cache_write_tokens),
            reasoning: tokens(output.reasoning_tokens),
        }
    }
}

/// `Anthropic`'s `usage`: `input_tokens` excludes both kinds of cache tokens, and in a stream `message_delta` repeats
/// only some of the counts.
#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub(super) struct Anthropic {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    output_tokens_details: Option<AnthropicOutput>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
struct AnthropicOutput {
    thinking_tokens: Option<Count>,
}

impl Anthropic {
    /// Takes over what a later event says; counts are cumulative.
    pub(super) fn merge(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }
}

impl From<Anthropic> for Usage {
    fn from(raw: Anthropic) -> Self {
        let cached = tokens(raw.cache_read_input_tokens);
        let cache_write = tokens(raw.cache_creation_input_tokens);
        Self {
            input: tokens(raw.input_tokens)
                .saturating_add(cached)
                .saturating_add(cache_write),
            output: tokens(raw.output_tokens),
            cached,
            cache_write,
            reasoning: tokens(raw.output_tokens_details.unwrap_or_default().thinking_tokens),
        }
    }
}

/// `Gemini`'s `usageMetadata`: thoughts are counted beside the candidates.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Gemini {
    #[serde(rename = "promptTokenCount")]
    prompt: Option<Count>,
    #[serde(rename = "candidatesTokenCount")]
    candidates: Option<Count>,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Option<Count>,
    #[serde(rename = "cachedContentTokenCount")]
    cached: Option<Count>,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_prompt: Option<Count>,
}

impl From<Gemini> for Usage {
    fn from(raw: Gemini) -> Self {
        let reasoning = tokens(raw.thoughts);
        let tools = tokens(raw.tool_prompt);
        Self {
            input: tokens(raw.prompt).saturating_add(tools),
            output: tokens(raw.candidates).saturating_add(reasoning),
            cached: tokens(raw.cached),
            cache_write: 0,
            reasoning,
        }
    }
}

/// The usage of a whole answer, of a dialect that tells it in `usage`.
///
/// Every provider puts it behind the content, so it is looked for from the end: reading all of a 1 KB answer to get there
/// took a sixth of the sidecar's own time for a request.
pub(super) fn named<T: for<'de> Deserialize<'de> + Into<Usage>>(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Named<T> {
        usage: Option<T>,
    }
    finder!(USAGE, "\"usage\"");
    let from_end = last_member(body, &USAGE);
    let told: Option<T> = from_end.or_else(|| json::from_slice::<Named<T>>(body).ok()?.usage);
    told.map(Into::into)
}

/// The same of `Gemini`, which tells it in `usageMetadata`.
pub(super) fn gemini(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        usage_metadata: Option<Gemini>,
    }
    finder!(USAGE_METADATA, "\"usageMetadata\"");
    last_member(body, &USAGE_METADATA)
        .or_else(|| json::from_slice::<Named>(body).ok()?.usage_metadata)
        .map(Usage::from)
}

/// The object under the last occurrence of `key` (with its quotes), if that is a key of the body itself and not of
/// something inside it, such as a tool's input: from there, what is open must close with the body's last byte.
///
/// A quoted key cannot occur inside a JSON string, where its quotes would be escaped.
fn last_member<T: for<'de> Deserialize<'de>>(body: &[u8], key: &Finder<'_>) -> Option<T> {
    let at = last(key, body)?;
    let value = body
        .get(at + key.needle().len()..)?
        .trim_ascii_start()
        .strip_prefix(b":")?;
    if !value.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    // Looked at as text once, and not name by name.
    let (told, length) = match std::str::from_utf8(value) {
        Ok(text) => first_value(serde_json::Deserializer::from_str(text)),
        Err(_) => first_value(serde_json::Deserializer::from_slice(value)),
    }?;
    closes_here(value.get(length..)?).then_some(told)
}

/// The value that is next, and its length.
fn first_value<'a, R: serde_json::de::Read<'a>, T: Deserialize<'a>>(
    source: serde_json::Deserializer<R>,
) -> Option<(T, usize)> {
    let mut values = source.into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

/// Whether `rest` closes one thing that is open, at its very end.
fn closes_here(rest: &[u8]) -> bool {
    let mut open = 1usize;
    let mut bytes = rest.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return bytes.as_slice().trim_ascii().is_empty();
                }
            }
            _ => {}
        }
    }
    false
}

/// The usage inside an already parsed answer or event.
pub(super) fn from_value<T: for<'de> Deserialize<'de> + Into<Usage>>(value: Option<&Value>) -> Option<Usage> {
    let value = value.filter(|value| value.is_object())?;
    json::from_slice::<T>(&value.to_vec()).ok().map(Into::into)
}

impl Usage {
    pub(super) fn to_openai(self) -> Value {
        let mut prompt_details = json!({ "cached_tokens": self.cached });
        if let (true, Some(details)) = (self.cache_write > 0, prompt_details.as_object_mut()) {
            details.insert("cache_write_tokens".to_owned(), self.cache_write.into());
        }
        json!({
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input.saturating_add(self.output),
            "prompt_tokens_details": prompt_details,
            "completion_tokens_details": { "reasoning_tokens": self.reasoning },
        })
    }

    pub(super) fn to_responses(self) -> Value {
        json!({
            "input_tokens": self.input,
            "input_tokens_details": { "cached_tokens": self.cached, "cache_write_tokens": self.cache_write },
            "output_tokens": self.output,
            "output_tokens_details": { "reasoning_tokens": self.reasoning },
            "total_tokens": self.input.saturating_add(self.output),
        })
    }

    pub(super) fn to_anthropic(self) -> Value {
        let mut usage = json!({
            "input_tokens": self.input.saturating_sub(self.cached).saturating_sub(self.cache_write),
            "cache_creation_input_tokens": self.cache_write,
            "cache_read_input_tokens": self.cached,
            "output_tokens": self.output,
        });
        if let (true, Some(object)) = (self.reasoning > 0, usage.as_object_mut()) {
            object.insert(
                "output_tokens_details".to_owned(),
                json!({ "thinking_tokens": self.reasoning }),
            );
        }
        usage
    }

    pub(super) fn to_gemini(self) -> Value {
        let mut usage = json!({
            "promptTokenCount": self.input,
            "candidatesTokenCount": self.output.saturating_sub(self.reasoning),
            "totalTokenCount": self.input.saturating_add(self.output),
        });
        if let Some(object) = usage.as_object_mut() {
            if self.cached > 0 {
                object.insert("cachedContentTokenCount".to_owned(), self.cached.into());
            }
            if self.reasoning > 0 {
                object.insert("thoughtsTokenCount".to_owned(), self.reasoning.into());
            }
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, usage};
    use super::*;

    #[test]
    fn the_answers_own_usage_is_found_wherever_it_stands() {
        let own = r#""usage":{"prompt_tokens":7,"completion_tokens":2}"#;
        for body in [
            format!(r#"{{"choices":[],{own}}}"#),
            format!(r#"{{ "choices":[] , {own} , "system_fingerprint":"a]}}\"b" , "x":[{{}}] }} "#),
            format!(r#"{{{own},"choices":[]}}"#),
            // A tool's input that has a key of that name, behind and before the answer's own.
            format!(r#"{{{own},"content":[{{"input":{{"usage":{{"prompt_tokens":99}}}}}}]}}"#),
            format!(r#"{{"content":[{{"input":{{"usage":{{"prompt_tokens":99}}}}}}],{own}}}"#),
            format!(r#"{{{own},"content":[{{"text":"the \"usage\":{{\"prompt_tokens\":99}}}}"}}]}}"#),
            format!(r#"{{{own},"content":"usage"}}"#),
        ] {
            let told = usage(Dialect::OpenAiChat, body.as_bytes());
            assert_eq!(told.map(|usage| (usage.input, usage.output)), Some((7, 2)), "{body}");
        }
    }

    #[test]
    fn a_count_in_another_spelling_is_read_and_one_that_is_none_loses_nothing_else() {
        for (written, read) in [
            ("10", 10),
            ("10.0", 10),
            ("1e1", 10),
            ("-1", 0),
            ("1e400", 0),
            ("99999999999999999999", 0),
        ] {
            let body = format!(r#"{{"choices":[],"usage":{{"prompt_tokens":{written},"completion_tokens":2}}}}"#);
            let told = usage(Dialect::OpenAiChat, body.as_bytes());
            assert_eq!(
                told.map(|usage| (usage.input, usage.output)),
                Some((read, 2)),
                "{written}"
            );
            let told: OpenAi = json::from_str(&format!(r#"{{"prompt_tokens":{written}}}"#)).unwrap();
            assert_eq!(Usage::from(told).input, read, "{written}");
        }
    }

    #[test]
    fn an_answer_without_usage_of_its_own_tells_none() {
        for body in [
            "",
            "[]",
            r#"{"usage":null}"#,
            r#"{"usage":{"prompt_tokens":1}"#,
            r#"{"usage":{"prompt_tokens":1}}}"#,
            r#"{"content":[{"input":{"usage":{"prompt_tokens":99}}}]}"#,
            r#"[{"usage":{"prompt_tokens":99}}]"#,
        ] {
            assert_eq!(usage(Dialect::OpenAiChat, body.as_bytes()), None, "{body}");
        }
    }
}
