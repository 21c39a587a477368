//! Configuration from environment variables, for when there is no file: the same documents, written out and loaded the
//! same way. They never change.

use std::time::Duration;

use bowsprit_core::config::Scope;
use serde_json::{Map, Value, json};

use super::{Documents, Offer, Source};
use crate::caller::Pod;

/// What to say when there is nothing to run from.
pub const NOTHING: &str = "no configuration: give --config FILE (ProviderConfig documents, see examples/quickstart.yaml), \
     or --config-dir DIR, or set at least one of ANTHROPIC_API_KEY, GOOGLE_API_KEY (or GEMINI_API_KEY) and OPENAI_API_KEY";

/// A variable of the process's environment.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Offers documents once.
pub struct EnvSource(Option<String>);

impl EnvSource {
    /// The documents that the process's environment asks for.
    ///
    /// # Errors
    /// It asks for none, or a variable has a value that means nothing.
    pub fn read() -> Result<Self, String> {
        match documents(&variable)? {
            Some(text) => Ok(Self(Some(text))),
            None => Err(NOTHING.into()),
        }
    }
}

impl Source for EnvSource {
    fn poll(&mut self, _pod: &Pod) -> Option<Offer> {
        Some(Offer {
            source: "environment",
            sequence: 0,
            documents: Ok(Documents {
                text: self.0.take()?.into(),
                place: "the environment".into(),
                scope: Scope::Standalone,
            }),
        })
    }
}

struct Known {
    name: &'static str,
    kind: &'static str,
    prefix: &'static str,
    keys: &'static [&'static str],
    default_model: &'static str,
}

/// In the order in which they are tried unless `PRIMARY_PROVIDER` or `FALLBACK_CHAIN` says otherwise. The default models are
/// what a provider answers with when it stands in for another one; `<PREFIX>_DEFAULT_MODEL` names a different one.
const KNOWN: [Known; 3] = [
    Known {
        name: "claude",
        kind: "Anthropic",
        prefix: "ANTHROPIC",
        keys: &["ANTHROPIC_API_KEY"],
        default_model: "claude-sonnet-4-5",
    },
    Known {
        name: "gemini",
        kind: "Gemini",
        prefix: "GOOGLE",
        keys: &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
        default_model: "gemini-2.5-flash",
    },
    Known {
        name: "openai",
        kind: "OpenAI",
        prefix: "OPENAI",
        keys: &["OPENAI_API_KEY"],
        default_model: "gpt-4.1-mini",
    },
];

/// The documents that the environment asks for; `None` where it names no key.
///
/// # Errors
/// A variable with a value that means nothing.
pub fn documents(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
    let breaker = breaker(&get)?;
    let order = order(&get)?;
    let mut documents = String::new();
    for known in &KNOWN {
        let Some(key) = known.keys.iter().find(|name| get(name).is_some()) else {
            continue;
        };
        let mut spec = Map::new();
        spec.insert("provider".into(), json!(known.kind));
        let place = order.iter().position(|name| *name == known.name).unwrap_or(order.len());
        spec.insert("priority".into(), json!((place + 1) * 10));
        spec.insert("credentials".into(), json!([{"name": "env", "env": key}]));
        let model = get(&format!("{}_DEFAULT_MODEL", known.prefix));
        spec.insert(
            "defaultModel".into(),
            json!(model.unwrap_or_else(|| known.default_model.to_owned())),
        );
        let mut endpoint = Map::new();
        if let Some(url) = get(&format!("{}_BASE_URL", known.prefix)) {
            let url = url.trim();
            endpoint.insert("allowHttp".into(), json!(url.starts_with("http://")));
            endpoint.insert("baseUrl".into(), json!(url));
        }
        if known.kind == "OpenAI" {
            for (variable, field) in [("OPENAI_ORGANIZATION", "organization"), ("OPENAI_PROJECT", "project")] {
                if let Some(value) = get(variable) {
                    endpoint.insert(field.into(), json!(value));
                }
            }
        }
        if !endpoint.is_empty() {
            spec.insert("endpoint".into(), Value::Object(endpoint));
        }
        if !breaker.is_empty() {
            spec.insert("circuitBreaker".into(), Value::Object(breaker.clone()));
        }
        let document = json!({
            "apiVersion": "bowsprit.dev/v1alpha1",
            "kind": "ProviderConfig",
            "metadata": {"name": known.name},
            "spec": spec,
        });
        // JSON is YAML: the loader reads both.
        documents.push_str("---\n");
        documents.push_str(&document.to_string());
        documents.push('\n');
    }
    Ok((!documents.is_empty()).then_some(documents))
}

