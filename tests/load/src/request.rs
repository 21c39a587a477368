//! The request that a tool sends: made once, as the bytes that go on the wire.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

/// What to send, and where.
#[derive(Args, Debug)]
pub struct Request {
    /// Where requests go: `http://HOST:PORT/PATH`.
    url: String,
    /// File with the request's body; without it the body is empty.
    #[arg(long)]
    body: Option<PathBuf>,
    /// Extra header, `name: value`; may be repeated.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
}

impl Request {
    /// The peer's `host:port`, and the request as it goes on the wire.
    pub fn wire(&self) -> Result<(String, Vec<u8>)> {
        let rest = self
            .url
            .strip_prefix("http://")
            .with_context(|| format!("{} must start with http://", self.url))?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let body = match &self.body {
            Some(file) => std::fs::read(file).with_context(|| format!("read {}", file.display()))?,
            None => Vec::new(),
        };
        let extra: String = self.headers.iter().map(|header| line(header)).collect::<Result<_>>()?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\naccept: */*\r\n\
             user-agent: bowsprit-load\r\n{extra}content-length: {}\r\n\r\n",
            body.len()
        );
        Ok((authority.to_owned(), [head.into_bytes(), body].concat()))
    }
}

fn line(header: &str) -> Result<String> {
    let (name, value) = header
        .split_once(':')
        .with_context(|| format!("--header {header:?} must be `name: value`"))?;
    Ok(format!("{}: {}\r\n", name.trim(), value.trim()))
}
