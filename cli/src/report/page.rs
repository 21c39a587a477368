//! A report as paragraphs and tables, for a terminal or as Markdown. Pure.

use crate::output::{Paint, Table, Tone, markdown};

/// What stands below one another.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// The first line of what follows.
    Head(String),
    Table(Table),
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

    /// What has to be known beside it.
    pub(super) fn note(&mut self, tone: Tone, text: impl Into<String>) {
        self.0.push(Part::Note(tone, text.into()));
    }

    /// For a terminal.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for (index, part) in self.0.iter().enumerate() {
            let follows_note = matches!(part, Part::Note(..))
                && matches!(
                    index.checked_sub(1).and_then(|before| self.0.get(before)),
                    Some(Part::Note(..))
                );
            if index > 0 && !follows_note {
                text.push('\n');
            }
            match part {
                Part::Head(head) => text.push_str(&(paint.paint(Tone::Bold, head) + "\n")),
                Part::Table(table) => text.push_str(&table.render(paint)),
                Part::Note(tone, note) => text.push_str(&(paint.paint(*tone, note) + "\n")),
            }
        }
        text
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let part = |part: &Part| match part {
            Part::Head(head) => format!("## {}\n", markdown(head)),
            Part::Table(table) => table.markdown(),
            Part::Note(_, note) => format!("{}\n", markdown(note)),
        };
        let parts: Vec<_> = self.0.iter().map(part).collect();
        parts.join("\n")
    }
}
