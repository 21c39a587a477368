//! What becomes of every field between every caller and every provider, found out by translating, and written down in
//! `docs/fidelity.md`. `BOWSPRIT_WRITE_DOCS=1 cargo test -p bowsprit-core --test fidelity` (or `make docs`) writes the page.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    missing_docs
)]

use std::fmt::Write as _;
use std::path::Path;

#[path = "fidelity/answers.rs"]
mod answers;
#[path = "fidelity/diff.rs"]
mod diff;
#[path = "fidelity/other.rs"]
mod other;
#[path = "fidelity/requests.rs"]
mod requests;
#[path = "fidelity/streams.rs"]
mod streams;

const COMMITTED: &str = include_str!("../../docs/fidelity.md");

const HEAD: &str = "<!-- Written by `make docs` from core/tests/fidelity: each cell is what a real translation did. -->

# Fidelity: what becomes of each field

Where the caller's API and the provider's are the same, the bytes pass as they came: unknown fields, order and white space
included. Four things may change: the model's name; thoughts that another provider signed, which are cut out; the
`allowed_tools` of a choice of tools, which servers that are merely compatible with OpenAI get in older words (below); and
`stream_options.include_usage` of OpenAI's chat completions, which every stream is asked for so that its tokens are counted:
the usage that the app did not ask for is taken out of the answer again, and a ProviderConfig with `streamUsage: AsIs` leaves
the field as it came. (For Responses that is `provider: OpenAI`; servers that are merely compatible are asked for chat
completions, and the OpenAI column tells of these.) Where they differ, the request is translated. Then a field is

- **carried**: said where the cell says, with the same meaning;
- **approximated**: said, but not the same; the cell shows how, and the header `x-bowsprit-warning` names the caller's field;
- **dropped**: left out, and named in `x-bowsprit-warning`; the answer is still one to the question;
- **refused**: answered with a 400 `VAL_UNSUPPORTED` that names the field, as it would change what is asked or what the
  caller reads. Other candidates that can carry it are tried first. A ModelRoute with `onUnsupported: Drop` drops instead,
  where the cell says *or dropped*.

A tool that the provider cannot run (search of files, code, a computer, a shell, remote MCP, any kind that nobody here knows) is
dropped where the model was free to choose, and refused where the choice of tools forces it; so is what a history only
informs of. With `onUnsupported: Refuse` both are refused. Web search goes to the provider's own search where that keeps
within the bounds that the caller sets. A custom tool, which takes free text, becomes a function of one string, and its calls
come back as custom calls; a namespace's functions get names of their own, and come back with their namespace; a name that the
provider does not take gets another one there, and comes back as it was ([ADR 16](adr/0016-tools-that-a-provider-cannot-run.md)).

Nothing is left out without a word: the test behind this page fails if a field neither arrives nor is named.

## Values
What is carried keeps its value, in requests, answers and streams alike:

- a number arrives as it was written, digit by digit: integers of any size, `0.7000000000000001`, `1e400`, `-0`, `1.10`. Only
  where a bound or another unit makes this proxy reckon with it (a `temperature` above 1 for Anthropic, vectors scaled to
  length 1) is it another;
- the members of an object keep their order. Of a repeated name the last value wins, at the place of the first, as in Python
  and JavaScript; a repeated field of the request itself that routing reads (`model`, `stream`, `max_tokens`) is refused;
- a text keeps every character, `\\u0000` among them. Half a surrogate pair (`\\ud83d` alone) is no character: it joins with
  its other half, also across two fragments of a stream, and is U+FFFD where there is none. It is never an error. Between equal
  dialects it passes as it came.
";

const FOOT: &str = "
## Fallback and models
A fallback may answer a conversation with another model, and says so in `x-bowsprit-provider` and `x-bowsprit-model`. Embeddings never do:
vectors of different models do not compare, so they only come from providers that list the asked model or an alias of it,
or that a ModelRoute names with a model.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    requests::write(&mut page);
    answers::write(&mut page);
    streams::write(&mut page);
    other::write(&mut page);
    page.push_str(FOOT);
    page
}

/// A table of Markdown, its columns padded so that the source reads as well as the page.
fn table(page: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |page: &mut String, cells: &[&str]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell:<width$} "));
        let _ = writeln!(page, "|{}|", padded.collect::<Vec<_>>().join("|"));
    };
    line(page, head);
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(page, &rules.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        line(page, &row.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn the_page_says_what_translation_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fidelity.md");
    let page = page();
    if std::env::var_os("BOWSPRIT_WRITE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let differs = page.lines().zip(COMMITTED.lines()).find(|(now, then)| now != then);
    assert!(
        page == COMMITTED,
        "docs/fidelity.md is not what translation does now; run `make docs`, read the difference and commit it. First: {differs:#?}"
    );
}
