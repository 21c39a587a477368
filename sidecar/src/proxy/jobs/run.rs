//! Making a job's request: as one of the app's, over a connection in memory, under the job's id.
//!
//! So it is planned, limited, guarded, cached, charged and recorded as any other, by the same code. When the drain begins what runs is
//! given up at once: it is run again after the restart, and nobody's end waits for it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::fault::Code;
use bowsprit_core::jobs::{Ended, Heard, Job, may_pass};
use bowsprit_core::queue::Class;
use bytes::{Bytes, BytesMut};
use futures::future::FusedFuture as _;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::super::own_headers::PRIORITY;
use super::super::refuse::X_SHOULD_RETRY;
use super::super::request_id::X_REQUEST_ID;
use crate::jobs::Jobs;
use crate::jobs::files::Answer;
use crate::process::Process;

/// Room of the connection in memory, bytes each way.
const PIPE: usize = 64 << 10;
/// How long a connection may take to end once all has been said on it.
const GOODBYE: Duration = Duration::from_secs(1);
/// The most of an error's body that its code is looked for in.
const ERROR: usize = 64 << 10;

/// Makes the requests of all jobs. Ends when the drain begins.
pub async fn run(process: Arc<Process>) {
    let Some(jobs) = &process.jobs else {
        return process.drain.draining().await;
    };
    let mut running = FuturesUnordered::new();
    loop {
        for job in jobs.start().await {
            running.push(attempt(&process, jobs, job));
        }
        tokio::select! {
            biased;
            () = process.drain.draining() => return,
            Some(()) = running.next() => {}
            () = jobs.wait() => {}
        }
    }
}

async fn attempt(process: &Arc<Process>, jobs: &Jobs, job: Job) {
    // A panic costs this one attempt: the part that it runs in goes on.
    let work = AssertUnwindSafe(ask(process, jobs, &job)).catch_unwind();
    let ended = tokio::select! {
        biased;
        () = jobs.forgotten(&job.id) => None,
        ended = work => Some(ended),
    };
    let (ended, answer) = match ended {
        None => (Ended::Cut, None),
        Some(Ok(ended)) => ended,
        Some(Err(_panic)) => {
            tracing::error!(job = job.id, "a job's attempt panicked");
            (Ended::Cut, None)
        }
    };
    jobs.ended(&job.id, ended, answer).await;
}

type Outcome = (Ended, Option<(Answer, Bytes)>);

async fn ask(process: &Arc<Process>, jobs: &Jobs, job: &Job) -> Outcome {
    let kept = async { Ok::<_, std::io::Error>((jobs.files.read(&job.id).await?, jobs.files.request(&job.id).await?)) };
    let ((said, _), body) = match kept.await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::error!(job = job.id, %error, "a job cannot be read: it has failed");
            let heard = of_ours(Code::SysInternal);
            return (Ended::ForGood { heard, bytes: 0 }, None);
        }
    };
    let Some(request) = request(job, said.headers(), body) else {
        let heard = of_ours(Code::ValHttp);
        return (Ended::ForGood { heard, bytes: 0 }, None);
    };
    let most = usize::try_from(jobs.largest_answer()).unwrap_or(usize::MAX);
    match exchange(process, request, most).await {
        Ok((head, body)) => judge(&head, body),
        Err(Lost::TooLarge) => {
            tracing::warn!(
                job = job.id,
                most,
                "a job's answer is larger than there is room for: it has failed"
            );
            let heard = of_ours(Code::ValTooLarge);
            (Ended::ForGood { heard, bytes: 0 }, None)
        }
        Err(Lost::Broken) => {
            let heard = of_ours(Code::ExtTruncated);
            let (bytes, hint) = (0, None);
            (Ended::ForNow { heard, bytes, hint }, None)
        }
    }
}

fn of_ours(code: Code) -> Heard {
    Heard {
        status: code.status(),
        code: Some(code.as_str().to_owned()),
    }
}

