//! `test`: one small real request, from inside a pod, so that key, network, TLS, limits and the provider itself are what an app
//! would meet.
//!
//! A provider that is named is asked at `/providers/NAME/…`, where there is no fallback and no translation: it is
//! this provider that answers. Where `passThrough: false` closes that way, and where only a model is named, the request goes the
//! way of apps, and whoever answered is named.

mod answer;
mod render;
mod request;
#[cfg(test)]
mod tests;

use std::time::Instant;

use bowsprit_crds::{ProviderConfig, ProviderConfigSpec};
use bytes::BytesMut;
use http_body_util::BodyExt as _;

use crate::args::{ClusterArgs, TestArgs};
use crate::cluster::Cluster;
use crate::failure::{Failure, whole};
use crate::fleet::Sidecar;
use crate::health;
use crate::output::{Report, Screen};
use crate::progress::Progress;

use answer::Reader;
use request::Question;

/// The answer is small; a provider that sends more is not listened to.
const MAX_ANSWER: usize = 1 << 20;
/// How much longer than other questions a model may think.
const PATIENCE: u32 = 6;

/// Asks and tells.
pub(crate) async fn run(cluster: &ClusterArgs, args: &TestArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the model");
    let spec = match &args.provider {
        Some(name) => Some(provider(&cluster, name).await?),
        None => None,
    };
    let named = args.provider.as_deref().zip(spec.as_ref());
    let question = Question::new(named, args.model.as_deref(), &args.prompt, args.stream).map_err(Failure::Usage)?;
    let sidecars = health::sidecars(&cluster, Some(cluster.namespace()), args.pod.as_deref()).await?;
    let sidecar = choose(&sidecars, spec.as_ref(), args.provider.as_deref())?;
    let told = ask(&cluster, sidecar, &question).await?;
    drop(progress);
    let well = told.ok;
    Report::new(args.out.output, &told, well, || render::screen(&told, screen.paint))
}

async fn provider(cluster: &Cluster, name: &str) -> Result<ProviderConfigSpec, Failure> {
    let namespace = cluster.namespace();
    if let Some(found) = cluster.get::<ProviderConfig>(namespace, name).await? {
        return Ok(found.spec);
    }
    Err(Failure::Wrong(format!(
        "there is no ProviderConfig {name} in namespace {namespace}: kubectl -n {namespace} get providerconfigs"
    )))
}

/// The first that is ready and has this provider.
fn choose<'a>(
    sidecars: &'a [Sidecar],
    spec: Option<&ProviderConfigSpec>,
    name: Option<&str>,
) -> Result<&'a Sidecar, Failure> {
    let selector = spec.and_then(|spec| spec.pod_selector.as_ref());
    let has_it = |it: &&Sidecar| selector.is_none_or(|selector| selector.matches(&it.labels));
    let runs = |it: &&Sidecar| it.not_running.is_none();
    let mut with_it = sidecars.iter().filter(has_it);
    let found = with_it
        .clone()
        .find(|it| it.ready && runs(it))
        .or_else(|| with_it.find(runs));
    found.ok_or_else(|| {
        Failure::Wrong(match name {
            Some(name) if !sidecars.iter().any(|it| has_it(&it)) => {
                format!("the podSelector of {name} selects no pod that has a sidecar here")
            }
            _ => "no sidecar here runs: kubectl bowsprit status says why".to_owned(),
        })
    })
}

async fn ask(cluster: &Cluster, sidecar: &Sidecar, question: &Question) -> Result<answer::Told, Failure> {
    let patience = cluster.timeout() * PATIENCE;
    let connection = cluster
        .forward(&sidecar.namespace, &sidecar.pod, sidecar.app_port)
        .await?;
    let mut reader = Reader::new(question, &sidecar.pod);
    // The way through the apiserver is not the provider's time: the clock begins when it stands.
    let begun = Instant::now();
    let request = question.request(sidecar.app_port).map_err(Failure::Usage)?;
    let response = match connection.ask(request, patience).await {
        Ok(asked) => asked,
        Err(why) => return Ok(reader.unanswered(&why)),
    };
    let (head, mut body) = response.response.into_parts();
    reader.head(&head, begun.elapsed());
    let mut left = BytesMut::new();
    let read = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| whole(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            left.extend_from_slice(&data);
            if left.len() > MAX_ANSWER {
                return Err(format!("the answer is longer than {MAX_ANSWER} bytes"));
            }
            reader.chunk(&data, begun.elapsed());
        }
        Ok(())
    };
    let ended = tokio::time::timeout(patience, read)
        .await
        .unwrap_or_else(|_| Err(format!("the answer did not end within {patience:?}")));
    Ok(reader.end(&left, ended, begun.elapsed()))
}
