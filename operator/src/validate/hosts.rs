//! Which hosts providers may be at, as whoever runs the operator says. Pure.
//!
//! Keys and prompts go where `endpoint.baseUrl` says, so a cluster may name the hosts once and for all, beside who may read
//! which Secret.

use std::str::FromStr;
use std::sync::Arc;

use bowsprit_core::config::{Problem, Provider};
use bowsprit_core::guard::Guard;

/// Host names, or `*.` and the end of them. None: any host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

/// A text that is no list of hosts.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host: write names such as api.anthropic.com or *.openai.azure.com, with commas between them")]
pub struct NoHost(String);

impl FromStr for AllowedHosts {
    type Err = NoHost;

    /// Reads hosts with commas between them; an empty text allows any.
    fn from_str(text: &str) -> Result<Self, NoHost> {
        let hosts = text.split(',').map(str::trim).filter(|host| !host.is_empty());
        hosts.map(pattern).collect::<Result<_, _>>().map(Self)
    }
}

fn pattern(text: &str) -> Result<String, NoHost> {
    let end = text.strip_prefix("*.").unwrap_or(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if end.is_empty() || !end.chars().all(is_name) || end.starts_with('.') {
        return Err(NoHost(text.to_owned()));
    }
    Ok(text.to_ascii_lowercase())
}

impl AllowedHosts {
    /// Whether a provider may be at this host.
    fn allow(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_it = |pattern: &String| match pattern.strip_prefix('*') {
            // `*.a.b` is anything below a.b, and not a.b itself.
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == *pattern,
        };
        self.0.is_empty() || self.0.iter().any(is_it)
    }

    /// Why a service that guards requests may not be where it is: what is asked goes there.
    pub fn refuse_guards(&self, guards: &[Arc<Guard>]) -> Option<Problem> {
        let elsewhere = |(_, guard): &(usize, &Arc<Guard>)| {
            let hook = guard.webhook.as_ref();
            hook.is_some_and(|hook| !self.allow(hook.url.host()))
        };
        let (index, guard) = guards.iter().enumerate().find(elsewhere)?;
        let host = guard.webhook.as_ref().map_or("", |hook| hook.url.host());
        Some(self.problem(&format!("{}: spec.guards[{index}].webhook.url", guard.of), host))
    }

    /// Why a provider may not be where it is. An HTTP proxy sees a host's name of what is encrypted, and all of what is
    /// not: there it is judged as the host is.
    pub fn refuse(&self, provider: &Provider) -> Option<Problem> {
        let base = ("endpoint.baseUrl", provider.base_url.host());
        let proxy = provider.http_proxy.as_ref().filter(|_| !provider.base_url.is_https());
        let proxy = proxy.map(|proxy| ("endpoint.httpProxy", proxy.host()));
        let (field, host) = std::iter::once(base).chain(proxy).find(|(_, host)| !self.allow(host))?;
        Some(self.problem(&format!("ProviderConfig {}: spec.{field}", provider.name), host))
    }

    fn problem(&self, path: &str, host: &str) -> Problem {
        Problem::new(
            path,
            format!(
                "leads to {host}, which is not among the hosts that this cluster allows ({})",
                self.0.join(", ")
            ),
            "use one of them, or let whoever runs bowsprit-operator add it to the chart's allowedHosts",
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "json! makes owned values")]
    use std::collections::BTreeMap;

    use bowsprit_core::config::Scope;
    use serde_json::{Value, json};

    use super::*;

    fn provider(endpoint: Value) -> Provider {
        let spec = json!({"provider": "Anthropic", "endpoint": endpoint,
            "credentials": [{"name": "main", "secretKeyRef": {"name": "s", "key": "k"}}]});
        let scope = Scope::Cluster {
            pod_labels: BTreeMap::new(),
        };
        Provider::from_spec("a", &serde_json::from_value(spec).unwrap(), &scope).unwrap()
    }

    #[test]
    fn a_name_is_itself_and_a_star_is_what_is_below() {
        let hosts: AllowedHosts = "api.anthropic.com, *.openai.azure.com,*.svc".parse().unwrap();
        for allowed in [
            "api.anthropic.com",
            "API.Anthropic.com",
            "api.anthropic.com.",
            "ours.openai.azure.com",
            "a.b.openai.azure.com",
            "vllm.models.svc",
        ] {
            assert!(hosts.allow(allowed), "{allowed}");
        }
        for refused in [
            "anthropic.com",
            "api.anthropic.com.evil.example",
            "x-api.anthropic.com",
            "openai.azure.com",
            "evilopenai.azure.com",
            ".openai.azure.com",
            "svc",
        ] {
            assert!(!hosts.allow(refused), "{refused}");
        }
        assert!(AllowedHosts::default().allow("anything.example"));
        assert_eq!("".parse::<AllowedHosts>().unwrap(), AllowedHosts::default());
        for wrong in ["https://a.example", "a.*.example", "*.", "*", "a b"] {
            assert!(wrong.parse::<AllowedHosts>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_service_that_guards_is_judged_as_a_provider_is() {
        let guard = |url: &str| {
            let spec = json!([{"name": "local", "applyTo": ["Request"], "words": ["bluebird"]},
                {"name": "dlp", "applyTo": ["Request"], "webhook": {"url": url}}]);
            Guard::all_of("ModelRoute fast", &serde_json::from_value::<Vec<_>>(spec).unwrap()).unwrap()
        };
        let hosts: AllowedHosts = "*.corp".parse().unwrap();
        assert!(hosts.refuse_guards(&guard("https://dlp.corp/check")).is_none());
        let refused = hosts
            .refuse_guards(&guard("https://elsewhere.example"))
            .unwrap()
            .to_string();
        let expected = "ModelRoute fast: spec.guards[1].webhook.url: leads to elsewhere.example, which is not among";
        assert!(refused.starts_with(expected), "{refused}");
        assert!(
            AllowedHosts::default()
                .refuse_guards(&guard("https://any.example"))
                .is_none()
        );
    }

    #[test]
    fn the_public_address_is_judged_too_and_a_proxy_where_it_reads_along() {
        let hosts: AllowedHosts = "models.corp".parse().unwrap();
        let said = |endpoint| hosts.refuse(&provider(endpoint)).map(|problem| problem.to_string());
        assert_eq!(said(json!({"baseUrl": "https://models.corp:8443"})), None);
        insta::assert_snapshot!(said(json!({})).unwrap());
        let proxied =
            |base: &str| json!({"baseUrl": base, "allowHttp": true, "httpProxy": "http://proxy.elsewhere:3128"});
        assert_eq!(said(proxied("https://models.corp")), None);
        assert!(
            said(proxied("http://models.corp"))
                .unwrap()
                .contains("spec.endpoint.httpProxy")
        );
    }
}
