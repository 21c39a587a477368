//! `report --sla` for people, for programs and as CSV. Pure.

use std::collections::BTreeMap;

use bowsprit_ledger::query::Stat;
use bowsprit_ledger::query::report::{LEAST_SAMPLED, SAMPLED_OF, Sla, SlaRow, Windows, bad};
use serde::Serialize;

use super::html::Bar;
use super::page::Page;
use super::period::{About, minute};
use crate::args::By;
use crate::output::csv::{self, Field};
use crate::output::units::{number, percent, took};
use crate::output::{Cell, Table, Tone, short};
use crate::stats::{heads, keys, sum};

const FORMULA: &str = "AVAILABLE: requests answered in full, of those that were or failed, broke off or were turned away by a limit. \
A caller's mistake and a caller that left do not count.";

/// What was, and what is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Judged {
    #[serde(flatten)]
    sla: Sla,
    /// By route; `None`: they are not known, or not asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    objectives: Option<BTreeMap<String, Objective>>,
}

/// `spec.slo.availability` of a ModelRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Objective {
    /// Percent that must be good, as it is written there.
    availability: String,
    /// How many times the error budget of the period is used up: 1 is all of it. `None`: no request was good or bad.
    burn: Option<f64>,
}

impl Judged {
    /// Holds it against these objectives.
    pub(super) fn new(sla: Sla, objectives: Option<&BTreeMap<String, String>>) -> Self {
        let objective = |row: &SlaRow| {
            let availability = objectives?.get(&row.stat.name).filter(|_| row.stat.more == 0)?;
            let burn = availability.parse().ok().and_then(|percent| row.burn(percent));
            let objective = Objective {
                availability: availability.clone(),
                burn,
            };
            Some((row.stat.name.clone(), objective))
        };
        Self {
            objectives: objectives.map(|_| sla.rows.iter().filter_map(objective).collect()),
            sla,
        }
    }

    fn objective(&self, row: &SlaRow) -> Option<&Objective> {
        self.objectives
            .as_ref()?
            .get(&row.stat.name)
            .filter(|_| row.stat.more == 0)
    }
}

/// The whole page.
pub(super) fn page(found: &Judged, about: About<'_>, wide: bool) -> Page {
    let (sla, mut page) = (&found.sla, Page::default());
    if sla.rows.is_empty() {
        page.note(Tone::Plain, about.nothing());
        return page;
    }
    page.head(format!("Availability of {}", about.place()));
    let grain = if sla.grain == 60 { "MINUTES" } else { "HOURS" };
    let mut columns: Vec<&str> = heads(about.by).to_vec();
    columns.extend(["REQUESTS", "AVAILABLE", "BAD"]);
    if found.objectives.is_some() {
        columns.extend(["OBJECTIVE", "BUDGET USED"]);
    }
    columns.extend([grain, "CLEAN", "DOWN", "P50", "P95", "P99"]);
    if wide {
        columns.extend(["SUCCEEDED", "FAILED", "SHED", "MISTAKEN", "LEFT", "RANKED"]);
    }
    let mut table = Table::new(columns);
    for row in &sla.rows {
        table.row(cells(found, row, about.by, wide));
    }
    page.bars(sla.rows.iter().filter(|row| bad(&row.stat) > 0).map(|row| Bar {
        label: keys(&row.stat, about.by).join(" "),
        value: bad(&row.stat) as f64,
        told: format!("{} bad", number(bad(&row.stat))),
    }));
    page.table(table);
    if !sla.worst.is_empty() {
        page.head("The hours in which most was bad, each whole");
        page.table(worst(sla, about.by));
    }
    notes(found, about, &mut page);
    page
}

fn cells(found: &Judged, row: &SlaRow, by: By, wide: bool) -> Vec<Cell> {
    let stat = &row.stat;
    let toned = |count: u64| Cell::new(if count > 0 { Tone::Warn } else { Tone::Plain }, number(count));
    let mut cells: Vec<Cell> = keys(stat, by).iter().map(|key| Cell::from(short(key))).collect();
    cells.extend([
        number(stat.requests).into(),
        row.availability().map(percent).unwrap_or_default().into(),
        toned(bad(stat)),
    ]);
    if found.objectives.is_some() {
        let objective = found.objective(row);
        let burn = objective.and_then(|it| it.burn);
        let tone = if burn.is_some_and(|burn| burn > 1.0) {
            Tone::Bad
        } else {
            Tone::Plain
        };
        cells.extend([
            objective
                .map(|it| format!("{}%", it.availability))
                .unwrap_or_default()
                .into(),
            Cell::new(tone, burn.map(used).unwrap_or_default()),
        ]);
    }
    let windows = row.windows;
    let of = |count: fn(Windows) -> u64| windows.map(|it| number(count(it))).unwrap_or_default();
    cells.extend([of(|it| it.used), of(|it| it.clean), of(|it| it.down)].map(Cell::from));
    let latency = |at: fn(bowsprit_ledger::query::report::Latency) -> u64| {
        Cell::from(row.latency.map(|it| took(at(it))).unwrap_or_default())
    };
    cells.extend([latency(|it| it.p50), latency(|it| it.p95), latency(|it| it.p99)]);
    if wide {
        let counts = [
            stat.succeeded,
            stat.failed,
            stat.shed,
            stat.client_errors,
            stat.cancelled,
        ];
        cells.extend(counts.map(|count| Cell::from(number(count))));
        cells.push(row.latency.map(|it| number(it.of)).unwrap_or_default().into());
    }
    cells
}

