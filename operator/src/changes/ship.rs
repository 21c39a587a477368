//! Sends what was applied to the ledger service, until it has it. One task of each replica, beside all else: whatever goes wrong costs
//! nothing but the history.

use std::time::{Duration, Instant};

use bowsprit_core::changes::{CHANGES_PATH, Change, Changes as Message};
use bowsprit_crds::names;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{History, Stored, revision_of, uid_of};
use crate::link::{Link, Linked, NoLink};
use crate::objects::Store;

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries while the service is away: doubled up to [`MAX_PAUSE`], with up to as much again by chance.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// For one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer.
const MAX_ANSWER: usize = 16 << 10;

/// What it takes to send.
pub struct Shipping {
    /// What waits.
    pub changes: History,
    /// The objects as they are.
    pub store: Store,
    /// The way to the service, which is reached by the name in its certificate.
    pub link: Link,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("it took too long")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    NoLink(#[from] NoLink),
    #[error("HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request")]
    Request(#[from] http::Error),
    #[error("it answers {0}: {1}")]
    Refused(StatusCode, String),
}

impl Shipping {
    /// Never returns.
    pub async fn run(self) {
        let mut pause = PAUSE;
        let mut is_away = false;
        loop {
            let due = self.changes.due(Instant::now(), |change| stored(&self.store, change));
            let dropped = self.changes.dropped();
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    "the ledger service took no changes for so long that the oldest are not in its history"
                );
            }
            if due.is_empty() {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let sent = tokio::time::timeout(PATIENCE, self.send(&due)).await;
            match sent.map_err(NotTaken::from).and_then(|sent| sent) {
                Ok(()) => {
                    self.changes.taken(&due);
                    pause = PAUSE;
                    if std::mem::take(&mut is_away) {
                        tracing::info!("the ledger service takes changes again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(server = self.link.server, %error, source, "the ledger service takes no changes; they are kept and sent again");
                    }
                    tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64())).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    async fn send(&self, due: &[Change]) -> Result<(), NotTaken> {
        let linked = self
            .link
            .connect((self.link.server.as_str(), names::LEDGER_PORT))
            .await?;
        let Linked {
            mut sender,
            connection,
            bearer,
        } = linked;
        // It ends with the answer: the sender is dropped then.
        let connection = tokio::spawn(connection);
        let message = Message { changes: due.to_vec() };
        let body = serde_json::to_vec(&message).unwrap_or_default();
        let request = Request::post(CHANGES_PATH)
            .header(header::HOST, &self.link.server)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, bearer)
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let said = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        connection.abort();
        if status.is_success() {
            return Ok(());
        }
        let said = said.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let said: String = String::from_utf8_lossy(&said).chars().take(300).collect();
        Err(NotTaken::Refused(status, said))
    }
}

/// How the object of a change is stored now.
fn stored(store: &Store, change: &Change) -> Stored {
    let uid = uid_of(&change.id);
    let is_it = |metadata: &ObjectMeta| metadata.uid.as_deref() == Some(uid);
    let namespace = change.namespace.as_str();
    let found = if change.kind == "ProviderConfig" {
        let providers = store.providers(namespace);
        let found = providers.iter().find(|it| is_it(&it.metadata));
        found.map(|it| Stored::At(it.metadata.generation.unwrap_or(0), revision_of(&it.spec)))
    } else {
        let routes = store.routes(namespace);
        let found = routes.iter().find(|it| is_it(&it.metadata));
        found.map(|it| Stored::At(it.metadata.generation.unwrap_or(0), revision_of(&it.spec)))
    };
    found.unwrap_or(Stored::Gone)
}
