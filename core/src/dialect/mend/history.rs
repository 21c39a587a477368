//! Calls and their results in the turns so far.
//!
//! Providers want ids that are unique and in their own alphabet, and each result in the turn right after its call. Ids are
//! only compared within one request, so they are written anew where they do not fit; a result that stands too late is
//! brought to its call.

use std::collections::HashSet;

use super::super::RequestError;
use super::super::ids::safe_id;
use super::super::message::{Part, Request, Role, Turn};
use super::super::rules::Rules;

/// A call without its result so far.
struct Open {
    /// As the caller says it.
    id: String,
    /// As it is sent.
    sent: String,
    turn: usize,
}

/// # Errors
/// `VAL_FIELD` with the path of a second result of the same call.
pub(super) fn mend(request: &mut Request, to: &Rules) -> Result<(), RequestError> {
    let mut used = HashSet::new();
    let mut open: Vec<Open> = Vec::new();
    let mut late: Vec<(usize, Part)> = Vec::new();
    for (place, turn) in request.turns.iter_mut().enumerate() {
        let mut kept = Vec::with_capacity(turn.parts.len());
        for mut part in std::mem::take(&mut turn.parts) {
            let mut call = place;
            if let Part::Call(made) = &mut part {
                let sent = unique(&made.id, to, &mut used);
                open.push(Open {
                    id: std::mem::replace(&mut made.id, sent.clone()),
                    sent,
                    turn: place,
                });
            } else if let Part::Result(result) = &mut part {
                let Some(at) = open.iter().position(|open| open.id == result.id) else {
                    return Err(RequestError::field(
                        &result.path,
                        "answers a call that is answered already",
                    ));
                };
                let answered = open.remove(at);
                result.id = answered.sent;
                call = answered.turn + 1;
            }
            if call < place {
                late.push((call, part));
            } else {
                kept.push(part);
            }
        }
        turn.parts = kept;
    }
    for (place, part) in late {
        put(&mut request.turns, place, part);
    }
    Ok(())
}

/// Whether each call that the conversation goes on from has its result.
///
/// # Errors
/// `VAL_FIELD` where one has none: every provider would refuse the conversation.
pub(in super::super) fn answered(request: &Request) -> Result<(), RequestError> {
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    let results: HashSet<&str> = parts
        .filter_map(|part| match part {
            Part::Result(result) => Some(result.id.as_str()),
            _ => None,
        })
        .collect();
    let before = request.turns.split_last().map_or(&[][..], |(_, before)| before);
    for part in before.iter().flat_map(|turn| &turn.parts) {
        if let Part::Call(call) = part
            && !results.contains(call.id.as_str())
        {
            let problem = format!("the call {:?} of the tool {:?} has no result", call.id, call.name);
            return Err(RequestError::field(request.fields.turns, problem));
        }
    }
    Ok(())
}

/// Puts a result behind those that its turn begins with.
fn put(turns: &mut Vec<Turn>, place: usize, part: Part) {
    match turns.get_mut(place).filter(|turn| turn.role == Role::User) {
        Some(turn) => {
            let results = turn
                .parts
                .iter()
                .take_while(|part| matches!(part, Part::Result(_)))
                .count();
            turn.parts.insert(results, part);
        }
        None => turns.insert(
            place.min(turns.len()),
            Turn {
                role: Role::User,
                parts: vec![part],
            },
        ),
    }
}

/// An id that the target takes and that no other call has.
fn unique(id: &str, to: &Rules, used: &mut HashSet<String>) -> String {
    let fit = if to.safe_call_ids { safe_id(id) } else { id.to_owned() };
    let fit: String = fit.chars().take(to.longest_call_id).collect();
    let fit = if fit.is_empty() { "call".to_owned() } else { fit };
    let mut sent = fit.clone();
    let mut number = 1;
    while used.contains(&sent) {
        number += 1;
        let suffix = format!("_{number}");
        // Ids are ASCII in practice; a cut within the limit counts characters all the same.
        let most = to.longest_call_id - suffix.len();
        sent = fit.chars().take(most).collect::<String>() + &suffix;
    }
    used.insert(sent.clone());
    sent
}
