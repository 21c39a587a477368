//! Waiting for room at a provider, in the order of [`bowsprit_core::queue`].

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::queue::{Class, Ticket};
use tokio::sync::Notify;

use super::ProviderState;
use super::permit::{Permit, Refused, Who};
use super::stored::Asked;

/// A place in a provider's line. Left on drop, which calls the next.
pub struct Waiter {
    state: Arc<ProviderState>,
    ticket: Ticket,
    called: Arc<Notify>,
}

impl ProviderState {
    /// Joins the line of those who wait for room here.
    pub fn queue(self: &Arc<Self>, class: Class) -> Waiter {
        let called = Arc::new(Notify::new());
        let ticket = self.lock().line.join(class, Arc::clone(&called));
        Waiter {
            state: Arc::clone(self),
            ticket,
            called,
        }
    }
}

impl Waiter {
    /// Takes a place, if this is the first in line and there is room.
    pub fn admit(&self, model: &str, tokens: u64, now: Moment) -> Result<Permit, Refused> {
        self.admit_as(model, tokens, None, now)
    }

    /// The same, with what the store said that counts the limits.
    ///
    /// # Errors
    /// Why there is no place.
    pub fn admit_as(&self, model: &str, tokens: u64, asked: Option<Asked>, now: Moment) -> Result<Permit, Refused> {
        self.state
            .take_place(model, tokens, (Who::Waits(self.ticket), asked), now)
    }

    /// Waits until there may be room for whoever holds this, `wait` at most.
    pub async fn wait(&self, wait: Duration) {
        // Either way it is time to look: called, or the time is up.
        let _ = tokio::time::timeout(wait, self.called.notified()).await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(next) = self.state.lock().line.leave(self.ticket) {
            next.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;
    use crate::tenant::provider::ProviderMetrics;
    use crate::tenant::provider::States;
    use bowsprit_core::config::{Scope, load};

    /// A provider with these limits.
    fn limited(limits: &str) -> Arc<ProviderState> {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: p}}\n\
             spec: {{provider: OpenAICompatible, endpoint: {{baseUrl: 'https://p'}}, rateLimits: {limits}}}\n"
        );
        let config = load(&text, &Scope::Standalone).unwrap();
        States::default().adopt(
            &config.providers[0],
            &ProviderMetrics::register(&mut Registry::default()),
            Moment::ZERO,
        )
    }

    /// Waits in line until there is a place, and takes it.
    async fn take(state: Arc<ProviderState>, now: Moment) -> Permit {
        let turn = state.queue(Class::Interactive);
        loop {
            match turn.admit("m", 1, now) {
                Ok(permit) => return permit,
                Err(_) => turn.wait(Duration::from_hours(1)).await,
            }
        }
    }

    /// Lets every task go as far as it can without time passing.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_is_kept_for_the_first_in_line() {
        let (state, now) = (limited("{concurrentRequests: 1}"), Moment::ZERO);
        let held = state.admit("m", 1, now).ok().unwrap();
        let (first, second) = (state.queue(Class::Interactive), state.queue(Class::Interactive));
        drop(held);
        assert!(
            state.admit("m", 1, now).is_err(),
            "a newcomer stands behind those who wait"
        );
        assert!(second.admit("m", 1, now).is_err(), "and so does the second");
        let held = first.admit("m", 1, now).ok().unwrap();
        drop(first);
        assert!(second.admit("m", 1, now).is_err(), "its turn, and no place");
        drop(held);
        assert!(second.admit("m", 1, now).is_ok());
        drop(second);
        assert!(state.admit("m", 1, now).is_ok(), "nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_become_free_at_once_are_all_taken_in_order() {
        let (state, now) = (limited("{concurrentRequests: 3}"), Moment::ZERO);
        let held: Vec<_> = (0..3).map(|_| state.admit("m", 1, now).ok().unwrap()).collect();
        let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(take(Arc::clone(&state), now))).collect();
        settle().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        drop(held);
        settle().await;
        // Three calls were made before anybody could answer one: each who is let in calls the next.
        let done: Vec<_> = waiting.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!(done, [true, true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_hands_its_turn_on() {
        let (state, now) = (limited("{concurrentRequests: 1}"), Moment::ZERO);
        let held = state.admit("m", 1, now).ok().unwrap();
        let first = state.queue(Class::Interactive);
        let waiting = tokio::spawn(take(Arc::clone(&state), now));
        settle().await;
        // The call for this place goes to the first, which has lost patience.
        drop(held);
        drop(first);
        settle().await;
        assert!(waiting.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_who_waits_goes_before_what_is_in_no_hurry() {
        let (state, now) = (limited("{concurrentRequests: 1}"), Moment::ZERO);
        let held = state.admit("m", 1, now).ok().unwrap();
        let background = state.queue(Class::Background);
        assert!(state.admit("m", 1, now).is_err(), "no place");
        drop(held);
        let held = state.admit("m", 1, now).ok().unwrap();
        assert!(background.admit("m", 1, now).is_err());
        let interactive = state.queue(Class::Interactive);
        drop(held);
        assert!(background.admit("m", 1, now).is_err(), "it is the other's");
        assert!(interactive.admit("m", 1, now).is_ok());
        drop(interactive);
        assert!(background.admit("m", 1, now).is_ok());
    }
}
