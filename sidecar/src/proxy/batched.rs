//! Access rules and the requests of a batch: each of them is under the rules that hold below `/providers/`, as if it came alone.
//!
//! They are read while the body that brings them passes ([`bowsprit_core::batches::requests`]). The first that a rule forbids, or that
//! cannot be read, ends the upload before its last byte is sent on, so that the provider is left with a body that broke off and makes
//! no batch of it. Rules in shadow are counted, and refuse nothing. Each rule is counted once for a batch.

use std::fmt::Write as _;
use std::sync::Arc;

use bowsprit_core::access::{About, CandidateFacts, Denial, Pinned, RequestFacts};
use bowsprit_core::batches::requests::{self, Request, Requests, Sent, Unread, Why};
use bowsprit_core::fault::Code;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method};
use hyper::body::Incoming;

use super::access::{self, RequestHeaders};
use super::context::RequestContext;
use super::ground::Ground;
use super::inbound::Inbound;
use super::refuse::{Refusal, clip};
use super::verdict::{Refused, Verdict};
use crate::memory::Room;
use crate::net::client::Look;
use crate::observe::access::Decided;
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// A request's body that is still arriving, and the rules that look into it.
pub(super) struct Arriving {
    /// The body.
    pub body: Incoming,
    /// The rules, where it may bring a batch.
    pub rules: Option<Box<Rules>>,
}

/// The answer to the caller of a body that may not pass.
pub(super) fn refusal(verdict: &Verdict) -> Refusal {
    verdict.refused.get().map_or_else(Refusal::internal, answer)
}

fn answer(refused: &Refused) -> Refusal {
    Refusal::new(refused.code, refused.text.clone())
}

/// The rules of a batch, on its way.
pub(super) struct Rules {
    asks: Asks,
    requests: Requests,
    room: Room,
    found: Found,
    is_told: bool,
    verdict: Arc<Verdict>,
}

/// What a request is asked about with.
struct Asks {
    process: Arc<Process>,
    snapshot: Arc<Snapshot>,
    ground: Box<Ground>,
    headers: HeaderMap,
    is_in_pod: bool,
    provider: String,
    is_enforced: bool,
}

/// What the rules have said until now. Of a file it counts once it is known to be a batch's.
#[derive(Default)]
struct Found {
    /// Rules that did not hold, each once, and whether one could not be decided.
    rules: Vec<(Arc<str>, Decided, bool)>,
    refused: Option<Refused>,
    would: Option<Arc<str>>,
}

impl Rules {
    /// Those that look into the body of this request, if it may bring a batch.
    ///
    /// # Errors
    /// It may, and cannot be read.
    pub(super) fn of(
        process: &Arc<Process>,
        snapshot: &Arc<Snapshot>,
        context: &mut RequestContext,
        inbound: &Inbound,
        (ground, provider): (Box<Ground>, &str),
    ) -> Result<Option<Box<Self>>, Refusal> {
        let dialect = inbound.call.dialect;
        let sent = requests::sent(dialect, &ground.path).filter(|_| inbound.method == Method::POST);
        let Some(sent) = sent else { return Ok(None) };
        let policies = || access::policies(snapshot, None);
        let is_enforced = policies().any(|policy| policy.is_enforced);
        let reads_features = policies().any(bowsprit_core::access::Policy::reads_body);
        let kinds: Vec<_> = inbound.headers.get_all(CONTENT_TYPE).iter().collect();
        let kind = match kinds.as_slice() {
            [kind] => kind.to_str().unwrap_or_default(),
            _ => "",
        };
        let is_compressed = sent != Sent::Elsewhere && inbound.headers.contains_key(CONTENT_ENCODING);
        let requests = match Requests::new(dialect, sent, kind, reads_features) {
            Ok(Some(_)) if is_compressed => Err(Why::Unclear("is compressed")),
            requests => requests,
        };
        let requests = match requests {
            Ok(Some(requests)) => requests,
            Err(why) if is_enforced => {
                return Err(answer(&unread(&Unread { number: 0, why })));
            }
            Ok(None) | Err(_) => return Ok(None),
        };
        let verdict = Arc::new(Verdict::default());
        context.batched = Some(Arc::clone(&verdict));
        Ok(Some(Box::new(Self {
            asks: Asks {
                process: Arc::clone(process),
                snapshot: Arc::clone(snapshot),
                ground,
                headers: inbound.headers.clone(),
                is_in_pod: context.caller.is_in_pod(),
                provider: provider.to_owned(),
                is_enforced,
            },
            requests,
            room: process.memory.room(),
            found: Found::default(),
            is_told: false,
            verdict,
        })))
    }

