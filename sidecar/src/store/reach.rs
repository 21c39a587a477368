//! How a store is reached: the URL in its Secret, read anew for each connection, as passwords are rotated; TLS; the addresses
//! that it may be at.

use std::sync::Arc;

use bowsprit_core::address::{Class, Policy};
use bowsprit_core::config::{CaBundle, KeySource, LimitStore};
use bowsprit_core::share::store::address::{Address, Node};
use bowsprit_core::share::store::resp::{self, Reply};
use bytes::BytesMut;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::credentials::KeyFiles;
use crate::net::client::{Connections, Guard};

/// A connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// How one store is reached.
pub(super) struct Reach {
    url: KeySource,
    ca_bundle: Option<CaBundle>,
    keys: Arc<KeyFiles>,
    connections: Arc<Connections>,
    guard: Guard,
}

impl Reach {
    pub(super) fn new(settings: &LimitStore, keys: &Arc<KeyFiles>, connections: &Arc<Connections>) -> Self {
        // Loopback too: a proxy that a pod has for its store is there.
        let policy = Policy::new([Class::Public, Class::Private, Class::Loopback]);
        Self {
            url: settings.url.clone(),
            ca_bundle: settings.ca_bundle.clone(),
            keys: Arc::clone(keys),
            connections: Arc::clone(connections),
            guard: connections.guard(policy),
        }
    }

    pub(super) fn secret(&self) -> &str {
        match &self.url {
            KeySource::Secret { name, .. } | KeySource::Env(name) | KeySource::File(name) => name,
        }
    }

    /// A connection to this node (`None`: the one that the URL names) that has let us in, and which it is.
    ///
    /// # Errors
    /// Why there is none, for people. Says no password, and of what the node said no more than the kind of its error.
    pub(super) async fn connect(&self, to: Option<&Node>) -> Result<(Box<dyn Io>, Node), String> {
        let url = self.keys.read_text(&self.url)?;
        let address = Address::parse(&url).map_err(|bad| format!("the URL in Secret {} {bad}", self.secret()))?;
        let node = to.unwrap_or(&address.node).clone();
        let stream = self
            .guard
            .connect(&node.host, node.port)
            .await
            .map_err(|fault| fault.to_string())?;
        let mut io: Box<dyn Io> = if address.tls {
            let config = self.connections.trust(self.ca_bundle.as_ref())?;
            // It speaks no HTTP.
            let mut config = rustls::ClientConfig::clone(&config);
            config.alpn_protocols.clear();
            let name = ServerName::try_from(node.host.clone())
                .map_err(|_| format!("{:?} is no TLS server name", node.host))?;
            let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            Box::new(connected.map_err(|error| format!("TLS with {node}: {error}"))?)
        } else {
            Box::new(stream)
        };
        introduce(&mut io, &address)
            .await
            .map_err(|why| format!("{node} {why}"))?;
        Ok((io, node))
    }
}

/// Says who asks, and in which database.
async fn introduce(io: &mut Box<dyn Io>, address: &Address) -> Result<(), String> {
    // Written once, into what is wiped and never grows.
    let mut words = Zeroizing::new(Vec::with_capacity(256 + address.user.len() + address.password.len()));
    let mut answers = 1;
    if !address.password.is_empty() {
        resp::begin(&mut words, if address.user.is_empty() { 2 } else { 3 });
        resp::text(&mut words, b"AUTH");
        if !address.user.is_empty() {
            resp::text(&mut words, address.user.as_bytes());
        }
        resp::text(&mut words, address.password.as_bytes());
        answers += 1;
    }
    if address.database != 0 {
        resp::begin(&mut words, 2);
        resp::text(&mut words, b"SELECT");
        resp::number(&mut words, address.database.into());
        answers += 1;
    }
    resp::begin(&mut words, 1);
    resp::text(&mut words, b"PING");
    let broke = |error: std::io::Error| format!("broke off: {error}");
    io.write_all(&words).await.map_err(broke)?;
    io.flush().await.map_err(broke)?;
    let mut read = BytesMut::new();
    while answers > 0 {
        if let Some((reply, took)) = resp::parse(&read).map_err(|garbage| garbage.to_string())? {
            match reply {
                Reply::Error(error) => return Err(format!("refused: {}", resp::kind(error))),
                Reply::Simple(_) => {}
                _ => return Err(resp::Garbage.to_string()),
            }
            let _ = read.split_to(took);
            answers -= 1;
        } else if io.read_buf(&mut read).await.map_err(broke)? == 0 {
            return Err("closed the connection".into());
        }
    }
    if read.is_empty() {
        Ok(())
    } else {
        Err(resp::Garbage.to_string())
    }
}
