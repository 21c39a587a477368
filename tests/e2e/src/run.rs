//! One test: a namespace is made for it, the test runs, what helps is shown if it failed, the namespace goes.

use std::any::Any;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use anyhow::Result;
use futures::FutureExt as _;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Bed, dump};

/// Held shared by tests that need a working operator, and exclusively by those that take it away.
static OPERATOR: RwLock<()> = RwLock::const_new(());

#[allow(dead_code, reason = "guards are held, not read")]
enum Held {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Whether other tests run meanwhile.
pub struct Turn(Option<Held>);

impl Turn {
    async fn shared() -> Self {
        Self(Some(Held::Shared(OPERATOR.read().await)))
    }

    /// Waits until no other test runs; from now on none does. Between, those may have been alone that replace operators.
    pub async fn alone(&mut self) {
        self.0 = None;
        self.0 = Some(Held::Alone(OPERATOR.write().await));
    }
}

/// A test and what it needs.
#[derive(Clone, Debug)]
pub struct Test {
    name: String,
    alone: bool,
    bare: bool,
    labels: Vec<(String, String)>,
}

impl Test {
    /// A test of this name; its namespace is called after it.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            alone: false,
            bare: false,
            labels: Vec::new(),
        }
    }

    /// No other test runs meanwhile: for those that stop the operator.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Without scripted providers, keys and accounts.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// A label on the namespace.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// When the test fails, as the test harness wants it.
    pub async fn run(self, test: impl AsyncFnOnce(&Bed) -> Result<()>) {
        self.run_by_turns(async |bed, _| test(bed).await).await;
    }

    /// The same for a test that needs to be alone for a part of its time.
    ///
    /// # Panics
    /// When the test fails, as the test harness wants it.
    pub async fn run_by_turns(self, test: impl AsyncFnOnce(&Bed, &mut Turn) -> Result<()>) {
        let mut turn = Turn::shared().await;
        if self.alone {
            turn.alone().await;
        }
        let begun = Instant::now();
        let bed = match Bed::create(&self.name, &self.labels).await {
            Ok(bed) => bed,
            Err(error) => fail(&self.name, &format!("cannot make its namespace: {error:#}")),
        };
        let story = async {
            if !self.bare {
                bed.furnish().await?;
            }
            test(&bed, &mut turn).await
        };
        // A failed assertion is caught, so that what helps is shown and the namespace goes in any case.
        let outcome = AssertUnwindSafe(story).catch_unwind().await;
        let why = match &outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(panic) => Some(said(panic.as_ref())),
        };
        let failed = why.is_some();
        if let Some(why) = why {
            dump::show(&bed, begun.elapsed(), &why).await;
        }
        bed.remove(failed).await;
        note(&format!("{}: {:.1} s", self.name, begun.elapsed().as_secs_f64()));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => fail(&self.name, &format!("{error:#}")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Runs a test with scripted providers, keys and three accounts in its namespace.
pub async fn test(name: &str, test: impl AsyncFnOnce(&Bed) -> Result<()>) {
    Test::new(name).run(test).await;
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}

#[allow(clippy::panic, reason = "how a test fails")]
fn fail(name: &str, why: &str) -> ! {
    panic!("{name}: {why}")
}

/// Says something to whoever watches, past the test harness, which shows what tests print only when they fail.
pub fn note(text: &str) {
    // Nobody to tell is no reason to fail.
    let _ = writeln!(std::io::stderr(), "     {text}");
}
