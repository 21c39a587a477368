//! Who only connects to the streams' port, however often, keeps nobody out who comes from elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod streams;

use std::time::Duration;

use streams::{Server, quick};
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn who_fills_room_and_door_from_one_address_keeps_no_other_out() {
    let mut settings = quick();
    // As few as take longer than the wait below, turn by turn: a machine that does much else is slow in connecting them too.
    settings.most = 1000;
    let server = Server::start(settings).await;
    // More than may wait and be at the door: each says one byte of a handshake, and stalls.
    let mut stalled = Vec::new();
    while server.counted("stream_requests_total{result=\"crowded\"}") < 100 {
        assert!(stalled.len() < 4000, "never crowded");
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        let _ = stream.write_all(&[22]).await;
        stalled.push(stream);
    }
    let sidecar = tokio::time::timeout(Duration::from_secs(15), server.connect("team", "a"));
    let mut sidecar = sidecar.await.expect("in long before the others have had their turns");
    server.publish("team", 7, "t");
    assert_eq!(sidecar.config().await.sequence, 7);
    drop(stalled);
}
