//! The objectives of a namespace's ProviderConfigs and ModelRoutes as rules for Prometheus: what is recorded, and when somebody
//! is called. Pure: objects in, a PrometheusRule out.
//!
//! Alerts are by multi-window burn rates, as the SRE workbook has them: a burn rate is how many times faster than allowed the
//! error budget is spent. Two windows must agree, so that an alert comes soon and goes soon.

use bowsprit_core::config::FIRST_TOKEN_PERCENT;
use bowsprit_core::slo::{Objective, PROVIDER, ROUTE};
use bowsprit_crds::{ModelRoute, ProviderConfig, Slo};
use kube::ResourceExt as _;
use serde_json::{Value, json};

pub mod apply;

/// The PrometheusRule of a namespace.
pub const NAME: &str = "bowsprit-slo";
/// What is recorded of the sidecars' counters: events a second, by verdict.
const EVENTS: &str = "bowsprit:slo_events:rate5m";
/// Longer windows than five minutes, in which shares of bad events are recorded.
const WINDOWS: [&str; 6] = ["30m", "1h", "2h", "6h", "1d", "3d"];

/// How often events are recorded: a rate that is recorded so often, added up, is a number of events.
const EVERY_SECONDS: u32 = 60;
/// Bad events within the long window below which nobody is called: of ten requests an hour one that fails is a tenth, and no trouble.
const FEWEST: u32 = 3;
/// The longest window whose events are counted anew each time.
const HOURS_COUNTED: f64 = 6.0;

/// When somebody hears of it.
struct Burn {
    alert: &'static str,
    severity: &'static str,
    /// How much of the budget may be spent within the long window, and that window in hours.
    spent: f64,
    hours: f64,
    long: &'static str,
    short: &'static str,
    hold: &'static str,
}

/// Two percent of a budget in an hour or five in six hours are worth a night; ten in a day or three, a working day.
const BURNS: [Burn; 4] = [
    Burn {
        alert: "BowspritBudgetBurnsFast",
        severity: "critical",
        spent: 0.02,
        hours: 1.0,
        long: "1h",
        short: "5m",
        hold: "2m",
    },
    Burn {
        alert: "BowspritBudgetBurnsFast",
        severity: "critical",
        spent: 0.05,
        hours: 6.0,
        long: "6h",
        short: "30m",
        hold: "15m",
    },
    Burn {
        alert: "BowspritBudgetBurnsSlowly",
        severity: "warning",
        spent: 0.10,
        hours: 24.0,
        long: "1d",
        short: "2h",
        hold: "1h",
    },
    Burn {
        alert: "BowspritBudgetBurnsSlowly",
        severity: "warning",
        spent: 0.10,
        hours: 72.0,
        long: "3d",
        short: "6h",
        hold: "3h",
    },
];

/// One objective of an object.
#[derive(Clone, Debug, PartialEq)]
struct Aim {
    object: &'static str,
    name: String,
    objective: &'static str,
    /// The percentage that must be good, as it is written.
    percent: String,
    hours: f64,
    /// The window as people write it.
    window: String,
}

/// The objectives of one object; its conditions tell of one that cannot be read.
fn aims(object: &'static str, name: &str, slo: Option<&Slo>) -> Vec<Aim> {
    let Some(slo) = slo else { return Vec::new() };
    let aim = |(objective, percent): (Objective, String)| Aim {
        object,
        name: name.to_owned(),
        objective: objective.as_str(),
        percent,
        hours: slo.over_window.get().as_secs_f64() / 3600.0,
        window: slo.over_window.to_string(),
    };
    asked(slo).map(aim).collect()
}

/// What is asked for: each objective with the percentage that must be good, as it is written. One that cannot be read is left out.
pub(crate) fn asked(slo: &Slo) -> impl Iterator<Item = (Objective, String)> + use<> {
    let readable = |text: &String| {
        text.parse::<f64>()
            .is_ok_and(|percent| (50.0..100.0).contains(&percent))
    };
    let availability = slo.availability.clone().filter(readable);
    let availability = availability.map(|percent| (Objective::Availability, percent));
    let first_token = slo.first_token.map(|_| FIRST_TOKEN_PERCENT.to_string());
    availability
        .into_iter()
        .chain(first_token.map(|percent| (Objective::FirstToken, percent)))
}

/// The rules of a namespace, or none where no object has an objective. `labels`: what Prometheus selects rules by;
/// `runbooks`: where the alerts' pages are.
pub fn rules(
    namespace: &str,
    providers: &[&ProviderConfig],
    routes: &[&ModelRoute],
    labels: &[(String, String)],
    runbooks: &str,
) -> Option<Value> {
    let providers = providers
        .iter()
        .flat_map(|it| aims(PROVIDER, &it.name_any(), it.spec.slo.as_ref()));
    let routes = routes
        .iter()
        .flat_map(|it| aims(ROUTE, &it.name_any(), it.spec.slo.as_ref()));
    let aims: Vec<Aim> = providers.chain(routes).collect();
    if aims.is_empty() {
        return None;
    }
    let mut metadata =
        json!({"name": NAME, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "bowsprit-operator"}});
    for (name, value) in labels {
        if let Some(all) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            all.insert(name.clone(), value.clone().into());
        }
    }
    Some(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata,
        "spec": {"groups": [
            {"name": "bowsprit-slo-recorded", "interval": format!("{EVERY_SECONDS}s"), "rules": recorded(namespace, &aims)},
            {"name": "bowsprit-slo-burn", "rules": burning(namespace, &aims, runbooks)},
        ]},
    }))
}

