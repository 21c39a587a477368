//! The matrix as people read it.

use std::time::Duration;

use crate::runner::{Ran, Verdict};

const HEADINGS: [&str; 5] = ["row", "fault", "promise", "figure (its line)", "verdict"];

/// Prints the table and the sums.
pub fn print(results: &[Ran], full: bool, took: Duration) {
    let mut rows: Vec<[String; 5]> = results.iter().map(cells).collect();
    // A fault is named once, at its first promise.
    for index in (1..rows.len()).rev() {
        if rows[index][0] == rows[index - 1][0] {
            rows[index][0].clear();
            rows[index][1].clear();
        }
    }
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    println!();
    println!("{}", line(&HEADINGS.map(str::to_owned), &widths));
    println!("{}", line(&widths.map(|width| "-".repeat(width)), &widths));
    for row in &rows {
        println!("{}", line(row, &widths));
    }
    let count = |wanted: fn(&Verdict) -> bool| results.iter().filter(|ran| wanted(&ran.verdict)).count();
    let passed = count(|verdict| *verdict == Verdict::Held);
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let not_run = count(|verdict| matches!(verdict, Verdict::NotRun(_)));
    println!();
    if !full {
        println!("Short form: times are reported, not judged. `make faults` judges them.");
    }
    let known = results
        .iter()
        .filter(|ran| matches!(ran.verdict, Verdict::Failed(_)) && ran.promise.known.is_some());
    for ran in known {
        println!(
            "known: {}: {}",
            ran.promise.full_name(),
            ran.promise.known.unwrap_or_default()
        );
    }
    for ran in results
        .iter()
        .filter(|ran| ran.promise.known.is_some() && ran.verdict == Verdict::Held)
    {
        println!("{} holds now: take its mark `known` away", ran.promise.full_name());
    }
    let not_run = if not_run > 0 {
        format!(", {not_run} not run")
    } else {
        String::new()
    };
    println!("{passed} passed, {failed} failed{not_run}; {:.0} s", took.as_secs_f64());
}

fn cells(ran: &Ran) -> [String; 5] {
    let figures: Vec<String> = ran.figures.iter().map(ToString::to_string).collect();
    let verdict = match &ran.verdict {
        Verdict::Held => "pass".into(),
        Verdict::Failed(_) if ran.promise.known.is_some() => "FAIL (known)".into(),
        Verdict::Failed(_) => "FAIL".into(),
        Verdict::NotRun(why) => format!("not run: {why}"),
    };
    [
        ran.promise.row.to_string(),
        ran.promise.fault.to_owned(),
        ran.promise.name.replace('_', " "),
        figures.join("; "),
        verdict,
    ]
}

fn line(cells: &[String; 5], widths: &[usize; 5]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    format!("| {} |", padded.join(" | "))
}
