//! What `cofferdam --help` lists: commands by what somebody wants to do.
//!
//! Enters: the program's command line. Leaves: the same, with help in groups. Guarantees: what is said of a command is what its own
//! help says; a test holds that each command is in one group.

use clap::Command;
use std::fmt::Write as _;

const GROUPS: &[(&str, &[&str])] = &[
    ("Try a policy before it is enforced", &["policy", "classify", "lab", "shadow", "catalog", "prices"]),
    ("Enforce it", &["up", "status", "uninstall"]),
    ("On a cluster", &["install", "controller", "agent", "egress-gateway", "ingress-gateway", "collector"]),
    (
        "See what happens",
        &["flows", "dns", "connections", "calls", "tools", "explain", "edges", "top", "ledger"],
    ),
    ("Find attacks and respond", &["findings", "incident", "hunt", "detect", "guard", "waf"]),
    ("Many clusters", &["release", "rollout", "rollouts", "clusters"]),
    ("Besides", &["api", "completion", "help"]),
];

/// Columns that a command's name takes, with the space around it.
const NAMES: usize = 19;

/// Gives the program's help its groups.
pub(crate) fn grouped(program: Command) -> Command {
    let mut listed = String::new();
    for (title, names) in GROUPS {
        let _ = write!(listed, "\n{title}:\n");
        for name in *names {
            let about = match program.find_subcommand(name) {
                Some(command) => command.get_about().map(ToString::to_string).unwrap_or_default(),
                // Made by clap when the command line is read.
                None => "Help on a command: cofferdam help COMMAND".to_owned(),
            };
            let _ = writeln!(listed, "{:NAMES$}{about}", format!("  {name}"));
        }
    }
    program.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{listed}\nOptions:\n{{options}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    #[test]
    fn each_command_is_in_one_group_and_told_of_in_one_line() {
        let program = cli::program();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let mut there: Vec<&str> = program
            .get_subcommands()
            .filter(|it| !it.is_hide_set())
            .map(Command::get_name)
            .chain(["help"])
            .collect();
        grouped.sort_unstable();
        there.sort_unstable();
        assert_eq!(grouped, there);

        let help = cli::program().render_help().to_string();
        let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:#?}");
        assert!(help.contains("\n  flows            Connections: allowed or denied"), "{help}");
    }
}
