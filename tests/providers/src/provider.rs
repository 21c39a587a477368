//! One running provider: the listener, its script, and what it saw.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::api::Api;
use crate::connection;
use crate::script::{Behaviour, Rule, Script, Step, When};
use crate::seen::{Cancelled, NotSeen, Recorded, Seen};
use crate::transport::Transport;

/// Between two attempts at what the system refused for the moment.
const RETRY: Duration = Duration::from_millis(10);

/// How a provider starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The APIs it speaks.
    pub api: Api,
    /// Where it listens; a free loopback port by default.
    pub listen: SocketAddr,
    /// Whether a request without a key is refused, as the real ones do. On by default.
    pub require_key: bool,
    /// The keys it accepts; empty accepts any.
    pub keys: Vec<String>,
    /// Certificate and key, for TLS; plain TCP without.
    pub tls: Option<TlsPem>,
    /// The script to begin with.
    pub script: Script,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api: Api::All,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            require_key: true,
            keys: Vec::new(),
            tls: None,
            script: Script::default(),
        }
    }
}

impl Options {
    /// A provider that speaks one API.
    pub fn api(api: Api) -> Self {
        Self { api, ..Self::default() }
    }
}

/// A certificate chain and its key, as PEM.
#[derive(Debug, Clone)]
pub struct TlsPem {
    /// The chain, leaf first.
    pub certificate: String,
    /// The private key: PKCS #8, PKCS #1 or SEC1.
    pub key: String,
}

impl TlsPem {
    fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("TLS {what}: {error}"))
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let chain = chain.map_err(|error| wrong("certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| wrong("key", &error))?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let versions = rustls::ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("versions", &error))?;
        let mut config = versions
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong("certificate and key", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// What the listener, the connections, the control API and the handle share.
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) started: Instant,
    tls: Option<TlsAcceptor>,
    require_key: bool,
    state: Mutex<State>,
    /// Goes up with every change of `state`, to wake those who wait for one.
    version: watch::Sender<u64>,
    /// Whether the port is wanted open.
    wanted: watch::Sender<bool>,
    /// Whether it is.
    listening: watch::Sender<bool>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) script: Script,
    pub(crate) seen: Seen,
    pub(crate) keys: Vec<String>,
    pub(crate) last_request: u64,
    /// Batches that were made: by id, when, and of which requests.
    pub(crate) batches: BTreeMap<String, (u64, Vec<Value>)>,
}

impl Shared {
    /// Reads or changes the state, and wakes the waiting.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.version.send_modify(|version| *version += 1);
        result
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// The accepted keys: `None` asks for none, an empty list for any.
    pub(crate) fn keys(&self) -> Option<Vec<String>> {
        self.require_key.then(|| self.read(|state| state.keys.clone()))
    }

    pub(crate) async fn set_listening(&self, open: bool) {
        self.wanted.send_replace(open);
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self
            .listening
            .subscribe()
            .wait_for(|listening| *listening == open)
            .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running provider. Dropping it closes its port and its connections.
pub struct Provider {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Provider {
    /// Binds and starts to serve. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound, or the TLS certificate and key are unusable.
    pub fn start(options: Options) -> io::Result<Self> {
        let tls = options.tls.as_ref().map(TlsPem::acceptor).transpose()?;
        let listener = bind(options.listen)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            api: options.api,
            started: Instant::now(),
            tls,
            require_key: options.require_key,
            state: Mutex::new(State {
                script: options.script,
                keys: options.keys,
                ..State::default()
            }),
            version: watch::Sender::new(0),
            wanted: watch::Sender::new(true),
            listening: watch::Sender::new(true),
        });
        let accept = tokio::spawn(accept(listener, addr, Arc::clone(&shared)));
        Ok(Self {
            addr,
            shared,
            tasks: Mutex::new(vec![accept]),
        })
    }

    /// Serves the control API, see [`crate::control`]; returns the address it listens on.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn serve_control(&self, listen: SocketAddr) -> io::Result<SocketAddr> {
        let listener = bind(listen)?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(crate::control::serve(listener, Arc::clone(&self.shared)));
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(addr)
    }

    /// `http://127.0.0.1:port` (or `https`), without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Adds a step to the end of the queue.
    pub fn script(&self, step: impl Into<Step>) {
        let step = step.into();
        self.shared.update(|state| state.script.steps.push(step));
    }

    /// Sets what happens to every request for which no step is left.
    pub fn always(&self, act: impl Into<Behaviour>) {
        self.always_when(When::default(), act);
    }

