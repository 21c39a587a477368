//! Thinking, asked of a `Claude` model where nothing else in the request forbids it.

use crate::json::{Map, Value, json};

use super::super::Target;
use super::super::dropped::Dropped;
use super::super::message::{Request, Role, ToolChoice};
use super::super::thinking::{ForClaude, LEAST_BUDGET, claude_hides_thoughts, for_claude};

/// Room for the answer beside the thoughts, both of which `max_tokens` counts.
const ANSWER: u64 = 1024;
/// What the models with budgets write at most, thoughts included (Opus 4; the others more).
const MOST: u64 = 32_000;

/// Puts `thinking`, `output_config.effort` and, where the caller set none, a `max_tokens` that leaves room for both
/// into the body. Says whether the model will think.
pub(super) fn put(body: &mut Map, request: &Request, target: &Target<'_>, dropped: &mut Dropped) -> bool {
    let Some(wanted) = &request.thinking else { return false };
    let spelled = request.fields.thinking;
    let Some((told, exact)) = for_claude(wanted, target.model) else {
        dropped.note(spelled);
        return false;
    };
    let (mut thinking, exact) = match told {
        ForClaude::Off => {
            dropped.note_if(!exact, spelled);
            return false;
        }
        _ if forbidden(body, request, told) => {
            dropped.note(spelled);
            return false;
        }
        ForClaude::Adaptive(effort) => {
            if let Some(effort) = effort {
                body.insert("output_config".into(), json!({ "effort": effort.as_str() }));
            }
            (json!({ "type": "adaptive" }), exact)
        }
        ForClaude::Budget(tokens) => {
            let Some(fits) = fit(body, tokens, request.max_tokens, target.default_max_tokens) else {
                dropped.note(spelled);
                return false;
            };
            (
                json!({ "type": "enabled", "budget_tokens": fits }),
                exact && fits == tokens,
            )
        }
    };
    dropped.note_if(!exact, spelled);
    if let (true, Some(thinking)) = (
        request.show_thoughts && claude_hides_thoughts(target.model),
        thinking.as_object_mut(),
    ) {
        thinking.insert("display".into(), "summarized".into());
    }
    body.insert("thinking".into(), thinking);
    true
}

/// A budget within the limit on the whole answer, or none if there is no room. A limit that the caller did not set is
/// raised instead.
fn fit(body: &mut Map, tokens: u64, limit: Option<u64>, usual: u64) -> Option<u64> {
    let tokens = tokens.max(LEAST_BUDGET);
    if let Some(limit) = limit {
        return (limit >= LEAST_BUDGET + ANSWER).then(|| tokens.min(limit - ANSWER));
    }
    let tokens = tokens.min(MOST.saturating_sub(usual)).max(LEAST_BUDGET);
    body.insert("max_tokens".into(), tokens.saturating_add(usual.max(1)).into());
    Some(tokens)
}

/// Whether the API refuses to think about this request: where a tool must be called, where the answer's beginning is
/// given, and, with a budget, where the model is amid a round of tool calls that another model began, without thoughts
/// of `Claude`'s own.
fn forbidden(body: &Map, request: &Request, told: ForClaude) -> bool {
    let forced = matches!(
        request.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Only { required: true, .. })
    ) && !request.tools.is_empty();
    let prefilled = request.turns.last().is_some_and(|turn| turn.role == Role::Assistant);
    forced || prefilled || (matches!(told, ForClaude::Budget(_)) && amid_unsigned_calls(body))
}

fn amid_unsigned_calls(body: &Map) -> bool {
    let first_kind = |message: &Value| {
        let block = message.get("content")?.get(0)?;
        block.get("type")?.as_str().map(str::to_owned)
    };
    let Some(messages) = body.get("messages").and_then(Value::as_array) else {
        return false;
    };
    let [.., before, last] = messages.as_slice() else {
        return false;
    };
    first_kind(last).as_deref() == Some("tool_result")
        && !matches!(first_kind(before).as_deref(), Some("thinking" | "redacted_thinking"))
}
