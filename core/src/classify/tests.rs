use super::*;

const KINDS: [ErrorKind; 15] = [
    ErrorKind::InvalidRequest,
    ErrorKind::ContextLength,
    ErrorKind::Authentication,
    ErrorKind::Billing,
    ErrorKind::AccountClosed,
    ErrorKind::Permission,
    ErrorKind::NotFound,
    ErrorKind::TooLarge,
    ErrorKind::RateLimited,
    ErrorKind::Overloaded,
    ErrorKind::Internal,
    ErrorKind::Timeout,
    ErrorKind::ContentFilter,
    ErrorKind::Redirect,
    ErrorKind::Malformed,
];

const FAULTS: [TransportFault; 13] = [
    TransportFault::NoDescriptors,
    TransportFault::Denied,
    TransportFault::ConnectRefused,
    TransportFault::ConnectTimeout,
    TransportFault::Dns,
    TransportFault::Tls,
    TransportFault::Reset,
    TransportFault::Truncated,
    TransportFault::FirstTokenTimeout,
    TransportFault::IdleTimeout,
    TransportFault::TotalTimeout,
    TransportFault::Protocol,
    TransportFault::Coding,
];

fn status(status: u16, kind: ErrorKind) -> Decision {
    classify(&Ended::Status { status, kind })
}

/// (retry at the same provider, try the next one)
fn again(decision: Decision) -> (bool, bool) {
    (decision.retry_same, decision.try_next)
}

#[test]
fn every_end_has_a_row_and_the_code_of_its_kind() {
    for kind in KINDS {
        assert_eq!(status(599, kind).code, Some(Code::from(kind)), "{kind:?}");
        let in_stream = classify(&Ended::InStream {
            kind,
            content_sent: false,
        });
        assert_eq!(
            in_stream,
            status(599, kind),
            "{kind:?} means the same in a stream that has not begun"
        );
    }
    for fault in FAULTS {
        let decision = classify(&Ended::Transport {
            fault,
            content_sent: false,
        });
        assert_eq!(decision.code, Some(Code::from(fault)), "{fault:?}");
        let blame = if matches!(fault, TransportFault::Denied | TransportFault::NoDescriptors) {
            Blame::Us
        } else {
            Blame::Provider
        };
        assert_eq!(decision.blame, Some(blame), "{fault:?}");
    }
}

#[test]
fn every_row_is_reached() {
    let mut ends = vec![Ended::Answered, Ended::CallerGone];
    ends.extend(FAULTS.map(|fault| Ended::Transport {
        fault,
        content_sent: false,
    }));
    ends.extend(KINDS.map(|kind| Ended::Status { status: 599, kind }));
    ends.extend([409, 501].map(|status| Ended::Status {
        status,
        kind: ErrorKind::InvalidRequest,
    }));
    for (index, row) in TABLE.iter().enumerate() {
        let first = |ended: &Ended| TABLE.iter().position(|row| row.condition.matches(ended));
        assert!(
            ends.iter().any(|ended| first(ended) == Some(index)),
            "{} is never reached",
            row.when
        );
    }
    assert_eq!(ends.len(), TABLE.len());
}

#[test]
fn an_answer_is_a_success_and_a_caller_that_left_says_nothing() {
    let answered = classify(&Ended::Answered);
    assert_eq!(
        (answered.code, answered.blame, answered.breaker),
        (None, None, Verdict::Success)
    );
    let gone = classify(&Ended::CallerGone);
    assert_eq!(
        (gone.code, gone.breaker, gone.key),
        (None, Verdict::Ignored, KeyVerdict::Fine)
    );
    assert_eq!((again(answered), again(gone)), ((false, false), (false, false)));
}

#[test]
fn a_callers_mistake_is_never_tried_again_and_never_counted() {
    for (code, kind) in [
        (400, ErrorKind::InvalidRequest),
        (405, ErrorKind::InvalidRequest),
        (422, ErrorKind::InvalidRequest),
        (400, ErrorKind::ContextLength),
        (413, ErrorKind::TooLarge),
        (400, ErrorKind::ContentFilter),
    ] {
        let decision = status(code, kind);
        assert_eq!(again(decision), (false, false), "{code} {kind:?}");
        assert_eq!(
            (decision.breaker, decision.blame),
            (Verdict::Ignored, Some(Blame::Client)),
            "{code} {kind:?}"
        );
        assert_eq!(
            (decision.key, decision.throttled),
            (KeyVerdict::Fine, false),
            "{code} {kind:?}"
        );
    }
}

#[test]
fn a_dead_key_is_set_aside_and_the_next_provider_asked() {
    let (minute, long) = (KeyVerdict::SetAside, KeyVerdict::SetAsideLong);
    for (code, kind, key) in [
        (401, ErrorKind::Authentication, minute),
        (402, ErrorKind::Billing, long),
        (429, ErrorKind::Billing, long), // OpenAI's insufficient_quota
        (400, ErrorKind::AccountClosed, long),
        (403, ErrorKind::Permission, minute),
    ] {
        let decision = status(code, kind);
        assert_eq!(again(decision), (false, true), "{code} {kind:?}");
        assert_eq!(
            (decision.key, decision.breaker),
            (key, Verdict::Ignored),
            "{code} {kind:?}"
        );
        assert_eq!(decision.blame, Some(Blame::Us), "{code} {kind:?}");
    }
    assert!(
        long.rest() > Some(10 * minute.rest().unwrap()),
        "no minute mends an account"
    );
}

