//! What becomes of a request: an apiserver that is away, slow or refuses, and a client that dies.

use http::Response;
use http_body_util::combinators::UnsyncBoxBody;

use super::{Answer, refused};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// It is done, and its answer never comes: whoever asked is dead by then.
    Done,
    /// It never gets there, and no answer comes.
    Lost,
    /// Nobody listens.
    Unreachable,
    /// The apiserver refuses it with this status.
    Refused(u16),
}

pub(super) async fn meet(
    fate: Fate,
    answer: impl FnOnce() -> Answer,
) -> Result<Response<UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>>, std::io::Error> {
    match fate {
        Fate::Answered => Ok(answer()),
        Fate::Done => {
            drop(answer());
            std::future::pending().await
        }
        Fate::Lost => std::future::pending().await,
        Fate::Unreachable => Err(std::io::ErrorKind::ConnectionRefused.into()),
        Fate::Refused(code) => Ok(refused(code, "Refused")),
    }
}
