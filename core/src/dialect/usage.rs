//! Token counts, normalised once: input includes what was cached, output includes reasoning.

use super::counts::{self, Counts, Place};
use super::terms::{Media, Terms, Tier, Usual};
use super::token_count::{Count, tokens};
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
    /// Of those written to the prompt cache: for an hour, which costs more.
    pub cache_write_hour: u32,
    /// Searches of the web that the provider made for the answer, where it counts them.
    pub searches: u16,
    /// What they are billed by.
    pub terms: Terms,
}

/// A quarter of the bytes: what stands for tokens where nobody counted them.
pub fn tokens_of(bytes: usize) -> u64 {
    bytes as u64 / 4
}

/// `OpenAI`'s `usage`; both it and the compatible servers leave fields out or say null.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OpenAi {
    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    total_tokens: Option<Count>,
    prompt_tokens_details: Option<OpenAiPrompt>,
    completion_tokens_details: Option<OpenAiCompletion>,
    /// `DeepSeek`'s name for cached tokens.
    prompt_cache_hit_tokens: Option<Count>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenAiPrompt {
    #[serde(rename = "cached_tokens")]
    cached: Option<Count>,
    #[serde(rename = "cache_write_tokens")]
    cache_write: Option<Count>,
    #[serde(rename = "audio_tokens")]
    sound: Option<Count>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenAiCompletion {
    #[serde(rename = "reasoning_tokens")]
    reasoning: Option<Count>,
    #[serde(rename = "audio_tokens")]
    sound: Option<Count>,
}

impl OpenAiPrompt {
    fn place<'a>(this: &'a mut Option<Self>, name: &[u8]) -> Place<'a> {
        let this = this.get_or_insert_default();
        Place::Count(match name {
            b"cached_tokens" => &mut this.cached,
            b"cache_write_tokens" => &mut this.cache_write,
            b"audio_tokens" => &mut this.sound,
            _ => return Place::Nowhere,
        })
    }
}

impl OpenAiCompletion {
    fn place<'a>(this: &'a mut Option<Self>, name: &[u8]) -> Place<'a> {
        let this = this.get_or_insert_default();
        Place::Count(match name {
            b"reasoning_tokens" => &mut this.reasoning,
            b"audio_tokens" => &mut this.sound,
            _ => return Place::Nowhere,
        })
    }
}

/// Whether this is the first one; then it is there.
fn is_first<T: Default>(place: &mut Option<T>) -> bool {
    let is_first = place.is_none();
    place.get_or_insert_default();
    is_first
}

impl Counts for OpenAi {
    fn opens(&mut self, name: &[u8]) -> bool {
        match name {
            b"prompt_tokens_details" => is_first(&mut self.prompt_tokens_details),
            b"completion_tokens_details" => is_first(&mut self.completion_tokens_details),
            b"prompt_tokens" | b"completion_tokens" | b"total_tokens" | b"prompt_cache_hit_tokens" => false,
            _ => true,
        }
    }

    fn place(&mut self, within: &[u8], name: &[u8]) -> Place<'_> {
        match (within, name) {
            (b"", b"prompt_tokens") => Place::Count(&mut self.prompt_tokens),
            (b"", b"completion_tokens") => Place::Count(&mut self.completion_tokens),
            (b"", b"total_tokens") => Place::Count(&mut self.total_tokens),
            (b"", b"prompt_cache_hit_tokens") => Place::Count(&mut self.prompt_cache_hit_tokens),
            (b"", b"prompt_tokens_details" | b"completion_tokens_details") => Place::Wrong,
            (b"prompt_tokens_details", _) => OpenAiPrompt::place(&mut self.prompt_tokens_details, name),
            (b"completion_tokens_details", _) => OpenAiCompletion::place(&mut self.completion_tokens_details, name),
            _ => Place::Nowhere,
        }
    }
}

/// Sound has prices of its own.
fn sound(prompt: &OpenAiPrompt, completion: &OpenAiCompletion) -> Terms {
    let is_sound = |count| tokens(count) > 0;
    if is_sound(prompt.sound) || is_sound(completion.sound) {
        Terms::Other
    } else {
        Terms::Standard
    }
}

