//! The process as Prometheus' client libraries name it everywhere, read from `/proc` at each scrape, and how busy its
//! threads are. Where there is no `/proc` the values stay 0.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use super::registry::Registry;
use super::series::Seconds;
use crate::time::unix_now;

/// Clock ticks a second in `/proc`: fixed at 100 in Linux' interface to programs, whatever the kernel's own rate.
const TICKS: f64 = 100.0;

/// Families about the process.
#[derive(Debug, Default)]
pub struct OsProcess {
    cpu: Seconds,
    resident: Gauge,
    virtual_memory: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    start: Gauge<f64, AtomicU64>,
    busy: Seconds,
}

impl OsProcess {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        new.start.set(unix_now().as_secs_f64());
        registry.register_foreign(
            "process_cpu_seconds",
            "CPU time used, user and system",
            &[],
            new.cpu.clone(),
        );
        registry.register_foreign(
            "process_resident_memory_bytes",
            "Memory in RAM; compare with the container's limit",
            &[],
            new.resident.clone(),
        );
        registry.register_foreign(
            "process_virtual_memory_bytes",
            "Address space; says nothing about the memory in use",
            &[],
            new.virtual_memory.clone(),
        );
        registry.register_foreign(
            "process_open_fds",
            "Open file descriptors: two per request in flight, one per idle connection",
            &[],
            new.open_files.clone(),
        );
        registry.register_foreign(
            "process_max_fds",
            "Most file descriptors allowed; at the limit connections are not accepted",
            &[],
            new.most_files.clone(),
        );
        registry.register_foreign(
            "process_start_time_seconds",
            "When the process started, Unix time; a change is a restart",
            &[],
            new.start.clone(),
        );
        registry.register(
            "runtime_busy_seconds",
            "Time that the threads which serve requests were not idle; near 1 a second per thread means that the sidecar itself is what is slow",
            &[],
            new.busy.clone(),
        );
        new
    }

    /// Reads `/proc` and the runtime.
    pub fn observe(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            put(&self.cpu, seconds);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (gauge, name) in [(&self.resident, "VmRSS:"), (&self.virtual_memory, "VmSize:")] {
            if let Some(kibibytes) = field(&status, name) {
                gauge.set(kibibytes.saturating_mul(1024));
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // Less the one that is open for this look.
            super::set(&self.open_files, files.count().saturating_sub(1));
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(most) = field(&limits, "Max open files") {
            self.most_files.set(most);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let metrics = runtime.metrics();
            let busy = (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker));
            put(&self.busy, busy.map(|busy| busy.as_secs_f64()).sum());
        }
    }
}

/// Sets a counter to what someone else has counted.
fn put(counter: &Seconds, seconds: f64) {
    counter.inner().store(seconds.to_bits(), Ordering::Relaxed);
}

/// The first number after a name at a line's begin.
fn field(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15, counted after the program's name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10 1844";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_uses_memory_files_and_cpu() {
        let process = OsProcess::register(&mut Registry::default());
        process.observe();
        assert!(process.resident.get() > 1 << 20);
        assert!(process.virtual_memory.get() >= process.resident.get());
        assert!(process.open_files.get() >= 3);
        assert!(process.most_files.get() >= process.open_files.get());
        assert!(process.cpu.get() >= 0.0);
        assert!(process.start.get() > 1.7e9);
    }
}
