//! Who may ask for what: rules in the Common Expression Language.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Rules that every request must satisfy, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccessRules {
    /// Whether a request that a rule denies is refused, or only counted.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// The rules.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub rules: Vec<AccessRule>,
}

/// One rule. It can also be read from a bare text, its expression, and has no name then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// Its name, in errors, metrics and the ledger.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,
    /// A CEL expression that is true of a request that may pass, such as `request.maxTokens <= 4096`. Its variables are
    /// `request`, `caller`, `route` and `candidate`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1000)))]
    pub allow: String,
    /// What the caller of a denied request is told beside the rule's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 500)))]
    pub message: Option<String>,
}

/// What becomes of a request that a rule denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Enforcement {
    /// It is refused with a 403 that names the rule.
    #[default]
    Enforce,
    /// It passes, and is counted as one that would have been refused.
    Shadow,
}

impl<'de> Deserialize<'de> for AccessRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

/// The fields as they are written out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    name: String,
    allow: String,
    #[serde(default)]
    message: Option<String>,
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = AccessRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule: an object with name and allow, or the text of a CEL expression")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AccessRule, E> {
        Ok(AccessRule {
            name: String::new(),
            allow: text.to_owned(),
            message: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AccessRule, A::Error> {
        let Written { name, allow, message } = Written::deserialize(MapAccessDeserializer::new(map))?;
        Ok(AccessRule { name, allow, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AccessRules {
        try_read(text).unwrap()
    }

    fn try_read(text: &str) -> Result<AccessRules, serde_json::Error> {
        serde_json::from_value(crate::yaml::documents(text).unwrap().remove(0))
    }

    #[test]
    fn a_rule_has_a_name_and_a_text_alone_is_one_too() {
        let access = read("enforcement: Shadow\nrules: [{name: small, allow: 'request.stream', message: No.}]");
        assert_eq!(access.enforcement, Enforcement::Shadow);
        assert_eq!(
            access.rules,
            [AccessRule {
                name: "small".into(),
                allow: "request.stream".into(),
                message: Some("No.".into())
            }]
        );
        let old = read("rules: ['request.stream', 'true']");
        assert_eq!(old.enforcement, Enforcement::Enforce);
        assert_eq!((old.rules[1].name.as_str(), old.rules[1].allow.as_str()), ("", "true"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let old = read("rules: ['request.stream', {name: a, allow: 'true'}]");
        let text = serde_json::to_string(&old).unwrap();
        assert_eq!(
            text,
            r#"{"enforcement":"Enforce","rules":[{"allow":"request.stream"},{"name":"a","allow":"true"}]}"#
        );
        assert_eq!(read(&text), old);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        assert!(try_read("rules: [3]").is_err());
        assert!(try_read("rules: [{name: a}]").is_err());
    }
}
