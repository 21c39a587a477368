//! Guards that are services, and a streamed answer: what is held of it goes on when they have decided about it.
//!
//! What is held and asked about is `core::guard::Windows`'. Here the services are asked, one window after the other, while the answer
//! is read on; where too much is held, it is not. Guards that do not act are asked about the same windows beside the stream ([`run`]) and
//! hold nothing: where they fall behind, what they miss is counted as not decided.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{KeySource, Route};
use bowsprit_core::dialect::ErrorView;
use bowsprit_core::guard::webhook::{About, Follows, Verdict, Why};
use bowsprit_core::guard::{Asked, Guard, Stop, Windows};
use bowsprit_core::record::Refuser;
use bytes::{Bytes, BytesMut};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, Sleep};

use super::ask;
use super::beside;
use super::context::RequestContext;
use crate::credentials::ApiKey;
use crate::process::Process;
use crate::sync::locked;
use crate::tenant::Tenant;
use crate::tenant::service::Service;
use crate::tenant::snapshot::Snapshot;

/// Windows that guards which hold nothing are asked about at once.
const BESIDE_MOST: usize = 32;

/// Asks about what streams have left to be asked beside them. Ends never.
pub async fn run(process: Arc<Process>) {
    let what = "asking services beside streams";
    beside::each(BESIDE_MOST, what, || process.tenant.asides.next(), |aside| aside).await;
}

/// What one guard has said of a window.
pub(super) struct Told {
    guard: Arc<Guard>,
    follows: Follows<()>,
    is_undecided: bool,
}

/// What asking takes.
struct Terms {
    process: Arc<Process>,
    tenant: Arc<Tenant>,
    services: Vec<(Arc<Guard>, Option<Arc<Service>>)>,
    route: Option<Arc<Route>>,
    model: Arc<str>,
}

impl Terms {
    fn new(context: &RequestContext, snapshot: &Snapshot, guards: &[Arc<Guard>]) -> Arc<Self> {
        let service = |guard: &Arc<Guard>| (Arc::clone(guard), snapshot.service(guard).cloned());
        Arc::new(Self {
            process: Arc::clone(context.process()),
            tenant: Arc::clone(context.tenant()),
            services: guards.iter().map(service).collect(),
            route: context.route.clone(),
            model: Arc::clone(&context.asked),
        })
    }

    /// Asks about a window, one service after the other, each about what the one before has left.
    async fn ask(self: Arc<Self>, mut window: Asked) -> (Asked, Vec<Told>) {
        let keys = self.tenant.service_keys.load_full();
        let mut all = Vec::with_capacity(self.services.len());
        for (guard, service) in &self.services {
            let decided = self.one(&window, guard, service.as_deref(), &keys).await;
            let is_undecided = decided.is_err();
            let follows = match window.follows(guard, decided) {
                Follows::Masked(texts, decision) => {
                    window.mask(texts);
                    Follows::Masked((), decision)
                }
                Follows::Nothing => Follows::Nothing,
                Follows::Counted(decision) => Follows::Counted(decision),
                Follows::Spared(decision) => Follows::Spared(decision),
                Follows::Refused(told, decision) => Follows::Refused(told, decision),
            };
            let is_refused = matches!(follows, Follows::Refused(..));
            all.push(Told {
                guard: Arc::clone(guard),
                follows,
                is_undecided,
            });
            if is_refused {
                break;
            }
        }
        (window, all)
    }

    async fn one(
        &self,
        window: &Asked,
        guard: &Arc<Guard>,
        service: Option<&Service>,
        keys: &HashMap<KeySource, ApiKey>,
    ) -> Result<Verdict<Vec<Option<String>>>, Why> {
        let pod = self.process.pod.load();
        let about = About {
            namespace: pod.namespace.as_deref().unwrap_or_default(),
            route: self.route.as_ref().map_or("", |route| &route.name),
            model: &self.model,
        };
        let Some(question) = window.question(guard, about)? else {
            return Ok(Verdict::Pass);
        };
        let read = |answer: &[u8]| window.verdict(answer);
        ask::answered(&self.process, (service, keys), question, read).await
    }
}

