//! What is valid and allowed, and probably not what its author wants.

use std::collections::BTreeMap;

use super::{Policy, Problem, Provider, Route};
use crate::access::{CallerFacts, CandidateFacts, Facts, Pinned, RequestFacts};
use crate::call::Operation;
use crate::dialect::{Dialect, Features};
use crate::{access, kept, model_name};

/// ProviderConfigs that one note names.
const NAMED: usize = 3;

/// Notes on these objects, each with path and remedy, in the order of the objects. Paths begin as those of
/// [`super::cross_check`]: `ProviderConfig NAME: `.
///
/// Nothing here is a reason to refuse an object: what it needs may be applied a moment later, and order among files is
/// nobody's to know.
pub fn advice(providers: &[Provider], routes: &[Route]) -> Vec<Problem> {
    let mut notes = Vec::new();
    for provider in providers {
        plain_http(provider, &mut notes);
        served_twice(provider, providers, &mut notes);
    }
    for route in routes {
        matched_twice(route, routes, &mut notes);
        unlisted_models(route, providers, &mut notes);
        no_candidate(route, providers, &mut notes);
        stale(route, &mut notes);
        large(route, &mut notes);
    }
    notes
}

/// Policies that count what is spent, in tokens or money, or look for loops, beside ProviderConfigs below whose `/providers/NAME/` apps may
/// generate at endpoints that pass unread (those that are read under such a policy are counted): a budget that stops stops nobody there as
/// long as anything is left. Rules end that which refuse it to whoever asks: those of the policy itself, or of one that is for all pods.
pub fn unmetered(policies: &[Policy], providers: &[Provider]) -> Vec<Problem> {
    let open = providers
        .iter()
        .filter(|provider| provider.enabled && provider.pass_through);
    let mut open: Vec<&str> = open.map(|provider| provider.name.as_str()).collect();
    if open.is_empty() {
        return Vec::new();
    }
    let more = open.len().saturating_sub(NAMED);
    open.truncate(NAMED);
    let mut named = open.join(", ");
    if more > 0 {
        named = format!("{named} and {more} more");
    }
    let is_open = |policy: &&Policy| policy.access.as_deref().is_none_or(lets_generate_unread);
    // A request needs the leave of every policy of its pod.
    if policies
        .iter()
        .any(|policy| policy.pod_selector.is_none() && !is_open(&policy))
    {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for policy in policies.iter().filter(is_open) {
        let counts = policy.limits.iter().any(|limit| {
            let of = limit.settings;
            let tokens = of.tokens_per_minute.or(of.input_per_minute).or(of.output_per_minute);
            tokens.or(of.cost_per_minute).is_some()
        });
        let fields = [
            (!policy.budgets.is_empty(), "budgets"),
            (counts, "limits"),
            (policy.runaway.is_some(), "runaway"),
        ];
        let fields: Vec<&str> = fields
            .into_iter()
            .filter_map(|(is, field)| is.then_some(field))
            .collect();
        if let Some(first) = fields.first() {
            notes.push(Problem::new(
                format!("UsagePolicy {}: spec.{first}", policy.name),
                format!(
                    "what passes unread below /providers/NAME/ of ProviderConfig {named} is not counted by {}, but for batches: apps can \
                     generate there beyond them, as passThrough is on, by completions of the older kind, pictures, sound, video and \
                     whatever else is no conversation and no embedding in the API that the sidecar speaks with that provider",
                    fields.join(", ")
                ),
                "set passThrough: false there, or forbid what passes unread by an access rule, such as request.model != \"\", which only \
                 holds for what is read (docs/access.md)",
            ));
        }
    }
    notes
}

/// Whether these rules may let pass what providers generate by below `/providers/NAME/` and nobody reads.
fn lets_generate_unread(rules: &access::Policy) -> bool {
    let labels = BTreeMap::new();
    // As rules know them. A sample: a rule that forbids these and no others is not what anybody writes.
    let asks = [
        (Dialect::OpenAiChat, "/completions"),
        (Dialect::OpenAiChat, "/images/generations"),
        (Dialect::OpenAiChat, "/audio/speech"),
        (Dialect::AnthropicMessages, "/complete"),
        (Dialect::Gemini, "/models/m:predict"),
        (Dialect::Gemini, "/openai/chat/completions"),
    ];
    let passes = |(dialect, path)| {
        let facts = Facts {
            request: RequestFacts {
                operation: Operation::PassThrough,
                method: "POST",
                path,
                dialect,
                model: "",
                stream: false,
                max_tokens: None,
                input_tokens: 0,
                features: Features::default(),
                is_unread: false,
                pinned: Pinned::No,
            },
            caller: CallerFacts {
                pod: "",
                workload: "",
                service_account: "",
                namespace: "",
                in_pod: true,
                labels: &labels,
                headers: &(),
            },
            route: "",
            candidate: CandidateFacts::default(),
        };
        !rules.denies_anybody(&facts)
    };
    !rules.is_enforced || asks.into_iter().any(passes)
}

fn plain_http(provider: &Provider, notes: &mut Vec<Problem>) {
    let url = &provider.base_url;
    if !url.is_https() && !provider.credentials.is_empty() && !is_near(url.host()) {
        notes.push(Problem::new(
            format!("ProviderConfig {}: spec.endpoint.baseUrl", provider.name),
            "keys and prompts travel unencrypted",
            "use https",
        ));
    }
}

/// Whether a host is in the pod or a Service of the cluster: its traffic leaves no network that is ours.
fn is_near(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = host.strip_suffix(".cluster.local").unwrap_or(&host);
    let is_service = name.rsplit_once('.').is_some_and(|(_, last)| last == "svc") || !name.contains(['.', ':']);
    is_service || host == "127.0.0.1" || host == "::1"
}

/// Two providers list a name at one priority: the order of their own names decides, which nobody chose.
fn served_twice(provider: &Provider, all: &[Provider], notes: &mut Vec<Problem>) {
    let names = |provider: &Provider| -> Vec<String> {
        let models = provider.models.iter();
        models
            .flat_map(|model| std::iter::once(&model.name).chain(&model.aliases).cloned())
            .collect()
    };
    let rivals = all
        .iter()
        .filter(|other| other.name != provider.name && other.priority == provider.priority)
        .filter(|other| other.enabled && provider.enabled);
    for rival in rivals {
        let theirs = names(rival);
        let both = names(provider)
            .into_iter()
            .find(|name| theirs.iter().any(|other| model_name::same(name, other)));
        if let Some(name) = both {
            let first = provider.name.as_str().min(rival.name.as_str());
            notes.push(Problem::new(
                format!("ProviderConfig {}: spec.models", provider.name),
                format!(
                    "{name:?} is served by {} too, at the same priority {}: {first} is asked first, by its name",
                    rival.name, provider.priority
                ),
                "give them different priorities, or name the order in a ModelRoute",
            ));
        }
    }
}

/// Two routes match a name exactly: the first by its own name is used.
fn matched_twice(route: &Route, all: &[Route], notes: &mut Vec<Problem>) {
    for other in all.iter().filter(|other| other.name != route.name) {
        let both = route.models.iter().find(|name| other.models.contains(name));
        if let Some(name) = both {
            let used = route.name.as_str().min(other.name.as_str());
            notes.push(Problem::new(
                format!("ModelRoute {}: spec.match.models", route.name),
                format!(
                    "{name:?} is matched by ModelRoute {} too, and {used} is used, by its name",
                    other.name
                ),
                "match it in one of them only",
            ));
        }
    }
}

/// A target's model that its provider, which lists models, does not list.
fn unlisted_models(route: &Route, providers: &[Provider], notes: &mut Vec<Problem>) {
    for (path, target) in route.all_targets_by_path() {
        let Some(provider) = providers.iter().find(|provider| provider.name == target.provider) else {
            continue;
        };
        let Some(model) = &target.model else { continue };
        if !provider.models.is_empty() && provider.serves(model).is_none() {
            notes.push(Problem::new(
                format!("{path}.model"),
                format!("{model:?} is not among the models of ProviderConfig {}", provider.name),
                "correct the name, or list it there",
            ));
        }
    }
}

/// A route of which no target can be asked.
fn no_candidate(route: &Route, providers: &[Provider], notes: &mut Vec<Problem>) {
    let can_be_asked = |name: &str| {
        let mut found = providers.iter().filter(|provider| provider.name == name);
        found.any(|provider| provider.enabled)
    };
    if !route.all_targets().any(|target| can_be_asked(&target.provider)) {
        notes.push(Problem::new(
            format!("ModelRoute {}: spec.targets", route.name),
            "no target is a ProviderConfig that is here and enabled: every request for it is answered with an error",
            "apply the ProviderConfig, or correct the names",
        ));
    }
}

/// A route that gives answers which nobody may want any more.
fn stale(route: &Route, notes: &mut Vec<Problem>) {
    let Some(terms) = route.stale_if_error else { return };
    if terms.max_age > kept::OLD {
        notes.push(Problem::new(
            format!("ModelRoute {}: spec.staleIfError.maxAge", route.name),
            "lets answers of days ago be given as today's; the caller is told their age in a header that few apps read",
            "set it to 24h or less, unless the answers do not grow old",
        ));
    }
}

/// A route that wants to keep more than a sidecar of the usual size has.
fn large(route: &Route, notes: &mut Vec<Problem>) {
    let semantic = route.semantic.as_ref().map(|terms| terms.keep);
    let all = [
        ("staleIfError.maxBytes", route.stale_if_error),
        ("cache.maxBytes", route.cache.map(|cache| cache.keep)),
        (
            "cache.embeddings.maxBytes",
            route.cache.and_then(|cache| cache.embeddings),
        ),
        ("cache.semantic.maxBytes", semantic),
    ];
    for (field, terms) in all {
        if terms.is_some_and(|terms| terms.max_bytes > kept::LARGE) {
            notes.push(Problem::new(
                format!("ModelRoute {}: spec.{field}", route.name),
                "is more than sidecars of the usual size keep: all routes together have a quarter of the memory for bodies for it, 16 MiB of a \
                 sidecar of 128 MiB",
                "set it to 16777216 (16 MiB) or less, or give the sidecars more memory: eight times as much as it",
            ));
        }
    }
}
