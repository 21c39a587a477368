//! Asks for vectors in the background: those of next models (`cache.embeddings.next` of a ModelRoute), and those of a version that a
//! provider has put in the place of another.
//!
//! Each batch is a request of its own: under the rules, limits and budgets of its route, retried, recorded and billed like any, with the
//! provider's own key. What refuses it is waited out; what the app asks for never waits for it.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::dialect::tokens_of;
use bowsprit_core::kept::inputs::{Parted, batch};
use bowsprit_core::kept::refill::Ended;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::context::RequestContext;
use super::embeddings::partly::fresh;
use super::gather::{Gathered, gather};
use super::inbound::Inbound;
use super::limits::Patience;
use super::request_id::RequestId;
use super::{beside, ours, refuse, serve};
use crate::process::Process;
use crate::tenant::refill::Work;
use crate::tenant::refill::filling::Shared;

/// What stands behind the id of such a request.
const OF_OURS: &str = ".refill";
/// Batches of all routes at once.
const AT_ONCE: usize = 16;
/// How long nothing is asked for where there is no configuration, or the sidecar stops.
const IDLE: Duration = Duration::from_secs(5);

/// Asks for what is to be asked for. Ends never.
pub async fn run(process: Arc<Process>) {
    let refills = Arc::clone(&process.tenant.cache.refills);
    let what = "asking for vectors in the background";
    beside::each(
        AT_ONCE,
        what,
        || refills.next(&process.clock),
        |work| fill(&process, work),
    )
    .await;
}

async fn fill(process: &Arc<Process>, work: Work) {
    let ended = ask(process, &work).await;
    work.ended(ended, process.clock.now());
}

/// Asks for a batch, and keeps what comes.
async fn ask(process: &Arc<Process>, work: &Work) -> Ended {
    let tenant = &process.tenant;
    let (Some(snapshot), Some((_, first))) = (tenant.snapshot.load_full(), work.batch.jobs.first()) else {
        return Ended::Refused(Some(IDLE));
    };
    if process.drain.is_draining() {
        return Ended::Refused(Some(IDLE));
    }
    let shared = &first.shared;
    let vectors = tenant.cache.vectors_of(&work.route);
    let Some(epoch) = vectors.epoch(&work.route) else {
        // The configuration has changed.
        return Ended::Failed(None);
    };
    if !vectors.has_room(&work.route, work.batch.jobs.len()) {
        return Ended::NoRoom;
    }
    let id = RequestId::of_ours(RequestId::new().as_str(), OF_OURS);
    let mut context = RequestContext::begin(
        process,
        Arc::clone(tenant),
        shared.caller.clone(),
        id.clone(),
        shared.form.dialect(),
        shared.operation,
    );
    let texts = work.batch.jobs.iter().map(|(_, input)| &*input.text);
    let inbound = inbound(shared, batch(shared.form, &shared.body, texts));
    context.asked = Arc::clone(&inbound.call.model);
    (context.route, context.is_led) = (Some(Arc::clone(&work.route)), true);
    if let Err(refusal) = Box::pin(ours::admitted(
        process,
        &snapshot,
        &mut context,
        (&inbound, Patience::AsTheySay),
    ))
    .await
    {
        refuse::answer(context, &refusal);
        return Ended::Refused(refusal.retry_after);
    }
    let response = serve::serve(process, &snapshot, context, &inbound).await;
    let (head, body) = response.into_parts();
    match head.status {
        StatusCode::OK => {}
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            return Ended::Wrong;
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYMENT_REQUIRED => return Ended::Refused(later(&head.headers)),
        _ => return Ended::Failed(later(&head.headers)),
    }
    let inputs = work.batch.jobs.len();
    let Gathered::Whole(body) = gather(body, &process.memory).await else {
        return Ended::Failed(None);
    };
    let Some(mut parted) = Parted::of(shared.form, &body, inputs) else {
        return Ended::Wrong;
    };
    let fresh = fresh(&snapshot, &mut parted, &head.headers, (&id, &inbound.call.model), &body);
    let fresh: Vec<_> = work.batch.jobs.iter().map(|(key, _)| *key).zip(fresh).collect();
    tenant
        .cache
        .keep_vectors(&work.route, &fresh, process.clock.now(), epoch);
    Ended::Done
}

/// When the provider wants to be asked again.
fn later(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn inbound(shared: &Shared, body: Bytes) -> Inbound {
    let mut call = Call::new(shared.form.dialect(), Operation::Embed(shared.form));
    call.model = Arc::clone(&shared.model);
    call.tokens = tokens_of(body.len());
    call.input_tokens = call.tokens;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Inbound {
        call,
        method: Method::POST,
        path_below: String::new(),
        headers,
        query: None,
        keys_in_query: None,
        body,
        parts: None,
    }
}
