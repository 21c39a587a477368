//! What a verb gives back, and on what it is shown: text and verdict, colour or none, tables, or the same as data.

pub(crate) mod csv;
mod table;
pub(crate) mod units;

use std::io::IsTerminal as _;
use std::ops::RangeInclusive;

use bowsprit_crds::yaml;
use serde::Serialize;

pub(crate) use table::{Cell, Table, markdown};

use crate::args::{Format, RowFormat};
use crate::failure::Failure;

/// What a verb found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// For standard output.
    pub(crate) text: String,
    /// Whether what it looked for is well: exit code 0 or 1.
    pub(crate) well: bool,
}

impl Report {
    /// A value as people or programs want it.
    pub(crate) fn new(
        format: Format,
        value: &impl Serialize,
        well: bool,
        for_people: impl FnOnce() -> String,
    ) -> Result<Self, Failure> {
        let unwritten = |error: &dyn std::fmt::Display| Failure::Wrong(format!("cannot write the output: {error}"));
        let text = match format {
            Format::Table | Format::Wide => for_people(),
            Format::Json => serde_json::to_string_pretty(value).map_err(|error| unwritten(&error))? + "\n",
            Format::Yaml => {
                let value = serde_json::to_value(value).map_err(|error| unwritten(&error))?;
                yaml::stream(&[value]).map_err(|error| unwritten(&error))?
            }
        };
        Ok(Self { text, well })
    }

    /// The same for what is rows, which may also come as CSV.
    pub(crate) fn rows(
        format: RowFormat,
        value: &impl Serialize,
        for_people: impl FnOnce(bool) -> String,
        as_csv: impl FnOnce() -> String,
    ) -> Result<Self, Failure> {
        let well = true;
        match format {
            RowFormat::Table => Self::new(Format::Table, value, well, || for_people(false)),
            RowFormat::Wide => Self::new(Format::Wide, value, well, || for_people(true)),
            RowFormat::Json => Self::new(Format::Json, value, well, String::new),
            RowFormat::Yaml => Self::new(Format::Yaml, value, well, String::new),
            RowFormat::Csv => Ok(Self { text: as_csv(), well }),
        }
    }
}

/// Where it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// How standard output is written.
    pub(crate) paint: Paint,
    /// Whether somebody watches standard error.
    pub(crate) watched: bool,
    /// Whether standard output is a terminal on which text may be written over.
    pub(crate) live: bool,
}

impl Screen {
    /// As the terminal, `NO_COLOR` (no-color.org: any value but an empty one) and `--no-color` have it.
    pub(crate) fn new(no_color: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = no_color || dumb || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        Self {
            paint: Paint(!plain && terminal),
            watched: std::io::stderr().is_terminal(),
            live: terminal && !dumb,
        }
    }
}

/// Whether there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

/// What a word is, which decides its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing of note.
    #[default]
    Plain,
    /// Well.
    Good,
    /// Works, but look at it.
    Warn,
    /// Broken.
    Bad,
    /// Of little weight.
    Dim,
    /// A heading.
    Bold,
}

impl Paint {
    /// The text in its tone. What comes from the cluster may hold anything: control characters never reach a terminal.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let text = printable(text);
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Bold => "1",
            Tone::Plain => return text,
        };
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text
        }
    }
}

/// Text without control characters, but for the line's end, and without those that turn the direction of what follows.
pub(crate) fn printable(text: &str) -> String {
    let steers = |char: char| (char.is_control() && char != '\n') || TURNS.iter().any(|turns| turns.contains(&char));
    text.chars().map(|char| if steers(char) { ' ' } else { char }).collect()
}

/// Unicode's marks of direction, and its ends of line and paragraph: with them a name reads as another.
const TURNS: [RangeInclusive<char>; 4] = [
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2066}'..='\u{2069}',
    '\u{61c}'..='\u{61c}',
];

/// A name that fits a column: what is longer ends in `…`.
pub(crate) fn short(name: &str) -> String {
    const LONGEST: usize = 40;
    match name.char_indices().nth(LONGEST) {
        Some(_) => name.chars().take(LONGEST - 1).chain(['…']).collect(),
        None => name.to_owned(),
    }
}

/// A count with its noun: `1 pod`, `2 pods`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The first few, and how many more there are: `a, b, c and 4 more`.
pub(crate) fn few<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = names.into_iter().collect();
    match names.get(..SHOWN) {
        Some(shown) if names.len() > SHOWN => format!("{} and {} more", shown.join(", "), names.len() - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_says_cannot_steer_a_terminal() {
        let evil = "name\u{1b}]0;owned\u{7}\r\n";
        assert_eq!(Paint(false).paint(Tone::Plain, evil), "name ]0;owned  \n");
        assert_eq!(Paint(true).paint(Tone::Bad, "x\u{9b}1m"), "\u{1b}[31mx 1m\u{1b}[0m");
        assert_eq!(printable("gpt\u{202e}5\u{2028}x"), "gpt 5 x");
        assert_eq!(short(&"é".repeat(41)), format!("{}…", "é".repeat(39)));
    }

    #[test]
    fn the_same_value_comes_as_data() {
        let value = serde_json::json!({"a": [1]});
        let as_data = |format| Report::new(format, &value, true, String::new).unwrap().text;
        assert_eq!(as_data(Format::Json), "{\n  \"a\": [\n    1\n  ]\n}\n");
        assert!(as_data(Format::Yaml).contains("a:\n- 1\n"));
    }

    #[test]
    fn lists_stay_short_and_counts_have_their_noun() {
        assert_eq!(few(["a", "b", "c"]), "a, b, c");
        assert_eq!(few(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
        assert_eq!((count(1, "pod"), count(0, "pod")), ("1 pod".into(), "0 pods".into()));
    }
}
