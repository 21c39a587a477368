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
        let keys = sdk.keys.iter().filter(|key| set(key).is_none());
        missing.extend(keys.map(|key| (*key, PLACEHOLDER_KEY.to_owned())));
    }
    missing
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
