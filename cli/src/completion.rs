//! Shell completion. kubectl completes a plugin by running `kubectl_complete-NAME` from the PATH with the words so far; that
//! program asks this one. Names are asked of the cluster.

mod names;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{ArgAction, Command, CommandFactory as _};
use clap_complete::aot;

use crate::args::{Args, ClusterArgs, Shell};
use crate::output::{Report, printable};
use names::Named;

/// What kubectl runs as `kubectl_complete-bowsprit`.
const FOR_KUBECTL: &str = "#!/bin/sh
# kubectl completes `kubectl bowsprit` through this: put it on the PATH as kubectl_complete-bowsprit, executable.
exec kubectl-bowsprit __complete \"$@\"
";

/// The script.
pub(crate) fn run(shell: Shell) -> Report {
    let shell = match shell {
        Shell::Kubectl => {
            return Report {
                text: FOR_KUBECTL.into(),
                well: true,
            };
        }
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
        Shell::Powershell => aot::Shell::PowerShell,
    };
    let mut text = Vec::new();
    aot::generate(shell, &mut Args::command(), "kubectl-bowsprit", &mut text);
    Report {
        text: String::from_utf8_lossy(&text).into_owned(),
        well: true,
    }
}

/// Cobra's word for: these are all, offer no files.
const NO_FILES: &str = ":4";
/// Cobra's word for: as the shell does it, with files.
const FILES: &str = ":0";

/// What may stand for the last of `words`, in the form that kubectl reads: one a line, with its help, and a directive. Where
/// names are wanted and the cluster does not tell them in time, there are none.
pub(crate) async fn complete(words: &[String]) -> Report {
    let mut may = may_stand(words);
    if let Some(kind) = may.names {
        let names = names::of(kind, &may.cluster).await;
        may.offers.extend(names.into_iter().map(|name| (name, String::new())));
    }
    may.report(words.last().map_or("", String::as_str))
}

/// What may stand for a word.
#[derive(Debug)]
struct May {
    /// Words with their help.
    offers: Vec<(String, String)>,
    /// And these names.
    names: Option<Named>,
    /// Of the cluster that the words before name.
    cluster: ClusterArgs,
    directive: &'static str,
}

impl May {
    fn report(self, begun: &str) -> Report {
        let mut text = String::new();
        for (word, help) in self.offers.into_iter().filter(|(word, _)| word.starts_with(begun)) {
            let _ = writeln!(text, "{}\t{help}", printable(&word));
        }
        text.push_str(self.directive);
        text.push('\n');
        Report { text, well: true }
    }
}

