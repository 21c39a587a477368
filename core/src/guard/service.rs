//! The service that a guard asks: where it is, for how long, and with which key.

use std::num::NonZeroU32;
use std::time::Duration;

use bowsprit_crds::guards::{OnFailure, Webhook as Spec};
use bowsprit_crds::provider_config::ObjectKeyRef;

use crate::address::{AddressKind, Class, Policy};
use crate::breaker::BreakerSettings;
use crate::config::{BaseUrl, CaBundle, KeySource, is_file_name};

/// Questions in a row that nobody has answered, after which it is not asked for a while: one may be an accident of the network or a pause of the
/// service, and each costs somebody the whole deadline.
pub const UNANSWERED: NonZeroU32 = NonZeroU32::new(3).unwrap();
/// So many deadlines it is left alone: who tries it again waits for one of eleven.
const LEFT_ALONE: u32 = 10;
/// The least: a service takes as long to start again, and where the deadline is short somebody would try at every moment.
const LEFT_ALONE_LEAST: Duration = Duration::from_secs(1);
/// The most: a guard that lets nothing pass refuses for so long when its service is back.
const LEFT_ALONE_MOST: Duration = Duration::from_secs(15);

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);

/// A service that is asked.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where.
    pub url: BaseUrl,
    /// How long anything waits for it at most, connecting included.
    pub deadline: Duration,
    /// Whether what it has not decided about passes.
    pub is_open: bool,
    /// Where the key is that it is asked with.
    pub key: Option<KeySource>,
    /// Certificates that are trusted beside the public ones.
    pub ca_bundle: Option<CaBundle>,
    /// The addresses that it may be at.
    pub addresses: Policy,
}

impl Webhook {
    /// When its breaker opens, and for how long: by failures in a row alone, one question at a time tries again.
    pub fn breaker(&self) -> BreakerSettings {
        BreakerSettings {
            failure_threshold: UNANSWERED,
            open_for: (self.deadline * LEFT_ALONE).clamp(LEFT_ALONE_LEAST, LEFT_ALONE_MOST),
            half_open_requests: NonZeroU32::MIN,
            error_rate: None,
            adaptive: false,
        }
    }

    /// Checks one. `note` takes what is wrong: field, problem, remedy.
    pub(super) fn new(spec: &Spec, note: &mut dyn FnMut(&str, String, String)) -> Option<Self> {
        let deadline = spec.timeout.get();
        if !(SHORTEST..=LONGEST).contains(&deadline) {
            note("timeout", format!("is {}", spec.timeout), "set it to 20ms to 5s".into());
        }
        let named = [
            ("authSecretRef", &spec.auth_secret_ref, "Secret"),
            ("caBundleRef", &spec.ca_bundle_ref, "ConfigMap"),
        ];
        for (field, at, kind) in named {
            let can_be = |at: &ObjectKeyRef| is_file_name(&at.name) && is_file_name(&at.key);
            if at.as_ref().is_some_and(|at| !can_be(at)) {
                let problem = format!(
                    "has a name or key that no {kind} can have (letters, digits, -, _ and ., and no .. at its beginning)"
                );
                note(field, problem, "correct it".into());
            }
        }
        if spec.allowed_addresses.as_ref().is_some_and(Vec::is_empty) {
            let remedy = "list Public, Private, Loopback or LinkLocal, or remove it";
            note("allowedAddresses", "is empty".into(), remedy.into());
        }
        let listed = spec.allowed_addresses.as_deref();
        let addresses = Policy::new(listed.unwrap_or(&[Class::Public, Class::Private]).iter().copied());
        let url = match BaseUrl::parse(&spec.url) {
            Ok(url) => url,
            Err(problem) => {
                note(
                    "url",
                    problem,
                    "write a URL such as https://guard.example.com/v1/check".into(),
                );
                return None;
            }
        };
        if !url.is_https() && !spec.allow_http {
            let remedy = "write https, or set allowHttp: true if texts may travel in clear text";
            note("url", "is plain http".into(), remedy.into());
        }
        if let Some(Err(kind)) = url.host().parse().ok().map(|ip| addresses.check(ip)) {
            let remedy = match kind {
                AddressKind::Of(class) => format!("list {class:?} in allowedAddresses if it is meant"),
                _ => "write another: no configuration allows it".into(),
            };
            note("url", format!("is {}", kind.as_str()), remedy);
        }
        Some(Self {
            url,
            deadline,
            is_open: spec.on_failure == OnFailure::Pass,
            key: spec.auth_secret_ref.as_ref().map(|at| KeySource::Secret {
                name: at.name.clone(),
                key: at.key.clone(),
            }),
            ca_bundle: spec.ca_bundle_ref.as_ref().map(|at| CaBundle {
                config_map: at.name.clone(),
                key: at.key.clone(),
            }),
            addresses,
        })
    }
}
