//! Requests that go to `OpenAI` itself: byte for byte, but for what it cannot know.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::{self, Raw};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

use super::super::dropped::Dropped;
use super::super::{RequestError, Translated};
use super::OURS;
use super::carried::Carried;
use crate::search::finder;

finder!(FIND_OURS, OURS);

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, default)]
    input: Option<Raw<'a>>,
    #[serde(borrow, default)]
    previous_response_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    encrypted_content: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// An id of this proxy's making: `rs_bowsprit_…`.
    fn is_our_id(&self) -> bool {
        let rest = self.0.split_once('_').map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('_')))
    }
}

/// A Responses request as `OpenAI` gets it: unchanged, unless the history holds thoughts of other providers, which
/// would be refused there; those items are cut out and listed.
///
/// # Errors
/// `VAL_UNSUPPORTED` where it refers to a response or an item that another provider answered with: `OpenAI` keeps none of
/// these.
pub fn native_responses(body: &Bytes) -> Result<Translated, RequestError> {
    let same = || Translated {
        body: body.clone(),
        ..Translated::default()
    };
    if FIND_OURS.find(body).is_none() {
        return Ok(same());
    }
    // Bodies that cannot be read are OpenAI's to refuse.
    let Ok(top) = json::from_slice::<Top<'_>>(body) else {
        return Ok(same());
    };
    if top.previous_response_id.is_some_and(|id| id.is_our_id()) {
        return Err(RequestError::unsupported(
            "previous_response_id",
            "names an answer of another provider, which nobody keeps: send the whole history in input",
        ));
    }
    let items = top
        .input
        .and_then(|input| json::from_str::<Vec<Raw<'_>>>(input.get()).ok())
        .unwrap_or_default();
    let (mut ours, mut dropped) = (Vec::new(), Dropped::default());
    for (index, raw) in items.iter().enumerate() {
        let Ok(item) = json::from_str::<Item<'_>>(raw.get()) else {
            continue;
        };
        let our_id = item.id.is_some_and(|id| id.is_our_id());
        match item.kind.as_ref().map(|kind| &*kind.0) {
            Some("item_reference") if our_id => {
                return Err(RequestError::unsupported(
                    format!("input[{index}].id"),
                    "refers to an item of another provider's answer, which nobody keeps: send the item itself",
                ));
            }
            Some("reasoning") => {
                let content = item.encrypted_content;
                if our_id || content.is_some_and(|content| Carried::open(&content.0).is_some()) {
                    ours.push(index);
                    dropped.note(format!("input[{index}]"));
                }
            }
            _ => {}
        }
    }
    Ok(Translated {
        body: without(body, &items, &ours),
        dropped: dropped.into_vec(),
        ..Translated::default()
    })
}

/// Cuts elements of an array out of the body; `cut` is in rising order.
fn without(body: &Bytes, items: &[Raw<'_>], cut: &[usize]) -> Bytes {
    if cut.is_empty() {
        return body.clone();
    }
    let place = |raw: Raw<'_>| {
        let start = (raw.get().as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
        Some(start..start + raw.get().len())
    };
    let Some(places) = items
        .iter()
        .map(|raw| place(*raw))
        .collect::<Option<Vec<Range<usize>>>>()
    else {
        return body.clone();
    };
    let kept: Vec<&Range<usize>> = places
        .iter()
        .enumerate()
        .filter(|(index, _)| cut.binary_search(index).is_err())
        .map(|(_, place)| place)
        .collect();
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return body.clone();
    };
    let mut out = BytesMut::with_capacity(body.len());
    out.put_slice(body.get(..first.start).unwrap_or_default());
    for (number, place) in kept.into_iter().enumerate() {
        if number > 0 {
            out.put_u8(b',');
        }
        out.put_slice(body.get(place.clone()).unwrap_or_default());
    }
    out.put_slice(body.get(last.end..).unwrap_or_default());
    out.freeze()
}
