//! One `AdmissionReview` of a workload, a namespace or a pod in, one out: always let through, with warnings of what is not
//! read as it was meant ([`crate::mistakes`]). From the object alone.

use std::time::Instant;

use super::admission::{AdmissionRequest, NotAReview, answered};
use crate::metrics::Metrics;
use crate::mistakes;

/// Answers reviews with advice.
pub struct Adviser {
    metrics: Metrics,
}

impl Adviser {
    /// Counts what it answers in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }

    /// The answer to `body`, as JSON.
    pub fn review(&self, body: &[u8], began: Instant) -> Result<Vec<u8>, NotAReview> {
        let request = AdmissionRequest::read(body);
        let request = request.inspect_err(|_| self.metrics.validated("invalid", began.elapsed()))?;
        let mistakes = mistakes::of(&request.kind.kind, &request.object);
        let warnings: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let result = if warnings.is_empty() { "accepted" } else { "warned" };
        self.metrics.validated(result, began.elapsed());
        answered(&request.allowed(&warnings))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_mistake_is_a_warning_and_never_a_refusal() {
        let adviser = Adviser::new(Metrics::new());
        let ask = |object: Value| {
            let review = json!({"request": {"uid": "u", "operation": "CREATE", "kind": {"group": "apps", "kind": "Deployment"}, "object": object}});
            let answer = adviser.review(review.to_string().as_bytes(), Instant::now()).unwrap();
            serde_json::from_slice::<Value>(&answer).unwrap()["response"].clone()
        };
        let answer = ask(json!({"metadata": {"labels": {"bowsprit.dev/inject": "true"}}}));
        assert_eq!(answer["allowed"], true);
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.contains("spec.template.metadata.labels"), "{warning}");
        assert_eq!(ask(Value::Null), json!({"uid": "u", "allowed": true}));
    }
}
