//! `bowsprit-ledger reconcile`: reads both sides, prints the table, and says by its exit code whether it closes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::prometheus::{self, Answer, Counted, Span, Targets};
use super::{Line, beside_prometheus, beside_usage, exposition, of_ledger, table, usage};
use crate::query::sums::First;
use crate::query::{By, MINUTES_KEPT, Window, read};
use crate::service::args::Place;
use crate::service::{now, run::open};
use crate::store::Store;

const TIMEOUT: Duration = Duration::from_mins(1);
/// Milliseconds.
const MINUTE: i64 = 60_000;
/// How far before and behind the window samples are asked for, seconds: the last one before it and the first one behind it say where a
/// counter stood at its edges, also where nobody scraped for some minutes.
const AROUND: i64 = 15 * 60;
/// How long ago a window ends that is asked for without an end, milliseconds: sidecars have sent what they have, and Prometheus has scraped
/// beyond its end.
const SETTLED: i64 = 5 * MINUTE;

/// Models, each of its provider, that are compared: some 300 bytes of memory each.
pub(crate) const MOST_MODELS: usize = 200_000;

/// `reconcile`.
#[derive(Clone, Debug, Args)]
pub struct Reconcile {
    /// The ledger.
    #[command(flatten)]
    pub place: Place,
    /// Begin of the window, milliseconds since 1970; taken down to the minute.
    #[arg(long)]
    pub from: i64,
    /// Its end, taken up to the minute; unset: the last full minute that was over five minutes ago.
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
    /// Writes what differs as metrics too, for the textfile collector of a node exporter or the like.
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
}

/// The tables, and whether every line is 0 or marked.
pub async fn reconcile(asked: &Reconcile) -> anyhow::Result<(String, bool)> {
    // Nothing else in the process installs one, so the only error is that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let window = window(asked, now());
    let compared = compared(asked, window).await;
    if let Some(file) = &asked.metrics_file {
        let drifts = compared.as_ref().ok().map(|compared| exposition::drifts(compared));
        let text = exposition::text(drifts.as_ref(), now().div_euclid(1000));
        let written = write_whole(file, &text).with_context(|| format!("{} cannot be written", file.display()));
        if let (Err(error), Err(_)) = (&written, &compared) {
            // The reason for which nothing was compared goes first.
            tracing::warn!(error = format!("{error:#}"), "the failure is not told as a metric");
        } else {
            written?;
        }
    }
    let compared = compared?;
    let closes = compared.iter().all(|(_, lines)| lines.iter().all(Line::closes));
    let tables: String = compared.iter().map(|(other, lines)| table(other, lines)).collect();
    Ok((widened(asked, window) + &tables, closes))
}

/// Each comparison that is asked for, by what the ledger is held against.
async fn compared(asked: &Reconcile, window: Window) -> anyhow::Result<Vec<(&'static str, Vec<Line>)>> {
    let store = open(&asked.place)?;
    anyhow::ensure!(
        window.from < window.to,
        "nothing to compare: --from is not before the window's end, which is {}",
        window.to
    );
    let namespace = asked.namespace.as_deref();
    let ledger = held(&*store, namespace, window, MOST_MODELS).await?;
    let mut compared: Vec<(&'static str, Vec<Line>)> = Vec::new();
    if let Some(url) = &asked.prometheus {
        let counted = ask(&client()?, url, namespace, window, now()).await?;
        compared.push(("prometheus", beside_prometheus(&ledger, &counted)));
    }
    if let (Some(file), Some(provider)) = (&asked.usage, &asked.provider) {
        let export = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let billed = usage::read(&export).with_context(|| file.display().to_string())?;
        compared.push(("billed", beside_usage(&ledger, provider, &billed)));
    }
    Ok(compared)
}

/// Whole minutes or hours, as the ledger's sums are: both sides are asked about the same time.
fn window(asked: &Reconcile, now: i64) -> Window {
    let up = |at: i64| at.saturating_add(MINUTE - 1).div_euclid(MINUTE) * MINUTE;
    let to = asked.to.map_or_else(|| (now - SETTLED).div_euclid(MINUTE) * MINUTE, up);
    Window { from: asked.from, to }.told(now)
}

/// What is said above the tables: the window that is compared, where it is more than was asked for.
fn widened(asked: &Reconcile, window: Window) -> String {
    let is_asked = |edge: i64, asked: Option<i64>| asked.is_none_or(|asked| (edge - asked).abs() < MINUTE);
    if is_asked(window.from, Some(asked.from)) && is_asked(window.to, asked.to) {
        return String::new();
    }
    format!(
        "from {} to {}: what is older than {MINUTES_KEPT} days is kept by the hour\n",
        window.from, window.to
    )
}

/// A reader finds the file before or the one after, and never a part.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    // The textfile collector reads what ends with .prom.
    unfinished.push(".new");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, file)
}