    /// What they say, as far as they have.
    pub(super) fn verdict(&self) -> Arc<Verdict> {
        Arc::clone(&self.verdict)
    }

    /// Tells what was found, once it is known to be about a batch. Returns whether the body may go on.
    fn tell(&mut self) -> bool {
        if self.requests.is_batch() != Some(true) {
            return true;
        }
        let decisions = &self.asks.process.sinks.decisions;
        for (rule, decided, is_fault) in self.found.rules.drain(..) {
            decisions.denied(&rule, decided, is_fault);
        }
        if let Some(would) = self.found.would.take() {
            let _ = self.verdict.would_refuse.set(would);
        }
        let Some(refused) = self.found.refused.take() else {
            return true;
        };
        let _ = self.verdict.refused.set(refused);
        self.is_told = true;
        false
    }
}

impl Look for Rules {
    fn piece(&mut self, piece: &[u8], is_last: bool) -> bool {
        if self.is_told {
            return false;
        }
        let (asks, found) = (&self.asks, &mut self.found);
        self.requests.push(piece, is_last, &mut |request| match request {
            Ok(request) => asks.ask(&request, found),
            Err(problem) => asks.unread(&problem, found),
        });
        if !self.room.take_now(self.requests.held()) && asks.is_enforced {
            let text = "there is no room for a request of the batch, which access rules look into";
            found.refuse(None, Code::SysOverloaded, text.to_owned());
        }
        self.tell()
    }
}

impl Asks {
    fn ask(&self, request: &Request<'_>, found: &mut Found) {
        let headers = RequestHeaders(&self.headers);
        let about = RequestFacts {
            operation: request.operation,
            method: "POST",
            path: "",
            dialect: request.dialect,
            model: &request.model,
            stream: request.stream,
            max_tokens: request.max_tokens,
            input_tokens: request.input_tokens,
            features: request.features,
            is_unread: request.is_unread,
            pinned: Pinned::No,
        };
        let mut facts = access::facts(&self.ground, self.is_in_pod, about, &headers);
        facts.candidate = CandidateFacts {
            provider: &self.provider,
            model: &request.model,
        };
        for policy in access::policies(&self.snapshot, None) {
            for about in [About::Request, About::Candidate] {
                for denial in policy.denials(about, &facts) {
                    found.denied(&denial, request);
                }
            }
        }
    }

    fn unread(&self, problem: &Unread, found: &mut Found) {
        if self.is_enforced {
            let Refused { rule, code, text } = unread(problem);
            found.refuse(rule, code, text);
        }
    }
}

impl Found {
    fn denied(&mut self, denial: &Denial<'_>, request: &Request<'_>) {
        let (rule, is_fault) = (&denial.rule.name, denial.fault.is_some());
        let decided = if denial.policy.is_enforced {
            let text = denial.told() + &place(request.number, request.id.as_deref());
            self.refuse(Some(Arc::clone(rule)), Code::AuthAccessDenied, text);
            Decided::Denied
        } else {
            self.would.get_or_insert_with(|| Arc::clone(rule));
            Decided::WouldDeny
        };
        let is_it = |(known, other, _): &&mut (Arc<str>, Decided, bool)| known == rule && *other == decided;
        match self.rules.iter_mut().find(is_it) {
            Some(known) => known.2 |= is_fault,
            None => self.rules.push((Arc::clone(rule), decided, is_fault)),
        }
    }

    fn refuse(&mut self, rule: Option<Arc<str>>, code: Code, text: String) {
        self.refused.get_or_insert(Refused { rule, code, text });
    }
}

/// Where in a batch: ` (request 3 of the batch, "a")`.
fn place(number: u64, id: Option<&str>) -> String {
    let mut text = String::new();
    if number > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, " (request {number} of the batch");
        if let Some(id) = id {
            let _ = write!(text, ", {:?}", clip(id));
        }
        text.push(')');
    }
    text
}

fn unread(problem: &Unread) -> Refused {
    let Unread { number, why } = problem;
    let what = match number {
        0 => "the body".to_owned(),
        number => format!("request {number} of the batch"),
    };
    let code = match why {
        Why::TooLong => Code::ValTooLarge,
        Why::Wrong(error) => error.code,
        Why::Unclear(_) => Code::ValHttp,
    };
    Refused {
        rule: None,
        code,
        text: format!("{what}: {why}; access rules look into each request of a batch, and must be able to read it"),
    }
}
