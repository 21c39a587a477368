//! Which fields of a status the CRDs that are installed do not know. Helm does not upgrade CRDs, so an operator may well run on
//! those of the release before. What it applies with a field that they lack is refused as a whole, so it leaves such fields out.
//!
//! The CRD is read where a status was refused for a field, and again every few minutes as long as it lacks one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bowsprit_crds::installed::{take_out, unknown_to};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt};
use serde_json::Value;
use tokio::time::Instant;

use crate::sync::locked;

/// From one look at a CRD that lacks something to the next.
pub(super) const AGAIN: Duration = Duration::from_mins(5);

/// What is known of the CRDs, by their names.
#[derive(Debug, Default)]
pub(super) struct Installed(Mutex<HashMap<&'static str, Older>>);

#[derive(Debug)]
struct Older {
    /// Fields of the status, as `slo`.
    lacks: Vec<String>,
    looked: Instant,
}

impl Installed {
    /// The fields of its status that the CRD of `K` lacks, as far as is known.
    pub(super) async fn lacks<K: CustomResourceExt>(&self, client: &Client) -> Vec<String> {
        let known = locked(&self.0)
            .get(K::crd_name())
            .map(|older| (older.lacks.clone(), older.looked));
        match known {
            None => Vec::new(),
            Some((_, looked)) if looked.elapsed() >= AGAIN => self.look::<K>(client).await,
            Some((lacks, _)) => lacks,
        }
    }

    /// Reads the CRD of `K` and gives what it lacks. Where it cannot be read, what was known holds.
    pub(super) async fn look<K: CustomResourceExt>(&self, client: &Client) -> Vec<String> {
        let name = K::crd_name();
        let found = Api::<CustomResourceDefinition>::all(client.clone()).get(name).await;
        let mut known = locked(&self.0);
        let before = known.get(name).map(|older| older.lacks.clone()).unwrap_or_default();
        let lacks = match found {
            Ok(installed) => of_status(&unknown_to(&installed, &K::crd())),
            Err(error) => {
                tracing::warn!(name, %error, "the CRD could not be read: whether it is older than this operator is not known");
                before.clone()
            }
        };
        if lacks.is_empty() {
            known.remove(name);
        } else {
            let looked = Instant::now();
            let lacks = lacks.clone();
            known.insert(name, Older { lacks, looked });
        }
        drop(known);
        if lacks != before {
            tell(name, &lacks);
        }
        lacks
    }
}

fn of_status(unknown: &[String]) -> Vec<String> {
    let fields = unknown.iter().filter_map(|path| path.strip_prefix("status."));
    fields.map(ToOwned::to_owned).collect()
}

fn tell(name: &str, lacks: &[String]) {
    if lacks.is_empty() {
        tracing::info!(name, "the CRD knows every field of the status now: all are written");
        return;
    }
    tracing::warn!(
        name,
        fields = lacks.join(", "),
        "the CRD is older than this operator: these fields of the status are left out, and those of spec that it lacks are dropped \
         when they are applied: kubectl apply --server-side --force-conflicts -f charts/bowsprit/crds"
    );
}

/// A status without what the CRD lacks, and whether there was any of that.
pub(super) fn without(mut status: Value, lacks: &[String]) -> (Value, bool) {
    let mut taken = false;
    for path in lacks {
        taken |= take_out(&mut status, path);
    }
    (status, taken)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_fields_of_the_status_are_ours_to_leave_out() {
        let unknown = ["spec.slo", "status.conditions.*.x", "status.slo", "statuses"].map(String::from);
        let lacks = of_status(&unknown);
        assert_eq!(lacks, ["conditions.*.x", "slo"]);
        let status = json!({"sequence": 7, "slo": {"sidecars": 1}, "conditions": [{"type": "Ready"}]});
        let older = json!({"sequence": 7, "conditions": [{"type": "Ready"}]});
        assert_eq!(without(status, &lacks), (older.clone(), true));
        assert_eq!(without(older.clone(), &lacks), (older, false));
    }
}
