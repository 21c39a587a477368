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

    /// Its heads, each with its tone.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (Tone, &str)> {
        self.heads.iter().map(|cell| (cell.tone, cell.text.as_str()))
    }

    /// Its rows, each cell with its tone.
    pub(crate) fn lines(&self) -> impl Iterator<Item = impl Iterator<Item = (Tone, &str)>> {
        self.rows
            .iter()
            .map(|row| row.iter().map(|cell| (cell.tone, cell.text.as_str())))
    }

    /// As a table of Markdown, without colour; nothing where it has no row.
    pub(crate) fn markdown(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let line = |cells: &[Cell]| {
            let cells: Vec<_> = cells.iter().map(|cell| markdown(&cell.text)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = format!("|{}\n", "---|".repeat(self.heads.len()));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.heads) + &rule + &rows
    }

    /// As text; nothing where it has no row.
    pub(crate) fn render(&self, paint: Paint) -> String {
        if self.is_empty() {
            return String::new();
        }
        self.render_on(paint, &mut Vec::new(), true)
    }

    /// As text that goes on below a table whose columns were so wide: they do not become narrower.
    pub(crate) fn render_on(&self, paint: Paint, widths: &mut Vec<usize>, with_heads: bool) -> String {
        let lines = || with_heads.then_some(&self.heads).into_iter().chain(&self.rows);
        widths.resize(self.heads.len().max(widths.len()), 0);
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let mut text = String::new();
        for line in lines() {
            let mut rendered = " ".repeat(self.indent);
            let mut owed = 0;
            for (cell, width) in line.iter().zip(widths.iter()) {
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

/// Text that says in Markdown what it says here, whoever wrote it.
pub(crate) fn markdown(text: &str) -> String {
    const MEANT: [char; 9] = ['\\', '|', '`', '*', '_', '[', ']', '<', '>'];
    let escaped = |one: char| MEANT.contains(&one).then_some('\\').into_iter().chain([one]);
    text.chars().flat_map(escaped).collect()
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

    #[test]
    fn a_name_stays_one_cell_of_markdown_and_is_no_markup() {
        let mut table = Table::new(["NAME", "COUNT"]);
        table.row(["a|b [x](y)\n<b>".into(), "".into()]);
        let wanted = "| NAME | COUNT |\n|---|---|\n| a\\|b \\[x\\](y) \\<b\\> | - |\n";
        assert_eq!(table.markdown(), wanted);
        assert_eq!(Table::new(["NAME"]).markdown(), "");
    }

    #[test]
    fn what_goes_on_below_a_table_lines_up_with_it() {
        let mut widths = Vec::new();
        let page = |rows: &[[&str; 2]], widths: &mut Vec<usize>, first| {
            let mut table = Table::new(["A", "B"]);
            for row in rows {
                table.row(row.map(Cell::from));
            }
            table.render_on(Paint(false), widths, first)
        };
        assert_eq!(page(&[["long", "x"]], &mut widths, true), "A      B\nlong   x\n");
        assert_eq!(page(&[["s", "y"]], &mut widths, false), "s      y\n");
    }
}
