use super::*;
use proptest::prelude::*;

const FAILED: Event = Event::AttemptFailed {
    code: Code::ExtServerError,
    retry_in: Duration::from_millis(500),
};
const GAVE_UP: Event = Event::GaveUp {
    code: Code::ExtServerError,
};
const LIMITED: Event = Event::Limited { wait: None };
const REJECTED: Event = Event::Rejected {
    code: Code::RateLocalLimit,
};
const CONTENT: Event = Event::Chunk {
    bytes: 10,
    content: true,
};
const PREAMBLE: Event = Event::Chunk {
    bytes: 10,
    content: false,
};
const GONE: Event = Event::Cancelled(Cancel::Caller);

fn dispatched(candidate: u16) -> Event {
    Event::Dispatched { candidate }
}

fn permitted(candidate: u16) -> Event {
    Event::Permitted { candidate }
}

fn fell_back(candidate: u16) -> Event {
    Event::FellBack { candidate }
}

fn at(millis: u64) -> Moment {
    Moment::from_start(Duration::from_millis(millis))
}

/// A machine that has received a request and then taken these events, one a second from second 1.
fn after(events: &[Event]) -> Machine {
    let mut machine = Machine::new("r-1");
    machine.allow_attempts(3);
    let all = [Event::Received { streaming: true }]
        .into_iter()
        .chain(events.iter().copied());
    for (second, event) in (1..).zip(all) {
        machine
            .on(event, at(second * 1_000))
            .unwrap_or_else(|illegal| panic!("{illegal}"));
    }
    machine
}

/// The rule that the event breaks after these events; that nothing changed is checked too.
fn broken(events: &[Event], event: Event) -> Rule {
    broken_in(after(events), event)
}

fn broken_in(mut machine: Machine, event: Event) -> Rule {
    let before = (machine.state(), machine.context().clone());
    let illegal = machine.on(event, at(3_600_000)).expect_err("the event is illegal");
    assert_eq!(
        (machine.state(), machine.context().clone()),
        before,
        "an illegal event leaves everything untouched"
    );
    assert_eq!((illegal.state, illegal.event), (before.0, event.kind()));
    illegal.rule
}

fn all_events() -> [Event; 14] {
    let received = Event::Received { streaming: false };
    let answered = Event::Answered { bytes: 10 };
    let (opened, ended, retried) = (Event::StreamOpened, Event::StreamEnded, Event::Retried);
    [
        received,
        dispatched(0),
        LIMITED,
        permitted(9),
        REJECTED,
        opened,
        CONTENT,
        ended,
        answered,
        FAILED,
        retried,
        fell_back(9),
        GAVE_UP,
        GONE,
    ]
}

/// One machine in each state, with attempts left.
fn in_every_state() -> [Machine; 8] {
    let mut idle = Machine::new("r-1");
    idle.allow_attempts(3);
    [
        idle,
        after(&[]),
        after(&[dispatched(0)]),
        after(&[dispatched(0), Event::StreamOpened]),
        after(&[LIMITED]),
        after(&[dispatched(0), FAILED]),
        after(&[dispatched(0), Event::Answered { bytes: 1 }]),
        after(&[REJECTED]),
    ]
}

#[test]
fn there_are_eight_states_fourteen_events_and_sixteen_changes_each_once() {
    let pairs: std::collections::BTreeSet<_> = CHANGES.iter().map(|change| (change.from, change.to)).collect();
    assert_eq!((State::ALL.len(), EventKind::ALL.len(), pairs.len()), (8, 14, 16));
    assert_eq!(all_events().map(|event| event.kind()), EventKind::ALL);
    assert_eq!(in_every_state().map(|machine| machine.state()), State::ALL);
    for kind in EventKind::ALL {
        assert!(
            kind == EventKind::Chunk || CHANGES.iter().any(|change| change.by.contains(&kind)),
            "{kind:?} is unused"
        );
    }
}

