//! `bowsprit-ledger reconcile`: reads both sides, prints the table, and says by its exit code whether it closes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{Line, beside_prometheus, beside_usage, of_ledger, prometheus, table, usage};
use crate::query::{By, Window, read};
use crate::service::args::Place;
use crate::service::{now, run::open};

const TIMEOUT: Duration = Duration::from_mins(1);
/// How far before the window samples are asked for: the last one before it says where a counter stood.
const BEFORE: i64 = 15 * 60;

/// `reconcile`.
#[derive(Clone, Debug, Args)]
pub struct Reconcile {
    /// The ledger.
    #[command(flatten)]
    pub place: Place,
    /// Begin of the window, milliseconds since 1970; taken down to the minute.
    #[arg(long)]
    pub from: i64,
    /// Its end; unset: now.
    #[arg(long)]
    pub to: Option<i64>,
    /// One namespace; unset: all.
    #[arg(long)]
    pub namespace: Option<String>,
    /// A Prometheus that scrapes the sidecars, such as http://prometheus:9090.
    #[arg(long, value_name = "URL", required_unless_present = "usage")]
    pub prometheus: Option<String>,
    /// A provider's usage export of the same window, CSV or JSON.
    #[arg(long, value_name = "FILE", requires = "provider")]
    pub usage: Option<PathBuf>,
    /// The ProviderConfig whose export it is.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
}

/// The tables, and whether every line is 0 or marked.
pub async fn reconcile(asked: &Reconcile) -> anyhow::Result<(String, bool)> {
    // Nothing else in the process installs one, so the only error is that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = open(&asked.place)?;
    let window = Window {
        from: asked.from - asked.from.rem_euclid(60_000),
        to: asked.to.unwrap_or_else(now),
    };
    let namespace = asked.namespace.as_deref();
    let stats = read::stats(&*store, &read::scope(namespace, None, window), By::Model).await?;
    let ledger = of_ledger(&stats);
    let (mut text, mut closes) = (String::new(), true);
    let mut tell = |other: &str, lines: &[Line]| {
        closes &= lines.iter().all(Line::closes);
        text.push_str(&table(other, lines));
    };
    if let Some(url) = &asked.prometheus {
        let counted = ask(url, namespace, window).await?;
        tell("prometheus", &beside_prometheus(&ledger, &counted));
    }
    if let (Some(file), Some(provider)) = (&asked.usage, &asked.provider) {
        let export = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let billed = usage::read(&export).with_context(|| file.display().to_string())?;
        tell("billed", &beside_usage(&ledger, provider, &billed));
    }
    Ok((text, closes))
}

async fn ask(url: &str, namespace: Option<&str>, window: Window) -> anyhow::Result<super::Tokens> {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .build()
        .context("no HTTP client")?;
    let seconds = |at: i64| at as f64 / 1000.0;
    let range = (window.to - window.from).div_euclid(1000).max(0) + BEFORE;
    let only = namespace.map_or(String::new(), |namespace| {
        format!("{{namespace={}}}", serde_json::Value::from(namespace))
    });
    let mut tokens = super::Tokens::new();
    for (metric, is_estimate) in [(prometheus::REPORTED, false), (prometheus::ESTIMATED, true)] {
        let form = format!(
            "query={}&time={}",
            escaped(&format!("{metric}{only}[{range}s]")),
            seconds(window.to)
        );
        let request = client
            .post(format!("{}/api/v1/query", url.trim_end_matches('/')))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = request.send().await.with_context(|| format!("{url} does not answer"))?;
        let answer = answer.error_for_status().context("Prometheus refuses the question")?;
        let answer = answer.json().await.context("Prometheus' answer cannot be read")?;
        prometheus::add(&mut tokens, &answer, is_estimate, seconds(window.from));
    }
    Ok(tokens)
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
