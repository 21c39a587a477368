//! The command line.

mod access;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use bowsprit_crds::DurationText;
use clap::{Parser, Subcommand, ValueEnum};

pub use access::{AccessCheckArgs, AccessVerb, Dialect, Feature, Operation};
pub use report::{Month, Period, ReportArgs, ReportFormat, ReportOut};

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  something is wrong that the command looks for, or what was asked for is not there
  2  the command line, or a file that it names, makes no sense
  3  could not look: the cluster does not answer, or does not permit it

Everything goes through the apiserver, as whom your kubeconfig says; no other port is needed. docs/cli.md has each verb's
permissions and examples.";

/// Is Bowsprit well, why not, and what to do.
#[derive(Debug, Parser)]
#[command(name = "kubectl-bowsprit", bin_name = "kubectl bowsprit", version, after_help = EXIT_CODES)]
pub struct Args {
    /// Where to look.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// No colour, also on a terminal. So does the variable `NO_COLOR`.
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the cluster is reached; as kubectl has it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// The namespace; unset: that of the context.
    #[arg(short, long, global = true, help_heading = "Global options", value_name = "NAME")]
    pub namespace: Option<String>,

    /// The context of the kubeconfig; unset: the current one.
    #[arg(long, global = true, help_heading = "Global options", value_name = "NAME")]
    pub context: Option<String>,

    /// The kubeconfig; unset: `KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    #[arg(long, global = true, help_heading = "Global options", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// How long one question may take, such as 5s or 1m.
    #[arg(long, global = true, help_heading = "Global options", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,

    /// The namespace of the operator.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "NAME",
        default_value = "bowsprit-system"
    )]
    pub operator_namespace: String,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One screen: is every namespace well, and what to do next.
    Status(StatusArgs),
    /// What the sidecars say of themselves and of the providers.
    Health(HealthArgs),
    /// Circuit breakers: how they stand, and closing them by hand.
    Circuit {
        /// What to do.
        #[command(subcommand)]
        verb: CircuitVerb,
    },
    /// Access rules: what they say to a request.
    Access {
        /// What to do.
        #[command(subcommand)]
        verb: AccessVerb,
    },
    /// Answers and vectors that sidecars keep, to be given in place of asking.
    Cache {
        /// What to do.
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// Requests that are answered later: those that the pods' sidecars keep, and giving one up. Never what was asked or answered.
    Jobs {
        /// What to do.
        #[command(subcommand)]
        verb: JobsVerb,
    },
    /// Stop all model traffic of the namespace, or that of a provider or route: what comes is refused, or goes to other providers; what
    /// is under way ends as it would have. Makes a UsagePolicy.
    ///
    /// Exit code 1 where not every sidecar has said within ten seconds that it has it.
    Pause(PauseArgs),
    /// Let model traffic pass again that `pause` has stopped. Exit code 1 as there.
    Resume(ResumeArgs),
    /// Send one small real request through a running sidecar. It costs a few tokens.
    Test(TestArgs),
    /// Compare files with what is live, defaults written out: what would change, and for which sidecars. Changes nothing.
    ///
    /// Exit code 1 where something differs or is wrong.
    Diff(DiffArgs),
    /// Show what the injector would do to a pod or a workload. Nothing is created: it asks the apiserver for a dry run.
    Inject(InjectArgs),
    /// What was asked and what became of it, summed up from the ledger.
    Stats(StatsArgs),
    /// Requests from the ledger, the newest last.
    Logs(LogsArgs),
    /// Why a request ended as it did: who was asked or passed over and why, waits, attempts, cost, and what to do.
    ///
    /// Exit code 1 where the ledger has no such request.
    Why(WhyArgs),
    /// Requests, failures, tokens and cost as they come; on a terminal until it is interrupted, else once.
    Top(TopArgs),
    /// What it cost, and who spent it.
    Spend(SpendArgs),
    /// How good each provider was: success, answers that broke off, latency, and a score made of them.
    Quality(QualityArgs),
    /// What a period was like, to be shown to others: how available, what was used, who was turned away. From the ledger.
    Report(ReportArgs),
    /// Which ProviderConfigs and ModelRoutes were applied, when and by whom; from the ledger service alone.
    Changes(ChangesArgs),
    /// Look for what is broken: webhook, certificates, versions, permissions, pods that were missed, Secrets that are absent.
    Doctor(DoctorArgs),
    /// Check files of ProviderConfigs and ModelRoutes as a sidecar would, all problems at once. Needs no cluster.
    ///
    /// Exit code 1 where something is wrong.
    Check {
        /// YAML or JSON files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// What the files are for.
        #[arg(long, value_enum, default_value_t = For::Cluster)]
        r#for: For,
    },
    /// Say what an error code means and what to do about it; without a code, list all. Needs no cluster.
    Explain {
        /// Such as `RATE_LOCAL_LIMIT`, from an error body, a log line or a metric.
        code: Option<String>,
    },
    /// The versions of this program, of the operators and of the sidecars.
    Version(VersionArgs),
    /// Print a shell's completion script, or the one through which kubectl completes `kubectl bowsprit`.
    Completion {
        /// For which shell.
        shell: Shell,
    },
    /// What kubectl asks while somebody types.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words so far; the last one is unfinished.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// In which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// With more columns.
    Wide,
    /// For programs.
    Json,
    /// The same.
    Yaml,
}

