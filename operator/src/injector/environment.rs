//! What an app's SDKs read: addresses that lead to the sidecar, and a key to start with.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::json;

use super::patch::PatchBuilder;
use super::{app_containers, sidecar_leads};

/// What stands in the app's key variables: SDKs refuse to start without a key, the sidecar replaces it.
const PLACEHOLDER_KEY: &str = "bowsprit";

/// One SDK's variables: where it looks for its address, and where for its key.
pub struct SdkEnv {
    /// The variable with the address.
    pub base_url: &'static str,
    path: &'static str,
    /// Any of them will do for the SDK; which it prefers differs.
    keys: &'static [&'static str],
}

impl SdkEnv {
    /// The address of a sidecar whose app port is `port`, as this SDK wants it.
    pub fn address(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}{}", self.path)
    }
}

/// The SDKs that are set up.
pub const SDKS: [SdkEnv; 3] = [
    SdkEnv {
        base_url: "OPENAI_BASE_URL",
        path: "/v1",
        keys: &["OPENAI_API_KEY"],
    },
    SdkEnv {
        base_url: "ANTHROPIC_BASE_URL",
        path: "",
        keys: &["ANTHROPIC_API_KEY"],
    },
    SdkEnv {
        base_url: "GOOGLE_GEMINI_BASE_URL",
        path: "",
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    },
];

/// The variables that a container lacks. An app that names an address of its own for an SDK does not mean the sidecar, so
/// it gets no placeholder for that SDK's key either: that would win over a key from `envFrom`.
fn missing(container: &Container, port: u16) -> Vec<(&'static str, String)> {
    let set = |name: &str| container.env.iter().flatten().find(|variable| variable.name == name);
    let mut missing = Vec::new();
    for sdk in &SDKS {
        let address = sdk.address(port);
        match set(sdk.base_url) {
            Some(own) if own.value.as_ref() != Some(&address) => continue,
            Some(_) => {}
            None => missing.push((sdk.base_url, address)),
        }
        // Beside a key of the app's own none is needed, and google-genai would prefer ours.
        if sdk.keys.iter().all(|key| set(key).is_none()) {
            missing.extend(sdk.keys.iter().map(|key| (*key, PLACEHOLDER_KEY.to_owned())));
        }
    }
    missing
}

/// Other variables that lead an SDK somewhere; none of them is set here.
const ALSO_LEAD: [&str; 2] = ["OPENAI_API_BASE", "AZURE_OPENAI_ENDPOINT"];

/// The variables that lead past the sidecar of a pod, as `NAME of container app`: their value names another host than the
/// pod's own. Never with the value, which may hold a key; one that comes from elsewhere is not known.
pub fn bypasses(spec: &PodSpec) -> Vec<String> {
    let leads = |name: &str| SDKS.iter().any(|sdk| sdk.base_url == name) || ALSO_LEAD.contains(&name);
    let mut found = Vec::new();
    for (_, _, container) in app_containers(spec) {
        for variable in container.env.iter().flatten().filter(|variable| leads(&variable.name)) {
            if variable
                .value
                .as_deref()
                .is_some_and(|value| !value.is_empty() && !is_local(value))
            {
                found.push(format!("{} of container {}", variable.name, container.name));
            }
        }
    }
    found
}

/// The app containers whose variables come partly from elsewhere: a variable of their own wins over one of the same name
/// there, and which names those are is not known here.
pub(super) fn from_elsewhere(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let filled = |it: &Container| it.env_from.as_ref().is_some_and(|from| !from.is_empty());
    app_containers(spec)
        .filter(move |(_, _, it)| filled(it))
        .map(|(_, _, it)| it.name.as_str())
}

/// Whether a URL's host is the pod itself.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    matches!(host.to_ascii_lowercase().as_str(), "localhost" | "127.0.0.1" | "::1")
}

/// Completes every container that can reach a sidecar on `port`: all of them where it is a native sidecar and so runs before
/// the others start, else those that run beside it.
pub(super) fn complete(patch: &mut PatchBuilder, spec: &PodSpec, port: u16, native: bool) {
    let reached = |list: &str| list == "containers" || sidecar_leads(spec, native);
    for (list, index, container) in app_containers(spec).filter(|(list, ..)| reached(list)) {
        let missing = missing(container, port);
        if missing.is_empty() {
            continue;
        }
        let index = index.to_string();
        patch.ensure_list(&["spec", list, &index, "env"], container.env.is_some());
        for (name, value) in missing {
            patch.add(
                &["spec", list, &index, "env", "-"],
                json!({"name": name, "value": value}),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_itself_is_told_from_the_rest_of_the_world() {
        for local in [
            "http://127.0.0.1:4000/v1",
            "http://localhost:4000",
            "http://LOCALHOST:4000/providers/openai/v1",
            "http://[::1]:4000/v1",
            "localhost:4000",
        ] {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "https://api.openai.com/v1",
            "http://localhost.example.com",
            "http://127.0.0.1@api.openai.com/v1",
            "http://vllm.models.svc:8000/v1",
            "https://api.example.com/?to=localhost",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }
}
