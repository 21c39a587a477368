//! The scripted providers as a process of their own: for the demo, and for a pod of a test cluster.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use bowsprit_providers::{Api, Options, Provider};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Scripted OpenAI, Anthropic and Gemini on one port: well-behaved, or broken on command.
#[derive(Parser)]
#[command(
    version,
    after_help = "Answers \"Hello from <api> (<model>): <last user text>\" to any key until told otherwise:\n\n  \
    curl -X POST http://127.0.0.1:9101/script -d '{\"always\": [{\"when\": {\"api\": \"anthropic\"}, \"do\": {\"status\": {\"code\": 529}}}]}'\n  \
    curl -X POST http://127.0.0.1:9101/script -d '{\"steps\": [{\"do\": \"hang\"}, {\"times\": 2, \"do\": {\"answer\": {\"fault\": {\"stall\": {\"after\": 2}}}}}]}'\n  \
    curl http://127.0.0.1:9101/requests\n  \
    curl http://127.0.0.1:9101/counts\n  \
    curl -X POST http://127.0.0.1:9101/reset"
)]
struct Args {
    /// Where the APIs are served
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Where the control API is served; it shows the keys of requests, so keep it to those who test
    #[arg(long, default_value = "127.0.0.1:9101")]
    control: SocketAddr,
    /// Which API: openai, anthropic, gemini or all
    #[arg(long, default_value = "all")]
    api: Api,
    /// An accepted key, may be repeated; without, any key is accepted
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Answer requests without a key, too
    #[arg(long)]
    no_key: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // As process 1 of a container nothing ends us unless we ask for the signal; ask before anybody can send it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let options = Options {
        api: args.api,
        listen: args.listen,
        require_key: !args.no_key,
        keys: args.keys,
        ..Options::default()
    };
    let provider = Provider::start(options).with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    let control = provider
        .serve_control(args.control)
        .with_context(|| format!("cannot listen on {} (--control)", args.control))?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} at {}, control at http://{control}",
        args.api.as_str(),
        provider.url()
    )?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