/// Pure.
fn may_stand(words: &[String]) -> May {
    let command = {
        let mut command = Args::command();
        command.build();
        command
    };
    let (last, before) = words
        .split_last()
        .map_or(("", words), |(last, rest)| (last.as_str(), rest));
    let (mut at, mut pending, mut positionals) = (&command, None, 0);
    let mut cluster = ClusterArgs::default();
    for word in before {
        if let Some(arg) = pending.take() {
            told(&mut cluster, arg, word);
        } else if word.starts_with('-') {
            let (name, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            let arg = flag(at, name).filter(|arg| takes_value(arg));
            match (arg, value) {
                (Some(arg), Some(value)) => told(&mut cluster, arg, value),
                (arg, _) => pending = arg,
            }
        } else if let Some(inner) = at.find_subcommand(word) {
            at = inner;
        } else {
            positionals += 1;
        }
    }
    let (offers, names, directive) = offers(at, pending, positionals, last);
    May {
        offers,
        names,
        cluster,
        directive,
    }
}

/// Which cluster and namespace is meant, from an option's value.
fn told(cluster: &mut ClusterArgs, arg: &clap::Arg, value: &str) {
    match arg.get_id().as_str() {
        "namespace" => cluster.namespace = Some(value.to_owned()),
        "context" => cluster.context = Some(value.to_owned()),
        "kubeconfig" => cluster.kubeconfig = Some(PathBuf::from(value)),
        _ => {}
    }
}

type Offers = (Vec<(String, String)>, Option<Named>, &'static str);

fn offers(at: &Command, pending: Option<&clap::Arg>, positionals: usize, last: &str) -> Offers {
    if let Some(arg) = pending {
        let (values, names) = (arg.get_possible_values(), Named::by(arg));
        let directive = if values.is_empty() && names.is_none() {
            FILES
        } else {
            NO_FILES
        };
        let help = |value: &clap::builder::PossibleValue| value.get_help().map(ToString::to_string).unwrap_or_default();
        return (
            values
                .iter()
                .map(|value| (value.get_name().to_owned(), help(value)))
                .collect(),
            names,
            directive,
        );
    }
    if last.starts_with('-') {
        let flags = at.get_arguments().filter(|arg| !arg.is_hide_set());
        let offer = |arg: &clap::Arg| Some((format!("--{}", arg.get_long()?), first_line(arg.get_help())));
        return (flags.filter_map(offer).collect(), None, NO_FILES);
    }
    let verbs = at.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs: Vec<_> = verbs
        .map(|verb| (verb.get_name().to_owned(), first_line(verb.get_about())))
        .collect();
    let here = at.get_positionals().nth(positionals);
    let names = here.and_then(Named::by);
    let values = here.into_iter().flat_map(clap::Arg::get_possible_values);
    let values: Vec<_> = values
        .map(|value| (value.get_name().to_owned(), String::new()))
        .collect();
    let directive = if verbs.is_empty() && values.is_empty() && names.is_none() {
        FILES
    } else {
        NO_FILES
    };
    (verbs.into_iter().chain(values).collect(), names, directive)
}

fn flag<'a>(at: &'a Command, word: &str) -> Option<&'a clap::Arg> {
    at.get_arguments().find(|arg| {
        arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
            || arg
                .get_short()
                .is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()))
    })
}

fn takes_value(arg: &clap::Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string)
        .and_then(|text| text.lines().next().map(ToOwned::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let text = may_stand(&words).report(words.last().map_or("", String::as_str)).text;
        let words = text.lines().map(|line| line.split('\t').next().unwrap_or_default());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn kubectl_is_offered_verbs_flags_and_values() {
        assert_eq!(offered(&["circ"]), "circuit :4");
        assert_eq!(offered(&["-n", "shop", "circuit", ""]), "status reset help :4");
        assert_eq!(offered(&["health", "--prov"]), "--provider :4");
        assert_eq!(offered(&["health", "-o", "y"]), "yaml :4");
        assert_eq!(offered(&["completion", "z"]), "zsh :4");
        assert_eq!(offered(&["diff", ""]), ":0");
        assert!(!offered(&[""]).contains("__complete"));
    }

    #[test]
    fn names_are_wanted_where_one_stands_and_of_the_cluster_that_is_meant() {
        let may = |words: &[&str]| may_stand(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (words, names) in [
            (&["circuit", "reset", ""][..], Some(Named::Provider)),
            (&["circuit", "reset", "claude", ""], None),
            (&["circuit", "reset", "claude", "--pod", ""], Some(Named::Pod)),
            (&["health", ""], Some(Named::Pod)),
            (&["stats", "--provider", "cl"], Some(Named::Provider)),
            (&["logs", "--route", ""], Some(Named::Route)),
            (&["status", "-n", ""], Some(Named::Namespace)),
            (&["why", ""], None),
            (&["diff", ""], None),
        ] {
            assert_eq!(may(words).names, names, "{words:?}");
        }
        let meant = may(&["-n", "shop", "--context=prod", "circuit", "reset", ""]).cluster;
        assert_eq!(
            (meant.namespace.as_deref(), meant.context.as_deref()),
            (Some("shop"), Some("prod"))
        );
    }

    #[test]
    fn every_shell_has_a_script() {
        for (shell, part) in [
            (Shell::Bash, "complete -F"),
            (Shell::Zsh, "#compdef kubectl-bowsprit"),
            (Shell::Fish, "complete -c kubectl-bowsprit"),
            (Shell::Powershell, "Register-ArgumentCompleter"),
            (Shell::Kubectl, "#!/bin/sh"),
        ] {
            assert!(run(shell).text.contains(part), "{shell:?}");
        }
    }
}
