//! Where an API begins: the one rule for `endpoint.baseUrl`, told to the apiserver as CEL and to everybody else by
//! [`judge`].
//!
//! People paste what they have at hand: a host, a host with the version, a whole endpoint. What can only mean one thing is
//! taken as meant, so that the version stands in every request's path once; what is an endpoint, or no base of this API, is
//! refused with the base URL that is right.

use crate::ProviderKind;

/// Paths of operations, that no base URL ends in. Each ends in what follows the API's version.
pub const ENDPOINTS: [&str; 9] = [
    "chat/completions",
    "completions",
    "responses",
    "responses/input_tokens",
    "embeddings",
    "messages",
    "messages/count_tokens",
    "messages/batches",
    "complete",
];

/// Hosts of servers that speak `OpenAI`'s API at their root, without a version: a base URL that names only the host means
/// that there, and `/v1` everywhere else. From those servers' own documentation.
pub const WITHOUT_VERSION: [&str; 2] = ["api.perplexity.ai", "models.inference.ai.azure.com"];

/// What a base URL's path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What comes before the path of every request, without a slash at its end. With the version for the kinds whose
    /// requests are counted from it ([`crate::KindFacts::versions`]), without it for the others.
    pub path: String,
    /// The version that the URL ended in, where requests name one (`Anthropic` and `Gemini`).
    pub version: Option<String>,
}

/// Why a path is no base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, as the end of a sentence that begins with the field.
    pub problem: String,
    /// The path that is right.
    pub path: String,
    /// What else is to be changed, where the path alone does not help.
    pub hint: &'static str,
}

/// Judges the path of a base URL at `host`.
///
/// # Errors
/// A path that is no base of this API, with the one that is.
pub fn judge(kind: ProviderKind, host: &str, path: &str) -> Result<Base, Refusal> {
    let path = path.trim_end_matches('/');
    let refuse = |problem: String, right: &str, hint| {
        Err(Refusal {
            problem,
            path: right.to_owned(),
            hint,
        })
    };
    if path.contains("//") {
        let mut right = path.to_owned();
        while right.contains("//") {
            right = right.replace("//", "/");
        }
        return refuse("has two slashes in a row in its path".into(), &right, "");
    }
    let facts = kind.facts();
    if facts.fixed_base {
        return match fixed(facts.base_path, path) {
            Some(path) => Ok(Base { path, version: None }),
            None => refuse("is not where this API begins".into(), facts.base_path, ""),
        };
    }
    if let Some(before) = before_endpoint(path) {
        // What is left may be no base either: the remedy is one that is taken.
        let inner = judge(kind, host, before).err().map(|refusal| refusal.path);
        let right = inner.as_deref().unwrap_or(before);
        return refuse("is a whole endpoint, not where the API begins".into(), right, "");
    }
    let (before, last) = path.rsplit_once('/').unwrap_or(("", path));
    let doubled = before
        .rsplit_once('/')
        .filter(|(_, other)| is_version(last) && is_version(other));
    if let Some((prefix, _)) = doubled {
        return refuse("names a version twice".into(), &format!("{prefix}/{last}"), "");
    }
    let known = facts.versions;
    if known.is_empty() {
        let bare = path.is_empty() && !WITHOUT_VERSION.iter().any(|known| known.eq_ignore_ascii_case(host));
        return Ok(Base {
            path: if bare { facts.base_path } else { path }.to_owned(),
            version: None,
        });
    }
    if last == "openai" && before.rsplit('/').next().is_some_and(is_version) {
        let hint = "or set provider to OpenAICompatible, whose API this is";
        return refuse("is an OpenAI-compatible API".into(), before, hint);
    }
    if known.contains(&last) {
        return Ok(Base {
            path: before.to_owned(),
            version: Some(last.to_owned()),
        });
    }
    if is_version(last) {
        let problem = format!("ends in {last}, and this API is spoken in {}", known.join(", "));
        return refuse(problem, before, "");
    }
    Ok(Base {
        path: path.to_owned(),
        version: None,
    })
}

/// The path of a base URL that must end in `base`, and that a host alone, or with the first steps of `base`, means too.
fn fixed(base: &str, path: &str) -> Option<String> {
    let begun = path.is_empty() || base.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    if begun {
        return Some(base.to_owned());
    }
    path.ends_with(base).then(|| path.to_owned())
}

