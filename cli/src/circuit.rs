//! `circuit status` and `circuit reset`. A sidecar takes a reset from inside its pod alone, which is what a forwarded port is.

mod render;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;

use crate::args::{CircuitVerb, ClusterArgs, Where};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;
use crate::health;
use crate::output::{Report, Screen};
use crate::progress::Progress;

/// What a sidecar answers to a reset at most.
const MAX_ANSWER: usize = 64 << 10;

/// Does the verb.
pub(crate) async fn run(cluster: &ClusterArgs, verb: &CircuitVerb, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    match verb {
        CircuitVerb::Status { provider, place, out } => {
            let progress = Progress::start(screen, "asking the sidecars");
            let sidecars = health::sidecars(&cluster, cluster.scope(*place), None).await?;
            let seen = health::ask(&cluster, &sidecars).await?;
            drop(progress);
            let lines = render::lines(&seen, provider.as_deref());
            if let (Some(wanted), true) = (provider, lines.circuits.is_empty()) {
                return Err(Failure::Wrong(format!("no sidecar here has a provider {wanted}")));
            }
            let well = lines.circuits.iter().all(|it| it.open == 0 && it.half_open == 0) && lines.silent.is_empty();
            Report::new(out.output, &lines, well, || render::status(&lines, screen.paint))
        }
        CircuitVerb::Reset {
            provider,
            all: _,
            pod,
            out,
        } => {
            let progress = Progress::start(screen, "closing circuits");
            let scope = cluster.scope(Where::default());
            let sidecars = health::sidecars(&cluster, scope, pod.as_deref()).await?;
            let resets = Cluster::each(&sidecars, |sidecar| reset(&cluster, sidecar, provider.as_deref())).await;
            let resets: Vec<Reset> = resets.into_iter().collect::<Result<_, Failure>>()?;
            drop(progress);
            if let (Some(wanted), true) = (
                provider,
                resets.iter().all(|it| matches!(it.what, What::NotThere { .. })),
            ) {
                return Err(Failure::Wrong(format!(
                    "no sidecar here has a provider {wanted}; there are: {}",
                    render::known(&resets)
                )));
            }
            let well = !resets.iter().any(|it| matches!(it.what, What::Failed { .. }));
            Report::new(out.output, &resets, well, || {
                render::resets(&resets, provider.as_deref(), screen.paint)
            })
        }
    }
}

/// What became of a reset at one sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reset {
    pod: String,
    #[serde(flatten)]
    what: What,
}

/// See [`Reset`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "result")]
enum What {
    /// It closed so many.
    Closed { closed: u64 },
    /// It does not have this provider, but these.
    NotThere { providers: Vec<String> },
    /// It was not reached, or did not do it.
    Failed { why: String },
}

async fn reset(cluster: &Cluster, sidecar: &Sidecar, provider: Option<&str>) -> Result<Reset, Failure> {
    let what = match &sidecar.not_running {
        Some(why) => What::Failed { why: why.clone() },
        None => match attempt(cluster, sidecar, provider).await {
            Ok(what) => what,
            Err(failure) if failure.is_forbidden() => return Err(failure),
            Err(failure) => What::Failed {
                why: failure.to_string(),
            },
        },
    };
    Ok(Reset {
        pod: sidecar.pod.clone(),
        what,
    })
}

async fn attempt(cluster: &Cluster, sidecar: &Sidecar, provider: Option<&str>) -> Result<What, Failure> {
    let query = provider.map(|name| format!("?provider={name}")).unwrap_or_default();
    let request = Request::post(format!("/circuits/reset{query}"))
        .header("host", format!("127.0.0.1:{}", sidecar.admin_port))
        .body(Full::<Bytes>::default())
        .map_err(|_| Failure::Usage(format!("{} is no name of a provider", provider.unwrap_or_default())))?;
    let connection = cluster
        .forward(&sidecar.namespace, &sidecar.pod, sidecar.admin_port)
        .await?;
    let failed = |why: String| Ok(What::Failed { why });
    let asked = match connection.ask(request, cluster.timeout()).await {
        Ok(asked) => asked,
        Err(why) => return failed(why),
    };
    let status = asked.response.status();
    let body = Limited::new(asked.response.into_body(), MAX_ANSWER).collect();
    let body = match tokio::time::timeout(cluster.timeout(), body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return failed(format!("its answer broke off: {error}")),
        Err(_) => return failed("its answer did not end".to_owned()),
    };
    Ok(read(status.as_u16(), &body))
}

fn read(status: u16, body: &[u8]) -> What {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let closed = value.get("closed").and_then(serde_json::Value::as_u64);
    let providers = value.get("providers").and_then(|list| list.as_array());
    match (status, closed, providers) {
        (200, Some(closed), _) => What::Closed { closed },
        (404, _, Some(list)) => What::NotThere {
            providers: list
                .iter()
                .filter_map(|name| name.as_str().map(ToOwned::to_owned))
                .collect(),
        },
        _ => What::Failed {
            why: format!("HTTP {status}: {}", String::from_utf8_lossy(body).trim()),
        },
    }
}
