//! The guards that look into a request's answer.

use std::sync::Arc;

use bowsprit_core::guard::{Decided, Guard};
use bowsprit_crds::guards::Side;
use bytes::Bytes;

/// The guards that look into a request's answer, in their order.
pub(super) struct Guarded {
    /// They.
    pub guards: Arc<[Arc<Guard>]>,
}

impl Guarded {
    /// Those of these that look into answers; none: there are none.
    pub(super) fn of<'a>(guards: impl Iterator<Item = &'a Arc<Guard>>) -> Option<Box<Self>> {
        let guards: Arc<[Arc<Guard>]> = guards.filter(|guard| guard.is_on(Side::Answer)).cloned().collect();
        (!guards.is_empty()).then(|| Box::new(Self { guards }))
    }

    /// A whole answer with what is to be masked masked.
    ///
    /// # Errors
    /// The guard that does not let it pass.
    pub(super) fn masked(&self, body: Bytes) -> Result<Bytes, &Guard> {
        let guards: Vec<&Guard> = self.guards.iter().map(|guard| &**guard).collect();
        let looked = Guard::look_into_answer(&guards, &body);
        let mut found = guards.iter().zip(&looked.found);
        match found.find(|(guard, found)| **found > 0 && guard.decided == Decided::Refused) {
            Some((guard, _)) => Err(guard),
            None => Ok(looked.body.unwrap_or(body)),
        }
    }

    /// What a kept answer has been looked into by: under other guards it is another answer.
    pub(super) fn print(&self) -> Vec<u8> {
        self.guards.iter().flat_map(|guard| guard.print).collect()
    }
}
