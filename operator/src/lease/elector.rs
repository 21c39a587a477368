//! Gets the lease, keeps it, and gives it back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::clock::Moment;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::sync::watch;

use super::rewound::Newest;
use super::{LEASE, MAX_RETRY, RENEW_DEADLINE, RETRY, Seen, Step, decide, pause};
use crate::owner::{self, Deployed};
use crate::sync::locked;
use crate::time::Clock;

/// On the Lease: where its holder listens for the other replicas, `ip:port`.
pub const ANNOTATION_ADDRESS: &str = "bowsprit.dev/stream-address";

/// Proof of leadership, asked before every write.
#[derive(Clone, Debug)]
pub struct Leadership {
    clock: Clock,
    until: Arc<Mutex<Option<Moment>>>,
    /// The lease's transitions when it was last written here.
    epoch: Arc<AtomicU64>,
}

/// This replica does not lead (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not hold the lease: nothing was written")]
pub struct NotLeading;

impl Leadership {
    /// Not leading yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            until: Arc::default(),
            epoch: Arc::default(),
        }
    }

    /// Ok while this replica may write.
    pub fn check(&self) -> Result<(), NotLeading> {
        self.left().map(|_| ())
    }

    /// Makes a write while this replica may, and lets go of it when its time is over before the answer is there.
    ///
    /// A process that is stopped between the check and the write finds that first when it goes on. What may have gone out by
    /// then is for the apiserver to refuse: writes name the version of the object that they were decided on.
    ///
    /// # Errors
    /// Where this replica does not lead, or no longer.
    pub async fn write<T>(&self, write: impl Future<Output = T>) -> Result<T, NotLeading> {
        let mut write = std::pin::pin!(write);
        loop {
            // A renewal meanwhile gives it more time.
            let left = self.left()?;
            tokio::select! {
                biased;
                () = tokio::time::sleep(left) => {}
                done = &mut write => return Ok(done),
            }
        }
    }

    /// How long it may go on writing.
    fn left(&self) -> Result<Duration, NotLeading> {
        let until = *locked(&self.until);
        let left = until.map(|until| until.saturating_since(self.clock.now()));
        left.filter(|left| !left.is_zero()).ok_or(NotLeading)
    }

    /// The number of this leadership, while this replica may write: one more than that of the leader before.
    ///
    /// # Errors
    /// Where this replica does not lead, or no longer.
    pub fn epoch(&self) -> Result<u64, NotLeading> {
        self.left().map(|_| self.epoch.load(Ordering::Acquire))
    }

    /// It is the leadership `epoch` for so long, by another proof than the Lease: that of a test.
    pub fn leads_for(&self, epoch: u64, time: Duration) {
        self.epoch.store(epoch, Ordering::Release);
        self.set(Some(self.clock.now() + time));
    }

    fn set(&self, until: Option<Moment>) {
        *locked(&self.until) = until;
    }
}

/// One replica's part in the election.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: Clock,
    leadership: Leadership,
    seen: Option<Seen>,
    has_led: bool,
    owner: Option<Deployed>,
    /// Where this replica listens for the others, `ip:port`.
    address: Option<String>,
    leader: watch::Sender<Option<String>>,
    newest: Newest,
    rewound: watch::Sender<bool>,
    before_it_leads: Option<Box<dyn Fn() + Send + Sync>>,
    has_noted: bool,
    /// True once this replica knows what it needs to lead.
    known: Option<watch::Receiver<bool>>,
}

/// A replica that does not get to know what it needs to lead asks for the Lease all the same after so long: a watch that fails of one kind of
/// object leaves the others, and certificates, to be cared for.
pub const UNKNOWING: Duration = LEASE;

impl Elector {
    /// For the Lease `name`, as `identity` (the pod's name).
    pub fn new(api: Api<Lease>, name: &str, identity: &str, clock: Clock) -> Self {
        let leadership = Leadership::new(clock);
        Self {
            api,
            name: name.to_owned(),
            identity: identity.to_owned(),
            clock,
            leadership,
            seen: None,
            has_led: false,
            owner: None,
            address: None,
            leader: watch::Sender::new(None),
            newest: Newest::default(),
            rewound: watch::Sender::new(false),
            before_it_leads: None,
            has_noted: false,
            known: None,
        }
    }

    /// It asks once this is true, or after [`UNKNOWING`]: one that was just started is often the first to ask, knows nothing to lead with for a moment,
    /// and cannot note what there is before it leads.
    #[must_use]
    pub fn once(mut self, known: watch::Receiver<bool>) -> Self {
        self.known = Some(known);
        self
    }

    /// The Lease goes with this owner.
    #[must_use]
    pub fn owned_by(mut self, owner: Deployed) -> Self {
        self.owner = Some(owner);
        self
    }

    /// While it leads, the Lease tells the other replicas this address.
    #[must_use]
    pub fn reached_at(mut self, address: Option<String>) -> Self {
        self.address = address;
        self
    }

    /// `note` is called before each write that may begin a leadership: when whoever led before leads no more, and nobody can know yet that this
    /// replica does.
    #[must_use]
    pub fn before_it_leads(mut self, note: impl Fn() + Send + Sync + 'static) -> Self {
        self.before_it_leads = Some(Box::new(note));
        self
    }

    /// Where the leader is reached, as far as the last look tells; none where it is this replica.
    pub fn leader(&self) -> watch::Receiver<Option<String>> {
        self.leader.subscribe()
    }

    /// True from when on the apiserver knows less than it did: it was restored from a backup, and this process had better end.
    pub fn rewound(&self) -> watch::Receiver<bool> {
        self.rewound.subscribe()
    }

