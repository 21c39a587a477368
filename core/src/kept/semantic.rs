//! Answers to questions that are alike (`cache.semantic` of a ModelRoute): which conversations may be compared, in what they must
//! be equal, and what of them is compared by its meaning.
//!
//! The whole conversation takes part, never the last message alone. What the caller's turns say in few words is compared turn by
//! turn, by the vector of each; the least alike of them decides, so that nine equal turns do not hide a tenth that is not.
//! All else must be equal to the letter: instructions, earlier answers, long texts, images, the format of the answer, every
//! parameter. It is in the key of the [bucket](Question::bucket) that is searched, and so is what [`marks`] reads out of the
//! turns: numbers, names, negations and the language.

use std::time::Duration;

use bowsprit_crds::cache::SemanticCache;

use super::acts::{self, Allowed};
use super::key::{Key, Prefix};
use super::{BOUNDS, Terms, Wrong};
use crate::call::Call;
use crate::dialect::Dialect;
use crate::json::{self, Value, json};

pub mod index;
pub mod marks;
pub mod point;
pub mod said;

/// The layout of what is compared, and the rules of [`marks`]: what was kept under another is not found.
const LAYOUT: &str = "bowsprit semantic 1";
/// The longest text that is compared by its meaning, bytes. Small models read some 512 tokens and pass over the rest without a
/// word; a longer text must be equal to the letter.
pub const LONGEST_TEXT: usize = 2 << 10;
/// So many texts at most are compared by their meaning: the last ones. Those before them must be equal to the letter.
pub const MOST_TEXTS: usize = 8;
/// How alike two texts may be asked to be at least, thousandths: below that, models call alike what only is about the same thing.
const LEAST_ALIKE: u16 = 800;
/// How long a request may be asked to wait for its vectors at most.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How a route gives answers to questions that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SemanticTerms {
    /// The model that is asked for vectors, by the name that an app would ask for.
    pub model: String,
    /// How alike each of the caller's turns must be, thousandths of the cosine.
    pub threshold: u16,
    /// For how long an answer is given to who asks alike, and what the index may take in memory.
    pub keep: Terms,
    /// How long a request waits for its vectors before it goes on without.
    pub max_wait: Duration,
    /// Of a hundred answers that would be given, so many are asked for and compared.
    pub verify_percent: u8,
}

impl SemanticTerms {
    /// Checks a spec. `of`: how the route keeps answers.
    ///
    /// # Errors
    /// Everything that is wrong with it, with the field's path from the spec.
    pub(crate) fn of(spec: &SemanticCache, of: Option<Terms>, models: &[String]) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        if spec.embedding_model.is_empty() {
            wrong.push((
                "cache.semantic.embeddingModel",
                "is empty".to_owned(),
                "name a model for embeddings",
            ));
        } else if models.contains(&spec.embedding_model) {
            wrong.push((
                "cache.semantic.embeddingModel",
                format!("is {}, which this route answers for itself", spec.embedding_model),
                "name a model for embeddings, of another route or of a provider",
            ));
        }
        let threshold = thousandths(&spec.threshold).filter(|threshold| (LEAST_ALIKE..=1000).contains(threshold));
        if threshold.is_none() {
            wrong.push((
                "cache.semantic.threshold",
                format!("is {:?}", spec.threshold),
                "set it to \"0.8\" to \"1\", with three decimals at most",
            ));
        }
        let (least, most) = BOUNDS;
        let max_bytes = usize::try_from(spec.max_bytes).unwrap_or(usize::MAX);
        if !(least..=most).contains(&spec.max_bytes) {
            let remedy = "set it to 65536 (64 KiB) to 268435456 (256 MiB)";
            wrong.push(("cache.semantic.maxBytes", format!("is {}", spec.max_bytes), remedy));
        }
        let whole = of.map_or(super::OLDEST, |of| of.max_age);
        let max_age = spec.ttl.map_or(whole, bowsprit_crds::DurationText::get);
        if max_age > whole || max_age < Duration::from_secs(1) {
            let text = spec.ttl.map_or_else(String::new, |ttl| format!("is {ttl}"));
            wrong.push(("cache.semantic.ttl", text, "set it to 1s to the ttl of the cache"));
        }
        let max_wait = spec.max_wait.get();
        if !(Duration::from_millis(1)..=LONGEST_WAIT).contains(&max_wait) {
            let text = format!("is {}", spec.max_wait);
            wrong.push(("cache.semantic.maxWait", text, "set it to 1ms to 5s"));
        }
        if spec.verify_percent > 100 {
            let text = format!("is {}", spec.verify_percent);
            wrong.push(("cache.semantic.verifyPercent", text, "set it to 0 to 100"));
        }
        match threshold {
            Some(threshold) if wrong.is_empty() => Ok(Self {
                model: spec.embedding_model.clone(),
                threshold,
                keep: Terms { max_age, max_bytes },
                max_wait,
                verify_percent: spec.verify_percent,
            }),
            _ => Err(wrong),
        }
    }

    /// Whether this one of the answers that would be given is compared instead. `chance`: from 0 to below 1.
    pub fn verifies(&self, chance: f64) -> bool {
        chance * 100.0 < f64::from(self.verify_percent)
    }

    /// How alike two texts must be: a cosine.
    pub fn least(&self) -> f32 {
        f32::from(self.threshold) / 1000.0
    }
}

