//! Tools that a provider runs itself (web search, code execution, file search), and tools that only its own models know
//! (a computer, a shell, a patch): what becomes of them where another provider answers.
//!
//! A model that was free to choose answers well without one, so the tool is left out and listed; where the choice of tools
//! forces it, or the route says `onUnsupported: Refuse`, the request is refused by the tool's path. Web search is the one
//! that several providers have: it is asked for in their own words.

use bowsprit_crds::model_route::OnUnsupported;

use super::dropped::Dropped;
use super::message::{Request, ToolChoice, WEB_SEARCH, WebSearch};
use super::message::{ToolKind, ToolName};
use super::rules::Rules;
use super::{RequestError, Target};
use crate::json::{Map, Value, json};

/// Whether the model may do without.
pub(super) fn may_choose(choice: Option<&ToolChoice>) -> bool {
    matches!(
        choice,
        None | Some(ToolChoice::Auto | ToolChoice::Only { required: false, .. })
    )
}

/// City, region, country and time zone, as far as the caller tells them.
pub(super) fn place(told: &Value) -> Option<Value> {
    let told = told.as_object()?;
    let place: Map = ["city", "region", "country", "timezone"]
        .into_iter()
        .filter_map(|name| {
            Some((
                name.to_owned(),
                told.get(name).filter(|value| value.is_string())?.clone(),
            ))
        })
        .collect();
    (!place.is_empty()).then_some(Value::Object(place))
}

const NOT_HERE: &str =
    "is a tool that the chosen provider cannot run: leave it out, or let the model choose without it";

/// Decides what becomes of the tools that the caller's provider would run: [`Request::search`] is what the chosen one runs
/// in their place, the rest is left out, and no choice of tools names any of these afterwards, but for the search.
pub(super) fn settle(
    request: &mut Request,
    provider: &Rules,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<(), RequestError> {
    name_hosted(request);
    let mut left = Vec::new();
    for hosted in std::mem::take(&mut request.hosted) {
        match hosted.search {
            Some(search)
                if request.search.is_none() && !search.offline && (provider.searches)(&search, target, request) =>
            {
                request.search = Some(search);
            }
            _ => left.push(hosted.path),
        }
    }
    let searches = request.search.is_some();
    let gone = |name: &ToolName| name.is_hosted() && !(searches && name.name == WEB_SEARCH);
    let forced = match &request.tool_choice {
        Some(ToolChoice::Required) => request.tools.is_empty() && !searches && !left.is_empty(),
        Some(ToolChoice::Only { names, required: true }) => !names.is_empty() && names.iter().all(gone),
        _ => false,
    };
    for path in &left {
        let refusal = RequestError::unsupported(path, NOT_HERE);
        if forced || target.on_unsupported == Some(OnUnsupported::Refuse) {
            dropped.leave_out_tool(refusal)?;
        } else {
            dropped.note_tool(path);
        }
    }
    if forced && left.is_empty() {
        dropped.leave_out(RequestError::unsupported(
            request.fields.tool_choice,
            "names a tool that the chosen provider cannot run",
        ))?;
    }
    choose_without(request, provider, forced, dropped);
    Ok(())
}

/// The choice of tools, without those that are gone.
fn choose_without(request: &mut Request, provider: &Rules, forced: bool, dropped: &mut Dropped) {
    let (names, required) = match &mut request.tool_choice {
        Some(ToolChoice::Required) if forced => {
            dropped.note(request.fields.tool_choice);
            request.tool_choice = None;
            return;
        }
        Some(ToolChoice::Only { names, required }) => (names, *required),
        _ => return,
    };
    let chosen = names.iter().any(|name| name.is_hosted() && name.name == WEB_SEARCH);
    if request.search.is_some() && !chosen && !required {
        let search = request.search.take();
        dropped.note_if(
            search.is_some(),
            search.as_ref().map_or("", |search| search.path.as_str()),
        );
    }
    let named = request.search.is_some() && provider.search_is_named;
    names.retain(|name| !name.is_hosted() || (named && name.name == WEB_SEARCH));
    dropped.note_if(forced, request.fields.tool_choice);
    if names.is_empty() {
        // What it allowed is not there, or needs no choice: nothing else may be called. Where it was forced, the route
        // says to go on without.
        let no_function = !forced && !request.tools.is_empty();
        request.tool_choice = no_function.then_some(ToolChoice::None);
    }
}

/// A choice names a server's tool in some APIs as it names a function.
fn name_hosted(request: &mut Request) {
    let Some(ToolChoice::Only { names, .. }) = &mut request.tool_choice else {
        return;
    };
    for name in names.iter_mut().filter(|name| name.kind == ToolKind::Function) {
        let function = request.tools.iter().any(|tool| tool.name == *name);
        if !function && request.hosted.iter().any(|hosted| hosted.name == name.name) {
            name.kind = ToolKind::Hosted;
        }
    }
}

/// The search in `Anthropic`'s words.
pub(super) fn for_anthropic(search: &WebSearch, dropped: &mut Dropped) -> Value {
    let mut tool = json!({ "type": "web_search_20250305", "name": WEB_SEARCH });
    let fields = [
        (
            "allowed_domains",
            search.allowed_domains.as_ref().map(|list| json!(list)),
        ),
        (
            "blocked_domains",
            search.blocked_domains.as_ref().map(|list| json!(list)),
        ),
        ("max_uses", search.max_uses.map(Value::from)),
        ("user_location", search.place.as_ref().map(approximate)),
    ];
    if let Some(object) = tool.as_object_mut() {
        for (name, value) in fields {
            object.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    dropped.note_if(
        search.context_size.is_some(),
        &format!("{}.search_context_size", search.path),
    );
    tool
}

fn approximate(place: &Value) -> Value {
    let mut place = place.clone();
    if let Some(object) = place.as_object_mut() {
        object.insert("type".to_owned(), "approximate".into());
    }
    place
}

/// The search in `Gemini`'s words.
pub(super) fn for_gemini(search: &WebSearch, dropped: &mut Dropped) -> Value {
    note_hints(search, dropped);
    json!({ "googleSearch": {} })
}

/// The search in the words of chat completions.
pub(super) fn for_openai(search: &WebSearch, dropped: &mut Dropped) -> Value {
    let mut options = json!({});
    if let Some(object) = options.as_object_mut() {
        if let Some(place) = &search.place {
            let place = json!({ "type": "approximate", "approximate": place });
            object.insert("user_location".to_owned(), place);
        }
        if let Some(size) = &search.context_size {
            object.insert("search_context_size".to_owned(), size.as_str().into());
        }
    }
    dropped.note_if(search.max_uses.is_some(), &format!("{}.max_uses", search.path));
    options
}

/// What `Gemini`'s search takes no word about.
fn note_hints(search: &WebSearch, dropped: &mut Dropped) {
    let hints = [
        (search.max_uses.is_some(), "max_uses"),
        (search.place.is_some(), "user_location"),
        (search.context_size.is_some(), "search_context_size"),
    ];
    for (present, name) in hints {
        dropped.note_if(present, &format!("{}.{name}", search.path));
    }
}
