//! Records into the ledger's outbox, where there is one, and what is seen of it in metrics.

use std::sync::{Arc, Mutex, OnceLock};

use bowsprit_core::record::{AttemptRecord, HeadroomRecord, RequestRecord};
use bowsprit_ledger::outbox::{Counts, Outbox, Sender};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Counters, Labels, OTHER, Registry};
use crate::sync::locked;

/// The sink.
pub struct Ledger {
    outbox: OnceLock<Arc<Outbox>>,
    about: OnceLock<About>,
    /// What is seen of it.
    pub metrics: LedgerMetrics,
}

impl Ledger {
    /// A sink of nothing, until [`Ledger::keep`].
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            outbox: OnceLock::new(),
            about: OnceLock::new(),
            metrics: LedgerMetrics::register(registry),
        }
    }

    /// From now on records are kept here.
    pub fn keep(&self, outbox: Arc<Outbox>, about: About) {
        let _ = self.about.set(about);
        let _ = self.outbox.set(outbox);
    }

    /// Whose records they are and where they go, if records are kept.
    pub fn about(&self) -> Option<&About> {
        self.about.get()
    }

    /// The outbox, if records are kept.
    pub fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.get()
    }

    /// Keeps a request.
    pub fn request(&self, record: &RequestRecord<'_>) {
        if let Some(outbox) = self.outbox.get() {
            outbox.request(record);
        }
    }

    /// Keeps an attempt.
    pub fn attempt(&self, record: &AttemptRecord<'_>) {
        if let Some(outbox) = self.outbox.get() {
            outbox.attempt(record);
        }
    }

    /// Keeps what a provider says of its own limits.
    pub fn headroom(&self, record: &HeadroomRecord<'_>) {
        if let Some(outbox) = self.outbox.get() {
            outbox.headroom(record);
        }
    }

    /// Series that are there whatever happens, 0 at first: an alert sees the first of what goes wrong only beside a 0. Returns how many.
    pub fn fit(&self) -> usize {
        if self.outbox.get().is_none() {
            return 0;
        }
        for fate in BAD_FATES {
            self.metrics.entries.fixed(&FateLabel { fate });
        }
        for problem in PROBLEMS {
            self.metrics.failures.fixed(&ProblemLabel { problem });
        }
        BAD_FATES.len() + PROBLEMS.len()
    }

    /// Brings the metrics to what is so now: called before each scrape.
    pub fn observe(&self) {
        if let Some(outbox) = self.outbox.get() {
            self.metrics.observe(&outbox.counts());
        }
    }
}

/// Whose records are kept, and where.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What is told of the pod beside its entries.
    pub sender: Sender,
    /// Whether they are in a file that outlives the container.
    pub in_file: bool,
    /// The ledger service that they are sent to.
    pub service: Option<String>,
}

/// How shipping fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shipped {
    /// When a batch was taken last, milliseconds since 1970.
    pub last: Option<i64>,
    /// Why the last one was not.
    pub problem: Option<String>,
}

/// What became of a batch, or of the attempt to send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The service has it.
    Taken,
    /// The service expects another sequence, and is given it next.
    Gap,
    /// The service cannot be reached, or says that it cannot now.
    Unreachable,
    /// CA or token are not mounted, or its certificate is not to be trusted.
    Untrusted,
    /// The service does not accept who sends.
    Denied,
    /// The service does not take what was sent.
    Refused,
}

impl Sent {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Taken,
        Self::Gap,
        Self::Unreachable,
        Self::Untrusted,
        Self::Denied,
        Self::Refused,
    ];

    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Gap => "gap",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "untrusted",
            Self::Denied => "denied",
            Self::Refused => "refused",
        }
    }
}

/// A family's only label, of a closed list.
macro_rules! closed_label {
    ($name:ident { $label:ident }) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name {
            $label: &'static str,
        }

        impl Labels for $name {
            fn provider(&self) -> Option<&str> {
                None
            }

            fn folded(&self) -> Self {
                Self { $label: OTHER }
            }
        }
    };
}

closed_label!(FateLabel { fate });
closed_label!(ProblemLabel { problem });
closed_label!(AnswerLabel { answer });

const BAD_FATES: [&str; 3] = ["spilled", "folded", "lost"];
const PROBLEMS: [&str; 2] = ["not_written", "damaged"];

/// Families about the ledger. A batch that is not taken is seldom and draws on the pool.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    entries: Counters<FateLabel>,
    failures: Counters<ProblemLabel>,
    bytes: Gauge,
    batches: Counters<AnswerLabel>,
    shipped: Arc<Mutex<Shipped>>,
    /// What was counted when it was looked at last.
    seen: Arc<Mutex<Counts>>,
}

