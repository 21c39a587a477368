//! Shell completion. kubectl completes a plugin by running `kubectl_complete-NAME` from the PATH with the words so far; that
//! program asks this one.

use std::fmt::Write as _;

use clap::{ArgAction, Command, CommandFactory as _};
use clap_complete::aot;

use crate::args::{Args, Shell};
use crate::output::Report;

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

/// What may stand for the last of `words`, in the form that kubectl reads: one a line, with its help, and a directive.
pub(crate) fn complete(words: &[String]) -> Report {
    let command = {
        let mut command = Args::command();
        command.build();
        command
    };
    let (last, before) = words
        .split_last()
        .map_or(("", words), |(last, rest)| (last.as_str(), rest));
    let (mut at, mut pending) = (&command, None);
    for word in before {
        if pending.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            pending = flag(at, word).filter(|arg| !word.contains('=') && takes_value(arg));
        } else if let Some(inner) = at.find_subcommand(word) {
            at = inner;
        }
    }
    let (offers, directive) = offers(at, pending, last);
    let mut text = String::new();
    for (word, help) in offers.into_iter().filter(|(word, _)| word.starts_with(last)) {
        let _ = writeln!(text, "{word}\t{help}");
    }
    text.push_str(directive);
    text.push('\n');
    Report { text, well: true }
}

fn offers(at: &Command, pending: Option<&clap::Arg>, last: &str) -> (Vec<(String, String)>, &'static str) {
    if let Some(arg) = pending {
        let values = arg.get_possible_values();
        let directive = if values.is_empty() { FILES } else { NO_FILES };
        let help = |value: &clap::builder::PossibleValue| value.get_help().map(ToString::to_string).unwrap_or_default();
        return (
            values
                .iter()
                .map(|value| (value.get_name().to_owned(), help(value)))
                .collect(),
            directive,
        );
    }
    if last.starts_with('-') {
        let flags = at.get_arguments().filter(|arg| !arg.is_hide_set());
        let offer = |arg: &clap::Arg| Some((format!("--{}", arg.get_long()?), first_line(arg.get_help())));
        return (flags.filter_map(offer).collect(), NO_FILES);
    }
    let verbs = at.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs: Vec<_> = verbs
        .map(|verb| (verb.get_name().to_owned(), first_line(verb.get_about())))
        .collect();
    let values = at.get_positionals().flat_map(clap::Arg::get_possible_values);
    let values: Vec<_> = values
        .map(|value| (value.get_name().to_owned(), String::new()))
        .collect();
    let directive = if verbs.is_empty() && values.is_empty() {
        FILES
    } else {
        NO_FILES
    };
    (verbs.into_iter().chain(values).collect(), directive)
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
        let text = complete(&words).text;
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
