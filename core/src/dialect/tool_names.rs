//! What a tool is called on both sides.
//!
//! Each API has its own alphabet and length for the names of functions, and one name outside of it fails the whole request.
//! Callers of Responses also group functions in namespaces and declare tools that take free text, which no other API has.
//! So a tool is known here by what its caller calls it ([`ToolName`]); the provider is told a name that it takes, and
//! [`ToolNames`] leads from there back. The names depend on nothing but the request: the same tools get the same names in
//! every turn of a conversation.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::message::{Answer, Part, RAW_ARGUMENTS, Request, ToolChoice, ToolName, WEB_SEARCH};
use super::rules::Rules;
use crate::json::{Value, json};

/// The one property of the function that a custom tool becomes.
const INPUT: &str = "input";

/// The schema of the function that a custom tool becomes.
pub(super) fn custom_schema() -> Value {
    json!({
        "type": "object",
        "properties": { INPUT: { "type": "string", "description": "The whole input of this tool, as it is." } },
        "required": [INPUT],
        "additionalProperties": false,
    })
}

/// What tells the model which text a custom tool takes. `grammar`: its syntax (`lark`, `regex`) and definition.
pub(super) fn custom_description(description: Option<&str>, grammar: Option<(&str, &str)>) -> String {
    let mut told = description.unwrap_or_default().to_owned();
    if !told.is_empty() {
        told.push_str("\n\n");
    }
    told.push_str("Put the input, as plain text, into the argument \"input\".");
    if let Some((syntax, definition)) = grammar {
        told.push_str(" It must follow this ");
        told.push_str(syntax);
        told.push_str(" grammar:\n");
        told.push_str(definition);
    }
    told
}

/// The text for a custom tool as the arguments of its function.
pub(super) fn custom_arguments(text: &str) -> Value {
    json!({ INPUT: text })
}

/// The text that a model gave to a custom tool's function; `None` if it answered with something else than the one argument.
/// Then all of that is the text: it is the caller who can make sense of it.
pub(super) fn custom_text(arguments: &Value) -> Option<String> {
    let object = arguments.as_object()?;
    if object.is_empty() {
        return Some(String::new());
    }
    // The second is where arguments stand that are no JSON object.
    let only = object.get(INPUT).or_else(|| object.get(RAW_ARGUMENTS));
    let text = only.filter(|_| object.len() == 1)?.as_str()?;
    Some(text.to_owned())
}

/// The names of one request's tools at the provider, and which tool of the caller each one is. Empty where every tool is a
/// function with a name that the provider takes.
#[derive(Clone, Default)]
pub struct ToolNames(HashMap<String, ToolName>);

impl ToolNames {
    /// Gives every tool of the request a name that the provider takes: of those offered, called and chosen. A name that it
    /// takes stays as it is.
    pub(super) fn give(request: &mut Request, provider: &Rules) -> Self {
        let mut seen = Vec::new();
        each_name(request, |name| seen.push(name.clone()));
        let mut names = Self::default();
        let mut given: HashMap<ToolName, String> = HashMap::new();
        let mut taken: HashSet<String> = HashSet::new();
        if provider.search_is_named && request.search.is_some() {
            taken.insert(WEB_SEARCH.to_owned());
        }
        for tool in seen.iter().filter(|tool| tool.is_plain()) {
            if fits(provider, &tool.name) && !taken.contains(&tool.name) {
                given.insert(tool.clone(), tool.name.clone());
            }
        }
        taken.extend(given.values().cloned());
        for tool in seen {
            if tool.is_hosted() || given.contains_key(&tool) {
                continue;
            }
            let name = free_name(provider, &tool, &taken);
            taken.insert(name.clone());
            names.0.insert(name.clone(), tool.clone());
            given.insert(tool, name);
        }
        each_name(request, |name| {
            if let Some(at_provider) = given.get(name) {
                *name = at_provider.as_str().into();
            }
        });
        names
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller's own word for a tool that the provider named.
    pub(super) fn caller(&self, at_provider: &ToolName) -> Option<&ToolName> {
        self.0.get(&at_provider.name)
    }

    /// Puts the caller's own words into an answer.
    pub(super) fn give_back(&self, answer: &mut Answer) {
        if self.is_empty() {
            return;
        }
        for part in answer.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
            let Part::Call(call) = part else { continue };
            let Some(name) = self.caller(&call.name) else { continue };
            if name.is_custom() {
                let text = custom_text(&call.input).unwrap_or_else(|| call.input.to_string());
                call.input = text.into();
            }
            call.name = name.clone();
        }
    }
}

/// Never the caller's words: this ends up in logs.
impl fmt::Debug for ToolNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolNames({})", self.0.len())
    }
}

fn each_name(request: &mut Request, mut visit: impl FnMut(&mut ToolName)) {
    for tool in &mut request.tools {
        visit(&mut tool.name);
    }
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match part {
            Part::Call(call) => visit(&mut call.name),
            Part::Result(result) => visit(&mut result.name),
            _ => {}
        }
    }
    if let Some(ToolChoice::Only { names, .. }) = &mut request.tool_choice {
        names.iter_mut().for_each(visit);
    }
}

/// Whether a letter may stand in a function's name.
fn allowed(provider: &Rules, letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') || provider.tool_name_letters.contains(&letter)
}

/// Whether a letter may be the first of a function's name.
fn may_begin(provider: &Rules, letter: char) -> bool {
    !provider.tool_name_begins_with_letter || letter.is_ascii_alphabetic() || letter == '_'
}

fn fits(provider: &Rules, name: &str) -> bool {
    name.len() <= provider.longest_tool_name
        && name.chars().next().is_some_and(|first| may_begin(provider, first))
        && name.chars().all(|letter| allowed(provider, letter))
}

/// A name of letters that every API takes, which tells what the tool is; with a hash where that alone would not tell it
/// from others.
fn free_name(provider: &Rules, tool: &ToolName, taken: &HashSet<String>) -> String {
    let spelled = tool.spelled();
    if fits(provider, &spelled) && !taken.contains(&spelled) {
        return spelled;
    }
    let mut stem: String = spelled
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') {
                letter
            } else {
                '_'
            }
        })
        .collect();
    if !stem.starts_with(|first| may_begin(provider, first)) {
        stem.insert(0, '_');
    }
    // An underscore and eight digits follow.
    stem.truncate(provider.longest_tool_name - 9);
    (0..=u32::MAX)
        .map(|salt| format!("{stem}_{:08x}", hash(tool, salt)))
        .find(|name| !taken.contains(name))
        .unwrap_or(stem)
}

/// FNV-1a, folded to 32 bits: short, and the same in every build. That two tools get the same is seen, and mended with salt.
fn hash(tool: &ToolName, salt: u32) -> u32 {
    let namespace = tool.namespace.as_deref().unwrap_or_default();
    let kind = [u8::from(tool.is_custom()), u8::from(tool.namespace.is_some())];
    let bytes = salt.to_le_bytes().into_iter().chain(kind);
    let bytes = bytes.chain(namespace.bytes()).chain([0xff]).chain(tool.name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    u32::try_from(folded).unwrap_or_default()
}
