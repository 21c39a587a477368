//! An apiserver in memory: objects by path, resourceVersions and conflicts, merge patches, watches. It takes every
//! write without validation and notes it, so that tests can say how much was written and by whom nothing was.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

mod fates;

pub(crate) use fates::Fate;

/// How long a test waits for what has to come: long enough for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

pub(crate) struct Fake {
    state: Mutex<State>,
    version: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
    refusal: Mutex<Option<Refusal>>,
}

/// Why a write is refused for what it says: by its path and body the code and the message.
type Refusal = Box<dyn Fn(&str, &Value) -> Option<(u16, String)> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    log: Vec<(u64, &'static str, String, Value)>,
    writes: Vec<String>,
    calls: Vec<String>,
    made: u64,
    oldest: u64,
}

/// Where a request points: `/apis/g/v`, namespace, plural, name, subresource.
struct At {
    root: String,
    namespace: Option<String>,
    plural: String,
    name: Option<String>,
}

impl At {
    fn parse(path: &str) -> Self {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = parts.split_off(if parts[0] == "api" { 2 } else { 3 });
        let root = format!("/{}", parts.join("/"));
        let owned = |part: Option<&&str>| part.map(|part| (*part).to_owned());
        if rest[0] == "namespaces" && rest.len() > 2 {
            let namespace = Some(rest[1].to_owned());
            Self {
                root,
                namespace,
                plural: rest[2].to_owned(),
                name: owned(rest.get(3)),
            }
        } else {
            Self {
                root,
                namespace: None,
                plural: rest[0].to_owned(),
                name: owned(rest.get(1)),
            }
        }
    }

