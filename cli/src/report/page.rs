//! A report as paragraphs and tables, for a terminal, as Markdown or as HTML. Pure.

use super::html::{self, Bar};
use crate::output::{Paint, Table, Tone, markdown};

/// What stands below one another.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// The first line of what follows.
    Head(String),
    Table(Table),
    /// A picture, for HTML alone.
    Bars(Vec<Bar>),
    /// What has to be known beside it.
    Note(Tone, String),
}

impl Page {
    /// Begins a part.
    pub(super) fn head(&mut self, text: impl Into<String>) {
        self.0.push(Part::Head(text.into()));
    }

    /// A table; none where it has no row.
    pub(super) fn table(&mut self, table: Table) {
        if !table.is_empty() {
            self.0.push(Part::Table(table));
        }
    }

    /// Bars that show a column of the table which follows, where there is room for a picture.
    pub(super) fn bars(&mut self, bars: impl IntoIterator<Item = Bar>) {
        self.0.push(Part::Bars(bars.into_iter().collect()));
    }

    /// What has to be known beside it.
    pub(super) fn note(&mut self, tone: Tone, text: impl Into<String>) {
        self.0.push(Part::Note(tone, text.into()));
    }

    /// For a terminal.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let mut before: Option<&Part> = None;
        for part in self.0.iter().filter(|part| !matches!(part, Part::Bars(_))) {
            let follows_note = matches!((before, part), (Some(Part::Note(..)), Part::Note(..)));
            if before.is_some() && !follows_note {
                text.push('\n');
            }
            before = Some(part);
            match part {
                Part::Head(head) => text.push_str(&(paint.paint(Tone::Bold, head) + "\n")),
                Part::Table(table) => text.push_str(&table.render(paint)),
                Part::Note(tone, note) => text.push_str(&(paint.paint(*tone, note) + "\n")),
                Part::Bars(_) => {}
            }
        }
        text
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let part = |part: &Part| match part {
            Part::Head(head) => Some(format!("## {}\n", markdown(head))),
            Part::Table(table) => Some(table.markdown()),
            Part::Note(_, note) => Some(format!("{}\n", markdown(note))),
            Part::Bars(_) => None,
        };
        let parts: Vec<_> = self.0.iter().filter_map(part).collect();
        parts.join("\n")
    }

    /// As one file of HTML that needs no other.
    pub(super) fn html(&self, title: &str) -> String {
        let part = |part: &Part| match part {
            Part::Head(head) => html::head(head),
            Part::Table(table) => html::table(table),
            Part::Note(tone, note) => html::note(*tone, note),
            Part::Bars(bars) => html::bars(bars),
        };
        html::document(title, &self.0.iter().map(part).collect::<String>())
    }
}