/// In which form, for what is rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// For people.
    #[default]
    Table,
    /// With more columns.
    Wide,
    /// For programs.
    Json,
    /// The same.
    Yaml,
    /// For spreadsheets; a name that a spreadsheet would compute begins with an apostrophe.
    Csv,
}

/// What sums are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// ProviderConfigs.
    #[default]
    Provider,
    /// Models, each at its provider.
    Model,
    /// ModelRoutes.
    Route,
    /// What the pods run for, such as `Deployment/checkout`.
    Workload,
    /// Namespaces; all of them.
    Namespace,
}

/// One namespace or all.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Where {
    /// All namespaces that have ProviderConfigs or sidecars.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Out {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct RowsOut {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: RowFormat,
}

/// Which window of time.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Since {
    /// How far back, such as 15m, 24h or 7d.
    #[arg(short, long, value_name = "DURATION", default_value = "24h", value_parser = span)]
    pub time: Duration,
}

/// Of `stats`.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// What the sums are told apart by.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub by: By,
    /// One provider; unset: all.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// When.
    #[command(flatten)]
    pub since: Since,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: RowsOut,
}

/// Of `logs`.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// One provider, as that which answered or was asked last; unset: all.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// One ModelRoute; unset: all, and what none names.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub number: u32,
    /// Only what did not succeed; callers that left are not counted as that.
    #[arg(long)]
    pub failed: bool,
    /// Go on with what comes, until it is interrupted. With `-o json` one object a line.
    #[arg(short, long)]
    pub follow: bool,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: RowsOut,
}

/// Of `why`.
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// `X-Request-ID` of the answer or the log line; a trace id or a provider's own id of an attempt also finds it.
    #[arg(value_name = "REQUEST-ID")]
    pub id: String,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `top`.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// What is told apart.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub by: By,
    /// Print once, also on a terminal.
    #[arg(long)]
    pub once: bool,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed; all but `table` and `wide` once.
    #[command(flatten)]
    pub out: RowsOut,
}

/// Of `spend`.
#[derive(Debug, clap::Args)]
pub struct SpendArgs {
    /// Who or what spends.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub by: By,
    /// When.
    #[command(flatten)]
    pub since: Since,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: RowsOut,
}

/// Of `quality`.
#[derive(Debug, clap::Args)]
pub struct QualityArgs {
    /// When.
    #[command(flatten)]
    pub since: Since,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: RowsOut,
}

/// Of `changes`.
#[derive(Debug, clap::Args)]
pub struct ChangesArgs {
    /// One object, such as providerconfig/claude; unset: all.
    #[arg(value_name = "KIND/NAME")]
    pub object: Option<String>,
    /// At most so many, the newest.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub number: u32,
    /// Where.
    #[command(flatten)]
    pub place: LedgerWhere,
    /// How it is printed.
    #[command(flatten)]
    pub out: RowsOut,
}

/// Which ledger, and one namespace of it or all.
#[derive(Clone, Debug, clap::Args)]
pub struct LedgerWhere {
    /// All namespaces of the ledger.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// The ledger's Service in the operator's namespace; `NAME-reader` is the ServiceAccount that it is read as.
    #[arg(long, value_name = "NAME", default_value = "bowsprit-ledger")]
    pub ledger: String,
    /// Who is asked.
    #[arg(long, value_enum, default_value_t, value_name = "WHOM")]
    pub from: LedgerFrom,
}

