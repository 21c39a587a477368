//! A provider account, valid by construction.

use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use bowsprit_crds::headers::may_be_set;
use bowsprit_crds::provider_config::{self as raw, Jitter, LimitScope, RetryOn, StreamUsage};
use bowsprit_crds::{KindFacts, LabelSelector, ProviderConfigSpec, ProviderKind, base_url};
use http::{HeaderName, HeaderValue};

use super::{BaseUrl, Problem, Problems, Scope, Slo, is_file_name};
use crate::address::{self, Class};
use crate::cost::{Picodollars, Rates};
use crate::dialect::Dialect;
use crate::platform::{self, Platform};
use crate::{backoff, breaker, budget, health, limiter, model_name};

pub use bowsprit_crds::provider_config::OnLimit;

/// How long a request may wait for its turn where `maxWait` is not set.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);

/// What a translated request asks for at most, where the caller named no maximum, the model's own is not configured and
/// the provider needs one: room for a long answer, and below the ceiling of every current Claude model.
const DEFAULT_MAX_OUTPUT_TOKENS: u64 = 8192;

/// One provider account.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The ProviderConfig's name.
    pub name: String,
    /// Which API it is.
    pub kind: ProviderKind,
    /// Where its API lives.
    pub platform: &'static Platform,
    /// What it speaks; see also [`Provider::wire`].
    pub dialect: Dialect,
    /// Whether it is used at all.
    pub enabled: bool,
    /// Lower is tried first.
    pub priority: u32,
    /// Where the API begins, as [`Platform::path`] counts from it.
    pub base_url: BaseUrl,
    /// The version that the base URL named; it stands in for the one of [`Platform::path`].
    pub version: Option<String>,
    /// Where it may be.
    pub addresses: address::Policy,
    /// Sent with every request, organization and project included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificates trusted beside the public ones.
    pub ca_bundle: Option<CaBundle>,
    /// A proxy on the way, as host and port.
    pub http_proxy: Option<BaseUrl>,
    /// The keys; empty for a server that needs none.
    pub credentials: Vec<Credential>,
    /// The models it serves; empty: whatever its dialect's callers ask for.
    pub models: Vec<Model>,
    /// The model it answers with for another provider.
    pub default_model: Option<String>,
    /// How long each part of an attempt may take.
    pub timeouts: Timeouts,
    /// Trying again.
    pub retry: Retry,
    /// When to stop asking.
    pub breaker: breaker::BreakerSettings,
    /// How much may be asked.
    pub limits: limiter::LimiterSettings,
    /// Whether all sidecars of the namespace share these limits: then each has a share that the operator lends to it.
    pub shares_limits: bool,
    /// The store that counts these limits, where there is one; the shares stand in for it.
    pub limit_store: Option<LimitStore>,
    /// What happens beyond a limit.
    pub on_limit: OnLimit,
    /// How long a request may wait for its turn.
    pub max_wait: Duration,
    /// Whether apps may use the rest of its API.
    pub pass_through: bool,
    /// Whether its streams of chat completions are asked for their usage where the app does not ask.
    pub asks_stream_usage: bool,
    /// Whether it is sent the key that the app sent; it has none of its own then.
    pub forward_caller_key: bool,
    /// Active probes, where they are on.
    pub health_check: Option<HealthCheck>,
    /// Who is tried next; empty: the others by priority.
    pub fallback: Vec<String>,
    /// Gemini's safety settings as category and threshold.
    pub safety: Vec<(String, String)>,
    /// What is expected of it.
    pub slo: Option<Slo>,
    /// The pods it is for.
    pub pod_selector: Option<LabelSelector>,
    /// Fields that are set but not in force in this release, as paths.
    pub not_in_force: Vec<&'static str>,
}

/// A store that counts limits, or keeps answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitStore {
    /// Where its URL is.
    pub url: KeySource,
    /// Certificates trusted beside the public ones.
    pub ca_bundle: Option<CaBundle>,
    /// How long a request waits for it.
    pub deadline: Duration,
}

