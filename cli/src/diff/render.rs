//! `diff` for people. Pure.

use std::fmt::Write as _;

use super::compare::Difference;
use crate::output::{Paint, Tone, count, few};

/// The whole screen.
pub(super) fn screen(difference: &Difference, paint: Paint) -> String {
    let mut text = String::new();
    for it in &difference.objects {
        let name = paint.paint(Tone::Bold, &it.object);
        let namespace = &it.namespace;
        if it.changes.is_empty() {
            let _ = writeln!(text, "{name}: as it is live in namespace {namespace}");
            continue;
        }
        let what = if it.new { "is new in" } else { "differs in" };
        let reach = match it.sidecars {
            0 => "no running sidecar uses it".to_owned(),
            some => format!(
                "{} would load it within a second, without a restart",
                count(some, "running sidecar")
            ),
        };
        let _ = writeln!(text, "{name}: {what} namespace {namespace}; {reach}");
        for change in &it.changes {
            if let Some(live) = &change.live {
                let line = format!("- {}: {live}", change.path);
                let _ = writeln!(text, "  {}", paint.paint(Tone::Bad, &line));
            }
            if let Some(file) = &change.file {
                let line = format!("+ {}: {file}", change.path);
                let _ = writeln!(text, "  {}", paint.paint(Tone::Good, &line));
            }
        }
        for (key, pods) in &it.restart {
            let _ = writeln!(
                text,
                "  {} {} cannot read {key} until started anew: {}",
                paint.paint(Tone::Warn, "!"),
                count(pods.len(), "pod"),
                few(pods.iter().map(String::as_str))
            );
        }
    }
    for (title, tone, lines) in [
        ("Wrong", Tone::Bad, &difference.problems),
        ("Worth a look", Tone::Warn, &difference.advice),
    ] {
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{}", paint.paint(tone, title));
        for line in lines {
            let _ = writeln!(text, "  {}", paint.paint(Tone::Plain, line));
        }
    }
    text
}
