//! One configuration, ready to serve: each provider with its connections, state, addresses and metric handles resolved.
//!
//! A request takes one snapshot and keeps it, so it sees one configuration whatever is loaded meanwhile.

use std::sync::Arc;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Per, Provider};
use bowsprit_core::cost::{Cost, Prices, Unpriced};
use bowsprit_core::dialect::Dialect;
use bowsprit_core::guard::Guard;
use bowsprit_core::plan;
use bowsprit_core::platform::{Endpoint as ApiEndpoint, Framing, ModelPlace};
use bowsprit_core::record::Spent;
use http::{HeaderValue, Uri};

use super::listings::Listings;
use super::provider::{ProviderMetrics, ProviderState, States};
use super::service::Service;
use crate::files::Stamp;
use crate::net::client::{Connections, Origin, Reach};
use crate::observe::Sinks;
use crate::observe::traffic::Handles;
use crate::time::unix_now;

/// A configuration in service.
pub struct Snapshot {
    /// The documents it was made from.
    pub config: Config,
    upstreams: Vec<Arc<Upstream>>,
    /// The services that guard requests and answers.
    pub services: Vec<Arc<Service>>,
    /// Whether any limit is named: else nobody looks for one.
    pub has_limits: bool,
    /// Whether any of them is counted per provider.
    pub limits_by_provider: bool,
    /// Whether there is any budget.
    pub has_budgets: bool,
    /// Names under which models can be asked for.
    pub served: Vec<String>,
    /// `GET /v1/models` as OpenAI's and as Anthropic's SDKs read it, and `GET /v1beta/models` as Google's.
    pub listings: Listings,
    /// Whether any request is under access rules.
    pub has_access: bool,
    /// Whether any request is looked into by guards.
    pub has_guards: bool,
    /// Whether any of its routes has a cache.
    pub has_caches: bool,
    /// Whether any of them keeps answers, for later or for an outage.
    pub keeps_answers: bool,
    /// Whether any of them has a next embedding model.
    pub has_next: bool,
    /// Whether the same requests are counted.
    pub has_runaway: bool,
    /// Whether any of its routes is paused.
    pub pauses_routes: bool,
    /// Whether anything is decided by a request's route before there is a plan.
    pub looks_at_routes: bool,
    /// Whether anything is decided by a request's body.
    pub looks_at_bodies: bool,
    /// Whether a policy decides by bodies: then what asks below `/providers/` for what is served here too is read as well.
    pub pins: bool,
}

/// What a configuration is put into service with.
pub struct Parts<'a> {
    /// The states of the tenant's providers.
    pub states: &'a States,
    /// The connections to providers.
    pub connections: &'a Connections,
    /// Where records go: metric handles are made here.
    pub sinks: &'a Sinks,
    /// The families about providers.
    pub metrics: &'a ProviderMetrics,
    /// The services that have guarded requests until now.
    pub services: &'a [Arc<Service>],
}

impl Snapshot {
    /// Makes a configuration ready to serve. States of providers that it does not name are forgotten.
    pub fn build(config: Config, parts: &Parts<'_>, now: Moment) -> Self {
        parts.sinks.fit(&config);
        let upstreams = config
            .providers
            .iter()
            .map(|provider| {
                let is_paused = config.pauses_provider(&provider.name).is_some();
                Arc::new(Upstream {
                    is_paused,
                    ..Upstream::new(provider, parts, now)
                })
            })
            .collect();
        parts.states.retain(|name| config.provider(name).is_some());
        let served = plan::served(&config);
        let listings = Listings::new(&config);
        let has_limits = config.limits().next().is_some();
        let limits_by_provider = config.limits().any(|limit| limit.per == Per::Provider);
        let has_budgets = config.budgets().next().is_some();
        let services = config.guards().filter_map(|guard| {
            Service::new(guard, parts.connections, &parts.sinks.guards, parts.services).map(Arc::new)
        });
        let services = services.collect();
        let (has_access, has_guards) = (config.has_access(), config.has_guards());
        let has_caches = config.routes.iter().any(|route| route.cache.is_some());
        let pauses_routes = config.policies.iter().any(|policy| !policy.paused_routes.is_empty());
        let has_runaway = config.policies.iter().any(|policy| policy.runaway.is_some());
        // Not caches: what they do not take passes them by.
        let looks_at_bodies = has_limits || has_budgets || has_access || has_guards || has_runaway || pauses_routes;
        Self {
            looks_at_routes: looks_at_bodies || has_caches,
            looks_at_bodies,
            pins: config.policies.iter().any(|policy| policy.looks_at_bodies()),
            keeps_answers: has_caches || config.routes.iter().any(|route| route.stale_if_error.is_some()),
            has_limits,
            limits_by_provider,
            has_budgets,
            has_access,
            has_guards,
            has_next: config.routes.iter().any(|route| route.next.is_some()),
            has_caches,
            has_runaway,
            pauses_routes,
            config,
            services,
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

    /// The service of this guard.
    pub fn service(&self, guard: &Arc<Guard>) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| Arc::ptr_eq(guard, &service.guard))
    }

    /// All of them, in the order of the configuration.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }
}

/// One provider, ready to be asked.
pub struct Upstream {
    /// Its configuration.
    pub provider: Arc<Provider>,
    /// Its state.
    pub state: Arc<ProviderState>,
    /// Its CA bundle when its connections were made ready; `None` where it has none.
    pub trust: Option<Stamp>,
    /// Its connections, or why there can be none.
    pub origin: Result<Arc<Origin>, String>,
    /// What is wrong with how it is reached, for people.
    pub problem: Option<String>,
    /// The `Host` header.
    pub host: HeaderValue,
    /// The provider's name as a header.
    pub name: HeaderValue,
    /// Whether a policy has taken it out of every plan.
    pub is_paused: bool,
    /// Metric handles.
    pub handles: Handles,
    /// What its models cost.
    prices: Prices,
    /// What comes before the path of a request: the base URL's path, or all of it where a plain proxy needs it.
    prefix: String,
    /// The generation endpoint, where it does not depend on the model.
    fixed: Option<Uri>,
}

impl Upstream {
    fn new(provider: &Arc<Provider>, parts: &Parts<'_>, now: Moment) -> Self {
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
        // Looked at before it is read: what changes in between is news at the next look.
        let trust = parts.connections.trust_stamp(provider.ca_bundle.as_ref());
        let Reach { origin, problem } = parts.connections.reach(provider);
        Self {
            state: parts.states.adopt(provider, parts.metrics, now),
            trust,
            origin,
            problem,
            // A URL's authority and a Kubernetes name are valid in a header: all are visible ASCII.
            name: HeaderValue::from_str(&provider.name).unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            host: HeaderValue::from_str(url.authority()).unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            is_paused: false,
            handles: parts.sinks.traffic.handles(provider, &parts.sinks.genai),
            prices: Prices::of(provider),
            prefix,
            fixed,
            provider: Arc::clone(provider),
        }
    }

    /// What was spent on `model` costs, or why that is not known.
    pub fn cost(&self, model: &str, spent: &Spent) -> Result<Cost<'_>, Unpriced> {
        self.prices
            .cost(model, spent, || i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX))
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
