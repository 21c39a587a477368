//! `circuit` for people. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::{Reset, What};
use crate::health::Seen;
use crate::output::{Cell, Paint, Table, Tone, count, few};

/// The breakers of all sidecars.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lines {
    /// By provider and model.
    pub(super) circuits: Vec<Line>,
    /// Pods that did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) silent: Vec<String>,
}

/// The breakers of one provider and model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) namespace: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) closed: u32,
    pub(super) open: u32,
    pub(super) half_open: u32,
    /// Seconds to the next probe of any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_probe_seconds: Option<f64>,
    /// Where it is not closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pods: Vec<String>,
}

/// Sums up. A provider that was asked nothing yet has a line without a model.
pub(super) fn lines(seen: &[Seen], provider: Option<&str>) -> Lines {
    let mut by_key: BTreeMap<(&str, &str, &str), Line> = BTreeMap::new();
    for it in seen {
        let providers = it.health.iter().flat_map(|health| &health.providers);
        for of in providers.filter(|it| provider.is_none_or(|wanted| it.name == wanted)) {
            let key = |model| (it.namespace.as_str(), of.name.as_str(), model);
            if of.models.is_empty() {
                by_key.entry(key("")).or_default();
            }
            for model in &of.models {
                let line = by_key.entry(key(model.name.as_str())).or_default();
                match model.breaker.as_str() {
                    "closed" => {
                        line.closed += 1;
                        continue;
                    }
                    "open" => line.open += 1,
                    _ => line.half_open += 1,
                }
                line.pods.push(it.pod.clone());
                line.next_probe_seconds = match (line.next_probe_seconds, model.retry_in_seconds) {
                    (Some(known), Some(next)) => Some(f64::min(known, next)),
                    (known, next) => known.or(next),
                };
            }
        }
    }
    // A provider that some sidecars were asked for has lines of its own.
    let asked: BTreeSet<(String, String)> = by_key
        .keys()
        .filter(|(_, _, model)| !model.is_empty())
        .map(|(namespace, provider, _)| ((*namespace).to_owned(), (*provider).to_owned()))
        .collect();
    let circuits = by_key
        .into_iter()
        .filter(|((namespace, provider, model), _)| {
            !model.is_empty() || !asked.contains(&((*namespace).to_owned(), (*provider).to_owned()))
        })
        .map(|((namespace, provider, model), line)| Line {
            namespace: namespace.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            ..line
        });
    Lines {
        circuits: circuits.collect(),
        silent: seen
            .iter()
            .filter(|it| it.health.is_none())
            .map(|it| it.pod.clone())
            .collect(),
    }
}

/// The table.
pub(super) fn status(lines: &Lines, paint: Paint) -> String {
    let mut table = Table::new([
        "NAMESPACE",
        "PROVIDER",
        "MODEL",
        "CLOSED",
        "OPEN",
        "HALF OPEN",
        "NEXT PROBE",
        "NOT CLOSED AT",
    ]);
    for it in &lines.circuits {
        let toned = |tone, number: u32| Cell::new(if number > 0 { tone } else { Tone::Plain }, number.to_string());
        let probe = it
            .next_probe_seconds
            .map(|wait| format!("{wait:.0}s"))
            .unwrap_or_default();
        let model = if it.model.is_empty() {
            "not asked yet"
        } else {
            it.model.as_str()
        };
        table.row([
            it.namespace.clone().into(),
            it.provider.clone().into(),
            model.into(),
            it.closed.to_string().into(),
            toned(Tone::Bad, it.open),
            toned(Tone::Warn, it.half_open),
            probe.into(),
            few(it.pods.iter().map(String::as_str)).into(),
        ]);
    }
    let mut text = table.render(paint);
    if !lines.silent.is_empty() {
        let silent = few(lines.silent.iter().map(String::as_str));
        let _ = writeln!(text, "{} {silent}", paint.paint(Tone::Warn, "No answer from:"));
    }
    text
}

/// What a reset did.
pub(super) fn resets(resets: &[Reset], provider: Option<&str>, paint: Paint) -> String {
    let closed: u64 = resets
        .iter()
        .map(|it| {
            if let What::Closed { closed } = it.what {
                closed
            } else {
                0
            }
        })
        .sum();
    let did = resets
        .iter()
        .filter(|it| matches!(it.what, What::Closed { .. }))
        .count();
    let of = provider.map_or("all providers".to_owned(), ToOwned::to_owned);
    let circuits = count(usize::try_from(closed).unwrap_or(usize::MAX), "circuit");
    let mut text = format!("{circuits} of {of} closed, at {}.\n", count(did, "sidecar"));
    for it in resets {
        if let What::Closed { closed: closed @ 1.. } = it.what {
            let _ = writeln!(text, "  {}: {closed} closed", it.pod);
        }
    }
    let pods = |of: fn(&What) -> bool| few(resets.iter().filter(|it| of(&it.what)).map(|it| it.pod.as_str()));
    let elsewhere = pods(|what| matches!(what, What::NotThere { .. }));
    if !elsewhere.is_empty() {
        let _ = writeln!(text, "  not a provider of: {elsewhere}");
    }
    for it in resets {
        if let What::Failed { why } = &it.what {
            let _ = writeln!(
                text,
                "  {}: {}",
                paint.paint(Tone::Bad, &it.pod),
                paint.paint(Tone::Plain, why)
            );
        }
    }
    text
}

/// The providers that sidecars named.
pub(super) fn known(resets: &[Reset]) -> String {
    let names: BTreeSet<&str> = resets
        .iter()
        .filter_map(|it| match &it.what {
            What::NotThere { providers } => Some(providers),
            _ => None,
        })
        .flatten()
        .map(String::as_str)
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
