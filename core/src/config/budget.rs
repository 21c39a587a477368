//! Budgets of a UsagePolicy, checked.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::UsagePolicySpec;
use bowsprit_crds::budgets::{Budget as BudgetSpec, BudgetPer, BudgetWindow, OnExhausted, WithoutOperator};

use super::named::{self, Wrong};
use crate::cost::Picodollars;
use crate::spend::book::{Beyond, Budget, Spenders};
use crate::spend::window::{Calendar, Division};

/// The shortest and the longest window that `every` may name.
const EVERY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(90 * 24));
/// The labels that the Job controller gives to a Job's pods: the Job's name and its uid, as they are called now and were before 1.27.
const JOB_LABELS: [[&str; 2]; 2] = [
    ["batch.kubernetes.io/job-name", "job-name"],
    ["batch.kubernetes.io/controller-uid", "controller-uid"],
];

/// Checks the budgets of the UsagePolicy of this name.
///
/// # Errors
/// Everything that is wrong with them, with the field's path from the spec.
pub(super) fn all_of(policy: &str, specs: &[BudgetSpec]) -> Result<Vec<Arc<Budget>>, Vec<Wrong>> {
    named::all_of(
        "budgets",
        "budget",
        specs,
        |spec| &spec.name,
        |spec, note| of(policy, spec, note),
    )
}

/// `None`: something is wrong with it, and noted.
fn of(policy: &str, spec: &BudgetSpec, note: &mut dyn FnMut(&str, &str, &str)) -> Option<Budget> {
    let per = per(spec, note);
    if spec.warn_at_percent.iter().any(|percent| !(1..=100).contains(percent)) {
        note(
            "warnAtPercent",
            "has one that is not 1 to 100",
            "correct it, or remove it",
        );
    }
    let mut warn_at = spec.warn_at_percent.clone();
    warn_at.sort_unstable();
    warn_at.dedup();
    let amount = amount(&spec.amount, note);
    let calendar = calendar(spec, note);
    let beyond = beyond(spec, note);
    Some(Budget {
        name: spec.name.as_str().into(),
        policy: policy.into(),
        full_name: format!("{policy}/{}", spec.name).into(),
        amount: amount?,
        calendar: calendar?,
        warn_at,
        beyond: beyond?,
        per: per?,
        stops_without_operator: spec.without_operator == Some(WithoutOperator::Stop),
    })
}

/// Who spends it together, with nobody's labels read yet.
fn per(spec: &BudgetSpec, note: &mut dyn FnMut(&str, &str, &str)) -> Option<Spenders> {
    if spec.team_label.is_some() && spec.per != BudgetPer::Team {
        note("teamLabel", "belongs to per: Team alone", "remove it");
    }
    if spec.without_operator.is_some() && spec.per == BudgetPer::Pod {
        note(
            "withoutOperator",
            "is about what pods spend together, and a pod holds its own budget by itself",
            "remove it, or set per",
        );
    }
    Some(match (spec.per, &spec.team_label) {
        (BudgetPer::Pod, _) => Spenders::Pod,
        (BudgetPer::Workload, _) => Spenders::Workload,
        (BudgetPer::Namespace, _) => Spenders::Namespace,
        (BudgetPer::Route, _) => Spenders::Route,
        (BudgetPer::JobRun, _) => Spenders::JobRun { of: None },
        (BudgetPer::Team, Some(label)) if !label.is_empty() => Spenders::Team {
            label: label.as_str().into(),
            of: None,
        },
        (BudgetPer::Team, _) => {
            note(
                "teamLabel",
                "is missing",
                "name the pod label whose value says the team",
            );
            return None;
        }
    })
}

/// The budgets of the UsagePolicy of this name that pods spend together; none of one that is wrong, which no pod has in force.
pub fn shared_budgets(policy: &str, spec: &UsagePolicySpec) -> Vec<Arc<Budget>> {
    let mut all = all_of(policy, &spec.budgets).unwrap_or_default();
    all.retain(|budget| budget.per != Spenders::Pod);
    all
}

