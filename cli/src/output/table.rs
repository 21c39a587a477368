//! Columns as wide as what is in them.

use super::{Paint, Tone, printable};

/// Between two columns, as kubectl has it.
const GAP: usize = 3;

/// A word of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A word in its tone.
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            text: printable(&text.into()).replace('\n', " "),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    heads: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// An empty table with these heads.
    pub(crate) fn new<'a>(heads: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            heads: heads.into_iter().map(|head| Cell::new(Tone::Dim, head)).collect(),
            ..Self::default()
        }
    }

    /// With so many spaces before each line.
    pub(crate) fn indented(mut self, spaces: usize) -> Self {
        self.indent = spaces;
        self
    }

    /// One more row; a cell of it that is empty shows as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let dash = |cell: Cell| {
            if cell.text.is_empty() {
                Cell::new(Tone::Dim, "-")
            } else {
                cell
            }
        };
        self.rows.push(cells.into_iter().map(dash).collect());
    }

    /// Whether it has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text; nothing where it has no row.
    pub(crate) fn render(&self, paint: Paint) -> String {
        if self.is_empty() {
            return String::new();
        }
        let lines = || std::iter::once(&self.heads).chain(&self.rows);
        let mut widths = vec![0; self.heads.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines() {
            let mut rendered = " ".repeat(self.indent);
            let mut owed = 0;
            for (cell, width) in line.iter().zip(&widths) {
                rendered.push_str(&" ".repeat(owed));
                rendered.push_str(&paint.paint(cell.tone, &cell.text));
                // Owed and not paid: no line ends in spaces.
                owed = width - cell.text.chars().count() + GAP;
            }
            text.push_str(&rendered);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour_and_no_line_ends_in_spaces() {
        let mut table = Table::new(["NAME", "STATE", "WHY"]).indented(2);
        table.row(["claude".into(), Cell::new(Tone::Good, "ok"), "".into()]);
        table.row(["größe".into(), Cell::new(Tone::Bad, "broken"), "a\nb".into()]);
        insta::assert_snapshot!(table.render(Paint(false)), @r"
        NAME     STATE    WHY
        claude   ok       -
        größe    broken   a b
        ");
        assert!(
            table
                .render(Paint(true))
                .contains("\u{1b}[32mok\u{1b}[0m       \u{1b}[2m-")
        );
        assert_eq!(Table::new(["NAME"]).render(Paint(false)), "");
    }
}
