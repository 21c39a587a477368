//! One `AdmissionReview` of a ProviderConfig, ModelRoute or UsagePolicy in, one out. What can be judged is judged from memory
//! ([`crate::validate`]); the apiserver is asked only whether whoever changes where keys go may read them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bowsprit_crds::UsagePolicySpec;
use bowsprit_crds::model_route::ModelRouteSpec;
use bowsprit_crds::provider_config::ProviderConfigSpec;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::admission::{AdmissionRequest, NotAReview, Refusal, answered};
use crate::audit;
use crate::changes::{self, History};
use crate::metrics::Metrics;
use crate::validate::hosts::AllowedHosts;
use crate::validate::{
    Change, Judgement, Known, Reached, guards_refused, host_refused, judge, secrets_reached, secrets_reached_by_guards,
    secrets_reached_by_limits, secrets_reached_by_route,
};

/// A namespace's objects as they are known; `None` while they are not all here yet.
pub type Lookup = Arc<dyn Fn(&str) -> Option<Known> + Send + Sync>;

/// Asks the apiserver whether somebody may do something.
pub type Access = Arc<dyn Fn(SubjectAccessReviewSpec) -> BoxFuture<'static, Result<bool, String>> + Send + Sync>;

/// Secrets that a ProviderConfig may name: its CRD's limit of credentials.
const MOST_SECRETS: usize = 20;

/// What is asked about a change. The chart has a webhook for each: nobody's keys may move unasked while no operator answers
/// (`failurePolicy: Fail`), and nobody's work stands still for want of advice (`Ignore`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is it right, and what should its author know?
    Object,
    /// May its author read the keys that it sends somewhere?
    Keys,
    /// May a provider be where it says?
    Hosts,
}

/// Answers reviews of our own objects.
pub struct Validator {
    lookup: Lookup,
    access: Access,
    hosts: AllowedHosts,
    metrics: Metrics,
    changes: Option<History>,
}

impl Validator {
    /// `lookup` reads the reflector stores; `access` asks the apiserver; `hosts` are those that providers may be at.
    pub fn new(lookup: Lookup, access: Access, hosts: AllowedHosts, metrics: Metrics) -> Self {
        Self {
            lookup,
            access,
            hosts,
            metrics,
            changes: None,
        }
    }

    /// What is let through is told to the ledger service, once it is stored.
    #[must_use]
    pub fn telling(mut self, changes: Option<History>) -> Self {
        self.changes = changes;
        self
    }

    /// The answer to `body`, as JSON.
    pub async fn review(
        &self,
        question: Question,
        body: impl AsRef<[u8]>,
        began: Instant,
    ) -> Result<Vec<u8>, NotAReview> {
        let request = AdmissionRequest::read(body.as_ref());
        drop(body);
        let mut request = request.inspect_err(|_| self.metrics.validated("invalid", began.elapsed()))?;
        let answer = match question {
            Question::Keys => self.check_access(&mut request).await.map(|()| Vec::new()),
            Question::Object | Question::Hosts => self.answer(question, &request),
        };
        let (result, response) = match answer {
            Ok(warnings) => {
                if question == Question::Object {
                    audit(&request);
                    self.tell(&request);
                }
                let result = if warnings.is_empty() { "accepted" } else { "warned" };
                (result, request.allowed(&warnings))
            }
            Err(refusal) => {
                let (user, message) = (request.user_info.username.as_deref(), &refusal.message);
                tracing::info!(
                    namespace = request.namespace,
                    name = request.name,
                    user = user.unwrap_or_default(),
                    message,
                    "change refused"
                );
                ("refused", request.refused(&refusal))
            }
        };
        self.metrics.validated(result, began.elapsed());
        answered(&response)
    }