/// What is asked beside the answer's way to its caller: one that does not read does not run out its service's deadline. Dropped, nobody is
/// asked any more.
struct Asking<T>(JoinHandle<T>);

impl<T: Send + 'static> Asking<T> {
    fn new(asking: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(asking))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match std::task::ready!(Pin::new(&mut self.0).poll(cx)).map_err(JoinError::try_into_panic) {
            Ok(told) => Poll::Ready(told),
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process ends.
            Err(Err(_)) => Poll::Pending,
        }
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A stream's way through the guards that are services.
pub struct Services {
    held: Option<Held>,
    beside: Option<Beside>,
    /// What has been counted of this answer.
    counted: Vec<Counted>,
}

struct Held {
    terms: Arc<Terms>,
    windows: Windows,
    asking: Option<Asking<(Asked, Vec<Told>)>>,
    alarm: Pin<Box<Sleep>>,
}

struct Beside {
    terms: Arc<Terms>,
    windows: Windows,
    /// What has been counted of this answer.
    counted: Arc<Mutex<Vec<Counted>>>,
}

/// A guard, and what has been counted of it.
type Counted = (Arc<str>, &'static str);

impl Services {
    /// Those of a request, for an answer that streams; none: there are none.
    pub(super) fn of(context: &RequestContext, snapshot: &Snapshot) -> Option<Box<Self>> {
        let guarded = context.guarded.as_ref().filter(|guarded| guarded.asks())?;
        let services = guarded.guards.iter().filter(|guard| guard.webhook.is_some());
        let (acting, others): (Vec<_>, Vec<_>) = services.cloned().partition(|guard| guard.decided.acts());
        let held = (!acting.is_empty()).then(|| Held {
            terms: Terms::new(context, snapshot, &acting),
            windows: Windows::new(context.dialect(), acting.into()),
            asking: None,
            alarm: Box::pin(tokio::time::sleep_until(Instant::now())),
        });
        let beside = (!others.is_empty()).then(|| Beside::new(context, snapshot, others));
        Some(Box::new(Self {
            held,
            beside,
            counted: Vec::new(),
        }))
    }

    /// Takes what comes, and returns what goes out now.
    ///
    /// # Errors
    /// The stream ends here.
    pub(super) fn push(&mut self, piece: Bytes, now: Moment) -> Result<Bytes, Stop> {
        let Some(held) = &mut self.held else { return Ok(piece) };
        let mut out = BytesMut::new();
        held.windows.push(&piece, now, &mut out)?;
        Ok(out.freeze())
    }

    /// Nothing follows. Returns what goes out now; what is held waits for its decision.
    ///
    /// # Errors
    /// As of [`Self::push`].
    pub(super) fn finish(&mut self, now: Moment) -> Result<Bytes, Stop> {
        let mut out = BytesMut::new();
        if let Some(held) = &mut self.held {
            held.windows.finish(now, &mut out)?;
        }
        Ok(out.freeze())
    }

    /// This goes out to the caller: who is asked beside is asked about it.
    pub(super) fn given(&mut self, piece: &[u8]) {
        if let Some(beside) = &mut self.beside {
            beside.piece(piece);
        }
    }

    /// All has gone out.
    pub(super) fn ended(&mut self) {
        if let Some(beside) = &mut self.beside {
            beside.end();
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.windows.is_empty())
    }

    /// Whether so much waits that nothing more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.windows.is_full())
    }

    /// Asks about what is to be asked about. Ready with what was said of a window, which then is to be told and decided.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Asked, Vec<Told>)> {
        match &mut self.held {
            Some(held) => held.poll(cx),
            None => Poll::Pending,
        }
    }

    /// The window goes on as its guards have left it. Returns what goes out now.
    pub(super) fn decided(&mut self, window: Asked) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(held) = &mut self.held {
            held.windows.decided(window, &mut out);
        }
        out.freeze()
    }

    /// An error that ends the stream; none: nothing is held here, so it is said as ever.
    pub(super) fn error_event(&self, error: &ErrorView<'_>) -> Option<Bytes> {
        self.held.as_ref().map(|held| held.windows.error_event(error))
    }

    /// Tells what was said of a window, each thing once for an answer.
    ///
    /// # Errors
    /// What the caller is told by the guard that lets it go no further.
    pub(super) fn told(&mut self, context: &mut RequestContext, all: Vec<Told>) -> Result<(), String> {
        for Told {
            guard,
            follows,
            is_undecided,
        } in all
        {
            if is_undecided && let Some(guarded) = &mut context.guarded {
                guarded.is_unsure = true;
            }
            count(context.process(), &guard, &follows, &mut self.counted);
            if !matches!(follows, Follows::Nothing) {
                context.guarded_by(&guard.name);
            }
            if let Follows::Refused(told, _) = follows {
                context.turned_away_by(Refuser::Guard, &guard.name);
                return Err(told);
            }
        }
        Ok(())
    }
}