#[test]
fn the_table_is_the_whole_truth() {
    for machine in in_every_state() {
        for event in all_events() {
            let (from, mut machine) = (machine.state(), machine.clone());
            let rows = CHANGES
                .iter()
                .filter(|change| change.from == from && change.by.contains(&event.kind()));
            let expected: Vec<_> = rows.map(|change| change.to).collect();
            let found = machine.on(event, at(3_600_000));
            if from == State::Streaming && event.kind() == EventKind::Chunk {
                assert_eq!(found, Ok(State::Streaming));
            } else if from == State::Requesting && event.kind() == EventKind::Dispatched {
                let rule = found.map_err(|illegal| illegal.rule);
                assert_eq!(rule, Err(Rule::FallbackGoesForward), "a hedge at the same place");
            } else if let [to] = expected[..] {
                assert_eq!(found, Ok(to), "{from:?} by {event:?}");
            } else {
                assert!(expected.is_empty(), "{from:?} by {event:?} is ambiguous");
                let rule = if from.is_terminal() {
                    Rule::EndsAreFinal
                } else {
                    Rule::NotInTheTable
                };
                assert_eq!(
                    found.map_err(|illegal| illegal.rule),
                    Err(rule),
                    "{from:?} by {event:?}"
                );
            }
        }
    }
}

#[test]
fn an_idle_machine_accepts_nothing_but_a_request() {
    let accepted: Vec<_> = all_events()
        .into_iter()
        .filter(|event| Machine::new("r").accepts(event, at(0)))
        .collect();
    assert_eq!(accepted, [Event::Received { streaming: false }]);
}

#[test]
fn a_request_is_received_once() {
    assert_eq!(broken(&[], Event::Received { streaming: true }), Rule::NotInTheTable);
}

#[test]
fn ends_accept_nothing() {
    for event in all_events() {
        assert_eq!(
            broken(&[dispatched(0), Event::Answered { bytes: 1 }], event),
            Rule::EndsAreFinal
        );
        assert_eq!(broken(&[REJECTED], event), Rule::EndsAreFinal);
    }
}

#[test]
fn a_request_completes_exactly_once() {
    let events = [dispatched(0), Event::StreamOpened, CONTENT, Event::StreamEnded];
    assert_eq!(after(&events).context().outcome, Some(Outcome::Ok));
    assert_eq!(broken(&events, Event::StreamEnded), Rule::EndsAreFinal);
}

#[test]
fn a_stream_already_begun_is_never_retried() {
    assert_eq!(
        broken(&[dispatched(0), Event::StreamOpened, CONTENT], FAILED),
        Rule::NoRetryAfterContent
    );
}

#[test]
fn a_stream_without_content_may_be_retried() {
    let machine = after(&[dispatched(0), Event::StreamOpened, PREAMBLE, FAILED, fell_back(1)]);
    assert_eq!((machine.state(), machine.context().fallbacks), (State::Requesting, 1));
}

#[test]
fn attempts_never_exceed_what_is_allowed() {
    let all_used = [dispatched(0), FAILED, Event::Retried, FAILED, fell_back(1)];
    assert_eq!(after(&all_used).context().attempts, 3);
    assert_eq!(broken(&all_used, FAILED), Rule::AttemptsAreLimited);
}

#[test]
fn the_last_attempt_can_only_be_answered_or_given_up() {
    let mut machine = after(&[]);
    machine.allow_attempts(1);
    machine.on(dispatched(0), at(2_000)).unwrap();
    assert!(!machine.accepts(&FAILED, at(2_000)) && machine.accepts(&GAVE_UP, at(2_000)));
}

#[test]
fn one_attempt_is_allowed_unless_said_otherwise_and_none_counts_as_one() {
    assert_eq!(Machine::new("r").context().max_attempts, 1);
    let mut machine = after(&[]);
    machine.allow_attempts(0);
    assert_eq!(machine.context().max_attempts, 1);
}

#[test]
fn attempts_made_are_never_too_many_in_hindsight() {
    let mut machine = after(&[dispatched(0), FAILED, Event::Retried]);
    machine.allow_attempts(1);
    assert_eq!(machine.context().max_attempts, 2);
}

#[test]
fn nobody_waits_for_an_attempt_that_may_not_be_made() {
    let mut machine = after(&[dispatched(0), FAILED]);
    machine.allow_attempts(1);
    for event in [LIMITED, Event::Retried, fell_back(1)] {
        assert_eq!(broken_in(machine.clone(), event), Rule::AttemptsAreLimited);
    }
}

#[test]
fn a_retry_waits_its_backoff() {
    let mut machine = after(&[dispatched(0), FAILED]); // failed at second 3
    let early = machine.on(Event::Retried, at(3_499)).unwrap_err();
    assert_eq!(early.rule, Rule::BackoffIsWaitedFor);
    assert_eq!(machine.on(Event::Retried, at(3_500)), Ok(State::Requesting));
}

