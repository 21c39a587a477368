//! What a translation leaves out, and whether it may.

use bowsprit_crds::model_route::OnUnsupported;

use super::RequestError;
use crate::fault::Code;

/// The paths of what was approximated or left out, each once, bounded so that a hostile request cannot grow the
/// warning header.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    paths: Vec<String>,
    /// Of which so many are tools that the chosen provider cannot run.
    tools: u32,
    /// [`super::Target::on_unsupported`].
    rule: Option<OnUnsupported>,
}

impl Dropped {
    /// More than any honest request drops; what comes beyond is summed up as "…".
    const MAX: usize = 32;

    pub(super) fn new(rule: Option<OnUnsupported>) -> Self {
        Self {
            paths: Vec::new(),
            tools: 0,
            rule,
        }
    }

    /// What would be refused as unsupported and makes sense without: left out and listed, where the route says so.
    pub(super) fn leave_out(&mut self, refusal: RequestError) -> Result<(), RequestError> {
        if self.rule == Some(OnUnsupported::Drop) && refusal.code == Code::ValUnsupported {
            self.note(refusal.path);
            Ok(())
        } else {
            Err(refusal)
        }
    }

    /// As [`Self::leave_out`], of a tool.
    pub(super) fn leave_out_tool(&mut self, refusal: RequestError) -> Result<(), RequestError> {
        self.leave_out(refusal)?;
        self.tools += 1;
        Ok(())
    }

    /// A tool that the chosen provider cannot run, and that the model was free not to use.
    pub(super) fn note_tool(&mut self, path: &str) {
        self.tools += 1;
        self.note(path);
    }

    /// What only informs the provider that made it: left out and listed, unless the route refuses all that is left out.
    pub(super) fn leave_out_hint(&mut self, refusal: RequestError) -> Result<(), RequestError> {
        if self.rule == Some(OnUnsupported::Refuse) {
            return Err(refusal);
        }
        self.note(refusal.path);
        Ok(())
    }

    pub(super) fn note(&mut self, path: impl Into<String>) {
        let path = path.into();
        if self.paths.len() < Self::MAX && !self.paths.contains(&path) {
            self.paths.push(path);
            if self.paths.len() == Self::MAX {
                self.paths.push("...".to_owned());
            }
        }
    }

    pub(super) fn note_if(&mut self, present: bool, path: &str) {
        if present {
            self.note(path);
        }
    }

    /// Tools that were left out so far.
    pub(super) fn tools(&self) -> u32 {
        self.tools
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.paths
    }
}

/// The parts of a message, without those that cannot be carried where the route says to leave them out. Never without
/// all of them: an emptied message says something else.
pub(super) struct Parts<T> {
    items: Vec<T>,
    first_refusal: Option<RequestError>,
}

impl<T> Parts<T> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            first_refusal: None,
        }
    }

    pub(super) fn take(&mut self, item: Result<T, RequestError>, dropped: &mut Dropped) -> Result<(), RequestError> {
        match item {
            Ok(item) => self.items.push(item),
            Err(refusal) => {
                dropped.leave_out(refusal.clone())?;
                self.first_refusal.get_or_insert(refusal);
            }
        }
        Ok(())
    }

    /// As [`Self::take`], of what may turn out to be nothing to carry.
    pub(super) fn take_some(
        &mut self,
        item: Result<Option<T>, RequestError>,
        dropped: &mut Dropped,
    ) -> Result<(), RequestError> {
        match item.transpose() {
            Some(item) => self.take(item, dropped),
            None => Ok(()),
        }
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.items.last()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.items.last_mut()
    }

    pub(super) fn pop(&mut self) {
        self.items.pop();
    }

    pub(super) fn finish(self) -> Result<Vec<T>, RequestError> {
        match self.first_refusal {
            Some(refusal) if self.items.is_empty() => Err(refusal),
            _ => Ok(self.items),
        }
    }
}
