//! The store judges what sources offer.
//!
//! An offer is taken whole or not at all: what does not parse is counted, logged once with every problem, and changes
//! nothing. The highest sequence wins; an older one is ignored, quietly where another source is merely behind the one that
//! serves. What comes twice, by two ways, is judged once. The store knows what it applied and what it refused last, for
//! `/health`, metrics, the log and whoever must acknowledge an offer.

use std::sync::{Mutex, MutexGuard};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{self, Config};
use serde::Serialize;

use super::metrics::ConfigMetrics;
use super::saved::SAVED;
use super::{Documents, Offer};

use crate::sync::locked;

/// A configuration in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its content hash.
    pub revision: String,
    /// Its sequence; 0 where its source does not count.
    pub sequence: u64,
    /// The source that offered it.
    pub source: &'static str,
    /// When it was applied.
    pub at: Moment,
    notices: Vec<String>,
}

/// An offer that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its sequence; 0 where its source does not count.
    pub sequence: u64,
    /// The source that offered it.
    pub source: &'static str,
    /// What is wrong with it, for people.
    pub why: String,
    /// Its content hash; empty where it could not be read.
    revision: String,
}

/// What a store makes of an offer before it reads the documents, which is the costly part.
#[derive(Debug, PartialEq, Eq)]
enum Weighed {
    /// It is to be read.
    News,
    /// It is in service already.
    InService,
    /// It was refused already.
    RefusedBefore,
    /// Its source has not caught up with another one yet, which is usual.
    Behind,
    /// Its source has gone back.
    WentBack(String),
}

/// Judges offers, and remembers the last one applied and the last one refused since.
#[derive(Debug)]
pub struct Store {
    metrics: ConfigMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    applied: Option<Applied>,
    /// Of the newest offer, if it was not applied.
    refused: Option<Refused>,
    rejected: u64,
}

/// Configuration at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigReport {
    /// Whether a valid configuration is in service.
    pub loaded: bool,
    /// Its content hash.
    pub revision: String,
    /// Its sequence; 0 where there is none.
    pub sequence: u64,
    /// The source that offered it: `file`, `folder`, `stream`, `saved` or `environment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// Seconds since it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Configurations rejected since the start.
    pub rejected: u64,
    /// What is wrong with the newest one, if it is not in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What works, but perhaps not as meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