#[test]
fn a_fallback_waits_for_nobody() {
    let mut machine = after(&[dispatched(0), FAILED]);
    assert_eq!(machine.on(fell_back(1), at(3_000)), Ok(State::Requesting));
}

#[test]
fn a_retry_stays_at_its_candidate() {
    let machine = after(&[dispatched(2), FAILED, Event::Retried]);
    let context = machine.context();
    assert_eq!((context.candidate, context.retries, context.fallbacks), (Some(2), 1, 0));
}

#[test]
fn a_fallback_goes_to_a_later_candidate() {
    for candidate in [0, 1] {
        assert_eq!(
            broken(&[dispatched(1), FAILED], fell_back(candidate)),
            Rule::FallbackGoesForward
        );
    }
}

#[test]
fn a_hedge_is_a_second_attempt_beside_the_first() {
    let machine = after(&[dispatched(0), dispatched(1)]);
    let context = machine.context();
    assert_eq!(machine.state(), State::Requesting);
    assert_eq!((context.attempts, context.hedges, context.under_way), (2, 1, 2));
    assert_eq!((context.retries, context.fallbacks, context.candidate), (0, 0, Some(1)));
}

#[test]
fn a_hedge_goes_to_a_later_candidate_and_overlaps_once() {
    assert_eq!(broken(&[dispatched(1)], dispatched(1)), Rule::FallbackGoesForward);
    assert_eq!(broken(&[dispatched(1)], dispatched(0)), Rule::FallbackGoesForward);
    assert_eq!(
        broken(&[dispatched(0), dispatched(1)], dispatched(2)),
        Rule::TwoAtOnceAtMost
    );
    assert_eq!(
        broken(&[dispatched(0), Event::StreamOpened], dispatched(1)),
        Rule::NotInTheTable,
        "who answers is not hedged"
    );
}

#[test]
fn a_hedge_is_an_attempt_like_any_other() {
    let mut machine = after(&[]);
    machine.allow_attempts(1);
    machine.on(dispatched(0), at(2_000)).unwrap();
    assert_eq!(broken_in(machine, dispatched(1)), Rule::AttemptsAreLimited);
}

#[test]
fn of_two_attempts_one_may_fail_and_the_other_is_waited_for() {
    let mut machine = after(&[dispatched(0), dispatched(1), FAILED]);
    assert_eq!((machine.state(), machine.context().under_way), (State::Requesting, 1));
    assert_eq!(machine.context().retry.due, None, "no backoff is waited for");
    assert_eq!(machine.on(FAILED, at(9_000)), Ok(State::Retrying), "both have failed");
    assert_eq!(machine.on(fell_back(2), at(9_000)), Ok(State::Requesting));
    assert_eq!(machine.context().under_way, 1);
}

#[test]
fn nobody_gives_up_while_another_attempt_may_answer() {
    assert_eq!(
        broken(&[dispatched(0), dispatched(1)], GAVE_UP),
        Rule::AnotherIsUnderWay
    );
    let machine = after(&[dispatched(0), dispatched(1), FAILED, GAVE_UP]);
    assert_eq!(machine.context().outcome, Some(Outcome::ProviderError));
}

#[test]
fn a_hedge_that_used_the_last_attempt_may_still_fail_beside_the_other() {
    let mut machine = after(&[]);
    machine.allow_attempts(2);
    for event in [dispatched(0), dispatched(1), FAILED] {
        machine.on(event, at(3_000)).unwrap();
    }
    assert_eq!(broken_in(machine, FAILED), Rule::AttemptsAreLimited);
}

#[test]
fn whoever_answers_ends_the_other() {
    let streaming = after(&[dispatched(0), dispatched(1), Event::StreamOpened]);
    assert_eq!(streaming.context().under_way, 1);
    for end in [Event::Answered { bytes: 1 }, GONE] {
        assert_eq!(after(&[dispatched(0), dispatched(1), end]).context().under_way, 0);
    }
}

