//! Guards: what must not leave in a request, or come in an answer.

use serde::{Deserialize, Serialize};

use crate::access::Enforcement;

/// Looks into the texts of requests and answers, and masks, refuses or counts what it finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.detect) || has(self.words)",
        "message": "looks for nothing: set detect or words",
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
    /// What becomes of what it finds.
    #[serde(default)]
    pub action: Action,
    /// Whether it acts, or only counts what it would have done.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// What becomes of that into which no guard can look: what passes unread to `/providers/…`, which belongs to no ModelRoute, and
    /// answers in a coding that is not read, or too large to be held.
    #[serde(default)]
    pub unread: Unread,
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
