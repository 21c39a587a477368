//! The rules of one object, compiled, and what they say to a request.

use std::fmt::Write as _;
use std::sync::Arc;

use bowsprit_crds::access::{AccessRules, Enforcement};

use super::check::check;
use super::facts::{Facts, Pinned};
use super::parse::parse;
use super::program::{Bool, Fault};
use super::{LONGEST, MOST_RULES};
use crate::config::{Problem, Problems};

/// The rules of one ModelRoute or UsagePolicy.
#[derive(Debug)]
pub struct Policy {
    /// Whose they are, such as `ModelRoute fast`.
    pub of: String,
    /// Whether a request that breaks one is refused; else it is only counted.
    pub is_enforced: bool,
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// What the refused caller is told beside the name; may be empty.
    pub message: String,
    /// Its text.
    pub source: String,
    program: Bool,
    reads_body: bool,
    about: About,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The request alone: decided once, before anything is spent on it.
    Request,
    /// Whom it would be sent to as well: decided for each candidate.
    Candidate,
}

/// A rule that does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Whose it is.
    pub policy: &'a Policy,
    /// Why it could not be decided; none: it says no.
    pub fault: Option<Fault>,
}

impl Policy {
    /// Compiles the rules of an object. `of`: whose they are, such as `ModelRoute fast`; `field`: where they stand in it.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its path and what to do.
    pub fn compile(of: &str, field: &str, spec: &AccessRules) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let path = format!("{of}: {field}.rules");
        if spec.rules.is_empty() {
            problems.add(Problem::new(&path, "is empty", "write a rule, or remove it"));
        }
        if spec.rules.len() > MOST_RULES {
            let problem = format!("has {} rules", spec.rules.len());
            problems.add(Problem::new(&path, problem, format!("keep to {MOST_RULES}")));
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(spec.rules.len());
        for (index, rule) in spec.rules.iter().enumerate().take(MOST_RULES) {
            let path = format!("{path}[{index}]");
            // A bare text has no name.
            let name = match rule.name.as_str() {
                "" => format!("rule-{}", index + 1),
                name => name.to_owned(),
            };
            if !is_name(&name) {
                let remedy = "write up to 63 small letters, digits and dashes, such as small-models-only";
                problems.add(Problem::new(format!("{path}.name"), format!("is {name:?}"), remedy));
                continue;
            }
            if rules.iter().any(|other| *other.name == *name) {
                let problem = format!("is {name}, as another rule's");
                problems.add(Problem::new(
                    format!("{path}.name"),
                    problem,
                    "give each rule a name of its own",
                ));
                continue;
            }
            match Rule::compile(&name, rule.message.as_deref().unwrap_or_default(), &rule.allow) {
                Ok(rule) => rules.push(rule),
                Err((problem, remedy)) => problems.add(Problem::new(format!("{path}.allow"), problem, remedy)),
            }
        }
        problems.into_result()?;
        Ok(Self {
            of: of.to_owned(),
            is_enforced: spec.enforcement == Enforcement::Enforce,
            rules,
        })
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a rule looks at what [`crate::dialect::features`] reads.
    pub fn reads_body(&self) -> bool {
        self.rules.iter().any(|rule| rule.reads_body)
    }

    /// Whether there is a rule about this.
    pub fn is_about(&self, about: About) -> bool {
        self.rules.iter().any(|rule| rule.about == about)
    }

    /// The rules about this, in order, and whether each holds.
    pub fn verdicts<'a>(
        &'a self,
        about: About,
        facts: &Facts<'_>,
    ) -> impl Iterator<Item = (&'a Rule, Result<bool, Fault>)> {
        let rules = self.rules.iter().filter(move |rule| rule.about == about);
        rules.map(move |rule| (rule, rule.holds(facts)))
    }

    /// The rules about this that do not hold, in order.
    pub fn denials<'a>(&'a self, about: About, facts: &'a Facts<'_>) -> impl Iterator<Item = Denial<'a>> {
        self.verdicts(about, facts).filter_map(move |(rule, holds)| {
            let fault = match holds {
                Ok(true) => return None,
                Ok(false) => None,
                Err(fault) => Some(fault),
            };
            let policy = self;
            Some(Denial { rule, policy, fault })
        })
    }
}

impl Denial<'_> {
    /// What its caller is told.
    pub fn told(&self) -> String {
        let Self { rule, policy, fault } = self;
        let mut text = format!("the rule {} of {} does not allow this", rule.name, policy.of);
        if !rule.message.is_empty() {
            text.push_str(": ");
            text.push_str(&rule.message);
        }
        if let Some(fault) = fault {
            // Writing to a String cannot fail.
            let _ = write!(text, " (it cannot be decided: {fault})");
        }
        text
    }
}

impl Rule {
    fn compile(name: &str, message: &str, text: &str) -> Result<Self, (String, String)> {
        if text.len() > LONGEST {
            let problem = format!("is longer than {LONGEST} bytes");
            return Err((problem, "make several rules of it: all of them must hold".into()));
        }
        let compiled = parse(text).and_then(|expr| check(&expr));
        let (program, looks) = compiled.map_err(|mistake| {
            let before = text.get(..mistake.at).unwrap_or(text);
            let place = before.chars().count() + 1;
            (format!("at character {place}: {}", mistake.problem), mistake.remedy)
        })?;
        Ok(Self {
            name: name.into(),
            message: message.to_owned(),
            source: text.to_owned(),
            program,
            reads_body: looks.at_body,
            about: if looks.at_candidate {
                About::Candidate
            } else {
                About::Request
            },
        })
    }

    /// Whether it holds: of a request that is two things to rules, for both.
    fn holds(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        let holds = self.program.eval(facts)?;
        if holds && facts.request.pinned != Pinned::No {
            return self.holds_below_providers(facts);
        }
        Ok(holds)
    }

    #[cold]
    fn holds_below_providers(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        let facts = facts.as_pass_through();
        facts.map_or(Ok(true), |facts| self.program.eval(&facts))
    }

    /// What it is compiled to.
    pub(super) fn program(&self) -> &Bool {
        &self.program
    }

    /// What it is about.
    pub fn about(&self) -> About {
        self.about
    }
}

fn is_name(name: &str) -> bool {
    let inside = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    inside && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}
