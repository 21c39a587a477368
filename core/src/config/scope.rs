//! Where documents come from, which decides what they may say.

use std::collections::BTreeMap;

/// Where a config comes from, which decides what it may say.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Written by the operator: keys come from Secrets, unknown fields are a newer release's and are passed over, and
    /// objects whose `podSelector` does not match these labels are not for this pod.
    Cluster {
        /// The labels of this pod.
        pod_labels: BTreeMap<String, String>,
    },
    /// A person's file: keys may also come from the environment or files, and an unknown field is a mistake.
    Standalone,
}
