//! `logs --follow`: asks the ledger each second and writes what is new, until it is interrupted.

use std::io::{self, Write as _};
use std::time::Duration;

use bowsprit_crds::yaml;
use bowsprit_ledger::query::{Listed, MAX_NUMBER};

use super::render::{self, What};
use super::tail::Tail;
use crate::args::{LogsArgs, RowFormat};
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::ledger::client::Wanted;
use crate::output::{Report, Screen};

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);

/// Writes what is there and what comes. It ends where nobody reads it any more, or the ledger refuses.
pub(super) async fn follow(
    ledger: &Ledger<'_>,
    mut wanted: Wanted<'_>,
    args: &LogsArgs,
    first: Vec<Listed>,
    screen: Screen,
) -> Result<Report, Failure> {
    let mut tail = Tail::default();
    let mut pages = Pages {
        format: args.out.output,
        what: What::new(args, wanted.namespace),
        screen,
        widths: Vec::new(),
        is_first: true,
    };
    let mut fresh = tail.fresh(first);
    let mut silent = false;
    wanted.number = MAX_NUMBER;
    loop {
        if !write(&pages.page(&fresh)?)? {
            return Ok(Report {
                text: String::new(),
                well: true,
            });
        }
        // A full answer has more behind it.
        if fresh.len() < MAX_NUMBER as usize / 2 {
            tokio::time::sleep(PERIOD).await;
        }
        wanted.after = tail.after();
        fresh = match ledger.logs(&wanted).await {
            Ok(listed) => {
                silent = false;
                tail.fresh(listed)
            }
            Err(failure @ Failure::Unreachable(_)) => {
                if !silent {
                    let _ = writeln!(io::stderr(), "{failure}; trying again");
                }
                silent = true;
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
    }
}

/// Standard output; false: nobody reads it.
fn write(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Wrong(format!("cannot write the output: {error}"))),
    }
}

/// Renders one answer after another.
struct Pages<'a> {
    format: RowFormat,
    what: What<'a>,
    screen: Screen,
    widths: Vec<usize>,
    is_first: bool,
}

impl Pages<'_> {
    fn page(&mut self, listed: &[Listed]) -> Result<String, Failure> {
        let unwritten = |error: &dyn std::fmt::Display| Failure::Wrong(format!("cannot write the output: {error}"));
        let is_first = std::mem::take(&mut self.is_first);
        if listed.is_empty() && !is_first {
            return Ok(String::new());
        }
        match self.format {
            RowFormat::Table | RowFormat::Wide => {
                let table = render::table(listed, self.what);
                Ok(table.render_on(self.screen.paint, &mut self.widths, is_first))
            }
            RowFormat::Csv => {
                let text = render::csv(listed);
                let rows = text
                    .split_once('\n')
                    .map(|(_, rows)| rows.to_owned())
                    .unwrap_or_default();
                Ok(if is_first { text } else { rows })
            }
            RowFormat::Json => listed.iter().try_fold(String::new(), |text, it| {
                let line = serde_json::to_string(it).map_err(|error| unwritten(&error))?;
                Ok(text + &line + "\n")
            }),
            RowFormat::Yaml => {
                let values: Result<Vec<_>, _> = listed.iter().map(serde_json::to_value).collect();
                let text =
                    yaml::stream(&values.map_err(|error| unwritten(&error))?).map_err(|error| unwritten(&error))?;
                Ok(if listed.is_empty() {
                    String::new()
                } else {
                    format!("---\n{text}")
                })
            }
        }
    }
}