fn breaker(get: &dyn Fn(&str) -> Option<String>) -> Result<Map<String, Value>, String> {
    let mut breaker = Map::new();
    if let Some(text) = get("PROVIDER_CIRCUIT_THRESHOLD") {
        let failures: u32 = text
            .trim()
            .parse()
            .map_err(|_| format!("PROVIDER_CIRCUIT_THRESHOLD is {text:?}: give a number of failures such as 5"))?;
        breaker.insert("failureThreshold".into(), json!(failures));
    }
    if let Some(text) = get("PROVIDER_CIRCUIT_TIMEOUT") {
        breaker.insert("openFor".into(), json!(open_for(text.trim())?));
    }
    Ok(breaker)
}

/// `60s`, or milliseconds without a unit as other tools read this variable. A small bare number could mean either.
fn open_for(text: &str) -> Result<String, String> {
    match text.parse::<u64>() {
        Ok(millis) if millis >= 1000 => Ok(format!("{}ms", Duration::from_millis(millis).as_millis())),
        Ok(number) => Err(format!(
            "PROVIDER_CIRCUIT_TIMEOUT is {number}: give a unit, such as {number}s"
        )),
        Err(_) => Ok(text.to_owned()),
    }
}

/// Provider names in the order to try them.
fn order(get: &dyn Fn(&str) -> Option<String>) -> Result<Vec<&'static str>, String> {
    let mut order: Vec<&'static str> = Vec::new();
    let mut add = |variable: &str, text: &str| {
        let wanted = text.trim().to_ascii_lowercase();
        let name = match wanted.as_str() {
            "claude" | "anthropic" => "claude",
            "gemini" | "google" => "gemini",
            "openai" | "gpt" => "openai",
            _ => {
                return Err(format!(
                    "{variable} names {:?}: known are claude, gemini and openai",
                    text.trim()
                ));
            }
        };
        if !order.contains(&name) {
            order.push(name);
        }
        Ok(())
    };
    if let Some(primary) = get("PRIMARY_PROVIDER") {
        add("PRIMARY_PROVIDER", &primary)?;
    }
    if let Some(chain) = get("FALLBACK_CHAIN") {
        chain
            .split(',')
            .filter(|name| !name.trim().is_empty())
            .try_for_each(|name| add("FALLBACK_CHAIN", name))?;
    }
    for known in &KNOWN {
        if !order.contains(&known.name) {
            order.push(known.name);
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use bowsprit_core::config::load;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        documents(&|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_means_nothing_to_run_from() {
        assert_eq!(from(&[]), Ok(None));
        assert_eq!(from(&[("OPENAI_API_KEY", " ")]), Ok(None));
    }

    #[test]
    fn the_environment_makes_a_valid_configuration_without_any_key_in_it() {
        let text = from(&[
            ("ANTHROPIC_API_KEY", "sk-ant-canary"),
            ("GEMINI_API_KEY", "AIza-canary"),
            ("OPENAI_API_KEY", "sk-canary"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
            ("OPENAI_ORGANIZATION", "org-1"),
            ("OPENAI_DEFAULT_MODEL", "gpt-x"),
            ("PRIMARY_PROVIDER", "openai"),
            ("FALLBACK_CHAIN", "gemini,claude"),
            ("PROVIDER_CIRCUIT_THRESHOLD", "3"),
            ("PROVIDER_CIRCUIT_TIMEOUT", "30000"),
        ])
        .unwrap()
        .unwrap();
        assert!(!text.contains("canary"));
        let config = load(&text, &Scope::Standalone).unwrap();
        let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!(names, ["openai", "gemini", "claude"]);
        let openai = &config.providers[0];
        assert_eq!(openai.default_model.as_deref(), Some("gpt-x"));
        assert_eq!(openai.breaker.failure_threshold.get(), 3);
        assert_eq!(openai.breaker.open_for, Duration::from_secs(30));
    }

    #[test]
    fn values_that_mean_nothing_are_named() {
        let key = ("OPENAI_API_KEY", "k");
        assert!(
            from(&[key, ("PRIMARY_PROVIDER", "mistral")])
                .unwrap_err()
                .contains("PRIMARY_PROVIDER")
        );
        assert!(
            from(&[key, ("PROVIDER_CIRCUIT_TIMEOUT", "60")])
                .unwrap_err()
                .contains("unit")
        );
        assert!(
            from(&[key, ("PROVIDER_CIRCUIT_THRESHOLD", "many")])
                .unwrap_err()
                .contains("number")
        );
    }
}
