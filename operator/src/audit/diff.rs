//! What is different between two specs, field by field, without secrets.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// Fields told of one change: one that replaces everything is told in part.
const MAX_CHANGES: usize = 60;
/// Characters told of a value.
const MAX_VALUE: usize = 120;
/// What stands in place of a value that may be a secret.
const HIDDEN: &str = "(hidden)";

/// One field that is different. Prints as `path: old -> new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, such as `spec.credentials[main].weight`.
    pub path: String,
    /// As it was; none where it was not there.
    pub old: Option<String>,
    /// As it is; none where it is not there any more.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (None, Some(new)) => write!(f, "{}: + {new}", self.path),
            (Some(old), None) => write!(f, "{}: - {old}", self.path),
            (Some(old), Some(new)) => write!(f, "{}: {old} -> {new}", self.path),
            (None, None) => f.write_str(&self.path),
        }
    }
}

/// The fields that are different between two specs; null stands for one that is not there.
pub fn diff(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk("spec", false, Some(old), Some(new), &mut changes);
    let more = changes.len().saturating_sub(MAX_CHANGES);
    if more > 0 {
        changes.truncate(MAX_CHANGES);
        changes.push(Change {
            path: format!("and {more} more fields"),
            old: None,
            new: None,
        });
    }
    changes
}

fn walk(path: &str, is_secret: bool, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    let (old, new) = (
        old.filter(|value| !value.is_null()),
        new.filter(|value| !value.is_null()),
    );
    if old == new {
        return;
    }
    let one = old.or(new);
    if one.is_some_and(Value::is_object) && [old, new].into_iter().flatten().all(Value::is_object) {
        let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
        let (old, new) = (fields(old), fields(new));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let hides = is_secret || may_hold_secrets(path, name);
            walk(&format!("{path}.{name}"), hides, old.get(name), new.get(name), changes);
        }
        return;
    }
    if let (Some(old), Some(new)) = (named(old), named(new)) {
        let names: BTreeSet<&str> = old.iter().chain(&new).map(|(name, _)| *name).collect();
        let find = |all: &[(&str, &Value)], name: &str| {
            let found = all.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).clone())
        };
        for name in names {
            let (old, new) = (find(&old, name), find(&new, name));
            walk(
                &format!("{path}[{name}]"),
                is_secret,
                old.as_ref(),
                new.as_ref(),
                changes,
            );
        }
        return;
    }
    changes.push(Change {
        path: path.to_owned(),
        old: old.map(|value| told(value, is_secret)),
        new: new.map(|value| told(value, is_secret)),
    });
}

/// The entries of a list by their names, where each has one of its own. What is not there is a list without entries.
fn named(list: Option<&Value>) -> Option<Vec<(&str, &Value)>> {
    let Some(list) = list else { return Some(Vec::new()) };
    let entry = |entry| Some((name_of(entry)?, entry));
    let named: Vec<(&str, &Value)> = list.as_array()?.iter().map(entry).collect::<Option<_>>()?;
    let distinct: BTreeSet<&str> = named.iter().map(|(name, _)| *name).collect();
    (distinct.len() == named.len()).then_some(named)
}

/// What tells an entry from the others: its name, or the provider that it is about.
fn name_of(entry: &Value) -> Option<&str> {
    entry.get("name").or_else(|| entry.get("provider"))?.as_str()
}

/// Whether what stands below a field may be a secret: values of headers, and whatever is called like one. The names of Secrets and
/// of their keys are none: a `secretKeyRef` is the point of an audit.
fn may_hold_secrets(path: &str, name: &str) -> bool {
    const WORDS: [&str; 7] = [
        "token",
        "secret",
        "password",
        "apikey",
        "authorization",
        "headers",
        "passphrase",
    ];
    if name == "secretKeyRef" || path.ends_with(".secretKeyRef") || name.to_lowercase().ends_with("tokens") {
        return false;
    }
    // `tokensPerMinute`, `maxTokens` and the like count; they are numbers anyway, and worth telling.
    let name = name.to_lowercase();
    !name.starts_with("tokens") && name != "firsttoken" && WORDS.iter().any(|word| name.contains(word))
}