fn request(job: &Job, mut headers: HeaderMap, body: Vec<u8>) -> Option<Request<Full<Bytes>>> {
    headers.insert(X_REQUEST_ID, HeaderValue::try_from(&job.id).ok()?);
    headers.insert(PRIORITY, HeaderValue::from_static(Class::Background.as_str()));
    headers.insert(HOST, HeaderValue::from_static("jobs"));
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = job.path.parse().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

enum Lost {
    /// The answer is larger than there is room for.
    TooLarge,
    /// It broke off.
    Broken,
}

/// One request of the app's, on a connection that only ever carries it.
async fn exchange(
    process: &Arc<Process>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<(response::Parts, Bytes), Lost> {
    let (near, far) = tokio::io::duplex(PIPE);
    let service = service_fn(|request: Request<Incoming>| {
        // The pod's own: whoever posted the job came over loopback. Boxed: it is large.
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Box::pin(super::super::handle(Arc::clone(process), peer, request)).map(Ok::<_, Infallible>)
    });
    let mut serving = std::pin::pin!(
        server::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .fuse()
    );
    let (mut sender, connection) = client::handshake(TokioIo::new(near)).await.map_err(|_| Lost::Broken)?;
    let mut connection = std::pin::pin!(connection.fuse());
    let asking = async move {
        let (head, mut body) = sender
            .send_request(request)
            .await
            .map_err(|_| Lost::Broken)?
            .into_parts();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Lost::Broken)?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > most {
                return Err(Lost::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
        Ok((head, whole.freeze()))
    };
    let mut asking = std::pin::pin!(asking);
    let answered = loop {
        // An end of either side shows in what is asked.
        tokio::select! {
            answered = &mut asking => break answered,
            _ = &mut serving => {}
            _ = &mut connection => {}
        }
    };
    if answered.is_ok() {
        // The last byte is here before whoever sent it has looked whether there are more: given up now, the request would count as
        // one whose caller had left.
        let ends = async {
            tokio::join!(
                async {
                    if !connection.is_terminated() {
                        let _ = (&mut connection).await;
                    }
                },
                async {
                    if !serving.is_terminated() {
                        let _ = (&mut serving).await;
                    }
                },
            )
        };
        let _ = tokio::time::timeout(GOODBYE, ends).await;
    }
    answered
}

/// What an answer means for its job.
fn judge(head: &response::Parts, body: Bytes) -> Outcome {
    let status = head.status.as_u16();
    let bytes = body.len() as u64;
    let code = (status >= 400).then(|| code(&body)).flatten();
    let heard = Heard {
        status,
        code: code.map(|code| code.as_str().to_owned()),
    };
    let should_retry = head.headers.get(X_SHOULD_RETRY).map(|value| value == "true");
    let ended = if status >= 400 && may_pass(status, should_retry, code) {
        let seconds = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let hint = seconds.map(Duration::from_secs);
        Ended::ForNow { heard, bytes, hint }
    } else {
        Ended::ForGood { heard, bytes }
    };
    (ended, Some((Answer::new(status, &head.headers), body)))
}

/// The sidecar's code in an error's body, whichever API's it is.
fn code(body: &[u8]) -> Option<Code> {
    let error: serde_json::Value = serde_json::from_slice(body.get(..body.len().min(ERROR))?).ok()?;
    let told = error.get("error")?.get("bowsprit_code")?.as_str()?;
    Code::ALL.iter().copied().find(|code| code.as_str() == told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Ended {
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        judge(&response.into_parts().0, Bytes::from_static(body.as_bytes())).0
    }

    #[test]
    fn an_answer_ends_a_job_and_an_outage_does_not() {
        assert!(matches!(judged(200, &[], "{}"), Ended::ForGood { heard, bytes: 2 } if heard.code.is_none()));
        assert!(matches!(
            judged(400, &[("x-should-retry", "false")], "{}"),
            Ended::ForGood { .. }
        ));
        let body = r#"{"error": {"bowsprit_code": "BIZ_BUDGET_SPENT"}}"#;
        let Ended::ForNow { heard, hint, .. } =
            judged(429, &[("x-should-retry", "false"), ("retry-after", "90")], body)
        else {
            panic!("a budget has a next window");
        };
        assert_eq!(
            (heard.code.as_deref(), hint),
            (Some("BIZ_BUDGET_SPENT"), Some(Duration::from_secs(90)))
        );
        assert!(matches!(
            judged(502, &[("x-should-retry", "true")], "no JSON"),
            Ended::ForNow { hint: None, .. }
        ));
    }
}
