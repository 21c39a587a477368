//! What `cargo test` hands on, as people know it from libtest.

use crate::trial::Promise;

/// Promises that run at the same time in the short form. More than cores: most of them wait.
const SHORT_JOBS: usize = 4;

/// The command line.
#[derive(Debug, Default)]
pub struct Args {
    /// Only names that contain one of these.
    wanted: Vec<String>,
    /// No names that contain one of these.
    skipped: Vec<String>,
    /// `wanted` and `skipped` are whole names.
    exact: bool,
    /// Print the names and do nothing.
    pub list: bool,
    /// Full counts, and times are judged.
    pub full: bool,
    /// Promises at a time.
    pub jobs: usize,
}

impl Args {
    /// Reads the arguments. `form` is `BOWSPRIT_FAULTS`.
    pub fn parse(mut words: impl Iterator<Item = String>, form: Option<&str>) -> Result<Self, String> {
        let mut args = Self {
            full: match form {
                None | Some("" | "short") => false,
                Some("full") => true,
                Some(other) => return Err(format!("BOWSPRIT_FAULTS is {other:?}: set it to short or full")),
            },
            ..Self::default()
        };
        let mut jobs = None;
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            let mut value = || inline.clone().or_else(|| words.next());
            match name.as_str() {
                "--list" => args.list = true,
                "--exact" => args.exact = true,
                "--full" => args.full = true,
                "--skip" => args.skipped.extend(value()),
                "--test-threads" => {
                    let text = value().unwrap_or_default();
                    let number: usize = text
                        .parse()
                        .map_err(|_| format!("--test-threads {text:?} is no number"))?;
                    jobs = Some(number.max(1));
                }
                // These change what libtest prints; here everything is always printed, and nothing is ignored.
                "--nocapture" | "--no-capture" | "--show-output" | "-q" | "--quiet" | "--include-ignored"
                | "--report-time" => {}
                "--format" | "--color" | "--logfile" | "-Z" => drop(value()),
                "--ignored" => args.wanted.push("\0".to_owned()),
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "unknown argument {flag}: there are FILTER, --exact, --skip, --list, --full, --test-threads"
                    ));
                }
                _ => args.wanted.push(name),
            }
        }
        // Alone, so that a figure is the sidecar's and not its neighbours'.
        args.jobs = jobs.unwrap_or(if args.full { 1 } else { SHORT_JOBS });
        Ok(args)
    }

    /// The promises that are meant.
    pub fn choose(&self, all: Vec<Promise>) -> Vec<Promise> {
        let fits = |promise: &Promise, pattern: &String| {
            let name = promise.full_name();
            if self.exact {
                name == *pattern
            } else {
                name.contains(pattern)
            }
        };
        all.into_iter()
            .filter(|promise| self.wanted.is_empty() || self.wanted.iter().any(|pattern| fits(promise, pattern)))
            .filter(|promise| !self.skipped.iter().any(|pattern| fits(promise, pattern)))
            .collect()
    }
}
