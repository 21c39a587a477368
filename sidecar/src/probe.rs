//! Active health: where a ProviderConfig asks for it, its list of models is fetched now and then, which costs no tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::HealthCheck;
use bowsprit_core::dialect::Dialect;
use tokio::time::Instant;

use crate::app::App;
use crate::live::Upstream;
use crate::upstream::tls;

/// How often the schedule is looked at: the finest interval that probes can have.
const TICK: Duration = Duration::from_millis(500);

/// Probes until the process ends.
pub async fn run(app: Arc<App>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let live = app.live.load_full();
        let Some(live) = live else { continue };
        due.retain(|name, _| live.config.provider(name).is_some());
        for upstream in live.upstreams() {
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
    let ok = match tokio::time::timeout(check.timeout, ask(&app, &upstream)).await {
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

/// Any answer below 500 but 429 shows a provider that works: a key's trouble is the key's.
async fn ask(app: &App, upstream: &Upstream) -> Result<(), String> {
    let provider = &upstream.provider;
    let path = match provider.dialect {
        Dialect::OpenAiChat => "/models",
        Dialect::AnthropicMessages => "/v1/models",
        Dialect::Gemini => "/v1beta/models",
    };
    let mut client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let tls = if provider.base_url.is_https() {
        app.ground.tls(provider.ca_bundle.as_ref())?.0
    } else {
        tls::trusting_nobody().map_err(|error| error.to_string())?
    };
    client = client.use_preconfigured_tls((*tls).clone());
    if let Some(proxy) = &provider.http_proxy {
        client = client.proxy(reqwest::Proxy::all(proxy.to_string()).map_err(|error| error.to_string())?);
    }
    let client = client.build().map_err(|error| error.to_string())?;
    let mut request = client.get(format!("{}{path}", provider.base_url));
    for (name, value) in &provider.headers {
        request = request.header(name, value);
    }
    if let Ok(Some(key)) = upstream.state.choose_key(&[], app.clock.now()) {
        request = match provider.dialect {
            Dialect::OpenAiChat => request.header("authorization", key.key.bearer()),
            Dialect::AnthropicMessages => request
                .header("x-api-key", key.key.bare())
                .header("anthropic-version", "2023-06-01"),
            Dialect::Gemini => request.header("x-goog-api-key", key.key.bare()),
        };
    }
    let status = request
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?
        .status();
    if status.is_server_error() {
        Err(format!("status {status}"))
    } else {
        Ok(())
    }
}
