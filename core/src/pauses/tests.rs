use std::collections::VecDeque;

use super::*;

fn wire(policy: &str) -> WirePause {
    WirePause {
        policy: policy.into(),
        paused: true,
        ..WirePause::default()
    }
}

fn document(policies: &[WirePause]) -> Config {
    Config {
        policies: policies.iter().map(|wire| Arc::new(wire.policy())).collect(),
        ..Config::default()
    }
}

fn at(seconds: u64) -> Moment {
    Moment::from_start(Duration::from_secs(seconds))
}

/// Whether everything is paused for a pod without labels.
fn pauses(word: &Pauses, document: &Config) -> bool {
    let config = word.over(document.clone(), &BTreeMap::new());
    config.policies.iter().any(|policy| policy.paused.is_some())
}

#[test]
fn a_document_of_before_the_pause_that_comes_after_it_lifts_nothing() {
    let mut word = Pauses::default();
    let before = document(&[]);
    assert!(!pauses(&word, &before));
    assert!(word.told(&[wire("freeze")]));
    assert!(pauses(&word, &before));
    word.served(&before, at(1));
    assert!(pauses(&word, &before));
    assert!(!word.told(&[wire("freeze")]), "said twice it is no news");
}

#[test]
fn a_resume_is_in_force_once_word_and_document_have_it_whichever_comes_first() {
    let (paused, resumed) = (document(&[wire("freeze")]), document(&[]));
    let mut word = Pauses::default();
    word.told(&[wire("freeze")]);
    word.served(&resumed, at(2));
    assert!(pauses(&word, &resumed), "the word holds it");
    word.told(&[]);
    assert!(!pauses(&word, &resumed));
    assert!(pauses(&word, &paused), "and a document alone does");
}

#[test]
fn a_word_for_other_pods_pauses_nothing_here_and_new_labels_are_heard() {
    let mut word = Pauses::default();
    let selector = serde_json::from_value(serde_json::json!({"matchLabels": {"app": "shop"}})).unwrap();
    word.told(&[WirePause {
        pod_selector: Some(selector),
        ..wire("freeze")
    }]);
    let policies = |app: &str| {
        let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        word.over(document(&[]), &labels).policies.len()
    };
    assert_eq!((policies("web"), policies("shop")), (0, 1));
}

#[test]
fn the_word_adds_to_the_policies_that_are_there_and_takes_nothing_of_them() {
    let object = |name: &str, reason: &str| PausedObject {
        name: name.into(),
        reason: Some(reason.into()),
    };
    let there = WirePause {
        paused: false,
        paused_providers: vec![object("claude", "old"), object("openai", "old")],
        ..wire("b")
    };
    let mut word = Pauses::default();
    let told = WirePause {
        paused_reason: Some("new".into()),
        paused_providers: vec![object("claude", "new")],
        ..wire("b")
    };
    word.told(&[wire("a"), told, wire("c")]);
    let config = word.over(document(&[there]), &BTreeMap::new());
    let names: Vec<&str> = config.policies.iter().map(|policy| &*policy.name).collect();
    assert_eq!(names, ["a", "b", "c"], "by name, as everywhere");
    let policy = &config.policies[1];
    assert_eq!(policy.paused.as_ref().unwrap().reason.as_deref(), Some("new"));
    assert_eq!(
        policy.paused_providers,
        [object("openai", "old"), object("claude", "new")]
    );
}

#[test]
fn what_an_ended_stream_said_stays_until_a_document_answers_for_it_or_cannot_be_of_before() {
    let paused = document(&[wire("freeze")]);
    let mut word = Pauses::default();
    word.told(&[wire("freeze")]);
    word.ended(Some(&document(&[])), at(10));
    word.ended(Some(&document(&[])), at(100));
    word.served(&document(&[]), at(129));
    assert!(
        pauses(&word, &document(&[])),
        "it may have been under way for two minutes"
    );
    let mut late = word.clone();
    late.served(&document(&[]), at(130));
    assert!(!pauses(&late, &document(&[])), "counted from the first end");
    for unlike in [
        wire("another"),
        WirePause {
            paused_reason: Some("yesterday's".into()),
            ..wire("freeze")
        },
    ] {
        word.served(&document(&[unlike]), at(20));
        assert!(
            !word.is_empty(),
            "another policy, or pause, does not answer for this one"
        );
    }
    word.served(&paused, at(20));
    assert!(word.is_empty() && pauses(&word, &paused));
    // One that was in service already when the stream ended answers as well.
    word.told(&[wire("freeze")]);
    word.ended(Some(&paused), at(30));
    assert!(word.is_empty());
}

