//! What was found and what was told. Pure: the time is passed in.
//!
//! Only objects of which something is to be said are in it. One Event tells of all pods of one owner; it is told anew only
//! after all of them were well, or after an hour, when Kubernetes has forgotten the Event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;

use super::look::{Observed, REASONS, Reason};

/// Kubernetes keeps an Event for an hour.
const TELL_AGAIN: Duration = Duration::from_hours(1);
/// Names in one Event.
const NAMES: usize = 3;

/// One watch: what it no longer lists after it began anew has gone.
pub(super) type Source = String;

/// What a watch says.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// It lists everything from here on.
    Begin,
    /// An object as it is now.
    See(Box<Observed>),
    /// An object has gone: `namespace/name`.
    Gone(String),
    /// Everything has been listed.
    Listed,
    /// The watch has ended, and what it saw is nobody's business any more.
    Over,
}

/// Something to be told.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub reason: Reason,
    pub about: ObjectReference,
    pub note: String,
}

/// Who is told of what.
type Topic = (String, Reason);

#[derive(Debug)]
struct Entry {
    name: String,
    about: ObjectReference,
    findings: BTreeMap<Reason, String>,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By watch and object.
    found: HashMap<Source, BTreeMap<String, Entry>>,
    /// Objects that a watch had before it began anew and has not listed since.
    unlisted: HashMap<Source, BTreeSet<String>>,
    told: HashMap<Topic, Instant>,
}

impl Book {
    /// A watch has said something.
    pub(super) fn take(&mut self, source: Source, step: Step) {
        match step {
            Step::Begin => {
                let known = self.found.get(&source).map(|of| of.keys().cloned().collect());
                self.unlisted.insert(source, known.unwrap_or_default());
            }
            Step::See(observed) => self.see(source, *observed),
            Step::Gone(key) => self.forget(&source, &key),
            Step::Listed => {
                for key in self.unlisted.remove(&source).unwrap_or_default() {
                    self.forget(&source, &key);
                }
            }
            Step::Over => {
                self.found.remove(&source);
                self.unlisted.remove(&source);
            }
        }
    }

    fn see(&mut self, source: Source, observed: Observed) {
        if let Some(unlisted) = self.unlisted.get_mut(&source) {
            unlisted.remove(&observed.key);
        }
        if observed.findings.is_empty() {
            return self.forget(&source, &observed.key);
        }
        let mut findings: BTreeMap<Reason, String> = BTreeMap::new();
        for (reason, words) in observed.findings {
            let all = findings.entry(reason).or_default();
            if !all.is_empty() {
                all.push_str("; ");
            }
            all.push_str(&words);
        }
        let entry = Entry {
            name: observed.name,
            about: observed.about,
            findings,
        };
        self.found.entry(source).or_default().insert(observed.key, entry);
    }

    fn forget(&mut self, source: &str, key: &str) {
        if let Some(of) = self.found.get_mut(source) {
            of.remove(key);
            if of.is_empty() {
                self.found.remove(source);
            }
        }
    }

    /// How many objects there is something to be said of now, by reason.
    pub(super) fn counts(&self) -> [(Reason, usize); 3] {
        REASONS.map(|reason| {
            let entries = self.found.values().flat_map(BTreeMap::values);
            (reason, entries.filter(|it| it.findings.contains_key(&reason)).count())
        })
    }

    /// What is to be told now.
    pub(super) fn news(&mut self, now: Instant) -> Vec<News> {
        let mut topics: BTreeMap<Topic, Vec<&Entry>> = BTreeMap::new();
        for entry in self.found.values().flat_map(BTreeMap::values) {
            for reason in entry.findings.keys() {
                topics.entry((who(&entry.about), *reason)).or_default().push(entry);
            }
        }
        self.told.retain(|topic, _| topics.contains_key(topic));
        let mut news = Vec::new();
        for (topic, entries) in topics {
            let is_due = self
                .told
                .get(&topic)
                .is_none_or(|at| now.saturating_duration_since(*at) >= TELL_AGAIN);
            let (true, Some(first)) = (is_due, entries.first()) else {
                continue;
            };
            let reason = topic.1;
            let words = first.findings.get(&reason).map(String::as_str).unwrap_or_default();
            news.push(News {
                reason,
                about: first.about.clone(),
                note: format!("{}{words}", subject(&first.about, &entries)),
            });
            self.told.insert(topic, now);
        }
        news
    }
}