impl LimitStore {
    /// Checks what is said of one: where its URL is, and the certificates.
    ///
    /// # Errors
    /// Everything that is wrong with it: field, problem, remedy.
    pub(crate) fn of(
        (url, ca_bundle): (&raw::ObjectKeyRef, Option<&raw::ObjectKeyRef>),
        timeout: bowsprit_crds::DurationText,
    ) -> Result<Self, Vec<(&'static str, String, &'static str)>> {
        let mut wrong = Vec::new();
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(1));
        if !(least..=most).contains(&timeout.get()) {
            wrong.push(("timeout", format!("is {timeout}"), "set it to 1ms to 1s"));
        }
        for (field, at, kind) in [
            ("redisRef", Some(url), "Secret"),
            ("caBundleRef", ca_bundle, "ConfigMap"),
        ] {
            if at.is_some_and(|at| !is_file_name(&at.name) || !is_file_name(&at.key)) {
                let problem = format!(
                    "has a name or key that no {kind} can have (letters, digits, -, _ and ., and no .. at its beginning)"
                );
                wrong.push((field, problem, "correct it"));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            url: KeySource::Secret {
                name: url.name.clone(),
                key: url.key.clone(),
            },
            ca_bundle: ca_bundle.map(|at| CaBundle {
                config_map: at.name.clone(),
                key: at.key.clone(),
            }),
            deadline: timeout.get(),
        })
    }
}

/// A file of certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaBundle {
    /// The ConfigMap's name.
    pub config_map: String,
    /// Its key.
    pub key: String,
}

/// A key, by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name in metrics and health reports.
    pub name: String,
    /// Where it is.
    pub source: KeySource,
    /// How often it is taken relative to the others.
    pub weight: NonZeroU32,
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// In a mounted Secret.
    Secret {
        /// The Secret's name.
        name: String,
        /// Its key.
        key: String,
    },
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(String),
}

/// A model that a provider serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The provider's name for it.
    pub name: String,
    /// Callers' other names for it.
    pub aliases: Vec<String>,
    /// Tokens it can answer with.
    pub max_output_tokens: Option<u32>,
    /// What it costs, where its author says so.
    pub price: Option<Rates>,
}

/// How long each part of an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until a stream's first token.
    pub first_token: Duration,
    /// Between two chunks.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

/// Trying the same provider again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Attempts for one request, the first included.
    pub max_attempts: u32,
    /// How long to wait.
    pub backoff: backoff::BackoffSettings,
    /// What is worth it.
    pub on: Vec<RetryOn>,
    /// How much the sidecar may spend on it.
    pub budget: budget::BudgetSettings,
}

/// Active probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// From one to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How many change the verdict.
    pub thresholds: health::HealthSettings,
}