    /// The warnings, or why not.
    fn answer(&self, question: Question, request: &AdmissionRequest) -> Result<Vec<String>, Refusal> {
        let change = match change(request) {
            // What is stored already in a form that only another release reads is refused to nobody who lets it go.
            Err(_) if is_leaving(request) || keeps_its_spec(request) => return Ok(Vec::new()),
            change => change?,
        };
        match (question, change) {
            // An object that only waits for its finalizers is on its way out: nobody may be kept from removing them. Its keys
            // are served until it is gone, so the other question is asked all the same.
            (Question::Object, Some(_)) if is_leaving(request) => Ok(Vec::new()),
            (Question::Object, Some(change)) => self.judge(request, &change),
            (Question::Hosts, Some(change)) => {
                let name = name(request);
                let refused = match &change {
                    Change::Provider(new) => host_refused(&name, new, &self.hosts),
                    Change::Route(new) => guards_refused(&format!("ModelRoute {name}"), &new.guards, &self.hosts),
                    Change::Policy(new) => guards_refused(&format!("UsagePolicy {name}"), &new.guards, &self.hosts),
                    Change::ProviderGone | Change::RouteGone | Change::PolicyGone => None,
                };
                match refused {
                    None => Ok(Vec::new()),
                    // The apiserver shows one webhook's refusal: this one says what the other would have said as well.
                    Some(problem) => {
                        let known = (self.lookup)(&request.namespace).unwrap_or_default();
                        let others = judge(&name, &change, &known).refusals;
                        let all: Vec<String> = std::iter::once(problem).chain(others).collect();
                        Err(Refusal::invalid(all.join("\n")))
                    }
                }
            }
            _ => Ok(Vec::new()),
        }
    }

    fn tell(&self, request: &AdmissionRequest) {
        let told = self.changes.as_ref().zip(told(request));
        if let Some((changes, (change, generation))) = told {
            changes.asked(change, generation, Instant::now());
        }
    }

    fn judge(&self, request: &AdmissionRequest, change: &Change) -> Result<Vec<String>, Refusal> {
        let known = (self.lookup)(&request.namespace);
        let is_known = known.is_some();
        let Judgement { refusals, warnings } = judge(&name(request), change, &known.unwrap_or_default());
        // What is stored already and stays as it is, is refused to nobody who sets a label or removes a finalizer.
        if keeps_its_spec(request) {
            return Ok(refusals);
        }
        if !refusals.is_empty() {
            return Err(Refusal::invalid(refusals.join("\n")));
        }
        // While the others are not all here, what the object names may well be among them: its conditions will say it.
        Ok(if is_known { warnings } else { Vec::new() })
    }

    /// Refuses who may not read the Secrets whose keys this change sends somewhere.
    async fn check_access(&self, request: &mut AdmissionRequest) -> Result<(), Refusal> {
        let (secrets, name) = (secrets_moved(request)?, name(request));
        let kind = request.kind.kind.clone();
        // Nothing of what may be large is held while the apiserver is asked.
        request.take_object();
        for Reached { secret, field, what } in secrets {
            let question = may_read(&request.user_info, &request.namespace, &secret);
            let user = request.user_info.username.as_deref().unwrap_or("the requester");
            let place = format!("{}/{secret}", request.namespace);
            match (self.access)(question).await {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!(
                        "{kind} {name}: spec.{field}: {user} may not read Secret {place}, and this object {what}: let somebody \
                         apply it who may get that Secret, or grant it"
                    );
                    return Err(Refusal {
                        code: 403,
                        reason: "Forbidden",
                        message,
                    });
                }
                Err(error) => {
                    let message = format!(
                        "bowsprit-operator could not ask whether {user} may read Secret {place}: {error}: try again"
                    );
                    return Err(Refusal::not_now(message));
                }
            }
        }
        Ok(())
    }
}