/// A part of a budget, which may be more than all of it: whole percents from 10 on.
fn used(burn: f64) -> String {
    let percent = burn * 100.0;
    if percent >= 10.0 {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.1}%")
    }
}

fn worst(sla: &Sla, by: By) -> Table {
    let mut table = Table::new(
        ["HOUR"]
            .into_iter()
            .chain(heads(by).iter().copied())
            .chain(["BAD", "GOOD"]),
    );
    for hour in &sla.worst {
        let named = Stat {
            namespace: hour.namespace.clone(),
            provider: hour.provider.clone(),
            name: hour.name.clone(),
            ..Stat::default()
        };
        let mut cells = vec![Cell::from(minute(hour.at))];
        cells.extend(keys(&named, by).iter().map(|key| Cell::from(short(key))));
        cells.extend([Cell::new(Tone::Warn, number(hour.bad)), number(hour.good).into()]);
        table.row(cells);
    }
    table
}

fn notes(found: &Judged, about: About<'_>, page: &mut Page) {
    let sla = &found.sla;
    page.note(Tone::Dim, FORMULA);
    let window = if sla.grain == 60 { "minutes" } else { "hours" };
    let mut down = format!("CLEAN: {window} with nothing bad, of those with a request. DOWN: at least half was bad.");
    if sla.grain != 60 {
        down.push_str(" By hours, as minutes are not kept so long.");
    }
    page.note(Tone::Dim, down);
    let stats: Vec<Stat> = sla.rows.iter().map(|row| row.stat.clone()).collect();
    let succeeded = sum(&stats).succeeded;
    let ranked: u64 = sla.rows.iter().filter_map(|row| row.latency).map(|it| it.of).sum();
    if !sla.is_ranked {
        let text = "No percentiles: for this service too many requests succeeded. Ask about less: a namespace, a shorter period.";
        page.note(Tone::Warn, text);
    } else if sla.is_sampled {
        let text = format!(
            "Percentiles are of {} of the {} requests that succeeded: about one of {SAMPLED_OF} that are kept one by one. Names with fewer than {LEAST_SAMPLED} of them have none.",
            number(ranked),
            number(succeeded)
        );
        page.note(Tone::Dim, text);
    } else if ranked < succeeded {
        let text = format!(
            "Percentiles are of {} of the {} requests that succeeded: those that are kept one by one.",
            number(ranked),
            number(succeeded)
        );
        page.note(Tone::Warn, text);
    }
    let objectives = match (about.by, &found.objectives) {
        (By::Route, Some(all)) if all.is_empty() => "No objective: no ModelRoute here has spec.slo.availability.",
        (By::Route, Some(_)) => return,
        (By::Route, None) => "Objectives are not told: they need the right to list modelroutes, and one namespace.",
        _ => "Objectives: --by route. A provider's own counts exchanges, not requests: kubectl get providerconfigs.",
    };
    page.note(Tone::Dim, objectives);
}

/// As CSV: microseconds, and parts of 1.
pub(super) fn csv(found: &Judged, by: By) -> String {
    let heads = heads(by).iter().copied().chain([
        "REQUESTS",
        "SUCCEEDED",
        "FAILED",
        "SHED",
        "CLIENT_ERRORS",
        "CANCELLED",
        "AVAILABILITY",
        "OBJECTIVE_PERCENT",
        "BURN",
        "WINDOW_SECONDS",
        "WINDOWS",
        "CLEAN_WINDOWS",
        "DOWN_WINDOWS",
        "P50_MICROSECONDS",
        "P95_MICROSECONDS",
        "P99_MICROSECONDS",
        "RANKED",
    ]);
    let rows = found.sla.rows.iter().map(|row| {
        let stat = &row.stat;
        let mut cells: Vec<Field> = keys(stat, by).iter().map(Field::from).collect();
        let counts = [
            stat.requests,
            stat.succeeded,
            stat.failed,
            stat.shed,
            stat.client_errors,
            stat.cancelled,
        ];
        cells.extend(counts.map(Field::number));
        let objective = found.objective(row);
        cells.extend([
            Field::maybe(row.availability()),
            Field::maybe(objective.map(|it| &it.availability)),
            Field::maybe(objective.and_then(|it| it.burn)),
            Field::number(found.sla.grain),
        ]);
        let windows = row.windows.map(|it| [it.used, it.clean, it.down]);
        cells.extend((0..3).map(|index| Field::maybe(windows.and_then(|all| all.get(index).copied()))));
        let latency = row.latency.map(|it| [it.p50, it.p95, it.p99, it.of]);
        cells.extend((0..4).map(|index| Field::maybe(latency.and_then(|all| all.get(index).copied()))));
        cells
    });
    csv::table(heads, rows)
}
