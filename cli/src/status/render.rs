//! `status` for people. Pure.

use std::fmt::Write as _;

use bowsprit_crds::RunawayPod;
use bowsprit_crds::budgets::WithoutOperator;

use super::judge::{Judged, SYSTEM};
use super::overview::{Money, Namespace, Object};
use crate::output::{Cell, Paint, Table, Tone, count, printable};

/// More namespaces than these are shown as lines of a table, with the details of those that need attention.
const DETAILED: usize = 3;
/// Well namespaces that are listed; a screen has few more lines.
const LISTED: usize = 15;
/// Objects of a namespace that are listed unless they are not well.
const OBJECTS: usize = 15;

/// The whole screen.
pub(crate) fn screen(judged: &Judged, wide: bool, paint: Paint) -> String {
    let tone = if judged.well { Tone::Good } else { Tone::Bad };
    let mut text = format!("{}\n\n{}", paint.paint(tone, &judged.summary), system(judged, paint));
    let namespaces = &judged.overview.namespaces;
    if namespaces.len() > DETAILED && !wide {
        text.push('\n');
        text.push_str(&list(judged, paint));
        for namespace in namespaces
            .iter()
            .filter(|it| judged.trouble(&it.name).is_some())
            .take(DETAILED)
        {
            text.push('\n');
            text.push_str(&detail(judged, namespace, paint));
        }
    } else {
        for namespace in namespaces {
            text.push('\n');
            text.push_str(&detail(judged, namespace, paint));
        }
    }
    for unknown in &judged.overview.unknown {
        let _ = writeln!(text, "\n{} {unknown}", paint.paint(Tone::Warn, "Not seen:"));
    }
    text.push_str(&todo(judged, wide, paint));
    text
}

fn system(judged: &Judged, paint: Paint) -> String {
    let operators = judged.overview.operators.as_ref().map_or_else(
        || Cell::new(Tone::Warn, "not seen"),
        |it| {
            let tone = match it.ready {
                0 => Tone::Bad,
                ready if ready < it.wanted => Tone::Warn,
                _ => Tone::Good,
            };
            Cell::new(tone, format!("{}/{} ready", it.ready, it.wanted))
        },
    );
    let about = judged.overview.operators.as_ref();
    let leader = about.and_then(|it| it.leader.clone()).unwrap_or_default();
    let version = about.map(|it| it.version.clone()).unwrap_or_default();
    let webhook = match &judged.overview.webhook {
        None => Cell::new(Tone::Warn, "not seen"),
        Some(it) if !it.there => Cell::new(Tone::Bad, "not there"),
        Some(it) if !it.trusted => Cell::new(Tone::Bad, "has no CA"),
        Some(it) => Cell::new(Tone::Good, format!("in place ({})", it.failure_policy)),
    };
    let mut table = Table::new(["OPERATORS", "LEADER", "VERSION", "WEBHOOK"]);
    table.row([operators, leader.into(), version.into(), webhook]);
    table.render(paint)
}

fn state(judged: &Judged, namespace: &Namespace) -> Cell {
    match judged.trouble(&namespace.name) {
        Some(true) => Cell::new(Tone::Bad, "attention"),
        Some(false) => Cell::new(Tone::Warn, "look"),
        None => Cell::new(Tone::Good, "well"),
    }
}

fn list(judged: &Judged, paint: Paint) -> String {
    let mut table = Table::new([
        "NAMESPACE",
        "STATE",
        "PROVIDERS",
        "ROUTES",
        "SIDECARS",
        "BEHIND",
        "OPEN CIRCUITS",
    ]);
    let mut namespaces: Vec<&Namespace> = judged.overview.namespaces.iter().collect();
    namespaces.sort_by_key(|it| match judged.trouble(&it.name) {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    });
    for namespace in namespaces.iter().take(LISTED) {
        let ready = |objects: &[Object]| {
            let ready = objects.iter().filter(|it| it.ready == Some(true)).count();
            format!("{ready}/{} ready", objects.len())
        };
        let behind = namespace.providers.iter().map(|it| it.behind).max().unwrap_or_default();
        let open: u32 = namespace
            .providers
            .iter()
            .filter_map(|it| Some(it.circuits?.open))
            .sum();
        let bad = |number: u32| Cell::new(if number > 0 { Tone::Bad } else { Tone::Plain }, number.to_string());
        table.row([
            namespace.name.clone().into(),
            state(judged, namespace),
            ready(&namespace.providers).into(),
            ready(&namespace.routes).into(),
            namespace.sidecars.to_string().into(),
            bad(behind),
            bad(open),
        ]);
    }
    let mut text = table.render(paint);
    let rest = namespaces.get(LISTED..).unwrap_or_default();
    if !rest.is_empty() {
        let troubled = rest.iter().filter(|it| judged.trouble(&it.name) == Some(true)).count();
        let are = match troubled {
            0 => "none needs attention".to_owned(),
            some => format!("{some} of them need attention"),
        };
        let _ = writeln!(text, "and {} more, {are} (-o wide shows all)", rest.len());
    }
    text
}

