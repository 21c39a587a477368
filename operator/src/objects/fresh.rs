//! A watch that begins with a list again after the apiserver was not to be reached. Its data may have been put back to a backup
//! meanwhile; a watch that goes on from a version of before, which the apiserver has not reached again, would miss what differs.

use std::fmt::Debug;
use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

type Watching<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

/// Watches; to be polled with backoff, as kube's own. Ends never.
pub(crate) fn watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    begun_again(move || watcher::watcher(api.clone(), config.clone()).boxed())
}

fn begun_again<K: Send + 'static>(
    begin: impl Fn() -> Watching<K> + Send,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    stream::unfold((begin, None, None), async |(begin, watching, first)| {
        if let Some(event) = first {
            return Some((Ok(event), (begin, watching, None)));
        }
        let mut watching: Watching<K> = watching.unwrap_or_else(&begin);
        let (mut event, mut first) = (watching.next().await?, None);
        // That a list begins is told with its first answer: alone it would count as a success, and end the backoff.
        if matches!(event, Ok(Event::Init)) {
            match watching.next().await? {
                Ok(next) => first = Some(next),
                Err(error) => event = Err(error),
            }
        }
        let is_away = event.as_ref().is_err_and(is_away);
        Some((event, (begin, (!is_away).then_some(watching), first)))
    })
}

/// Whether a watch that fails like this begins with a list again, so that the next that it tells is all that there is. Any other goes on
/// from where it was, and says nothing where there is nothing to tell.
pub(crate) fn begins_with_a_list(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion => true,
        watcher::Error::WatchError(status) => status.code == 410,
        _ => is_away(error),
    }
}

/// Whether nobody answered, or somebody on the apiserver's behalf. A list that fails is begun again anyway.
fn is_away(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code >= 500,
        watcher::Error::WatchStartFailed(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;

    use super::*;

    fn failed(code: u16) -> watcher::Result<Event<ConfigMap>> {
        let status = Status {
            code,
            ..Status::default()
        };
        Err(watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status))))
    }

    /// How often a watch is begun that meets these.
    async fn begun(met: [fn() -> watcher::Result<Event<ConfigMap>>; 2]) -> u32 {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let begin = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            stream::iter(met.map(|meet| meet())).boxed()
        };
        let seen: Vec<_> = begun_again(begin).take(2).collect().await;
        assert_eq!(seen.len(), 2);
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn who_was_away_is_asked_for_all_again_and_who_only_refused_is_not() {
        let nobody = || {
            Err(watcher::Error::WatchStartFailed(
                kube::Error::LinesCodecMaxLineLengthExceeded,
            ))
        };
        assert_eq!(begun([nobody, nobody]).await, 2);
        assert_eq!(begun([|| failed(503), || failed(503)]).await, 2);
        assert_eq!(begun([|| failed(429), || failed(429)]).await, 1);
        let cut = || Err(watcher::Error::NoResourceVersion);
        assert_eq!(begun([cut, || Ok(Event::InitDone)]).await, 1);
    }

    #[tokio::test]
    async fn a_list_that_fails_is_no_success_before() {
        let listed = |met: Vec<watcher::Result<Event<ConfigMap>>>| {
            let met = std::sync::Mutex::new(Some(met));
            let begin = move || stream::iter(met.lock().unwrap().take().unwrap_or_default()).boxed();
            begun_again(begin).map(|event| event.is_ok()).collect::<Vec<_>>()
        };
        let failed = || Err(watcher::Error::NoResourceVersion);
        assert_eq!(listed(vec![Ok(Event::Init), failed()]).await, [false]);
        assert_eq!(listed(vec![Ok(Event::Init), Ok(Event::InitDone)]).await, [true, true]);
    }
}
