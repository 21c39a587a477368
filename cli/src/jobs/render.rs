//! `jobs` for people. Pure.

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;

use super::{Gone, Job, Listed, Shown};
use crate::output::{Cell, Paint, Table, Tone, count};

/// Leaves the newest `most` of all pods together.
pub(super) fn newest(all: &mut [Listed], most: usize) {
    let mut created: Vec<String> = all
        .iter()
        .flat_map(|it| it.jobs.iter().map(|job| job.created_at.clone()))
        .collect();
    created.sort_unstable_by(|a, b| b.cmp(a));
    // RFC 3339 of one zone: in the order of the letters. Those of the same second as the last one stay.
    let Some(last) = created.get(most.saturating_sub(1)).filter(|_| created.len() > most) else {
        return;
    };
    for it in all {
        let had = it.jobs.len();
        it.jobs.retain(|job| job.created_at >= *last);
        it.has_more |= it.jobs.len() < had;
    }
}

/// A line for each job, the newest first.
pub(super) fn list(all: &[Listed], is_wide: bool, now: i64, paint: Paint) -> String {
    let mut jobs: Vec<(&Listed, &Job)> = all
        .iter()
        .flat_map(|it| it.jobs.iter().map(move |job| (it, job)))
        .collect();
    jobs.sort_by(|(_, a), (_, b)| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
    let mut heads = vec!["JOB", "POD", "STATUS", "AGE", "TRIES", "NEXT TRY", "LAST", "SIZE"];
    if is_wide {
        heads.extend(["NAMESPACE", "PATH", "UNTIL"]);
    }
    let mut table = Table::new(heads);
    for (it, job) in &jobs {
        let mut cells: Vec<Cell> = vec![
            job.id.as_str().into(),
            it.at.pod.as_str().into(),
            Cell::new(tone(&job.status), job.status.as_str()),
            since(&job.created_at, now).into(),
            tries(job).into(),
            next(job, now).into(),
            last(job).into(),
            size(job.request_bytes.saturating_add(job.answer_bytes)).into(),
        ];
        if is_wide {
            cells.extend([
                it.at.namespace.as_str().into(),
                job.path.as_str().into(),
                job.deadline_at.as_str().into(),
            ]);
        }
        table.row(cells);
    }
    let mut text = if table.is_empty() {
        format!("No job at {}.\n", count(all.len(), "sidecar"))
    } else {
        table.render(paint)
    };
    let more = all.iter().filter(|it| it.has_more).count();
    if more > 0 {
        let _ = writeln!(text, "{} more: --number, --status or --pod", has_have(more));
    }
    for it in all {
        if let Some(why) = &it.silent {
            let _ = writeln!(text, "{} {}: {why}", paint.paint(Tone::Bad, "not told by"), it.at.pod);
        }
    }
    text
}

fn has_have(sidecars: usize) -> String {
    let verb = if sidecars == 1 { "has" } else { "have" };
    format!("{} {verb}", count(sidecars, "sidecar"))
}

/// One job.
pub(super) fn show(shown: &Shown, now: i64, paint: Paint) -> String {
    let Shown { at, job } = shown;
    let mut table = Table::new(["", ""]);
    let mut line = |name: &str, cell: Cell| table.row([Cell::new(Tone::Dim, name), cell]);
    line("job", job.id.as_str().into());
    line("pod", format!("{}/{}", at.namespace, at.pod).into());
    line("status", Cell::new(tone(&job.status), job.status.as_str()));
    line("path", job.path.as_str().into());
    line("tries", tries(job).into());
    line("last", last(job).into());
    line("next try", next(job, now).into());
    line(
        "taken in",
        format!("{} ({} ago)", job.created_at, since(&job.created_at, now)).into(),
    );
    line("tried until", job.deadline_at.as_str().into());
    line("kept until", job.expires_at.as_str().into());
    line("ended", job.ended_at.as_deref().unwrap_or_default().into());
    line("request", size(job.request_bytes).into());
    line(
        "answer",
        if job.answer_bytes == 0 {
            "".into()
        } else {
            size(job.answer_bytes).into()
        },
    );
    table.render_on(paint, &mut Vec::new(), false)
}

/// What was given up.
pub(super) fn gone(gone: &Gone) -> String {
    let (at, deletion) = (&gone.at, &gone.deletion);
    let what = if deletion.status == "cancelled" {
        "given up".to_owned()
    } else {
        format!("forgotten; it was {}", deletion.status)
    };
    format!("{} of {}/{} is {what}.\n", deletion.id, at.namespace, at.pod)
}

fn tone(status: &str) -> Tone {
    match status {
        "done" => Tone::Good,
        "failed" | "expired" => Tone::Bad,
        _ => Tone::Plain,
    }
}

fn tries(job: &Job) -> String {
    format!("{}/{}", job.attempts, job.max_attempts)
}

fn last(job: &Job) -> String {
    let Some(last) = &job.last else { return String::new() };
    match &last.code {
        Some(code) => format!("{} {code}", last.status),
        None => last.status.to_string(),
    }
}

fn next(job: &Job, now: i64) -> String {
    match job.next_attempt_at.as_deref().and_then(millis) {
        None => String::new(),
        Some(next) if next <= now => "now".into(),
        Some(next) => format!("in {}", length(next - now)),
    }
}

fn since(moment: &str, now: i64) -> String {
    millis(moment).map_or_else(String::new, |moment| length(now - moment))
}

fn millis(moment: &str) -> Option<i64> {
    Some(moment.parse::<Timestamp>().ok()?.as_millisecond())
}

/// As kubectl has ages: one unit, or two where the first is a small number.
fn length(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..MIB => format!("{} KiB", bytes >> 10),
        _ => format!("{}.{} MiB", bytes >> 20, (bytes % MIB) * 10 / MIB),
    }
}
