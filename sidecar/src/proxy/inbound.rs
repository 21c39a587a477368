//! A request of the app as it was taken in: its facts, and the bytes that they were read from.

use std::sync::{Arc, Mutex};

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::config::Route;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::queue::Class;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::own_headers::PRIORITY;
use crate::sync::locked;

/// An admitted request.
pub(super) struct Inbound {
    /// What is asked.
    pub call: Call,
    /// The method as it came.
    pub method: Method,
    /// The path below a provider's own address, for what passes unread and for what is [pinned](Self::is_pinned); else empty.
    pub path_below: String,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The query without keys, if anything is left; where it is read, also without `alt`.
    pub query: Option<String>,
    /// The keys that stood in it, which say whose it is; looked for where answers are kept.
    pub keys_in_query: Option<Box<str>>,
    /// The body as it came; empty where it passes unread.
    pub body: Bytes,
    /// Where what came of a request in parts is left, should the rest fail; none: nobody wants it.
    pub parts: Option<Arc<Parts>>,
}

/// What came of a request that a provider takes in parts only: of embeddings, what is kept though a later part failed.
#[derive(Default)]
pub(super) struct Parts(Mutex<Option<Came>>);

/// The parts that were answered.
pub(super) struct Came {
    /// What is spoken with the provider.
    pub wire: Dialect,
    /// Who answered.
    pub by: HeaderValue,
    /// The bodies that were sent, and those that came back.
    pub parts: Vec<(Bytes, Bytes)>,
}

impl Parts {
    /// Leaves what has come until now; what a former attempt left goes, if it was no more.
    pub(super) fn leave(&self, came: Came) {
        let mut left = locked(&self.0);
        if left.as_ref().is_none_or(|left| left.parts.len() < came.parts.len()) {
            *left = Some(came);
        }
    }

    /// What was left.
    pub(super) fn take(&self) -> Option<Came> {
        locked(&self.0).take()
    }
}

impl Inbound {
    /// Whether it is for one provider, below `/providers/`, and read: it goes to the path that it came to.
    pub(super) fn is_pinned(&self) -> bool {
        !self.path_below.is_empty() && self.call.operation != Operation::PassThrough
    }

    /// How urgent it is: as its caller says, and no more than its route allows. Looked up where requests wait, and nowhere else.
    pub(super) fn class(&self, route: Option<&Route>) -> Class {
        let most = route.map_or(Class::Interactive, |route| route.class);
        if most == Class::Background {
            return most;
        }
        let said = self.headers.get(PRIORITY).and_then(|value| value.to_str().ok());
        let said = said.and_then(Class::parse).or_else(|| self.class_of_tier());
        said.unwrap_or_default().at_most(most)
    }

    /// What its body says, of callers whose API has a word for it.
    fn class_of_tier(&self) -> Option<Class> {
        matches!(self.call.dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses)
            .then(|| Class::of_tier(&self.body))?
    }
}
