use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::cost::Picodollars;
use bytes::Bytes;
use http::HeaderValue;

use super::super::kept::Which;
use super::*;
use crate::metrics::Registry;
use crate::observe::AccessLog;

const PATIENCE: Duration = Duration::from_mins(1);
const NOW: Moment = Moment::ZERO;

fn config(target: &str) -> Config {
    let text = format!(
        "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: claude}}\nspec:\n  provider: Anthropic\n  \
         credentials: [{{name: main, env: K}}]\n  models: [{{name: m}}, {{name: n}}]\n---\n\
         apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec:\n  match: {{models: [smart]}}\n  \
         targets: [{{provider: claude, model: {target}}}]\n  cache: {{ttl: 1h, maxBytes: 1048576}}\n"
    );
    load(&text, &Scope::Standalone).unwrap()
}

fn cache() -> Arc<Cache> {
    let sinks = Arc::new(Sinks::register(&mut Registry::default(), AccessLog::in_memory()));
    Cache::new(&Memory::new(16 << 20), &sinks)
}

/// With the route that it serves, as requests have it.
fn serving() -> (Arc<Cache>, Config) {
    let (cache, config) = (cache(), config("m"));
    cache.answers.fit(&config);
    (cache, config)
}

fn answer(text: &'static str) -> Arc<Answer> {
    Arc::new(Answer {
        request_id: "r-1".into(),
        asked: "smart".into(),
        spent: (5, Picodollars::ZERO),
        provider: HeaderValue::from_static("claude"),
        model: Some(HeaderValue::from_static("m")),
        warning: None,
        content_type: None,
        body: Bytes::from_static(text.as_bytes()),
    })
}

fn key(number: u8) -> Key {
    Key::of_digest([number; 32])
}

fn find(cache: &Arc<Cache>, config: &Config, number: u8) -> Found {
    cache.find(&config.routes[0], key(number), NOW, |_| true)
}

fn lead(found: Found) -> Lead {
    match found {
        Found::Lead(lead) => *lead,
        _ => panic!("nobody else asks"),
    }
}

fn follow(found: Found) -> Follow {
    match found {
        Found::Follow(follow) => follow,
        _ => panic!("somebody asks already"),
    }
}

fn text(found: Found) -> Option<Bytes> {
    match found {
        Found::Answer(answer, _) => Some(answer.body.clone()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_that_ask_the_same_one_asks_and_all_have_its_answer() {
    let (cache, config) = serving();
    let leader = lead(find(&cache, &config, 1));
    let followers: Vec<_> = (0..99)
        .map(|_| tokio::spawn(follow(find(&cache, &config, 1)).wait(PATIENCE)))
        .collect();
    tokio::task::yield_now().await;
    leader.answered(&answer("yes"), NOW);
    for follower in followers {
        assert!(
            matches!(follower.await.unwrap(), Followed::Answer(Shared { answer, alike: None, .. }) if answer.body == "yes")
        );
    }
    assert_eq!(text(find(&cache, &config, 1)).unwrap(), "yes");
    assert!(matches!(find(&cache, &config, 2), Found::Lead(_)), "another question");
    assert_eq!(cache.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fails_or_leaves_wakes_one_to_lead_and_the_others_go_on_waiting() {
    let (cache, config) = serving();
    let first = lead(find(&cache, &config, 1));
    let mut waiting: Vec<_> = (0..5)
        .map(|_| tokio::spawn(follow(find(&cache, &config, 1)).wait(PATIENCE)))
        .collect();
    tokio::task::yield_now().await;
    // One that leaves is nobody's leader.
    waiting.remove(0).abort();
    tokio::task::yield_now().await;
    drop(first);
    let mut led = None;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let at = waiting.iter().position(tokio::task::JoinHandle::is_finished);
    if let Followed::Lead(lead) = waiting.remove(at.expect("one leads")).await.unwrap() {
        led = Some(lead);
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "only one");
    led.expect("it leads").answered(&answer("second"), NOW);
    for waiting in waiting {
        assert!(
            matches!(waiting.await.unwrap(), Followed::Answer(Shared { answer, alike: None, .. }) if answer.body == "second")
        );
    }
    assert_eq!(cache.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_leader_has_left_alone_leads_and_nothing_is_left_behind() {
    let (cache, config) = serving();
    drop(lead(find(&cache, &config, 1)));
    assert_eq!(cache.under_way(), 0);
    let leader = lead(find(&cache, &config, 1));
    let follower = follow(find(&cache, &config, 1));
    drop(leader);
    assert_eq!(cache.under_way(), 1, "the follower has still to hear of it");
    drop(follower);
    assert_eq!(cache.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_to_share_sends_each_on_its_own_way() {
    let (cache, config) = serving();
    let leader = lead(find(&cache, &config, 1));
    let followers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(follow(find(&cache, &config, 1)).wait(PATIENCE)))
        .collect();
    tokio::task::yield_now().await;
    leader.not_to_share();
    for follower in followers {
        assert!(matches!(follower.await.unwrap(), Followed::Alone));
    }
    assert!(matches!(find(&cache, &config, 1), Found::Lead(_)));
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end() {
    let (cache, config) = serving();
    let _leader = lead(find(&cache, &config, 1));
    let began = tokio::time::Instant::now();
    assert!(matches!(
        follow(find(&cache, &config, 1)).wait(PATIENCE).await,
        Followed::Alone
    ));
    assert_eq!(began.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_targets_is_another_flight_and_an_answer_from_before_is_kept_for_nobody() {
    let (cache, before) = serving();
    let leader = lead(find(&cache, &before, 1));
    let after = config("n");
    cache.answers.fit(&after);
    assert!(matches!(find(&cache, &before, 1), Found::NotItsRoute));
    let second = lead(find(&cache, &after, 1));
    leader.answered(&answer("of before"), NOW);
    assert!(matches!(find(&cache, &after, 1), Found::Follow(_)), "nothing of before");
    second.answered(&answer("of after"), NOW);
    assert_eq!(text(find(&cache, &after, 1)).unwrap(), "of after");
}

#[tokio::test(start_paused = true)]
async fn what_is_cleared_is_gone_with_what_was_asked_for_before() {
    let (cache, config) = serving();
    let fill = || {
        for number in [1, 2] {
            if let Found::Lead(lead) = find(&cache, &config, number) {
                lead.answered(&answer("old"), NOW);
            }
        }
    };
    let which = |route: &str, model: &str, key: &str| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Which {
            route: some(route),
            model: some(model),
            key: some(key),
        }
    };
    for (which, gone) in [
        (which("", "", ""), Some(2)),
        (which("r", "", ""), Some(2)),
        (which("r", "smart", ""), Some(2)),
        (which("", "m", ""), Some(2)),
        (which("", "other", ""), Some(0)),
        (which("", "", "0101"), Some(1)),
        (which("other", "", ""), None),
    ] {
        fill();
        assert_eq!(cache.answers.clear(&which), gone, "{which:?}");
    }
    cache.answers.clear(&Which::default());
    let leader = lead(find(&cache, &config, 1));
    cache.answers.clear(&Which::default());
    leader.answered(&answer("asked for before"), NOW);
    assert!(matches!(find(&cache, &config, 1), Found::Lead(_)));
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_younger_answer_asks_and_is_led_by_nobody_from_before() {
    let (cache, config) = serving();
    lead(find(&cache, &config, 1)).answered(&answer("old"), NOW);
    let found = cache.find(&config.routes[0], key(1), NOW, |_| false);
    let leader = lead(found);
    leader.answered(&answer("new"), NOW);
    assert_eq!(text(find(&cache, &config, 1)).unwrap(), "new");
}
