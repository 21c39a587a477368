//! One set of tests for every engine: SQLite, PostgreSQL, and PostgreSQL behind PgBouncer in transaction mode. The servers are
//! Debian's, started here on loopback as a user that is not root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod days;
mod engines;
mod entries;
mod exactly_once;
mod fills;
mod judged;
mod killed;
mod names;
mod plans;
mod questions;
mod reports;
mod retention;
mod schema;
mod server;
mod tls;

/// Each of these holds for every engine.
macro_rules! on_every_engine {
    ($($name:ident),* $(,)?) => {
        mod sqlite { $(
            #[tokio::test]
            async fn $name() { super::$name(&crate::engines::Engine::sqlite().await).await }
        )* }
        mod postgres { $(
            #[tokio::test]
            async fn $name() { super::$name(&crate::engines::Engine::postgres(false).await).await }
        )* }
        mod pgbouncer { $(
            #[tokio::test]
            async fn $name() { super::$name(&crate::engines::Engine::postgres(true).await).await }
        )* }
    };
}
pub(crate) use on_every_engine;
