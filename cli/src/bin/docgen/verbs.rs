//! The page of `kubectl bowsprit`: verbs and options as clap knows them, examples as the tests hold them.

use std::fmt::Write as _;

use bowsprit_cli::args::Args;
use clap::{Arg, Command, CommandFactory as _};

use super::GENERATED;

/// What a verb asks the apiserver for: verb, API group, resources, and where.
type Rule = (&'static str, &'static str, &'static str, &'static str);

const PODS: Rule = ("get, list", "", "pods", "the namespace");
const OBJECTS: Rule = (
    "get, list",
    "bowsprit.dev",
    "providerconfigs, modelroutes",
    "the namespace",
);
const POLICIES: Rule = ("get, list", "bowsprit.dev", "usagepolicies", "the namespace");
/// What turns the switch of a namespace.
const SWITCH: [Rule; 2] = [
    POLICIES,
    (
        "patch; create for the first pause",
        "bowsprit.dev",
        "usagepolicies",
        "the namespace",
    ),
];
const PROXY: Rule = ("get", "", "pods/proxy", "the namespace");
const FORWARD: Rule = ("create, get", "", "pods/portforward", "the namespace");
const OPERATORS: Rule = ("list", "apps", "deployments", "the operator's namespace");
const LEASE: Rule = (
    "get",
    "coordination.k8s.io",
    "leases",
    "the operator's namespace; without it, who leads is not told",
);
const WEBHOOKS: Rule = (
    "list",
    "admissionregistration.k8s.io",
    "mutatingwebhookconfigurations",
    "the cluster",
);
const NAMESPACE: Rule = (
    "get; list with -A",
    "",
    "namespaces",
    "the cluster; without it, a namespace's own wish is not seen",
);
const DRY_RUN: Rule = ("create", "", "pods", "the namespace; always as a dry run");

const LEDGER: Rule = (
    "get",
    "",
    "services/proxy",
    "the operator's namespace; resourceNames: [\"https:bowsprit-ledger:8446\"]",
);

/// Where there is no ledger service.
const SIDECARS: [Rule; 2] = [
    (
        "list",
        "",
        "pods",
        "the namespace; only where there is no ledger service",
    ),
    (
        "create, get",
        "",
        "pods/portforward",
        "the namespace; only where there is no ledger service",
    ),
];

const READER: Rule = (
    "create",
    "",
    "serviceaccounts/token",
    "the namespace or the operator's, for -A the latter; resourceNames: [\"bowsprit-ledger-reader\"]",
);

/// By verb. A verb that is not here needs no cluster.
const RULES: [(&str, &[Rule]); 25] = [
    (
        "status",
        &[OBJECTS, POLICIES, PODS, NAMESPACE, OPERATORS, LEASE, WEBHOOKS],
    ),
    ("health", &[PODS, PROXY]),
    ("circuit status", &[PODS, PROXY]),
    ("circuit reset", &[PODS, FORWARD]),
    ("cache status", &[PODS, PROXY]),
    ("cache clear", &[PODS, FORWARD]),
    ("jobs list", &[PODS, FORWARD]),
    ("jobs show", &[PODS, FORWARD]),
    ("jobs cancel", &[PODS, FORWARD]),
    (
        "access check",
        &[(
            "list",
            "bowsprit.dev",
            "providerconfigs, modelroutes, usagepolicies",
            "the namespace; with -f nothing",
        )],
    ),
    ("pause", &SWITCH),
    ("resume", &SWITCH),
    ("test", &[OBJECTS, PODS, FORWARD]),
    ("diff", &[OBJECTS, PODS]),
    ("inject", &[DRY_RUN]),
    (
        "doctor",
        &[
            OBJECTS,
            PODS,
            PROXY,
            DRY_RUN,
            ("get", "", "configmaps", "the namespace"),
            (
                "get",
                "",
                "secrets",
                "the namespace; only their heads are asked for, never what is in them",
            ),
            NAMESPACE,
            OPERATORS,
            LEASE,
            ("list", "", "pods, services", "the operator's namespace"),
            ("get", "", "pods/proxy", "the operator's namespace"),
            ("create, get", "", "pods/portforward", "the operator's namespace"),
            WEBHOOKS,
            (
                "get",
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "the cluster",
            ),
            ("create", "authorization.k8s.io", "subjectaccessreviews", "the cluster"),
        ],
    ),
    ("version", &[PODS, OPERATORS, LEASE]),
    ("stats", &[LEDGER, READER, SIDECARS[0], SIDECARS[1]]),
    ("logs", &[LEDGER, READER, SIDECARS[0], SIDECARS[1]]),
    ("why", &[LEDGER, READER, SIDECARS[0], SIDECARS[1]]),
    ("top", &[LEDGER, READER, SIDECARS[0], SIDECARS[1]]),
    ("spend", &[LEDGER, READER, SIDECARS[0], SIDECARS[1]]),
    ("quality", &[LEDGER, READER, SIDECARS[0], SIDECARS[1]]),
    (
        "report",
        &[
            LEDGER,
            READER,
            SIDECARS[0],
            SIDECARS[1],
            (
                "list",
                "bowsprit.dev",
                "modelroutes",
                "the namespace; for --sla --by route: without it no objective is told",
            ),
        ],
    ),
    ("changes", &[LEDGER, READER]),
];

