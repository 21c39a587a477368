//! A promise, and what it is given while it is tried.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bowsprit_providers::{Api, Options, Provider};
pub use bowsprit_rig::{SOON, until};

use crate::bed::{Bed, Setup};

/// A promise under way.
pub type Trying = Pin<Box<dyn Future<Output = ()>>>;

/// In which form of the matrix a promise is tried, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In both.
    Both,
    /// In the full form only: it needs minutes of waiting and next to no CPU, and runs beside the others.
    Patient,
}

/// One promise of a row.
#[derive(Clone)]
pub struct Promise {
    /// The row of the matrix.
    pub row: u8,
    /// The fault, in the row's words.
    pub fault: &'static str,
    /// What holds.
    pub name: &'static str,
    /// When it is tried.
    pub form: Form,
    /// Why it cannot be tried by this build or on this machine.
    pub missing: Option<&'static str>,
    /// Why it is known not to hold yet. It is tried and counted as failed all the same, but does not fail `cargo test`.
    pub known: Option<&'static str>,
    /// Tries it: panics if it does not hold.
    pub run: fn(Trial) -> Trying,
}

impl Promise {
    /// A promise that is tried in both forms.
    pub fn new(row: u8, fault: &'static str, name: &'static str, run: fn(Trial) -> Trying) -> Self {
        Self {
            row,
            fault,
            name,
            form: Form::Both,
            missing: None,
            known: None,
            run,
        }
    }

    /// Only in the full form, beside the others.
    pub fn patient(mut self) -> Self {
        self.form = Form::Patient;
        self
    }

    /// Not at all, if something is missing.
    pub fn needs(mut self, missing: Option<&'static str>) -> Self {
        self.missing = missing;
        self
    }

    /// Known not to hold yet, for this reason.
    #[allow(dead_code, reason = "hopefully")]
    pub fn known(mut self, why: &'static str) -> Self {
        self.known = Some(why);
        self
    }

    /// `row_06::a_refused_connection_...`.
    pub fn full_name(&self) -> String {
        format!("row_{:02}::{}", self.row, self.name)
    }
}

/// Lists the promises of a row: their names are those of their functions.
macro_rules! promises {
    ($row:literal, $fault:literal; $($name:ident $(. $how:ident ( $($arg:expr)? ))*),* $(,)?) => {
        pub fn promises() -> Vec<$crate::trial::Promise> {
            vec![$(
                $crate::trial::Promise::new($row, $fault, stringify!($name), |trial| Box::pin($name(trial)))
                    $(.$how($($arg)?))*
            ),*]
        }
    };
}
pub(crate) use promises;

/// A measured value beside its pass line.
#[derive(Clone, Debug)]
pub struct Figure {
    what: String,
    value: f64,
    line: RangeInclusive<f64>,
    unit: &'static str,
}

impl Figure {
    /// Whether it lies within its line.
    pub fn holds(&self) -> bool {
        self.line.contains(&self.value)
    }
}

impl Figure {
    /// How far it is from the middle of its line, or from its better end where the line has but one.
    fn excess(&self) -> f64 {
        let (from, to) = (*self.line.start(), *self.line.end());
        if to == f64::INFINITY {
            -self.value
        } else if from <= 0.0 {
            self.value
        } else {
            (self.value - f64::midpoint(from, to)).abs()
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, .. } = self;
        let say = |value: f64| match value.abs() {
            value if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
            value if value >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        let (from, to) = (*self.line.start(), *self.line.end());
        let line = if from == to {
            format!(" (= {})", say(to))
        } else if to == f64::INFINITY && from == f64::NEG_INFINITY {
            String::new()
        } else if to == f64::INFINITY {
            format!(" (>= {})", say(from))
        } else if from <= 0.0 {
            format!(" (<= {})", say(to))
        } else {
            format!(" ({} to {})", say(from), say(to))
        };
        let space = if unit.is_empty() { "" } else { " " };
        write!(f, "{what} {}{space}{unit}{line}", say(self.value))
    }
}

struct Inner {
    full: bool,
    seed: u64,
    figures: RefCell<Vec<Figure>>,
    missed: Cell<bool>,
    beds: RefCell<Vec<Rc<Bed>>>,
}

/// What a promise is given.
#[derive(Clone)]
pub struct Trial(Rc<Inner>);

impl Trial {
    /// For one promise.
    pub fn new(full: bool, seed: u64) -> Self {
        Self(Rc::new(Inner {
            full,
            seed,
            figures: RefCell::default(),
            missed: Cell::new(false),
            beds: RefCell::default(),
        }))
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A count: this in the short form, that in the full one.
    pub fn count(&self, short: usize, full: usize) -> usize {
        if self.0.full { full } else { short }
    }

    /// Writes a count or a size down. It must lie within its line, in both forms.
    pub fn figure(&self, what: impl Into<String>, value: f64, unit: &'static str, line: RangeInclusive<f64>) {
        let figure = self.note(what.into(), value, unit, line);
        assert!(figure.holds(), "{figure}");
    }

    /// Writes something down that depends on how busy the machine is: judged in the full form only.
    pub fn measure(&self, what: impl Into<String>, value: f64, unit: &'static str, line: RangeInclusive<f64>) {
        let figure = self.note(what.into(), value, unit, line);
        if self.0.full && !figure.holds() {
            self.0.missed.set(true);
        }
    }

    /// Writes something down that has no line.
    pub fn tell(&self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.note(what.into(), value, unit, f64::NEG_INFINITY..=f64::INFINITY);
    }

    /// A duration in milliseconds: judged in the full form only.
    pub fn took(&self, what: impl Into<String>, duration: Duration, line: RangeInclusive<f64>) {
        self.measure(what, duration.as_secs_f64() * 1e3, "ms", line);
    }

    /// A configured time that was waited for, to within 5 % (and 20 ms for the way there and back).
    pub fn on_time(&self, what: impl Into<String>, configured: Duration, measured: Duration) {
        let ms = configured.as_secs_f64() * 1e3;
        self.took(what, measured, ms * 0.95..=ms * 1.05 + 20.0);
    }

    fn note(&self, what: String, value: f64, unit: &'static str, line: RangeInclusive<f64>) -> Figure {
        let figure = Figure {
            what,
            value,
            line,
            unit,
        };
        let mut figures = self.0.figures.borrow_mut();
        // Measured again: the worse one is shown.
        match figures
            .iter_mut()
            .find(|other| other.what == figure.what && other.line == figure.line)
        {
            Some(other) if other.excess() < figure.excess() => *other = figure.clone(),
            Some(_) => {}
            None => figures.push(figure.clone()),
        }
        figure
    }

    /// Everything written down.
    pub fn figures(&self) -> Vec<Figure> {
        self.0.figures.borrow().clone()
    }

    /// Whether a figure missed its line.
    pub fn missed(&self) -> bool {
        self.0.missed.get()
    }

    /// Starts a sidecar. It is checked and ended when the promise is done.
    pub async fn bed(&self, setup: Setup) -> Rc<Bed> {
        let bed = Rc::new(Bed::start(setup, self.0.seed).await);
        self.0.beds.borrow_mut().push(Rc::clone(&bed));
        bed
    }

    /// Every sidecar that was started.
    pub fn beds(&self) -> Vec<Rc<Bed>> {
        self.0.beds.borrow().clone()
    }

    /// Ends the sidecars.
    pub fn end(&self) {
        self.0.beds.borrow_mut().clear();
    }
}

/// A scripted provider of one API.
pub fn provider(api: Api) -> Provider {
    Provider::start(Options::api(api)).unwrap()
}
