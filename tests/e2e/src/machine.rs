//! The processes of the test bed's machine, for tests that stop and kill them. Only where the tests run on it: in the bed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// The one program of the cluster that has this name, such as `kube-apiserver`.
    pub fn named(name: &str) -> Result<Self> {
        let is_it = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
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

    /// Its root folder as this machine sees it.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.0))
    }

    /// Where something is mounted in it.
    pub fn mounts(&self) -> Result<Vec<String>> {
        let lines = fs::read_to_string(format!("/proc/{}/mountinfo", self.0))?;
        let points = lines.lines().filter_map(|line| line.split_whitespace().nth(4));
        Ok(points.map(str::to_owned).collect())
    }

    /// Stops it where it is, until the guard goes.
    pub fn stop(&self) -> Result<Stopped> {
        self.signal("STOP")?;
        Ok(Stopped(Some(self.clone())))
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

/// Where the logs of the cluster's programs are.
pub fn logs() -> Result<PathBuf> {
    let logs = std::env::var_os("BOWSPRIT_BED_LOGS");
    logs.map(PathBuf::from)
        .context("BOWSPRIT_BED_LOGS is not set: this test reads the apiserver's audit log, and runs in the bed only")
}
