//! Leader election by a Lease: every replica serves the webhook, one reconciles.
//!
//! As client-go does it: another's lease counts from when *we* saw it change, so the replicas' wall clocks need not
//! agree. Holding is judged by our own monotonic clock from before the last successful renewal, so a process that was
//! paused finds that it no longer leads before it writes anything.

pub mod elector;
mod rewound;

use std::time::Duration;

use bowsprit_core::clock::Moment;
use k8s_openapi::api::coordination::v1::LeaseSpec;

/// How long a lease is good without renewal.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long the holder believes in it: it stops writing well before anyone else may begin.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two attempts to get or renew it.
pub const RETRY: Duration = Duration::from_secs(2);
/// Between two attempts while the apiserver does not answer them.
pub const MAX_RETRY: Duration = Duration::from_secs(8);

/// A lease as this replica has seen it.
#[derive(Clone, Debug)]
pub struct Seen {
    spec: LeaseSpec,
    since: Moment,
}

impl Seen {
    /// Notes what the apiserver says at `now`; what did not change keeps the time it was first seen at.
    pub fn note(before: Option<Self>, spec: LeaseSpec, now: Moment) -> Self {
        match before {
            Some(before) if before.spec == spec => before,
            _ => Self { spec, since: now },
        }
    }

    fn duration(&self) -> Duration {
        let seconds = self.spec.lease_duration_seconds;
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.map_or(LEASE, Duration::from_secs)
    }

    /// Who holds it, as far as seen.
    pub fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref()
    }
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody holds it: write it as ours.
    Acquire,
    /// It is ours: write a new renewTime.
    Renew,
    /// Another holds it: look again later.
    Wait,
}

/// How long to wait before the next look, where another holds it: until the moment in which its lease would be over, so that
/// a holder that died is followed as soon as it may be.
pub fn pause(seen: Option<&Seen>, me: &str, now: Moment) -> Duration {
    match seen {
        Some(seen) if decide(Some(seen), me, now) == Step::Wait => {
            let left = seen.duration().saturating_sub(now.saturating_since(seen.since));
            left.min(RETRY)
        }
        _ => RETRY,
    }
}

/// Decides from what was seen; `None`: there is no lease yet.
pub fn decide(seen: Option<&Seen>, me: &str, now: Moment) -> Step {
    let Some(seen) = seen else {
        return Step::Acquire;
    };
    match seen.spec.holder_identity.as_deref() {
        None | Some("") => Step::Acquire,
        Some(holder) if holder == me => Step::Renew,
        Some(_) => {
            if now.saturating_since(seen.since) >= seen.duration() {
                Step::Acquire
            } else {
                Step::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_that_is_free_is_taken_and_an_own_one_renewed() {
        assert_eq!(decide(None, "me", at(0)), Step::Acquire);
        let freed = Seen::note(None, held_by("", 0), at(0));
        assert_eq!(decide(Some(&freed), "me", at(0)), Step::Acquire);
        let own = Seen::note(None, held_by("me", 0), at(0));
        assert_eq!(decide(Some(&own), "me", at(1_000)), Step::Renew);
    }

    #[test]
    fn anothers_lease_is_left_alone_until_it_was_seen_unchanged_for_its_whole_duration() {
        let seen = Seen::note(None, held_by("other", 100), at(50));
        assert_eq!(decide(Some(&seen), "me", at(64)), Step::Wait);
        assert_eq!(decide(Some(&seen), "me", at(65)), Step::Acquire);
        let unchanged = Seen::note(Some(seen.clone()), held_by("other", 100), at(60));
        assert_eq!(decide(Some(&unchanged), "me", at(65)), Step::Acquire);
        let renewed = Seen::note(Some(seen), held_by("other", 102), at(60));
        assert_eq!(decide(Some(&renewed), "me", at(74)), Step::Wait);
    }

    #[test]
    fn a_lease_that_runs_out_is_looked_at_in_that_moment() {
        let seen = Seen::note(None, held_by("other", 100), at(50));
        let wait = |now: u64| pause(Some(&seen), "me", at(now));
        assert_eq!(wait(51), RETRY);
        assert_eq!(wait(64), Duration::from_secs(1));
        assert_eq!(pause(Some(&seen), "other", at(64)), RETRY);
        assert_eq!(pause(None, "me", at(64)), RETRY);
    }

    #[test]
    fn a_wall_clock_that_is_wrong_takes_no_lease_away() {
        let long_ago = Seen::note(None, held_by("other", -1_000_000), at(0));
        assert_eq!(decide(Some(&long_ago), "me", at(14)), Step::Wait);
    }

    #[test]
    fn the_holder_stops_before_anyone_else_may_begin() {
        assert!(RENEW_DEADLINE + RETRY < LEASE);
    }
}
