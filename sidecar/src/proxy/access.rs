//! Access rules in a request's life: decided before anything is spent on it, and again for each that may be asked.
//!
//! Rules are `core::access`'s. Here they are given the facts, and what they say is told: a denial is a 403 with the rule's name,
//! in the record, the metrics and the log; of rules in shadow it is counted and the request passes. A configuration without
//! rules costs one look at a flag.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bowsprit_core::access::{About, CallerFacts, CandidateFacts, Denial, Facts, Headers, Pinned, Policy, RequestFacts};
use bowsprit_core::call::Operation;
use bowsprit_core::config::Route;
use bowsprit_core::dialect::{Features, features};
use bowsprit_core::fault::Code;
use bowsprit_core::record::Refuser;
use http::HeaderMap;

use super::context::RequestContext;
use super::ground::Ground;
use super::inbound::Inbound;
use super::path;
use super::refuse::Refusal;
use crate::observe::access::{Decided, Decisions};
use crate::process::Process;
use crate::tenant::snapshot::Snapshot;

/// The rules that a request is under, and what they look at.
pub(super) struct Access<'a> {
    policies: Vec<&'a Policy>,
    facts: Facts<'a>,
    decisions: &'a Decisions,
    /// The first rule that forbade a candidate.
    forbade: RefCell<Option<(Arc<str>, String)>>,
    /// The first rule in shadow that would have denied something.
    shadow: RefCell<Option<Arc<str>>>,
    /// Candidates that it was asked about, and those of them that rules forbid or, in shadow, would forbid.
    candidates: Cell<(u32, u32)>,
}

/// Reads what the rules of this request look at; `None`: there are none.
fn ground(snapshot: &Snapshot, context: &RequestContext, inbound: &Inbound) -> Result<Option<Box<Ground>>, Refusal> {
    let (mut reads_body, mut is_about_candidates, mut is_ruled) = (false, false, false);
    for policy in policies(snapshot, context.route.as_deref()) {
        is_ruled = true;
        reads_body |= policy.reads_body();
        is_about_candidates |= policy.is_about(About::Candidate);
    }
    if !is_ruled {
        return Ok(None);
    }
    let is_read = matches!(inbound.call.operation, Operation::Generate | Operation::Count);
    let features = if is_read && reads_body {
        features(inbound.call.dialect, &inbound.body)?
    } else {
        Features::default()
    };
    Ok(Some(Box::new(Ground {
        pod: context.caller.pod.clone().unwrap_or_default(),
        route: context.route.clone(),
        path: path::plain(&inbound.path_below),
        features,
        is_about_candidates,
    })))
}

/// Decides what can be decided before anybody is asked. What is read for it serves again when there are candidates.
///
/// # Errors
/// The refusal by the first rule that does not hold, or of a body in which the rules cannot find what they look at.
pub(super) fn check(
    process: &Process,
    snapshot: &Snapshot,
    context: &mut RequestContext,
    inbound: &Inbound,
) -> Result<Option<Box<Ground>>, Refusal> {
    if !snapshot.has_access {
        return Ok(None);
    }
    let Some(ground) = ground(snapshot, context, inbound)? else {
        return Ok(None);
    };
    let headers = RequestHeaders(&inbound.headers);
    let access = Access::new(
        &ground,
        snapshot,
        context,
        &process.sinks.decisions,
        (inbound, &headers),
    );
    let denied = access.first_denial(About::Request, &access.facts);
    if let Some(rule) = access.shadow.take() {
        context.would_be_turned_away_by(Refuser::Access, &rule);
    }
    if let Some(denied) = denied {
        return Err(denied.refuse(context));
    }
    process.sinks.decisions.allowed();
    Ok(Some(ground))
}

/// The rules of a request: those of each UsagePolicy, and then those of its route.
pub(super) fn policies<'a>(snapshot: &'a Snapshot, route: Option<&'a Route>) -> impl Iterator<Item = &'a Policy> {
    let of_namespace = snapshot
        .config
        .policies
        .iter()
        .filter_map(|policy| policy.access.as_deref());
    of_namespace.chain(route.and_then(|route| route.access.as_deref()))
}

