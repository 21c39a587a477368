//! Which pods something applies to, in the words of Kubernetes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Selects by labels; all of its parts must match, and an empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(
    feature = "schema",
    schemars(extend("x-kubernetes-validations" = [{
        "rule": "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0 : has(self.values) && size(self.values) > 0",
        "message": "In and NotIn need at least one entry in values; Exists and DoesNotExist take none",
    }]))
)]
pub struct LabelRequirement {
    /// The label's name.
    pub key: String,
    /// How its value is compared.
    pub operator: LabelOperator,
    /// The values to compare with; for `In` and `NotIn` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LabelOperator {
    /// The label is there with one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether a pod with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|value| self.values.contains(value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn expression(operator: LabelOperator, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        LabelSelector {
            match_expressions: vec![LabelRequirement {
                key: "tier".into(),
                operator,
                values,
            }],
            ..LabelSelector::default()
        }
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(LabelSelector::default().matches(&labels(&[])));
    }

    #[test]
    fn every_operator_does_what_kubernetes_says() {
        let (web, db, none) = (labels(&[("tier", "web")]), labels(&[("tier", "db")]), labels(&[]));
        for (selector, expected) in [
            (expression(LabelOperator::In, &["web"]), [true, false, false]),
            (expression(LabelOperator::NotIn, &["web"]), [false, true, true]),
            (expression(LabelOperator::Exists, &[]), [true, true, false]),
            (expression(LabelOperator::DoesNotExist, &[]), [false, false, true]),
            (
                LabelSelector {
                    match_labels: web.clone(),
                    ..LabelSelector::default()
                },
                [true, false, false],
            ),
        ] {
            assert_eq!(
                [&web, &db, &none].map(|pod| selector.matches(pod)),
                expected,
                "{selector:?}"
            );
        }
    }
}