/// The Secrets that whoever asks for this has to be allowed to read.
fn secrets_moved(request: &AdmissionRequest) -> Result<BTreeSet<Reached>, Refusal> {
    if keeps_its_spec(request) {
        return Ok(BTreeSet::new());
    }
    let new = match change(request)? {
        Some(Change::Provider(new)) => new,
        Some(Change::Route(new)) => {
            let old = spec_of::<ModelRouteSpec>(&request.old_object).ok();
            return Ok(secrets_reached_by_route(old.as_ref(), &new));
        }
        Some(Change::Policy(new)) => {
            let old = spec_of::<UsagePolicySpec>(&request.old_object).ok();
            let old = old
                .as_ref()
                .map_or((&[][..], &[][..]), |old| (old.limits.as_slice(), old.guards.as_slice()));
            let of_limits = secrets_reached_by_limits(old.0, &new.limits);
            return Ok(of_limits
                .into_iter()
                .chain(secrets_reached_by_guards(old.1, &new.guards))
                .collect());
        }
        _ => return Ok(BTreeSet::new()),
    };
    let old = spec_of::<ProviderConfigSpec>(&request.old_object).ok();
    let secrets = secrets_reached(old.as_ref(), &new);
    if secrets.len() > MOST_SECRETS {
        // The apiserver has refused it already: it is not the apiserver that asks.
        return Err(Refusal::invalid(format!(
            "ProviderConfig {}: spec.credentials: names {} Secrets, more than {MOST_SECRETS}: use fewer",
            name(request),
            secrets.len()
        )));
    }
    let reached = |secret| Reached {
        secret,
        field: "credentials",
        what: "sends its keys to spec.endpoint",
    };
    Ok(secrets.into_iter().map(reached).collect())
}

/// Notes who changes what, where it is to be stored.
fn audit(request: &AdmissionRequest) {
    let is_ours = request.kind.group == bowsprit_crds::GROUP && request.sub_resource.is_empty();
    if !is_ours || request.dry_run == Some(true) {
        return;
    }
    audit::asked(&audit::Asked {
        operation: &request.operation,
        kind: &request.kind.kind,
        namespace: &request.namespace,
        name: &name(request),
        user: &request.user_info,
        request: &request.uid,
        old: &request.old_object,
        new: &request.object,
    });
}

/// The change and the generation that it makes, none where the object goes; `None` where nothing is to be stored, or no field of the
/// spec changes.
fn told(request: &AdmissionRequest) -> Option<(changes::Change, Option<i64>)> {
    let is_ours = request.kind.group == bowsprit_crds::GROUP && request.sub_resource.is_empty();
    if !is_ours || !changes::has(&request.kind.kind) || request.dry_run == Some(true) {
        return None;
    }
    let (what, object) = match request.operation.as_str() {
        "CREATE" => ("created", &request.object),
        "UPDATE" if request.object.get("spec") != request.old_object.get("spec") => ("updated", &request.object),
        "DELETE" => ("deleted", &request.old_object),
        _ => return None,
    };
    let metadata = object.get("metadata")?;
    let uid = metadata.get("uid")?.as_str().filter(|uid| !uid.is_empty())?;
    let is_gone = what == "deleted";
    let generation = metadata.get("generation").and_then(Value::as_i64).filter(|_| !is_gone);
    if generation.is_none() && !is_gone {
        return None;
    }
    let revision = match (request.kind.kind.as_str(), is_gone) {
        (_, true) => String::new(),
        ("ProviderConfig", _) => changes::revision_of(&spec_of::<ProviderConfigSpec>(object).ok()?),
        _ => changes::revision_of(&spec_of::<ModelRouteSpec>(object).ok()?),
    };
    let change = changes::Change {
        id: changes::id(uid, generation),
        at: Timestamp::now().as_millisecond(),
        namespace: request.namespace.clone(),
        kind: request.kind.kind.clone(),
        name: name(request),
        what: what.to_owned(),
        who: request.user_info.username.clone().unwrap_or_default(),
        revision,
    };
    Some((change, generation))
}

