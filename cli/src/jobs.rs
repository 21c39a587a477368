//! `jobs list`, `jobs show` and `jobs cancel`. A sidecar tells of its jobs inside its pod alone, which is what a forwarded port is. No
//! request and no answer of a job is asked for.

mod render;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::args::{ClusterArgs, Format, JobStatus, JobsVerb, Where};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;
use crate::health;
use crate::output::{Report, Screen, units};
use crate::progress::Progress;
use crate::uri;

/// What a sidecar answers at most: a page of jobs, of which each has a path of a KiB.
const MAX_ANSWER: usize = 1 << 20;
/// Jobs that one sidecar lists at once.
const PAGE: u32 = 100;

/// Does the verb.
pub(crate) async fn run(cluster: &ClusterArgs, verb: &JobsVerb, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    match verb {
        JobsVerb::List {
            status,
            number,
            pod,
            place,
            out,
        } => {
            let to = listing(*status, *number);
            let asked = ask(&cluster, *place, pod.as_deref(), (&Method::GET, &to), screen).await?;
            let mut listed: Vec<Listed> = asked.into_iter().map(|(at, said)| Listed::of(&at, said)).collect();
            render::newest(&mut listed, *number as usize);
            let well = listed.iter().all(|it| it.silent.is_none());
            let is_wide = out.output == Format::Wide;
            Report::new(out.output, &listed, well, || {
                render::list(&listed, is_wide, units::now(), screen.paint)
            })
        }
        JobsVerb::Show { id, pod, out } => {
            let to = format!("/jobs/{}?answer=false", uri::encoded(id));
            let asked = ask(&cluster, Where::default(), pod.as_deref(), (&Method::GET, &to), screen).await?;
            let (at, job) = one(id, asked, Job::read)?;
            let shown = Shown { at, job };
            Report::new(out.output, &shown, true, || {
                render::show(&shown, units::now(), screen.paint)
            })
        }
        JobsVerb::Cancel { id, pod, out } => {
            let to = format!("/jobs/{}", uri::encoded(id));
            let asked = ask(
                &cluster,
                Where::default(),
                pod.as_deref(),
                (&Method::DELETE, &to),
                screen,
            )
            .await?;
            let (at, deletion) = one(id, asked, |body| serde_json::from_slice::<Deletion>(body).ok())?;
            let gone = Gone { at, deletion };
            Report::new(out.output, &gone, true, || render::gone(&gone))
        }
    }
}

fn listing(status: Option<JobStatus>, number: u32) -> String {
    let status = status.map(|status| status.as_str().to_owned());
    let limit = Some(number.min(PAGE).to_string());
    uri::with("/jobs", [("status", status), ("limit", limit)])
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct At {
    namespace: String,
    pod: String,
}

/// What a sidecar answered: the status and the body; or why it did not, in words.
type Said = Result<(u16, Bytes), String>;

/// Asks each sidecar, or the one of a pod.
async fn ask(
    cluster: &Cluster,
    place: Where,
    pod: Option<&str>,
    (method, to): (&Method, &str),
    screen: Screen,
) -> Result<Vec<(At, Said)>, Failure> {
    let progress = Progress::start(screen, "asking the sidecars");
    let sidecars = health::sidecars(cluster, cluster.scope(place), pod).await?;
    let asked = Cluster::each(&sidecars, |sidecar| said(cluster, sidecar, method, to)).await;
    drop(progress);
    asked.into_iter().collect()
}

/// An error is one that every sidecar would meet: this program may not reach them.
async fn said(cluster: &Cluster, sidecar: &Sidecar, method: &Method, to: &str) -> Result<(At, Said), Failure> {
    let at = At {
        namespace: sidecar.namespace.clone(),
        pod: sidecar.pod.clone(),
    };
    if let Some(why) = &sidecar.not_running {
        return Ok((at, Err(why.clone())));
    }
    let request = Request::builder()
        .method(method)
        .uri(to)
        .header("host", format!("127.0.0.1:{}", sidecar.app_port))
        .body(Full::<Bytes>::default())
        .map_err(|error| Failure::Usage(format!("no request for {to}: {error}")))?;
    match cluster.inside(sidecar, sidecar.app_port, request, MAX_ANSWER).await {
        Ok(said) => Ok((at, said)),
        Err(failure) if failure.is_forbidden() => Err(failure),
        Err(failure) => Ok((at, Err(failure.to_string()))),
    }
}

/// A job as a sidecar tells of it. What it was asked and answered is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Job {
    id: String,
    status: String,
    path: String,
    attempts: u32,
    max_attempts: u32,
    created_at: String,
    deadline_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Heard>,
    request_bytes: u64,
    answer_bytes: u64,
}

