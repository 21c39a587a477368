//! One configuration, ready to serve: each provider with its connections, state, addresses and metric handles resolved.
//!
//! A request takes one snapshot and keeps it, so it sees one configuration whatever is loaded meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{CaBundle, Config, Provider};
use bowsprit_core::dialect::Dialect;
use bowsprit_core::plan;
use bowsprit_core::platform::{Endpoint as ApiEndpoint, Framing, ModelPlace};
use http::{HeaderValue, Uri};

use super::listings::Listings;
use super::provider::{ProviderMetrics, ProviderState, States};
use crate::observe::Sinks;
use crate::observe::traffic::Handles;
use crate::upstream::{Endpoint, Guard, Origin, Origins, PoolCounts, Proxy, Resolve, System, tls};

/// A configuration in service.
pub struct Snapshot {
    /// The documents it was made from.
    pub config: Config,
    upstreams: Vec<Arc<Upstream>>,
    /// Names under which models can be asked for.
    pub served: Vec<String>,
    /// `GET /v1/models` as OpenAI's and as Anthropic's SDKs read it, and `GET /v1beta/models` as Google's.
    pub listings: Listings,
}

impl Snapshot {
    /// Puts a configuration into service.
    pub fn build(config: Config, shared: &Shared, sinks: &Sinks, metrics: &ProviderMetrics, now: Moment) -> Self {
        sinks.fit(&config);
        let upstreams = config
            .providers
            .iter()
            .map(|provider| Arc::new(Upstream::new(provider, shared, sinks, metrics, now)))
            .collect();
        shared.states.retain(|name| config.provider(name).is_some());
        let hedges = |name: &str| {
            config
                .routes
                .iter()
                .any(|route| route.name == name && route.hedge.is_some())
        };
        shared.states.retain_hedges(hedges);
        let served = plan::served(&config);
        let listings = Listings::new(&config);
        Self {
            config,
            upstreams,
            served,
            listings,
        }
    }

    /// The upstream of a candidate.
    pub fn upstream(&self, provider: &Arc<Provider>) -> Option<&Arc<Upstream>> {
        self.upstreams
            .iter()
            .find(|upstream| Arc::ptr_eq(&upstream.provider, provider))
    }

    /// All of them, in the order of the configuration.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }
}

/// What configurations come and go on: states, connections, trust.
pub struct Shared {
    /// States by provider.
    pub states: States,
    /// Connections by origin.
    pub origins: Origins,
    /// The ports that this sidecar listens on, once it does.
    pub own_ports: Arc<OnceLock<Vec<u16>>>,
    resolver: Arc<dyn Resolve>,
    /// Folder of CA bundles.
    pub ca_dir: Option<PathBuf>,
    clients: Mutex<HashMap<Vec<u8>, Arc<rustls::ClientConfig>>>,
}

impl Shared {
    /// No states and no connections yet.
    pub fn new(ca_dir: Option<PathBuf>, counts: &Arc<PoolCounts>) -> Self {
        Self {
            states: States::default(),
            origins: Origins::new(Arc::clone(counts)),
            own_ports: Arc::default(),
            resolver: Arc::new(System),
            ca_dir,
            clients: Mutex::default(),
        }
    }

    /// The TLS client for a provider. Loaded when the first https provider appears: plain ones need no roots.
    pub fn tls(&self, bundle: Option<&CaBundle>) -> Result<(Arc<rustls::ClientConfig>, Vec<u8>), String> {
        let pem = bundle
            .map(|bundle| self.read_bundle(bundle))
            .transpose()?
            .unwrap_or_default();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&pem) {
            return Ok((Arc::clone(client), pem));
        }
        let client = tls::client(&pem).map_err(|error| error.to_string())?;
        clients.insert(pem.clone(), Arc::clone(&client));
        Ok((client, pem))
    }

    /// Where a CA bundle is mounted.
    pub fn bundle_path(&self, bundle: &CaBundle) -> Option<PathBuf> {
        Some(bundle_path(self.ca_dir.as_ref()?, bundle))
    }

    fn read_bundle(&self, bundle: &CaBundle) -> Result<Vec<u8>, String> {
        let dir = self
            .ca_dir
            .as_ref()
            .ok_or("endpoint.caBundleRef is set, but the sidecar was given no --ca-dir")?;
        let path = bundle_path(dir, bundle);
        std::fs::read(&path).map_err(|error| format!("CA bundle {}: {error}", path.display()))
    }
}