fn who(about: &ObjectReference) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (kind, namespace, name) = (part(&about.kind), part(&about.namespace), part(&about.name));
    format!("{kind}/{namespace}/{name}/{}", part(&about.uid))
}

/// The pods, where the Event is about their owner.
fn subject(about: &ObjectReference, entries: &[&Entry]) -> String {
    let is_itself = entries.len() == 1
        && entries
            .first()
            .is_some_and(|it| about.name.as_deref() == Some(&it.name));
    if is_itself {
        return String::new();
    }
    let mut names: Vec<&str> = entries.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}: ", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, owner: &str, findings: &[(Reason, &str)]) -> Step {
        Step::See(Box::new(Observed {
            key: format!("team/{name}"),
            name: name.into(),
            about: ObjectReference {
                kind: Some("ReplicaSet".into()),
                name: Some(owner.into()),
                ..ObjectReference::default()
            },
            findings: findings
                .iter()
                .map(|(reason, words)| (*reason, (*words).into()))
                .collect(),
        }))
    }

    const MISSING: &[(Reason, &str)] = &[(Reason::SidecarMissing, "has none")];

    fn notes(book: &mut Book, now: Instant) -> Vec<String> {
        book.news(now).into_iter().map(|news| news.note).collect()
    }

    #[test]
    fn an_owner_is_told_once_of_all_its_pods_and_again_after_an_hour() {
        let (mut book, start) = (Book::default(), Instant::now());
        for name in ["a", "b", "c", "d", "e"] {
            book.take("asks".into(), seen(name, "web", MISSING));
        }
        assert_eq!(notes(&mut book, start), ["a, b, c and 2 more: has none"]);
        book.take("asks".into(), seen("f", "web", MISSING));
        assert_eq!(notes(&mut book, start + TELL_AGAIN / 2), [""; 0]);
        assert_eq!(notes(&mut book, start + TELL_AGAIN), ["a, b, c and 3 more: has none"]);
    }

    #[test]
    fn what_has_gone_is_counted_no_more_and_told_anew_when_it_comes_back() {
        let (mut book, start) = (Book::default(), Instant::now());
        book.take("asks".into(), seen("a", "web", MISSING));
        book.take("asks".into(), seen("b", "other", MISSING));
        assert_eq!(notes(&mut book, start).len(), 2);
        assert_eq!(book.counts()[0], (Reason::SidecarMissing, 2));
        book.take("asks".into(), Step::Gone("team/a".into()));
        book.take("asks".into(), seen("b", "other", &[]));
        assert_eq!(book.counts()[0], (Reason::SidecarMissing, 0));
        assert_eq!(notes(&mut book, start), [""; 0]);
        book.take("asks".into(), seen("a", "web", MISSING));
        assert_eq!(notes(&mut book, start), ["a: has none"]);
    }

    #[test]
    fn what_a_watch_that_began_anew_does_not_list_has_gone() {
        let mut book = Book::default();
        book.take("asks".into(), seen("a", "web", MISSING));
        book.take("asks".into(), seen("b", "web", MISSING));
        book.take("injected".into(), seen("c", "web", MISSING));
        book.take("asks".into(), Step::Begin);
        book.take("asks".into(), seen("b", "web", MISSING));
        assert_eq!(book.counts()[0].1, 3, "not before all is listed");
        book.take("asks".into(), Step::Listed);
        assert_eq!(book.counts()[0].1, 2);
        book.take("injected".into(), Step::Over);
        assert_eq!(book.counts()[0].1, 1);
    }

    #[test]
    fn each_reason_is_told_for_itself() {
        let (mut book, start) = (Book::default(), Instant::now());
        let both = [
            (Reason::SidecarMissing, "x"),
            (Reason::SettingNotRead, "y"),
            (Reason::SettingNotRead, "z"),
        ];
        book.take("asks".into(), seen("web", "web", &both));
        assert_eq!(notes(&mut book, start), ["x", "y; z"]);
    }
}
