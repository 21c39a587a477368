//! What an expression is compiled to: a tree in which each part has one type and every variable is found already.
//!
//! Evaluating it takes no memory and no lock, and at most as many steps as it has parts, for nothing in it repeats. The one
//! part whose cost grows faster than its text is `matches`, and what it is given is bounded by [`MATCHED`].

use std::fmt;

use regex_lite::Regex;

use super::facts::{self, BoolFact, DoubleFact, Fact, Facts, Feature, IntFact, MapFact, Pinned, TextFact};
use crate::call::Operation;

/// The longest text that `matches` looks at, bytes.
pub const MATCHED: usize = 1024;

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It asks for what this request does not say.
    NotGiven,
    /// It asks for what is in a body that passes unread.
    Unread,
    /// It divides by zero.
    DivisionByZero,
    /// A number left its range.
    Overflow,
    /// It matches a text that is longer than [`MATCHED`].
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGiven => "it asks for something that the request does not have",
            Self::Unread => "it asks for something that is in the body, which passes unread",
            Self::DivisionByZero => "it divides by zero",
            Self::Overflow => "it leaves the range of whole numbers",
            Self::TooLong => "it matches a text of more than 1024 bytes",
        })
    }
}

/// A part that is true or false.
#[derive(Debug)]
pub(super) enum Bool {
    Is(bool),
    Fact(BoolFact),
    Not(Box<Self>),
    All(Box<[Self]>),
    Any(Box<[Self]>),
    If(Box<(Self, Self, Self)>),
    /// Whether an optional variable is given.
    Has(Fact),
    HasKey(MapFact, Text),
    Same(Box<(Self, Self)>),
    Ints(Compare, Int, Int),
    Doubles(Compare, Double, Double),
    Texts(Compare, Text, Text),
    TextIn(Text, Box<[Text]>),
    IntIn(Int, Box<[i64]>),
    DoubleIn(Double, Box<[f64]>),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Contains(Text, Text),
    Matches(Text, Box<Regex>),
}

/// A whole number.
#[derive(Debug)]
pub(super) enum Int {
    Is(i64),
    Fact(IntFact),
    Negative(Box<Self>),
    Sum(Calculate, Box<(Self, Self)>),
    Length(Text),
    Entries(MapFact),
    If(Box<(Bool, Self, Self)>),
}

/// A number with a fraction.
#[derive(Debug)]
pub(super) enum Double {
    Is(f64),
    Fact(DoubleFact),
    Of(Box<Int>),
    Negative(Box<Self>),
    Sum(Calculate, Box<(Self, Self)>),
    If(Box<(Bool, Self, Self)>),
}

