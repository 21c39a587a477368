//! What is shown of a namespace when its test failed: all that helps where it happens, and in few lines once more when all tests have
//! ended, as the beginning of a long output is what gets lost.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bowsprit_core::yaml;
use bowsprit_crds::{ModelRoute, ProviderConfig};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::{Bed, SYSTEM, machine};

/// Lines shown of each log.
const TAIL: i64 = 40;
/// Lines of the sidecars' logs that stand in a test's summary, and the length of each and of the reason.
const TELLING: usize = 6;
const WIDTH: usize = 600;
const REASON: usize = 1_500;
/// The file of the summaries, which `tests/e2e/run` shows last.
const SUMMARIES: &str = "failed.txt";

pub(crate) async fn show(bed: &Bed, ran: Duration, why: &str) {
    eprintln!("=== {} failed; what was there:", bed.namespace);
    let own = logs(&bed.client, &bed.namespace, None).await;
    if let Err(error) = summarize(&bed.namespace, why, own.as_deref().unwrap_or_default()) {
        eprintln!("(its summary was not written: {error:#})");
    }
    let parts = [
        objects(bed).await,
        events(bed).await,
        own,
        logs(&bed.client, SYSTEM, Some(ran)).await,
    ];
    for part in parts {
        match part {
            Ok(text) => eprintln!("{text}"),
            Err(error) => eprintln!("(not to be had: {error:#})"),
        }
    }
}

/// Appends why a test failed, and what its sidecars said that is out of the ordinary.
fn summarize(namespace: &str, why: &str, logs: &str) -> Result<()> {
    let telling: Vec<&str> = logs.lines().filter(|line| is_telling(line)).collect();
    let mut text = format!("{namespace}: {}\n", cut(why, REASON));
    for line in telling.iter().skip(telling.len().saturating_sub(TELLING)) {
        text += &format!("     {}\n", cut(line, WIDTH));
    }
    let path = machine::logs()?.join(SUMMARIES);
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A warning, an error, or a request that took more than one attempt.
fn is_telling(line: &str) -> bool {
    let retried = line.contains("\"attempts\":") && !line.contains("\"attempts\":1,");
    retried || line.contains("\"WARN\"") || line.contains("\"ERROR\"")
}

fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

async fn objects(bed: &Bed) -> Result<String> {
    let all = ListParams::default();
    let mut text = String::new();
    for pod in bed.api::<Pod>().list(&all).await? {
        let status = pod.status.clone().unwrap_or_default();
        text += &format!(
            "--- pod {}: {}\n",
            pod.name_any(),
            json!(status.init_container_statuses)
        );
        text += &format!("    {}\n", json!(status.container_statuses));
    }
    for object in bed.api::<ProviderConfig>().list(&all).await? {
        text += &format!("--- providerconfig {}: {}\n", object.name_any(), json!(object.status));
    }
    for object in bed.api::<ModelRoute>().list(&all).await? {
        text += &format!("--- modelroute {}: {}\n", object.name_any(), json!(object.status));
    }
    if let Some(map) = bed.api::<ConfigMap>().get_opt(bowsprit_crds::names::CONFIG_MAP).await? {
        text += &format!("--- the ConfigMap\n{}", yaml::to_string(&map.data)?);
    }
    Ok(text)
}

async fn events(bed: &Bed) -> Result<String> {
    let mut text = "--- events\n".to_owned();
    for event in bed.api::<Event>().list(&ListParams::default()).await? {
        let about = event.involved_object.name.unwrap_or_default();
        let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        text += &format!("    {about}: {reason}: {message}\n");
    }
    Ok(text)
}

async fn logs(client: &Client, namespace: &str, since: Option<Duration>) -> Result<String> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut text = String::new();
    for pod in pods.list(&ListParams::default()).await? {
        let spec = pod.spec.clone().unwrap_or_default();
        for container in spec.init_containers.into_iter().flatten().chain(spec.containers) {
            let params = LogParams {
                container: Some(container.name.clone()),
                tail_lines: Some(TAIL),
                since_seconds: since.and_then(|time| i64::try_from(time.as_secs() + 1).ok()),
                ..LogParams::default()
            };
            text += &format!("--- log of {}/{}\n", pod.name_any(), container.name);
            text += &pods
                .logs(&pod.name_any(), &params)
                .await
                .unwrap_or_else(|error| format!("({error})\n"));
        }
    }
    Ok(text)
}
