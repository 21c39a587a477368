//! What streams leave to be asked beside them: nobody waits for it, and what is too much is not taken. What each holds has room in the
//! process's memory, which who leaves it takes.

use std::pin::Pin;

use tokio::sync::{Mutex, mpsc};

/// More than these do not wait: some dozens of streams that have just filled a window.
const WAITING_MOST: usize = 256;

/// Something to be done.
pub type Aside = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The queue.
pub struct Asides {
    give: mpsc::Sender<Aside>,
    // Of the one part that does them.
    take: Mutex<mpsc::Receiver<Aside>>,
}

impl Default for Asides {
    fn default() -> Self {
        let (give, take) = mpsc::channel(WAITING_MOST);
        let take = Mutex::new(take);
        Self { give, take }
    }
}

impl Asides {
    /// Leaves this to be done. `false`: too much waits already.
    pub fn leave(&self, aside: Aside) -> bool {
        self.give.try_send(aside).is_ok()
    }

    /// The next, when there is one.
    pub async fn next(&self) -> Aside {
        let mut take = self.take.lock().await;
        match take.recv().await {
            Some(aside) => aside,
            // Who gives is as old as who takes.
            None => std::future::pending().await,
        }
    }
}
