//! Asks the ledger service, and says what is missing where it cannot. Where there is no such service, that is no failure.

use bowsprit_ledger::query::report::{ACCESS_PATH, Refusals, SLA_PATH, Sla, USAGE_PATH, Usage};
use bowsprit_ledger::query::{
    AppliedConfig, By, CONFIGS_PATH, LOGS_PATH, Listed, QUALITY_PATH, Quality, READER_HEADER, SPEND_PATH, STATS_PATH,
    Stat, WHY_PREFIX, Why, Window,
};
use http::{HeaderValue, Request};
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use super::client::Wanted;
use super::reader;
use crate::args::LedgerWhere;
use crate::cluster::{Answer, Cluster};
use crate::failure::{Failure, Intent};
use crate::uri::{encoded, with};

/// The port of the ledger's Service.
const PORT: u16 = 8446;

/// A token lasts twice as long.
const RENEWED: Duration = Duration::from_mins(5);

/// The ledger service of a cluster.
pub(super) struct Service<'a> {
    cluster: &'a Cluster,
    /// Its Service in the operators' namespace.
    name: &'a str,
    /// A token and since when it is there. One ledger is asked about one namespace, or about all.
    kept: Mutex<Option<(String, Instant)>>,
}

impl<'a> Service<'a> {
    /// Nothing is asked yet.
    pub(super) fn new(cluster: &'a Cluster, place: &'a LedgerWhere) -> Self {
        Self {
            cluster,
            name: &place.ledger,
            kept: Mutex::default(),
        }
    }

    /// Sums over a window.
    pub(super) async fn stats(
        &self,
        namespace: Option<&str>,
        provider: Option<&str>,
        by: By,
        window: Window,
    ) -> Result<Option<Vec<Stat>>, Failure> {
        let provider = provider.map(ToOwned::to_owned);
        let question = about(namespace, window)
            .into_iter()
            .chain([("provider", provider), ("by", Some(name(by)))]);
        self.ask(namespace, &with(STATS_PATH, question)).await
    }

    /// What it cost.
    pub(super) async fn spend(
        &self,
        namespace: Option<&str>,
        by: By,
        window: Window,
    ) -> Result<Option<Vec<Stat>>, Failure> {
        let question = about(namespace, window).into_iter().chain([("by", Some(name(by)))]);
        self.ask(namespace, &with(SPEND_PATH, question)).await
    }

    /// How good each provider was.
    pub(super) async fn quality(
        &self,
        namespace: Option<&str>,
        window: Window,
    ) -> Result<Option<Vec<Quality>>, Failure> {
        self.ask(namespace, &with(QUALITY_PATH, about(namespace, window))).await
    }

    /// How available it was.
    pub(super) async fn sla(&self, namespace: Option<&str>, by: By, window: Window) -> Result<Option<Sla>, Failure> {
        let question = about(namespace, window).into_iter().chain([("by", Some(name(by)))]);
        self.ask(namespace, &with(SLA_PATH, question)).await
    }

    /// What was used.
    pub(super) async fn usage(
        &self,
        namespace: Option<&str>,
        by: By,
        window: Window,
        previous: Window,
    ) -> Result<Option<Usage>, Failure> {
        let question = about(namespace, window)
            .into_iter()
            .chain([("by", Some(name(by))), ("previous", Some(previous.from.to_string()))]);
        self.ask(namespace, &with(USAGE_PATH, question)).await
    }

    /// Who was turned away.
    pub(super) async fn refusals(&self, namespace: Option<&str>, window: Window) -> Result<Option<Refusals>, Failure> {
        self.ask(namespace, &with(ACCESS_PATH, about(namespace, window))).await
    }

    /// Requests.
    pub(super) async fn logs(&self, wanted: &Wanted<'_>) -> Result<Option<Vec<Listed>>, Failure> {
        let owned = |value: Option<&str>| value.map(ToOwned::to_owned);
        let question = [
            ("namespace", owned(wanted.namespace)),
            ("provider", owned(wanted.provider)),
            ("route", owned(wanted.route)),
            ("failed", wanted.failed.then(|| "true".to_owned())),
            ("number", Some(wanted.number.to_string())),
            ("after", wanted.after.clone()),
        ];
        self.ask(wanted.namespace, &with(LOGS_PATH, question)).await
    }

    /// The requests that have this id, each with its attempts; none where there is none.
    pub(super) async fn why(&self, namespace: Option<&str>, id: &str) -> Result<Option<Vec<Why>>, Failure> {
        let question = [("namespace", namespace.map(ToOwned::to_owned))];
        let found: Option<Option<Vec<Why>>> = self
            .ask(namespace, &with(&format!("{WHY_PREFIX}{}", encoded(id)), question))
            .await?;
        Ok(found.map(Option::unwrap_or_default))
    }