fn detail(judged: &Judged, namespace: &Namespace, paint: Paint) -> String {
    let state = match judged.trouble(&namespace.name) {
        Some(true) => paint.paint(Tone::Bad, "needs attention"),
        Some(false) => paint.paint(Tone::Warn, "look at it"),
        None => paint.paint(Tone::Good, "well"),
    };
    let mut text = format!("{}: {state}\n", paint.paint(Tone::Bold, &namespace.name));
    if namespace.providers.is_empty() && namespace.routes.is_empty() && namespace.sidecars == 0 {
        text.push_str("  nothing of Bowsprit here\n");
    }
    let columns = ["PROVIDER", "KIND", "MODEL", "PRIORITY", "READY", "SIDECARS", "CIRCUITS"];
    let budget = with_budget(&namespace.providers);
    let mut providers = Table::new(columns.into_iter().chain(budget)).indented(2);
    for object in shown(&namespace.providers) {
        let cells = [
            object.name.clone().into(),
            object.what.clone().into(),
            object.model.clone().into(),
            object.priority.map(|it| it.to_string()).unwrap_or_default().into(),
            ready(object),
            sidecars(object),
            circuits(object),
        ];
        providers.row(cells.into_iter().chain(budget.map(|_| budgets(object))));
    }
    text.push_str(&providers.render(paint));
    let columns = ["ROUTE", "MODELS", "TARGETS", "READY", "SIDECARS"];
    let budget = with_budget(&namespace.routes);
    let mut routes = Table::new(columns.into_iter().chain(budget)).indented(2);
    for object in shown(&namespace.routes) {
        let cells = [
            object.name.clone().into(),
            object.what.clone().into(),
            object.model.clone().into(),
            ready(object),
            sidecars(object),
        ];
        routes.row(cells.into_iter().chain(budget.map(|_| budgets(object))));
    }
    text.push_str(&routes.render(paint));
    let mut policies = Table::new(["POLICY", "SAYS", "READY", "SIDECARS"]).indented(2);
    for object in shown(&namespace.policies) {
        let cells: [Cell; 4] = [
            object.name.clone().into(),
            object.what.clone().into(),
            ready(object),
            sidecars(object),
        ];
        policies.row(cells);
    }
    text.push_str(&policies.render(paint));
    text.push_str(&money(namespace, paint));
    text.push_str(&runaways(namespace, paint));
    let objects = namespace.providers.len() + namespace.routes.len() + namespace.policies.len();
    let listed =
        shown(&namespace.providers).count() + shown(&namespace.routes).count() + shown(&namespace.policies).count();
    if listed < objects {
        let _ = writeln!(text, "  and {} more, all ready", objects - listed);
    }
    let mut pods = vec![count(namespace.sidecars, "sidecar")];
    if !namespace.waiting.is_empty() {
        pods.push(paint.paint(Tone::Bad, &format!("{} not up", namespace.waiting.len())));
    }
    if !namespace.missed.is_empty() {
        let missed = format!("{} without the one asked for", count(namespace.missed.len(), "pod"));
        pods.push(paint.paint(Tone::Bad, &missed));
    }
    if namespace.sidecars > 0 || pods.len() > 1 || !namespace.providers.is_empty() {
        let _ = writeln!(text, "  {}", pods.join(", "));
    }
    text
}

/// Few, or those that are not well.
fn shown(objects: &[Object]) -> impl Iterator<Item = &Object> {
    let all = objects.len() <= OBJECTS;
    objects.iter().filter(move |it| {
        let open = it.circuits.is_some_and(|circuits| circuits.open > 0);
        all || it.ready != Some(true) || open
    })
}

fn ready(object: &Object) -> Cell {
    match object.ready {
        _ if object.disabled => Cell::new(Tone::Dim, "switched off"),
        Some(true) => Cell::new(Tone::Good, "yes"),
        Some(false) => Cell::new(Tone::Bad, object.reason.as_str()),
        None => Cell::new(Tone::Warn, "not judged"),
    }
}

fn sidecars(object: &Object) -> Cell {
    match (object.selected, object.behind) {
        (0, _) => Cell::new(Tone::Dim, "none"),
        (selected, 0) => format!("{}/{selected} current", object.current).into(),
        (selected, behind) => Cell::new(
            Tone::Bad,
            format!("{}/{selected} current, {behind} behind", object.current),
        ),
    }
}

fn circuits(object: &Object) -> Cell {
    let it = object.circuits.unwrap_or_default();
    let word = |number: u32, what: &str| (number > 0).then(|| format!("{number} {what}"));
    let words = [
        word(it.open, "open"),
        word(it.half_open, "half open"),
        word(it.closed, "closed"),
    ];
    let text = words.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let tone = match (it.open, it.half_open) {
        (0, 0) => Tone::Plain,
        (0, _) => Tone::Warn,
        _ => Tone::Bad,
    };
    Cell::new(tone, text)
}

