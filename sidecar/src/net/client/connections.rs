//! The connections to providers that all configurations share: origins, trust, resolver.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bowsprit_core::address::Policy;
use bowsprit_core::config::{BaseUrl, CaBundle, Provider};
use bowsprit_core::stream::{CA_BUNDLE, CA_BUNDLE_KEPT};
use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};

use super::dial::{Endpoint, Guard, Resolve, System};
use super::pool::{Origin, Origins, PoolCounts};
use super::proxy::Proxy;
use super::tls;
use crate::files::Stamp;
use crate::sync::locked;

/// What tells one CA bundle from another: SHA-256 of its PEM; all zeros for none.
type Trust = [u8; 32];
/// What connections are made with, nothing where they are plain, and what tells it from others.
type Trusted = (Option<Arc<ClientConfig>>, Trust);

/// Where something is: its URL, the proxy before it, and the addresses that it may be at.
type Place<'a> = (&'a BaseUrl, Option<&'a BaseUrl>, &'a Policy);

/// Connections by origin, and what new ones are made with.
pub struct Connections {
    /// Connections by origin.
    pub origins: Origins,
    /// Those to services that guard requests, which the families about connections to providers do not count.
    pub services: Origins,
    /// The ports that this sidecar listens on, once it does: no provider may be there.
    pub own_ports: Arc<OnceLock<Vec<u16>>>,
    resolver: Arc<dyn Resolve>,
    /// Folder of CA bundles, mounted as `DIR/<configmap>/<key>`.
    ca_dir: Option<PathBuf>,
    clients: TlsClients,
    /// What each bundle was last when it could be used. Kept alive by the origins that use it, and for the same reference only.
    last_good: Mutex<HashMap<CaBundle, (Weak<ClientConfig>, Trust)>>,
}

/// How a provider is reached.
pub struct Reach {
    /// Its connections, or why there can be none: its CA bundle, or the system's, cannot be used.
    pub origin: Result<Arc<Origin>, String>,
    /// What is wrong, for people; also where there are connections all the same.
    pub problem: Option<String>,
}

impl Connections {
    /// No connections yet, counted in `counts`.
    pub fn new(ca_dir: Option<PathBuf>, counts: &Arc<PoolCounts>) -> Self {
        Self {
            origins: Origins::new(Arc::clone(counts)),
            services: Origins::default(),
            own_ports: Arc::default(),
            resolver: Arc::new(System),
            ca_dir,
            clients: TlsClients::default(),
            last_good: Mutex::default(),
        }
    }

    /// The connections to a provider; the same ones as long as nothing of its endpoint changes. Where its CA bundle can no
    /// longer be read, what it held last is trusted on.
    pub fn reach(&self, provider: &Provider) -> Reach {
        let proxy = provider.http_proxy.as_ref();
        self.reach_at(
            &self.origins,
            (&provider.base_url, proxy, &provider.addresses),
            provider.ca_bundle.as_ref(),
        )
    }

    /// The connections to a service at this URL, in the same way.
    pub fn reach_service(&self, url: &BaseUrl, addresses: &Policy, ca_bundle: Option<&CaBundle>) -> Reach {
        self.reach_at(&self.services, (url, None, addresses), ca_bundle)
    }

    fn reach_at(&self, origins: &Origins, place: Place<'_>, ca_bundle: Option<&CaBundle>) -> Reach {
        let (trusted, mut problem) = if place.0.is_https() {
            self.trusted(ca_bundle)
        } else {
            (Ok((None, Trust::default())), None)
        };
        let origin = trusted.and_then(|trusted| self.origin(origins, place, trusted));
        problem = problem.or_else(|| origin.as_ref().err().cloned());
        Reach { origin, problem }
    }

    fn trusted(&self, ca_bundle: Option<&CaBundle>) -> (Result<Trusted, String>, Option<String>) {
        let some = |(client, trust)| (Some(client), trust);
        let Some(bundle) = ca_bundle else {
            return (self.clients.get(&[]).map(some), None);
        };
        let mut last_good = locked(&self.last_good);
        let why = match self.read_bundle(bundle).and_then(|pem| self.clients.get(&pem)) {
            Ok((client, trust)) => {
                last_good.retain(|_, (client, _)| client.strong_count() > 0);
                last_good.insert(bundle.clone(), (Arc::downgrade(&client), trust));
                return (Ok((Some(client), trust)), None);
            }
            Err(why) => why,
        };
        let kept = last_good
            .get(bundle)
            .and_then(|(client, trust)| Some((client.upgrade()?, *trust)));
        match kept {
            Some(kept) => (Ok(some(kept)), Some(format!("{CA_BUNDLE_KEPT}: {why}"))),
            None => (Err(why), None),
        }
    }

