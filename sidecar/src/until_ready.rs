//! `--until-ready`: waits until the sidecar that runs beside it, in the same container, has a valid config.
//!
//! The kubelet runs it as the hook after the sidecar's start where the sidecar is an ordinary container, and starts the app's container
//! only after it: what a startup probe does for a native sidecar.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::time::Clock;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(50);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until `/health/startup` at the port of `admin` answers 200, for so long at most. Whether it did.
pub fn until_ready(admin: SocketAddr, limit: Duration) -> bool {
    let clock = Clock::start();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, admin.port()));
    loop {
        if is_ready(at).unwrap_or(false) {
            return true;
        }
        if clock.now().since_start() >= limit {
            return false;
        }
        std::thread::sleep(EVERY);
    }
}

fn is_ready(at: SocketAddr) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect_timeout(&at, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /health/startup HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    connection.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