/// One column more where any object has an objective that was measured.
fn with_budget(objects: &[Object]) -> Option<&'static str> {
    let any = objects.iter().any(|object| object.budgets().next().is_some());
    any.then_some("ERROR BUDGET")
}

fn budgets(object: &Object) -> Cell {
    let left: Vec<(&str, i64)> = object.budgets().collect();
    let tone = match left.iter().map(|(_, percent)| *percent).min() {
        Some(..=0) => Tone::Bad,
        Some(..=25) => Tone::Warn,
        _ => Tone::Plain,
    };
    let words: Vec<String> = left
        .iter()
        .map(|(name, percent)| format!("{name} {percent}%"))
        .collect();
    Cell::new(tone, words.join(", "))
}

/// Budgets that pods spend together: those of which most is spent first.
fn money(namespace: &Namespace, paint: Paint) -> String {
    let mut all: Vec<(&str, &Money)> = Vec::new();
    for policy in &namespace.policies {
        all.extend(policy.budgets.iter().map(|budget| (policy.name.as_str(), budget)));
    }
    all.sort_by_key(|(_, budget)| std::cmp::Reverse(budget.status.spent_percent));
    let columns = [
        "BUDGET",
        "OF",
        "SPENT",
        "LEFT",
        "USD",
        "WINDOW ENDS",
        "WITHOUT OPERATOR",
    ];
    let mut table = Table::new(columns).indented(2);
    for (
        policy,
        Money {
            status,
            without_operator,
        },
    ) in all.iter().take(OBJECTS)
    {
        let tone = match status.spent_percent {
            95.. => Tone::Bad,
            80.. => Tone::Warn,
            _ => Tone::Plain,
        };
        let of = if status.of.is_empty() {
            "all"
        } else {
            status.of.as_str()
        };
        let without = match without_operator {
            WithoutOperator::Continue => "continues",
            WithoutOperator::Stop => "stops",
        };
        table.row([
            format!("{policy}/{}", status.name).into(),
            printable(of).into(),
            Cell::new(tone, format!("{} ({}%)", status.spent, status.spent_percent)),
            status.left.clone().into(),
            status.amount.clone().into(),
            status.window_ends.0.to_string().into(),
            without.into(),
        ]);
    }
    let mut text = table.render(paint);
    if let Some(more @ 1..) = all.len().checked_sub(OBJECTS) {
        let _ = writeln!(text, "  and {more} budgets more (-o json has all)");
    }
    text
}

/// Pods that run away: those with the most repeats first.
fn runaways(namespace: &Namespace, paint: Paint) -> String {
    let (mut all, mut pods): (Vec<(&str, &RunawayPod)>, usize) = (Vec::new(), 0);
    for policy in &namespace.policies {
        if let Some(runaway) = &policy.runaway {
            pods += runaway.pods as usize;
            all.extend(runaway.worst.iter().map(|one| (policy.name.as_str(), one)));
        }
    }
    all.sort_by_key(|(_, one)| std::cmp::Reverse(one.repeats));
    let mut table = Table::new(["RUNAWAY POD", "POLICY", "REPEATS", "SINCE", "REQUESTS"]).indented(2);
    for (policy, one) in all.iter().take(OBJECTS) {
        let (tone, are) = if one.stops {
            (Tone::Bad, "refused")
        } else {
            (Tone::Warn, "pass")
        };
        table.row([
            printable(&one.pod).into(),
            (*policy).into(),
            one.repeats.to_string().into(),
            one.since.0.to_string().into(),
            Cell::new(tone, are),
        ]);
    }
    let mut text = table.render(paint);
    if let Some(more @ 1..) = pods.checked_sub(all.len().min(OBJECTS)) {
        let _ = writeln!(text, "  and {more} runaway pods more");
    }
    text
}

fn todo(judged: &Judged, wide: bool, paint: Paint) -> String {
    const SHOWN: usize = 8;
    if judged.advice.is_empty() {
        return String::new();
    }
    let shown = if wide { judged.advice.len() } else { SHOWN };
    let mut text = format!("\n{}\n", paint.paint(Tone::Bold, "What to do"));
    for (index, advice) in judged.advice.iter().take(shown).enumerate() {
        let tone = if advice.broken { Tone::Bad } else { Tone::Warn };
        let place = if advice.place == SYSTEM {
            "the operator"
        } else {
            advice.place.as_str()
        };
        let problem = printable(&advice.problem).replace('\n', "\n     ");
        let _ = writeln!(text, "  {}. {}: {problem}", index + 1, paint.paint(tone, place));
        let _ = writeln!(text, "     -> {}", printable(&advice.remedy));
    }
    if judged.advice.len() > shown {
        let _ = writeln!(text, "  and {} more (-o wide shows all)", judged.advice.len() - shown);
    }
    text
}
