//! Rows as CSV (RFC 4180): for a spreadsheet or a script. Pure.

use super::printable;

/// Cells that a spreadsheet would compute begin so; names come from whoever made a request.
const COMPUTED: [char; 4] = ['=', '+', '-', '@'];

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Somebody's words: made harmless.
    Text(String),
    /// Our own number.
    Number(String),
}

impl Field {
    /// A number, or an amount.
    pub(crate) fn number<T: Copy + ToString>(number: T) -> Self {
        Self::Number(number.to_string())
    }

    /// A number that may not be known: then empty.
    pub(crate) fn maybe(number: Option<impl ToString>) -> Self {
        Self::Number(number.map(|it| it.to_string()).unwrap_or_default())
    }
}

impl<T: AsRef<str>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::Text(text.as_ref().to_owned())
    }
}

/// Heads of the columns of tokens, in the order of `Tokens::counts`.
pub(crate) const TOKENS: [&str; 7] = [
    "INPUT_TOKENS",
    "OUTPUT_TOKENS",
    "CACHED_TOKENS",
    "CACHE_WRITE_TOKENS",
    "REASONING_TOKENS",
    "ESTIMATED_INPUT_TOKENS",
    "ESTIMATED_OUTPUT_TOKENS",
];

/// One line.
pub(crate) fn line(fields: impl IntoIterator<Item = Field>) -> String {
    let fields: Vec<String> = fields.into_iter().map(written).collect();
    fields.join(",") + "\n"
}

/// A head and its rows.
pub(crate) fn table<'a>(
    heads: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = Vec<Field>>,
) -> String {
    let mut text = line(heads.into_iter().map(Field::from));
    text.extend(rows.into_iter().map(line));
    text
}

fn written(field: Field) -> String {
    let text = match field {
        Field::Number(number) => return number,
        Field::Text(text) => printable(&text),
    };
    let text = if text.starts_with(COMPUTED) {
        format!("'{text}")
    } else {
        text
    };
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cell_whatever_is_in_it_and_is_never_computed() {
        let row = line([
            "a,b".into(),
            "say \"ahoy\"".into(),
            "=HYPERLINK(1)".into(),
            "x\u{1b}[31m".into(),
            Field::number(-3),
            Field::maybe(None::<u64>),
        ]);
        assert_eq!(row, "\"a,b\",\"say \"\"ahoy\"\"\",'=HYPERLINK(1),x [31m,-3,\n");
        assert_eq!(table(["A"], [vec!["1".into()]]), "A\n1\n");
    }
}
