//! One HTTP exchange over a forwarded port: to the sidecar it comes from inside the pod.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kube::api::Portforwarder;
use tokio::io::DuplexStream;

use crate::failure::whole;

/// A port of a pod.
pub(crate) struct Connection {
    // Its task carries the bytes: it lives as long as the connection.
    forwarder: Portforwarder,
    stream: DuplexStream,
    trouble: std::pin::Pin<Box<dyn Future<Output = Option<String>> + Send>>,
}

impl Connection {
    /// The forwarded port, once.
    pub(crate) fn new(mut forwarder: Portforwarder, port: u16) -> Option<Self> {
        let stream = forwarder.take_stream(port)?;
        let trouble = forwarder.take_error(port)?;
        Some(Self {
            forwarder,
            stream,
            trouble: Box::pin(trouble),
        })
    }

    /// The bytes alone, with what must be kept while they flow.
    pub(crate) fn into_stream(self) -> (DuplexStream, Portforwarder) {
        (self.stream, self.forwarder)
    }

    /// Sends a request and waits for the answer's head, so long.
    ///
    /// # Errors
    /// In words: nothing listens there, no answer came, it was no HTTP.
    pub(crate) async fn ask(self, request: Request<Full<Bytes>>, patience: Duration) -> Result<Asked, String> {
        let Self {
            forwarder,
            stream,
            trouble,
        } = self;
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| whole(&error))?;
            let driver = tokio::spawn(async move {
                let _ = connection.await;
                drop(forwarder);
            });
            let response = sender.send_request(request).await.map_err(|error| whole(&error))?;
            Ok(Asked {
                response,
                _driver: driver,
            })
        };
        // The kubelet says over a channel of its own that nothing listens there; the connection then just ends.
        let mut trouble = trouble.fuse();
        let answered = async {
            tokio::pin!(exchange);
            loop {
                tokio::select! {
                    said = &mut trouble => if let Some(said) = said {
                        return Err(said.trim().to_owned());
                    },
                    done = &mut exchange => return done,
                }
            }
        };
        tokio::time::timeout(patience, answered)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {patience:?} (--timeout)")))
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Head and body.
    pub(crate) response: Response<Incoming>,
    /// Carries the body; ends with it.
    _driver: tokio::task::JoinHandle<()>,
}
