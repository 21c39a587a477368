//! What was applied is told by the operators, each change once, and asked by who may read.

use bowsprit_core::changes::{CHANGES_PATH, Change, Changes};
use bowsprit_ledger::query::AppliedConfig;
use serde_json::Value;

use crate::apiserver::{pods, users};
use crate::program::{Place, Program};

fn change(id: &str, at: i64, what: &str, who: &str) -> Change {
    Change {
        id: id.into(),
        at,
        namespace: "team".into(),
        kind: "ProviderConfig".into(),
        name: "claude".into(),
        what: what.into(),
        who: who.into(),
        revision: "3f9a1c04d2e7".into(),
    }
}

async fn told(program: &Program, token: &str, changes: &[Change]) -> (u16, Value) {
    let message = Changes {
        changes: changes.to_vec(),
    };
    let request = program
        .http
        .post(program.url(CHANGES_PATH))
        .bearer_auth(token)
        .json(&message);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_change_that_is_told_by_two_operators_is_in_the_history_once_as_the_first_told_it() {
    let mut program = Program::start(Place::Sqlite).await;
    let (one, another) = (pods("bowsprit-system", "op-1"), pods("bowsprit-system", "op-2"));
    let made = change("u-1/1", 1_000, "created", "ann");
    assert_eq!(told(&program, &one, std::slice::from_ref(&made)).await.0, 200);
    program.kill_and_start().await;
    let again = change("u-1/1", 1_400, "created", "(kubectl-edit)");
    let gone = change("u-1/gone", 5_000, "deleted", "o'hara; DROP TABLE provider_configs");
    assert_eq!(told(&program, &another, &[again, gone]).await.0, 200);
    let (status, history) = program.get(&users("ann"), "/v1/configs?namespace=team").await;
    assert_eq!(status, 200, "{history}");
    let history: Vec<AppliedConfig> = serde_json::from_value(history).unwrap();
    let told_of: Vec<_> = history
        .iter()
        .map(|it| (it.at, it.what.as_str(), it.who.as_str(), it.replaced_at))
        .collect();
    let wanted = [
        (5_000, "deleted", "o'hara; DROP TABLE provider_configs", None),
        (1_000, "created", "ann", Some(5_000)),
    ];
    assert_eq!(told_of, wanted);
    let other = program.get(&users("ann"), "/v1/configs?namespace=other").await;
    assert_eq!(other.0, 403, "{}", other.1);
}

#[tokio::test]
async fn nobody_but_an_operator_tells_what_was_applied() {
    let program = Program::start(Place::Sqlite).await;
    let made = [change("u-1/1", 1_000, "created", "ann")];
    for (token, status) in [
        (pods("team", "app-1"), 403),
        (pods("bowsprit-system", ""), 403),
        (users("ann"), 401),
        ("rubbish".into(), 401),
    ] {
        let answer = told(&program, &token, &made).await;
        assert_eq!(answer.0, status, "{}", answer.1);
    }
    let operator = pods("bowsprit-system", "op-1");
    for (id, kind, what) in [
        ("", "ProviderConfig", "created"),
        ("u/1", "Secret", "created"),
        ("u/1", "ModelRoute", "painted"),
    ] {
        let strange = Change {
            id: id.into(),
            kind: kind.into(),
            what: what.into(),
            ..made[0].clone()
        };
        let (status, said) = told(&program, &operator, &[strange]).await;
        assert_eq!(status, 400, "{said}");
        assert!(said["message"].as_str().unwrap().contains("changes[0]"), "{said}");
    }
    assert_eq!(
        program.get(&users("ann"), "/v1/configs?namespace=team").await.1,
        serde_json::json!([])
    );
}
