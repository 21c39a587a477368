//! HTTP/1.1 on both sides: the server that the app and the kubelet reach, the client that reaches providers.

pub mod client;
pub mod server;
mod wakes;

pub use wakes::poll_frame;