impl Provider {
    /// Checks a spec.
    ///
    /// # Errors
    /// Everything that is wrong with it on its own.
    pub fn from_spec(name: &str, spec: &ProviderConfigSpec, scope: &Scope) -> Result<Self, Problems> {
        let platform = platform::of(spec.provider);
        let mut check = Check {
            facts: spec.provider.facts(),
            root: format!("ProviderConfig {name}: spec"),
            problems: Problems::default(),
        };
        let (base_url, version) = check.base_url(spec).unzip();
        let http_proxy = check.http_proxy(spec);
        let headers = check.headers(spec);
        let credentials = check.credentials(spec, scope);
        let models = check.models(spec);
        let retry = check.retry(&spec.retry);
        let breaker = check.breaker(&spec.circuit_breaker);
        let (limits, max_wait) = check.limits(&spec.rate_limits, scope);
        let limit_store = check.limit_store(&spec.rate_limits);
        let health_check = check.health(&spec.health_check);
        let slo = check.slo(spec);
        check.rest(name, spec);
        let addresses = addresses(spec, scope);
        check.literal(base_url.as_ref(), &addresses);
        check.problems.into_result()?;
        // What could not be read has been noted above, so these are there.
        let (Some(base_url), Some(retry), Some(breaker)) = (base_url, retry, breaker) else {
            return Err(Problems(vec![Problem::new(
                name,
                "could not be read",
                "report this as a bug",
            )]));
        };
        Ok(Self {
            name: name.to_owned(),
            kind: spec.provider,
            platform,
            dialect: platform.dialect,
            enabled: spec.enabled,
            priority: spec.priority,
            base_url,
            version: version.flatten(),
            addresses,
            headers,
            ca_bundle: spec.endpoint.ca_bundle_ref.as_ref().map(|at| CaBundle {
                config_map: at.name.clone(),
                key: at.key.clone(),
            }),
            http_proxy,
            credentials,
            models,
            default_model: spec.default_model.clone(),
            timeouts: Timeouts {
                connect: spec.timeouts.connect.get(),
                first_token: spec.timeouts.first_token.get(),
                idle: spec.timeouts.idle.get(),
                total: spec.timeouts.total.get(),
            },
            retry,
            breaker,
            limits,
            shares_limits: spec.rate_limits.scope == LimitScope::Fleet,
            limit_store,
            on_limit: spec.rate_limits.on_limit,
            max_wait,
            pass_through: spec.pass_through,
            asks_stream_usage: spec.stream_usage == StreamUsage::Ask,
            forward_caller_key: spec.forward_caller_key,
            health_check,
            fallback: spec.fallback_providers.clone(),
            safety: spec
                .safety_settings
                .iter()
                .map(|setting| (setting.category.clone(), setting.threshold.as_str().to_owned()))
                .collect(),
            slo,
            pod_selector: spec.pod_selector.clone(),
            not_in_force: Check::not_in_force(&spec.models),
        })
    }

    /// The provider's own name for `asked`, where it lists it: word for word, or else as [`model_name::bare`] has both.
    pub fn serves(&self, asked: &str) -> Option<&str> {
        let listed = |same: fn(&str, &str) -> bool| {
            let is_it = |model: &&Model| {
                std::iter::once(&model.name)
                    .chain(&model.aliases)
                    .any(|name| same(name, asked))
            };
            self.models.iter().find(is_it).map(|model| model.name.as_str())
        };
        listed(|name, asked| name == asked).or_else(|| listed(model_name::same))
    }

    /// How it is asked for a model that it does not list: Gemini's collection is no part of the name there.
    pub fn name_of<'a>(&self, model: &'a str) -> &'a str {
        match self.dialect {
            Dialect::Gemini => model_name::bare(model),
            _ => model,
        }
    }

    /// A path as [`Platform::path`] gives it, in the version that the base URL named.
    pub fn in_version<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some(version) = &self.version else {
            return path.into();
        };
        let rest = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match rest.filter(|(first, _)| base_url::is_version(first)) {
            Some((_, rest)) => format!("/{version}/{rest}").into(),
            None => path.into(),
        }
    }

    /// What is spoken with it for a caller of that dialect ([`Platform::wire`]).
    pub fn wire(&self, caller: Dialect) -> Dialect {
        self.platform.wire(caller)
    }

    /// What a translated request to `model` asks for at most, where the caller does not say.
    pub fn max_output_tokens(&self, model: &str) -> u64 {
        self.longest_answer(model).unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS)
    }

    /// Tokens that `model` can answer with, where its author says so.
    pub fn longest_answer(&self, model: &str) -> Option<u64> {
        let listed = self.models.iter().find(|listed| listed.name == model)?;
        listed.max_output_tokens.map(u64::from)
    }
}

/// Where a provider (or the proxy on the way to it) may be. An address of the author's own is opted into private networks by naming it; the pod's own
/// loopback is only a person's machine where the file is that person's.
fn addresses(spec: &ProviderConfigSpec, scope: &Scope) -> address::Policy {
    if let Some(listed) = &spec.endpoint.allowed_addresses {
        return address::Policy::new(listed.iter().copied());
    }
    let public = address::Policy::new([Class::Public]);
    let named = spec.endpoint.base_url.is_some() || spec.endpoint.http_proxy.is_some();
    match scope {
        _ if !named => public,
        Scope::Cluster { .. } => public.and(Class::Private),
        Scope::Standalone => public.and(Class::Private).and(Class::Loopback),
    }
}

