//! The parts that run beside requests, each under its name. None may end while the sidecar serves: a sidecar without its
//! configuration's loader or its listener looks healthy and is not. So the first end is told, and the process ends with it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::task::{Id, JoinSet};

use crate::drain::Drain;

/// The first part that ended before the drain began, for `/health`.
#[derive(Debug, Default)]
pub struct DeadPart(OnceLock<&'static str>);

impl DeadPart {
    /// Its name.
    pub fn name(&self) -> Option<&'static str> {
        self.0.get().copied()
    }
}

/// Why the sidecar ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartEnded {
    /// Which part ended.
    pub name: &'static str,
    /// Whether it panicked. Else it returned.
    pub panicked: bool,
}

impl fmt::Display for PartEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "ended" };
        write!(f, "its part {:?} {how}: this is a bug; please report it", self.name)
    }
}

/// Running parts. Dropped, they are aborted.
pub struct Parts {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    dead: Arc<DeadPart>,
    drain: Arc<Drain>,
}

impl Parts {
    /// No parts yet. An end before `drain` begins is noted in `dead`.
    pub fn new(dead: Arc<DeadPart>, drain: Arc<Drain>) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            dead,
            drain,
        }
    }

    /// Starts a part.
    pub fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let watch = Watch {
            name,
            dead: Arc::clone(&self.dead),
            drain: Arc::clone(&self.drain),
        };
        let handle = self.tasks.spawn(async move {
            let _watch = watch;
            work.await;
        });
        self.names.insert(handle.id(), name);
    }

    /// Waits until one ends.
    pub async fn ended(&mut self) -> PartEnded {
        let (id, panicked) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, false),
            Some(Err(error)) => (error.id(), error.is_panic()),
            None => std::future::pending().await,
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        PartEnded { name, panicked }
    }

    /// Aborts what still runs and waits until it is gone.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Notes the end of its part, however it comes, before anybody waits for it.
struct Watch {
    name: &'static str,
    dead: Arc<DeadPart>,
    drain: Arc<Drain>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.drain.is_draining() {
            let _ = self.dead.0.set(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        Parts::new(Arc::default(), Arc::default())
    }

    #[tokio::test]
    async fn the_part_that_ends_first_is_named_and_it_is_told_whether_it_panicked() {
        let mut parts = parts();
        parts.spawn("patient", std::future::pending());
        parts.spawn("hasty", async {});
        let ended = parts.ended().await;
        assert_eq!((ended.name, ended.panicked), ("hasty", false));
        assert_eq!(parts.dead.name(), Some("hasty"));
        parts.spawn("clumsy", async { panic!("on purpose") });
        let ended = parts.ended().await;
        assert_eq!((ended.name, ended.panicked), ("clumsy", true));
        assert_eq!(parts.dead.name(), Some("hasty"), "the first one stays the reason");
    }

    #[tokio::test]
    async fn what_ends_because_of_the_drain_has_not_died() {
        let mut parts = parts();
        parts.drain.begin();
        parts.spawn("listener", async {});
        parts.ended().await;
        assert_eq!(parts.dead.name(), None);
    }
}
