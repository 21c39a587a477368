//! The store judges what sources offer.
//!
//! An offer is taken whole or not at all: what does not parse is counted, logged once with every problem, and changes
//! nothing. The highest sequence wins; an older one is ignored, quietly where another source is merely behind the one that
//! serves. One that no operator can have given, since it is far beyond the clock, counts for less than any that one can:
//! it is taken where there is nothing else to serve, and gives way. What comes twice, by two ways, is judged once. The store knows what it applied and what it refused last, for
//! `/health`, metrics, the log and whoever must acknowledge an offer.

use std::sync::{Mutex, MutexGuard};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{self, Config, is_given};
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
    /// UsagePolicies of it that hold for this pod.
    pub policies: u32,
    /// When it was applied.
    pub at: Moment,
    /// Whether an operator may have given its sequence, when it was applied.
    is_given: bool,
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
    /// Its source has gone back, or offers what no operator has made.
    Ignored(String),
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
    /// UsagePolicies of it that hold for this pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<u32>,
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

    /// Judges an offer, at `clock` (Unix seconds). `Some`: it is the configuration in service from now on, and whoever asks must
    /// bring it there.
    pub fn judge(&self, offer: &Offer, now: Moment, clock: u64) -> Option<Config> {
        let weighed = self.lock().weigh(offer, clock);
        match weighed {
            Weighed::News => self.read(offer, now, is_given(offer.sequence, clock) || offer.sequence == 0),
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
            Weighed::Ignored(why) => {
                self.ignore(offer.refused(why));
                None
            }
        }
    }

    /// Judges what is in service anew, because it is to be read in another way.
    pub fn judge_again(&self, offer: &Offer, now: Moment) -> Option<Config> {
        let is_given = self.lock().applied.as_ref().is_none_or(|applied| applied.is_given);
        self.read(offer, now, is_given)
    }

    fn read(&self, offer: &Offer, now: Moment, is_given: bool) -> Option<Config> {
        let read = offer.documents.as_ref().map_err(Clone::clone).and_then(parse);
        match read {
            Ok(mut config) => {
                config.sequence = offer.sequence;
                self.apply(&config, offer.source, now, is_given);
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
            .is_some_and(|refused| refused.sequence <= offer.sequence || refused.source == offer.source)
        {
            state.refused = None;
            self.metrics.synced.set(1);
        }
    }

    fn apply(&self, config: &Config, source: &'static str, now: Moment, is_given: bool) {
        let mut notices: Vec<_> = config.notices.iter().map(ToString::to_string).collect();
        notices
            .extend((!is_given).then(|| far(config.sequence, "it serves until one comes that an operator has given")));
        for notice in &notices {
            tracing::warn!(notice, "configuration");
        }
        self.metrics.applied(config);
        tracing::info!(
            revision = config.revision,
            sequence = config.sequence,
            providers = config.providers.len(),
            routes = config.routes.len(),
            policies = config.policies.len(),
            "configuration in service"
        );
        let mut state = self.lock();
        state.refused = None;
        state.applied = Some(Applied {
            revision: config.revision.clone(),
            sequence: config.sequence,
            source,
            policies: u32::try_from(config.policies.len()).unwrap_or(u32::MAX),
            at: now,
            is_given,
            notices,
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
            policies: applied.map(|it| it.policies),
            age_seconds: applied.map(|it| (now - it.at).as_secs()),
            rejected: state.rejected,
            last_error: state.refused.as_ref().map(|refused| refused.why.clone()),
            notices: applied.map(|it| it.notices.clone()).unwrap_or_default(),
        }
    }
}

impl State {
    fn weigh(&self, offer: &Offer, clock: u64) -> Weighed {
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
        let may_be = is_given(offer.sequence, clock);
        // One that the clock has reached since was given after all: it was the clock that was wrong.
        let stands = applied.is_given || newest <= clock;
        match offer.sequence {
            0 if newest == 0 => Weighed::News,
            // What cannot be read may have no sequence, and is told.
            _ if revision.is_empty() => Weighed::News,
            sequence if sequence == newest && revision == applied.revision => Weighed::InService,
            _ if may_be && !stands => Weighed::News,
            sequence if sequence > 0 && !may_be && stands => {
                Weighed::Ignored(far(sequence, "what is in service stays"))
            }
            sequence if sequence >= newest => Weighed::News,
            sequence if offer.source == applied.source => Weighed::Ignored(format!(
                "sequence {sequence} is older than {newest}, which is in service"
            )),
            _ => Weighed::Behind,
        }
    }
}

/// Of a sequence that no operator can have given.
fn far(sequence: u64, so: &str) -> String {
    format!("sequence {sequence} is of a day that is yet to come, so it was written by hand: {so}")
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

    const CLOCK: u64 = 1_000;

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
        assert_eq!(
            names(store.judge(&offer(5, "five"), at(1), CLOCK)).as_deref(),
            Some("five")
        );
        assert_eq!(
            names(store.judge(&offer(7, "seven"), at(2), CLOCK)).as_deref(),
            Some("seven")
        );
        assert_eq!(names(store.judge(&offer(6, "six"), at(3), CLOCK)), None, "older");
        assert_eq!(
            names(store.judge(&offer(7, "again"), at(4), CLOCK)).as_deref(),
            Some("again"),
            "a sequence that came twice with another content: the newest word counts"
        );
        let applied = store.applied().unwrap();
        assert_eq!((applied.sequence, applied.source, applied.at), (7, "folder", at(4)));
    }

    #[test]
    fn what_is_wrong_changes_nothing_and_is_remembered_until_something_better_comes() {
        let store = store();
        store.judge(&offer(1, "good"), at(1), CLOCK).unwrap();
        let before = store.applied();
        let broken = Offer {
            documents: Err("bowsprit.yaml: no such file".into()),
            ..offer(2, "unread")
        };
        assert!(store.judge(&broken, at(2), CLOCK).is_none());
        assert!(
            store
                .judge(&offer(3, "good}, spec: {provider: Nobody"), at(3), CLOCK)
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
        store.judge(&offer(4, "better"), at(12), CLOCK).unwrap();
        assert_eq!(store.refused(), None);
        assert_eq!(store.report(at(12)).rejected, 2, "what was rejected stays counted");
    }

    #[test]
    fn an_older_one_is_refused_but_not_counted_as_wrong() {
        let store = store();
        store.judge(&offer(5, "five"), at(1), CLOCK).unwrap();
        assert!(store.judge(&offer(4, "four"), at(2), CLOCK).is_none());
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
        assert!(store.judge(&from("saved", 8, "eight"), at, CLOCK).is_some());
        assert!(
            store.judge(&from("folder", 5, "five"), at, CLOCK).is_none(),
            "the mount is behind"
        );
        assert!(
            store.judge(&from("folder", 8, "eight"), at, CLOCK).is_none(),
            "it caught up"
        );
        assert_eq!(store.applied().unwrap().source, "folder", "and confirms what was saved");
        assert!(store.judge(&from("stream", 9, "nine"), at, CLOCK).is_some());
        assert!(store.judge(&from("folder", 8, "other"), at, CLOCK).is_none());
        assert!(
            store.judge(&from("folder", 9, "nine"), at, CLOCK).is_none(),
            "no news, no reload"
        );
        assert_eq!((store.applied().unwrap().source, store.refused()), ("stream", None));
        let counted = (store.metrics.ignored.get(), store.metrics.synced.get());
        assert_eq!((counted, store.report(at).rejected), ((0, 1), 0));
        assert!(
            store.judge(&from("stream", 7, "seven"), at, CLOCK).is_none(),
            "this one went back"
        );
        let counted = (store.metrics.ignored.get(), store.metrics.synced.get());
        assert_eq!(counted, (1, 0));
        assert!(store.judge(&from("stream", 9, "nine"), at, CLOCK).is_none());
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
        assert!(store.judge(&from("stream", 1, "good"), at(1), CLOCK).is_some());
        assert!(store.judge(&from("stream", 2, wrong), at(2), CLOCK).is_none());
        assert!(store.judge(&from("folder", 2, wrong), at(3), CLOCK).is_none());
        assert!(store.judge(&from("folder", 1, "good"), at(4), CLOCK).is_none());
        let refused = store.refused().unwrap();
        assert_eq!(
            (refused.source, refused.sequence, store.report(at(4)).rejected),
            ("stream", 2, 1)
        );
        assert_eq!(store.metrics.synced.get(), 0, "the newest is not in service");
    }

    #[test]
    fn what_no_operator_has_given_serves_where_nothing_else_does_and_ends_nothing_that_comes_after() {
        const FAR: u64 = 99_999_999_999;
        let store = store();
        let from = |source, sequence, provider| Offer {
            source,
            ..offer(sequence, provider)
        };
        let judged = |offer: &Offer, clock| store.judge(offer, at(1), clock).is_some();
        assert!(
            judged(&from("folder", FAR, "by hand"), CLOCK),
            "a pod that starts with it serves"
        );
        let notices = store.report(at(1)).notices;
        assert_eq!(
            notices,
            [
                "sequence 99999999999 is of a day that is yet to come, so it was written by hand: it serves until one comes that an \
              operator has given"
            ]
        );
        assert!(judged(&from("stream", 900, "given"), CLOCK));
        assert_eq!(store.report(at(1)).notices, [""; 0]);
        assert!(
            !judged(&from("folder", FAR, "by hand"), CLOCK),
            "and one that runs is not moved by it"
        );
        let refused = store.refused().unwrap();
        assert_eq!((refused.source, refused.sequence), ("folder", FAR));
        assert!(refused.why.ends_with("what is in service stays"), "{}", refused.why);
        assert_eq!((store.metrics.ignored.get(), store.metrics.rejected.get()), (1, 0));
        assert!(!judged(&from("folder", 900, "given"), CLOCK), "the folder was put back");
        assert_eq!((store.refused(), store.metrics.synced.get()), (None, 1));
    }

    #[test]
    fn on_a_node_whose_clock_is_years_behind_the_highest_wins_too_and_stays_when_the_clock_is_right() {
        let (store, wrong, right) = (store(), 10, 2_000_000_000);
        let judged = |offer: &Offer, clock| store.judge(offer, at(1), clock).is_some();
        assert!(judged(&offer(right - 7, "seven"), wrong) && judged(&offer(right - 5, "five"), wrong));
        assert!(!judged(&offer(right - 6, "six"), wrong) && !judged(&offer(right - 6, "six"), right));
        assert_eq!(store.applied().unwrap().sequence, right - 5);
        assert!(judged(&offer(right - 4, "four"), right));
    }

    #[test]
    fn in_any_history_the_highest_that_an_operator_can_have_given_is_in_service() {
        for seed in 0..300 {
            let (mut chance, store) = (fastrand::Rng::with_seed(seed), store());
            let (mut given, mut far) = (0, 0);
            for _ in 0..chance.usize(1..20) {
                let sequence = match chance.u8(..4) {
                    0 => CLOCK + config::MAX_BEYOND + chance.u64(1..5),
                    1 => u64::MAX - chance.u64(..3),
                    _ => chance.u64(1..CLOCK + config::MAX_BEYOND),
                };
                let best = if is_given(sequence, CLOCK) {
                    &mut given
                } else {
                    &mut far
                };
                *best = sequence.max(*best);
                let source = ["folder", "stream", "saved"][chance.usize(..3)];
                let offer = Offer {
                    source,
                    ..offer(sequence, &format!("p{sequence}"))
                };
                store.judge(&offer, at(1), CLOCK);
                let expected = if given > 0 { given } else { far };
                assert_eq!(
                    store.applied().unwrap().sequence,
                    expected,
                    "seed {seed}, after {sequence}"
                );
            }
        }
    }

    #[test]
    fn a_store_without_anything_says_so() {
        let report = store().report(at(9));
        assert!(!report.loaded && report.source.is_none() && report.age_seconds.is_none());
        assert_eq!((report.sequence, report.revision.as_str()), (0, ""));
    }
}
