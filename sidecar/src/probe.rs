//! Active health: where a ProviderConfig asks for it, its list of models is fetched now and then, which costs no tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::classify::Ended;
use bowsprit_core::config::HealthCheck;
use bowsprit_core::record::AttemptKind;
use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::net::client::Outgoing;
use crate::process::Process;
use crate::proxy::exchange::{Begin, Exchange, Of};
use crate::proxy::headers::{self, Carry};
use crate::proxy::request_id::RequestId;
use crate::tenant::snapshot::Upstream;

/// How often the schedule is looked at: the finest interval that probes can have.
const TICK: Duration = Duration::from_millis(500);

/// Probes until the process ends. A probe that panics ends it: the part is dead, and must be seen to be.
pub async fn run(process: Arc<Process>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    let mut probes = JoinSet::new();
    let mut look = tokio::time::interval_at(Instant::now() + TICK, TICK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => start_due(&process, &mut due, &mut probes),
            Some(ended) = probes.join_next() => if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            },
        }
    }
}

/// Starts the probes whose time has come.
fn start_due(process: &Arc<Process>, due: &mut HashMap<String, Instant>, probes: &mut JoinSet<()>) {
    let snapshot = process.tenant.snapshot.load_full();
    let Some(snapshot) = snapshot else { return };
    due.retain(|name, _| snapshot.config.provider(name).is_some());
    for upstream in snapshot.upstreams() {
        let Some(check) = upstream.provider.health_check.filter(|_| !upstream.is_paused) else {
            continue;
        };
        let now = Instant::now();
        let next = due.entry(upstream.provider.name.clone()).or_insert(now);
        if *next > now {
            continue;
        }
        // Spread by a tenth either way, so that many sidecars do not probe in step.
        *next = now + check.interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        probes.spawn(probe(Arc::clone(process), Arc::clone(upstream), check));
    }
}

async fn probe(process: Arc<Process>, upstream: Arc<Upstream>, check: HealthCheck) {
    let why = ask(&process, &upstream, check).await.err();
    if let Some(why) = &why {
        tracing::info!(provider = %upstream.provider.name, why, "probe failed");
    }
    upstream.state.probed(why.is_none(), process.clock.now());
}

/// Any answer below 500 shows a provider that works: a key's trouble, or its limit, is the key's. An exchange like every
/// other, so that the same addresses are refused, the same proxy and trust are used, and no redirect is followed with a key;
/// but it needs no permit, and neither breaker nor key learns anything from it.
async fn ask(process: &Arc<Process>, upstream: &Arc<Upstream>, check: HealthCheck) -> Result<(), String> {
    let provider = &upstream.provider;
    let uri = upstream.uri(provider.platform.models);
    let uri = uri.ok_or("the base URL makes no URL for a probe")?;
    let began = process.clock.now();
    let key = upstream.state.choose_key(&provider.base_url, &[], began);
    let begin = Begin {
        number: 1,
        kind: AttemptKind::Probe,
        upstream,
        model: &"".into(),
        permit: None,
        credential: key.ok().flatten(),
        forwarded: None,
        operation: Operation::PassThrough,
        input_tokens: 0,
        of: Of::default(),
    };
    let mut exchange = Exchange::begin(process, begin);
    let id = RequestId::new();
    let request = || {
        let mut request = Request::new(Outgoing::from(Bytes::new()));
        request.uri_mut().clone_from(&uri);
        *request.headers_mut() = headers::to_provider(&HeaderMap::new(), Carry::Nothing, upstream, &id);
        request
    };
    let sent = exchange.send(request(), || Some(request()), began);
    let sent = tokio::time::timeout(check.timeout, sent).await;
    let answer = sent
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|fault| fault.detail)?;
    let status = exchange.received(answer, process.clock.now()).head.status;
    exchange.end(process.clock.now(), Ended::Answered, None);
    if status.is_server_error() {
        Err(format!("status {status}"))
    } else {
        Ok(())
    }
}
