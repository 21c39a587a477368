//! The program holds a ledger against a bill and against Prometheus, and says by its exit code whether it closes.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::Store as _;
use bowsprit_ledger::store::sqlite::Sqlite;

use crate::entries::{NOW, arrival, attempt, group};
use crate::server::free_port;

fn reconcile(folder: &std::path::Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-ledger"));
    command.arg("reconcile").arg("--sqlite").arg(folder.join("ledger.db"));
    command.args([
        "--from",
        &(NOW - 3_600_000).to_string(),
        "--to",
        &(NOW + 59_500).to_string(),
    ]);
    command.args(flags).output().unwrap()
}

/// A Prometheus that has counted this much input, and all else that two of [`attempt`] have.
fn prometheus(input: u64) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let series = move |name: &str| {
        let one = |labels: &str, value: u64| {
            format!(
                r#"{{"metric":{{"provider":"claude",{labels}}},"values":[[{}.5,"{value}"]]}}"#,
                NOW / 1000
            )
        };
        if name.contains("bowsprit_estimated") {
            return one(r#""kind":"output""#, 6);
        }
        let of = [("input", input), ("output", 40), ("cached", 20)];
        of.map(|(kind, value)| one(&format!(r#""model":"m","kind":"{kind}""#), value))
            .join(",")
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = vec![0; 8 << 10];
            let mut read = 0;
            // The query is the last of it.
            while !String::from_utf8_lossy(&asked[..read]).contains("&time=") {
                read += stream.read(&mut asked[read..]).unwrap();
            }
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            // To the end of the hour that the window ends in, as the ledger is asked about what is long ago, and a quarter of an hour
            // beyond it.
            let hour = (NOW / 1000 / 3600 + 1) * 3600;
            assert!(asked.ends_with(&format!("&time={}", hour + 900)), "{asked}");
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#,
                series(&asked)
            );
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

#[tokio::test]
async fn a_ledger_that_closes_ends_with_0_and_one_that_does_not_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("ledger.db")).unwrap();
    store.migrate(LATEST, NOW).await.unwrap();
    let entries = ["r1", "r2"].map(|id| Entry::Attempt(Box::new(attempt(id, "answered"))));
    store.take(group([arrival("app-1", 1, entries)]), NOW).await.unwrap();

    let bill = folder.path().join("bill.csv");
    let flags = ["--provider", "claude", "--usage", bill.to_str().unwrap()];
    // Twice 100 and 20 were told; 6 of output are estimated beside them.
    for (output, code, word) in [
        (40, 0, " 0\n"),
        (46, 0, "within an estimate of 6"),
        (47, 1, "beyond an estimate of 6"),
        (39, 1, "does not close"),
    ] {
        std::fs::write(&bill, format!("model,input_tokens,output_tokens\nm,200,{output}\n")).unwrap();
        let done = reconcile(folder.path(), &flags);
        let table = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(code), "{table}");
        assert!(table.contains(word), "{table}");
    }
    std::fs::write(&bill, "a,b\n1,2\n").unwrap();
    assert_eq!(reconcile(folder.path(), &flags).status.code(), Some(2));

    let file = folder.path().join("ledger.prom");
    for (input, code) in [(200, 0), (199, 1)] {
        let (counted, file_flag) = (prometheus(input), file.to_str().unwrap());
        let done = reconcile(folder.path(), &["--prometheus", &counted, "--metrics-file", file_flag]);
        let table = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(code), "{table}");
        assert!(table.starts_with("from ") && table.contains("by the hour\n"), "{table}");
        assert_eq!(table.lines().count(), 6, "{table}");
        let metrics = std::fs::read_to_string(&file).unwrap();
        let told = format!(
            r#"{{beside="prometheus",provider="claude",kind="input"}} {}"#,
            200 - input
        );
        assert!(metrics.contains(&told), "{metrics}");
        assert!(metrics.contains("\nbowsprit_ledger_reconcile_success 1\n"), "{metrics}");
    }
    // Nobody answers: what was found before is no answer to this time's question.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let failed = reconcile(
        folder.path(),
        &["--prometheus", &nobody, "--metrics-file", file.to_str().unwrap()],
    );
    assert_eq!(failed.status.code(), Some(2));
    let metrics = std::fs::read_to_string(&file).unwrap();
    assert!(metrics.contains("\nbowsprit_ledger_reconcile_success 0\n"), "{metrics}");
    assert!(
        !metrics.contains("drift_tokens") && !metrics.contains("reconciled_timestamp"),
        "{metrics}"
    );
}