#[test]
fn what_an_ended_stream_said_ends_by_itself_where_nobody_says_anything_and_no_document_comes() {
    let nothing = document(&[]);
    let mut word = Pauses::default();
    word.told(&[wire("freeze")]);
    assert!(!word.expire(at(1_000)) && pauses(&word, &nothing), "its stream stands");
    word.ended(Some(&nothing), at(1_000));
    assert!(
        !word.expire(at(1_119)) && pauses(&word, &nothing),
        "its document may come"
    );
    let mut spoken = word.clone();
    assert!(word.expire(at(1_120)) && !pauses(&word, &nothing));
    assert!(!word.expire(at(1_121)), "once");
    spoken.told(&[wire("freeze")]);
    assert!(
        !spoken.expire(at(1_120)) && pauses(&spoken, &nothing),
        "the next stream says it"
    );
}

/// A cluster in which one policy is turned on and off: `truth[n]` is what was true from the nth turn on.
struct World {
    truth: Vec<bool>,
    /// Up to where the leader's watch and the watch of the operator with the stream are.
    leader: usize,
    operator: usize,
    /// Documents under way, with the turn that they are of, and when the mount has them.
    stream: VecDeque<usize>,
    mount: VecDeque<(usize, u64)>,
    words: VecDeque<usize>,
    is_up: bool,
    /// Whether the operator with the stream is of the release before, and has no word.
    is_mute: bool,
    now: u64,
    /// What the sidecar has.
    word: Pauses,
    document: usize,
    heard: Option<usize>,
    /// What the stream that stands has said last.
    says: Option<usize>,
    /// When the first stream ended since the last word.
    ended: Option<u64>,
}

impl World {
    fn new() -> Self {
        Self {
            truth: vec![false],
            leader: 0,
            operator: 0,
            stream: VecDeque::new(),
            mount: VecDeque::new(),
            words: VecDeque::new(),
            is_up: false,
            is_mute: false,
            now: 0,
            word: Pauses::default(),
            document: 0,
            heard: None,
            says: None,
            ended: None,
        }
    }

    /// Each pause has a reason of its own.
    fn by(&self, turn: usize) -> Vec<WirePause> {
        let pause = WirePause {
            paused_reason: Some(format!("turn {turn}")),
            ..wire("freeze")
        };
        self.truth[turn].then_some(pause).into_iter().collect()
    }

    fn config(&self, turn: usize) -> Config {
        document(&self.by(turn))
    }

    fn take(&mut self, turn: usize) {
        // The store never goes back, and what is in service already is no news.
        if turn > self.document {
            let is_news = self.by(turn) != self.by(self.document);
            self.document = turn;
            if is_news {
                let config = self.config(turn);
                self.word.served(&config, at(self.now));
            }
        }
    }

    fn hear(&mut self) {
        if let Some(turn) = self.words.pop_front() {
            self.word.told(&self.by(turn));
            (self.heard, self.says, self.ended) = (Some(turn), Some(turn), None);
        }
    }