/// Who is asked what became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LedgerFrom {
    /// The ledger service, and where there is none, the sidecars.
    #[default]
    Any,
    /// The ledger service alone.
    Service,
    /// The sidecars alone: what they have kept, and no service has taken.
    Sidecars,
}

/// Of `status`.
#[derive(Debug, Default, clap::Args)]
pub struct StatusArgs {
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `health`.
#[derive(Debug, Default, clap::Args)]
pub struct HealthArgs {
    /// One pod; unset: all with a sidecar.
    pub pod: Option<String>,
    /// One provider, as each sidecar sees it.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `circuit`.
#[derive(Debug, Subcommand)]
pub enum CircuitVerb {
    /// The breakers of each provider and model over the namespace's sidecars. Exit code 1 where one is not closed.
    Status {
        /// One provider; unset: all.
        provider: Option<String>,
        /// Where.
        #[command(flatten)]
        place: Where,
        /// How it is printed.
        #[command(flatten)]
        out: Out,
    },
    /// Close a provider's breakers in all sidecars of the namespace, or in one. Exit code 1 where a sidecar was not reached.
    Reset {
        /// The provider.
        #[arg(required_unless_present = "all")]
        provider: Option<String>,
        /// Every provider.
        #[arg(long, conflicts_with = "provider")]
        all: bool,
        /// Only in this pod.
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        out: Out,
    },
}

/// Of `pause`.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// Why, for the callers that are refused and for whoever looks.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// What is paused.
    #[command(flatten)]
    pub what: PausedArgs,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// What `pause` and `resume` turn.
#[derive(Debug, clap::Args)]
pub struct PausedArgs {
    /// Only what would go to this ProviderConfig: others take over. Unset: everything.
    #[arg(long, value_name = "NAME", conflicts_with = "route")]
    pub provider: Option<String>,
    /// Only what asks for this ModelRoute. Unset: everything.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// The UsagePolicy that says so; `pause` makes it where it is not there. One with a podSelector is for the pods that it selects.
    /// Unset: `pause`, `pause-provider-NAME` or `pause-route-NAME`.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
}

/// Of `resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// What passes again.
    #[command(flatten)]
    pub what: PausedArgs,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `cache`.
#[derive(Debug, Subcommand)]
pub enum CacheVerb {
    /// What the sidecars of the namespace keep by route, and how far they are with vectors that they ask for in the background. Exit code
    /// 1 where too many of these were given up, or a sidecar does not answer.
    Status(CacheStatusArgs),
    /// Forget cached answers and vectors in all sidecars of the namespace, or in one. What was asked for before is not kept after. Exit
    /// code 1 where a sidecar was not reached.
    Clear(CacheClearArgs),
}

/// Of `cache status`.
#[derive(Debug, clap::Args)]
pub struct CacheStatusArgs {
    /// Of this ModelRoute; unset: of all.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Only in this pod.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `cache clear`.
#[derive(Debug, clap::Args)]
pub struct CacheClearArgs {
    /// Of this ModelRoute.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["model", "key", "all"])]
    pub route: Option<String>,
    /// Asked for under this model's name, or given by this model.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Under this key, as `cache-status` of an answer has it; its first 8 digits do.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with_all = ["route", "model", "key"])]
    pub all: bool,
    /// Only in this pod.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `jobs`.
#[derive(Debug, Subcommand)]
pub enum JobsVerb {
    /// The jobs of all sidecars of the namespace, or of one, the newest first. Exit code 1 where a sidecar did not tell.
    List {
        /// Only those that stand so; unset: all.
        #[arg(long, value_enum, value_name = "STATUS")]
        status: Option<JobStatus>,
        /// At most so many, and at most 100 of each pod.
        #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        number: u32,
        /// Only of this pod.
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// Where.
        #[command(flatten)]
        place: Where,
        /// How it is printed.
        #[command(flatten)]
        out: Out,
    },
    /// One job: how it stands, and how its last attempt ended. Exit code 1 where no sidecar has it.
    Show {
        /// Its id.
        #[arg(value_name = "JOB")]
        id: String,
        /// The pod that has it; unset: all are asked.
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        out: Out,
    },
    /// Give a job up, or forget its answer. Exit code 1 where no sidecar has it.
    Cancel {
        /// Its id.
        #[arg(value_name = "JOB")]
        id: String,
        /// The pod that has it; unset: all are asked.
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        out: Out,
    },
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JobStatus {
    /// It waits for its next try.
    Queued,
    /// It is tried now.
    Running,
    /// It is answered.
    Done,
    /// It was refused for good, or is out of tries.
    Failed,
    /// Its deadline passed before there was an answer.
    Expired,
}

impl JobStatus {
    /// As a sidecar has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// Of `test`.
#[derive(Debug, Default, clap::Args)]
pub struct TestArgs {
    /// The provider to ask, and no other; unset: whoever answers an app that asks for `--model`.
    #[arg(required_unless_present = "model")]
    pub provider: Option<String>,
    /// Have the answer streamed.
    #[arg(long)]
    pub stream: bool,
    /// The model; unset: the provider's default model, or the first that it lists.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The pod whose sidecar is asked; unset: the first that is ready.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// What to say to the model.
    #[arg(long, value_name = "TEXT", default_value = "Answer with one word: ahoy")]
    pub prompt: String,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `diff`.
#[derive(Debug, Default, clap::Args)]
pub struct DiffArgs {
    /// YAML or JSON files of ProviderConfigs and ModelRoutes, each compared in the namespace that it names itself.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `inject`.
#[derive(Debug, Default, clap::Args)]
pub struct InjectArgs {
    /// A file with a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob.
    #[arg(short, long, required = true, value_name = "FILE")]
    pub file: PathBuf,
    /// Said for clarity: nothing is ever created.
    #[arg(long)]
    pub dry_run: bool,
    /// How it is printed; json and yaml give the whole pod.
    #[command(flatten)]
    pub out: Out,
}

/// Of `doctor`.
#[derive(Debug, Default, clap::Args)]
pub struct DoctorArgs {
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// Of `version`.
#[derive(Debug, Default, clap::Args)]
pub struct VersionArgs {
    /// Only this program's; needs no cluster.
    #[arg(long)]
    pub client: bool,
    /// Where to look for sidecars.
    #[command(flatten)]
    pub place: Where,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// What checked files are for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum For {
    /// `kubectl apply`: keys come from Secrets.
    Cluster,
    /// `bowsprit-sidecar --config`: keys may come from the environment and files.
    Standalone,
}

/// What is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// kubectl, in whatever shell: a program for the PATH, named `kubectl_complete-bowsprit`.
    Kubectl,
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<DurationText>()
        .map(DurationText::get)
        .map_err(|error| error.to_string())
}

/// As [`duration`], and days.
fn span(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let span = match days {
        Some(days @ 1..=3_660) => Duration::from_hours(days * 24),
        Some(_) => return Err("at most 3660d".to_owned()),
        None => duration(text).map_err(|error| format!("{error}, or days: 7d"))?,
    };
    if span < Duration::from_secs(1) {
        return Err("at least 1s".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_window_may_be_given_in_days() {
        assert_eq!(span("7d"), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(span("90m"), Ok(Duration::from_mins(90)));
        assert!(span("0d").is_err() && span("10ms").is_err() && span("99999999999999999999d").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_argument_that_is_meant() {
        for (line, names) in [
            (&["circuit", "reset"][..], "PROVIDER"),
            (&["cache", "clear"], "--route"),
            (&["test"], "PROVIDER"),
            (&["status", "-o", "xml"], "output"),
            (&["--timeout", "0s", "status"], "timeout"),
            (&["stats", "--time", "soon"], "7d"),
            (&["spend", "--by", "mood"], "workload"),
            (&["logs", "--number", "0"], "number"),
            (&["status", "-o", "csv"], "output"),
            (&["why"], "REQUEST-ID"),
            (&["access", "check", "--label", "team"], "team=search"),
            (&["access", "check", "--body", "b", "--n", "2"], "--n"),
            (&["report"], "--sla"),
            (&["report", "--sla", "--access"], "--access"),
            (&["report", "--access", "--by", "model"], "--by"),
            (&["report", "--sla", "--month", "2026-13"], "2026-11"),
            (&["report", "--sla", "--month", "2026-11", "--since", "7d"], "--since"),
        ] {
            let error = Args::try_parse_from(["kubectl-bowsprit"].iter().chain(line)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains(names), "{error}");
        }
    }
}
