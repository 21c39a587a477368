//! The store judges what sources offer.
//!
//! An offer is taken whole or not at all: what does not parse is counted, logged once with every problem, and changes
//! nothing. The highest sequence wins; an older one is ignored. The store knows what it applied and what it refused last,
//! for `/health`, metrics, the log and whoever must acknowledge an offer.

use std::sync::{Mutex, MutexGuard};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{self, Config};
use serde::Serialize;

use super::metrics::ConfigMetrics;
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
    /// The source that offered it: `file`, `folder` or `environment`.
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
    pub fn judge(&self, offer: Offer, now: Moment) -> Option<Config> {
        let Offer {
            source,
            sequence,
            documents,
        } = offer;
        let refused = |why| Refused { sequence, source, why };
        let mut config = match documents.and_then(parse) {
            Ok(config) => config,
            Err(problems) => {
                self.reject(refused(problems));
                return None;
            }
        };
        config.sequence = sequence;
        let newest = self.lock().applied.as_ref().map_or(0, |applied| applied.sequence);
        if sequence < newest {
            let why = format!("sequence {sequence} is older than {newest}, which is in service");
            self.ignore(refused(why));
            return None;
        }
        self.apply(&config, source, now);
        Some(config)
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

fn parse(documents: Documents) -> Result<Config, String> {
    let Documents { text, place, scope } = documents;
    config::load(&text, &scope).map_err(|problems| format!("{place}:\n{problems}"))
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
                ),
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
        assert_eq!(names(store.judge(offer(5, "five"), at(1))).as_deref(), Some("five"));
        assert_eq!(names(store.judge(offer(7, "seven"), at(2))).as_deref(), Some("seven"));
        assert_eq!(names(store.judge(offer(6, "six"), at(3))), None, "older");
        assert_eq!(
            names(store.judge(offer(7, "again"), at(4))).as_deref(),
            Some("again"),
            "the same sequence may come with the labels changed"
        );
        let applied = store.applied().unwrap();
        assert_eq!((applied.sequence, applied.source, applied.at), (7, "folder", at(4)));
    }

    #[test]
    fn what_is_wrong_changes_nothing_and_is_remembered_until_something_better_comes() {
        let store = store();
        store.judge(offer(1, "good"), at(1)).unwrap();
        let before = store.applied();
        let broken = Offer {
            documents: Err("bowsprit.yaml: no such file".into()),
            ..offer(2, "unread")
        };
        assert!(store.judge(broken, at(2)).is_none());
        assert!(store.judge(offer(3, "good}, spec: {provider: Nobody"), at(3)).is_none());
        assert_eq!(store.applied(), before, "the last good one stays");
        let refused = store.refused().unwrap();
        assert_eq!((refused.sequence, refused.source), (3, "folder"));
        assert!(refused.why.starts_with("bowsprit.yaml:\n"), "{}", refused.why);
        let report = store.report(at(11));
        assert_eq!(
            (report.loaded, report.rejected, report.age_seconds),
            (true, 2, Some(10))
        );
        store.judge(offer(4, "better"), at(12)).unwrap();
        assert_eq!(store.refused(), None);
        assert_eq!(store.report(at(12)).rejected, 2, "what was rejected stays counted");
    }

    #[test]
    fn an_older_one_is_refused_but_not_counted_as_wrong() {
        let store = store();
        store.judge(offer(5, "five"), at(1)).unwrap();
        assert!(store.judge(offer(4, "four"), at(2)).is_none());
        assert_eq!(
            store.refused().unwrap().why,
            "sequence 4 is older than 5, which is in service"
        );
        assert_eq!(store.report(at(2)).rejected, 0);
        assert_eq!((store.metrics.ignored.get(), store.metrics.synced.get()), (1, 0));
    }

    #[test]
    fn a_store_without_anything_says_so() {
        let report = store().report(at(9));
        assert!(!report.loaded && report.source.is_none() && report.age_seconds.is_none());
        assert_eq!((report.sequence, report.revision.as_str()), (0, ""));
    }
}
