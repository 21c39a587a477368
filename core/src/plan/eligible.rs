//! Whether a provider can do what is asked at all, however well it stands, and in which dialect.

use crate::call::Operation;
use crate::config::{Provider, Route};
use crate::dialect::Dialect;

/// Why a provider cannot do an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ineligible {
    /// Its API has no embeddings.
    NoEmbeddings,
    /// It would answer with another model than the one asked for, whose vectors do not compare with that one's.
    OtherModel,
    /// Its API has no token count.
    NoCount,
}

/// The dialect in which a provider is asked for an operation by a caller of `caller`. `asked` is the model that the caller
/// named, `model` the one that the provider would answer with.
///
/// # Errors
/// Why it is not asked: an answer would be none, or one to another question.
pub fn wire(
    operation: Operation,
    caller: Dialect,
    provider: &Provider,
    route: Option<&Route>,
    (asked, model): (&str, &str),
) -> Result<Dialect, Ineligible> {
    match operation {
        Operation::Generate => Ok(provider.wire(caller)),
        Operation::PassThrough => Ok(provider.dialect),
        Operation::Count => provider.platform.counts.ok_or(Ineligible::NoCount),
        Operation::Embed(_) if !answers_as_asked(route, provider, asked, model) => Err(Ineligible::OtherModel),
        Operation::Embed(api) => match api.at(provider.dialect) {
            Some(_) => Ok(provider.dialect),
            None => Err(Ineligible::NoEmbeddings),
        },
    }
}

/// Whether a caller of `caller` is asked for in its own words at this provider, whatever the model: nothing is translated, ever.
pub fn is_native(operation: Operation, caller: Dialect, provider: &Provider) -> bool {
    match operation {
        Operation::Generate => provider.wire(caller) == caller,
        Operation::Count => provider.platform.counts == Some(caller),
        Operation::Embed(api) => api.at(provider.dialect) == Some(api),
        Operation::PassThrough => true,
    }
}

/// Whether a provider that is asked for `model` answers with the very model that the caller asked for: listed there, as
/// an alias, or because a route says that it stands for it. What stands in by its `defaultModel` does not.
pub(super) fn answers_as_asked(route: Option<&Route>, provider: &Provider, asked: &str, model: &str) -> bool {
    let own_name = |name: &str| provider.serves(name).unwrap_or_else(|| provider.name_of(name)) == model;
    match route {
        None => own_name(asked),
        Some(route) => route
            .all_targets()
            .filter(|target| target.provider == provider.name)
            .any(|target| target.model.as_deref().is_some_and(own_name)),
    }
}
