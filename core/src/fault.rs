//! What can go wrong, once: every error code with its HTTP status, whose fault it is and whether trying again may help.
//!
//! A [`Code`] is at once the `bowsprit_code` in the caller's error body, the label of the metric and the anchor in
//! `docs/errors.md`. [`ErrorKind`] is what a provider said, normalised over the three dialects; [`TransportFault`] is
//! what the network did. `crate::classify` turns either into a decision.

use std::fmt;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The caller's: the same request will fail again.
    Client,
    /// The provider's, or the network's on the way to it.
    Provider,
    /// Bowsprit's own, or its configuration's.
    Us,
}

impl Blame {
    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Provider => "provider",
            Self::Us => "bowsprit",
        }
    }
}

/// What a provider's error says, whatever its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong (400, 405, 409, 422).
    InvalidRequest,
    /// The prompt does not fit the model's context window (a 400 with a code of its own).
    ContextLength,
    /// The key is unknown or revoked (401).
    Authentication,
    /// The account cannot pay (402, `insufficient_quota`).
    Billing,
    /// The account or the key was closed, suspended or revoked (401 and 403 with words of their own).
    AccountClosed,
    /// The key may not do this (403).
    Permission,
    /// No such model or path (404).
    NotFound,
    /// The body is too large for the provider (413).
    TooLarge,
    /// Too many requests or tokens (429).
    RateLimited,
    /// The provider is out of capacity (529, 503).
    Overloaded,
    /// The provider failed (500, 502 and all other 5xx).
    Internal,
    /// The provider gave up waiting (408, 504, 524).
    Timeout,
    /// The answer was withheld by the provider's safety system.
    ContentFilter,
    /// A 3xx: never followed with a key in hand.
    Redirect,
    /// A 2xx or an error body that is not what its API promises.
    Malformed,
}

/// What the network did to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportFault {
    /// The host resolves to addresses that the configuration does not allow.
    Denied,
    /// This process has no file descriptors left to connect with.
    NoDescriptors,
    /// Nothing listens there.
    ConnectRefused,
    /// No connection within `timeouts.connect`.
    ConnectTimeout,
    /// The host name did not resolve.
    Dns,
    /// The TLS handshake failed: certificate unknown, expired or for another host.
    Tls,
    /// The connection was reset or closed before the response head.
    Reset,
    /// The body ended before its end.
    Truncated,
    /// No first token within `timeouts.firstToken`.
    FirstTokenTimeout,
    /// Silence between two chunks longer than `timeouts.idle`.
    IdleTimeout,
    /// The attempt took longer than `timeouts.total`.
    TotalTimeout,
    /// The peer broke the HTTP protocol or a limit on its parts.
    Protocol,
    /// The body is not in the content coding that its head names, or grows beyond all measure when it is decoded.
    Coding,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal, $blame:ident, $retryable:literal, $remedy:literal;)*) => {
        /// The code of an error: JSON field, metric label and documentation anchor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable text, such as `RATE_LOCAL_LIMIT`.
            pub fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }

            /// The HTTP status that fits it. Callers get the one that their API has for it: `dialect::words_for`.
            pub fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }

            /// Whose fault it is.
            pub fn blame(self) -> Blame { match self { $(Self::$name => Blame::$blame,)* } }

            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool { match self { $(Self::$name => $retryable,)* } }

            /// What the reader can do about it.
            pub fn remedy(self) -> &'static str { match self { $(Self::$name => $remedy,)* } }

            /// What it means, as in the documentation.
            pub fn meaning(self) -> &'static str { match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* } }
        }
    };
}

