//! How much a model is to think, said to one that is told in other words.
//!
//! There are three ways to say it: an effort (`OpenAI`'s `reasoning_effort`, `Anthropic`'s `output_config.effort`, the
//! third `Gemini` generation's `thinkingLevel`), a budget in tokens (`Anthropic`'s `thinking.budget_tokens`, `Gemini`
//! 2.5's `thinkingBudget`), and leaving it to the model (`adaptive`, a budget of -1). Between them:
//!
//! | effort | tokens, effort to budget | budget to effort |
//! |---|---|---|
//! | `none` | 0, or the least that the model takes | 0 |
//! | `minimal`, `low` | 1024 | up to 1024 |
//! | `medium` | 8192 | up to 8192 |
//! | `high` | 24576 | up to 24576 |
//! | `xhigh`, `max` | 24576 for `Claude`, 32768 for `Gemini` 2.5 Pro | more |
//!
//! The figures up to `high` are those of `Google`'s own OpenAI-compatible API
//! (<https://ai.google.dev/gemini-api/docs/openai#thinking>); 1024 is also the least that `Claude` takes
//! (<https://docs.claude.com/en/docs/build-with-claude/extended-thinking>). `Claude`'s stops at 24576 because some models
//! with budgets write 32,000 tokens in all. An effort that the model does not know becomes the nearest that it knows.
//!
//! Which models take what is told from their names; a name that tells nothing gets no setting, because a lost hint is
//! better than an answer of 400. Everything but an effort of the same name, and `Google`'s own figures for its own
//! models, counts as approximated.

use crate::json::{Map, Value, json};

use super::message::Thinking;

/// The least budget that `Claude` takes.
pub(super) const LEAST_BUDGET: u64 = 1024;

/// An effort, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Off,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

use Level::{High, Low, Max, Medium, Minimal, Off, XHigh};

impl Level {
    fn parse(effort: &str) -> Option<Self> {
        Some(match effort {
            "none" => Off,
            "minimal" => Minimal,
            "low" => Low,
            "medium" => Medium,
            "high" => High,
            "xhigh" => XHigh,
            "max" => Max,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Off => "none",
            Minimal => "minimal",
            Low => "low",
            Medium => "medium",
            High => "high",
            XHigh => "xhigh",
            Max => "max",
        }
    }

    fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Off,
            1..=1024 => Low,
            1025..=8192 => Medium,
            8193..=24576 => High,
            _ => XHigh,
        }
    }

    fn budget(self) -> u64 {
        match self {
            Off => 0,
            Minimal | Low => 1024,
            Medium => 8192,
            High => 24576,
            XHigh | Max => 32768,
        }
    }

    /// The nearest among `known`, the lesser of two equally near; `None` where nothing is known.
    fn nearest(self, known: &[Self]) -> Option<Self> {
        known
            .iter()
            .copied()
            .min_by_key(|level| (*level as u8).abs_diff(self as u8))
    }
}

/// The effort, and whether the caller said it in this word.
fn level(thinking: &Thinking) -> Option<(Level, bool)> {
    match thinking {
        Thinking::Off => Some((Off, true)),
        Thinking::Effort(effort) => Level::parse(effort).map(|level| (level, true)),
        Thinking::Budget(tokens) => Some((Level::of_budget(*tokens), false)),
        Thinking::Adaptive => None,
    }
}

/// A setting, and whether it says exactly what was asked.
pub(super) type Told<T> = (T, bool);

/// The last part of a name like `openai/gpt-5`.
fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// The version that begins at `text`: `5.1-codex` is (5, 1), and so is `5-1`; a date is no minor version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['-', '.', '@', ':', '_']);
    let small = |word: &str| (word.len() <= 2).then(|| word.parse().ok()).flatten();
    let major = small(numbers.next()?)?;
    Some((major, numbers.next().and_then(small).unwrap_or(0)))
}

/// The generation of a `gpt` model: `gpt-5.1-codex` is (5, 1).
fn gpt(model: &str) -> Option<(u32, u32)> {
    version(bare(model).strip_prefix("gpt-")?)
}

/// Whether it is one of the `o` models, which refuse `parallel_tool_calls`.
pub(super) fn o_series(model: &str) -> bool {
    let mut letters = bare(model).chars();
    letters.next() == Some('o') && letters.next().is_some_and(|c| c.is_ascii_digit())
}

