//! Which sidecars answered, and how far back what they hold goes: said beside every answer that is made of it. Pure.

use std::fmt::Write as _;

use crate::output::{count, few, units};

/// How far one pod's answer reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It answered.
    Answered {
        /// When the oldest entry ended that it has in detail.
        detail_since: Option<i64>,
        /// Whether it has older ones as sums alone.
        has_sums: bool,
        /// Whether a ledger service has taken some, which it does not have any more.
        has_shipped: bool,
    },
    /// It did not, or not all of it, and why.
    Silent(String),
}

/// How far all of them reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    pods: Vec<(String, Reach)>,
}

impl Coverage {
    /// One pod's.
    pub(super) fn add(&mut self, namespace: &str, pod: &str, reach: Reach) {
        self.pods.push((format!("{namespace}/{pod}"), reach));
    }

    /// Why there is no answer at all, where none of them gave one.
    pub(super) fn nobody(&self) -> Option<String> {
        let mut whys = self.pods.iter().map(|(pod, reach)| match reach {
            Reach::Silent(why) => Some(format!("{pod}: {why}")),
            Reach::Answered { .. } => None,
        });
        let first = whys.next()??;
        whys.all(|why| why.is_some()).then(|| {
            format!(
                "there is no ledger service, and of {} none answered; {first}",
                count(self.pods.len(), "sidecar")
            )
        })
    }

    /// What is said beside an answer.
    pub(super) fn words(&self) -> String {
        let answered = self
            .pods
            .iter()
            .filter(|(_, reach)| matches!(reach, Reach::Answered { .. }))
            .count();
        let mut text = format!(
            "No ledger service: asked the sidecars themselves, {answered} of {} answered. What pods that are gone had kept went with them.\n",
            self.pods.len()
        );
        let mut folded: Vec<&str> = Vec::new();
        let mut shipped: Vec<&str> = Vec::new();
        let mut least = None;
        for (pod, reach) in &self.pods {
            match reach {
                Reach::Answered {
                    detail_since,
                    has_sums,
                    has_shipped,
                } => {
                    if *has_sums {
                        folded.push(pod);
                        least = least.max(*detail_since);
                    }
                    if *has_shipped {
                        shipped.push(pod);
                    }
                }
                Reach::Silent(why) => {
                    let _ = writeln!(text, "  {pod}: {why}");
                }
            }
        }
        if !folded.is_empty() {
            let since = least.map_or_else(
                || "all of it".to_owned(),
                |at| format!("what ended before {}", units::moment(at)),
            );
            let _ = writeln!(text, "  As sums alone, {since}, for want of room: {}", few(folded));
        }
        if !shipped.is_empty() {
            let _ = writeln!(
                text,
                "  Not here but with the ledger service that took it, older requests of: {}",
                few(shipped)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(detail_since: Option<i64>, has_sums: bool, has_shipped: bool) -> Reach {
        Reach::Answered {
            detail_since,
            has_sums,
            has_shipped,
        }
    }

    #[test]
    fn who_answered_and_how_far_back_it_goes_is_said_beside_the_answer() {
        let mut coverage = Coverage::default();
        coverage.add("shop", "app-1", answered(Some(1_764_354_787_000), false, false));
        coverage.add("shop", "app-2", answered(Some(1_764_354_787_000), true, true));
        coverage.add("shop", "app-3", Reach::Silent("the pod is being deleted".into()));
        assert_eq!(coverage.nobody(), None);
        insta::assert_snapshot!(coverage.words(), @r"
        No ledger service: asked the sidecars themselves, 2 of 3 answered. What pods that are gone had kept went with them.
          shop/app-3: the pod is being deleted
          As sums alone, what ended before 2025-11-28 18:33:07.000Z, for want of room: shop/app-2
          Not here but with the ledger service that took it, older requests of: shop/app-2
        ");
    }

    #[test]
    fn where_none_answers_it_is_a_failure_with_the_first_reason() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.nobody(), None);
        for pod in ["app-1", "app-2"] {
            coverage.add(
                "shop",
                pod,
                Reach::Silent("HTTP 404: this sidecar keeps nothing".into()),
            );
        }
        let why = coverage.nobody().expect("none answered");
        assert!(why.contains("2 sidecars none answered; shop/app-1: HTTP 404"), "{why}");
    }
}
