//! `cache clear`. A sidecar takes it from inside its pod alone, which is what a forwarded port is.

use std::fmt::Write as _;

use http::Uri;
use serde::Serialize;

use crate::args::{CacheClearArgs, Where};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;
use crate::health;
use crate::order::{Fields, Said, order};
use crate::output::{Paint, Report, Screen, Tone, count, few};
use crate::progress::Progress;
use crate::uri;

/// Of a sidecar's answer.
const FIELDS: Fields = Fields {
    did: "cleared",
    there_are: "routes",
    undone: "undone",
};

/// Does the verb.
pub(super) async fn run(cluster: &Cluster, args: &CacheClearArgs, screen: Screen) -> Result<Report, Failure> {
    let CacheClearArgs {
        route,
        model,
        key,
        all: _,
        pod,
        out,
    } = args;
    let which = [("route", route), ("model", model), ("key", key)];
    let to = uri::with("/cache/clear", which.map(|(name, value)| (name, value.clone())));
    let to = to
        .parse()
        .map_err(|error| Failure::Usage(format!("no request for {to}: {error}")))?;
    let progress = Progress::start(screen, "clearing caches");
    let scope = cluster.scope(Where::default());
    let sidecars = health::sidecars(cluster, scope, pod.as_deref()).await?;
    let cleared = Cluster::each(&sidecars, |sidecar| clear(cluster, sidecar, &to)).await;
    let cleared: Vec<Clearing> = cleared.into_iter().collect::<Result<_, Failure>>()?;
    drop(progress);
    let is_nowhere = cleared.iter().all(|it| matches!(it.what, What::NotThere { .. }));
    if let (Some(wanted), true) = (route, is_nowhere) {
        return Err(Failure::Wrong(format!(
            "no sidecar here has a route {wanted} with a cache"
        )));
    }
    let is_left = |what: &What| match what {
        What::Failed { .. } => true,
        What::Cleared { undone, .. } => !undone.is_empty(),
        What::NotThere { .. } => false,
    };
    let well = !cleared.iter().any(|it| is_left(&it.what));
    Report::new(out.output, &cleared, well, || told(&cleared, screen.paint))
}

/// What became of it at one sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Clearing {
    pod: String,
    #[serde(flatten)]
    what: What,
}

/// See [`Clearing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "result")]
enum What {
    /// So many answers are gone from its memory; and the routes whose store was not reached, with why.
    Cleared {
        cleared: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        undone: Vec<String>,
    },
    /// It does not have this route with a cache, but these.
    NotThere { routes: Vec<String> },
    /// It was not reached, or did not do it.
    Failed { why: String },
}

impl From<Said> for What {
    fn from(said: Said) -> Self {
        match said {
            Said::Did(cleared, undone) => Self::Cleared { cleared, undone },
            Said::NotThere(routes) => Self::NotThere { routes },
            Said::Failed(why) => Self::Failed { why },
        }
    }
}

async fn clear(cluster: &Cluster, sidecar: &Sidecar, to: &Uri) -> Result<Clearing, Failure> {
    Ok(Clearing {
        pod: sidecar.pod.clone(),
        what: order(cluster, sidecar, to, FIELDS).await?.into(),
    })
}

/// For people.
fn told(all: &[Clearing], paint: Paint) -> String {
    let cleared = |it: &Clearing| match it.what {
        What::Cleared { cleared, .. } => Some(cleared),
        _ => None,
    };
    let sum: u64 = all.iter().filter_map(cleared).sum();
    let did = all.iter().filter_map(cleared).count();
    let answers = count(usize::try_from(sum).unwrap_or(usize::MAX), "answer");
    let mut text = format!("{answers} cleared, at {}.\n", count(did, "sidecar"));
    for it in all {
        let What::Cleared { cleared, undone } = &it.what else {
            continue;
        };
        if *cleared > 0 {
            let _ = writeln!(text, "  {}: {cleared} cleared", it.pod);
        }
        for why in undone {
            let _ = writeln!(
                text,
                "  {} {}: the store of {why}: it gives nothing of before, and other pods may until it is reached",
                paint.paint(Tone::Bad, "not done yet by"),
                it.pod
            );
        }
    }
    let elsewhere = all.iter().filter(|it| matches!(it.what, What::NotThere { .. }));
    let elsewhere = few(elsewhere.map(|it| it.pod.as_str()));
    if !elsewhere.is_empty() {
        let _ = writeln!(text, "  no such route with a cache at: {elsewhere}");
    }
    for it in all {
        if let What::Failed { why } = &it.what {
            let _ = writeln!(text, "  {} {}: {why}", paint.paint(Tone::Bad, "not done at"), it.pod);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;

    fn read(status: u16, body: &[u8]) -> What {
        order::read(status, body, FIELDS).into()
    }

    #[test]
    fn it_says_what_went_where_and_who_was_not_reached() {
        let of = |pod: &str, what| Clearing { pod: pod.into(), what };
        let all = [
            of("app-1", read(200, br#"{"cleared":3}"#)),
            of("app-2", read(200, br#"{"cleared":0}"#)),
            of("app-3", read(404, br#"{"error":"no such route","routes":["smart"]}"#)),
            of("app-4", read(500, b"oh")),
            of(
                "app-5",
                read(
                    200,
                    br#"{"cleared":1,"stores":["fast"],"undone":["smart: no connection"]}"#,
                ),
            ),
        ];
        let expected = "4 answers cleared, at 3 sidecars.\n  app-1: 3 cleared\n  app-5: 1 cleared\n  not done yet by app-5: the store \
                        of smart: no connection: it gives nothing of before, and other pods may until it is reached\n  no such \
                        route with a cache at: app-3\n  not done at app-4: HTTP 500: oh\n";
        assert_eq!(told(&all, Paint(false)), expected);
        let older = read(404, br#"{"error":"there are /health"}"#);
        assert!(matches!(older, What::Failed { .. }), "a sidecar of a release before");
    }
}
