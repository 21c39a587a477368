//! Sending a batch: over a connection that is kept for the next, with the pod's token as it is now.

use std::time::Duration;

use bowsprit_ledger::wire::BATCHES_PATH;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, judge};
use crate::limits::{LEDGER_ANSWER, LEDGER_POST};
use crate::net::client::{NoConnection, OwnService, Resolve};
use crate::observe::ledger::Sent;

/// A connection is given up when it is so old: its certificate and the replica behind the address change.
const OLD: Duration = Duration::from_mins(5);

/// A connection to the service.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// Sends a batch and waits for what becomes of it.
pub(super) async fn post(
    service: &OwnService,
    resolver: &dyn Resolve,
    connection: &mut Option<Connection>,
    body: Vec<u8>,
) -> Answer {
    let sent = async {
        let request = request(service, body)?;
        let kept = connection.take().filter(Connection::is_good);
        let mut open = match kept {
            Some(open) => open,
            None => connect(service, resolver).await?,
        };
        let closed = |error: hyper::Error| unreachable(&error);
        let answer = open.sender.send_request(request).await.map_err(closed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LEDGER_ANSWER).collect().await;
        let body = body.map_err(|error| unreachable(&*error))?.to_bytes();
        // Kept only where the answer was read to its end.
        *connection = Some(open);
        Ok::<(StatusCode, Bytes), Answer>((status, body))
    };
    match timeout(LEDGER_POST, sent).await {
        Ok(Ok((status, body))) => judge(status, &body),
        Ok(Err(answer)) => answer,
        Err(_) => Answer::NotNow(Sent::Unreachable, "gave up waiting for its answer".into()),
    }
}

fn request(service: &OwnService, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Answer> {
    let token = service.token().map_err(no_connection)?;
    let bearer = HeaderValue::try_from(format!("Bearer {}", token.as_str()));
    let (Ok(mut bearer), Ok(host)) = (bearer, HeaderValue::try_from(service.address.authority())) else {
        return Err(Answer::NotNow(Sent::Denied, "token or address are no header".into()));
    };
    bearer.set_sensitive(true);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(BATCHES_PATH);
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(AUTHORIZATION, bearer);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(request)
}

async fn connect(service: &OwnService, resolver: &dyn Resolve) -> Result<Connection, Answer> {
    Ok(Connection {
        sender: service.http(resolver).await.map_err(no_connection)?,
        since: Instant::now(),
    })
}

impl Connection {
    fn is_good(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < OLD
    }
}

fn no_connection(why: NoConnection) -> Answer {
    match why {
        NoConnection::Unreachable(why) => Answer::NotNow(Sent::Unreachable, why),
        NoConnection::NotMounted(why) | NoConnection::Tls(why) => Answer::NotNow(Sent::Untrusted, why),
    }
}

fn unreachable(error: &dyn std::error::Error) -> Answer {
    let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
    Answer::NotNow(Sent::Unreachable, format!("{error}{cause}"))
}