    /// TLS that trusts this bundle beside the public roots.
    ///
    /// # Errors
    /// The bundle, or the system's, cannot be used.
    pub fn trust(&self, bundle: Option<&CaBundle>) -> Result<Arc<ClientConfig>, String> {
        let pem = bundle.map_or(Ok(Vec::new()), |bundle| self.read_bundle(bundle))?;
        self.clients.get(&pem).map(|(client, _)| client)
    }

    /// The way to addresses that this policy allows.
    pub fn guard(&self, policy: Policy) -> Guard {
        Guard {
            policy,
            own_ports: Arc::clone(&self.own_ports),
            resolver: Arc::clone(&self.resolver),
        }
    }

    fn origin(
        &self,
        origins: &Origins,
        (url, proxy, addresses): Place<'_>,
        (tls, trust): Trusted,
    ) -> Result<Arc<Origin>, String> {
        let proxy = proxy.map(|proxy| Proxy {
            host: proxy.host().to_owned(),
            port: proxy.port(),
        });
        let key = format!(
            "{}|{}|{}|{:?}|{:?}|{:?}",
            url.is_https(),
            url.host(),
            url.port(),
            proxy,
            addresses,
            trust
        );
        origins.get(&key, || {
            Ok(Endpoint {
                host: url.host().to_owned(),
                port: url.port(),
                tls,
                proxy,
                guard: self.guard(addresses.clone()),
            })
        })
    }

    /// What tells one content of a CA bundle from the next; `None` where there is none, or none is mounted.
    pub fn trust_stamp(&self, ca_bundle: Option<&CaBundle>) -> Option<Stamp> {
        let (dir, bundle) = (self.ca_dir.as_ref()?, ca_bundle?);
        Some(Stamp::of(&bundle_path(dir, bundle)))
    }

    fn read_bundle(&self, bundle: &CaBundle) -> Result<Vec<u8>, String> {
        let dir = self
            .ca_dir
            .as_ref()
            .ok_or("a caBundleRef is set, but the sidecar was given no --ca-dir")?;
        let path = bundle_path(dir, bundle);
        let bad = |why: &dyn std::fmt::Display| format!("{CA_BUNDLE} {}: {why}", path.display());
        let pem = std::fs::read(&path).map_err(|error| bad(&error))?;
        // Nothing would be taken for no bundle at all.
        if pem.is_empty() {
            return Err(bad(&"the file is empty"));
        }
        Ok(pem)
    }
}

fn bundle_path(dir: &Path, bundle: &CaBundle) -> PathBuf {
    dir.join(&bundle.config_map).join(&bundle.key)
}

/// TLS clients by what they trust. One lives as long as an origin uses it, so rotated bundles do not pile up.
#[derive(Default)]
struct TlsClients(Mutex<HashMap<Trust, Weak<ClientConfig>>>);

impl TlsClients {
    /// The client that trusts the certificates of `pem` beside the system's. Made when the first https provider appears:
    /// plain ones need no roots.
    fn get(&self, pem: &[u8]) -> Result<(Arc<ClientConfig>, Trust), String> {
        let trust = if pem.is_empty() {
            Trust::default()
        } else {
            Sha256::digest(pem).into()
        };
        let mut clients = locked(&self.0);
        if let Some(client) = clients.get(&trust).and_then(Weak::upgrade) {
            return Ok((client, trust));
        }
        let client = tls::client(pem).map_err(|error| error.to_string())?;
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(trust, Arc::downgrade(&client));
        Ok((client, trust))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Vec<u8> {
        let names = vec!["localhost".to_owned()];
        rcgen::generate_simple_self_signed(names)
            .unwrap()
            .cert
            .pem()
            .into_bytes()
    }

    #[test]
    fn a_bundle_has_one_client_while_it_is_used_and_none_after() {
        let clients = TlsClients::default();
        let kept = bundle();
        let (first, _) = clients.get(&kept).unwrap();
        for _ in 0..10 {
            let rotated = bundle();
            let (client, trust) = clients.get(&rotated).unwrap();
            assert!(Arc::ptr_eq(&client, &clients.get(&rotated).unwrap().0), "{trust:?}");
        }
        assert!(Arc::ptr_eq(&first, &clients.get(&kept).unwrap().0));
        assert!(
            clients.0.lock().unwrap().len() <= 2,
            "of eleven bundles the one in use and the last one rotated away"
        );
    }
}