    /// What was applied.
    pub(super) async fn changes(
        &self,
        namespace: Option<&str>,
        object: Option<(&str, &str)>,
        number: u32,
    ) -> Result<Option<Vec<AppliedConfig>>, Failure> {
        let question = [
            ("namespace", namespace.map(ToOwned::to_owned)),
            ("kind", object.map(|(kind, _)| kind.to_owned())),
            ("name", object.map(|(_, name)| name.to_owned())),
            ("number", Some(number.to_string())),
        ];
        self.ask(namespace, &with(CONFIGS_PATH, question)).await
    }

    /// `None`: there is no such service.
    async fn ask<T: DeserializeOwned>(&self, namespace: Option<&str>, uri: &str) -> Result<Option<T>, Failure> {
        let operators = self.cluster.operator_namespace();
        // As the apiserver, and so RBAC, names it: with the scheme and the port.
        let service = format!("https:{}:{PORT}", encoded(self.name));
        let intent = Intent {
            verb: "get",
            group: "",
            resource: "services/proxy",
            name: Some(&service),
            namespace: Some(operators),
        };
        let uri = format!("/api/v1/namespaces/{operators}/services/{service}/proxy{uri}");
        let Some(token) = self.token(namespace).await? else {
            return Ok(None);
        };
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Failure::Wrong("the apiserver's token is no header".to_owned()))?;
        bearer.set_sensitive(true);
        let request = Request::get(&uri).header(READER_HEADER, bearer).body(Vec::new());
        let request = request.map_err(|error| Failure::Wrong(format!("no request for {uri}: {error}")))?;
        let answer = self.cluster.sent(&intent, request).await?;
        read(&answer, &intent, namespace)
    }

    /// The reader's token; made anew before it ends.
    async fn token(&self, namespace: Option<&str>) -> Result<Option<String>, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some((token, _)) = kept.as_ref().filter(|(_, since)| since.elapsed() < RENEWED) {
            return Ok(Some(token.clone()));
        }
        let token = reader::token(self.cluster, self.name, namespace).await?;
        *kept = token.clone().map(|token| (token, Instant::now()));
        Ok(token)
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
fn read<T: DeserializeOwned>(
    answer: &Answer,
    intent: &Intent<'_>,
    namespace: Option<&str>,
) -> Result<Option<T>, Failure> {
    let operators = intent.namespace.unwrap_or_default();
    let unread = |error: serde_json::Error| {
        Failure::Wrong(format!(
            "the ledger's answer is not read: {error}; are plugin and ledger of the same release? (kubectl bowsprit version)"
        ))
    };
    let said = answer.said();
    Err(match (answer.status, answer.is_the_apiservers()) {
        (200, _) => return serde_json::from_slice(&answer.body).map(Some).map_err(unread),
        // What is asked for by its id is not there.
        (404, false) => {
            return serde_json::from_slice(b"null")
                .map(Some)
                .map_err(|_| Failure::Wrong(format!("the ledger does not know this question: {said}")));
        }
        (404, true) => return Ok(None),
        (502..=504, true) => Failure::Unreachable(format!(
            "the ledger in namespace {operators} does not answer ({said}): \
             kubectl -n {operators} get pods says why. Sidecars keep what it misses"
        )),
        (403, false) => Intent {
            verb: "get",
            group: "bowsprit.dev",
            resource: "providerconfigs/ledger",
            name: None,
            namespace,
        }
        .refused(403, &format!("the ledger says of its reader: {said}")),
        (502..=504, false) => Failure::Unreachable(format!("the ledger: {said}")),
        (status, false) => Failure::Wrong(format!("the ledger does not answer this: HTTP {status}: {said}")),
        (status, true) => intent.refused(status, &said),
    })
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::args::LedgerFrom;
    use crate::cluster::tests::{answering, status};

    const HOUR: Window = Window { from: 0, to: 3_600_000 };
    const PATIENCE: Duration = Duration::from_secs(5);

    /// A cluster with a reader in these namespaces, and a ledger that answers so.
    fn with_readers(
        readers: &'static [&'static str],
        answer: impl Fn(&Request<Body>) -> (u16, Value) + Clone + Send + Sync + 'static,
    ) -> Cluster {
        answering(
            move |request| {
                let path = request.uri().path();
                if !path.ends_with("/serviceaccounts/bowsprit-ledger-reader/token") {
                    return answer(request);
                }
                match path.split('/').nth(4) {
                    Some(namespace) if readers.contains(&namespace) => {
                        (201, json!({"status": {"token": format!("of-{namespace}")}}))
                    }
                    Some("secret") => status(403, "User \"ann\" cannot create resource \"serviceaccounts/token\""),
                    _ => status(404, "serviceaccounts \"bowsprit-ledger-reader\" not found"),
                }
            },
            PATIENCE,
        )
    }

    fn usual() -> LedgerWhere {
        LedgerWhere {
            all_namespaces: false,
            ledger: "bowsprit-ledger".into(),
            from: LedgerFrom::Any,
        }
    }

    async fn refusal(answer: (u16, Value)) -> Failure {
        let cluster = with_readers(&["bowsprit-system"], move |_| answer.clone());
        let place = usual();
        let ledger = Service::new(&cluster, &place);
        ledger
            .quality(Some("shop"), HOUR)
            .await
            .expect_err("it does not answer")
    }

    #[tokio::test]
    async fn a_question_goes_to_the_service_through_the_apiserver_and_every_value_stays_one() {
        let cluster = with_readers(&["shop", "bowsprit-system"], |request| {
            assert_eq!(
                request.uri(),
                "/api/v1/namespaces/bowsprit-system/services/https:bowsprit-ledger:8446/proxy/v1/requests/a%2F..%3Fb?namespace=shop"
            );
            assert_eq!(request.headers()[READER_HEADER], "Bearer of-shop");
            (200, json!([]))
        });
        let found = Service::new(&cluster, &usual()).why(Some("shop"), "a/..?b").await;
        assert_eq!(found.map_err(|failure| failure.to_string()), Ok(Some(Vec::new())));
    }

    #[tokio::test]
    async fn the_reader_of_all_is_asked_where_the_namespace_has_none_and_where_all_are_meant() {
        let cluster = with_readers(&["bowsprit-system"], |request| {
            assert_eq!(request.headers()[READER_HEADER], "Bearer of-bowsprit-system");
            (200, json!([]))
        });
        for namespace in [Some("shop"), None] {
            let found = Service::new(&cluster, &usual()).quality(namespace, HOUR).await;
            assert_eq!(found.map_err(|failure| failure.to_string()), Ok(Some(Vec::new())));
        }
    }

    #[tokio::test]
    async fn an_id_that_the_ledger_does_not_have_is_no_failure_of_the_ledger() {
        let cluster = with_readers(&["shop"], |_| (404, json!({"message": "no request has this id"})));
        let found = Service::new(&cluster, &usual()).why(Some("shop"), "r").await;
        assert_eq!(found.map_err(|failure| failure.to_string()), Ok(Some(Vec::new())));
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_told_from_what_is_not_there() {
        let down = refusal(status(503, "no endpoints available for service")).await;
        assert!(down.to_string().contains("get pods"), "{down}");
        assert_eq!(down.exit_code(), 3);
        let strange = refusal((200, json!({"another": "release"}))).await;
        assert!(strange.to_string().contains("same release"), "{strange}");
    }

    #[tokio::test]
    async fn where_there_is_no_ledger_that_is_no_failure() {
        let no_reader = with_readers(&[], |_| status(500, "it is not asked"));
        let no_service = with_readers(&["bowsprit-system"], |_| {
            status(404, "services \"bowsprit-ledger\" not found")
        });
        for cluster in [no_reader, no_service] {
            let asked = Service::new(&cluster, &usual()).quality(Some("shop"), HOUR).await;
            assert_eq!(asked.map_err(|failure| failure.to_string()), Ok(None));
        }
    }

    #[tokio::test]
    async fn a_right_that_is_missing_is_named_as_rbac_writes_it() {
        let forbidden = refusal(status(403, "services is forbidden")).await;
        let rule = "resources: [services/proxy], resourceNames: [\"https:bowsprit-ledger:8446\"], verbs: [get]";
        assert!(forbidden.to_string().contains(rule), "{forbidden}");
        assert_eq!(forbidden.exit_code(), 3);
        let reader = refusal((403, json!({"message": "you may not"}))).await;
        assert!(
            reader
                .to_string()
                .contains("resources: [providerconfigs/ledger], verbs: [get]"),
            "{reader}"
        );
        assert!(reader.to_string().contains("in namespace shop"), "{reader}");
        let cluster = with_readers(&[], |_| status(500, "it is not asked"));
        let token = Service::new(&cluster, &usual())
            .quality(Some("secret"), HOUR)
            .await
            .expect_err("it may not");
        let rule = "resources: [serviceaccounts/token], resourceNames: [\"bowsprit-ledger-reader\"], verbs: [create]";
        assert!(
            token.to_string().contains(rule) && token.to_string().contains("in namespace secret"),
            "{token}"
        );
    }
}