/// `0.95` as 950; `None`: it is no such number.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_fraction = (1..=3).contains(&fraction.len()) && fraction.bytes().all(|digit| digit.is_ascii_digit());
    let fraction: u16 = is_fraction.then(|| format!("{fraction:0<3}").parse().ok())??;
    match whole {
        "0" => Some(fraction),
        "1" => Some(1000 + fraction),
        _ => None,
    }
}

/// A conversation as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it must be equal in to be compared at all, whose it is included.
    pub bucket: Key,
    /// What is compared by its meaning: the last short texts of the caller, in their order.
    pub texts: Vec<String>,
}

impl Question {
    /// `None`: it is not to be compared. It acts, it is no conversation of an API that is known here, or there is no short text of the
    /// caller in it. `prefix`: all that goes into a key but the body.
    pub fn of(call: &Call, body: &[u8], prefix: &Prefix, allowed: Allowed) -> Option<Self> {
        if body.len() > super::LARGEST_REQUEST {
            return None;
        }
        let mut body = json::parse(body).ok()?;
        let allowed = Allowed {
            own_tools: false,
            ..allowed
        };
        acts::check(call.dialect, call.operation, &body, allowed).ok()?;
        let texts = taken(call.dialect, &mut body);
        if texts.is_empty() {
            return None;
        }
        let read: Vec<Value> = texts.iter().map(|text| Value::from(marks::marks(text))).collect();
        let bucket = prefix
            .with(&json!({"layout": LAYOUT, "texts": texts.len(), "rest": body}))?
            .key(&Value::Array(read))?;
        Some(Self { bucket, texts })
    }
}

/// Takes the texts that are compared out of a conversation; null stands where they were.
fn taken(dialect: Dialect, body: &mut Value) -> Vec<String> {
    let member = match dialect {
        Dialect::OpenAiChat | Dialect::AnthropicMessages => "messages",
        Dialect::OpenAiResponses => "input",
        Dialect::Gemini => "contents",
    };
    let mut places = Vec::new();
    match body.get_mut(member) {
        Some(Value::Array(turns)) => turns.iter_mut().for_each(|turn| of_turn(dialect, turn, &mut places)),
        // Of the Responses API: one text is one turn.
        Some(text @ Value::String(_)) if dialect == Dialect::OpenAiResponses => places.push(text),
        _ => {}
    }
    let passed = places.len().saturating_sub(MOST_TEXTS);
    let short = |text: &str| !text.trim().is_empty() && text.len() <= LONGEST_TEXT;
    places
        .into_iter()
        .skip(passed)
        .filter_map(|place| {
            let text = place.as_str().filter(|text| short(text))?.to_owned();
            *place = Value::Null;
            Some(text)
        })
        .collect()
}

/// The texts of a turn, if it is the caller's.
fn of_turn<'v>(dialect: Dialect, turn: &'v mut Value, places: &mut Vec<&'v mut Value>) {
    let role = turn.get("role").and_then(Value::as_str);
    // What names no role is the caller's in Gemini's API; of the Responses API it may be anything.
    if !(role == Some("user") || (role.is_none() && dialect == Dialect::Gemini)) {
        return;
    }
    let parts = if dialect == Dialect::Gemini { "parts" } else { "content" };
    match turn.get_mut(parts) {
        Some(text @ Value::String(_)) => places.push(text),
        Some(Value::Array(parts)) => {
            let is_text = |part: &Value| match part.get("type") {
                None => dialect == Dialect::Gemini,
                Some(kind) => matches!(kind.as_str(), Some("text" | "input_text")),
            };
            let texts = parts.iter_mut().filter(|part| is_text(part));
            let texts = texts.filter_map(|part| part.get_mut("text"));
            places.extend(texts.filter(|text| text.is_string()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
