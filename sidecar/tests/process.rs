//! The program as a process: exit codes, signals, the example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_cmp,
    missing_docs
)]

use std::path::Path;
use std::process::Command;

use bowsprit_rig::metrics::sum;
use bowsprit_rig::program::Program;
use bowsprit_rig::until;

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart.yaml");

fn sidecar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-sidecar"));
    command.args(args).env_clear();
    command
}

/// A sidecar that a shell starts after `before`.
fn after(before: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_bowsprit-sidecar");
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{before}; exec \"$0\" \"$@\""), program])
        .args(["--config", QUICKSTART, "--log-level", "debug"]);
    command
}

async fn quickstart(dir: &Path) -> Program {
    Program::start(sidecar(&["--config", QUICKSTART]), &dir.join("output"), "(no key)").await
}

async fn stops(program: &Program, code: i32) {
    assert_eq!(program.exit().await.code(), Some(code), "{}", program.output());
}

/// Waits until a request is in flight, tells the sidecar to stop, and waits until it does.
async fn stop_with_one_in_flight(program: &Program) {
    until("the request is in flight", || async {
        program.health().await["inFlight"] == 1
    })
    .await;
    program.signal("TERM");
    until("it is unready", || async {
        program.admin("/health/ready").await.status == 503
    })
    .await;
}

#[tokio::test]
async fn the_example_starts_without_any_key_and_says_which_it_misses() {
    let dir = tempfile::tempdir().unwrap();
    let program = quickstart(dir.path()).await;
    let health = program.admin("/health").await.text();
    for name in ["ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY"] {
        assert!(
            health.contains(&format!("environment variable {name} is not set")),
            "{health}"
        );
    }
    assert_eq!(program.admin("/health/ready").await.status, 200);
    program.signal("TERM");
    stops(&program, 0).await;
}

#[tokio::test]
async fn sigterm_waits_for_what_runs_and_a_second_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let program = quickstart(dir.path()).await;
    // A request whose body never comes to its end is in flight.
    let mut caller = program.connect().await;
    caller
        .send("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        .await;
    stop_with_one_in_flight(&program).await;
    assert!(program.ended().is_none(), "it waits");
    program.signal("TERM");
    stops(&program, 1).await;
}

#[tokio::test]
async fn the_last_answer_is_written_before_the_process_ends() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let program = quickstart(dir.path()).await;
        let mut caller = program.connect().await;
        caller
            .send("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
            .await;
        stop_with_one_in_flight(&program).await;
        caller.send("!").await;
        let reply = caller.reply().await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "VAL_NOT_JSON"),
            "{}",
            reply.text()
        );
        stops(&program, 0).await;
    }
}

#[tokio::test]
async fn an_app_that_may_ends_the_sidecar_after_what_runs_and_any_other_is_told_that_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let program = quickstart(dir.path()).await;
    let reply = program.admin_post("/shutdown").await;
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert_eq!(program.admin("/health/ready").await.status, 200);
    assert_eq!(program.admin("/shutdown").await.status, 405);

    let dir = tempfile::tempdir().unwrap();
    let mut command = sidecar(&["--config", QUICKSTART]);
    command.env("BOWSPRIT_END_ON_REQUEST", "true");
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    let mut caller = program.connect().await;
    caller
        .send("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
        .await;
    until("the request is in flight", || async {
        program.health().await["inFlight"] == 1
    })
    .await;
    assert_eq!(program.admin_post("/shutdown").await.status, 200);
    until("it is unready", || async {
        program.admin("/health/ready").await.status == 503
    })
    .await;
    assert!(program.ended().is_none(), "it waits");
    caller.send("!").await;
    assert_eq!(caller.reply().await.status, 400);
    stops(&program, 0).await;
}

/// A config as an operator renders it.
const MOUNTED: &str = "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec:
  provider: Anthropic
  credentials: [{name: main, secretKeyRef: {name: keys, key: anthropic}}]
  models: [{name: claude-sonnet-4-5}]
";

#[tokio::test]
async fn until_ready_waits_for_the_first_valid_config_and_for_so_long_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let mut command = sidecar(&["--config-dir"]);
    command.arg(&config);
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    let admin = program.admin.to_string();
    let hook = |limit: &str| sidecar(&["--admin", &admin, "--until-ready", limit]);

    let output = hook("200ms").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no valid configuration after 200ms"), "{told}");

    let mut waits = hook("60s").spawn().unwrap();
    assert!(waits.try_wait().unwrap().is_none(), "it waits");
    std::fs::write(config.join("bowsprit.yaml"), MOUNTED).unwrap();
    until("it has ended", || {
        let ended = waits.try_wait().unwrap();
        async move { ended.is_some() }
    })
    .await;
    assert_eq!(waits.wait().unwrap().code(), Some(0));
    assert_eq!(program.admin("/health/startup").await.status, 200);
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

#[tokio::test]
async fn a_key_in_the_environment_is_configuration_enough() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = sidecar(&[]);
    command
        .env("OPENAI_API_KEY", "k")
        .env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1");
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    until("it says what it serves", || async {
        program.output().contains("\"providers\":1")
    })
    .await;
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

#[tokio::test]
async fn without_file_descriptors_health_and_metrics_still_answer_and_nothing_spins() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(after("ulimit -n 40"), &dir.path().join("output"), "(no key)").await;
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(program.connect().await);
    }
    let begun = std::time::Instant::now();
    let before = program.cpu();
    // Each of these connections to the admin port is one that no descriptor was left for.
    until("20 accepts have failed", || async {
        assert_eq!(program.admin("/health/ready").await.status, 200);
        let failed = sum(
            &program.metrics().await,
            "bowsprit_accept_errors_total",
            &["door=\"app\""],
        );
        failed >= 20.0
    })
    .await;
    // Accepting without a pause would use all of the time.
    let (used, elapsed) = (program.cpu().saturating_sub(before), begun.elapsed());
    assert!(used * 2 < elapsed, "{used:?} of CPU in {elapsed:?}");
    drop(held);
    // With descriptors back it accepts again.
    let mut caller = program.connect().await;
    caller.send(bowsprit_rig::http::get("/nowhere")).await;
    assert_eq!(caller.reply().await.status, 404);
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_request() {
    // Nobody reads the pipe, which holds 64 KiB; the sidecar holds 1 MiB more.
    let program = Program::start_unread(after("true"));
    let mut caller = program.connect().await;
    let request = format!(
        "GET /{} HTTP/1.1\r\nhost: x\r\nx-request-id: {}\r\n\r\n",
        "x".repeat(200),
        "i".repeat(100)
    );
    let mut answered = 0;
    while sum(&program.metrics().await, "bowsprit_log_lines_lost_total", &[]) == 0.0 {
        for _ in 0..500 {
            caller.send(&request).await;
            assert_eq!(caller.reply().await.status, 404);
            answered += 1;
        }
        assert!(answered < 50_000, "nothing was ever lost");
    }
    program.signal("TERM");
    // Its last lines find no reader either: it ends all the same.
    stops(&program, 0).await;
}

#[tokio::test]
async fn a_crash_leaves_no_core_with_keys_in_it() {
    let dir = tempfile::tempdir().unwrap();
    // Whatever the container's runtime allows.
    let program = Program::start(after("ulimit -c unlimited"), &dir.path().join("output"), "(no key)").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    program.signal("TERM");
    stops(&program, 0).await;
}