#[test]
fn a_wait_never_ends_at_an_earlier_candidate() {
    assert_eq!(
        broken(&[dispatched(1), FAILED, LIMITED], permitted(0)),
        Rule::NoWayBackInThePlan
    );
    let same = after(&[dispatched(1), FAILED, LIMITED, permitted(1)]);
    assert_eq!((same.context().retries, same.context().fallbacks), (1, 0));
    let later = after(&[dispatched(1), FAILED, LIMITED, permitted(2)]);
    assert_eq!((later.context().retries, later.context().fallbacks), (0, 1));
}

#[test]
fn a_wait_ends_by_permit_rejection_or_cancellation_only() {
    let waiting = after(&[LIMITED]);
    let accepted: Vec<_> = all_events()
        .into_iter()
        .filter(|event| waiting.accepts(event, at(9_000)))
        .collect();
    assert_eq!(accepted, [permitted(9), REJECTED, GONE]);
}

#[test]
fn a_wait_is_not_an_attempt() {
    let machine = after(&[LIMITED]);
    assert_eq!((machine.context().attempts, machine.context().waits), (0, 1));
    assert_eq!(after(&[LIMITED, permitted(0)]).context().attempts, 1);
}

#[test]
fn chunks_belong_to_an_open_stream() {
    for events in [
        &[][..],
        &[dispatched(0)],
        &[LIMITED],
        &[dispatched(0), Event::StreamOpened, FAILED],
    ] {
        assert_eq!(broken(events, CONTENT), Rule::NotInTheTable);
    }
}

#[test]
fn a_new_attempt_begins_with_a_new_stream() {
    let machine = after(&[dispatched(0), Event::StreamOpened, PREAMBLE, FAILED, Event::Retried]);
    assert_eq!(machine.context().stream, Stream::default());
}

#[test]
fn only_content_counts_as_a_chunk_and_as_the_first_token() {
    let machine = after(&[dispatched(0), Event::StreamOpened, PREAMBLE, CONTENT, CONTENT]);
    let context = machine.context();
    assert_eq!((context.stream.chunks, context.bytes), (2, 30));
    assert_eq!(context.timings.to_first_token(), Some(Duration::from_secs(4)));
}

#[test]
fn the_first_token_of_a_plain_answer_is_the_answer() {
    let machine = after(&[dispatched(0), Event::Answered { bytes: 7 }]);
    assert_eq!(machine.context().timings.to_first_token(), Some(Duration::from_secs(2)));
}

#[test]
fn success_has_no_code_and_a_failure_has_one() {
    assert_eq!(
        after(&[dispatched(0), Event::Answered { bytes: 1 }]).context().code,
        None
    );
    assert_eq!(
        after(&[dispatched(0), GAVE_UP]).context().code,
        Some(Code::ExtServerError)
    );
    assert_eq!(
        after(&[dispatched(0), GONE]).context().code,
        None,
        "nobody is there to be told"
    );
}

#[test]
fn every_end_has_its_outcome() {
    let rejected = |code| Event::Rejected { code };
    let gave_up = |code| Event::GaveUp { code };
    for (events, outcome) in [
        (vec![dispatched(0), Event::Answered { bytes: 1 }], Outcome::Ok),
        (vec![rejected(Code::ValNotJson)], Outcome::ClientError),
        (vec![rejected(Code::ResModelNotFound)], Outcome::ClientError),
        (vec![rejected(Code::AuthKeyMissing)], Outcome::OwnError),
        (vec![rejected(Code::ExtAllUnavailable)], Outcome::ProviderError),
        (vec![rejected(Code::SysOverloaded)], Outcome::Shed),
        (vec![rejected(Code::SysDraining)], Outcome::Shed),
        (vec![LIMITED, REJECTED], Outcome::Shed),
        (vec![LIMITED, GONE], Outcome::Cancelled),
        (
            vec![dispatched(0), gave_up(Code::ValProviderRefused)],
            Outcome::ClientError,
        ),
        (vec![dispatched(0), FAILED, GAVE_UP], Outcome::ProviderError),
        (
            vec![dispatched(0), Event::Cancelled(Cancel::Deadline)],
            Outcome::ProviderError,
        ),
        (vec![dispatched(0), Event::Cancelled(Cancel::Drain)], Outcome::Shed),
        (
            vec![
                dispatched(0),
                Event::StreamOpened,
                CONTENT,
                Event::Cancelled(Cancel::Drain),
            ],
            Outcome::Cut,
        ),
        (vec![dispatched(0), Event::StreamOpened, CONTENT, GAVE_UP], Outcome::Cut),
        (
            vec![dispatched(0), Event::StreamOpened, PREAMBLE, GAVE_UP],
            Outcome::ProviderError,
        ),
        (
            vec![dispatched(0), Event::StreamOpened, CONTENT, GONE],
            Outcome::Cancelled,
        ),
    ] {
        assert_eq!(after(&events).context().outcome, Some(outcome), "{events:?}");
    }
}

