//! Saying a request as one candidate understands it: where it goes, and its body there.

use bowsprit_core::call::Operation;
use bowsprit_core::config::Route;
use bowsprit_core::dialect::embeddings::{self, Answered, EmbeddingsApi};
use bowsprit_core::dialect::{
    AnswerContext, Dialect, RequestError, Target, ToolNames, Usage, count, native_responses, rename_model,
    translate_request, translate_response, with_model, with_usage_option, without_allowed_tools,
    without_foreign_thoughts,
};
use bowsprit_core::fault::{Code, ErrorKind};
use bowsprit_core::plan::eligible::{self, Ineligible};
use bowsprit_core::platform::{Endpoint, Framing, ModelPlace};
use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;
use http::Uri;

use super::inbound::Inbound;
use super::path;
use super::refuse::clip;
use crate::tenant::snapshot::Upstream;

/// A request as one candidate gets it.
pub(super) struct Prepared {
    /// Where to.
    pub uri: Uri,
    /// The body.
    pub body: Bytes,
    /// What is sent after it, each once the one before is answered: a request that the provider takes in parts only.
    pub more: Vec<Bytes>,
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
    /// Of `dropped`, how many are tools that the provider cannot run.
    pub tools_left_out: u32,
    /// What the provider calls the caller's tools.
    pub tools: ToolNames,
}

impl Prepared {
    /// A body that is sent at once, with nothing left out. `same`: bytes pass as they are.
    fn new(uri: Uri, body: Bytes, wire: Dialect, same: bool) -> Self {
        Self {
            uri,
            body,
            more: Vec::new(),
            dropped: Vec::new(),
            hide_usage: false,
            wire,
            same,
            show_thoughts: false,
            tools_left_out: 0,
            tools: ToolNames::default(),
        }
    }

    /// Says a whole answer in the caller's dialect: one body for each that was sent. The usage is none where the provider
    /// told none.
    pub(super) fn say(
        &self,
        inbound: &Inbound,
        answers: &[Bytes],
        ctx: &AnswerContext,
    ) -> Result<(Bytes, Option<Usage>), ErrorKind> {
        let answer = answers.first().map(Bytes::as_ref).unwrap_or_default();
        match inbound.call.operation {
            Operation::Generate => translate_response(self.wire, inbound.call.dialect, answer, ctx)
                .map(|(body, usage)| (body, Some(usage))),
            Operation::Embed(form) => {
                let from = form.at(self.wire).unwrap_or(form);
                let sent = [&self.body].into_iter().chain(&self.more);
                let parts: Vec<Answered<'_>> = sent
                    .zip(answers)
                    .map(|(sent, answer)| Answered { sent, answer })
                    .collect();
                embeddings::translate_response(from, form, &parts, &inbound.body, &inbound.call.model)
            }
            Operation::Count => {
                count::translate_response(self.wire, inbound.call.dialect, answer).map(|body| (body, None))
            }
            Operation::PassThrough => Err(ErrorKind::Malformed),
        }
    }
}

/// Says the request as this candidate understands it. `route`: the one that matched.
pub(super) fn prepare(
    inbound: &Inbound,
    upstream: &Upstream,
    model: &str,
    route: Option<&Route>,
) -> Result<Prepared, RequestError> {
    let call = &inbound.call;
    let models = (&*call.model, model);
    let wire = if inbound.is_pinned() {
        call.dialect
    } else {
        eligible::wire(call.operation, call.dialect, &upstream.provider, route, models)
            .map_err(|why| ineligible(why, upstream, models))?
    };
    let on_unsupported = route.and_then(|route| route.on_unsupported);
    match call.operation {
        Operation::Generate => generate(inbound, upstream, (wire, model), on_unsupported),
        Operation::Embed(form) => embed(inbound, upstream, model, form, on_unsupported),
        Operation::Count => count(inbound, upstream, (wire, model), on_unsupported),
        Operation::PassThrough => as_it_came(inbound, upstream),
    }
}

fn unsupported(path: &str, problem: String) -> RequestError {
    RequestError {
        code: Code::ValUnsupported,
        path: path.into(),
        problem,
    }
}

