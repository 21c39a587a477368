//! What the operator counts. Labels are closed sets: neither names nor namespaces, so the number of series is fixed.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::watchdog::{REASONS, Reason};
use crate::{money, reconcile, shares, stream};

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabel {
    object: &'static str,
    result: &'static str,
}

/// Why something was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

/// What may become of a pod's admission.
const ADMISSIONS: [&str; 5] = ["injected", "unchanged", "refused", "invalid", "not_ready"];
/// What may become of a change of an object.
const VALIDATIONS: [&str; 4] = ["accepted", "warned", "refused", "invalid"];
/// What is written of certificates.
const WRITTEN: [&str; 3] = ["webhook_secret", "ledger_secret", "webhook_configuration"];

/// Every family of the operator; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconcile: reconcile::Metrics,
    stream: stream::metrics::Metrics,
    shares: shares::metrics::Metrics,
    money: money::metrics::Metrics,
    certificate_writes: Family<WriteLabel, Counter>,
    admissions: Family<ResultLabel, Counter>,
    admission_seconds: Histogram,
    validations: Family<ResultLabel, Counter>,
    validation_seconds: Histogram,
    certificate_not_after: Gauge,
    leader: Gauge,
    found: Family<ReasonLabel, Gauge>,
}

impl Metrics {
    /// Registers every family under `bowsprit_operator_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bowsprit_operator");
        let r = &mut registry;
        let mut this = Self {
            registry: Arc::default(),
            reconcile: reconcile::Metrics::register(r),
            stream: stream::metrics::Metrics::register(r),
            shares: shares::metrics::Metrics::register(r),
            money: money::metrics::Metrics::register(r),
            certificate_writes: Family::default(),
            admissions: Family::default(),
            // Up to the webhook's timeout of 5 s.
            admission_seconds: Histogram::new([0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 5.0]),
            validations: Family::default(),
            validation_seconds: Histogram::new([0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 5.0]),
            certificate_not_after: Gauge::default(),
            leader: Gauge::default(),
            found: Family::default(),
        };
        r.register(
            "certificate_writes",
            "Writes of the webhook's Secret and caBundle",
            this.certificate_writes.clone(),
        );
        r.register(
            "admissions",
            "Reviews answered by the webhook, by result",
            this.admissions.clone(),
        );
        r.register(
            "admission_seconds",
            "Duration of an admission",
            this.admission_seconds.clone(),
        );
        r.register(
            "validations",
            "Changes of ProviderConfigs and ModelRoutes judged by the webhook, by result",
            this.validations.clone(),
        );
        r.register(
            "validation_seconds",
            "Duration of a validation",
            this.validation_seconds.clone(),
        );
        r.register(
            "webhook_certificate_not_after_seconds",
            "When the webhook's certificate expires, in seconds since 1970",
            this.certificate_not_after.clone(),
        );
        r.register(
            "leader",
            "1 while this replica holds the lease and writes",
            this.leader.clone(),
        );
        r.register(
            "watchdog_objects",
            "Pods, workloads and namespaces that an Event was written about and that are still so, by reason; 0 where another replica leads",
            this.found.clone(),
        );
        this.registry = Arc::new(registry);
        // At 0 from the start: what Prometheus first sees at 1 is no increase to it.
        for result in ADMISSIONS {
            drop(this.admissions.get_or_create(&ResultLabel { result }));
        }
        for result in VALIDATIONS {
            drop(this.validations.get_or_create(&ResultLabel { result }));
        }
        for object in WRITTEN {
            for result in ["ok", "error"] {
                drop(this.certificate_writes.get_or_create(&WriteLabel { object, result }));
            }
        }
        this.leads(false);
        this
    }

    /// The reconciler's own families.
    pub fn reconcile(&self) -> reconcile::Metrics {
        self.reconcile.clone()
    }

    /// The config streams' own families.
    pub fn stream(&self) -> stream::metrics::Metrics {
        self.stream.clone()
    }

    /// The families of limits of the fleet.
    pub fn shares(&self) -> shares::metrics::Metrics {
        self.shares.clone()
    }

    /// The families of budgets that pods spend together.
    pub fn money(&self) -> money::metrics::Metrics {
        self.money.clone()
    }

    /// The exposition in `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// `webhook_secret`, `ledger_secret` or `webhook_configuration` was written, or the apiserver refused it.
    pub fn wrote(&self, object: &'static str, ok: bool) {
        debug_assert!(WRITTEN.contains(&object), "{object} is not among WRITTEN");
        let result = if ok { "ok" } else { "error" };
        self.certificate_writes
            .get_or_create(&WriteLabel { object, result })
            .inc();
    }

    /// The webhook answered: `injected`, `unchanged`, `refused`, `invalid` or `not_ready`.
    pub fn admitted(&self, result: &'static str, took: Duration) {
        debug_assert!(ADMISSIONS.contains(&result), "{result} is not among ADMISSIONS");
        self.admissions.get_or_create(&ResultLabel { result }).inc();
        self.admission_seconds.observe(took.as_secs_f64());
    }

    /// A change of an object was judged: `accepted`, `warned`, `refused` or `invalid`.
    pub fn validated(&self, result: &'static str, took: Duration) {
        debug_assert!(VALIDATIONS.contains(&result), "{result} is not among VALIDATIONS");
        self.validations.get_or_create(&ResultLabel { result }).inc();
        self.validation_seconds.observe(took.as_secs_f64());
    }

    /// The certificate now served ends at this second since 1970.
    pub fn certificate(&self, not_after: i64) {
        self.certificate_not_after.set(not_after);
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        self.found(REASONS.map(|reason| (reason, 0)));
    }

    /// How many objects the watchdog has something to say of.
    pub fn found(&self, counts: [(Reason, usize); 3]) {
        for (reason, count) in counts {
            let label = ReasonLabel {
                reason: reason.as_str(),
            };
            self.found
                .get_or_create(&label)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn driven() -> String {
        let metrics = Metrics::new();
        metrics.wrote("webhook_secret", true);
        metrics.admitted("injected", Duration::from_millis(1));
        metrics.validated("warned", Duration::from_millis(1));
        metrics.certificate(1_800_000_000);
        metrics.leads(true);
        metrics.stream.requested("accepted");
        metrics.stream.reviewed("authentic");
        metrics.stream.opened();
        metrics.stream.ended("closed");
        metrics.encode().unwrap()
    }

    /// The series of a family come in no order of their own.
    fn ordered(exposition: &str) -> String {
        let mut lines: Vec<&str> = exposition.lines().collect();
        for family in lines.chunk_by_mut(|one, other| !one.starts_with('#') && name_of(one) == name_of(other)) {
            // The bounds of a histogram have an order.
            if family.iter().all(|line| !line.contains("{le=")) {
                family.sort_unstable();
            }
        }
        lines.join("\n")
    }

    fn name_of(series: &str) -> Option<&str> {
        series.split_once('{').map(|(name, _)| name)
    }

    #[test]
    fn the_exposition_is_this() {
        insta::assert_snapshot!(ordered(&driven()));
    }

    /// The part of `docs/metrics.md` after the mark; what is before it is the sidecar's, and so is the mark.
    fn page(exposition: &str) -> String {
        let mut page = String::from(
            "## The operator's families\nEach replica has its own; only the leader reconciles and writes. Labels: `result` is \
             `ok` or `error` for writes, and `injected`, `unchanged`, `refused`, `invalid` or `not_ready` for reviews; `object` is \
             `webhook_secret`, `ledger_secret` or `webhook_configuration`; `reason` is that of the Event: `SidecarMissing`, \
             `BypassesSidecar` or `SettingNotRead`. A request for a stream is `accepted`, or refused as `tls`, `not_found`, \
             `protocol`, `no_token`, `wrong_token` (by its own word ended, meant for others or no token), `denied` (by the \
             apiserver), `no_pod`, `no_peer` (another replica's door), `full`, `unreviewed` (the apiserver did not answer), `leaving`, `in_doubt` (this replica cannot watch UsagePolicies, and another can), or, before it was let in at all, `crowded`, `mute` or `gone`; a stream ends as `closed`, \
             `silent`, `malformed`, `pod_gone`, `replaced`, `leaving` or `in_doubt`; an ask about a budget is `ok`, or `no_pod` where this replica does not know the pod, which is lent nothing; a token is `authentic`, `denied`, `error` or `cached`.\n\n| name | type | labels | meaning |\n|---|---|---|---|\n",
        );
        let lines: Vec<&str> = exposition.lines().collect();
        for line in &lines {
            let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            let kind = lines
                .iter()
                .find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.unwrap();
            let scraped = if kind == "counter" {
                format!("{name}_total")
            } else {
                name.to_owned()
            };
            let labels = lines.iter().find_map(|line| line.strip_prefix(&format!("{scraped}{{")));
            let labels: Vec<String> = labels
                .and_then(|rest| rest.split_once('}'))
                .map(|(labels, _)| labels.split(',').filter_map(|pair| pair.split_once('=')))
                .map(|pairs| pairs.map(|(label, _)| format!("`{label}`")).collect())
                .unwrap_or_default();
            let _ = writeln!(
                page,
                "| `{scraped}` | {kind} | {} | {} |",
                labels.join(", "),
                help.trim_end_matches('.')
            );
        }
        page
    }

    /// `make docs` runs it with `BOWSPRIT_WRITE_DOCS=1`, which writes the page instead.
    #[test]
    fn the_page_of_metrics_says_what_the_operators_registry_says() {
        const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        const MARK: &str = "<!-- The operator's part, written from operator/src/metrics.rs. -->\n";
        const NEXT: &str = "<!-- The ledger service's part";
        let wanted = page(&driven()) + "\n";
        let now = std::fs::read_to_string(PAGE).unwrap();
        let (sidecars, rest) = now.split_once(MARK).unwrap();
        // What follows is the ledger service's.
        let end = rest.find(NEXT).unwrap_or(rest.len());
        let (ours, ledgers) = rest.split_at(end);
        if std::env::var_os("BOWSPRIT_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, format!("{sidecars}{MARK}{wanted}{ledgers}")).unwrap();
            return;
        }
        assert!(
            ours == wanted,
            "docs/metrics.md is not what the code says: run 'make docs' and commit the result"
        );
    }
}
