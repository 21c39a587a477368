//! Active health: where a ProviderConfig asks for it, its list of models is fetched now and then, which costs no tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::HealthCheck;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use tokio::time::Instant;

use crate::app::App;
use crate::credentials;
use crate::proxy::headers;
use crate::proxy::request_id::RequestId;
use crate::tenant::snapshot::Upstream;
use crate::upstream::Outgoing;

/// How often the schedule is looked at: the finest interval that probes can have.
const TICK: Duration = Duration::from_millis(500);

/// Probes until the process ends.
pub async fn run(app: Arc<App>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let snapshot = app.snapshot.load_full();
        let Some(snapshot) = snapshot else { continue };
        due.retain(|name, _| snapshot.config.provider(name).is_some());
        for upstream in snapshot.upstreams() {
            let Some(check) = upstream.provider.health_check else {
                continue;
            };
            let now = Instant::now();
            let next = due.entry(upstream.provider.name.clone()).or_insert(now);
            if *next > now {
                continue;
            }
            // Spread by a tenth either way, so that many sidecars do not probe in step.
            *next = now + check.interval.mul_f64(0.9 + 0.2 * fastrand::f64());
            tokio::spawn(probe(Arc::clone(&app), Arc::clone(upstream), check));
        }
    }
}

async fn probe(app: Arc<App>, upstream: Arc<Upstream>, check: HealthCheck) {
    let ok = match tokio::time::timeout(check.timeout, ask(&app, &upstream, check)).await {
        Ok(Ok(())) => true,
        Ok(Err(why)) => {
            tracing::info!(provider = %upstream.provider.name, why, "probe failed");
            false
        }
        Err(_) => {
            tracing::info!(provider = %upstream.provider.name, why = "no answer in time", "probe failed");
            false
        }
    };
    upstream.state.probed(ok, app.clock.now());
}

/// Any answer below 500 shows a provider that works: a key's trouble, or its limit, is the key's. Asked over the same
/// connections as every request, so that the same addresses are refused, the same proxy and trust are used, and no
/// redirect is followed with a key.
async fn ask(app: &App, upstream: &Upstream, check: HealthCheck) -> Result<(), String> {
    let provider = &upstream.provider;
    let mut request = Request::new(Outgoing::from(Bytes::new()));
    *request.uri_mut() = upstream
        .uri(provider.platform.models)
        .ok_or("the base URL makes no URL for a probe")?;
    let key = upstream.state.choose_key(&provider.base_url, &[], app.clock.now());
    let key = key.ok().flatten();
    *request.headers_mut() = headers::to_provider(&HeaderMap::new(), false, upstream, &RequestId::new());
    request.headers_mut().remove(CONTENT_TYPE);
    credentials::sign(&mut request, key.as_ref(), &provider.platform.auth);
    let origin = upstream.origin.as_ref().map_err(Clone::clone)?;
    let connect = provider.timeouts.connect.min(check.timeout);
    let answer = origin.send(request, connect).await.map_err(|fault| fault.detail)?;
    let status = answer.head.status;
    if status.is_server_error() {
        Err(format!("status {status}"))
    } else {
        Ok(())
    }
}
