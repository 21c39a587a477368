//! Records into the ledger's outbox, where there is one, and what is seen of it in metrics.

use std::sync::{Arc, Mutex, OnceLock};

use bowsprit_core::record::{AttemptRecord, RequestRecord};
use bowsprit_ledger::outbox::{Counts, Outbox};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Counters, Labels, OTHER, Registry};
use crate::sync::locked;

/// The sink.
pub struct Ledger {
    outbox: OnceLock<Arc<Outbox>>,
    /// What is seen of it.
    pub metrics: LedgerMetrics,
}

impl Ledger {
    /// A sink of nothing, until [`Ledger::keep`].
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            outbox: OnceLock::new(),
            metrics: LedgerMetrics::register(registry),
        }
    }

    /// From now on records are kept here.
    pub fn keep(&self, outbox: Arc<Outbox>) {
        let _ = self.outbox.set(outbox);
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

    /// Brings the metrics to what is so now: called before each scrape.
    pub fn observe(&self) {
        if let Some(outbox) = self.outbox.get() {
            self.metrics.observe(&outbox.counts());
        }
    }
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

/// Families about the ledger. What goes well has series of its own; what goes wrong is seldom and draws on the pool.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    entries: Counters<FateLabel>,
    failures: Counters<ProblemLabel>,
    bytes: Gauge,
    batches: Counters<AnswerLabel>,
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

    /// Counts a batch.
    pub fn sent(&self, sent: Sent) {
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
