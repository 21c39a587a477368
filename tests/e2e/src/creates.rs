//! Pods asked for all the time, as a busy cluster does: none made, each shown to the webhook.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::join_all;

use crate::{Bed, pod_manifest};

/// Between two questions of one asker.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks for pods until it is told to stop, and counts.
#[derive(Debug)]
pub struct Creates {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<(usize, Vec<String>)>>,
}

impl Creates {
    /// So many ask at the same time: as many connections the apiserver has to the webhook.
    pub fn start(bed: &Bed, askers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ask = || {
            let bed = Bed {
                client: bed.client.clone(),
                namespace: bed.namespace.clone(),
            };
            tokio::spawn(ask(bed, Arc::clone(&stop)))
        };
        let tasks = (0..askers).map(|_| ask()).collect();
        Self { stop, tasks }
    }

    /// How many were let through; none was refused.
    pub async fn end(self, during: &str) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut made, mut refused) = (0, Vec::new());
        for task in join_all(self.tasks).await {
            let (these, those) = task?;
            made += these;
            refused.extend(those);
        }
        ensure!(
            refused.is_empty(),
            "{during}: {} of {} pods were refused, the first with {:?}",
            refused.len(),
            made + refused.len(),
            refused.first()
        );
        Ok(made)
    }
}

async fn ask(bed: Bed, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut made, mut refused) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match bed.try_create(&pod_manifest("asks")).await {
            Ok((201, _)) => made += 1,
            Ok((status, answer)) => refused.push(format!("{status} {answer}")),
            Err(error) => refused.push(format!("{error:#}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    (made, refused)
}
