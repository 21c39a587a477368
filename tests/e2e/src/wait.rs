//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// For what the operator or a sidecar does on its own: seconds at most on an idle machine, and this when it is not.
pub const SHORT: Duration = Duration::from_secs(30);
/// For what takes the kubelet: images, pods, probes.
pub const LONG: Duration = Duration::from_secs(90);

/// For what a status says: one that was written several times in a row waits for up to half a minute (`LONGEST` of the operator's pace), and then for
/// what [`SHORT`] is for.
pub const PACED: Duration = Duration::from_secs(75);

/// For what a status says of numbers that move all the time: sidecars tell of theirs twice a minute, they are looked at once a minute, and what is
/// no leap is written every two minutes at the most.
pub const TOLD: Duration = Duration::from_mins(4);

/// Often enough not to add to a measured time, rarely enough not to load the apiserver.
const POLL: Duration = Duration::from_millis(100);

/// A try that begins at the deadline gets this long.
const LAST_ATTEMPT: Duration = Duration::from_secs(5);

/// Tries until it succeeds and gives what it found; at the deadline, says what was waited for and why the last try failed.
///
/// # Errors
/// When the deadline has passed.
pub async fn eventually<T>(deadline: Duration, what: &str, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        let left = deadline.saturating_sub(begun.elapsed()).max(LAST_ATTEMPT);
        let last = tokio::time::timeout(left, attempt())
            .await
            .unwrap_or_else(|_| Err(anyhow!("the last try did not end")));
        match last {
            Ok(found) => return Ok(found),
            Err(why) if begun.elapsed() >= deadline => {
                return Err(why).with_context(|| format!("waited {deadline:?}, and still not so: {what}"));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Observes for a while that something does not change. For promises that nothing happens: they have no event to wait for.
///
/// # Errors
/// As soon as it changes.
pub async fn stays<T: PartialEq + Debug>(
    time: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    let first = look().await?;
    while begun.elapsed() < time {
        tokio::time::sleep(POLL).await;
        let now = look().await?;
        if now != first {
            bail!("changed after {:?}: {what}: from {first:?} to {now:?}", begun.elapsed());
        }
    }
    Ok(first)
}