impl LedgerMetrics {
    fn register(registry: &mut Registry) -> Self {
        let new = Self {
            entries: registry.counters(
                "ledger_entries",
                "Entries of requests and attempts by what became of them: detail (kept as they are), spilled (no room in memory: added up), folded (kept, then added up for want of room on disk), lost (the ledger service will never get them: it lost what it had taken, or refuses an entry for good)",
                &["fate"],
            ),
            failures: registry.counters(
                "ledger_failures",
                "Times that the ledger's outbox could not be written, or was found damaged and begun anew",
                &["problem"],
            ),
            bytes: Gauge::default(),
            batches: registry.counters(
                "ledger_batches",
                "Batches for the ledger service by what became of them: taken, gap (sent anew from another sequence), unreachable, untrusted (CA or token), denied, refused",
                &["answer"],
            ),
            shipped: Arc::default(),
            seen: Arc::default(),
        };
        registry.register(
            "ledger_bytes",
            "Bytes of entries in the outbox that the ledger service has not taken",
            &[],
            new.bytes.clone(),
        );
        new
    }

    /// How shipping fares.
    pub fn shipped(&self) -> Shipped {
        locked(&self.shipped).clone()
    }

    /// Counts a batch. `detail`: what was said of it, where it was not taken.
    pub fn sent(&self, sent: Sent, detail: &str, now: i64) {
        let mut shipped = locked(&self.shipped);
        match sent {
            Sent::Taken => {
                *shipped = Shipped {
                    last: Some(now),
                    problem: None,
                };
            }
            Sent::Gap => {}
            _ => shipped.problem = Some(format!("{}: {detail}", sent.as_str())),
        }
        drop(shipped);
        let answer = AnswerLabel { answer: sent.as_str() };
        match sent {
            Sent::Taken => self.batches.fixed(&answer).inc(),
            _ => self.batches.get(&answer).inc(),
        };
    }

    /// So many sequences are lost to the service.
    pub fn lost(&self, sequences: u64) {
        self.entries.get(&FateLabel { fate: "lost" }).inc_by(sequences);
    }

    /// Brings the metrics to what an outbox has counted.
    pub fn observe(&self, counts: &Counts) {
        let before = std::mem::replace(&mut *locked(&self.seen), *counts);
        // By what has come to it: what is folded into `other` has several sources.
        let more = |of: fn(&Counts) -> u64| of(counts).saturating_sub(of(&before));
        self.entries
            .fixed(&FateLabel { fate: "detail" })
            .inc_by(more(|counts| counts.kept));
        for (fate, count) in [
            ("spilled", more(|counts| counts.spilled)),
            ("folded", more(|counts| counts.folded)),
        ] {
            if count > 0 {
                self.entries.get(&FateLabel { fate }).inc_by(count);
            }
        }
        for (problem, count) in [
            ("not_written", more(|counts| counts.not_written)),
            ("damaged", more(|counts| counts.broken)),
        ] {
            if count > 0 {
                self.failures.get(&ProblemLabel { problem }).inc_by(count);
            }
        }
        self.bytes.set(i64::try_from(counts.bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use bowsprit_ledger::outbox::Settings;

    use super::*;
    use crate::families::Families;
    use crate::observe::access_log::AccessLog;

    #[test]
    fn what_may_go_wrong_is_0_from_the_start_where_a_ledger_is_kept_and_nowhere_else() {
        for is_kept in [true, false] {
            let families = Families::new(AccessLog::new(false, tracing::Level::INFO));
            if is_kept {
                let settings = Settings {
                    folder: None,
                    limit: 1 << 20,
                    clock: || 0,
                };
                let outbox = Arc::new(Outbox::start(settings));
                families.sinks.ledger.keep(outbox, About::default());
            }
            families.sinks.fit(&bowsprit_core::config::Config::default());
            let text = families.encode();
            for series in [
                r#"bowsprit_ledger_entries_total{fate="lost"} 0"#,
                r#"bowsprit_ledger_entries_total{fate="folded"} 0"#,
                r#"bowsprit_ledger_entries_total{fate="spilled"} 0"#,
                r#"bowsprit_ledger_failures_total{problem="damaged"} 0"#,
                r#"bowsprit_ledger_failures_total{problem="not_written"} 0"#,
            ] {
                assert_eq!(text.contains(series), is_kept, "{series} in {text}");
            }
        }
    }
}