impl Store {
    /// A store that has applied nothing yet.
    pub fn new(metrics: ConfigMetrics) -> Self {
        Self {
            metrics,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Judges an offer. `Some`: it is the configuration in service from now on, and whoever asks must bring it there.
    pub fn judge(&self, offer: &Offer, now: Moment) -> Option<Config> {
        let weighed = self.lock().weigh(offer);
        match weighed {
            Weighed::News => self.judge_again(offer, now),
            Weighed::InService => {
                self.confirm(offer);
                None
            }
            Weighed::RefusedBefore => None,
            Weighed::Behind => {
                let (source, sequence) = (offer.source, offer.sequence);
                tracing::debug!(source, sequence, "configuration behind the one in service");
                None
            }
            Weighed::WentBack(why) => {
                self.ignore(offer.refused(why));
                None
            }
        }
    }

    /// Judges what is in service anew, because it is to be read in another way.
    pub fn judge_again(&self, offer: &Offer, now: Moment) -> Option<Config> {
        let read = offer.documents.as_ref().map_err(Clone::clone).and_then(parse);
        match read {
            Ok(mut config) => {
                config.sequence = offer.sequence;
                self.apply(&config, offer.source, now);
                Some(config)
            }
            Err(problems) => {
                self.reject(offer.refused(problems));
                None
            }
        }
    }

    /// The configuration in service came again. It is the newest word of this source: nothing that it refused before counts.
    fn confirm(&self, offer: &Offer) {
        let mut state = self.lock();
        if let Some(applied) = &mut state.applied
            && applied.source == SAVED
        {
            applied.source = offer.source;
        }
        if state
            .refused
            .as_ref()
            .is_some_and(|refused| refused.sequence <= offer.sequence)
        {
            state.refused = None;
            self.metrics.synced.set(1);
        }
    }

    fn apply(&self, config: &Config, source: &'static str, now: Moment) {
        for notice in &config.notices {
            tracing::warn!(notice = %notice, "configuration");
        }
        self.metrics.applied(config);
        tracing::info!(
            revision = config.revision,
            sequence = config.sequence,
            providers = config.providers.len(),
            routes = config.routes.len(),
            "configuration in service"
        );
        let mut state = self.lock();
        state.refused = None;
        state.applied = Some(Applied {
            revision: config.revision.clone(),
            sequence: config.sequence,
            source,
            at: now,
            notices: config.notices.iter().map(ToString::to_string).collect(),
        });
    }

    fn reject(&self, refused: Refused) {
        self.metrics.rejected.inc();
        self.metrics.synced.set(0);
        let problems = &refused.why;
        let mut state = self.lock();
        if let Some(applied) = &state.applied {
            tracing::error!(
                problems,
                revision = applied.revision,
                "configuration rejected; the last good one stays"
            );
        } else {
            tracing::error!(problems, "configuration rejected; there is none in service");
        }
        state.rejected += 1;
        state.refused = Some(refused);
    }

    fn ignore(&self, refused: Refused) {
        self.metrics.ignored.inc();
        self.metrics.synced.set(0);
        tracing::warn!(why = refused.why, "configuration ignored");
        self.lock().refused = Some(refused);
    }

    /// What is in service.
    pub fn applied(&self) -> Option<Applied> {
        self.lock().applied.clone()
    }

    /// The newest offer, if it is not in service.
    pub fn refused(&self) -> Option<Refused> {
        self.lock().refused.clone()
    }

    /// For `/health`.
    pub fn report(&self, now: Moment) -> ConfigReport {
        let state = self.lock();
        let applied = state.applied.as_ref();
        ConfigReport {
            loaded: applied.is_some(),
            revision: applied.map(|it| it.revision.clone()).unwrap_or_default(),
            sequence: applied.map_or(0, |it| it.sequence),
            source: applied.map(|it| it.source),
            age_seconds: applied.map(|it| (now - it.at).as_secs()),
            rejected: state.rejected,
            last_error: state.refused.as_ref().map(|refused| refused.why.clone()),
            notices: applied.map(|it| it.notices.clone()).unwrap_or_default(),
        }
    }
}

impl State {
    fn weigh(&self, offer: &Offer) -> Weighed {
        let revision = offer.revision();
        if let Some(refused) = &self.refused
            && offer.sequence > 0
            && (refused.sequence, &refused.revision) == (offer.sequence, &revision)
            && (!revision.is_empty() || offer.documents.as_ref().is_err_and(|why| *why == refused.why))
        {
            return Weighed::RefusedBefore;
        }
        let Some(applied) = &self.applied else {
            return Weighed::News;
        };
        let newest = applied.sequence;
        match offer.sequence {
            0 if newest == 0 => Weighed::News,
            // What cannot be read may have no sequence, and is told.
            _ if revision.is_empty() => Weighed::News,
            sequence if sequence == newest && revision == applied.revision => Weighed::InService,
            sequence if sequence >= newest => Weighed::News,
            sequence if offer.source == applied.source => Weighed::WentBack(format!(
                "sequence {sequence} is older than {newest}, which is in service"
            )),
            _ => Weighed::Behind,
        }
    }
}

impl Offer {
    /// The content hash of its documents; empty where they could not be read.
    fn revision(&self) -> String {
        let documents = self.documents.as_ref();
        documents.map_or_else(|_| String::new(), |documents| config::revision(&documents.text))
    }

    fn refused(&self, why: String) -> Refused {
        Refused {
            sequence: self.sequence,
            source: self.source,
            why,
            revision: self.revision(),
        }
    }
}

fn parse(documents: &Documents) -> Result<Config, String> {
    config::load(&documents.text, &documents.scope).map_err(|problems| format!("{}:\n{problems}", documents.place))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowsprit_core::config::Scope;

    use super::*;
    use crate::metrics::Registry;

    fn store() -> Store {
        Store::new(ConfigMetrics::register(&mut Registry::default()))
    }

    /// A folder's offer of one provider.
    fn offer(sequence: u64, provider: &str) -> Offer {
        Offer {
            source: "folder",
            sequence,
            documents: Ok(Documents {
                text: format!(
                    "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: {provider}}}\n\
                     spec: {{provider: OpenAI, credentials: [{{name: main, env: KEY}}]}}\n"
                )
                .into(),
                place: "bowsprit.yaml".into(),
                scope: Scope::Standalone,
            }),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn the_highest_sequence_wins_and_it_never_goes_back() {
        let store = store();
        let names = |config: Option<Config>| config.map(|config| config.providers[0].name.clone());
        assert_eq!(names(store.judge(&offer(5, "five"), at(1))).as_deref(), Some("five"));
        assert_eq!(names(store.judge(&offer(7, "seven"), at(2))).as_deref(), Some("seven"));
        assert_eq!(names(store.judge(&offer(6, "six"), at(3))), None, "older");
        assert_eq!(
            names(store.judge(&offer(7, "again"), at(4))).as_deref(),
            Some("again"),
            "a sequence that came twice with another content: the newest word counts"
        );
        let applied = store.applied().unwrap();
        assert_eq!((applied.sequence, applied.source, applied.at), (7, "folder", at(4)));
    }

    #[test]
    fn what_is_wrong_changes_nothing_and_is_remembered_until_something_better_comes() {
        let store = store();
        store.judge(&offer(1, "good"), at(1)).unwrap();
        let before = store.applied();
        let broken = Offer {
            documents: Err("bowsprit.yaml: no such file".into()),
            ..offer(2, "unread")
        };
        assert!(store.judge(&broken, at(2)).is_none());
        assert!(
            store
                .judge(&offer(3, "good}, spec: {provider: Nobody"), at(3))
                .is_none()
        );
        assert_eq!(store.applied(), before, "the last good one stays");
        let refused = store.refused().unwrap();
        assert_eq!((refused.sequence, refused.source), (3, "folder"));
        assert!(refused.why.starts_with("bowsprit.yaml:\n"), "{}", refused.why);
        let report = store.report(at(11));
        assert_eq!(
            (report.loaded, report.rejected, report.age_seconds),
            (true, 2, Some(10))
        );
        store.judge(&offer(4, "better"), at(12)).unwrap();
        assert_eq!(store.refused(), None);
        assert_eq!(store.report(at(12)).rejected, 2, "what was rejected stays counted");
    }

    #[test]
    fn an_older_one_is_refused_but_not_counted_as_wrong() {
        let store = store();
        store.judge(&offer(5, "five"), at(1)).unwrap();
        assert!(store.judge(&offer(4, "four"), at(2)).is_none());
        assert_eq!(
            store.refused().unwrap().why,
            "sequence 4 is older than 5, which is in service"
        );
        assert_eq!(store.report(at(2)).rejected, 0);
        assert_eq!((store.metrics.ignored.get(), store.metrics.synced.get()), (1, 0));
    }

    #[test]
    fn of_several_sources_the_highest_sequence_wins_and_one_that_is_behind_is_no_trouble() {
        let store = store();
        let from = |source, sequence, provider| Offer {
            source,
            ..offer(sequence, provider)
        };
        let at = at(1);
        assert!(store.judge(&from("saved", 8, "eight"), at).is_some());
        assert!(
            store.judge(&from("folder", 5, "five"), at).is_none(),
            "the mount is behind"
        );
        assert!(store.judge(&from("folder", 8, "eight"), at).is_none(), "it caught up");
        assert_eq!(store.applied().unwrap().source, "folder", "and confirms what was saved");
        assert!(store.judge(&from("stream", 9, "nine"), at).is_some());
        assert!(store.judge(&from("folder", 8, "other"), at).is_none());
        assert!(
            store.judge(&from("folder", 9, "nine"), at).is_none(),
            "no news, no reload"
        );
        assert_eq!((store.applied().unwrap().source, store.refused()), ("stream", None));
        let counted = (store.metrics.ignored.get(), store.metrics.synced.get());
        assert_eq!((counted, store.report(at).rejected), ((0, 1), 0));
        assert!(
            store.judge(&from("stream", 7, "seven"), at).is_none(),
            "this one went back"
        );
        let counted = (store.metrics.ignored.get(), store.metrics.synced.get());
        assert_eq!(counted, (1, 0));
        assert!(store.judge(&from("stream", 9, "nine"), at).is_none());
        assert_eq!(
            (store.refused(), store.metrics.synced.get()),
            (None, 1),
            "until it says so again"
        );
    }

    #[test]
    fn a_wrong_one_that_comes_by_two_ways_is_told_once_and_stays_told() {
        let store = store();
        let from = |source, sequence, provider| Offer {
            source,
            ..offer(sequence, provider)
        };
        let wrong = "x}, spec: {provider: Nobody";
        assert!(store.judge(&from("stream", 1, "good"), at(1)).is_some());
        assert!(store.judge(&from("stream", 2, wrong), at(2)).is_none());
        assert!(store.judge(&from("folder", 2, wrong), at(3)).is_none());
        assert!(store.judge(&from("folder", 1, "good"), at(4)).is_none());
        let refused = store.refused().unwrap();
        assert_eq!(
            (refused.source, refused.sequence, store.report(at(4)).rejected),
            ("stream", 2, 1)
        );
        assert_eq!(store.metrics.synced.get(), 0, "the newest is not in service");
    }

    #[test]
    fn a_store_without_anything_says_so() {
        let report = store().report(at(9));
        assert!(!report.loaded && report.source.is_none() && report.age_seconds.is_none());
        assert_eq!((report.sequence, report.revision.as_str()), (0, ""));
    }
}
