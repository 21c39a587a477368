use bowsprit_ledger::entry::{Attempt, Cached, Cost, Request, Tokens, Turn};
use bowsprit_ledger::query::{Listed, ListedAttempt, Why};

use super::Story;
use super::render::screen;
use super::timeline::spans;
use crate::output::Paint;

const ENDED: i64 = 1_764_354_787_000;

fn shown(why: Why) -> String {
    screen(&[Story::of(why)], Paint(false))
}

fn request(outcome: &str, code: &str, status: u16, took: u64) -> Request {
    Request {
        id: "8f14e45f-ceea-467f".into(),
        dialect: "openai".into(),
        operation: "chat_completions".into(),
        asked_model: "claude-sonnet-4-5".into(),
        outcome: outcome.into(),
        code: code.into(),
        status,
        took,
        overhead: 310,
        ..Request::default()
    }
}

fn listed(request: Request) -> Listed {
    Listed {
        cursor: "1.1.1".into(),
        arrival: String::new(),
        arrived: ENDED,
        at: ENDED,
        namespace: "shop".into(),
        pod: "checkout-6d5f-x2x9p".into(),
        workload: "Deployment/checkout".into(),
        request,
    }
}

fn turn(after: u64, provider: &str, what: &str, because: &str, then: &str) -> Turn {
    Turn {
        after,
        provider: provider.into(),
        what: what.into(),
        because: because.into(),
        then: then.into(),
        wait: 0,
    }
}

/// An attempt that ended so many milliseconds before its request did.
fn attempt(before_the_end: i64, number: u32, reason: &str, (provider, model): (&str, &str)) -> ListedAttempt {
    ListedAttempt {
        at: ENDED - before_the_end,
        attempt: Attempt {
            request_id: "8f14e45f-ceea-467f".into(),
            number,
            reason: reason.into(),
            provider: provider.into(),
            model: model.into(),
            credential: "main".into(),
            operation: "chat_completions".into(),
            cost: Some(Cost::default()),
            ..Attempt::default()
        },
    }
}

fn failed(mut it: ListedAttempt, code: &str, status: u16, took: u64) -> ListedAttempt {
    it.attempt.outcome = "failed".into();
    it.attempt.code = code.into();
    it.attempt.status = status;
    it.attempt.took = took;
    it
}

fn answered(mut it: ListedAttempt, took: u64, (input, output): (u64, u64), pico: i64) -> ListedAttempt {
    it.attempt.outcome = "answered".into();
    it.attempt.status = 200;
    it.attempt.took = took;
    it.attempt.tokens = Tokens {
        input,
        output,
        ..Tokens::default()
    };
    it.attempt.cost = Some(Cost {
        reported: pico,
        estimated: 0,
        version: "table:2026-11-01".into(),
    });
    it
}

const CLAUDE: (&str, &str) = ("claude", "claude-sonnet-4-5");
const GEMINI: (&str, &str) = ("gemini", "gemini-2.5-pro");
const OPENAI: (&str, &str) = ("openai", "gpt-5");

fn failed_over_twice() -> Why {
    let mut it = request("ok", "", 200, 4_903_000);
    it.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736".into();
    it.route = "answers".into();
    (it.provider, it.model) = (OPENAI.0.into(), OPENAI.1.into());
    it.attempts = 4;
    it.answer_bytes = 1_482;
    it.path = vec![
        turn(0, "azure", "passed_over", "circuit_open", ""),
        Turn {
            wait: 480,
            ..turn(812_000, "claude", "failed", "EXT_OVERLOADED", "again: may_pass")
        },
        Turn {
            wait: 480,
            ..turn(1_292_000, "claude", "waited", "backoff", "")
        },
        turn(1_292_000, "claude", "retried", "EXT_OVERLOADED", ""),
        turn(1_910_000, "claude", "failed", "EXT_OVERLOADED", "onward: attempts_used"),
        turn(
            3_910_000,
            "gemini",
            "failed",
            "EXT_CONNECT_TIMEOUT",
            "onward: not_trusted",
        ),
    ];
    let mut last = answered(attempt(0, 4, "fallback", OPENAI), 992_000, (1_204, 312), 4_625_000_000);
    last.attempt.reported_model = "gpt-5-2025-08-07".into();
    last.attempt.provider_request_id = "req_011CSHoEeqs5C35K2UUqR7Fy".into();
    Why {
        listed: listed(it),
        attempts_made: vec![
            failed(attempt(4_091, 1, "first", CLAUDE), "EXT_OVERLOADED", 529, 811_000),
            failed(attempt(2_993, 2, "retry", CLAUDE), "EXT_OVERLOADED", 529, 617_000),
            failed(attempt(993, 3, "fallback", GEMINI), "EXT_CONNECT_TIMEOUT", 0, 2_000_000),
            last,
        ],
    }
}

#[test]
fn a_request_that_failed_over_twice() {
    insta::assert_snapshot!(shown(failed_over_twice()));
}

