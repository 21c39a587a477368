//! The texts of a body taken out, and others put in their place.
//!
//! Both go through the body as looking into it does ([`Looker`]), so a text that a guard would not look into is not taken either, and
//! what comes back stands where it was taken from.

use bowsprit_crds::guards::Side;
use bytes::Bytes;

use super::body::{Looker, spliced};
use super::take::{Said, Take};
use crate::json::Error;

/// The texts of a body, in order. `None`: they are larger than `most` bytes.
///
/// # Errors
/// The body is no JSON, or nested too deeply.
pub(super) fn said(side: Side, body: &[u8], most: usize) -> Result<Option<Vec<Said>>, Error> {
    let mut looker = Looker::new(&[], side, body);
    looker.take = Some(Take::all(most));
    looker.all()?;
    Ok(looker.take.and_then(Take::said))
}

/// The body with these in place of its texts, where they are others. `None`: there are more of one than of the other.
#[allow(
    clippy::option_option,
    reason = "the inner one is as everywhere here: it stays as it came"
)]
pub(super) fn put_back(side: Side, body: &[u8], texts: Vec<Option<String>>) -> Option<Option<Bytes>> {
    let mut looker = Looker::new(&[], side, body);
    looker.take = Some(Take::put(texts));
    looker.all().ok()?;
    if !looker.take.take()?.is_even() {
        return None;
    }
    let (edits, _) = looker.end();
    Some(spliced(body, &edits))
}