    /// What the reconciler asks before it writes.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Returns once this replica leads.
    pub async fn acquire(&mut self) {
        if let Some(known) = &mut self.known
            && tokio::time::timeout(UNKNOWING, known.wait_for(|known| *known))
                .await
                .is_err()
        {
            tracing::warn!(
                lease = self.name,
                "providers, routes or configs are not known yet: this replica asks for the lease without them"
            );
        }
        let mut after_failure = RETRY;
        loop {
            let failed = match tokio::time::timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => false,
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "cannot get the lease, will try again");
                    true
                }
                Err(_) => {
                    tracing::warn!(
                        lease = self.name,
                        "the apiserver does not answer to a try for the lease"
                    );
                    true
                }
            };
            // An apiserver in trouble is asked ever more seldom; it is missed for no longer than this when it is back.
            after_failure = if failed {
                (after_failure * 2).min(MAX_RETRY)
            } else {
                RETRY
            };
            let pause = if failed {
                after_failure
            } else {
                pause(self.seen.as_ref(), &self.identity, self.clock.now())
            };
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// Renews until the lease is lost; then nothing may be written any more, and the process had better end.
    pub async fn hold(&mut self) {
        loop {
            tokio::time::sleep(jittered(RETRY)).await;
            match tokio::time::timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false))
                    if self
                        .seen
                        .as_ref()
                        .is_some_and(|seen| seen.holder() == Some(&self.identity)) =>
                {
                    // A conflict with somebody who only touched the object: the next look tells.
                }
                Ok(Ok(false)) => {
                    self.leadership.set(None);
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot renew the lease, will try again"),
                Err(_) => tracing::warn!(lease = self.name, "the apiserver does not answer to a renewal"),
            }
            if self.leadership.check().is_err() {
                self.leadership.set(None);
                return;
            }
        }
    }

    /// Gives the lease back so that another replica need not wait for it to expire.
    pub async fn release(&mut self) {
        let held = self.leadership.check().is_ok();
        self.leadership.set(None);
        if !held {
            return;
        }
        let freed = async {
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Err(error) = freed.await {
            tracing::warn!(%error, lease = self.name, "the lease was not given back and will expire by itself");
        }
    }

    /// One look and, where it is ours to write, one write. True where this replica leads afterwards.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        // From before the request: what the apiserver was told later must not lengthen what we believe.
        let asked = self.clock.now();
        let lease = self.api.get_opt(&self.name).await?;
        if let Some((before, now)) = self.newest.note(lease.as_ref()) {
            tracing::error!(
                before,
                now,
                lease = self.name,
                "the apiserver's data went back, as after a restore"
            );
            self.leadership.set(None);
            self.rewound.send_replace(true);
            return Ok(false);
        }
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        self.seen = spec.map(|spec| Seen::note(self.seen.take(), spec, self.clock.now()));
        let mut step = decide(self.seen.as_ref(), &self.identity, self.clock.now());
        let leader = lease.as_ref().and_then(|lease| self.address_in(lease));
        self.leader.send_if_modified(|known| {
            let differs = *known != leader;
            *known = leader;
            differs
        });
        if step == Step::Wait {
            return Ok(false);
        }
        if !self.has_led {
            // A process of our name that was here before us and died: for whoever counts, this is another holder.
            step = Step::Acquire;
        }
        // A write whose answer was lost named us, and everybody has known since: what is there now may have come after.
        let names_us = self.seen.as_ref().and_then(Seen::holder) == Some(&self.identity);
        if step == Step::Acquire
            && !(names_us && self.has_noted)
            && let Some(note) = &self.before_it_leads
        {
            note();
            self.has_noted = true;
        }
        let owner = match &self.owner {
            Some(owner) => owner.of(lease.as_ref().map(|lease| &lease.metadata)).await?,
            None => None,
        };
        let written = match lease {
            None => {
                self.api
                    .create(&PostParams::default(), &self.fresh(owner.as_ref()))
                    .await
            }
            Some(mut lease) => {
                self.sign(owner.as_ref(), &mut lease.metadata);
                lease.spec = Some(self.renewed(lease.spec.unwrap_or_default(), step));
                // Carries the resourceVersion: of two replicas that both saw it free, one gets a conflict.
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
                let epoch = transitions
                    .and_then(|epoch| u64::try_from(epoch).ok())
                    .unwrap_or_default();
                self.leadership.epoch.store(epoch, Ordering::Release);
                self.seen = lease.spec.map(|spec| Seen::note(None, spec, self.clock.now()));
                self.leadership.set(Some(asked + RENEW_DEADLINE));
                self.has_led = true;
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn fresh(&self, owner: Option<&OwnerReference>) -> Lease {
        let mut metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        self.sign(owner, &mut metadata);
        Lease {
            metadata,
            spec: Some(self.renewed(LeaseSpec::default(), Step::Acquire)),
        }
    }

    /// Another holder's address.
    fn address_in(&self, lease: &Lease) -> Option<String> {
        let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
        if holder.is_empty() || holder == self.identity {
            return None;
        }
        lease.metadata.annotations.as_ref()?.get(ANNOTATION_ADDRESS).cloned()
    }

    fn sign(&self, owner: Option<&OwnerReference>, metadata: &mut ObjectMeta) {
        owner::put(owner, metadata);
        let annotations = metadata.annotations.get_or_insert_default();
        match &self.address {
            Some(address) => annotations.insert(ANNOTATION_ADDRESS.to_owned(), address.clone()),
            None => annotations.remove(ANNOTATION_ADDRESS),
        };
    }

    fn renewed(&self, mut spec: LeaseSpec, step: Step) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        if step == Step::Acquire {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
        spec.renew_time = Some(now);
        spec
    }
}

/// Up to a fifth longer, so that replicas do not ask in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + 0.2 * fastrand::f64())
}
