//! Which requests have answers that may stand for the answer of another one.
//!
//! Not those that act or may act (tools, whoever runs them), that leave something behind at the provider or refer to what
//! was left there (stored and background responses, conversations, containers), and not those that ask for several answers
//! to choose from: who asks for variety is not served by what was said before.

use crate::call::Operation;
use crate::dialect::{Dialect, OFF, Plugin, meant};
use crate::json::Value;

/// Why an answer may not stand for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acts {
    /// It is larger than what is read for a key.
    TooLarge,
    /// It is no JSON object.
    Unreadable,
    /// It passes unread.
    Unread,
    /// This member lets the model act, or speaks of what the provider keeps.
    Member(&'static str),
    /// It asks for several answers.
    Several,
    /// It asks for an answer that may be another each time.
    Varies,
}

/// What may be taken for harmless beyond what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Tools that the caller runs itself.
    pub own_tools: bool,
    /// Conversations that do not ask for temperature 0.
    pub any_temperature: bool,
}

impl Allowed {
    /// For an outage: any answer that was good is better than none, but none that acts.
    pub const IN_AN_OUTAGE: Self = Self {
        own_tools: false,
        any_temperature: true,
    };
}

/// Members that hold tools.
const TOOLS: [&str; 2] = ["tools", "functions"];
/// Members that mean an act, or a state elsewhere, where they hold anything. What [`crate::dialect::features`] calls stored is more: the
/// files of a conversation do not change, and what was said of them holds.
const ACTING: [&str; 10] = [
    "mcp_servers",
    "container",
    "web_search_options",
    "previous_response_id",
    "conversation",
    "cachedContent",
    "cached_content",
    // OpenRouter's, xAI's and Alibaba's ways to search the web.
    "plugins",
    "search_parameters",
    "enable_search",
];
/// What else is looked at.
const OTHERS: &[&str] = &[
    "prompt",
    "background",
    "store",
    "generationConfig",
    "generation_config",
    "n",
    "best_of",
    "temperature",
];

/// The same among Gemini's parameters.
const IN_CONFIG: &[&str] = &["candidateCount", "candidate_count", "temperature"];

/// Judges a request.
///
/// # Errors
/// Its answer may not stand for another.
pub fn check(dialect: Dialect, operation: Operation, body: &Value, allowed: Allowed) -> Result<(), Acts> {
    if !body.is_object() {
        return Err(Acts::Unreadable);
    }
    match operation {
        Operation::PassThrough => Err(Acts::Unread),
        // Neither does anything but answer.
        Operation::Embed(_) | Operation::Count => Ok(()),
        Operation::Generate => generates(dialect, body, allowed),
    }
}

fn generates(dialect: Dialect, body: &Value, allowed: Allowed) -> Result<(), Acts> {
    let is_harmless = |tools: &Value| !says(tools) || (allowed.own_tools && are_own(tools));
    if let Some(name) = TOOLS
        .into_iter()
        .find(|name| body.get(*name).is_some_and(|tools| !is_harmless(tools)))
    {
        return Err(Acts::Member(name));
    }
    if let Some(name) = ACTING
        .into_iter()
        .find(|name| body.get(*name).is_some_and(|value| says(value) && acts(name, value)))
    {
        return Err(Acts::Member(name));
    }
    // Elsewhere it is the text itself.
    if dialect == Dialect::OpenAiResponses && body.get("prompt").is_some_and(says) {
        return Err(Acts::Member("prompt"));
    }
    let mut names = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    // Some servers take a name in other letters for it.
    let other = names.find_map(|name| {
        let known = [&TOOLS[..], &ACTING, OTHERS];
        known.into_iter().find_map(|known| meant(name, known))
    });
    if let Some(name) = other {
        return Err(Acts::Member(name));
    }
    let in_config = configs_of(body).filter_map(Value::as_object).flatten();
    if let Some(name) = in_config.into_iter().find_map(|(name, _)| meant(name, IN_CONFIG)) {
        return Err(Acts::Member(name));
    }
    if body.get("background").is_some_and(is_true) {
        return Err(Acts::Member("background"));
    }
    // OpenAI stores responses unless it is told not to, and chat completions only where it is told to.
    let stores = match dialect {
        Dialect::OpenAiResponses => body.get("store").is_none_or(|store| *store != Value::Bool(false)),
        _ => body.get("store").is_some_and(is_true),
    };
    if stores {
        return Err(Acts::Member("store"));
    }
    let candidates = configs_of(body).flat_map(|config| [config.get("candidateCount"), config.get("candidate_count")]);
    let counts = [body.get("n"), body.get("best_of")].into_iter().chain(candidates);
    if counts.flatten().any(|count| !count.is_null() && !is_one(count)) {
        return Err(Acts::Several);
    }
    if !allowed.any_temperature && !is_cold(dialect, body) {
        return Err(Acts::Varies);
    }
    Ok(())
}