#[test]
fn a_living_request_has_no_outcome() {
    for machine in in_every_state() {
        assert_eq!(machine.context().outcome.is_some(), machine.state().is_terminal());
        assert_eq!(
            machine.context().timings.total().is_some(),
            machine.state().is_terminal()
        );
    }
}

#[test]
fn a_clock_that_steps_back_makes_no_time_negative() {
    let mut machine = after(&[dispatched(0)]); // at second 2
    machine.on(Event::Answered { bytes: 1 }, at(500)).unwrap();
    assert_eq!(machine.context().timings.total(), Some(Duration::from_secs(1)));
}

#[test]
fn the_times_of_all_states_add_up_to_the_whole() {
    let machine = after(&[
        LIMITED,
        permitted(0),
        FAILED,
        fell_back(1),
        Event::StreamOpened,
        CONTENT,
        Event::StreamEnded,
    ]);
    let timings = &machine.context().timings;
    let sum: Duration = State::ALL.iter().map(|state| timings.in_state(*state)).sum();
    assert_eq!(Some(sum), timings.total());
    assert_eq!(timings.in_state(State::Requesting), Duration::from_secs(2));
    assert_eq!(
        timings.in_state(State::Streaming),
        Duration::from_secs(2),
        "a chunk is no change of state"
    );
}

#[test]
fn the_last_failure_is_remembered_and_its_backoff_forgotten() {
    let machine = after(&[dispatched(0), FAILED, Event::Retried]);
    assert_eq!(
        machine.context().retry,
        Retry {
            due: None,
            last_code: Some(Code::ExtServerError)
        }
    );
}

#[test]
fn an_illegal_event_says_what_is_wrong() {
    let illegal = after(&[dispatched(0), Event::StreamOpened, CONTENT])
        .on(FAILED, at(9_000))
        .unwrap_err();
    assert_eq!(
        illegal.to_string(),
        "event attempt_failed is illegal in state streaming: content was sent to the caller"
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    (0_usize..14, 0_u16..5, any::<bool>()).prop_map(|(which, candidate, content)| match all_events()[which] {
        Event::Dispatched { .. } => Event::Dispatched { candidate },
        Event::Permitted { .. } => Event::Permitted { candidate },
        Event::FellBack { .. } => Event::FellBack { candidate },
        Event::Chunk { bytes, .. } => Event::Chunk { bytes, content },
        other => other,
    })
}

proptest! {
    #[test]
    fn no_history_breaks_an_invariant(
        events in prop::collection::vec((any_event(), 0_u64..2_000), 1..300), most in 0_u32..6,
    ) {
        let mut machine = Machine::new("r");
        machine.allow_attempts(most);
        let (mut now, mut content, mut ends) = (0, false, 0);
        for (event, pause) in events {
            now += pause;
            let before = machine.clone();
            match machine.on(event, at(now)) {
                Ok(state) => {
                    prop_assert!(before.accepts(&event, at(now)));
                    prop_assert!(!(content && state == State::Retrying), "a retry after content");
                    content |= matches!(event, Event::Chunk { content: true, .. });
                    ends += u32::from(state.is_terminal());
                }
                Err(illegal) => {
                    prop_assert_eq!(illegal.state, machine.state());
                    prop_assert_eq!(before.context(), machine.context());
                }
            }
            let context = machine.context();
            prop_assert!(context.attempts <= context.max_attempts);
            let later = context.retries + context.fallbacks + context.hedges;
            prop_assert!(context.attempts == 0 || context.attempts == 1 + later);
            let out = match machine.state() {
                State::Requesting => 1..=2,
                State::Streaming => 1..=1,
                _ => 0..=0,
            };
            prop_assert!(out.contains(&context.under_way), "{} out while {:?}", context.under_way, machine.state());
            prop_assert!(ends <= 1 && (ends == 1) == context.outcome.is_some());
        }
    }
}