codes! {
    /// No usable key for the provider: the Secret is missing, empty or every key is set aside.
    AuthKeyMissing = "AUTH_KEY_MISSING", 503, Us, true, "check that the Secret named by spec.credentials exists and holds the key";
    /// The provider does not accept the key.
    AuthKeyRejected = "AUTH_KEY_REJECTED", 401, Us, false, "replace the key in the Secret named by spec.credentials";
    /// The provider's account cannot pay.
    AuthBilling = "AUTH_BILLING", 402, Us, false, "settle the provider account's billing";
    /// The provider has closed or suspended the account, or revoked the key.
    AuthAccountClosed = "AUTH_ACCOUNT_CLOSED", 403, Us, false, "ask the provider why, or replace the key in the Secret named by spec.credentials";
    /// The key may not use this model or feature.
    AuthPermission = "AUTH_PERMISSION", 403, Us, false, "grant the key's project the model, or route to another provider";

    /// An access rule of the ModelRoute or of the namespace does not allow this.
    AuthAccessDenied = "AUTH_ACCESS_DENIED", 403, Client, false, "ask for what the rule that the message names allows, or have spec.access of that object changed";

    /// The body is not JSON.
    ValNotJson = "VAL_NOT_JSON", 400, Client, false, "send a JSON object with content-type application/json";
    /// A field is missing or has the wrong type.
    ValField = "VAL_FIELD", 400, Client, false, "correct the field named in the message";
    /// The body is larger than the limit.
    ValTooLarge = "VAL_TOO_LARGE", 413, Client, false, "send a smaller body or raise the limit";
    /// The request asks for something the chosen provider cannot do.
    ValUnsupported = "VAL_UNSUPPORTED", 400, Client, false, "remove the field, or route to a provider that supports it";
    /// The HTTP request itself is malformed or beyond a limit.
    ValHttp = "VAL_HTTP", 400, Client, false, "send a well-formed HTTP/1.1 request";
    /// The path exists but not with this method.
    ValMethod = "VAL_METHOD", 405, Client, false, "use the method the API documents";
    /// The provider refused the request as invalid.
    ValProviderRefused = "VAL_PROVIDER_REFUSED", 400, Client, false, "correct the request as the provider's message says";
    /// The prompt does not fit the model's context window.
    ValContextLength = "VAL_CONTEXT_LENGTH", 400, Client, false, "shorten the prompt or route to a model with a larger window";

    /// No API lives at this path.
    ResPathNotFound = "RES_PATH_NOT_FOUND", 404, Client, false, "use one of the paths that the message lists";
    /// No provider serves this model.
    ResModelNotFound = "RES_MODEL_NOT_FOUND", 404, Client, false, "ask for a model that the message lists, or add it to a ProviderConfig";
    /// No provider has this name.
    ResProviderNotFound = "RES_PROVIDER_NOT_FOUND", 404, Client, false, "use the name of a ProviderConfig of this namespace";
    /// The caller wants a cached answer or none (`only-if-cached`), and there is none.
    ResNotCached = "RES_NOT_CACHED", 504, Client, false, "ask without cache-control: only-if-cached";

    /// No job has this id: there was none, it was fetched and deleted, or its time is over.
    ResJobNotFound = "RES_JOB_NOT_FOUND", 404, Client, false, "use the id that POST /jobs gave, within the job's ttl";
    /// A job of this `idempotencyKey` is kept that asks for something else.
    ResJobKeyTaken = "RES_JOB_KEY_TAKEN", 409, Client, false, "give each request a key of its own, or fetch and delete the job that has this one";
    /// The job is not answered yet.
    ResJobNotDone = "RES_JOB_NOT_DONE", 409, Client, true, "ask again after the time in retry-after; GET /jobs/{id} says how it stands";

    /// No valid configuration has been loaded yet.
    SysNotReady = "SYS_NOT_READY", 503, Us, true, "see GET /health on the admin port for the reason";
    /// The sidecar is shutting down.
    SysDraining = "SYS_DRAINING", 503, Us, true, "try again: another pod, or this one after its restart, will answer";
    /// The sidecar is at a limit of its own: requests in flight, memory for bodies, file descriptors.
    SysOverloaded = "SYS_OVERLOADED", 503, Us, true, "slow down, or raise the limit that the message names";
    /// There is no room for another job: their number or their bytes on disk are at their bound, or the disk takes no more.
    SysJobsFull = "SYS_JOBS_FULL", 507, Us, true, "fetch and delete answers (DELETE /jobs/{id}), or raise the bound that the message names";
    /// A fault of Bowsprit itself.
    SysInternal = "SYS_INTERNAL", 500, Us, true, "report it with the request id";
    /// The path is known, the feature behind it is not offered.
    SysNotSupported = "SYS_NOT_SUPPORTED", 501, Us, false, "call the provider's own dialect for this feature";

    /// The provider's host resolves to an address that is not allowed: loopback, private, link-local, or never.
    ExtAddressDenied = "EXT_ADDRESS_DENIED", 502, Us, false, "list the address's class in spec.endpoint.allowedAddresses if the provider really lives there";
    /// The provider's host refused the connection.
    ExtConnectRefused = "EXT_CONNECT_REFUSED", 502, Provider, true, "check spec.endpoint.baseUrl and that the provider is up";
    /// The provider's host did not answer in time.
    ExtConnectTimeout = "EXT_CONNECT_TIMEOUT", 504, Provider, true, "check the network path and egress policies to the provider";
    /// The provider's host name does not resolve.
    ExtDns = "EXT_DNS", 502, Provider, true, "check spec.endpoint.baseUrl and the cluster's DNS";
    /// The TLS handshake with the provider failed.
    ExtTls = "EXT_TLS", 502, Provider, true, "check the certificate, its host name and spec.endpoint.caBundleRef";
    /// The provider closed the connection before answering.
    ExtReset = "EXT_RESET", 502, Provider, true, "try again";
    /// The provider's answer broke off.
    ExtTruncated = "EXT_TRUNCATED", 502, Provider, true, "try again: what arrived is not the whole answer";
    /// The provider sent no first token in time.
    ExtFirstTokenTimeout = "EXT_FIRST_TOKEN_TIMEOUT", 504, Provider, true, "try again, or raise spec.timeouts.firstToken";
    /// The provider fell silent in mid-answer.
    ExtIdleTimeout = "EXT_IDLE_TIMEOUT", 504, Provider, true, "try again, or raise spec.timeouts.idle";
    /// The provider took too long for the whole answer.
    ExtTotalTimeout = "EXT_TOTAL_TIMEOUT", 504, Provider, true, "try again, or raise spec.timeouts.total";
    /// The provider broke the HTTP protocol.
    ExtProtocol = "EXT_PROTOCOL", 502, Provider, true, "check that spec.endpoint.baseUrl is the provider's API";
    /// The provider failed with a server error.
    ExtServerError = "EXT_SERVER_ERROR", 502, Provider, true, "try again";
    /// The provider is out of capacity.
    ExtOverloaded = "EXT_OVERLOADED", 503, Provider, true, "try again later, or add a fallback provider";
    /// The provider's answer is not what its API promises.
    ExtMalformed = "EXT_MALFORMED", 502, Provider, true, "check that spec.provider matches the API behind spec.endpoint.baseUrl";
    /// The provider answered with a redirect, which is never followed.
    ExtRedirect = "EXT_REDIRECT", 502, Provider, false, "set spec.endpoint.baseUrl to the final address";
    /// Every provider that could answer is open, unhealthy or limited.
    ExtAllUnavailable = "EXT_ALL_UNAVAILABLE", 503, Provider, true, "try again after the time in retry-after, or add a fallback provider";

    /// A limit of the ProviderConfig, the ModelRoute or a UsagePolicy was reached.
    RateLocalLimit = "RATE_LOCAL_LIMIT", 429, Client, true, "slow down, or raise the limit that the message names: spec.rateLimits of the ProviderConfig, or spec.limits of the ModelRoute or UsagePolicy";
    /// The provider said that its own limit was reached.
    RateProvider = "RATE_PROVIDER", 429, Provider, true, "slow down, or add a key or a fallback provider";

    /// The provider withheld the answer for its content.
    BizContentFiltered = "BIZ_CONTENT_FILTERED", 400, Client, false, "change the prompt, or spec.safetySettings where the provider has them";
    /// A budget of a UsagePolicy has no room for what the request may cost.
    BizBudgetSpent = "BIZ_BUDGET_SPENT", 402, Client, false, "wait for the budget's next window, which retry-after tells, ask for less (max_tokens, a cheaper model), or have its amount raised";
    /// The same request, or the same step of an agent, came more often than a UsagePolicy allows: it looks like a loop.
    BizRunaway = "BIZ_RUNAWAY", 429, Client, false, "see what repeats it; it passes again after the time in retry-after, or have spec.runaway of the UsagePolicy changed";
    /// Whoever answers for the namespace has paused it: every request is refused until it is resumed.
    BizPaused = "BIZ_PAUSED", 403, Client, false, "wait until it is resumed, or ask whom the message names: kubectl bowsprit resume";
    /// A guard of the ModelRoute or of the namespace found something in the request or its answer that it does not let pass.
    BizGuardRefused = "BIZ_GUARD_REFUSED", 403, Client, false, "take out of the request what the guard that the message names looks for, or have spec.guards of that object changed";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidRequest => Self::ValProviderRefused,
            ErrorKind::ContextLength => Self::ValContextLength,
            ErrorKind::Authentication => Self::AuthKeyRejected,
            ErrorKind::Billing => Self::AuthBilling,
            ErrorKind::AccountClosed => Self::AuthAccountClosed,
            ErrorKind::Permission => Self::AuthPermission,
            ErrorKind::NotFound => Self::ResModelNotFound,
            ErrorKind::TooLarge => Self::ValTooLarge,
            ErrorKind::RateLimited => Self::RateProvider,
            ErrorKind::Overloaded => Self::ExtOverloaded,
            ErrorKind::Internal => Self::ExtServerError,
            ErrorKind::Timeout => Self::ExtTotalTimeout,
            ErrorKind::ContentFilter => Self::BizContentFiltered,
            ErrorKind::Redirect => Self::ExtRedirect,
            ErrorKind::Malformed => Self::ExtMalformed,
        }
    }
}

