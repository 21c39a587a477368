//! Answers of the apiserver about tokens, kept while they hold, and asked for few at a time: after a restart every sidecar of
//! the cluster comes at once, and the apiserver must not notice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::token::{Bearer, CannotReview, Reviewer, Verdict};
use crate::sync::locked;

/// Reviews under way. One takes a few milliseconds, so ten thousand sidecars are let in within some ten seconds.
const AT_ONCE: usize = 16;
/// How long a refusal is remembered, seconds: a token that was refused does not become good, and a pod's first one may
/// come before every apiserver knows its pod.
const REFUSED_FOR: i64 = 5;
/// Answers kept of each kind. About 300 bytes each.
const MAX_KEPT: usize = 32 << 10;

/// Tokens are kept as their digest only.
type Token = [u8; 32];

/// The cache and what stands behind it.
pub struct Reviews {
    reviewer: Arc<dyn Reviewer>,
    turns: Semaphore,
    kept: Mutex<Kept>,
    metrics: Metrics,
}

#[derive(Default)]
struct Kept {
    /// With the second since 1970 until which it holds: the token's own end.
    good: HashMap<Token, (Bearer, i64)>,
    refused: HashMap<Token, i64>,
}

impl Reviews {
    /// Asks `reviewer` for what is not known.
    pub fn new(reviewer: Arc<dyn Reviewer>, metrics: Metrics) -> Self {
        Self {
            reviewer,
            turns: Semaphore::new(AT_ONCE),
            kept: Mutex::default(),
            metrics,
        }
    }

    /// Whose the token is, which ends at `expires_at` by its own word, at `now` (both seconds since 1970).
    pub async fn verdict(&self, token: &str, expires_at: i64, now: i64) -> Result<Verdict, CannotReview> {
        let digest: Token = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.lock().get(&digest, now) {
            self.metrics.reviewed("cached");
            return Ok(known);
        }
        let _turn = self.turns.acquire().await.map_err(|_| CannotReview)?;
        let verdict = self.reviewer.review(token).await;
        self.metrics.reviewed(match &verdict {
            Ok(Verdict::Authentic(_)) => "authentic",
            Ok(Verdict::Denied) => "denied",
            Err(_) => "error",
        });
        if let Ok(verdict) = &verdict {
            self.lock().keep(digest, verdict, expires_at, now);
        }
        verdict
    }

    /// The pod is no more: its token is asked about again, and then refused.
    pub fn forget(&self, uid: &str) {
        let is_its = |bearer: &Bearer| bearer.pod.as_ref().is_some_and(|pod| pod.uid == uid);
        self.lock().good.retain(|_, (bearer, _)| !is_its(bearer));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        locked(&self.kept)
    }
}

impl Kept {
    fn get(&self, token: &Token, now: i64) -> Option<Verdict> {
        if let Some((bearer, until)) = self.good.get(token) {
            return (now < *until).then(|| Verdict::Authentic(bearer.clone()));
        }
        let is_refused = self.refused.get(token).is_some_and(|until| now < *until);
        is_refused.then_some(Verdict::Denied)
    }