/// What comes before the operation that a path ends in.
fn before_endpoint(path: &str) -> Option<&str> {
    // The longest first: `responses/input_tokens` begins where `responses` does, and `completions` ends both.
    let mut cut: Option<&str> = None;
    for endpoint in ENDPOINTS {
        let before = path.strip_suffix(endpoint).and_then(|before| before.strip_suffix('/'));
        cut = match (cut, before) {
            (Some(cut), Some(before)) if cut.len() <= before.len() => Some(cut),
            (cut, before) => before.or(cut),
        };
    }
    cut.or_else(|| before_models(path))
}

/// What comes before a list of models or one of them, below a version, or before an operation of one.
fn before_models(path: &str) -> Option<&str> {
    let collections = path.match_indices("/models").chain(path.match_indices("/tunedModels"));
    let cuts = collections.filter_map(|(at, collection)| {
        let (before, rest) = (path.get(..at)?, path.get(at + collection.len()..)?);
        let of_version = before.rsplit('/').next().is_some_and(is_version);
        let method = rest.rsplit_once(':').map(|(_, method)| method);
        let operation =
            method.is_some_and(|method| method.starts_with(|c: char| c.is_ascii_alphabetic()) && !method.contains('/'));
        let ends = rest.is_empty() || rest.starts_with('/');
        (ends && (of_version || operation)).then_some(before)
    });
    cuts.min_by_key(|before| before.len())
}

/// `v1`, `v1beta`, `v2`: a segment that names a version.
pub fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
    })
}

/// The same as CEL, of the field `baseUrl` itself.
#[cfg(feature = "schema")]
pub fn rules() -> serde_json::Value {
    let endpoint = format!("/({})/*$", ENDPOINTS.join("|"));
    let listing = "/v[0-9][0-9a-z]*/(models|tunedModels)(/.*)?$|/(models|tunedModels)/.*:[A-Za-z][^/]*/*$";
    serde_json::json!([
        {
            "rule": "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '' && !self.contains('@') && !self.contains('?') && !self.contains('#')",
            "message": "must be an http or https URL with a host and without user, query or fragment, such as https://api.openai.com/v1",
        },
        {
            "rule": "!self.matches('^https?://.*[^/:]//+[^/]')",
            "message": "has two slashes in a row in its path: write one",
        },
        {
            "rule": format!("!self.matches('{endpoint}')"),
            "message": "is a whole endpoint, not where the API begins: leave the operation's path out, as in https://api.openai.com/v1",
            "messageExpression": format!("'is a whole endpoint, not where the API begins: use ' + self.substring(0, size(self) - size(self.find('{endpoint}')))"),
        },
        {
            "rule": format!("!self.matches('{listing}')"),
            "message": "is a whole endpoint, not where the API begins: leave /models and what follows it out",
            "messageExpression": format!("'is a whole endpoint, not where the API begins: use ' + self.substring(0, size(self) - size(self.find('/(models|tunedModels)(/.*)?$')))"),
        },
        {
            "rule": "!self.matches('/v[0-9][0-9a-z]*/v[0-9][0-9a-z]*/*$')",
            "message": "names a version twice: keep one, as in https://api.openai.com/v1",
        },
    ])
}

