//! The guards of one object, checked.

use std::sync::Arc;

use bowsprit_crds::access::Enforcement;
use bowsprit_crds::guards::{Action, Guard as Spec, Side, Unread};

use sha2::{Digest as _, Sha256};

use super::service::Webhook;
use super::{Detectors, LONGEST_WORD, MOST_GUARDS, MOST_WORDS};
use crate::config::{Problem, Problems};

/// A guard.
#[derive(Debug)]
pub struct Guard {
    /// Its name.
    pub name: Arc<str>,
    /// Whose it is, such as `ModelRoute fast`.
    pub of: String,
    /// What it does with what it finds.
    pub decided: Decided,
    /// What it looks for.
    pub detectors: Detectors,
    /// The service that looks in their place. Boxed: few guards are one.
    pub webhook: Option<Box<Webhook>>,
    /// A digest of all that it is: what was kept under another may be what this one masks.
    pub print: [u8; 32],
    apply_to: Vec<Side>,
    unread: Unread,
}

/// What a guard has done with what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// A mask stands in its place.
    Masked,
    /// The request is refused, or the answer ends.
    Refused,
    /// It is counted.
    Observed,
    /// It would be masked, but the guard is in shadow.
    WouldMask,
    /// The request would be refused, but the guard is in shadow.
    WouldRefuse,
}

impl Decided {
    /// All five.
    pub const ALL: [Self; 5] = [
        Self::Masked,
        Self::Refused,
        Self::Observed,
        Self::WouldMask,
        Self::WouldRefuse,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Refused => "refused",
            Self::Observed => "observed",
            Self::WouldMask => "would_mask",
            Self::WouldRefuse => "would_refuse",
        }
    }

    /// Whether the request or its answer is another than it would have been.
    pub fn acts(self) -> bool {
        matches!(self, Self::Masked | Self::Refused)
    }
}

impl Guard {
    /// Checks the guards of an object. `of`: whose they are, such as `ModelRoute fast`.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its path and what to do.
    pub fn all_of(of: &str, specs: &[Spec]) -> Result<Vec<Arc<Self>>, Problems> {
        let mut problems = Problems::default();
        let path = format!("{of}: spec.guards");
        if specs.len() > MOST_GUARDS {
            let problem = format!("has {} guards", specs.len());
            problems.add(Problem::new(&path, problem, format!("keep to {MOST_GUARDS}")));
        }
        for (index, spec) in specs.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let mut note = |field: &str, problem: String, remedy: &str| {
                problems.add(Problem::new(format!("{path}.{field}"), problem, remedy));
            };
            if !is_name(&spec.name) {
                let remedy = "write up to 63 small letters, digits and dashes, such as no-cards";
                note("name", format!("is {:?}", spec.name), remedy);
            }
            if specs.iter().take(index).any(|other| other.name == spec.name) {
                let problem = format!("is {}, as another guard's", spec.name);
                note("name", problem, "give each guard a name of its own");
            }
            if spec.apply_to.is_empty() {
                note("applyTo", "is empty".into(), "write Request, Answer, or both");
            }
            let looks_itself = !spec.detect.is_empty() || !spec.words.is_empty();
            if spec.webhook.is_some() && looks_itself {
                let remedy = "remove detect and words, or make two guards of it";
                note("webhook", "is set beside detect or words".into(), remedy);
            }
            if spec.webhook.is_none() && !looks_itself {
                note(
                    "detect",
                    "is empty, and there are no words".into(),
                    "say what it is to look for",
                );
            }
            if spec.words.len() > MOST_WORDS {
                let remedy = format!("keep to {MOST_WORDS}, or make two guards of it");
                note("words", format!("has {} words", spec.words.len()), &remedy);
            }
            for (word, text) in spec.words.iter().enumerate() {
                if let Some(problem) = unfit(text) {
                    note(
                        &format!("words[{word}]"),
                        problem.into(),
                        "write 2 to 64 bytes of plain text, or remove it",
                    );
                }
            }
        }
        let mut guards = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let webhook = spec.webhook.as_ref().and_then(|spec| {
                Webhook::new(spec, &mut |field, problem, remedy| {
                    problems.add(Problem::new(
                        format!("{path}[{index}].webhook.{field}"),
                        problem,
                        remedy,
                    ));
                })
            });
            guards.push(Arc::new(Self::new(of, spec, webhook)));
        }
        problems.into_result()?;
        Ok(guards)
    }

    fn new(of: &str, spec: &Spec, webhook: Option<Webhook>) -> Self {
        let decided = match (spec.action, spec.enforcement) {
            (Action::Observe, _) => Decided::Observed,
            (Action::Mask, Enforcement::Enforce) => Decided::Masked,
            (Action::Refuse, Enforcement::Enforce) => Decided::Refused,
            (Action::Mask, Enforcement::Shadow) => Decided::WouldMask,
            (Action::Refuse, Enforcement::Shadow) => Decided::WouldRefuse,
        };
        Self {
            name: spec.name.as_str().into(),
            of: of.to_owned(),
            decided,
            detectors: Detectors::new(&spec.detect, &spec.words),
            webhook: webhook.map(Box::new),
            // Of plain members and lists: it can be written.
            print: Sha256::digest(serde_json::to_vec(spec).unwrap_or_default()).into(),
            apply_to: spec.apply_to.clone(),
            unread: spec.unread,
        }
    }

    /// Whether it looks there.
    pub fn is_on(&self, side: Side) -> bool {
        self.apply_to.contains(&side)
    }

    /// Whether what passes unread on this side must not pass, as it cannot look into it.
    pub fn forbids_unread(&self, side: Side) -> bool {
        self.unread == Unread::Refuse && self.decided.acts() && self.is_on(side)
    }

    /// What a caller is told whose request it refuses. What was found is not in it.
    pub fn told(&self) -> String {
        format!("the guard {} of {} does not let this pass", self.name, self.of)
    }

    /// What a caller is told whose request passes unread, or its answer.
    pub fn told_unread(&self) -> String {
        let Self { name, of, .. } = self;
        format!("the guard {name} of {of} cannot look into what passes unread, and so does not let it pass")
    }
}

/// What is wrong with a word.
fn unfit(word: &str) -> Option<&'static str> {
    if !(2..=LONGEST_WORD).contains(&word.len()) {
        return Some("is shorter than 2 bytes or longer than 64");
    }
    // In arguments of calls, which are JSON texts, these are not what they seem.
    let is_special = |char: char| char.is_control() || matches!(char, '"' | '\\');
    word.contains(is_special)
        .then_some("has a quote, a backslash or a control character")
}

fn is_name(name: &str) -> bool {
    let inside = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    inside && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}