/// Counts what follows, once for each answer.
fn count(process: &Process, guard: &Arc<Guard>, follows: &Follows<()>, counted: &mut Vec<Counted>) {
    let (Follows::Counted(decision)
    | Follows::Spared(decision)
    | Follows::Masked((), decision)
    | Follows::Refused(_, decision)) = follows
    else {
        return;
    };
    let is_new = counted.iter().all(|(name, was)| *name != guard.name || was != decision);
    if is_new {
        process.sinks.guards.count(&guard.name, decision);
        counted.push((Arc::clone(&guard.name), decision));
    }
}

impl Held {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Asked, Vec<Told>)> {
        let clock = self.terms.process.clock;
        let mut now = clock.now();
        loop {
            if let Some(asking) = &mut self.asking {
                let asked = std::task::ready!(asking.poll(cx));
                self.asking = None;
                return Poll::Ready(asked);
            }
            if let Some(window) = self.windows.ask(now) {
                self.asking = Some(Asking::new(Arc::clone(&self.terms).ask(window)));
                continue;
            }
            let Some(due) = self.windows.due() else {
                return Poll::Pending;
            };
            let at = clock.instant(due);
            if self.alarm.deadline() != at {
                self.alarm.as_mut().reset(at);
            }
            std::task::ready!(self.alarm.as_mut().poll(cx));
            now = clock.now().max(due);
        }
    }
}

impl Beside {
    fn new(context: &RequestContext, snapshot: &Snapshot, guards: Vec<Arc<Guard>>) -> Self {
        Self {
            terms: Terms::new(context, snapshot, &guards),
            windows: Windows::beside(context.dialect(), guards.into()),
            counted: Arc::default(),
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        let now = self.terms.process.clock.now();
        // What cannot be read is not held for guards that do not act.
        let _ = self.windows.push(piece, now, &mut BytesMut::new());
        self.ask(now);
    }

    fn end(&mut self) {
        let now = self.terms.process.clock.now();
        let _ = self.windows.finish(now, &mut BytesMut::new());
        self.ask(now);
    }

    fn ask(&mut self, now: Moment) {
        while let Some(window) = self.windows.ask(now) {
            let window = self.windows.passed(window);
            let (terms, counted) = (Arc::clone(&self.terms), Arc::clone(&self.counted));
            let mut room = terms.process.memory.room();
            let has_room = room.take(window.size());
            let asking = async move {
                let _room = room;
                let process = Arc::clone(&terms.process);
                let (_, all) = terms.ask(window).await;
                for Told { guard, follows, .. } in all {
                    count(&process, &guard, &follows, &mut locked(&counted));
                }
            };
            if !has_room || !self.terms.tenant.asides.leave(Box::pin(asking)) {
                let mut counted = locked(&self.counted);
                for guard in self.windows.guards().iter() {
                    count(
                        &self.terms.process,
                        guard,
                        &guard.follows(Err(Why::TooLarge)),
                        &mut counted,
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::Asking;

    #[tokio::test]
    async fn what_is_asked_is_answered_though_nobody_reads_and_by_nobody_once_its_caller_is_gone() {
        let (asked, answered) = oneshot::channel();
        let (waiting, gone) = oneshot::channel::<()>();
        let asking = Asking::new(async {
            asked.send(()).unwrap();
            let _waiting = waiting;
            std::future::pending::<()>().await;
        });
        answered.await.unwrap();
        drop(asking);
        assert!(gone.await.is_err());
    }
}
