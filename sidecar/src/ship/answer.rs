//! What the service's answer to a batch means. Pure.

use bowsprit_ledger::wire::{Refused, RefusedBecause, Taken};
use http::StatusCode;

use crate::observe::ledger::Sent;

/// What to make of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Everything up to here is stored.
    Taken(u64),
    /// The service expects this sequence next.
    Expects(u64),
    /// This batch will never be taken as it is: it is too large, or something in it is wrong. Why.
    NotThis(String),
    /// Not now, for this reason.
    NotNow(Sent, String),
}

/// Judges an answer of the service.
pub(super) fn judge(status: StatusCode, body: &[u8]) -> Answer {
    if status.is_success() {
        return match serde_json::from_slice::<Taken>(body) {
            Ok(taken) => Answer::Taken(taken.through),
            Err(error) => Answer::NotNow(Sent::Refused, format!("its answer cannot be read: {error}")),
        };
    }
    let refused = serde_json::from_slice::<Refused>(body).ok();
    let said = refused.as_ref().map_or("", |refused| refused.message.as_str());
    let said = said.get(..said.floor_char_boundary(300)).unwrap_or("");
    let detail = format!("status {}: {said}", status.as_u16());
    let because = refused.as_ref().map(|refused| refused.reason);
    match (status, because) {
        (StatusCode::CONFLICT, _) => match refused.and_then(|refused| refused.expected) {
            Some(expected) => Answer::Expects(expected),
            None => Answer::NotNow(Sent::Refused, detail),
        },
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Answer::NotNow(Sent::Denied, detail),
        (StatusCode::PAYLOAD_TOO_LARGE, _) | (_, Some(RefusedBecause::TooLarge | RefusedBecause::Malformed)) => {
            Answer::NotThis(detail)
        }
        // It is older, or newer, than this sidecar: an upgrade mends it.
        _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            Answer::NotNow(Sent::Refused, detail)
        }
        _ => Answer::NotNow(Sent::Unreachable, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Answer {
        judge(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let refused = |reason: &str| format!(r#"{{"reason":"{reason}","message":"m","expected":7}}"#);
        assert_eq!(judged(200, r#"{"through":5}"#), Answer::Taken(5));
        assert_eq!(judged(409, &refused("gap")), Answer::Expects(7));
        let not_this = Answer::NotThis("status 400: m".into());
        assert_eq!(judged(400, &refused("malformed")), not_this);
        assert!(matches!(judged(413, ""), Answer::NotThis(_)));
        for (status, body, sent) in [
            (200, "hello", Sent::Refused),
            (400, &*refused("version"), Sent::Refused),
            (400, &*refused("of_a_later_release"), Sent::Refused),
            (401, "", Sent::Denied),
            (403, &*refused("foreign_namespace"), Sent::Denied),
            (404, "", Sent::Refused),
            (409, "{}", Sent::Refused),
            (429, "", Sent::Unreachable),
            (500, "", Sent::Unreachable),
            (503, "", Sent::Unreachable),
        ] {
            assert!(
                matches!(judged(status, body), Answer::NotNow(why, _) if why == sent),
                "{status} {body}"
            );
        }
    }
}
