//! The sidecar as a process: its output in a file, its memory, its CPU time, its signals, its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::SOON;

/// Clock ticks of `/proc/PID/stat`, a second: 100 on every Linux that runs containers.
const TICKS: f64 = 100.0;

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: std::cell::RefCell<Child>,
    output: PathBuf,
    pid: u32,
}

impl Process {
    /// Starts it. Both its outputs go to one file, so that nobody need read them for it to go on.
    pub fn start(command: &mut Command, output: &Path) -> Self {
        let file = File::create(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self::of(child, output)
    }

    /// One that runs already; what it says, if anything, is in the file `output`.
    pub fn of(child: Child, output: &Path) -> Self {
        Self {
            pid: child.id(),
            child: child.into(),
            output: output.to_owned(),
        }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything it said so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned()
    }

    /// Sends a signal: `TERM`, `STOP`, ...
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status();
        assert!(sent.unwrap().success(), "kill -s {name} {}", self.pid);
    }

    /// Its end, if that has come.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.borrow_mut().try_wait().unwrap()
    }

    /// Waits for its end.
    pub async fn exit(&self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(started.elapsed() < SOON, "the process does not end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Memory in use, MiB.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most memory that was in use since the last [`Self::forget_peak`], MiB.
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// Lets the peak begin anew.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5").unwrap();
    }

    fn status(&self, field: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The fields after the name, which may hold spaces: user and system time are the 12th and 13th of them.
        let (_, rest) = text.rsplit_once(") ").unwrap();
        let ticks: f64 = rest
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().unwrap())
            .sum();
        Duration::from_secs_f64(ticks / TICKS)
    }

    /// File descriptors open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Kills it, if it still runs.
    pub fn end(&self) {
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
