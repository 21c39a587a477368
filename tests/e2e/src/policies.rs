//! NetworkPolicies enforced on the bed, whose own network knows none: SIG-network's kube-network-policies
//! (tests/testbed/policies), told of the first packet of each connection by rules of iptables.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{SHORT, eventually};

/// The queue between the rules and the program.
const QUEUE: &str = "100";
/// What the API server calls the webhook at.
const WEBHOOK: &str = "8443";
/// The bridge of the bed's pods.
const BRIDGE: &str = "cni0";

/// Enforces policies from [`Enforcer::start`] until it is dropped. Where it fails, no connection is let through at all, so nothing
/// passes a test unjudged.
#[derive(Debug)]
pub struct Enforcer {
    program: Child,
    rules: Vec<Vec<String>>,
}

impl Enforcer {
    /// Starts it and waits until it judges.
    ///
    /// # Errors
    /// It does not start, or this kernel has no NFQUEUE.
    pub async fn start() -> Result<Self> {
        let program = std::env::var_os("BOWSPRIT_POLICIES")
            .context("BOWSPRIT_POLICIES is not set: run this by tests/e2e/run, which builds the program")?;
        let logs = std::env::var("BOWSPRIT_BED_LOGS").context("policies are enforced on the bed alone")?;
        let log = std::fs::File::create(format!("{logs}/policies.log"))?;
        let program = Command::new(program)
            .args(["--queue", QUEUE])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the program")?;
        let mut this = Self {
            program,
            rules: Vec::new(),
        };
        eventually(SHORT, "the program has its queue", async || {
            if let Some(ended) = this.program.try_wait()? {
                bail!("it ended with {ended}, see {logs}/policies.log");
            }
            let queues = std::fs::read_to_string("/proc/net/netfilter/nfnetlink_queue")
                .context("this kernel has no CONFIG_NETFILTER_NETLINK_QUEUE")?;
            let is_there = queues.lines().any(|line| line.split_whitespace().next() == Some(QUEUE));
            ensure!(is_there, "{queues:?}");
            Ok(())
        })
        .await?;
        let queue: Vec<&str> = "-m conntrack --ctstate NEW -j NFQUEUE --queue-num"
            .split(' ')
            .chain([QUEUE])
            .collect();
        // What the node itself sends, such as the kubelet's probes, no policy may hold up; the webhook's caller is judged all the same.
        this.rule(
            "POSTROUTING",
            &[
                "-p",
                "tcp",
                "-m",
                "owner",
                "--uid-owner",
                "0",
                "!",
                "--dport",
                WEBHOOK,
                "-j",
                "ACCEPT",
            ],
        )?;
        for protocol in ["tcp", "udp"] {
            this.rule("POSTROUTING", &[&["-p", protocol], &queue[..]].concat())?;
            // What pods send to the node itself: the API server and the names.
            this.rule("INPUT", &[&["-i", BRIDGE, "-p", protocol], &queue[..]].concat())?;
        }
        Ok(this)
    }

    fn rule(&mut self, chain: &str, rule: &[&str]) -> Result<()> {
        let rule: Vec<String> = std::iter::once(chain)
            .chain(rule.iter().copied())
            .map(str::to_owned)
            .collect();
        ensure!(iptables("-A", &rule)?, "iptables refuses {rule:?}");
        self.rules.push(rule);
        Ok(())
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        // The rules first: without the program nothing passes them.
        for rule in self.rules.iter().rev() {
            let _ = iptables("-D", rule);
        }
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn iptables(verb: &str, rule: &[String]) -> Result<bool> {
    let mut command = Command::new("iptables");
    command.args(["-w", "5", "-t", "mangle", verb]).args(rule);
    Ok(command.status().context("cannot run iptables")?.success())
}
