//! Ending because the app asks for it.
//!
//! Before native sidecars a pod that is meant to complete waits for its sidecar, which cannot know when the app has ended: the app
//! says so, as its last step.

use tokio::sync::Notify;

/// Whether the app may end the sidecar, and that it has asked.
#[derive(Debug, Default)]
pub struct Ending {
    allowed: bool,
    asked: Notify,
}

impl Ending {
    /// `allowed` where the pod completes by it; elsewhere the kubelet would start the sidecar again.
    pub fn new(allowed: bool) -> Self {
        Self {
            allowed,
            asked: Notify::new(),
        }
    }

    /// Asks for the end. `false`: it is not to be had.
    pub fn ask(&self) -> bool {
        if self.allowed {
            // Kept for whoever listens later.
            self.asked.notify_one();
        }
        self.allowed
    }

    /// Waits until it is asked for. For one listener.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}
