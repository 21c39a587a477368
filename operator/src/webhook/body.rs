//! What a review may weigh. Anybody may send one, and what is made of it in memory is many times its text: an object of a few bytes
//! is a node of some hundred, or a volume of two thousand. So the text is weighed before it is read. What an apiserver
//! sends is far below each of these numbers.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest review, bytes: an object of etcd's limit of 1.5 MiB, its old version and the envelope.
const MOST_BYTES: usize = 3 << 20;
/// Objects and lists in a review. A large pod has some hundred.
const MOST_NESTED: usize = 10_000;
/// Elements of lists, and fields.
const MOST_ELEMENTS: usize = 100_000;
/// A review that is within a tenth of these is light: as many of them as there are connections take little memory.
const LIGHT: usize = 10;
/// The others come in and are answered so many at a time.
const HEAVY_AT_ONCE: usize = 4;

/// Takes reviews in.
#[derive(Debug)]
pub(super) struct Scales {
    heavy: Arc<Semaphore>,
}

/// A review's text.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) text: Bytes,
    /// To be kept until the review is answered. None: it is light.
    pub(super) heavy: Option<OwnedSemaphorePermit>,
}

/// Why a review is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotRead {
    #[error("the review is larger than 3 MiB")]
    TooLarge,
    #[error("the review has more than {MOST_NESTED} objects and lists, or more than {MOST_ELEMENTS} elements")]
    TooMany,
    #[error("the review was cut")]
    Cut,
}

impl NotRead {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cut => StatusCode::BAD_REQUEST,
        }
    }
}

impl Scales {
    pub(super) fn new() -> Self {
        Self {
            heavy: Arc::new(Semaphore::new(HEAVY_AT_ONCE)),
        }
    }

    /// The whole text. One that turns out to be heavy waits for its turn, and what is still to come of it waits in the network.
    pub(super) async fn take<B: Body<Data = Bytes> + Unpin>(&self, mut body: B) -> Result<Weighed, NotRead> {
        let (mut text, mut heavy) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| NotRead::Cut)?.into_data() else {
                continue;
            };
            let bytes = text.len().saturating_add(data.len());
            if bytes > MOST_BYTES {
                return Err(NotRead::TooLarge);
            }
            if heavy.is_none() && bytes > MOST_BYTES / LIGHT {
                heavy = self.turn().await;
            }
            text.extend_from_slice(&data);
        }
        let (nested, elements) = counted(&text);
        if nested > MOST_NESTED || elements > MOST_ELEMENTS {
            return Err(NotRead::TooMany);
        }
        if heavy.is_none() && (nested > MOST_NESTED / LIGHT || elements > MOST_ELEMENTS / LIGHT) {
            heavy = self.turn().await;
        }
        let text = text.freeze();
        Ok(Weighed { text, heavy })
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.heavy).acquire_owned().await.ok()
    }
}

/// The objects and lists of a JSON text, and their elements, but for one each.
fn counted(text: &[u8]) -> (usize, usize) {
    let (mut nested, mut elements) = (0_usize, 0_usize);
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'{' | b'[' => nested = nested.saturating_add(1),
            b',' => elements = elements.saturating_add(1),
            _ => {}
        }
    }
    (nested, elements)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http_body_util::Full;

    use super::*;

    fn take(scales: &Scales, text: impl Into<Bytes>) -> Option<Result<Weighed, NotRead>> {
        scales.take(Full::new(text.into())).now_or_never()
    }

    #[test]
    fn what_is_in_strings_does_not_count() {
        assert_eq!(counted(br#"{"a": [1, 2, {"{[,": "\",{"}], "b": ",\\"}"#), (3, 3));
    }

    #[test]
    fn a_review_that_would_fill_the_memory_is_not_read() {
        let scales = Scales::new();
        for (text, why) in [
            (" ".repeat(MOST_BYTES + 1), NotRead::TooLarge),
            (format!("[{}]", r#"{"":0},"#.repeat(MOST_NESTED)), NotRead::TooMany),
            (format!("[{}]", "0,".repeat(MOST_ELEMENTS + 1)), NotRead::TooMany),
        ] {
            assert_eq!(take(&scales, text).unwrap().unwrap_err(), why);
        }
    }

    #[test]
    fn few_heavy_reviews_are_held_at_a_time_and_a_light_one_waits_for_none_of_them() {
        let scales = Scales::new();
        let many = format!("[{}0]", "{},".repeat(MOST_NESTED / LIGHT));
        let held: Vec<_> = (0..HEAVY_AT_ONCE)
            .map(|_| take(&scales, many.clone()).unwrap().unwrap())
            .collect();
        assert!(take(&scales, many.clone()).is_none());
        assert!(take(&scales, " ".repeat(MOST_BYTES / LIGHT + 1)).is_none());
        assert!(take(&scales, "{}").unwrap().unwrap().heavy.is_none());
        drop(held);
        assert!(take(&scales, many).is_some());
    }
}