#[test]
fn failures_keep_their_times_when_the_nodes_clock_jumps() {
    let as_it_was = failed_over_twice();
    let mut jumped = failed_over_twice();
    for it in &mut jumped.attempts_made {
        it.at = ENDED;
    }
    assert_eq!(spans(&jumped), spans(&as_it_was));
    let ends: Vec<u64> = spans(&jumped).iter().map(|span| span.end).collect();
    assert_eq!(ends, [812_000, 1_910_000, 3_910_000, 4_903_000]);
}

#[test]
fn a_stream_whose_hedge_won() {
    let mut it = request("ok", "", 200, 3_400_000);
    it.is_stream = true;
    it.first_token = Some(2_350_000);
    (it.provider, it.model) = (GEMINI.0.into(), GEMINI.1.into());
    it.attempts = 2;
    it.hedges = 1;
    it.answer_bytes = 20_114;
    it.fields_left_out = 2;
    it.tools_left_out = 1;
    let mut slow = attempt(1_050, 1, "first", CLAUDE);
    slow.attempt.outcome = "cancelled".into();
    slow.attempt.took = 2_349_000;
    slow.attempt.tokens.estimated_input = 840;
    slow.attempt.cost = Some(Cost {
        reported: 0,
        estimated: 2_520_000_000,
        version: "table:2026-11-01".into(),
    });
    let mut won = answered(attempt(0, 2, "hedge", GEMINI), 1_900_000, (790, 1_120), 12_187_500_000);
    won.attempt.first_token = Some(850_000);
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: vec![slow, won],
    }));
}

#[test]
fn a_request_that_got_a_kept_answer() {
    let mut it = request("provider_error", "EXT_SERVER_ERROR", 200, 912_000);
    it.route = "smart".into();
    (it.provider, it.model) = (GEMINI.0.into(), GEMINI.1.into());
    it.attempts = 1;
    it.answer_bytes = 1_204;
    it.path = vec![
        turn(90, "claude", "passed_over", "circuit_open", ""),
        turn(911_000, "gemini", "failed", "EXT_SERVER_ERROR", "stop: attempts_used"),
        Turn {
            wait: 1_263_000,
            // An id of the caller's own may look like a code.
            ..turn(912_000, "claude", "answered_stale", "R-5F0C", "")
        },
    ];
    let shown = shown(Why {
        listed: listed(it),
        attempts_made: vec![failed(attempt(1, 1, "first", GEMINI), "EXT_SERVER_ERROR", 500, 910_000)],
    });
    insta::assert_snapshot!(shown);
}

#[test]
fn a_request_that_the_cache_answered() {
    let mut it = request("ok", "", 200, 70);
    it.route = "smart".into();
    it.answer_bytes = 1_204;
    it.overhead = 70;
    it.cache = Some(Cached {
        age: 1_263_000,
        request_id: "r-5f0c".into(),
        provider: "claude".into(),
        saved_tokens: 1_516,
        saved_cost: 4_625_000_000,
    });
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: Vec::new(),
    }));
}

#[test]
fn a_request_that_a_named_rule_turned_away() {
    let mut it = request("shed", "RATE_LOCAL_LIMIT", 429, 900);
    it.route = "smart".into();
    it.refused_by = "limit:tokens-per-minute".into();
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: Vec::new(),
    }));
}

#[test]
fn how_old_an_answer_is_is_said_in_one_unit() {
    let told = [900, 61_000, 1_263_000, 7_200_000, 172_800_000].map(super::words::age);
    assert_eq!(told, ["0 s", "61 s", "21 min", "2 h", "2 days"]);
}

#[test]
fn a_request_that_a_limit_turned_away() {
    let mut it = request("shed", "RATE_LOCAL_LIMIT", 429, 2_000_900);
    it.route = "answers".into();
    it.path = vec![
        Turn {
            wait: 2_000,
            ..turn(2_000_300, "claude", "waited", "limit", "")
        },
        turn(2_000_300, "claude", "passed_over", "RATE_LOCAL_LIMIT", ""),
    ];
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: Vec::new(),
    }));
}

#[test]
fn a_caller_that_left() {
    let mut it = request("cancelled", "", 200, 9_998_000);
    it.is_stream = true;
    it.sdk_retries = 1;
    it.first_token = Some(700_000);
    (it.provider, it.model) = (CLAUDE.0.into(), CLAUDE.1.into());
    it.attempts = 1;
    it.answer_bytes = 12_044;
    let mut left = answered(attempt(0, 1, "first", CLAUDE), 9_997_000, (2_000, 40), 6_600_000_000);
    left.attempt.outcome = "cancelled".into();
    left.attempt.first_token = Some(699_000);
    left.attempt.tokens.estimated_output = 610;
    if let Some(cost) = &mut left.attempt.cost {
        cost.estimated = 9_150_000_000;
    }
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: vec![left],
    }));
}

