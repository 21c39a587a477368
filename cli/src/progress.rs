//! What is being done, on standard error and only where somebody watches. It goes when it is done.

use std::io::{Write as _, stderr};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::output::Screen;

const TURN: Duration = Duration::from_millis(100);
const WHEEL: [char; 4] = ['|', '/', '-', '\\'];
/// Back to the line's begin, and clear it.
const CLEAR: &str = "\r\u{1b}[2K";

/// A spinner that turns until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress(Option<JoinHandle<()>>);

impl Progress {
    /// Begins to turn, after a first moment in which most commands are done.
    pub(crate) fn start(screen: Screen, what: impl Into<String>) -> Self {
        let what = what.into();
        Self(screen.watched.then(|| {
            tokio::spawn(async move {
                for wheel in WHEEL.iter().cycle() {
                    tokio::time::sleep(TURN).await;
                    let mut out = stderr().lock();
                    let _ = write!(out, "{CLEAR}{wheel} {what} ");
                    let _ = out.flush();
                }
            })
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            let mut out = stderr().lock();
            let _ = write!(out, "{CLEAR}");
            let _ = out.flush();
        }
    }
}