/// A text.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Is(Box<str>),
    Fact(TextFact),
    /// The value of a map at a key.
    At(MapFact, Box<Self>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A calculation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calculate {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Compare {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// Whether one of these is `wanted`, or none is; a fault counts only where the others do not decide, as in CEL.
fn decide(parts: &[Bool], wanted: bool, facts: &Facts<'_>) -> Result<bool, Fault> {
    let mut fault = None;
    for part in parts {
        match part.eval(facts) {
            Ok(value) if value == wanted => return Ok(wanted),
            Ok(_) => {}
            Err(found) => fault = fault.or(Some(found)),
        }
    }
    fault.map_or(Ok(!wanted), Err)
}

impl Bool {
    pub(super) fn eval(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        Ok(match self {
            Self::Is(value) => *value,
            Self::Fact(fact) => boolean(*fact, facts)?,
            Self::Not(inner) => !inner.eval(facts)?,
            Self::All(parts) => decide(parts, false, facts)?,
            Self::Any(parts) => decide(parts, true, facts)?,
            Self::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                let part = if condition.eval(facts)? { then } else { otherwise };
                part.eval(facts)?
            }
            Self::Has(fact) => has(*fact, facts)?,
            Self::HasKey(map, key) => value(*map, key.eval(facts)?, facts).is_some(),
            Self::Same(parts) => parts.0.eval(facts)? == parts.1.eval(facts)?,
            Self::Ints(compare, left, right) => compare.holds(&left.eval(facts)?, &right.eval(facts)?),
            Self::Doubles(compare, left, right) => compare.holds(&left.eval(facts)?, &right.eval(facts)?),
            Self::Texts(compare, left, right) => compare.holds(&left.eval(facts)?, &right.eval(facts)?),
            Self::TextIn(text, list) => {
                let text = text.eval(facts)?;
                let mut found = false;
                for item in list {
                    found |= item.eval(facts)? == text;
                }
                found
            }
            Self::IntIn(int, list) => list.contains(&int.eval(facts)?),
            Self::DoubleIn(double, list) => list.contains(&double.eval(facts)?),
            Self::StartsWith(text, part) => text.eval(facts)?.starts_with(part.eval(facts)?),
            Self::EndsWith(text, part) => text.eval(facts)?.ends_with(part.eval(facts)?),
            Self::Contains(text, part) => text.eval(facts)?.contains(part.eval(facts)?),
            Self::Matches(text, regex) => {
                let text = text.eval(facts)?;
                if text.len() > MATCHED {
                    return Err(Fault::TooLong);
                }
                regex.is_match(text)
            }
        })
    }
}

impl Int {
    fn eval(&self, facts: &Facts<'_>) -> Result<i64, Fault> {
        match self {
            Self::Is(value) => Ok(*value),
            Self::Fact(fact) => int(*fact, facts)?.ok_or(Fault::NotGiven),
            Self::Negative(inner) => inner.eval(facts)?.checked_neg().ok_or(Fault::Overflow),
            Self::Sum(how, parts) => {
                let (left, right) = (parts.0.eval(facts)?, parts.1.eval(facts)?);
                let result = match how {
                    Calculate::Add => left.checked_add(right),
                    Calculate::Subtract => left.checked_sub(right),
                    Calculate::Multiply => left.checked_mul(right),
                    Calculate::Divide | Calculate::Remainder if right == 0 => return Err(Fault::DivisionByZero),
                    Calculate::Divide => left.checked_div(right),
                    Calculate::Remainder => left.checked_rem(right),
                };
                result.ok_or(Fault::Overflow)
            }
            Self::Length(text) => Ok(i64::try_from(text.eval(facts)?.chars().count()).unwrap_or(i64::MAX)),
            Self::Entries(MapFact::Labels) => Ok(i64::try_from(facts.caller.labels.len()).unwrap_or(i64::MAX)),
            // Refused when it is compiled.
            Self::Entries(MapFact::Headers) => Err(Fault::NotGiven),
            Self::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                let part = if condition.eval(facts)? { then } else { otherwise };
                part.eval(facts)
            }
        }
    }
}

impl Double {
    fn eval(&self, facts: &Facts<'_>) -> Result<f64, Fault> {
        match self {
            Self::Is(value) => Ok(*value),
            Self::Fact(fact) => double(*fact, facts)?.ok_or(Fault::NotGiven),
            Self::Of(inner) => Ok(inner.eval(facts)? as f64),
            Self::Negative(inner) => Ok(-inner.eval(facts)?),
            Self::Sum(how, parts) => {
                let (left, right) = (parts.0.eval(facts)?, parts.1.eval(facts)?);
                Ok(match how {
                    Calculate::Add => left + right,
                    Calculate::Subtract => left - right,
                    Calculate::Multiply => left * right,
                    Calculate::Divide => left / right,
                    // Refused when it is compiled: CEL has none of doubles.
                    Calculate::Remainder => return Err(Fault::NotGiven),
                })
            }
            Self::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                let part = if condition.eval(facts)? { then } else { otherwise };
                part.eval(facts)
            }
        }
    }
}

impl Text {
    pub(super) fn eval<'a>(&'a self, facts: &'a Facts<'_>) -> Result<&'a str, Fault> {
        match self {
            Self::Is(text) => Ok(text),
            Self::Fact(fact) => text(*fact, facts),
            Self::At(map, key) => value(*map, key.eval(facts)?, facts).ok_or(Fault::NotGiven),
        }
    }
}

