//! Guards: what must not leave in a request, or come in an answer.

use serde::{Deserialize, Serialize};

use crate::DurationText;
use crate::access::Enforcement;
use crate::provider_config::{AddressClass, ObjectKeyRef};

/// Looks into the texts of requests and answers, and masks, refuses or counts what it finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.detect) || has(self.words) || has(self.webhook)",
        "message": "looks for nothing: set detect, words or webhook",
    },
    {
        "rule": "!has(self.webhook) || !(has(self.detect) || has(self.words))",
        "message": "webhook: is a guard of its own: remove detect and words, or make two guards of it",
    },
])))]
pub struct Guard {
    /// Its name, in errors, metrics and the access log.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,
    /// Whether it looks into requests, into answers, or into both.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set")))]
    pub apply_to: Vec<Side>,
    /// What it looks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 7), extend("x-kubernetes-list-type" = "set")))]
    pub detect: Vec<Kind>,
    /// Words that it looks for too, whole and in any case. Of 2 to 64 bytes each, without quotes, backslashes and control characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 200), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set")))]
    pub words: Vec<String>,
    /// A service that looks in their place: it gets the texts and decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// What becomes of what it finds.
    #[serde(default)]
    pub action: Action,
    /// Whether it acts, or only counts what it would have done.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// What becomes of that into which no guard can look: what passes unread to `/providers/…`, which belongs to no ModelRoute, and
    /// answers in a coding that is not read, or too large to be held; inputs of embeddings that are lists of tokens.
    #[serde(default)]
    pub unread: Unread,
}

/// A service that is asked about texts, and decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "duration(self.timeout) >= duration('20ms') && duration(self.timeout) <= duration('5s')",
        "message": "timeout: must be 20ms to 5s",
        "fieldPath": ".timeout",
    },
    {
        "rule": "self.url.startsWith('https://') || (has(self.allowHttp) && self.allowHttp && self.url.startsWith('http://'))",
        "message": "url: must be https, or http with allowHttp: true",
        "fieldPath": ".url",
    },
])))]
pub struct Webhook {
    /// Where it is asked, with the path, such as `https://guard.example.com/v1/check`. Without user, query and fragment.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub url: String,
    /// How long a request, or its answer, waits for it at most, connecting included. 20ms to 5s.
    #[serde(default = "Webhook::default_timeout")]
    pub timeout: DurationText,
    /// What becomes of that about which it has not decided: not in time, not in the form that is asked for, or not at all.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The key of a Secret of this namespace that it is asked with, as `Authorization: Bearer`. Unset: with none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<ObjectKeyRef>,
    /// A ConfigMap key with PEM certificates that are trusted beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<ObjectKeyRef>,
    /// Whether `url` may be plain http, so that texts and the key travel in clear text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_http: bool,
    /// The kinds of network addresses that `url` may resolve to, checked at each connection. Unset: `Public` and `Private`. Metadata
    /// services of clouds are never connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set")))]
    pub allowed_addresses: Option<Vec<AddressClass>>,
}

impl Webhook {
    /// Long enough for a small model near by, and less than most models take for their first word.
    fn default_timeout() -> DurationText {
        DurationText::millis(500)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What becomes of that about which a service has not decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnFailure {
    /// It is refused, where the guard masks or refuses in force.
    #[default]
    Refuse,
    /// It passes as it is.
    Pass,
}

/// Where a guard looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Side {
    /// Into what the caller asks, before anybody is asked.
    Request,
    /// Into what the caller gets, plain or streamed, before it has it.
    Answer,
}

/// What a guard looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Kind {
    /// Private keys in PEM.
    PrivateKey,
    /// JSON Web Tokens.
    Jwt,
    /// Keys and tokens in the forms of clouds, model providers, code hosts, payment and chat services.
    Key,
    /// E-mail addresses.
    Email,
    /// IBANs, by country, length and check digits.
    Iban,
    /// Card numbers, by scheme, length and check digit.
    Card,
    /// Phone numbers in their international form, which begins with `+`.
    Phone,
}

/// What a guard does with what it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Action {
    /// A word for what it is stands in its place, such as `[CARD]`.
    #[default]
    Mask,
    /// The request, or its answer, is refused with a 403 that names the guard; a stream that has begun ends with an error.
    Refuse,
    /// It is counted and told in the access log.
    Observe,
}

/// What becomes of that into which a guard cannot look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Unread {
    /// It is refused, where the guard masks or refuses.
    #[default]
    Refuse,
    /// It passes.
    Pass,
}
