//! What rules would say to a request, each with what it looked at: for who asks before, or wonders after. Requests themselves are decided
//! by [`Policy::denials`], by the same programs.

use super::facts::{CandidateFacts, Fact, Facts, MapFact, VARIABLES};
use super::policy::{About, Denial, Policy, Rule};
use super::program::{Bool, Double, Fault, Int, Text, double, int, text, value};

/// What one rule says.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    /// Whose it is.
    pub policy: &'a Policy,
    /// The rule.
    pub rule: &'a Rule,
    /// Which candidate it was asked about, by its place; none: it is about the request.
    pub candidate: Option<usize>,
    /// Whether it holds, or why that cannot be decided, which is as much as that it does not.
    pub holds: Result<bool, Fault>,
    /// What it looks at, in the order in which it does: variables as rules write them, and their values in CEL; none where the request
    /// does not say it.
    pub looked_at: Vec<(String, Option<String>)>,
}

impl<'a> Said<'a> {
    /// The denial that it is, where it is one.
    pub fn denial(&self) -> Option<Denial<'a>> {
        (self.holds != Ok(true)).then(|| Denial {
            rule: self.rule,
            policy: self.policy,
            fault: self.holds.err(),
        })
    }
}

/// What becomes of a request, and why.
#[derive(Clone, Debug)]
pub struct Explained<'a> {
    /// What each rule says: those about the request, and then, candidate by candidate, those about these.
    pub said: Vec<Said<'a>>,
    /// The place in [`Self::said`] of the rule by which the request is refused.
    pub refused_by: Option<usize>,
    /// For each candidate, the place of the rule that leaves it out.
    pub left_out_by: Vec<Option<usize>>,
}

impl<'a> Explained<'a> {
    /// The rule by which the request is refused.
    pub fn refusal(&self) -> Option<&Said<'a>> {
        self.said.get(self.refused_by?)
    }

    /// Whether rules that only count would have refused it, or a candidate.
    pub fn would_deny(&self) -> bool {
        let denies = |said: &Said<'_>| !said.policy.is_enforced && said.holds != Ok(true);
        self.said.iter().any(denies)
    }
}

/// Asks all rules of these policies, in their order, about a request, and about each whom it may be sent to.
///
/// The first enforced rule about the request that does not hold refuses it. Where there is none, a candidate is left out by the first
/// enforced rule about candidates that does not hold for it, and where all are, the first of these rules refuses the request.
pub fn explain<'a>(policies: &[&'a Policy], facts: &Facts<'_>, candidates: &[CandidateFacts<'_>]) -> Explained<'a> {
    let mut said = Vec::new();
    let mut refused_by = ask(policies, About::Request, facts, None, &mut said);
    let mut left_out_by = Vec::with_capacity(candidates.len());
    for (place, candidate) in candidates.iter().enumerate() {
        let facts = Facts {
            candidate: *candidate,
            ..*facts
        };
        left_out_by.push(ask(policies, About::Candidate, &facts, Some(place), &mut said));
    }
    if refused_by.is_none() && left_out_by.iter().all(Option::is_some) {
        refused_by = left_out_by.first().copied().flatten();
    }
    Explained {
        said,
        refused_by,
        left_out_by,
    }
}

/// Adds what the rules about this say, and gives the place of the first that is enforced and does not hold.
fn ask<'a>(
    policies: &[&'a Policy],
    about: About,
    facts: &Facts<'_>,
    candidate: Option<usize>,
    all: &mut Vec<Said<'a>>,
) -> Option<usize> {
    let mut first = None;
    for policy in policies {
        for (rule, holds) in policy.verdicts(about, facts) {
            if policy.is_enforced && holds != Ok(true) {
                first = first.or(Some(all.len()));
            }
            all.push(Said {
                policy,
                rule,
                candidate,
                holds,
                looked_at: rule.looked_at(facts),
            });
        }
    }
    first
}

impl Policy {
    /// Whether a rule about the request does not hold for it, whoever asks: what is made up of the caller in `facts` decides nothing.
    pub fn denies_anybody(&self, facts: &Facts<'_>) -> bool {
        let mut rules = self.rules().iter().filter(|rule| rule.about() == About::Request);
        rules.any(|rule| rule.program().denies_anybody(facts))
    }
}

impl Rule {
    /// What this looks at, each once, and what it sees there.
    fn looked_at(&self, facts: &Facts<'_>) -> Vec<(String, Option<String>)> {
        let mut all: Vec<(String, Option<String>)> = Vec::new();
        self.program().looks(&mut |look| {
            let (path, value) = look.seen(facts);
            if !all.iter().any(|(other, _)| *other == path) {
                all.push((path, value));
            }
        });
        all
    }
}

/// What a part of a program looks at.
#[derive(Clone, Copy)]
enum Look<'a> {
    Fact(Fact),
    Entry(MapFact, &'a Text),
}

