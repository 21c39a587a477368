//! Names that operator, sidecar, chart and tests must agree on.

/// Label on a pod or namespace: `"true"` asks for a sidecar, `"false"` on a pod refuses the namespace's wish.
pub const LABEL_INJECT: &str = "bowsprit.dev/inject";
/// Label that the injector puts on a pod with a sidecar.
pub const LABEL_INJECTED: &str = "bowsprit.dev/injected";
/// Annotation with the revision that a pod was last nudged to.
pub const ANNOTATION_CONFIG_REVISION: &str = "bowsprit.dev/config-revision";
/// Annotation `"false"` leaves the app's environment alone.
pub const ANNOTATION_INJECT_ENV: &str = "bowsprit.dev/inject-env";
/// Annotation with another admin port than [`ADMIN_PORT`] for the pod's sidecar.
pub const ANNOTATION_ADMIN_PORT: &str = "bowsprit.dev/sidecar-admin-port";

/// The ConfigMap of a namespace, written by the operator.
pub const CONFIG_MAP: &str = "bowsprit-config";
/// Its key with the documents.
pub const CONFIG_KEY: &str = "bowsprit.yaml";
/// Its key with the content hash of the documents.
pub const REVISION_KEY: &str = "revision";
/// Its key with the number that only grows.
pub const SEQUENCE_KEY: &str = "sequence";
/// Its key with the version of the layout of these keys.
pub const FORMAT_KEY: &str = "formatVersion";
/// Its key with the CAs that the operator's certificate is checked against, PEM.
pub const CA_KEY: &str = "ca.crt";
/// The layout that this release writes; a sidecar reads this one and the one before.
pub const FORMAT_VERSION: u32 = 1;

/// The sidecar's container name.
pub const SIDECAR_CONTAINER: &str = "bowsprit";
/// The app-facing port, on loopback.
pub const APP_PORT: u16 = 4000;
/// The port for the kubelet and Prometheus.
pub const ADMIN_PORT: u16 = 4001;
/// Where the ConfigMap is mounted (the folder, never a subPath).
pub const CONFIG_DIR: &str = "/etc/bowsprit/config";
/// Where Secrets are mounted, as `<secret>/<key>`.
pub const SECRETS_DIR: &str = "/var/run/bowsprit/secrets";
/// Where CA bundles are mounted, as `<configmap>/<key>`.
pub const CA_DIR: &str = "/etc/bowsprit/ca";
/// Where the pod's labels are mounted by the downward API.
pub const POD_LABELS_FILE: &str = "/etc/bowsprit/pod/labels";
/// The audience of the token that a sidecar shows the operator.
pub const TOKEN_AUDIENCE: &str = "bowsprit.dev";
/// Where the pod's token for the operator is mounted.
pub const TOKEN_FILE: &str = "/var/run/bowsprit/token/token";
/// A folder of the sidecar's own, kept over its restarts: an emptyDir.
pub const STATE_DIR: &str = "/var/lib/bowsprit";
/// The operator's port for config streams.
pub const STREAM_PORT: u16 = 8444;
/// Port of the ledger service that takes what became of requests.
pub const LEDGER_PORT: u16 = 8446;
/// The folder of what the ledger service has not taken yet, within [`STATE_DIR`].
pub const LEDGER_DIR: &str = "/var/lib/bowsprit/ledger";
