//! Token counts, normalised once: input includes what was cached, output includes reasoning.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Dialect;

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

/// `OpenAI`'s `usage`; both it and the compatible servers leave fields out or say null.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OpenAi {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<OpenAiPrompt>,
    completion_tokens_details: Option<OpenAiCompletion>,
    /// `DeepSeek`'s name for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenAiPrompt {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenAiCompletion {
    reasoning_tokens: Option<u64>,
}

impl From<OpenAi> for Usage {
    fn from(raw: OpenAi) -> Self {
        let prompt = raw.prompt_tokens_details.unwrap_or_default();
        Self {
            input: raw.prompt_tokens.unwrap_or_default(),
            output: raw.completion_tokens.unwrap_or_default(),
            cached: prompt.cached_tokens.or(raw.prompt_cache_hit_tokens).unwrap_or_default(),
            cache_write: prompt.cache_write_tokens.unwrap_or_default(),
            reasoning: raw
                .completion_tokens_details
                .unwrap_or_default()
                .reasoning_tokens
                .unwrap_or_default(),
        }
    }
}

/// The `usage` of `OpenAI` Responses.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Responses {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<OpenAiPrompt>,
    output_tokens_details: Option<OpenAiCompletion>,
}

impl From<Responses> for Usage {
    fn from(raw: Responses) -> Self {
        let input = raw.input_tokens_details.unwrap_or_default();
        let output = raw.output_tokens_details.unwrap_or_default();
        Self {
            input: raw.input_tokens.unwrap_or_default(),
            output: raw.output_tokens.unwrap_or_default(),
            cached: input.cached_tokens.unwrap_or_default(),
            cache_write: input.cache_write_tokens.unwrap_or_default(),
            reasoning: output.reasoning_tokens.unwrap_or_default(),
        }
    }
}

/// `Anthropic`'s `usage`: `input_tokens` excludes both kinds of cache tokens, and in a stream `message_delta` repeats
/// only some of the counts.
#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub(super) struct Anthropic {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens_details: Option<AnthropicOutput>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
struct AnthropicOutput {
    thinking_tokens: Option<u64>,
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
        let cached = raw.cache_read_input_tokens.unwrap_or_default();
        let cache_write = raw.cache_creation_input_tokens.unwrap_or_default();
        Self {
            input: raw
                .input_tokens
                .unwrap_or_default()
                .saturating_add(cached)
                .saturating_add(cache_write),
            output: raw.output_tokens.unwrap_or_default(),
            cached,
            cache_write,
            reasoning: raw
                .output_tokens_details
                .unwrap_or_default()
                .thinking_tokens
                .unwrap_or_default(),
        }
    }
}

/// `Gemini`'s `usageMetadata`: thoughts are counted beside the candidates.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Gemini {
    #[serde(rename = "promptTokenCount")]
    prompt: Option<u64>,
    #[serde(rename = "candidatesTokenCount")]
    candidates: Option<u64>,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Option<u64>,
    #[serde(rename = "cachedContentTokenCount")]
    cached: Option<u64>,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_prompt: Option<u64>,
}

impl From<Gemini> for Usage {
    fn from(raw: Gemini) -> Self {
        let reasoning = raw.thoughts.unwrap_or_default();
        let tools = raw.tool_prompt.unwrap_or_default();
        Self {
            input: raw.prompt.unwrap_or_default().saturating_add(tools),
            output: raw.candidates.unwrap_or_default().saturating_add(reasoning),
            cached: raw.cached.unwrap_or_default(),
            cache_write: 0,
            reasoning,
        }
    }
}

/// The usage of a whole (not streamed) answer, if it tells one.
pub fn usage(dialect: Dialect, body: &[u8]) -> Option<Usage> {
    match dialect {
        Dialect::OpenAiChat => {
            #[derive(Deserialize)]
            struct Body {
                usage: Option<OpenAi>,
            }
            serde_json::from_slice::<Body>(body).ok()?.usage.map(Usage::from)
        }
        Dialect::OpenAiResponses => {
            #[derive(Deserialize)]
            struct Body {
                usage: Option<Responses>,
            }
            serde_json::from_slice::<Body>(body).ok()?.usage.map(Usage::from)
        }
        Dialect::AnthropicMessages => {
            #[derive(Deserialize)]
            struct Body {
                usage: Option<Anthropic>,
            }
            serde_json::from_slice::<Body>(body).ok()?.usage.map(Usage::from)
        }
        Dialect::Gemini => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Body {
                usage_metadata: Option<Gemini>,
            }
            serde_json::from_slice::<Body>(body)
                .ok()?
                .usage_metadata
                .map(Usage::from)
        }
    }
}

/// The usage inside an already parsed answer or event.
pub(super) fn from_value<T: for<'de> Deserialize<'de> + Into<Usage>>(value: Option<&Value>) -> Option<Usage> {
    T::deserialize(value.filter(|value| value.is_object())?)
        .ok()
        .map(Into::into)
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