/// How its last attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

impl Job {
    fn read(body: &[u8]) -> Option<Self> {
        let job: Self = serde_json::from_slice(body).ok()?;
        (!job.id.is_empty()).then(|| job.plain())
    }

    /// Without the path's query, which is the caller's own.
    fn plain(mut self) -> Self {
        if let Some(end) = self.path.find('?') {
            self.path.truncate(end);
        }
        self
    }
}

/// The jobs of one pod, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(flatten)]
    at: At,
    jobs: Vec<Job>,
    /// Whether it has more than are here.
    has_more: bool,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<String>,
}

impl Listed {
    fn of(at: &At, said: Said) -> Self {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Job>,
            #[serde(default)]
            has_more: bool,
        }
        let silent = |why: String| Self {
            at: at.clone(),
            silent: Some(why),
            ..Self::default()
        };
        let (status, body) = match said {
            // It has no folder for jobs, and so none.
            Ok((501, _)) => {
                return Self {
                    at: at.clone(),
                    ..Self::default()
                };
            }
            Ok(said) => said,
            Err(why) => return silent(why),
        };
        match serde_json::from_slice::<Page>(&body) {
            Ok(Page { data, has_more }) if status == 200 => Self {
                at: at.clone(),
                jobs: data.into_iter().map(Job::plain).collect(),
                has_more,
                silent: None,
            },
            _ => silent(error(status, &body)),
        }
    }
}

/// A job with where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Shown {
    #[serde(flatten)]
    at: At,
    #[serde(flatten)]
    job: Job,
}

/// A job that is no more, with where it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Gone {
    #[serde(flatten)]
    at: At,
    #[serde(flatten)]
    deletion: Deletion,
}

/// `cancelled`, or what had become of it before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Deletion {
    id: String,
    status: String,
}

/// The one that knows the job. Ids are random: no two sidecars have the same.
fn one<T>(id: &str, asked: Vec<(At, Said)>, read: impl Fn(&[u8]) -> Option<T>) -> Result<(At, T), Failure> {
    let mut silent = Vec::new();
    for (at, said) in asked {
        match said {
            Ok((200, body)) => match read(&body) {
                Some(found) => return Ok((at, found)),
                None => silent.push(format!("{}: it answered with what this release does not know", at.pod)),
            },
            Ok((404 | 501, _)) => {}
            Ok((status, body)) => silent.push(format!("{}: {}", at.pod, error(status, &body))),
            Err(why) => silent.push(format!("{}: {why}", at.pod)),
        }
    }
    let mut text = format!(
        "no sidecar here has a job {id}: it was fetched and deleted, its time is over, or its pod is gone; \
         kubectl bowsprit jobs list shows those that there are"
    );
    if !silent.is_empty() {
        text = format!("{text}. Not asked: {}", silent.join("; "));
    }
    Err(Failure::Wrong(text))
}

/// What an error says, in the form of OpenAI's.
fn error(status: u16, body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value.pointer("/error/message").and_then(serde_json::Value::as_str);
    match message {
        Some(message) => format!("HTTP {status}: {message}"),
        None => format!("HTTP {status}"),
    }
}
