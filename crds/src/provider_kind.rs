//! The kinds of provider, and what the schema itself must know of each: the rules that the apiserver checks, the loader of
//! documents and the platforms of `bowsprit-core` read the same facts.

use serde::{Deserialize, Serialize};

/// Which API a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ProviderKind {
    /// Anthropic Messages, at <https://api.anthropic.com>.
    Anthropic,
    /// Gemini generateContent, at <https://generativelanguage.googleapis.com>.
    Gemini,
    /// OpenAI chat completions and Responses, at <https://api.openai.com/v1>.
    OpenAI,
    /// OpenAI chat completions at another server: vLLM, Ollama, llama.cpp, …
    OpenAICompatible,
    /// OpenAI chat completions and Responses at Azure: the v1 API, at `https://NAME.openai.azure.com`. A model is a deployment.
    AzureOpenAI,
}

/// What a ProviderConfig of a kind may say, and must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindFacts {
    /// As it stands in `provider`.
    pub name: &'static str,
    /// Where the API is if `endpoint.baseUrl` is unset; none: that field is required.
    pub base_url: Option<&'static str>,
    /// The path that a base URL without one means.
    pub base_path: &'static str,
    /// Whether every base URL of it ends in `base_path`, since its paths are one vendor's own.
    pub fixed_base: bool,
    /// The versions that the API is spoken in at all, which its requests name; empty: the base URL ends in the version.
    pub versions: &'static [&'static str],
    /// Whether it may be asked without a key.
    pub keyless: bool,
    /// Whether it has `OpenAI`'s organization and project.
    pub organizations: bool,
    /// Whether it has `safetySettings`.
    pub safety_settings: bool,
    /// Whether its streams have to be asked for their usage, so that `streamUsage` says something.
    pub stream_usage: bool,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Anthropic,
        Self::Gemini,
        Self::OpenAI,
        Self::OpenAICompatible,
        Self::AzureOpenAI,
    ];

    /// What is known of it.
    pub const fn facts(self) -> KindFacts {
        match self {
            Self::Anthropic => KindFacts {
                name: "Anthropic",
                base_url: Some("https://api.anthropic.com"),
                base_path: "",
                fixed_base: false,
                versions: &["v1"],
                keyless: false,
                organizations: false,
                safety_settings: false,
                stream_usage: false,
            },
            Self::Gemini => KindFacts {
                name: "Gemini",
                base_url: Some("https://generativelanguage.googleapis.com"),
                base_path: "",
                fixed_base: false,
                versions: &["v1beta", "v1", "v1alpha"],
                keyless: false,
                organizations: false,
                safety_settings: true,
                stream_usage: false,
            },
            Self::OpenAI => KindFacts {
                name: "OpenAI",
                base_url: Some("https://api.openai.com/v1"),
                base_path: "/v1",
                fixed_base: false,
                versions: &[],
                keyless: false,
                organizations: true,
                safety_settings: false,
                stream_usage: true,
            },
            Self::OpenAICompatible => KindFacts {
                name: "OpenAICompatible",
                base_url: None,
                base_path: "/v1",
                fixed_base: false,
                versions: &[],
                keyless: true,
                organizations: false,
                safety_settings: false,
                stream_usage: true,
            },
            Self::AzureOpenAI => KindFacts {
                name: "AzureOpenAI",
                base_url: None,
                base_path: "/openai/v1",
                fixed_base: true,
                versions: &[],
                keyless: false,
                organizations: false,
                safety_settings: false,
                stream_usage: true,
            },
        }
    }

    /// The names of the kinds of which something is true, for people: `OpenAI and OpenAICompatible`.
    pub fn names_of(has: impl Fn(&KindFacts) -> bool) -> String {
        let names: Vec<&str> = names(has);
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.concat(),
        }
    }

    /// That `provider` is one of the kinds of which something is true, as CEL.
    #[cfg(feature = "schema")]
    pub(crate) fn is_one(has: impl Fn(&KindFacts) -> bool) -> String {
        match names(has).as_slice() {
            [one] => format!("self.provider == '{one}'"),
            several => format!("self.provider in ['{}']", several.join("', '")),
        }
    }

    /// That it is none of them, as CEL.
    #[cfg(feature = "schema")]
    pub(crate) fn is_none(has: impl Fn(&KindFacts) -> bool) -> String {
        match names(has).as_slice() {
            [one] => format!("self.provider != '{one}'"),
            several => format!("!(self.provider in ['{}'])", several.join("', '")),
        }
    }
}

fn names(has: impl Fn(&KindFacts) -> bool) -> Vec<&'static str> {
    let facts = ProviderKind::ALL.map(ProviderKind::facts);
    facts
        .iter()
        .filter(|facts| has(facts))
        .map(|facts| facts.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_as_it_is_written() {
        for kind in ProviderKind::ALL {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.facts().name);
        }
    }
}
