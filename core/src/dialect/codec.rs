//! Saying a request, and a whole answer, in another dialect.

use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;

use super::cursor::parse_body;
use super::dropped::Dropped;
use super::message::{Request, to_bytes};
use super::rules::Rules;
use super::strip::holds_wrapped;
use super::{
    AnswerContext, Dialect, RequestError, Target, ToolNames, Translated, Usage, ending, hosted, mend, registry, success,
};
use crate::fault::ErrorKind;

/// The body without thoughts that are not `dialect`'s own, as its provider would refuse them. All else stays byte for byte,
/// and a body without a wrapped signature is only searched once.
pub fn without_foreign_thoughts(dialect: Dialect, model: &str, body: &Bytes) -> Translated {
    let strip = registry::of(dialect).strip;
    let stripped = holds_wrapped(body).then(|| strip(model, body)).flatten();
    stripped.unwrap_or_else(|| Translated {
        body: body.clone(),
        ..Translated::default()
    })
}

/// Names another model in a body of a caller's own dialect, byte for byte the same otherwise. `Gemini`'s bodies name none
/// in conversations, and theirs elsewhere are written anew.
pub fn rename_model(dialect: Dialect, body: &Bytes, model: &str) -> Bytes {
    (registry::of(dialect).rename_model)(body, model)
}

/// Says the caller's request in the provider's dialect.
pub fn translate_request(
    from: Dialect,
    to: Dialect,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Translated, RequestError> {
    let value = parse_body(body)?;
    let mut dropped = Dropped::new(target.on_unsupported);
    let mut request = (registry::of(from).read_request)(&value, &mut dropped)?;
    mend::answered(&request)?;
    mend::mend(&mut request, registry::of(to).rules, target, &mut dropped)?;
    let tools = settle_tools(&mut request, registry::of(to).rules, target, &mut dropped)?;
    let show_thoughts = request.show_thoughts;
    let encoded = (registry::of(to).write_request)(request, target, &mut dropped)?;
    Ok(Translated {
        body: to_bytes(&encoded),
        show_thoughts,
        tools_left_out: dropped.tools(),
        tools,
        dropped: dropped.into_vec(),
    })
}

/// Decides which tools the provider is told of, and under which names.
pub(super) fn settle_tools(
    request: &mut Request,
    provider: &Rules,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<ToolNames, RequestError> {
    hosted::settle(request, provider, target, dropped)?;
    if target.on_unsupported == Some(OnUnsupported::Drop) {
        request.forget_missing_tools();
    }
    Ok(ToolNames::give(request, provider))
}

/// Says the provider's whole answer in the caller's dialect.
///
/// `Err` is what the provider's answer really was: [`ErrorKind::Malformed`], or the kind of an error body that came
/// with a status of success.
pub fn translate_response(
    from: Dialect,
    to: Dialect,
    body: &[u8],
    ctx: &AnswerContext,
) -> Result<(Bytes, Usage), ErrorKind> {
    let value = success::object(registry::of(from).rules, body)?;
    let mut answer = (registry::of(from).read_answer)(&value, ctx)?;
    for choice in &mut answer.choices {
        ending::judge(choice)?;
    }
    ctx.tools.give_back(&mut answer);
    let usage = answer.usage.unwrap_or_default();
    Ok(((registry::of(to).write_answer)(&answer, ctx), usage))
}