    fn keep(&mut self, token: Token, verdict: &Verdict, expires_at: i64, now: i64) {
        // Full of what still holds: whoever comes next is asked about each time, and nobody is refused.
        match verdict {
            Verdict::Authentic(bearer) => {
                if self.good.len() >= MAX_KEPT {
                    self.good.retain(|_, (_, until)| now < *until);
                }
                if self.good.len() < MAX_KEPT {
                    self.good.insert(token, (bearer.clone(), expires_at));
                }
            }
            Verdict::Denied => {
                if self.refused.len() >= MAX_KEPT {
                    self.refused.retain(|_, until| now < *until);
                }
                if self.refused.len() < MAX_KEPT {
                    self.refused.insert(token, now + REFUSED_FOR);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;
    use prometheus_client::registry::Registry;
    use tokio::sync::Notify;

    use super::*;
    use crate::fleet::PodId;

    /// Answers once it is let; `bad` is nobody's, `down` gets no answer.
    #[derive(Default)]
    struct Scripted {
        asked: AtomicUsize,
        under_way: AtomicUsize,
        most: AtomicUsize,
        held: Option<Notify>,
    }

    impl Reviewer for Scripted {
        fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Verdict, CannotReview>> {
            Box::pin(async move {
                self.asked.fetch_add(1, Ordering::SeqCst);
                let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(under_way, Ordering::SeqCst);
                if let Some(held) = &self.held {
                    held.notified().await;
                }
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                match token {
                    "bad" => Ok(Verdict::Denied),
                    "down" => Err(CannotReview),
                    _ => Ok(Verdict::Authentic(Bearer {
                        namespace: "team".into(),
                        service_account: "app".into(),
                        pod: Some(PodId {
                            name: token.into(),
                            uid: format!("u-{token}"),
                        }),
                    })),
                }
            })
        }
    }

    fn reviews(scripted: &Arc<Scripted>) -> Reviews {
        Reviews::new(
            Arc::clone(scripted) as Arc<dyn Reviewer>,
            Metrics::register(&mut Registry::default()),
        )
    }

    #[tokio::test]
    async fn an_answer_holds_until_the_tokens_own_end_and_a_refusal_briefly() {
        let scripted = Arc::new(Scripted::default());
        let reviews = reviews(&scripted);
        let asked = || scripted.asked.load(Ordering::SeqCst);
        for now in [0, 50, 99] {
            let verdict = reviews.verdict("good", 100, now).await;
            assert!(matches!(verdict, Ok(Verdict::Authentic(_))));
        }
        assert_eq!(asked(), 1);
        let _ = reviews.verdict("good", 100, 100).await;
        assert_eq!(asked(), 2);
        for now in [0, REFUSED_FOR - 1, REFUSED_FOR] {
            assert_eq!(reviews.verdict("bad", 100, now).await, Ok(Verdict::Denied));
        }
        assert_eq!(asked(), 4);
        // No answer is no verdict.
        for _ in 0..2 {
            assert_eq!(reviews.verdict("down", 100, 0).await, Err(CannotReview));
        }
        assert_eq!(asked(), 6);
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_is_asked_about_again_and_others_are_not() {
        let scripted = Arc::new(Scripted::default());
        let reviews = reviews(&scripted);
        for token in ["a", "b"] {
            let _ = reviews.verdict(token, 100, 0).await;
        }
        reviews.forget("u-a");
        for token in ["a", "b"] {
            let _ = reviews.verdict(token, 100, 0).await;
        }
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_thousand_that_come_at_once_are_asked_about_a_few_at_a_time() {
        let scripted = Arc::new(Scripted {
            held: Some(Notify::new()),
            ..Scripted::default()
        });
        let reviews = reviews(&scripted);
        let all = (0..1000).map(|number| {
            let reviews = &reviews;
            async move { reviews.verdict(&format!("t{number}"), 100, 0).await.is_ok() }
        });
        let let_go = async {
            while scripted.asked.load(Ordering::SeqCst) < 1000 || scripted.under_way.load(Ordering::SeqCst) > 0 {
                if let Some(held) = &scripted.held {
                    held.notify_waiters();
                }
                tokio::task::yield_now().await;
            }
        };
        let (answers, ()) = futures::join!(futures::future::join_all(all), let_go);
        assert!(answers.into_iter().all(|answered| answered));
        assert_eq!(scripted.most.load(Ordering::SeqCst), AT_ONCE);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_has_ended_makes_room() {
        let mut kept = Kept::default();
        let bearer = Bearer {
            namespace: "team".into(),
            service_account: "app".into(),
            pod: None,
        };
        let token = |number: usize| {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&number.to_le_bytes());
            token
        };
        for number in 0..MAX_KEPT + 10 {
            kept.keep(token(number), &Verdict::Authentic(bearer.clone()), 100, 0);
            kept.keep(token(number), &Verdict::Denied, 100, 0);
        }
        assert_eq!((kept.good.len(), kept.refused.len()), (MAX_KEPT, MAX_KEPT));
        kept.keep(token(usize::MAX), &Verdict::Authentic(bearer), 300, 200);
        assert_eq!(kept.good.len(), 1);
    }
}
