//! The program as a process: exit codes, signals, the example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart.yaml");

fn sidecar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-sidecar"));
    command
        .args(args)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running sidecar and its addresses, read from its log.
struct Running {
    child: Child,
    listen: String,
    admin: String,
}

fn start(args: &[&str]) -> Running {
    let mut all = vec!["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    all.extend(args);
    let mut child = sidecar(&all).spawn().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let (listen, admin) = addresses(&mut log);
    std::thread::spawn(move || log.lines().for_each(drop));
    Running { child, listen, admin }
}

impl Running {
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([name, &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

#[test]
fn the_example_starts_without_any_key_and_says_which_it_misses() {
    let mut running = start(&["--config", QUICKSTART]);
    let health = running.get("/health");
    for name in ["ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY"] {
        assert!(
            health.contains(&format!("environment variable {name} is not set")),
            "{health}"
        );
    }
    assert!(running.get("/health/ready").starts_with("HTTP/1.1 200"));
    running.signal("-TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn sigterm_waits_for_what_runs_and_a_second_one_does_not() {
    let mut running = start(&["--config", QUICKSTART]);
    // A request whose body never comes to its end is in flight.
    let mut stream = TcpStream::connect(&running.listen).unwrap();
    stream
        .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        .unwrap();
    while !running.get("/health").contains("\"inFlight\":1") {
        std::thread::yield_now();
    }
    running.signal("-TERM");
    while !running.get("/health/ready").starts_with("HTTP/1.1 503") {
        std::thread::yield_now();
    }
    assert!(running.child.try_wait().unwrap().is_none(), "it waits");
    running.signal("-TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_last_answer_is_written_before_the_process_ends() {
    for _ in 0..10 {
        let mut running = start(&["--config", QUICKSTART]);
        let mut stream = TcpStream::connect(&running.listen).unwrap();
        stream
            .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
            .unwrap();
        while !running.get("/health").contains("\"inFlight\":1") {
            std::thread::yield_now();
        }
        running.signal("-TERM");
        while !running.get("/health/ready").starts_with("HTTP/1.1 503") {
            std::thread::yield_now();
        }
        stream.write_all(b"!").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("VAL_NOT_JSON"),
            "{answer}"
        );
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn wrong_usage_and_wrong_configuration_exit_with_64_and_say_what_to_do() {
    for (args, told) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&[][..], "ANTHROPIC_API_KEY"),
        (&["--config", "/nowhere.yaml"][..], "/nowhere.yaml"),
        (&["--config", "a", "--config-dir", "b"][..], "cannot be used with"),
        (&["--max-body", "much"][..], "32MiB"),
    ] {
        let output = sidecar(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
        assert!(stderr.contains(told), "{args:?}: {stderr}");
    }
}

#[test]
fn a_key_in_the_environment_is_configuration_enough() {
    let mut command = sidecar(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut child = command
        .env("OPENAI_API_KEY", "k")
        .env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .by_ref()
            .map(Result::unwrap)
            .any(|line| line.contains("\"providers\":1"))
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = sidecar(&["--config", QUICKSTART, "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
}

/// A sidecar that a shell starts after `before`.
fn start_after(before: &str) -> Running {
    let program = env!("CARGO_BIN_EXE_bowsprit-sidecar");
    let line = format!(
        "{before}; exec {program} --listen 127.0.0.1:0 --admin 127.0.0.1:0 --config {QUICKSTART} --log-level debug"
    );
    let mut child = Command::new("bash")
        .args(["-c", &line])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (listen, admin) = addresses(BufReader::new(child.stdout.as_mut().unwrap()));
    Running { child, listen, admin }
}

fn addresses(log: impl std::io::BufRead) -> (String, String) {
    let started = log
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("\"started\""))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(&started).unwrap();
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    (text("listen"), text("admin"))
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_file_descriptors_health_and_metrics_still_answer_and_nothing_spins() {
    let mut running = start_after("ulimit -n 40");
    let held: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(&running.listen).unwrap()).collect();
    let errors = |metrics: &str| -> u64 {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("bowsprit_accept_errors_total{door=\"app\"} "))
            .map_or(0, |count| count.parse().unwrap())
    };
    let begun = std::time::Instant::now();
    let before = cpu_ticks(running.child.id());
    // Each of these connections to the admin port is one that no descriptor was left for.
    while errors(&running.get("/metrics")) < 20 {
        assert!(begun.elapsed().as_secs() < 60, "20 failed accepts not within 60 s");
        assert!(running.get("/health/ready").starts_with("HTTP/1.1 200"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // A tick is 10 ms; accepting without a pause would use all of the time.
    let used = (cpu_ticks(running.child.id()) - before) * 10;
    let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap();
    assert!(used * 2 < elapsed, "{used} ms of CPU in {elapsed} ms");
    drop(held);
    // With descriptors back it accepts again.
    let mut stream = TcpStream::connect(&running.listen).unwrap();
    stream
        .write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    running.signal("-TERM");
    running.child.wait().unwrap();
}

#[test]
fn a_log_that_nobody_reads_stops_no_request() {
    // From here on nobody reads the pipe, which holds 64 KiB; the sidecar holds 1 MiB more.
    let mut running = start_after("true");
    let lost = |metrics: &str| -> u64 {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("bowsprit_log_lines_lost_total "))
            .map_or(0, |count| count.parse().unwrap())
    };
    let mut stream = TcpStream::connect(&running.listen).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let request = format!(
        "GET /{} HTTP/1.1\r\nhost: x\r\nx-request-id: {}\r\n\r\n",
        "x".repeat(200),
        "i".repeat(100)
    );
    let mut answered = 0;
    while lost(&running.get("/metrics")) == 0 {
        for _ in 0..500 {
            stream.write_all(request.as_bytes()).unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).expect("a request waits for the log");
                seen.extend_from_slice(&piece[..read]);
            }
            answered += 1;
        }
        assert!(answered < 50_000, "nothing was ever lost");
    }
    running.signal("-TERM");
    // Its last lines find no reader either: it ends all the same.
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}