/// Gemini's parameters, in either spelling.
fn configs_of(body: &Value) -> impl Iterator<Item = &Value> {
    ["generationConfig", "generation_config"]
        .into_iter()
        .filter_map(|name| body.get(name))
}

/// Whether the value of one of [`ACTING`] means an act: some of the ways to search the web can say that nothing is searched.
fn acts(name: &str, value: &Value) -> bool {
    let has_others = |value: &Value, known: &[&'static str]| {
        let mut names = value.as_object().into_iter().flatten();
        names.any(|(name, _)| meant(name, known).is_some())
    };
    match (name, value) {
        ("search_parameters", value) => {
            value.get("mode").and_then(Value::as_str) != Some(OFF) || has_others(value, &["mode"])
        }
        ("plugins", Value::Array(plugins)) => plugins.iter().any(|plugin| {
            let is_off = plugin.get("enabled") == Some(&Value::Bool(false));
            let id = plugin.get("id").and_then(Value::as_str);
            (!is_off && Plugin::of(id) == Plugin::Web) || has_others(plugin, &["id", "enabled"])
        }),
        _ => true,
    }
}

/// Whether it asks for temperature 0, where its API has that. Unset is what the provider takes for it, which is not 0.
fn is_cold(dialect: Dialect, body: &Value) -> bool {
    if dialect != Dialect::Gemini {
        return body.get("temperature").is_some_and(is_zero);
    }
    // Of two spellings nobody knows which one is read.
    let mut told = configs_of(body)
        .filter_map(|config| config.get("temperature"))
        .peekable();
    told.peek().is_some() && told.all(is_zero)
}

/// Whether these are tools that the caller runs itself, and nothing else: a provider runs its own whenever it is asked.
fn are_own(tools: &Value) -> bool {
    let Value::Array(tools) = tools else { return false };
    tools.iter().all(|tool| {
        let kind = tool.get("type").filter(|kind| !kind.is_null());
        match (kind, tool.as_object()) {
            (Some(kind), _) => kind.as_str().is_some_and(|kind| matches!(kind, "function" | "custom")),
            // Gemini's list of functions, Anthropic's tool without a type, OpenAI's `functions` of old.
            (None, Some(members)) => members.iter().all(|(name, _)| {
                matches!(
                    name.as_str(),
                    "functionDeclarations"
                        | "function_declarations"
                        | "name"
                        | "description"
                        | "input_schema"
                        | "parameters"
                        | "cache_control"
                        | "strict"
                )
            }),
            (None, None) => false,
        }
    })
}

fn is_zero(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.as_f64() == Some(0.0))
}

fn says(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

fn is_one(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.as_str() == "1")
}

fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::embeddings::EmbeddingsApi;
    use crate::json::parse;

    fn judged(dialect: Dialect, body: &str) -> Result<(), Acts> {
        check(
            dialect,
            Operation::Generate,
            &parse(body.as_bytes()).unwrap(),
            Allowed::IN_AN_OUTAGE,
        )
    }

    #[test]
    fn with_own_tools_allowed_those_of_the_provider_still_act() {
        let allowed = Allowed {
            own_tools: true,
            any_temperature: true,
        };
        let judged = |body: &str| {
            let body = parse(body.as_bytes()).unwrap();
            check(Dialect::OpenAiChat, Operation::Generate, &body, allowed)
        };
        for own in [
            r#"{"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","name":"g"}]}"#,
            r#"{"tools":[{"name":"f","description":"","input_schema":{}}]}"#,
            r#"{"tools":[{"functionDeclarations":[{"name":"f"}]}]}"#,
            r#"{"functions":[{"name":"f","parameters":{}}]}"#,
        ] {
            assert_eq!(judged(own), Ok(()), "{own}");
        }
        for run_by_others in [
            r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#,
            r#"{"tools":[{"type":"mcp","server_url":"x"}]}"#,
            r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
            r#"{"tools":[{"functionDeclarations":[]},{"codeExecution":{}}]}"#,
            r#"{"tools":{"googleSearch":{}}}"#,
            r#"{"tools":["f"]}"#,
            r#"{"tools":[{"type":7}]}"#,
        ] {
            assert_eq!(judged(run_by_others), Err(Acts::Member("tools")), "{run_by_others}");
        }
        assert_eq!(judged(r#"{"mcp_servers":[{}]}"#), Err(Acts::Member("mcp_servers")));
    }

    #[test]
    fn only_temperature_zero_asks_for_the_same_again_where_that_counts() {
        let allowed = Allowed {
            own_tools: false,
            any_temperature: false,
        };
        let judged_in = |dialect, operation, body: &str| {
            let body = parse(body.as_bytes()).unwrap();
            check(dialect, operation, &body, allowed)
        };
        let judged = |operation, body: &str| judged_in(Dialect::OpenAiChat, operation, body);
        for cold in [
            r#"{"temperature":0}"#,
            r#"{"temperature":0.0}"#,
            r#"{"temperature":-0e3}"#,
            r#"{"generationConfig":{"temperature":1},"temperature":0}"#,
        ] {
            assert_eq!(judged(Operation::Generate, cold), Ok(()), "{cold}");
        }
        for (body, is_cold) in [
            (r#"{"generationConfig":{"temperature":0}}"#, true),
            (r#"{"generation_config":{"temperature":0}}"#, true),
            (
                r#"{"generationConfig":{"temperature":0},"generation_config":{"temperature":1}}"#,
                false,
            ),
            (r#"{"generationConfig":{"temperature":1},"temperature":0}"#, false),
            (r#"{"temperature":0}"#, false),
        ] {
            let judged = judged_in(Dialect::Gemini, Operation::Generate, body);
            assert_eq!(judged.is_ok(), is_cold, "{body}");
        }
        for warm in [
            "{}",
            r#"{"temperature":null}"#,
            r#"{"temperature":"0"}"#,
            r#"{"temperature":1e-9}"#,
            // Not where this API has it.
            r#"{"generationConfig":{"temperature":0}}"#,
        ] {
            assert_eq!(judged(Operation::Generate, warm), Err(Acts::Varies), "{warm}");
        }
        assert_eq!(judged(Operation::Embed(EmbeddingsApi::OpenAi), "{}"), Ok(()));
    }

    #[test]
    fn a_question_may_be_answered_twice() {
        for body in [
            "{}",
            r#"{"prompt":"once upon a time","plugins":[],"enable_search":false}"#,
            r#"{"search_parameters":{"mode":"off","max_search_results":3}}"#,
            r#"{"plugins":[{"id":"file-parser","pdf":{"engine":"pdf-text"}},{"id":"response-healing"},{"id":"web","enabled":false}]}"#,
            r#"{"messages":[{"role":"user","content":"tools, store, n"}],"n":1,"tools":[],"functions":null,"stream":true}"#,
            r#"{"response_format":{"json_schema":{"properties":{"tools":{"type":"array"},"n":{"type":"integer"}}}}}"#,
            r#"{"contents":[],"generationConfig":{"candidateCount":1}}"#,
        ] {
            assert_eq!(judged(Dialect::OpenAiChat, body), Ok(()), "{body}");
        }
        assert_eq!(
            judged(Dialect::OpenAiResponses, r#"{"input":"hi","store":false}"#),
            Ok(())
        );
    }

    #[test]
    fn an_act_a_state_elsewhere_or_a_choice_may_not() {
        for (body, why) in [
            (r#"{"tools":[{"type":"function"}]}"#, Acts::Member("tools")),
            (r#"{"tools":{"a":1}}"#, Acts::Member("tools")),
            (r#"{"functions":[{}]}"#, Acts::Member("functions")),
            (r#"{"mcp_servers":[{}]}"#, Acts::Member("mcp_servers")),
            (r#"{"container":"c"}"#, Acts::Member("container")),
            (r#"{"web_search_options":{}}"#, Acts::Member("web_search_options")),
            (r#"{"cachedContent":"c"}"#, Acts::Member("cachedContent")),
            (r#"{"cached_content":"c"}"#, Acts::Member("cached_content")),
            (r#"{"plugins":[{"id":"web"}]}"#, Acts::Member("plugins")),
            (
                r#"{"search_parameters":{"mode":"on"}}"#,
                Acts::Member("search_parameters"),
            ),
            (r#"{"search_parameters":{}}"#, Acts::Member("search_parameters")),
            (
                r#"{"search_parameters":{"mode":"off","Mode":"on"}}"#,
                Acts::Member("search_parameters"),
            ),
            (
                r#"{"plugins":[{"id":"file-parser"},{"id":"new"}]}"#,
                Acts::Member("plugins"),
            ),
            (
                r#"{"plugins":[{"id":"file-parser","ID":"web"}]}"#,
                Acts::Member("plugins"),
            ),
            (r#"{"plugins":["web"]}"#, Acts::Member("plugins")),
            (r#"{"plugins":{"id":"file-parser"}}"#, Acts::Member("plugins")),
            (
                r#"{"generationConfig":{"CandidateCount":2}}"#,
                Acts::Member("candidateCount"),
            ),
            (r#"{"enable_search":true}"#, Acts::Member("enable_search")),
            (r#"{"Tools":[{}]}"#, Acts::Member("tools")),
            (r#"{"enable_search":false,"STORE":true}"#, Acts::Member("store")),
            (r#"{"store":true}"#, Acts::Member("store")),
            (r#"{"background":true}"#, Acts::Member("background")),
            (r#"{"n":2}"#, Acts::Several),
            (r#"{"best_of":3}"#, Acts::Several),
            (r#"{"generationConfig":{"candidateCount":2}}"#, Acts::Several),
            (r#"{"generation_config":{"candidate_count":2}}"#, Acts::Several),
            ("[]", Acts::Unreadable),
        ] {
            assert_eq!(judged(Dialect::OpenAiChat, body), Err(why), "{body}");
        }
        for (body, name) in [
            (r#"{"input":"hi"}"#, "store"),
            (r#"{"input":"hi","store":true}"#, "store"),
            (r#"{"previous_response_id":"r","store":false}"#, "previous_response_id"),
            (r#"{"conversation":{"id":"c"},"store":false}"#, "conversation"),
            (r#"{"prompt":{"id":"pmpt_1"},"store":false}"#, "prompt"),
        ] {
            assert_eq!(
                judged(Dialect::OpenAiResponses, body),
                Err(Acts::Member(name)),
                "{body}"
            );
        }
    }

    #[test]
    fn whatever_is_looked_at_may_not_be_written_in_other_letters() {
        for name in TOOLS.iter().chain(&ACTING).chain(OTHERS) {
            let body = format!(r#"{{"{}":null}}"#, name.to_uppercase());
            assert_eq!(judged(Dialect::OpenAiChat, &body), Err(Acts::Member(name)), "{body}");
        }
    }

    #[test]
    fn what_only_measures_never_acts_and_what_is_unread_is_unknown() {
        let body = parse(br#"{"tools":[{}],"n":3}"#).unwrap();
        let judged = |operation| check(Dialect::OpenAiChat, operation, &body, Allowed::IN_AN_OUTAGE);
        assert_eq!(judged(Operation::Count), Ok(()));
        assert_eq!(judged(Operation::Embed(EmbeddingsApi::OpenAi)), Ok(()));
        assert_eq!(judged(Operation::PassThrough), Err(Acts::Unread));
    }
}
