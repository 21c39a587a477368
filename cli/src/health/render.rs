//! `health` for people. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Seen;
use crate::fleet::{Health, Provider};
use crate::output::{Cell, Paint, Table, Tone, count, few};

/// More sidecars than these are not listed unless something is wrong with them.
const LISTED: usize = 40;

/// What is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct What {
    /// A pod was named.
    pub(super) one_pod: bool,
    /// A provider was named.
    pub(super) one_provider: bool,
    /// Namespaces must be told apart.
    pub(super) all_namespaces: bool,
    /// Everything.
    pub(super) wide: bool,
}

/// The whole screen.
pub(super) fn screen(seen: &[Seen], what: What, paint: Paint) -> String {
    let ok = seen.iter().filter(|it| status(it) == "ok").count();
    let tone = if ok == seen.len() { Tone::Good } else { Tone::Bad };
    let summary = format!("{ok} of {} ok.", count(seen.len(), "sidecar"));
    let mut text = format!("{}\n\n", paint.paint(tone, &summary));
    text.push_str(&sidecars(seen, what, paint));
    let by_pod = what.one_pod || what.one_provider;
    let providers = if by_pod { each(seen, what) } else { together(seen) };
    if !providers.is_empty() {
        let _ = write!(text, "\n{}", providers.render(paint));
    }
    text.push_str(&problems(seen, paint));
    text
}

fn status(seen: &Seen) -> &str {
    seen.health
        .as_ref()
        .map_or("no answer", |health| health.status.as_str())
}

fn toned(status: &str) -> Cell {
    let tone = match status {
        "ok" => Tone::Good,
        "degraded" | "draining" | "no headroom" => Tone::Warn,
        _ => Tone::Bad,
    };
    Cell::new(tone, status)
}

fn sidecars(seen: &[Seen], what: What, paint: Paint) -> String {
    let mut heads = vec![
        "POD",
        "STATUS",
        "CONFIG",
        "AGE",
        "SOURCE",
        "STREAM",
        "PROVIDERS",
        "OPEN",
        "IN FLIGHT",
    ];
    if what.all_namespaces {
        heads.insert(0, "NAMESPACE");
    }
    if what.wide {
        heads.extend(["REVISION", "VERSION", "UPTIME"]);
    }
    let mut table = Table::new(heads);
    let listed = |it: &&Seen| what.wide || seen.len() <= LISTED || status(it) != "ok";
    for it in seen.iter().filter(listed) {
        let empty = Health::default();
        let health = it.health.as_ref().unwrap_or(&empty);
        let well = health.providers.iter().filter(|it| it.status == "ok").count();
        let open: usize = health.providers.iter().map(open).sum();
        let answered = it.health.is_some();
        let of = |text: String| Cell::from(if answered { text } else { String::new() });
        let mut row = vec![
            it.pod.clone().into(),
            toned(status(it)),
            of(if health.config.loaded {
                health.config.sequence.to_string()
            } else {
                "none".into()
            }),
            of(health.config.age_seconds.map(age).unwrap_or_default()),
            of(health.config.source.clone().unwrap_or_default()),
            stream(health),
            of(format!("{well}/{} ok", health.providers.len())),
            of(open.to_string()),
            of(health.in_flight.to_string()),
        ];
        if what.all_namespaces {
            row.insert(0, it.namespace.clone().into());
        }
        if what.wide {
            row.extend([
                of(health.config.revision.clone()),
                of(health.version.clone()),
                of(age(health.uptime_seconds)),
            ]);
        }
        table.row(row);
    }
    let mut text = table.render(paint);
    let left_out = seen.len() - seen.iter().filter(listed).count();
    if left_out > 0 {
        let _ = writeln!(text, "and {left_out} more, all ok (-o wide shows all)");
    }
    text
}

fn stream(health: &Health) -> Cell {
    match &health.stream {
        None => Cell::from(""),
        Some(stream) if stream.connected => Cell::new(Tone::Good, "connected"),
        Some(_) => Cell::new(Tone::Warn, "down"),
    }
}

fn open(provider: &Provider) -> usize {
    provider.models.iter().filter(|it| it.breaker == "open").count()
}

/// Breakers that are not closed, in words.
fn breakers(provider: &Provider) -> String {
    let not_closed = provider.models.iter().filter(|it| it.breaker != "closed");
    let words: Vec<String> = not_closed
        .map(|it| {
            let probe = it
                .retry_in_seconds
                .map(|wait| format!(", probes in {wait:.0} s"))
                .unwrap_or_default();
            format!("{} {}{probe}", it.name, it.breaker.replace('_', " "))
        })
        .collect();
    match (words.is_empty(), provider.models.len()) {
        (true, 0) => "not asked yet".to_owned(),
        (true, _) => "closed".to_owned(),
        (false, _) => words.join("; "),
    }
}

