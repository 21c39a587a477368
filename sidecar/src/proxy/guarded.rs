//! The guards that look into a request's answer.

use std::sync::Arc;

use bowsprit_core::guard::{Decided, Guard};
use bowsprit_crds::guards::Side;
use bytes::Bytes;

/// The guards that look into a request's answer, in their order.
pub(super) struct Guarded {
    /// They.
    pub guards: Arc<[Arc<Guard>]>,
    /// A whole answer has been looked into, and services were asked about it: it is looked into no more.
    pub is_looked_into: bool,
    /// A service has not decided, and the answer passed all the same: it must not be kept as one that was looked into.
    pub is_unsure: bool,
}

impl Guarded {
    /// Those of these that look into answers; none: there are none.
    pub(super) fn of<'a>(guards: impl Iterator<Item = &'a Arc<Guard>>) -> Option<Box<Self>> {
        let guards: Arc<[Arc<Guard>]> = guards.filter(|guard| guard.is_on(Side::Answer)).cloned().collect();
        (!guards.is_empty()).then(|| {
            Box::new(Self {
                guards,
                is_looked_into: false,
                is_unsure: false,
            })
        })
    }

    /// Whether any of them is a service.
    pub(super) fn asks(&self) -> bool {
        self.guards.iter().any(|guard| guard.webhook.is_some())
    }

    /// Those that look for themselves; none: there are none.
    pub(super) fn that_look(&self) -> Option<Arc<[Arc<Guard>]>> {
        if !self.asks() {
            return Some(Arc::clone(&self.guards));
        }
        let guards = self.guards.iter().filter(|guard| guard.webhook.is_none());
        let guards: Arc<[Arc<Guard>]> = guards.cloned().collect();
        (!guards.is_empty()).then_some(guards)
    }

    /// A whole answer with what is to be masked masked.
    ///
    /// # Errors
    /// What the guard says that does not let it pass, or that is a service, which nobody asks here.
    pub(super) fn masked(&self, body: Bytes) -> Result<Bytes, String> {
        let asks = |guard: &&Arc<Guard>| guard.webhook.is_some() && guard.forbids_unread(Side::Answer);
        if let Some(guard) = self.guards.iter().find(asks) {
            return Err(guard.told_unread());
        }
        let guards: Vec<&Guard> = self.guards.iter().map(|guard| &**guard).collect();
        let looked = Guard::look_into_answer(&guards, &body);
        let mut found = guards.iter().zip(&looked.found);
        match found.find(|(guard, found)| **found > 0 && guard.decided == Decided::Refused) {
            Some((guard, _)) => Err(guard.told()),
            None => Ok(looked.body.unwrap_or(body)),
        }
    }

    /// What a kept answer has been looked into by: under other guards it is another answer.
    pub(super) fn print(&self) -> Vec<u8> {
        self.guards.iter().flat_map(|guard| guard.print).collect()
    }
}
