//! The operators as processes: memory and CPU time, from /proc.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// The name of its process, as the kernel cuts it.
const NAME: &str = "bowsprit-operat";
/// Clock ticks a second in /proc: 100 on every Linux that runs containers.
const TICKS: f64 = 100.0;

/// What the operators use.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// How many there are.
    pub(crate) processes: usize,
    /// Memory of the largest, MiB.
    pub(crate) largest_mib: f64,
    /// CPU time of each, by its pid.
    cpu: BTreeMap<String, f64>,
}

impl Usage {
    /// Now.
    pub(crate) fn now() -> Result<Self> {
        let mut usage = Self {
            processes: 0,
            largest_mib: 0.0,
            cpu: BTreeMap::new(),
        };
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            if read("comm").trim() != NAME {
                continue;
            }
            let status = read("status");
            let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib: f64 = kib
                .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
                .unwrap_or_default();
            // After the name, which may hold spaces: user and system time are the 12th and 13th fields.
            let stat = read("stat");
            let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
            let ticks: f64 = fields
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<f64>().ok())
                .sum();
            usage.processes += 1;
            usage.largest_mib = usage.largest_mib.max(kib / 1024.0);
            usage
                .cpu
                .insert(entry.file_name().to_string_lossy().into_owned(), ticks / TICKS);
        }
        ensure!(
            usage.processes > 0,
            "no process is called {NAME}: run this inside the bed"
        );
        Ok(usage)
    }

    /// CPU time that passed in those that were there `before`.
    pub(crate) fn cpu_seconds_since(&self, before: &Self) -> f64 {
        let both = self
            .cpu
            .iter()
            .filter_map(|(pid, now)| Some(now - before.cpu.get(pid)?));
        both.sum()
    }
}