/// What rules look at: a request, and who asks.
pub(super) fn facts<'a>(
    ground: &'a Ground,
    in_pod: bool,
    request: RequestFacts<'a>,
    headers: &'a RequestHeaders<'a>,
) -> Facts<'a> {
    let (pod, route) = (&*ground.pod, ground.route.as_deref());
    let known = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
    Facts {
        request,
        caller: CallerFacts {
            pod: known(&pod.name),
            workload: known(&pod.workload),
            service_account: known(&pod.service_account),
            namespace: known(&pod.namespace),
            in_pod,
            labels: &pod.labels,
            headers,
        },
        route: route.map_or("", |route| route.name.as_str()),
        candidate: CandidateFacts::default(),
    }
}

impl<'a> Access<'a> {
    /// The rules of this request.
    pub(super) fn new(
        ground: &'a Ground,
        snapshot: &'a Snapshot,
        context: &RequestContext,
        decisions: &'a Decisions,
        (inbound, headers): (&'a Inbound, &'a RequestHeaders<'a>),
    ) -> Self {
        let call = &inbound.call;
        let request = RequestFacts {
            operation: call.operation,
            method: inbound.method.as_str(),
            path: &ground.path,
            dialect: call.dialect,
            model: &call.model,
            stream: call.stream,
            max_tokens: call.max_tokens,
            input_tokens: call.input_tokens,
            features: ground.features,
            is_unread: false,
            pinned: if inbound.is_pinned() {
                Pinned::To(call.dialect.family())
            } else {
                Pinned::No
            },
        };
        Self {
            policies: policies(snapshot, ground.route.as_deref()).collect(),
            facts: facts(ground, context.caller.is_in_pod(), request, headers),
            decisions,
            forbade: RefCell::default(),
            shadow: RefCell::default(),
            candidates: Cell::default(),
        }
    }

    /// The rule that forbids to ask this provider for this model.
    pub(super) fn forbids(&self, provider: &str, model: &str) -> Option<Arc<str>> {
        let mut facts = self.facts;
        facts.candidate = CandidateFacts { provider, model };
        let in_shadow = self.shadow.take();
        let denied = self.first_denial(About::Candidate, &facts);
        let is_out = denied.is_some() || self.shadow.borrow().is_some();
        if in_shadow.is_some() {
            self.shadow.replace(in_shadow);
        }
        let (asked, out) = self.candidates.get();
        self.candidates.set((asked + 1, out + u32::from(is_out)));
        let denied = denied?;
        let rule = Arc::clone(&denied.rule);
        self.forbade.borrow_mut().get_or_insert((denied.rule, denied.told));
        Some(rule)
    }

    /// The rule in shadow without which nobody would be forbidden, where rules would leave out every candidate that was asked about.
    pub(super) fn would_deny_all(&self) -> Option<Arc<str>> {
        let (asked, out) = self.candidates.get();
        self.shadow.take().filter(|_| asked > 0 && asked == out)
    }

    /// The refusal of a request for which every candidate is forbidden.
    pub(super) fn denied_by_all(&self) -> Option<Denied> {
        let forbade = self.forbade.borrow();
        forbade.as_ref().map(|(rule, told)| Denied {
            rule: Arc::clone(rule),
            told: told.clone(),
        })
    }

    fn first_denial(&self, about: About, facts: &Facts<'_>) -> Option<Denied> {
        let mut first = None;
        for policy in &self.policies {
            for denial in policy.denials(about, facts) {
                self.count(&denial);
                if policy.is_enforced {
                    first.get_or_insert_with(|| Denied {
                        rule: Arc::clone(&denial.rule.name),
                        told: denial.told(),
                    });
                } else {
                    let mut shadow = self.shadow.borrow_mut();
                    shadow.get_or_insert_with(|| Arc::clone(&denial.rule.name));
                }
            }
        }
        first
    }

    fn count(&self, denial: &Denial<'_>) {
        let decided = if denial.policy.is_enforced {
            Decided::Denied
        } else {
            Decided::WouldDeny
        };
        self.decisions
            .denied(&denial.rule.name, decided, denial.fault.is_some());
    }
}

/// A request that a rule does not allow.
pub(super) struct Denied {
    rule: Arc<str>,
    told: String,
}

impl Denied {
    /// As an answer, and in the request's record.
    pub(super) fn refuse(self, context: &mut RequestContext) -> Refusal {
        context.turned_away_by(Refuser::Access, &self.rule);
        Refusal::new(Code::AuthAccessDenied, self.told)
    }
}

impl Headers for RequestHeaders<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
}

/// The headers of a request, for rules.
pub(super) struct RequestHeaders<'a>(pub &'a HeaderMap);