    fn path(&self, name: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}/{name}", self.root, self.plural),
            None => format!("{}/{}/{name}", self.root, self.plural),
        }
    }

    fn holds(&self, path: &str) -> bool {
        let found = Self::parse(path);
        found.root == self.root
            && found.plural == self.plural
            && (self.namespace.is_none() || self.namespace == found.namespace)
    }
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            version: watch::channel(0).0,
            cuts: watch::channel(0).0,
            refusal: Mutex::default(),
        })
    }

    pub(crate) fn client(self: &Arc<Self>) -> kube::Client {
        self.client_through(|_| Fate::Answered)
    }

    /// A client whose requests meet the fate that `decides` says.
    pub(crate) fn client_through(
        self: &Arc<Self>,
        decides: impl Fn(&http::request::Parts) -> Fate + Send + Sync + 'static,
    ) -> kube::Client {
        let (fake, decides) = (Arc::clone(self), Arc::new(decides));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (fake, decides) = (Arc::clone(&fake), Arc::clone(&decides));
            async move {
                // A real request takes a turn, in which others may write.
                tokio::task::yield_now().await;
                let (head, body) = request.into_parts();
                let body = body
                    .collect()
                    .await
                    .map_err(|error| error.to_string())
                    .unwrap()
                    .to_bytes();
                fates::meet(decides(&head), || fake.answer(&head, &body)).await
            }
        });
        kube::Client::new(service, "default")
    }

    /// Ends every watch, as a connection that breaks does.
    pub(crate) fn cut_watches(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Forgets the history: who watches from before now is told that it is gone (410).
    pub(crate) fn compact(&self) {
        let mut state = self.state.lock().unwrap();
        state.oldest = state.made;
    }

    /// From now on writes are refused for what they say, where `judges` says why.
    pub(crate) fn refuses(&self, judges: impl Fn(&str, &Value) -> Option<(u16, String)> + Send + 'static) {
        *self.refusal.lock().unwrap() = Some(Box::new(judges));
    }

    /// Puts an object there, as kubectl would.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        let old = state.objects.get(path).cloned().unwrap_or_default();
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        object["metadata"]["generation"] = json!(generation + i64::from(object["spec"] != old["spec"]));
        if old.get("status").is_some() {
            object["status"] = old["status"].clone();
        }
        self.store(&mut state, path, object);
    }

    pub(crate) fn delete(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        if let Some(object) = state.objects.remove(path) {
            state.made += 1;
            let version = state.made;
            state.log.push((version, "DELETED", path.to_owned(), object));
            drop(state);
            self.version.send_replace(version);
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Everything that is there, by path.
    pub(crate) fn objects(&self) -> BTreeMap<String, Value> {
        self.state.lock().unwrap().objects.clone()
    }

    /// Writes so far, as `METHOD path`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state.lock().unwrap().writes.clone()
    }

    /// Requests so far, of any kind, as `METHOD path`, or `WATCH path`: that is one for the minutes that it stays open.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Waits until `holds`, at most [`PATIENCE`].
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut version = self.version.subscribe();
        let waited = async {
            while !holds(self) {
                version.changed().await.unwrap();
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, waited).await;
        assert!(outcome.is_ok(), "never: {what}; writes: {:#?}", self.writes());
    }

    fn store(&self, state: &mut State, path: &str, mut object: Value) -> Value {
        state.made += 1;
        let version = state.made;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let at = At::parse(path);
        object["metadata"]["name"] = json!(at.name);
        if let Some(namespace) = &at.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let what = if state.objects.contains_key(path) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        state.objects.insert(path.to_owned(), object.clone());
        state.log.push((version, what, path.to_owned(), object.clone()));
        self.version.send_replace(version);
        object
    }

    fn answer(self: &Arc<Self>, head: &http::request::Parts, body: &Bytes) -> Answer {
        let at = At::parse(head.uri.path());
        let query = head.uri.query().unwrap_or_default();
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let method = if query.contains("watch=true") {
            "WATCH"
        } else {
            head.method.as_str()
        };
        let call = format!("{method} {}", head.uri.path());
        self.state.lock().unwrap().calls.push(call);
        if head.method == Method::GET && query.contains("watch=true") {
            let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
            return self.watch(at, from.and_then(|from| from.parse().ok()).unwrap_or(0));
        }
        let mut state = self.state.lock().unwrap();
        if head.method == Method::GET {
            let Some(name) = &at.name else {
                let found = state.objects.iter().filter(|(path, _)| at.holds(path));
                let items: Vec<_> = found.map(|(_, object)| object.clone()).collect();
                let version = state.made.to_string();
                return json_answer(&json!({"metadata": {"resourceVersion": version}, "items": items}));
            };
            return state
                .objects
                .get(&at.path(name))
                .map_or_else(|| refused(404, "NotFound"), json_answer);
        }
        let name = at
            .name
            .clone()
            .or_else(|| parsed["metadata"]["name"].as_str().map(str::to_owned))
            .unwrap();
        let path = at.path(&name);
        if let Some(judges) = &*self.refusal.lock().unwrap()
            && let Some((code, message)) = judges(head.uri.path(), &parsed)
        {
            return refused_with(code, "", &message);
        }
        let old = state.objects.get(&path).cloned();
        let new = match (&head.method, old.clone()) {
            (&Method::POST, Some(_)) => return refused(409, "AlreadyExists"),
            (&Method::PUT, Some(old))
                if parsed["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] =>
            {
                return refused(409, "Conflict");
            }
            (&Method::PATCH, None) if !is_apply(head) => return refused(404, "NotFound"),
            (&Method::PATCH, old) if is_stale(old.as_ref(), &parsed) => return refused(409, "Conflict"),
            (&Method::PATCH, old) => {
                let mut new = old.unwrap_or_else(|| json!({}));
                // Whoever applies a status owns all of it: what it leaves out goes.
                if is_apply(head) && head.uri.path().ends_with("/status") {
                    new["status"] = Value::Null;
                }
                merge(&mut new, &parsed);
                new
            }
            _ => parsed,
        };
        state.writes.push(format!("{} {}", head.method, head.uri.path()));
        if old.as_ref() == Some(&new) {
            return json_answer(&new);
        }
        json_answer(&self.store(&mut state, &path, new))
    }

    fn watch(self: &Arc<Self>, at: At, from: u64) -> Answer {
        let version = self.version.subscribe();
        if from < self.state.lock().unwrap().oldest {
            let status =
                json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            let line = format!("{}\n", json!({"type": "ERROR", "object": status}));
            return Response::new(Full::new(Bytes::from(line)).boxed_unsync());
        }
        let mut cuts = self.cuts.subscribe();
        let cut = async move { cuts.changed().await };
        let next = move |(fake, at, mut version, seen): (Arc<Self>, At, watch::Receiver<u64>, u64)| async move {
            loop {
                let found = {
                    let state = fake.state.lock().unwrap();
                    state
                        .log
                        .iter()
                        .find(|(made, _, path, _)| *made > seen && at.holds(path))
                        .cloned()
                };
                if let Some((made, what, _, object)) = found {
                    let line = format!("{}\n", json!({"type": what, "object": object}));
                    return Some((Ok(Frame::data(Bytes::from(line))), (fake, at, version, made)));
                }
                version.changed().await.ok()?;
            }
        };
        let events = stream::unfold((Arc::clone(self), at, version, from), next).take_until(cut);
        let body = StreamBody::new(events.boxed());
        Response::new(body.boxed_unsync())
    }
}

/// Whether a patch names another version than the one that is there.
fn is_stale(old: Option<&Value>, patch: &Value) -> bool {
    let wanted = &patch["metadata"]["resourceVersion"];
    !wanted.is_null() && old.is_none_or(|old| old["metadata"]["resourceVersion"] != *wanted)
}

fn is_apply(head: &http::request::Parts) -> bool {
    head.headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/apply-patch+yaml")
}

/// A merge patch; lists of objects with names merge by name, as they do for webhooks.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(into), Value::Array(patch)) if patch.iter().all(|entry| entry.get("clientConfig").is_some()) => {
            for entry in patch {
                let old = into.iter_mut().find(|old| old["name"] == entry["name"]).unwrap();
                merge(old, entry);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

fn json_answer(value: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn refused(code: u16, reason: &str) -> Answer {
    refused_with(code, reason, reason)
}

fn refused_with(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    let mut response = json_answer(&status);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
