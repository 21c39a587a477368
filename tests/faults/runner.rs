//! Tries the promises, so many at a time, and judges each: did it hold, was every answer counted, did a key get out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::args::Args;
use crate::trial::{Figure, Form, Promise, Trial};

/// No promise may take longer: the longest wait of the sidecar itself is two minutes.
const DEADLINE: Duration = Duration::from_secs(200);
/// Log lines shown of a sidecar whose promise failed.
const LOG_LINES: usize = 12;

thread_local! {
    /// Where each promise panicked, by its name.
    static PANICS: RefCell<HashMap<String, String>> = RefCell::default();
}

tokio::task_local! {
    static NAME: String;
}

/// How a promise ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Held,
    /// It did not.
    Failed(String),
    /// It was not tried, for this reason.
    NotRun(String),
}

/// A promise and how it ended.
pub struct Ran {
    /// Which.
    pub promise: Promise,
    /// How.
    pub verdict: Verdict,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Whether it fails the run. What is known not to hold yet fails the full form only, so that the short form stays of
    /// use meanwhile.
    pub fn is_bad(&self, full: bool) -> bool {
        matches!(self.verdict, Verdict::Failed(_)) && (full || self.promise.known.is_none())
    }
}

/// Tries them.
pub async fn run(promises: Vec<Promise>, args: &Args) -> Vec<Ran> {
    let seed = std::env::var("BOWSPRIT_FAULTS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let form = if args.full { "full" } else { "short" };
    println!(
        "\nfault matrix, {form} form: {} promises, BOWSPRIT_FAULTS_SEED={seed}",
        promises.len()
    );
    std::panic::set_hook(Box::new(note_panic));
    let places = Rc::new(Semaphore::new(args.jobs));
    let mut running = Vec::new();
    for promise in promises {
        let places = Rc::clone(&places);
        let full = args.full;
        let handle = tokio::task::spawn_local(async move {
            let _place = match promise.form {
                // They wait for most of their time, and would hold up the rest.
                Form::Patient => None,
                Form::Both => Some(places.acquire().await.unwrap()),
            };
            let ran = try_one(promise, full, seed).await;
            say(&ran);
            ran
        });
        running.push(handle);
    }
    let mut all = Vec::new();
    for handle in running {
        all.push(handle.await.expect("the runner itself does not panic"));
    }
    let _ = std::panic::take_hook();
    all
}

async fn try_one(promise: Promise, full: bool, seed: u64) -> Ran {
    let not_run = match (promise.missing, promise.form) {
        (Some(missing), _) => Some(missing.to_owned()),
        (None, Form::Patient) if !full => Some("full form only".to_owned()),
        _ => None,
    };
    if let Some(why) = not_run {
        return Ran {
            promise,
            verdict: Verdict::NotRun(why),
            figures: Vec::new(),
            took: Duration::ZERO,
        };
    }
    let name = promise.full_name();
    let trial = Trial::new(full, seed);
    let started = Instant::now();
    let work = (promise.run)(trial.clone());
    let mut task = tokio::task::spawn_local(NAME.scope(name.clone(), work));
    let verdict = match tokio::time::timeout(DEADLINE, &mut task).await {
        Ok(Ok(())) => after(&trial).await,
        Ok(Err(error)) => Verdict::Failed(reason(&name, error)),
        Err(_) => {
            task.abort();
            Verdict::Failed(format!("not done within {DEADLINE:?}"))
        }
    };
    if matches!(verdict, Verdict::Failed(_)) {
        for bed in trial.beds().iter().filter(|bed| bed.ended().is_none()) {
            println!(
                "--- {name}: the last lines of the sidecar's log\n{}",
                bed.log_tail(LOG_LINES)
            );
        }
    }
    let figures = trial.figures();
    let verdict = match verdict {
        Verdict::Held if trial.missed() => Verdict::Failed("a figure is beyond its line".into()),
        other => other,
    };
    trial.end();
    Ran {
        promise,
        verdict,
        figures,
        took: started.elapsed(),
    }
}

/// What must hold after every promise.
async fn after(trial: &Trial) -> Verdict {
    for bed in trial.beds() {
        if let Err(problem) = bed.settled().await {
            return Verdict::Failed(problem);
        }
    }
    Verdict::Held
}

/// Keeps a panic's message and place for the table instead of printing it among the others'.
fn note_panic(info: &std::panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no message)");
    let place = info
        .location()
        .map_or(String::new(), |at| format!("{}:{}", at.file(), at.line()));
    let text = format!("{place}: {message}");
    let kept = NAME.try_with(|name| {
        PANICS.with(|panics| {
            panics.borrow_mut().entry(name.clone()).or_insert_with(|| text.clone());
        });
    });
    if kept.is_err() {
        println!("panicked at {text}");
    }
}

fn reason(name: &str, error: JoinError) -> String {
    if let Some(text) = PANICS.with(|panics| panics.borrow_mut().remove(name)) {
        return text;
    }
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "panicked".into()),
        Err(error) => error.to_string(),
    }
}

fn say(ran: &Ran) {
    let name = ran.promise.full_name();
    let word = match &ran.verdict {
        Verdict::Held => format!("ok ({:.1} s)", ran.took.as_secs_f64()),
        Verdict::Failed(why) => format!("FAILED: {why}"),
        Verdict::NotRun(why) => format!("not run: {why}"),
    };
    println!("test {name} ... {word}");
}
