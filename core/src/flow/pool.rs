//! What a flow asks of the world.

use std::time::Duration;

use bowsprit_crds::provider_config::OnLimit;

use crate::clock::Moment;
use crate::limiter::Limited;

/// What a flow asks of the world, at one moment; every answer is immediate. Candidates are named by their place in the plan.
pub trait Pool {
    /// Whether the candidate can be asked this request at all.
    fn fits(&mut self, candidate: usize) -> Fit;
    /// Takes a permit (limits and breaker) and a credential for one attempt, or says why not. Credentials that were judged
    /// in this request are not taken again, untried ones are preferred. Once who counts the limits was asked, it never says
    /// [`Refused::Unasked`] before it has used the answer.
    fn acquire(&mut self, candidate: usize, now: Moment) -> Result<(), Refused>;
    /// Gives back unused what [`Pool::acquire`] took.
    fn release(&mut self, candidate: usize, now: Moment);
    /// Whether the candidate has answered lately.
    fn is_trusted(&self, candidate: usize) -> bool;
    /// Whether another credential than those that were judged is usable now.
    fn other_credential(&self, candidate: usize, now: Moment) -> bool;
    /// When the provider takes requests again by its own word; `None`: now.
    fn headroom_in(&self, candidate: usize, now: Moment) -> Option<Duration>;
    /// Whether the pod's retry budget has room, by the candidate's settings.
    fn budget_left(&mut self, candidate: usize, now: Moment) -> bool;
    /// Takes one attempt from the retry budget.
    fn withdraw(&mut self, candidate: usize, now: Moment) -> bool;
    /// Counts the request towards the retry budget; `repeat`: an SDK marked it as its own retry.
    fn count_request(&mut self, repeat: bool, now: Moment);
    /// Counts a request of a route that hedges.
    fn count_hedgeable(&mut self);
    /// How long the candidate is waited for before another is asked too; `None`: it is not hedged.
    fn hedge_delay(&self, candidate: usize, now: Moment) -> Option<Duration>;
    /// Takes one hedge from the route's allowance.
    fn withdraw_hedge(&mut self) -> bool;
}

/// Whether a candidate can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It can.
    Fits,
    /// Its API cannot carry the request; another may.
    Unsupported,
    /// Nobody's can: the request is wrong.
    Invalid,
}

/// Why a candidate has no place for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its breaker is open.
    CircuitOpen {
        /// When it lets a probe through.
        retry_in: Option<Duration>,
    },
    /// A limit of its `rateLimits` is reached.
    Limited(Limited),
    /// A named limit that is counted per provider is reached there. What follows is the limit's to say, not the provider's.
    Over {
        /// What is reached.
        limited: Limited,
        /// What happens to the request.
        on_limit: OnLimit,
        /// How long it may wait for its place, all in all.
        max_wait: Duration,
    },
    /// No credential is usable.
    NoCredential,
    /// Its limits are counted elsewhere, where nobody has asked yet: [`super::Step::Ask`].
    Unasked,
}
