use super::render::{lines, resets, status};
use super::{FIELDS, Reset, What};
use crate::fleet::{Health, Model, Provider};
use crate::health::Seen;
use crate::order;
use crate::output::Paint;

fn read(status: u16, body: &[u8]) -> What {
    order::read(status, body, FIELDS).into()
}

fn seen(pod: &str, breakers: &[(&str, &str, &str)]) -> Seen {
    let mut providers: Vec<Provider> = Vec::new();
    for (provider, model, breaker) in breakers {
        if providers.last().is_none_or(|it| it.name != *provider) {
            providers.push(Provider {
                name: (*provider).into(),
                ..Provider::default()
            });
        }
        if !model.is_empty() {
            providers.last_mut().unwrap().models.push(Model {
                name: (*model).into(),
                breaker: (*breaker).into(),
                retry_in_seconds: (*breaker == "open").then_some(12.4),
                ..Model::default()
            });
        }
    }
    Seen {
        namespace: "shop".into(),
        pod: pod.into(),
        health: Some(Health {
            providers,
            ..Health::default()
        }),
        silent: None,
    }
}

#[test]
fn breakers_are_summed_by_provider_and_model_with_where_they_are_not_closed() {
    let mut gone = seen("app-4", &[]);
    gone.health = None;
    let fleet = [
        seen(
            "app-1",
            &[
                ("claude", "opus", "open"),
                ("claude", "sonnet", "closed"),
                ("gemini", "", ""),
            ],
        ),
        seen("app-2", &[("claude", "opus", "half_open"), ("gemini", "", "")]),
        seen("app-3", &[("claude", "", ""), ("gemini", "", "")]),
        gone,
    ];
    insta::assert_snapshot!(status(&lines(&fleet, None), Paint(false)));
    assert_eq!(lines(&fleet, Some("gemini")).circuits.len(), 1);
}

#[test]
fn a_reset_says_what_changed_and_who_was_not_reached() {
    let all = [
        Reset {
            pod: "app-1".into(),
            what: read(200, br#"{"closed":2}"#),
        },
        Reset {
            pod: "app-2".into(),
            what: read(200, br#"{"closed":0}"#),
        },
        Reset {
            pod: "app-3".into(),
            what: read(404, br#"{"error":"no such provider","providers":["gemini"]}"#),
        },
        Reset {
            pod: "app-4".into(),
            what: read(403, br#"{"error":"only from inside the pod"}"#),
        },
    ];
    insta::assert_snapshot!(resets(&all, Some("claude"), Paint(false)));
    assert_eq!(
        all[2].what,
        What::NotThere {
            providers: vec!["gemini".into()]
        }
    );
}
