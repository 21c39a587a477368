//! A budget for the bodies that are held, of all requests and answers together.
//!
//! Without it the bound would be requests in flight times the largest body: more than any container has. Room is taken
//! before bytes are held and given back when the last copy of them is dropped: it rides on the [`Bytes`] themselves. An
//! uncontended body pays two atomic additions.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::{Registry, set};

/// Where no limit of memory is known.
const UNKNOWN: usize = 256 << 20;
/// Where the kernel tells a container's limit: cgroup 2, cgroup 1.
const LIMIT_FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];
/// A limit beyond this is none: cgroup 1 says "unlimited" so.
const NO_LIMIT: usize = 1 << 50;

/// The default budget: half of the container's memory. The other half is for what holding implies (translated copies,
/// sockets' buffers, connections).
pub fn default_budget() -> usize {
    half_of(LIMIT_FILES.iter().map(Path::new))
}

fn half_of<'a>(mut files: impl Iterator<Item = &'a Path>) -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok();
    files
        .find_map(read)
        .filter(|limit| *limit < NO_LIMIT)
        .map_or(UNKNOWN, |limit| limit / 2)
}

/// The budget.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    comfort: Comfort,
}

/// Give up what is held for comfort alone, and say whether there was any; in the order in which they are asked.
#[derive(Default)]
struct Comfort(RwLock<Vec<Box<dyn Fn() -> bool + Send + Sync>>>);

impl fmt::Debug for Comfort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Comfort")
    }
}

impl Memory {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            comfort: Comfort::default(),
        })
    }

    /// Bytes held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Room for nothing yet, to grow.
    pub fn room(self: &Arc<Self>) -> Room {
        Room {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }

    /// When a body finds no room, this is called before it waits: it gives room back that is not needed for requests, and says
    /// whether it had any. It may not take room itself. Of several the one that came first goes first, and the next one
    /// only if that was not enough.
    pub fn give_up_first(&self, comfort: impl Fn() -> bool + Send + Sync + 'static) {
        let mut all = self.comfort.0.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(comfort));
    }

    /// Takes room, if need be from what is held for comfort: not for what can never fit.
    fn add_or_give_up(&self, held: usize, more: usize) -> bool {
        let can_fit = held.saturating_add(more) <= self.limit;
        if self.add(more) {
            return true;
        }
        let comfort = self.comfort.0.read().unwrap_or_else(PoisonError::into_inner);
        can_fit && comfort.iter().any(|give_up| give_up() && self.add(more))
    }

    fn add(&self, bytes: usize) -> bool {
        // In one step: an addition that is taken back would look like room that was freed.
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .is_ok()
    }

    fn remove(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_waiters();
        }
    }
}

/// Families about the budget.
#[derive(Clone, Debug, Default)]
pub struct MemoryMetrics {
    held: Gauge,
    limit: Gauge,
}

impl MemoryMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("held_bytes", "Bytes of bodies held in memory", &[], new.held.clone());
        registry.register(
            "held_bytes_limit",
            "Bytes of bodies that may be held in memory",
            &[],
            new.limit.clone(),
        );
        new
    }

    /// Brings the gauges to what is so now: called before each scrape.
    pub fn observe(&self, memory: &Memory) {
        set(&self.held, memory.used());
        set(&self.limit, memory.limit());
    }
}

/// Room taken; given back when dropped.
#[derive(Debug)]
pub struct Room {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Room {
    /// Bytes taken so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes room for so many bytes in all, waiting up to `patience`. `false`: there is none, and what was taken stays.
    pub async fn grow_to(&mut self, bytes: usize, patience: Duration) -> bool {
        self.take_now(bytes) || self.wait_for(bytes, patience).await
    }

    /// The same of what nothing gives way to: it waits for room that others free, and for no more than that.
    pub async fn wait_to(&mut self, bytes: usize, patience: Duration) -> bool {
        self.take(bytes) || self.wait_for(bytes, patience).await
    }

    /// Takes room for so many bytes in all, if there is any now: for what is held for comfort, which nobody waits for and
    /// nothing gives way to. `false`: there is none, and what was taken stays.
    pub fn take(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.add(more) {
            return false;
        }
        self.bytes += more;
        true
    }

    /// The same for what a request needs and that cannot wait: what is held for comfort gives way to it.
    pub fn take_now(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.add_or_give_up(self.bytes, more) {
            return false;
        }
        self.bytes += more;
        true
    }

    async fn wait_for(&mut self, bytes: usize, patience: Duration) -> bool {
        if bytes > self.memory.limit {
            return false;
        }
        let more = bytes.saturating_sub(self.bytes);
        let until = Instant::now() + patience;
        let _waiting = Waiting::new(&self.memory);
        loop {
            let freed = self.memory.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.memory.add(more) {
                self.bytes += more;
                return true;
            }
            if tokio::time::timeout_at(until, freed).await.is_err() {
                return false;
            }
        }
    }

