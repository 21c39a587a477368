use super::Seen;
use super::render::{What, screen};
use crate::fleet::{Config, GuardService, Health, Ledger, Model, Provider, Stream};
use crate::output::Paint;

fn provider(name: &str) -> Provider {
    Provider {
        name: name.into(),
        status: "ok".into(),
        keys_usable: 1,
        keys_configured: 1,
        retries_left: 10,
        models: vec![Model {
            name: "claude-sonnet-4-5".into(),
            breaker: "closed".into(),
            ..Model::default()
        }],
        ..Provider::default()
    }
}

fn sidecar(pod: &str) -> Seen {
    Seen {
        namespace: "shop".into(),
        pod: pod.into(),
        silent: None,
        health: Some(Health {
            status: "ok".into(),
            version: "0.1.0".into(),
            uptime_seconds: 7300,
            in_flight: 2,
            config: Config {
                loaded: true,
                revision: "3f9a1c04d2e7".into(),
                sequence: 1_700_000_000,
                source: Some("stream".into()),
                age_seconds: Some(61),
                last_error: None,
            },
            stream: Some(Stream {
                connected: true,
                problem: None,
            }),
            ledger: None,
            providers: vec![provider("claude"), provider("gemini")],
            ..Health::default()
        }),
    }
}

fn broken() -> Vec<Seen> {
    let mut sick = sidecar("app-2");
    if let Some(health) = &mut sick.health {
        health.status = "degraded".into();
        health.config.last_error = Some("ProviderConfig claude: spec.priority: is -1".into());
        health.stream = Some(Stream {
            connected: false,
            problem: Some("connection refused".into()),
        });
        health.ledger = Some(Ledger {
            problems: vec!["the outbox cannot be written (database or disk is full): entries wait in memory".into()],
            ..Ledger::default()
        });
        health.guard_services = vec![GuardService {
            name: "dlp".into(),
            of: "UsagePolicy house".into(),
            breaker: "open".into(),
            retry_in_seconds: Some(4.2),
            problem: None,
        }];
        health.providers[0].status = "breaker open".into();
        health.providers[0].models[0].breaker = "open".into();
        health.providers[0].models[0].retry_in_seconds = Some(41.7);
        health.providers[1].status = "no usable key".into();
        health.providers[1].keys_usable = 0;
        health.providers[1].key_problems = vec!["main: the file is empty".into()];
        health.providers[1].retries_left = 3;
    }
    let mut silent = sidecar("app-3");
    silent.health = None;
    silent.silent = Some("its sidecar waits: ImagePullBackOff".into());
    vec![sidecar("app-1"), sick, silent]
}

#[test]
fn a_healthy_fleet() {
    let seen = [sidecar("app-1"), sidecar("app-2")];
    insta::assert_snapshot!(screen(&seen, What::default(), Paint(false)));
}

#[test]
fn a_broken_fleet_says_what_its_sidecars_complain_of() {
    insta::assert_snapshot!(screen(&broken(), What::default(), Paint(false)));
}

#[test]
fn one_provider_is_shown_as_each_sidecar_sees_it() {
    let what = What {
        one_provider: true,
        ..What::default()
    };
    let mut seen = broken();
    for health in seen.iter_mut().filter_map(|it| it.health.as_mut()) {
        health.providers.truncate(1);
    }
    insta::assert_snapshot!(screen(&seen, what, Paint(false)));
}

#[test]
fn of_ten_thousand_sidecars_those_that_are_not_well_are_listed() {
    let mut seen: Vec<Seen> = (0..10_000).map(|number| sidecar(&format!("app-{number}"))).collect();
    seen.extend(broken());
    let text = screen(&seen, What::default(), Paint(false));
    assert!(text.lines().count() < 25, "{text}");
    assert!(text.contains("and 10001 more, all ok"), "{text}");
    assert!(text.starts_with("10001 of 10003 sidecars ok."), "{text}");
}