/// The ledger's tokens of a window.
///
/// # Errors
/// The store does not answer, or has more models than are compared: a comparison that leaves out some says nothing.
pub(crate) async fn held(
    store: &dyn Store,
    namespace: Option<&str>,
    window: Window,
    most: usize,
) -> anyhow::Result<super::Tokens> {
    let scope = read::scope(namespace, None, window);
    let stats = read::named(store, &scope, By::Model, First::Busiest, most).await?;
    if let Some(others) = stats.iter().find(|stat| stat.more > 0) {
        anyhow::bail!(
            "the ledger has {} more models in this window than the {most} that are compared; ask about one --namespace, or a shorter window",
            others.more
        );
    }
    Ok(of_ledger(&stats))
}

/// Asks a Prometheus.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build();
    client.context("no HTTP client")
}

/// What Prometheus counted in a window of whole minutes, where it is `now`, milliseconds since 1970.
pub(crate) async fn ask(
    client: &reqwest::Client,
    url: &str,
    namespace: Option<&str>,
    window: Window,
    now: i64,
) -> anyhow::Result<Counted> {
    let seconds = |at: i64| at as f64 / 1000.0;
    let end = (window.to.div_euclid(1000) + AROUND) as f64;
    let span = Span {
        from: seconds(window.from),
        to: seconds(window.to),
        until: end.min(seconds(now)),
    };
    let range = (window.to - window.from).div_euclid(1000).max(0) + 2 * AROUND;
    let only = namespace.map_or(String::new(), |namespace| {
        format!("{{namespace={}}}", serde_json::Value::from(namespace))
    });
    let at = Question { client, url, end };
    let mut answers = Vec::new();
    for (metric, is_estimate) in [(prometheus::REPORTED, false), (prometheus::ESTIMATED, true)] {
        answers.push((at.ask(&format!("{metric}{only}[{range}s]")).await?, is_estimate));
    }
    // Of the sidecars' jobs alone: nearly every process that Prometheus scrapes tells when it began.
    let jobs: BTreeSet<&str> = answers.iter().flat_map(|(answer, _)| answer.jobs()).collect();
    let mut targets = Targets::default();
    if !jobs.is_empty() {
        let jobs: Vec<String> = jobs.into_iter().map(quoted_for_regex).collect();
        let of = serde_json::Value::from(jobs.join("|"));
        let started = format!("{}{{job=~{of}}}[{range}s]", prometheus::STARTED);
        targets = Targets::of(&at.ask(&started).await?);
    }
    let mut counted = Counted::default();
    for (answer, is_estimate) in &answers {
        counted.add(answer, &targets, *is_estimate, span);
    }
    Ok(counted)
}

/// Where and when queries are asked.
struct Question<'a> {
    client: &'a reqwest::Client,
    url: &'a str,
    /// Seconds since 1970.
    end: f64,
}

