//! Files as a sidecar would read them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bowsprit_core::config::{Config, Scope, load};

use crate::args::For;
use crate::failure::Failure;
use crate::output::Report;

/// Checks all files as one config.
pub(crate) fn run(files: &[PathBuf], purpose: For) -> Result<Report, Failure> {
    let text = read(files)?;
    let scope = match purpose {
        For::Cluster => Scope::Cluster {
            pod_labels: std::collections::BTreeMap::new(),
        },
        For::Standalone => Scope::Standalone,
    };
    Ok(match load(&text, &scope) {
        Ok(config) => Report {
            text: summary(&config, files),
            well: true,
        },
        Err(problems) => Report {
            text: format!("{problems}\n"),
            well: false,
        },
    })
}

/// The documents of all files, one after another; `-` is standard input.
pub(crate) fn read(files: &[PathBuf]) -> Result<String, Failure> {
    let mut text = String::new();
    for file in files {
        let content = if file == Path::new("-") {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(file)
        };
        let content = content.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?;
        text.push_str("---\n");
        text.push_str(&content);
        text.push('\n');
    }
    Ok(text)
}

fn summary(config: &Config, files: &[PathBuf]) -> String {
    let mut out = String::new();
    for notice in &config.notices {
        let _ = writeln!(out, "note: {notice}");
    }
    let files: Vec<_> = files.iter().map(|file| Path::display(file).to_string()).collect();
    let _ = writeln!(out, "{}: in order", files.join(", "));
    for provider in &config.providers {
        let model = provider.default_model.as_deref().unwrap_or("-");
        let (name, priority) = (&provider.name, provider.priority);
        let _ = writeln!(out, "  {priority:>4}  {name:<24} {model:<28} {}", provider.base_url);
    }
    for route in &config.routes {
        let _ = writeln!(out, "  route {:<22} {}", route.name, route.models.join(", "));
    }
    out
}
