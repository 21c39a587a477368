//! Taking a body in that was on its way to the app, to make another one of it: within the memory that there is for bodies.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::body::{Body, Resumed};
use crate::limits::{ANSWER_TRANSLATED, ROOM_WAIT, SMALL_BODY};
use crate::memory::Memory;

/// What came of it.
pub(super) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// There is no memory for more of it. It can go on as it was.
    NoRoom(Body),
    /// It is larger than what anything is made of. It can go on as it was.
    TooLarge(Body),
    /// It broke off.
    Broken,
}

/// Takes a body in.
pub(super) async fn gather(mut body: Body, memory: &Arc<Memory>) -> Gathered {
    if let Body::Whole(bytes) = body {
        return Gathered::Whole(bytes);
    }
    let mut room = memory.room();
    let (mut held, mut length) = (VecDeque::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Gathered::Broken };
        let Ok(piece) = frame.into_data() else { continue };
        length += piece.len();
        held.push_back(piece);
        let is_too_large = length > ANSWER_TRANSLATED;
        if is_too_large || (length > SMALL_BODY && !room.grow_to(length, ROOM_WAIT).await) {
            let resumed = Body::Resumed(Box::new(Resumed::new(held, room, body)));
            return if is_too_large {
                Gathered::TooLarge(resumed)
            } else {
                Gathered::NoRoom(resumed)
            };
        }
    }
    let mut whole = BytesMut::with_capacity(length);
    for piece in held {
        whole.extend_from_slice(&piece);
    }
    Gathered::Whole(room.hold(whole.freeze()))
}
