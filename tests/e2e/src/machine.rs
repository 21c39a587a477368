//! The processes of the test bed's machine, for tests that stop and kill them. Only where the tests run on it: in the bed.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::Line;

/// The node, as pods reach it (`tests/testbed/lib.sh`).
pub const NODE: &str = "10.88.0.1";

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// The one program of the cluster that has this name, such as `kube-apiserver`.
    pub fn named(name: &str) -> Result<Self> {
        // The kernel keeps 15 letters of a name.
        let known = name.get(..15).unwrap_or(name);
        let is_it = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == known);
        let pids: Vec<u32> = all()?.into_iter().filter(is_it).collect();
        one(&pids, name)
    }

    /// The first process of a pod's container.
    pub fn of(pod: &Pod, container: &str) -> Result<Self> {
        let status = pod.status.as_ref().context("the pod has no status")?;
        let all_of_them = [&status.init_container_statuses, &status.container_statuses];
        let statuses = all_of_them.into_iter().flatten().flatten();
        let found = statuses.into_iter().find(|it| it.name == container);
        let id = found
            .and_then(id)
            .with_context(|| format!("container {container} does not run"))?;
        let is_in_it =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id));
        let mut pids: Vec<u32> = all()?.into_iter().filter(is_in_it).collect();
        pids.sort_unstable();
        pids.truncate(1);
        one(&pids, container)
    }

    /// Sends a signal, such as `STOP`, `CONT` or `KILL`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.0.to_string()])
            .output()?;
        let complaint = String::from_utf8_lossy(&sent.stderr);
        ensure!(sent.status.success(), "kill -s {signal} {}: {complaint}", self.0);
        Ok(())
    }

    /// Runs a program of this machine in its network.
    pub fn in_its_network(&self, words: &[&str]) -> Result<()> {
        let done = Command::new("nsenter")
            .args(["--net", "--target", &self.0.to_string()])
            .args(words)
            .output()?;
        let complaint = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{words:?}: {complaint}");
        Ok(())
    }

    /// Its root folder as this machine sees it.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.0))
    }

    /// Its memory in RAM, MiB.
    pub fn mebibytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|text| text.trim().strip_suffix(" kB"));
        Ok(kib.context("no VmRSS")?.trim().parse::<u64>()? / 1024)
    }

    /// Where something is mounted in it.
    pub fn mounts(&self) -> Result<Vec<String>> {
        let lines = fs::read_to_string(format!("/proc/{}/mountinfo", self.0))?;
        let points = lines.lines().filter_map(|line| line.split_whitespace().nth(4));
        Ok(points.map(str::to_owned).collect())
    }

    /// How it was started.
    pub fn recipe(&self) -> Result<Recipe> {
        let text = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.0));
        let words = text("cmdline")?;
        let words: Vec<String> = words.split_terminator('\0').map(str::to_owned).collect();
        ensure!(!words.is_empty(), "process {} has no command line", self.0);
        let log = fs::read_link(format!("/proc/{}/fd/1", self.0))?;
        Ok(Recipe { words, log })
    }

    /// Ends it at once, and waits until it has gone.
    pub fn end(&self) -> Result<()> {
        self.signal("KILL")?;
        for _ in 0..1_000 {
            // What is left of one that nobody has waited for yet holds nothing any more.
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
            if stat
                .rsplit(')')
                .next()
                .is_none_or(|rest| rest.trim_start().starts_with('Z') || rest.is_empty())
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("process {} does not end", self.0)
    }

    /// Stops it where it is, until the guard goes.
    pub fn stop(&self) -> Result<Stopped> {
        self.signal("STOP")?;
        Ok(Stopped(Some(self.clone())))
    }
}

/// How a program of the cluster is started.
#[derive(Clone, Debug)]
pub struct Recipe {
    words: Vec<String>,
    log: PathBuf,
}

impl Recipe {
    /// The program's name.
    pub fn name(&self) -> &str {
        self.words
            .first()
            .and_then(|path| path.rsplit('/').next())
            .unwrap_or_default()
    }

    /// Program and arguments.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Starts it again, with the same log. It outlives this process.
    pub fn start(&self) -> Result<()> {
        let (program, arguments) = self.words.split_first().context("no program")?;
        let log = fs::OpenOptions::new().append(true).open(&self.log)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        Ok(())
    }
}

/// What a container writes, read from the node: also while there is no apiserver, and of a pod that no apiserver knows.
#[derive(Debug)]
pub struct ContainersLog {
    file: fs::File,
    /// The beginning of a line that was under way.
    rest: String,
    process: Process,
}

/// The log of a container that runs on this machine.
pub fn containers_log(pod: &Pod, container: &str) -> Result<ContainersLog> {
    let metadata = &pod.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name, uid) = (part(&metadata.namespace), part(&metadata.name), part(&metadata.uid));
    let path = format!("/var/log/pods/{namespace}_{name}_{uid}/{container}/0.log");
    let file = fs::File::open(&path).with_context(|| path)?;
    Ok(ContainersLog {
        file,
        rest: String::new(),
        process: Process::of(pod, container)?,
    })
}

impl ContainersLog {
    /// What the app has asked since the last look.
    pub fn lines(&mut self) -> Result<Vec<Line>> {
        let mut text = std::mem::take(&mut self.rest);
        self.file.read_to_string(&mut text)?;
        let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
        rest.clone_into(&mut self.rest);
        // `TIME stdout F TEXT`.
        let texts: Vec<&str> = whole.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        crate::app::lines(&texts.join("\n"))
    }

    /// Whether whoever writes it has ended.
    pub fn has_ended(&self) -> Result<bool> {
        Ok(!fs::exists(format!("/proc/{}", self.process.0))?)
    }
}

/// A process that stands still.
#[derive(Debug)]
pub struct Stopped(Option<Process>);

impl Stopped {
    /// It goes on.
    pub fn go_on(mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), |process| process.signal("CONT"))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // After a failed test, too, nothing stands still.
        if let Some(process) = self.0.take() {
            let _ = process.signal("CONT");
        }
    }
}

fn id(container: &ContainerStatus) -> Option<&str> {
    container.state.as_ref()?.running.as_ref()?;
    container.container_id.as_deref()?.strip_prefix("containerd://")
}

fn all() -> Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

fn one(pids: &[u32], what: &str) -> Result<Process> {
    match *pids {
        [pid] => Ok(Process(pid)),
        _ => anyhow::bail!(
            "{} processes of {what} are to be seen here, not one: this test stops processes, and runs in the bed only",
            pids.len()
        ),
    }
}

/// Whether the cluster is the bed, whose network the tests are in.
pub fn is_bed() -> bool {
    std::env::var_os("BOWSPRIT_BED_LOGS").is_some()
}

/// Where the logs of the cluster's programs are.
pub fn logs() -> Result<PathBuf> {
    let logs = std::env::var_os("BOWSPRIT_BED_LOGS");
    logs.map(PathBuf::from)
        .context("BOWSPRIT_BED_LOGS is not set: this test reads the apiserver's audit log, and runs in the bed only")
}
