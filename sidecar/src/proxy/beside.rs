//! Work that is done beside requests, piece by piece.

use std::panic::AssertUnwindSafe;

use futures::{FutureExt as _, StreamExt as _, stream};

/// Does each piece that `next` gives, `most` at once. Ends never. `what`: what is done, as the log says it.
pub(super) async fn each<T, N, W>(most: usize, what: &str, next: impl Fn() -> N, work: impl Fn(T) -> W)
where
    N: Future<Output = T>,
    W: Future<Output = ()>,
{
    let pieces = stream::unfold((), |()| {
        let next = next();
        async { Some((next.await, ())) }
    });
    let done = |piece| {
        // A panic costs this one piece: the part that it runs in goes on.
        AssertUnwindSafe(work(piece)).catch_unwind().map(|ended| {
            if ended.is_err() {
                tracing::error!("{what} panicked");
            }
        })
    };
    pieces.for_each_concurrent(most, done).await;
}
