//! The page of what the program reads besides what is written in its arguments.
//!
//! Leaves: Markdown. Guarantees: a variable or an option that names a file is here, for the tables are those that the program goes by.

use super::{cell, heading, is_told, meaning, takes_value, written};
use crate::environment;
use anyhow::Result;
use clap::{Arg, Command};
use std::collections::BTreeMap;
use std::io::Write;

/// Values that are names of files or folders.
const FILES: [&str; 3] = ["FILE", "DIR", "PATH"];

pub(super) fn page(program: &Command, out: &mut impl Write) -> Result<()> {
    heading(
        out,
        "Configuration",
        "configuration",
        "What is configured is written in Kubernetes objects ([own kinds](kinds.md)) and in arguments ([commands](cli.md)); there is no file of \
         settings. On a cluster, the chart's `values.yaml` makes the arguments. Secrets are read from files and from Secrets of the cluster, \
         never from arguments or variables.",
    )?;
    writeln!(
        out,
        "\n## Environment\n\nA variable that is empty is one that is not set.\n\n| variable | read by | meaning |\n| --- | --- | --- |"
    )?;
    for variable in environment::ALL {
        writeln!(out, "| `{}` | {} | {} |", variable.name, cell(variable.read_by), cell(variable.meaning))?;
    }
    writeln!(
        out,
        "\nThe client of the Kubernetes API reads `KUBECONFIG`, and in a pod `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`; \
         `cofferdam-cni` reads `CNI_COMMAND`, `CNI_CONTAINERID` and `CNI_ARGS`, as a container runtime sets them."
    )?;
    writeln!(
        out,
        "\n## Files and folders\n\nOptions that name one, and the commands that have them.\n\n| option | meaning | commands |\n| --- | --- | --- |"
    )?;
    let mut found = BTreeMap::new();
    below(program, "", &mut found);
    for ((option, meaning), commands) in found {
        let commands: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
        writeln!(out, "| `{option}` | {} | {} |", cell(&meaning), commands.join(", "))?;
    }
    Ok(())
}

/// Options that name files, with what they mean, of a command and those below it.
fn below(command: &Command, name: &str, found: &mut BTreeMap<(String, String), Vec<String>>) {
    for argument in command.get_arguments().filter(|it| is_told(it) && names_file(it)) {
        found.entry((written(argument), meaning(argument))).or_default().push(name.to_owned());
    }
    for command in command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help") {
        below(command, format!("{name} {}", command.get_name()).trim_start(), found);
    }
}

fn names_file(argument: &Arg) -> bool {
    let names = argument.get_value_names().unwrap_or_default();
    takes_value(argument) && names.iter().any(|name| FILES.contains(&name.as_str()))
}