    /// Sets what happens to every request that matches and for which no step is left. A rule with a condition goes
    /// before the one without.
    pub fn always_when(&self, when: When, act: impl Into<Behaviour>) {
        let act = act.into();
        self.shared.update(|state| state.script.stand(Rule { when, act }));
    }

    /// Sets the accepted keys; empty accepts any.
    pub fn accept_keys<K: Into<String>>(&self, keys: impl IntoIterator<Item = K>) {
        let keys = keys.into_iter().map(Into::into).collect();
        self.shared.update(|state| state.keys = keys);
    }

    /// Forgets script, requests and counts.
    pub fn reset(&self) {
        self.shared.update(|state| {
            state.script = Script::default();
            state.seen.reset();
        });
    }

    /// The requests, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.read(|state| state.seen.requests.iter().cloned().collect())
    }

    /// The responses that the peer cut by closing, with the time it was noticed.
    pub fn cancelled(&self) -> Vec<Cancelled> {
        self.shared.read(|state| state.seen.cancelled.clone())
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> u64 {
        self.shared.read(|state| state.seen.open_connections)
    }

    /// A copy of everything it saw.
    pub fn seen(&self) -> Seen {
        self.shared.read(|state| state.seen.clone())
    }

    /// Waits until the condition holds of what the provider saw.
    ///
    /// # Errors
    /// It did not hold within `deadline`; the error says what was seen instead.
    pub async fn wait_for(&self, condition: impl Fn(&Seen) -> bool, deadline: Duration) -> Result<(), NotSeen> {
        let mut version = self.shared.version.subscribe();
        let holds = || self.shared.read(|state| condition(&state.seen));
        // The sender lives in `self.shared`, so the wait cannot fail.
        let wait = async { while !holds() && version.changed().await.is_ok() {} };
        let late = tokio::time::timeout(deadline, wait).await.is_err();
        if late && !holds() {
            Err(self.shared.read(|state| NotSeen::new(deadline, &state.seen)))
        } else {
            Ok(())
        }
    }

    /// Closes port and connections: the next connect is refused, and nobody else is given the port. Returns when it is so.
    pub async fn down(&self) {
        self.shared.set_listening(false).await;
    }

    /// Opens the same port again. Returns when it is so.
    pub async fn up(&self) {
        self.shared.set_listening(true).await;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = StdListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Accepts until aborted. The connections' tasks are in its set, so they end with it.
async fn accept(mut listener: TcpListener, addr: SocketAddr, shared: Arc<Shared>) {
    let mut wanted = shared.wanted.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(connect(tcp, Opened::new(Arc::clone(&shared))));
                }
                // Out of file descriptors, mostly: give the others time to close.
                Err(_) => tokio::time::sleep(RETRY).await,
            },
            () = async { let _ = wanted.wait_for(|wanted| !*wanted).await; } => {
                drop(listener);
                let reserved = until_ok(|| reserve(addr)).await;
                connections.shutdown().await;
                shared.listening.send_replace(false);
                // The sender lives in `shared`, so the wait cannot fail.
                let _ = wanted.wait_for(|wanted| *wanted).await;
                listener = until_ok(|| listen(&reserved)).await;
                shared.listening.send_replace(true);
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Holds the port without listening: a connect is refused, and nobody else is given the port meanwhile.
fn reserve(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(reserved: &Socket) -> io::Result<TcpListener> {
    reserved.listen(1024)?;
    reserved.set_nonblocking(true)?;
    TcpListener::from_std(reserved.try_clone()?.into())
}

/// Tries again until the system lets it: a port just closed may take a moment to be free.
async fn until_ok<T>(attempt: impl Fn() -> io::Result<T>) -> T {
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn connect(tcp: TcpStream, opened: Opened) {
    // What is written is meant to arrive as it was written.
    let _ = tcp.set_nodelay(true);
    let transport = match &opened.shared.tls {
        None => Transport::Plain(tcp),
        Some(tls) => match tls.accept(tcp).await {
            Ok(tls) => Transport::Tls(Box::new(tls)),
            Err(_) => return opened.shared.update(|state| state.seen.failed_handshakes += 1),
        },
    };
    connection::serve(transport, &opened.shared, opened.number).await;
}

/// Counts a connection as open for as long as its task lives.
struct Opened {
    shared: Arc<Shared>,
    number: u64,
}

impl Opened {
    fn new(shared: Arc<Shared>) -> Self {
        let number = shared.update(|state| {
            state.seen.open_connections += 1;
            state.seen.connections += 1;
            state.seen.connections
        });
        Self { shared, number }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.shared
            .update(|state| state.seen.open_connections = state.seen.open_connections.saturating_sub(1));
    }
}