impl Look<'_> {
    fn is_of_caller(self) -> bool {
        let Self::Fact(of) = self else { return true };
        let variable = VARIABLES.iter().find(|variable| variable.fact == of);
        variable.is_none_or(|variable| variable.path.starts_with("caller."))
    }

    fn seen(self, facts: &Facts<'_>) -> (String, Option<String>) {
        let path = |of: Fact| {
            let variable = VARIABLES.iter().find(|variable| variable.fact == of);
            variable.map_or("", |variable| variable.path)
        };
        match self {
            Self::Fact(of) => (path(of).to_owned(), seen(of, facts)),
            Self::Entry(map, key) => {
                let key = key.eval(facts).unwrap_or_default();
                let path = format!("{}[{key:?}]", path(Fact::Map(map)));
                (path, value(map, key, facts).map(|text| format!("{text:?}")))
            }
        }
    }
}

/// A value in CEL; none where the request does not say it.
fn seen(of: Fact, facts: &Facts<'_>) -> Option<String> {
    match of {
        Fact::Bool(of) => Bool::Fact(of).eval(facts).ok().map(|value| value.to_string()),
        Fact::Int(of) => int(of, facts).ok()?.map(|number| number.to_string()),
        Fact::Double(of) => double(of, facts).ok()?.map(|number| number.to_string()),
        Fact::Text(of) => text(of, facts).ok().map(|text| format!("{text:?}")),
        // Only labels can be counted.
        Fact::Map(_) => Some(format!("{} entries", facts.caller.labels.len())),
    }
}

impl Bool {
    fn denies_anybody(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().any(|part| part.denies_anybody(facts)),
            Self::Any(parts) => parts.iter().all(|part| part.denies_anybody(facts)),
            other => {
                let mut is_of_caller = false;
                other.looks(&mut |look| is_of_caller |= look.is_of_caller());
                !is_of_caller && other.eval(facts) != Ok(true)
            }
        }
    }

    fn looks<'a>(&'a self, see: &mut dyn FnMut(Look<'a>)) {
        match self {
            Self::Is(_) => {}
            Self::Fact(of) => see(Look::Fact(Fact::Bool(*of))),
            Self::Not(inner) => inner.looks(see),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.looks(see)),
            Self::If(parts) => {
                parts.0.looks(see);
                parts.1.looks(see);
                parts.2.looks(see);
            }
            Self::Has(of) => see(Look::Fact(*of)),
            Self::HasKey(map, key) => see(Look::Entry(*map, key)),
            Self::Same(parts) => {
                parts.0.looks(see);
                parts.1.looks(see);
            }
            Self::Ints(_, left, right) => {
                left.looks(see);
                right.looks(see);
            }
            Self::Doubles(_, left, right) => {
                left.looks(see);
                right.looks(see);
            }
            Self::Texts(_, left, right)
            | Self::StartsWith(left, right)
            | Self::EndsWith(left, right)
            | Self::Contains(left, right) => {
                left.looks(see);
                right.looks(see);
            }
            Self::TextIn(text, list) => {
                text.looks(see);
                list.iter().for_each(|item| item.looks(see));
            }
            Self::IntIn(int, _) => int.looks(see),
            Self::DoubleIn(double, _) => double.looks(see),
            Self::Matches(text, _) => text.looks(see),
        }
    }
}

impl Int {
    fn looks<'a>(&'a self, see: &mut dyn FnMut(Look<'a>)) {
        match self {
            Self::Is(_) => {}
            Self::Fact(of) => see(Look::Fact(Fact::Int(*of))),
            Self::Negative(inner) => inner.looks(see),
            Self::Sum(_, parts) => {
                parts.0.looks(see);
                parts.1.looks(see);
            }
            Self::Length(text) => text.looks(see),
            Self::Entries(map) => see(Look::Fact(Fact::Map(*map))),
            Self::If(parts) => {
                parts.0.looks(see);
                parts.1.looks(see);
                parts.2.looks(see);
            }
        }
    }
}

impl Double {
    fn looks<'a>(&'a self, see: &mut dyn FnMut(Look<'a>)) {
        match self {
            Self::Is(_) => {}
            Self::Fact(of) => see(Look::Fact(Fact::Double(*of))),
            Self::Of(int) => int.looks(see),
            Self::Negative(inner) => inner.looks(see),
            Self::Sum(_, parts) => {
                parts.0.looks(see);
                parts.1.looks(see);
            }
            Self::If(parts) => {
                parts.0.looks(see);
                parts.1.looks(see);
                parts.2.looks(see);
            }
        }
    }
}

impl Text {
    fn looks<'a>(&'a self, see: &mut dyn FnMut(Look<'a>)) {
        match self {
            Self::Is(_) => {}
            Self::Fact(of) => see(Look::Fact(Fact::Text(*of))),
            Self::At(map, key) => see(Look::Entry(*map, key)),
        }
    }
}