/// Whether a model of `OpenAI`'s knows `max_completion_tokens` only. Others, and most compatible servers, know
/// `max_tokens` only.
pub(super) fn counts_completion_tokens(model: &str) -> bool {
    o_series(model) || gpt(model).is_some_and(|(major, _)| major >= 5)
}

/// The efforts that a model behind `OpenAI`'s API takes; none if it does not think or cannot be told.
fn openai_levels(model: &str) -> &'static [Level] {
    let name = bare(model);
    if o_series(model) {
        let old = name.starts_with("o1-mini") || name.starts_with("o1-preview");
        return if old { &[] } else { &[Low, Medium, High] };
    }
    if name.starts_with("gpt-oss") {
        return &[Low, Medium, High];
    }
    match gpt(model) {
        Some(version) if version >= (5, 0) => match name {
            _ if name.contains("-chat") => &[],
            _ if name.contains("-pro") && version < (5, 2) => &[High],
            _ if name.contains("-pro") => &[Medium, High, XHigh],
            _ if name.contains("-codex-max") => &[Low, Medium, High, XHigh],
            _ if name.contains("-codex") && version < (5, 2) => &[Low, Medium, High],
            _ if name.contains("-codex") => &[Low, Medium, High, XHigh],
            _ if version < (5, 1) => &[Minimal, Low, Medium, High],
            _ if version < (5, 2) => &[Off, Low, Medium, High],
            _ => &[Off, Low, Medium, High, XHigh],
        },
        _ => &[],
    }
}

/// The `reasoning_effort`: `Some(None)` leaves it to the model, `None` cannot be told.
pub(super) fn for_openai(thinking: &Thinking, model: &str) -> Option<Told<Option<Level>>> {
    let levels = openai_levels(model);
    if levels.is_empty() {
        return matches!(thinking, Thinking::Off).then_some((None, true));
    }
    let Some((asked, exact)) = level(thinking) else {
        // Those that can do without do without unless told.
        let told = levels.contains(&Off).then_some(Medium);
        return matches!(thinking, Thinking::Adaptive).then_some((told, told.is_none()));
    };
    let given = asked.nearest(levels)?;
    Some((Some(given), exact && given == asked))
}

/// Whether the model refuses `temperature`, `top_p`, penalties and log probabilities: `OpenAI`'s do while they think.
/// From 5.1 on they do not think unless told to.
pub(super) fn openai_samples_itself(model: &str, effort: Option<Level>) -> bool {
    if bare(model).starts_with("gpt-oss") || openai_levels(model).is_empty() {
        return false;
    }
    let idle = matches!(effort, None | Some(Off));
    !(idle && gpt(model).is_some_and(|version| version >= (5, 1)) && openai_levels(model).contains(&Off))
}

/// Whether the model refuses `stop`, as `OpenAI` says of these two.
pub(super) fn stops_itself(model: &str) -> bool {
    let name = bare(model);
    ["o3", "o4-mini"].iter().any(|known| name.starts_with(known)) && !name.starts_with("o3-mini")
}

/// The generation in a `Gemini` model's name: `gemini-2.5-flash` is (2, 5).
pub(super) fn gemini_generation(model: &str) -> Option<(u32, u32)> {
    let at = model.find("gemini-")?;
    version(model.get(at + 7..)?)
}

/// The `thinkingConfig`; an empty one need not be sent.
pub(super) fn for_gemini(thinking: &Thinking, model: &str, show: bool) -> Option<Told<Value>> {
    let generation = gemini_generation(model)?;
    if generation < (2, 5) || model.contains("image") || model.contains("embedding") {
        return matches!(thinking, Thinking::Off).then(|| (json!({}), true));
    }
    let mut config = Map::new();
    let exact = if generation >= (3, 0) {
        gemini_level(thinking, model, generation, &mut config)?
    } else {
        gemini_budget(thinking, model, &mut config)?
    };
    if show {
        config.insert("includeThoughts".into(), true.into());
    }
    Some((Value::Object(config), exact))
}

