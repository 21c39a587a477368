//! Open files: each stream is one. Many runtimes start a container with room for 1,024, and let it take more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside the streams: watches, webhook, admin port.
const OTHERS: u64 = 1024;

/// Takes as many as this process may have, and says where that is fewer than so many streams need.
pub fn take(streams: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, ?current, ?maximum, "cannot raise the number of open files");
            current
        }
    };
    // None is without a limit.
    let needed = u64::try_from(streams).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(now) = now.filter(|now| *now < needed) {
        tracing::warn!(
            open_files = now,
            needed,
            "fewer open files than streams: raise the runtime's limit, or lower maxStreams"
        );
    }
}
