//! The standard input, by whose end a tool is told to go.

use tokio::sync::oneshot;

/// Waits until it ends. On a thread of its own, which reads until the process ends: a blocking read cannot be given up.
pub fn ended() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = sender.send(());
    });
    receiver
}