impl Question<'_> {
    async fn ask(&self, query: &str) -> anyhow::Result<Answer> {
        let url = self.url;
        let request = self
            .client
            .post(format!("{}/api/v1/query", url.trim_end_matches('/')))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("query={}&time={}", escaped(query), self.end));
        let answer = request.send().await.with_context(|| format!("{url} does not answer"))?;
        let answer = answer.error_for_status().context("Prometheus refuses the question")?;
        answer.json().await.context("Prometheus' answer cannot be read")
    }
}

/// A text that an expression of Prometheus is to find as it stands.
fn quoted_for_regex(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        if !char.is_alphanumeric() {
            out.push('\\');
        }
        out.push(char);
    }
    out
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::{Entry, Numbered, Sum};
    use crate::reconcile::Kind;
    use crate::schema::LATEST;
    use crate::store::sqlite::Sqlite;
    use crate::store::{Arrival, Identity};
    use crate::wire::{Batch, VERSION};

    const NOW: i64 = 1_790_000_100_000;

    #[test]
    fn a_window_without_an_end_is_over_for_both_sides() {
        let mut asked = Reconcile {
            place: Place {
                sqlite: None,
                postgres: None,
                postgres_ca: None,
            },
            from: 1_790_000_059_999,
            to: None,
            namespace: None,
            prometheus: None,
            usage: None,
            provider: None,
            metrics_file: None,
        };
        let now = 1_790_003_650_001;
        let Window { from, to } = window(&asked, now);
        assert_eq!((from % MINUTE, to % MINUTE), (0, 0));
        assert!((SETTLED..SETTLED + MINUTE).contains(&(now - to)), "{to}");
        assert_eq!(widened(&asked, window(&asked, now)), "");
        asked.to = Some(now);
        assert!((0..MINUTE).contains(&(window(&asked, now).to - now)));
    }

    #[test]
    fn the_window_is_said_where_it_is_more_than_was_asked_for() {
        let asked = Reconcile {
            place: Place {
                sqlite: None,
                postgres: None,
                postgres_ca: None,
            },
            from: 1_780_002_600_000,
            to: Some(1_780_089_000_000),
            namespace: None,
            prometheus: None,
            usage: None,
            provider: None,
            metrics_file: None,
        };
        let said = widened(&asked, window(&asked, 1_790_000_000_000));
        assert_eq!(
            said,
            "from 1780002000000 to 1780092000000: what is older than 35 days is kept by the hour\n"
        );
    }

    #[tokio::test]
    async fn more_models_than_are_compared_are_said_and_not_left_out() {
        let store = Sqlite::in_memory().unwrap();
        store.migrate(LATEST, NOW).await.unwrap();
        let model = |sequence: u64| Numbered {
            sequence,
            at: NOW,
            entry: Entry::Sum(Box::new(Sum {
                of: "attempt".into(),
                outcome: "answered".into(),
                minute: NOW / MINUTE,
                model: format!("m{sequence}"),
                count: 1,
                ..Sum::default()
            })),
        };
        let batch = Batch {
            version: VERSION,
            outbox: "0".repeat(32),
            from: 1,
            to: 3,
            entries: (1..=3).map(model).collect(),
            ..Batch::default()
        };
        let identity = Identity::default();
        let taken = store.take(Arc::new(vec![Arrival { identity, batch }]), NOW).await;
        taken.unwrap().remove(0).unwrap();
        let window = Window {
            from: NOW - MINUTE,
            to: NOW + MINUTE,
        };
        assert_eq!(held(&store, None, window, 3).await.unwrap().len(), 3 * Kind::ALL.len());
        let why = held(&store, None, window, 2).await.unwrap_err().to_string();
        assert!(why.contains("1 more models in this window than the 2"), "{why}");
    }

    #[test]
    fn a_job_is_found_as_it_is_written() {
        assert_eq!(quoted_for_regex("ns/a.b"), "ns\\/a\\.b");
    }
}
