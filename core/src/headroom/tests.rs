use super::*;
use http::HeaderValue;
use proptest::prelude::*;

/// 2026-11-06T08:49:37Z
const WALL: u64 = 1_793_954_977_000;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn at(secs: u64) -> Moment {
    Moment::from_start(Duration::from_secs(secs))
}

fn seen(pairs: &[(&'static str, &str)]) -> Headroom {
    let mut headroom = Headroom::default();
    headroom.observe(&headers(pairs), at(0), WALL);
    headroom
}

#[test]
fn every_spelling_of_a_wait_is_read() {
    for (text, expected) in [
        ("0", Some(0)),
        ("34", Some(34_000)),
        ("0.5", Some(500)),
        (" 2 ", Some(2_000)),
        ("12ms", Some(12)),
        ("6m0s", Some(360_000)),
        ("1h2m3.5s", Some(3_600_000)), // clamped
        ("2m3.5s", Some(123_500)),
        ("1500µs", Some(1)),
        ("59.998s", Some(59_998)),
        ("1793955007", Some(30_000)),
        ("1793955007.25", Some(30_250)),
        ("1793955007000", Some(30_000)),
        ("1793954000", Some(0)), // in the past
        ("2026-11-06T08:50:07Z", Some(30_000)),
        ("2026-11-06T08:00:00Z", Some(0)),
        ("Fri, 06 Nov 2026 08:50:07 GMT", Some(30_000)),
        ("Fri, 06 Nov 2099 08:50:07 GMT", Some(3_600_000)),
        ("7200", Some(3_600_000)),
        ("99999999999999999999999999", Some(3_600_000)),
        ("-1", None),
        ("-1s", None),
        ("+5", None),
        ("1e3", None),
        ("inf", None),
        ("NaN", None),
        ("", None),
        (".", None),
        ("1.2.3", None),
        ("5 apples", None),
        ("5x", None),
        ("s", None),
        ("soon", None),
    ] {
        let found = super::value::wait(text.trim(), WALL).map(|wait| wait.as_millis());
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn the_plainest_hint_wins() {
    let all = [
        ("retry-after-ms", "1500"),
        ("x-ms-retry-after-ms", "2500"),
        ("retry-after", "3"),
        ("x-ratelimit-reset", "4"),
        ("x-ratelimit-reset-requests", "5s"),
    ];
    for (first, expected) in [1_500, 2_500, 3_000, 4_000, 5_000].into_iter().enumerate() {
        let found = retry_after(&headers(&all[first..]), WALL);
        assert_eq!(found, Some(Duration::from_millis(expected)));
    }
    assert_eq!(retry_after(&HeaderMap::new(), WALL), None);
}

#[test]
fn garbage_in_one_header_falls_through_to_the_next() {
    let found = retry_after(&headers(&[("retry-after-ms", "-1"), ("retry-after", "3")]), WALL);
    assert_eq!(found, Some(Duration::from_secs(3)));
    assert_eq!(retry_after(&headers(&[("retry-after", "-1")]), WALL), None);
    let mut bytes = HeaderMap::new();
    bytes.insert("retry-after", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    assert_eq!(retry_after(&bytes, WALL), None);
}

#[test]
fn of_several_resets_only_those_of_used_up_limits_count() {
    let openai = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
        ("x-ratelimit-remaining-tokens", "900"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    assert_eq!(retry_after(&headers(&openai), WALL), Some(Duration::from_secs(2)));
    let anthropic = [
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-06T08:49:47Z"),
    ];
    assert_eq!(retry_after(&headers(&anthropic), WALL), Some(Duration::from_secs(10)));
    let untold = [
        ("x-ratelimit-reset-requests-day", "20000"),
        ("x-ratelimit-reset-tokens-minute", "12.5"),
    ];
    assert_eq!(
        retry_after(&headers(&untold), WALL),
        Some(Duration::from_millis(12_500))
    );
}

#[test]
fn nothing_said_means_nothing_known() {
    assert_eq!(Headroom::default().exhausted_for(at(0)), None);
    assert_eq!((seen(&[]).requests_left(), seen(&[]).tokens_left()), (None, None));
}

#[test]
fn an_exhausted_provider_is_waited_for_until_its_reset() {
    let headroom = seen(&[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "20s"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), Some(Duration::from_secs(20)));
    assert_eq!(headroom.exhausted_for(at(15)), Some(Duration::from_secs(5)));
    assert_eq!(headroom.exhausted_for(at(20)), None);
}

#[test]
fn the_last_unit_left_may_be_used() {
    let headroom = seen(&[
        ("x-ratelimit-remaining-requests", "1"),
        ("x-ratelimit-reset-requests", "20s"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), None);
}

#[test]
fn of_a_bucket_that_refills_only_the_time_to_the_next_unit_is_waited() {
    let headroom = seen(&[
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1m0s"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), Some(Duration::from_secs(1)));
    let headroom = seen(&[
        ("anthropic-ratelimit-input-tokens-limit", "10000"),
        ("anthropic-ratelimit-input-tokens-remaining", "2000"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-06T08:50:17Z"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), None);
    assert_eq!(headroom.short_for(2_000, at(0)), None);
    assert_eq!(
        headroom.short_for(6_000, at(0)),
        Some(Duration::from_secs(20)),
        "half of the missing 8,000"
    );
    assert_eq!(
        headroom.short_for(1_000_000, at(0)),
        Some(Duration::from_secs(40)),
        "no longer than until it is whole"
    );
}

#[test]
fn of_a_fixed_window_its_end_is_waited_for() {
    let headroom = seen(&[
        ("x-ratelimit-limit-tokens-minute", "60000"),
        ("x-ratelimit-remaining-tokens-minute", "0"),
        ("x-ratelimit-reset-tokens-minute", "42.5"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), Some(Duration::from_millis(42_500)));
}

#[test]
fn the_limit_that_holds_longest_decides() {
    let headroom = seen(&[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "9s"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), Some(Duration::from_secs(9)));
}

#[test]
fn the_last_word_counts_and_silence_leaves_it() {
    let mut headroom = seen(&[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "20s"),
    ]);
    headroom.observe(&HeaderMap::new(), at(1), WALL);
    assert!(headroom.exhausted_for(at(1)).is_some());
    headroom.observe(&headers(&[("x-ratelimit-remaining-requests", "7")]), at(2), WALL);
    assert_eq!(
        (headroom.exhausted_for(at(2)), headroom.requests_left()),
        (None, Some(7))
    );
}

#[test]
fn minus_one_and_zero_of_azure_say_nothing() {
    let headroom = seen(&[
        ("x-ratelimit-remaining-requests", "-1"),
        ("x-ratelimit-reset-requests", "0"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), None);
    let headroom = seen(&[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "0"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), None, "used up, but new already");
}

#[test]
fn no_word_is_believed_for_more_than_an_hour() {
    let headroom = seen(&[
        ("x-ratelimit-remaining-requests-day", "0"),
        ("x-ratelimit-reset-requests-day", "86400"),
    ]);
    assert_eq!(headroom.exhausted_for(at(0)), Some(MAX_WAIT));
    assert_eq!(headroom.exhausted_for(at(3_600)), None);
}

proptest! {
    #[test]
    fn no_header_makes_it_panic_or_wait_longer_than_allowed(
        values in prop::collection::vec("[0-9a-zA-Zµ:+., -]{0,30}", 27), wall: u64, tokens: u64, later in 0_u64..10_000,
    ) {
        let mut map = HeaderMap::new();
        let names = NAMES.iter().flat_map(|names| [&names.limit, &names.remaining, &names.reset]);
        for (name, value) in names.zip(&values) {
            if let Ok(value) = HeaderValue::from_str(value) {
                map.insert(name, value.clone());
                map.insert("retry-after", value);
            }
        }
        prop_assert!(retry_after(&map, wall).is_none_or(|wait| wait <= MAX_WAIT));
        let mut headroom = Headroom::default();
        headroom.observe(&map, at(0), wall);
        prop_assert!(headroom.short_for(tokens, at(later)).is_none_or(|wait| wait <= MAX_WAIT && !wait.is_zero()));
    }
}

#[test]
fn a_subscriptions_used_up_window_is_headroom_too() {
    let open = &[
        ("anthropic-ratelimit-unified-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-5h-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-5h-reset", "1793955007"),
    ];
    assert_eq!(seen(open).exhausted_for(at(0)), None, "a warning is no rejection");
    let closed = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1793955007"),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", "1793955007"),
        ("anthropic-ratelimit-unified-7d-status", "rejected"),
        ("anthropic-ratelimit-unified-7d-reset", "1793955017"),
    ];
    let mut headroom = seen(&closed);
    assert_eq!(
        headroom.exhausted_for(at(0)),
        Some(Duration::from_secs(40)),
        "all must allow"
    );
    assert_eq!(headroom.exhausted_for(at(40)), None);
    assert_eq!(retry_after(&headers(&closed), WALL), Some(Duration::from_secs(40)));
    headroom.observe(&headers(open), at(1), WALL);
    assert_eq!(headroom.exhausted_for(at(1)), None, "the last word counts");
}

#[test]
fn a_rejection_that_is_not_the_accounts_closes_nothing() {
    let of_one_model = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1793955007"),
        ("anthropic-ratelimit-unified-5h-status", "allowed"),
        ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
    ];
    assert_eq!(seen(&of_one_model).exhausted_for(at(0)), None);
    let in_part = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", "1793955007"),
        ("anthropic-ratelimit-unified-fallback-percentage", "0.5"),
    ];
    assert_eq!(seen(&in_part).exhausted_for(at(0)), None, "a share is still served");
    let overall = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1793955007"),
    ];
    assert_eq!(seen(&overall).exhausted_for(at(0)), Some(Duration::from_secs(30)));
    let daily = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1794955007"),
    ];
    assert_eq!(seen(&daily).exhausted_for(at(0)), Some(MAX_WAIT), "asked once an hour");
}

#[test]
fn limits_are_told_on_once_a_minute_and_only_where_there_are_some() {
    let mut room = Headroom::default();
    let none = HeaderMap::new();
    let some = headers(&[("x-ratelimit-remaining-requests", "7")]);
    let at = |seconds| Moment::from_start(Duration::from_secs(seconds));
    for (seconds, headers, is_due) in [
        (0, &none, false),
        (1, &some, true),
        (2, &some, false),
        (60, &some, false),
        (61, &none, false),
        (62, &some, true),
        (63, &some, false),
    ] {
        assert_eq!(room.observe(headers, at(seconds), 0), is_due, "{seconds}");
    }
}

#[test]
fn of_each_kind_of_limit_the_one_with_the_least_left_is_told() {
    let told: Vec<_> = limits(
        &headers(&[
            ("x-ratelimit-limit-requests", "100"),
            ("x-ratelimit-remaining-requests", "99"),
            ("x-ratelimit-reset-requests", "600ms"),
            ("x-ratelimit-remaining-requests-day", "3"),
            ("anthropic-ratelimit-output-tokens-remaining", "5"),
            ("x-ratelimit-remaining-tokens", "-1"),
        ]),
        0,
    )
    .collect();
    let of = |what, remaining| Limit {
        what,
        limit: None,
        remaining,
        reset: None,
    };
    assert_eq!(told, [of("requests", 3), of("output_tokens", 5)]);
}
