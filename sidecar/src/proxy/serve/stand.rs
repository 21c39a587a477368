//! How it stands with each candidate of a request that has no answer.

use bowsprit_core::kept::outage::Stands;

use super::Serving;
use crate::proxy::context::RequestContext;
use crate::proxy::respond::Answer;

impl Serving<'_> {
    /// How it stands with each, those that the plan left out included. One that nobody came to is not known to be down.
    pub(super) fn stand<'s>(
        &'s self,
        context: &'s RequestContext,
        answer: &'s Answer,
    ) -> impl Iterator<Item = Stands> + 's {
        let of = move |candidate: usize| {
            let failed = match answer {
                Answer::Failed { candidate: of, failure } if *of == candidate => Some(failure.code),
                _ => self.failure_at(candidate).map(|failure| failure.code),
            };
            let skipped = || context.flow.skips().iter().rfind(|skip| skip.candidate == candidate);
            failed
                .map(Stands::after)
                .or_else(|| skipped().map(|skip| Stands::skipped(skip.reason)))
                .unwrap_or(Stands::Otherwise)
        };
        let left_out = self.plan.skipped.iter().map(|skipped| Stands::left_out(skipped.why));
        (0..self.pool.candidates.len()).map(of).chain(left_out)
    }
}
