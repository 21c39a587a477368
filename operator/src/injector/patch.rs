//! The operations of a patch, collected.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, MoveOperation, Patch, PatchOperation};
use serde_json::{Value, json};

/// Collects the operations of a patch.
#[derive(Default)]
pub(super) struct PatchBuilder(Vec<PatchOperation>);

impl PatchBuilder {
    pub(super) fn add(&mut self, path: &[&str], value: Value) {
        self.0.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
            value,
        }));
    }

    pub(super) fn move_to(&mut self, from: &[&str], path: &[&str]) {
        self.0.push(PatchOperation::Move(MoveOperation {
            from: PointerBuf::from_tokens(from.iter().copied()),
            path: PointerBuf::from_tokens(path.iter().copied()),
        }));
    }

    pub(super) fn ensure_list(&mut self, path: &[&str], exists: bool) {
        if !exists {
            self.add(path, json!([]));
        }
    }

    pub(super) fn ensure_map(&mut self, path: &[&str], exists: bool) {
        if !exists {
            self.add(path, json!({}));
        }
    }

    pub(super) fn into_patch(self) -> Patch {
        Patch(self.0)
    }
}
