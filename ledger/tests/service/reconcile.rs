//! The program holds a ledger against a bill and against Prometheus, and says by its exit code whether it closes.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::Store as _;
use bowsprit_ledger::store::sqlite::Sqlite;

use crate::entries::{NOW, arrival, attempt, group};

fn reconcile(folder: &std::path::Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-ledger"));
    command.arg("reconcile").arg("--sqlite").arg(folder.join("ledger.db"));
    command.args([
        "--from",
        &(NOW - 3_600_000).to_string(),
        "--to",
        &(NOW + 60_000).to_string(),
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
        (45, 0, "beside an estimate of 6"),
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

    for (input, code) in [(200, 0), (199, 1)] {
        let done = reconcile(folder.path(), &["--prometheus", &prometheus(input)]);
        let table = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(code), "{table}");
        assert_eq!(table.lines().count(), 5, "{table}");
    }
}