/// Output with its reasoning. `OpenAI` counts reasoning in the output; `xAI`, and servers with `Gemini` behind them, beside it, which
/// their total shows, or else that it is more than the output it would be part of.
fn with_reasoning(input: u64, output: u64, reasoning: u64, total: Option<Count>) -> u64 {
    let beside = output.saturating_add(reasoning);
    // A total that has met the largest number shows nothing.
    let shown = |total| {
        input
            .checked_add(beside)
            .is_some_and(|sum| sum <= total && sum < u64::MAX)
    };
    match total {
        Some(Count(total)) if shown(total) => beside,
        None if output < reasoning => beside,
        _ => output.max(reasoning),
    }
}

impl From<OpenAi> for Usage {
    fn from(raw: OpenAi) -> Self {
        let prompt = raw.prompt_tokens_details.unwrap_or_default();
        let completion = raw.completion_tokens_details.unwrap_or_default();
        let (input, reasoning) = (tokens(raw.prompt_tokens), tokens(completion.reasoning));
        Self {
            input,
            output: with_reasoning(input, tokens(raw.completion_tokens), reasoning, raw.total_tokens),
            cached: tokens(prompt.cached.or(raw.prompt_cache_hit_tokens)),
            cache_write: tokens(prompt.cache_write),
            reasoning,
            terms: sound(&prompt, &completion),
            ..Self::default()
        }
    }
}

/// The `usage` of `OpenAI` Responses.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Responses {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    total_tokens: Option<Count>,
    input_tokens_details: Option<OpenAiPrompt>,
    output_tokens_details: Option<OpenAiCompletion>,
}

impl From<Responses> for Usage {
    fn from(raw: Responses) -> Self {
        let input = raw.input_tokens_details.unwrap_or_default();
        let output = raw.output_tokens_details.unwrap_or_default();
        let (told, reasoning) = (tokens(raw.input_tokens), tokens(output.reasoning));
        Self {
            input: told,
            output: with_reasoning(told, tokens(raw.output_tokens), reasoning, raw.total_tokens),
            cached: tokens(input.cached),
            cache_write: tokens(input.cache_write),
            reasoning,
            terms: sound(&input, &output),
            ..Self::default()
        }
    }
}

impl Counts for Responses {
    fn opens(&mut self, name: &[u8]) -> bool {
        match name {
            b"input_tokens_details" => is_first(&mut self.input_tokens_details),
            b"output_tokens_details" => is_first(&mut self.output_tokens_details),
            b"input_tokens" | b"output_tokens" | b"total_tokens" => false,
            _ => true,
        }
    }

    fn place(&mut self, within: &[u8], name: &[u8]) -> Place<'_> {
        match (within, name) {
            (b"", b"input_tokens") => Place::Count(&mut self.input_tokens),
            (b"", b"output_tokens") => Place::Count(&mut self.output_tokens),
            (b"", b"total_tokens") => Place::Count(&mut self.total_tokens),
            (b"", b"input_tokens_details" | b"output_tokens_details") => Place::Wrong,
            (b"input_tokens_details", _) => OpenAiPrompt::place(&mut self.input_tokens_details, name),
            (b"output_tokens_details", _) => OpenAiCompletion::place(&mut self.output_tokens_details, name),
            _ => Place::Nowhere,
        }
    }
}

/// What is told in an answer, and may be read in a quicker way than by the parser.
pub(super) trait Told: for<'de> Deserialize<'de> {
    /// It and its length, where it can be read in that way; `text` begins with it.
    fn quickly(_text: &[u8]) -> Option<(Self, usize)> {
        None
    }
}

impl Told for OpenAi {
    fn quickly(text: &[u8]) -> Option<(Self, usize)> {
        counts::read(text)
    }
}

impl Told for Responses {
    fn quickly(text: &[u8]) -> Option<(Self, usize)> {
        counts::read(text)
    }
}