pub(super) fn value<'a>(map: MapFact, key: &str, facts: &'a Facts<'_>) -> Option<&'a str> {
    match map {
        MapFact::Labels => facts.caller.labels.get(key).map(String::as_str),
        MapFact::Headers => facts.caller.headers.header(key),
    }
}

/// What is in the body can be told only of a body that is read.
fn read(facts: &Facts<'_>) -> Result<(), Fault> {
    match facts.request.operation {
        Operation::PassThrough => Err(Fault::Unread),
        _ if facts.request.is_unread => Err(Fault::Unread),
        _ => Ok(()),
    }
}

fn boolean(fact: BoolFact, facts: &Facts<'_>) -> Result<bool, Fault> {
    match fact {
        BoolFact::InPod => return Ok(facts.caller.in_pod),
        BoolFact::Stream | BoolFact::Feature(_) => read(facts)?,
    }
    let features = &facts.request.features;
    Ok(match fact {
        BoolFact::Stream => facts.request.stream,
        BoolFact::InPod => facts.caller.in_pod,
        BoolFact::Feature(feature) => match feature {
            Feature::Tools => features.tools,
            Feature::ProviderTools => features.provider_tools,
            Feature::WebSearch => features.web_search,
            Feature::CodeExecution => features.code_execution,
            Feature::Images => features.images,
            Feature::Audio => features.audio,
            Feature::Video => features.video,
            Feature::Files => features.files,
            Feature::StructuredOutput => features.structured_output,
            Feature::Thinking => features.thinking,
            Feature::StoredInput => features.stored_input,
            Feature::StoredOutput => features.stored_output,
        },
    })
}

fn has(fact: Fact, facts: &Facts<'_>) -> Result<bool, Fault> {
    match fact {
        Fact::Int(fact) => int(fact, facts).map(|value| value.is_some()),
        Fact::Double(fact) => double(fact, facts).map(|value| value.is_some()),
        // These are always there, so this is no question that is compiled.
        Fact::Bool(_) | Fact::Text(_) | Fact::Map(_) => Ok(true),
    }
}

pub(super) fn int(fact: IntFact, facts: &Facts<'_>) -> Result<Option<i64>, Fault> {
    read(facts)?;
    let told = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(match fact {
        IntFact::MaxTokens => facts.request.max_tokens.map(told),
        IntFact::InputTokens => Some(told(facts.request.input_tokens)),
        IntFact::Choices => Some(told(facts.request.features.choices)),
    })
}

pub(super) fn double(fact: DoubleFact, facts: &Facts<'_>) -> Result<Option<f64>, Fault> {
    read(facts)?;
    Ok(match fact {
        DoubleFact::Temperature => facts.request.features.temperature,
    })
}

pub(super) fn text<'a>(fact: TextFact, facts: &'a Facts<'_>) -> Result<&'a str, Fault> {
    Ok(match fact {
        TextFact::Model if facts.request.operation == Operation::PassThrough => return Err(Fault::Unread),
        // Of a batch whose kind is not known not even that is.
        TextFact::Model if facts.request.is_unread && facts.request.model.is_empty() => return Err(Fault::Unread),
        TextFact::Model => facts.request.model,
        TextFact::Operation if facts.request.pinned == Pinned::AsPassThrough => {
            facts::operation(Operation::PassThrough)
        }
        TextFact::Operation => facts::operation(facts.request.operation),
        TextFact::Method => facts.request.method,
        TextFact::Path => facts.request.path,
        TextFact::Dialect => facts.request.dialect.as_str(),
        TextFact::Pod => facts.caller.pod,
        TextFact::Workload => facts.caller.workload,
        TextFact::ServiceAccount => facts.caller.service_account,
        TextFact::Namespace => facts.caller.namespace,
        TextFact::Route => facts.route,
        TextFact::CandidateProvider => facts.candidate.provider,
        TextFact::CandidateModel => facts.candidate.model,
    })
}
