//! Budgets (`budgets` of a UsagePolicy): what a request may cost at the most is reserved before anybody is asked, and what all its
//! attempts did cost is charged when the last of them ends.
//!
//! A budget that stops is stricter than one that diverts, and that than one that warns: where several have no room, the strictest
//! says what follows. A request is led to another route once, and from there on is as if it had asked for that route.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::fault::Code;
use bowsprit_core::record::Refuser;
use bowsprit_core::spend::book::{Beyond, Level, Need};

use super::context::RequestContext;
use super::estimate;
use super::inbound::Inbound;
use super::refuse::Refusal;
use crate::tenant::budgets::{Budgets, Met, dollars};
use crate::tenant::snapshot::Snapshot;
use crate::time::{rfc3339, unix_seconds};

/// Reserves what the request may cost, and says where it goes if that is elsewhere.
///
/// # Errors
/// A budget has no room for it, and does not let it go elsewhere.
pub(super) fn acquire(snapshot: &Snapshot, context: &mut RequestContext, inbound: &Inbound) -> Result<(), Refusal> {
    let call = &inbound.call;
    // Every provider counts tokens for nothing.
    if call.operation == Operation::Count {
        return Ok(());
    }
    let budgets = Arc::clone(&context.tenant().budgets);
    let need = estimate::most(snapshot, context.route.as_deref(), call);
    let held = match budgets.take(need, false) {
        Ok(guard) => {
            context.hold(|charges| charges.budgets = Some(guard));
            return Ok(());
        }
        Err(held) => held,
    };
    let Beyond::Divert(to) = &held.budget.beyond else {
        return Err(refuse(context, &budgets, &held, need));
    };
    let Some(route) = snapshot.config.routes.iter().find(|route| *route.name == **to) else {
        return Err(refuse(context, &budgets, &held, need));
    };
    let need = estimate::most(snapshot, Some(route), call);
    match budgets.take(need, true) {
        Ok(guard) => {
            budgets.metrics.met(&held.budget.full_name, Met::Diverted);
            context.hold(|charges| charges.budgets = Some(guard));
            context.route = Some(Arc::clone(route));
            context.is_led = true;
            Ok(())
        }
        Err(held) => Err(refuse(context, &budgets, &held, need)),
    }
}

/// Whether a request that passes unread may go out: nobody knows what it costs, so it may while anything is left of every budget. It
/// is for one provider, so that none can lead it elsewhere.
///
/// # Errors
/// A budget is spent.
pub(super) fn look(context: &mut RequestContext) -> Result<(), Refusal> {
    let budgets = Arc::clone(&context.tenant().budgets);
    let need = Need {
        most: 0,
        is_unknown: true,
    };
    match budgets.take(need, false) {
        Ok(_nothing) => Ok(()),
        Err(held) => Err(refuse(context, &budgets, &held, need)),
    }
}

fn refuse(context: &mut RequestContext, budgets: &Budgets, held: &Level, need: Need) -> Refusal {
    let budget = &held.budget;
    budgets.metrics.met(&budget.full_name, Met::Stopped);
    context.turned_away_by(Refuser::Budget, &budget.name);
    let taken = held.spent.saturating_add(held.reserved);
    let text = format!(
        "the budget {} of UsagePolicy {} has no room: {} of {} USD are spent or reserved, this request may cost {}, and the next window \
         begins at {}",
        budget.name,
        budget.policy,
        dollars(taken),
        dollars(budget.amount),
        if need.is_unknown && need.most == 0 {
            "nobody knows what".to_owned()
        } else {
            dollars(need.most).to_string()
        },
        rfc3339(held.window.ends),
    );
    let left = u64::try_from(held.window.ends.saturating_sub(unix_seconds())).unwrap_or(0);
    Refusal::new(Code::BizBudgetSpent, text).retry_after(Some(Duration::from_secs(left.max(1))))
}