impl From<TransportFault> for Code {
    fn from(fault: TransportFault) -> Self {
        match fault {
            TransportFault::Denied => Self::ExtAddressDenied,
            TransportFault::NoDescriptors => Self::SysOverloaded,
            TransportFault::ConnectRefused => Self::ExtConnectRefused,
            TransportFault::ConnectTimeout => Self::ExtConnectTimeout,
            TransportFault::Dns => Self::ExtDns,
            TransportFault::Tls => Self::ExtTls,
            TransportFault::Reset => Self::ExtReset,
            TransportFault::Truncated => Self::ExtTruncated,
            TransportFault::FirstTokenTimeout => Self::ExtFirstTokenTimeout,
            TransportFault::IdleTimeout => Self::ExtIdleTimeout,
            TransportFault::TotalTimeout => Self::ExtTotalTimeout,
            TransportFault::Protocol => Self::ExtProtocol,
            TransportFault::Coding => Self::ExtMalformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_unique_and_belongs_to_a_family() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} twice");
            assert!(
                ["AUTH_", "VAL_", "RES_", "SYS_", "EXT_", "RATE_", "BIZ_"]
                    .iter()
                    .any(|family| text.starts_with(family)),
                "{text} belongs to no family"
            );
            assert!((400..600).contains(&code.status()), "{text}");
            assert!(!code.remedy().is_empty() && !code.meaning().is_empty(), "{text}");
        }
        assert!(seen.len() >= 20);
    }
}