/// Collects problems while the parts are read.
struct Check {
    facts: KindFacts,
    root: String,
    problems: Problems,
}

impl Check {
    fn note(&mut self, field: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let path = if field.is_empty() {
            self.root.clone()
        } else {
            format!("{}.{field}", self.root)
        };
        self.problems.add(Problem::new(path, problem, remedy));
    }

    fn within(&mut self, field: &str, value: u32, min: u32, max: u32) {
        if !(min..=max).contains(&value) {
            self.note(field, format!("is {value}"), format!("set it to {min} to {max}"));
        }
    }

    fn base_url(&mut self, spec: &ProviderConfigSpec) -> Option<(BaseUrl, Option<String>)> {
        let Some(text) = spec.endpoint.base_url.as_deref().or(self.facts.base_url) else {
            self.note(
                "endpoint.baseUrl",
                format!("is required for {}", self.facts.name),
                "set it to where the server's /v1 is",
            );
            return None;
        };
        match BaseUrl::parse(text) {
            Ok(url) if !url.is_https() && !spec.endpoint.allow_http => {
                let remedy = "use https, or set endpoint.allowHttp: true for a server inside the cluster";
                self.note(
                    "endpoint.baseUrl",
                    "sends the key and the prompts in clear text",
                    remedy,
                );
                None
            }
            Ok(url) => match base_url::judge(spec.provider, url.host(), url.path()) {
                Ok(base) => Some((url.with_path(base.path), base.version)),
                Err(refusal) => {
                    let right = format!("use {} {}", url.with_path(refusal.path), refusal.hint);
                    self.note("endpoint.baseUrl", refusal.problem, right.trim_end());
                    None
                }
            },
            Err(problem) => {
                self.note(
                    "endpoint.baseUrl",
                    problem,
                    "give a URL such as https://api.openai.com/v1",
                );
                None
            }
        }
    }

    fn http_proxy(&mut self, spec: &ProviderConfigSpec) -> Option<BaseUrl> {
        let text = spec.endpoint.http_proxy.as_deref()?;
        match BaseUrl::parse(text) {
            Ok(url) if !url.is_https() && url.path().is_empty() => return Some(url),
            Ok(_) => self.note("endpoint.httpProxy", "must be http:// with host and port only", ""),
            Err(problem) => self.note(
                "endpoint.httpProxy",
                problem,
                "give a URL such as http://proxy.corp:3128",
            ),
        }
        None
    }

