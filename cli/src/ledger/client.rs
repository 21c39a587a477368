//! Asks the ledger service, and says what is missing where it cannot.

use bowsprit_ledger::query::{
    By, LOGS_PATH, Listed, QUALITY_PATH, Quality, SPEND_PATH, STATS_PATH, Stat, WHY_PREFIX, Why, Window,
};
use serde::de::DeserializeOwned;

use super::uri::{encoded, with};
use crate::cluster::{Answer, Cluster};
use crate::failure::{Failure, Intent};

/// The ledger's Service in the operators' namespace, with the scheme and port that the apiserver asks it by.
pub(crate) const SERVICE: &str = "https:bowsprit-ledger:8446";

/// The ledger of a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Ledger<'a> {
    cluster: &'a Cluster,
}

/// Which requests are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// One namespace; `None`: all.
    pub(crate) namespace: Option<&'a str>,
    /// One provider.
    pub(crate) provider: Option<&'a str>,
    /// One route.
    pub(crate) route: Option<&'a str>,
    /// Only what did not succeed.
    pub(crate) failed: bool,
    /// At most so many.
    pub(crate) number: u32,
    /// Those after this one, oldest first; `None`: the newest, newest first.
    pub(crate) after: Option<String>,
}

impl<'a> Ledger<'a> {
    /// Nothing is asked yet.
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// Sums over a window.
    pub(crate) async fn stats(
        self,
        namespace: Option<&str>,
        provider: Option<&str>,
        by: By,
        window: Window,
    ) -> Result<Vec<Stat>, Failure> {
        let provider = provider.map(ToOwned::to_owned);
        let question = about(namespace, window)
            .into_iter()
            .chain([("provider", provider), ("by", Some(name(by)))]);
        self.ask(&with(STATS_PATH, question)).await
    }

    /// What it cost.
    pub(crate) async fn spend(self, namespace: Option<&str>, by: By, window: Window) -> Result<Vec<Stat>, Failure> {
        let question = about(namespace, window).into_iter().chain([("by", Some(name(by)))]);
        self.ask(&with(SPEND_PATH, question)).await
    }

    /// How good each provider was.
    pub(crate) async fn quality(self, namespace: Option<&str>, window: Window) -> Result<Vec<Quality>, Failure> {
        self.ask(&with(QUALITY_PATH, about(namespace, window))).await
    }

    /// Requests.
    pub(crate) async fn logs(self, wanted: &Wanted<'_>) -> Result<Vec<Listed>, Failure> {
        let owned = |value: Option<&str>| value.map(ToOwned::to_owned);
        let question = [
            ("namespace", owned(wanted.namespace)),
            ("provider", owned(wanted.provider)),
            ("route", owned(wanted.route)),
            ("failed", wanted.failed.then(|| "true".to_owned())),
            ("number", Some(wanted.number.to_string())),
            ("after", wanted.after.clone()),
        ];
        self.ask(&with(LOGS_PATH, question)).await
    }

    /// The requests that have this id, each with its attempts.
    pub(crate) async fn why(self, namespace: Option<&str>, id: &str) -> Result<Vec<Why>, Failure> {
        let question = [("namespace", namespace.map(ToOwned::to_owned))];
        self.ask(&with(&format!("{WHY_PREFIX}{}", encoded(id)), question)).await
    }

    async fn ask<T: DeserializeOwned>(self, uri: &str) -> Result<T, Failure> {
        let operators = self.cluster.operator_namespace();
        let intent = Intent {
            verb: "get",
            group: "",
            resource: "services/proxy",
            namespace: Some(operators),
        };
        let uri = format!("/api/v1/namespaces/{operators}/services/{SERVICE}/proxy{uri}");
        let answer = self.cluster.send(&intent, "GET", &uri, Vec::new()).await?;
        read(&answer, &intent)
    }
}

fn about(namespace: Option<&str>, window: Window) -> [(&'static str, Option<String>); 3] {
    [
        ("namespace", namespace.map(ToOwned::to_owned)),
        ("from", Some(window.from.to_string())),
        ("to", Some(window.to.to_string())),
    ]
}

fn name(by: By) -> String {
    match by {
        By::Provider => "provider",
        By::Model => "model",
        By::Route => "route",
        By::Namespace => "namespace",
        By::Workload => "workload",
    }
    .to_owned()
}

/// An answer, which is the service's or the apiserver's own.
fn read<T: DeserializeOwned>(answer: &Answer, intent: &Intent<'_>) -> Result<T, Failure> {
    let operators = intent.namespace.unwrap_or_default();
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::Wrong(format!(
                "the ledger's answer is not read: {error}; are plugin and ledger of the same release? (kubectl bowsprit version)"
            ))
        });
    }
    let said = answer.said();
    Err(match (answer.status, answer.is_the_apiservers()) {
        (404, true) => Failure::Wrong(format!(
            "there is no ledger in namespace {operators} ({said}): helm upgrade ... --set ledger.enabled=true installs it; \
             --operator-namespace names another namespace. `health` and `circuit status` ask the sidecars and need none"
        )),
        (502..=504, true) => Failure::Unreachable(format!(
            "the ledger in namespace {operators} does not answer ({said}): \
             kubectl -n {operators} get pods -l app.kubernetes.io/component=ledger says why. Sidecars keep what it misses"
        )),
        (status, false) => Failure::Wrong(format!("the ledger does not answer this: HTTP {status}: {said}")),
        (status, true) => intent.refused(status, &said),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::tests::{answering, status};

    const HOUR: Window = Window { from: 0, to: 3_600_000 };

    async fn refusal(answer: (u16, Value)) -> Failure {
        let cluster = answering(move |_: &Request<Body>| answer.clone(), Duration::from_secs(5));
        Ledger::new(&cluster)
            .quality(None, HOUR)
            .await
            .expect_err("it does not answer")
    }

    #[tokio::test]
    async fn a_question_goes_to_the_service_through_the_apiserver_and_every_value_stays_one() {
        let cluster = answering(
            |request| {
                assert_eq!(
                    request.uri(),
                    "/api/v1/namespaces/bowsprit-system/services/https:bowsprit-ledger:8446/proxy/v1/requests/a%2F..%3Fb?namespace=shop"
                );
                (200, json!([]))
            },
            Duration::from_secs(5),
        );
        let found = Ledger::new(&cluster).why(Some("shop"), "a/..?b").await;
        assert_eq!(found.map_err(|failure| failure.to_string()), Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_told_from_what_is_not_there() {
        let none = refusal(status(404, "services \"bowsprit-ledger\" not found")).await;
        assert!(none.to_string().contains("--set ledger.enabled=true"), "{none}");
        assert_eq!(none.exit_code(), 1);
        let down = refusal(status(503, "no endpoints available for service")).await;
        assert!(down.to_string().contains("get pods"), "{down}");
        assert_eq!(down.exit_code(), 3);
        let forbidden = refusal(status(403, "services is forbidden")).await;
        assert!(
            forbidden
                .to_string()
                .contains("resources: [services/proxy], verbs: [get]"),
            "{forbidden}"
        );
        assert_eq!(forbidden.exit_code(), 3);
        let strange = refusal((200, json!({"another": "release"}))).await;
        assert!(strange.to_string().contains("same release"), "{strange}");
    }
}
