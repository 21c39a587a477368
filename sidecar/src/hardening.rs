//! What a crash leaves, and who may look into this process: it has keys in its memory.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core is ever written, wherever the node's `core_pattern` would put it. In a pod (`in_pod`) no other process of the same user,
/// such as the app's where both share a process namespace, may read this one's memory or environment either; on a developer's
/// machine that would keep profilers out.
pub fn harden(in_pod: bool) {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot switch core dumps off: a crash may leave keys on the node");
    }
    if in_pod && let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot keep other processes of this user out of this one's memory");
    }
}
