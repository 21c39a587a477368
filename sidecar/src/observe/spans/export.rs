//! Spans on their way to the collector: batches over a connection of their own, beside the requests and never in their way.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bowsprit_core::address::{Class, Policy};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};

use super::{Queue, Settings, protobuf};
use crate::net::client::{Answer, Endpoint, Guard, Origin, Outgoing, System, tls};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(2);
/// Pauses before a batch is sent again that the collector could not take; after the last it is given up.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Bytes of a collector's answer that are read.
const LONGEST_ANSWER: usize = 4 << 10;
/// How long the last batch may take when the sidecar stops.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("{0}")]
    Network(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("the collector answered {0}")]
    Status(StatusCode),
}

impl ExportError {
    /// Whether it may be taken later: what OTLP says of these.
    fn may_pass(&self) -> bool {
        match self {
            Self::Network(_) | Self::Late(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

/// Sends what waits, for as long as the sidecar runs.
pub async fn run(queue: Arc<Queue>) {
    let mut collector = Collector::default();
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = queue.full.notified() => {}
            () = tokio::time::sleep(queue.settings.delay) => {}
        }
        let (spans, count) = queue.take();
        if count == 0 {
            continue;
        }
        let sending = Sending { queue: &queue, count };
        let result = collector.send_patiently(&queue.settings, &spans).await;
        sending.told(&result);
        match &result {
            // Said when it begins and when it is over, not with every batch.
            Err(error) if !std::mem::replace(&mut is_failing, true) => {
                tracing::warn!(%error, endpoint = %queue.settings.endpoint, spans = count, "the collector does not take spans");
            }
            Ok(_) if std::mem::replace(&mut is_failing, false) => {
                tracing::info!(endpoint = %queue.settings.endpoint, "the collector takes spans again");
            }
            _ => {}
        }
    }
}

/// Sends what waits when the sidecar stops.
pub async fn last(queue: &Queue) {
    let (spans, count) = queue.take();
    if count == 0 {
        return;
    }
    let sending = Sending { queue, count };
    let mut collector = Collector::default();
    let sent = tokio::time::timeout(GOODBYE, collector.send(&queue.settings, &spans)).await;
    sending.told(&sent.unwrap_or(Err(ExportError::Late(GOODBYE))));
}

/// A batch under way, which is counted however that ends: dropped, it was given up when the sidecar stopped.
struct Sending<'a> {
    queue: &'a Queue,
    count: usize,
}

impl Sending<'_> {
    /// What the collector left out of it, it said.
    fn told(mut self, result: &Result<usize, ExportError>) {
        let count = std::mem::take(&mut self.count);
        let refused = result.as_ref().map_or(count, |rejected| *rejected.min(&count));
        self.queue.metrics.count("exported", count - refused);
        self.queue.metrics.count("refused", refused);
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.queue.metrics.count("refused", self.count);
            tracing::warn!(
                spans = self.count,
                "spans are given up: the sidecar stops while the collector does not take them"
            );
        }
    }
}

/// The way to the collector, which stays while it works.
#[derive(Default)]
struct Collector(Option<Arc<Origin>>);

impl Collector {
    /// Sends a batch, again if need be. Returns how many of its spans the collector left out.
    async fn send_patiently(&mut self, settings: &Settings, spans: &Bytes) -> Result<usize, ExportError> {
        for pause in AGAIN_AFTER {
            match self.send(settings, spans).await {
                Err(error) if error.may_pass() => tracing::debug!(%error, "spans are sent again"),
                done => return done,
            }
            tokio::time::sleep(pause).await;
        }
        self.send(settings, spans).await
    }

    async fn send(&mut self, settings: &Settings, spans: &Bytes) -> Result<usize, ExportError> {
        // Taken, so that what failed is made anew: certificates may have changed.
        let origin = match self.0.take() {
            Some(origin) => origin,
            None => Origin::new(endpoint(settings)?, Arc::default()),
        };
        let exchange = async {
            let sent = origin
                .send(
                    request(settings, spans.clone())?,
                    CONNECT.min(settings.timeout),
                    &AtomicBool::new(false),
                )
                .await;
            let Answer { head, mut body } = sent.map_err(|fault| ExportError::Network(fault.to_string()))?;
            if !head.status.is_success() {
                return Err(ExportError::Status(head.status));
            }
            // Read to its end, so that the connection can be used again.
            let mut answer = Vec::new();
            while let Some(piece) = std::future::poll_fn(|cx| body.poll_data(cx)).await {
                let piece = piece.map_err(|fault| ExportError::Network(fault.to_string()))?;
                answer.extend_from_slice(piece.get(..piece.len().min(LONGEST_ANSWER)).unwrap_or_default());
                if answer.len() > LONGEST_ANSWER {
                    break;
                }
            }
            Ok(protobuf::rejected(&answer))
        };
        let done = match tokio::time::timeout(settings.timeout, exchange).await {
            Ok(done) => done,
            Err(_) => Err(ExportError::Late(settings.timeout)),
        };
        if done.is_ok() {
            self.0 = Some(origin);
        }
        done
    }
}

fn endpoint(settings: &Settings) -> Result<Endpoint, ExportError> {
    let url = &settings.endpoint;
    let client = || {
        let pem = match &settings.certificate {
            Some(path) => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?,
            None => Vec::new(),
        };
        tls::client(&pem).map_err(|error| error.to_string())
    };
    let tls = url.is_https().then(client).transpose().map_err(ExportError::Network)?;
    Ok(Endpoint {
        host: url.host().to_owned(),
        port: url.port(),
        tls,
        proxy: None,
        guard: Guard {
            // Whoever sets the sidecar's environment says where its spans go.
            policy: Policy::new([Class::Public, Class::Private, Class::Loopback, Class::LinkLocal]),
            own_ports: Arc::default(),
            resolver: Arc::new(System),
        },
    })
}

fn request(settings: &Settings, body: Bytes) -> Result<Request<Outgoing>, ExportError> {
    let url = &settings.endpoint;
    let path = if url.path().is_empty() { "/" } else { url.path() };
    let mut request = Request::new(Outgoing::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path
        .parse()
        .map_err(|_| ExportError::Network(format!("{path:?} is no path")))?;
    let headers = request.headers_mut();
    headers.extend(settings.headers.iter().cloned());
    let host = HeaderValue::from_str(url.authority());
    headers.insert(
        HOST,
        host.map_err(|_| ExportError::Network("the endpoint's host is no header".into()))?,
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("bowsprit-sidecar/", env!("CARGO_PKG_VERSION"))),
    );
    Ok(request)
}