/// By verb: what is shown, and the snapshot that a test holds.
const EXAMPLES: [(&str, &str, &str); 18] = [
    (
        "status",
        "kubectl bowsprit status -n shop",
        include_str!(
            "../../status/snapshots/bowsprit_cli__status__tests__what_is_broken_comes_with_what_to_do_about_it.snap"
        ),
    ),
    (
        "health",
        "kubectl bowsprit health -n shop",
        include_str!(
            "../../health/snapshots/bowsprit_cli__health__tests__a_broken_fleet_says_what_its_sidecars_complain_of.snap"
        ),
    ),
    (
        "circuit status",
        "kubectl bowsprit circuit status -n shop",
        include_str!(
            "../../circuit/snapshots/bowsprit_cli__circuit__tests__breakers_are_summed_by_provider_and_model_with_where_they_are_not_closed.snap"
        ),
    ),
    (
        "cache status",
        "kubectl bowsprit cache status -n shop",
        include_str!(
            "../../cache/snapshots/bowsprit_cli__cache__status__tests__what_is_kept_and_how_far_a_next_model_is_are_summed_by_route.snap"
        ),
    ),
    (
        "access check",
        "kubectl bowsprit access check --model fast --max-tokens 9000 --feature tools --label team=shop -f rules.yaml",
        include_str!(
            "../../access/snapshots/bowsprit_cli__access__tests__a_denial_names_its_rule_and_what_each_rule_looked_at.snap"
        ),
    ),
    (
        "jobs list",
        "kubectl bowsprit jobs list -n shop",
        include_str!(
            "../../jobs/snapshots/bowsprit_cli__jobs__tests__jobs_of_all_pods_with_the_newest_first_and_who_did_not_tell.snap"
        ),
    ),
    (
        "test",
        "kubectl bowsprit test claude -n shop",
        include_str!("../../ask/snapshots/bowsprit_cli__ask__tests__an_error_comes_with_its_code_and_what_to_do.snap"),
    ),
    (
        "diff",
        "kubectl bowsprit diff changed.yaml -n shop",
        include_str!(
            "../../diff/snapshots/bowsprit_cli__diff__tests__what_would_change_is_shown_with_whom_it_reaches_and_what_is_wrong_with_it.snap"
        ),
    ),
    (
        "inject",
        "kubectl bowsprit inject --dry-run -f deployment.yaml",
        include_str!(
            "../../inject/snapshots/bowsprit_cli__inject__tests__what_the_injector_adds_is_shown_and_nothing_else.snap"
        ),
    ),
    (
        "doctor",
        "kubectl bowsprit doctor -n shop",
        include_str!(
            "../../doctor/snapshots/bowsprit_cli__doctor__tests__each_thing_that_is_broken_is_found_and_comes_with_what_to_do.snap"
        ),
    ),
    (
        "stats",
        "kubectl bowsprit stats -n shop",
        include_str!("../../stats/snapshots/bowsprit_cli__stats__tests__a_day_by_provider.snap"),
    ),
    (
        "logs",
        "kubectl bowsprit logs -n shop --number 3",
        include_str!("../../logs/snapshots/bowsprit_cli__logs__tests__requests_with_the_newest_last.snap"),
    ),
    (
        "why",
        "kubectl bowsprit why 8f14e45f-ceea-467f -n shop",
        include_str!("../../why/snapshots/bowsprit_cli__why__tests__a_request_that_failed_over_twice.snap"),
    ),
    (
        "top",
        "kubectl bowsprit top -n shop",
        include_str!("../../top/snapshots/bowsprit_cli__top__tests__rates_with_the_busiest_first.snap"),
    ),
    (
        "spend",
        "kubectl bowsprit spend --by workload --time 7d -A",
        include_str!("../../spend/snapshots/bowsprit_cli__spend__tests__a_week_by_workload.snap"),
    ),
    (
        "quality",
        "kubectl bowsprit quality -n shop",
        include_str!(
            "../../quality/snapshots/bowsprit_cli__quality__tests__providers_by_their_score_with_its_formula.snap"
        ),
    ),
    (
        "report",
        "kubectl bowsprit report --sla --by route -n shop",
        include_str!("../../report/snapshots/bowsprit_cli__report__tests__availability_with_the_worst_hours.snap"),
    ),
    (
        "changes",
        "kubectl bowsprit changes -n shop",
        include_str!(
            "../../changes/snapshots/bowsprit_cli__changes__render__tests__who_applied_what_with_the_newest_first.snap"
        ),
    ),
];