fn told(value: &Value, is_secret: bool) -> String {
    if is_secret {
        return HIDDEN.to_owned();
    }
    let text = match value {
        Value::String(text) => without_credentials(text),
        Value::Array(_) | Value::Object(_) => hidden_within(value).to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_VALUE) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// A value that is told whole, with everything hidden in it that must be.
fn hidden_within(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let told = match value {
                        Value::Object(_) if name == "secretKeyRef" => value.clone(),
                        _ if may_hold_secrets("", name) => Value::String(HIDDEN.to_owned()),
                        _ => hidden_within(value),
                    };
                    (name.clone(), told)
                })
                .collect(),
        ),
        Value::Array(entries) => Value::Array(entries.iter().map(hidden_within).collect()),
        Value::String(text) => Value::String(without_credentials(text)),
        other => other.clone(),
    }
}

/// A URL without what some people put into it: a name and password, a query, a fragment.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let end = path.find(['?', '#']);
    let (path, hidden) = end.map_or((path, ""), |at| (path.get(..at).unwrap_or_default(), HIDDEN));
    let user = if host.len() == authority.len() { "" } else { "(hidden)@" };
    format!("{scheme}://{user}{host}{path}{hidden}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: &Value, new: &Value) -> Vec<String> {
        diff(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_field_that_changed_is_told_with_its_path_and_no_other() {
        let old = json!({
            "provider": "OpenAI", "priority": 1, "enabled": true,
            "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": "a"}, "weight": 1}, {"name": "old", "weight": 2}],
            "timeouts": {"firstToken": "30s"}, "rateLimits": {"tokensPerMinute": 5},
        });
        let new = json!({
            "provider": "OpenAI", "priority": 2, "enabled": true,
            "credentials": [{"name": "new", "weight": 2}, {"name": "main", "secretKeyRef": {"name": "keys", "key": "b"}, "weight": 1}],
            "timeouts": {"firstToken": "10s"}, "rateLimits": {"tokensPerMinute": 6},
        });
        assert_eq!(
            told(&old, &new),
            [
                "spec.credentials[main].secretKeyRef.key: a -> b",
                "spec.credentials[new].name: + new",
                "spec.credentials[new].weight: + 2",
                "spec.credentials[old].name: - old",
                "spec.credentials[old].weight: - 2",
                "spec.priority: 1 -> 2",
                "spec.rateLimits.tokensPerMinute: 5 -> 6",
                "spec.timeouts.firstToken: 30s -> 10s",
            ]
        );
        assert_eq!(told(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn no_secret_is_told_wherever_somebody_puts_one() {
        let canary = "cnry-of-the-audit-log";
        let spec = json!({
            "endpoint": {
                "baseUrl": format!("https://user:{canary}@api.example.com/v1?key={canary}#{canary}"),
                "httpProxy": format!("http://{canary}@proxy:3128"),
                "headers": {"x-team": canary, "Authorization": canary},
            },
            "credentials": [{"name": "main", "apiKey": canary, "clientSecret": {"value": canary}, "more": [{"token": canary}]}],
            "list": [{"password": canary, "headers": {"a": canary}}, [canary.len()]],
        });
        for (old, new) in [
            (&json!(null), &spec),
            (&spec, &json!(null)),
            (&spec, &json!({"endpoint": {"headers": {}}})),
        ] {
            let lines = told(old, new).join("\n");
            assert!(!lines.contains(canary), "{lines}");
            assert!(lines.contains("spec.endpoint"), "{lines}");
        }
        let other = json!({"endpoint": {"headers": {"x-team": "another"}}});
        let lines = told(&json!({"endpoint": {"headers": {"x-team": canary}}}), &other);
        assert_eq!(
            lines,
            ["spec.endpoint.headers.x-team: (hidden) -> (hidden)"],
            "that it changed is told"
        );
    }

    #[test]
    fn a_change_of_everything_is_told_in_part_and_says_so() {
        let many: serde_json::Map<String, Value> =
            (0..100).map(|n| (format!("f{n:03}"), json!("x".repeat(500)))).collect();
        let lines = told(&json!({}), &Value::Object(many));
        assert_eq!(lines.len(), 61);
        assert!(lines[60].starts_with("and 40 more fields"), "{}", lines[60]);
        assert!(lines[0].len() < 150, "{}", lines[0]);
    }
}
