//! The operator's stream: what changes in the namespace is here at once, and the operator is told what became of it.
//!
//! One task holds one connection ([`dial`]), reads what comes ([`session`]) and begins anew when it ends, after a while that
//! chance spreads over the fleet ([`pace`]). It only makes the mounted folder faster: whatever goes wrong here costs no
//! request anything, is counted, and is said when the reason changes.

use std::time::Duration;

use bowsprit_core::stream::{SidecarReport, StreamedConfig};
use tokio::time::Instant;

use super::Offer;
use crate::caller::Pod;
use crate::files::Stamp;
use pace::Pace;

mod dial;
mod pace;
mod session;
mod state;

pub use dial::Operator;
pub use session::{Link, Money, Pauses};
pub use state::{Ended, StreamMetrics, StreamReport, StreamState, Why};

/// The source's kind.
pub const STREAM: &str = "stream";
/// How often files are looked at that a failed attempt was about.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the stream has brought, as an offer to this pod.
pub fn offer(config: StreamedConfig, pod: &Pod) -> Offer {
    Offer::of(STREAM, config, "the operator's stream".into(), pod)
}

/// Holds the stream. Ends never.
pub async fn run<R: Fn() -> SidecarReport + Send + Sync>(operator: Operator, link: Link<R>) {
    let mut pace = Pace::default();
    loop {
        let files = Files::of(&operator);
        let ended = match dial::connect(&operator, &*link.resolver).await {
            Ok(stream) => {
                link.state.connected();
                let (ended, heard) = session::hold(stream, &link).await;
                if heard {
                    pace = Pace::default();
                }
                ended
            }
            Err(ended) => ended,
        };
        let wait = pace.after(&ended, fastrand::f64());
        link.state.ended(ended.clone(), wait);
        let until = Instant::now() + wait;
        while Instant::now() < until && !(ended.why.is_about_files() && files.have_changed(&operator)) {
            tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
        }
    }
}

/// What tells one content of token and CA from the next: both rotate, and a new one is worth an attempt.
struct Files([Stamp; 2]);

impl Files {
    fn of(operator: &Operator) -> Self {
        Self([Stamp::of(&operator.ca), Stamp::of(&operator.token)])
    }

    fn have_changed(&self, operator: &Operator) -> bool {
        self.0 != Self::of(operator).0
    }
}
