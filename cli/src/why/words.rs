//! The ledger's words, in plain ones. Pure. A word that this release does not know is shown as it is.

use bowsprit_core::fault::{Blame, Code};
use bowsprit_core::record::Refuser;

use crate::explain;

/// Why a candidate was passed over, as the end of a sentence.
pub(super) fn passed_over(because: &str) -> String {
    match because {
        "paused" => "a UsagePolicy has paused it",
        "circuit_open" => "its circuit is open",
        "unhealthy" => "its health probes fail",
        "no_key" => "no key of it is usable",
        "no_headroom" => "it has said that its own limit is used up",
        "no_model" => "it does not serve the model and has no default one",
        "not_here" => "the route names it and it is not there",
        "access" => "an access rule forbids it for this request",
        "unsupported" => "its API cannot carry what the request asks for",
        "retry_budget" => "it does not answer lately, and the pod's retry budget does not pay for trying it",
        "RATE_LOCAL_LIMIT" => "a limit of its spec.rateLimits is reached",
        other => return other.to_owned(),
    }
    .to_owned()
}

/// What a request waited for.
pub(super) fn waited_for(because: &str) -> &str {
    match because {
        "limit" => "for room under spec.rateLimits",
        "headroom" => "for the provider's own limit to be whole again, as it had announced",
        "backoff" => "before trying again",
        other => other,
    }
}

/// What was decided after a failure at a provider, from the record's `next: why`.
pub(super) fn decided(then: &str, provider: &str) -> String {
    let (next, why) = then.split_once(": ").unwrap_or((then, ""));
    let next = match next {
        "again" => "Then: the same provider again",
        "other_credential" => "Then: another key of the same provider",
        "onward" => "Then: the next candidate",
        "stop" => "Then: nothing more was tried",
        other => return format!("Then: {other} {why}").trim_end().to_owned(),
    };
    let why = match why {
        "" => return next.to_owned(),
        "may_pass" => "it may pass",
        "not_trusted" => return format!("{next}, since {provider} has not answered lately and another could be asked"),
        "credential_judged" => "it was the key that was refused",
        "would_fail_again" => "here the same request would fail again",
        "attempts_used" => "retry.maxAttempts were made here",
        "not_covered_by_retry_on" => "retry.retryOn does not cover this",
        "provider_forbids" => "the provider forbids to try again",
        "sdk_repeats" => "the caller's SDK repeats by itself",
        "hint_too_long" => "the provider asks for more patience than backoff allows",
        "other_is_sooner" => "another is at hand before this one is back",
        "budget_spent" => "the pod's retry budget is spent",
        other => other,
    };
    format!("{next}, since {why}")
}

/// An error in the middle of a sentence: `EXT_OVERLOADED (the provider is out of capacity)`.
pub(super) fn error(code: &str) -> String {
    match explain::of(code) {
        Some(known) => format!("{code} ({})", inline(known.meaning())),
        None if code.is_empty() => "an error that is not told".to_owned(),
        None => code.to_owned(),
    }
}

/// What an error is, whose fault, and whether it passes.
pub(super) fn meaning(code: Code) -> String {
    let whose = match code.blame() {
        Blame::Client => "the caller's to mend",
        Blame::Provider => "the provider's fault, or the network's",
        Blame::Us => "Bowsprit's or its configuration's",
    };
    let again = if code.retryable() {
        "the same request may succeed later"
    } else {
        "the same request fails again"
    };
    format!("{} It is {whose}; {again}.", code.meaning())
}

/// A sentence as a part of another.
fn inline(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let mut chars = sentence.chars();
    match (chars.next(), chars.next()) {
        // TLS stays TLS.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(sentence.chars().skip(1)).collect()
        }
        _ => sentence.to_owned(),
    }
}

/// Which rule turned a request away.
pub(super) fn refuser(kind: Refuser, name: &str) -> String {
    let kind = match kind {
        Refuser::Limit => "the limit",
        Refuser::Access => "the access rule",
        Refuser::Budget => "the budget",
        Refuser::Guard => "the guard",
        Refuser::Pause => "the pause",
    };
    if name.is_empty() {
        return kind.to_owned();
    }
    format!("{kind} {name}")
}

/// `once`, `twice`, `3 times`.
pub(super) fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn and(parts: &[String]) -> String {
    match parts.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// How long ago, milliseconds, as people say it.
pub(super) fn age(millis: u64) -> String {
    match millis / 1_000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowsprit_core::flow::retry;
    use bowsprit_core::flow::{SkipReason, WaitReason};
    use bowsprit_core::limiter::{Limited, Which};
    use bowsprit_core::plan;

    #[test]
    fn every_word_that_a_sidecar_writes_has_plain_words_here() {
        use plan::Why::{CircuitOpen, NoHeadroom, NoKey, NoModel, NotHere, Paused, Unhealthy};
        let limited = Limited {
            which: Which::Requests,
            retry_in: None,
        };
        let skipped = [
            SkipReason::Unsupported,
            SkipReason::CircuitOpen,
            SkipReason::Limited(limited),
            SkipReason::NoCredential,
            SkipReason::RetryBudget,
        ];
        let left_out = [Paused, CircuitOpen, Unhealthy, NoKey, NoHeadroom, NoModel, NotHere];
        let words = left_out.map(plan::Why::as_str).into_iter();
        for word in words.chain(skipped.map(SkipReason::as_str)) {
            assert_ne!(passed_over(word), word);
        }
        for word in [WaitReason::Limit, WaitReason::Headroom, WaitReason::Backoff].map(WaitReason::as_str) {
            assert_ne!(waited_for(word), word);
        }
        let whys = [
            retry::Why::MayPass,
            retry::Why::CredentialJudged,
            retry::Why::WouldFailAgain,
            retry::Why::AttemptsUsed,
            retry::Why::NotCovered,
            retry::Why::ProviderForbids,
            retry::Why::SdkRepeats,
            retry::Why::NotTrusted,
            retry::Why::HintTooLong,
            retry::Why::OtherIsSooner,
            retry::Why::BudgetSpent,
        ];
        for why in whys.map(retry::Why::as_str) {
            let said = decided(&format!("onward: {why}"), "claude");
            assert!(!said.contains(why), "{said}");
        }
        let again = retry::Next::Again(std::time::Duration::ZERO);
        for next in [
            again,
            retry::Next::OtherCredential,
            retry::Next::Onward,
            retry::Next::Stop,
        ] {
            let said = decided(next.as_str(), "claude");
            assert_ne!(said, format!("Then: {}", next.as_str()));
        }
    }

    #[test]
    fn a_meaning_is_a_part_of_a_sentence() {
        assert_eq!(inline("The provider failed."), "the provider failed");
        assert_eq!(inline("TLS failed."), "TLS failed");
        assert_eq!(error("NEWER_CODE"), "NEWER_CODE");
        assert_eq!(and(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
