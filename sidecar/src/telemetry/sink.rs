//! Standard output that never makes anybody wait.
//!
//! A pipe whose reader has stopped blocks whoever writes to it, and here that would be the one thread that serves
//! requests. So lines go into a bounded buffer, and a thread of its own writes them out: it sleeps while there is
//! nothing, and it alone hangs when nobody reads. What does not fit is lost and counted.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sync::locked;

/// A bounded buffer of lines and the thread that empties it.
#[derive(Debug)]
pub struct Sink {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    written: Condvar,
    limit: usize,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// What was taken is not written out yet.
    writing: bool,
}

impl Sink {
    /// A sink into `out`, of at most `limit` waiting bytes.
    pub fn start(limit: usize, out: impl Write + Send + 'static) -> Arc<Self> {
        let sink = Arc::new(Self {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            limit,
            lost: AtomicU64::new(0),
        });
        let writer = Arc::clone(&sink);
        let spawned = std::thread::Builder::new()
            .name("log".into())
            .stack_size(64 << 10)
            .spawn(move || writer.run(out));
        // Without the thread the buffer fills and its lines are counted as lost; requests go on.
        drop(spawned);
        sink
    }

    /// Takes whole lines.
    pub fn push(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + lines.len() > self.limit {
            let lost = memchr::memchr_iter(b'\n', lines).count();
            self.lost.fetch_add(lost as u64, Ordering::Relaxed);
            return;
        }
        let was_empty = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(lines);
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Takes whole lines and leaves an empty buffer: where none wait they change places, and nothing is copied.
    pub fn take(&self, lines: &mut Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.bytes.is_empty() && lines.len() <= self.limit {
            std::mem::swap(&mut waiting.bytes, lines);
            drop(waiting);
            self.filled.notify_one();
        } else {
            drop(waiting);
            self.push(lines);
        }
        lines.clear();
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until all is written out, at most so long.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut waiting = self.lock();
        while waiting.writing || !waiting.bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self
                .written
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn run(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.bytes.is_empty() {
                waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut taken, &mut waiting.bytes);
            waiting.writing = true;
            drop(waiting);
            // A closed standard output must not stop the proxy.
            let _ = out.write_all(&taken);
            let _ = out.flush();
            taken.clear();
            taken.shrink_to(32 << 10);
            self.lock().writing = false;
            self.written.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        locked(&self.waiting)
    }
}

/// As `tracing` writes: one call a line.
#[derive(Debug)]
pub(super) struct Line(pub(super) &'static Sink);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Writes only when told to.
    struct Gate(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_buffer_that_is_taken_is_written_out_in_order_and_comes_back_empty() {
        let (open, gate) = mpsc::channel();
        let (sent, got) = mpsc::channel();
        let sink = Sink::start(64, Gate(gate, sent));
        for line in [&b"one\n"[..], b"two\n", b"three\n", &[b'x'; 65]] {
            let mut lines = line.to_vec();
            sink.take(&mut lines);
            assert!(lines.is_empty());
        }
        drop(open);
        assert!(sink.flush(SOON));
        assert_eq!(got.try_iter().flatten().collect::<Vec<_>>(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_reader_that_stopped_costs_lines_and_never_time() {
        let (open, gate) = mpsc::channel();
        let (sent, got) = mpsc::channel();
        let sink = Sink::start(64, Gate(gate, sent));
        // However long the writer hangs, whoever pushes goes on.
        for _ in 0..1000 {
            sink.push(b"one line of 20 byte\n");
        }
        let lost = sink.lost();
        assert!(lost >= 990, "{lost}");
        assert!(!sink.flush(Duration::from_millis(10)), "nothing was written out yet");
        drop(open);
        assert!(sink.flush(SOON), "with the reader back all that waited is written");
        let written: usize = got.try_iter().map(|bytes| bytes.len()).sum();
        assert_eq!(written, (1000 - usize::try_from(lost).unwrap()) * 20);
    }
}