/// The providers of each pod.
fn each(seen: &[Seen], what: What) -> Table {
    let mut heads = vec!["PROVIDER", "STATUS", "BREAKER", "KEYS", "RETRIES LEFT", "IN FLIGHT"];
    if !what.one_pod {
        heads.insert(0, "POD");
    }
    let mut table = Table::new(heads);
    for it in seen {
        for provider in it.health.iter().flat_map(|health| &health.providers) {
            let mut row = vec![
                provider.name.clone().into(),
                toned(&provider.status),
                breakers(provider).into(),
                keys(provider.keys_usable, provider.keys_configured),
                provider.retries_left.to_string().into(),
                provider.in_flight.to_string().into(),
            ];
            if !what.one_pod {
                row.insert(0, it.pod.clone().into());
            }
            table.row(row);
        }
    }
    table
}

fn keys(usable: u32, configured: u32) -> Cell {
    let tone = match usable {
        0 if configured > 0 => Tone::Bad,
        usable if usable < configured => Tone::Warn,
        _ => Tone::Plain,
    };
    let text = if configured == 0 {
        "none needed".to_owned()
    } else {
        format!("{usable}/{configured}")
    };
    Cell::new(tone, text)
}

/// The providers over all pods.
fn together(seen: &[Seen]) -> Table {
    let mut by_name: BTreeMap<&str, Vec<&Provider>> = BTreeMap::new();
    for provider in seen
        .iter()
        .filter_map(|it| it.health.as_ref())
        .flat_map(|health| &health.providers)
    {
        by_name.entry(&provider.name).or_default().push(provider);
    }
    let mut table = Table::new([
        "PROVIDER",
        "OK AT",
        "WHY NOT",
        "OPEN",
        "KEYS",
        "RETRIES LEFT",
        "IN FLIGHT",
    ]);
    for (name, all) in by_name {
        let ok = all.iter().filter(|it| it.status == "ok").count();
        let mut why: Vec<&str> = all
            .iter()
            .map(|it| it.status.as_str())
            .filter(|it| *it != "ok")
            .collect();
        why.sort_unstable();
        why.dedup();
        let tone = if ok == all.len() { Tone::Good } else { Tone::Bad };
        let open: usize = all.iter().map(|it| open(it)).sum();
        // The worst of them: an average hides the one that is about to fail.
        let worst = all.iter().min_by_key(|it| it.keys_usable);
        let least = all.iter().map(|it| it.retries_left).min().unwrap_or_default();
        let most = all.iter().map(|it| it.retries_left).max().unwrap_or_default();
        let retries = if least == most {
            least.to_string()
        } else {
            format!("{least}..{most}")
        };
        let in_flight: u64 = all.iter().map(|it| it.in_flight).sum();
        table.row([
            name.into(),
            Cell::new(tone, format!("{ok}/{}", all.len())),
            Cell::new(Tone::Bad, why.join(", ")),
            open.to_string().into(),
            worst.map_or(Cell::from(""), |it| keys(it.keys_usable, it.keys_configured)),
            retries.into(),
            in_flight.to_string().into(),
        ]);
    }
    table
}

/// What the sidecars complain of, each thing once with the pods that say so.
fn problems(seen: &[Seen], paint: Paint) -> String {
    let mut said: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for it in seen {
        let mut say = |what: String| said.entry(what).or_default().push(&it.pod);
        if let Some(why) = &it.silent {
            say(format!("no answer: {why}"));
        }
        let Some(health) = &it.health else { continue };
        if let Some(error) = &health.config.last_error {
            say(format!("a newer config is not in service: {error}"));
        }
        let down = health.stream.as_ref().filter(|stream| !stream.connected);
        if let Some(problem) = down.and_then(|stream| stream.problem.as_ref()) {
            say(format!(
                "no stream to the operator, changes come by the mount: {problem}"
            ));
        }
        for problem in health.ledger.iter().flat_map(|ledger| &ledger.problems) {
            say(format!("ledger: {problem}"));
        }
        for provider in &health.providers {
            for problem in &provider.key_problems {
                say(format!("{}: key {problem}", provider.name));
            }
            if let Some(problem) = &provider.problem {
                say(format!("{}: {problem}", provider.name));
            }
        }
        for service in &health.guard_services {
            let guard = format!("guard {} of {}", service.name, service.of);
            if service.breaker != "closed" {
                say(format!(
                    "{guard}: its service does not answer, and is tried again by one request at a time"
                ));
            }
            if let Some(problem) = &service.problem {
                say(format!("{guard}: {problem}"));
            }
        }
    }
    if said.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", paint.paint(Tone::Bold, "Problems"));
    for (what, pods) in said {
        let what = paint.paint(Tone::Plain, &what).replace('\n', "\n    ");
        let _ = writeln!(text, "  {what}\n    at {}", few(pods));
    }
    text
}

/// Seconds as people say them.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
