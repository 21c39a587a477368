//! What the tests on a real cluster stand on: a namespace of its own for each, with scripted providers and their keys,
//! deadlines in place of sleeps, and everything that helps shown when one fails.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! bowsprit_e2e::test("traffic", async |bed| {
//!     let app = bed.app("app").await?;
//!     anyhow::ensure!(app.ask("ahoy").await?.contains("ahoy"));
//!     Ok(())
//! })
//! .await;
//! # Ok(()) }
//! ```

#![allow(
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "a helper of tests: a missing field of JSON is null there, and nothing here is hot"
)]

mod app;
pub mod audit;
mod bed;
mod calls;
mod creates;
mod dump;
pub mod history;
pub mod machine;
mod operators;
pub mod policies;
mod providers;
mod release;
mod run;
mod wait;

pub use app::{App, Line, Output, Running};
pub use bed::{Bed, Log, SYSTEM, asking_manifest, image, pod_manifest};
pub use calls::Answer;
pub use creates::Creates;
pub use operators::Operators;
pub use providers::{Providers, quick_breaker};
pub use release::{Release, helm_install, kubectl, rolled_out, rollout};
pub use run::{Test, Turn, note, test};
pub use wait::{LONG, PACED, SHORT, TOLD, eventually, stays};
