//! Text that is empty or only white space.
//!
//! `Anthropic` refuses both wherever a text stands, the others an empty part. White space goes along with the text beside
//! it, so that nothing of a message is lost; alone it says nothing and is left out. Where the turns would then say
//! something else (the model would go on with its own words instead of answering), [`NO_TEXT`] stands for it, and the
//! warning names the conversation.

use super::super::dropped::Dropped;
use super::super::message::{Part, Request, Role, Turn, push_turn};
use super::super::rules::Rules;
use super::super::{RequestError, Target, thinking};

/// Stands where the API wants a text and the caller said none.
const NO_TEXT: &str = "(no text)";

/// Whether it is only white space, as Python's `str.strip` sees it: that is what `Anthropic` judges by.
fn is_blank(text: &str) -> bool {
    text.chars().all(is_white)
}

fn is_white(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

pub(super) fn mend(
    request: &mut Request,
    to: &Rules,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<(), RequestError> {
    let refused = if to.refuses_white_space {
        is_blank
    } else {
        str::is_empty
    };
    system(request, refused, dropped);
    let before = request.turns.len();
    let ends = request.turns.last().map(|turn| turn.role);
    for turn in std::mem::take(&mut request.turns) {
        let mut parts = without(turn.parts, refused);
        for part in &mut parts {
            result(part, to, refused);
        }
        push_turn(&mut request.turns, turn.role, parts);
    }
    if ends == Some(Role::User) && request.turns.last().is_none_or(|turn| turn.role == Role::Assistant) {
        say_nothing(request, dropped);
    }
    if before == 0 && to.begins_with_user {
        only_system(request, dropped);
    }
    if request.turns.is_empty() && request.system.iter().all(String::is_empty) {
        say_nothing(request, dropped);
    }
    if to.continues_answers {
        begun_answer(request, target, dropped)?;
    }
    if to.begins_with_user && request.turns.first().is_none_or(|turn| turn.role == Role::Assistant) {
        dropped.note(request.fields.turns);
        request.turns.insert(0, no_text());
    }
    Ok(())
}

fn no_text() -> Turn {
    Turn {
        role: Role::User,
        parts: vec![Part::Text(NO_TEXT.to_owned())],
    }
}

fn say_nothing(request: &mut Request, dropped: &mut Dropped) {
    dropped.note(request.fields.turns);
    request.turns.push(no_text());
}

/// Texts that would be refused become empty, as their places are counted; who writes them leaves those out.
fn system(request: &mut Request, refused: fn(&str) -> bool, dropped: &mut Dropped) {
    for (place, text) in request.system.iter_mut().enumerate() {
        if !refused(text) {
            continue;
        }
        text.clear();
        for (marked, point) in &request.cached_system {
            if *marked == place {
                dropped.note(&point.path);
            }
        }
    }
}

/// The parts without texts that would be refused.
fn without(parts: Vec<Part>, refused: fn(&str) -> bool) -> Vec<Part> {
    let mut kept: Vec<Part> = Vec::with_capacity(parts.len());
    let mut waiting = String::new();
    for part in parts {
        match part {
            Part::Text(text) if refused(&text) => match kept.last_mut() {
                Some(Part::Text(before)) => before.push_str(&text),
                _ => waiting.push_str(&text),
            },
            Part::Text(text) if !waiting.is_empty() => {
                waiting.push_str(&text);
                kept.push(Part::Text(std::mem::take(&mut waiting)));
            }
            part => {
                waiting.clear();
                kept.push(part);
            }
        }
    }
    kept
}

fn result(part: &mut Part, to: &Rules, refused: fn(&str) -> bool) {
    let Part::Result(result) = part else { return };
    result.parts = without(std::mem::take(&mut result.parts), refused);
    // An error must say something there.
    if to.errors_need_text && result.is_error && result.parts.is_empty() {
        result.parts.push(Part::Text(NO_TEXT.to_owned()));
    }
}

/// `OpenAI` answers a system prompt alone; the others want a user, who then says it.
fn only_system(request: &mut Request, dropped: &mut Dropped) {
    let texts = std::mem::take(&mut request.system)
        .into_iter()
        .filter(|text| !text.is_empty());
    let parts: Vec<Part> = texts.map(Part::Text).collect();
    for (_, point) in std::mem::take(&mut request.cached_system) {
        dropped.note(point.path);
    }
    if !parts.is_empty() {
        dropped.note(request.fields.turns);
        request.turns.push(Turn {
            role: Role::User,
            parts,
        });
    }
}

/// A last turn of the model's own is the beginning of its answer here. It must not end in white space, and newer models
/// take none.
fn begun_answer(request: &mut Request, target: &Target<'_>, dropped: &mut Dropped) -> Result<(), RequestError> {
    let Some(last) = request.turns.last_mut().filter(|turn| turn.role == Role::Assistant) else {
        return Ok(());
    };
    if thinking::claude_begins_itself(target.model) {
        let problem = "the chosen model takes no beginning of its answer: end with a user message";
        dropped.leave_out(RequestError::unsupported(request.fields.turns, problem))?;
        request.turns.pop();
        return Ok(());
    }
    if let Some(Part::Text(text)) = last.parts.last_mut() {
        let end = text.trim_end_matches(is_white).len();
        if end < text.len() {
            text.truncate(end);
            dropped.note(request.fields.turns);
        }
    }
    Ok(())
}