const INSTALL: &str = "\
## Install
`make install-cli` builds it and puts `kubectl-bowsprit` and `kubectl_complete-bowsprit` into `~/.local/bin` (`make install-cli \
BIN=/usr/local/bin` elsewhere); any program of that name on the PATH is `kubectl bowsprit`. kubectl then completes it in every shell \
in which it completes itself, through the second program, which is what `kubectl bowsprit completion kubectl` prints. For \
`kubectl-bowsprit` by itself: `source <(kubectl-bowsprit completion bash)`; zsh, fish and PowerShell likewise. `make krew` makes the \
archive and the manifest that krew installs it from: `kubectl krew install --manifest=target/krew/bowsprit.yaml --archive=ARCHIVE`.

";

/// `docs/cli.md`.
pub(super) fn page() -> String {
    let mut command = Args::command();
    command.build();
    let mut page = format!(
        "{GENERATED}# kubectl bowsprit\n\nIs it well, why not, and what to do. All of it goes through the apiserver, as whom your \
         kubeconfig says: no other port has to be open.\n\n{INSTALL}## Exit codes\n\n\
         | code | meaning |\n|---|---|\n\
         | 0 | all is well |\n\
         | 1 | something is wrong that the command looks for, or what was asked for is not there |\n\
         | 2 | the command line, or a file that it names, makes no sense |\n\
         | 3 | could not look: the cluster does not answer, or does not permit it; the message names the missing rule |\n\n\
         ## Global options\n\n"
    );
    options(&command, &mut page, true);
    for verb in command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
    {
        let inner: Vec<&Command> = verb.get_subcommands().filter(|it| it.get_name() != "help").collect();
        if inner.is_empty() {
            section(verb.get_name(), verb, &mut page);
        }
        for it in inner {
            section(&format!("{} {}", verb.get_name(), it.get_name()), it, &mut page);
        }
    }
    page
}

fn section(name: &str, verb: &Command, page: &mut String) {
    let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string);
    let about = sentence(about.unwrap_or_default());
    let _ = writeln!(page, "\n## {name}\n{about}\n");
    options(verb, page, false);
    if let Some((_, rules)) = RULES.iter().find(|(of, _)| *of == name) {
        let everywhere = if rules.iter().any(|(.., place)| place.starts_with("the namespace")) {
            " (for `-A` in the whole cluster)"
        } else {
            ""
        };
        let _ = write!(
            page,
            "\nPermissions{everywhere}:\n\n| verbs | group | resources | where |\n|---|---|---|---|\n"
        );
        for (verbs, group, resources, place) in *rules {
            let group = if group.is_empty() { "core" } else { group };
            let _ = writeln!(page, "| {verbs} | {group} | {resources} | {place} |");
        }
    } else if !about.contains("no cluster") {
        page.push_str("\nNeeds no cluster.\n");
    }
    if let Some((_, line, snapshot)) = EXAMPLES.iter().find(|(of, _, _)| *of == name) {
        let _ = writeln!(page, "\n```console\n$ {line}\n{}\n```", body(snapshot));
    }
}

/// A snapshot without its head, which ends with the second line of dashes.
fn body(snapshot: &str) -> &str {
    let head = snapshot
        .match_indices("---\n")
        .nth(1)
        .map_or(0, |(at, dashes)| at + dashes.len());
    snapshot.get(head..).unwrap_or_default().trim_end()
}

fn options(command: &Command, page: &mut String, global: bool) {
    let is_shown = |arg: &&Arg| {
        let known = ["help", "version"].contains(&arg.get_id().as_str());
        arg.is_global_set() == global && !arg.is_hide_set() && !known
    };
    let shown: Vec<&Arg> = command.get_arguments().filter(is_shown).collect();
    if shown.is_empty() {
        return;
    }
    page.push_str("| option | meaning |\n|---|---|\n");
    for arg in shown {
        let _ = writeln!(page, "| `{}` | {} |", written(arg), meaning(arg));
    }
}

fn written(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .map(|names| {
            names
                .iter()
                .map(clap::builder::Str::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        });
    if arg.is_positional() {
        let name = value.unwrap_or_default();
        return if arg.is_required_set() {
            name
        } else {
            format!("[{name}]")
        };
    }
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let names = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    match value {
        Some(value) => format!("{names} {value}"),
        None => names,
    }
}

/// clap takes the stop from what is one sentence.
fn sentence(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('.') {
        text.push('.');
    }
    text
}

fn meaning(arg: &Arg) -> String {
    let mut text = sentence(arg.get_help().map(ToString::to_string).unwrap_or_default());
    if !arg.get_action().takes_values() {
        return text;
    }
    let values = arg.get_possible_values();
    if !values.is_empty() {
        let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        let _ = write!(text, " One of {}.", names.join(", "));
    }
    let default = arg.get_default_values().first().and_then(|value| value.to_str());
    if let Some(default) = default.filter(|_| !arg.is_hide_default_value_set()) {
        let _ = write!(text, " Unset: `{default}`.");
    }
    text
}