    fn step(&mut self, chance: &mut fastrand::Rng) {
        let newest = self.truth.len() - 1;
        match chance.u8(..10) {
            0 => self.truth.push(!self.truth[newest]),
            1 | 2 => {
                let turn = chance.usize(self.leader..=newest);
                if turn > self.leader {
                    self.leader = turn;
                    // What was written later is not there sooner.
                    let before = self.mount.back().map_or(0, |(_, due)| *due);
                    let by_mount = self.now + chance.u64(..LATEST.as_secs());
                    self.mount.push_back((turn, by_mount.max(before)));
                    if self.is_up {
                        self.stream.push_back(turn);
                    }
                }
            }
            3 | 4 => {
                let turn = chance.usize(self.operator..=newest);
                if turn > self.operator && self.is_up && !self.is_mute {
                    self.words.push_back(turn);
                }
                self.operator = turn;
            }
            5 => self.hear(),
            6 => {
                if let Some(turn) = self.stream.pop_front() {
                    self.take(turn);
                }
            }
            7 => {
                let until = self.now + chance.u64(..60);
                while let Some(&(turn, due)) = self.mount.front()
                    && due <= until
                {
                    self.mount.pop_front();
                    self.now = self.now.max(due);
                    self.take(turn);
                }
                self.now = until;
            }
            8 if self.is_up => {
                (self.is_up, self.words, self.stream) = (false, VecDeque::new(), VecDeque::new());
                let config = self.config(self.document);
                self.word.ended(Some(&config), at(self.now));
                self.says = None;
                self.ended.get_or_insert(self.now);
            }
            8 => self.connect(chance.u8(..4) == 0),
            _ => {}
        }
        self.word.expire(at(self.now));
    }

    /// To an operator that may be behind the one before, but not behind what it has told this sidecar: a watch does not go back.
    fn connect(&mut self, is_mute: bool) {
        (self.is_up, self.is_mute) = (true, is_mute);
        self.operator = self.operator.max(self.heard.unwrap_or(0));
        if !is_mute {
            self.words.push_back(self.operator);
        }
        self.stream.push_back(self.leader);
    }

    /// Whether the word of a stream that has ended is so old that it counts no more.
    fn is_over(&self) -> bool {
        self.ended.is_some_and(|ended| self.now - ended >= LATEST.as_secs())
    }

    fn is_paused(&self) -> bool {
        pauses(&self.word, &self.config(self.document))
    }
}

#[test]
fn in_any_history_a_pause_that_was_heard_holds_until_it_is_taken_back_and_all_agree_in_the_end() {
    let mut held = 0;
    for seed in 0..4_000 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut world = World::new();
        for step in 0..chance.usize(10..80) {
            world.step(&mut chance);
            if let Some(heard) = world.heard
                && world.truth[heard..].iter().all(|paused| *paused)
                && !world.is_over()
            {
                held += usize::from(!world.truth[world.document]);
                assert!(world.is_paused(), "seed {seed}, step {step}: it was lifted by nobody");
            }
        }
        // All is told and delivered.
        let newest = world.truth.len() - 1;
        (world.leader, world.operator) = (newest, newest);
        if !world.is_up {
            world.connect(false);
        }
        if world.is_mute {
            world.now += LATEST.as_secs();
            world.word.expire(at(world.now));
        } else {
            world.words.push_back(newest);
        }
        while !world.words.is_empty() {
            world.hear();
        }
        world.take(newest);
        assert_eq!(world.is_paused(), world.truth[newest], "seed {seed}: not what is true");
    }
    assert!(held > 1_000, "{held}: too rarely a document of before was in service");
}

#[test]
fn in_any_history_what_holds_two_minutes_after_the_last_word_is_what_the_document_and_the_stream_say() {
    let (mut ended, mut stood) = (0, 0);
    for seed in 0..4_000 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut world = World::new();
        for step in 0..chance.usize(10..120) {
            world.step(&mut chance);
            if world.says.is_some() || world.ended.is_none() || world.is_over() {
                let says = world.says.is_some_and(|turn| world.truth[turn]);
                let is_said = says || world.truth[world.document];
                assert_eq!(world.is_paused(), is_said, "seed {seed}, step {step}");
                let was_heard = world.heard.is_some_and(|turn| world.truth[turn]);
                ended += usize::from(was_heard && !is_said);
                stood += usize::from(is_said);
            }
        }
    }
    assert!(ended > 1_000 && stood > 1_000, "{ended}, {stood}: too rarely");
}