/// What is to become of the object; `None`: nothing that is judged here.
fn change(request: &AdmissionRequest) -> Result<Option<Change>, Refusal> {
    let is_gone = match request.operation.as_str() {
        "CREATE" | "UPDATE" => false,
        "DELETE" => true,
        _ => return Ok(None),
    };
    if request.kind.group != bowsprit_crds::GROUP {
        return Ok(None);
    }
    Ok(match (request.kind.kind.as_str(), is_gone) {
        ("ProviderConfig", true) => Some(Change::ProviderGone),
        ("ModelRoute", true) => Some(Change::RouteGone),
        ("UsagePolicy", true) => Some(Change::PolicyGone),
        ("UsagePolicy", false) => Some(Change::Policy(Box::new(
            spec_of(&request.object).map_err(Refusal::invalid)?,
        ))),
        ("ProviderConfig", false) => Some(Change::Provider(Box::new(
            spec_of(&request.object).map_err(Refusal::invalid)?,
        ))),
        ("ModelRoute", false) => Some(Change::Route(Box::new(
            spec_of(&request.object).map_err(Refusal::invalid)?,
        ))),
        _ => None,
    })
}

/// Whether a label may change, a finalizer or a status, and nothing that people ask for.
fn keeps_its_spec(request: &AdmissionRequest) -> bool {
    request.operation == "UPDATE" && request.object.get("spec") == request.old_object.get("spec")
}

fn is_leaving(request: &AdmissionRequest) -> bool {
    let at = request.object.pointer("/metadata/deletionTimestamp");
    at.is_some_and(|at| !at.is_null())
}

fn name(request: &AdmissionRequest) -> String {
    // A generated name is not there yet.
    let generate = request.object.pointer("/metadata/generateName");
    let generate = generate.and_then(Value::as_str).unwrap_or_default();
    if request.name.is_empty() {
        format!("{generate}*")
    } else {
        request.name.clone()
    }
}

fn spec_of<T: DeserializeOwned>(object: &Value) -> Result<T, String> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    T::deserialize(spec).map_err(|error| format!("spec: {error}"))
}