#[test]
fn a_model_that_one_provider_lacks_may_be_had_from_another() {
    let decision = status(404, ErrorKind::NotFound);
    assert_eq!((again(decision), decision.breaker), ((false, true), Verdict::Ignored));
}

#[test]
fn a_429_rotates_the_key_and_is_throttling_not_failure() {
    let decision = status(429, ErrorKind::RateLimited);
    assert_eq!(again(decision), (true, true));
    assert_eq!(
        (decision.key, decision.breaker),
        (KeyVerdict::Rotate, Verdict::Throttled)
    );
    assert!(decision.throttled);
    assert_eq!(KINDS.iter().filter(|kind| status(599, **kind).throttled).count(), 1);
}

#[test]
fn a_failing_provider_is_retried_passed_over_and_counted() {
    for (code, kind, trip) in [
        (500, ErrorKind::Internal, Trip::ServerError),
        (502, ErrorKind::Internal, Trip::ServerError),
        (520, ErrorKind::Internal, Trip::ServerError),
        (503, ErrorKind::Overloaded, Trip::Overloaded),
        (529, ErrorKind::Overloaded, Trip::Overloaded),
        (408, ErrorKind::Timeout, Trip::Timeout),
        (504, ErrorKind::Timeout, Trip::Timeout),
        (522, ErrorKind::Timeout, Trip::Timeout),
        (524, ErrorKind::Timeout, Trip::Timeout),
        (200, ErrorKind::Malformed, Trip::Malformed),
    ] {
        let decision = status(code, kind);
        assert_eq!(again(decision), (true, true), "{code} {kind:?}");
        assert_eq!(decision.breaker, Verdict::Failure(trip), "{code} {kind:?}");
        assert_eq!(decision.blame, Some(Blame::Provider), "{code} {kind:?}");
    }
}

#[test]
fn a_redirect_is_a_failure_and_is_not_asked_again() {
    let decision = status(302, ErrorKind::Redirect);
    assert_eq!(
        (again(decision), decision.breaker),
        ((false, true), Verdict::Failure(Trip::Malformed))
    );
}

#[test]
fn a_conflict_may_pass_and_a_missing_feature_will_not() {
    let conflict = status(409, ErrorKind::InvalidRequest);
    assert_eq!((again(conflict), conflict.breaker), ((true, true), Verdict::Ignored));
    let missing = status(501, ErrorKind::Internal);
    assert_eq!((again(missing), missing.breaker), ((false, true), Verdict::Ignored));
}

#[test]
fn each_transport_fault_says_where_to_try_again() {
    for (fault, same, trip) in [
        (TransportFault::ConnectRefused, true, Trip::Connect),
        (TransportFault::ConnectTimeout, true, Trip::Connect),
        (TransportFault::Dns, true, Trip::Connect),
        (TransportFault::Tls, false, Trip::Tls),
        (TransportFault::Reset, true, Trip::Broken),
        (TransportFault::Truncated, true, Trip::Broken),
        (TransportFault::FirstTokenTimeout, false, Trip::Timeout),
        (TransportFault::IdleTimeout, false, Trip::Timeout),
        (TransportFault::TotalTimeout, false, Trip::Timeout),
        (TransportFault::Protocol, false, Trip::Malformed),
        (TransportFault::Coding, false, Trip::Malformed),
    ] {
        let decision = classify(&Ended::Transport {
            fault,
            content_sent: false,
        });
        assert_eq!(again(decision), (same, true), "{fault:?}");
        assert_eq!(
            (decision.breaker, decision.key),
            (Verdict::Failure(trip), KeyVerdict::Fine),
            "{fault:?}"
        );
    }
}

#[test]
fn after_content_was_sent_nothing_is_tried_again_and_everything_is_still_counted() {
    for kind in KINDS {
        let before = classify(&Ended::InStream {
            kind,
            content_sent: false,
        });
        let after = classify(&Ended::InStream {
            kind,
            content_sent: true,
        });
        assert_eq!(
            after,
            Decision {
                retry_same: false,
                try_next: false,
                ..before
            }
        );
    }
    for fault in FAULTS {
        let before = classify(&Ended::Transport {
            fault,
            content_sent: false,
        });
        let after = classify(&Ended::Transport {
            fault,
            content_sent: true,
        });
        assert_eq!(
            after,
            Decision {
                retry_same: false,
                try_next: false,
                ..before
            }
        );
    }
}

#[test]
fn the_documentation_shows_every_row() {
    let text = markdown();
    assert_eq!(
        text.lines().filter(|line| line.starts_with("| ")).count(),
        TABLE.len() + 2
    );
    assert!(text.contains("| 429 rate limited | `RATE_PROVIDER` | provider | yes | yes | rotate | throttled |\n"));
    for row in &TABLE {
        assert!(text.contains(&format!("| {} |", row.when)));
    }
}
