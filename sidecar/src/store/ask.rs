//! What a question to a store is, whatever it is about.

use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::resp::{Garbage, Reply};
use tokio::sync::oneshot;

/// A question that goes over a link.
pub(super) trait Ask: Sized + Send + 'static {
    /// The longest text that may answer it, bytes.
    const LONGEST: usize;

    /// Whether it goes after `ASKING`.
    fn is_for_once(&self) -> bool;

    /// Whether who asked has gone on, so that it need not be sent.
    fn is_in_vain(&self) -> bool;

    /// Writes it.
    fn write(&self, to: &mut Vec<u8>);

    /// Takes what `node` answered. Returns what it is to be told for that.
    ///
    /// # Errors
    /// It is no answer, and nothing that follows can be trusted to answer what it seems to.
    fn answered(self, reply: &Reply<'_>, node: &Node) -> Result<Option<Self>, Garbage>;
}

/// What a node said.
pub(super) enum Heard<T> {
    Said(T),
    NoScript,
    Elsewhere { node: Node, for_once: bool },
}

/// Who waits for it.
pub(super) type Asker<T> = oneshot::Sender<Result<Heard<T>, Unanswered>>;

impl<T> Heard<T> {
    /// `from` has said that it is at `at`.
    pub(super) fn elsewhere(at: &str, from: &Node, for_once: bool) -> Result<Self, Unanswered> {
        let node = Node::elsewhere(at, from).ok_or(Unanswered::Garbled)?;
        Ok(Self::Elsewhere { node, for_once })
    }
}