fn may_read(user: &UserInfo, namespace: &str, secret: &str) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username.clone(),
        groups: user.groups.clone(),
        uid: user.uid.clone(),
        extra: user.extra.clone(),
        resource_attributes: Some(ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some("get".into()),
            version: Some("v1".into()),
            resource: Some("secrets".into()),
            name: Some(secret.to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

/// Asks the apiserver behind this client, as many `questions` at a time as there are permits.
pub fn access(client: kube::Client, questions: Arc<Semaphore>) -> Access {
    Arc::new(move |spec| {
        let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
        let questions = Arc::clone(&questions);
        Box::pin(async move {
            let _turn = questions.acquire().await.map_err(|error| error.to_string())?;
            let question = SubjectAccessReview {
                spec,
                ..SubjectAccessReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &question).await;
            let answer = answer.map_err(|error| error.to_string())?;
            Ok(answer
                .status
                .is_some_and(|status| status.allowed && status.denied != Some(true)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;

    fn validator(allowed: Result<bool, String>, asked: &Arc<Mutex<Vec<String>>>) -> Validator {
        let asked = Arc::clone(asked);
        let access: Access = Arc::new(move |spec| {
            let attributes = spec.resource_attributes.unwrap();
            let question = format!(
                "{} {} {} {}/{}",
                spec.user.unwrap(),
                attributes.verb.unwrap(),
                attributes.resource.unwrap(),
                attributes.namespace.unwrap(),
                attributes.name.unwrap()
            );
            asked.lock().unwrap().push(question);
            let allowed = allowed.clone();
            Box::pin(async move { allowed })
        });
        let hosts = "api.anthropic.com,a.example".parse().unwrap();
        Validator::new(Arc::new(|_| Some(Known::default())), access, hosts, Metrics::new())
    }

    fn provider(base_url: &str) -> Value {
        json!({"metadata": {"name": "claude"}, "spec": {
            "provider": "Anthropic", "endpoint": {"baseUrl": base_url}, "defaultModel": "m",
            "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": "a"}}],
        }})
    }

    #[tokio::test]
    async fn who_may_not_read_a_store_cannot_have_answers_kept_in_it() {
        let asked = Arc::default();
        let denies = validator(Ok(false), &asked);
        let route = |store: Value| {
            json!({"metadata": {"name": "smart"}, "spec": {
                "match": {"models": ["smart"]}, "targets": [{"provider": "claude"}],
                "cache": {"ttl": "1h", "maxBytes": 65536, "store": store},
            }})
        };
        let review = async |operation: &str, old: Value, new: Value| {
            let review = json!({"request": {
                "uid": "u", "namespace": "team", "name": "smart", "operation": operation,
                "kind": {"group": "bowsprit.dev", "kind": "ModelRoute"},
                "userInfo": {"username": "eve"}, "object": new, "oldObject": old,
            }});
            let review = review.to_string();
            let answer = denies.review(Question::Keys, review.as_bytes(), Instant::now()).await;
            serde_json::from_slice::<Value>(&answer.unwrap()).unwrap()["response"].clone()
        };
        let store = json!({"redisRef": {"name": "cache", "key": "url"}});
        let answer = review("CREATE", Value::Null, route(store.clone())).await;
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("ModelRoute smart: spec.cache.store.redisRef: eve may not read Secret team/cache"),
            "{message}"
        );
        let without = route(Value::Null);
        assert_eq!(
            review("UPDATE", without.clone(), route(store.clone())).await["allowed"],
            false
        );
        assert_eq!(asked.lock().unwrap().len(), 2);
        let mut longer = route(store.clone());
        longer["spec"]["cache"]["ttl"] = json!("2h");
        assert_eq!(review("UPDATE", route(store), longer).await["allowed"], true);
        assert_eq!(review("CREATE", Value::Null, without).await["allowed"], true);
        assert_eq!(asked.lock().unwrap().len(), 2, "neither names a Secret anew");
    }

    #[tokio::test]
    async fn who_may_not_read_a_store_cannot_have_limits_counted_in_it() {
        let asked = Arc::default();
        let denies = validator(Ok(false), &asked);
        let policy = |rate: u32, store: Value| {
            let limit = json!({"name": "all", "requestsPerMinute": rate, "scope": "Fleet", "store": store});
            json!({"metadata": {"name": "house"}, "spec": {"limits": [limit]}})
        };
        let review = async |operation: &str, old: Value, new: Value| {
            let review = json!({"request": {
                "uid": "u", "namespace": "team", "name": "house", "operation": operation,
                "kind": {"group": "bowsprit.dev", "kind": "UsagePolicy"},
                "userInfo": {"username": "eve"}, "object": new, "oldObject": old,
            }});
            let review = review.to_string();
            let answer = denies.review(Question::Keys, review.as_bytes(), Instant::now()).await;
            serde_json::from_slice::<Value>(&answer.unwrap()).unwrap()["response"].clone()
        };
        let store = json!({"redisRef": {"name": "limits", "key": "url"}});
        let answer = review("CREATE", Value::Null, policy(5, store.clone())).await;
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("UsagePolicy house: spec.limits[].store.redisRef: eve may not read Secret team/limits"),
            "{message}"
        );
        assert_eq!(
            review("UPDATE", policy(5, Value::Null), policy(5, store.clone())).await["allowed"],
            false
        );
        assert_eq!(asked.lock().unwrap().len(), 2);
        assert_eq!(
            review("UPDATE", policy(5, store.clone()), policy(6, store)).await["allowed"],
            true
        );
        assert_eq!(asked.lock().unwrap().len(), 2, "it names no Secret anew");
    }

    #[tokio::test]
    async fn who_may_not_read_the_key_of_a_guards_service_cannot_have_it_sent_there() {
        let asked = Arc::default();
        let denies = validator(Ok(false), &asked);
        let policy = |webhook: Value| {
            json!({"metadata": {"name": "house"}, "spec": {"guards": [
                {"name": "dlp", "applyTo": ["Request"], "webhook": webhook},
            ]}})
        };
        let review = async |question: Question, new: Value| {
            let review = json!({"request": {
                "uid": "u", "namespace": "team", "name": "house", "operation": "CREATE",
                "kind": {"group": "bowsprit.dev", "kind": "UsagePolicy"},
                "userInfo": {"username": "eve"}, "object": new, "oldObject": Value::Null,
            }});
            let review = review.to_string();
            let answer = denies.review(question, review.as_bytes(), Instant::now()).await;
            let answer: Value = serde_json::from_slice(&answer.unwrap()).unwrap();
            let message = answer["response"]["status"]["message"].clone();
            message.as_str().unwrap_or_default().to_owned()
        };
        let with = policy(json!({"url": "https://a.example", "authSecretRef": {"name": "dlp", "key": "token"}}));
        let message = review(Question::Keys, with).await;
        assert!(
            message.starts_with(
                "UsagePolicy house: spec.guards[].webhook.authSecretRef: eve may not read Secret team/dlp"
            ),
            "{message}"
        );
        let elsewhere = policy(json!({"url": "https://elsewhere.example/check"}));
        assert_eq!(review(Question::Keys, elsewhere.clone()).await, "", "no key is sent");
        let message = review(Question::Hosts, elsewhere).await;
        assert!(
            message.starts_with("UsagePolicy house: spec.guards[0].webhook.url: leads to elsewhere.example"),
            "{message}"
        );
    }

    async fn ask(validator: &Validator, operation: &str, old: Value, new: Value) -> Value {
        ask_of(validator, Question::Keys, operation, old, new).await
    }

    async fn ask_of(validator: &Validator, question: Question, operation: &str, old: Value, new: Value) -> Value {
        let review = json!({"request": {
            "uid": "u", "namespace": "team", "name": "claude", "operation": operation,
            "kind": {"group": "bowsprit.dev", "kind": "ProviderConfig"},
            "userInfo": {"username": "eve", "groups": ["team"]}, "object": new, "oldObject": old,
        }});
        let answer = validator
            .review(question, review.to_string().as_bytes(), Instant::now())
            .await;
        serde_json::from_slice::<Value>(&answer.unwrap()).unwrap()["response"].clone()
    }

    #[tokio::test]
    async fn who_may_not_read_a_key_cannot_have_it_sent_elsewhere() {
        let asked = Arc::default();
        let denies = validator(Ok(false), &asked);
        let own = provider("https://api.anthropic.com");
        let answer = ask(&denies, "CREATE", Value::Null, own.clone()).await;
        assert_eq!(
            (&answer["allowed"], &answer["status"]["code"]),
            (&json!(false), &json!(403))
        );
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.contains("eve may not read Secret team/keys"), "{message}");
        let answer = ask(&denies, "UPDATE", own.clone(), provider("https://elsewhere.example")).await;
        assert_eq!(answer["status"]["code"], 403);
        assert_eq!(
            *asked.lock().unwrap(),
            ["eve get secrets team/keys", "eve get secrets team/keys"]
        );

        let mut slower = own.clone();
        slower["spec"]["priority"] = json!(7);
        assert_eq!(ask(&denies, "UPDATE", own.clone(), slower).await["allowed"], true);
        assert_eq!(ask(&denies, "DELETE", own, Value::Null).await["allowed"], true);
        assert_eq!(asked.lock().unwrap().len(), 2, "neither moves a key");
    }

    #[tokio::test]
    async fn an_object_that_no_apiserver_would_send_asks_it_nothing() {
        let asked = Arc::default();
        let allows = validator(Ok(true), &asked);
        let naming = |secrets: usize| {
            let mut object = provider("https://api.anthropic.com");
            let one = |number| json!({"name": format!("k{number}"), "secretKeyRef": {"name": format!("s{number}"), "key": "a"}});
            object["spec"]["credentials"] = (0..secrets).map(one).collect();
            object
        };
        let answer = ask(&allows, "CREATE", Value::Null, naming(21)).await;
        assert_eq!(answer["status"]["code"], 422, "{answer}");
        assert_eq!(asked.lock().unwrap().len(), 0);
        assert_eq!(ask(&allows, "CREATE", Value::Null, naming(20)).await["allowed"], true);
        assert_eq!(asked.lock().unwrap().len(), 20);
    }

    #[tokio::test]
    async fn a_provider_is_only_where_the_cluster_lets_it_be() {
        let allows = validator(Ok(true), &Arc::default());
        let own = provider("https://api.anthropic.com");
        let elsewhere = provider("https://elsewhere.example");
        let answer = ask_of(&allows, Question::Hosts, "CREATE", Value::Null, own.clone()).await;
        assert_eq!(answer["allowed"], true);
        let answer = ask_of(&allows, Question::Hosts, "UPDATE", own, elsewhere).await;
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("ProviderConfig claude: spec.endpoint.baseUrl: leads to elsewhere.example"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn an_apiserver_that_cannot_say_refuses_for_now_and_a_wrong_object_for_good() {
        let asked = Arc::default();
        let broken = validator(Err("timed out".into()), &asked);
        let answer = ask(&broken, "CREATE", Value::Null, provider("https://api.anthropic.com")).await;
        assert_eq!(answer["status"]["code"], 503);
        let mut wrong = provider("https://api.anthropic.com");
        wrong["spec"]["retry"] = json!({"maxAttempts": 0});
        let answer = ask_of(&broken, Question::Object, "CREATE", Value::Null, wrong).await;
        assert_eq!(answer["status"]["code"], 422);
        assert!(
            answer["status"]["message"]
                .as_str()
                .unwrap()
                .contains("spec.retry.maxAttempts")
        );
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_object_on_its_way_out_is_let_go_and_its_keys_still_go_nowhere_else() {
        let asked = Arc::default();
        let denies = validator(Ok(false), &asked);
        let mut leaving = provider("https://elsewhere.example");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let old = provider("https://a.example");
        let answer = ask_of(&denies, Question::Object, "UPDATE", old.clone(), leaving.clone()).await;
        assert_eq!(answer["allowed"], true);
        // It is served until it is gone: held back by a finalizer, it would be a way round the question.
        let answer = ask(&denies, "UPDATE", old, leaving).await;
        assert_eq!(answer["status"]["code"], 403);
    }

    #[tokio::test]
    async fn a_label_on_an_object_that_was_stored_wrong_is_allowed_with_a_warning() {
        let asked = Arc::default();
        let allows = validator(Ok(true), &asked);
        let mut old = provider("https://api.anthropic.com");
        old["spec"]["retry"] = json!({"maxAttempts": 0});
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"team": "a"});
        let answer = ask_of(&allows, Question::Object, "UPDATE", old.clone(), labelled).await;
        assert_eq!(answer["allowed"], true);
        assert!(
            answer["warnings"].to_string().contains("spec.retry.maxAttempts"),
            "{answer}"
        );
        let mut changed = old.clone();
        changed["spec"]["priority"] = json!(7);
        let answer = ask_of(&allows, Question::Object, "UPDATE", old, changed).await;
        assert_eq!(answer["status"]["code"], 422);
    }
    #[tokio::test]
    async fn an_object_that_only_another_release_reads_may_be_labelled_and_let_go_and_not_written_anew_so() {
        let asked = Arc::default();
        let denies = validator(Ok(false), &asked);
        let mut old = provider("https://api.anthropic.com");
        old["spec"]["rateLimits"] = json!("of a later release");
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"team": "a"});
        let mut leaving = old.clone();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (question, new) in [
            (Question::Object, &labelled),
            (Question::Hosts, &labelled),
            (Question::Keys, &labelled),
            (Question::Object, &leaving),
        ] {
            let answer = ask_of(&denies, question, "UPDATE", old.clone(), new.clone()).await;
            assert_eq!(answer["allowed"], true, "{answer}");
        }
        let mut changed = old.clone();
        changed["spec"]["priority"] = json!(7);
        let answer = ask_of(&denies, Question::Object, "UPDATE", old.clone(), changed).await;
        assert_eq!(answer["status"]["code"], 422);
        // In this release's form, it is asked again who may read the keys.
        let answer = ask(&denies, "UPDATE", old, provider("https://elsewhere.example")).await;
        assert_eq!(answer["status"]["code"], 403);
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}
