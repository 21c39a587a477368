//! A report as one page of HTML that can be mailed: no script, nothing that is loaded from elsewhere, light or dark as the reader has
//! it. Every text is escaped, since pods make up names. Pure.

use std::fmt::Write as _;

use crate::output::{Table, Tone};

/// Bars of one picture; the table below has the others.
const MOST_BARS: usize = 20;
/// Of a picture, in its own units: where bars begin, how long the longest is, and how high a row.
const LABEL: usize = 260;
const LONGEST: f64 = 420.0;
const ROW: usize = 22;

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c2127;--dim:#5c6773;--line:#d6dbe1;--back:#fff;--bar:#2f6fb2;--warn:#8a5a00;--bad:#b3261e;--good:#1d7a3c}\
@media(prefers-color-scheme:dark){:root{--text:#e4e8ec;--dim:#9aa5b1;--line:#3a424b;--back:#16191d;--bar:#6aa5e0;--warn:#e0b050;--bad:#f2877f;--good:#6fcf8e}}\
body{font:14px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);margin:2em auto;max-width:76em;padding:0 1em}\
h2{font-size:1.25em;margin:1.6em 0 .5em}p{margin:.3em 0}\
div{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.25em .9em .25em 0;border-bottom:1px solid var(--line);white-space:nowrap}\
th{font-size:.8em;color:var(--dim)}svg{max-width:100%;height:auto;font-size:13px}svg text{fill:var(--text)}rect{fill:var(--bar)}\
.dim{color:var(--dim)}.warn{color:var(--warn)}.bad{color:var(--bad)}.good{color:var(--good)}";

/// A bar: whose it is, how long beside the others, and what is written at its end.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub label: String,
    pub value: f64,
    pub told: String,
}

/// A page of these parts.
pub(super) fn document(title: &str, parts: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{parts}</body>\n</html>\n",
        escaped(title)
    )
}

/// The first line of what follows.
pub(super) fn head(text: &str) -> String {
    format!("<h2>{}</h2>\n", escaped(text))
}

/// What has to be known.
pub(super) fn note(tone: Tone, text: &str) -> String {
    format!("<p{}>{}</p>\n", class(tone), escaped(text))
}

/// A table.
pub(super) fn table(table: &Table) -> String {
    let line = |cells: &mut dyn Iterator<Item = (Tone, &str)>, word: &str| {
        let mut row = "<tr>".to_owned();
        for (tone, text) in cells {
            let _ = write!(row, "<{word}{}>{}</{word}>", class(tone), escaped(text));
        }
        row + "</tr>\n"
    };
    let heads = line(&mut table.heads(), "th");
    let rows: String = table.lines().map(|mut cells| line(&mut cells, "td")).collect();
    format!("<div><table>\n<thead>\n{heads}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

/// Bars beside one another, the longest as long as there is room; nothing where none has a length.
pub(super) fn bars(bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    if longest <= 0.0 || !longest.is_finite() {
        return String::new();
    }
    let shown = bars.iter().take(MOST_BARS);
    let (width, height) = (LABEL + 560, shown.len() * ROW);
    let mut svg =
        format!("<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n");
    for (index, bar) in shown.enumerate() {
        let (top, text) = (index * ROW, index * ROW + 15);
        let length = (bar.value.max(0.0) / longest * LONGEST).max(1.0);
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"{text}\">{}</text><rect x=\"{LABEL}\" y=\"{}\" width=\"{length:.1}\" height=\"14\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{}</text>",
            escaped(&cut(&bar.label)),
            top + 4,
            LABEL as f64 + length + 8.0,
            escaped(&bar.told)
        );
    }
    svg + "</svg>\n"
}

/// As much of a label as there is room for.
fn cut(label: &str) -> String {
    match label.char_indices().nth(34) {
        Some((at, _)) => format!("{}...", label.get(..at).unwrap_or_default()),
        None => label.to_owned(),
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Dim => " class=\"dim\"",
        Tone::Warn => " class=\"warn\"",
        Tone::Bad => " class=\"bad\"",
        Tone::Good => " class=\"good\"",
        Tone::Plain | Tone::Bold => "",
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
