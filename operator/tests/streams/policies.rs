//! What the watch of the UsagePolicies tells a listener.
#![allow(dead_code, reason = "each test program uses its part")]

use bowsprit_crds::UsagePolicy;
use bowsprit_crds::found::Found;
use bowsprit_operator::validate::hosts::AllowedHosts;
use kube::runtime::watcher::{Error, Event, Result};
use serde_json::json;

use crate::streams::Server;

/// A namespace's policy that pauses all of it, or nothing any more.
pub(crate) fn turned(namespace: &str, paused: bool) -> Found<UsagePolicy> {
    let policy = json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy",
        "metadata": {"name": "freeze", "namespace": namespace}, "spec": {"paused": paused}});
    serde_json::from_value(policy).unwrap()
}

impl Server {
    fn note_policy(&self, told: &Result<Event<Found<UsagePolicy>>>) {
        self.hub.note_policy(told, &AllowedHosts::default());
    }

    /// These are all UsagePolicies that there are.
    pub(crate) fn list_policies(&self, all: impl IntoIterator<Item = Found<UsagePolicy>>) {
        self.note_policy(&Ok(Event::Init));
        for policy in all {
            self.note_policy(&Ok(Event::InitApply(policy)));
        }
        self.note_policy(&Ok(Event::InitDone));
    }

    /// Somebody pauses a namespace, or resumes it.
    pub(crate) fn turn(&self, namespace: &str, paused: bool) {
        self.note_policy(&Ok(Event::Apply(turned(namespace, paused))));
    }

    /// The watch fails, and has to list anew.
    pub(crate) fn lose_policies(&self) {
        self.note_policy(&Err(Error::NoResourceVersion));
    }
}
