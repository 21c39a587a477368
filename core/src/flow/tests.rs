use super::*;
use crate::classify::{Ended, KeyVerdict, classify};
use crate::config::{Config, Scope, load};
use crate::dialect::Dialect;
use crate::fault::{ErrorKind, TransportFault};
use crate::hedge;
use crate::limiter::{Limited, Which};
use crate::plan::{Availability, plan};
use std::collections::BTreeSet;

fn config(retry: &str) -> Config {
    let document = |(name, priority)| {
        format!(
            "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: {name}}}\nspec: {{provider: OpenAI, \
             priority: {priority}, credentials: [{{name: main, env: A}}], models: [{{name: m}}], retry: {retry}, \
             rateLimits: {{onLimit: Wait, maxWait: 5s}}}}\n"
        )
    };
    let text: String = [("a", 1), ("b", 2)].into_iter().map(document).collect();
    load(&text, &Scope::Standalone).unwrap()
}

const RETRY: &str = "{maxAttempts: 3, retryOn: [Connect, ServerError, Overloaded, RateLimited], backoff: {base: 100ms, max: 1s, jitter: None}}";

/// A world that answers as it is told.
#[derive(Default)]
struct Scripted {
    refused: Vec<(usize, Refused)>,
    untrusted: Vec<usize>,
    other_credential: bool,
    budget: u32,
    hedge_delay: Option<Duration>,
    held: Vec<usize>,
    log: Vec<String>,
}

impl Pool for Scripted {
    fn fits(&mut self, _: usize) -> Fit {
        Fit::Fits
    }

    fn acquire(&mut self, candidate: usize, _: Moment) -> Result<(), Refused> {
        if let Some(at) = self.refused.iter().position(|(of, _)| *of == candidate) {
            return Err(self.refused.remove(at).1);
        }
        self.held.push(candidate);
        self.log.push(format!("acquire {candidate}"));
        Ok(())
    }

    fn release(&mut self, candidate: usize, _: Moment) {
        self.held.retain(|held| *held != candidate);
        self.log.push(format!("release {candidate}"));
    }

    fn is_trusted(&self, candidate: usize) -> bool {
        !self.untrusted.contains(&candidate)
    }

    fn other_credential(&self, _: usize, _: Moment) -> bool {
        self.other_credential
    }

    fn headroom_in(&self, _: usize, _: Moment) -> Option<Duration> {
        None
    }

    fn budget_left(&mut self, _: usize, _: Moment) -> bool {
        self.budget > 0
    }