/// The budget as it holds for a pod with these labels.
pub(super) fn for_pod(budget: &Arc<Budget>, labels: &BTreeMap<String, String>) -> Arc<Budget> {
    match &budget.per {
        Spenders::Pod | Spenders::Workload | Spenders::Namespace | Spenders::Route => Arc::clone(budget),
        per @ (Spenders::Team { .. } | Spenders::JobRun { .. }) => Arc::new(Budget {
            per: spenders_of(per, labels),
            ..(**budget).clone()
        }),
    }
}

/// With whom a pod with these labels spends.
pub fn spenders_of(per: &Spenders, labels: &BTreeMap<String, String>) -> Spenders {
    let label = |name: &str| labels.get(name).map(String::as_str);
    match per {
        Spenders::Team { label: name, .. } => Spenders::Team {
            label: Arc::clone(name),
            of: label(name).map(Arc::from),
        },
        Spenders::JobRun { .. } => {
            let [job, uid] = JOB_LABELS.map(|names| names.iter().find_map(|name| label(name)));
            let of = job.zip(uid).map(|(job, uid)| format!("{job}/{uid}").into());
            Spenders::JobRun { of }
        }
        Spenders::Pod | Spenders::Workload | Spenders::Namespace | Spenders::Route => per.clone(),
    }
}

/// Picodollars. A price per million tokens is read in the same unit: a picodollar per token is a dollar per 10^12 of them.
fn amount(text: &str, note: &mut dyn FnMut(&str, &str, &str)) -> Option<u64> {
    let dollars = Picodollars::per_token(text).ok().map(|price| price.times(1_000_000));
    let amount = dollars.and_then(|dollars| u64::try_from(dollars.get()).ok());
    let amount = amount.filter(|amount| *amount > 0);
    if amount.is_none() {
        note(
            "amount",
            &format!("{text:?} is no amount of money above 0 and up to 1000000"),
            "write US dollars with at most six decimals, such as \"0.50\"; to stop everything, set paused",
        );
    }
    amount
}

fn calendar(spec: &BudgetSpec, note: &mut dyn FnMut(&str, &str, &str)) -> Option<Calendar> {
    let division = match (spec.window, spec.every) {
        (BudgetWindow::Hour, None) => Some(Division::Hour),
        (BudgetWindow::Day, None) => Some(Division::Day),
        (BudgetWindow::Week, None) => Some(Division::Week),
        (BudgetWindow::Month, None) => Some(Division::Month),
        (BudgetWindow::Custom, Some(every)) => {
            let every = every.get();
            let seconds = u32::try_from(every.as_secs()).ok().and_then(NonZeroU32::new);
            let division = seconds
                .filter(|_| every >= EVERY.0 && every <= EVERY.1)
                .map(Division::Every);
            if division.is_none() {
                note("every", "is not 1m to 2160h", "set it to 1m to 2160h (90 days)");
            }
            division
        }
        (BudgetWindow::Custom, None) => {
            note("every", "is missing", "say how long a window of Custom is, such as 6h");
            None
        }
        (_, Some(_)) => {
            note(
                "every",
                "belongs to window: Custom alone",
                "remove it, or set window: Custom",
            );
            None
        }
    };
    let calendar = Calendar::new(division.unwrap_or(Division::Hour), &spec.time_zone);
    if calendar.is_none() {
        note(
            "timeZone",
            &format!("{:?} is no time zone", spec.time_zone),
            "write a name of the IANA time zone database, such as Europe/Berlin",
        );
    }
    calendar.filter(|_| division.is_some())
}

fn beyond(spec: &BudgetSpec, note: &mut dyn FnMut(&str, &str, &str)) -> Option<Beyond> {
    match (spec.on_exhausted, &spec.divert_to) {
        (OnExhausted::Warn, None) => Some(Beyond::Warn),
        (OnExhausted::Stop, None) => Some(Beyond::Stop),
        (OnExhausted::Divert, Some(route)) => Some(Beyond::Divert(route.as_str().into())),
        (OnExhausted::Divert, None) => {
            note("divertTo", "is missing", "name the ModelRoute that requests are led to");
            None
        }
        (_, Some(_)) => {
            note(
                "divertTo",
                "belongs to onExhausted: Divert alone",
                "remove it, or set onExhausted: Divert",
            );
            None
        }
    }
}