fn no_uri(model: &str) -> RequestError {
    unsupported("model", format!("{:?} cannot stand in a URL", clip(model)))
}

/// Why a provider is not asked, for the caller.
fn ineligible(why: Ineligible, upstream: &Upstream, (asked, model): (&str, &str)) -> RequestError {
    let name = &upstream.provider.name;
    let problem = match why {
        Ineligible::NoEmbeddings => format!("cannot be answered by {name}: its API has no embeddings"),
        Ineligible::NoCount => format!("cannot be counted by {name}: its API has no token count"),
        Ineligible::OtherModel => format!(
            "{name} would answer for {:?} with {:?}, whose embeddings do not mix with it; list the model or an alias of it at \
             this provider, or name both in a ModelRoute",
            clip(asked),
            clip(model)
        ),
    };
    unsupported("model", problem)
}

fn embed(
    inbound: &Inbound,
    upstream: &Upstream,
    model: &str,
    form: EmbeddingsApi,
    on_unsupported: Option<OnUnsupported>,
) -> Result<Prepared, RequestError> {
    let provider = &upstream.provider;
    let wire = form.at(provider.dialect).unwrap_or(form);
    if wire == form {
        return passed_on(inbound, upstream, Endpoint::Embed(wire), model, provider.dialect);
    }
    let divided = embeddings::translate_request(form, wire, &inbound.body, model, on_unsupported)?;
    let uri = upstream.endpoint_uri(Endpoint::Embed(wire), provider.dialect, model, None);
    let uri = uri.ok_or_else(|| no_uri(model))?;
    Ok(Prepared {
        more: divided.more,
        dropped: divided.first.dropped,
        ..Prepared::new(uri, divided.first.body, provider.dialect, false)
    })
}

fn count(
    inbound: &Inbound,
    upstream: &Upstream,
    (wire, model): (Dialect, &str),
    on_unsupported: Option<OnUnsupported>,
) -> Result<Prepared, RequestError> {
    let provider = &upstream.provider;
    if wire == inbound.call.dialect {
        return passed_on(inbound, upstream, Endpoint::Count, model, wire);
    }
    let target = Target {
        model,
        default_max_tokens: provider.max_output_tokens(model),
        safety: &[],
        stream: false,
        on_unsupported,
        allowed_tools: provider.platform.allowed_tools,
    };
    let translated = count::translate_request(inbound.call.dialect, wire, &inbound.body, &target)?;
    let uri = upstream.endpoint_uri(Endpoint::Count, wire, model, None);
    let uri = uri.ok_or_else(|| no_uri(model))?;
    Ok(Prepared {
        dropped: translated.dropped,
        ..Prepared::new(uri, translated.body, wire, false)
    })
}

/// The same operation at a provider of the caller's own dialect.
fn passed_on(
    inbound: &Inbound,
    upstream: &Upstream,
    endpoint: Endpoint,
    model: &str,
    wire: Dialect,
) -> Result<Prepared, RequestError> {
    let uri = native_uri(inbound, upstream, endpoint, (wire, model), inbound.query.as_deref())?;
    let body = if *inbound.call.model == *model {
        inbound.body.clone()
    } else {
        rename_model(wire, &inbound.body, model)
    };
    let native = without_foreign_thoughts(wire, model, &body);
    Ok(Prepared {
        dropped: native.dropped,
        ..Prepared::new(uri, native.body, wire, true)
    })
}

/// Where an operation is asked for: of a pinned request at the path that it came to, with what the API's own path has for a query.
fn native_uri(
    inbound: &Inbound,
    upstream: &Upstream,
    endpoint: Endpoint,
    (wire, model): (Dialect, &str),
    query: Option<&str>,
) -> Result<Uri, RequestError> {
    if !inbound.is_pinned() {
        let uri = upstream.endpoint_uri(endpoint, wire, model, query);
        return uri.ok_or_else(|| no_uri(model));
    }
    let platform = &upstream.provider.platform;
    // As of a generation: parameters there may hide what was used.
    let query = query.filter(|_| platform.model == ModelPlace::Body);
    let own = platform.path(endpoint, wire, model);
    let own = own.as_deref().and_then(|path| Some(path.split_once('?')?.1));
    match (own, query) {
        (Some(own), Some(query)) => below(inbound, upstream, Some(&format!("{own}&{query}"))),
        (own, query) => below(inbound, upstream, own.or(query)),
    }
}

