//! A service that guards requests and answers, in service: how it is reached, and whether it is asked at all.
//!
//! One that does not answer is left alone for a while, by the same machine as providers are (`core::breaker`): what it would be asked about is
//! decided by its guard's `onFailure` at once, and one question at a time tries it again. What the machine knows outlives a snapshot, as long
//! as the guard and its service stay the same.

use std::sync::{Arc, Mutex, MutexGuard};

use bowsprit_core::breaker::{self, Breaker, Cause, StateName, Transition, Verdict};
use bowsprit_core::clock::Moment;
use bowsprit_core::guard::Guard;
use bowsprit_core::guard::webhook::{Webhook, Why};
use http::{HeaderValue, Uri};
use serde::Serialize;
use tokio::time::Instant;

use super::provider::tenths;
use crate::files::Stamp;
use crate::net::client::{Connections, Origin, Reach};
use crate::observe::guards::{Findings, Questions};
use crate::sync::locked;

/// A service that guards requests, ready to be asked.
pub struct Service {
    /// The guard.
    pub guard: Arc<Guard>,
    hook: Webhook,
    /// Its CA bundle when its connections were made ready; `None` where it has none.
    pub trust: Option<Stamp>,
    /// Its connections, or why there can be none.
    pub origin: Result<Arc<Origin>, String>,
    /// What is wrong with how it is reached, for people.
    pub problem: Option<String>,
    /// The `Host` header.
    pub host: HeaderValue,
    /// Where it is asked.
    pub path: Uri,
    breaker: Arc<Mutex<Breaker>>,
    questions: Questions,
}

impl Service {
    /// The service of a guard; none: it has none. `before`: those that were in service until now.
    pub fn new(
        guard: &Arc<Guard>,
        connections: &Connections,
        findings: &Findings,
        before: &[Arc<Self>],
    ) -> Option<Self> {
        let hook = guard.webhook.as_deref()?.clone();
        // Looked at before it is read: what changes in between is news at the next look.
        let trust = connections.trust_stamp(hook.ca_bundle.as_ref());
        let Reach { origin, problem } = connections.reach_service(&hook.url, &hook.addresses, hook.ca_bundle.as_ref());
        let path = Some(hook.url.path()).filter(|path| !path.is_empty());
        // Another CA bundle may be what it was waiting for.
        let same = |was: &&Arc<Self>| was.guard.print == guard.print && was.guard.of == guard.of && was.trust == trust;
        let known = before.iter().find(same).map(|was| Arc::clone(&was.breaker));
        Some(Self {
            trust,
            origin,
            problem,
            // A URL's authority and path were read as such.
            host: HeaderValue::from_str(hook.url.authority()).unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            path: path
                .and_then(|path| path.parse().ok())
                .unwrap_or_else(|| Uri::from_static("/")),
            breaker: known.unwrap_or_else(|| Arc::new(Mutex::new(Breaker::new(hook.breaker())))),
            questions: findings.questions(&guard.name),
            hook,
            guard: Arc::clone(guard),
        })
    }

    /// How it is asked.
    pub fn hook(&self) -> &Webhook {
        &self.hook
    }

    /// Leave to ask it now.
    ///
    /// # Errors
    /// It does not answer, and is left alone.
    pub fn admit(&self, now: Moment) -> Result<Leave<'_>, Why> {
        let permit = self.lock().admit(now).map_err(|_| Why::NotAsked)?;
        Ok(Leave {
            service: self,
            permit: Some(permit),
            began: now,
        })
    }

    /// Closes its breaker by hand. Says whether it was not closed.
    pub fn reset(&self, now: Moment) -> bool {
        let reset = self.lock().reset(now);
        reset.inspect(|transition| self.tell(transition)).is_some()
    }

    /// It for `/health`.
    pub fn report(&self, now: Moment) -> ServiceReport {
        let breaker = self.lock();
        ServiceReport {
            name: self.guard.name.to_string(),
            of: self.guard.of.clone(),
            breaker: breaker.state(now).as_str(),
            failures: breaker.failures(),
            retry_in_seconds: breaker.retry_in(now).map(tenths),
            problem: self.problem.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        locked(&self.breaker)
    }

    /// Once for each time that it is away: not each try that fails while it is.
    fn tell(&self, Transition { to, cause, .. }: &Transition) {
        let (guard, of) = (&*self.guard.name, &*self.guard.of);
        match (to, cause) {
            (StateName::Closed, _) => tracing::info!(guard, of, %cause, "a guard's service is asked again"),
            (StateName::Open, Cause::Consecutive { .. }) => {
                let on_failure = if self.hook.is_open { "Pass" } else { "Refuse" };
                let retry_s = self.hook.breaker().open_for.as_secs();
                tracing::warn!(guard, of, %cause, on_failure, retry_s, "a guard's service does not answer, and is not asked for a while");
            }
            _ => tracing::debug!(guard, of, %cause, "a guard's service was tried again, and is still away"),
        }
    }
}

/// Leave to ask a service once. Given up by its caller, it is as if nobody had asked.
pub struct Leave<'a> {
    service: &'a Service,
    permit: Option<breaker::Permit>,
    began: Moment,
}

impl Leave<'_> {
    /// It has been asked, and its breaker learns this of it.
    pub fn settle(mut self, learned: Verdict, now: Moment) {
        let Some(permit) = self.permit.take() else { return };
        let transition = self.service.lock().settle(permit, learned, now);
        if let Some(transition) = transition {
            self.service.tell(&transition);
        }
        if learned != Verdict::Ignored {
            self.service.questions.asked(now - self.began);
        }
        if learned == Verdict::Failure(breaker::Trip::Timeout)
            && let Ok(origin) = &self.service.origin
        {
            // Who died without a word has left others like the one that it was waited for on.
            let began = Instant::now().checked_sub(now - self.began);
            began.inspect(|began| origin.forget_unused_since(*began));
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.service.lock().cancel(permit);
        }
    }
}

/// A guard's service at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// The guard.
    pub name: String,
    /// Whose it is, such as `ModelRoute fast`.
    pub of: String,
    /// `closed`, `open` (it is not asked) or `half_open`.
    pub breaker: &'static str,
    /// Questions in a row that it has not answered.
    pub failures: u32,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_seconds: Option<f64>,
    /// What is wrong with how it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ServiceReport {
    /// Whether it is asked.
    pub fn is_well(&self) -> bool {
        self.breaker == StateName::Closed.as_str() && self.problem.is_none()
    }
}