// Both say words beside their counts.
impl Told for Anthropic {}
impl Told for Gemini {}
impl Told for Tier {}

/// `Anthropic`'s `usage`: `input_tokens` excludes both kinds of cache tokens, and in a stream `message_delta` repeats
/// only some of the counts.
#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub(super) struct Anthropic {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<AnthropicCacheWrite>,
    output_tokens_details: Option<AnthropicOutput>,
    server_tool_use: Option<AnthropicTools>,
    service_tier: Option<Tier>,
    inference_geo: Option<Usual>,
    speed: Option<Usual>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
struct AnthropicCacheWrite {
    ephemeral_1h_input_tokens: Option<Count>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
struct AnthropicTools {
    web_search_requests: Option<Count>,
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
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
        self.server_tool_use = later.server_tool_use.or(self.server_tool_use);
        self.service_tier = later.service_tier.or(self.service_tier);
        self.inference_geo = later.inference_geo.or(self.inference_geo);
        self.speed = later.speed.or(self.speed);
    }
}

impl From<Anthropic> for Usage {
    fn from(raw: Anthropic) -> Self {
        let cached = tokens(raw.cache_read_input_tokens);
        let cache_write = tokens(raw.cache_creation_input_tokens);
        let usual = |field: Option<Usual>| field.unwrap_or_default().0;
        let hour = tokens(raw.cache_creation.unwrap_or_default().ephemeral_1h_input_tokens);
        let searches = tokens(raw.server_tool_use.unwrap_or_default().web_search_requests);
        Self {
            input: tokens(raw.input_tokens)
                .saturating_add(cached)
                .saturating_add(cache_write),
            output: tokens(raw.output_tokens),
            cached,
            cache_write,
            reasoning: tokens(raw.output_tokens_details.unwrap_or_default().thinking_tokens),
            cache_write_hour: u32::try_from(hour).unwrap_or(u32::MAX),
            searches: u16::try_from(searches).unwrap_or(u16::MAX),
            terms: raw
                .service_tier
                .unwrap_or_default()
                .0
                .and(usual(raw.inference_geo))
                .and(usual(raw.speed)),
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
    #[serde(rename = "promptTokensDetails")]
    prompt_media: Media,
    #[serde(rename = "candidatesTokensDetails")]
    candidates_media: Media,
    #[serde(rename = "serviceTier")]
    service_tier: Tier,
    /// `Vertex`'s word for it.
    #[serde(rename = "trafficType")]
    traffic: Tier,
}

impl From<Gemini> for Usage {
    fn from(raw: Gemini) -> Self {
        let reasoning = tokens(raw.thoughts);
        let tools = tokens(raw.tool_prompt);
        Self {
            input: tokens(raw.prompt).saturating_add(tools),
            output: tokens(raw.candidates).saturating_add(reasoning),
            cached: tokens(raw.cached),
            reasoning,
            // Pictures and films in a prompt are billed as text is, sound is not; what is made of either is neither.
            terms: if raw.prompt_media.sound || raw.candidates_media.any {
                Terms::Other
            } else {
                raw.service_tier.0.and(raw.traffic.0)
            },
            ..Self::default()
        }
    }
}

/// The usage of a whole answer, of a dialect that tells it in `usage`.
///
/// Every provider puts it behind the content, so it is looked for from the end: reading all of a 1 KB answer to get there
/// took a sixth of the sidecar's own time for a request.
pub(super) fn named<T: Told + Into<Usage>>(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Named<T> {
        usage: Option<T>,
    }
    finder!(USAGE, "\"usage\"");
    let from_end = last_member(body, &USAGE, b"{");
    let told: Option<T> = from_end.or_else(|| json::from_slice::<Named<T>>(body).ok()?.usage);
    told.map(Into::into)
}

/// The same of `OpenAI`, which says beside the usage which service tier it is billed by.
pub(super) fn tiered<T: Told + Into<Usage>>(body: &[u8]) -> Option<Usage> {
    named::<T>(body).map(|usage| usage.under(tier(body)))
}

/// The service tier that an answer of `OpenAI`'s names.
fn tier(body: &[u8]) -> Tier {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        service_tier: Tier,
    }
    finder!(SERVICE_TIER, "\"service_tier\"");
    // Forwards, which is many bytes at a time: looking for one from the end cost a tenth of a request. Most servers name none, or
    // the usual one; wherever in the body that stands, it says nothing of the terms, and what is around it need not be read.
    let is_usual = |at: usize| {
        let value = body.get(at + SERVICE_TIER.needle().len()..).unwrap_or_default();
        let value = value.trim_ascii_start().strip_prefix(b":").unwrap_or_default();
        let value = value.trim_ascii_start();
        value.starts_with(b"\"default\"") || value.starts_with(b"null")
    };
    if SERVICE_TIER.find_iter(body).all(is_usual) {
        return Tier::default();
    }
    // Responses repeat the caller's metadata, which may have such a key too.
    let own = last_member(body, &SERVICE_TIER, b"\"n");
    own.or_else(|| Some(json::from_slice::<Named>(body).ok()?.service_tier))
        .unwrap_or_default()
}

/// The same of `Gemini`, which tells it in `usageMetadata`.
pub(super) fn gemini(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        usage_metadata: Option<Gemini>,
    }
    finder!(USAGE_METADATA, "\"usageMetadata\"");
    last_member(body, &USAGE_METADATA, b"{")
        .or_else(|| json::from_slice::<Named>(body).ok()?.usage_metadata)
        .map(Usage::from)
}