/// Bad events over all of them, in a window.
fn share(bad: &str, all: &str) -> String {
    format!("{bad} / ({all} > 0)")
}

fn recorded(namespace: &str, aims: &[Aim]) -> Vec<Value> {
    let by = "namespace, object, name, objective";
    let of = |result: &str| format!("{EVENTS}{{namespace=\"{namespace}\"{result}}}");
    let (bad, all) = (of(", result=\"bad\""), of(""));
    let mut rules = vec![
        json!({
            "record": EVENTS,
            "expr": format!("sum by ({by}, result) (rate(bowsprit_slo_events_total{{namespace=\"{namespace}\"}}[5m]))"),
        }),
        json!({
            "record": "bowsprit:slo_errors:ratio_rate5m",
            "expr": share(&format!("sum by ({by}) ({bad})"), &format!("sum by ({by}) ({all})")),
        }),
    ];
    rules.extend(WINDOWS.map(|window| {
        let sum = |series: &str| format!("sum by ({by}) (sum_over_time({series}[{window}]))");
        json!({
            "record": format!("bowsprit:slo_errors:ratio_rate{window}"),
            "expr": share(&sum(&bad), &sum(&all)),
        })
    }));
    rules.extend(aims.iter().map(|aim| {
        let sum = |result: &str| {
            format!(
                "sum by ({by}) (sum_over_time({EVENTS}{{{}{result}}}[{}]))",
                aim.selector(namespace),
                aim.prometheus_window()
            )
        };
        json!({
            "record": "bowsprit:slo_error_budget:remaining",
            "expr": format!("1 - {} / (1 - {} / 100)", share(&sum(", result=\"bad\""), &sum("")), aim.percent),
            "labels": {"object": aim.object, "name": aim.name, "objective": aim.objective},
        })
    }));
    rules
}

fn burning(namespace: &str, aims: &[Aim], runbooks: &str) -> Vec<Value> {
    let mut rules = Vec::new();
    for aim in aims {
        for burn in &BURNS {
            let limit = format!("{} * (1 - {} / 100)", aim.rate(burn), aim.percent);
            let over = |window: &str| {
                format!(
                    "bowsprit:slo_errors:ratio_rate{window}{{{}}} > {limit}",
                    aim.selector(namespace)
                )
            };
            let enough = enough(&aim.selector(namespace), burn);
            rules.push(json!({
                "alert": burn.alert,
                "expr": format!("{} and {} and {enough}", over(burn.long), over(burn.short)),
                "for": burn.hold,
                "labels": {
                    "severity": burn.severity, "bowsprit": "slo", "long_window": burn.long,
                    "object": aim.object, "name": aim.name, "objective": aim.objective,
                },
                "annotations": {
                    "summary": format!(
                        "{}: {{{{ $value | humanizePercentage }}}} of {} in {namespace} were bad within {}",
                        aim.of_what(), aim.events(), burn.long
                    ),
                    "description": format!(
                        "{}% must be good over {}; at this rate the error budget lasts no longer than {} hours.",
                        aim.percent, aim.window, (aim.hours / aim.rate(burn)).round()
                    ),
                    "runbook_url": format!("{}/{}.md", runbooks.trim_end_matches('/'), burn.alert),
                },
            }));
        }
    }
    rules
}

/// Whether there were [`FEWEST`] bad events in the long window, less a half: rates are not told to the last digit. Hours are counted, so that
/// the newest event is in it at once; days would be too many samples, and are added up of what is recorded.
fn enough(selector: &str, burn: &Burn) -> String {
    let (of, window) = (format!("{{{selector}, result=\"bad\"}}"), burn.long);
    let events = if burn.hours > HOURS_COUNTED {
        format!("{EVERY_SECONDS} * sum by (namespace, object, name, objective) (sum_over_time({EVENTS}{of}[{window}]))")
    } else {
        format!("sum by (namespace, object, name, objective) (increase(bowsprit_slo_events_total{of}[{window}]))")
    };
    format!("{events} > {}", f64::from(FEWEST) - 0.5)
}

impl Aim {
    fn selector(&self, namespace: &str) -> String {
        format!(
            "namespace=\"{namespace}\", object=\"{}\", name=\"{}\", objective=\"{}\"",
            self.object, self.name, self.objective
        )
    }

    fn prometheus_window(&self) -> String {
        format!("{}s", (self.hours * 3600.0).round())
    }

    /// The burn rate that spends so much in so long. Never below one: a budget that lasts as long as it must is no alert. And
    /// never so high that an outage of all but a tenth would not reach it.
    fn rate(&self, burn: &Burn) -> f64 {
        let budget = 1.0 - self.percent.parse().unwrap_or(99.0) / 100.0;
        let rate = burn.spent * self.hours / burn.hours;
        (rate.min(0.9 / budget).max(1.0) * 100.0).round() / 100.0
    }

    fn of_what(&self) -> String {
        let kind = if self.object == ROUTE {
            "ModelRoute"
        } else {
            "ProviderConfig"
        };
        format!("{kind} {}", self.name)
    }

    fn events(&self) -> &'static str {
        match (self.objective, self.object) {
            ("first_token", _) => "the streams",
            (_, ROUTE) => "the requests",
            _ => "the exchanges",
        }
    }
}

#[cfg(test)]
mod tests;