fn bundle_path(dir: &Path, bundle: &CaBundle) -> PathBuf {
    dir.join(&bundle.config_map).join(&bundle.key)
}

/// One provider, ready to be asked.
pub struct Upstream {
    /// Its configuration.
    pub provider: Arc<Provider>,
    /// Its state.
    pub state: Arc<ProviderState>,
    /// Its connections, or why there can be none.
    pub origin: Result<Arc<Origin>, String>,
    /// The `Host` header.
    pub host: HeaderValue,
    /// The provider's name as a header.
    pub name: HeaderValue,
    /// Metric handles.
    pub handles: Handles,
    /// What comes before the path of a request: the base URL's path, or all of it where a plain proxy needs it.
    prefix: String,
    /// The generation endpoint, where it does not depend on the model.
    fixed: Option<Uri>,
}

impl Upstream {
    fn new(provider: &Arc<Provider>, shared: &Shared, sinks: &Sinks, metrics: &ProviderMetrics, now: Moment) -> Self {
        let url = &provider.base_url;
        let through_plain_proxy = provider.http_proxy.is_some() && !url.is_https();
        let prefix = if through_plain_proxy {
            format!("http://{}{}", url.authority(), url.path())
        } else {
            url.path().to_owned()
        };
        let platform = provider.platform;
        let fixed = (platform.model == ModelPlace::Body)
            .then(|| platform.path(ApiEndpoint::Generate(Framing::Whole), platform.dialect, ""))
            .flatten()
            .and_then(|path| format!("{prefix}{}", provider.in_version(&path)).parse().ok());
        Self {
            state: shared.states.adopt(provider, metrics, now),
            origin: origin(provider, shared),
            // A URL's authority and a Kubernetes name are valid in a header: all are visible ASCII.
            name: HeaderValue::from_str(&provider.name).unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            host: HeaderValue::from_str(url.authority()).unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            handles: sinks.traffic.handles(provider, &sinks.genai),
            prefix,
            fixed,
            provider: Arc::clone(provider),
        }
    }

    /// Where an operation on `model` is asked for in the dialect `wire`. None: the provider has no such operation, or the
    /// model's name cannot stand in a URL.
    pub fn endpoint_uri(&self, endpoint: ApiEndpoint, wire: Dialect, model: &str, query: Option<&str>) -> Option<Uri> {
        let platform = self.provider.platform;
        match (&self.fixed, endpoint, query) {
            (Some(fixed), ApiEndpoint::Generate(_), None) if wire == platform.dialect => Some(fixed.clone()),
            (_, _, None) => self.uri(&platform.path(endpoint, wire, model)?),
            (_, _, Some(query)) => {
                let path = platform.path(endpoint, wire, model)?;
                let sign = if path.contains('?') { '&' } else { '?' };
                self.uri(&format!("{path}{sign}{query}"))
            }
        }
    }

    /// Where a request for a whole path goes: one that holds the base URL's own already.
    pub fn absolute(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let origin = self.prefix.strip_suffix(self.provider.base_url.path())?;
        match query {
            Some(query) => format!("{origin}{path}?{query}").parse().ok(),
            None => format!("{origin}{path}").parse().ok(),
        }
    }

    /// Where a request for `path` (and query) goes, as its dialect counts paths from the base URL.
    pub fn uri(&self, path: &str) -> Option<Uri> {
        format!("{}{}", self.prefix, self.provider.in_version(path))
            .parse()
            .ok()
    }
}

fn origin(provider: &Provider, shared: &Shared) -> Result<Arc<Origin>, String> {
    let url = &provider.base_url;
    let (tls, trust) = if url.is_https() {
        let (client, pem) = shared.tls(provider.ca_bundle.as_ref())?;
        (Some(client), pem)
    } else {
        (None, Vec::new())
    };
    let proxy = provider.http_proxy.as_ref().map(|proxy| Proxy {
        host: proxy.host().to_owned(),
        port: proxy.port(),
    });
    let key = format!(
        "{}|{}|{}|{:?}|{:?}|{}",
        url.is_https(),
        url.host(),
        url.port(),
        proxy,
        provider.addresses,
        String::from_utf8_lossy(&trust)
    );
    shared.origins.get(&key, || {
        Ok(Endpoint {
            host: url.host().to_owned(),
            port: url.port(),
            tls,
            proxy,
            guard: Guard {
                policy: provider.addresses.clone(),
                own_ports: Arc::clone(&shared.own_ports),
                resolver: Arc::clone(&shared.resolver),
            },
        })
    })
}