/// Debian's Prometheus, which scrapes this address five times a second. It ends with the test.
pub(crate) struct Prometheus {
    pub(crate) url: String,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(address: &str) -> Self {
        Self::start(free_port(), address, None)
    }

    /// On this port, and with this history in the OpenMetrics format.
    pub(crate) fn start(port: u16, address: &str, history: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(history) = history {
            let text = folder.path().join("history");
            std::fs::write(&text, history).unwrap();
            let mut made = Command::new("promtool");
            made.args(["tsdb", "create-blocks-from", "openmetrics"]);
            let made = made.arg(text).arg(folder.path().join("data")).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: sidecars\n  static_configs: [{{targets: [\"{address}\"]}}]\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "prometheus"]);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self {
            url: format!("http://127.0.0.1:{port}"),
            process: process.expect("prometheus: tests/testbed/install unit"),
            _folder: folder,
        }
    }

    /// Waits until it has scraped this much input.
    async fn has(&self, input: u64) {
        let url = format!(
            "{}/api/v1/query?query=bowsprit_tokens_total%7Bkind%3D%22input%22%7D",
            self.url
        );
        let wanted = format!("\"{input}\"]");
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let answer = reqwest::get(&url).await;
            if let Ok(answer) = answer
                && answer.text().await.is_ok_and(|text| text.contains(&wanted))
            {
                return;
            }
            assert!(Instant::now() < deadline, "Prometheus has not scraped {input}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a sidecar would show that has made two of [`attempt`], or more of input.
fn exposition(input: u64) -> String {
    let series = |kind: &str, value: u64| {
        format!("bowsprit_tokens_total{{provider=\"claude\",model=\"m\",kind=\"{kind}\"}} {value}\n")
    };
    let told = [("input", input), ("output", 40), ("cached", 20)].map(|(kind, value)| series(kind, value));
    let estimated = "bowsprit_estimated_tokens_total{provider=\"claude\",kind=\"output\"} 6\n";
    let started = bowsprit_ledger::service::now() / 1000 - 60;
    format!("{}{estimated}process_start_time_seconds {started}\n", told.concat())
}

/// Serves what is there now, as text.
fn scraped(shown: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 8 << 10];
            let _ = stream.read(&mut asked);
            let body = shown.lock().unwrap().clone();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn it_closes_beside_a_prometheus_that_has_scraped_the_same_and_names_the_drift_of_one_that_has_not() {
    // reconcile asks over TLS, too, and takes what its process has chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shown = Arc::new(Mutex::new(exposition(200)));
    let prometheus = Prometheus::scraping(&scraped(Arc::clone(&shown)));
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("ledger.db")).unwrap();
    let now = bowsprit_ledger::service::now();
    store.migrate(LATEST, now).await.unwrap();
    let entries = ["r1", "r2"].map(|id| Entry::Attempt(Box::new(attempt(id, "answered"))));
    let mut one = arrival("app-1", 1, entries);
    one.batch.entries.iter_mut().for_each(|entry| entry.at = now);
    store.take(group([one]), now).await.unwrap();

    for (input, code, word) in [(200, 0, " 0\n"), (207, 1, "7")] {
        *shown.lock().unwrap() = exposition(input);
        prometheus.has(input).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-ledger"));
        command
            .arg("reconcile")
            .arg("--sqlite")
            .arg(folder.path().join("ledger.db"));
        command.args([
            "--from",
            &(now - 3_600_000).to_string(),
            "--to",
            &(now + 60_000).to_string(),
            "--prometheus",
            &prometheus.url,
        ]);
        let done = command.output().unwrap();
        let table = String::from_utf8(done.stdout).unwrap();
        println!("{table}");
        assert_eq!(done.status.code(), Some(code), "{table}");
        assert!(table.contains(word), "{table}");
    }
}