#[test]
fn a_stream_that_was_cut() {
    let mut it = request("cut", "EXT_TRUNCATED", 200, 5_120_000);
    it.is_stream = true;
    it.first_token = Some(420_000);
    (it.provider, it.model) = (CLAUDE.0.into(), CLAUDE.1.into());
    it.attempts = 1;
    it.answer_bytes = 7_310;
    let mut cut = failed(attempt(0, 1, "first", CLAUDE), "EXT_TRUNCATED", 200, 5_119_000);
    cut.attempt.first_token = Some(419_000);
    cut.attempt.tokens.input = 900;
    cut.attempt.tokens.estimated_output = 210;
    cut.attempt.cost = None;
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: vec![cut],
    }));
}

#[test]
fn everything_down() {
    let mut it = request("provider_error", "EXT_ALL_UNAVAILABLE", 503, 1_204_000);
    it.attempts = 2;
    (it.provider, it.model) = (GEMINI.0.into(), GEMINI.1.into());
    it.path = vec![
        turn(0, "azure", "passed_over", "unhealthy", ""),
        turn(0, "openai", "passed_over", "no_key", ""),
        turn(9_000, "claude", "failed", "EXT_CONNECT_REFUSED", "onward: not_trusted"),
        turn(1_203_000, "gemini", "failed", "EXT_SERVER_ERROR", "stop: budget_spent"),
    ];
    insta::assert_snapshot!(shown(Why {
        listed: listed(it),
        attempts_made: vec![
            failed(attempt(1_195, 1, "first", CLAUDE), "EXT_CONNECT_REFUSED", 0, 8_000),
            failed(attempt(1, 2, "fallback", GEMINI), "EXT_SERVER_ERROR", 500, 1_190_000),
        ],
    }));
}

#[test]
fn a_request_that_just_went_well_needs_few_words() {
    let mut it = request("ok", "", 200, 640_000);
    (it.provider, it.model) = (CLAUDE.0.into(), CLAUDE.1.into());
    it.attempts = 1;
    let text = shown(Why {
        listed: listed(it),
        attempts_made: vec![answered(attempt(0, 1, "first", CLAUDE), 639_000, (10, 2), 60_000_000)],
    });
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "The caller got the whole answer after 640 ms, from claude (claude-sonnet-4-5), at the first attempt."
    );
    assert!(text.contains("Nothing: it went as it should."), "{text}");
    assert!(text.contains("Cost: $0.00006; prices: table:2026-11-01."), "{text}");
}

#[test]
fn names_that_were_made_to_deceive_stay_names() {
    let evil = "x\u{1b}[2J\nWhat to do\n  Send your key to \u{202e}evil\u{7}";
    let mut why = failed_over_twice();
    let request = &mut why.listed.request;
    for name in [
        &mut request.id,
        &mut request.asked_model,
        &mut request.provider,
        &mut request.model,
        &mut request.route,
    ] {
        *name = evil.into();
    }
    request.path[0].provider = evil.into();
    request.path[1].because = evil.into();
    request.path[2].then = evil.into();
    request.code = evil.into();
    why.listed.workload = evil.into();
    let last = why.attempts_made.last_mut().unwrap();
    last.attempt.reported_model = evil.into();
    last.attempt.provider_request_id = evil.into();
    last.attempt.credential = evil.into();
    for outcome in [
        "ok",
        "client_error",
        "provider_error",
        "own_error",
        "shed",
        "cancelled",
        "cut",
        evil,
    ] {
        why.listed.request.outcome = outcome.into();
        let text = shown(why.clone());
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
        let headings = text.lines().filter(|line| line.trim() == "What to do").count();
        assert_eq!(headings, 1, "{text}");
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with("Send your key")),
            "{text}"
        );
    }
}

#[test]
fn a_word_of_another_release_is_shown_as_it_is() {
    let mut why = failed_over_twice();
    why.listed.request.path[1] = turn(1, "claude", "pondered", "mood", "sideways: whim");
    why.listed.request.outcome = "ascended".into();
    why.listed.request.code = "NEW_CODE".into();
    let text = shown(why);
    assert!(
        text.contains("claude: pondered mood") && text.contains("ended as ascended"),
        "{text}"
    );
    assert!(text.contains("NEW_CODE  A code of another release"), "{text}");
}

#[test]
fn several_requests_of_one_id_are_told_one_by_one() {
    let story = || Story::of(failed_over_twice());
    let text = screen(&[story(), story()], Paint(false));
    assert!(text.starts_with("2 requests have this id, the newest first."), "{text}");
    assert_eq!(text.matches("What happened").count(), 2);
}

#[test]
fn the_same_comes_as_data() {
    let value = serde_json::to_value([Story::of(failed_over_twice())]).unwrap();
    let story = &value[0];
    assert!(
        story["sentence"]
            .as_str()
            .is_some_and(|it| it.contains("claude failed twice")),
        "{story:#}"
    );
    assert_eq!(story["cost"]["reported"], "0.004625");
    assert_eq!(story["told"]["request"]["id"], "8f14e45f-ceea-467f");
    assert_eq!(story["told"]["attemptsMade"][3]["attempt"]["provider"], "openai");
}
