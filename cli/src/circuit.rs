//! `circuit status` and `circuit reset`. A sidecar takes a reset from inside its pod alone, which is what a forwarded port is.

mod render;
#[cfg(test)]
mod tests;

use http::Uri;
use serde::Serialize;

use crate::args::{CircuitVerb, ClusterArgs, Where};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;
use crate::health;
use crate::order::{Fields, Said, order};
use crate::output::{Report, Screen};
use crate::progress::Progress;

/// Of a sidecar's answer to a reset.
const FIELDS: Fields = Fields {
    did: "closed",
    there_are: "providers",
    undone: "undone",
};

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
            let query = provider.as_ref().map(|name| format!("?provider={name}"));
            let to = format!("/circuits/reset{}", query.unwrap_or_default());
            let to = to.parse().map_err(|_| {
                Failure::Usage(format!(
                    "{} is no name of a provider",
                    provider.as_deref().unwrap_or_default()
                ))
            })?;
            let progress = Progress::start(screen, "closing circuits");
            let scope = cluster.scope(Where::default());
            let sidecars = health::sidecars(&cluster, scope, pod.as_deref()).await?;
            let resets = Cluster::each(&sidecars, |sidecar| reset(&cluster, sidecar, &to)).await;
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

impl From<Said> for What {
    fn from(said: Said) -> Self {
        match said {
            Said::Did(closed, _) => Self::Closed { closed },
            Said::NotThere(providers) => Self::NotThere { providers },
            Said::Failed(why) => Self::Failed { why },
        }
    }
}

async fn reset(cluster: &Cluster, sidecar: &Sidecar, to: &Uri) -> Result<Reset, Failure> {
    Ok(Reset {
        pod: sidecar.pod.clone(),
        what: order(cluster, sidecar, to, FIELDS).await?.into(),
    })
}