    /// Ties the room to the bytes it was taken for: it is given back with their last copy.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 {
            return bytes;
        }
        Bytes::from_owner(Held { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.remove(self.bytes);
        }
    }
}

struct Waiting<'a>(&'a Memory);

impl<'a> Waiting<'a> {
    fn new(memory: &'a Memory) -> Self {
        memory.waiting.fetch_add(1, Ordering::AcqRel);
        Self(memory)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_with_the_last_copy_of_the_bytes() {
        let memory = Memory::new(100);
        let mut room = memory.room();
        assert!(room.grow_to(60, PATIENCE).await);
        let bytes = room.hold(Bytes::from_static(b"body"));
        let copy = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(memory.used(), 60, "a copy is left");
        assert!(!memory.room().grow_to(60, PATIENCE).await, "there is no room for both");
        drop(copy);
        assert_eq!(memory.used(), 0);
        assert!(memory.room().grow_to(60, PATIENCE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_in_when_room_is_freed() {
        let memory = Memory::new(100);
        let mut first = memory.room();
        assert!(first.grow_to(80, PATIENCE).await);
        let waiting = tokio::spawn({
            let mut room = memory.room();
            async move { room.grow_to(50, PATIENCE).await }
        });
        let only_waiting = tokio::spawn({
            let mut room = memory.room();
            async move { room.wait_to(50, PATIENCE).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap() && only_waiting.await.unwrap());
        assert_eq!(memory.used(), 0, "and gives it back");
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_never_fit_does_not_wait() {
        let memory = Memory::new(100);
        let before = Instant::now();
        assert!(!memory.room().grow_to(101, PATIENCE).await);
        assert_eq!(Instant::now(), before);
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_comfort_gives_way_to_a_body_before_that_waits() {
        let memory = Memory::new(100);
        let comfort = std::sync::Mutex::new(Some(memory.room()));
        assert!(comfort.lock().unwrap().as_mut().unwrap().take(80));
        memory.give_up_first(move || comfort.lock().unwrap().take().is_some());
        let mut more = memory.room();
        assert!(!more.take(30), "comfort does not turn out comfort");
        assert!(!more.grow_to(101, PATIENCE).await);
        assert_eq!(memory.used(), 80, "nothing gives way to what can never fit");
        assert!(
            !memory.room().wait_to(30, PATIENCE).await,
            "nor does it to who only waits"
        );
        assert_eq!(memory.used(), 80);
        let before = Instant::now();
        assert!(more.grow_to(50, PATIENCE).await);
        assert_eq!((Instant::now(), memory.used()), (before, 50));
        assert!(more.take_now(60));
        assert!(
            !memory.room().grow_to(60, PATIENCE).await,
            "there is nothing more to give up"
        );
    }

    #[test]
    fn comfort_gives_way_at_once_to_what_cannot_wait() {
        let memory = Memory::new(100);
        let comfort = std::sync::Mutex::new(Some(memory.room()));
        assert!(comfort.lock().unwrap().as_mut().unwrap().take(80));
        memory.give_up_first(move || comfort.lock().unwrap().take().is_some());
        let mut masked = memory.room();
        assert!(!masked.take_now(101), "what can never fit turns nothing out");
        assert_eq!(memory.used(), 80);
        assert!(masked.take_now(30));
        assert_eq!(memory.used(), 30);
        assert!(!memory.room().take_now(71), "there is nothing more to give up");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_comforts_the_second_goes_only_where_the_first_was_not_enough() {
        let memory = Memory::new(100);
        let held = |bytes| {
            let mut room = memory.room();
            assert!(room.take(bytes));
            Arc::new(std::sync::Mutex::new(Some(room)))
        };
        let (first, second) = (held(40), held(40));
        for comfort in [&first, &second] {
            let comfort = Arc::clone(comfort);
            memory.give_up_first(move || comfort.lock().unwrap().take().is_some());
        }
        let mut more = memory.room();
        assert!(more.grow_to(50, PATIENCE).await);
        assert_eq!((memory.used(), second.lock().unwrap().is_some()), (90, true));
        assert!(more.grow_to(100, PATIENCE).await);
        assert_eq!(memory.used(), 100);
    }

    #[test]
    fn the_default_is_half_of_what_the_container_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.max");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            half_of(std::iter::once(file.as_path()))
        };
        assert_eq!(of("134217728\n"), 64 << 20);
        assert_eq!(of("max\n"), UNKNOWN);
        assert_eq!(of("9223372036854771712\n"), UNKNOWN);
        assert_eq!(half_of(std::iter::once(Path::new("/nowhere"))), UNKNOWN);
    }
}