    fn headers(&mut self, spec: &ProviderConfigSpec) -> Vec<(HeaderName, HeaderValue)> {
        let endpoint = &spec.endpoint;
        if !self.facts.organizations && (endpoint.organization.is_some() || endpoint.project.is_some()) {
            self.note(
                "endpoint",
                format!(
                    "organization and project exist for {} only",
                    ProviderKind::names_of(|kind| kind.organizations)
                ),
                "remove them",
            );
        }
        let extra = [
            ("openai-organization", &endpoint.organization),
            ("openai-project", &endpoint.project),
        ];
        let own = endpoint
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let extra = extra
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let mut headers = Vec::new();
        for (name, value) in own.chain(extra) {
            let field = format!("endpoint.headers[{name}]");
            match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) if may_be_set(name.as_str()) => headers.push((name, value)),
                (Ok(_), Ok(_)) => self.note(
                    &field,
                    "cannot be set here",
                    "remove it: keys belong into credentials, the rest is the sidecar's to say",
                ),
                _ => self.note(&field, "is no valid header", "use printable ASCII"),
            }
        }
        headers
    }

    fn credentials(&mut self, spec: &ProviderConfigSpec, scope: &Scope) -> Vec<Credential> {
        if spec.forward_caller_key && !spec.credentials.is_empty() {
            self.note("forwardCallerKey", "goes without credentials", "remove one of the two");
        }
        let needs_one = !self.facts.keyless && !spec.forward_caller_key;
        if spec.credentials.is_empty() && needs_one {
            self.note(
                "credentials",
                "is empty",
                "this provider needs a key: add one with secretKeyRef {name, key}",
            );
        }
        let mut credentials: Vec<Credential> = Vec::new();
        for (index, raw) in spec.credentials.iter().enumerate() {
            let field = format!("credentials[{index}]");
            if credentials.iter().any(|other| other.name == raw.name) {
                self.note(&field, format!("the name {:?} is there twice", raw.name), "rename one");
            }
            let Some(source) = self.key_source(&field, raw, scope) else {
                continue;
            };
            let Some(weight) = NonZeroU32::new(raw.weight) else {
                self.note(&format!("{field}.weight"), "is 0", "set it to 1 to 1000");
                continue;
            };
            credentials.push(Credential {
                name: raw.name.clone(),
                source,
                weight,
            });
        }
        credentials
    }

    fn key_source(&mut self, field: &str, raw: &raw::Credential, scope: &Scope) -> Option<KeySource> {
        let standalone = matches!(scope, Scope::Standalone);
        match (&raw.secret_key_ref, &raw.env, &raw.file) {
            (Some(at), None, None) if is_file_name(&at.name) && is_file_name(&at.key) => Some(KeySource::Secret {
                name: at.name.clone(),
                key: at.key.clone(),
            }),
            (Some(_), None, None) => {
                self.note(
                    &format!("{field}.secretKeyRef"),
                    "has a name or key that no Secret can have (letters, digits, -, _ and ., and no .. at its beginning)",
                    "correct it",
                );
                None
            }
            (None, Some(name), None) if standalone => Some(KeySource::Env(name.clone())),
            (None, None, Some(path)) if standalone => Some(KeySource::File(path.clone())),
            (None, None, None) if standalone => {
                self.note(
                    field,
                    "says not where the key is",
                    "add one of secretKeyRef, env and file",
                );
                None
            }
            _ if standalone => {
                self.note(
                    field,
                    "says twice where the key is",
                    "keep one of secretKeyRef, env and file",
                );
                None
            }
            _ => {
                self.note(
                    &format!("{field}.secretKeyRef"),
                    "is required",
                    "name the Secret and its key",
                );
                None
            }
        }
    }

    fn models(&mut self, spec: &ProviderConfigSpec) -> Vec<Model> {
        let mut seen = std::collections::BTreeSet::new();
        for (index, model) in spec.models.iter().enumerate() {
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                if name.is_empty() {
                    self.note(&format!("models[{index}]"), "has an empty name", "name the model");
                } else if !seen.insert(name) {
                    self.note(
                        &format!("models[{index}]"),
                        format!("{name:?} is there twice"),
                        "remove one",
                    );
                }
            }
        }
        let names_default = |name: &String| seen.iter().any(|seen| model_name::same(seen, name));
        if let Some(default) = spec
            .default_model
            .as_ref()
            .filter(|name| !spec.models.is_empty() && !names_default(name))
        {
            self.note(
                "defaultModel",
                format!("{default:?} is not in models"),
                "add it there or name one that is",
            );
        }
        let read = |(index, model): (usize, &raw::Model)| Model {
            name: model.name.clone(),
            aliases: model.aliases.clone(),
            max_output_tokens: model.limits.and_then(|limits| limits.max_output_tokens),
            price: model.price.as_ref().and_then(|price| self.price(index, price)),
        };
        spec.models.iter().enumerate().map(read).collect()
    }

    fn price(&mut self, index: usize, raw: &raw::Price) -> Option<Rates> {
        let mut read = |field: &str, text: &str| {
            let price = Picodollars::per_token(text);
            if let Err(error) = price {
                let path = format!("models[{index}].price.{field}");
                self.note(&path, format!("{text:?} {error}"), error.remedy());
            }
            price.ok()
        };
        let input = read("input", &raw.input);
        let output = read("output", &raw.output);
        let mut optional = |field: &str, text: &Option<String>| text.as_deref().and_then(|text| read(field, text));
        let cache_read = optional("cacheRead", &raw.cache_read);
        let cache_write = optional("cacheWrite", &raw.cache_write);
        let cache_write_hour = optional("cacheWriteHour", &raw.cache_write_hour);
        let reasoning = optional("reasoning", &raw.reasoning);
        let (input, output) = (input?, output?);
        Some(Rates {
            input,
            output,
            cache_read: cache_read.unwrap_or(input),
            cache_write: cache_write.unwrap_or(input),
            cache_write_hour,
            reasoning: reasoning.unwrap_or(output),
            web_search: None,
        })
    }

    /// Of the models' fields, those that are set and decide nothing yet (docs/adr/0005).
    fn not_in_force(models: &[raw::Model]) -> Vec<&'static str> {
        let context_tokens = |model: &raw::Model| model.limits.and_then(|limits| limits.context_tokens);
        let fields = [
            (
                "spec.models[].limits.contextTokens",
                models.iter().any(|model| context_tokens(model).is_some()),
            ),
            (
                "spec.models[].capabilities",
                models.iter().any(|model| !model.capabilities.is_empty()),
            ),
        ];
        fields
            .into_iter()
            .filter_map(|(path, is_set)| is_set.then_some(path))
            .collect()
    }

    fn slo(&mut self, spec: &ProviderConfigSpec) -> Option<Slo> {
        match Slo::of(spec.slo.as_ref()?) {
            Ok(slo) => Some(slo),
            Err(wrong) => {
                for (field, problem, remedy) in wrong {
                    self.note(field, problem, remedy);
                }
                None
            }
        }
    }

    fn retry(&mut self, raw: &raw::Retry) -> Option<Retry> {
        self.within("retry.maxAttempts", raw.max_attempts, 1, 10);
        self.within("retry.budget.percent", raw.budget.percent, 0, 100);
        let jitter = match raw.backoff.jitter {
            Jitter::Full => backoff::Jitter::Full,
            Jitter::None => backoff::Jitter::None,
        };
        match backoff::BackoffSettings::new(raw.backoff.base.get(), raw.backoff.max.get(), jitter) {
            Ok(backoff) => Some(Retry {
                max_attempts: raw.max_attempts,
                backoff,
                on: raw.retry_on.clone(),
                budget: budget::BudgetSettings {
                    ratio: f64::from(raw.budget.percent) / 100.0,
                    min_per_second: f64::from(raw.budget.min_per_second),
                },
            }),
            Err(error) => {
                self.note("retry.backoff", error.to_string(), "");
                None
            }
        }
    }

    fn breaker(&mut self, raw: &raw::CircuitBreaker) -> Option<breaker::BreakerSettings> {
        self.within("circuitBreaker.failureThreshold", raw.failure_threshold, 1, 1000);
        self.within("circuitBreaker.halfOpenRequests", raw.half_open_requests, 1, 100);
        if let Some(rate) = &raw.error_rate {
            self.within("circuitBreaker.errorRate.percent", rate.percent, 1, 100);
            self.within("circuitBreaker.errorRate.minRequests", rate.min_requests, 1, 10_000);
        }
        Some(breaker::BreakerSettings {
            failure_threshold: NonZeroU32::new(raw.failure_threshold)?,
            open_for: raw.open_for.get(),
            half_open_requests: NonZeroU32::new(raw.half_open_requests)?,
            error_rate: raw.error_rate.map(|rate| breaker::ErrorRate {
                percent: u8::try_from(rate.percent).unwrap_or(100),
                min_requests: rate.min_requests,
                window: rate.window.get(),
            }),
            adaptive: raw.adaptive,
        })
    }

    fn limits(&mut self, raw: &raw::RateLimits, scope: &Scope) -> (limiter::LimiterSettings, Duration) {
        for (field, value) in [
            ("requestsPerMinute", raw.requests_per_minute),
            ("tokensPerMinute", raw.tokens_per_minute),
            ("concurrentRequests", raw.concurrent_requests),
        ] {
            if value == Some(0) {
                self.note(
                    &format!("rateLimits.{field}"),
                    "is 0",
                    "set enabled: false to switch the provider off",
                );
            }
        }
        if raw.scope == LimitScope::Fleet && matches!(scope, Scope::Standalone) {
            let remedy = "set scope: Pod";
            self.note(
                "rateLimits.scope",
                "Fleet needs the operator, which lends out the shares",
                remedy,
            );
        }
        let limits = limiter::LimiterSettings {
            requests_per_minute: raw.requests_per_minute.and_then(NonZeroU32::new),
            tokens_per_minute: raw.tokens_per_minute.map(u64::from).and_then(NonZeroU64::new),
            concurrent: raw.concurrent_requests.and_then(NonZeroU32::new),
            ..limiter::LimiterSettings::default()
        };
        (
            limits,
            raw.max_wait.map_or(DEFAULT_MAX_WAIT, bowsprit_crds::DurationText::get),
        )
    }

    fn limit_store(&mut self, raw: &raw::RateLimits) -> Option<LimitStore> {
        let store = raw.store.as_ref()?;
        let before = self.problems.0.len();
        if raw.scope != LimitScope::Fleet {
            self.note(
                "rateLimits.store",
                "counts limits that sidecars share, and these are each sidecar's own",
                "remove it, or set scope to Fleet",
            );
        }
        let at = (&store.redis_ref, store.ca_bundle_ref.as_ref());
        match LimitStore::of(at, store.timeout) {
            Ok(store) => (self.problems.0.len() == before).then_some(store),
            Err(wrong) => {
                for (field, problem, remedy) in wrong {
                    self.note(&format!("rateLimits.store.{field}"), problem, remedy);
                }
                None
            }
        }
    }

    fn health(&mut self, raw: &raw::HealthCheck) -> Option<HealthCheck> {
        self.within("healthCheck.healthyThreshold", raw.healthy_threshold, 1, 100);
        self.within("healthCheck.unhealthyThreshold", raw.unhealthy_threshold, 1, 100);
        raw.enabled.then(|| HealthCheck {
            interval: raw.interval.get(),
            timeout: raw.timeout.get(),
            thresholds: health::HealthSettings {
                healthy_threshold: raw.healthy_threshold,
                unhealthy_threshold: raw.unhealthy_threshold,
            },
        })
    }

    /// A base URL that names an address shows already here whether it may be connected to.
    fn literal(&mut self, base_url: Option<&BaseUrl>, addresses: &address::Policy) {
        if let Some(ip) = base_url.and_then(|url| url.host().parse().ok())
            && let Err(kind) = addresses.check(ip)
        {
            let remedy = match kind {
                address::AddressKind::Of(class) => {
                    format!("list {class:?} in endpoint.allowedAddresses if it is meant")
                }
                _ => "no configuration allows it".into(),
            };
            self.note("endpoint.baseUrl", format!("is {}", kind.as_str()), remedy);
        }
    }

    fn rest(&mut self, name: &str, spec: &ProviderConfigSpec) {
        self.within("priority", spec.priority, 0, 1000);
        if !self.facts.safety_settings && !spec.safety_settings.is_empty() {
            self.note(
                "safetySettings",
                format!("exist for {} only", ProviderKind::names_of(|kind| kind.safety_settings)),
                "remove them",
            );
        }
        if spec.stream_usage != StreamUsage::Ask && !self.facts.stream_usage {
            self.note(
                "streamUsage",
                format!("exists for {} only", ProviderKind::names_of(|kind| kind.stream_usage)),
                "remove it",
            );
        }
        if spec.fallback_providers.iter().any(|other| other == name) {
            self.note("fallbackProviders", "names this ProviderConfig itself", "remove it");
        }
        if spec.endpoint.allowed_addresses.as_ref().is_some_and(Vec::is_empty) {
            self.note(
                "endpoint.allowedAddresses",
                "is empty, so the provider could be nowhere",
                "list Public, Private, Loopback or LinkLocal, or remove it",
            );
        }
        if let Some(at) = &spec.endpoint.ca_bundle_ref
            && !(is_file_name(&at.name) && is_file_name(&at.key))
        {
            self.note(
                "endpoint.caBundleRef",
                "has a name or key that no ConfigMap can have (letters, digits, -, _ and ., and no .. at its beginning)",
                "correct it",
            );
        }
    }
}