fn gemini_level(thinking: &Thinking, model: &str, generation: (u32, u32), config: &mut Map) -> Option<bool> {
    let Some((asked, exact)) = level(thinking) else {
        // Its own choice is what it does when told nothing.
        return matches!(thinking, Thinking::Adaptive).then_some(true);
    };
    let levels: &[Level] = match model.contains("pro") {
        true if generation < (3, 1) => &[Low, High],
        true => &[Low, Medium, High],
        false => &[Minimal, Low, Medium, High],
    };
    // What lies between two is rather thought through than not, as Google's own table has it.
    let given = levels
        .iter()
        .copied()
        .find(|level| *level >= asked)
        .or(levels.last().copied())?;
    config.insert("thinkingLevel".into(), given.as_str().into());
    Some(exact && given == asked)
}

fn gemini_budget(thinking: &Thinking, model: &str, config: &mut Map) -> Option<bool> {
    // The ranges of https://ai.google.dev/gemini-api/docs/thinking; 2.5 Pro always thinks.
    let (least, most, stops) = match model {
        _ if model.contains("pro") => (128, 32768, false),
        _ if model.contains("lite") => (512, 24576, true),
        _ => (1, 24576, true),
    };
    let (asked, exact) = match thinking {
        Thinking::Adaptive => {
            config.insert("thinkingBudget".into(), json!(-1));
            return Some(true);
        }
        Thinking::Off => (0, true),
        Thinking::Budget(tokens) => (*tokens, true),
        Thinking::Effort(effort) => {
            let level = Level::parse(effort)?;
            (level.budget(), level <= High)
        }
    };
    let given = if asked == 0 && stops {
        0
    } else {
        asked.clamp(least, most)
    };
    config.insert("thinkingBudget".into(), given.into());
    Some(exact && given == asked)
}

/// The version of a `Claude` model, whichever way its name is written: `claude-3-7-sonnet-20250219`,
/// `claude-opus-4-20250514`, `anthropic/claude-opus-4.6`.
fn claude(model: &str) -> Option<(u32, u32)> {
    let at = model.find("claude-")?;
    let rest = model.get(at + 7..)?;
    let digit = rest.find(|c: char| c.is_ascii_digit())?;
    version(rest.get(digit..)?)
}

/// What a `Claude` model is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForClaude {
    /// Nothing: it does not think then.
    Off,
    /// `thinking.budget_tokens`.
    Budget(u64),
    /// `thinking.type: adaptive`, with the effort.
    Adaptive(Option<Level>),
}

/// What to tell a `Claude` model.
pub(super) fn for_claude(thinking: &Thinking, model: &str) -> Option<Told<ForClaude>> {
    if matches!(thinking, Thinking::Off) {
        // From the fifth generation on some think unasked.
        return Some((ForClaude::Off, claude(model).is_none_or(|version| version < (5, 0))));
    }
    let version = claude(model).filter(|version| *version >= (3, 7))?;
    if version < (4, 6) {
        let (tokens, exact) = match thinking {
            Thinking::Budget(tokens) => (*tokens, true),
            other => (
                level(other).map_or(Medium, |(level, _)| level).min(High).budget(),
                false,
            ),
        };
        return Some((ForClaude::Budget(tokens), exact));
    }
    let Some((asked, exact)) = level(thinking) else {
        let adaptive = matches!(thinking, Thinking::Adaptive);
        return adaptive.then_some((ForClaude::Adaptive(None), true));
    };
    if asked == Off {
        return Some((ForClaude::Off, version < (5, 0)));
    }
    let levels: &[Level] = if version < (4, 7) {
        &[Low, Medium, High, Max]
    } else {
        &[Low, Medium, High, XHigh, Max]
    };
    let given = asked.nearest(levels)?;
    Some((ForClaude::Adaptive(Some(given)), exact && given == asked))
}

/// Whether the model refuses `temperature`, `top_p` and `top_k` altogether.
pub(super) fn claude_samples_itself(model: &str) -> bool {
    claude(model).is_some_and(|version| version >= (4, 7))
}

/// Whether the model refuses to go on with an answer that the caller begins.
pub(super) fn claude_begins_itself(model: &str) -> bool {
    claude(model).is_some_and(|version| version >= (4, 6))
}

/// Whether the model leaves its thoughts' text out unless asked for it.
pub(super) fn claude_hides_thoughts(model: &str) -> bool {
    claude_samples_itself(model)
}
