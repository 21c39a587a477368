//! The tools of a Responses request, and the choice among them.

use super::super::RequestError;
use super::super::cursor::Cursor;
use super::super::dropped::Dropped;
use super::super::hosted::place;
use super::super::message::WEB_SEARCH;
use super::super::message::{Hosted, WebSearch};
use super::super::message::{Request, Tool};
use super::super::message::{ToolKind, ToolName};
use super::super::openai_tools::{custom, function_tool, tool_choice};
use super::super::schema;

/// Reads `tools`, `parallel_tool_calls` and `tool_choice`.
pub(super) fn decode(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    // Those of the input were read before. They come last: what a provider caches of a conversation begins with its tools.
    let brought = std::mem::take(&mut request.tools);
    if let Some(list) = root.get("tools") {
        add(&list, request, dropped)?;
    }
    for tool in brought {
        offer(tool, request);
    }
    request.parallel_tools = root.get("parallel_tool_calls").map(|at| at.bool()).transpose()?;
    let choice = root
        .get("tool_choice")
        .map(|at| tool_choice(&at, None, |entry| named(entry, &request.tools)))
        .transpose();
    match choice {
        Ok(choice) => request.tool_choice = choice,
        Err(refusal) => dropped.leave_out(refusal)?,
    }
    Ok(())
}

/// Adds a list of tools. Items of the input bring such lists too.
pub(super) fn add(list: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    for tool in list.items()? {
        one(&tool, None, request, dropped)?;
    }
    Ok(())
}

fn one(
    tool: &Cursor<'_>,
    namespace: Option<&str>,
    request: &mut Request,
    dropped: &mut Dropped,
) -> Result<(), RequestError> {
    tool.object()?;
    let kind = tool.need("type")?;
    let within = namespace.map(str::to_owned);
    match (kind.str()?, namespace) {
        ("function", _) => {
            let known = ["type", "name", "description", "parameters", "strict"];
            let mut function = function_tool(tool, &known, dropped)?;
            function.name = function.name.within(within);
            offer(function, request);
        }
        ("custom", _) => {
            tool.note_unknown(&["type", "name", "description", "format"], dropped);
            let mut custom = custom(tool, tool.get("format"), dropped)?;
            custom.name = custom.name.within(within);
            offer(custom, request);
        }
        // OpenAI runs the others, among the tools that it keeps back.
        ("tool_search", None) if tool.get("execution").is_some_and(|at| at.value == "client") => {
            tool.note_unknown(&["type", "execution", "description", "parameters"], dropped);
            let search = Tool {
                name: search_name(),
                description: tool.get("description").map(|at| at.string()).transpose()?,
                schema: schema::read(tool.get("parameters"))?,
                path: tool.child("parameters"),
            };
            offer(search, request);
        }
        ("namespace", None) => {
            // What is said of the group as a whole has no place beside its functions.
            tool.note_unknown(&["type", "name", "description", "tools"], dropped);
            let description = tool.get("description").filter(|at| at.value != "");
            dropped.note_if(description.is_some(), &tool.child("description"));
            let name = tool.need("name")?.str()?;
            for inner in tool.need("tools")?.items()? {
                one(&inner, Some(name), request, dropped)?;
            }
        }
        (other, _) => {
            let name = hosted_name(other).to_owned();
            let search = (name == WEB_SEARCH).then(|| web_search(tool, dropped)).transpose()?;
            let path = kind.path();
            request.hosted.push(Hosted { name, search, path });
        }
    }
    Ok(())
}

/// The tool by which a caller finds more tools.
pub(super) fn search_name() -> ToolName {
    ToolName::new(ToolKind::Search, "tool_search")
}

/// What a search found, for the model to read: their names and what they are for. All else of them is declared.
pub(super) fn found(list: &Cursor<'_>) -> Result<String, RequestError> {
    let mut told = String::new();
    for tool in list.items()? {
        match tool.get("tools") {
            Some(within) => {
                let namespace = tool.need("name")?.string()?;
                for inner in within.items()? {
                    line(&inner, Some(namespace.clone()), &mut told)?;
                }
            }
            None => line(&tool, None, &mut told)?,
        }
    }
    if told.is_empty() {
        told.push_str("No tools were found.");
    }
    Ok(told)
}

fn line(tool: &Cursor<'_>, namespace: Option<String>, told: &mut String) -> Result<(), RequestError> {
    let name = ToolName::from(tool.need("name")?.string()?).within(namespace);
    let purpose = tool.get("description").map(|at| at.string()).transpose()?;
    if !told.is_empty() {
        told.push('\n');
    }
    told.push_str(&name.spelled());
    if let Some(purpose) = purpose {
        told.push_str(": ");
        told.push_str(&purpose);
    }
    Ok(())
}

/// A tool that is offered twice, at first and in an item of the input, is one.
fn offer(tool: Tool, request: &mut Request) {
    match request.tools.iter_mut().find(|known| known.name == tool.name) {
        Some(known) => *known = tool,
        None => request.tools.push(tool),
    }
}

/// `web_search` has its versions and its preview.
fn hosted_name(kind: &str) -> &str {
    if kind.starts_with("web_search") {
        WEB_SEARCH
    } else {
        kind
    }
}

fn web_search(tool: &Cursor<'_>, dropped: &mut Dropped) -> Result<WebSearch, RequestError> {
    let known = [
        "type",
        "filters",
        "user_location",
        "search_context_size",
        "external_web_access",
    ];
    tool.note_unknown(&known, dropped);
    let mut search = WebSearch {
        path: tool.path(),
        ..WebSearch::default()
    };
    if let Some(filters) = tool.get("filters") {
        filters.note_unknown(&["allowed_domains", "blocked_domains"], dropped);
        search.allowed_domains = filters.get("allowed_domains").map(|at| at.strings()).transpose()?;
        search.blocked_domains = filters.get("blocked_domains").map(|at| at.strings()).transpose()?;
    }
    search.place = tool.get("user_location").and_then(|at| place(at.value));
    search.context_size = tool.get("search_context_size").map(|at| at.string()).transpose()?;
    let live = tool.get("external_web_access").map(|at| at.bool()).transpose()?;
    search.offline = live == Some(false);
    Ok(search)
}

/// The tools that an entry of a choice means: one, or all of a namespace.
fn named(at: &Cursor<'_>, tools: &[Tool]) -> Result<Vec<ToolName>, RequestError> {
    let kind = match at.need("type")?.str()? {
        "function" => ToolKind::Function,
        "custom" => ToolKind::Custom,
        "namespace" => {
            let namespace = at.need("name")?.str()?;
            let within = tools.iter().map(|tool| &tool.name);
            let within = within.filter(|name| name.namespace.as_deref() == Some(namespace));
            return Ok(within.cloned().collect());
        }
        "tool_search" if tools.iter().any(|tool| tool.name.is_search()) => return Ok(vec![search_name()]),
        other => return Ok(vec![ToolName::new(ToolKind::Hosted, hosted_name(other))]),
    };
    let namespace = at.get("namespace").map(|at| at.string()).transpose()?;
    let said = ToolName::new(kind, at.need("name")?.string()?).within(namespace);
    if said.namespace.is_some() || tools.iter().any(|tool| tool.name == said) {
        return Ok(vec![said]);
    }
    // The name alone, of one that is in a namespace.
    let mut within = tools.iter().map(|tool| &tool.name);
    let found = within.find(|name| name.name == said.name && name.kind == said.kind);
    Ok(vec![found.cloned().unwrap_or(said)])
}