    fn withdraw(&mut self, _: usize, _: Moment) -> bool {
        self.log.push("withdraw".into());
        let left = self.budget.checked_sub(1);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    fn count_request(&mut self, _: bool, _: Moment) {}
    fn count_hedgeable(&mut self) {}

    fn hedge_delay(&self, _: usize, _: Moment) -> Option<Duration> {
        self.hedge_delay
    }

    fn withdraw_hedge(&mut self) -> bool {
        true
    }
}

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

fn failed(ended: Ended) -> Failed {
    Failed {
        ended,
        decision: classify(&ended),
        retry_after: None,
        retry_forbidden: false,
    }
}

fn status(status: u16, kind: ErrorKind) -> Ended {
    Ended::Status { status, kind }
}

fn server_error() -> Failed {
    failed(status(500, ErrorKind::Internal))
}

fn flow(config: &Config, terms: Terms) -> Flow {
    let available = |_: &Provider, _: &str| Availability::Available;
    let plan = plan(config, Dialect::OpenAiChat, &"m".into(), &available, &mut || 0.0);
    let mut flow = Flow::received();
    flow.planned(plan.candidates.clone(), terms);
    flow
}

/// The candidate whose attempt goes out now.
fn sent(flow: &mut Flow, pool: &mut Scripted, now: u64) -> (usize, AttemptKind) {
    match flow.next(pool, at(now)) {
        Step::Attempt { candidate, kind, .. } => (candidate, kind),
        other => panic!("{other:?}"),
    }
}

fn fails(flow: &mut Flow, pool: &mut Scripted, candidate: usize, failed: Failed, now: u64) -> Option<(Next, Why)> {
    let mut rng = fastrand::Rng::with_seed(1);
    flow.ended(candidate, failed, pool, at(now), &mut rng)
}

#[test]
fn eight_states_fourteen_events_and_sixteen_changes() {
    assert_eq!((State::ALL.len(), Event::ALL.len(), CHANGES.len()), (8, 14, 16));
    let from: BTreeSet<_> = CHANGES.iter().map(|change| change.from).collect();
    assert!(!from.iter().any(|state| state.is_terminal()), "an end is final");
    let reached: BTreeSet<_> = CHANGES.iter().map(|change| change.to).collect();
    assert_eq!(reached.len(), 7, "every state but the first is reached");
    // A chunk changes nothing; every other event does somewhere.
    for event in Event::ALL.into_iter().filter(|event| *event != Event::Chunk) {
        assert!(CHANGES.iter().any(|change| change.by.contains(&event)), "{event:?}");
    }
}

#[test]
fn each_condition_of_a_retry_decides_in_its_order() {
    let config = config(RETRY);
    let retry = &config.providers[0].retry;
    let standing = Standing {
        retry,
        attempts: 1,
        is_last: false,
        is_trusted: true,
        other_credential: false,
        sdk_retries: 0,
        budget_left: true,
    };
    let throttled = failed(status(429, ErrorKind::RateLimited));
    let with_hint = |mut failed: Failed, hint: u64| {
        failed.retry_after = Some(Duration::from_millis(hint));
        failed
    };
    let forbidden = Failed {
        retry_forbidden: true,
        ..server_error()
    };
    let reset = failed(Ended::Transport {
        fault: TransportFault::Reset,
        content_sent: false,
    });
    let bad_key = failed(status(401, ErrorKind::Authentication));
    let again = |millis| Next::Again(Duration::from_millis(millis));
    let rows = [
        ("a server error", server_error(), standing, again(100), Why::MayPass),
        (
            "the second time",
            server_error(),
            Standing {
                attempts: 2,
                ..standing
            },
            again(200),
            Why::MayPass,
        ),
        (
            "all attempts made",
            server_error(),
            Standing {
                attempts: 3,
                ..standing
            },
            Next::Onward,
            Why::AttemptsUsed,
        ),
        (
            "at the last",
            server_error(),
            Standing {
                attempts: 3,
                is_last: true,
                ..standing
            },
            Next::Stop,
            Why::AttemptsUsed,
        ),
        (
            "the caller's mistake",
            failed(status(400, ErrorKind::InvalidRequest)),
            standing,
            Next::Stop,
            Why::WouldFailAgain,
        ),
        ("a bad key", bad_key, standing, Next::Onward, Why::WouldFailAgain),
        (
            "a bad key, one more",
            bad_key,
            Standing {
                other_credential: true,
                attempts: 9,
                ..standing
            },
            Next::OtherCredential,
            Why::CredentialJudged,
        ),
        (
            "throttled, one more key",
            throttled,
            Standing {
                other_credential: true,
                sdk_retries: 3,
                ..standing
            },
            Next::OtherCredential,
            Why::CredentialJudged,
        ),
        ("not covered", reset, standing, Next::Onward, Why::NotCovered),
        ("forbidden", forbidden, standing, Next::Onward, Why::ProviderForbids),
        (
            "an SDK's own retry",
            server_error(),
            Standing {
                sdk_retries: 1,
                ..standing
            },
            Next::Onward,
            Why::SdkRepeats,
        ),
        (
            "no trust",
            server_error(),
            Standing {
                is_trusted: false,
                ..standing
            },
            Next::Onward,
            Why::NotTrusted,
        ),
        (
            "no trust, nobody else",
            server_error(),
            Standing {
                is_trusted: false,
                is_last: true,
                ..standing
            },
            again(100),
            Why::MayPass,
        ),
        (
            "a short hint",
            with_hint(throttled, 900),
            standing,
            again(900),
            Why::MayPass,
        ),
        (
            "a long hint",
            with_hint(throttled, 1_100),
            standing,
            Next::Onward,
            Why::OtherIsSooner,
        ),
        (
            "a long hint, nobody else",
            with_hint(throttled, 1_100),
            Standing {
                is_last: true,
                ..standing
            },
            again(1_100),
            Why::MayPass,
        ),
        (
            "too long a hint",
            with_hint(throttled, 31_000),
            Standing {
                is_last: true,
                ..standing
            },
            Next::Stop,
            Why::HintTooLong,
        ),
        (
            "no budget",
            server_error(),
            Standing {
                budget_left: false,
                ..standing
            },
            Next::Onward,
            Why::BudgetSpent,
        ),
    ];
    for (what, failed, standing, next, why) in rows {
        let decided = retry::decide(&failed, &standing, &mut fastrand::Rng::with_seed(1));
        assert_eq!(decided, (next, why), "{what}");
    }
    assert_eq!(bad_key.decision.key, KeyVerdict::SetAside);
}

#[test]
fn an_attempt_is_paid_for_as_it_goes_out_and_never_before() {
    let config = config(RETRY);
    let (mut flow, mut pool) = (
        flow(&config, Terms::default()),
        Scripted {
            budget: 1,
            ..Scripted::default()
        },
    );
    assert_eq!(sent(&mut flow, &mut pool, 0), (0, AttemptKind::First));
    assert!(fails(&mut flow, &mut pool, 0, server_error(), 10).is_some());
    let backoff = Step::Wait {
        candidate: 0,
        reason: WaitReason::Backoff,
        most: Duration::from_millis(100),
    };
    assert_eq!(flow.next(&mut pool, at(10)), backoff);
    assert_eq!(pool.log, ["acquire 0"], "a decision costs nothing, nor does the wait");
    assert_eq!(sent(&mut flow, &mut pool, 110), (0, AttemptKind::Retry));
    assert_eq!(pool.log, ["acquire 0", "acquire 0", "withdraw"]);
}

#[test]
fn a_retry_whose_budget_went_to_another_gives_its_place_back_and_goes_on() {
    let config = config(RETRY);
    let (mut flow, mut pool) = (
        flow(&config, Terms::default()),
        Scripted {
            budget: 1,
            ..Scripted::default()
        },
    );
    sent(&mut flow, &mut pool, 0);
    fails(&mut flow, &mut pool, 0, server_error(), 10);
    pool.budget = 0;
    assert_eq!(sent(&mut flow, &mut pool, 110), (1, AttemptKind::Fallback));
    assert_eq!(
        pool.log,
        ["acquire 0", "acquire 0", "withdraw", "release 0", "acquire 1"]
    );
    assert_eq!(flow.skips()[0].reason, SkipReason::RetryBudget);
}

#[test]
fn a_wait_for_a_place_ends_at_its_limit_and_at_another_candidate() {
    let config = config(RETRY);
    let mut flow = flow(&config, Terms::default());
    let limited = |seconds| {
        Refused::Limited(Limited {
            which: Which::Requests,
            retry_in: Some(Duration::from_secs(seconds)),
        })
    };
    let mut pool = Scripted {
        refused: vec![(0, limited(2)), (0, limited(4))],
        ..Scripted::default()
    };
    let wait = Step::Wait {
        candidate: 0,
        reason: WaitReason::Limit,
        most: Duration::from_secs(2),
    };
    assert_eq!((flow.next(&mut pool, at(0)), flow.state()), (wait, State::RateLimited));
    // Of the five seconds that it may wait three are left.
    assert_eq!(sent(&mut flow, &mut pool, 2_000), (1, AttemptKind::First));
    assert_eq!(flow.state(), State::Requesting);
}

#[test]
fn a_named_limit_at_a_candidate_says_itself_what_follows() {
    let config = config(RETRY);
    let over = |on_limit, seconds| Refused::Over {
        limited: Limited {
            which: Which::Requests,
            retry_in: Some(Duration::from_secs(seconds)),
        },
        on_limit,
        max_wait: Duration::from_secs(8),
    };
    let next = |refused: Vec<Refused>| {
        let mut pool = Scripted {
            refused: refused.into_iter().map(|refused| (0, refused)).collect(),
            ..Scripted::default()
        };
        let mut flow = flow(&config, Terms::default());
        (flow.next(&mut pool, at(0)), flow.next(&mut pool, at(7_000)))
    };
    let step = next(vec![over(OnLimit::Wait, 7), over(OnLimit::Wait, 1)]).0;
    assert!(
        matches!(step, Step::Wait { candidate: 0, most, .. } if most == Duration::from_secs(7)),
        "longer than the provider's five seconds: {step:?}"
    );
    let again = next(vec![over(OnLimit::Wait, 7), over(OnLimit::Wait, 1)]).1;
    assert!(matches!(again, Step::Wait { candidate: 0, .. }), "{again:?}");
    let late = next(vec![over(OnLimit::Wait, 7), over(OnLimit::Wait, 2)]).1;
    assert!(matches!(late, Step::Attempt { candidate: 1, .. }), "{late:?}");
    let elsewhere = next(vec![over(OnLimit::Fallback, 1)]).0;
    assert!(matches!(elsewhere, Step::Attempt { candidate: 1, .. }), "{elsewhere:?}");
    let refused = next(vec![over(OnLimit::Reject, 1)]).0;
    assert!(
        matches!(refused, Step::Respond(End::Limited { candidate: 0, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_slower_of_two_is_dropped_and_both_failing_go_on_from_the_second() {
    let config = config(RETRY);
    let hedge = hedge::HedgeSettings {
        after: Some(Duration::from_millis(50)),
        percentile: None,
        max_percent: 100,
    };
    let terms = Terms {
        hedge: Some(hedge),
        ..Terms::default()
    };
    let pool = || Scripted {
        hedge_delay: hedge.after,
        budget: 9,
        ..Scripted::default()
    };
    let (mut won, mut world) = (flow(&config, terms), pool());
    sent(&mut won, &mut world, 0);
    assert_eq!(won.next(&mut world, at(0)), Step::Await { until: Some(at(50)) });
    assert_eq!(sent(&mut won, &mut world, 50), (1, AttemptKind::Hedge));
    assert_eq!(
        won.next(&mut world, at(60)),
        Step::Await { until: None },
        "two at once at most"
    );
    won.answered(1, false);
    assert_eq!(
        won.next(&mut world, at(70)),
        Step::Respond(End::Answered { candidate: 1 })
    );
    assert_eq!(
        (won.state(), won.outcome(), won.hedges()),
        (State::Completed, Some(Outcome::Ok), 1)
    );

    let (mut lost, mut world) = (flow(&config, terms), pool());
    sent(&mut lost, &mut world, 0);
    assert_eq!(sent(&mut lost, &mut world, 50), (1, AttemptKind::Hedge));
    assert_eq!(
        fails(&mut lost, &mut world, 0, server_error(), 60),
        None,
        "the other may still answer"
    );
    let followed = fails(&mut lost, &mut world, 1, server_error(), 70);
    assert_eq!(followed, Some((Next::Again(Duration::from_millis(100)), Why::MayPass)));
    assert_eq!(sent(&mut lost, &mut world, 170), (1, AttemptKind::Retry));
}

#[test]
fn what_nobody_can_do_better_is_the_answer_even_if_a_hedge_failed_too() {
    let config = config(RETRY);
    let terms = Terms {
        hedge: Some(hedge::HedgeSettings {
            after: Some(Duration::from_millis(50)),
            percentile: None,
            max_percent: 100,
        }),
        ..Terms::default()
    };
    let mut pool = Scripted {
        hedge_delay: Some(Duration::from_millis(50)),
        ..Scripted::default()
    };
    let mut flow = flow(&config, terms);
    sent(&mut flow, &mut pool, 0);
    sent(&mut flow, &mut pool, 50);
    fails(&mut flow, &mut pool, 1, server_error(), 60);
    let refused = failed(status(400, ErrorKind::InvalidRequest));
    assert_eq!(
        fails(&mut flow, &mut pool, 0, refused, 70),
        Some((Next::Stop, Why::WouldFailAgain))
    );
    assert_eq!(
        flow.next(&mut pool, at(70)),
        Step::Respond(End::Failed { candidate: 0 })
    );
    assert_eq!(
        (flow.outcome(), flow.code()),
        (Some(Outcome::ClientError), Some(Code::ValProviderRefused))
    );
}

#[test]
fn an_answer_that_breaks_after_content_is_cut_and_an_end_is_final() {
    let config = config(RETRY);
    let (mut flow, mut pool) = (flow(&config, Terms::default()), Scripted::default());
    sent(&mut flow, &mut pool, 0);
    flow.answered(0, true);
    flow.chunk(true);
    flow.stream_broke(Code::ExtTruncated);
    assert_eq!((flow.state(), flow.outcome()), (State::Failed, Some(Outcome::Cut)));
    flow.rejected(Code::SysInternal);
    flow.cancelled(Cancel::Caller);
    assert_eq!(
        (flow.outcome(), flow.code()),
        (Some(Outcome::Cut), Some(Code::ExtTruncated))
    );
    assert_eq!(flow.illegal_changes(), 0);
}

#[test]
fn what_we_answer_ourselves_is_no_attempt() {
    let mut flow = Flow::received();
    flow.served();
    assert_eq!(
        (flow.attempts(), flow.outcome(), flow.illegal_changes()),
        (0, Some(Outcome::Ok), 0)
    );
}

#[test]
fn each_end_from_outside_has_its_own_outcome() {
    for (by, outcome, code) in [
        (Cancel::Caller, Outcome::Cancelled, None),
        (Cancel::Drain, Outcome::Shed, Some(Code::SysDraining)),
        (Cancel::Memory, Outcome::Shed, Some(Code::SysOverloaded)),
    ] {
        let mut flow = Flow::received();
        flow.cancelled(by);
        assert_eq!((flow.outcome(), flow.code()), (Some(outcome), code));
    }
}
