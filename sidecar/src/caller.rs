//! Who asks: known from admission on, and carried with the request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::files;

/// Largest file of labels, bytes: Kubernetes bounds all labels and annotations of an object by 256 KiB.
const MAX_LABELS: u64 = 1 << 20;

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The address that the connection came from.
    pub peer: IpAddr,
    /// The pod that it runs in, where that is known: what comes over loopback comes from the sidecar's own.
    pub pod: Option<Arc<Pod>>,
}

impl Caller {
    /// Whoever is at `peer`, seen by the sidecar of `own`.
    pub fn new(peer: IpAddr, own: &Arc<Pod>) -> Self {
        let pod = is_loopback(peer).then(|| Arc::clone(own));
        Self { peer, pod }
    }

    /// Whether it runs in the sidecar's own pod.
    pub fn is_in_pod(&self) -> bool {
        is_loopback(self.peer)
    }
}

fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// A pod as far as it is known. A sidecar is told its own labels; what it is not told is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// The service account that it runs as.
    pub service_account: Option<String>,
    /// What it runs for, such as `Deployment/checkout`.
    pub workload: Option<String>,
    /// Its labels; none where no file of them is given.
    pub labels: BTreeMap<String, String>,
}

impl Pod {
    /// The same pod, with the labels that the downward API's file has now.
    #[must_use]
    pub fn with_labels(&self, labels_file: &Path) -> Self {
        Self {
            labels: labels(labels_file),
            ..self.clone()
        }
    }
}

/// The downward API's file of labels: lines of `key="value"`. What cannot be read counts as no labels, which selectors
/// that ask for one do not match.
fn labels(path: &Path) -> BTreeMap<String, String> {
    let text = files::read(path, MAX_LABELS).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            let value = serde_json::from_str(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_over_loopback_is_the_pods_own_and_nobody_else_is() {
        let own = Arc::new(Pod {
            labels: BTreeMap::from([("app".into(), "shop".into())]),
            ..Pod::default()
        });
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let caller = Caller::new(peer.parse().unwrap(), &own);
            assert_eq!(caller.pod.as_ref(), Some(&own), "{peer}");
            assert!(caller.is_in_pod());
        }
        for peer in ["10.0.0.7", "2001:db8::1"] {
            let caller = Caller::new(peer.parse().unwrap(), &own);
            assert!(caller.pod.is_none() && !caller.is_in_pod(), "{peer}");
            assert_eq!(caller.peer.to_string(), peer);
        }
    }

    #[test]
    fn labels_are_read_as_the_kubelet_writes_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "app=\"shop\"\ntier=\"\"\npath=\"a\\\\b\"").unwrap();
        let labels = labels(file.path());
        assert_eq!(labels["app"], "shop");
        assert_eq!(labels["tier"], "");
        assert_eq!(labels["path"], "a\\b");
    }
}
