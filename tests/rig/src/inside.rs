//! A sidecar in the test's own process: the only file of the tests that knows how the sidecar is put together.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use bowsprit_sidecar::app::{self, Running};
use bowsprit_sidecar::args::Args;
pub use bowsprit_sidecar::drain::Drained;
use bowsprit_sidecar::observe::AccessLog;
use bowsprit_sidecar::process::Process;
use clap::Parser as _;
use serde_json::Value;

use crate::law::{self, Told};

/// A sidecar, on two free ports of its own. The sums law is checked when it is dropped.
pub struct Sidecar {
    running: Option<Running>,
    view: View,
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
}

/// What can be seen of a sidecar from inside, also while it stops.
#[derive(Clone)]
pub struct View {
    process: Arc<Process>,
    removed: RefCell<Vec<&'static str>>,
}

impl Sidecar {
    /// Starts one with these arguments beside the ports. `Err`: why it does not start.
    pub fn start(args: &[&str]) -> Result<Self, String> {
        let mut all = vec!["bowsprit-sidecar", "--admin", "127.0.0.1:0"];
        // Some are asked from elsewhere.
        if !args.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        let args = Args::try_parse_from(all.iter().chain(args)).unwrap();
        let running = app::start_with(&args, AccessLog::in_memory()).map_err(|error| error.to_string())?;
        Ok(Self {
            listen: running.listen,
            admin: running.admin,
            view: View {
                process: Arc::clone(&running.process),
                removed: RefCell::default(),
            },
            running: Some(running),
        })
    }

    /// What can be seen of it, while it stops, too.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Drains it and ends it.
    pub async fn stop(mut self) -> Drained {
        self.running.take().unwrap().stop().await
    }
}

impl std::ops::Deref for Sidecar {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.view.holds();
        }
    }
}

impl View {
    /// Its metrics, without those that are looked up at each scrape.
    pub fn metrics(&self) -> String {
        self.process.metrics.encode()
    }

    /// Its access log.
    pub fn log(&self) -> String {
        self.process.sinks.access.text()
    }

    /// The access lines so far.
    pub fn access(&self) -> Vec<Value> {
        law::lines(&self.log(), "access")
    }

    /// The lines of attempts so far.
    pub fn attempts(&self) -> Vec<Value> {
        law::lines(&self.log(), "attempt")
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.process.drain.in_flight()
    }

    /// Bytes of bodies that are held.
    pub fn held(&self) -> usize {
        self.process.memory.used()
    }

    /// This provider leaves the configuration while it runs: its series go with it.
    pub fn removed(&self, provider: &'static str) {
        self.removed.borrow_mut().push(provider);
    }

    /// The sums law, which holds at any moment: the sidecar runs on the test's own thread.
    pub fn holds(&self) {
        let (metrics, log) = (self.metrics(), self.log());
        let told = Told {
            metrics: &metrics,
            log: &log,
            removed: &self.removed.borrow(),
        };
        told.holds().unwrap_or_else(|broken| panic!("{broken}\n{log}"));
    }
}