fn generate(
    inbound: &Inbound,
    upstream: &Upstream,
    (wire, model): (Dialect, &str),
    on_unsupported: Option<OnUnsupported>,
) -> Result<Prepared, RequestError> {
    let provider = &upstream.provider;
    let same = wire == inbound.call.dialect;
    if inbound.call.array && !same {
        return Err(unsupported(
            "alt",
            "must be sse: this request is answered by a provider of another API".into(),
        ));
    }
    let framing = match (inbound.call.stream, inbound.call.array) {
        (false, _) => Framing::Whole,
        (true, false) => Framing::Events,
        (true, true) => Framing::Array,
    };
    // Where the model stands in the path, so does all that a query of generation could say.
    let query = inbound.query.as_deref();
    let query = query.filter(|_| same && provider.platform.model == ModelPlace::Body);
    let uri = native_uri(inbound, upstream, Endpoint::Generate(framing), (wire, model), query)?;
    if !same {
        let target = Target {
            model,
            default_max_tokens: provider.max_output_tokens(model),
            safety: &provider.safety,
            stream: inbound.call.stream,
            on_unsupported,
            allowed_tools: provider.platform.allowed_tools,
        };
        let translated = translate_request(inbound.call.dialect, wire, &inbound.body, &target)?;
        let asks = wire == Dialect::OpenAiChat && inbound.call.stream && provider.asks_stream_usage;
        let body = if asks {
            with_usage_option(&translated.body)
        } else {
            translated.body
        };
        return Ok(Prepared {
            dropped: translated.dropped,
            show_thoughts: translated.show_thoughts,
            tools_left_out: translated.tools_left_out,
            tools: translated.tools,
            ..Prepared::new(uri, body, wire, same)
        });
    }
    let body = if provider.platform.model == ModelPlace::Path || *inbound.call.model == *model {
        inbound.body.clone()
    } else {
        with_model(&inbound.body, model)
    };
    let native = if wire == Dialect::OpenAiResponses {
        native_responses(&body)?
    } else {
        without_foreign_thoughts(wire, model, &body)
    };
    let (body, dropped) = (native.body, native.dropped);
    let plain = wire == Dialect::OpenAiChat && !provider.platform.allowed_tools;
    let body = if plain { without_allowed_tools(&body) } else { body };
    let asks = wire == Dialect::OpenAiChat && inbound.call.stream && provider.asks_stream_usage;
    let hide_usage = asks && !inbound.call.include_usage;
    let body = if hide_usage { with_usage_option(&body) } else { body };
    Ok(Prepared {
        dropped,
        hide_usage,
        ..Prepared::new(uri, body, wire, same)
    })
}

/// What passes unread: only its address is ours to make. The body follows as it arrives.
fn as_it_came(inbound: &Inbound, upstream: &Upstream) -> Result<Prepared, RequestError> {
    let uri = below(inbound, upstream, inbound.query.as_deref())?;
    Ok(Prepared::new(uri, Bytes::new(), upstream.provider.dialect, true))
}

/// The path that a request came to, below the provider's own address.
fn below(inbound: &Inbound, upstream: &Upstream, query: Option<&str>) -> Result<Uri, RequestError> {
    let provider = &upstream.provider;
    let rest = &inbound.path_below;
    let bad = |problem| RequestError {
        code: Code::ValHttp,
        path: String::new(),
        problem,
    };
    let facts = provider.kind.facts();
    let own = facts.fixed_base.then_some(facts.base_path);
    let path = path::below(provider.base_url.path(), own, provider.version.as_deref(), rest)
        .map_err(|why| bad(format!("the path {:?} {why}", clip(rest))))?;
    let uri = upstream.absolute(&path, query);
    uri.ok_or_else(|| bad(format!("{:?} makes no URL", clip(rest))))
}
