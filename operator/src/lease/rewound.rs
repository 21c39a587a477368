//! Whether the apiserver has gone back in time, as after a restore of its data from a backup. Pure.
//!
//! Watches that were begun before would then miss everything that is written until the versions have caught up, so a process that
//! sees it had better begin anew. The Lease tells it: somebody renews it every few seconds, and it is read past all caches.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource as _;

/// The newest version of the Lease that was seen.
#[derive(Debug, Default)]
pub(super) struct Newest(Option<u64>);

impl Newest {
    /// Notes a look. Says whether the apiserver knows less than it did: then both versions are told. A Lease that is not there,
    /// or whose version is no number, tells nothing.
    pub(super) fn note(&mut self, lease: Option<&Lease>) -> Option<(u64, u64)> {
        let now: u64 = lease?.meta().resource_version.as_deref()?.parse().ok()?;
        let before = self.0.replace(now).filter(|before| *before > now)?;
        // Seen again at each look, until this process has ended.
        self.0 = Some(before);
        Some((before, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_lower_than_one_before_is_of_a_restored_apiserver() {
        let lease = |version: &str| {
            let mut lease = Lease::default();
            lease.metadata.resource_version = Some(version.into());
            lease
        };
        let mut newest = Newest::default();
        for version in ["9", "9", "10", "200"] {
            assert_eq!(newest.note(Some(&lease(version))), None, "{version}");
        }
        assert_eq!(newest.note(None), None, "it was deleted");
        assert_eq!(newest.note(Some(&lease("no number"))), None);
        assert_eq!(newest.note(Some(&lease("150"))), Some((200, 150)));
        assert_eq!(newest.note(Some(&lease("151"))), Some((200, 151)), "and stays so");
        assert_eq!(newest.note(Some(&lease("201"))), None);
    }
}
