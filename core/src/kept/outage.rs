//! When a kept answer is given: when every candidate is down, and nothing but that stands between the caller and a new one.
//!
//! A kept answer must not hide what is to be heard: a mistake of the caller's, a key or an account that is not accepted, a
//! limit that was set on purpose. RFC 5861 has `stale-if-error` for the same reason only after 500, 502, 503 and 504.

use crate::fault::Code;
use crate::flow::SkipReason;
use crate::plan::Why;

/// How it stands with one candidate where a request ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It fails, or is left alone because it did.
    Down,
    /// Its own limit is used up, as it said itself: what an outage elsewhere brings about.
    Exhausted,
    /// It never answers such a request, however well it is.
    Unfit,
    /// Something that a kept answer would hide.
    Otherwise,
}

impl Stands {
    /// Of one whose last attempt ended with this error.
    pub fn after(code: Code) -> Self {
        match code {
            Code::ExtConnectRefused
            | Code::ExtConnectTimeout
            | Code::ExtDns
            | Code::ExtTls
            | Code::ExtReset
            | Code::ExtTruncated
            | Code::ExtFirstTokenTimeout
            | Code::ExtIdleTimeout
            | Code::ExtTotalTimeout
            | Code::ExtProtocol
            | Code::ExtServerError
            | Code::ExtOverloaded
            | Code::ExtMalformed
            | Code::ExtAllUnavailable => Self::Down,
            Code::RateProvider => Self::Exhausted,
            _ => Self::Otherwise,
        }
    }

    /// Of one that was passed over.
    pub fn skipped(reason: SkipReason) -> Self {
        match reason {
            SkipReason::CircuitOpen | SkipReason::RetryBudget => Self::Down,
            SkipReason::Unsupported => Self::Unfit,
            SkipReason::Limited(_) | SkipReason::NoCredential => Self::Otherwise,
        }
    }

    /// Of one that the plan left out.
    pub fn left_out(why: Why) -> Self {
        match why {
            Why::CircuitOpen | Why::Unhealthy => Self::Down,
            Why::NoHeadroom => Self::Exhausted,
            Why::NoModel | Why::NotHere => Self::Unfit,
            // A kept answer may be one of a provider that is paused, or that a rule forbids for this request.
            Why::NoKey | Why::Access | Why::Paused => Self::Otherwise,
        }
    }
}

/// Whether it is an outage: somebody is down, and nobody is kept from answering by anything else.
pub fn is_outage(candidates: impl IntoIterator<Item = Stands>) -> bool {
    let mut is_down = false;
    for stands in candidates {
        match stands {
            Stands::Down => is_down = true,
            Stands::Exhausted | Stands::Unfit => {}
            Stands::Otherwise => return false,
        }
    }
    is_down
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Blame;

    #[test]
    fn no_fault_of_the_callers_or_our_own_counts_as_an_outage() {
        for code in Code::ALL {
            let is_down = matches!(Stands::after(*code), Stands::Down);
            assert!(
                !is_down || (code.blame() == Blame::Provider && code.retryable()),
                "{code}"
            );
        }
        for code in [
            Code::ValProviderRefused,
            Code::ValContextLength,
            Code::AuthKeyRejected,
            Code::AuthBilling,
            Code::AuthPermission,
            Code::RateLocalLimit,
            Code::SysDraining,
            Code::SysOverloaded,
            Code::BizContentFiltered,
            Code::BizPaused,
            Code::BizBudgetSpent,
            Code::ResModelNotFound,
            Code::ExtAddressDenied,
        ] {
            assert_eq!(Stands::after(code), Stands::Otherwise, "{code}");
        }
    }

    #[test]
    fn all_must_be_down_and_who_is_at_its_limit_beside_them_changes_nothing() {
        use Stands::{Down, Exhausted, Otherwise, Unfit};
        for (candidates, expected) in [
            (&[Down][..], true),
            (&[Down, Down, Unfit], true),
            (&[Down, Exhausted], true),
            (&[Exhausted, Exhausted], false),
            (&[Unfit], false),
            (&[], false),
            (&[Down, Otherwise], false),
            (&[Otherwise, Down], false),
        ] {
            assert_eq!(is_outage(candidates.iter().copied()), expected, "{candidates:?}");
        }
    }
}
