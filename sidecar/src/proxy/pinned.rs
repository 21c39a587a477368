//! Whom a request is pinned to: what [`super::pin`] has found.

/// Whom a request is for.
#[derive(Debug)]
pub(super) struct Pinned {
    /// The provider's name.
    pub provider: String,
    /// The path below it, until it is taken in.
    pub rest: String,
}