/// The same as CEL, of the spec: what depends on the provider.
#[cfg(feature = "schema")]
pub fn rules_by_kind() -> Vec<serde_json::Value> {
    let facts = ProviderKind::ALL.map(ProviderKind::facts);
    let versioned = facts.iter().filter(|facts| !facts.versions.is_empty());
    let rule = |facts: &crate::KindFacts| {
        let (name, known) = (facts.name, facts.versions.join("|"));
        let example = facts.base_url.unwrap_or("the server's own address");
        serde_json::json!({
            "rule": format!("self.provider != '{name}' || !has(self.endpoint) || !has(self.endpoint.baseUrl) || !self.endpoint.baseUrl.matches('/v[0-9][0-9a-z]*(/openai)?/*$') || self.endpoint.baseUrl.matches('/({known})/*$')"),
            "message": format!("endpoint.baseUrl: ends in a version that {name}'s API is not spoken in, or in an OpenAI-compatible API: use {example}, or set provider to OpenAICompatible"),
            "fieldPath": ".endpoint",
        })
    };
    let fixed = facts.iter().filter(|facts| facts.fixed_base).map(|facts| {
        let (name, base) = (facts.name, facts.base_path);
        let begun = base.rsplit_once('/').map_or("", |(begun, _)| begun);
        serde_json::json!({
            "rule": format!("self.provider != '{name}' || !has(self.endpoint) || !has(self.endpoint.baseUrl) || self.endpoint.baseUrl.matches('^https?://[^/]+({begun})?/*$') || self.endpoint.baseUrl.matches('{base}/*$')"),
            "message": format!("endpoint.baseUrl: is not where {name}'s API begins: end it in {base}, or give the host alone"),
            "fieldPath": ".endpoint",
        })
    });
    versioned.map(rule).chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use ProviderKind::{Anthropic, Gemini, OpenAI, OpenAICompatible};

    use super::*;

    fn base(kind: ProviderKind, path: &str) -> (String, Option<String>) {
        let base = judge(kind, "host", path).unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"));
        (base.path, base.version)
    }

    #[test]
    fn a_version_at_the_end_is_taken_as_meant() {
        for (kind, path, prefix, version) in [
            (Anthropic, "", "", None),
            (Anthropic, "/v1", "", Some("v1")),
            (Anthropic, "/v1/", "", Some("v1")),
            (Anthropic, "/team/anthropic/v1//", "/team/anthropic", Some("v1")),
            (
                Anthropic,
                "/v1/account/gateway/anthropic",
                "/v1/account/gateway/anthropic",
                None,
            ),
            (Gemini, "/v1beta/", "", Some("v1beta")),
            (Gemini, "/google/v1", "/google", Some("v1")),
            (OpenAI, "", "/v1", None),
            (OpenAI, "/", "/v1", None),
            (OpenAI, "/v1/", "/v1", None),
            (OpenAICompatible, "/api/paas/v4", "/api/paas/v4", None),
            (OpenAICompatible, "/v1beta/openai/", "/v1beta/openai", None),
            (OpenAICompatible, "/models", "/models", None),
        ] {
            assert_eq!(
                base(kind, path),
                (prefix.to_owned(), version.map(str::to_owned)),
                "{kind:?} {path}"
            );
        }
        let root = judge(OpenAICompatible, "API.perplexity.ai", "/").unwrap();
        assert_eq!(root.path, "", "a server without a version has none put in");
    }

    #[test]
    fn a_base_that_is_fixed_is_put_in_where_it_is_begun() {
        for (path, whole) in [
            ("", Some("/openai/v1")),
            ("/openai", Some("/openai/v1")),
            ("/openai/v1", Some("/openai/v1")),
            ("/team/openai/v1", Some("/team/openai/v1")),
            ("/open", None),
            ("/openai/v2", None),
            ("/openai/deployments/d", None),
            ("/openai/v1/chat/completions", None),
        ] {
            assert_eq!(fixed("/openai/v1", path).as_deref(), whole, "{path}");
        }
    }

    #[test]
    fn what_is_no_base_is_refused_with_the_one_that_is() {
        for (kind, path, right) in [
            (OpenAI, "/v1/chat/completions", "/v1"),
            (OpenAI, "/v1/chat/completions/", "/v1"),
            (OpenAICompatible, "/openai/v1/responses/input_tokens", "/openai/v1"),
            (OpenAICompatible, "/chat/completions", ""),
            (OpenAI, "/v1/embeddings", "/v1"),
            (OpenAI, "/v1/models", "/v1"),
            (Anthropic, "/v1/messages", "/v1"),
            (Anthropic, "/v1/messages/count_tokens", "/v1"),
            (Gemini, "/v1beta/models/gemini-2.5-flash:generateContent", "/v1beta"),
            (Gemini, "/v1beta/tunedModels/x", "/v1beta"),
            (Gemini, "/models/gemini-2.5-flash:generateContent", ""),
            (Gemini, "/v1beta/openai", "/v1beta"),
            (Gemini, "/v2", ""),
            (Anthropic, "/v1beta", ""),
            (OpenAI, "/v1/v1", "/v1"),
            (Gemini, "/v1/v1beta", "/v1beta"),
            (OpenAI, "//v1", "/v1"),
        ] {
            let refused = judge(kind, "host", path);
            assert_eq!(
                refused.map_err(|refusal| refusal.path),
                Err(right.to_owned()),
                "{kind:?} {path}"
            );
        }
    }
}
