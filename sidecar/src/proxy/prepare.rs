//! Saying a request as one candidate understands it: where it goes, and its body there.

use bowsprit_core::dialect::{
    Dialect, RequestError, Target, native_responses, translate_request, with_model, with_usage_option,
    without_foreign_thoughts,
};
use bowsprit_core::fault::Code;
use bytes::Bytes;
use http::Uri;

use super::admit::{Call, Kind};
use super::route::clip;
use crate::live::Upstream;

/// A request as one candidate gets it.
pub(super) struct Prepared {
    /// Where to.
    pub uri: Uri,
    /// The body.
    pub body: Bytes,
    /// Fields that were left out or approximated.
    pub dropped: Vec<String>,
    /// We asked for the usage chunk; the caller did not.
    pub hide_usage: bool,
    /// What is spoken with the provider.
    pub wire: Dialect,
    /// Whether bytes pass as they are.
    pub same: bool,
    /// Whether the caller asked to read thoughts.
    pub show_thoughts: bool,
}

/// Says the request as this candidate understands it.
///
/// `drop_unsupported`: what the route says about fields that cannot be carried.
pub(super) fn prepare(
    call: &Call,
    upstream: &Upstream,
    model: &str,
    drop_unsupported: bool,
) -> Result<Prepared, RequestError> {
    let provider = &upstream.provider;
    let wire = provider.wire(call.dialect);
    let same = wire == call.dialect;
    let unsupported = |path: &str, problem: String| RequestError {
        code: Code::ValUnsupported,
        path: path.into(),
        problem,
    };
    let no_uri = || unsupported("model", format!("{:?} cannot stand in a URL", clip(model)));
    if let Kind::Forward { path, model_in_path } = &call.kind {
        return Ok(Prepared {
            uri: forward_uri(call, upstream, model, path, *model_in_path).ok_or_else(no_uri)?,
            body: if *model_in_path || call.model == model {
                call.body.clone()
            } else {
                with_model(&call.body, model)
            },
            dropped: Vec::new(),
            hide_usage: false,
            wire,
            same: true,
            show_thoughts: false,
        });
    }
    if call.array && !same {
        return Err(unsupported(
            "alt",
            "must be sse: this request is answered by a provider of another API".into(),
        ));
    }
    let query = if call.array {
        Some("")
    } else {
        call.query.as_deref().filter(|_| same && wire != Dialect::Gemini)
    };
    let uri = upstream
        .generation_uri(wire, model, call.stream, query)
        .ok_or_else(no_uri)?;
    if !same {
        let target = Target {
            model,
            default_max_tokens: provider.max_output_tokens(model),
            safety: &provider.safety,
            stream: call.stream,
            drop_unsupported,
        };
        let translated = translate_request(call.dialect, wire, &call.body, &target)?;
        return Ok(Prepared {
            uri,
            body: translated.body,
            dropped: translated.dropped,
            hide_usage: false,
            wire,
            same,
            show_thoughts: translated.show_thoughts,
        });
    }
    let body = if wire == Dialect::Gemini || call.model == model {
        call.body.clone()
    } else {
        with_model(&call.body, model)
    };
    let (body, dropped) = if wire == Dialect::OpenAiResponses {
        let native = native_responses(&body)?;
        (native.body, native.dropped)
    } else {
        (without_foreign_thoughts(wire, model, &body), Vec::new())
    };
    let hide_usage = wire == Dialect::OpenAiChat && call.stream && !call.include_usage;
    let body = if hide_usage { with_usage_option(&body) } else { body };
    Ok(Prepared {
        uri,
        body,
        dropped,
        hide_usage,
        wire,
        same,
        show_thoughts: false,
    })
}

fn forward_uri(call: &Call, upstream: &Upstream, model: &str, path: &str, model_in_path: bool) -> Option<Uri> {
    let path = if model_in_path {
        // The generation path of this model, with the operation that was asked for.
        let of_model = bowsprit_core::dialect::request_path(Dialect::Gemini, model, false);
        format!("{}{path}", of_model.strip_suffix("generateContent")?)
    } else {
        path.to_owned()
    };
    match &call.query {
        Some(query) => upstream.uri(&format!("{path}?{query}")),
        None => upstream.uri(&path),
    }
}
