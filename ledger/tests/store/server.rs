//! PostgreSQL and PgBouncer as they are in Debian, started on loopback, gone with the test program.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const BOUNCER: &str = "/usr/sbin/pgbouncer";
/// Whom they run as: neither starts as root.
const USER: &str = "postgres";
const PATIENCE: Duration = Duration::from_mins(1);

/// A server with its folder.
pub(crate) struct Server {
    folder: PathBuf,
    pub(crate) port: u16,
    /// Beside those that all have.
    settings: Vec<String>,
    process: Option<Child>,
}

/// A free port of loopback.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    if number == 0 {
        sweep();
    }
    // Not below the checkout, which another user may not enter.
    let folder = std::env::temp_dir().join(format!("bowsprit-{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        let chown = Command::new("chown")
            .args([USER, folder.to_str().unwrap()])
            .status()
            .unwrap();
        assert!(chown.success(), "no user {USER}: apt-get install postgresql-15");
    }
    folder
}

/// Removes what test programs left that are no more: a server that all tests of a program share has nobody to do it.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('-').collect();
        if let ["bowsprit", "postgres" | "pgbouncer", pid, _] = parts[..]
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The processes that this one has started.
fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of_running(*pid) == Some(parent)).collect()
}

/// The parent of a process that runs; of one that has ended, none, though nobody may have asked how it ended.
fn parent_of_running(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold spaces: state and parent.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A program as a user that is not root. It is killed when the thread that starts it ends.
fn as_user(program: &str) -> Command {
    assert!(
        Path::new(program).exists(),
        "{program} is missing: tests/testbed/install unit"
    );
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    }
    command.arg(program).stdin(Stdio::null()).current_dir("/");
    command
}

/// Starts it in a thread that outlives every test.
fn start(mut command: Command) -> Child {
    static STARTER: OnceLock<mpsc::Sender<(Command, mpsc::Sender<Child>)>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (ask, asked) = mpsc::channel::<(Command, mpsc::Sender<Child>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in asked {
                let _ = answer.send(command.spawn().expect("it starts"));
            }
        });
        ask
    });
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (answer, answered) = mpsc::channel();
    starter.send((command, answer)).unwrap();
    answered.recv().unwrap()
}

impl Server {
    /// A new, empty PostgreSQL that speaks TLS, with this certificate and key (PEM).
    pub(crate) fn postgres_with_tls(certificate: &str, key: &str) -> Self {
        let mut server = Self::made();
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let file = server.folder.join(name);
            std::fs::write(&file, pem).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                let chown = Command::new("chown").arg(USER).arg(&file).status().unwrap();
                assert!(chown.success());
            }
            let setting = if name.ends_with("key") {
                "ssl_key_file"
            } else {
                "ssl_cert_file"
            };
            server.settings.push(format!("{setting}={}", file.display()));
        }
        server.settings.push("ssl=on".into());
        server.start();
        server
    }

    /// A new, empty PostgreSQL.
    pub(crate) fn postgres() -> Self {
        let mut server = Self::made();
        server.start();
        server
    }

    /// The same with more settings, such as `fsync=off`.
    #[allow(dead_code, reason = "for the baseline")]
    pub(crate) fn postgres_with(settings: &[&str]) -> Self {
        let mut server = Self::made();
        server.settings.extend(settings.iter().map(ToString::to_string));
        server.start();
        server
    }

    fn made() -> Self {
        let folder = folder("postgres");
        let initdb = as_user(&format!("{BIN}/initdb"))
            .args(["-A", "trust", "-U", USER, "--no-sync", "-D"])
            .arg(folder.join("data"))
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        Self {
            folder,
            port: free_port(),
            settings: Vec::new(),
            process: None,
        }
    }

    /// Starts what was made before, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let mut command = as_user(&format!("{BIN}/postgres"));
        let log = self.folder.join("log");
        command
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=200",
            "logging_collector=on",
            "log_filename=log",
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("unix_socket_directories={}", self.folder.display())]);
        command.args(["-c", &format!("log_directory={}", self.folder.display())]);
        self.process = Some(start(command));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut ready = as_user(&format!("{BIN}/pg_isready"));
            ready
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .stdout(Stdio::null());
            if ready.status().is_ok_and(|status| status.success()) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not answer: {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// PgBouncer in transaction mode, before this server.
    pub(crate) fn bouncer(&self) -> Self {
        let (folder, port) = (folder("pgbouncer"), free_port());
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={USER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n\
            pool_mode = transaction\nmax_client_conn = 500\ndefault_pool_size = 10\nunix_socket_dir =\nlogfile = {}\n",
            self.port,
            folder.join("log").display()
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = as_user(BOUNCER);
        command.arg("-q").arg(&file);
        let process = Some(start(command));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "PgBouncer does not answer: {}",
                folder.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            folder,
            port,
            settings: Vec::new(),
            process,
        }
    }

    /// kill -9, of all its processes: what a machine does that loses its power. Returns once none of them is left to answer.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // A backend outlives its postmaster for a moment, in which it would still take a batch.
        let backends = children(process.id());
        let _ = process.kill();
        let _ = process.wait();
        let ids = backends.iter().map(u32::to_string);
        let _ = Command::new("kill")
            .arg("-KILL")
            .args(ids)
            .stderr(Stdio::null())
            .status();
        let deadline = Instant::now() + PATIENCE;
        while backends.iter().any(|pid| parent_of_running(*pid).is_some()) {
            assert!(Instant::now() < deadline, "a backend does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What its processes have had of the processors since it began, however many others are at work on the machine.
    #[allow(dead_code, reason = "for the baseline")]
    pub(crate) fn processors(&self) -> Duration {
        let Some(process) = &self.process else {
            return Duration::ZERO;
        };
        let own = |pid: u32| {
            let told = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
            told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        };
        // Of those that have ended, as those do that help with a question: hundredths of a second, user's and system's.
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).ok()?;
            let fields = stat.rsplit_once(") ")?.1.split(' ').skip(13).take(2);
            Some(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
        };
        let running: Duration = children(process.id()).into_iter().filter_map(own).sum();
        running + Duration::from_millis(10 * ended().unwrap_or_default())
    }

    /// The connection string of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
