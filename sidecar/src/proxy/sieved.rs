//! What is told of a stream that goes through its guards.

use bowsprit_core::guard::{Decided, Sieve, Stop};
use bowsprit_core::record::Refuser;

use super::context::RequestContext;

/// Tells what a stream's guards have found, once.
pub(super) fn told(context: &mut RequestContext, sieve: &Sieve) {
    for (guard, _) in sieve.found().filter(|(_, found)| *found > 0) {
        context.process().sinks.guards.found(&guard.name, guard.decided);
        context.guarded_by(&guard.name);
    }
}

/// Tells that a guard lets an answer go no further. Returns what its caller is told.
pub(super) fn stopped(context: &mut RequestContext, stop: &Stop) -> String {
    let (guard, told) = match stop {
        Stop::Refused(guard) => (guard, guard.told()),
        Stop::Unread(guard) => {
            context.process().sinks.guards.found(&guard.name, Decided::Refused);
            (guard, guard.told_unread())
        }
    };
    context.turned_away_by(Refuser::Guard, &guard.name);
    told
}
