//! Where a provider's API lives: everything about it that is not its language.
//!
//! A dialect ([`crate::dialect`]) says what a request, an answer and an error look like. A platform says where they are sent:
//! the path of each operation, whether the model stands there or in the body, the header a key goes in, headers that the API
//! wants beside it, and which operations there are. One row per [`ProviderKind`], so that a platform that speaks a known
//! dialect is added by a row, its file and its tests.
//!
//! Paths count from the base URL ([`crate::config::Provider::base_url`]), which has no trailing slash.
//! [`crate::config::Provider::in_version`] puts another version in where the base URL named one.

mod azure;
mod public;
mod row;

use bowsprit_crds::ProviderKind;

pub use row::{AuthScheme, Endpoint, Framing, ModelPlace, Platform};

/// The platform of a ProviderConfig's `provider`.
pub fn of(kind: ProviderKind) -> &'static Platform {
    match kind {
        ProviderKind::Anthropic => &public::ANTHROPIC,
        ProviderKind::Gemini => &public::GEMINI,
        ProviderKind::OpenAI => &public::OPENAI,
        ProviderKind::OpenAICompatible => &public::OPENAI_COMPATIBLE,
        ProviderKind::AzureOpenAI => &azure::AZURE_OPENAI,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn every_kind_has_its_own_platform() {
        for kind in ProviderKind::ALL {
            assert_eq!(of(kind).kind, kind);
        }
    }

    #[test]
    fn what_is_spoken_natively_can_be_generated_there() {
        for platform in ProviderKind::ALL.map(of) {
            for caller in Dialect::ALL {
                let wire = platform.wire(caller);
                for framing in [Framing::Whole, Framing::Events, Framing::Array] {
                    let path = platform.path(Endpoint::Generate(framing), wire, "m");
                    assert!(path.is_some_and(|path| path.starts_with('/')), "{platform:?} {wire}");
                }
            }
        }
    }

    #[test]
    fn a_count_has_a_path_where_there_is_one_and_nowhere_else() {
        for platform in ProviderKind::ALL.map(of) {
            for dialect in Dialect::ALL {
                let path = platform.path(Endpoint::Count, dialect, "m");
                assert_eq!(
                    path.is_some(),
                    platform.counts == Some(dialect),
                    "{platform:?} {dialect}"
                );
            }
        }
    }

    #[test]
    fn a_model_stands_in_the_path_where_the_platform_says_so() {
        for platform in ProviderKind::ALL.map(of) {
            let generate = Endpoint::Generate(Framing::Whole);
            let path = platform.path(generate, platform.dialect, "the-model").unwrap();
            assert_eq!(path.contains("the-model"), platform.model == ModelPlace::Path, "{path}");
        }
    }
}