/// The value under the last occurrence of `key` (with its quotes), if that is a key of the body itself and not of
/// something inside it, such as a tool's input: from there, what is open must close with the body's last byte.
///
/// A quoted key cannot occur inside a JSON string, where its quotes would be escaped.
///
/// `begins`: the bytes that it may begin with.
fn last_member<T: Told>(body: &[u8], key: &Finder<'_>, begins: &[u8]) -> Option<T> {
    let at = last(key, body)?;
    let value = body
        .get(at + key.needle().len()..)?
        .trim_ascii_start()
        .strip_prefix(b":")?;
    if !begins.contains(value.trim_ascii_start().first()?) {
        return None;
    }
    if let Some((told, length)) = T::quickly(value) {
        return closes_here(value.get(length..)?).then_some(told);
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
    /// The same, billed by this service tier.
    pub(super) fn under(self, tier: Tier) -> Self {
        Self {
            terms: self.terms.and(tier.0),
            ..self
        }
    }

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
    fn reasoning_is_of_the_output_whether_a_server_counts_it_there_or_beside_it() {
        let details = |reasoning: u64| format!(r#"{{"reasoning_tokens":{reasoning}}}"#);
        for (input, output, reasoning, total, counted) in [
            // As xAI, CLIProxyAPI and OpenAI tell it.
            (12, 1, 386, Some(399), 387),
            (21, 0, 60, Some(81), 60),
            (20, 9, 4, Some(29), 9),
            (20, 9, 4, None, 9),
            (12, 1, 386, None, 387),
            // Tokens of tools stand in the total alone.
            (12, 1, 386, Some(410), 387),
            // It contradicts itself.
            (12, 1, 386, Some(13), 386),
            (20, 9, 0, Some(50), 9),
        ] {
            let total = total.map_or(String::new(), |total: u64| format!(r#","total_tokens":{total}"#));
            let chat = format!(
                r#"{{"prompt_tokens":{input},"completion_tokens":{output}{total},"completion_tokens_details":{}}}"#,
                details(reasoning)
            );
            let responses = format!(
                r#"{{"input_tokens":{input},"output_tokens":{output}{total},"output_tokens_details":{}}}"#,
                details(reasoning)
            );
            for (dialect, usage_of) in [(Dialect::OpenAiChat, &chat), (Dialect::OpenAiResponses, &responses)] {
                let told = usage(dialect, format!(r#"{{"x":[],"usage":{usage_of}}}"#).as_bytes()).unwrap();
                assert_eq!((told.output, told.reasoning), (counted, reasoning), "{usage_of}");
            }
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
