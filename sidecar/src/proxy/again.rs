//! A kept answer as it is given again: byte for byte as its first caller got it, marked with its age and whose it was.

use std::time::Duration;

use http::header::{AGE, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::body::Body;
use super::context::RequestContext;
use super::{headers, own_headers};
use crate::tenant::kept::Answer;

/// The response. `status`: what the cache did, as RFC 9211 has it.
pub(super) fn response(context: &RequestContext, answer: &Answer, age: Duration, status: &str) -> Response<Body> {
    let mut response = Response::new(Body::Whole(answer.body.clone()));
    let told = response.headers_mut();
    headers::describe_kept(told, context);
    told.insert(AGE, HeaderValue::from(age.as_secs()));
    if let Ok(status) = HeaderValue::from_str(status) {
        told.insert(own_headers::CACHE_STATUS, status);
    }
    told.insert(own_headers::ANSWERED_BY, answer.provider.clone());
    for (name, value) in [
        (own_headers::ANSWERED_AS, &answer.model),
        (own_headers::WARNING, &answer.warning),
        (CONTENT_TYPE, &answer.content_type),
    ] {
        if let Some(value) = value {
            told.insert(name, value.clone());
        }
    }
    response
}
