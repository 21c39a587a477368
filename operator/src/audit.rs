//! The audit log of config changes: one line of the target `audit` for each change of a ProviderConfig or ModelRoute: who, what,
//! when, and which fields, without secrets. Written whatever the log level is.
//!
//! Two kinds of lines, since neither sees everything. *Asked for* is written where the apiserver asks about the change: it knows the
//! user and the old object. But the apiserver asks nobody while no operator answers (`failurePolicy: Ignore`), and a change may
//! still be refused by somebody asked later. *Seen* is written by the leader for each generation that it finds stored: nothing
//! stored and still there is missed, but of whoever wrote it only the field manager is known.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::sync::locked;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

mod diff;

pub use diff::{Change, diff};

/// The log target; [`crate::telemetry`] lets it through at every level.
pub const TARGET: &str = "audit";

/// A change that the apiserver asks about.
#[derive(Debug)]
pub struct Asked<'a> {
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub operation: &'a str,
    /// The object's kind.
    pub kind: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The apiserver's id of this question, the same in its own audit log.
    pub request: &'a str,
    /// As it was; null where it is made.
    pub old: &'a Value,
    /// As it is to be; null where it goes.
    pub new: &'a Value,
}

/// Writes the line of a change that was let through. One that changes no field of the spec (a status, a label, a finalizer) has
/// none.
pub fn asked(change: &Asked<'_>) {
    let spec = |object: &Value| object.get("spec").cloned().unwrap_or_default();
    let changes = diff(&spec(change.old), &spec(change.new));
    if changes.is_empty() && change.operation == "UPDATE" {
        return;
    }
    let groups = change.user.groups.iter().flatten().map(String::as_str);
    tracing::info!(
        target: "audit",
        operation = change.operation,
        kind = change.kind,
        namespace = change.namespace,
        name = change.name,
        user = change.user.username.as_deref().unwrap_or_default(),
        user_uid = change.user.uid.as_deref().unwrap_or_default(),
        groups = groups.collect::<Vec<_>>().join(","),
        request = change.request,
        changes = lines(&changes),
        "change asked for"
    );
}

fn lines(changes: &[Change]) -> String {
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Generations that were told already, by uid.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<String, i64>>);

impl Seen {
    /// Writes the line of a stored generation, once; `told`: the one that the object's status speaks of. Returns what it wrote.
    pub fn note(&self, kind: &str, metadata: &ObjectMeta, told: Option<i64>) -> Option<Noted> {
        let (Some(uid), Some(generation)) = (&metadata.uid, metadata.generation) else {
            return None;
        };
        let mut seen = locked(&self.0);
        let last = seen.get(uid).copied().or(told).unwrap_or(0);
        if last >= generation {
            return None;
        }
        seen.insert(uid.clone(), generation);
        drop(seen);
        let writer = metadata.managed_fields.as_deref().and_then(last_writer);
        let of = |field: fn(&ManagedFieldsEntry) -> &Option<String>| writer.and_then(|writer| field(writer).clone());
        let time = writer.and_then(|writer| writer.time.as_ref());
        let at = time.map(|time| time.0.to_string());
        let noted = Noted {
            generation,
            manager: of(|writer| &writer.manager).unwrap_or_default(),
            at: time.map(|time| time.0.as_millisecond()),
        };
        tracing::info!(
            target: "audit",
            kind,
            namespace = metadata.namespace.as_deref().unwrap_or_default(),
            name = metadata.name.as_deref().unwrap_or_default(),
            generation,
            before = last,
            manager = noted.manager,
            by = of(|writer| &writer.operation).unwrap_or_default(),
            at = at.unwrap_or_default(),
            "change seen"
        );
        Some(noted)
    }
}

/// A stored generation that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Which.
    pub generation: i64,
    /// The field manager that wrote it; empty where none is known.
    pub manager: String,
    /// When, milliseconds since 1970.
    pub at: Option<i64>,
}

/// Who wrote the object itself last: what is written below it, such as its status, is another's.
fn last_writer(all: &[ManagedFieldsEntry]) -> Option<&ManagedFieldsEntry> {
    let own = |entry: &&ManagedFieldsEntry| entry.subresource.as_deref().unwrap_or_default().is_empty();
    all.iter()
        .filter(own)
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written meanwhile, as the operator writes them.
    fn written(act: impl FnOnce()) -> Vec<Value> {
        let sink = Sink::default();
        let out = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || out.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn change(old: &Value, new: &Value, operation: &str) {
        let user = UserInfo {
            username: Some("ada".into()),
            groups: Some(vec!["team".into(), "system:authenticated".into()]),
            ..UserInfo::default()
        };
        asked(&Asked {
            operation,
            kind: "ProviderConfig",
            namespace: "team",
            name: "claude",
            user: &user,
            request: "0c3b",
            old,
            new,
        });
    }

    #[test]
    fn a_line_says_who_what_and_which_fields() {
        let old = json!({"spec": {"priority": 1}, "metadata": {"labels": {"a": "b"}}});
        let new = json!({"spec": {"priority": 2}, "status": {"revision": "x"}});
        let lines = written(|| change(&old, &new, "UPDATE"));
        let line = &lines[0];
        assert_eq!(lines.len(), 1);
        for (field, value) in [
            ("target", "audit"),
            ("operation", "UPDATE"),
            ("kind", "ProviderConfig"),
            ("namespace", "team"),
            ("name", "claude"),
            ("user", "ada"),
            ("groups", "team,system:authenticated"),
            ("request", "0c3b"),
            ("changes", "spec.priority: 1 -> 2"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
        assert!(line["timestamp"].is_string(), "{line}");
        let gone = written(|| change(&new, &Value::Null, "DELETE"));
        assert_eq!(gone[0]["changes"], "spec.priority: - 2");
        assert_eq!(
            written(|| change(&new, &new, "UPDATE")),
            Vec::<Value>::new(),
            "no field of the spec"
        );
    }

    #[test]
    fn a_stored_generation_is_told_once_and_one_that_the_status_speaks_of_never() {
        let seen = Seen::default();
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "claude", "namespace": "team", "uid": "u", "generation": 3,
            "managedFields": [{"manager": "argocd", "operation": "Apply", "time": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap();
        let lines = written(|| {
            seen.note("ProviderConfig", &metadata, Some(2));
            seen.note("ProviderConfig", &metadata, Some(2));
            Seen::default().note("ProviderConfig", &metadata, Some(3));
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert_eq!((&lines[0]["generation"], &lines[0]["before"]), (&json!(3), &json!(2)));
        assert_eq!(
            (&lines[0]["manager"], &lines[0]["at"]),
            (&json!("argocd"), &json!("2026-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn whoever_wrote_the_status_did_not_write_the_object() {
        let all: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([
            {"manager": "helm", "operation": "Apply", "time": "2026-01-01T00:00:00Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z"},
            {"manager": "bowsprit-operator", "operation": "Apply", "subresource": "status", "time": "2026-01-03T00:00:00Z"},
        ]))
        .unwrap();
        assert_eq!(last_writer(&all).unwrap().manager.as_deref(), Some("kubectl-edit"));
    }
}
