//! An app in its pod: questions asked with the official SDK, and what the sidecar beside it says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{BoxFuture, join};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess, LogParams};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::Bed;
use bowsprit_crds::names;

/// No command of a test runs longer.
const COMMAND: Duration = Duration::from_mins(2);

/// A pod with an app container.
pub struct App<'a> {
    bed: &'a Bed,
    /// The pod's name.
    pub pod: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What it wrote.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
    /// Whether its exit code was 0.
    pub ok: bool,
}

/// One question and its answer, as the app logs them with `--every`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Line {
    /// When it was asked, as RFC 3339 in UTC, so that texts compare as times do.
    #[serde(default)]
    pub time: String,
    /// Whether there was an answer.
    pub ok: bool,
    /// The model's name in the answer.
    pub model: String,
    /// The answer.
    pub text: String,
    /// The error, if there was no answer.
    pub error: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl<'a> App<'a> {
    pub(crate) fn new(bed: &'a Bed, pod: String) -> Self {
        Self { bed, pod }
    }

    /// The pod as it is now.
    pub async fn object(&self) -> Result<Pod> {
        Ok(self.bed.api::<Pod>().get(&self.pod).await?)
    }

    /// How often its sidecar was started again.
    pub async fn restarts(&self) -> Result<i32> {
        let status = self.object().await?.status.unwrap_or_default();
        let all = [status.init_container_statuses, status.container_statuses];
        let statuses = all.into_iter().flatten().flatten();
        let own = statuses.filter(|it| it.name == names::SIDECAR_CONTAINER);
        Ok(own.map(|it| it.restart_count).sum())
    }

    /// Starts a command in the app's container.
    pub async fn start(&self, command: &[&str]) -> Result<Running> {
        let params = AttachParams::default()
            .container("app")
            .stdin(false)
            .stdout(true)
            .stderr(true);
        let pods = self.bed.api::<Pod>();
        let mut process = pods
            .exec(&self.pod, command.iter().copied(), &params)
            .await
            .with_context(|| format!("starting {command:?} in {}", self.pod))?;
        let stdout = process.stdout().context("no stdout")?;
        let mut stderr = process.stderr().context("no stderr")?;
        let complaints = tokio::spawn(async move {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).await.map(|_| text)
        });
        let finish = Box::pin(async move {
            let complaints = complaints.await;
            Ok(String::from_utf8_lossy(&complaints??).into_owned())
        });
        Ok(Running {
            process,
            stdout: Box::new(stdout),
            stderr: finish,
            text: String::new(),
        })
    }

    /// Runs a command in the app's container to its end.
    pub async fn run(&self, command: &[&str]) -> Result<Output> {
        self.start(command).await?.finish().await
    }

    /// Runs Python code in the app's container, and gives what it prints.
    pub async fn python(&self, code: &str) -> Result<String> {
        let output = self.run(&["/usr/bin/python3", "-c", code]).await?;
        ensure!(output.ok, "the app failed: {output:?}");
        Ok(output.stdout)
    }

    /// Asks one question without the SDK's own retries, and gives the answer.
    pub async fn ask(&self, question: &str) -> Result<String> {
        let output = self.app(&["--sdk-retries", "0", question]).await?;
        ensure!(output.ok, "the app got no answer: {output:?}");
        Ok(output.stdout)
    }

    /// Asks one question after the other, without the SDK's own retries.
    pub async fn ask_often(&self, times: u32, question: &str) -> Result<Vec<Line>> {
        let times = times.to_string();
        let output = self
            .app(&["--sdk-retries", "0", "--every", "0.02", "--count", &times, question])
            .await?;
        ensure!(output.ok, "the app failed: {output:?}");
        lines(&output.stdout)
    }

    /// Runs the app's program with these arguments.
    pub async fn app(&self, arguments: &[&str]) -> Result<Output> {
        self.run(&[&["/usr/bin/python3", "/app/app.py"], arguments].concat())
            .await
    }

    /// Every question that the app has asked so far, where its own program asks with `--every`.
    pub async fn asked(&self) -> Result<Vec<Line>> {
        let params = LogParams {
            container: Some("app".to_owned()),
            ..LogParams::default()
        };
        let log = self.bed.api::<Pod>().logs(&self.pod, &params).await?;
        // The last line may be under way.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        lines(whole)
    }

    /// The text at a path of the sidecar's admin port.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let (_, text) = self.bed.pod_http("GET", &self.pod, names::ADMIN_PORT, path, "").await?;
        Ok(text)
    }

    /// `/health` of the sidecar.
    pub async fn health(&self) -> Result<Value> {
        let text = self.admin("/health").await?;
        serde_json::from_str(&text).with_context(|| format!("/health is no JSON: {text}"))
    }

    /// The sum of a metric's values over the series that hold all these label pairs, such as `provider="claude"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.admin("/metrics").await?;
        Ok(bowsprit_rig::metrics::sum(&text, name, labels))
    }
}

/// Reads the lines of the app's log.
pub(crate) fn lines(text: &str) -> Result<Vec<Line>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a line of the app: {line}")))
        .collect()
}

impl Output {
    /// The output as the lines of an app with `--every`.
    pub fn lines(&self) -> Result<Vec<Line>> {
        lines(&self.stdout)
    }
}

/// A command that runs.
pub struct Running {
    process: AttachedProcess,
    stdout: Box<dyn AsyncRead + Unpin + Send>,
    stderr: BoxFuture<'static, Result<String>>,
    text: String,
}

impl Running {
    /// Waits until its output holds these words.
    pub async fn until(&mut self, words: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + COMMAND;
        while !self.text.contains(words) {
            let mut buffer = [0; 4096];
            let read = tokio::time::timeout_at(deadline, self.stdout.read(&mut buffer));
            let count = read
                .await
                .with_context(|| format!("{words:?} did not come: {:?}", self.text))??;
            ensure!(count > 0, "it ended before {words:?} came: {:?}", self.text);
            self.text
                .push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
        }
        Ok(())
    }

    /// Waits for its end.
    pub async fn finish(mut self) -> Result<Output> {
        let status = self.process.take_status().context("the status was taken")?;
        let mut rest = Vec::new();
        let all = async { join(self.stdout.read_to_end(&mut rest), join(self.stderr, status)).await };
        let (stdout, (stderr, status)) = tokio::time::timeout(COMMAND, all)
            .await
            .with_context(|| format!("the command runs for longer than {COMMAND:?}"))?;
        stdout?;
        let ok = status
            .and_then(|status| status.status)
            .is_some_and(|status| status == "Success");
        Ok(Output {
            stdout: self.text + &String::from_utf8_lossy(&rest),
            stderr: stderr?,
            ok,
        })
    }
}
