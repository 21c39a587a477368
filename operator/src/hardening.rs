//! What a crash leaves: nothing. The webhook's private key and the token for the apiserver are in this process's memory.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core is ever written, and no other process of this user may read this one's memory.
pub fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let done = setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = done {
        tracing::warn!(%error, "cannot switch core dumps off: a crash may leave keys on the node");
    }
}
