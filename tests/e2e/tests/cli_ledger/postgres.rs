//! PostgreSQL as the ledger's store: what the plugin tells is what was asked, also while the database was killed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::machine::NODE;
use bowsprit_e2e::{App, Bed, LONG, Release, SYSTEM, eventually, kubectl, note, rollout};
use serde_json::{Value, json};

use crate::cli::{File, bowsprit, show, until};

const BIN: &str = "/usr/lib/postgresql/15/bin";
/// The chart's NetworkPolicy lets the service go there.
const PORT: &str = "5432";
const SECRET: &str = "e2e-ledger-postgres";

/// Debian's PostgreSQL on the node. It ends with the thread that made it.
struct Postgres {
    folder: PathBuf,
    process: Option<Child>,
}

impl Postgres {
    /// A new, empty one, whose only user has this password.
    fn new(password: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("bowsprit-e2e-postgres-{:08x}", fastrand::u32(..)));
        std::fs::create_dir(&folder)?;
        let new = Self { folder, process: None };
        std::fs::set_permissions(&new.folder, std::fs::Permissions::from_mode(0o700))?;
        let word = new.folder.join("password");
        std::fs::write(&word, password)?;
        let owned = Command::new("chown")
            .args(["-R", "postgres"])
            .arg(&new.folder)
            .status()?;
        ensure!(
            owned.success(),
            "there is no user postgres: apt-get install postgresql-15"
        );
        let mut initdb = as_postgres("initdb");
        initdb
            .args(["-A", "scram-sha-256", "-U", "ledger", "--pwfile"])
            .arg(&word);
        let made = initdb.args(["--no-sync", "-D"]).arg(new.data()).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let rules = new.data().join("pg_hba.conf");
        let pods = format!(
            "{}host all all 10.88.0.0/16 scram-sha-256\n",
            std::fs::read_to_string(&rules)?
        );
        std::fs::write(&rules, pods)?;
        Ok(new)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    async fn start(&mut self) -> Result<()> {
        let mut command = as_postgres("postgres");
        command.arg("-D").arg(self.data()).args(["-p", PORT]);
        command.args([
            "-c",
            &format!("listen_addresses={NODE}"),
            "-c",
            "unix_socket_directories=",
        ]);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn()?);
        eventually(LONG, "PostgreSQL answers", async || {
            let asked = as_postgres("pg_isready")
                .args(["-q", "-h", NODE, "-p", PORT])
                .status()?;
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            ensure!(asked.success(), "{log}");
            Ok(())
        })
        .await
    }

    /// Ends it as a crash does: no word to those connected, no checkpoint; it recovers from its log at the next start.
    fn crash(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        let sent = Command::new("kill")
            .args(["-s", "QUIT", &process.id().to_string()])
            .status()?;
        ensure!(sent.success(), "it is not there");
        process.wait()?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.crash();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Neither it nor its tools start as root.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--reuid",
        "postgres",
        "--regid",
        "postgres",
        "--clear-groups",
    ]);
    command
        .arg(format!("{BIN}/{program}"))
        .stdin(Stdio::null())
        .current_dir("/");
    command
}

/// The release with its ledger in a PostgreSQL instead of a file: it has each request once, through a death of the database.
pub(super) async fn keeps_what_was_asked(bed: &Bed, with: &Release) -> Result<()> {
    let password = format!("{:016x}", fastrand::u64(..));
    let mut postgres = Postgres::new(&password)?;
    postgres.start().await?;
    let url = format!("postgres://ledger:{password}@{NODE}:{PORT}/postgres?sslmode=disable");
    let url = File::new(bed, "postgres-url", &url)?;
    let from = format!("--from-file=url={}", url.path());
    kubectl(&["-n", SYSTEM, "create", "secret", "generic", SECRET, &from]).await?;
    let outcome = asked_and_told(bed, with, &mut postgres, &password).await;
    kubectl(&["-n", SYSTEM, "delete", "secret", SECRET]).await?;
    outcome
}

async fn asked_and_told(bed: &Bed, with: &Release, postgres: &mut Postgres, password: &str) -> Result<()> {
    const BEFORE: u32 = 200;
    const MEANWHILE: u32 = 400;
    let release = with
        .clone()
        .with_in("ledger", "postgres", json!({"existingSecret": SECRET}));
    release.install(bed).await?;
    rollout("bowsprit-ledger").await?;
    until(bed, &["stats"], 0, &["No request ended in namespace"]).await?;

    let app = bed.app("lasting").await?;
    app.ask_often(BEFORE, "ahoy").await?;
    told(bed, &app, BEFORE).await?;
    let killing = async {
        postgres.crash()?;
        eventually(LONG, "a batch is not taken", async || {
            let not_taken = not_taken(&app).await?;
            ensure!(not_taken >= 1.0, "{not_taken} were not");
            Ok(())
        })
        .await?;
        postgres.start().await
    };
    let (lines, killed) = tokio::join!(app.ask_often(MEANWHILE, "ahoy"), killing);
    killed?;
    let lines = lines?;
    ensure!(lines.iter().all(|line| line.ok), "a request waits for no database");
    told(bed, &app, BEFORE + MEANWHILE).await?;
    note(&format!(
        "{} batches found no database, and nothing is lost",
        not_taken(&app).await?
    ));
    show("stats (from PostgreSQL)", &bowsprit(bed, &["stats"]).await?);
    let log = kubectl(&["-n", SYSTEM, "logs", "deployment/bowsprit-ledger"]).await?;
    ensure!(!log.contains(password), "the password is in the log");
    Ok(())
}

/// Batches of this sidecar that the service did not take.
async fn not_taken(app: &App<'_>) -> Result<f64> {
    let of = async |labels: &[&str]| app.metric("bowsprit_ledger_batches_total", labels).await;
    Ok(of(&[]).await? - of(&["answer=\"taken\""]).await?)
}

/// Once the sidecar has nothing left to send, the plugin tells of so many requests, and of no more.
async fn told(bed: &Bed, app: &App<'_>, requests: u32) -> Result<()> {
    eventually(LONG, "each request and its attempt is sent", async || {
        let entries = app.metric("bowsprit_ledger_entries_total", &[]).await?;
        let waiting = app.metric("bowsprit_ledger_bytes", &[]).await?;
        ensure!(
            (entries, waiting) == (2.0 * f64::from(requests), 0.0),
            "{entries} entries, {waiting} bytes"
        );
        Ok(())
    })
    .await?;
    let stats = bowsprit(bed, &["stats", "--by", "workload", "-o", "json"]).await?;
    let stats: Value = serde_json::from_str(&stats.out).with_context(|| format!("{stats:#?}"))?;
    let told = |it: &Value| json!([it["name"], it["requests"]]);
    let told: Value = stats.as_array().into_iter().flatten().map(told).collect();
    ensure!(told == json!([["Pod/lasting", requests]]), "{told}");
    Ok(())
}
